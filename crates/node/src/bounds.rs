//! How much memory an inbox takes for others: what they do not read, and what they send ahead of
//! its time. Both follow from the plan, so that an honest peer never meets a bound.

use crate::NodeError;
use crate::inbox::{Early, MESSAGE_COST, MESSAGES_OF_NODE, Room};
use crate::limits::{self, MAX_LANES, answer};
use amicus_field::packed_len;
use amicus_plan::{Plan, Schedule, ValueId};
use amicus_protocol::check::CheckShape;
use amicus_protocol::epoch::{HelperEpoch, SEED_BYTES};
use amicus_protocol::ids::PARTIES;
use amicus_protocol::{ProtocolError, control};

/// Bytes that wait for peers that do not read them, at most; whoever leaves more unread loses its
/// link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// For each helper and party, see
    /// [`Link::set_max_unsent`](amicus_net::Link::set_max_unsent).
    pub by_node: usize,
    /// For each client, and for the owner.
    pub by_user: usize,
    /// For all users together: beyond it the one that leaves most unread loses its link.
    pub by_users: usize,
}

impl Unread {
    /// Any number of bytes, for who says only what it wants to say itself.
    pub const ANY: Unread = Unread { by_node: usize::MAX, by_user: usize::MAX, by_users: usize::MAX };
}

/// What an inbox keeps in memory for and of others, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What was sent to others who do not read it.
    pub unread: Unread,
    /// What others sent ahead of its time.
    pub early: Early,
}

impl Bounds {
    /// Nothing at all.
    pub(crate) const NOTHING: Bounds = Bounds {
        unread: Unread { by_node: 0, by_user: 0, by_users: 0 },
        early: Early { of_node: Room::NONE, of_user: Room::NONE, of_users: 0 },
    };

    /// The larger of two bounds, each by itself.
    #[must_use]
    pub(crate) fn or(self, other: Bounds) -> Bounds {
        let (unread, early) = (other.unread, other.early);
        Bounds {
            unread: Unread {
                by_node: self.unread.by_node.max(unread.by_node),
                by_user: self.unread.by_user.max(unread.by_user),
                by_users: self.unread.by_users.max(unread.by_users),
            },
            early: Early {
                of_node: self.early.of_node.or(early.of_node),
                of_user: self.early.of_user.or(early.of_user),
                of_users: self.early.of_users.max(early.of_users),
            },
        }
    }
}

/// Answers of one client that may wait for it: as many as the helper keeps, sent again all at once
/// when the client comes back.
const ANSWERS: usize = 64;
/// Bytes of answers of one client, at most: as many as the helper keeps of all.
const MOST_OF_ANSWERS: usize = 128 << 20;
/// Inferences of one input whose input and key a client may have sent before a party can use them,
/// at least.
const OF_CLIENT: usize = 8;
/// Room for control messages and answers to questions.
const CONTROL: usize = 1 << 20;
/// Least bound of all users together.
const OF_USERS: usize = 64 << 20;
/// Corrections that the helper lets wait for a party before it waits itself, and as much again.
const DEALING: usize = 1 << 25;

/// Bounds of an online thread, and of a user.
///
/// # Errors
/// An invalid plan.
pub fn online(plan: &Plan, max_batch: u32) -> Result<Bounds, NodeError> {
    let frame = limits::online(plan, max_batch)?;
    let values = plan.values().map_err(ProtocolError::from)?;
    let batch = max_batch as usize;
    // To a party shares of all rounds, to the helper a check message; a load says less to either
    // than this many of its longest messages.
    let shares = plan.cost(1).map_err(ProtocolError::from)?.sent_bytes_per_party;
    let check = CheckShape::new(plan, &values, *PARTIES.end(), 1, 0).bytes();
    let each = usize::try_from(shares).unwrap_or(usize::MAX).max(check);
    let inferences = each.saturating_mul(MAX_LANES.max(2 * batch));
    let load = HelperEpoch::longest_load_message(plan).saturating_mul(plan.weights.len());
    let of_node = inferences.saturating_add(load).saturating_add(frame).saturating_add(CONTROL);

    let answers = answer(plan)?.saturating_mul(batch).saturating_mul(ANSWERS).min(MOST_OF_ANSWERS);
    let grant = plan.weights.len() * PARTIES.end() * SEED_BYTES;
    let by_user = answers.saturating_add(2 * (grant + control::MAX_BYTES) + (64 << 10));

    let input = packed_len(plan.limbs, values.get(ValueId::INPUT).len);
    let lanes = limits::lanes(plan, limits::MATERIAL).max(OF_CLIENT);
    let inputs = input.saturating_mul(lanes.max(2 * batch));
    let of_user =
        inputs.max(frame.saturating_mul(2)).saturating_add(2 * lanes * (MESSAGE_COST + control::MAX_BYTES));

    // Who waits for others in all inferences hears of the next round in each, from those who wait for
    // it.
    let of_round = Schedule::of(plan).rounds.iter().map(|round| round.open.len()).max().unwrap_or(0);
    let messages = 2 * (plan.ops.len() + plan.weights.len()) + (4 + of_round) * MAX_LANES;
    let room = Room {
        messages: messages.max(MESSAGES_OF_NODE),
        bytes: of_node.saturating_add(messages * MESSAGE_COST),
    };
    Ok(Bounds {
        unread: Unread { by_node: of_node, by_user, by_users: by_user.saturating_mul(2).max(OF_USERS) },
        early: Early {
            of_node: room,
            of_user: Room { messages: 2 * MAX_LANES, bytes: of_user },
            of_users: of_user.saturating_mul(2).max(OF_USERS),
        },
    })
}

/// Bounds of a dealing thread, which has no users.
///
/// # Errors
/// An invalid plan.
pub fn dealing(plan: &Plan, max_batch: u32) -> Result<Bounds, NodeError> {
    let frame = limits::dealing(plan, max_batch)?;
    let cost = plan.cost(max_batch as usize).map_err(ProtocolError::from)?;
    // A party may be busy with one inference's material while the next ones are dealt.
    let dealt = usize::try_from(cost.dealt_bytes).unwrap_or(usize::MAX).saturating_mul(4);
    let messages = MESSAGES_OF_NODE.max(limits::messages_of_dealing(plan, max_batch)?.saturating_mul(4));
    let bytes = dealt.saturating_add(CONTROL).saturating_add(messages.saturating_mul(MESSAGE_COST));
    let by_node = frame.saturating_add(DEALING + CONTROL);
    Ok(Bounds {
        unread: Unread { by_node, by_user: 0, by_users: 0 },
        early: Early { of_node: Room { messages, bytes }, of_user: Room::NONE, of_users: 0 },
    })
}
