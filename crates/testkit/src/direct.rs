//! All roles in one thread, calling the states directly: the protocol without channels.
//!
//! Messages still go through their encoding, and a [`World`] carries them. Deviations are closures
//! that change what a party computes or sends.

use crate::world::{Drawing, Honest, Letter, World};
use amicus_client::ToParties;
use amicus_client::inference::{Awaiting, PendingRequest};
use amicus_client::load::{self, Loading};
use amicus_field::{BitVec, Element, LimbVec};
use amicus_node::Peer;
use amicus_plan::{OpIndex, Plan, Stage, ValueId, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::authentic::{AuthenticationKey, BodyDigest, FIRST_RECIPIENT, TAG_BYTES};
use amicus_protocol::check::{CheckMessage, DecisionLog};
use amicus_protocol::control::{self, Binding, Request, SessionAnswer, TicketGrant};
use amicus_protocol::epoch::{HelperEpoch, HelperLoad, PartyContext, PartyEpoch, PartyLoad};
use amicus_protocol::online::{AwaitingInput, Collecting, Next, Opening, Running};
use amicus_protocol::output::ReceiverKey;
use amicus_protocol::preprocess::Material;
use amicus_protocol::session::{HelperKeys, HelperSession, Holding, Joining, PartySession, SessionStart};
use amicus_protocol::share::Share;
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{self, Header, Kind};
use amicus_protocol::{Fault, Parties, PartyId, ProtocolError, Scope, Step};
use std::convert::Infallible;
use std::sync::Arc;

/// A session of a helper and `n` parties.
#[derive(Debug)]
pub struct Session {
    /// The helper.
    pub helper: HelperSession,
    /// The parties in order.
    pub parties: Vec<PartySession>,
    /// The helper as it was when the session began, for tests that look at masks.
    begun: HelperSession,
}

/// A model loaded at a helper and `n` parties.
#[derive(Debug)]
pub struct Loaded {
    /// The session.
    pub session: Arc<Session>,
    /// The helper.
    pub helper: HelperEpoch,
    /// The parties in order.
    pub parties: Vec<Arc<PartyEpoch>>,
}

/// Adds `error` to one element of what the last party contributes.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// Weight tensor of the load, or number of the inference's opening.
    pub index: u32,
    /// Column, or element of the opened vector.
    pub element: usize,
    /// What is added.
    pub error: Element,
}

/// Everything one inference made public, and its result.
#[derive(Debug)]
pub struct Outcome {
    /// The inference, its session and epoch.
    pub scope: Scope,
    /// Number of inputs.
    pub batch: usize,
    /// The masked input `D_x`.
    pub input: LimbVec,
    /// Logits of all batch elements.
    pub logits: Result<Vec<f64>, ProtocolError>,
    /// Masked values `D` in the order of the plan's values, without those of local operations.
    pub opened: Vec<(ValueId, LimbVec)>,
    /// Masked bits of comparisons in the order of their openings, plane by plane.
    pub bits: Vec<(Stage, Vec<BitVec>)>,
    /// The client, which has its result.
    pub receiver: Awaiting,
}

/// A log that keeps nothing.
#[derive(Debug)]
pub struct NoLog;

impl DecisionLog for NoLog {
    type Error = Infallible;

    fn accepted(&mut self, _: Scope, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn synchronise(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The client of every run.
pub fn client() -> Peer {
    Peer::Client("1".into())
}

/// Corrections that go nowhere, for deals whose material nobody uses.
///
/// # Errors
/// None.
pub fn discard(_: OpIndex, _: PartyId, _: Vec<u8>) -> Result<(), ProtocolError> {
    Ok(())
}

/// Carries a message of the load or inference that `header` names.
fn carry(world: &mut dyn World, from: &Peer, to: &Peer, header: Header, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    world.carry(&Letter { from: from.clone(), to: to.clone(), header }, &mut body);
    body
}

/// Carries a message of owner or client to a party, who shares this key with them.
fn carry_tagged(
    world: &mut dyn World,
    from: &Peer,
    to: PartyId,
    key: &AuthenticationKey,
    message: &ToParties,
) -> Vec<u8> {
    let header = message.header();
    let mut body = carry(world, from, &Peer::Party(to), header, &message.message(to).body);
    if world.has_keys_of_users() {
        body.truncate(body.len().saturating_sub(TAG_BYTES));
        let tag = key.tag(&header, &BodyDigest::of(&body));
        body.extend_from_slice(tag.as_bytes());
    }
    body
}

/// Begins a session; nothing was loaded before.
///
/// # Errors
/// What the protocol answers.
pub fn begin(parties: Parties, world: &mut dyn World) -> Result<Arc<Session>, ProtocolError> {
    world.acts(&Peer::Helper);
    let start = SessionStart::draw(parties, Vec::new(), &mut Drawing(world, Peer::Helper))?;
    world.looks_at(&start);
    let header = |kind| Header::new(kind, Scope::session(start.id()), 0);
    let mut all = Vec::new();
    for me in parties.all() {
        let to = Peer::Party(me);
        world.acts(&to);
        let offer = start.offer(me);
        world.looks_at(&offer);
        let offer = carry(world, &Peer::Helper, &to, header(Kind::SessionBegin), &control::encode(&offer)?);
        all.push(Joining::begin(parties, me, start.id(), &offer, &mut Drawing(world, to.clone()))?);
    }
    for from in parties.all() {
        for to in parties.others(from) {
            let message = all[from.index()].message(to);
            let message = carry(world, &Peer::Party(from), &Peer::Party(to), header(Kind::Keys), &message);
            all[to.index()].receive(from, &message)?;
        }
    }
    world.looks_at(&all);
    let (mut sessions, mut answers) = (Vec::new(), Vec::new());
    for (me, joining) in parties.all().zip(all) {
        let me = Peer::Party(me);
        let (session, answer) = joining.answer(|_| Holding::Nothing)?;
        world.looks_at(&(&session, &answer));
        let body = control::encode(&answer)?;
        let body = carry(world, &me, &Peer::Helper, header(Kind::SessionAnswer), &body);
        let answer = control::decode::<SessionAnswer>(&body);
        answers.push(answer.map_err(|fault| ProtocolError::peer(&me, Step::Keys, fault))?);
        sessions.push(session);
    }
    let (helper, _) = start.open(&answers)?;
    world.looks_at(&helper);
    let begun = helper.danger_copy();
    Ok(Arc::new(Session { helper, parties: sessions, begun }))
}

impl Loaded {
    /// The keys of an inference, which the helper itself has no more.
    ///
    /// # Panics
    /// When it is none of this run.
    pub fn danger_keys(&self, outcome: &Outcome) -> HelperKeys {
        let copy = self.session.begun.danger_copy();
        let keys = copy.danger_take(self.helper.epoch(), self.helper.digest(), outcome.scope.id);
        keys.expect("an inference of this session")
    }

    /// The masks of all values of an inference.
    ///
    /// # Panics
    /// When it is none of this run.
    pub fn danger_masks(&self, outcome: &Outcome) -> Vec<LimbVec> {
        self.helper.danger_masks(&self.danger_keys(outcome), outcome.batch).expect("a valid plan")
    }

    /// The masks of the bits of every comparison of an inference, by operation.
    ///
    /// # Panics
    /// When it is none of this run.
    pub fn danger_bit_masks(&self, outcome: &Outcome) -> Vec<Vec<BitVec>> {
        self.helper.danger_bit_masks(&self.danger_keys(outcome), outcome.batch).expect("a valid plan")
    }
}

/// Loads a model; `shift` makes the last party contribute a wrong tag.
///
/// # Errors
/// What the protocol answers.
pub fn load(
    plan: &Arc<Plan>,
    weights: &[LayerWeights],
    parties: Parties,
    shift: Option<Shift>,
) -> Result<Loaded, ProtocolError> {
    load_over(plan, weights, parties, shift, &mut Honest)
}

/// Loads a model in a given world, as [`load()`] does in an honest one.
///
/// # Errors
/// What the protocol answers.
pub fn load_over(
    plan: &Arc<Plan>,
    weights: &[LayerWeights],
    parties: Parties,
    shift: Option<Shift>,
    world: &mut dyn World,
) -> Result<Loaded, ProtocolError> {
    let session = begin(parties, world)?;
    load_in(session, plan, weights, shift, world)
}

/// Loads a model in a session that has begun, with a world and a shift of the weights.
///
/// # Errors
/// What the protocol answers.
pub fn load_in(
    session: Arc<Session>,
    plan: &Arc<Plan>,
    weights: &[LayerWeights],
    shift: Option<Shift>,
    world: &mut dyn World,
) -> Result<Loaded, ProtocolError> {
    let parties = session.helper.parties();
    let (owner, helper) = (Peer::Owner, Peer::Helper);
    let request = load::request(plan)?;
    if carry(world, &owner, &helper, request.header, &request.body) != plan.digest()?.0 {
        return Err(ProtocolError::Misuse("a load of another plan".into()));
    }
    world.acts(&helper);
    let begin = HelperLoad::begin(Arc::clone(plan), &session.helper, &mut Drawing(world, Peer::Helper))?;
    let scope = begin.scope();
    let header = |kind, index| Header::new(kind, scope, index);
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
    for (me, of_party) in parties.all().zip(&session.parties) {
        let (ctx, to) = (PartyContext::new(Arc::clone(plan), parties, me)?, Peer::Party(me));
        let plan = ctx.digest;
        let keys = of_party.take(scope.epoch, &plan, scope.id)?;
        world.looks_at(&keys);
        world.acts(&to);
        let word = carry(world, &helper, &to, header(Kind::EpochBegin, 0), &plan.0);
        let mut load = PartyLoad::begin(ctx, keys, &word)?;
        for m in &messages {
            let header = m.header();
            let of_owner = load.owner();
            let body = carry_tagged(world, &owner, me, &of_owner, m);
            let fail = |fault| ProtocolError::peer(&owner, Step::load_part("masked weights"), fault);
            let message = of_owner.verify(&header, &body).map_err(fail)?;
            match header.kind {
                Kind::Nonce => load.nonce(message)?,
                _ => load.weights(header.index, message)?,
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
    let parties = awaiting.into_iter().map(|a| Arc::new(a.unconfirmed())).collect();
    let loaded = Loaded { session, helper, parties };
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
    let keys = loaded.session.helper.next(helper.epoch(), helper.digest())?;
    let scope = keys.scope();
    let header = |kind, index| Header::new(kind, scope, index);
    let to_helper = Peer::Helper;
    let mut deals = Vec::new();
    for (party, session) in loaded.parties.iter().zip(&loaded.session.parties) {
        let keys = session.take(scope.epoch, helper.digest(), scope.id)?;
        deals.push(party.begin_deal(keys, batch));
    }
    world.acts(&to_helper);
    let mut corrections = Vec::new();
    let dealt =
        helper.deal::<ProtocolError>(keys, batch, &mut |op: OpIndex, to: PartyId, body: Vec<u8>| {
            let correction = header(Kind::DealCorrection, op.0);
            corrections.push((op, to, carry(world, &Peer::Helper, &Peer::Party(to), correction, &body)));
            Ok(())
        })?;
    for (op, to, body) in corrections {
        world.acts(&Peer::Party(to));
        deals[to.index()].correction(&loaded.parties[to.index()], op.0, &body)?;
    }
    world.looks_at(&(&deals, &dealt, dealt.grant()));
    let client = client();
    world.acts(&client);
    let (pending, request) = PendingRequest::new(Arc::clone(plan), parties, batch as u32, Vec::new())?;
    let body = carry(world, &client, &to_helper, request.header, &request.body);
    let request: Request =
        control::decode(&body).map_err(|fault| ProtocolError::peer(&client, Step::Input, fault))?;
    let receivers = vec![client.to_string()];
    let binding =
        Binding { plan: *helper.digest(), batch: request.batch, client: client.to_string(), receivers };
    let keys = dealt.authentication(FIRST_RECIPIENT).encode();
    let grant = TicketGrant { binding, seeds: dealt.grant().encode(), keys };
    world.looks_at(&(&pending, &request, &grant));
    let grant = control::encode(&grant)?;
    let ticket = header(Kind::Ticket, 0);
    let grant = carry(world, &to_helper, &client, ticket, &grant);
    let admission = pending.granted(&ticket, &grant, &mut Drawing(world, client.clone()))?;
    world.looks_at(&admission);
    let (mut waiting, [input, key]) = admission.mask(inputs)?;
    let input_len = helper.plan().values()?.get(ValueId::INPUT).len * batch;
    let masked_input = wire::unpack(plan.limbs, input_len, input.body())
        .map_err(|fault| ProtocolError::peer(&client, Step::Input, fault))?;
    let (mut running, mut keys) = (Vec::new(), Vec::new());
    let fail = |fault| ProtocolError::peer(crate::direct::client(), Step::Input, fault);
    for (party, deal) in loaded.parties.iter().zip(deals) {
        let (number, me) = (party.context().me, Peer::Party(party.context().me));
        world.acts(&me);
        let material = party.prepare(deal)?;
        world.looks_at(&material);
        let of_client = material.authentication().key(FIRST_RECIPIENT);
        let awaiting = AwaitingInput::new(Arc::clone(party), material)?;
        world.looks_at(&(&awaiting, &of_client));
        let body = carry_tagged(world, &client, number, &of_client, &input);
        let message = of_client.verify(&input.header(), &body).map_err(fail)?;
        running.push(awaiting.receive(&client, message)?);
        keys.push(of_client);
    }
    let (mut opened, mut bits) = (Vec::new(), Vec::new());
    let finished = 'run: loop {
        world.looks_at(&running);
        let mut openings = Vec::new();
        let mut finished = Vec::new();
        for (party, r) in parties.all().zip(running) {
            world.acts(&Peer::Party(party));
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
                last.danger_shift(Stage::from_index(s.index), s.element, s.error);
            }
        }
        world.looks_at(&openings);
        let bodies: Vec<Vec<(Stage, Vec<u8>)>> = openings
            .iter()
            .map(|o| o.shares().iter().map(|(stage, s)| (*stage, s.pack())).collect())
            .collect();
        for (at, (stage, share)) in openings[0].shares().iter().enumerate() {
            let mut sum = share.clone();
            for of_other in &bodies[1..] {
                let added = add(&mut sum, &of_other[at].1);
                added.map_err(|fault| ProtocolError::Internal(fault.to_string()))?;
            }
            match sum {
                Share::Elements(value) => opened.push((ValueId::of(stage.op), value)),
                Share::Bits(planes) => bits.push((*stage, planes)),
                Share::Proof(_) => {}
            }
        }
        let collect = |(party, opening): (PartyId, Opening)| {
            world.acts(&Peer::Party(party));
            opening.collect()
        };
        let mut collecting: Vec<Collecting> =
            parties.all().zip(openings).map(collect).collect::<Result<_, _>>()?;
        for from in parties.all() {
            for to in parties.others(from) {
                for (stage, body) in &bodies[from.index()] {
                    let opening = header(Kind::Opening, stage.index());
                    let body = carry(world, &Peer::Party(from), &Peer::Party(to), opening, body);
                    collecting[to.index()].receive(from, stage.index(), &body)?;
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
        let body = carry_tagged(world, &client, party, &keys[party.index()], &key);
        let message = keys[party.index()].verify(&key.header(), &body).map_err(fail)?;
        let key = ReceiverKey::decode(&client, message)?;
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
        decoded.push(CheckMessage::decode(&helper.check_shape(batch, 1), party, &body)?);
    }
    world.acts(&to_helper);
    let logits = helper.verify(dealt, &decoded).and_then(|accepted| {
        world.looks_at(&(&messages, &decoded, &accepted));
        let told = accepted.release(&mut NoLog, |release| {
            world.looks_at(release);
            let body = release.message(0).ok_or_else(|| ProtocolError::Misuse("no receiver".into()))?;
            waiting.release(carry(world, &to_helper, &client, header(Kind::Release, 0), body));
            Ok::<_, ProtocolError>(())
        });
        match told {
            Ok(told) => told?,
            Err(never) => match never {},
        }
        world.looks_at(&waiting);
        waiting.result()?.ok_or_else(|| ProtocolError::Misuse("no result".into()))
    });
    Ok(Outcome { scope, batch, input: masked_input, logits, opened, bits, receiver: waiting })
}

/// Adds another party's share; proofs do not add up to anything.
fn add(sum: &mut Share, body: &[u8]) -> Result<(), Fault> {
    match sum {
        Share::Elements(sum) => amicus_field::unpack_add(sum, body)?,
        Share::Bits(sum) => {
            let planes = wire::unpack_bits(sum.len(), sum.first().map_or(0, BitVec::len), body)?;
            sum.iter_mut().zip(&planes).for_each(|(sum, plane)| sum.xor_assign(plane));
        }
        Share::Proof(_) => {}
    }
    Ok(())
}

/// What a client says of its output afterwards, to every party.
pub fn says_of_output(parties: Parties, message: &ToParties, world: &mut dyn World) {
    for party in parties.all() {
        carry(world, &client(), &Peer::Party(party), message.header(), &message.message(party).body);
    }
}

/// A party whose material is there, given a masked input as these bytes.
///
/// # Errors
/// What the party answers.
pub fn given_input(
    party: &Arc<PartyEpoch>,
    material: Material,
    input: &[u8],
) -> Result<Running, ProtocolError> {
    let key = material.authentication().key(FIRST_RECIPIENT);
    let header = Header::new(Kind::Input, material.scope(), 0);
    let message = [input, key.tag(&header, &BodyDigest::of(input)).as_bytes()].concat();
    let fail = |fault| ProtocolError::peer(client(), Step::Input, fault);
    let input = key.verify(&header, &message).map_err(fail)?;
    AwaitingInput::new(Arc::clone(party), material)?.receive(&client(), input)
}

/// Party number `number`, for tests.
pub fn party(parties: Parties, number: usize) -> PartyId {
    parties.party(number).expect("a party of this run")
}
