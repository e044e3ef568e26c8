//! Activations on tensors.

use burn::tensor::{Tensor, activation::relu};

use crate::weights::Polynomials;

/// What stands behind every BatchNorm.
#[derive(Clone, Debug)]
pub(crate) enum Activation {
    /// max(0, t).
    Relu,
    /// `(1 - blend) relu(t) + blend p(t / B)`.
    Polynomial(Polynomial),
}

/// Polynomials on one interval, one for each activation.
#[derive(Clone, Debug)]
pub(crate) struct Polynomial {
    /// B.
    pub(crate) interval: f64,
    /// For each activation in order of use.
    pub(crate) coefficients: Vec<Coefficients>,
    /// The polynomial's share, 0 to 1.
    pub(crate) blend: f64,
    /// Arguments are rounded to multiples of 2 to the minus this.
    pub(crate) argument_bits: Option<u32>,
}

/// a_0 .. a_d of p(u), u = t / B.
#[derive(Clone, Debug)]
pub(crate) enum Coefficients {
    Fixed(Vec<f64>),
    /// A parameter of the network, `[d + 1]`.
    Learned(Box<Tensor<1>>),
}

impl Activation {
    /// The polynomials as they are used for inference.
    pub(crate) fn fixed(polynomials: &Polynomials) -> Self {
        Self::Polynomial(Polynomial {
            interval: polynomials.interval,
            coefficients: polynomials.coefficients.iter().cloned().map(Coefficients::Fixed).collect(),
            blend: 1.0,
            argument_bits: None,
        })
    }

    /// Activation `layer` (from 0) of every element.
    ///
    /// While `training`, p goes on outside the interval as a straight line, so that a stray value
    /// cannot blow up the step; otherwise it is the polynomial everywhere, as in private inference.
    pub(crate) fn apply<const D: usize>(&self, layer: usize, t: Tensor<D>, training: bool) -> Tensor<D> {
        let Self::Polynomial(polynomial) = self else { return relu(t) };
        let blend = polynomial.blend;
        if blend <= 0.0 {
            return relu(t);
        }
        let mut u = t.clone().mul_scalar(1.0 / polynomial.interval);
        if let Some(bits) = polynomial.argument_bits {
            u = round_through(u, bits);
        }
        let p = polynomial.coefficients[layer].value(u, training);
        if blend >= 1.0 { p } else { relu(t).mul_scalar(1.0 - blend) + p.mul_scalar(blend) }
    }
}

impl Coefficients {
    /// The numbers.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Fixed(numbers) => numbers.clone(),
            Self::Learned(tensor) => values(tensor).into_iter().map(f64::from).collect(),
        }
    }

    /// p(u), or with `extended` its tangents outside [-1, 1].
    fn value<const D: usize>(&self, u: Tensor<D>, extended: bool) -> Tensor<D> {
        if !extended {
            return self.horner(u);
        }
        let numbers = self.numbers();
        let slope = |u: f64| {
            let terms = numbers.iter().enumerate().skip(1);
            terms.map(|(k, a)| k as f64 * a * u.powi(k as i32 - 1)).sum::<f64>()
        };
        let (low, high) = (slope(-1.0), slope(1.0));
        let inside = u.clone().clamp(-1.0, 1.0);
        // Outside, `inside` is -1 or 1, where the line below takes the slope of that end; inside,
        // the product is 0.
        let line = inside.clone().mul_scalar(0.5 * (high - low)).add_scalar(0.5 * (high + low));
        self.horner(inside.clone()) + (u - inside) * line
    }

    /// Horner's rule; terms that are exactly 0 cost nothing.
    fn horner<const D: usize>(&self, u: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Fixed(numbers) => {
                let Some((&leading, lower)) = numbers.split_last() else { return u.zeros_like() };
                // The leading product is with a constant; from then on, times u plus the next
                // coefficient.
                let mut sum: Option<Tensor<D>> = None;
                for &coefficient in lower.iter().rev() {
                    let product = match sum {
                        None => u.clone().mul_scalar(leading),
                        Some(sum) => sum * u.clone(),
                    };
                    sum = Some(if coefficient == 0.0 { product } else { product.add_scalar(coefficient) });
                }
                sum.unwrap_or_else(|| u.zeros_like().add_scalar(leading))
            }
            Self::Learned(tensor) => {
                let degree = tensor.dims()[0] - 1;
                let at = |k: usize| tensor.as_ref().clone().narrow(0, k, 1).reshape([1; D]);
                (0..degree).rev().fold(at(degree) + u.zeros_like(), |sum, k| sum * u.clone() + at(k))
            }
        }
    }
}

/// x rounded to multiples of 2^-`bits`; gradients pass as if it were x.
fn round_through<const D: usize>(x: Tensor<D>, bits: u32) -> Tensor<D> {
    let scale = f64::from(bits).exp2();
    let rounded = x.clone().detach().mul_scalar(scale).round().mul_scalar(1.0 / scale);
    x.clone() + (rounded - x.detach())
}

/// A tensor's elements in row-major order. All tensors here are f32 on the processor.
pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    let data = tensor.to_data();
    // The vector is taken as it is where it can be; an element-wise iterator is many times slower.
    data.try_to_vec().unwrap_or_else(|_| data.iter::<f32>().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn polynomial(coefficients: Coefficients, blend: f64) -> Activation {
        let coefficients = vec![coefficients];
        Activation::Polynomial(Polynomial { interval: 2.0, coefficients, blend, argument_bits: None })
    }

    fn p(u: f64) -> f64 {
        0.25 + u - 0.5 * u.powi(3) + 2.0 * u.powi(4)
    }

    fn slope(u: f64) -> f64 {
        1.0 - 1.5 * u.powi(2) + 8.0 * u.powi(3)
    }

    const NUMBERS: [f32; 5] = [0.25, 1.0, 0.0, -0.5, 2.0];
    const T: [f32; 4] = [-3.0, 1.0, 0.5, 6.0];

    fn fixed() -> Coefficients {
        Coefficients::Fixed(NUMBERS.map(f64::from).to_vec())
    }

    fn close(got: &[f32], expected: [f64; 4]) {
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{got} {expected}");
        }
    }

    #[test]
    fn inference_is_the_polynomial_everywhere_and_training_its_tangent_outside() {
        let t = Tensor::<1>::from_floats(T, &Device::flex());
        let learned = Coefficients::Learned(Box::new(Tensor::from_floats(NUMBERS, &Device::flex())));
        for coefficients in [fixed(), learned] {
            let act = polynomial(coefficients, 1.0);
            close(&values(&act.apply(0, t.clone(), false)), T.map(|t| p(f64::from(t) / 2.0)));
            let line = |u: f64| p(u.clamp(-1.0, 1.0)) + slope(u.clamp(-1.0, 1.0)) * (u - u.clamp(-1.0, 1.0));
            close(&values(&act.apply(0, t.clone(), true)), T.map(|t| line(f64::from(t) / 2.0)));
        }
    }

    #[test]
    fn blending_mixes_with_relu() {
        let t = Tensor::<1>::from_floats(T, &Device::flex());
        let mixed = |t: f32| 0.75 * f64::from(t.max(0.0)) + 0.25 * p(f64::from(t) / 2.0);
        close(&values(&polynomial(fixed(), 0.25).apply(0, t.clone(), false)), T.map(mixed));
        assert_eq!(values(&polynomial(fixed(), 0.0).apply(0, t.clone(), true)), T.map(|t| t.max(0.0)));
        assert_eq!(values(&Activation::Relu.apply(0, t, true)), T.map(|t| t.max(0.0)));
    }

    #[test]
    fn gradients_are_those_of_the_extended_polynomial() {
        let device = Device::flex().autodiff();
        let t = Tensor::<1>::from_floats(T, &device).require_grad();
        let c = Tensor::<1>::from_floats(NUMBERS, &device).require_grad();
        let act = polynomial(Coefficients::Learned(Box::new(c.clone())), 1.0);
        let gradients = act.apply(0, t.clone(), true).sum().backward();
        let expected = T.map(|t| slope((f64::from(t) / 2.0).clamp(-1.0, 1.0)) / 2.0);
        close(&values(&t.grad(&gradients).unwrap()), expected);
        let powers = values(&c.grad(&gradients).unwrap());
        for (k, got) in powers.into_iter().enumerate() {
            let sum: f64 = T.iter().map(|&t| (f64::from(t) / 2.0).clamp(-1.0, 1.0).powi(k as i32)).sum();
            assert!((f64::from(got) - sum).abs() < 1e-4, "{k}: {got} {sum}");
        }
    }

    #[test]
    fn rounding_changes_values_and_not_gradients() {
        let device = Device::flex().autodiff();
        let x = Tensor::<1>::from_floats([0.3, -0.8, 0.26], &device).require_grad();
        let rounded = round_through(x.clone(), 2);
        assert_eq!(values(&rounded), [0.25, -0.75, 0.25]);
        let gradients = (rounded.clone() * rounded).sum().backward();
        assert_eq!(values(&x.grad(&gradients).unwrap()), [0.5, -1.5, 0.5]);
    }
}
