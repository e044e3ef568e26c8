//! 52-bit packing of one plane: two residues in 13 bytes, an odd last one in 7.

use super::lanes::{Lanes, Residues};
use super::product::LANES;
use crate::prime::{MASK52, Prime};

/// Bytes of eight packed residues.
pub(super) const BYTES: usize = LANES * 52 / 8;

/// Packs a plane; `out` has exactly the bytes of the plane.
///
/// Inputs below 2^52. The floor is memory: 8 bytes are read and 6.5 written an element.
#[inline(always)]
pub(super) fn pack<S: Lanes>(s: S, plane: &[u64], out: &mut [u8]) {
    let (blocks, rest) = plane.as_chunks::<LANES>();
    let (block_bytes, rest_bytes) = out.split_at_mut(blocks.len() * BYTES);
    for (words, bytes) in blocks.iter().zip(block_bytes.as_chunks_mut::<BYTES>().0) {
        s.pack8(words, bytes);
    }
    for (pair, bytes) in rest.chunks(2).zip(rest_bytes.chunks_mut(13)) {
        let low = u128::from(pair[0]);
        let high = pair.get(1).map_or(0, |&word| u128::from(word));
        let packed = (low | high << 52).to_le_bytes();
        bytes.copy_from_slice(&packed[..bytes.len()]);
    }
}

/// Unpacks a plane from exactly its bytes, or adds it to the plane when `accumulate`. Returns
/// whether every residue was below the prime and the padding zero; if not, the plane holds
/// unspecified words below 2^53.
#[inline(always)]
pub(super) fn unpack<S: Lanes>(
    s: S,
    prime: Prime,
    bytes: &[u8],
    plane: &mut [u64],
    accumulate: bool,
) -> bool {
    let f = Residues::new(s, prime);
    let (blocks, rest) = plane.as_chunks_mut::<LANES>();
    let (block_bytes, rest_bytes) = bytes.split_at(blocks.len() * BYTES);
    // The top bit of `x - p` is set exactly when `x < p`; it must stay set in the conjunction of
    // all.
    let p = s.splat(prime.value());
    let mut all = s.splat(u64::MAX);
    for (words, bytes) in blocks.iter_mut().zip(block_bytes.as_chunks::<BYTES>().0) {
        let unpacked = s.unpack8(bytes);
        for i in (0..LANES).step_by(S::COUNT) {
            let mut x = s.load(&unpacked, i);
            all = s.and(all, s.sub(x, p));
            if accumulate {
                x = f.add(x, s.load(words, i));
            }
            s.store(words, i, x);
        }
    }
    let mut correct = s.total(s.shr(all, 63)) == S::COUNT as u64;
    for (pair, bytes) in rest.chunks_mut(2).zip(rest_bytes.chunks(13)) {
        let mut packed = [0; 16];
        packed[..bytes.len()].copy_from_slice(bytes);
        let mut packed = u128::from_le_bytes(packed);
        for word in pair {
            let x = packed as u64 & MASK52;
            packed >>= 52;
            correct &= x < prime.value();
            *word = if accumulate { prime.reduce(*word + x) } else { x };
        }
        correct &= packed == 0;
    }
    correct
}

/// [`Lanes::pack8`] in plain Rust.
pub(super) fn pack8(words: &[u64; LANES], bytes: &mut [u8; BYTES]) {
    for (pair, bytes) in words.as_chunks::<2>().0.iter().zip(bytes.as_chunks_mut::<13>().0) {
        let packed = u128::from(pair[0]) | u128::from(pair[1]) << 52;
        bytes.copy_from_slice(&packed.to_le_bytes()[..13]);
    }
}

/// [`Lanes::unpack8`] in plain Rust.
pub(super) fn unpack8(bytes: &[u8; BYTES]) -> [u64; LANES] {
    let mut words = [0; LANES];
    for (pair, bytes) in words.as_chunks_mut::<2>().0.iter_mut().zip(bytes.as_chunks::<13>().0) {
        let (low, high) = (word(&bytes[..8]), word(&bytes[5..]));
        // Bits 0..52 and 52..104; the upper word starts at bit 40.
        *pair = [low & MASK52, high >> 12];
    }
    words
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
