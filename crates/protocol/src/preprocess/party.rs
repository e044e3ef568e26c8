//! A party's material of one inference: expanded from its seed, plus the last party's corrections.

use super::helper::{add_shifted, concat_shifted, scale_channels, slice_each, subtract_shifted, weigh};
use super::{MaskedPolynomials, correction_lengths};
use crate::affine::dot_mask;
use crate::epoch::PartyEpoch;
use crate::keys::PartyKeys;
use crate::label::{Label, LabelStream, Purpose, domain};
use crate::wire::unpack_all;
use crate::{Fault, InferenceId, Peer, ProtocolError, Scope, Step};
use amicus_field::{Element, LimbVec, gather, sum_pool, sum_pool_transposed};
use amicus_plan::{Activation, MaskKind, OpIndex, OpKind, Printable, ValueId};
use std::convert::Infallible;

/// A dealt inference that collects its corrections.
#[derive(Debug)]
pub struct PartyDeal {
    keys: PartyKeys,
    batch: usize,
    corrections: Vec<Option<Corrections>>,
    missing: usize,
}

/// The last party's shares of what the helper fixed for one operation; all others draw theirs.
#[derive(Debug)]
enum Corrections {
    Activation { mask: LimbVec, polynomials: MaskedPolynomials<LimbVec> },
    Multiply { tags: [LimbVec; 2] },
}

impl Corrections {
    /// From the vectors of a message, in its order.
    fn of(kind: &OpKind, vectors: Vec<LimbVec>) -> Result<Self, Fault> {
        let mut vectors = vectors.into_iter();
        let mut next = || vectors.next().ok_or_else(|| Fault::Unexpected("corrections".into()));
        match kind {
            OpKind::Activation(a) => Ok(Corrections::Activation {
                mask: next()?,
                polynomials: MaskedPolynomials::domains(a).try_map(|_| next())?,
            }),
            OpKind::Multiply { .. } => Ok(Corrections::Multiply { tags: [next()?, next()?] }),
            _ => Err(Fault::Unexpected("corrections of an operation that has none".into())),
        }
    }
}

/// One party's material of one inference. Used once: the online phase consumes it.
#[derive(Debug)]
pub struct Material {
    pub(crate) keys: PartyKeys,
    pub(crate) batch: usize,
    pub(crate) ops: Vec<OpMaterial>,
}

#[derive(Debug)]
pub(crate) enum OpMaterial {
    Linear {
        /// `R_i = S_i - D_W [m_x]_i`, plus this party's share of the bias.
        offset: LimbVec,
        /// `D_G . [m_x]_i` of every batch element, for the check.
        tag_offsets: Vec<Element>,
    },
    Multiply {
        masks: [LimbVec; 2],
        follow: LimbVec,
        key: LimbVec,
        tags: [LimbVec; 2],
    },
    Activation {
        polynomials: MaskedPolynomials<LimbVec>,
        follow: LimbVec,
        key: LimbVec,
        key_of_input: LimbVec,
    },
    Local,
}

impl Material {
    /// The inference this material is for.
    pub fn id(&self) -> InferenceId {
        self.keys.scope.id
    }

    /// The inference this material is for, its session and epoch.
    pub fn scope(&self) -> Scope {
        self.keys.scope
    }

    /// Number of inputs.
    pub fn batch(&self) -> usize {
        self.batch
    }
}

impl PartyDeal {
    /// Takes the corrections of one operation.
    ///
    /// # Errors
    /// An operation without corrections for this party, a second message, a wrong length, a residue
    /// out of range.
    pub fn correction(&mut self, epoch: &PartyEpoch, index: u32, body: &[u8]) -> Result<(), ProtocolError> {
        let plan = &epoch.ctx.plan;
        let layer = plan.ops.get(index as usize).map(|op| Printable::new(&op.name));
        let fail =
            |fault| ProtocolError::peer(Peer::Helper, Step::Preprocessing { layer: layer.clone() }, fault);
        let (Some(slot), true) =
            (self.corrections.get_mut(index as usize), epoch.ctx.me == epoch.ctx.parties.last())
        else {
            return Err(fail(Fault::Unexpected(format!("corrections of operation {index}"))));
        };
        let lengths = correction_lengths(plan, &epoch.ctx.values, OpIndex(index), self.batch);
        if lengths.is_empty() {
            return Err(fail(Fault::Unexpected(format!("corrections of operation {index}"))));
        }
        if slot.is_some() {
            return Err(fail(Fault::Duplicate("corrections".into())));
        }
        let vectors = unpack_all(plan.limbs, &lengths, body).map_err(&fail)?;
        *slot = Some(Corrections::of(&plan.op(OpIndex(index)).kind, vectors).map_err(fail)?);
        self.missing -= 1;
        Ok(())
    }

    /// Whether every correction is there.
    pub fn complete(&self) -> bool {
        self.missing == 0
    }
}

impl PartyEpoch {
    /// Begins an inference of `batch` inputs that the helper deals.
    pub fn begin_deal(&self, keys: PartyKeys, batch: usize) -> PartyDeal {
        let (plan, values) = (&self.ctx.plan, &self.ctx.values);
        let with = plan
            .indexed_ops()
            .filter(|(i, _)| !correction_lengths(plan, values, *i, batch).is_empty())
            .count();
        let missing = if self.ctx.me == self.ctx.parties.last() { with } else { 0 };
        PartyDeal { keys, batch, corrections: plan.ops.iter().map(|_| None).collect(), missing }
    }

    /// Expands everything that needs no input (section 5). One product with `D_W` per linear layer.
    ///
    /// # Errors
    /// When corrections are missing, or the deal began in another epoch.
    pub fn prepare(&self, deal: PartyDeal) -> Result<Material, ProtocolError> {
        if !deal.complete() {
            return Err(ProtocolError::Misuse(format!("{} corrections are missing", deal.missing)));
        }
        let PartyDeal { keys, batch, corrections, .. } = deal;
        if keys.scope.epoch != self.epoch {
            let reason = format!("keys of {} in {}", keys.scope.epoch, self.epoch);
            return Err(ProtocolError::Misuse(reason));
        }
        let mut preparing = Preparing { epoch: self, keys: &keys, batch, masks: Vec::new() };
        preparing.input();
        let mut ops = Vec::with_capacity(self.ctx.plan.ops.len());
        for ((index, op), corrections) in self.ctx.plan.indexed_ops().zip(corrections) {
            ops.push(preparing.operation(index, &op.kind, corrections)?);
        }
        Ok(Material { keys, batch, ops })
    }
}

struct Preparing<'a> {
    epoch: &'a PartyEpoch,
    keys: &'a PartyKeys,
    batch: usize,
    /// This party's share of the mask of every value so far; none where only the helper knows the
    /// mask.
    masks: Vec<Option<LimbVec>>,
}

/// Vectors of one operation that are drawn.
struct Source {
    stream: LabelStream,
    limbs: amicus_field::Limbs,
}

impl Source {
    fn sample(&self, domain: u32, len: usize) -> LimbVec {
        self.stream.sample(domain, self.limbs, len)
    }

    /// A share of a vector whose sum over the parties the helper fixes.
    fn dealt(&self, domain: u32, len: usize) -> LimbVec {
        self.stream.sample(domain, self.limbs, len)
    }
}

impl Preparing<'_> {
    fn label(&self, purpose: Purpose, op: u32) -> Label {
        Label::new(purpose, self.keys.scope, op)
    }

    fn input(&mut self) {
        let ctx = &self.epoch.ctx;
        let stream = self.label(Purpose::InputMask, 0).stream(&self.keys.material);
        let len = ctx.values.get(ValueId::INPUT).len * self.batch;
        self.masks.push(Some(stream.sample(domain::MAIN, ctx.plan.limbs, len)));
    }

    /// The share of a value's mask; a valid plan asks for it only where there is one.
    fn mask(&self, id: ValueId) -> Result<&LimbVec, ProtocolError> {
        let missing =
            || ProtocolError::Internal(format!("parties hold no share of the mask of value {}", id.0));
        self.masks.get(id.index()).and_then(Option::as_ref).ok_or_else(missing)
    }

    fn operation(
        &mut self,
        index: OpIndex,
        kind: &OpKind,
        corrections: Option<Corrections>,
    ) -> Result<OpMaterial, ProtocolError> {
        let ctx = &self.epoch.ctx;
        let info = ctx.values.get(ValueId::of(index));
        let (limbs, batch, len) = (ctx.plan.limbs, self.batch, info.len * self.batch);
        let source =
            Source { stream: self.label(Purpose::Material, index.0).stream(&self.keys.material), limbs };
        let mut mask = None;
        let material = match kind {
            OpKind::Linear { input, weights, .. } => {
                let layer = &self.epoch.layers[weights.index()];
                let m = self.mask(*input)?;
                let mut offset = source.sample(domain::FOLLOW, len);
                offset.sub_assign(&layer.masked.product(m, batch));
                if let Some(bias) = &layer.bias_share {
                    offset.add_assign(&LimbVec::concat(&vec![bias; batch]));
                }
                let per = m.len() / batch;
                let tag_offsets = (0..batch)
                    .map(|e| dot_mask(&layer.masked_tags, &m.slice(e * per..(e + 1) * per)))
                    .collect();
                OpMaterial::Linear { offset, tag_offsets }
            }
            OpKind::Multiply { left, right } => OpMaterial::Multiply {
                masks: [self.mask(*left)?.clone(), self.mask(*right)?.clone()],
                follow: source.sample(domain::FOLLOW, len),
                key: source.sample(domain::KEY, len),
                tags: match corrections {
                    Some(Corrections::Multiply { tags }) => tags,
                    _ => domain::PRODUCT_TAGS.map(|d| source.dealt(d, len)),
                },
            },
            OpKind::Activation(a) => {
                let (of_result, polynomials) = match corrections {
                    Some(Corrections::Activation { mask, polynomials }) => (mask, polynomials),
                    _ => {
                        let inputs = ctx.values.get(a.input).len * batch;
                        let draw = |domain| Ok::<_, Infallible>(source.dealt(domain, inputs));
                        let Ok(polynomials) = MaskedPolynomials::domains(a).try_map(draw);
                        (source.dealt(domain::OUT_MASK, len), polynomials)
                    }
                };
                mask = Some(of_result);
                self.activation(a, polynomials, &source, len)
            }
            OpKind::Add { left, left_shift, right, right_shift } => {
                if info.mask == MaskKind::Shared {
                    mask =
                        Some(add_shifted(self.mask(*left)?, *left_shift, self.mask(*right)?, *right_shift));
                }
                OpMaterial::Local
            }
            OpKind::SumPool { input, pool } => {
                mask = self.masks[input.index()].as_ref().map(|m| sum_pool(pool, m, batch));
                OpMaterial::Local
            }
            OpKind::Slice { input, start, len } => {
                mask = self.masks[input.index()].as_ref().map(|m| slice_each(m, *start, *len, batch));
                OpMaterial::Local
            }
            OpKind::Concat { parts } => {
                if info.mask == MaskKind::Shared {
                    let parts = parts.iter().map(|p| Ok((self.mask(p.input)?, p.shift)));
                    let parts = parts.collect::<Result<Vec<_>, ProtocolError>>()?;
                    mask = Some(concat_shifted(&parts, batch));
                }
                OpMaterial::Local
            }
            OpKind::Weigh { input, rows, columns } => {
                mask = self.masks[input.index()].as_ref().map(|m| weigh(m, rows, columns));
                OpMaterial::Local
            }
            OpKind::Subtract { left, left_shift, right, right_shift } => {
                if info.mask == MaskKind::Shared {
                    let (x, y) = (self.mask(*left)?, self.mask(*right)?);
                    mask = Some(subtract_shifted(x, *left_shift, y, *right_shift));
                }
                OpMaterial::Local
            }
            OpKind::Gather { input, size, rows, columns } => {
                mask = self.masks[input.index()].as_ref().map(|m| gather(m, *size, rows, columns));
                OpMaterial::Local
            }
            OpKind::ScaleChannels { input, factors, .. } => {
                mask = self.masks[input.index()].as_ref().map(|m| scale_channels(m, factors, batch));
                OpMaterial::Local
            }
            OpKind::Compare(_) | OpKind::Truncate(_) | OpKind::Select(_) => {
                return Err(ProtocolError::Internal(format!("{index} is a comparison")));
            }
        };
        self.masks.push(mask);
        Ok(material)
    }

    fn activation(
        &self,
        a: &Activation,
        polynomials: MaskedPolynomials<LimbVec>,
        source: &Source,
        outputs: usize,
    ) -> OpMaterial {
        let key = source.sample(domain::KEY, outputs);
        let key_of_input = match &a.pool {
            None => key.clone(),
            Some(pool) => sum_pool_transposed(pool, &key, self.batch),
        };
        OpMaterial::Activation {
            polynomials,
            follow: source.sample(domain::FOLLOW, outputs),
            key,
            key_of_input,
        }
    }
}
