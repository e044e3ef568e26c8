//! What can be wrong with data given to this crate. Mismatched lengths of two vectors are
//! programming errors and panic instead; nothing a peer sends can cause those.

use crate::prime::PRIMES;

/// Values or parameters that do not describe elements, weights or a truncation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// A number of limbs other than 1, 2 or 3.
    #[error("{got} limbs, but a modulus has 1, 2 or 3")]
    LimbCount {
        /// The number given.
        got: usize,
    },
    /// Planes whose total length is not a multiple of the number of limbs.
    #[error("{words} residues cannot be split into {limbs} planes of equal length")]
    PlaneLength {
        /// The number of planes.
        limbs: usize,
        /// The total number of residues given.
        words: usize,
    },
    /// A residue that is not below its prime.
    #[error("residue {index} of limb {limb} is not below the prime {}", PRIMES[*limb])]
    NotCanonical {
        /// The limb of the residue.
        limb: usize,
        /// Its index in the plane.
        index: usize,
    },
    /// A shape that is not possible.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Weights that do not fit their shape.
    #[error("{got} weights for a layer that has {expected}")]
    WeightCount {
        /// The number of weights of the shape.
        expected: usize,
        /// The number given.
        got: usize,
    },
    /// A truncation that drops more bits than its values have.
    #[error("a truncation cannot drop {shift} bits of values of {ell} bits")]
    ShiftTooLong {
        /// Bits to be dropped.
        shift: u32,
        /// Bits of the values.
        ell: u32,
    },
    /// Values too long for the modulus: `2^(ell + 1) <= Q / 2` is needed.
    #[error("values of {ell} bits need a modulus of {} bits or more, {limbs} limbs give {available}", ell + 2)]
    ValueTooLong {
        /// Bits of the values.
        ell: u32,
        /// The limbs of the modulus.
        limbs: usize,
        /// Whole bits of the modulus, `52 L - 1`.
        available: u32,
    },
}

/// A shape that is not possible, or too large to be described in this machine's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A dimension that is zero.
    #[error("{what} is 0, but empty dimensions are refused")]
    Empty {
        /// The dimension.
        what: &'static str,
    },
    /// A kernel that does not fit into the padded input.
    #[error("a kernel spanning {span} does not fit into a padded {what} of {padded}")]
    KernelTooLarge {
        /// Height or width.
        what: &'static str,
        /// Elements the dilated kernel spans.
        span: usize,
        /// Elements of the input with its padding.
        padded: usize,
    },
    /// Channels that cannot be split into the groups.
    #[error("{channels} {what} channels cannot be split into {groups} groups")]
    Groups {
        /// Input or output.
        what: &'static str,
        /// The number of channels.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },
    /// A size beyond what a machine word can count.
    #[error("the number of {what} does not fit a machine word")]
    Overflow {
        /// What was counted.
        what: &'static str,
    },
}

/// Bytes that are not the packed form of a vector of the expected length.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The wrong number of bytes.
    #[error("{got} bytes, expected {expected} for {len} packed elements")]
    Length {
        /// Elements expected.
        len: usize,
        /// Bytes expected.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A residue that is not below its prime.
    #[error("packed residue {index} of limb {limb} is not below the prime {}", PRIMES[*limb])]
    NotCanonical {
        /// The limb of the residue.
        limb: usize,
        /// Its index in the plane.
        index: usize,
    },
    /// Bits after the last residue of a plane that are not zero.
    #[error("the padding bits after limb {limb} are not zero")]
    Padding {
        /// The limb of the plane.
        limb: usize,
    },
}

/// The operating system gave no randomness. There is no fallback.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct RandomnessError(pub(crate) getrandom::Error);
