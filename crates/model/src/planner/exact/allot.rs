//! Windows of comparisons by what their wrong signs change in the result: for networks between roles
//! over which bytes are dear.
//!
//! A bit more divides the mean square of what wrong signs of a comparison change by 8, and makes its
//! tables larger. The fewest words that keep the sum of all shares below a goal are found by adding
//! one bit at a time where it saves most for its words.

use super::window::split;

/// Bits of a window at least.
const LEAST: u32 = 4;
/// Bits below those measured with, at most: what is far from it would be a guess.
const FEWER: u32 = 2;

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Numbers compared.
    pub(super) numbers: usize,
    /// Bits of its window.
    pub(super) bits: u32,
    /// Mean square of the relative error of the result that its wrong signs make.
    pub(super) error: f64,
}

impl Share {
    /// The error with another window.
    fn with(&self, bits: u32) -> f64 {
        self.error * 8f64.powi(self.bits as i32 - bits as i32)
    }

    /// Words of its tables, with so many digits at most.
    fn words(&self, bits: u32, digits: usize) -> f64 {
        let words: f64 = split(bits - 1, digits).iter().map(|&w| 2f64.powi(w as i32) - 1.0).sum();
        words * self.numbers as f64
    }
}

/// Bits of the window of each comparison, so that the root of the mean square error of the result is at
/// most `goal`; at most `most`.
pub(super) fn allot(shares: &[Share], digits: usize, goal: f64, most: u32) -> Vec<u32> {
    let least: Vec<u32> = shares.iter().map(|s| s.bits.saturating_sub(FEWER).max(LEAST)).collect();
    let mut bits = least.clone();
    let error = |bits: &[u32]| shares.iter().zip(bits).map(|(s, &b)| s.with(b)).sum::<f64>();
    // What a bit more than `bits` costs a comparison.
    let words = |i: usize, bits: u32| shares[i].words(bits + 1, digits) - shares[i].words(bits, digits);
    while error(&bits) > goal * goal {
        let saved = |i: usize| {
            let less = shares[i].with(bits[i]) - shares[i].with(bits[i] + 1);
            less / words(i, bits[i]).max(1.0)
        };
        let best =
            (0..shares.len()).filter(|&i| bits[i] < most).max_by(|&a, &b| saved(a).total_cmp(&saved(b)));
        let Some(best) = best else { return bits };
        bits[best] += 1;
    }
    // The last ones may have made earlier ones needless.
    loop {
        let needless = |&i: &usize| {
            let mut fewer = bits.clone();
            fewer[i] -= 1;
            fewer[i] >= least[i] && error(&fewer) <= goal * goal
        };
        let dearest = |&a: &usize, &b: &usize| words(a, bits[a] - 1).total_cmp(&words(b, bits[b] - 1));
        let Some(i) = (0..shares.len()).filter(needless).max_by(dearest) else { return bits };
        bits[i] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_as_wide_as_their_share_and_their_words_say() {
        let share = |numbers, error| Share { numbers, bits: 10, error };
        // Among alike comparisons one that costs an eighth gets more bits; of as many, one that counts
        // more does.
        let shares = [share(8000, 1e-6), share(1000, 1e-6), share(8000, 8e-6), share(1, 0.0)];
        for (digits, goal) in [(3, 0.01), (3, 0.001), (6, 0.0001), (12, 1e-5)] {
            let bits = allot(&shares, digits, goal, 21);
            let error: f64 = shares.iter().zip(&bits).map(|(s, &b)| s.with(b)).sum();
            assert!(error <= goal * goal, "{bits:?}");
            assert!(bits[1] >= bits[0] && bits[2] >= bits[0], "{bits:?}");
            assert_eq!(bits[3], 8);
            // One bit less anywhere misses the goal.
            for i in 0..3 {
                let mut fewer = bits.clone();
                fewer[i] -= 1;
                let error: f64 = shares.iter().zip(&fewer).map(|(s, &b)| s.with(b)).sum();
                assert!(fewer[i] < 8 || error > goal * goal, "{digits} {goal}: {bits:?}");
            }
        }
        assert_eq!(allot(&shares, 3, 0.0, 14), [14; 4]);
        assert!(allot(&[], 3, 0.0, 14).is_empty());
    }
}
