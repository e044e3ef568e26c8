//! What changes over a run: the learning rate, and how much of an activation is polynomial.

/// The learning rate's share of its peak at `position` of the run (0 to 1): up linearly during
/// `warm_up`, then down to 0.
pub fn one_cycle(position: f64, warm_up: f64) -> f64 {
    // A first step of rate 0 would be wasted.
    const START: f64 = 0.02;
    if position < warm_up {
        (position + START) / (warm_up + START)
    } else {
        ((1.0 - position) / (1.0 - warm_up).max(1e-9)).max(0.0)
    }
}

/// The polynomial's share of the activations after `epochs_done` (with fractions) when ReLU gives
/// way during the first `blend_epochs`; 1 at once when that is 0.
pub fn blend(epochs_done: f64, blend_epochs: f64) -> f64 {
    if blend_epochs > 0.0 { (epochs_done / blend_epochs).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_low_peaks_and_ends_at_zero() {
        let rates: Vec<f64> = (0..=1000).map(|step| one_cycle(f64::from(step) / 1000.0, 0.2)).collect();
        assert!((rates[0] - 1.0 / 11.0).abs() < 1e-12);
        assert!((rates[200] - 1.0).abs() < 1e-12 && (rates[600] - 0.5).abs() < 1e-12);
        assert_eq!(rates[1000], 0.0);
        assert!(rates[..=200].is_sorted() && rates[200..].iter().rev().is_sorted());
    }

    #[test]
    fn extreme_warm_ups_are_finite() {
        for warm_up in [0.0, 1.0] {
            for position in [0.0, 0.5, 1.0] {
                assert!((0.0..=1.0).contains(&one_cycle(position, warm_up)), "{position} {warm_up}");
            }
        }
    }

    #[test]
    fn blending_goes_from_relu_to_the_polynomial() {
        assert_eq!([0.0, 1.0, 2.0, 3.0].map(|done| blend(done, 2.0)), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(blend(0.0, 0.0), 1.0);
    }
}
