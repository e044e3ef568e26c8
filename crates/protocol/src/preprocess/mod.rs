//! One-time material of an inference, before any input (`docs/protocol.md`, section 5).
//!
//! Helper and parties expand almost everything from seeds. Only the last party receives explicit
//! values ("corrections"), and only where the *sum* of the shares must be a value the helper
//! computed: coefficients of the masked polynomials, their tags, and output masks.

mod helper;
mod party;

pub use helper::{Dealt, InputGrant};
pub use party::{Material, PartyDeal};

pub(crate) use helper::{add_shifted, concat_shifted, slice_each, weigh};
pub(crate) use party::OpMaterial;

use amicus_field::{FieldError, Truncation};
use amicus_plan::{Activation, OpIndex, OpKind, Plan, ScaleBits, ValueId, Values, WrapRule};

/// Lengths of the correction vectors of an operation, in message order; empty when it has none.
pub fn correction_lengths(plan: &Plan, values: &Values, op: OpIndex, batch: usize) -> Vec<usize> {
    let outputs = values.get(ValueId::of(op)).len * batch;
    match &plan.op(op).kind {
        OpKind::Activation(a) => {
            let inputs = values.get(a.input).len * batch;
            let mut lengths = vec![outputs];
            lengths.resize(1 + a.corrections_per_input(), inputs);
            lengths
        }
        OpKind::Multiply { .. } => vec![outputs; 2],
        OpKind::Linear { .. }
        | OpKind::Add { .. }
        | OpKind::SumPool { .. }
        | OpKind::Slice { .. }
        | OpKind::Concat { .. }
        | OpKind::Weigh { .. } => Vec::new(),
    }
}

/// Domains of an activation's dealt vectors after its output mask, in message order: coefficients
/// and their tags, then, without statistical truncation, differences and their tags.
pub(crate) fn activation_domains(a: &Activation) -> Vec<u32> {
    use crate::label::domain::{coefficient, coefficient_tag, difference, difference_tag};
    let d = a.degree();
    let mut domains: Vec<u32> = (1..d).map(coefficient).chain((1..d).map(coefficient_tag)).collect();
    if a.wrap == WrapRule::Exact {
        domains.extend((0..d).map(difference).chain((0..d).map(difference_tag)));
    }
    domains
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
