//! DANGER, for tests only: the protocol at tiny primes, so small that all of its randomness can be
//! walked through.
//!
//! `docs/security.md` proves that what corrupt roles see does not depend on inputs and weights, and
//! that an error passes the check with probability `1/p`. With primes like 3 and 5 both are finite
//! statements about the code that runs: the tests of this crate run the protocol's states, compiled
//! from the very sources that Amicus ships, once for every value of the randomness that an
//! adversary does not know, and count.
//!
//! - [`nets`]: networks of one or two elements with every operation that opens something
//! - [`run`]: all roles in one thread, every message recorded, any party deviating
//! - [`views`]: what corrupt roles see, over all randomness
//! - [`ideal`]: the functionality of `docs/security.md`, section 3, for given coins
#![forbid(unsafe_code)]

pub mod ideal;
pub mod nets;
pub mod run;
pub mod views;

use amicus_field::Prime;

/// The primes 3, 5, 7: one limb counts modulo 3, two modulo 15.
pub const THREE: &[Prime; 3] = &[Prime::toy(3), Prime::toy(5), Prime::toy(7)];
/// The primes 5, 3, 7.
pub const FIVE: &[Prime; 3] = &[Prime::toy(5), Prime::toy(3), Prime::toy(7)];
/// The primes 13, 11, 7: large enough for values in range of which a bit is dropped.
pub const THIRTEEN: &[Prime; 3] = &[Prime::toy(13), Prime::toy(11), Prime::toy(7)];

/// The primes 101, 13, 11.
pub const HUNDRED_AND_ONE: &[Prime; 3] = &[Prime::toy(101), Prime::toy(13), Prime::toy(11)];

/// Whether everything is to be walked through, and not only what takes two minutes:
/// `AMICUS_TOY=all`.
pub fn everything() -> bool {
    std::env::var_os("AMICUS_TOY").is_some_and(|value| value == "all")
}
