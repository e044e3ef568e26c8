//! What covers the messages of a run: all that is left of them when everything known to others is
//! taken away.
//!
//! By Lemma 1 (`docs/security.md`, section 5) every message that an honest party, owner or client
//! sends to corrupt roles is covered by a share that only this party and the helper know. Here
//! everything else is given: weights, inputs, keys and what was sent. That leaves, for every
//! message, the vector that covers it, to be compared with what the parties expand from their
//! seeds. The honest one's share is what no coalition of the others can take away.

use crate::direct::{Loaded, Outcome};
use crate::nets::Net;
use crate::steps::masked_values;
use crate::world::{DangerKnownSeeds, Letter, World};
use amicus_field::{
    Element, LimbVec, Limbs, LinearMap, RandomnessError, Seed, Truncation, evaluate, scaled_coefficients,
    sum_pool, sum_pool_transposed, taylor_coefficients,
};
use amicus_model::Simulator;
use amicus_model::simulate::Step;
use amicus_node::Peer;
use amicus_plan::{Activation, OpIndex, OpKind, Plan, ValueId, WeightId, WrapRule};
use amicus_protocol::affine::{Affine, LayerWeights, columns, parts};
use amicus_protocol::authentic::TAG_BYTES;
use amicus_protocol::label::{Label, LabelStream, Purpose, domain};
use amicus_protocol::preprocess::{self, CorrectionShape, Piece, Recipients};
use amicus_protocol::wire::{Kind, unpack, unpack_all};
use amicus_protocol::{Parties, PartyId, Scope};
use std::ops::Range;

/// A world that knows all seeds and keeps every message.
#[derive(Debug)]
pub struct Witness {
    /// Where seeds come from.
    pub seeds: DangerKnownSeeds,
    /// All messages so far, in order.
    pub letters: Vec<(Letter, Vec<u8>)>,
}

impl Witness {
    /// A witness of a run with this name.
    pub fn new(name: &str) -> Self {
        Witness { seeds: DangerKnownSeeds::new(name), letters: Vec::new() }
    }

    /// The bodies of all messages of a kind, tensor or operation, and inference or load from one
    /// role to one of its recipients.
    pub fn bodies(&self, from: &Peer, kind: Kind, index: u32, scope: Scope) -> Vec<&[u8]> {
        let this = |l: &Letter| {
            let h = &l.header;
            l.from == *from && h.kind == kind && h.index == index && h.scope() == scope
        };
        let Some(to) = self.letters.iter().find(|(l, _)| this(l)).map(|(l, _)| &l.to) else {
            return Vec::new();
        };
        let letters = self.letters.iter().filter(|(l, _)| this(l) && l.to == *to);
        letters.map(|(_, body)| body.as_slice()).collect()
    }
}

impl World for Witness {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        Ok(self.seeds.next(role))
    }

    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        // A tag says who sent a message: it depends on its body, and on a key for nothing else.
        let tagged =
            matches!(letter.header.kind, Kind::Nonce | Kind::Weights | Kind::Input | Kind::ReceiverKey);
        let length = if tagged { body.len() - TAG_BYTES } else { body.len() };
        self.letters.push((letter.clone(), body[..length].to_vec()));
    }
}

/// What covers one vector of a run.
#[derive(Debug)]
pub struct Cover {
    /// What is covered: the same word for alike vectors.
    pub word: &'static str,
    /// Which vector it is.
    pub name: String,
    /// What is left of the messages without the shares of any party.
    pub total: LimbVec,
    /// What each party, in order, adds to it. A party adds nothing to elements of which it gets
    /// corrections.
    pub shares: Vec<LimbVec>,
}

impl Cover {
    /// What is left when some parties, not all, put their shares together: one vector for each such
    /// coalition.
    pub fn leftovers(&self) -> impl Iterator<Item = (usize, LimbVec)> {
        (0..(1usize << self.shares.len()) - 1).map(|coalition| (coalition, self.left(coalition)))
    }

    /// What is left when all parties put their shares together: nothing.
    pub fn unexplained(&self) -> LimbVec {
        self.left((1 << self.shares.len()) - 1)
    }

    fn left(&self, coalition: usize) -> LimbVec {
        let mut left = self.total.clone();
        let members = self.shares.iter().enumerate().filter(|(i, _)| coalition >> i & 1 == 1);
        members.for_each(|(_, share)| left.sub_assign(share));
        left
    }
}

/// The covers of a load and of inferences after it.
pub struct Covers<'a> {
    plan: &'a Plan,
    simulator: Simulator<'a>,
    net: &'a Net,
    witness: &'a Witness,
    limbs: Limbs,
    parties: Parties,
    loaded: &'a Loaded,
    /// The load.
    scope: Scope,
    /// The parties' seeds: of the epoch, or of the inference at hand.
    seeds: Vec<Seed>,
    weight_masks: Vec<LayerWeights>,
    all: Vec<Cover>,
}

impl<'a> Covers<'a> {
    /// The covers of a load.
    ///
    /// # Panics
    /// When the witness did not see it.
    pub fn of_load(net: &'a Net, witness: &'a Witness, loaded: &'a Loaded) -> Self {
        let (plan, helper) = (&*net.plan, Peer::Helper);
        let (parties, epoch) = (loaded.helper.parties(), loaded.helper.epoch());
        let begins = |l: &Letter| l.header.kind == Kind::EpochBegin && l.header.epoch == epoch;
        let begin = witness.letters.iter().find(|(l, _)| begins(l)).expect("a load");
        let (scope, seeds) = (begin.0.header.scope(), loaded.helper.danger_seeds().to_vec());
        let mut covers = Covers {
            plan,
            simulator: Simulator::new(plan, &net.weights).expect("weights of this plan"),
            net,
            witness,
            limbs: plan.limbs,
            parties,
            loaded,
            scope,
            seeds,
            weight_masks: Vec::new(),
            all: Vec::new(),
        };
        for (id, layer) in (0u32..).map(WeightId).zip(net.layers()) {
            covers.tensor(id, &layer, &helper);
        }
        covers
    }

    /// All covers.
    pub fn finish(self) -> Vec<Cover> {
        self.all
    }

    fn streams(&self, label: Label) -> Vec<LabelStream> {
        self.seeds.iter().map(|seed| label.stream(seed)).collect()
    }

    fn sampled(&self, streams: &[LabelStream], domain: u32, len: usize) -> Vec<LimbVec> {
        streams.iter().map(|s| s.sample(domain, self.limbs, len)).collect()
    }

    fn push(&mut self, word: &'static str, name: String, total: LimbVec, shares: Vec<LimbVec>) {
        self.all.push(Cover { word, name: format!("{word} of {name}"), total, shares });
    }

    /// The covers of a value that parties get corrections for, each for some elements.
    fn corrected(
        &mut self,
        name: &str,
        value: &LimbVec,
        corrections: &[Correction],
        streams: &[LabelStream],
        domain: u32,
    ) {
        for Correction { to, elements, values } in corrections {
            let others = self.parties.others(*to).map(|party| &streams[party.index()]);
            let (first, len) = (elements.start as u64, elements.len());
            let shares = others.map(|s| s.sample_from(domain, self.limbs, first, len)).collect();
            let name = format!("{name}, domain {domain}, to {to}");
            self.push("correction", name, minus(&value.slice(elements.clone()), values), shares);
        }
    }

    fn tensor(&mut self, id: WeightId, plain: &LayerWeights, helper: &Peer) {
        let (spec, limbs, load) = (self.plan.weight(id), self.limbs, self.scope);
        let name = &spec.name;
        let masks = self.streams(Label::epoch(Purpose::WeightMask, self.scope.epoch, id.0));
        let bodies = self.witness.bodies(&Peer::Owner, Kind::Weights, id.0, load);
        let (mut masked, mut mask) = (Vec::new(), Affine::zeros(spec, limbs).expect("a valid shape"));
        let mut weight_masks = LayerWeights { weights: plain.weights.clone(), bias: None };
        for (part, body) in parts(spec).iter().zip(bodies) {
            let of_part = unpack(limbs, part.len(), &body[4..]).expect("masked weights");
            let value = match (part, &plain.bias) {
                (amicus_protocol::affine::Part::Weights(range), _) => plain.weights.slice(range.clone()),
                (_, bias) => bias.clone().expect("a bias"),
            };
            let total = minus(&of_part, &value);
            match part {
                // Tensors of these networks have one part of weights.
                amicus_protocol::affine::Part::Weights(_) => weight_masks.weights = total.clone(),
                _ => weight_masks.bias = Some(total.clone()),
            }
            let shares = masks.iter().map(|s| amicus_protocol::affine::sample(part, s, limbs)).collect();
            self.push("weights", format!("{name}, {part:?}"), total.clone(), shares);
            mask.write(part, total);
            masked.push((part.clone(), value));
        }
        let mut weights = Affine::zeros(spec, limbs).expect("a valid shape");
        masked.into_iter().for_each(|(part, value)| weights.write(&part, value));

        let tags = self.streams(Label::epoch(Purpose::LoadTags, self.scope.epoch, id.0));
        let (rows, columns) = (spec.shape.outputs(), columns(spec));
        let key = sum(&self.sampled(&tags, domain::MAC_KEY, rows));
        // D_G = b^T W + u
        let parts_of_tags: Vec<LimbVec> = self
            .parties
            .all()
            .map(|p| {
                let bodies = self.witness.bodies(&Peer::Party(p), Kind::Tags, id.0, load);
                unpack(limbs, columns, bodies[0]).expect("tags")
            })
            .collect();
        let total = minus(&sum(&parts_of_tags), &weights.transposed(&key));
        let shares = self.sampled(&tags, domain::TAG_MASK, columns);
        self.push("tags", name.clone(), total, shares);

        let body = self.witness.bodies(helper, Kind::LoadCorrection, id.0, load)[0];
        let corrections = unpack_all(limbs, &[columns, rows], body).expect("corrections");
        let check = sum(&self.sampled(&tags, domain::CHECK, 1)).get(0);
        let mut check_key = key.clone();
        check_key.scale_assign(&check);
        let values = [(domain::TAGGED_MASK, mask.transposed(&key)), (domain::CHECK_KEY, check_key)];
        for ((domain, value), correction) in values.iter().zip(corrections) {
            let all = Correction { to: self.parties.last(), elements: 0..value.len(), values: correction };
            self.corrected(name, value, &[all], &tags, *domain);
        }
        self.weight_masks.push(weight_masks);
    }

    /// Adds the covers of an inference.
    ///
    /// # Panics
    /// When the witness did not see it.
    pub fn add_inference(&mut self, inputs: &[i64], outcome: &Outcome) {
        let masked = masked_values(self.net, outcome);
        let id = outcome.scope;
        self.seeds = self.loaded.danger_keys(outcome).danger_seeds().to_vec();
        let mut values = vec![LimbVec::from_i64(self.limbs, inputs)];
        let input = self.streams(Label::new(Purpose::InputMask, id, 0));
        let total = minus(&masked[0], &values[0]);
        let shares = self.sampled(&input, domain::MAIN, total.len());
        self.push("input", format!("{id}"), total, shares);
        let mut recipients = Recipients::new(self.parties);
        for (index, op) in self.plan.indexed_ops() {
            let arguments: Vec<&LimbVec> = op.kind.inputs().iter().map(|v| &values[v.index()]).collect();
            let step = self.simulator.step(index, &arguments, outcome.batch).expect("a step of this plan");
            let opened = &masked[ValueId::of(index).index()];
            let streams = self.streams(Label::new(Purpose::Material, id, index.0));
            let name = format!("{} in {id}", op.name);
            let mask_of = |v: &ValueId| minus(&masked[v.index()], &values[v.index()]);
            let value = match (&op.kind, step) {
                (OpKind::Linear { input, weights, .. }, Step::Exact(value)) => {
                    let shape = self.plan.weight(*weights).shape;
                    let masks = LinearMap::new(shape, &self.weight_masks[weights.index()].weights);
                    let mut total = minus(opened, &value);
                    let product = masks.expect("a valid shape").apply(&mask_of(input), outcome.batch);
                    total.add_assign(&product);
                    let shares = self.sampled(&streams, domain::FOLLOW, total.len());
                    self.push("linear", name, total, shares);
                    value
                }
                (OpKind::Multiply { left, right }, Step::Exact(value)) => {
                    let (x, y) = (mask_of(left), mask_of(right));
                    let mut total = minus(opened, &value);
                    total.add_product(&x, &y);
                    let shares = self.sampled(&streams, domain::FOLLOW, total.len());
                    let key = sum(&self.sampled(&streams, domain::KEY, total.len()));
                    let corrections = self.corrections(index, id, outcome.batch, &mut recipients);
                    self.push("product", name.clone(), total, shares);
                    for ((domain, mask), correction) in
                        domain::PRODUCT_TAGS.iter().zip([x, y]).zip(&corrections)
                    {
                        self.corrected(&name, &times(&key, &mask), correction, &streams, *domain);
                    }
                    value
                }
                (OpKind::Activation(a), Step::Activation(step)) => {
                    let (d, r) = (&masked[a.input.index()], mask_of(&a.input));
                    let opening = Opening::new(self.plan, a, d, &r);
                    let value = step.result(&opening.argument);
                    let corrections = self.corrections(index, id, outcome.batch, &mut recipients);
                    let out_mask = minus(opened, &value);
                    self.activation(a, (&streams, &name), &out_mask, &opening, (outcome.batch, corrections));
                    value
                }
                // Local operations send nothing.
                (_, Step::Exact(value)) => value,
                (_, Step::Activation(_) | Step::Between(_)) => panic!("{name} is no activation"),
            };
            values.push(value);
        }
    }

    /// All vectors of an operation's corrections, in the order in which they are dealt.
    fn corrections(
        &self,
        op: OpIndex,
        id: Scope,
        batch: usize,
        recipients: &mut Recipients,
    ) -> Vec<Vec<Correction>> {
        let values = self.plan.values().expect("a valid plan");
        let shape = preprocess::corrections(self.plan, &values, op, batch);
        let CorrectionShape::Elements(groups) = &shape else { panic!("no corrections of elements") };
        let count: usize = groups.iter().map(|group| group.vectors).sum();
        let mut vectors: Vec<Vec<Correction>> = (0..count).map(|_| Vec::new()).collect();
        let of_op = |l: &Letter| {
            (l.header.kind, l.header.index, l.header.scope()) == (Kind::DealCorrection, op.0, id)
        };
        let letters: Vec<_> = self.witness.letters.iter().filter(|(l, _)| of_op(l)).collect();
        let pieces = shape.pieces(self.limbs, recipients);
        assert_eq!(letters.len(), pieces.len(), "messages of corrections");
        for (Piece { vectors: all, elements, to, .. }, (letter, body)) in pieces.into_iter().zip(letters) {
            assert_eq!(letter.to, Peer::Party(to));
            let lengths = vec![elements.len(); all.len()];
            let parts = unpack_all(self.limbs, &lengths, body).expect("corrections");
            for (at, values) in all.zip(parts) {
                vectors[at].push(Correction { to, elements: elements.clone(), values });
            }
        }
        vectors
    }

    fn activation(
        &mut self,
        a: &Activation,
        (streams, name): (&[LabelStream], &str),
        out_mask: &LimbVec,
        opening: &Opening,
        (batch, corrections): (usize, Vec<Vec<Correction>>),
    ) {
        let outputs = out_mask.len();
        let pooled = |v: &LimbVec| a.pool.as_ref().map_or(v.clone(), |pool| sum_pool(pool, v, batch));
        let mut total = out_mask.clone();
        total.add_assign(&pooled(&opening.constant));
        let shares = self.sampled(streams, domain::FOLLOW, outputs);
        self.push("activation", name.into(), total, shares);

        let key = sum(&self.sampled(streams, domain::KEY, outputs));
        let key = a.pool.as_ref().map_or(key.clone(), |pool| sum_pool_transposed(pool, &key, batch));
        let mut dealt = Vec::new();
        let d = a.degree();
        dealt.extend((1..d).map(|k| (domain::coefficient(k), opening.first[k].clone())));
        dealt.extend((1..d).map(|k| (domain::coefficient_tag(k), times(&key, &opening.first[k]))));
        if a.wrap == WrapRule::Exact {
            let differences: Vec<LimbVec> =
                opening.second.iter().zip(&opening.first).map(|(e, c)| minus(e, c)).collect();
            dealt.extend((0..d).map(|k| (domain::difference(k), differences[k].clone())));
            dealt.extend((0..d).map(|k| (domain::difference_tag(k), times(&key, &differences[k]))));
        }
        dealt.push((domain::OUT_MASK, out_mask.clone()));
        assert_eq!(dealt.len(), corrections.len(), "{name}");
        for ((domain, value), correction) in dealt.iter().zip(&corrections) {
            self.corrected(name, value, correction, streams, *domain);
        }
    }
}

/// What a party gets of a vector that the helper fixed.
struct Correction {
    to: PartyId,
    elements: Range<usize>,
    values: LimbVec,
}

/// What truncation and polynomial make of a masked value `D` and its mask `r`.
struct Opening {
    /// The polynomial's argument `u`.
    argument: LimbVec,
    /// `C_0(mu_0)`.
    constant: LimbVec,
    /// `C_k(mu_0)` and `C_k(mu_1)`.
    first: Vec<LimbVec>,
    second: Vec<LimbVec>,
}

impl Opening {
    fn new(plan: &Plan, a: &Activation, d: &LimbVec, r: &LimbVec) -> Self {
        let scale = plan.values().expect("a valid plan").get(a.input).scale;
        let t = Truncation::new(plan.limbs, a.ell, scale.0 - a.input_scale.0).expect("a valid plan");
        let mut d = d.clone();
        d.add_constant(&t.offset());
        let opened = t.open(&d);
        let mu = [t.mask(r, false), t.mask(r, true)];
        let elements: Vec<Element> = (0..r.len())
            .map(|i| {
                let bit = a.wrap == WrapRule::Exact && opened.wrap.get(i);
                opened.v.get(i) - mu[usize::from(bit)].get(i)
            })
            .collect();
        let b = scaled_coefficients(plan.limbs, &a.coefficients, a.input_scale.0);
        let mut minus_mu = mu[0].clone();
        minus_mu.neg_assign();
        Opening {
            argument: LimbVec::from_elements(plan.limbs, &elements),
            constant: evaluate(&b, &minus_mu),
            first: taylor_coefficients(&b, &mu[0]),
            second: taylor_coefficients(&b, &mu[1]),
        }
    }
}

fn minus(a: &LimbVec, b: &LimbVec) -> LimbVec {
    let mut difference = a.clone();
    difference.sub_assign(b);
    difference
}

fn times(a: &LimbVec, b: &LimbVec) -> LimbVec {
    let mut product = a.clone();
    product.mul_assign(b);
    product
}

/// The sum of shares.
pub fn sum(shares: &[LimbVec]) -> LimbVec {
    let mut total = shares[0].clone();
    shares[1..].iter().for_each(|share| total.add_assign(share));
    total
}
