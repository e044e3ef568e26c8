//! Lifting to integers, comparing with half the modulus, shifting, and back to residues
//! (`docs/protocol.md`, 5 and 6.3), on integers of up to three 52-bit words.
//!
//! Everything is arithmetic on masks: no branch and no address depends on a value.

use ethnum::U256;

use super::lanes::{Lanes, Residues};
use crate::element::INVERSES;
use crate::prime::{Limbs, MASK52, PRIMES, Prime};

/// The words of a constant below `2^(52 L)`.
fn constant(x: U256) -> [u64; 3] {
    std::array::from_fn(|i| (x >> (52 * i as u32)).as_u64() & MASK52)
}

/// Residues and integers of `L` limbs.
struct Integers<S: Lanes, const L: usize> {
    s: S,
    /// Arithmetic modulo each prime.
    f: [Residues<S>; L],
}

impl<S: Lanes, const L: usize> Integers<S, L> {
    #[inline(always)]
    fn new(s: S) -> Self {
        Integers { s, f: std::array::from_fn(|l| Residues::new(s, Prime::of_limb(l))) }
    }

    /// Canonical residues at `at` to the words of the integer in `[0, Q)`: Garner's digits
    /// `t_l < p_l`, then `t_1 + p_1 (t_2 + p_2 t_3)` word by word.
    #[inline(always)]
    fn lift(&self, planes: &[&[u64]], at: usize) -> [S::V; L] {
        let s = self.s;
        let mut digits = [s.splat(0); L];
        for l in 0..L {
            let mut t = s.load(planes[l], at);
            for k in 0..l {
                // A digit below p_k is below p_l + 2^8.
                let digit = self.f[l].canonical_2p(digits[k]);
                t = self.f[l].mul(self.f[l].sub(t, digit), s.splat(INVERSES[l][k]));
            }
            digits[l] = t;
        }
        let mut words = [s.splat(0); L];
        words[0] = digits[L - 1];
        for l in (0..L - 1).rev() {
            // words = words * p_l + digits[l]; the low half of one product, the high half of the
            // one before and a carry are below 2^54.
            let p = s.splat(PRIMES[l]);
            let mut above = digits[l];
            for word in words.iter_mut().take(L - l) {
                let low = s.madd_lo(above, *word, p);
                above = s.madd_hi(s.shr(low, 52), *word, p);
                *word = s.and(low, s.splat(MASK52));
            }
        }
        words
    }

    /// All ones where `words < bound`: the borrow that leaves the top word.
    #[inline(always)]
    fn below(&self, words: &[S::V; L], bound: &[u64; 3]) -> S::V {
        let s = self.s;
        let mut borrow = s.splat(0);
        for l in 0..L {
            borrow = s.shr(s.sub(s.sub(words[l], s.splat(bound[l])), borrow), 63);
        }
        s.sub(s.splat(0), borrow)
    }

    /// `words + (constant and mask)`, for sums below `2^(52 L)`.
    #[inline(always)]
    fn add_masked(&self, words: &mut [S::V; L], constant: &[u64; 3], mask: S::V) {
        let s = self.s;
        let mut carry = s.splat(0);
        for l in 0..L {
            let sum = s.add(s.add(words[l], s.and(s.splat(constant[l]), mask)), carry);
            words[l] = s.and(sum, s.splat(MASK52));
            carry = s.shr(sum, 52);
        }
    }

    /// `floor(words / 2^(52 SKIP + bits))`, `bits < 52`.
    #[inline(always)]
    fn shift<const SKIP: usize>(&self, words: &[S::V; L], bits: u32) -> [S::V; L] {
        let s = self.s;
        std::array::from_fn(|l| match l + SKIP {
            top if top + 1 == L => s.shr(words[top], bits),
            low if low + 1 < L => {
                s.or(s.shr(words[low], bits), s.and(s.shl(words[low + 1], 52 - bits), s.splat(MASK52)))
            }
            _ => s.splat(0),
        })
    }

    /// The residue of `words` modulo prime `l`: `w_0 + c w_1 + c^2 w_2`, where `2^52 = c`. The sum
    /// of low halves stays below 3 2^52, the high halves below 2^9, so one more step ends below 4
    /// p.
    #[inline(always)]
    fn residue(&self, words: &[S::V; L], l: usize) -> S::V {
        let s = self.s;
        let c = Prime::of_limb(l).complement();
        let (mut low, mut high, mut power) = (words[0], s.splat(0), 1);
        for &word in &words[1..] {
            power *= c;
            low = s.madd_lo(low, word, s.splat(power));
            high = s.madd_hi(high, word, s.splat(power));
        }
        self.f[l].canonical_4p(s.madd_lo(low, high, s.splat(c)))
    }
}

/// Runs `$function::<S, L, SKIP>` for the limbs and the whole words of a shift.
macro_rules! for_limbs_and_words {
    ($limbs:expr, $skip:expr, $function:ident($($arg:expr),*)) => {
        match ($limbs.count(), $skip) {
            (1, 0) => $function::<S, 1, 0>($($arg),*),
            (2, 0) => $function::<S, 2, 0>($($arg),*),
            (2, 1) => $function::<S, 2, 1>($($arg),*),
            (3, 0) => $function::<S, 3, 0>($($arg),*),
            (3, 1) => $function::<S, 3, 1>($($arg),*),
            (3, 2) => $function::<S, 3, 2>($($arg),*),
            _ => unreachable!("a shift is shorter than the modulus"),
        }
    };
}

/// `wrap = [D < floor(Q / 2)]` and `v = floor(D / 2^shift) - 2^(ell - shift)` modulo every prime.
#[inline(always)]
pub(super) fn open<S: Lanes>(
    s: S,
    limbs: Limbs,
    shift: u32,
    ell: u32,
    d: &[&[u64]],
    v: &mut [&mut [u64]],
    wrap: &mut [u64],
) {
    for_limbs_and_words!(limbs, shift / 52, open_words(s, limbs, shift % 52, ell - shift, d, v, wrap));
}

#[inline(always)]
fn open_words<S: Lanes, const L: usize, const SKIP: usize>(
    s: S,
    limbs: Limbs,
    bits: u32,
    offset: u32,
    d: &[&[u64]],
    v: &mut [&mut [u64]],
    wrap: &mut [u64],
) {
    let n = Integers::<S, L>::new(s);
    let half = constant(limbs.modulus() / 2);
    let offsets: [S::V; L] = std::array::from_fn(|l| s.splat(Prime::of_limb(l).pow(2, u64::from(offset))));
    for i in (0..wrap.len()).step_by(S::COUNT) {
        let words = n.lift(d, i);
        s.store(wrap, i, n.below(&words, &half));
        let words = n.shift::<SKIP>(&words, bits);
        for l in 0..L {
            s.store(v[l], i, n.f[l].sub(n.residue(&words, l), offsets[l]));
        }
    }
}

/// `mu_c = floor((r - Q [c and r >= (Q + 1) / 2]) / 2^shift)` modulo every prime.
///
/// For the large `r` of wrap bit 1:
/// `floor((r - Q) / 2^s) = floor((r - Q + 2^(52 L)) / 2^s) - 2^(52 L - s)`.
#[inline(always)]
pub(super) fn mask<S: Lanes>(
    s: S,
    limbs: Limbs,
    shift: u32,
    wrap: bool,
    r: &[&[u64]],
    mu: &mut [&mut [u64]],
) {
    for_limbs_and_words!(limbs, shift / 52, mask_words(s, limbs, shift, wrap, r, mu));
}

#[inline(always)]
fn mask_words<S: Lanes, const L: usize, const SKIP: usize>(
    s: S,
    limbs: Limbs,
    shift: u32,
    wrap: bool,
    r: &[&[u64]],
    mu: &mut [&mut [u64]],
) {
    let n = Integers::<S, L>::new(s);
    let modulus = limbs.modulus();
    let half = constant(modulus / 2 + 1);
    let complement = constant((U256::ONE << limbs.bits()) - modulus);
    let back: [S::V; L] =
        std::array::from_fn(|l| s.splat(Prime::of_limb(l).pow(2, u64::from(limbs.bits() - shift))));
    let wanted = s.splat(if wrap { u64::MAX } else { 0 });
    for i in (0..r[0].len()).step_by(S::COUNT) {
        let mut words = n.lift(r, i);
        let small = n.below(&words, &half);
        // All ones where wrap bit 1 is asked for and r is not small.
        let large = s.sub(wanted, s.and(wanted, small));
        n.add_masked(&mut words, &complement, large);
        let words = n.shift::<SKIP>(&words, shift % 52);
        for l in 0..L {
            s.store(mu[l], i, n.f[l].sub(n.residue(&words, l), s.and(back[l], large)));
        }
    }
}

/// `floor(x / 2^unit) mod 2^width` of the lifted integers, `width <= 52`.
#[inline(always)]
pub(super) fn window<S: Lanes>(s: S, limbs: Limbs, unit: u32, width: u32, x: &[&[u64]], window: &mut [u64]) {
    for_limbs_and_words!(limbs, unit / 52, window_words(s, limbs, unit % 52, width, x, window));
}

#[inline(always)]
fn window_words<S: Lanes, const L: usize, const SKIP: usize>(
    s: S,
    limbs: Limbs,
    bits: u32,
    width: u32,
    x: &[&[u64]],
    window: &mut [u64],
) {
    debug_assert!(limbs.count() == L && width <= 52);
    let n = Integers::<S, L>::new(s);
    let mask = s.splat((1 << width) - 1);
    for i in (0..window.len()).step_by(S::COUNT) {
        let words = n.shift::<SKIP>(&n.lift(x, i), bits);
        s.store(window, i, s.and(words[0], mask));
    }
}

/// All ones where `r >= (Q + 1) / 2`.
#[inline(always)]
pub(super) fn high_half<S: Lanes>(s: S, limbs: Limbs, r: &[&[u64]], high: &mut [u64]) {
    for_limbs_and_words!(limbs, 0, high_half_words(s, limbs, r, high));
}

#[inline(always)]
fn high_half_words<S: Lanes, const L: usize, const SKIP: usize>(
    s: S,
    limbs: Limbs,
    r: &[&[u64]],
    high: &mut [u64],
) {
    let n = Integers::<S, L>::new(s);
    let half = constant(limbs.modulus() / 2 + 1);
    for i in (0..high.len()).step_by(S::COUNT) {
        let small = n.below(&n.lift(r, i), &half);
        s.store(high, i, s.sub(s.splat(u64::MAX), small));
    }
}
