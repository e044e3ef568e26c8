//! Harness of n parties, malicious parties and test vectors. For tests only.
//!
//! - [`direct`]: all roles in one thread, without channels; [`world`]: their seeds and messages;
//!   [`steps`] holds such a run to its plan, [`covers`] finds what hides its values
//! - [`run`]: whole deployments in one line; [`deviation`]: what a malicious party in one of them
//!   does
//! - [`wan`]: deployments over lines of a shape, in virtual time
//! - [`coalition`]: random malicious coalitions against whole deployments; [`abuse`]: clients that
//!   cost memory
//! - [`nets`], [`zoo`], [`small`]: networks; [`random`]: repeatable numbers
#![forbid(unsafe_code)]

pub mod abuse;
pub mod coalition;
pub mod covers;
pub mod deviation;
pub mod direct;
pub mod fake_helper;
pub mod nets;
pub mod random;
pub mod run;
pub mod small;
pub mod steps;
pub mod user;
pub mod wan;
pub mod world;
pub mod zoo;

/// How long a test waits for what must come: longer than all deadlines of a run together, so that
/// only what never comes is missed, however busy the machine.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
