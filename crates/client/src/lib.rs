//! Client and model owner as message in, message out: no threads, files or sockets.
//!
//! Whoever moves the bytes (`amicus-node` over TLS, a browser over something else) sends the
//! [`Message`]s these states give and feeds them what comes back.
//!
//! - [`inference`]: ask, mask the input, unmask the output ([docs/protocol.md], sections 6.1 and
//!   6.8)
//! - [`load`]: mask the weights (section 4)
//! - [`fingerprint`]: compare the model's fingerprint at all parties
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
#![forbid(unsafe_code)]

pub mod fingerprint;
pub mod inference;
pub mod load;

use amicus_protocol::wire::Header;

/// A message to send: header and body, which is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub header: Header,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.body.fill(0);
        zeroize::optimization_barrier(&self.body[..]);
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies may hold keys.
        f.debug_struct("Message").field("header", &self.header).field("bytes", &self.body.len()).finish()
    }
}
