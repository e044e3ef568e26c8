//! What surrounds the roles of a run in one thread: where they draw seeds, and who carries their
//! messages.

use amicus_field::{OperatingSystem, Randomness, RandomnessError, Seed};
use amicus_node::Peer;
use amicus_plan::Stage;
use amicus_protocol::wire::{Header, Kind};
use std::collections::HashMap;
use std::fmt::Debug;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who sends it.
    pub from: Peer,
    /// Who gets it.
    pub to: Peer,
    /// Its header. Hops are not counted here.
    pub header: Header,
}

/// The surroundings of a run.
pub trait World {
    /// A seed that a role draws: the operating system's, unless a test needs to know it.
    ///
    /// # Errors
    /// When there is no randomness.
    fn seed(&mut self, _role: &Peer) -> Result<Seed, RandomnessError> {
        OperatingSystem.seed()
    }

    /// From now on this role computes.
    fn acts(&mut self, _role: &Peer) {}

    /// Looks at a state or message of the role that computes.
    fn looks_at(&mut self, _state: &dyn Debug) {}

    /// Carries a message, and may change its body.
    fn carry(&mut self, _letter: &Letter, _body: &mut Vec<u8>) {}

    /// Whether changed messages of owner and client get tags that are right: whoever changes them
    /// has their keys.
    fn has_keys_of_users(&self) -> bool {
        false
    }
}

/// Surroundings that do what they should.
#[derive(Clone, Copy, Debug)]
pub struct Honest;

impl World for Honest {}

/// A world in which one party sends another something else of one opening than all others.
#[derive(Debug)]
pub struct Equivocates {
    /// The opening.
    pub stage: Stage,
    /// Who sends it.
    pub from: Peer,
    /// Who is sent something else.
    pub to: Peer,
}

impl World for Equivocates {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        let of_stage = letter.header.kind == Kind::Opening && letter.header.index == self.stage.index();
        if of_stage && letter.from == self.from && letter.to == self.to {
            body[0] ^= 1;
        }
    }
}

/// Seeds that everybody can compute, for known answers: nothing drawn from them is secret.
///
/// The `k`-th seed of a role, from 0, is BLAKE3 under a key of 32 zero bytes of the text
/// `NAME, ROLE, K`.
#[derive(Clone, Debug)]
pub struct DangerKnownSeeds {
    name: String,
    drawn: HashMap<Peer, u32>,
}

impl DangerKnownSeeds {
    /// The seeds of a run with this name.
    pub fn new(name: &str) -> Self {
        DangerKnownSeeds { name: name.into(), drawn: HashMap::new() }
    }

    /// A role's next seed.
    pub fn next(&mut self, role: &Peer) -> Seed {
        let number = self.drawn.entry(role.clone()).or_default();
        let label = format!("{}, {role}, {number}", self.name);
        *number += 1;
        Seed::from_bytes([0; 32]).derive(label.as_bytes())
    }
}

/// A role's source of randomness in a world.
pub(crate) struct Drawing<'a>(pub(crate) &'a mut dyn World, pub(crate) Peer);

impl Randomness for Drawing<'_> {
    fn seed(&mut self) -> Result<Seed, RandomnessError> {
        self.0.seed(&self.1)
    }
}
