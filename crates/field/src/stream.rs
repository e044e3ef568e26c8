//! Streams of pseudo-random elements: AES-128 in counter mode (`docs/protocol.md`, section 2).
//!
//! A stream has a sub-stream for every domain (chosen by the caller), limb and retry. Block `i` of
//! a sub-stream is AES of the 16 bytes `LE64(i) || LE64(domain | limb << 32 | retry << 40)`; word
//! `j` is the `j mod 2`-th little-endian half of block `j / 2`. Element `j` of a limb is the low 52
//! bits of word `j` of retry 0, or, when that is not below the prime, of retry 1, and so on:
//! position `j` never shifts, so any part of a stream can be expanded alone.

use std::fmt;

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use crate::binary::Gf128Vec;
use crate::bits::BitVec;
use crate::kernels::{self, Token};
use crate::parallel::{self, LIGHT};
use crate::prime::{Limbs, MASK52, Prime};
use crate::storage::Words;
use crate::vector::LimbVec;

/// A generator of uniform elements, random access. Round keys are wiped when it is dropped.
///
/// Runs the kernel that was active when it was made.
pub struct Stream {
    cipher: Cipher,
}

// The portable form is larger, but streams are few and short-lived: a box would cost more.
#[allow(clippy::large_enum_variant)]
enum Cipher {
    /// The `aes` crate, which wipes its keys itself.
    Portable(Aes128Enc),
    #[cfg(target_arch = "x86_64")]
    AesNi(kernels::AesNi),
    #[cfg(target_arch = "x86_64")]
    Vaes(kernels::Vaes),
}

/// Words of a sub-stream. A trait, so that tests can stub it.
trait WordSource {
    /// Fills `out` with words `first..` of the sub-stream.
    fn words(&self, sub_stream: u64, first: u64, out: &mut [u64]);
}

/// The high half of the counter blocks of a sub-stream.
fn sub_stream(domain: u32, limb: usize, retry: u32) -> u64 {
    debug_assert!(limb < 1 << 8 && retry < 1 << 24);
    u64::from(domain) | (limb as u64) << 32 | u64::from(retry) << 40
}

impl Stream {
    pub(crate) fn new(key: &[u8; 16]) -> Stream {
        let cipher = match Token::active() {
            Token::Scalar(_) => Cipher::Portable(Aes128Enc::new(key.into())),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(token) => Cipher::AesNi(kernels::AesNi::new(token, key)),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(token) => Cipher::Vaes(kernels::Vaes::new(token, key)),
        };
        Stream { cipher }
    }

    /// The first `len` uniform elements of a domain.
    pub fn sample(&self, domain: u32, limbs: Limbs, len: usize) -> LimbVec {
        self.sample_from(domain, limbs, 0, len)
    }

    /// Elements `first..first + len` of a domain: the same values as within a longer
    /// [`sample`](Self::sample).
    pub fn sample_from(&self, domain: u32, limbs: Limbs, first: u64, len: usize) -> LimbVec {
        let mut out = LimbVec::zeros(limbs, len);
        let split = parallel::split(len, limbs.count(), LIGHT);
        let part = split.part;
        let parts = out.planes_mut().enumerate().flat_map(|(l, (prime, plane))| {
            let parts = (first..).step_by(part).zip(plane.chunks_mut(part));
            parts.map(move |(at, part)| (prime, l, at, part))
        });
        split.for_each(parts, |(prime, l, at, part)| sample_plane(self, prime, domain, l, at, part));
        out
    }

    /// Bits `first..first + len` of a domain: bit `e` is bit `e % 64` of raw word `e / 64`.
    ///
    /// # Panics
    /// When `first` is not a multiple of 64.
    pub fn sample_bits(&self, domain: u32, first: u64, len: usize) -> BitVec {
        assert!(first.is_multiple_of(64), "bits from the middle of a word, {first}");
        let mut out = BitVec::zeros(len);
        self.words(domain, first / 64, out.words_mut());
        out.clear_rest();
        out
    }

    /// Elements `first..first + len` of GF(2^128) of a domain: two raw words each, the low
    /// coefficients first.
    pub fn sample_gf128(&self, domain: u32, first: u64, len: usize) -> Gf128Vec {
        let mut out = Gf128Vec::zeros(len);
        self.words(domain, 2 * first, out.words_mut());
        out
    }

    /// Adds elements `first..` of a domain to those of a vector, in one pass.
    pub fn add_sample_from(&self, domain: u32, first: u64, sum: &mut LimbVec) {
        self.with_samples(domain, first, sum, kernels::add_assign);
    }

    /// Subtracts elements `first..` of a domain from those of a vector, in one pass.
    pub fn sub_sample_from(&self, domain: u32, first: u64, rest: &mut LimbVec) {
        self.with_samples(domain, first, rest, kernels::sub_assign);
    }

    /// What is sampled stays in the first-level cache until it is used.
    fn with_samples(
        &self,
        domain: u32,
        first: u64,
        vector: &mut LimbVec,
        kernel: impl Fn(Prime, &mut [u64], &[u64]) + Sync,
    ) {
        let split = parallel::split(vector.len(), vector.limbs().count(), LIGHT);
        let part = split.part;
        let parts = vector.planes_mut().enumerate().flat_map(|(l, (prime, plane))| {
            let parts = (first..).step_by(part).zip(plane.chunks_mut(part));
            parts.map(move |(at, part)| (l, prime, at, part))
        });
        split.for_each(parts, |(l, prime, at, part)| {
            let mut sampled = Words::zeros(CHUNK.min(part.len()));
            for (at, chunk) in (at..).step_by(CHUNK).zip(part.chunks_mut(CHUNK)) {
                let sampled = &mut sampled[..chunk.len()];
                sample_plane(self, prime, domain, l, at, sampled);
                kernel(prime, chunk, sampled);
            }
        });
    }

    /// Raw words `first..` of a domain's sub-stream of limb 0 and retry 0.
    pub fn words(&self, domain: u32, first: u64, out: &mut [u64]) {
        WordSource::words(self, sub_stream(domain, 0, 0), first, out);
    }
}

impl WordSource for Stream {
    fn words(&self, sub_stream: u64, first: u64, out: &mut [u64]) {
        match &self.cipher {
            Cipher::Portable(cipher) => portable_words(cipher, sub_stream, first, out),
            #[cfg(target_arch = "x86_64")]
            Cipher::AesNi(cipher) => cipher.words(sub_stream, first, out),
            #[cfg(target_arch = "x86_64")]
            Cipher::Vaes(cipher) => cipher.words(sub_stream, first, out),
        }
    }
}

/// Blocks in one call of the portable cipher.
const BLOCKS: usize = 64;

fn portable_words(cipher: &Aes128Enc, sub_stream: u64, first: u64, out: &mut [u64]) {
    let mut blocks = [aes::Block::default(); BLOCKS];
    let (mut at, mut word) = (0, first);
    while at < out.len() {
        let skip = (word % 2) as usize;
        let count = (out.len() - at).min(2 * BLOCKS - skip);
        let blocks = &mut blocks[..(skip + count).div_ceil(2)];
        for (i, block) in blocks.iter_mut().enumerate() {
            block[..8].copy_from_slice(&(word / 2 + i as u64).to_le_bytes());
            block[8..].copy_from_slice(&sub_stream.to_le_bytes());
        }
        cipher.encrypt_blocks(blocks);
        for (j, value) in out[at..at + count].iter_mut().enumerate() {
            let bytes = &blocks[(skip + j) / 2][(skip + j) % 2 * 8..][..8];
            let mut half = [0; 8];
            half.copy_from_slice(bytes);
            *value = u64::from_le_bytes(half);
        }
        at += count;
        word += count as u64;
    }
}

/// Words that are sampled at a time, so that the second look at them is in the first-level cache.
const CHUNK: usize = 1024;

/// Fills a plane with uniform residues.
fn sample_plane(
    source: &impl WordSource,
    prime: Prime,
    domain: u32,
    limb: usize,
    first: u64,
    out: &mut [u64],
) {
    let mut position = first;
    for chunk in out.chunks_mut(CHUNK) {
        source.words(sub_stream(domain, limb, 0), position, chunk);
        if !kernels::mask52(prime, chunk) {
            for (j, value) in chunk.iter_mut().enumerate() {
                let mut retry = 0;
                while *value >= prime.value() {
                    retry += 1;
                    let mut word = [0];
                    source.words(sub_stream(domain, limb, retry), position + j as u64, &mut word);
                    *value = word[0] & MASK52;
                }
            }
        }
        position += chunk.len() as u64;
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, with_kernel};
    use crate::prg::Seed;
    use std::cell::RefCell;

    fn kernels() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// FIPS 197, appendix C.1, and NIST SP 800-38A, F.1.1 (blocks 3 and 4): key, plaintext,
    /// ciphertext.
    const VECTORS: [[&str; 3]; 3] = [
        [
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
        ],
        [
            "2b7e151628aed2a6abf7158809cf4f3c",
            "30c81c46a35ce411e5fbc1191a0a52ef",
            "43b1cd7f598ece23881b00e3ed030688",
        ],
        [
            "2b7e151628aed2a6abf7158809cf4f3c",
            "f69f2445df4f9b17ad2b417be66c3710",
            "7b0c785e27e8ad3f8223207104725dd4",
        ],
    ];

    #[test]
    fn the_cipher_is_aes() {
        let block = |hex: &str| u128::from_str_radix(hex, 16).unwrap().to_be_bytes();
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        for kernel in kernels() {
            for vector in VECTORS {
                let [key, plain, cipher] = vector.map(block);
                let stream = with_kernel(kernel, || Stream::new(&key));
                // The plaintext is the counter block: index and sub-stream.
                let first = word(&plain[..8]).checked_mul(2).unwrap();
                for len in [2, 70] {
                    let mut out = vec![0; len];
                    WordSource::words(&stream, word(&plain[8..]), first, &mut out);
                    assert_eq!(out[..2], [word(&cipher[..8]), word(&cipher[8..])], "{kernel:?}");
                }
            }
        }
    }

    #[test]
    fn kernels_and_positions_agree() {
        let seed = Seed::from_bytes([3; 32]);
        let streams: Vec<Stream> = kernels().map(|kernel| with_kernel(kernel, || seed.stream())).collect();
        let mut all = vec![0; 3000];
        streams[0].words(5, 0, &mut all);
        for stream in &streams {
            for first in [0, 1, 2, 7, 8, 127, 128, 1001] {
                for len in [0, 1, 2, 3, 8, 9, 63, 64, 65, 130, 1999] {
                    let mut part = vec![0; len];
                    stream.words(5, first as u64, &mut part);
                    assert_eq!(part, all[first..first + len], "{first} {len}");
                }
            }
            let whole = stream.sample(9, Limbs::THREE, 2500);
            assert_eq!(whole, streams[0].sample(9, Limbs::THREE, 2500));
            for (first, len) in [(0, 1), (1, 1), (17, 900), (1023, 3), (3, 2200), (2499, 1), (2500, 0)] {
                let part = stream.sample_from(9, Limbs::THREE, first as u64, len);
                assert_eq!(part, whole.slice(first..first + len));
                let mut sum = stream.sample(10, Limbs::THREE, len);
                let before = sum.clone();
                stream.add_sample_from(9, first as u64, &mut sum);
                let mut expected = before.clone();
                expected.add_assign(&part);
                assert_eq!(sum, expected);
                stream.sub_sample_from(9, first as u64, &mut sum);
                assert_eq!(sum, before);
            }
        }
    }

    #[test]
    fn domains_and_limbs_have_streams_of_their_own() {
        let stream = Seed::from_bytes([3; 32]).stream();
        let a = stream.sample(0, Limbs::TWO, 8);
        assert_ne!(a, stream.sample(1, Limbs::TWO, 8));
        assert_ne!(a.plane(0), a.plane(1));
        assert_ne!(a, Seed::from_bytes([4; 32]).stream().sample(0, Limbs::TWO, 8));
        let words: Vec<u64> =
            [(1, 0, 0), (0, 1, 0), (0, 0, 1), (u32::MAX, 2, 7)].map(|(d, l, r)| sub_stream(d, l, r)).to_vec();
        assert_eq!(words, [1, 1 << 32, 1 << 40, u64::from(u32::MAX) | 2 << 32 | 7 << 40]);
    }

    /// Words that are refused where `refused(position, retry)` says so.
    struct Stub<F> {
        refused: F,
        asked: RefCell<Vec<(u64, u64)>>,
    }

    impl<F: Fn(u64, u64) -> Option<u64>> WordSource for Stub<F> {
        fn words(&self, sub_stream: u64, first: u64, out: &mut [u64]) {
            let (domain, retry) = (sub_stream & ((1 << 40) - 1), sub_stream >> 40);
            assert_eq!(domain, 77 | 1 << 32, "the domain and limb never change");
            for (position, word) in (first..).zip(out) {
                if retry > 0 {
                    self.asked.borrow_mut().push((position, retry));
                }
                // Twelve high bits that must not matter.
                *word = (self.refused)(position, retry).unwrap_or(position << 20 | retry) | 0xabc << 52;
            }
        }
    }

    #[test]
    fn a_refused_word_is_drawn_again_in_its_place() {
        let (prime, len) = (Prime::of_limb(1), 2100);
        // The prime itself, the largest word, and one refused twice; p - 1 is fine.
        let refused = |position, retry| match (position, retry) {
            (1005, 0) | (2099, 0) => Some(prime.value()),
            (1030, 0..=1) | (1031, 0) => Some(MASK52),
            (1000, 0) => Some(prime.value() - 1),
            _ => None,
        };
        for kernel in kernels() {
            let stub = Stub { refused, asked: RefCell::default() };
            let mut out = vec![0; len];
            with_kernel(kernel, || sample_plane(&stub, prime, 77, 1, 0, &mut out));
            for (position, &residue) in out.iter().enumerate() {
                let retry = match position {
                    1005 | 1031 | 2099 => 1,
                    1030 => 2,
                    _ => 0,
                };
                let expected = (position as u64) << 20 | retry;
                assert_eq!(
                    residue,
                    if position == 1000 { prime.value() - 1 } else { expected },
                    "{position}"
                );
            }
            assert_eq!(*stub.asked.borrow(), [(1005, 1), (1030, 1), (1030, 2), (1031, 1), (2099, 1)]);
            // Once more from the middle.
            let mut part = vec![0; 1100];
            with_kernel(kernel, || sample_plane(&stub, prime, 77, 1, 1000, &mut part));
            assert_eq!(part, out[1000..]);
        }
    }

    #[test]
    fn samples_look_uniform() {
        // Chi-square over the 256 values of the top byte and of the low byte: 255 degrees of
        // freedom have a mean of 255 and a deviation of 22.6; the seed is fixed, so this never
        // fails by chance.
        let len = 1 << 16;
        let sample = Seed::from_bytes([8; 32]).stream().sample(0, Limbs::THREE, len);
        for l in 0..3 {
            for shift in [44, 0] {
                let mut counts = [0f64; 256];
                sample.plane(l).iter().for_each(|r| counts[(r >> shift & 0xff) as usize] += 1.0);
                let expected = len as f64 / 256.0;
                let chi: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
                assert!((150.0..370.0).contains(&chi), "limb {l}: {chi}");
            }
            assert!(sample.plane(l).iter().all(|&r| r < Prime::of_limb(l).value()));
        }
    }

    #[test]
    fn a_fixed_value_for_other_implementations() {
        for kernel in kernels() {
            let sample = with_kernel(kernel, || Seed::from_bytes([0; 32]).stream().sample(0, Limbs::ONE, 2));
            assert_eq!(sample.plane(0), FIXED, "{kernel:?}");
        }
    }

    /// Printed by this implementation once, so that the streams of a deployment never change
    /// unseen.
    const FIXED: [u64; 2] = [3_907_385_522_885_706, 3_086_980_768_858_645];
}
