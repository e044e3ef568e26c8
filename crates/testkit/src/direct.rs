//! All roles in one thread, calling the states directly: the protocol without channels.
//!
//! Messages still go through their encoding, and a [`World`] carries them. Deviations are closures
//! that change what a party computes or sends.

use crate::world::{Drawing, Honest, Letter, World};
use amicus_client::inference::PendingRequest;
use amicus_client::load::{self, Loading};
use amicus_field::{Element, LimbVec};
use amicus_node::Peer;
use amicus_plan::{OpIndex, Plan, ValueId, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::check::{CheckMessage, DecisionLog};
use amicus_protocol::control::{self, Binding, Request, TicketGrant};
use amicus_protocol::epoch::{HelperEpoch, HelperLoad, PartyContext, PartyEpoch, PartyLoad};
use amicus_protocol::keys::{KeyAgreement, PartyKeys};
use amicus_protocol::online::{AwaitingInput, Collecting, Next};
use amicus_protocol::output::ReceiverKey;
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{self, Header, Kind};
use amicus_protocol::{EpochId, Fresh, InferenceId, Parties, PartyId, ProtocolError, Step};
use std::convert::Infallible;
use std::sync::Arc;

/// A model loaded at a helper and `n` parties.
#[derive(Debug)]
pub struct Loaded {
    /// The helper.
    pub helper: HelperEpoch,
    /// The parties in order.
    pub parties: Vec<Arc<PartyEpoch>>,
}

/// Adds `error` to one element of what the last party contributes.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// Weight tensor of the load, or operation of the inference.
    pub index: u32,
    /// Column, or element of the opened vector.
    pub element: usize,
    /// What is added.
    pub error: Element,
}

/// Everything one inference made public, and its result.
#[derive(Debug)]
pub struct Outcome {
    /// The inference.
    pub id: InferenceId,
    /// Number of inputs.
    pub batch: usize,
    /// The masked input `D_x`.
    pub input: LimbVec,
    /// Logits of all batch elements.
    pub logits: Result<Vec<f64>, ProtocolError>,
    /// Masked values `D` in the order of the plan's values, without those of local operations.
    pub opened: Vec<(ValueId, LimbVec)>,
}

/// A log that keeps nothing.
#[derive(Debug)]
pub struct NoLog;

impl DecisionLog for NoLog {
    type Error = Infallible;

    fn accepted(&mut self, _: EpochId, _: InferenceId, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The client of every run.
pub fn client() -> Peer {
    Peer::Client("1".into())
}

/// Carries a message of the load or inference that `header` names.
fn carry(world: &mut dyn World, from: &Peer, to: &Peer, header: Header, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    world.carry(&Letter { from: from.clone(), to: to.clone(), header }, &mut body);
    body
}

fn agree(parties: Parties, epoch: EpochId, world: &mut dyn World) -> Result<Vec<PartyKeys>, ProtocolError> {
    let mut all = Vec::new();
    for me in parties.all() {
        world.acts(&Peer::Party(me));
        all.push(KeyAgreement::new(parties, me, epoch, &mut Drawing(world, Peer::Party(me)))?);
    }
    for from in parties.all() {
        for to in parties.others(from) {
            let header = Header::epoch(Kind::Keys, epoch, 0);
            let message = all[from.index()].message(to);
            let message = carry(world, &Peer::Party(from), &Peer::Party(to), header, &message);
            all[to.index()].receive(from, &message)?;
        }
    }
    world.looks_at(&all);
    let keys = all.into_iter().map(KeyAgreement::finish).collect();
    world.looks_at(&keys);
    keys
}

/// Loads a model; `shift` makes the last party contribute a wrong tag.
///
/// # Errors
/// What the protocol answers.
pub fn load(
    plan: &Arc<Plan>,
    weights: &[LayerWeights],
    parties: Parties,
    epoch: u64,
    shift: Option<Shift>,
) -> Result<Loaded, ProtocolError> {
    load_over(plan, weights, parties, epoch, shift, &mut Honest)
}

/// Loads a model in a given world, as [`load()`] does in an honest one.
///
/// # Errors
/// What the protocol answers.
pub fn load_over(
    plan: &Arc<Plan>,
    weights: &[LayerWeights],
    parties: Parties,
    epoch: u64,
    shift: Option<Shift>,
    world: &mut dyn World,
) -> Result<Loaded, ProtocolError> {
    let epoch = EpochId(epoch);
    let (owner, helper) = (Peer::Owner, Peer::Helper);
    let header = |kind, index| Header::epoch(kind, epoch, index);
    let request = load::request(plan)?;
    if carry(world, &owner, &helper, request.header, &request.body) != plan.digest()?.0 {
        return Err(ProtocolError::Misuse("a load of another plan".into()));
    }
    world.acts(&helper);
    let begin = HelperLoad::begin(
        Arc::clone(plan),
        parties,
        Fresh::recorded(epoch),
        &mut Drawing(world, Peer::Helper),
    )?;
    world.looks_at(&begin);
    let granted = header(Kind::LoadGrant, 0);
    let grant = carry(world, &helper, &owner, granted, &begin.owner_grant());
    world.acts(&owner);
    let loading =
        Loading::granted(Arc::clone(plan), parties, &granted, &grant, &mut Drawing(world, Peer::Owner))?;
    let ids = || (0u32..).take(plan.weights.len()).map(WeightId);
    world.looks_at(&loading);
    let mut messages = vec![loading.nonce()];
    for id in ids() {
        messages.extend(loading.tensor(id, weights).collect::<Result<Vec<_>, _>>()?);
    }
    let mut tagging = Vec::new();
    for (me, keys) in parties.all().zip(agree(parties, epoch, world)?) {
        let (ctx, to) = (PartyContext::new(Arc::clone(plan), parties, me)?, Peer::Party(me));
        world.acts(&to);
        let seed = begin.party_grant(me).as_bytes();
        let grant = carry(world, &helper, &to, header(Kind::EpochBegin, 0), seed);
        let mut load = PartyLoad::begin(ctx, Fresh::recorded(epoch), keys, &grant)?;
        for m in &messages {
            let body = carry(world, &owner, &to, m.header, &m.body);
            match m.header.kind {
                Kind::Nonce => load.nonce(&body)?,
                _ => load.weights(m.header.index, &body)?,
            }
        }
        for id in ids().filter(|_| me == parties.last()) {
            world.acts(&helper);
            let corrections = begin.corrections(id);
            world.acts(&to);
            let body = carry(world, &helper, &to, header(Kind::LoadCorrection, id.0), &corrections);
            load.correction(id.0, &body)?;
        }
        world.looks_at(&load);
        tagging.push(load.tag()?);
    }
    if let (Some(shift), Some(last)) = (shift, tagging.last_mut()) {
        last.danger_shift(WeightId(shift.index), shift.element, shift.error);
    }
    for from in parties.all() {
        for id in ids() {
            let body = wire::pack(tagging[from.index()].message(id));
            for to in parties.others(from) {
                let tags = header(Kind::Tags, id.0);
                let body = carry(world, &Peer::Party(from), &Peer::Party(to), tags, &body);
                tagging[to.index()].receive(from, id.0, &body)?;
            }
        }
    }
    world.looks_at(&tagging);
    let confirming = tagging.into_iter().map(|t| t.confirm()).collect::<Result<Vec<_>, _>>()?;
    let mut hashes = Vec::new();
    for (me, c) in parties.all().zip(&confirming) {
        let hash = carry(world, &Peer::Party(me), &helper, header(Kind::LoadHash, 0), &c.hash().0);
        let hash = <[u8; 32]>::try_from(hash);
        hashes.push(Digest(hash.map_err(|_| ProtocolError::Misuse("a hash of another length".into()))?));
    }
    let challenge = begin.hashes(&hashes, &mut Drawing(world, Peer::Helper))?;
    world.looks_at(&(&confirming, &challenge));
    let (mut awaiting, mut answers) = (Vec::new(), Vec::new());
    for (me, c) in parties.all().zip(confirming) {
        let me = Peer::Party(me);
        world.acts(&me);
        let seed = carry(world, &helper, &me, header(Kind::Challenge, 0), challenge.seed().as_bytes());
        let (a, answer) = c.respond(&seed)?;
        awaiting.push(a);
        answers.push(carry(world, &me, &helper, header(Kind::LoadResponse, 0), &wire::pack(&answer)));
    }
    world.acts(&helper);
    let helper = challenge.responses(&answers)?;
    world.looks_at(&awaiting);
    let loaded = Loaded { helper, parties: awaiting.into_iter().map(|a| Arc::new(a.accepted())).collect() };
    world.looks_at(&loaded);
    Ok(loaded)
}

/// Runs one inference of a batch; every `shift` makes the last party add an error to its share of
/// an opening, and `check` changes the messages to the helper.
///
/// # Errors
/// What the protocol answers before the check; the check's verdict is in the outcome.
pub fn infer(
    loaded: &Loaded,
    inputs: &[i64],
    batch: usize,
    shifts: &[Shift],
    check: &mut dyn FnMut(&mut Vec<CheckMessage>),
) -> Result<Outcome, ProtocolError> {
    infer_over(loaded, inputs, batch, shifts, check, &mut Honest)
}

/// Runs an inference in a given world, as [`infer`] does in an honest one.
///
/// # Errors
/// What the protocol answers before the check; the check's verdict is in the outcome.
pub fn infer_over(
    loaded: &Loaded,
    inputs: &[i64],
    batch: usize,
    shifts: &[Shift],
    check: &mut dyn FnMut(&mut Vec<CheckMessage>),
    world: &mut dyn World,
) -> Result<Outcome, ProtocolError> {
    let (helper, parties) = (&loaded.helper, loaded.helper.parties());
    let plan = helper.plan();
    let id = helper.next_inference();
    let raw = id.id();
    let header = |kind, index| Header::inference(kind, helper.epoch(), raw, index);
    let to_helper = Peer::Helper;
    let mut deals: Vec<_> =
        loaded.parties.iter().map(|p| p.begin_deal(Fresh::recorded(raw), batch)).collect();
    world.acts(&to_helper);
    let dealt = helper.deal::<ProtocolError>(id, batch, &mut |op, body| {
        let last = parties.last();
        let correction = header(Kind::DealCorrection, op.0);
        let body = carry(world, &Peer::Helper, &Peer::Party(last), correction, &body);
        deals[last.index()].correction(&loaded.parties[last.index()], op.0, &body)
    })?;
    world.looks_at(&(&deals, &dealt, dealt.grant()));
    let client = client();
    world.acts(&client);
    let (pending, request) = PendingRequest::new(Arc::clone(plan), parties, batch as u32, Vec::new())?;
    let body = carry(world, &client, &to_helper, request.header, &request.body);
    let request: Request =
        control::decode(&body).map_err(|fault| ProtocolError::peer(&client, Step::Input, fault))?;
    let receivers = vec![client.to_string()];
    let binding = Binding { batch: request.batch, client: client.to_string(), receivers };
    let grant = TicketGrant { binding, seeds: dealt.grant().encode() };
    world.looks_at(&(&pending, &request, &grant));
    let grant = control::encode(&grant)?;
    let ticket = header(Kind::Ticket, 0);
    let grant = carry(world, &to_helper, &client, ticket, &grant);
    let admission = pending.granted(&ticket, &grant, &mut Drawing(world, client.clone()))?;
    world.looks_at(&admission);
    let (mut waiting, [input, key]) = admission.mask(inputs)?;
    let input_len = helper.plan().values()?.get(ValueId::INPUT).len * batch;
    let masked_input = wire::unpack(plan.limbs, input_len, &input.body)
        .map_err(|fault| ProtocolError::peer(&client, Step::Input, fault))?;
    let mut running = Vec::new();
    for (party, deal) in loaded.parties.iter().zip(deals) {
        let me = Peer::Party(party.context().me);
        world.acts(&me);
        let material = party.prepare(deal)?;
        world.looks_at(&material);
        let awaiting = AwaitingInput::new(Arc::clone(party), material)?;
        world.looks_at(&awaiting);
        let body = carry(world, &client, &me, input.header, &input.body);
        running.push(awaiting.receive(&client, &body)?);
    }
    let mut opened = Vec::new();
    let finished = 'run: loop {
        world.looks_at(&running);
        let mut openings = Vec::new();
        let mut finished = Vec::new();
        for r in running {
            match r.next()? {
                Next::Open(opening) => openings.push(opening),
                Next::Check(f) => finished.push(f),
            }
        }
        if openings.is_empty() {
            break 'run finished;
        }
        if let Some(last) = openings.last_mut() {
            for s in shifts {
                last.danger_shift(OpIndex(s.index), s.element, s.error);
            }
        }
        world.looks_at(&openings);
        let bodies: Vec<Vec<(OpIndex, Vec<u8>)>> = openings
            .iter()
            .map(|o| o.shares().iter().map(|(op, s)| (*op, wire::pack(s))).collect())
            .collect();
        for (op, share) in openings[0].shares() {
            let mut sum = share.clone();
            for other in &openings[1..] {
                other.shares().iter().filter(|(o, _)| o == op).for_each(|(_, s)| sum.add_assign(s));
            }
            opened.push((ValueId::of(*op), sum));
        }
        let mut collecting: Vec<Collecting> =
            openings.into_iter().map(|o| o.collect()).collect::<Result<_, _>>()?;
        for from in parties.all() {
            for to in parties.others(from) {
                for (op, body) in &bodies[from.index()] {
                    let opening = header(Kind::Opening, op.0);
                    let body = carry(world, &Peer::Party(from), &Peer::Party(to), opening, body);
                    collecting[to.index()].receive(from, op.0, &body)?;
                }
            }
        }
        world.looks_at(&collecting);
        running = collecting.into_iter().map(|c| c.complete()).collect::<Result<_, _>>()?;
    };
    let mut messages = Vec::new();
    for (party, f) in parties.all().zip(finished) {
        let me = Peer::Party(party);
        world.acts(&me);
        let key = carry(world, &client, &me, key.header, &key.body);
        let key = ReceiverKey::decode(&client, &key)?;
        world.looks_at(&(&f, &key));
        let (message, output) = f.messages(&[key])?;
        messages.push(message);
        waiting.output(party, carry(world, &me, &client, header(Kind::Output, 0), &output));
    }
    check(&mut messages);
    let mut decoded = Vec::new();
    for (party, message) in parties.all().zip(&messages) {
        let from = Peer::Party(party);
        let body = carry(world, &from, &to_helper, header(Kind::Check, 0), &message.encode());
        decoded.push(CheckMessage::decode(plan, batch, 1, party, &body)?);
    }
    world.acts(&to_helper);
    let logits = helper.verify(dealt, &decoded).and_then(|accepted| {
        world.looks_at(&(&messages, &decoded, &accepted));
        let release = match accepted.release(&mut NoLog) {
            Ok(release) => release,
            Err(never) => match never {},
        };
        world.looks_at(&release);
        let body = release.message(0).ok_or_else(|| ProtocolError::Misuse("no receiver".into()))?;
        waiting.release(carry(world, &to_helper, &client, header(Kind::Release, 0), &body));
        world.looks_at(&waiting);
        waiting.result()?.ok_or_else(|| ProtocolError::Misuse("no result".into()))
    });
    Ok(Outcome { id: raw, batch, input: masked_input, logits, opened })
}

/// Party number `number`, for tests.
pub fn party(parties: Parties, number: usize) -> PartyId {
    parties.party(number).expect("a party of this run")
}
