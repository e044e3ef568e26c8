//! The helper deals: masks of all values, corrections, and the constants that the check must give.

use super::{MaskedPolynomials, truncation};
use crate::affine::dot_mask;
use crate::epoch::{HelperEpoch, SEED_BYTES};
use crate::label::{Label, LabelStream, Purpose, correction, domain, sum_of};
use crate::session::HelperKeys;
use crate::wire::pack_all;
use crate::{InferenceId, ProtocolError, Scope};
use amicus_field::{
    CaseMask, Element, LimbVec, Seed, gather, scaled_coefficients, sum_pool, sum_pool_transposed,
};
use amicus_field::{U256, taylor_coefficients};
use amicus_plan::{Activation, OpIndex, OpKind, ValueId, WrapRule};
use std::fmt;
use std::ops::Deref;
use zeroize::Zeroizing;

/// A dealt inference at the helper: what the check must give and what acceptance releases.
pub struct Dealt {
    pub(crate) scope: Scope,
    pub(crate) batch: usize,
    /// Constants of the check: `batch x slots`.
    pub(crate) constants: Zeroizing<Vec<Element>>,
    /// `mu_0` of every output element.
    pub(crate) output_masks: OutputMasks,
    /// `h = [r >= Q/2]` of every output element.
    pub(crate) output_high: CaseMask,
    grant: InputGrant,
}

impl fmt::Debug for Dealt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dealt")
            .field("scope", &self.scope)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
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

    /// The client's seeds.
    pub fn grant(&self) -> &InputGrant {
        &self.grant
    }
}

impl HelperEpoch {
    /// Deals one inference of `batch` inputs. Corrections for the last party go to `send`,
    /// operation by operation.
    ///
    /// # Errors
    /// What `send` returns, keys of another epoch, a retired epoch, or a plan that does not fit its
    /// own shapes.
    pub fn deal<E: From<ProtocolError>>(
        &self,
        keys: HelperKeys,
        batch: usize,
        send: &mut dyn FnMut(OpIndex, Vec<u8>) -> Result<(), E>,
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
            if let Some(corrections) = dealing.operation(index, &op.kind).map_err(E::from)? {
                send(index, corrections)?;
            }
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
            dealing.operation(index, &op.kind)?;
        }
        Ok(dealing.masks)
    }
}

/// What a value is tagged with.
enum Key<'a> {
    /// One vector for every batch element, perhaps with a component for the bias column, whose mask
    /// is 0.
    OfModel(&'a LimbVec),
    /// One vector for each batch element.
    OfInference(&'a LimbVec),
}

struct Dealing<'a> {
    epoch: &'a HelperEpoch,
    keys: &'a HelperKeys,
    batch: usize,
    /// Mask of every value so far, `batch x len`.
    masks: Vec<LimbVec>,
    constants: Zeroizing<Vec<Element>>,
}

impl<'a> Dealing<'a> {
    fn new(epoch: &'a HelperEpoch, keys: &'a HelperKeys, batch: usize) -> Self {
        let plan = &epoch.plan;
        let constants = Zeroizing::new(vec![Element::zero(plan.limbs); batch * plan.check_slots()]);
        Dealing { epoch, keys, batch, masks: Vec::with_capacity(epoch.values.count()), constants }
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
            let part = value.slice(e * len..(e + 1) * len);
            let dot = match key {
                Key::OfModel(key) => dot_mask(key, &part),
                Key::OfInference(key) => key.slice(e * len..(e + 1) * len).dot(&part),
            };
            let at = &mut self.constants[e * slots + slot];
            *at = *at + dot;
        }
    }

    /// Computes the mask of an operation's result; returns the last party's corrections, if it gets
    /// any.
    fn operation(&mut self, index: OpIndex, kind: &OpKind) -> Result<Option<Vec<u8>>, ProtocolError> {
        let plan = &self.epoch.plan;
        let (limbs, batch) = (plan.limbs, self.batch);
        let len = self.epoch.values.get(ValueId::of(index)).len * batch;
        let slot = plan.slot(kind);
        let mut corrections = None;
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
                let tags = [x, y].map(|m| {
                    let mut tag = key.clone();
                    tag.mul_assign(m);
                    tag
                });
                let dealt: Vec<LimbVec> = domain::PRODUCT_TAGS
                    .iter()
                    .zip(&tags)
                    .map(|(&d, tag)| correction(&streams, d, tag))
                    .collect();
                corrections = Some(pack_all(&dealt));
                let mut product = x.clone();
                product.mul_assign(y);
                let mut r = follow.clone();
                r.sub_assign(&product);
                // m_x m_y + r is what the shares of `follow` add up to.
                self.add_constant(slot, &Key::OfInference(&key), &follow);
                r
            }
            OpKind::Activation(a) => {
                let (mask, dealt) = self.activation(index, a, len)?;
                corrections = Some(dealt);
                mask
            }
            OpKind::Add { left, left_shift, right, right_shift } => {
                let (x, y) = (&self.masks[left.index()], &self.masks[right.index()]);
                add_shifted(x, *left_shift, y, *right_shift)
            }
            OpKind::SumPool { input, pool } => sum_pool(pool, &self.masks[input.index()], batch),
            OpKind::Slice { input, start, len } => {
                slice_each(&self.masks[input.index()], *start, *len, batch)
            }
            OpKind::Concat { parts } => {
                let parts: Vec<(&LimbVec, u32)> =
                    parts.iter().map(|p| (&self.masks[p.input.index()], p.shift)).collect();
                concat_shifted(&parts, batch)
            }
            OpKind::Weigh { input, rows, columns } => weigh(&self.masks[input.index()], rows, columns),
            OpKind::Subtract { left, left_shift, right, right_shift } => {
                let (x, y) = (&self.masks[left.index()], &self.masks[right.index()]);
                subtract_shifted(x, *left_shift, y, *right_shift)
            }
            OpKind::Gather { input, size, rows, columns } => {
                gather(&self.masks[input.index()], *size, rows, columns)
            }
            OpKind::ScaleChannels { input, factors, .. } => {
                scale_channels(&self.masks[input.index()], factors, batch)
            }
            OpKind::Compare(_) | OpKind::Truncate(_) | OpKind::Select(_) => {
                return Err(ProtocolError::Internal(format!("{index} is a comparison")));
            }
        };
        self.masks.push(mask);
        Ok(corrections)
    }

    fn activation(
        &mut self,
        index: OpIndex,
        a: &Activation,
        outputs: usize,
    ) -> Result<(LimbVec, Vec<u8>), ProtocolError> {
        let plan = &self.epoch.plan;
        let (limbs, batch) = (plan.limbs, self.batch);
        let from = self.epoch.values.get(a.input).scale;
        let t = truncation(plan, from, a.input_scale, a.ell)?;
        let r = &self.masks[a.input.index()];
        let scaled = scaled_coefficients(limbs, &a.coefficients, a.input_scale.0);
        let first = taylor_coefficients(&scaled, &t.mask(r, false));

        let streams = self.streams(index);
        let key = sum_of(&streams, domain::KEY, limbs, outputs);
        let follow = sum_of(&streams, domain::FOLLOW, limbs, outputs);
        let (key_of_input, constant_terms) = match &a.pool {
            None => (key.clone(), first[0].clone()),
            Some(pool) => (sum_pool_transposed(pool, &key, batch), sum_pool(pool, &first[0], batch)),
        };
        let mut out_mask = follow.clone();
        out_mask.sub_assign(&constant_terms);

        let tag = |v: &LimbVec| {
            let mut tag = key_of_input.clone();
            tag.mul_assign(v);
            tag
        };
        let coefficients = first[1..].to_vec();
        let mut differences = Vec::new();
        if a.wrap == WrapRule::Exact {
            differences = taylor_coefficients(&scaled, &t.mask(r, true));
            differences.iter_mut().zip(&first).for_each(|(e, c)| e.sub_assign(c));
        }
        let dealt = MaskedPolynomials {
            coefficient_tags: coefficients.iter().map(tag).collect(),
            coefficients,
            difference_tags: differences.iter().map(tag).collect(),
            differences,
        };
        let mut message = vec![correction(&streams, domain::OUT_MASK, &out_mask)];
        let of_domains = MaskedPolynomials::domains(a).in_order().zip(dealt.in_order());
        message.extend(of_domains.map(|(d, v)| correction(&streams, d, &v)));
        // The sum over the outputs of g (m_o + C_0 pooled) is g . follow.
        self.add_constant(0, &Key::OfInference(&key), &follow);
        Ok((out_mask, pack_all(&message)))
    }
}

/// `2^left_shift x + 2^right_shift y`.
pub(crate) fn add_shifted(x: &LimbVec, left_shift: u32, y: &LimbVec, right_shift: u32) -> LimbVec {
    let mut sum = x.clone();
    if left_shift > 0 {
        sum.scale_assign(&Element::power_of_two(x.limbs(), left_shift));
    }
    if right_shift > 0 {
        sum.add_scaled(&Element::power_of_two(x.limbs(), right_shift), y);
    } else {
        sum.add_assign(y);
    }
    sum
}

/// `2^left_shift x - 2^right_shift y`.
pub(crate) fn subtract_shifted(x: &LimbVec, left_shift: u32, y: &LimbVec, right_shift: u32) -> LimbVec {
    let mut negative = LimbVec::zeros(y.limbs(), y.len());
    negative.sub_assign(y);
    add_shifted(x, left_shift, &negative, right_shift)
}

/// Every channel of every batch element times a factor of its own.
pub(crate) fn scale_channels(x: &LimbVec, factors: &[i64], batch: usize) -> LimbVec {
    let each = x.len() / batch / factors.len();
    let one: Vec<i64> = factors.iter().flat_map(|&f| std::iter::repeat_n(f, each)).collect();
    let mut scaled = x.clone();
    scaled.mul_assign(&LimbVec::from_i64(x.limbs(), &one.repeat(batch)));
    scaled
}

/// Values one behind the other for every batch element, each times `2^shift`.
pub(crate) fn concat_shifted(parts: &[(&LimbVec, u32)], batch: usize) -> LimbVec {
    let scaled: Vec<LimbVec> = parts
        .iter()
        .map(|(x, shift)| {
            let mut x = (*x).clone();
            if *shift > 0 {
                x.scale_assign(&Element::power_of_two(x.limbs(), *shift));
            }
            x
        })
        .collect();
    let pieces: Vec<LimbVec> = (0..batch)
        .flat_map(|e| scaled.iter().map(move |x| (x, x.len() / batch, e)))
        .map(|(x, each, e)| x.slice(e * each..(e + 1) * each))
        .collect();
    LimbVec::concat(&pieces.iter().collect::<Vec<_>>())
}

/// Every element times the factors of its row and column.
pub(crate) fn weigh(x: &LimbVec, rows: &[u32], columns: &[u32]) -> LimbVec {
    let plane = rows.iter().flat_map(|&r| columns.iter().map(move |&c| i64::from(r) * i64::from(c)));
    let factors: Vec<i64> = plane.cycle().take(x.len()).collect();
    let mut scaled = x.clone();
    scaled.mul_assign(&LimbVec::from_i64(x.limbs(), &factors));
    scaled
}

/// Elements `start..start + len` of every batch element.
pub(crate) fn slice_each(x: &LimbVec, start: usize, len: usize, batch: usize) -> LimbVec {
    let whole = x.len() / batch;
    let parts: Vec<LimbVec> =
        (0..batch).map(|e| x.slice(e * whole + start..e * whole + start + len)).collect();
    LimbVec::concat(&parts.iter().collect::<Vec<_>>())
}
