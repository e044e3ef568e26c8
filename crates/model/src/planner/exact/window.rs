//! Windows of comparisons and their digits.

use crate::scales::guard_bits;

/// Bits of a window beyond the calibrated range with its margin, at least.
const GUARD: i64 = 1;

/// Unit and digits of one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) unit: u32,
    pub(super) digits: Vec<u32>,
}

impl Window {
    /// A window of at most `bits` bits for numbers of scale `scale` that lie up to `range` away
    /// from thresholds, inside a ring of `ring` bits; `None` when it does not fit.
    pub(super) fn of(scale: u32, range: f64, bits: u32, digits: usize, ring: u32) -> Option<Self> {
        let half = half(scale, range);
        let window = i64::from(bits).min(half + 1).max(2);
        let unit = half + 1 - window;
        if !Window::fits(scale, range, ring) {
            return None;
        }
        Some(Window { unit: unit as u32, digits: split(window as u32 - 1, digits) })
    }

    /// Whether a window for such numbers is inside the ring.
    pub(super) fn fits(scale: u32, range: f64, ring: u32) -> bool {
        half(scale, range) < i64::from(ring)
    }

    /// Bits of the window.
    pub(super) fn bits(&self) -> u32 {
        1 + self.digits.iter().sum::<u32>()
    }
}

/// Bits of the half of a window that holds numbers up to `range` and a guard bit: one at least, as
/// numbers far below one unit of the scale need no more.
fn half(scale: u32, range: f64) -> i64 {
    (i64::from(scale) + guard_bits(range) + GUARD).max(1)
}

/// `bits` bits as at most `count` digits, as even as possible, wider ones first.
pub(in crate::planner) fn split(bits: u32, count: usize) -> Vec<u32> {
    let count = (count as u32).clamp(1, bits);
    (0..count).map(|i| bits / count + u32::from(i < bits % count)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a window that does not fit fails the test
    use super::*;

    #[test]
    fn windows_hold_the_range_and_a_guard_bit() {
        for scale in [0, 7, 13, 26, 39] {
            for range in [1e-9, 0.01, 0.99, 1.0, 1.5, 7.3, 60.0] {
                for bits in [9, 13, 16] {
                    let Some(w) = Window::of(scale, range, bits, 6, 52) else { continue };
                    let half = 2f64.powi((w.unit + w.bits() - 1) as i32);
                    assert!(half >= 2.0 * range * 2f64.powi(scale as i32), "{scale} {range} {bits}");
                    assert!(w.bits() <= bits && w.digits.len() <= 6);
                    assert!(w.unit == 0 || w.bits() == bits);
                }
            }
        }
        assert_eq!(Window::of(26, 7.9, 13, 6, 52).unwrap(), Window { unit: 18, digits: vec![2; 6] });
        assert_eq!(Window::of(26, 7.9, 10, 3, 52).unwrap().digits, [3, 3, 3]);
        assert_eq!(Window::of(26, 7.9, 14, 6, 52).unwrap().digits, [3, 2, 2, 2, 2, 2]);
        // 2^49 and a guard bit fit into one limb, more does not.
        assert!(Window::of(48, 1.9, 13, 6, 52).is_some() && Window::of(50, 1.9, 13, 6, 52).is_none());
    }
}
