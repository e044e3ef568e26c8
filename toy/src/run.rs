//! All roles in one thread, calling the protocol's states: every message is encoded, recorded and
//! decoded, and parties may deviate.

use std::convert::Infallible;
use std::sync::Arc;

use amicus_client::ToParties;
use amicus_client::load::Loading;
use amicus_field::oracle::FreshSeeds;
use amicus_field::{Element, LimbVec, Seed};
use amicus_plan::{OpIndex, Stage, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::check::{CheckMessage, DecisionLog};
use amicus_protocol::control;
use amicus_protocol::epoch::{HelperEpoch, HelperLoad, PartyContext, PartyEpoch, PartyLoad};
use amicus_protocol::input::Ticket;
use amicus_protocol::label::{Label, Purpose, domain};
use amicus_protocol::online::{AwaitingInput, Collecting, Next, Opening};
use amicus_protocol::output::{Receiver, ReceiverKey};
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::session::{HelperSession, Holding, Joining, PartySession, SessionStart};
use amicus_protocol::share::Share;
use amicus_protocol::wire::{self, Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Parties, PartyId, Peer, ProtocolError, Scope, Step};

use crate::nets::Net;

/// Somebody who takes part. Parties count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The helper.
    Helper,
    /// The owner of the weights.
    Owner,
    /// The client, who gets the output too.
    Client,
    /// A further receiver of the output.
    Receiver,
    /// A compute party.
    Party(usize),
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who sent it.
    pub from: Role,
    /// Who gets it.
    pub to: Role,
    /// What it is; a verdict goes as `Outcome` with one byte.
    pub kind: Kind,
    /// The operation or tensor concerned; of a check, how many hashes it ends in.
    pub index: u32,
    /// Its body.
    pub body: Vec<u8>,
}

/// Every message of a run, in order.
#[derive(Default, Debug)]
pub struct Log(pub Vec<Message>);

impl Log {
    fn send(&mut self, from: Role, to: Role, kind: Kind, body: impl Into<Vec<u8>>) -> Vec<u8> {
        self.send_of(0, from, to, kind, body)
    }

    fn send_of(&mut self, index: u32, from: Role, to: Role, kind: Kind, body: impl Into<Vec<u8>>) -> Vec<u8> {
        let body = body.into();
        self.0.push(Message { from, to, kind, index, body: body.clone() });
        body
    }

    /// The sum of all bytes that a role has seen so far, without corrections of operations behind one:
    /// what an adversary may make its errors depend on.
    fn seen_by(&self, role: Role, op: OpIndex) -> i128 {
        let later = |m: &Message| m.kind == Kind::DealCorrection && m.index > op.0;
        let to = self.0.iter().filter(|m| m.to == role && !later(m));
        to.flat_map(|m| &m.body).map(|&byte| i128::from(byte)).sum()
    }
}

/// What is added at one place, by one party that keeps to the protocol otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// The party's number.
    pub by: usize,
    /// Where.
    pub at: Place,
    /// What.
    pub error: Error,
}

/// Where a party deviates.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Its part of the masked tags of a tensor: the column.
    Tags(u32, usize),
    /// Its answer for a tensor.
    Answer(u32),
    /// Its share of an opening, by its number in messages: the element, bit, or byte of a proof.
    Opening(u32, usize),
    /// Its sums for the helper: which.
    Sum(usize),
}

/// The error that is added.
#[derive(Clone, Debug, Copy)]
pub enum Error {
    /// Always the same.
    Fixed(Element),
    /// A sum of everything the party has seen, plus a constant.
    Adaptive(i128),
    /// For an opening: the same without corrections of later operations.
    OfEarlier(i128),
    /// For an answer: as many times the challenge's first element as said, plus as many times its
    /// second.
    OfChallenge([i128; 2]),
}

impl Error {
    /// An error that is one number in every limb.
    pub fn of(net: &Net, error: i128) -> Error {
        Error::Fixed(Element::from_i128(net.plan.limbs, error))
    }
}

/// One load or inference: who takes part, what with, and who deviates how.
#[derive(Clone, Copy, Debug)]
pub struct Conduct<'a> {
    /// The network.
    pub net: &'a Net,
    /// Number of parties.
    pub parties: usize,
    /// Deviations of parties.
    pub deviations: &'a [Deviation],
    /// Parties that the client sends its input plus 1.
    pub misled: &'a [usize],
    /// Parties that the second receiver sends another key.
    pub misled_about_keys: &'a [usize],
}

impl<'a> Conduct<'a> {
    /// Everybody keeps to the protocol.
    pub fn honest(net: &'a Net, parties: usize) -> Conduct<'a> {
        Conduct { net, parties, deviations: &[], misled: &[], misled_about_keys: &[] }
    }

    /// Whether everybody keeps to the protocol.
    pub fn is_honest(&self) -> bool {
        self.deviations.is_empty() && self.misled.is_empty() && self.misled_about_keys.is_empty()
    }

    /// This conduct without deviations.
    pub fn kept(&self) -> Conduct<'a> {
        Conduct::honest(self.net, self.parties)
    }

    fn count(&self) -> Parties {
        Parties::new(self.parties).expect("a number of parties")
    }

    fn errors(&self, log: &Log) -> Vec<(usize, Place, Element)> {
        let limbs = self.net.plan.limbs;
        let of = |d: &Deviation| match d.error {
            Error::Fixed(error) => Some((d.by, d.at, error)),
            Error::Adaptive(constant) | Error::OfEarlier(constant) => {
                let op = match (d.error, d.at) {
                    (Error::OfEarlier(_), Place::Opening(stage, _)) => Stage::from_index(stage).op,
                    _ => OpIndex(u32::MAX),
                };
                let seen = log.seen_by(Role::Party(d.by), op) + constant;
                Some((d.by, d.at, Element::from_i128(limbs, seen)))
            }
            Error::OfChallenge(_) => None,
        };
        self.deviations.iter().filter_map(of).collect()
    }
}

/// A model loaded at a helper and parties.
#[derive(Debug)]
pub struct Loaded {
    /// The session, of which the load took the first id.
    session: (HelperSession, Vec<PartySession>),
    /// The helper.
    pub helper: HelperEpoch,
    /// The parties in order.
    pub parties: Vec<Arc<PartyEpoch>>,
}

/// How an inference ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the helper accepted.
    pub accepted: bool,
    /// Logits of the client and of the second receiver.
    pub logits: Option<[Vec<f64>; 2]>,
    /// The masked input.
    pub input: LimbVec,
    /// Everything opened, as the first party holds it.
    pub opened: Vec<(Stage, Share)>,
}

struct NoLog;

impl DecisionLog for NoLog {
    type Error = Infallible;

    fn accepted(&mut self, _: Scope, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn synchronise(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn role(party: PartyId) -> Role {
    Role::Party(party.number())
}

/// Begins a session. Of its messages the log has the seeds.
fn begin(parties: Parties, log: &mut Log) -> Result<(HelperSession, Vec<PartySession>), ProtocolError> {
    let start = SessionStart::draw(parties, Vec::new(), &mut FreshSeeds)?;
    let mut all = Vec::new();
    for me in parties.all() {
        let offer = start.offer(me);
        log.send(Role::Helper, role(me), Kind::SessionBegin, offer.part.clone());
        let offer = control::encode(&offer)?;
        all.push(Joining::begin(parties, me, start.id(), &offer, &mut FreshSeeds)?);
    }
    for from in parties.all() {
        for to in parties.others(from) {
            let body = all[from.index()].message(to);
            let body = log.send(role(from), role(to), Kind::Keys, body);
            all[to.index()].receive(from, &body)?;
        }
    }
    let (mut sessions, mut answers) = (Vec::new(), Vec::new());
    for (me, joining) in parties.all().zip(all) {
        let (session, answer) = joining.answer(|_| Holding::Nothing)?;
        log.send(role(me), Role::Helper, Kind::SessionAnswer, answer.part.clone());
        sessions.push(session);
        answers.push(answer);
    }
    Ok((start.open(&answers)?.0, sessions))
}

/// Loads a model. `Ok(None)` when the helper rejects.
///
/// # Errors
/// What the protocol answers otherwise.
pub fn load(
    conduct: Conduct<'_>,
    weights: &[LayerWeights],
    log: &mut Log,
) -> Result<Option<Loaded>, ProtocolError> {
    let (plan, parties) = (&conduct.net.plan, conduct.count());
    let (of_helper, of_parties) = begin(parties, log)?;
    let helper = HelperLoad::begin(Arc::clone(plan), &of_helper, &mut FreshSeeds)?;
    let scope = helper.scope();
    let grant = log.send(Role::Helper, Role::Owner, Kind::LoadGrant, helper.owner_grant().to_vec());
    let granted = Header::new(Kind::LoadGrant, scope, 0);
    let loading = Loading::granted(Arc::clone(plan), parties, &granted, &grant, &mut FreshSeeds)?;
    let ids = || (0u32..).take(plan.weights.len()).map(WeightId);
    let masked = ids().flat_map(|id| loading.tensor(id, weights)).collect::<Result<Vec<_>, _>>()?;
    let mut tagging = Vec::new();
    for (me, session) in parties.all().zip(&of_parties) {
        let ctx = PartyContext::new(Arc::clone(plan), parties, me)?;
        let keys = session.take(scope.epoch, &ctx.digest, scope.id)?;
        let word = log.send(Role::Helper, role(me), Kind::EpochBegin, ctx.digest.0.to_vec());
        let mut load = PartyLoad::begin(ctx, keys, &word)?;
        for m in std::iter::once(&loading.nonce()).chain(&masked) {
            let header = m.header();
            let body = log.send(Role::Owner, role(me), header.kind, m.body().to_vec());
            let tagged = ToParties::new(header, body, loading.authentication()).message(me).body.clone();
            let fail = |fault| ProtocolError::peer(Peer::Owner, Step::load_part("masked weights"), fault);
            let message = load.owner().verify(&header, &tagged).map_err(fail)?;
            match header.kind {
                Kind::Nonce => load.nonce(message)?,
                _ => load.weights(header.index, message)?,
            }
        }
        for id in ids().filter(|_| me == parties.last()) {
            let body = log.send(Role::Helper, role(me), Kind::LoadCorrection, helper.corrections(id));
            load.correction(id.0, &body)?;
        }
        tagging.push(load.tag()?);
    }
    // Who deviates sees the others' messages first.
    let deviating: Vec<usize> = conduct.deviations.iter().map(|d| d.by).collect();
    for turn in [false, true] {
        for from in parties.all().filter(|p| deviating.contains(&p.number()) == turn) {
            for (by, at, error) in conduct.errors(log) {
                if let Place::Tags(tensor, column) = at
                    && by == from.number()
                {
                    tagging[from.index()].danger_shift(WeightId(tensor), column, error);
                }
            }
            for id in ids() {
                let body = wire::pack(tagging[from.index()].message(id));
                for to in parties.others(from) {
                    let body = log.send(role(from), role(to), Kind::Tags, body.clone());
                    tagging[to.index()].receive(from, id.0, &body)?;
                }
            }
        }
    }
    let confirming = tagging.into_iter().map(|t| t.confirm()).collect::<Result<Vec<_>, _>>()?;
    let hashes: Vec<_> = confirming.iter().map(|c| c.hash()).collect();
    for (p, hash) in parties.all().zip(&hashes) {
        log.send(role(p), Role::Helper, Kind::LoadHash, hash.0);
    }
    let challenge = match helper.hashes(&hashes, &mut FreshSeeds) {
        Ok(challenge) => challenge,
        Err(ProtocolError::Rejected { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut awaiting, mut answers) = (Vec::new(), Vec::new());
    for (p, c) in parties.all().zip(confirming) {
        let seed = log.send(Role::Helper, role(p), Kind::Challenge, *challenge.seed().as_bytes());
        let (a, mut answer) = c.respond(&seed)?;
        for d in conduct.deviations.iter().filter(|d| d.by == p.number()) {
            if let Place::Answer(tensor) = d.at {
                let error = answer_error(conduct.net, d.error, challenge.seed(), scope.epoch, tensor);
                answer.set(tensor as usize, answer.get(tensor as usize) + error);
            }
        }
        awaiting.push(a);
        answers.push(log.send(role(p), Role::Helper, Kind::LoadResponse, wire::pack(&answer)));
    }
    let result = challenge.responses(&answers);
    let accepted = u8::from(result.is_ok());
    for to in parties.all().map(role).chain([Role::Owner]) {
        log.send(Role::Helper, to, Kind::LoadAccepted, [accepted]);
    }
    match result {
        Ok(helper) => {
            let parties = awaiting.into_iter().map(|a| Arc::new(a.unconfirmed())).collect();
            Ok(Some(Loaded { session: (of_helper, of_parties), helper, parties }))
        }
        Err(ProtocolError::Rejected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn answer_error(net: &Net, error: Error, seed: &Seed, epoch: EpochId, tensor: u32) -> Element {
    let limbs = net.plan.limbs;
    match error {
        Error::Fixed(error) => error,
        Error::Adaptive(constant) | Error::OfEarlier(constant) => Element::from_i128(limbs, constant),
        Error::OfChallenge(factors) => {
            let columns = amicus_protocol::affine::columns(net.plan.weight(WeightId(tensor)));
            let stream = Label::epoch(Purpose::Challenge, epoch, tensor).stream(seed);
            let c = stream.sample(domain::MAIN, limbs, columns);
            let term = |(i, factor)| c.get(i) * Element::from_i128(limbs, factor);
            let terms = (0..columns).zip(factors).map(term);
            terms.fold(Element::zero(limbs), |sum, term| sum + term)
        }
    }
}

/// A message of a recipient to a party, with the tag that the recipient's key gives.
fn of_recipient(dealt: &Dealt, number: u32, to: PartyId, kind: Kind, body: Vec<u8>) -> Vec<u8> {
    let header = Header::new(kind, dealt.scope(), 0);
    ToParties::new(header, body, &dealt.authentication(number)).message(to).body.clone()
}

/// Runs one inference of as many inputs as `x` holds, under an id of its own.
///
/// # Errors
/// What the protocol answers, but for a rejection by the helper.
pub fn infer(
    conduct: Conduct<'_>,
    loaded: &Loaded,
    id: u64,
    x: &[i64],
    log: &mut Log,
) -> Result<Outcome, ProtocolError> {
    let (helper, parties) = (&loaded.helper, conduct.count());
    let (plan, batch) = (helper.plan(), x.len() / conduct.net.input_len());
    // The load was number 1.
    let id = InferenceId(1 + id);
    // Copies of the session: an enumeration runs an inference many times.
    let (epoch, digest) = (helper.epoch(), helper.digest());
    let keys = loaded.session.0.danger_copy().danger_take(epoch, digest, id)?;
    let scope = keys.scope();
    let mut deals = Vec::new();
    for (party, session) in loaded.parties.iter().zip(&loaded.session.1) {
        deals.push(party.begin_deal(session.danger_copy().take(epoch, digest, id)?, batch));
    }
    let dealt =
        helper.deal::<ProtocolError>(keys, batch, &mut |op: OpIndex, to: PartyId, body: Vec<u8>| {
            let body = log.send_of(op.0, Role::Helper, role(to), Kind::DealCorrection, body);
            deals[to.index()].correction(&loaded.parties[to.index()], op.0, &body)
        })?;
    let grant = log.send(Role::Helper, Role::Client, Kind::Ticket, dealt.grant().encode());
    let masked = Ticket::from_grant(Arc::clone(plan), parties, scope, batch, &grant)?.mask(x)?;
    let new = |number| Receiver::new(plan, scope, batch, &dealt.authentication(number), &mut FreshSeeds);
    let (receivers, other) = ([new(0)?, new(1)?], new(1)?);
    let fail = |fault| ProtocolError::peer(Peer::Client("1".into()), Step::Input, fault);
    let (mut running, mut roots) = (Vec::new(), Vec::new());
    for ((me, party), deal) in parties.all().zip(&loaded.parties).zip(deals) {
        let material = party.prepare(deal)?;
        let root = material.authentication();
        let awaiting = AwaitingInput::new(Arc::clone(party), material)?;
        let mut input = masked.clone();
        if conduct.misled.contains(&me.number()) {
            input.add_constant(&Element::one(plan.limbs));
        }
        let body = log.send(Role::Client, role(me), Kind::Input, wire::pack(&input));
        let tagged = of_recipient(&dealt, 0, me, Kind::Input, body);
        let header = Header::new(Kind::Input, scope, 0);
        let input = root.key(0).verify(&header, &tagged).map_err(fail)?;
        running.push(awaiting.receive(&Peer::Client("1".into()), input)?);
        roots.push(root);
    }
    let mut opened = Vec::new();
    let finished = loop {
        let (mut openings, mut finished) = (Vec::new(), Vec::new());
        for r in running {
            match r.next()? {
                Next::Open(opening) => openings.push(opening),
                Next::Check(f) => finished.push(f),
            }
        }
        if openings.is_empty() {
            break finished;
        }
        running = open(conduct, openings, &mut opened, log)?;
    };
    let roles = [Role::Client, Role::Receiver];
    let (mut messages, mut outputs) = (Vec::new(), Vec::new());
    for (p, f) in parties.all().zip(finished) {
        let mut keys = Vec::new();
        for ((number, receiver), to) in (0u32..).zip(&receivers).zip(roles) {
            let misled = to == Role::Receiver && conduct.misled_about_keys.contains(&p.number());
            let key = if misled { other.key() } else { receiver.key() };
            let key = log.send(to, role(p), Kind::ReceiverKey, *key.encode());
            let tagged = of_recipient(&dealt, number, p, Kind::ReceiverKey, key);
            let header = Header::new(Kind::ReceiverKey, scope, 0);
            let key = roots[p.index()].key(number).verify(&header, &tagged).map_err(fail)?;
            keys.push(ReceiverKey::decode(&Peer::Client("1".into()), key)?);
        }
        let (mut message, output) = f.messages(&keys)?;
        for (by, at, error) in conduct.errors(log) {
            if let Place::Sum(at) = at
                && by == p.number()
            {
                message.sums.set(at, message.sums.get(at) + error);
            }
        }
        // Those of the report, the transcript and the outputs.
        let hashes = usize::from(message.proofs.is_some()) + 1 + roles.len();
        let body = log.send_of(hashes as u32, role(p), Role::Helper, Kind::Check, message.encode());
        messages.push(CheckMessage::decode(&helper.check_shape(batch, roles.len()), p, &body)?);
        roles.iter().for_each(|&to| {
            log.send(role(p), to, Kind::Output, output.clone());
        });
        outputs.push(output);
    }
    let accepted = match helper.verify(dealt, &messages) {
        Ok(accepted) => Some(accepted),
        Err(ProtocolError::Rejected { .. }) => None,
        Err(error) => return Err(error),
    };
    for to in parties.all().map(role).chain(roles) {
        log.send(Role::Helper, to, Kind::Outcome, [u8::from(accepted.is_some())]);
    }
    let Some(accepted) = accepted else {
        return Ok(Outcome { accepted: false, logits: None, input: masked, opened });
    };
    let mut logits = [Vec::new(), Vec::new()];
    let told = accepted.release(&mut NoLog, |release| {
        for ((number, receiver), to) in receivers.iter().enumerate().zip(roles) {
            let body = release.message(number).ok_or_else(|| ProtocolError::Misuse("no release".into()))?;
            let body = log.send(Role::Helper, to, Kind::Release, body.to_vec());
            logits[number] = receiver.unmask(&body, outputs.iter().map(Vec::as_slice))?;
        }
        Ok::<_, ProtocolError>(())
    });
    match told {
        Ok(told) => told?,
        Err(never) => match never {},
    }
    Ok(Outcome { accepted: true, logits: Some(logits), input: masked, opened })
}

/// One round: whoever deviates sees the others' shares first.
fn open(
    conduct: Conduct<'_>,
    mut openings: Vec<Opening>,
    opened: &mut Vec<(Stage, Share)>,
    log: &mut Log,
) -> Result<Vec<amicus_protocol::online::Running>, ProtocolError> {
    let parties = conduct.count();
    let deviating: Vec<usize> = conduct.deviations.iter().map(|d| d.by).collect();
    let mut sent = Vec::new();
    for turn in [false, true] {
        for from in parties.all().filter(|p| deviating.contains(&p.number()) == turn) {
            for (by, at, error) in conduct.errors(log) {
                if let Place::Opening(op, element) = at
                    && by == from.number()
                {
                    openings[from.index()].danger_shift(Stage::from_index(op), element, error);
                }
            }
            for (stage, share) in openings[from.index()].shares() {
                for to in parties.others(from) {
                    let index = stage.index();
                    let body = log.send_of(index, role(from), role(to), Kind::Opening, share.pack());
                    sent.push((from, to, index, body));
                }
            }
        }
    }
    for (at, (stage, share)) in openings[0].shares().iter().enumerate() {
        let mut sum = share.clone();
        for other in &openings[1..] {
            add(&mut sum, &other.shares()[at].1);
        }
        opened.push((*stage, sum));
    }
    let mut collecting: Vec<Collecting> =
        openings.into_iter().map(|o| o.collect()).collect::<Result<_, _>>()?;
    for (from, to, index, body) in sent {
        collecting[to.index()].receive(from, index, &body)?;
    }
    collecting.into_iter().map(|c| c.complete()).collect()
}

/// Adds another party's share; proofs do not add up to anything.
fn add(sum: &mut Share, other: &Share) {
    match (sum, other) {
        (Share::Elements(sum), Share::Elements(other)) => sum.add_assign(other),
        (Share::Bits(sum), Share::Bits(other)) => {
            sum.iter_mut().zip(other).for_each(|(sum, plane)| sum.xor_assign(plane));
        }
        _ => {}
    }
}
