//! Private CNN inference with a friend.
//!
//! Clients have images that nobody else may see, an owner has a trained CNN. Two or more compute
//! parties that do not trust each other, and one helper that follows the protocol and colludes with
//! nobody, compute the answer: up to n-1 of the n parties may be malicious, and still they learn
//! nothing, cannot make anyone accept a wrong answer, and cannot keep the answer from the client
//! once they know that it is right.
//!
//! This crate is the facade: the crates below it are its modules.
#![forbid(unsafe_code)]

/// Client and model owner as message in, message out.
pub use amicus_client as client;
/// Arithmetic modulo 52-bit primes.
pub use amicus_field as field;
/// Graphs, compilation, the integer simulator.
pub use amicus_model as model;
/// Links between roles.
pub use amicus_net as net;
/// Helper, parties, clients and owner over links.
pub use amicus_node as node;
/// The plan that every role reads.
pub use amicus_plan as plan;
/// The protocol's states.
pub use amicus_protocol as protocol;
