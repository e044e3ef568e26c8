//! The learning rate over a run: one cycle.
//!
//! Smith, Topin: "Super-Convergence" (2018), in the form most frameworks use: up along a cosine from 1/25 of the
//! highest rate during the first 30% of the steps, then down along a cosine to 1/10,000 of the starting rate.

const WARM_UP: f64 = 0.3;
const START: f64 = 1.0 / 25.0;
const END: f64 = START / 10_000.0;

/// The learning rate of step `step` (from 0) of `steps`, for a highest rate of `highest`.
pub fn one_cycle(step: usize, steps: usize, highest: f64) -> f64 {
    let last = steps.saturating_sub(1).max(1) as f64;
    let position = (step as f64 / last).min(1.0);
    let cosine =
        |from: f64, to: f64, x: f64| to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * x).cos());
    highest
        * if position < WARM_UP {
            cosine(START, 1.0, position / WARM_UP)
        } else {
            cosine(1.0, END, (position - WARM_UP) / (1.0 - WARM_UP))
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_low_peaks_at_the_given_rate_and_ends_near_zero() {
        let rates: Vec<f64> = (0..=1000).map(|step| one_cycle(step, 1001, 0.5)).collect();
        assert!((rates[0] - 0.02).abs() < 1e-12);
        assert!((rates[300] - 0.5).abs() < 1e-12);
        assert!((rates[1000] - 0.5 * END).abs() < 1e-12);
        assert!(rates[..=300].is_sorted() && rates[300..].iter().rev().is_sorted());
    }

    #[test]
    fn short_runs_and_steps_beyond_the_end_are_finite() {
        for steps in 0..4 {
            for step in 0..6 {
                let rate = one_cycle(step, steps, 1.0);
                assert!(rate.is_finite() && rate > 0.0, "{step} of {steps}: {rate}");
            }
        }
    }
}
