//! One-time material of an inference, before any input (`docs/protocol.md`, section 5).
//!
//! Helper and parties expand almost everything from seeds. Explicit values ("corrections") are sent
//! only where the *sum* of the shares must be a value the helper computed: coefficients of the masked
//! polynomials, their tags, and output masks. Each message of them goes to one party, which takes it
//! in place of what it would expand.

mod helper;
mod local;
mod output_keys;
mod party;
mod pieces;
mod polynomials;

pub use helper::{Dealt, InputGrant, Outlet};
pub use party::{Material, PartyDeal};
pub use pieces::{CorrectionShape, Group, Piece, Recipients};

pub(crate) use local::{Acts, local, xnor_of_bits, xor_of_masks};
pub(crate) use party::OpMaterial;
pub(crate) use polynomials::MaskedPolynomials;

use crate::label::domain;
use crate::select;
use amicus_field::{FieldError, Truncation};
use amicus_plan::{MaskKind, OpIndex, OpKind, Plan, ScaleBits, ValueId, Values};

/// The correction vectors of an operation, for `batch` inputs.
pub fn corrections(plan: &Plan, values: &Values, op: OpIndex, batch: usize) -> CorrectionShape {
    let out = values.get(ValueId::of(op));
    let len_of = |value| values.get(value).len.saturating_mul(batch);
    let outputs = out.len.saturating_mul(batch);
    let of_inputs = |shared: bool, vectors: usize, input| {
        let all =
            [Group { vectors, len: len_of(input) }, Group { vectors: usize::from(shared), len: outputs }];
        let groups: Vec<Group> = all.into_iter().filter(|group| group.vectors > 0).collect();
        if groups.is_empty() { CorrectionShape::Nothing } else { CorrectionShape::Elements(groups) }
    };
    let shared = out.mask == MaskKind::Shared;
    match &plan.op(op).kind {
        OpKind::Activation(a) => of_inputs(shared, a.corrections_per_input(), a.input),
        OpKind::Truncate(t) => of_inputs(shared, t.as_activation().corrections_per_input(), t.input),
        OpKind::Select(s) => of_inputs(shared, s.corrections_per_input(), s.input),
        OpKind::Multiply { .. } => CorrectionShape::Elements(vec![Group { vectors: 2, len: outputs }]),
        OpKind::Outside(o) => of_inputs(false, o.corrections_per_input(), o.input),
        OpKind::Compare(c) => CorrectionShape::Bits { count: c.dealt_bits(), len: len_of(c.input) },
        OpKind::Linear { .. }
        | OpKind::Add { .. }
        | OpKind::Subtract { .. }
        | OpKind::SumPool { .. }
        | OpKind::Slice { .. }
        | OpKind::Concat { .. }
        | OpKind::Weigh { .. }
        | OpKind::Gather { .. }
        | OpKind::PublicLinear { .. }
        | OpKind::Xnor { .. } => CorrectionShape::Nothing,
    }
}

/// The domains that an operation's vectors of corrections are drawn from by all but their party, in the
/// order in which they are dealt; `shared` says whether the result's mask is one of them.
pub(crate) fn dealt_domains(kind: &OpKind, shared: bool) -> Vec<u32> {
    let mut domains: Vec<u32> = match kind {
        OpKind::Activation(a) => MaskedPolynomials::domains(a).in_order().collect(),
        OpKind::Truncate(t) => MaskedPolynomials::domains(&t.as_activation()).in_order().collect(),
        OpKind::Select(s) => {
            let count = select::dealt(s).len();
            (0..count).map(domain::selected).chain((0..count).map(domain::selected_tag)).collect()
        }
        OpKind::Multiply { .. } => return domain::PRODUCT_TAGS.to_vec(),
        OpKind::Outside(o) => {
            let numbers = o.numbers as usize;
            let linear = (numbers..2 * numbers).map(domain::selected);
            return linear.chain((0..2 * numbers).map(domain::selected_tag)).collect();
        }
        OpKind::Compare(c) => {
            let tables = (0..c.table_bits()).map(domain::table);
            return tables.chain((0..c.join_bits()).map(domain::join)).collect();
        }
        _ => return Vec::new(),
    };
    domains.extend(shared.then_some(domain::OUT_MASK));
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
