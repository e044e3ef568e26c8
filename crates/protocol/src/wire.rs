//! Messages as bytes: a fixed header, then packed residues or a short control body.
//!
//! Everything is parsed into valid values once, here and in the `receive` functions of the states:
//! version, kind, ids, exact lengths, residues below their primes. Bytes from a peer never panic
//! and never make a node allocate more than the plan says.

use crate::{EpochId, Fault, InferenceId, Scope, SessionId};
use amicus_field::{BitVec, LimbVec, Limbs, packed_len};

/// Version of the wire format.
pub const VERSION: u8 = 6;
/// Bytes of the header before the scope.
const PREFIX_BYTES: usize = 8;
/// Bytes of the header.
pub const HEADER_BYTES: usize = PREFIX_BYTES + Scope::BYTES;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// What a message is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// First frame on a link: who, for what, of which cluster.
    Hello = 1,
    /// Something failed; carries the sender's account of it.
    Abort = 2,
    /// Helper to party: a session begins; the helper's part of the party's seed, and epochs.
    SessionBegin = 3,
    /// Party to helper: its part of its seed, and what it holds.
    SessionAnswer = 4,
    /// Helper to parties: the session is open; the epochs that all hold.
    SessionOpen = 5,
    /// Node to node that looks at it: the time, and the plans that it serves.
    About = 6,
    /// Node to node that looks at it, and back: bytes, for the time that they take.
    Echo = 7,
    /// Party to party: contributions to the common and the pair key of a session.
    Keys = 10,
    /// Owner to helper: load this plan.
    LoadRequest = 11,
    /// Helper to owner: seeds of the weight masks.
    LoadGrant = 12,
    /// Helper to party: a load begins, and takes this id.
    EpochBegin = 13,
    /// Helper to the last party: corrections of one weight tensor's tags.
    LoadCorrection = 14,
    /// Owner to party: nonce of the model's fingerprint.
    Nonce = 15,
    /// Owner to party: one masked weight tensor.
    Weights = 16,
    /// Party to party: its part of one layer's masked tags.
    Tags = 17,
    /// Party to helper: hash of all masked weights and tags.
    LoadHash = 18,
    /// Helper to party: seed of the challenge.
    Challenge = 19,
    /// Party to helper: answers to the challenge.
    LoadResponse = 20,
    /// Helper to parties and owner: the load is accepted.
    LoadAccepted = 21,
    /// Party to owner: it has its keys and takes weights now.
    LoadReady = 22,
    /// Helper to parties: an epoch is used no more.
    EpochRetired = 23,
    /// Helper to party: material for an inference is dealt.
    Deal = 30,
    /// Helper to a party: corrections of one operation.
    DealCorrection = 31,
    /// Party to helper: material is ready.
    Ready = 32,
    /// Client to helper: asks for an inference.
    Request = 40,
    /// Helper to client: the id and the seeds of the input mask.
    Ticket = 41,
    /// Helper to party: which client and receivers an inference belongs to.
    Bind = 42,
    /// Client to party: the masked input.
    Input = 43,
    /// Party to party: its share of one operation's result.
    Opening = 44,
    /// Party to helper: sums, transcript hash, output hashes.
    Check = 45,
    /// Party to receiver: the masked output.
    Output = 46,
    /// Helper to receiver: the output's masks, after acceptance.
    Release = 47,
    /// Receiver to helper: the release arrived.
    ReleaseAck = 48,
    /// Helper to party: the inference ended.
    Outcome = 49,
    /// Receiver to party: asks for the model's fingerprint; party to receiver: the fingerprint.
    Fingerprint = 50,
    /// Receiver to party: key under which the output is hashed for it.
    ReceiverKey = 51,
    /// Helper to receiver: an inference whose output it will get.
    Invite = 52,
    /// Receiver to party: asks for its output again.
    Collect = 53,
    /// Receiver to party: it has its output.
    Collected = 54,
}

/// What every message starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// One-way hops in sequence that led to this message, for the round count; informative only.
    pub hop: u16,
    /// Operation or weight tensor concerned.
    pub index: u32,
    /// Session concerned; none for what belongs to no session.
    pub session: SessionId,
    /// Epoch concerned, if any.
    pub epoch: EpochId,
    /// Inference or load concerned; 0 for none.
    pub id: InferenceId,
}

impl Header {
    /// The header of a message that concerns this operation or weight tensor; 0 for none.
    pub fn new(kind: Kind, scope: Scope, index: u32) -> Self {
        let Scope { session, epoch, id } = scope;
        Header { kind, hop: 0, index, session, epoch, id }
    }

    /// What the message belongs to.
    pub fn scope(&self) -> Scope {
        Scope::new(self.session, self.epoch, self.id)
    }

    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = VERSION;
        bytes[1] = self.kind as u8;
        bytes[2..4].copy_from_slice(&self.hop.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.index.to_le_bytes());
        bytes[PREFIX_BYTES..].copy_from_slice(&self.scope().encode());
        bytes
    }

    /// Splits a message into header and body.
    ///
    /// # Errors
    /// A message shorter than a header, of another version, or of an unknown kind.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), Fault> {
        let Some((head, body)) = message.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Fault::Length { expected: HEADER_BYTES, got: message.len() });
        };
        let [version, kind, h0, h1, i0, i1, i2, i3, scope @ ..] = *head;
        if version != VERSION {
            return Err(Fault::Version(format!("wire version {version}, this program speaks {VERSION}")));
        }
        let Some(kind) = Kind::from_byte(kind) else {
            return Err(Fault::Encoding(format!("unknown message kind {kind}")));
        };
        let index = u32::from_le_bytes([i0, i1, i2, i3]);
        let header = Header::new(kind, Scope::decode(&scope), index);
        Ok((Header { hop: u16::from_le_bytes([h0, h1]), ..header }, body))
    }
}

/// A vector as message body: its packed residues.
pub fn pack(values: &LimbVec) -> Vec<u8> {
    let mut body = Vec::with_capacity(packed_len(values.limbs(), values.len()));
    amicus_field::pack_into(values, &mut body);
    body
}

/// Vectors as one message body, one after the other.
pub fn pack_all<'a>(values: impl IntoIterator<Item = &'a LimbVec>) -> Vec<u8> {
    let mut body = Vec::new();
    for v in values {
        amicus_field::pack_into(v, &mut body);
    }
    body
}

/// Reads vectors of known lengths that fill a body exactly.
///
/// # Errors
/// A body of another length, a residue at or above its prime, padding that is not zero.
pub fn unpack_all(limbs: Limbs, lengths: &[usize], body: &[u8]) -> Result<Vec<LimbVec>, Fault> {
    // Saturating as each length does: no body is that long.
    let packed = lengths.iter().map(|&len| packed_len(limbs, len));
    let expected = packed.fold(0, usize::saturating_add);
    if body.len() != expected {
        return Err(Fault::Length { expected, got: body.len() });
    }
    let mut rest = body;
    let mut all = Vec::with_capacity(lengths.len());
    for &len in lengths {
        let (part, tail) = rest.split_at(packed_len(limbs, len));
        all.push(amicus_field::unpack(limbs, len, part)?);
        rest = tail;
    }
    Ok(all)
}

/// Bit planes as message body, one after the other; each begins with a byte of its own.
pub fn pack_bits(planes: &[BitVec]) -> Vec<u8> {
    let mut body = Vec::new();
    planes.iter().for_each(|plane| plane.pack_into(&mut body));
    body
}

/// Reads bit planes, `count` of `len` bits each, that fill a body exactly.
///
/// # Errors
/// A body of another length, padding that is not zero.
pub fn unpack_bits(count: usize, len: usize, body: &[u8]) -> Result<Vec<BitVec>, Fault> {
    let bytes = BitVec::packed_len(len);
    let expected = count.saturating_mul(bytes);
    if body.len() != expected {
        return Err(Fault::Length { expected, got: body.len() });
    }
    // `max(1)`: planes of no elements.
    body.chunks_exact(bytes.max(1)).map(|plane| Ok(BitVec::unpack(len, plane)?)).collect()
}

/// Reads one vector that fills a body exactly.
///
/// # Errors
/// Those of [`unpack_all`].
pub fn unpack(limbs: Limbs, len: usize, body: &[u8]) -> Result<LimbVec, Fault> {
    let expected = packed_len(limbs, len);
    if body.len() != expected {
        return Err(Fault::Length { expected, got: body.len() });
    }
    Ok(amicus_field::unpack(limbs, len, body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_whose_sum_is_no_number_are_refused() {
        for limbs in Limbs::ALL {
            // In a word the packed lengths of these vectors add up to that of this body.
            let lengths = [usize::MAX, 1];
            let body = vec![0; packed_len(limbs, 1) - 1];
            assert!(matches!(unpack_all(limbs, &lengths, &body), Err(Fault::Length { .. })));
        }
    }

    #[test]
    fn headers_round_trip_and_bad_ones_are_refused() {
        let header = Header {
            kind: Kind::Opening,
            hop: 9,
            index: 7,
            session: SessionId::from_bytes(*b"session's number"),
            epoch: EpochId::from_bytes([0xee; 16]),
            id: InferenceId(u64::MAX - 2),
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(b"body");
        assert_eq!(Header::decode(&bytes).unwrap(), (header, &b"body"[..]));
        assert!(matches!(Header::decode(&bytes[..HEADER_BYTES - 1]), Err(Fault::Length { .. })));
        bytes[1] = 9;
        assert!(matches!(Header::decode(&bytes), Err(Fault::Encoding(_))));
        bytes[0] = VERSION + 1;
        assert!(matches!(Header::decode(&bytes), Err(Fault::Version(_))));
    }
}
