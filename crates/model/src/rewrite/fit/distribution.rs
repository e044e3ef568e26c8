//! Where an activation's inputs lie.

use super::{FitError, Weight};

/// A distribution of t over [-B, B], assumed or measured, mixed with a small uniform part.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Shape);

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Shares of equal bins. Panels of the quadrature do not cross their borders.
    Bins(Vec<f64>),
    /// A Gaussian of u = t / B around 0, and a uniform part.
    Gaussian { spread: f64, uniform_part: f64 },
}

/// Bins of a measured [`Distribution`].
const BINS: usize = 64;
/// Share of the uniform part of a measured [`Distribution`].
const UNIFORM_PART: f64 = 0.02;

impl Distribution {
    /// The distribution of some numbers over [-`interval`, `interval`]; numbers outside count at
    /// the ends. Even when there are none.
    pub fn of(values: impl Iterator<Item = f64>, interval: f64) -> Self {
        let mut bins = vec![0.0; BINS];
        let mut count = 0.0;
        for t in values.filter(|t| t.is_finite()) {
            bins[bin(t / interval)] += 1.0;
            count += 1.0;
        }
        if count == 0.0 {
            return Distribution(Shape::Bins(vec![1.0; BINS]));
        }
        let share = |n: f64| (1.0 - UNIFORM_PART) * n / count * BINS as f64 + UNIFORM_PART;
        Distribution(Shape::Bins(bins.into_iter().map(share).collect()))
    }

    /// An assumed distribution over [-`interval`, `interval`].
    ///
    /// # Errors
    ///
    /// [`FitError::Interval`] and [`FitError::Weight`] for what is out of range.
    pub fn assumed(weight: Weight, interval: f64) -> Result<Self, FitError> {
        if !(interval.is_finite() && interval > 0.0) {
            return Err(FitError::Interval(interval));
        }
        let (sigma, uniform_part) = match weight {
            Weight::Uniform => (1.0, 1.0),
            Weight::Gaussian { sigma, uniform_part } => (sigma, uniform_part),
        };
        if !(sigma.is_finite() && sigma > 0.0 && uniform_part > 0.0 && uniform_part <= 1.0) {
            return Err(FitError::Weight { sigma, uniform_part });
        }
        Ok(Distribution(Shape::Gaussian { spread: sigma / interval, uniform_part }))
    }

    /// The density at u, up to a constant factor.
    pub(super) fn density(&self, u: f64) -> f64 {
        match &self.0 {
            Shape::Bins(bins) => bins[bin(u)],
            &Shape::Gaussian { spread, uniform_part } => {
                let peak = 1.0 / (spread * std::f64::consts::TAU.sqrt());
                (1.0 - uniform_part) * peak * (-0.5 * (u / spread).powi(2)).exp() + uniform_part / 2.0
            }
        }
    }
}

fn bin(u: f64) -> usize {
    (((u + 1.0) / 2.0 * BINS as f64).max(0.0) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_no_place_is_forgotten() {
        let d = Distribution::of([-1.9, 0.1, 0.1, 5.0, f64::NAN].into_iter(), 2.0);
        let sum: f64 = (0..BINS).map(|i| d.density((2 * i + 1) as f64 / BINS as f64 - 1.0)).sum();
        assert!((sum / BINS as f64 - 1.0).abs() < 1e-12);
        assert!(d.density(0.05) > d.density(1.0) && d.density(1.0) > d.density(0.5) && d.density(0.5) > 0.0);
        assert_eq!(Distribution::of(std::iter::empty(), 1.0).density(0.3), 1.0);
    }

    #[test]
    fn an_assumed_gaussian_has_its_density() {
        let d = Distribution::assumed(Weight::Gaussian { sigma: 2.0, uniform_part: 0.1 }, 4.0).unwrap();
        let ratio = (d.density(0.5) - 0.05) / (d.density(0.0) - 0.05);
        assert!((ratio - (-0.5f64).exp()).abs() < 1e-12);
        let even = Distribution::assumed(Weight::Uniform, 4.0).unwrap();
        assert_eq!(even.density(0.9), even.density(0.0));
    }
}
