//! All roles in one thread, calling the states directly: the protocol without channels.
//!
//! Messages still go through their encoding. Deviations are closures that change what a party computes or sends.

use amicus_client::load::Loading;
use amicus_field::{Element, LimbVec};
use amicus_plan::{OpIndex, Plan, ValueId, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::check::{CheckMessage, DecisionLog};
use amicus_protocol::epoch::{HelperEpoch, HelperLoad, PartyContext, PartyEpoch, PartyLoad};
use amicus_protocol::input::Ticket;
use amicus_protocol::keys::{KeyAgreement, PartyKeys};
use amicus_protocol::online::{AwaitingInput, Collecting, Next};
use amicus_protocol::output::{Receiver, ReceiverKey};
use amicus_protocol::wire::{self, Header, Kind};
use amicus_protocol::{EpochId, Fresh, InferenceId, Parties, PartyId, ProtocolError};
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

/// Carries every message from one role to another, and may change it.
pub struct Post<'a>(pub &'a mut dyn FnMut(Kind, &mut Vec<u8>));

impl Post<'_> {
    fn carry(&mut self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        (self.0)(kind, &mut body);
        body
    }
}

fn agree(parties: Parties, epoch: EpochId, post: &mut Post<'_>) -> Result<Vec<PartyKeys>, ProtocolError> {
    let mut all: Vec<KeyAgreement> =
        parties.all().map(|p| KeyAgreement::new(parties, p, epoch)).collect::<Result<_, _>>()?;
    for from in parties.all() {
        for to in parties.others(from) {
            let message = post.carry(Kind::Keys, &all[from.index()].message(to));
            all[to.index()].receive(from, &message)?;
        }
    }
    all.into_iter().map(KeyAgreement::finish).collect()
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
    load_over(plan, weights, parties, epoch, shift, &mut Post(&mut |_, _| ()))
}

/// The same, with every message carried by `post`.
///
/// # Errors
/// What the protocol answers.
pub fn load_over(
    plan: &Arc<Plan>,
    weights: &[LayerWeights],
    parties: Parties,
    epoch: u64,
    shift: Option<Shift>,
    post: &mut Post<'_>,
) -> Result<Loaded, ProtocolError> {
    let epoch = EpochId(epoch);
    let helper = HelperLoad::begin(Arc::clone(plan), parties, Fresh::recorded(epoch))?;
    let granted = Header::epoch(Kind::LoadGrant, epoch, 0);
    let grant = post.carry(Kind::LoadGrant, &helper.owner_grant());
    let loading = Loading::granted(Arc::clone(plan), parties, &granted, &grant)?;
    let ids = || (0u32..).take(plan.weights.len()).map(WeightId);
    let masked = ids().flat_map(|id| loading.tensor(id, weights)).collect::<Result<Vec<_>, _>>()?;
    let mut tagging = Vec::new();
    for (me, keys) in parties.all().zip(agree(parties, epoch, post)?) {
        let ctx = PartyContext::new(Arc::clone(plan), parties, me)?;
        let grant = post.carry(Kind::EpochBegin, helper.party_grant(me).as_bytes());
        let mut load = PartyLoad::begin(ctx, Fresh::recorded(epoch), keys, &grant)?;
        load.nonce(&post.carry(Kind::Nonce, &[7; 32]))?;
        for m in &masked {
            load.weights(m.header.index, &post.carry(Kind::Weights, &m.body))?;
        }
        for id in ids().filter(|_| me == parties.last()) {
            load.correction(id.0, &post.carry(Kind::LoadCorrection, &helper.corrections(id)))?;
        }
        tagging.push(load.tag()?);
    }
    if let (Some(shift), Some(last)) = (shift, tagging.last_mut()) {
        last.danger_shift(WeightId(shift.index), shift.element, shift.error);
    }
    for from in parties.all() {
        for id in ids() {
            let body = wire::pack(tagging[from.index()].message(id));
            for to in parties.others(from) {
                tagging[to.index()].receive(from, id.0, &post.carry(Kind::Tags, &body))?;
            }
        }
    }
    let confirming = tagging.into_iter().map(|t| t.confirm()).collect::<Result<Vec<_>, _>>()?;
    let hashes: Vec<_> = confirming.iter().map(|c| c.hash()).collect();
    let challenge = helper.hashes(&hashes)?;
    let (mut awaiting, mut answers) = (Vec::new(), Vec::new());
    for c in confirming {
        let (a, answer) = c.respond(&post.carry(Kind::Challenge, challenge.seed().as_bytes()))?;
        awaiting.push(a);
        answers.push(post.carry(Kind::LoadResponse, &wire::pack(&answer)));
    }
    let helper = challenge.responses(&answers)?;
    Ok(Loaded { helper, parties: awaiting.into_iter().map(|a| Arc::new(a.accepted())).collect() })
}

/// Runs one inference of a batch; every `shift` makes the last party add an error to its share of an opening, and
/// `check` changes the messages to the helper.
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
    infer_over(loaded, inputs, batch, shifts, check, &mut Post(&mut |_, _| ()))
}

/// The same, with every message carried by `post`.
///
/// # Errors
/// What the protocol answers before the check; the check's verdict is in the outcome.
pub fn infer_over(
    loaded: &Loaded,
    inputs: &[i64],
    batch: usize,
    shifts: &[Shift],
    check: &mut dyn FnMut(&mut Vec<CheckMessage>),
    post: &mut Post<'_>,
) -> Result<Outcome, ProtocolError> {
    let (helper, parties) = (&loaded.helper, loaded.helper.parties());
    let plan = helper.plan();
    let id = helper.next_inference();
    let raw = id.id();
    let mut deals: Vec<_> =
        loaded.parties.iter().map(|p| p.begin_deal(Fresh::recorded(raw), batch)).collect();
    let dealt = helper.deal::<ProtocolError>(id, batch, &mut |op, body| {
        let (last, body) = (parties.last().index(), post.carry(Kind::DealCorrection, &body));
        deals[last].correction(&loaded.parties[last], op.0, &body)
    })?;
    let grant = post.carry(Kind::Ticket, &dealt.grant().encode());
    let ticket = Ticket::from_grant(Arc::clone(plan), parties, helper.epoch(), raw, batch, &grant)?;
    let masked_input = ticket.mask(inputs)?;
    let input = wire::pack(&masked_input);
    let receiver = Receiver::new(plan, helper.epoch(), raw, batch)?;
    let mut running = Vec::new();
    for (party, deal) in loaded.parties.iter().zip(deals) {
        let awaiting = AwaitingInput::new(Arc::clone(party), party.prepare(deal)?)?;
        running.push(awaiting.receive("client", &post.carry(Kind::Input, &input))?);
    }
    let mut opened = Vec::new();
    let finished = 'run: loop {
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
                    collecting[to.index()].receive(from, op.0, &post.carry(Kind::Opening, body))?;
                }
            }
        }
        running = collecting.into_iter().map(|c| c.complete()).collect::<Result<_, _>>()?;
    };
    let (mut messages, mut outputs) = (Vec::new(), Vec::new());
    for f in finished {
        let key = ReceiverKey::decode("client", &post.carry(Kind::ReceiverKey, receiver.key().encode()))?;
        let (message, output) = f.messages(&[key])?;
        messages.push(message);
        outputs.push(post.carry(Kind::Output, &output));
    }
    check(&mut messages);
    let decoded: Vec<CheckMessage> = parties
        .all()
        .zip(&messages)
        .map(|(p, m)| CheckMessage::decode(plan, batch, 1, p, &post.carry(Kind::Check, &m.encode())))
        .collect::<Result<_, _>>()?;
    let logits = helper.verify(dealt, &decoded).and_then(|accepted| {
        let release = match accepted.release(&mut NoLog) {
            Ok(release) => release,
            Err(never) => match never {},
        };
        let body = release.message(0).ok_or_else(|| ProtocolError::Misuse("no receiver".into()))?;
        let body = post.carry(Kind::Release, &body);
        receiver.unmask(&body, outputs.iter().map(Vec::as_slice))
    });
    Ok(Outcome { id: raw, batch, input: masked_input, logits, opened })
}

/// Party number `number`, for tests.
pub fn party(parties: Parties, number: usize) -> PartyId {
    parties.party(number).expect("a party of this run")
}
