//! A party's way through the plan, from the masked input to the check (`docs/protocol.md`, section
//! 6).
//!
//! ```text
//! AwaitingInput --input--> Running --next--> Opening --collect--> Collecting --complete--> Running ...
//!                                  \--next--> Finished (the check's message and the outputs)
//! ```
//!
//! Each state consumes its predecessor. Work for the check that the next message does not depend on
//! is put off until that message is on its way ([`Opening::collect`]), so that it costs no time
//! while the network works.

use crate::affine::dot_value;
use crate::authentic::Authentic;
use crate::check::{CheckMessage, ProofReport};
use crate::compare::proof::Proving;
use crate::epoch::PartyEpoch;
use crate::keys::PartyKeys;
use crate::output::{self, ReceiverKey};
use crate::preprocess::{Acts, Material, OpMaterial, local, truncation, xnor_of_bits};
use crate::share::{Collected, ProofBytes, Share};
use crate::transcript::{Digest, Topic, Transcript};
use crate::wire::unpack;
use crate::{Fault, PartyId, Peer, ProtocolError, Step, outside, select};
use amicus_field::{Argument, BitVec, Element, LimbVec, PolynomialShares, evaluate_shares, sum_pool};
use amicus_plan::{Activation, Compare, OpIndex, OpKind, Outside, Select, Stage, ValueId};
use std::mem;
use std::sync::Arc;

/// What stands for the client's input in a transcript.
const INPUT_TAG: u32 = u32::MAX;

/// An inference bound to a client, waiting for its input.
#[derive(Debug)]
pub struct AwaitingInput {
    epoch: Arc<PartyEpoch>,
    material: Material,
}

/// Between two rounds: everything up to a round is known.
#[derive(Debug)]
pub struct Running {
    state: State,
    round: usize,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A round in which results are opened.
    Open(Opening),
    /// Nothing more to open: the check.
    Check(Finished),
}

/// This party's shares of everything that is opened in one round.
#[derive(Debug)]
pub struct Opening {
    state: State,
    round: usize,
    shares: Vec<(Stage, Share)>,
}

/// A round whose shares are sent, collecting those of the other parties.
#[derive(Debug)]
pub struct Collecting {
    state: State,
    round: usize,
    sums: Vec<(Stage, Collected)>,
    /// `received[k][i]`: whether party `i`'s share of the `k`-th opening is there.
    received: Vec<Vec<bool>>,
}

/// All openings done: the message for the helper and the outputs for the receivers.
#[derive(Debug)]
pub struct Finished {
    state: State,
}

#[derive(Debug)]
struct State {
    epoch: Arc<PartyEpoch>,
    keys: PartyKeys,
    batch: usize,
    material: Vec<OpMaterial>,
    /// Public masked values `D`, as far as they are known; of comparisons never.
    values: Vec<Option<LimbVec>>,
    /// Public masked bits of comparisons, threshold by threshold, as far as they are known.
    bits: Vec<Option<Vec<BitVec>>>,
    /// Sums of the check: `batch x slots`.
    sums: Vec<Element>,
    transcript: Transcript,
    /// What the last round opened, whose part in the check is not yet computed.
    deferred: Vec<(Stage, Opened)>,
}

/// What was opened.
#[derive(Debug)]
enum Opened {
    /// The operation's value.
    Value,
    /// What is less than the operation's value.
    Part(LimbVec),
    /// Bits of a comparison, of every party.
    Bits(Vec<Vec<BitVec>>),
    /// Proofs that bits are right, of every party.
    Proofs(Vec<(PartyId, ProofBytes)>),
}

impl AwaitingInput {
    /// Takes the one-time material of an inference.
    ///
    /// # Errors
    /// Material of another epoch.
    pub fn new(epoch: Arc<PartyEpoch>, material: Material) -> Result<Self, ProtocolError> {
        let (of, is) = (material.scope().epoch, epoch.epoch);
        if of != is {
            return Err(ProtocolError::Misuse(format!("material of {of} in {is}")));
        }
        Ok(AwaitingInput { epoch, material })
    }

    /// Takes the client's masked input, whose tag was verified with the client's key.
    ///
    /// # Errors
    /// A message of the wrong length or with residues out of range.
    pub fn receive(self, client: &Peer, message: Authentic<'_>) -> Result<Running, ProtocolError> {
        let ctx = &self.epoch.ctx;
        let len = ctx.values.get(ValueId::INPUT).len * self.material.batch;
        let input = unpack(ctx.plan.limbs, len, message.body())
            .map_err(|fault| ProtocolError::peer(client, Step::Input, fault))?;
        let keys = self.material.keys;
        let mut transcript = Transcript::new(&keys.transcript, Topic::Inference, keys.scope, &ctx.digest);
        transcript.values(INPUT_TAG, &input);
        let mut values: Vec<Option<LimbVec>> = vec![None; ctx.values.count()];
        values[0] = Some(input);
        let sums = vec![Element::zero(ctx.plan.limbs); self.material.batch * ctx.plan.check_slots()];
        let state = State {
            bits: vec![None; ctx.values.count()],
            keys,
            batch: self.material.batch,
            material: self.material.ops,
            values,
            sums,
            transcript,
            deferred: Vec::new(),
            epoch: self.epoch,
        };
        let mut running = Running { state, round: 0 };
        running.local()?;
        Ok(running)
    }
}

impl Running {
    /// Computes this party's shares of the next round, or ends.
    ///
    /// # Errors
    /// Only when plan and material do not fit each other.
    pub fn next(mut self) -> Result<Next, ProtocolError> {
        let schedule = Arc::clone(&self.state.epoch.ctx.schedule);
        let round = self.round + 1;
        let Some(plan_round) = schedule.rounds.get(round) else {
            self.state.settle()?;
            return Ok(Next::Check(Finished { state: self.state }));
        };
        let mut shares = Vec::with_capacity(plan_round.open.len());
        for &stage in &plan_round.open {
            shares.push((stage, self.state.share(stage)?));
        }
        Ok(Next::Open(Opening { state: self.state, round, shares }))
    }

    fn local(&mut self) -> Result<(), ProtocolError> {
        let schedule = Arc::clone(&self.state.epoch.ctx.schedule);
        schedule.rounds[self.round].local.iter().try_for_each(|&op| self.state.local(op))
    }
}

impl Opening {
    /// This party's shares, each for every other party.
    pub fn shares(&self) -> &[(Stage, Share)] {
        &self.shares
    }

    /// Adds an error to one element or bit of this party's own share, consistently: what a
    /// malicious party would do. For attack tests and demonstrations only.
    #[cfg(feature = "danger")]
    pub fn danger_shift(&mut self, stage: Stage, at: usize, error: Element) {
        for (_, share) in self.shares.iter_mut().filter(|(s, _)| *s == stage) {
            share.danger_shift(at, error);
        }
    }

    /// Begins to collect the other parties' shares; does the check's work of the previous round
    /// meanwhile.
    ///
    /// # Errors
    /// Only when plan and material do not fit each other.
    pub fn collect(mut self) -> Result<Collecting, ProtocolError> {
        self.state.settle()?;
        let ctx = &self.state.epoch.ctx;
        let received = self.shares.iter().map(|_| ctx.parties.all().map(|p| p == ctx.me).collect()).collect();
        let (me, parties) = (ctx.me, ctx.parties);
        let collected = |(stage, share)| (stage, Collected::new(share, me, parties));
        let sums = self.shares.into_iter().map(collected).collect();
        Ok(Collecting { state: self.state, round: self.round, sums, received })
    }
}

impl Collecting {
    /// Takes another party's share of one opening, by its number in messages.
    ///
    /// # Errors
    /// Something that is not opened now, a second share, a wrong length, a residue out of range.
    pub fn receive(&mut self, from: PartyId, index: u32, body: &[u8]) -> Result<(), ProtocolError> {
        let (plan, stage) = (&self.state.epoch.ctx.plan, Stage::from_index(index));
        let fail = |fault| ProtocolError::peer(from, Step::opening(plan, stage.op), fault);
        let Some(at) = self.sums.iter().position(|(opened, _)| *opened == stage) else {
            return Err(fail(Fault::Unexpected(format!("share of {stage}"))));
        };
        if self.received[at][from.index()] {
            return Err(fail(Fault::Duplicate("share".into())));
        }
        self.received[at][from.index()] = true;
        self.sums[at].1.receive(self.state.epoch.ctx.me, from, body).map_err(fail)
    }

    /// The first party and operation whose share is missing.
    pub fn missing(&self) -> Option<(PartyId, OpIndex)> {
        for ((stage, _), received) in self.sums.iter().zip(&self.received) {
            if let Some(party) = self.state.epoch.ctx.parties.all().find(|p| !received[p.index()]) {
                return Some((party, stage.op));
            }
        }
        None
    }

    /// Where this round stands, for errors: the opening of its first operation whose share is
    /// missing.
    pub fn step(&self) -> Step {
        let op = self.missing().map_or(self.sums[0].0.op, |(_, op)| op);
        Step::opening(&self.state.epoch.ctx.plan, op)
    }

    /// All shares are there: the results are known.
    ///
    /// # Errors
    /// When a share is missing.
    pub fn complete(mut self) -> Result<Running, ProtocolError> {
        if let Some((party, op)) = self.missing() {
            return Err(ProtocolError::Misuse(format!("share of {party} of {op} is missing")));
        }
        for (stage, sum) in self.sums {
            self.state.opened(stage, sum)?;
        }
        let mut running = Running { state: self.state, round: self.round };
        running.local()?;
        Ok(running)
    }
}

impl Finished {
    /// The message to the helper and, for each receiver, the masked output (sections 6.7 and 6.8).
    ///
    /// # Errors
    /// Only when the plan is invalid.
    pub fn messages(self, receivers: &[ReceiverKey]) -> Result<(CheckMessage, Vec<u8>), ProtocolError> {
        let state = self.state;
        let ctx = &state.epoch.ctx;
        let out = &ctx.plan.output;
        let t = truncation(&ctx.plan, ctx.values.get(out.value).scale, out.scale, out.ell)?;
        let mut opened = state.value(out.value)?.clone();
        opened.add_constant(&t.offset());
        let masked = output::encode_masked(&t, &opened);
        let hashes = receivers
            .iter()
            .map(|key| output::hash(key, state.keys.scope, &ctx.digest, &masked))
            .collect::<Vec<Digest>>();
        let transcript = state.transcript.finish();
        let view = transcript.with(&hashes);
        let mut sums = state.keys.zero_share_of_inference(&view, ctx.plan.limbs, state.sums.len());
        sums.add_assign(&LimbVec::from_elements(ctx.plan.limbs, &state.sums));
        let report = state.report()?;
        let proofs = (!report.is_empty())
            .then(|| {
                let len = 8 * report.len();
                let mut share = state.keys.zero_bits_of_inference(&view, len);
                if ctx.me == PartyId::FIRST {
                    share.xor_assign(&BitVec::unpack(len, &report)?);
                }
                Ok::<_, Fault>(ProofReport { share, hash: transcript.with_bytes(&report) })
            })
            .transpose()
            .map_err(|fault| ProtocolError::Internal(fault.to_string()))?;
        Ok((CheckMessage { sums, proofs, transcript, outputs: hashes }, masked))
    }
}

impl State {
    fn value(&self, id: ValueId) -> Result<&LimbVec, ProtocolError> {
        let unknown = || ProtocolError::Internal(format!("value {} is not known yet", id.0));
        self.values.get(id.index()).and_then(Option::as_ref).ok_or_else(unknown)
    }

    /// The public masked bits of a comparison, or of what is computed from bits.
    fn masked_bits(&self, id: ValueId) -> Result<&[BitVec], ProtocolError> {
        let unknown = || ProtocolError::Internal(format!("bits of value {} are not known yet", id.0));
        self.bits.get(id.index()).and_then(Option::as_deref).ok_or_else(unknown)
    }

    /// This party's share of what an operation opens.
    fn share(&mut self, stage: Stage) -> Result<Share, ProtocolError> {
        let (epoch, index) = (Arc::clone(&self.epoch), stage.op);
        let first = epoch.ctx.me == PartyId::FIRST;
        let share = match (&epoch.ctx.plan.op(index).kind, &self.material[index.index()]) {
            (OpKind::Linear { input, weights, .. }, OpMaterial::Linear { offset, .. }) => {
                let mut z = epoch.layers[weights.index()].share.product(self.value(*input)?, self.batch);
                z.add_assign(offset);
                z
            }
            (OpKind::Multiply { left, right }, OpMaterial::Multiply { masks: [mx, my], follow, .. }) => {
                let (x, y) = (self.value(*left)?, self.value(*right)?);
                let mut cross = x.clone();
                cross.mul_assign(my);
                cross.add_product(y, mx);
                let mut z = follow.clone();
                z.sub_assign(&cross);
                if first {
                    z.add_product(x, y);
                }
                z
            }
            (OpKind::Activation(a), _) => self.activation(index, a, first)?,
            (OpKind::Truncate(t), _) => self.activation(index, &t.as_activation(), first)?,
            (OpKind::Select(select), _) => self.selection(index, select, first)?,
            (OpKind::Outside(o), _) => self.outside(index, o)?,
            (OpKind::Compare(compare), _) if stage.is_proof(compare) => {
                return self.proof(index).map(|proof| Share::Proof(proof.into()));
            }
            (OpKind::Compare(compare), _) => return self.comparison(index, compare).map(Share::Bits),
            _ => return Err(ProtocolError::Internal(format!("{index} opens nothing"))),
        };
        Ok(Share::Elements(share))
    }

    /// This party's shares of the bits that a comparison opens at its level (section 6.10).
    fn comparison(&mut self, index: OpIndex, compare: &Compare) -> Result<Vec<BitVec>, ProtocolError> {
        let at = index.index();
        let comparing = match mem::replace(&mut self.material[at], OpMaterial::Local) {
            OpMaterial::Compare(material) => {
                let ctx = &self.epoch.ctx;
                material.begin(compare, ctx.me, ctx.parties.count(), self.value(compare.input)?)
            }
            OpMaterial::Comparing(comparing) => comparing,
            _ => return Err(ProtocolError::Internal(format!("material of {index} is of another kind"))),
        };
        let shares = comparing.shares();
        self.material[at] = OpMaterial::Comparing(comparing);
        Ok(shares)
    }

    /// This party's proof that the bits it sent for a comparison are right (section 6.14).
    fn proof(&mut self, index: OpIndex) -> Result<Vec<u8>, ProtocolError> {
        if !matches!(&self.material[index.index()], OpMaterial::Proving(_)) {
            // No round was under way since the last bits were opened.
            self.settle()?;
        }
        match &self.material[index.index()] {
            OpMaterial::Proving(proving) => Ok(proving.message().to_vec()),
            _ => Err(ProtocolError::Internal(format!("{index} has no proof yet"))),
        }
    }

    /// The report for the helper on all proofs of all comparisons.
    fn report(&self) -> Result<Vec<u8>, ProtocolError> {
        let mut report = Vec::new();
        for (index, op) in self.epoch.ctx.plan.indexed_ops() {
            match (&op.kind, &self.material[index.index()]) {
                (OpKind::Compare(_), OpMaterial::Proven(part)) => report.extend_from_slice(part),
                (OpKind::Compare(_), _) => {
                    return Err(ProtocolError::Internal(format!("{index} is not proven")));
                }
                _ => {}
            }
        }
        Ok(report)
    }

    /// Selection on shares (section 6.12), and the tags' part of the check.
    fn selection(&mut self, index: OpIndex, select: &Select, first: bool) -> Result<LimbVec, ProtocolError> {
        let OpMaterial::Select { shares, follow, keys } = &self.material[index.index()] else {
            return Err(ProtocolError::Internal(format!("material of {index} is of another kind")));
        };
        let bits = match select.bits {
            None => &[][..],
            Some(id) => self.masked_bits(id)?,
        };
        let d = self.value(select.input)?;
        let shares =
            select::Shares { values: &shares.values, tags: &shares.tags, key_of_input: keys.of_input() };
        let (y, tags) = select::evaluate(select, d, bits, &shares, first, self.batch);
        let mut share = select::pooled(select.pool.as_ref(), y, self.batch);
        share.add_assign(follow);
        for (element, tag) in tags.into_iter().enumerate() {
            self.add_sum(element, 0, -tag);
        }
        Ok(share)
    }

    /// Whether any element is neither 0 nor 1, on shares (section 6.13), and the tags' part of the
    /// check.
    fn outside(&mut self, index: OpIndex, o: &Outside) -> Result<LimbVec, ProtocolError> {
        let OpMaterial::Outside { coefficients, tags, follow, .. } = &self.material[index.index()] else {
            return Err(ProtocolError::Internal(format!("material of {index} is of another kind")));
        };
        let d = self.value(o.input)?;
        let mut share = outside::evaluate(coefficients, d, self.batch);
        share.add_assign(follow);
        let tags = outside::evaluate(tags, d, self.batch);
        let each = tags.len() / self.batch;
        for element in 0..self.batch {
            let tag = tags.slice(element * each..(element + 1) * each).sum();
            self.add_sum(element, 0, -tag);
        }
        Ok(share)
    }

    /// Truncation, polynomial and pooling on shares (sections 6.3 to 6.5), and the tags' part of
    /// the check.
    fn activation(&mut self, index: OpIndex, a: &Activation, first: bool) -> Result<LimbVec, ProtocolError> {
        let ctx = &self.epoch.ctx;
        let OpMaterial::Activation { polynomials, follow, keys } = &self.material[index.index()] else {
            return Err(ProtocolError::Internal(format!("material of {index} is of another kind")));
        };
        let t = truncation(&ctx.plan, ctx.values.get(a.input).scale, a.input_scale, a.ell)?;
        let d = self.value(a.input)?;
        let leading = a.coefficients.last().map_or(0, |&c| i128::from(c));
        let (y, tags) = evaluate_shares(
            Argument { d, truncation: Some(&t), batch: self.batch },
            PolynomialShares { c: &polynomials.coefficients, e: &polynomials.differences },
            PolynomialShares { c: &polynomials.coefficient_tags, e: &polynomials.difference_tags },
            keys.of_input(),
            &Element::from_i128(ctx.plan.limbs, leading),
            first,
        );
        let mut share = match &a.pool {
            None => y,
            Some(pool) => sum_pool(pool, &y, self.batch),
        };
        share.add_assign(follow);
        for (element, tag) in tags.into_iter().enumerate() {
            self.add_sum(element, 0, -tag);
        }
        Ok(share)
    }

    fn local(&mut self, index: OpIndex) -> Result<(), ProtocolError> {
        let epoch = Arc::clone(&self.epoch);
        let kind = &epoch.ctx.plan.op(index).kind;
        if let OpKind::Xnor { left, right } = kind {
            let bits = xnor_of_bits(self.masked_bits(*left)?, self.masked_bits(*right)?);
            self.bits[ValueId::of(index).index()] = Some(bits);
            return Ok(());
        }
        let result = local(kind, self.batch, (&epoch.ctx.public, Acts::OnValues), |input| self.value(input))?;
        let result = result.ok_or_else(|| ProtocolError::Internal(format!("{index} is not local")))?;
        self.values[ValueId::of(index).index()] = Some(result);
        Ok(())
    }

    /// Takes what was opened: values, and bits of a comparison, which goes on with them.
    fn opened(&mut self, stage: Stage, sum: Collected) -> Result<(), ProtocolError> {
        let epoch = Arc::clone(&self.epoch);
        let at = ValueId::of(stage.op).index();
        let opened = match (&epoch.ctx.plan.op(stage.op).kind, &mut self.material[stage.op.index()], sum) {
            (OpKind::Compare(_), OpMaterial::Comparing(comparing), Collected::Bits(of_parties)) => {
                if let Some(masked) = comparing.opened(&of_parties) {
                    self.bits[at] = Some(masked);
                }
                Opened::Bits(of_parties)
            }
            (OpKind::Compare(_), OpMaterial::Proving(_), Collected::Proofs(proofs)) => Opened::Proofs(proofs),
            (OpKind::Select(Select { base: Some(base), .. }), _, Collected::Elements(d)) => {
                let mut value = d.clone();
                value.add_assign(self.value(*base)?);
                self.values[at] = Some(value);
                Opened::Part(d)
            }
            (_, _, Collected::Elements(d)) => {
                self.values[at] = Some(d);
                Opened::Value
            }
            _ => return Err(ProtocolError::Internal(format!("{stage} opens something else"))),
        };
        self.deferred.push((stage, opened));
        Ok(())
    }

    /// The part of the last opened results in transcript and check. Material that has served is
    /// wiped here, while the network works, and not at the end, where the check would wait for it.
    fn settle(&mut self) -> Result<(), ProtocolError> {
        for (stage, opened) in mem::take(&mut self.deferred) {
            let at = ValueId::of(stage.op).index();
            match opened {
                Opened::Value => {
                    let value = self.values[at].take();
                    let opened = value.as_ref();
                    let unknown = || ProtocolError::Internal(format!("{stage} opened nothing"));
                    self.settle_elements(stage, opened.ok_or_else(unknown)?)?;
                    self.values[at] = value;
                }
                Opened::Part(opened) => self.settle_elements(stage, &opened)?,
                Opened::Bits(of_parties) => {
                    self.transcript.bits(stage.index(), &of_parties);
                    self.prove(stage.op)?;
                }
                Opened::Proofs(proofs) => self.report_on(stage.op, &proofs)?,
            }
        }
        Ok(())
    }

    fn settle_elements(&mut self, stage: Stage, opened: &LimbVec) -> Result<(), ProtocolError> {
        let epoch = Arc::clone(&self.epoch);
        let kind = &epoch.ctx.plan.op(stage.op).kind;
        self.transcript.values(stage.index(), opened);
        let slot = epoch.ctx.plan.slot(kind);
        for element in 0..self.batch {
            let term = self.check_term(stage.op, kind, element, opened)?;
            self.add_sum(element, slot, term);
        }
        self.material[stage.op.index()] = OpMaterial::Local;
        Ok(())
    }

    /// Proves what this party sent for a comparison, if that was its last level.
    fn prove(&mut self, index: OpIndex) -> Result<(), ProtocolError> {
        let epoch = Arc::clone(&self.epoch);
        let (OpKind::Compare(compare), OpMaterial::Comparing(comparing)) =
            (&epoch.ctx.plan.op(index).kind, &mut self.material[index.index()])
        else {
            return Err(ProtocolError::Internal(format!("{index} compares nothing")));
        };
        if comparing.is_done() {
            let OpMaterial::Comparing(comparing) =
                mem::replace(&mut self.material[index.index()], OpMaterial::Local)
            else {
                return Err(ProtocolError::Internal(format!("{index} compares nothing")));
            };
            let point = self.keys.point(&self.transcript.finish());
            let proving = Proving::new(compare, comparing.finish(), epoch.ctx.me, &point);
            self.material[index.index()] = OpMaterial::Proving(proving);
        }
        Ok(())
    }

    /// Makes of all parties' proofs what the helper is told.
    fn report_on(&mut self, index: OpIndex, proofs: &[(PartyId, ProofBytes)]) -> Result<(), ProtocolError> {
        let epoch = Arc::clone(&self.epoch);
        let material = mem::replace(&mut self.material[index.index()], OpMaterial::Local);
        let (OpKind::Compare(compare), OpMaterial::Proving(proving)) =
            (&epoch.ctx.plan.op(index).kind, material)
        else {
            return Err(ProtocolError::Internal(format!("{index} has no proof")));
        };
        let report = proving.report(compare, epoch.ctx.me, proofs);
        self.material[index.index()] = OpMaterial::Proven(report.into());
        Ok(())
    }

    fn check_term(
        &self,
        index: OpIndex,
        kind: &OpKind,
        element: usize,
        opened: &LimbVec,
    ) -> Result<Element, ProtocolError> {
        let part = |v: &LimbVec| {
            let len = v.len() / self.batch;
            element * len..(element + 1) * len
        };
        let of = |v: &LimbVec| v.slice(part(v));
        let d = part(opened);
        match (kind, &self.material[index.index()]) {
            (OpKind::Linear { input, weights, .. }, OpMaterial::Linear { tag_offsets, .. }) => {
                let layer = &self.epoch.layers[weights.index()];
                let x = self.value(*input)?;
                let of_result = layer.key.dot_parts(0..d.len(), opened, d);
                Ok(of_result - dot_value(&layer.tags, x, part(x)) + tag_offsets[element])
            }
            (OpKind::Multiply { left, right }, OpMaterial::Multiply { key, tags: [gx, gy], .. }) => {
                let (x, y) = (of(self.value(*left)?), of(self.value(*right)?));
                let mut product = x.clone();
                product.mul_assign(&y);
                let (d, key) = (of(opened), of(key));
                Ok(key.dot(&d) - key.dot(&product) + of(gy).dot(&x) + of(gx).dot(&y))
            }
            (OpKind::Activation(_) | OpKind::Truncate(_), OpMaterial::Activation { keys, .. })
            | (OpKind::Select(_), OpMaterial::Select { keys, .. })
            | (OpKind::Outside(_), OpMaterial::Outside { keys, .. }) => {
                Ok(keys.of_output.dot_parts(d.clone(), opened, d))
            }
            _ => Err(ProtocolError::Internal(format!("material of {index} is of another kind"))),
        }
    }

    fn add_sum(&mut self, element: usize, slot: usize, term: Element) {
        let slots = self.sums.len() / self.batch;
        let at = &mut self.sums[element * slots + slot];
        *at = *at + term;
    }
}
