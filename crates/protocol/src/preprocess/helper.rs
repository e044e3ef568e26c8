//! The helper deals: masks of all values, corrections, and the constants that the check must give.

use super::output_keys::OutputKeys;
use super::pieces::{Body, Piece, Recipients};
use super::{Acts, MaskedPolynomials, corrections, local, truncation, xor_of_masks};
use crate::affine::dot_mask;
use crate::authentic::{AuthenticationKeys, AuthenticationRoot};
use crate::compare::proof::{Committed, masks_of};
use crate::epoch::{HelperEpoch, SEED_BYTES};
use crate::label::{Label, LabelStream, Purpose, correction, domain, sum_of};
use crate::session::HelperKeys;
use crate::{InferenceId, PartyId, ProtocolError, Scope, compare, outside, select};
use amicus_field::{BitVec, Element, LimbVec, Seed, SumPool2d, WrapBits, scaled_coefficients};
use amicus_field::{U256, taylor_coefficients};
use amicus_plan::{Activation, Compare, OpIndex, OpKind, Outside, Select, ValueId, WrapRule};
use std::fmt;
use std::ops::{Deref, Range};
use zeroize::Zeroizing;

/// A dealt inference at the helper: what the check must give and what acceptance releases.
pub struct Dealt {
    pub(crate) scope: Scope,
    pub(crate) batch: usize,
    /// Constants of the check: `batch x slots`.
    pub(crate) constants: Zeroizing<Vec<Element>>,
    /// What parties have of every comparison, whose bits they prove to be right.
    pub(crate) comparisons: Vec<(OpIndex, Committed)>,
    /// `mu_0` of every output element.
    pub(crate) output_masks: OutputMasks,
    /// `h = [r >= Q/2]` of every output element.
    pub(crate) output_high: WrapBits,
    grant: InputGrant,
    /// What recipients' keys derive from, in party order.
    roots: Vec<AuthenticationRoot>,
}

impl fmt::Debug for Dealt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dealt")
            .field("scope", &self.scope)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// Takes messages of corrections, each in memory that it gave.
///
/// A function that takes them is one whose memory is made anew for each.
pub trait Outlet<E> {
    /// So many zeros, for the next message.
    fn memory(&mut self, bytes: usize) -> Vec<u8> {
        vec![0; bytes]
    }

    /// Takes the next message of an operation's corrections, and the party that they are for, and wipes
    /// it in the end.
    ///
    /// # Errors
    /// When they cannot be sent.
    fn send(&mut self, op: OpIndex, to: PartyId, corrections: Vec<u8>) -> Result<(), E>;
}

impl<E, F: FnMut(OpIndex, PartyId, Vec<u8>) -> Result<(), E>> Outlet<E> for F {
    fn send(&mut self, op: OpIndex, to: PartyId, corrections: Vec<u8>) -> Result<(), E> {
        self(op, to, corrections)
    }
}

/// Floors of an output's masks. Wiped when dropped.
pub(crate) struct OutputMasks(Vec<U256>);

impl Deref for OutputMasks {
    type Target = [U256];

    fn deref(&self) -> &[U256] {
        &self.0
    }
}

impl Drop for OutputMasks {
    fn drop(&mut self) {
        self.0.fill(U256::ZERO);
        zeroize::optimization_barrier(&self.0[..]);
    }
}

/// Seeds of the shares of the input's mask: for the client this inference is bound to, and nobody
/// else.
#[derive(Debug)]
pub struct InputGrant(Vec<Seed>);

impl InputGrant {
    /// The seeds as bytes, in party order.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.0.len() * SEED_BYTES);
        self.0.iter().for_each(|s| body.extend_from_slice(s.as_bytes()));
        body
    }
}

impl Dealt {
    /// The inference dealt, its session and epoch.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The inference dealt.
    pub fn id(&self) -> InferenceId {
        self.scope.id
    }

    /// Number of inputs.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The keys of a recipient, by its number among the receivers; the client is the first.
    pub fn authentication(&self, recipient: u32) -> AuthenticationKeys {
        AuthenticationKeys::of(&self.roots, recipient)
    }

    /// The client's seeds.
    pub fn grant(&self) -> &InputGrant {
        &self.grant
    }
}

impl HelperEpoch {
    /// Deals one inference of `batch` inputs. Corrections go to `outlet`, operation by operation, as they
    /// are made.
    ///
    /// # Errors
    /// What the outlet returns, keys of another epoch, a retired epoch, or a plan that does not fit
    /// its own shapes.
    pub fn deal<E: From<ProtocolError>>(
        &self,
        keys: HelperKeys,
        batch: usize,
        outlet: &mut impl Outlet<E>,
    ) -> Result<Dealt, E> {
        self.usable().map_err(E::from)?;
        if batch == 0 {
            return Err(ProtocolError::Misuse("a deal for no inputs".into()).into());
        }
        if keys.scope.epoch != self.epoch || keys.seeds.len() != self.parties.count() {
            let reason = format!("keys of {} in {}", keys.scope.epoch, self.epoch);
            return Err(ProtocolError::Misuse(reason).into());
        }
        let mut dealing = Dealing::new(self, &keys, batch);
        let grant = dealing.input();
        for (index, op) in self.plan.indexed_ops() {
            dealing.operation(index, &op.kind, outlet)?;
        }
        let out = &self.plan.output;
        let from = self.values.get(out.value).scale;
        let t =
            truncation(&self.plan, from, out.scale, out.ell).map_err(|e| E::from(ProtocolError::from(e)))?;
        let mask = &dealing.masks[out.value.index()];
        Ok(Dealt {
            output_masks: OutputMasks(t.floor(mask)),
            output_high: t.high_half(mask),
            constants: dealing.constants,
            comparisons: dealing.comparisons,
            roots: keys.seeds.iter().map(|seed| AuthenticationRoot::of(seed, keys.scope)).collect(),
            scope: keys.scope,
            batch,
            grant,
        })
    }

    /// The masks of all values of an inference, `batch` times the length of each, expanded from its
    /// keys. They unmask everything: for tests that hold a run to the plan, operation by
    /// operation.
    ///
    /// # Errors
    /// A plan that does not fit its own shapes.
    #[cfg(feature = "danger")]
    pub fn danger_masks(&self, keys: &HelperKeys, batch: usize) -> Result<Vec<LimbVec>, ProtocolError> {
        let mut dealing = Dealing::new(self, keys, batch);
        dealing.input();
        for (index, op) in self.plan.indexed_ops() {
            dealing.operation(index, &op.kind, &mut nowhere)?;
        }
        Ok(dealing.masks)
    }

    /// The masks of the bits of every comparison of an inference: for each operation, threshold by
    /// threshold; none for other operations. They unmask the bits: for tests, as
    /// [`danger_masks`](HelperEpoch::danger_masks).
    ///
    /// # Errors
    /// A plan that does not fit its own shapes.
    #[cfg(feature = "danger")]
    pub fn danger_bit_masks(
        &self,
        keys: &HelperKeys,
        batch: usize,
    ) -> Result<Vec<Vec<BitVec>>, ProtocolError> {
        let mut dealing = Dealing::new(self, keys, batch);
        dealing.input();
        for (index, op) in self.plan.indexed_ops() {
            dealing.operation(index, &op.kind, &mut nowhere)?;
        }
        Ok(dealing.bits)
    }
}

/// Forgets corrections.
#[cfg(feature = "danger")]
fn nowhere(_: OpIndex, _: PartyId, _: Vec<u8>) -> Result<(), ProtocolError> {
    Ok(())
}

/// What a value is tagged with.
enum Key<'a> {
    /// One vector for every batch element, perhaps with a component for the bias column, whose mask
    /// is 0.
    OfModel(&'a LimbVec),
    /// One vector for each batch element.
    OfInference(&'a LimbVec),
}

/// What an activation or selection is opened with.
struct Opened {
    streams: Vec<LabelStream>,
    follow: LimbVec,
    keys: OutputKeys,
}

struct Dealing<'a> {
    epoch: &'a HelperEpoch,
    keys: &'a HelperKeys,
    batch: usize,
    /// Mask of every value so far, `batch x len`.
    masks: Vec<LimbVec>,
    constants: Zeroizing<Vec<Element>>,
    /// What parties have of every comparison so far.
    comparisons: Vec<(OpIndex, Committed)>,
    /// Masks of the bits of every comparison; none for other operations.
    bits: Vec<Vec<BitVec>>,
    /// Who gets the corrections of operations to come.
    recipients: Recipients,
}

impl<'a> Dealing<'a> {
    fn new(epoch: &'a HelperEpoch, keys: &'a HelperKeys, batch: usize) -> Self {
        let plan = &epoch.plan;
        let constants = Zeroizing::new(vec![Element::zero(plan.limbs); batch * plan.check_slots()]);
        Dealing {
            epoch,
            keys,
            batch,
            masks: Vec::with_capacity(epoch.values.count()),
            constants,
            comparisons: Vec::new(),
            bits: vec![Vec::new(); plan.ops.len()],
            recipients: Recipients::new(epoch.parties),
        }
    }

    fn label(&self, purpose: Purpose, op: u32) -> Label {
        Label::new(purpose, self.keys.scope, op)
    }

    fn streams(&self, op: OpIndex) -> Vec<LabelStream> {
        self.keys.seeds.iter().map(|s| self.label(Purpose::Material, op.0).stream(s)).collect()
    }

    fn input(&mut self) -> InputGrant {
        let label = self.label(Purpose::InputMask, 0);
        let seeds: Vec<Seed> = self.keys.seeds.iter().map(|s| label.seed(s)).collect();
        let streams: Vec<LabelStream> = seeds.iter().map(|seed| label.expand(seed)).collect();
        let len = self.epoch.values.get(ValueId::INPUT).len * self.batch;
        self.masks.push(sum_of(&streams, domain::MAIN, self.epoch.plan.limbs, len));
        InputGrant(seeds)
    }

    /// Adds `key . value`, batch element by batch element, to the constants of a slot.
    fn add_constant(&mut self, slot: usize, key: &Key<'_>, value: &LimbVec) {
        let slots = self.constants.len() / self.batch;
        let len = value.len() / self.batch;
        for e in 0..self.batch {
            let part = e * len..(e + 1) * len;
            let dot = match key {
                Key::OfModel(key) => dot_mask(key, value, part),
                Key::OfInference(key) => key.dot_parts(part.clone(), value, part),
            };
            let at = &mut self.constants[e * slots + slot];
            *at = *at + dot;
        }
    }

    /// Computes the mask of an operation's result; corrections, if the operation has any, go to the
    /// outlet.
    fn operation<E: From<ProtocolError>>(
        &mut self,
        index: OpIndex,
        kind: &OpKind,
        outlet: &mut impl Outlet<E>,
    ) -> Result<(), E> {
        let plan = &self.epoch.plan;
        let (limbs, batch) = (plan.limbs, self.batch);
        let len = self.epoch.values.get(ValueId::of(index)).len * batch;
        let pieces = corrections(plan, &self.epoch.values, index, batch).pieces(limbs, &mut self.recipients);
        let slot = plan.slot(kind);
        let mask = match kind {
            OpKind::Linear { input, weights, .. } => {
                let layer = &self.epoch.layers[weights.index()];
                let mut r = sum_of(&self.streams(index), domain::FOLLOW, limbs, len);
                let m = self.masks[input.index()].clone();
                r.sub_assign(&layer.mask.product(&m, batch));
                self.add_constant(slot, &Key::OfModel(&layer.tag_mask), &m);
                self.add_constant(slot, &Key::OfModel(&layer.key), &r);
                r
            }
            OpKind::Multiply { left, right } => {
                let streams = self.streams(index);
                let follow = sum_of(&streams, domain::FOLLOW, limbs, len);
                let key = sum_of(&streams, domain::KEY, limbs, len);
                let (x, y) = (&self.masks[left.index()], &self.masks[right.index()]);
                for piece in pieces {
                    let part = |v: &LimbVec| v.slice(piece.elements.clone());
                    let key = part(&key);
                    let tags = [part(x), part(y)].map(|mask| times(&key, &mask));
                    let tags = domain::PRODUCT_TAGS.into_iter().zip(tags);
                    send(index, &piece, &streams, tags, outlet)?;
                }
                let mut product = x.clone();
                product.mul_assign(y);
                let mut r = follow.clone();
                r.sub_assign(&product);
                // m_x m_y + r is what the shares of `follow` add up to.
                self.add_constant(slot, &Key::OfInference(&key), &follow);
                r
            }
            OpKind::Activation(a) => self.activation((index, pieces), a, len, outlet)?,
            OpKind::Truncate(t) => self.activation((index, pieces), &t.as_activation(), len, outlet)?,
            OpKind::Compare(compare) => {
                self.comparison((index, pieces), compare, outlet)?;
                LimbVec::zeros(limbs, 0)
            }
            OpKind::Select(select) => self.selection((index, pieces), select, len, outlet)?,
            OpKind::Outside(outside) => self.outside((index, pieces), outside, len, outlet)?,
            OpKind::Xnor { left, right } => {
                let masks = |bits: &ValueId| bits.op().map_or(&[][..], |op| &self.bits[op.index()]);
                self.bits[index.index()] = xor_of_masks(masks(left), masks(right));
                LimbVec::zeros(limbs, 0)
            }
            OpKind::Add { .. }
            | OpKind::Subtract { .. }
            | OpKind::SumPool { .. }
            | OpKind::Slice { .. }
            | OpKind::Concat { .. }
            | OpKind::Weigh { .. }
            | OpKind::PublicLinear { .. }
            | OpKind::Gather { .. } => {
                let with = (&self.epoch.public[..], Acts::OnMasks);
                let of_inputs = local(kind, batch, with, |input| Ok(&self.masks[input.index()]));
                let not_local = || ProtocolError::Internal(format!("{index} is not local"));
                of_inputs.and_then(|mask| mask.ok_or_else(not_local)).map_err(E::from)?
            }
        };
        self.masks.push(mask);
        Ok(())
    }

    /// Deals a comparison: bits of its tables and joins; keeps what its proofs are checked by.
    fn comparison<E>(
        &mut self,
        (index, pieces): (OpIndex, Vec<Piece>),
        compare: &Compare,
        outlet: &mut impl Outlet<E>,
    ) -> Result<(), E> {
        let r = &self.masks[compare.input.index()];
        let streams = self.streams(index);
        let mut masks: Vec<BitVec> = compare.thresholds.iter().map(|_| BitVec::zeros(r.len())).collect();
        let mut shares = vec![compare::helper::Shares::zeros(compare, r.len()); streams.len()];
        for piece in pieces {
            let Range { start, .. } = piece.elements;
            let mut body = Body::new(outlet.memory(piece.bytes));
            let r = r.slice(piece.elements);
            let place = (start, piece.to);
            let dealt = compare::helper::deal(compare, &r, &streams, place, &mut |bits| body.push_bits(bits));
            shares.iter_mut().zip(&dealt.shares).for_each(|(all, part)| all.put(start, part));
            masks.iter_mut().zip(&dealt.masks).for_each(|(all, part)| all.put(start, part));
            outlet.send(index, piece.to, body.take())?;
        }
        let of_party = |stream| {
            let chunks = compare.chunks(r.len()).enumerate();
            chunks.map(|(number, chunk)| masks_of(stream, number, &chunk)).collect()
        };
        let of_proofs = streams.iter().map(of_party).collect();
        self.comparisons.push((index, Committed { shares, masks: of_proofs }));
        self.bits[index.index()] = masks;
        Ok(())
    }

    /// Deals an activation, some elements at a time; returns the mask of its result.
    fn activation<E: From<ProtocolError>>(
        &mut self,
        (index, pieces): (OpIndex, Vec<Piece>),
        a: &Activation,
        outputs: usize,
        outlet: &mut impl Outlet<E>,
    ) -> Result<LimbVec, E> {
        let plan = &self.epoch.plan;
        let limbs = plan.limbs;
        let from = self.epoch.values.get(a.input).scale;
        let t = truncation(plan, from, a.input_scale, a.ell).map_err(|e| E::from(ProtocolError::from(e)))?;
        let r = &self.masks[a.input.index()];
        let scaled = scaled_coefficients(limbs, &a.coefficients, a.input_scale.0);
        let Opened { streams, follow, keys } = self.opened(index, a.pool.as_ref(), outputs);

        let domains: Vec<u32> = MaskedPolynomials::domains(a).in_order().collect();
        let (pieces, of_mask) = pieces_and_mask(pieces, domains.len(), r.len());
        let mut constant_terms = LimbVec::zeros(limbs, r.len());
        for piece in pieces {
            let (r, key) = (r.slice(piece.elements.clone()), keys.of_input().slice(piece.elements.clone()));
            let mut first = taylor_coefficients(&scaled, &t.mask(&r, false));
            let mut differences = Vec::new();
            if a.wrap == WrapRule::Exact {
                differences = taylor_coefficients(&scaled, &t.mask(&r, true));
                differences.iter_mut().zip(&first).for_each(|(e, c)| e.sub_assign(c));
            }
            constant_terms.put(piece.elements.start, &first[0]);
            let coefficients = first.split_off(1);
            let tag = |v: &LimbVec| times(&key, v);
            let dealt = MaskedPolynomials {
                coefficient_tags: coefficients.iter().map(tag).collect(),
                coefficients,
                difference_tags: differences.iter().map(tag).collect(),
                differences,
            };
            let dealt = domains.iter().copied().zip(dealt.in_order());
            send(index, &piece, &streams, dealt, outlet)?;
        }
        // The sum over the outputs of g (m_o + C_0 pooled) is g . follow.
        self.add_constant(0, &Key::OfInference(&keys.of_output), &follow);
        let mut out_mask = follow;
        out_mask.sub_assign(&select::pooled(a.pool.as_ref(), constant_terms, self.batch));
        send_mask(index, &of_mask, &streams, &out_mask, outlet)?;
        Ok(out_mask)
    }

    /// What an activation or selection is opened with.
    fn opened(&self, index: OpIndex, pool: Option<&SumPool2d>, outputs: usize) -> Opened {
        let (limbs, batch) = (self.epoch.plan.limbs, self.batch);
        let streams = self.streams(index);
        let key = sum_of(&streams, domain::KEY, limbs, outputs);
        let follow = sum_of(&streams, domain::FOLLOW, limbs, outputs);
        let keys = OutputKeys::new(key, pool, batch);
        Opened { streams, follow, keys }
    }

    /// Deals a selection, some elements at a time; returns the mask of its result.
    fn selection<E>(
        &mut self,
        (index, pieces): (OpIndex, Vec<Piece>),
        select: &Select,
        outputs: usize,
        outlet: &mut impl Outlet<E>,
    ) -> Result<LimbVec, E> {
        let r = &self.masks[select.input.index()];
        let bits = select.bits.and_then(ValueId::op).map_or(&[][..], |op| &self.bits[op.index()]);
        let Opened { streams, follow, keys } = self.opened(index, select.pool.as_ref(), outputs);

        let count = select::dealt(select).len();
        let domains: Vec<u32> =
            (0..count).map(domain::selected).chain((0..count).map(domain::selected_tag)).collect();
        let (pieces, of_mask) = pieces_and_mask(pieces, domains.len(), r.len());
        let mut constant_terms = LimbVec::zeros(r.limbs(), r.len());
        for piece in pieces {
            let elements = &piece.elements;
            let bits: Vec<BitVec> = bits.iter().map(|bits| bits.slice(elements.clone())).collect();
            let (constants, values) = select::masked(select, &r.slice(elements.clone()), &bits);
            constant_terms.put(elements.start, &constants);
            let key = keys.of_input().slice(elements.clone());
            let tags: Vec<LimbVec> = values.iter().map(|value| times(&key, value)).collect();
            let dealt = domains.iter().copied().zip(values.into_iter().chain(tags));
            send(index, &piece, &streams, dealt, outlet)?;
        }
        self.add_constant(0, &Key::OfInference(&keys.of_output), &follow);
        let mut out_mask = follow;
        out_mask.sub_assign(&select::pooled(select.pool.as_ref(), constant_terms, self.batch));
        if let Some(base) = select.base {
            out_mask.add_assign(&self.masks[base.index()]);
        }
        send_mask(index, &of_mask, &streams, &out_mask, outlet)?;
        Ok(out_mask)
    }

    /// Deals linear coefficients and tags of numbers that tell of elements outside; returns the mask of
    /// the numbers.
    fn outside<E>(
        &mut self,
        (index, pieces): (OpIndex, Vec<Piece>),
        o: &Outside,
        outputs: usize,
        outlet: &mut impl Outlet<E>,
    ) -> Result<LimbVec, E> {
        let limbs = self.epoch.plan.limbs;
        let r = &self.masks[o.input.index()];
        let Opened { streams, follow, keys } = self.opened(index, None, outputs);
        let numbers = o.numbers as usize;
        let (mut constant_terms, mut factors, mut linear) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..numbers {
            let of_number = sum_of(&streams, domain::selected(i), limbs, r.len());
            let [constant, coefficient] = outside::masked(&of_number, r);
            constant_terms.push(constant);
            factors.push(of_number);
            linear.push(coefficient);
        }
        let tags = factors.iter().chain(&linear).enumerate().map(|(vector, value)| {
            let mut tag = value.clone();
            outside::scale_each(&mut tag, &keys.of_output, vector % numbers, self.batch);
            (domain::selected_tag(vector), tag)
        });
        let tags: Vec<(u32, LimbVec)> = tags.collect();
        let linear = linear.into_iter().enumerate().map(|(i, value)| (domain::selected(numbers + i), value));
        let dealt: Vec<(u32, LimbVec)> = linear.chain(tags).collect();
        for piece in pieces {
            let dealt = dealt.iter().map(|(domain, all)| (*domain, all.slice(piece.elements.clone())));
            send(index, &piece, &streams, dealt, outlet)?;
        }
        self.add_constant(0, &Key::OfInference(&keys.of_output), &follow);
        let mut out_mask = follow;
        out_mask.sub_assign(&outside::sums(&constant_terms, self.batch));
        Ok(out_mask)
    }
}

/// The messages of what is dealt for each of `inputs` elements, `vectors` of them, and those of the
/// result's mask, if parties share it. Where nothing is dealt for inputs, one that is not sent stands
/// for all of them.
fn pieces_and_mask(pieces: Vec<Piece>, vectors: usize, inputs: usize) -> (Vec<Piece>, Vec<Piece>) {
    let (mut of_inputs, of_mask): (Vec<Piece>, Vec<Piece>) =
        pieces.into_iter().partition(|piece| piece.vectors.start < vectors);
    if vectors == 0 {
        of_inputs.push(Piece { vectors: 0..0, elements: 0..inputs, bytes: 0, to: PartyId::FIRST });
    }
    (of_inputs, of_mask)
}

fn times(key: &LimbVec, value: &LimbVec) -> LimbVec {
    let mut product = LimbVec::zeros(value.limbs(), value.len());
    product.add_product(key, value);
    product
}

/// Sends the corrections of what a message holds: values of its elements, vector by vector, with the
/// domain that others draw theirs from.
fn send<E>(
    index: OpIndex,
    piece: &Piece,
    streams: &[LabelStream],
    dealt: impl Iterator<Item = (u32, LimbVec)>,
    outlet: &mut impl Outlet<E>,
) -> Result<(), E> {
    if piece.bytes == 0 {
        return Ok(());
    }
    let mut body = Body::new(outlet.memory(piece.bytes));
    for (domain, values) in dealt {
        body.push(&correction(streams, piece.to, domain, piece.elements.start as u64, values));
    }
    outlet.send(index, piece.to, body.take())
}

/// Sends the corrections of a mask, if the parties share it.
fn send_mask<E>(
    index: OpIndex,
    pieces: &[Piece],
    streams: &[LabelStream],
    mask: &LimbVec,
    outlet: &mut impl Outlet<E>,
) -> Result<(), E> {
    for piece in pieces {
        let values = mask.slice(piece.elements.clone());
        send(index, piece, streams, std::iter::once((domain::OUT_MASK, values)), outlet)?;
    }
    Ok(())
}
