//! Moves of an adversary: which message, and what becomes of it.

use crate::random::Random;
use amicus_node::Peer;
use amicus_protocol::wire::Kind;
use std::time::Duration;

/// One move.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Who sends the message; a corrupt role.
    pub from: Peer,
    /// Who is to get it; anybody when none is given.
    pub to: Option<Peer>,
    /// Its kind.
    pub kind: Kind,
    /// How many such messages pass unchanged before.
    pub skip: usize,
    /// Whether the move is played on every such message, not on the first only.
    pub always: bool,
    /// The adversary waits with this move until it has seen a message of this kind on its way to a
    /// corrupt role.
    pub after: Option<Kind>,
    /// What is done.
    pub act: Act,
}

/// What is done to a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Flips a bit of the body.
    Flip(usize),
    /// Flips a bit of the header.
    FlipHeader(usize),
    /// Adds an error to an element of the vector in it, for its recipient.
    Add(usize, Error),
    /// Adds an error to an element of what is opened, so that all parties hold the same wrong
    /// value.
    AddForAll(usize, Error),
    /// Adds an error in one place, and takes it away in another.
    Cancel(usize, usize, Error),
    /// Multiplies the vector by a number.
    Scale(i64),
    /// Exchanges two elements.
    Swap(usize, usize),
    /// Exchanges the bodies of this message and the next that the move concerns.
    SwapBodies,
    /// Sends an earlier message of this kind instead.
    Replay,
    /// Sends an earlier message of this kind too, before or after.
    ReplayToo(bool),
    /// Sends the body of an earlier message of this kind under the present header.
    ReplayBody,
    /// Sends it later.
    Delay(Duration),
    /// Sends it in the next stage.
    Withhold,
    /// Sends nothing.
    Drop,
    /// Cuts bytes off.
    Truncate(usize),
    /// Adds bytes.
    Extend(usize),
    /// Lets the next message of this link pass first.
    Reorder,
    /// Sends it twice.
    Twice,
    /// Sends it, and then one of its kind and length with a bit flipped.
    AnotherToo,
    /// Sends it as another kind.
    Rename(Kind),
    /// Sends it about another operation or weight tensor.
    Reindex(u32),
    /// Sends it about another inference.
    Renumber(u64),
    /// Sends bytes that are no message instead.
    Garbage(usize),
    /// Closes the link.
    Close,
    /// Gives up instead, and blames somebody, in so many words.
    Accuse(Peer, usize),
    /// Sends what an honest role has just sent of this kind (rushing).
    Echo,
    /// Sends the negative of that, so that it cancels out (rushing).
    Negate,
    /// Sends it to somebody else too.
    Also(Peer),
    /// Sends it, and then a corrupt role asks every honest party for the output of the last inference,
    /// or says that it has it.
    Collect(Demand),
}

/// A corrupt role's word about an output that may be another's.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Who sends it.
    pub by: Peer,
    /// What it says: `Collect` or `Collected`.
    pub kind: Kind,
    /// Whose keys tag it, if that role was given some for the inference; zeros otherwise.
    pub keys_of: Peer,
}

/// An error added to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// 1.
    One,
    /// -1.
    MinusOne,
    /// A power of two.
    Large(u32),
    /// Not zero in this limb only.
    Limb(usize),
}

/// The name of a kind of move, for counting.
pub type Name = &'static str;

impl Move {
    /// Its name.
    pub fn name(&self) -> Name {
        match self.act {
            Act::Flip(_) | Act::FlipHeader(_) => "flip",
            Act::Add(..) if self.to.is_some() => "add, equivocating",
            Act::Add(..) => "add",
            Act::AddForAll(..) => "add, for all",
            Act::Cancel(..) => "add, cancelling",
            Act::Scale(_) => "scale",
            Act::Swap(..) | Act::SwapBodies => "swap",
            Act::Replay | Act::ReplayToo(_) | Act::ReplayBody => "replay",
            Act::Delay(_) | Act::Withhold => "delay",
            Act::Drop => "drop",
            Act::Truncate(_) => "truncate",
            Act::Extend(_) => "extend",
            Act::Reorder => "reorder",
            Act::Twice | Act::AnotherToo => "twice",
            Act::Rename(_) | Act::Reindex(_) | Act::Renumber(_) => "mislabel",
            Act::Garbage(_) => "garbage",
            Act::Close => "close",
            Act::Accuse(..) => "accuse",
            Act::Echo | Act::Negate => "rushing",
            Act::Also(_) => "misdirect",
            Act::Collect(_) => "collect",
        }
    }

    /// Whether a message of this move is opened among all parties, so that an error can be the same
    /// for all.
    fn is_opened(kind: Kind) -> bool {
        matches!(kind, Kind::Opening | Kind::Tags)
    }

    /// Draws a move of one of these corrupt roles.
    pub fn draw(random: &mut Random, load: bool, corrupt: &[Peer], everybody: &[Peer]) -> Self {
        let from = corrupt[random.below(corrupt.len())].clone();
        let (to, kind) = occasion(random, load, &from, everybody);
        let after = (random.below(8) == 0).then(|| one_of(random, &SEEN));
        let skip = if random.below(3) == 0 { random.below(6) } else { 0 };
        let always = random.below(6) == 0;
        let act = Act::draw(random, kind, &from, everybody);
        Move { from, to, kind, skip, always, after, act }
    }
}

/// A move that asks for an output, be it a corrupt role's or another's; none where nobody can ask.
pub fn demand(random: &mut Random, corrupt: &[Peer], everybody: &[Peer]) -> Option<Move> {
    let from = one_of(random, corrupt);
    let (_, kind) = occasion(random, false, &from, everybody);
    let who: Vec<Peer> = corrupt.iter().filter(|role| **role != Peer::Owner).cloned().collect();
    let (false, skip) = (who.is_empty(), random.below(3)) else { return None };
    let said = [Kind::Collect, Kind::Collect, Kind::Collected][random.below(3)];
    let act = Act::Collect(Demand { by: one_of(random, &who), kind: said, keys_of: one_of(random, &who) });
    Some(Move { from, to: None, kind, skip, always: random.below(2) == 0, after: None, act })
}

/// What an adaptive adversary waits for.
const SEEN: [Kind; 6] =
    [Kind::Bind, Kind::Input, Kind::Opening, Kind::Tags, Kind::ReceiverKey, Kind::Challenge];

fn one_of<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())].clone()
}

/// A kind of message that a role sends, and perhaps one recipient of it.
fn occasion(random: &mut Random, load: bool, from: &Peer, everybody: &[Peer]) -> (Option<Peer>, Kind) {
    use Kind::*;
    let parties: Vec<Peer> =
        everybody.iter().filter(|p| matches!(p, Peer::Party(_)) && *p != from).cloned().collect();
    let some_party = |random: &mut Random| (random.below(2) == 0).then(|| one_of(random, &parties));
    match (from, load) {
        (Peer::Party(_), true) => {
            let kind =
                one_of(random, &[Keys, Keys, Tags, Tags, Tags, LoadHash, LoadResponse, LoadReady, Abort]);
            let party = some_party(random);
            (party.filter(|_| matches!(kind, Keys | Tags)), kind)
        }
        (Peer::Party(_), false) => {
            let kind =
                one_of(random, &[Opening, Opening, Opening, Opening, Check, Check, Output, Ready, Abort]);
            let party = some_party(random);
            (party.filter(|_| kind == Opening), kind)
        }
        (Peer::Owner, true) => {
            let kind = one_of(random, &[LoadRequest, Nonce, Weights, Weights, Weights]);
            let party = some_party(random);
            (party.filter(|_| kind != LoadRequest), kind)
        }
        (Peer::Client(_), false) => {
            let kind = one_of(random, &[Request, Input, Input, ReceiverKey, ReceiverKey, ReleaseAck]);
            let party = some_party(random);
            (party.filter(|_| matches!(kind, Input | ReceiverKey)), kind)
        }
        // Roles that have no part in a stage: what they say in it is of no kind that fits.
        (_, true) => (None, ReleaseAck),
        (_, false) => (None, LoadRequest),
    }
}

/// Kinds that a message may be renamed to.
const KINDS: [Kind; 17] = [
    Kind::Keys,
    Kind::SessionBegin,
    Kind::SessionAnswer,
    Kind::SessionOpen,
    Kind::Tags,
    Kind::Weights,
    Kind::LoadHash,
    Kind::LoadAccepted,
    Kind::Opening,
    Kind::Check,
    Kind::Input,
    Kind::Outcome,
    Kind::Release,
    Kind::Bind,
    Kind::Output,
    Kind::Collect,
    Kind::Collected,
];

impl Error {
    fn draw(random: &mut Random) -> Self {
        match random.below(6) {
            0 | 1 => Error::One,
            2 => Error::MinusOne,
            3 => Error::Large(random.below(50) as u32),
            _ => Error::Limb(random.below(3)),
        }
    }
}

impl Act {
    fn draw(random: &mut Random, kind: Kind, from: &Peer, everybody: &[Peer]) -> Self {
        let opened = Move::is_opened(kind);
        let at = |random: &mut Random| random.below(64);
        if opened && random.below(3) == 0 {
            let error = Error::draw(random);
            return match random.below(3) {
                0 => Act::Cancel(at(random), at(random), error),
                _ => Act::AddForAll(at(random), error),
            };
        }
        match random.below(24) {
            0 => Act::Flip(random.below(4096)),
            1 => Act::FlipHeader(random.below(192)),
            2..=4 => Act::Add(at(random), Error::draw(random)),
            5 => Act::Scale([0, -1, 2][random.below(3)]),
            6 => Act::Swap(at(random), at(random)),
            7 => Act::SwapBodies,
            8 => Act::Replay,
            9 => Act::ReplayToo(random.below(2) == 0),
            10 => Act::ReplayBody,
            // Up to beyond every deadline of an inference.
            11 | 12 => Act::Delay(Duration::from_millis(random.below(75_000) as u64)),
            13 => Act::Withhold,
            14 => Act::Drop,
            15 => Act::Truncate(1 + random.below(40)),
            16 => Act::Extend([1, 13, 32, 1 << 22][random.below(4)]),
            17 => Act::Reorder,
            18 => {
                if random.below(2) == 0 {
                    Act::Twice
                } else {
                    Act::AnotherToo
                }
            }
            19 => match random.below(3) {
                0 => Act::Rename(one_of(random, &KINDS)),
                1 => Act::Reindex(random.below(6) as u32),
                _ => Act::Renumber(random.below(6) as u64),
            },
            20 => Act::Garbage(random.below(60)),
            21 => Act::Close,
            22 => {
                let others: Vec<Peer> = everybody.iter().filter(|p| *p != from).cloned().collect();
                if random.below(2) == 0 {
                    Act::Accuse(one_of(random, &others), [10, 300, 16_300][random.below(3)])
                } else {
                    Act::Also(one_of(random, &others))
                }
            }
            _ => {
                if random.below(2) == 0 {
                    Act::Echo
                } else {
                    Act::Negate
                }
            }
        }
    }
}
