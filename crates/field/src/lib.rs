//! Arithmetic modulo 52-bit primes: limb vectors, sampling, matrix products and convolutions.
//!
//! Everything Amicus computes is arithmetic in `Z_Q`, where `Q` is the product of one to three
//! primes just below 2^52 ([docs/protocol.md], section 2). An [`Element`] is its residues, one per
//! prime ("limb"); a [`LimbVec`] is a vector of elements stored as one contiguous plane per limb.
//! This crate knows nothing of parties, shares or messages.
//!
//! The way of the data:
//!
//! - [`OperatingSystem`] draws a [`Seed`], a [`Stream`] expands it to shares and masks, [`pack`]
//!   moves elements over the wire,
//! - [`LinearMap`] multiplies with a weight matrix or a convolution, [`sum_pool`] pools,
//! - [`Truncation`] opens the truncated value and its wrap bit, [`taylor_coefficients`] and
//!   [`evaluate_shares`] are the two sides of a polynomial activation, [`add_signed_shares`] adds
//!   a polynomial that a bit chooses,
//! - a [`Gf128Vec`] holds elements of GF(2^128) and does the sumcheck of an inner product with bits,
//! - a [`WordVec`] holds windows of integers, a [`BitVec`] one bit each, and shares of bits: what
//!   comparisons are made of.
//!
//! Two additive shares of a vector, and a product computed on each of them:
//!
//! ```
//! use amicus_field::{Dense, LimbVec, LinearMap, LinearShape, Limbs, OperatingSystem, Randomness};
//!
//! let x = LimbVec::from_i64(Limbs::TWO, &[3, -1, 4]);
//! let share_1 = OperatingSystem.seed()?.stream().sample(0, Limbs::TWO, x.len());
//! let mut share_2 = x.clone();
//! share_2.sub_assign(&share_1);
//!
//! let shape = LinearShape::Dense(Dense { inputs: 3, outputs: 2 });
//! let weights = LinearMap::new(shape, &LimbVec::from_i64(Limbs::TWO, &[1, 2, 3, 4, 5, 6]))?;
//! let mut y = weights.apply(&share_1, 1);
//! y.add_assign(&weights.apply(&share_2, 1));
//! assert_eq!(y.to_i64(), Some(vec![13, 31]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Prime`] is the scalar definition that every kernel is tested against. Kernels come in three
//! kinds, see [`Kernel`]: portable Rust, AVX2 with FMA, and AVX-512 (IFMA, VBMI, VAES, VPCLMULQDQ). All
//! give bit-identical results. All unsafe code of the project is in `src/kernels/`, but for names of
//! exports.
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
#![deny(unsafe_code)]

mod binary;
mod bits;
mod convolution;
mod element;
mod error;
mod evaluation;
mod gf128;
mod kernels;
mod linear;
mod matrix;
pub mod pack;
pub mod parallel;
mod polynomial;
mod pool;
mod prg;
mod prime;
mod results;
mod rows;
mod shape;
mod stack;
mod storage;
mod stream;
mod sumcheck;
mod truncation;
mod vector;
mod winograd;
mod word;

pub use binary::Gf128Vec;
pub use bits::BitVec;
pub use element::Element;
pub use error::{FieldError, RandomnessError, ShapeError, UnpackError};
pub use ethnum::{I256, U256};
pub use evaluation::{Argument, PolynomialShares, add_signed_shares, evaluate_shares};
pub use gf128::Gf128;
pub use kernels::{Kernel, KernelError, with_kernel};
pub use linear::LinearMap;
pub use matrix::matmul;
pub use pack::{pack_into, pack_to, packed_len, unpack, unpack_add, unpack_part};
pub use polynomial::{MAX_DEGREE, evaluate, scaled_coefficients, taylor_coefficients};
pub use pool::{gather, sum_pool, sum_pool_transposed};
pub use prg::{OperatingSystem, Randomness, Seed};
pub use prime::{Limbs, PRIMES, Prime};
pub use rows::{Gf128Rows, Row, SumOfRows};
pub use shape::{Conv2d, Dense, LinearShape, SumPool2d};
pub use stack::with_wiped_stack;
pub use stream::Stream;
pub use truncation::{Opened, Truncation, WrapBits};
pub use vector::LimbVec;
pub use word::WordVec;
