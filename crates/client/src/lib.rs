//! Client and model owner as message in, message out: no threads, files or sockets.
//!
//! Whoever moves the bytes (`amicus-node` over TLS, a browser over something else) sends the
//! [`Message`]s these states give and feeds them what comes back.
//!
//! - [`inference`]: ask, mask the input, unmask the output ([docs/protocol.md], sections 6.1 and
//!   6.8)
//! - [`load`]: mask the weights (section 4)
//! - [`fingerprint`]: compare the model's fingerprint at all parties
//! - [`https`]: the same messages as requests and answers of nodes' public ports
//! - [`served`]: what nodes say of themselves, held against each other
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
#![forbid(unsafe_code)]

pub mod fingerprint;
pub mod https;
pub mod inference;
pub mod load;
pub mod served;

use amicus_protocol::PartyId;
use amicus_protocol::authentic::{AuthenticationKeys, Tag};
use amicus_protocol::wire::Header;

/// A message for every party: the same body, and for each party a tag that it knows the sender by.
///
/// What was sent once may be sent again, to a party whose link broke; never is anything else sent in
/// its place.
#[derive(Clone)]
pub struct ToParties {
    message: Message,
    /// In party order.
    tags: Vec<Tag>,
}

impl ToParties {
    /// A message with its tags under the sender's keys.
    pub fn new(header: Header, body: Vec<u8>, keys: &AuthenticationKeys) -> Self {
        let tags = keys.tags(&header, &body);
        ToParties { message: Message { header, body }, tags }
    }

    /// What it is.
    pub fn header(&self) -> Header {
        self.message.header
    }

    /// What is the same for all parties.
    pub fn body(&self) -> &[u8] {
        &self.message.body
    }

    /// What follows the header in the message to one party: the body, then the tag.
    pub fn parts(&self, party: PartyId) -> [&[u8]; 2] {
        [&self.message.body, self.tags.get(party.index()).map_or(&[], |tag| &tag.as_bytes()[..])]
    }

    /// The message to one party.
    pub fn message(&self, party: PartyId) -> Message {
        Message { header: self.message.header, body: self.parts(party).concat() }
    }
}

impl std::fmt::Debug for ToParties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ToParties").field(&self.message).finish()
    }
}

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
