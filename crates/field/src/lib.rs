//! Arithmetic modulo 52-bit primes: limb vectors, sampling, matrix products and convolutions.
//!
//! Everything Amicus computes is arithmetic in `Z_Q`, where `Q` is the product of one to three primes just
//! below 2^52 (`docs/protocol.md`, section 2). An [`Element`] is its residues, one per prime ("limb"); a
//! [`LimbVec`] is a vector of elements stored as one contiguous plane per limb. This crate knows nothing of
//! parties, shares or messages.
//!
//! The way of the data:
//!
//! - [`Seed`] and [`Stream`] expand shares and masks, [`pack`] moves elements over the wire,
//! - [`LinearMap`] multiplies with a weight matrix or a convolution, [`sum_pool`] pools,
//! - [`Truncation`] opens the truncated value and its case bit, [`taylor_coefficients`] and
//!   [`evaluate_shares`] are the two sides of a polynomial activation.
//!
//! [`Prime`] is the scalar definition that every kernel is tested against. Kernels come in two kinds, see
//! [`Kernel`]: portable Rust and AVX-512 (IFMA, VBMI, VAES). Both give bit-identical results. All unsafe
//! code of the project is in `src/kernels/`.
#![deny(unsafe_code)]

mod convolution;
mod element;
mod error;
mod evaluation;
mod kernels;
mod linear;
mod matrix;
pub mod pack;
mod polynomial;
mod pool;
mod prg;
mod prime;
mod shape;
mod storage;
mod stream;
mod truncation;
mod vector;

pub use element::Element;
pub use error::{FieldError, RandomnessError, ShapeError, UnpackError};
pub use ethnum::{I256, U256};
pub use evaluation::{PolynomialShares, evaluate_shares};
pub use kernels::{Kernel, KernelError, with_kernel};
pub use linear::LinearMap;
pub use matrix::matmul;
pub use pack::{pack_into, packed_len, unpack, unpack_add};
pub use polynomial::{MAX_DEGREE, evaluate, scaled_coefficients, taylor_coefficients};
pub use pool::{sum_pool, sum_pool_transposed};
pub use prg::Seed;
pub use prime::{Limbs, PRIMES, Prime};
pub use shape::{Conv2d, Dense, LinearShape, SumPool2d};
pub use stream::Stream;
pub use truncation::{CaseMask, Opened, Truncation};
pub use vector::LimbVec;
