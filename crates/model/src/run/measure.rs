//! Comparing results.

/// `||got - expected|| / ||expected||`; 0 when both are 0, infinite when only `expected` is, or one
/// is not finite.
pub fn relative_error(got: &[f64], expected: &[f64]) -> f64 {
    let difference: f64 = got.iter().zip(expected).map(|(g, e)| (g - e).powi(2)).sum();
    let norm: f64 = expected.iter().map(|e| e * e).sum();
    if difference == 0.0 && got.len() == expected.len() {
        return 0.0;
    }
    let error = (difference / norm).sqrt();
    if error.is_nan() || got.len() != expected.len() { f64::INFINITY } else { error }
}

/// Position of the largest number, the first of equals; 0 for an empty slice.
pub fn argmax(values: &[f64]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}

/// Median of a list (the mean of the two in the middle when even); 0 for an empty one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// A share of one for people: three digits, and never 0% for what is not 0.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        p if !p.is_finite() => "infinitely much".to_owned(),
        p if p >= 100.0 => format!("{p:.0}%"),
        p if p >= 10.0 => format!("{p:.1}%"),
        p if p >= 1.0 => format!("{p:.2}%"),
        p if p >= 0.001 => format!("{p:.3}%"),
        p if p > 0.0 => "below 0.001%".to_owned(),
        _ => "0%".to_owned(),
    }
}

/// How many of how many, for people: rounded down, so that 100% is all of them.
pub fn count_of(n: usize, of: usize) -> String {
    let tenths = (1000 * n as u128) / (of.max(1) as u128);
    format!("{n} of {of} ({}.{}%)", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_maxima() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert!((relative_error(&[3.0, 5.0], &[3.0, 4.0]) - 0.2).abs() < 1e-12);
        assert_eq!(relative_error(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(relative_error(&[f64::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(relative_error(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert_eq!(argmax(&[1.0, 7.0, 7.0, -1.0]), 1);
        assert_eq!(median(&[4.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn shares_for_people() {
        assert_eq!(count_of(1999, 2000), "1999 of 2000 (99.9%)");
        assert_eq!(count_of(2000, 2000), "2000 of 2000 (100.0%)");
        assert_eq!(count_of(0, 0), "0 of 0 (0.0%)");
        let shown = [0.0, 1e-9, 0.00123, 0.0123, 0.123, 1.5, f64::INFINITY].map(percent);
        assert_eq!(
            shown,
            ["0%", "below 0.001%", "0.123%", "1.23%", "12.3%", "150%", "infinitely much"].map(String::from)
        );
    }
}
