//! What goes over a node's public port: the messages of this crate as requests and answers
//! (`docs/api.md`).
//!
//! A body is that of the message; what the message's header says stands in the path, where whose
//! server it is can read it. Whoever moves the bytes sends a [`Call`] to its node and hands the
//! answer's body back: the Rust client, the Python package and the browser's do the same.

use crate::{Message, ToParties};
use amicus_protocol::authentic::TAG_BYTES;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, PartyId, Peer, ProtocolError, Scope, Step};
use serde::{Deserialize, Serialize};

/// The header of an answer that says which inference or load it grants.
pub const ID_HEADER: &str = "amicus-id";
/// Bytes of a receiver's key with its tag, in front of a masked input.
pub const KEY_BYTES: usize = 32 + TAG_BYTES;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Asks, and changes nothing.
    Get,
    /// Asks for something that happens once.
    Post,
    /// Puts something at its place; doing so again changes nothing.
    Put,
    /// Ends something.
    Delete,
}

impl Method {
    /// Its name in HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// A request to a node's public port. The body is wiped when it is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The node.
    pub node: Peer,
    /// What it does.
    pub method: Method,
    /// Where.
    pub path: String,
    /// What is sent; empty for none.
    pub body: Body,
}

/// Bytes of a request. They are wiped when they are dropped, and `Debug` shows none of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Drop for Body {
    fn drop(&mut self) {
        self.0.fill(0);
        zeroize::optimization_barrier(&self.0[..]);
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// "helper", or "party 1".
    pub role: String,
    /// Version of its program.
    pub version: String,
    /// Version of the bodies: both ends speak the same.
    pub wire: u8,
    /// Name of its cluster.
    pub cluster: String,
    /// Digest of the cluster's file, the same at all nodes.
    pub digest: String,
    /// Number of compute parties.
    pub parties: usize,
    /// Whether a session with all nodes is open.
    pub ready: bool,
    /// Models that whoever asks may use.
    pub models: Vec<ModelInfo>,
}

/// What a node says of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name in the cluster's file, or in its plan.
    pub name: String,
    /// Digest of its plan, which `/v1/plans/DIGEST` has.
    pub plan: String,
    /// Images in one inference, at most.
    pub batch: u32,
    /// The epoch that it is loaded in, if it is.
    pub epoch: Option<String>,
    /// Parties only: its fingerprint there, which clients compare with the owner's.
    pub fingerprint: Option<String>,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What went wrong.
    pub what: String,
    /// At which node and request.
    #[serde(rename = "where")]
    pub place: String,
    /// Who can put it right.
    pub whose: String,
    /// What to do.
    pub next: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { what, place, whose, next } = self;
        write!(f, "{what} (at {place}; whose: {whose}); {next}")
    }
}

/// An inference or load as paths and [`ID_HEADER`] say it: 80 hex digits.
pub fn id_of(scope: Scope) -> String {
    scope.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inference or load of such a text.
pub fn scope_of(text: &str) -> Option<Scope> {
    let digit = |c: u8| char::from(c).to_digit(16).filter(|_| !c.is_ascii_uppercase());
    let mut bytes = [0; Scope::BYTES];
    if text.len() != 2 * Scope::BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(Scope::decode(&bytes))
}

/// The header of a message that an answer carries, from its [`ID_HEADER`].
///
/// # Errors
/// When the node at fault says no id.
pub fn granted(from: &Peer, kind: Kind, id: Option<&str>) -> Result<Header, ProtocolError> {
    let scope = id.and_then(scope_of).ok_or_else(|| {
        ProtocolError::peer(from, Step::Input, Fault::Unexpected("an answer without an id".into()))
    })?;
    Ok(Header::new(kind, scope, 0))
}

fn call(node: Peer, method: Method, path: String, body: Vec<u8>) -> Call {
    Call { node, method, path, body: Body(body) }
}

/// What a node says of itself.
pub fn info(node: Peer) -> Call {
    call(node, Method::Get, "/v1/info".into(), Vec::new())
}

/// The public plan with this digest.
pub fn plan(node: Peer, digest: &str) -> Call {
    call(node, Method::Get, format!("/v1/plans/{digest}"), Vec::new())
}

/// Asks the helper for an inference, with the message of
/// [`PendingRequest::new`](crate::inference::PendingRequest::new). The answer is the ticket.
pub fn ask(request: &Message) -> Call {
    call(Peer::Helper, Method::Post, "/v1/inferences".into(), request.body.clone())
}

/// Gives a party the masked input and the receiver's key, as
/// [`Admission::mask`](crate::inference::Admission::mask) returns them. The answer is the output.
pub fn submit(party: PartyId, [input, key]: &[ToParties; 2]) -> Call {
    let parts = [key.parts(party), input.parts(party)];
    let path = format!("/v1/inferences/{}/input", id_of(input.header().scope()));
    call(Peer::Party(party), Method::Post, path, parts.concat().concat())
}

/// Asks a party for an output again, with the message of
/// [`Awaiting::collect`](crate::inference::Awaiting::collect).
pub fn collect(party: PartyId, message: &ToParties) -> Call {
    of_output(party, message, "output")
}

/// Tells a party that the output is here, with the message of
/// [`Awaiting::collected`](crate::inference::Awaiting::collected).
pub fn collected(party: PartyId, message: &ToParties) -> Call {
    of_output(party, message, "collected")
}

fn of_output(party: PartyId, message: &ToParties, what: &str) -> Call {
    let path = format!("/v1/inferences/{}/{what}", id_of(message.header().scope()));
    call(Peer::Party(party), Method::Post, path, message.parts(party).concat())
}

/// Waits for the helper's release.
pub fn release(scope: Scope) -> Call {
    call(Peer::Helper, Method::Get, format!("/v1/inferences/{}/release", id_of(scope)), Vec::new())
}

/// Tells the helper that the release is here: it needs not be kept any more.
pub fn acknowledge(scope: Scope) -> Call {
    call(Peer::Helper, Method::Delete, format!("/v1/inferences/{}", id_of(scope)), Vec::new())
}

/// Asks the helper for a load, with the message of [`load::request`](crate::load::request). The
/// answer is the grant.
pub fn ask_load(request: &Message) -> Call {
    call(Peer::Helper, Method::Post, "/v1/loads".into(), request.body.clone())
}

/// Waits until a party is ready for the parts of a load.
pub fn announce(party: PartyId, scope: Scope) -> Call {
    call(Peer::Party(party), Method::Post, format!("/v1/loads/{}", id_of(scope)), Vec::new())
}

/// Gives a party the nonce of a model's fingerprint, or a part of its masked weights: the message of
/// [`Loading`](crate::load::Loading), with which number of its tensor it is.
pub fn put_part(party: PartyId, part: &ToParties, number: u32) -> Call {
    let header = part.header();
    let id = id_of(header.scope());
    let path = match header.kind {
        Kind::Nonce => format!("/v1/loads/{id}/nonce"),
        _ => format!("/v1/loads/{id}/weights/{}/{number}", header.index),
    };
    call(Peer::Party(party), Method::Put, path, part.parts(party).concat())
}

/// Which parts of a load a party has: after a broken connection the others are put.
pub fn parts_there(party: PartyId, scope: Scope) -> Call {
    call(Peer::Party(party), Method::Get, format!("/v1/loads/{}", id_of(scope)), Vec::new())
}

/// Waits for the helper's word that a load is accepted.
pub fn seal(scope: Scope) -> Call {
    call(Peer::Helper, Method::Post, format!("/v1/loads/{}/seal", id_of(scope)), Vec::new())
}

/// What a party has of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartsThere {
    /// Whether the nonce is there.
    pub nonce: bool,
    /// Numbers of the parts that are there, of every tensor.
    pub weights: std::collections::BTreeMap<u32, Vec<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_protocol::{EpochId, InferenceId, SessionId};

    #[test]
    fn ids_are_written_in_one_way() {
        let scope =
            Scope::new(SessionId::from_bytes([0xab; 16]), EpochId::from_bytes([7; 16]), InferenceId(258));
        let text = id_of(scope);
        assert_eq!(text, format!("{}{}0201000000000000", "ab".repeat(16), "07".repeat(16)));
        assert_eq!(scope_of(&text), Some(scope));
        for wrong in [&text[1..], &text.to_uppercase(), &text.replace("ab", "+b"), &format!("{text}0"), ""] {
            assert_eq!(scope_of(wrong), None, "{wrong}");
        }
        let error = granted(&Peer::Helper, Kind::Ticket, Some("12")).unwrap_err();
        assert!(error.to_string().contains("helper misbehaved"), "{error}");
    }

    #[test]
    fn bodies_are_in_no_log() {
        let call = ask(&Message { header: Header::new(Kind::Request, Scope::NONE, 0), body: vec![77; 9] });
        assert!(!format!("{call:?}").contains("77"), "{call:?}");
    }
}
