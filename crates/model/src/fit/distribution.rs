//! Where an activation's inputs were measured to lie.

/// A measured distribution of t over [-B, B]: shares of equal bins, mixed with a small uniform part.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    bins: Vec<f64>,
}

/// Bins of a [`Distribution`]; panels of the quadrature do not cross their borders.
const BINS: usize = 64;
/// Share of the uniform part of a [`Distribution`].
const UNIFORM_PART: f64 = 0.02;

impl Distribution {
    /// The distribution of some numbers over [-`interval`, `interval`]; numbers outside count at the ends. Even when
    /// there are none.
    pub fn of(values: impl Iterator<Item = f64>, interval: f64) -> Self {
        let mut bins = vec![0.0; BINS];
        let mut count = 0.0;
        for t in values.filter(|t| t.is_finite()) {
            bins[Self::bin(t / interval)] += 1.0;
            count += 1.0;
        }
        if count == 0.0 {
            return Distribution { bins: vec![1.0; BINS] };
        }
        let share = |n: f64| (1.0 - UNIFORM_PART) * n / count * BINS as f64 + UNIFORM_PART;
        Distribution { bins: bins.into_iter().map(share).collect() }
    }

    fn bin(u: f64) -> usize {
        (((u + 1.0) / 2.0 * BINS as f64).max(0.0) as usize).min(BINS - 1)
    }

    pub(super) fn density(&self, u: f64) -> f64 {
        self.bins[Self::bin(u)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_no_place_is_forgotten() {
        let d = Distribution::of([-1.9, 0.1, 0.1, 5.0, f64::NAN].into_iter(), 2.0);
        let sum: f64 = d.bins.iter().sum();
        assert!((sum / BINS as f64 - 1.0).abs() < 1e-12);
        assert!(d.density(0.05) > d.density(1.0) && d.density(1.0) > d.density(0.5) && d.density(0.5) > 0.0);
        assert_eq!(Distribution::of(std::iter::empty(), 1.0).density(0.3), 1.0);
    }
}
