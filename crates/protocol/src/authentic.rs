//! Message authentication codes on what users send parties (`docs/protocol.md`, section 6.1).
//!
//! A name at one node proves nothing at another: whoever is called like the client at one party
//! could send that party another input. So the helper gives every recipient of an inference, and
//! the owner of a load, a key for each party, and a party takes nothing from them without a tag
//! under it. The keys derive from the party's one-time key of the id, which the party and the
//! helper have: parties are told nothing.

use crate::epoch::{SEED_BYTES, seed_from};
use crate::keyed::KeyedHash;
use crate::label::{Label, Purpose};
use crate::wire::Header;
use crate::{Fault, Parties, PartyId, Scope};
use amicus_field::{Seed, with_wiped_stack};

/// Bytes of a tag, which follows the body that it is of.
pub const TAG_BYTES: usize = 32;

/// Number of the owner of a load, and of the client of an inference; further receivers count on.
pub const FIRST_RECIPIENT: u32 = 0;

/// What the keys of one id at one party derive from.
#[derive(Debug)]
pub struct AuthenticationRoot(Seed);

/// A key that one recipient of an inference, or the owner of a load, shares with one party.
///
/// It has a place of its own: from where it is moved, a copy would stay behind.
#[derive(Debug)]
pub struct AuthenticationKey(Box<Seed>);

/// The keys of one recipient, or of the owner, with every party in order.
#[derive(Debug)]
pub struct AuthenticationKeys(Vec<AuthenticationKey>);

/// The hash of a body: the same for all parties, so that a long body is hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

/// A tag of a message under a recipient's key. It is compared in constant time, as hashes of this
/// type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(blake3::Hash);

/// A body whose tag is right. Only [`AuthenticationKey::verify`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Authentic<'a> {
    body: &'a [u8],
    tag: Tag,
}

impl AuthenticationRoot {
    /// The root at the party whose key of the id this is.
    pub(crate) fn of(key: &Seed, scope: Scope) -> Self {
        AuthenticationRoot(Label::new(Purpose::Authentication, scope, 0).seed(key))
    }

    /// The key of a recipient, by its number.
    pub fn key(&self, recipient: u32) -> AuthenticationKey {
        let label = [&b"amicus key of a recipient"[..], &recipient.to_le_bytes()].concat();
        with_wiped_stack(|| AuthenticationKey(Box::new(self.0.derive(&label))))
    }
}

impl AuthenticationKeys {
    /// The keys of a recipient, from the roots of all parties in order.
    pub fn of(roots: &[AuthenticationRoot], recipient: u32) -> Self {
        AuthenticationKeys(roots.iter().map(|root| root.key(recipient)).collect())
    }

    /// The keys as bytes, for the recipient alone.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * SEED_BYTES);
        self.0.iter().for_each(|key| bytes.extend_from_slice(key.0.as_bytes()));
        bytes
    }

    /// Reads the keys that the helper gave.
    ///
    /// # Errors
    /// A wrong length.
    pub fn decode(parties: Parties, bytes: &[u8]) -> Result<Self, Fault> {
        let expected = parties.count() * SEED_BYTES;
        if bytes.len() != expected {
            return Err(Fault::Length { expected, got: bytes.len() });
        }
        let key = |chunk| with_wiped_stack(|| Ok(AuthenticationKey(Box::new(seed_from(chunk)?))));
        Ok(AuthenticationKeys(bytes.chunks_exact(SEED_BYTES).map(key).collect::<Result<_, Fault>>()?))
    }

    /// The tags of a message for every party, in order.
    pub fn tags(&self, header: &Header, body: &[u8]) -> Vec<Tag> {
        let digest = BodyDigest::of(body);
        self.0.iter().map(|key| key.tag(header, &digest)).collect()
    }

    /// The keys of what this recipient says of its output.
    pub fn of_output(&self) -> Self {
        AuthenticationKeys(self.0.iter().map(AuthenticationKey::of_output).collect())
    }

    /// The key shared with one party.
    pub fn with(&self, party: PartyId) -> Option<&AuthenticationKey> {
        self.0.get(party.index())
    }
}

impl BodyDigest {
    /// The hash of a body.
    pub fn of(body: &[u8]) -> Self {
        BodyDigest(*blake3::hash(body).as_bytes())
    }
}

impl AuthenticationKey {
    /// The key of what the recipient says of its output, which outlives the inference: from it
    /// follows nothing that a release is encrypted with.
    pub fn of_output(&self) -> Self {
        with_wiped_stack(|| AuthenticationKey(Box::new(self.0.derive(b"amicus key of an output"))))
    }

    /// The tag of a message. It covers all of the header but the count of hops.
    pub fn tag(&self, header: &Header, digest: &BodyDigest) -> Tag {
        with_wiped_stack(|| {
            let mut hash = KeyedHash::new(self.0.as_bytes());
            hash.update(b"amicus message of a recipient");
            hash.update(&Header { hop: 0, ..*header }.encode()).update(&digest.0);
            Tag(blake3::Hash::from_bytes(hash.finish().0))
        })
    }

    /// The body of a message, if the tag behind it is right.
    ///
    /// # Errors
    /// A message that is shorter than a tag, or a wrong tag.
    pub fn verify<'a>(&self, header: &Header, message: &'a [u8]) -> Result<Authentic<'a>, Fault> {
        let Some((body, tag)) = message.split_last_chunk::<TAG_BYTES>() else {
            return Err(Fault::Length { expected: TAG_BYTES, got: message.len() });
        };
        let tag = Tag(blake3::Hash::from_bytes(*tag));
        if tag != self.tag(header, &BodyDigest::of(body)) {
            return Err(Fault::Unauthenticated);
        }
        Ok(Authentic { body, tag })
    }
}

impl Tag {
    /// The bytes that follow the body.
    pub fn as_bytes(&self) -> &[u8; TAG_BYTES] {
        self.0.as_bytes()
    }
}

impl<'a> Authentic<'a> {
    /// The body.
    pub fn body(self) -> &'a [u8] {
        self.body
    }

    /// The tag: equal for two messages under one key if, and only if, they are the same.
    pub fn tag(self) -> Tag {
        self.tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;
    use crate::{EpochId, InferenceId, SessionId};

    fn scope(session: u8, epoch: u8, id: u64) -> Scope {
        Scope::new(SessionId::from_bytes([session; 16]), EpochId::from_bytes([epoch; 16]), InferenceId(id))
    }

    fn key(of_party: u8, scope: Scope, recipient: u32) -> AuthenticationKey {
        AuthenticationRoot::of(&Seed::from_bytes([of_party; 32]), scope).key(recipient)
    }

    fn message(key: &AuthenticationKey, header: &Header, body: &[u8]) -> Vec<u8> {
        [body, key.tag(header, &BodyDigest::of(body)).as_bytes()].concat()
    }

    #[test]
    fn everything_about_a_message_is_part_of_its_tag() {
        let this = scope(1, 1, 1);
        let tag = |of_party, derived: Scope, recipient, kind, named: Scope, index, body: &[u8]| {
            let header = Header::new(kind, named, index);
            *key(of_party, derived, recipient).tag(&header, &BodyDigest::of(body)).as_bytes()
        };
        let (input, key) = (Kind::Input, Kind::ReceiverKey);
        let all = [
            tag(1, this, 0, input, this, 0, b"input"),
            tag(2, this, 0, input, this, 0, b"input"),
            tag(1, scope(2, 1, 1), 0, input, this, 0, b"input"),
            tag(1, scope(1, 2, 1), 0, input, this, 0, b"input"),
            tag(1, scope(1, 1, 2), 0, input, this, 0, b"input"),
            tag(1, this, 1, input, this, 0, b"input"),
            tag(1, this, 0, key, this, 0, b"input"),
            tag(1, this, 0, input, scope(2, 1, 1), 0, b"input"),
            tag(1, this, 0, input, scope(1, 2, 1), 0, b"input"),
            tag(1, this, 0, input, scope(1, 1, 2), 0, b"input"),
            tag(1, this, 0, input, this, 1, b"input"),
            tag(1, this, 0, input, this, 0, b"Input"),
            tag(1, this, 0, input, this, 0, b"input "),
            tag(1, this, 0, input, this, 0, b""),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "tag {i} is like an earlier one");
        }
    }

    #[test]
    fn no_bit_of_a_message_may_change() {
        let (key, header) = (key(1, scope(1, 1, 1), 0), Header::new(Kind::Input, scope(1, 1, 1), 0));
        let right = message(&key, &header, b"input");
        assert_eq!(key.verify(&header, &right).unwrap().body(), b"input");
        // The count of hops changes on the way.
        assert!(key.verify(&Header { hop: 7, ..header }, &right).is_ok());
        for bit in 0..8 * right.len() {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verify(&header, &wrong).unwrap_err(), Fault::Unauthenticated, "bit {bit}");
        }
        for cut in 0..right.len() {
            assert!(
                key.verify(&header, &right[..cut]).is_err()
                    && key.verify(&header, &right[cut + 1..]).is_err()
            );
        }
        assert!(key.verify(&header, &[&right[..], &[0]].concat()).is_err());
    }

    #[test]
    fn keys_come_back_and_have_one_length() {
        let parties = Parties::new(3).unwrap();
        let roots: Vec<_> = (1..=3)
            .map(|party| AuthenticationRoot::of(&Seed::from_bytes([party; 32]), scope(1, 1, 1)))
            .collect();
        let bytes = AuthenticationKeys::of(&roots, 2).encode();
        assert_eq!(bytes.len(), 96);
        let keys = AuthenticationKeys::decode(parties, &bytes).unwrap();
        let header = Header::new(Kind::ReceiverKey, scope(1, 1, 1), 0);
        for (party, tag) in parties.all().zip(keys.tags(&header, b"key")) {
            let of_party = roots[party.index()].key(2);
            assert!(of_party.verify(&header, &[&b"key"[..], tag.as_bytes()].concat()).is_ok());
            assert_eq!(of_party.tag(&header, &BodyDigest::of(b"key")), tag);
        }
        for wrong in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[]] {
            assert!(AuthenticationKeys::decode(parties, wrong).is_err());
        }
    }
}
