//! The adversary at work: a thread that holds every link of the corrupt roles and plays its moves
//! on what passes.
//!
//! A rushing one runs only when no honest thread can: it passes on what honest roles say, and lets
//! corrupt ones speak when nothing more comes.

use super::edit::{Bodies, Change};
use super::moves::{Act, Demand, Error, Move, Name};
use super::scenario::Scenario;
use crate::nets::Net;
use crate::random::Random;
use amicus_field::Limbs;
use amicus_net::clock::{self, world};
use amicus_net::{Event, Link, Mesh, NetError, Waker};
use amicus_node::Peer;
use amicus_node::connect::{Arrival, InboxHandles};
use amicus_protocol::authentic::{AuthenticationKeys, BodyDigest, TAG_BYTES};
use amicus_protocol::control::{self, Channel, Invitation, TicketGrant, encode};
use amicus_protocol::epoch::SEED_BYTES;
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{InferenceId, Parties, SessionId, Step};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a message waits for another that does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// The adversary, as the rest of an execution sees it.
pub struct Handle {
    plot: Arc<Mutex<Plot>>,
    /// Outputs that honest parties should not have sent.
    leaks: Arc<Mutex<Vec<String>>>,
    waker: Waker,
    thread: JoinHandle<()>,
}

/// What the adversary is about.
#[derive(Debug, Default)]
struct Plot {
    /// Whether it plays; else it passes everything on.
    active: bool,
    stop: bool,
    /// Links that were closed are to be made anew, and what was withheld is to be sent or
    /// forgotten.
    renew: Option<bool>,
    moves: Vec<Armed>,
    /// Moves played since the stage began.
    played: Vec<Played>,
}

/// A move that was played.
#[derive(Clone, Copy, Debug)]
pub struct Played {
    /// Which one.
    pub number: usize,
    /// The message whose body it changed, if it did.
    pub changed: Option<Changed>,
}

/// A message with another body than its sender gave it.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    /// Its kind.
    pub kind: Kind,
    /// Its session.
    pub session: SessionId,
}

#[derive(Clone, Debug)]
struct Armed {
    what: Move,
    skip: usize,
    ready: bool,
    done: bool,
    /// The first of two messages that are to be exchanged.
    waiting: Option<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    from: Peer,
    to: Peer,
    /// The end of a link on which it leaves.
    out: usize,
    bytes: Vec<u8>,
}

/// A message that leaves later.
#[derive(Clone, Debug)]
struct Late {
    at: Instant,
    frame: Frame,
    /// It leaves once another of its link has overtaken it.
    overtaken: bool,
}

/// One side of a tapped link.
#[derive(Clone, Debug)]
struct End {
    /// Who is on this side.
    peer: Peer,
    channel: Channel,
}

struct Adversary {
    plot: Arc<Mutex<Plot>>,
    leaks: Arc<Mutex<Vec<String>>>,
    mesh: Mesh,
    /// Ends `2 k` and `2 k + 1` are the two sides of one link.
    ends: Vec<End>,
    inboxes: BTreeMap<Peer, InboxHandles>,
    corrupt: Vec<Peer>,
    /// The honest party whose messages are changed on their way to corrupt ones where all are to
    /// see the same.
    mouthpiece: Peer,
    rushing: bool,
    limbs: Limbs,
    /// How bodies are read.
    bodies: Bodies,
    /// Indices of what is opened, and number of weight tensors.
    opened: Vec<u32>,
    tensors: usize,
    parties: Parties,
    random: Random,
    history: Vec<Frame>,
    held: Vec<Frame>,
    later: Vec<Late>,
    withheld: Vec<Frame>,
    quiet: bool,
}

impl Handle {
    /// Taps these links and starts the thread.
    ///
    /// # Panics
    /// When the thread does not start.
    pub fn start(
        scenario: &Scenario,
        net: &Net,
        inboxes: &BTreeMap<Peer, InboxHandles>,
        links: &[(Peer, Peer, Channel)],
    ) -> Self {
        let mesh = Mesh::new().expect("a mesh");
        let (waker, plot) = (mesh.waker(), Arc::<Mutex<Plot>>::default());
        let leaks = Arc::<Mutex<Vec<String>>>::default();
        let end = |peer: &Peer, channel| End { peer: peer.clone(), channel };
        let honest = scenario.all_parties().all().map(Peer::Party).find(|p| scenario.is_honest(p));
        let bodies = Bodies::new(net, scenario.batch as usize, scenario.all_parties().count());
        let mut adversary = Adversary {
            plot: Arc::clone(&plot),
            leaks: Arc::clone(&leaks),
            mesh,
            ends: links.iter().flat_map(|(a, b, channel)| [end(a, *channel), end(b, *channel)]).collect(),
            inboxes: inboxes.clone(),
            corrupt: scenario.corrupt.clone(),
            mouthpiece: honest.expect("an honest party"),
            rushing: scenario.rushing,
            limbs: scenario.limbs,
            opened: bodies.openings(),
            bodies,
            tensors: net.plan.weights.len(),
            parties: scenario.all_parties(),
            random: Random(!scenario.seed),
            history: Vec::new(),
            held: Vec::new(),
            later: Vec::new(),
            withheld: Vec::new(),
            quiet: false,
        };
        (0..links.len()).for_each(|link| adversary.tap(link));
        let thread = clock::spawn("adversary", move || adversary.run()).expect("a thread");
        Handle { plot, leaks, waker, thread }
    }

    /// Outputs that honest parties sent to others than their receivers, or changed.
    pub fn leaks(&self) -> Vec<String> {
        self.leaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn plot(&self) -> MutexGuard<'_, Plot> {
        self.plot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to play these moves; links that were closed are made anew, and what was withheld is
    /// sent.
    pub fn attack(&self, moves: &[Move]) {
        let armed = |what: &Move| Armed {
            what: what.clone(),
            skip: what.skip,
            ready: what.after.is_none(),
            done: false,
            waiting: None,
        };
        let moves = moves.iter().map(armed).collect();
        *self.plot() = Plot { active: true, renew: Some(true), moves, ..Plot::default() };
        self.settle();
    }

    /// Becomes honest: passes everything on, over new links where some were closed. Returns the
    /// moves that were played.
    pub fn rest(&self) -> Vec<Played> {
        let played = std::mem::take(&mut self.plot().played);
        *self.plot() = Plot { renew: Some(false), ..Plot::default() };
        self.settle();
        played
    }

    fn settle(&self) {
        self.waker.wake();
        // Time passes when everybody has done what there was to do.
        clock::sleep(Duration::from_millis(1));
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.plot().stop = true;
        self.waker.wake();
        clock::join(self.thread);
    }
}

impl Adversary {
    fn run(mut self) {
        world::be_patient(self.rushing);
        loop {
            let now = clock::now();
            let due = self.later.iter().map(|late| late.at).min();
            let deadline = due.unwrap_or(now + Duration::from_secs(3600));
            match self.mesh.recv(if self.held.is_empty() { deadline } else { now }) {
                Ok(Event::Frame { key, bytes }) => {
                    self.quiet = false;
                    self.take(key, bytes.to_vec());
                }
                Ok(Event::Down { key, .. }) => self.close(key / 2),
                Ok(Event::Woken) => {
                    let (stop, renew) = {
                        let mut plot = self.lock();
                        (plot.stop, plot.renew.take())
                    };
                    if stop {
                        return;
                    }
                    if let Some(send) = renew {
                        self.renew(send);
                    }
                }
                // Nothing comes: others first, and when still nothing comes, corrupt roles speak.
                Err(NetError::Timeout { .. }) if !self.held.is_empty() => {
                    if self.quiet {
                        let held = std::mem::take(&mut self.held);
                        held.into_iter().for_each(|frame| self.play(frame));
                    } else {
                        world::pause();
                    }
                    self.quiet = !self.quiet;
                }
                Err(_) => {}
            }
            let now = clock::now();
            self.release(|late| late.at <= now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Plot> {
        self.plot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the two sides of a link through this thread.
    fn tap(&mut self, link: usize) {
        for (key, other) in [(2 * link, 2 * link + 1), (2 * link + 1, 2 * link)] {
            let (peer, from) = (self.ends[key].peer.clone(), self.ends[other].peer.clone());
            let (here, there) = Link::pair(&from.to_string(), &peer.to_string());
            self.mesh.insert(key, here);
            self.inboxes[&peer].deliver(self.ends[key].channel, Arrival { peer: from, link: there });
        }
    }

    fn close(&mut self, link: usize) {
        self.mesh.remove(2 * link);
        self.mesh.remove(2 * link + 1);
    }

    fn renew(&mut self, send: bool) {
        for link in 0..self.ends.len() / 2 {
            if !self.mesh.contains(2 * link) {
                self.tap(link);
            }
        }
        let withheld = std::mem::take(&mut self.withheld);
        let late = std::mem::take(&mut self.later);
        if send {
            withheld.iter().chain(late.iter().map(|late| &late.frame)).for_each(|frame| self.emit(frame));
        }
    }

    fn is_corrupt(&self, role: &Peer) -> bool {
        self.corrupt.contains(role)
    }

    /// A message that came in on one side.
    fn take(&mut self, key: usize, bytes: Vec<u8>) {
        let (from, to) = (self.ends[key].peer.clone(), self.ends[key ^ 1].peer.clone());
        let frame = Frame { from, to, out: key ^ 1, bytes };
        if self.is_corrupt(&frame.from) {
            if self.rushing {
                self.held.push(frame)
            } else {
                self.play(frame)
            }
            return;
        }
        if let Ok((header, _)) = Header::decode(&frame.bytes) {
            let mut plot = self.lock();
            plot.moves.iter_mut().filter(|m| m.what.after == Some(header.kind)).for_each(|m| m.ready = true);
        }
        self.watch(&frame);
        self.history.push(frame.clone());
        let frame = if self.lock().active { self.for_all(frame) } else { frame };
        self.emit(&frame);
    }

    /// An honest party gives an output to its receivers alone, and always the same.
    fn watch(&self, frame: &Frame) {
        let Ok((header, body)) = Header::decode(&frame.bytes) else { return };
        if header.kind != Kind::Output {
            return;
        }
        let of_scope = |kinds: &[Kind], old: &Frame| {
            let old = Header::decode(&old.bytes).ok().filter(|(old, _)| old.scope() == header.scope());
            old.is_some_and(|(old, _)| kinds.contains(&old.kind))
        };
        let told = |old: &&Frame| old.from == Peer::Helper && old.to == frame.to;
        let invited =
            self.history.iter().filter(told).any(|old| of_scope(&[Kind::Ticket, Kind::Invite], old));
        let before = |old: &&Frame| old.from == frame.from && of_scope(&[Kind::Output], old);
        let other = self.history.iter().find(before).filter(|old| old.bytes[HEADER_BYTES..] != *body);
        let mut leaks = self.leaks.lock().unwrap_or_else(PoisonError::into_inner);
        if !invited {
            leaks.push(format!("{} gave {} the output of {}", frame.from, frame.to, header.id));
        }
        if other.is_some() {
            leaks.push(format!("{} sent two outputs of {}", frame.from, header.id));
        }
    }

    /// Messages of a corrupt role about the output of the last inference, to all honest parties.
    fn demands(&self, demand: &Demand) -> Vec<Frame> {
        let headers = self.history.iter().rev().filter_map(|old| Header::decode(&old.bytes).ok());
        let inference = |header: &Header| matches!(header.kind, Kind::Opening | Kind::Bind | Kind::Ticket);
        let Some((last, _)) = headers.into_iter().find(|(header, _)| inference(header)) else {
            return Vec::new();
        };
        let (mut frames, header) = (Vec::new(), Header { index: 0, hop: 0, kind: demand.kind, ..last });
        let honest = self.parties.all().map(Peer::Party).filter(|party| !self.is_corrupt(party));
        for to in honest {
            let of_link = |key: &usize| {
                let (here, there) = (&self.ends[*key], &self.ends[key ^ 1]);
                here.peer == to && there.peer == demand.by && here.channel == Channel::Online
            };
            let Some(out) = (0..self.ends.len()).find(of_link) else { continue };
            let mut body = vec![0; TAG_BYTES];
            let from = demand.keys_of.clone();
            self.tag_again(&Frame { from, to: to.clone(), out, bytes: Vec::new() }, &header, &mut body);
            let bytes = [&header.encode()[..], &body].concat();
            frames.push(Frame { from: demand.by.clone(), to, out, bytes });
        }
        frames
    }

    /// Errors that all parties are to see.
    fn for_all(&mut self, frame: Frame) -> Frame {
        let Ok((header, body)) = Header::decode(&frame.bytes) else { return frame };
        let (from_corrupt, to_corrupt) = (self.is_corrupt(&frame.from), self.is_corrupt(&frame.to));
        if from_corrupt == to_corrupt {
            return frame;
        }
        let mut body = body.to_vec();
        let moves: Vec<Move> = self.lock().moves.iter().map(|m| m.what.clone()).collect();
        for (number, m) in moves.iter().enumerate() {
            let speaker = if from_corrupt { &m.from } else { &self.mouthpiece };
            if m.kind != header.kind || frame.from != *speaker {
                continue;
            }
            let errors = match m.act {
                Act::AddForAll(at, error) => vec![(m.skip, at, error, false)],
                // Within one vector, or in two of them.
                Act::Cancel(a, b, error) => {
                    vec![(m.skip, a, error, false), (m.skip + usize::from(b % 2 == 0), b, error, true)]
                }
                _ => continue,
            };
            let before = body.clone();
            for (target, at, error, negative) in errors {
                let index = match m.kind {
                    Kind::Tags => (target % self.tensors.max(1)) as u32,
                    _ => self.opened[target % self.opened.len()],
                };
                if index == header.index {
                    body = self.add(&header, &body, at, error, negative);
                }
            }
            if body != before {
                self.note(number, Some(Changed::of(&header)));
            }
        }
        Frame { bytes: [&header.encode()[..], &body].concat(), ..frame }
    }

    fn note(&self, number: usize, changed: Option<Changed>) {
        self.lock().played.push(Played { number, changed });
    }

    /// Plays the first move that concerns a corrupt role's message.
    fn play(&mut self, frame: Frame) {
        self.history.push(frame.clone());
        if !self.lock().active {
            return self.emit(&frame);
        }
        let frame = self.for_all(frame);
        let decoded = Header::decode(&frame.bytes).map(|(header, body)| (header, body.to_vec()));
        let Ok((header, body)) = decoded else { return self.emit(&frame) };
        let found = {
            let mut plot = self.lock();
            let mut found = None;
            for (number, m) in plot.moves.iter_mut().enumerate() {
                let concerned = m.ready
                    && !m.done
                    && m.what.from == frame.from
                    && m.what.kind == header.kind
                    && m.what.to.as_ref().is_none_or(|to| *to == frame.to);
                if !concerned || matches!(m.what.act, Act::AddForAll(..) | Act::Cancel(..)) {
                    continue;
                }
                if m.skip > 0 {
                    m.skip -= 1;
                    continue;
                }
                m.done = !m.what.always && m.what.act != Act::SwapBodies;
                found = Some((number, m.what.act.clone()));
                break;
            }
            found
        };
        match found {
            Some((number, act)) => self.act(number, &act, frame, header, body),
            None => self.emit(&frame),
        }
    }

    fn act(&mut self, number: usize, act: &Act, frame: Frame, header: Header, body: Vec<u8>) {
        let with = |header: Header, body: &[u8]| Frame {
            bytes: [&header.encode()[..], body].concat(),
            ..frame.clone()
        };
        let mut changed = None;
        let mut out = Vec::new();
        let mut edited = None;
        match act {
            Act::Flip(bit) if !body.is_empty() => {
                let mut body = body.clone();
                let bit = bit % (8 * body.len());
                body[bit / 8] ^= 1 << (bit % 8);
                edited = Some(body);
            }
            Act::FlipHeader(bit) => {
                let mut bytes = frame.bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                out.push(Frame { bytes, ..frame.clone() });
            }
            Act::Add(at, error) => edited = Some(self.add(&header, &body, *at, *error, false)),
            Act::Scale(by) => edited = self.bodies.edit(&header, &body, Change::Scale(*by)),
            Act::Swap(a, b) => edited = self.bodies.edit(&header, &body, Change::Swap(*a, *b)),
            Act::SwapBodies => {
                let waiting = {
                    let mut plot = self.lock();
                    let armed = &mut plot.moves[number];
                    let waiting = armed.waiting.take();
                    match waiting {
                        Some(_) => armed.done = true,
                        None => armed.waiting = Some(frame.clone()),
                    }
                    waiting
                };
                let Some(first) = waiting else {
                    self.note(number, None);
                    return self.put_off(PATIENCE, frame, false);
                };
                let same = |late: &Late| late.frame.bytes == first.bytes && late.frame.out == first.out;
                let Some(at) = self.later.iter().position(same) else {
                    return self.emit(&frame);
                };
                self.later.remove(at);
                out.push(Frame { bytes: [&first.bytes[..HEADER_BYTES], &body].concat(), ..first.clone() });
                out.push(with(header, &first.bytes[HEADER_BYTES..]));
                changed = (first.bytes[HEADER_BYTES..] != body).then_some(Changed::of(&header));
            }
            Act::Replay | Act::ReplayToo(_) | Act::ReplayBody => {
                let Some(old) = self.earlier(&frame, &header) else { return self.emit(&frame) };
                match act {
                    Act::Replay => out.push(old),
                    Act::ReplayToo(true) => out.extend([old, frame.clone()]),
                    Act::ReplayToo(false) => out.extend([frame.clone(), old]),
                    _ => edited = Some(old.bytes[HEADER_BYTES..].to_vec()),
                }
            }
            Act::Delay(time) => self.put_off(*time, frame.clone(), false),
            Act::Withhold => self.withheld.push(frame.clone()),
            Act::Truncate(bytes) => {
                out.push(with(header, &body[..body.len() - (*bytes).min(body.len())]));
            }
            Act::Extend(bytes) => out.push(with(header, &[&body[..], &vec![0; *bytes]].concat())),
            Act::Reorder => self.put_off(PATIENCE, frame.clone(), true),
            Act::Twice => out.extend([frame.clone(), frame.clone()]),
            Act::AnotherToo => {
                let mut bytes = frame.bytes.clone();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                out.extend([frame.clone(), Frame { bytes, ..frame.clone() }]);
            }
            Act::Rename(kind) => out.push(with(Header { kind: *kind, ..header }, &body)),
            Act::Reindex(index) => out.push(with(Header { index: *index, ..header }, &body)),
            Act::Renumber(id) => out.push(with(Header { id: InferenceId(*id), ..header }, &body)),
            Act::Garbage(length) => {
                let bytes = self.random.bytes(*length);
                out.push(Frame { bytes, ..frame.clone() });
            }
            Act::Close => self.close(frame.out / 2),
            Act::Accuse(who, length) => {
                // Written like a notice, but with words that no honest role writes.
                let reason = "x".repeat(*length);
                let notice = (Some(who.to_string()), Step::Check, reason, true, Some("helper"));
                let body = encode(&notice).expect("a notice");
                out.push(with(Header { kind: Kind::Abort, index: 0, ..header }, &body));
            }
            Act::Echo | Act::Negate => {
                let Some(said) = self.honest(&header) else { return self.emit(&frame) };
                edited = match act {
                    Act::Echo => Some(said),
                    _ => self.bodies.edit(&header, &said, Change::Negate),
                };
            }
            Act::Also(peer) => {
                let channel = self.ends[frame.out].channel;
                let link = self.ends.chunks(2).position(|pair| {
                    pair.iter().any(|e| e.peer == *peer)
                        && pair.iter().any(|e| e.peer == frame.from)
                        && pair[0].channel == channel
                });
                if let Some(link) = link {
                    let out_end = if self.ends[2 * link].peer == *peer { 2 * link } else { 2 * link + 1 };
                    out.push(Frame { to: peer.clone(), out: out_end, ..frame.clone() });
                }
                out.push(frame.clone());
            }
            Act::Collect(demand) => {
                out.push(frame.clone());
                out.extend(self.demands(demand));
            }
            Act::Drop => {}
            Act::Flip(_) | Act::AddForAll(..) | Act::Cancel(..) => return self.emit(&frame),
        }
        if let Some(mut edited) = edited {
            // Corrupt users have their keys; a bit is flipped by somebody who has not.
            if !matches!(act, Act::Flip(_)) && edited != body {
                self.tag_again(&frame, &header, &mut edited);
            }
            changed = (edited != body).then_some(Changed::of(&header));
            out.push(with(header, &edited));
        }
        self.note(number, changed);
        out.iter().for_each(|frame| self.emit(frame));
    }

    fn put_off(&mut self, time: Duration, frame: Frame, overtaken: bool) {
        self.later.push(Late { at: clock::now() + time, frame, overtaken });
    }

    fn release(&mut self, due: impl Fn(&Late) -> bool) {
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(due);
        self.later = later;
        let due: Vec<Late> = due;
        due.iter().for_each(|late| self.emit(&late.frame));
    }

    /// Sends a message, and after it those that it overtook.
    fn emit(&mut self, frame: &Frame) {
        if self.mesh.contains(frame.out) {
            // Who has gone hears nothing.
            let _ = self.mesh.send(frame.out, &[&frame.bytes]);
        }
        if self.later.iter().any(|late| late.overtaken && late.frame.out == frame.out) {
            self.release(|late| late.overtaken && late.frame.out == frame.out);
        }
    }

    /// Gives a changed message of a user to a party the tag that its sender can make.
    fn tag_again(&self, frame: &Frame, header: &Header, body: &mut Vec<u8>) {
        let tagged = matches!(
            header.kind,
            Kind::Nonce | Kind::Weights | Kind::Input | Kind::ReceiverKey | Kind::Collect | Kind::Collected
        );
        let (true, Peer::Party(party)) = (tagged, &frame.to) else { return };
        let keys_of = |told: &Frame| {
            let (of, told) = Header::decode(&told.bytes).ok().filter(|_| told.to == frame.from)?;
            let keys = match of.kind {
                Kind::Ticket => control::decode::<TicketGrant>(told).ok()?.keys.clone(),
                Kind::Invite => control::decode::<Invitation>(told).ok()?.keys.clone(),
                // The last of what is granted.
                Kind::LoadGrant => told.rchunks(self.parties.count() * SEED_BYTES).next()?.to_vec(),
                _ => return None,
            };
            (of.scope() == header.scope()).then_some(keys)
        };
        let Some(keys) = self.history.iter().rev().find_map(keys_of) else { return };
        let Ok(keys) = AuthenticationKeys::decode(self.parties, &keys) else { return };
        let Some(key) = keys.with(*party) else { return };
        body.truncate(body.len().saturating_sub(TAG_BYTES));
        let digest = BodyDigest::of(body);
        let tag = match header.kind {
            Kind::Collect | Kind::Collected => key.of_output().tag(header, &digest),
            _ => key.tag(header, &digest),
        };
        body.extend_from_slice(tag.as_bytes());
    }

    /// The last message of this kind between the same two before the present load or inference.
    fn earlier(&self, frame: &Frame, header: &Header) -> Option<Frame> {
        let other = |old: &&Frame| {
            let same = old.from == frame.from && old.to == frame.to && old.out == frame.out;
            let old = Header::decode(&old.bytes).map(|(old, _)| old);
            same && old.is_ok_and(|old| {
                old.kind == header.kind && old.index == header.index && old.scope() != header.scope()
            })
        };
        self.history.iter().rev().find(other).cloned()
    }

    /// What an honest role has just said of this kind.
    fn honest(&self, header: &Header) -> Option<Vec<u8>> {
        let said = self.history.iter().rev().filter(|f| !self.is_corrupt(&f.from));
        let mut said = said.filter_map(|f| Header::decode(&f.bytes).ok());
        said.find(|(h, _)| (h.kind, h.index, h.scope()) == (header.kind, header.index, header.scope()))
            .map(|(_, body)| body.to_vec())
    }

    /// A body with an error in one element or bit, or in a byte where it has none.
    fn add(&self, header: &Header, body: &[u8], at: usize, error: Error, negative: bool) -> Vec<u8> {
        let change = Change::Add(at, error.element(self.limbs, negative));
        self.bodies.edit(header, body, change).unwrap_or_else(|| {
            let mut body = body.to_vec();
            let at = at % body.len().max(1);
            body.get_mut(at..=at).into_iter().flatten().for_each(|byte| *byte = byte.wrapping_add(1));
            body
        })
    }
}

impl Changed {
    fn of(header: &Header) -> Self {
        Changed { kind: header.kind, session: header.session }
    }
}

/// Names of moves by number.
pub fn names(moves: &[Move], played: &[Played]) -> Vec<Name> {
    let mut numbers: Vec<usize> = played.iter().map(|played| played.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().map(|number| moves[number].name()).collect()
}
