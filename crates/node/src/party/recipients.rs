//! What users say to a party: whether it is theirs, and whether it is new.
//!
//! A name proves nothing: what has no tag under the user's key is dropped, whoever sent it, and
//! changes nothing for the user who has the key. One whose link broke may say the same again. If it
//! says something else under one id, others could read the difference: the id is burned.

use crate::inbox::Received;
use amicus_protocol::Fault;
use amicus_protocol::authentic::{Authentic, AuthenticationKey, AuthenticationRoot, Tag};
use amicus_protocol::wire::Kind;
use std::collections::HashSet;

/// The recipients of an inference, the client first.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    keys: Vec<AuthenticationKey>,
    /// What was taken, of whom.
    taken: Vec<(usize, Kind, Tag)>,
}

/// The owner of a load.
#[derive(Debug)]
pub(super) struct Owner {
    key: AuthenticationKey,
    taken: HashSet<Tag>,
}

/// A message in the name of a user.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// The first of its kind.
    New(Authentic<'a>),
    /// A repetition of what was said before.
    Again,
    /// Another than before.
    Other,
    /// Not this user's.
    Forged(Fault),
}

impl Recipients {
    /// So many recipients.
    pub(super) fn new(root: &AuthenticationRoot, count: usize) -> Self {
        Recipients { keys: (0u32..).take(count).map(|at| root.key(at)).collect(), taken: Vec::new() }
    }

    /// Recipients of an output, with the keys of what they say of it.
    pub(super) fn of_output(&self) -> Self {
        Recipients { keys: self.keys.iter().map(AuthenticationKey::of_output).collect(), taken: Vec::new() }
    }

    /// What a recipient says, by its number, if it is the recipient that says it.
    fn verify<'a>(&self, at: usize, message: &'a Received) -> Result<Authentic<'a>, Fault> {
        self.keys.get(at).ok_or(Fault::Unauthenticated)?.verify(&message.header, message.body())
    }

    /// Whose message this is, of these recipients: the one whose key its tag is under.
    ///
    /// # Errors
    /// Nobody's of them.
    pub(super) fn whose<'a>(
        &self,
        among: &[usize],
        message: &'a Received,
    ) -> Result<(usize, Authentic<'a>), Fault> {
        let mut fault = Fault::Unauthenticated;
        for &at in among {
            match self.verify(at, message) {
                Ok(authentic) => return Ok((at, authentic)),
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// Judges a message in the name of one of these recipients. Returns whose it is.
    pub(super) fn hear<'a>(&mut self, among: &[usize], message: &'a Received) -> (usize, Heard<'a>) {
        let (at, authentic) = match self.whose(among, message) {
            Ok(found) => found,
            Err(fault) => return (0, Heard::Forged(fault)),
        };
        let kind = message.header.kind;
        let heard = match self.taken.iter().find(|(of, taken, _)| (*of, *taken) == (at, kind)) {
            None => {
                self.taken.push((at, kind, authentic.tag()));
                Heard::New(authentic)
            }
            Some((.., before)) if *before == authentic.tag() => Heard::Again,
            Some(_) => Heard::Other,
        };
        (at, heard)
    }
}

impl Owner {
    /// The owner who has this key.
    pub(super) fn new(key: AuthenticationKey) -> Self {
        Owner { key, taken: HashSet::new() }
    }

    /// How many different messages the owner sent.
    pub(super) fn said(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }

    /// Judges a message in the owner's name. Which parts come in which order, the load knows.
    pub(super) fn hear<'a>(&mut self, message: &'a Received) -> Heard<'a> {
        match self.key.verify(&message.header, message.body()) {
            Ok(authentic) if self.taken.insert(authentic.tag()) => Heard::New(authentic),
            Ok(_) => Heard::Again,
            Err(fault) => Heard::Forged(fault),
        }
    }
}
