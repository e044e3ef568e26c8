//! Float and fixed-point accuracy of a trained LeNet-5 on labelled digits.
//!
//! ```text
//! cargo run --release -p amicus-model --example evaluate -- WEIGHTS.safetensors \
//!     CALIBRATION-images CALIBRATION-labels [TEST-images TEST-labels]
//! ```
//! IDX files, gzipped or not. The plan is compiled from the calibration digits; the figures are
//! taken on the test digits, or on the same ones when none are given.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use amicus_data::{Images, idx, mnist};
use amicus_field::LimbVec;
use amicus_model::measure::median;
use amicus_model::networks::PixelRule;
use amicus_model::{
    CompileOptions, FloatExecutor, Simulator, argmax, compile, networks, quantize_input, relative_error,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, images, labels, test @ ..] = &arguments[..] else {
        return Err("usage: evaluate WEIGHTS IMAGES LABELS [TEST-IMAGES TEST-LABELS]".into());
    };
    let bytes = fs::read(weights).map_err(|e| format!("{weights}: {e}"))?;
    let graph = networks::read(&bytes)?.graph;
    let calibration = read(images, labels)?;
    let digits = match test {
        [images, labels] => read(images, labels)?,
        _ => calibration.clone(),
    };

    let samples: Vec<Vec<f32>> =
        (0..calibration.len()).map(|i| calibration.input(i, PixelRule::Unit)).collect();
    let start = Instant::now();
    let compiled = compile(&graph, &samples, &CompileOptions::default())?;
    let compile_time = start.elapsed();
    println!("{}", compiled.report);
    println!("digest {}", compiled.plan.digest()?);
    println!("compiled in {:.0} ms from {} digits\n", millis(compile_time), samples.len());

    let float = FloatExecutor::new(&graph);
    let simulator = Simulator::new(&compiled.plan, &compiled.weights)?;
    let (mut float_right, mut fixed_right, mut agree, mut errors) = (0, 0, 0, Vec::new());
    let (mut float_time, mut fixed_time) = (Duration::ZERO, Duration::ZERO);
    for i in 0..digits.len() {
        let x = digits.input(i, PixelRule::Unit);
        let start = Instant::now();
        let expected = float.run(&x)?;
        float_time += start.elapsed();
        let start = Instant::now();
        let input = LimbVec::from_i64(compiled.plan.limbs, &quantize_input(&compiled.plan, &x)?);
        let logits = simulator.outputs(&input, 1)?.logits();
        fixed_time += start.elapsed();
        float_right += usize::from(argmax(&expected) == usize::from(digits.label(i)));
        fixed_right += usize::from(argmax(&logits) == usize::from(digits.label(i)));
        agree += usize::from(argmax(&expected) == argmax(&logits));
        errors.push(relative_error(&logits, &expected));
    }
    let n = digits.len();
    let percent = |count: usize| format!("{count} of {n} ({:.2}%)", 100.0 * count as f64 / n as f64);
    println!("float         {}, {:.3} ms an image", percent(float_right), millis(float_time) / n as f64);
    println!("fixed point   {}, {:.3} ms an image", percent(fixed_right), millis(fixed_time) / n as f64);
    println!("agreement     {}", percent(agree));
    let largest = errors.iter().copied().fold(0.0, f64::max);
    println!(
        "relative error of logits: median {:.4}%, largest {:.4}%",
        100.0 * median(&errors),
        100.0 * largest
    );
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn read(images: &str, labels: &str) -> Result<Images, Box<dyn Error>> {
    Ok(idx::read(Path::new(images), Path::new(labels), mnist::CLASSES)?)
}
