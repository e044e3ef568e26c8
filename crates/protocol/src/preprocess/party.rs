//! A party's material of one inference: expanded from its seed, plus the last party's corrections.

use super::{CorrectionShape, MaskedPolynomials, corrections, local, truncation_alone};
use crate::affine::dot_mask;
use crate::authentic::AuthenticationRoot;
use crate::compare::party::{CompareMaterial, CompareWords, Comparing};
use crate::epoch::PartyEpoch;
use crate::keys::PartyKeys;
use crate::label::{Label, LabelStream, Purpose, domain};
use crate::select;
use crate::wire::unpack_all;
use crate::{Fault, InferenceId, Peer, ProtocolError, Scope, Step};
use amicus_field::{Element, LimbVec, SumPool2d, sum_pool_transposed};
use amicus_plan::{Activation, MaskKind, OpIndex, OpKind, Plan, Printable, Select, ValueId, Values};
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
    Activation { mask: Option<LimbVec>, polynomials: MaskedPolynomials<LimbVec> },
    Multiply { tags: [LimbVec; 2] },
    Select { mask: Option<LimbVec>, shares: Selected },
    Compare(CompareWords),
}

/// Shares of a selection's masked coefficients.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) values: Vec<LimbVec>,
    pub(crate) tags: Vec<LimbVec>,
}

impl Corrections {
    /// From the body of a message.
    fn decode(plan: &Plan, values: &Values, op: OpIndex, batch: usize, body: &[u8]) -> Result<Self, Fault> {
        let none = || Fault::Unexpected("corrections of an operation that has none".into());
        let kind = &plan.op(op).kind;
        let shared = values.get(ValueId::of(op)).mask == MaskKind::Shared;
        match (kind, corrections(plan, values, op, batch)) {
            (OpKind::Compare(compare), CorrectionShape::Words { len, .. }) => {
                Ok(Corrections::Compare(CompareWords::decode(compare, len, body)?))
            }
            (_, CorrectionShape::Elements(lengths)) => {
                Corrections::of(kind, shared, unpack_all(plan.limbs, &lengths, body)?)
            }
            (_, CorrectionShape::Nothing | CorrectionShape::Words { .. }) => Err(none()),
        }
    }

    /// From the vectors of a message, in its order.
    fn of(kind: &OpKind, shared: bool, vectors: Vec<LimbVec>) -> Result<Self, Fault> {
        let mut vectors = vectors.into_iter();
        let mut next = || vectors.next().ok_or_else(|| Fault::Unexpected("corrections".into()));
        match kind {
            OpKind::Activation(a) => Ok(Corrections::Activation {
                mask: Some(next()?),
                polynomials: MaskedPolynomials::domains(a).try_map(|_| next())?,
            }),
            OpKind::Truncate(t) => Ok(Corrections::Activation {
                mask: if shared { Some(next()?) } else { None },
                polynomials: MaskedPolynomials::domains(&truncation_alone(t)).try_map(|_| next())?,
            }),
            OpKind::Select(select) => {
                let mask = if shared { Some(next()?) } else { None };
                let mut all = || (0..select::dealt(select).len()).map(|_| next()).collect();
                let values: Result<_, Fault> = all();
                let tags: Result<_, Fault> = all();
                Ok(Corrections::Select { mask, shares: Selected { values: values?, tags: tags? } })
            }
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
    Select {
        shares: Selected,
        follow: LimbVec,
        key: LimbVec,
        key_of_input: LimbVec,
    },
    /// Before its first round.
    Compare(CompareMaterial),
    /// In between its rounds.
    Comparing(Comparing),
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

    /// What the keys derive from that recipients authenticate their messages with.
    pub fn authentication(&self) -> AuthenticationRoot {
        AuthenticationRoot::of(&self.keys.material, self.keys.scope)
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
        if corrections(plan, &epoch.ctx.values, OpIndex(index), self.batch).is_nothing() {
            return Err(fail(Fault::Unexpected(format!("corrections of operation {index}"))));
        }
        if slot.is_some() {
            return Err(fail(Fault::Duplicate("corrections".into())));
        }
        let decoded = Corrections::decode(plan, &epoch.ctx.values, OpIndex(index), self.batch, body);
        *slot = Some(decoded.map_err(fail)?);
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
        let with =
            plan.indexed_ops().filter(|(i, _)| !corrections(plan, values, *i, batch).is_nothing()).count();
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

/// What an activation or selection is opened with.
struct Opened {
    follow: LimbVec,
    /// The key of every output.
    key: LimbVec,
    /// For every input the sum of the keys of the windows that hold it.
    key_of_input: LimbVec,
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
                let tag_offsets =
                    (0..batch).map(|e| dot_mask(&layer.masked_tags, m, e * per..(e + 1) * per)).collect();
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
                let (of_result, material) = self.activation(a, corrections, &source, len, true);
                mask = of_result;
                material
            }
            OpKind::Truncate(t) => {
                let shared = info.mask == MaskKind::Shared;
                let (of_result, material) =
                    self.activation(&truncation_alone(t), corrections, &source, len, shared);
                mask = of_result;
                material
            }
            OpKind::Select(select) => {
                let (of_result, material) = self.selection(select, corrections, &source, len, info.mask);
                mask = of_result;
                material
            }
            OpKind::Compare(compare) => {
                let len = ctx.values.get(compare.input).len * batch;
                let words = match corrections {
                    Some(Corrections::Compare(words)) => words,
                    _ => CompareWords::expand(compare, len, &source.stream),
                };
                OpMaterial::Compare(CompareMaterial::new(compare, ctx.me, len, &source.stream, words))
            }
            OpKind::Xnor { .. } => OpMaterial::Local,
            OpKind::Add { .. }
            | OpKind::Subtract { .. }
            | OpKind::SumPool { .. }
            | OpKind::Slice { .. }
            | OpKind::Concat { .. }
            | OpKind::Weigh { .. }
            | OpKind::Gather { .. } => {
                if info.mask == MaskKind::Shared {
                    mask = local(kind, batch, |input| self.mask(input))?;
                }
                OpMaterial::Local
            }
        };
        self.masks.push(mask);
        Ok(material)
    }

    /// The share of the result's mask, if it is shared, and the material.
    fn activation(
        &self,
        a: &Activation,
        corrections: Option<Corrections>,
        source: &Source,
        outputs: usize,
        shared: bool,
    ) -> (Option<LimbVec>, OpMaterial) {
        let (mask, polynomials) = match corrections {
            Some(Corrections::Activation { mask, polynomials }) => (mask, polynomials),
            _ => {
                let inputs = self.epoch.ctx.values.get(a.input).len * self.batch;
                let draw = |domain| Ok::<_, Infallible>(source.dealt(domain, inputs));
                let Ok(polynomials) = MaskedPolynomials::domains(a).try_map(draw);
                (shared.then(|| source.dealt(domain::OUT_MASK, outputs)), polynomials)
            }
        };
        let Opened { follow, key, key_of_input } = self.opened(a.pool.as_ref(), source, outputs);
        (mask, OpMaterial::Activation { polynomials, follow, key, key_of_input })
    }

    /// The share of the result's mask, if it is shared, and the material.
    fn selection(
        &self,
        select: &Select,
        corrections: Option<Corrections>,
        source: &Source,
        outputs: usize,
        kind: MaskKind,
    ) -> (Option<LimbVec>, OpMaterial) {
        let (mask, shares) = match corrections {
            Some(Corrections::Select { mask, shares }) => (mask, shares),
            _ => {
                let inputs = self.epoch.ctx.values.get(select.input).len * self.batch;
                let count = select::dealt(select).len();
                let draw =
                    |domain: fn(usize) -> u32| (0..count).map(|i| source.dealt(domain(i), inputs)).collect();
                let shares = Selected { values: draw(domain::selected), tags: draw(domain::selected_tag) };
                let shared = kind == MaskKind::Shared;
                (shared.then(|| source.dealt(domain::OUT_MASK, outputs)), shares)
            }
        };
        let Opened { follow, key, key_of_input } = self.opened(select.pool.as_ref(), source, outputs);
        (mask, OpMaterial::Select { shares, follow, key, key_of_input })
    }

    fn opened(&self, pool: Option<&SumPool2d>, source: &Source, outputs: usize) -> Opened {
        let key = source.sample(domain::KEY, outputs);
        let key_of_input = match pool {
            None => key.clone(),
            Some(pool) => sum_pool_transposed(pool, &key, self.batch),
        };
        Opened { follow: source.sample(domain::FOLLOW, outputs), key, key_of_input }
    }
}
