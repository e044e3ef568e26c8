//! AES-128 in counter mode without AVX-512: AES-NI, one block in a vector, or VAES with two where
//! there is that.
//!
//! The floor: Zen 3 issues two rounds a cycle, ten a block, so 3.2 bytes a cycle with AES-NI and
//! 6.4 with VAES, as long as eight vectors are in flight.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::vaes::RoundKeys;

/// Vectors in flight.
const VECTORS: usize = 8;

/// A cipher that was only made where the instructions exist.
pub(crate) struct AesNi {
    keys: RoundKeys,
    /// Whether there are rounds for two blocks at a time.
    pairs: bool,
}

impl AesNi {
    /// The cipher with `key`.
    pub(crate) fn new(_: Avx2, key: &[u8; 16]) -> AesNi {
        // SAFETY: the argument proves that the instructions exist.
        AesNi { keys: unsafe { RoundKeys::new(key) }, pairs: is_x86_feature_detected!("vaes") }
    }

    /// Fills `out` with words `first..` of the key stream whose counter blocks are
    /// `(index, sub_stream)`.
    pub(crate) fn words(&self, sub_stream: u64, first: u64, out: &mut [u64]) {
        // A start in the middle of a block.
        let (head, out) = out.split_at_mut(out.len().min((first % 2) as usize));
        if let [head] = head {
            let mut block = [0; 2];
            // SAFETY: whoever made this cipher had the proof that the instructions exist.
            unsafe { single(&self.keys, sub_stream, first / 2, &mut block) };
            *head = block[1];
            super::wipe(&mut block);
        }
        let block = first.div_ceil(2);
        // SAFETY: as above, and for `pairs` they were detected.
        let done = unsafe {
            if self.pairs {
                pairs(&self.keys, sub_stream, block, out)
            } else {
                single(&self.keys, sub_stream, block, out)
            }
        };
        let rest = &mut out[done..];
        if !rest.is_empty() {
            let mut last = [0; 4 * VECTORS];
            let last = &mut last[..rest.len().next_multiple_of(2)];
            // SAFETY: as above.
            unsafe { single(&self.keys, sub_stream, block + done as u64 / 2, last) };
            rest.copy_from_slice(&last[..rest.len()]);
            super::wipe(last);
        }
    }
}

/// Fills whole blocks of `out`, `VECTORS` at a time as long as there are so many, and returns how
/// many words that were.
#[target_feature(enable = "aes,avx2")]
fn single(keys: &RoundKeys, sub_stream: u64, first: u64, out: &mut [u64]) -> usize {
    let key = keys.vectors();
    let mut block = first;
    let (chunks, rest) = out.as_chunks_mut::<{ 2 * VECTORS }>();
    let done = 2 * VECTORS * chunks.len();
    let counter = |block: u64| _mm_set_epi64x(sub_stream as i64, block as i64);
    for chunk in chunks {
        let mut v: [__m128i; VECTORS] =
            std::array::from_fn(|i| _mm_xor_si128(counter(block.wrapping_add(i as u64)), key[0]));
        for key in &key[1..10] {
            for v in &mut v {
                *v = _mm_aesenc_si128(*v, *key);
            }
        }
        for (words, v) in chunk.as_chunks_mut::<2>().0.iter_mut().zip(v) {
            // SAFETY: 16 bytes are written to two words.
            unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), _mm_aesenclast_si128(v, key[10])) };
        }
        block = block.wrapping_add(VECTORS as u64);
    }
    let pairs = rest.as_chunks_mut::<2>().0;
    for words in &mut *pairs {
        let mut v = _mm_xor_si128(counter(block), key[0]);
        for key in &key[1..10] {
            v = _mm_aesenc_si128(v, *key);
        }
        // SAFETY: 16 bytes are written to two words.
        unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), _mm_aesenclast_si128(v, key[10])) };
        block = block.wrapping_add(1);
    }
    done + 2 * pairs.len()
}

/// Fills whole blocks of `out`, `2 VECTORS` at a time as long as there are so many, and returns how
/// many words that were.
#[target_feature(enable = "aes,vaes,avx2")]
fn pairs(keys: &RoundKeys, sub_stream: u64, first: u64, out: &mut [u64]) -> usize {
    let key = keys.vectors().map(|key| _mm256_broadcastsi128_si256(key));
    let sub = sub_stream as i64;
    let mut counter = _mm256_set_epi64x(sub, first.wrapping_add(1) as i64, sub, first as i64);
    let two = _mm256_set_epi64x(0, 2, 0, 2);
    let chunks = out.as_chunks_mut::<{ 4 * VECTORS }>().0;
    for chunk in &mut *chunks {
        let mut v = [counter; VECTORS];
        for i in 1..VECTORS {
            v[i] = _mm256_add_epi64(v[i - 1], two);
        }
        counter = _mm256_add_epi64(v[VECTORS - 1], two);
        for v in &mut v {
            *v = _mm256_xor_si256(*v, key[0]);
        }
        for key in &key[1..10] {
            for v in &mut v {
                *v = _mm256_aesenc_epi128(*v, *key);
            }
        }
        for (words, v) in chunk.as_chunks_mut::<4>().0.iter_mut().zip(v) {
            // SAFETY: 32 bytes are written to four words.
            unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), _mm256_aesenclast_epi128(v, key[10])) };
        }
    }
    4 * VECTORS * chunks.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, Token, with_kernel};

    #[test]
    fn one_block_and_two_at_a_time_give_the_same() {
        if !Kernel::Avx2.is_available() {
            return;
        }
        let Token::Avx2(token) = with_kernel(Kernel::Avx2, Token::active) else {
            unreachable!("just chosen")
        };
        let cipher = AesNi::new(token, &[7; 16]);
        let single = AesNi { pairs: false, ..AesNi::new(token, &[7; 16]) };
        for len in (0..4 * 4 * VECTORS).chain([1000]) {
            for first in [0, 1, 2, 31, u64::MAX - 1] {
                let (mut a, mut b) = (vec![0; len], vec![1; len]);
                cipher.words(5, first, &mut a);
                single.words(5, first, &mut b);
                assert_eq!(a, b, "{len} words from {first}");
            }
        }
    }
}
