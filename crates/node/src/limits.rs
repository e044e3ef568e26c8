//! How long a node waits before it gives up, and how much it takes in one message.

use crate::NodeError;
use amicus_field::{BitVec, packed_len};
use amicus_plan::{OpKind, Plan, ValueId};
use amicus_protocol::affine::parts;
use amicus_protocol::check::CheckShape;
use amicus_protocol::epoch::{HelperEpoch, SEED_BYTES};
use amicus_protocol::ids::PARTIES;
use amicus_protocol::preprocess::{self, CorrectionShape};
use amicus_protocol::{ProtocolError, control};
use std::time::Duration;

/// How long a node waits before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one message of a round.
    pub round: Duration,
    /// For a whole inference at a party, until it has all messages of the first round; in later
    /// rounds, at the helper and at the client a little longer.
    pub inference: Duration,
    /// For the first links of a model load, each later stage of which may take a little longer, and
    /// for one step of dealing; more where a model is large, see [`Limits::for_plan`].
    pub load: Duration,
}

/// Inferences in flight in a cluster, at most: a party refuses to begin more.
pub const MAX_LANES: usize = 64;

/// Bytes a second at which weights and dealt material must come at least.
pub const SLOWEST: u64 = 1 << 20;

/// Who waits for somebody who waits himself waits a round longer, so that he hears who is at fault
/// instead of blaming the one who waits: parties wait for each other, then the helper for parties,
/// then all for the helper.
impl Limits {
    /// These limits with as much time for a load, or a step of dealing, as its bytes need at 1
    /// MiB/s: AlexNet for 224 x 224 pixels has 1.7 GB of masked weights, more than two minutes at
    /// 100 Mbit/s.
    ///
    /// # Errors
    /// An invalid plan.
    pub fn for_plan(self, plan: &Plan) -> Result<Limits, NodeError> {
        let cost = plan.cost(1).map_err(ProtocolError::from)?;
        let weights: usize =
            plan.weights.iter().flat_map(parts).map(|part| packed_len(plan.limbs, part.len())).sum();
        let needed = Duration::from_secs((weights as u64).max(cost.dealt_bytes) / SLOWEST);
        Ok(Limits { load: self.load.max(needed), ..self })
    }

    /// Until a party gives up another that sends no keys: it may wait for a link, which it gives up
    /// after `load`.
    pub(crate) fn load_of_keys(&self) -> Duration {
        self.load + self.round / 2
    }

    /// Until an owner gives up a party that is not ready for weights: it may lack the keys of
    /// another party.
    pub(crate) fn load_by_owner(&self) -> Duration {
        self.load + self.round
    }

    /// Until a party gives up the owner, who waits for all parties.
    pub(crate) fn load_of_weights(&self) -> Duration {
        self.load + 2 * self.round
    }

    /// Until a party gives up another that sends no tags: it may lack weights.
    pub(crate) fn load_of_tags(&self) -> Duration {
        self.load + 3 * self.round
    }

    /// Until the helper gives up parties in a load.
    pub(crate) fn load_at_helper(&self) -> Duration {
        self.load + 4 * self.round
    }

    /// Until an owner gives up the helper that grants no load: it may wait for links of parties, and
    /// then for a session, as long as for anything in a load.
    pub(crate) fn load_granted(&self) -> Duration {
        2 * self.load_by_helper()
    }

    /// Until the helper is given up in a load, or in the beginning of a session.
    pub(crate) fn load_by_helper(&self) -> Duration {
        self.load + 5 * self.round
    }

    /// Until the helper refuses a request whose turn does not come, before its client gives it up.
    pub(crate) fn turn(&self) -> Duration {
        self.load + self.checks()
    }

    /// Until a client gives up the helper that gives it no ticket or invitation: it may wait for
    /// the end of another inference, and for material from parties.
    pub(crate) fn ticket(&self) -> Duration {
        self.load + self.outcome()
    }

    /// Until a party gives up a client whose link broke, and that it waits for.
    pub(crate) fn relink(&self) -> Duration {
        self.round / 10
    }

    /// Until a party gives up the owner whose link broke in the middle of a load.
    pub(crate) fn relink_of_owner(&self) -> Duration {
        self.round / 2
    }

    /// Until a party gives up an inference that it is in, while it waits for messages of a round,
    /// counted from 0, of so many: parties that are slow in every round are named by those that
    /// wait for them, the one that waits in the earliest round first.
    pub(crate) fn inference_of_round(&self, round: usize, rounds: usize) -> Duration {
        let share = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.inference + self.round / share(rounds.max(1)) * share(round.min(rounds))
    }

    /// Until an inference is given up whose turn does not come at a party that has as many in flight
    /// as its machine gives: the other parties, who wait for it, hear why before they blame it.
    pub(crate) fn turn_at_party(&self) -> Duration {
        self.round / 2
    }

    /// Until the helper gives up parties that have not sent their check messages.
    pub(crate) fn checks(&self) -> Duration {
        self.inference + 2 * self.round
    }

    /// Until the helper is given up in an inference.
    pub(crate) fn outcome(&self) -> Duration {
        self.checks() + self.round
    }

    /// For the messages of one round, counted from 1.
    ///
    /// Later rounds wait longer: when a party falls silent to one other only, the one that waits
    /// for it in an earlier round gives up first and names it, before it is itself named by those
    /// that are a round ahead.
    pub fn of_round(&self, round: usize) -> Duration {
        self.round + self.round / 4 * u32::try_from(round).unwrap_or(u32::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            round: Duration::from_secs(10),
            inference: Duration::from_secs(60),
            load: Duration::from_secs(120),
        }
    }
}

/// Memory of a party for the material of one inference, from which the largest batch follows where
/// nobody says otherwise.
pub const MATERIAL: u64 = 1 << 30;
/// Largest batch that any plan is served in, where memory allows it.
const LARGEST_BATCH: u64 = 64;

/// Largest batch whose one-time material fits in so many bytes at a party; 1 where even that does
/// not fit, or the plan is invalid.
pub fn largest_batch(plan: &Plan, bytes: u64) -> u32 {
    inferences(plan, bytes).clamp(1, LARGEST_BATCH) as u32
}

/// Inferences that are in flight at a time where memory allows it.
const LANES: u64 = 16;

/// Inferences of one input whose one-time material fits in so many bytes at a party, as many as are
/// in flight at a time; 1 where even that does not fit, or the plan is invalid.
pub fn lanes(plan: &Plan, bytes: u64) -> usize {
    inferences(plan, bytes).clamp(1, LANES) as usize
}

/// Inferences of one input for which material is kept, those in flight counted: as many more as
/// there are lanes, where that fits in so many bytes at a party.
pub fn kept(plan: &Plan, bytes: u64) -> usize {
    inferences(plan, bytes).clamp(1, 2 * LANES) as usize
}

/// Inferences of one input whose one-time material fits in so many bytes at a party.
fn inferences(plan: &Plan, bytes: u64) -> u64 {
    bytes / plan.cost(1).map_or(u64::MAX, |cost| cost.material_bytes.max(1))
}

/// Longest message between any two roles online or at load, in bytes: a weight tensor, a value, an
/// output, a check.
///
/// # Errors
/// An invalid plan.
pub fn online(plan: &Plan, max_batch: u32) -> Result<usize, NodeError> {
    let values = plan.values().map_err(ProtocolError::from)?;
    let batch = max_batch as usize;
    let packed = |elements: usize| packed_len(plan.limbs, elements);
    let weights = plan.weights.iter().flat_map(parts).map(|part| packed(part.len()));
    let opened = (0..values.count() as u32).map(|v| packed(values.get(ValueId(v)).len.saturating_mul(batch)));
    let load = HelperEpoch::longest_load_message(plan);
    // An output element takes at most the modulus in whole bytes, and one more.
    let each = plan.limbs.bits().div_ceil(8) as usize + 1;
    let output = values.get(plan.output.value).len.saturating_mul(batch).saturating_mul(each);
    let check = CheckShape::new(plan, &values, *PARTIES.end(), batch, 0).bytes();
    let compared = plan.ops.iter().filter_map(|op| match &op.kind {
        OpKind::Compare(c) => {
            let len = values.get(c.input).len.saturating_mul(batch);
            let bits = c.openings().into_iter().max().unwrap_or(0);
            Some(BitVec::packed_len(len).saturating_mul(bits).max(c.proof_bytes(len)))
        }
        _ => None,
    });
    let grant = plan.weights.len() * PARTIES.end() * SEED_BYTES;
    let longest =
        weights.chain(opened).chain(compared).chain([load, output, check, grant]).max().unwrap_or(0);
    Ok(longest.saturating_add(control::MAX_BYTES))
}

/// Bytes of an output, or of its release, for every input of a batch, at most.
///
/// # Errors
/// An invalid plan.
pub fn answer(plan: &Plan) -> Result<usize, NodeError> {
    let values = plan.values().map_err(ProtocolError::from)?;
    // An element takes at most the modulus in whole bytes, and one more.
    Ok(values.get(plan.output.value).len * (plan.limbs.bits().div_ceil(8) as usize + 1))
}

/// Longest message the helper deals, in bytes.
///
/// # Errors
/// An invalid plan.
pub fn dealing(plan: &Plan, max_batch: u32) -> Result<usize, NodeError> {
    let longest = corrections(plan, max_batch)?.into_iter().map(|shape| shape.longest(plan.limbs)).max();
    Ok(longest.unwrap_or(0).saturating_add(control::MAX_BYTES))
}

/// Messages of corrections that the helper deals for an inference. Saturates.
///
/// # Errors
/// An invalid plan.
pub(crate) fn messages_of_dealing(plan: &Plan, max_batch: u32) -> Result<usize, NodeError> {
    let messages = corrections(plan, max_batch)?.into_iter().map(|shape| shape.messages(plan.limbs));
    Ok(messages.fold(0, usize::saturating_add))
}

fn corrections(plan: &Plan, max_batch: u32) -> Result<Vec<CorrectionShape>, NodeError> {
    let values = plan.values().map_err(ProtocolError::from)?;
    let of = |(op, _)| preprocess::corrections(plan, &values, op, max_batch as usize);
    Ok(plan.indexed_ops().map(of).collect())
}
