//! What a malicious party does: it runs the real node and deviates where a [`Deviation`] says.
//!
//! A [`Switch`] turns the deviation on for one inference or load, so that a test can show that the
//! same nodes work before and after it, and counts how often it was really played.

use crate::direct::Shift;
use crate::random::Random;
use amicus_field::{Element, Limbs, pack_into, unpack};
use amicus_net::clock;
use amicus_node::Peer;
use amicus_node::conduct::{Conduct, Outgoing};
use amicus_plan::{Plan, Stage, WeightId};
use amicus_protocol::InferenceId;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::control::{AbortNotice, encode};
use amicus_protocol::epoch::PartyTagging;
use amicus_protocol::online::Opening;
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// One deviation from the protocol.
#[derive(Clone, Debug)]
pub enum Deviation {
    /// Adds errors to its shares of openings, the same towards everybody and in its own
    /// computation.
    Shift(Vec<Shift>),
    /// Adds errors to its part of the tags of a load, likewise.
    Tags(Vec<Shift>),
    /// Adds errors to its sums of the check: position (batch element by batch element) and error.
    Sigma(Vec<(usize, Element)>),
    /// Claims to have seen something else opened.
    Transcript,
    /// Claims to have sent the first receiver another output.
    OutputHash,
    /// Sends the helper a second message of the check, before anybody else can send one: the share
    /// of this last operation is held back meanwhile.
    SecondSigma(u32),
    /// Changes messages on their way.
    Message(Tamper),
}

/// Which messages are changed, and how.
#[derive(Clone, Debug)]
pub struct Tamper {
    /// Messages of this kind.
    pub kind: Kind,
    /// The operation or weight tensor; any when none is given.
    pub index: Option<u32>,
    /// The peer it goes to; every peer when none is given.
    pub to: Option<Peer>,
    /// What is done to them.
    pub how: How,
}

/// What is done to a message.
#[derive(Clone, Debug)]
pub enum How {
    /// Adds an error to one element of the vector it carries.
    Shift(usize, Element),
    /// Flips the lowest bit of one byte after the header.
    Flip(usize),
    /// Cuts bytes off its end.
    Shorter(usize),
    /// Adds bytes at its end.
    Longer(usize),
    /// Makes the first residue of a limb its prime's successor or more.
    Residue(usize),
    /// Names another operation or weight tensor.
    Index(u32),
    /// Names another kind.
    Kind(Kind),
    /// Sends the message of the same kind and index of an earlier inference or load instead.
    Earlier,
    /// Sends that message, and then the right one.
    EarlierToo,
    /// Sends the body of an earlier inference under the present id.
    EarlierBody,
    /// Sends it twice.
    Twice,
    /// Sends it, and then another one of its kind and length.
    AnotherToo,
    /// Sends nothing.
    Nothing,
    /// Sends a message of another kind, with this body, about the same inference instead.
    Instead(Kind, Vec<u8>),
    /// Sends these bytes, which are no message, instead.
    Garbage(Vec<u8>),
    /// Sends a frame longer than anything in the plan.
    TooLong,
    /// Closes the link, and keeps it to itself.
    Close,
    /// Sends it, and closes the link.
    ThenClose,
    /// Sends it late, and does nothing else meanwhile.
    Late(Duration),
    /// Gives up instead, with this account of why.
    GiveUp(AbortNotice),
    /// Sends random frames and randomly changed copies before it.
    Noise(Random),
    /// Sends another message to somebody else, and then this one.
    Also(Peer, Kind),
}

/// Turns a deviation on and off from outside the node.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<(AtomicBool, AtomicUsize)>);

impl Switch {
    /// From now on the party deviates, or is honest.
    pub fn set(&self, on: bool) {
        self.0.0.store(on, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// How often the deviation was played.
    pub fn played(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn note(&self) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
    }
}

impl Deviation {
    /// Changes messages of a kind to every peer.
    pub fn message(kind: Kind, how: How) -> Self {
        Deviation::Message(Tamper { kind, index: None, to: None, how })
    }

    /// Changes its share of one operation on the way to every peer.
    pub fn opening(op: u32, how: How) -> Self {
        Deviation::Message(Tamper { kind: Kind::Opening, index: Some(op), to: None, how })
    }

    /// Adds an error to one element of its share of one operation.
    pub fn shift(op: u32, element: usize, error: Element) -> Self {
        Deviation::Shift(vec![Shift { index: op, element, error }])
    }

    /// Adds an error in one place and takes it away in another: two pairs of operation and element.
    pub fn cancelling(one: (u32, usize), other: (u32, usize), error: Element) -> Self {
        let shift = |(index, element), error| Shift { index, element, error };
        Deviation::Shift(vec![shift(one, error), shift(other, -error)])
    }

    /// Restricts a deviation of messages to those for one peer.
    ///
    /// # Panics
    /// When it is not about messages.
    pub fn to(self, peer: Peer) -> Self {
        match self {
            Deviation::Message(tamper) => Deviation::Message(Tamper { to: Some(peer), ..tamper }),
            other => panic!("{other:?} is no change of messages"),
        }
    }

    /// A party's conduct.
    pub fn conduct(self, limbs: Limbs, switch: Switch) -> Box<dyn Conduct> {
        Box::new(Deviant { deviation: self, limbs, switch, sent: HashMap::new(), held: Vec::new() })
    }
}

struct Deviant {
    deviation: Deviation,
    limbs: Limbs,
    switch: Switch,
    /// The last honest message of every kind and index to every peer.
    sent: HashMap<(Peer, u8, u32), (Header, Vec<u8>)>,
    /// Messages held back.
    held: Vec<Outgoing>,
}

impl Conduct for Deviant {
    fn tagging(&mut self, _: &Plan, tagging: &mut PartyTagging) {
        let Deviation::Tags(shifts) = &self.deviation else { return };
        for s in shifts.iter().filter(|_| self.switch.is_on()) {
            tagging.danger_shift(WeightId(s.index), s.element, s.error);
            self.switch.note();
        }
    }

    fn opening(&mut self, _: &Plan, opening: &mut Opening) {
        let Deviation::Shift(shifts) = &self.deviation else { return };
        for s in shifts.iter().filter(|_| self.switch.is_on()) {
            let stage = Stage::from_index(s.index);
            if opening.shares().iter().any(|(opened, _)| *opened == stage) {
                opening.danger_shift(stage, s.element, s.error);
                self.switch.note();
            }
        }
    }

    fn check(&mut self, message: &mut CheckMessage) {
        if !self.switch.is_on() {
            return;
        }
        match &self.deviation {
            Deviation::Sigma(errors) => {
                errors.iter().for_each(|&(at, e)| message.sums.set(at, message.sums.get(at) + e))
            }
            Deviation::Transcript => message.transcript.0[31] ^= 0x80,
            Deviation::OutputHash => message.outputs[0].0[0] ^= 1,
            _ => return,
        }
        self.switch.note();
    }

    fn send(&mut self, to: &Peer, header: Header, body: &[u8]) -> Vec<Outgoing> {
        let key = (to.clone(), header.kind as u8, header.index);
        let earlier = self.sent.insert(key, (header, body.to_vec()));
        let honest = Outgoing::Message(header, body.to_vec());
        let limbs = self.limbs;
        match &mut self.deviation {
            Deviation::SecondSigma(last) if self.switch.is_on() => match header.kind {
                Kind::Opening if header.index == *last => {
                    self.held.push(Outgoing::MessageTo(to.clone(), header, body.to_vec()));
                    Vec::new()
                }
                Kind::Check => {
                    self.switch.note();
                    let mut all = vec![honest, Outgoing::Message(header, flipped(body.to_vec(), 0))];
                    all.append(&mut self.held);
                    all
                }
                _ => vec![honest],
            },
            Deviation::Message(Tamper { how: How::Close, .. })
                if self.switch.is_on() && header.kind == Kind::Abort =>
            {
                Vec::new()
            }
            Deviation::Message(tamper) if self.switch.is_on() && tamper.concerns(to, &header) => {
                self.switch.note();
                tamper.how.play(limbs, header, body, earlier)
            }
            _ => vec![honest],
        }
    }
}

impl Tamper {
    fn concerns(&self, to: &Peer, header: &Header) -> bool {
        header.kind == self.kind
            && self.index.is_none_or(|index| index == header.index)
            && self.to.as_ref().is_none_or(|peer| peer == to)
    }
}

impl How {
    fn play(
        &mut self,
        limbs: Limbs,
        header: Header,
        body: &[u8],
        earlier: Option<(Header, Vec<u8>)>,
    ) -> Vec<Outgoing> {
        let honest = Outgoing::Message(header, body.to_vec());
        let body = body.to_vec();
        match self {
            How::Shift(element, error) => {
                vec![Outgoing::Message(header, shifted(limbs, &body, *element, *error))]
            }
            How::Flip(at) => vec![Outgoing::Message(header, flipped(body, *at))],
            How::Shorter(bytes) => vec![Outgoing::Message(header, body[..body.len() - *bytes].to_vec())],
            How::Longer(bytes) => vec![Outgoing::Message(header, [body, vec![0; *bytes]].concat())],
            How::Residue(limb) => {
                let mut body = body;
                let at = body.len() / limbs.count() * *limb;
                body[at..at + 6].fill(0xff);
                body[at + 6] |= 0x0f;
                vec![Outgoing::Message(header, body)]
            }
            How::Index(index) => vec![Outgoing::Message(Header { index: *index, ..header }, body)],
            How::Kind(kind) => vec![Outgoing::Message(Header { kind: *kind, ..header }, body)],
            How::Earlier | How::EarlierToo | How::EarlierBody => {
                let (old_header, old_body) = earlier.expect("an honest inference before the attack");
                match self {
                    How::Earlier => vec![Outgoing::Message(old_header, old_body)],
                    How::EarlierToo => vec![Outgoing::Message(old_header, old_body), honest],
                    _ => vec![Outgoing::Message(header, old_body)],
                }
            }
            How::Twice => vec![honest, Outgoing::Message(header, body)],
            How::AnotherToo => vec![honest, Outgoing::Message(header, flipped(body, 0))],
            How::Nothing => Vec::new(),
            How::Instead(kind, body) => {
                vec![Outgoing::Message(Header { kind: *kind, index: 0, ..header }, body.clone())]
            }
            How::Garbage(bytes) => vec![Outgoing::Raw(bytes.clone())],
            How::TooLong => vec![Outgoing::Message(header, vec![0; 1 << 22])],
            How::Close => vec![Outgoing::Close],
            How::ThenClose => vec![honest, Outgoing::Close],
            How::Late(time) => {
                clock::sleep(*time);
                vec![honest]
            }
            How::GiveUp(notice) => {
                let body = encode(notice).expect("a notice");
                vec![Outgoing::Message(Header { kind: Kind::Abort, index: 0, ..header }, body)]
            }
            How::Noise(random) => {
                let mut all: Vec<Outgoing> = (0..4).map(|_| noise(random, header, &body)).collect();
                all.push(honest);
                all
            }
            How::Also(peer, kind) => {
                vec![Outgoing::MessageTo(peer.clone(), Header { kind: *kind, ..header }, body), honest]
            }
        }
    }
}

fn flipped(mut body: Vec<u8>, at: usize) -> Vec<u8> {
    body[at] ^= 1;
    body
}

fn shifted(limbs: Limbs, body: &[u8], element: usize, error: Element) -> Vec<u8> {
    // Two residues take 13 bytes, an odd last one 7.
    let plane = body.len() / limbs.count();
    let mut vector =
        unpack(limbs, plane / 13 * 2 + usize::from(plane % 13 == 7), body).expect("an honest vector");
    vector.set(element, vector.get(element) + error);
    let mut bytes = Vec::new();
    pack_into(&vector, &mut bytes);
    bytes
}

/// A random frame, or the message with random changes.
fn noise(random: &mut Random, header: Header, body: &[u8]) -> Outgoing {
    let mut bytes = [&header.encode()[..], body].concat();
    match random.below(4) {
        0 => {
            let length = random.below(100);
            bytes = random.bytes(length);
        }
        1 => bytes.truncate(random.below(bytes.len())),
        2 => {
            let id = InferenceId(random.bits() >> random.below(64));
            bytes[..HEADER_BYTES].copy_from_slice(&Header { id, ..header }.encode());
        }
        _ => {
            let at =
                if random.below(2) == 0 { random.below(HEADER_BYTES) } else { random.below(bytes.len()) };
            bytes[at] ^= 1 << random.below(8);
        }
    }
    Outgoing::Raw(bytes)
}
