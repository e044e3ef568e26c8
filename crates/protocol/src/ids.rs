//! Who and which: parties, epochs, inferences, and the step of the protocol an error speaks of.

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

/// A model epoch: one masking of one model. Used once; grows with every load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochId(pub u64);

/// An inference within an epoch. Used once; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InferenceId(pub u64);

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

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.0)
    }
}

impl fmt::Display for InferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inference {}", self.0)
    }
}

/// A one-time id that its keeper has recorded as spent, durably, before anything that depends on it
/// is sent.
///
/// Move-only: whoever consumes it is the only one to use the id (`docs/protocol.md`, section 7).
#[derive(Debug, PartialEq, Eq)]
pub struct Fresh<T>(T);

impl<T: Copy> Fresh<T> {
    /// Vouches that `id` was never used before and is recorded as spent.
    pub fn recorded(id: T) -> Self {
        Fresh(id)
    }

    /// The id, for looking at.
    pub fn id(&self) -> T {
        self.0
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
