//! Tables and pictures of the polynomials that stand for activation functions, as `docs/fits` has
//! them.
//!
//! `cargo run --release -p amicus-train --features plot --example fits -- [FOLDER]` writes one SVG
//! file a function and `README.md` with the errors of every function, degree and method.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use amicus_model::fit::{ActivationFunction, DEGREES, Distribution, Method, Weight, evaluate, fit_by};
use amicus_train::export::write_bytes;
use amicus_train::plot::{self, Chart, Line};

/// B, and the standard deviation of arguments that the weighted error is for.
const INTERVAL: f64 = 4.0;
const SIGMA: f64 = 1.0;
const UNIFORM_PART: f64 = 0.02;
/// Points of a line.
const POINTS: usize = 161;
/// Degree whose methods are compared.
const COMPARED: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "docs/fits".into()));
    std::fs::create_dir_all(&folder)?;
    let weight = Weight::Gaussian { sigma: SIGMA, uniform_part: UNIFORM_PART };
    let distribution = Distribution::assumed(weight, INTERVAL)?;
    let mut text = introduction();
    for function in ActivationFunction::ALL {
        let of = |method, degree| fit_by(method, |t| function.at(t), INTERVAL, degree, &distribution);
        let file = format!("{}.svg", function.to_string().to_lowercase());
        write!(text, "\n## {function}\n\n![{function} and its polynomials]({file})\n\n")?;
        text.push_str("| degree |");
        for method in Method::ALL {
            write!(text, " {method}: largest | weighted |")?;
        }
        text.push_str("\n| --- |");
        text.push_str(&" --- | --- |".repeat(Method::ALL.len()));
        text.push('\n');
        for degree in DEGREES {
            write!(text, "| {degree} |")?;
            for method in Method::ALL {
                let fit = of(method, degree)?;
                write!(text, " {:.5} | {:.5} |", fit.max_error, fit.rms_error)?;
            }
            text.push('\n');
        }
        let mut values = vec![line(&function.to_string(), |u| function.at(INTERVAL * u))];
        for degree in DEGREES.filter(|degree| degree.is_multiple_of(2)) {
            let fit = of(Method::LeastSquares, degree)?;
            values.push(line(&format!("degree {degree}"), |u| evaluate(&fit.coefficients, u)));
        }
        let mut errors = Vec::new();
        for method in Method::ALL {
            let fit = of(method, COMPARED)?;
            errors.push(line(&method.to_string(), |u| {
                evaluate(&fit.coefficients, u) - function.at(INTERVAL * u)
            }));
        }
        let chart = |title: String, vertical: &str, lines| Chart {
            title,
            horizontal: "t".into(),
            vertical: vertical.into(),
            logarithmic: false,
            lines,
        };
        let charts = [
            chart(format!("{function} and least squares on [-{INTERVAL}, {INTERVAL}]"), "p(t / B)", values),
            chart(format!("{function}: what degree {COMPARED} is off by"), "p(t / B) - f(t)", errors),
        ];
        plot::write(&folder.join(file), &charts)?;
    }
    write_bytes(&folder.join("README.md"), text.as_bytes())?;
    println!("wrote {}", folder.display());
    Ok(())
}

fn introduction() -> String {
    format!(
        "# Polynomials for activation functions\n\n\
         Written by `cargo run --release -p amicus-train --features plot --example fits`.\n\n\
         Each polynomial is p(u) with u = t / B on [-B, B], B = {INTERVAL}. The largest error is that on the interval; the \
         weighted one is\nthe root mean square for arguments that are normally distributed with deviation {SIGMA}, {:.0}% \
         of them spread evenly over the\ninterval. Least squares minimise the weighted error, minimax the largest; Chebyshev \
         interpolation needs no iteration and is\nclose to minimax for smooth functions. ReLU, SiLU and GELU are t / 2 plus \
         something even, so their best polynomials gain\nnothing from an odd degree; those of sigmoid and tanh gain nothing \
         from an even one.\n",
        100.0 * UNIFORM_PART
    )
}

fn line(name: &str, f: impl Fn(f64) -> f64) -> Line {
    let at = |i: usize| 2.0 * i as f64 / (POINTS - 1) as f64 - 1.0;
    Line { name: name.to_owned(), points: (0..POINTS).map(|i| (INTERVAL * at(i), f(at(i)))).collect() }
}
