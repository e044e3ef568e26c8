//! A small seeded generator for shuffling and augmentation.
//!
//! Not for secrets: its only merit is that a seed gives the same training run everywhere.
//! xoshiro256++ (Blackman, Vigna: "Scrambled linear pseudorandom number generators", 2021), seeded
//! by SplitMix64 as its authors advise.

/// Streams of a run's seed, one for each kind of choice.
pub(crate) mod stream {
    /// Which images are held out.
    pub(crate) const SPLIT: u64 = 1;
    /// First weights.
    pub(crate) const INIT: u64 = 2;
    /// Order of the images.
    pub(crate) const ORDER: u64 = 3;
    /// Shifts and rotations.
    pub(crate) const AUGMENT: u64 = 4;
    /// Which images are mirrored in even epochs.
    pub(crate) const MIRROR: u64 = 5;
    /// Shifts and rotations of the images that statistics are computed anew over.
    pub(crate) const STATISTICS: u64 = 6;
}

/// xoshiro256++ with helpers for what training draws.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of a seed and a stream number; different streams of one seed are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut x = seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// The generator at a position that [`Rng::state`] gave.
    pub(crate) fn from_state(state: [u64; 4]) -> Self {
        Self { state }
    }

    /// The generator's position.
    pub(crate) fn state(&self) -> [u64; 4] {
        self.state
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `0..n` (multiply-shift; the bias of at most n / 2^64 does not matter here). `n`
    /// must not be 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in `[-1, 1)`.
    pub(crate) fn symmetric(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Fisher-Yates: every order equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_outputs_of_a_known_state() {
        // From the reference implementation with state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!(
            [rng.next_u64(), rng.next_u64(), rng.next_u64()],
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    #[test]
    fn streams_and_seeds_differ_and_repeat() {
        let first = |seed, stream| Rng::new(seed, stream).next_u64();
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
    }

    #[test]
    fn a_position_can_be_kept() {
        let mut rng = Rng::new(1, 1);
        rng.next_u64();
        let mut again = Rng::from_state(rng.state());
        assert_eq!(
            (0..5).map(|_| rng.next_u64()).fold(0, u64::wrapping_add),
            (0..5).map(|_| again.next_u64()).fold(0, u64::wrapping_add)
        );
    }

    #[test]
    fn shuffle_keeps_the_items_and_moves_them() {
        let mut items: Vec<usize> = (0..1000).collect();
        Rng::new(7, 0).shuffle(&mut items);
        assert!(items.iter().enumerate().filter(|(i, x)| i == *x).count() < 10);
        items.sort_unstable();
        assert!(items.iter().enumerate().all(|(i, &x)| i == x));
    }

    #[test]
    fn ranges_hold_and_are_used_evenly() {
        let mut rng = Rng::new(3, 0);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[rng.below(5)] += 1;
            let x = rng.symmetric();
            assert!((-1.0..1.0).contains(&x));
        }
        assert!(seen.iter().all(|&n| (900..1100).contains(&n)), "{seen:?}");
    }
}
