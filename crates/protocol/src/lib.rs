//! The protocol as pure state machines: state and message in, state and message out, no I/O.
//!
//! Read top to bottom, the modules follow one model epoch and one inference ([docs/protocol.md] has
//! the mathematics, [docs/security.md] the argument):
//!
//! - [`ids`], [`peer`], [`label`], [`draws`], [`keys`], [`wire`], [`control`], [`greeting`],
//!   [`transcript`], [`error`]: names, randomness, bytes
//! - [`affine`]: a linear layer with its bias, the matrix that shares and masks of weights stand
//!   for
//! - [`epoch`], [`fingerprint`]: the owner masks its weights, the helper deals and checks the tags
//!   (section 4)
//! - [`preprocess`]: one-time material of an inference, at the helper and at a party (section 5)
//! - [`input`], [`authentic`]: the client masks its input, and proves that it is the one who got the
//!   ticket (section 6.1)
//! - [`online`]: a party's way through the plan: linear layers, products, activations (sections 6.2
//!   to 6.6); comparisons in `compare`, selections in `select` (6.10 to 6.12)
//! - [`check`]: the batch check and the value that proves it passed (section 6.7)
//! - [`output`], [`release`]: release and unmasking (section 6.8)
//!
//! One-time material is move-only: every step consumes its predecessor, so doing things twice or in
//! the wrong order does not compile.
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
//! [docs/security.md]: ../../../docs/security.md
#![forbid(unsafe_code)]

pub mod affine;
pub mod authentic;
pub mod check;
mod compare;
pub mod control;
pub mod draws;
pub mod epoch;
pub mod error;
pub mod fingerprint;
pub mod greeting;
pub mod ids;
pub mod input;
mod keyed;
pub mod keys;
pub mod label;
pub mod online;
pub mod output;
mod outside;
pub mod peer;
pub mod preprocess;
pub mod release;
mod select;
pub mod session;
pub mod share;
pub mod transcript;
pub mod wire;

pub use amicus_plan::Printable;
pub use error::{Fault, ProtocolError};
pub use ids::{EpochId, InferenceId, Parties, PartyId, Scope, SessionId, Step};
pub use peer::{Culprit, Peer};
