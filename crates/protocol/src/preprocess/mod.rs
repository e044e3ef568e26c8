//! One-time material of an inference, before any input (`docs/protocol.md`, section 5).
//!
//! Helper and parties expand almost everything from seeds. Only the last party receives explicit
//! values ("corrections"), and only where the *sum* of the shares must be a value the helper
//! computed: coefficients of the masked polynomials, their tags, and output masks.

mod body;
mod helper;
mod local;
mod party;
mod polynomials;

pub use helper::{Dealt, InputGrant, Outlet};
pub use party::{Material, PartyDeal};

pub(crate) use local::{local, xnor_of_bits, xor_of_masks};
pub(crate) use party::OpMaterial;
pub(crate) use polynomials::MaskedPolynomials;

use crate::compare::party::CompareWords;
use amicus_field::{FieldError, Limbs, Truncation, WordVec, packed_len};
use amicus_plan::{
    Activation, MaskKind, OpIndex, OpKind, Plan, ScaleBits, Truncate, ValueId, Values, WrapRule,
};

/// The correction vectors of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorrectionShape {
    /// None.
    Nothing,
    /// Vectors of elements with these lengths, in message order.
    Elements(Vec<usize>),
    /// Vectors of words, all of one length.
    Words {
        /// How many.
        count: usize,
        /// Their length.
        len: usize,
    },
}

impl CorrectionShape {
    /// Whether an operation has corrections at all.
    pub fn is_nothing(&self) -> bool {
        *self == CorrectionShape::Nothing
    }

    /// Bytes of the message. Saturates: no message is that long.
    pub fn bytes(&self, limbs: Limbs) -> usize {
        match self {
            CorrectionShape::Nothing => 0,
            CorrectionShape::Elements(lengths) => {
                lengths.iter().map(|&len| packed_len(limbs, len)).fold(0, usize::saturating_add)
            }
            CorrectionShape::Words { count, len } => count.saturating_mul(WordVec::packed_len(*len)),
        }
    }
}

/// The correction vectors of an operation, for `batch` inputs.
pub fn corrections(plan: &Plan, values: &Values, op: OpIndex, batch: usize) -> CorrectionShape {
    let out = values.get(ValueId::of(op));
    let len_of = |value| values.get(value).len.saturating_mul(batch);
    let outputs = out.len.saturating_mul(batch);
    let masks = |shared: bool| if shared { vec![outputs] } else { Vec::new() };
    let of_inputs = |mut lengths: Vec<usize>, each: usize, input| {
        lengths.extend(std::iter::repeat_n(len_of(input), each));
        CorrectionShape::Elements(lengths)
    };
    let shared = out.mask == MaskKind::Shared;
    match &plan.op(op).kind {
        OpKind::Activation(a) => of_inputs(masks(true), a.corrections_per_input(), a.input),
        OpKind::Truncate(t) => of_inputs(masks(shared), truncation_alone(t).corrections_per_input(), t.input),
        OpKind::Select(s) => of_inputs(masks(shared), s.corrections_per_input(), s.input),
        OpKind::Multiply { .. } => CorrectionShape::Elements(vec![outputs; 2]),
        OpKind::Compare(c) => CorrectionShape::Words { count: CompareWords::count(c), len: len_of(c.input) },
        OpKind::Linear { .. }
        | OpKind::Add { .. }
        | OpKind::Subtract { .. }
        | OpKind::SumPool { .. }
        | OpKind::Slice { .. }
        | OpKind::Concat { .. }
        | OpKind::Weigh { .. }
        | OpKind::Gather { .. }
        | OpKind::Xnor { .. } => CorrectionShape::Nothing,
    }
}

/// A truncation as the activation that it is: by the polynomial `u` itself.
pub(crate) fn truncation_alone(t: &Truncate) -> Activation {
    Activation {
        input: t.input,
        ell: t.ell,
        input_scale: t.scale,
        coefficients: vec![0, 1],
        coefficient_scale: ScaleBits(0),
        pool: None,
        wrap: WrapRule::Exact,
    }
}

/// Truncation of a value of `from` scale to `to` scale, bounded by `2^ell`.
pub(crate) fn truncation(
    plan: &Plan,
    from: ScaleBits,
    to: ScaleBits,
    ell: u32,
) -> Result<Truncation, FieldError> {
    Truncation::new(plan.limbs, ell, from.0.saturating_sub(to.0))
}
