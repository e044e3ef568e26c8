//! One-time material of an inference, before any input (`docs/protocol.md`, section 5).
//!
//! Helper and parties expand almost everything from seeds. Only the last party receives explicit
//! values ("corrections"), and only where the *sum* of the shares must be a value the helper
//! computed: coefficients of the masked polynomials, their tags, and output masks.

mod helper;
mod party;
mod polynomials;

pub use helper::{Dealt, InputGrant};
pub use party::{Material, PartyDeal};

pub(crate) use helper::{add_shifted, concat_shifted, scale_channels, slice_each, subtract_shifted, weigh};
pub(crate) use party::OpMaterial;
pub(crate) use polynomials::MaskedPolynomials;

use amicus_field::{FieldError, Truncation};
use amicus_plan::{OpIndex, OpKind, Plan, PlanError, ScaleBits, ValueId, Values};

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
        | OpKind::Weigh { .. }
        | OpKind::Subtract { .. }
        | OpKind::Gather { .. }
        | OpKind::ScaleChannels { .. }
        // Refused when a model is loaded.
        | OpKind::Compare(_)
        | OpKind::Truncate(_)
        | OpKind::Select(_) => Vec::new(),
    }
}

/// Refuses plans with operations that the protocol does not run.
pub(crate) fn refuse_comparisons(plan: &Plan) -> Result<(), PlanError> {
    let runs = |kind: &OpKind| !matches!(kind, OpKind::Compare(_) | OpKind::Truncate(_) | OpKind::Select(_));
    match plan.ops.iter().find(|op| !runs(&op.kind)) {
        None => Ok(()),
        Some(op) => Err(PlanError::Op {
            op: op.name.clone(),
            reason: "this version of Amicus does not run comparisons".into(),
        }),
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
