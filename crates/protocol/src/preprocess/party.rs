//! A party's material of one inference: expanded from its seed, but for the corrections that it gets.

use super::output_keys::OutputKeys;
use super::pieces::{Piece, Recipients};
use super::{Acts, CorrectionShape, MaskedPolynomials, corrections, dealt_domains, local};
use crate::affine::dot_mask;
use crate::authentic::AuthenticationRoot;
use crate::compare::party::{CompareMaterial, Comparing, DealtBits};
use crate::compare::proof::Proving;
use crate::epoch::PartyEpoch;
use crate::keys::PartyKeys;
use crate::label::{Label, LabelStream, Purpose, domain};
use crate::select;
use crate::share::ProofBytes;
use crate::{Fault, InferenceId, Peer, ProtocolError, Scope, Step};
use amicus_field::{BitVec, Element, LimbVec, Limbs, SumPool2d};
use amicus_plan::{Activation, MaskKind, OpIndex, OpKind, Printable, Select, ValueId};
use std::ops::Range;
use std::vec;

/// A dealt inference that takes its corrections, and expands every operation as soon as it can.
#[derive(Debug)]
pub struct PartyDeal {
    keys: PartyKeys,
    batch: usize,
    /// Who gets the corrections of operations to come.
    recipients: Recipients,
    /// The next operation, if corrections of it are missing.
    receiving: Option<Receiving>,
    /// Operations so far of which this party got corrections.
    given: Vec<OpIndex>,
    /// This party's share of the mask of every value so far; none where only the helper knows the
    /// mask.
    masks: Vec<Option<LimbVec>>,
    /// What was expanded so far.
    ops: Vec<OpMaterial>,
    /// How many operations there are.
    count: usize,
}

/// This party's shares of what the helper fixed for an operation; those that come in messages of
/// corrections may be missing.
#[derive(Debug)]
struct Receiving {
    index: OpIndex,
    /// Messages that are still to come, the next one first.
    pieces: vec::IntoIter<Piece>,
    vectors: Vectors,
}

/// Shares of vectors that the helper fixed, in the order in which they are dealt.
#[derive(Debug)]
enum Vectors {
    Elements(vec::IntoIter<LimbVec>),
    Bits(Vec<BitVec>),
}

impl Receiving {
    /// Takes the next message; one that is refused is still to come.
    fn take(&mut self, body: &[u8]) -> Result<(), Fault> {
        let Some(Piece { vectors, elements, bytes, .. }) = self.pieces.as_slice().first() else {
            return Err(Fault::Duplicate("corrections".into()));
        };
        if body.len() != *bytes {
            return Err(Fault::Length { expected: *bytes, got: body.len() });
        }
        let each = (bytes / vectors.len().max(1)).max(1);
        for (vector, body) in vectors.clone().zip(body.chunks_exact(each)) {
            match &mut self.vectors {
                Vectors::Elements(all) => {
                    amicus_field::unpack_part(&mut all.as_mut_slice()[vector], elements.clone(), body)?
                }
                Vectors::Bits(all) => all[vector].unpack_part(elements.clone(), body)?,
            }
        }
        self.pieces.next();
        Ok(())
    }

    fn complete(&self) -> bool {
        self.pieces.len() == 0
    }
}

impl Vectors {
    /// The next vector of elements.
    fn next(&mut self) -> Result<LimbVec, ProtocolError> {
        match self {
            Vectors::Elements(all) => all.next().ok_or_else(|| internal("fewer vectors than are dealt")),
            Vectors::Bits(_) => Err(internal("bits in place of elements")),
        }
    }

    fn some(&mut self, count: usize) -> Result<Vec<LimbVec>, ProtocolError> {
        (0..count).map(|_| self.next()).collect()
    }

    /// All vectors of bits.
    fn bits(self) -> Result<Vec<BitVec>, ProtocolError> {
        match self {
            Vectors::Bits(all) => Ok(all),
            Vectors::Elements(_) => Err(internal("elements in place of bits")),
        }
    }
}

fn internal(what: &str) -> ProtocolError {
    ProtocolError::Internal(what.into())
}

/// Shares of a selection's masked coefficients.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) values: Vec<LimbVec>,
    pub(crate) tags: Vec<LimbVec>,
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
    /// With the proof that its bits are right.
    Proving(Proving),
    /// The report on all parties' proofs.
    Proven(ProofBytes),
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
    /// Corrections that another party gets, of another operation than the next that has any for this
    /// one, or too many; a wrong length, a residue out of range; a deal of another epoch.
    pub fn correction(&mut self, epoch: &PartyEpoch, index: u32, body: &[u8]) -> Result<(), ProtocolError> {
        self.expand(epoch)?;
        let layer = epoch.ctx.plan.ops.get(index as usize).map(|op| Printable::new(&op.name));
        let fail =
            |fault| ProtocolError::peer(Peer::Helper, Step::Preprocessing { layer: layer.clone() }, fault);
        match self.receiving.as_mut().filter(|receiving| receiving.index.0 == index) {
            Some(receiving) => receiving.take(body).map_err(fail)?,
            None if self.given.contains(&OpIndex(index)) => {
                return Err(fail(Fault::Duplicate("corrections".into())));
            }
            None => return Err(fail(Fault::Unexpected(format!("corrections of operation {index}")))),
        }
        self.expand(epoch)
    }

    /// Whether everything is expanded, so that no correction is missing.
    pub fn complete(&self) -> bool {
        self.ops.len() == self.count
    }

    /// Expands operations up to the first whose corrections are missing, and what of that one other
    /// parties get corrections of.
    ///
    /// # Errors
    /// When the deal began in another epoch.
    pub fn expand(&mut self, epoch: &PartyEpoch) -> Result<(), ProtocolError> {
        if self.keys.scope.epoch != epoch.epoch {
            let reason = format!("keys of {} in {}", self.keys.scope.epoch, epoch.epoch);
            return Err(ProtocolError::Misuse(reason));
        }
        let plan = &epoch.ctx.plan;
        let masks = &mut self.masks;
        let mut preparing = Preparing { epoch, keys: &self.keys, batch: self.batch, masks };
        preparing.input();
        for (index, op) in plan.indexed_ops().skip(self.ops.len()) {
            let receiving = match self.receiving.take() {
                Some(receiving) => receiving,
                None => {
                    let receiving = preparing.begin(index, &op.kind, &mut self.recipients);
                    self.given.extend((!receiving.complete()).then_some(index));
                    receiving
                }
            };
            if !receiving.complete() {
                self.receiving = Some(receiving);
                break;
            }
            self.ops.push(preparing.operation(index, &op.kind, receiving.vectors)?);
        }
        Ok(())
    }
}

impl PartyEpoch {
    /// Begins an inference of `batch` inputs that the helper deals.
    pub fn begin_deal(&self, keys: PartyKeys, batch: usize) -> PartyDeal {
        let count = self.ctx.plan.ops.len();
        PartyDeal {
            keys,
            batch,
            recipients: Recipients::new(self.ctx.parties),
            receiving: None,
            given: Vec::new(),
            masks: Vec::new(),
            ops: Vec::with_capacity(count),
            count,
        }
    }

    /// Expands everything that needs no input and was not expanded yet (section 5). One product with
    /// `D_W` per linear layer.
    ///
    /// # Errors
    /// When corrections are missing, or the deal began in another epoch.
    pub fn prepare(&self, mut deal: PartyDeal) -> Result<Material, ProtocolError> {
        deal.expand(self)?;
        if !deal.complete() {
            return Err(ProtocolError::Misuse("corrections are missing".into()));
        }
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
    limbs: Limbs,
}

impl Source {
    fn sample(&self, domain: u32, len: usize) -> LimbVec {
        self.stream.sample(domain, self.limbs, len)
    }

    /// A share of a vector whose sum over the parties the helper fixes, but for what this party gets
    /// corrections of.
    fn dealt(&self, domain: u32, len: usize, drawn: &[Range<usize>]) -> LimbVec {
        let draw =
            |part: &Range<usize>| self.stream.sample_from(domain, self.limbs, part.start as u64, part.len());
        if let [all] = drawn
            && all.len() == len
        {
            return draw(all);
        }
        let mut share = LimbVec::zeros(self.limbs, len);
        drawn.iter().for_each(|part| share.put(part.start, &draw(part)));
        share
    }

    /// Bits of such a vector.
    fn dealt_bits(&self, domain: u32, len: usize, drawn: &[Range<usize>]) -> BitVec {
        let draw = |part: &Range<usize>| self.stream.sample_bits(domain, part.start as u64, part.len());
        if let [all] = drawn
            && all.len() == len
        {
            return draw(all);
        }
        let mut share = BitVec::zeros(len);
        drawn.iter().for_each(|part| share.put(part.start, &draw(part)));
        share
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

    fn source(&self, index: OpIndex, limbs: Limbs) -> Source {
        Source { stream: self.label(Purpose::Material, index.0).stream(&self.keys.material), limbs }
    }

    /// The shares of what is dealt for an operation, without the corrections that this party gets.
    fn begin(&self, index: OpIndex, kind: &OpKind, recipients: &mut Recipients) -> Receiving {
        let ctx = &self.epoch.ctx;
        let shape = corrections(&ctx.plan, &ctx.values, index, self.batch);
        let pieces = shape.pieces(ctx.plan.limbs, recipients);
        let (mine, others): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(|p| p.to == ctx.me);
        let shared = ctx.values.get(ValueId::of(index)).mask == MaskKind::Shared;
        let (source, domains) = (self.source(index, ctx.plan.limbs), dealt_domains(kind, shared));
        // Vectors of a group are cut alike.
        let drawn = |vector: usize| -> Vec<Range<usize>> {
            let of_vector = others.iter().filter(|piece| piece.vectors.contains(&vector));
            of_vector.map(|piece| piece.elements.clone()).collect()
        };
        let vectors = match shape {
            CorrectionShape::Nothing => Vectors::Elements(Vec::new().into_iter()),
            CorrectionShape::Elements(groups) => {
                let (mut vectors, mut domains) = (Vec::with_capacity(domains.len()), domains.into_iter());
                for group in groups {
                    let drawn = drawn(vectors.len());
                    let of_group = domains.by_ref().take(group.vectors);
                    vectors.extend(of_group.map(|domain| source.dealt(domain, group.len, &drawn)));
                }
                Vectors::Elements(vectors.into_iter())
            }
            CorrectionShape::Bits { len, .. } => {
                let drawn = drawn(0);
                let bits = domains.into_iter().map(|domain| source.dealt_bits(domain, len, &drawn));
                Vectors::Bits(bits.collect())
            }
        };
        Receiving { index, pieces: mine.into_iter(), vectors }
    }

    /// The material of an operation; `dealt` are the shares of what the helper fixed for it.
    fn operation(
        &mut self,
        index: OpIndex,
        kind: &OpKind,
        mut dealt: Vectors,
    ) -> Result<OpMaterial, ProtocolError> {
        let ctx = &self.epoch.ctx;
        let info = ctx.values.get(ValueId::of(index));
        let (limbs, batch, len) = (ctx.plan.limbs, self.batch, info.len * self.batch);
        let shared = info.mask == MaskKind::Shared;
        let source = self.source(index, limbs);
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
                tags: [dealt.next()?, dealt.next()?],
            },
            OpKind::Activation(a) => {
                let material = self.activation(a, &mut dealt, &source, len)?;
                mask = shared.then(|| dealt.next()).transpose()?;
                material
            }
            OpKind::Truncate(t) => {
                let material = self.activation(&t.as_activation(), &mut dealt, &source, len)?;
                mask = shared.then(|| dealt.next()).transpose()?;
                material
            }
            OpKind::Select(select) => {
                let material = self.selection(select, &mut dealt, &source, len)?;
                mask = shared.then(|| dealt.next()).transpose()?;
                material
            }
            OpKind::Compare(compare) => {
                let len = ctx.values.get(compare.input).len * batch;
                let bits = DealtBits::new(compare, dealt.bits()?);
                OpMaterial::Compare(CompareMaterial::new(compare, len, source.stream, bits))
            }
            OpKind::Outside(o) => {
                let inputs = ctx.values.get(o.input).len * batch;
                let numbers = o.numbers as usize;
                let (linear, tags) = (dealt.some(numbers)?, dealt.some(2 * numbers)?);
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
                if shared {
                    let with = (&ctx.public[..], Acts::OnMasks);
                    mask = local(kind, batch, with, |input| self.mask(input))?;
                }
                OpMaterial::Local
            }
        };
        self.masks.push(mask);
        Ok(material)
    }

    fn activation(
        &self,
        a: &Activation,
        dealt: &mut Vectors,
        source: &Source,
        outputs: usize,
    ) -> Result<OpMaterial, ProtocolError> {
        let polynomials = MaskedPolynomials::domains(a).try_map(|_| dealt.next())?;
        let (follow, keys) = self.opened(a.pool.as_ref(), source, outputs);
        Ok(OpMaterial::Activation { polynomials, follow, keys })
    }

    fn selection(
        &self,
        select: &Select,
        dealt: &mut Vectors,
        source: &Source,
        outputs: usize,
    ) -> Result<OpMaterial, ProtocolError> {
        let count = select::dealt(select).len();
        let shares = Selected { values: dealt.some(count)?, tags: dealt.some(count)? };
        let (follow, keys) = self.opened(select.pool.as_ref(), source, outputs);
        Ok(OpMaterial::Select { shares, follow, keys })
    }

    /// What hides a result when it is opened, and the keys it is checked with.
    fn opened(&self, pool: Option<&SumPool2d>, source: &Source, outputs: usize) -> (LimbVec, OutputKeys) {
        let keys = OutputKeys::new(source.sample(domain::KEY, outputs), pool, self.batch);
        (source.sample(domain::FOLLOW, outputs), keys)
    }
}
