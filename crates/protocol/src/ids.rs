//! Who and which: parties, sessions, epochs, inferences, and the step of the protocol an error
//! speaks of.

use crate::ProtocolError;
use amicus_field::Randomness;
use amicus_plan::{OpIndex, Plan, Printable, WeightId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Fewest and most compute parties.
pub const PARTIES: std::ops::RangeInclusive<usize> = 2..=8;

/// One of the compute parties, counted from 1 as in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyId(u8);

/// How many compute parties there are: 2 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Parties(u8);

/// Bytes of a random id.
pub const ID_BYTES: usize = 16;

/// A session of a cluster: 128 random bits, drawn by the helper whenever a node restarted or lost
/// its control link. Sessions have no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId([u8; ID_BYTES]);

/// A model epoch, one masking of one model: 128 random bits, drawn by the helper at a load. Epochs
/// have no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EpochId([u8; ID_BYTES]);

/// An inference or a load within a session. One counter serves both; an id is used once and grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InferenceId(pub u64);

/// What a message, a label or a hash belongs to. What does not apply is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The session.
    pub session: SessionId,
    /// The model's epoch.
    pub epoch: EpochId,
    /// The inference, or load, within the session.
    pub id: InferenceId,
}

impl SessionId {
    /// The id of no session.
    pub const NONE: SessionId = SessionId([0; ID_BYTES]);

    /// Draws an id.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random(randomness: &mut dyn Randomness) -> Result<Self, ProtocolError> {
        Ok(SessionId(random(randomness)?))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        SessionId(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }
}

impl EpochId {
    /// The id of no epoch.
    pub const NONE: EpochId = EpochId([0; ID_BYTES]);

    /// Draws an id.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random(randomness: &mut dyn Randomness) -> Result<Self, ProtocolError> {
        Ok(EpochId(random(randomness)?))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        EpochId(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }
}

fn random(randomness: &mut dyn Randomness) -> Result<[u8; ID_BYTES], ProtocolError> {
    let seed = randomness.seed()?;
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&seed.as_bytes()[..ID_BYTES]);
    Ok(id)
}

/// The first bytes of an id, enough to tell a few apart.
fn write_short(f: &mut fmt::Formatter<'_>, id: &[u8; ID_BYTES]) -> fmt::Result {
    id[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The whole id, which is public, under its type's name.
fn write_whole(f: &mut fmt::Formatter<'_>, name: &str, id: &[u8; ID_BYTES]) -> fmt::Result {
    write!(f, "{name}(")?;
    id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
    write!(f, ")")
}

impl Scope {
    /// Bytes of a scope.
    pub const BYTES: usize = 2 * ID_BYTES + 8;
    /// The scope of what belongs to nothing yet.
    pub const NONE: Scope = Scope { session: SessionId::NONE, epoch: EpochId::NONE, id: InferenceId(0) };

    /// A session as a whole.
    pub const fn session(session: SessionId) -> Self {
        Scope { session, ..Scope::NONE }
    }

    /// An epoch as a whole, in whatever session.
    pub const fn epoch(epoch: EpochId) -> Self {
        Scope { epoch, ..Scope::NONE }
    }

    /// An inference or a load.
    pub const fn new(session: SessionId, epoch: EpochId, id: InferenceId) -> Self {
        Scope { session, epoch, id }
    }

    /// The scope as bytes: session, epoch, id in little endian.
    pub fn encode(&self) -> [u8; Scope::BYTES] {
        let mut bytes = [0; Scope::BYTES];
        bytes[..ID_BYTES].copy_from_slice(&self.session.0);
        bytes[ID_BYTES..2 * ID_BYTES].copy_from_slice(&self.epoch.0);
        bytes[2 * ID_BYTES..].copy_from_slice(&self.id.0.to_le_bytes());
        bytes
    }

    /// The scope with these bytes; every value is one.
    pub fn decode(bytes: &[u8; Scope::BYTES]) -> Self {
        let (mut session, mut epoch, mut id) = ([0; ID_BYTES], [0; ID_BYTES], [0; 8]);
        session.copy_from_slice(&bytes[..ID_BYTES]);
        epoch.copy_from_slice(&bytes[ID_BYTES..2 * ID_BYTES]);
        id.copy_from_slice(&bytes[2 * ID_BYTES..]);
        Scope::new(SessionId(session), EpochId(epoch), InferenceId(u64::from_le_bytes(id)))
    }
}

impl Parties {
    /// `n` parties; none when `n` is not 2 to 8.
    pub fn new(n: usize) -> Option<Self> {
        PARTIES.contains(&n).then_some(Parties(n as u8))
    }

    /// Number of parties.
    pub fn count(self) -> usize {
        usize::from(self.0)
    }

    /// All parties in order.
    pub fn all(self) -> impl Iterator<Item = PartyId> + Clone {
        (1..=self.0).map(PartyId)
    }

    /// All parties but one.
    pub fn others(self, me: PartyId) -> impl Iterator<Item = PartyId> + Clone {
        self.all().filter(move |&p| p != me)
    }

    /// The party with this number, counted from 1.
    pub fn party(self, number: usize) -> Option<PartyId> {
        (1..=self.count()).contains(&number).then_some(PartyId(number as u8))
    }

    /// The party that receives the helper's explicit corrections.
    pub fn last(self) -> PartyId {
        PartyId(self.0)
    }
}

impl TryFrom<u8> for Parties {
    type Error = String;

    fn try_from(n: u8) -> Result<Self, String> {
        Parties::new(usize::from(n)).ok_or_else(|| format!("{n} parties, allowed 2 to 8"))
    }
}

impl From<Parties> for u8 {
    fn from(parties: Parties) -> u8 {
        parties.0
    }
}

impl PartyId {
    /// The party that adds public constants to its share.
    pub const FIRST: PartyId = PartyId(1);

    /// Number, counted from 1.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// Position in a list of all parties, counted from 0.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

impl fmt::Display for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "party {}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session ")?;
        write_short(f, &self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, "SessionId", &self.0)
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch ")?;
        write_short(f, &self.0)
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, "EpochId", &self.0)
    }
}

impl fmt::Display for InferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inference {}", self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.id, self.session)
    }
}

/// A step of the protocol, named in every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Exchange of key contributions between parties.
    Keys,
    /// Model load; names the weight tensor, if one is concerned.
    Load {
        /// What part of the load: masked weights, tags, hashes, challenge.
        part: Printable,
        /// Name of the weight tensor.
        layer: Option<Printable>,
    },
    /// Preprocessing of an inference; names the operation, if one is concerned.
    Preprocessing {
        /// Name of the operation.
        layer: Option<Printable>,
    },
    /// The client's masked input.
    Input,
    /// Opening of an operation's result.
    Opening {
        /// Position in the plan.
        op: OpIndex,
        /// Name of the operation.
        layer: Printable,
    },
    /// The batch check at the helper.
    Check,
    /// Output and release.
    Output,
}

impl Step {
    /// The opening of an operation, with its name from the plan.
    pub fn opening(plan: &Plan, op: OpIndex) -> Self {
        let layer = plan.ops.get(op.index()).map_or_else(|| op.to_string(), |o| o.name.clone());
        Step::Opening { op, layer: layer.into() }
    }

    /// A part of the model load that concerns one weight tensor.
    pub fn load(part: &str, plan: &Plan, weights: WeightId) -> Self {
        let layer = plan.weights.get(weights.index()).map(|w| w.name.as_str().into());
        Step::Load { part: part.into(), layer }
    }

    /// A part of the model load as a whole.
    pub fn load_part(part: &str) -> Self {
        Step::Load { part: part.into(), layer: None }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Keys => write!(f, "key exchange"),
            Step::Load { part, layer: None } => write!(f, "model load, {part}"),
            Step::Load { part, layer: Some(layer) } => write!(f, "model load, {part} of layer {layer}"),
            Step::Preprocessing { layer: None } => write!(f, "preprocessing"),
            Step::Preprocessing { layer: Some(layer) } => write!(f, "preprocessing of layer {layer}"),
            Step::Input => write!(f, "input"),
            Step::Opening { op, layer } => write!(f, "opening of layer {layer} ({op})"),
            Step::Check => write!(f, "check"),
            Step::Output => write!(f, "output"),
        }
    }
}
