//! The activation functions that networks are usually trained with.

use crate::function::{Elementary, erf};

/// An activation function by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationFunction {
    /// max(0, t).
    Relu,
    /// t / (1 + e^-t).
    Silu,
    /// t times the normal distribution function of t.
    Gelu,
    /// 1 / (1 + e^-t).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl ActivationFunction {
    /// All of them.
    pub const ALL: [ActivationFunction; 5] = [
        ActivationFunction::Relu,
        ActivationFunction::Silu,
        ActivationFunction::Gelu,
        ActivationFunction::Sigmoid,
        ActivationFunction::Tanh,
    ];

    /// The function's value.
    pub fn at(self, t: f64) -> f64 {
        match self {
            ActivationFunction::Relu => Elementary::Relu.at(t),
            ActivationFunction::Silu => t * Elementary::Sigmoid.at(t),
            ActivationFunction::Gelu => 0.5 * t * (1.0 + erf(t * std::f64::consts::FRAC_1_SQRT_2)),
            ActivationFunction::Sigmoid => Elementary::Sigmoid.at(t),
            ActivationFunction::Tanh => t.tanh(),
        }
    }
}

impl std::fmt::Display for ActivationFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ActivationFunction::Relu => "ReLU",
            ActivationFunction::Silu => "SiLU",
            ActivationFunction::Gelu => "GELU",
            ActivationFunction::Sigmoid => "sigmoid",
            ActivationFunction::Tanh => "tanh",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::{DEGREES, Distribution, Method, Weight, fit_by};

    fn coefficients(method: Method, function: ActivationFunction, interval: f64, degree: usize) -> Vec<f64> {
        let weight = Weight::Gaussian { sigma: interval / 4.0, uniform_part: 0.02 };
        let distribution = Distribution::assumed(weight, interval).unwrap();
        fit_by(method, |t| function.at(t), interval, degree, &distribution).unwrap().coefficients
    }

    /// Reference values by mpmath.
    #[test]
    fn values() {
        for (function, t, value) in [
            (ActivationFunction::Relu, -1.0, 0.0),
            (ActivationFunction::Silu, 1.0, 0.731_058_578_630_004_9),
            (ActivationFunction::Gelu, 1.0, 0.841_344_746_068_542_9),
            (ActivationFunction::Gelu, -2.0, -0.045_500_263_896_358_42),
            (ActivationFunction::Sigmoid, -2.0, 0.119_202_922_022_117_56),
            (ActivationFunction::Tanh, 0.5, 0.462_117_157_260_009_8),
        ] {
            assert!((function.at(t) - value).abs() < 1e-14, "{function} at {t}");
        }
    }

    /// sigmoid(t) = 1/2 + tanh(t / 2) / 2 is odd around 1/2; ReLU, SiLU and GELU are t / 2 plus
    /// something even. Symmetric weights and points keep that, whatever the method.
    #[test]
    fn symmetries_survive_fitting() {
        for method in Method::ALL {
            for degree in DEGREES {
                let sigmoid = coefficients(method, ActivationFunction::Sigmoid, 6.0, degree);
                let tanh = coefficients(method, ActivationFunction::Tanh, 3.0, degree);
                for (k, (s, t)) in sigmoid.iter().zip(&tanh).enumerate() {
                    let expected = t / 2.0 + if k == 0 { 0.5 } else { 0.0 };
                    assert!((s - expected).abs() < 1e-5, "{method}, degree {degree}: {s} {expected}");
                    assert!(k % 2 == 1 || t.abs() < 1e-5, "{method}, degree {degree}: tanh is odd, {tanh:?}");
                }
                for function in [ActivationFunction::Silu, ActivationFunction::Gelu, ActivationFunction::Relu]
                {
                    let found = coefficients(method, function, 4.0, degree);
                    for (k, a) in found.iter().enumerate().filter(|(k, _)| k % 2 == 1) {
                        let expected = if k == 1 { 2.0 } else { 0.0 };
                        assert!((a - expected).abs() < 1e-4, "{method}, {function}, {degree}: {found:?}");
                    }
                }
            }
        }
    }
}
