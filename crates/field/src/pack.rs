//! The form of elements on the wire and on disk: 52 bits a residue (`docs/protocol.md`, section 2).
//!
//! Plane after plane; within a plane two residues take 13 bytes, little endian, and an odd last one
//! takes 7 bytes whose top 4 bits are zero. There is exactly one encoding of a vector.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::UnpackError;
use crate::kernels;
use crate::parallel::{self, LIGHT};
use crate::prime::{Limbs, MASK52, PRIMES};
use crate::vector::LimbVec;

/// Bytes of one packed plane. Saturates: no buffer has that many bytes.
const fn plane_bytes(len: usize) -> usize {
    (len / 2).saturating_mul(13).saturating_add(len % 2 * 7)
}

/// Bytes of `len` packed elements: `13 L` for every two, `7 L` for an odd last one. Saturates at
/// `usize::MAX`.
pub const fn packed_len(limbs: Limbs, len: usize) -> usize {
    plane_bytes(len).saturating_mul(limbs.count())
}

/// Appends the packed form of a vector, [`packed_len`] bytes.
pub fn pack_into(vector: &LimbVec, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + packed_len(vector.limbs(), vector.len()), 0);
    pack_to(vector, &mut out[start..]);
}

/// Writes the packed form of a vector.
///
/// # Panics
/// Unless `packed` is [`packed_len`] bytes long.
pub fn pack_to(vector: &LimbVec, packed: &mut [u8]) {
    assert_eq!(packed.len(), packed_len(vector.limbs(), vector.len()), "bytes of another vector");
    // `max(1)`: chunks of an empty vector.
    let planes = packed.chunks_exact_mut(plane_bytes(vector.len()).max(1));
    let split = parallel::split(vector.len(), vector.limbs().count(), LIGHT);
    let part = split.part;
    let parts = planes
        .enumerate()
        .flat_map(|(l, bytes)| vector.plane(l).chunks(part).zip(bytes.chunks_mut(plane_bytes(part))));
    split.for_each(parts, |(plane, bytes)| kernels::pack(plane, bytes));
}

/// Reads a vector of `len` elements from exactly its packed bytes.
///
/// Allocates in proportion to the bytes that are there, whatever `len` says.
///
/// # Errors
/// When the number of bytes is not [`packed_len`], a residue is not below its prime, or padding
/// bits are not zero.
pub fn unpack(limbs: Limbs, len: usize, bytes: &[u8]) -> Result<LimbVec, UnpackError> {
    check_length(limbs, len, bytes)?;
    let mut vector = LimbVec::zeros(limbs, len);
    unpack_planes(&mut vector, 0..len, bytes, false)?;
    Ok(vector)
}

/// Reads elements of a vector from exactly their packed bytes, those of a vector of their own.
///
/// # Errors
/// What [`unpack`] refuses. The elements are unspecified then.
///
/// # Panics
/// When the vector does not have these elements.
pub fn unpack_part(vector: &mut LimbVec, range: Range<usize>, bytes: &[u8]) -> Result<(), UnpackError> {
    assert!(range.start <= range.end && range.end <= vector.len(), "elements of another vector");
    check_length(vector.limbs(), range.len(), bytes)?;
    unpack_planes(vector, range, bytes, false)
}

/// Reads a vector as [`unpack`] does and adds it to `accumulator`, in one pass.
///
/// # Errors
/// What [`unpack`] refuses. After [`UnpackError::NotCanonical`] or [`UnpackError::Padding`] the
/// accumulator holds unspecified elements and must be thrown away.
pub fn unpack_add(accumulator: &mut LimbVec, bytes: &[u8]) -> Result<(), UnpackError> {
    check_length(accumulator.limbs(), accumulator.len(), bytes)?;
    let result = unpack_planes(accumulator, 0..accumulator.len(), bytes, true);
    if result.is_err() {
        // Whatever it holds, it holds canonical residues.
        *accumulator = LimbVec::zeros(accumulator.limbs(), accumulator.len());
    }
    result
}

fn check_length(limbs: Limbs, len: usize, bytes: &[u8]) -> Result<(), UnpackError> {
    let expected = packed_len(limbs, len);
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(UnpackError::Length { len, expected, got: bytes.len() })
    }
}

fn unpack_planes(
    vector: &mut LimbVec,
    range: Range<usize>,
    bytes: &[u8],
    accumulate: bool,
) -> Result<(), UnpackError> {
    let size = plane_bytes(range.len());
    let split = parallel::split(range.len(), vector.limbs().count(), LIGHT);
    let part = split.part;
    let of_limb = |l: usize| &bytes[l * size..(l + 1) * size];
    let refused = [const { AtomicBool::new(false) }; 3];
    let parts = vector.planes_mut().enumerate().flat_map(|(l, (prime, plane))| {
        let bytes = of_limb(l).chunks(plane_bytes(part));
        plane[range.clone()].chunks_mut(part).zip(bytes).map(move |(plane, bytes)| (l, prime, plane, bytes))
    });
    split.for_each(parts, |(l, prime, plane, bytes)| {
        if !kernels::unpack(prime, bytes, plane, accumulate) {
            refused[l].store(true, Ordering::Relaxed);
        }
    });
    match refused.into_iter().position(AtomicBool::into_inner) {
        None => Ok(()),
        Some(l) => Err(explain(l, range.len(), of_limb(l))),
    }
}

/// Names what is wrong with a plane: slow, simple, and only after the kernel refused it.
fn explain(limb: usize, len: usize, bytes: &[u8]) -> UnpackError {
    let residue = |i: usize| -> u64 {
        let at = i / 2 * 13 + i % 2 * 6;
        let mut word = [0; 8];
        word[..7].copy_from_slice(&bytes[at..at + 7]);
        u64::from_le_bytes(word) >> (i % 2 * 4) & MASK52
    };
    match (0..len).find(|&i| residue(i) >= PRIMES[limb]) {
        Some(index) => UnpackError::NotCanonical { limb, index },
        None => UnpackError::Padding { limb },
    }
}
