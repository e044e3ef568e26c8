//! A party's material of one inference: expanded from its seed, plus the last party's corrections.

use super::output_keys::OutputKeys;
use super::{Acts, CorrectionShape, MaskedPolynomials, Piece, corrections, local, truncation_alone};
use crate::affine::dot_mask;
use crate::authentic::AuthenticationRoot;
use crate::compare::party::{CompareMaterial, CompareWords, Comparing};
use crate::epoch::PartyEpoch;
use crate::keys::PartyKeys;
use crate::label::{Label, LabelStream, Purpose, domain};
use crate::select;
use crate::{Fault, InferenceId, Peer, ProtocolError, Scope, Step};
use amicus_field::{Element, LimbVec, Limbs, SumPool2d, WordVec};
use amicus_plan::{Activation, MaskKind, OpIndex, OpKind, Printable, Select, ValueId};
use std::convert::Infallible;
use std::vec;

/// A dealt inference that takes its corrections, and expands every operation as soon as it can.
#[derive(Debug)]
pub struct PartyDeal {
    keys: PartyKeys,
    batch: usize,
    /// Operations whose corrections are not all there.
    missing: usize,
    receiving: Option<Receiving>,
    /// This party's share of the mask of every value so far; none where only the helper knows the
    /// mask.
    masks: Vec<Option<LimbVec>>,
    /// What was expanded so far.
    ops: Vec<OpMaterial>,
}

/// Corrections of an operation, some of which are there.
#[derive(Debug)]
struct Receiving {
    index: OpIndex,
    /// Messages that are still to come, the next one first.
    pieces: vec::IntoIter<Piece>,
    vectors: Vectors,
}

/// Vectors of corrections.
#[derive(Debug)]
enum Vectors {
    Elements(Vec<LimbVec>),
    Words(Vec<WordVec>),
}

impl Receiving {
    /// None for an operation without corrections.
    fn new(index: OpIndex, shape: &CorrectionShape, limbs: Limbs) -> Option<Self> {
        let vectors = match shape {
            CorrectionShape::Nothing => return None,
            CorrectionShape::Elements(groups) => {
                let zeros = |len| LimbVec::zeros(limbs, len);
                Vectors::Elements(groups.iter().flat_map(|g| (0..g.vectors).map(|_| zeros(g.len))).collect())
            }
            &CorrectionShape::Words { count, len } => {
                Vectors::Words((0..count).map(|_| WordVec::zeros(len)).collect())
            }
        };
        Some(Receiving { index, pieces: shape.pieces(limbs).collect::<Vec<_>>().into_iter(), vectors })
    }

    /// Takes the next message; one that is refused is still to come.
    fn take(&mut self, body: &[u8]) -> Result<(), Fault> {
        let Some(Piece { vectors, elements, bytes }) = self.pieces.as_slice().first() else {
            return Err(Fault::Duplicate("corrections".into()));
        };
        if body.len() != *bytes {
            return Err(Fault::Length { expected: *bytes, got: body.len() });
        }
        let each = (bytes / vectors.len().max(1)).max(1);
        for (vector, body) in vectors.clone().zip(body.chunks_exact(each)) {
            match &mut self.vectors {
                Vectors::Elements(all) => {
                    amicus_field::unpack_part(&mut all[vector], elements.clone(), body)?
                }
                Vectors::Words(all) => all[vector].unpack_part(elements.clone(), body)?,
            }
        }
        self.pieces.next();
        Ok(())
    }

    fn complete(&self) -> bool {
        self.pieces.len() == 0
    }
}

/// The last party's shares of what the helper fixed for one operation; all others draw theirs.
#[derive(Debug)]
enum Corrections {
    Activation { mask: Option<LimbVec>, polynomials: MaskedPolynomials<LimbVec> },
    Multiply { tags: [LimbVec; 2] },
    Select { mask: Option<LimbVec>, shares: Selected },
    Outside { linear: Vec<LimbVec>, tags: Vec<LimbVec> },
    Compare(CompareWords),
}

/// Shares of a selection's masked coefficients.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) values: Vec<LimbVec>,
    pub(crate) tags: Vec<LimbVec>,
}

impl Corrections {
    /// From all vectors of an operation, in the order in which they are dealt.
    fn of(kind: &OpKind, shared: bool, vectors: Vectors) -> Result<Self, Fault> {
        let none = || Fault::Unexpected("corrections of an operation that has none".into());
        let mut vectors = match (kind, vectors) {
            (OpKind::Compare(compare), Vectors::Words(words)) => {
                return Ok(Corrections::Compare(CompareWords::new(compare, words)));
            }
            (_, Vectors::Words(_)) => return Err(none()),
            (_, Vectors::Elements(vectors)) => vectors.into_iter(),
        };
        let mut next = || vectors.next().ok_or_else(|| Fault::Unexpected("corrections".into()));
        match kind {
            OpKind::Activation(a) => {
                let polynomials = MaskedPolynomials::domains(a).try_map(|_| next())?;
                Ok(Corrections::Activation { polynomials, mask: if shared { Some(next()?) } else { None } })
            }
            OpKind::Truncate(t) => {
                let polynomials = MaskedPolynomials::domains(&truncation_alone(t)).try_map(|_| next())?;
                Ok(Corrections::Activation { polynomials, mask: if shared { Some(next()?) } else { None } })
            }
            OpKind::Select(select) => {
                let mut all = || (0..select::dealt(select).len()).map(|_| next()).collect();
                let values: Result<_, Fault> = all();
                let tags: Result<_, Fault> = all();
                let shares = Selected { values: values?, tags: tags? };
                Ok(Corrections::Select { shares, mask: if shared { Some(next()?) } else { None } })
            }
            OpKind::Multiply { .. } => Ok(Corrections::Multiply { tags: [next()?, next()?] }),
            OpKind::Outside(o) => {
                let mut all = |count: u32| (0..count).map(|_| next()).collect::<Result<_, Fault>>();
                Ok(Corrections::Outside { linear: all(o.numbers)?, tags: all(2 * o.numbers)? })
            }
            _ => Err(none()),
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
        keys: OutputKeys,
    },
    Select {
        shares: Selected,
        follow: LimbVec,
        keys: OutputKeys,
    },
    /// Shares of the factors and linear coefficients of every number, and of their tags.
    Outside {
        coefficients: Vec<LimbVec>,
        tags: Vec<LimbVec>,
        follow: LimbVec,
        keys: OutputKeys,
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
    /// Takes the next message of corrections, and expands what can be expanded with it.
    ///
    /// # Errors
    /// Corrections for another party, of another operation than the next that has any, or too many;
    /// a wrong length, a residue out of range; a deal of another epoch.
    pub fn correction(&mut self, epoch: &PartyEpoch, index: u32, body: &[u8]) -> Result<(), ProtocolError> {
        self.check(epoch)?;
        let ctx = &epoch.ctx;
        let layer = ctx.plan.ops.get(index as usize).map(|op| Printable::new(&op.name));
        let fail =
            |fault| ProtocolError::peer(Peer::Helper, Step::Preprocessing { layer: layer.clone() }, fault);
        let unexpected = || fail(Fault::Unexpected(format!("corrections of operation {index}")));
        if ctx.me != ctx.parties.last() || index as usize >= ctx.plan.ops.len() {
            return Err(unexpected());
        }
        let shape = corrections(&ctx.plan, &ctx.values, OpIndex(index), self.batch);
        if shape.is_nothing() {
            return Err(unexpected());
        }
        if (index as usize) < self.ops.len() {
            return Err(fail(Fault::Duplicate("corrections".into())));
        }
        self.expand(epoch, OpIndex(index), None)?;
        if self.ops.len() != index as usize {
            return Err(unexpected());
        }
        let receiving = match self.receiving.take() {
            Some(receiving) => receiving,
            None => Receiving::new(OpIndex(index), &shape, ctx.plan.limbs).ok_or_else(unexpected)?,
        };
        let receiving = self.receiving.insert(receiving);
        receiving.take(body).map_err(fail)?;
        if receiving.complete() {
            let Some(Receiving { index, vectors, .. }) = self.receiving.take() else { return Ok(()) };
            let shared = ctx.values.get(ValueId::of(index)).mask == MaskKind::Shared;
            let corrections = Corrections::of(&ctx.plan.op(index).kind, shared, vectors).map_err(fail)?;
            self.missing -= 1;
            self.expand(epoch, OpIndex(ctx.plan.ops.len() as u32), Some(corrections))?;
        }
        Ok(())
    }

    /// Whether every correction is there.
    pub fn complete(&self) -> bool {
        self.missing == 0
    }

    fn check(&self, epoch: &PartyEpoch) -> Result<(), ProtocolError> {
        if self.keys.scope.epoch == epoch.epoch {
            return Ok(());
        }
        let reason = format!("keys of {} in {}", self.keys.scope.epoch, epoch.epoch);
        Err(ProtocolError::Misuse(reason))
    }

    /// Expands operations before `end`, up to one whose corrections are missing; `corrections` are
    /// those of the next one.
    fn expand(
        &mut self,
        epoch: &PartyEpoch,
        end: OpIndex,
        mut corrections: Option<Corrections>,
    ) -> Result<(), ProtocolError> {
        let (plan, values) = (&epoch.ctx.plan, &epoch.ctx.values);
        let last = epoch.ctx.me == epoch.ctx.parties.last();
        let masks = &mut self.masks;
        let mut preparing = Preparing { epoch, keys: &self.keys, batch: self.batch, masks };
        preparing.input();
        for (index, op) in plan.indexed_ops().skip(self.ops.len()).take_while(|(index, _)| *index < end) {
            let given = corrections.take();
            let wants = || !super::corrections(plan, values, index, self.batch).is_nothing();
            if last && given.is_none() && wants() {
                break;
            }
            self.ops.push(preparing.operation(index, &op.kind, given)?);
        }
        Ok(())
    }
}

impl PartyEpoch {
    /// Begins an inference of `batch` inputs that the helper deals.
    pub fn begin_deal(&self, keys: PartyKeys, batch: usize) -> PartyDeal {
        let (plan, values) = (&self.ctx.plan, &self.ctx.values);
        let with =
            plan.indexed_ops().filter(|(i, _)| !corrections(plan, values, *i, batch).is_nothing()).count();
        let missing = if self.ctx.me == self.ctx.parties.last() { with } else { 0 };
        let ops = Vec::with_capacity(plan.ops.len());
        PartyDeal { keys, batch, missing, receiving: None, masks: Vec::new(), ops }
    }

    /// Expands everything that needs no input and was not expanded yet (section 5). One product with
    /// `D_W` per linear layer.
    ///
    /// # Errors
    /// When corrections are missing, or the deal began in another epoch.
    pub fn prepare(&self, mut deal: PartyDeal) -> Result<Material, ProtocolError> {
        if !deal.complete() {
            return Err(ProtocolError::Misuse(format!("{} corrections are missing", deal.missing)));
        }
        deal.check(self)?;
        deal.expand(self, OpIndex(self.ctx.plan.ops.len() as u32), None)?;
        let PartyDeal { keys, batch, ops, .. } = deal;
        Ok(Material { keys, batch, ops })
    }
}

struct Preparing<'a> {
    epoch: &'a PartyEpoch,
    keys: &'a PartyKeys,
    batch: usize,
    masks: &'a mut Vec<Option<LimbVec>>,
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

    /// Expands the mask of the input, once.
    fn input(&mut self) {
        if !self.masks.is_empty() {
            return;
        }
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
                let shared = info.mask == MaskKind::Shared;
                let (of_result, material) = self.activation(a, corrections, &source, len, shared);
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
            OpKind::Outside(o) => {
                let inputs = ctx.values.get(o.input).len * batch;
                let numbers = o.numbers as usize;
                let all = |domain: fn(usize) -> u32, range: std::ops::Range<usize>| {
                    range.map(|number| source.dealt(domain(number), inputs)).collect::<Vec<_>>()
                };
                let (linear, tags) = match corrections {
                    Some(Corrections::Outside { linear, tags }) => (linear, tags),
                    _ => {
                        let linear = all(domain::selected, numbers..2 * numbers);
                        (linear, all(domain::selected_tag, 0..2 * numbers))
                    }
                };
                // Nobody fixes what the factors add up to.
                let mut coefficients: Vec<LimbVec> =
                    (0..numbers).map(|i| source.sample(domain::selected(i), inputs)).collect();
                coefficients.extend(linear);
                let (follow, keys) = self.opened(None, &source, len);
                OpMaterial::Outside { coefficients, tags, follow, keys }
            }
            OpKind::Xnor { .. } => OpMaterial::Local,
            OpKind::Add { .. }
            | OpKind::Subtract { .. }
            | OpKind::SumPool { .. }
            | OpKind::Slice { .. }
            | OpKind::Concat { .. }
            | OpKind::Weigh { .. }
            | OpKind::PublicLinear { .. }
            | OpKind::Gather { .. } => {
                if info.mask == MaskKind::Shared {
                    let with = (&ctx.public[..], Acts::OnMasks);
                    mask = local(kind, batch, with, |input| self.mask(input))?;
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
        let (follow, keys) = self.opened(a.pool.as_ref(), source, outputs);
        (mask, OpMaterial::Activation { polynomials, follow, keys })
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
        let (follow, keys) = self.opened(select.pool.as_ref(), source, outputs);
        (mask, OpMaterial::Select { shares, follow, keys })
    }

    /// What hides a result when it is opened, and the keys it is checked with.
    fn opened(&self, pool: Option<&SumPool2d>, source: &Source, outputs: usize) -> (LimbVec, OutputKeys) {
        let keys = OutputKeys::new(source.sample(domain::KEY, outputs), pool, self.batch);
        (source.sample(domain::FOLLOW, outputs), keys)
    }
}
