//! DANGER, for tests only: the field of `amicus-field` with primes of a few bits and randomness
//! that can be enumerated.
//!
//! The protocol's sources are compiled against this crate instead of the real one. What does not
//! depend on the primes is the real crate's own source; primes, elements, kernels, linear maps,
//! seeds and streams are replaced by the plainest code there is, which `tests/same_results.rs`
//! holds to the real crate at the real primes. What calls leave on the stack is left.
//!
//! - [`oracle`]: everything random is a value of one lazily drawn random function, from a tape that
//!   tests enumerate
//! - primes are those of the [`oracle::Oracle`] that runs, the real ones outside
//! - [`Gf128`] has four elements while an oracle runs, 2^128 outside
#![forbid(unsafe_code)]

#[path = "../../../crates/field/src/binary.rs"]
mod binary;
#[path = "../../../crates/field/src/bits.rs"]
mod bits;
mod element;
#[path = "../../../crates/field/src/error.rs"]
mod error;
#[path = "../../../crates/field/src/evaluation.rs"]
mod evaluation;
mod gf128;
mod kernels;
mod linear;
pub mod oracle;
#[path = "../../../crates/field/src/pack.rs"]
pub mod pack;
pub mod parallel;
#[path = "../../../crates/field/src/polynomial.rs"]
mod polynomial;
#[path = "../../../crates/field/src/pool.rs"]
mod pool;
mod prg;
mod prime;
#[path = "../../../crates/field/src/rows.rs"]
mod rows;
#[path = "../../../crates/field/src/shape.rs"]
mod shape;
mod stack;
mod storage;
mod stream;
#[path = "../../../crates/field/src/sumcheck.rs"]
mod sumcheck;
#[path = "../../../crates/field/src/truncation.rs"]
mod truncation;
#[path = "../../../crates/field/src/vector.rs"]
mod vector;
mod winograd;
#[path = "../../../crates/field/src/word.rs"]
mod word;

pub use binary::Gf128Vec;
pub use bits::BitVec;
pub use element::Element;
pub use error::{FieldError, RandomnessError, ShapeError, UnpackError};
pub use ethnum::{I256, U256};
pub use evaluation::{Argument, PolynomialShares, add_signed_shares, evaluate_shares};
pub use gf128::Gf128;
pub use linear::LinearMap;
pub use pack::{pack_into, pack_to, packed_len, unpack, unpack_add, unpack_part};
pub use polynomial::{MAX_DEGREE, evaluate, scaled_coefficients, taylor_coefficients};
pub use pool::{gather, sum_pool, sum_pool_transposed};
pub use prg::{Randomness, Seed};
pub use prime::{Limbs, PRIMES, Prime};
pub use rows::{Gf128Rows, Row, SumOfRows};
pub use shape::{Conv2d, Dense, LinearShape, SumPool2d};
pub use stack::with_wiped_stack;
pub use stream::Stream;
pub use truncation::{Opened, Truncation, WrapBits};
pub use vector::LimbVec;
pub use word::WordVec;
