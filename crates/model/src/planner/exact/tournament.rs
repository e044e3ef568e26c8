//! Largest numbers of windows along one axis, by as few comparisons of two as are shared between
//! windows.
//!
//! A window's numbers are paired up, the larger ones again, and so on: `ceil(log2 k)` levels for
//! `k` numbers. Windows that overlap share pairs. A place outside of the image is taken by one of
//! the same window inside, which changes no maximum; so padding needs no number that never wins.

use std::collections::HashMap;

/// One comparison of positions of two vectors; the result is the next vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The vectors: 0 is the axis itself, `i + 1` the result of step `i`.
    pub(super) vectors: [usize; 2],
    /// Positions compared.
    pub(super) pairs: Vec<[u32; 2]>,
}

/// The comparisons of all windows along one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tournament {
    /// In order; each uses earlier results only.
    pub(super) steps: Vec<Step>,
    /// The vector that holds the maxima, and the position of each window's.
    pub(super) vector: usize,
    pub(super) positions: Vec<u32>,
}

impl Tournament {
    /// For windows of `kernel` places, each `stride` further, `before` of them before the axis;
    /// `None` when a window holds no place of the axis.
    pub(super) fn of(
        size: usize,
        kernel: usize,
        stride: usize,
        before: usize,
        windows: usize,
    ) -> Option<Self> {
        // Places of every window, those outside taken by the nearest inside.
        let mut entries: Vec<(usize, Vec<u32>)> = Vec::with_capacity(kernel);
        for tap in 0..kernel {
            let place = |window: usize| {
                let first = (window * stride).max(before);
                let last = (window * stride + kernel).min(before + size).checked_sub(1)?;
                let at = (window * stride + tap).max(first).min(last);
                (first <= last).then(|| (at - before) as u32)
            };
            entries.push((0, (0..windows).map(place).collect::<Option<Vec<u32>>>()?));
        }
        let mut steps: Vec<Step> = Vec::new();
        while entries.len() > 1 {
            let (mut places, mut next) = (HashMap::new(), Vec::with_capacity(entries.len().div_ceil(2)));
            // Steps of this level by the vectors they compare.
            let mut level: HashMap<[usize; 2], usize> = HashMap::new();
            for pair in entries.chunks(2) {
                let [(left, at), (right, beside)] = pair else {
                    next.push(pair[0].clone());
                    continue;
                };
                let vectors = [*left, *right];
                let step = *level.entry(vectors).or_insert_with(|| {
                    steps.push(Step { vectors, pairs: Vec::new() });
                    steps.len() - 1
                });
                let position = |(&a, &b): (&u32, &u32)| {
                    *places.entry((step, a, b)).or_insert_with(|| {
                        steps[step].pairs.push([a, b]);
                        (steps[step].pairs.len() - 1) as u32
                    })
                };
                next.push((step + 1, at.iter().zip(beside).map(position).collect()));
            }
            entries = next;
        }
        let (vector, positions) = entries.pop()?;
        Some(Tournament { steps, vector, positions })
    }

    /// Comparisons for one line of the other axis.
    pub(super) fn comparisons(&self) -> usize {
        self.steps.iter().map(|s| s.pairs.len()).sum()
    }

    /// Whether these positions are a whole vector in its order.
    pub(super) fn is_whole(positions: &[u32], len: usize) -> bool {
        positions.len() == len && positions.iter().zip(0..).all(|(p, i)| *p == i)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // windows that are refused fail the test
    use super::*;

    fn run(t: &Tournament, x: &[i32]) -> Vec<i32> {
        let mut vectors = vec![x.to_vec()];
        for step in &t.steps {
            let [left, right] = step.vectors.map(|v| vectors[v].clone());
            vectors.push(step.pairs.iter().map(|[a, b]| left[*a as usize].max(right[*b as usize])).collect());
        }
        t.positions.iter().map(|&p| vectors[t.vector][p as usize]).collect()
    }

    #[test]
    fn windows_of_every_shape_have_their_maximum() {
        let mut refused = 0;
        for (size, kernel, stride, before, after) in
            itertools(&[1, 2, 5, 9], &[1, 2, 3, 4, 5, 7], &[1, 2, 3], &[0, 1, 3], &[0, 1, 2, 5])
        {
            if size + before + after < kernel {
                continue;
            }
            let windows = (size + before + after - kernel) / stride + 1;
            let x: Vec<i32> = (0..size as i32).map(|i| (i * 37 + 11) % 23 - 11).collect();
            let window = |w: usize| {
                let places = (w * stride..w * stride + kernel).filter_map(|p| p.checked_sub(before));
                places.filter_map(|p| x.get(p).copied()).max()
            };
            let expected: Option<Vec<i32>> = (0..windows).map(window).collect();
            let found = Tournament::of(size, kernel, stride, before, windows);
            assert_eq!(found.as_ref().map(|t| run(t, &x)), expected, "{size} {kernel} {stride} {before}");
            refused += usize::from(expected.is_none());
        }
        assert!(refused > 5);
    }

    type Five = (usize, usize, usize, usize, usize);

    fn itertools(a: &[usize], b: &[usize], c: &[usize], d: &[usize], e: &[usize]) -> Vec<Five> {
        let mut all = Vec::new();
        for &a in a {
            for &b in b {
                for &c in c {
                    for &d in d {
                        all.extend(e.iter().map(|&e| (a, b, c, d, e)));
                    }
                }
            }
        }
        all
    }

    #[test]
    fn overlapping_windows_share_pairs() {
        // 112 places, windows of 3 at every second: two comparisons each.
        let t = Tournament::of(112, 3, 2, 1, 56).unwrap();
        assert_eq!(t.comparisons(), 2 * 56);
        // Windows of 5 at every place: pairs and fours are shared, about three each.
        let t = Tournament::of(20, 5, 1, 2, 20).unwrap();
        assert!(t.comparisons() < 3 * 20 + 8, "{}", t.comparisons());
        assert_eq!(t.steps.len(), 3);
    }
}
