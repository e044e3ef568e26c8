//! Which masks the parties hold shares of.
//!
//! A truncation or a selection can give the parties shares of its result's mask, for one correction
//! an element. It does so only where a linear layer or a product needs them, possibly through local
//! operations.

use crate::{MaskKind, OpKind, Plan, ValueId, ValueInfo};

/// Marks the masks of truncations and selections, and of what is local behind them, as shared only
/// where they must be; in plans with public weights, those of activations too. Before, every one of
/// them counts as shared.
pub(crate) fn settle(plan: &Plan, values: &mut [ValueInfo]) {
    let mut needed = vec![false; values.len()];
    for (index, op) in plan.indexed_ops().collect::<Vec<_>>().into_iter().rev() {
        let through = match &op.kind {
            OpKind::Linear { .. } | OpKind::Multiply { .. } => true,
            OpKind::Add { .. }
            | OpKind::Subtract { .. }
            | OpKind::SumPool { .. }
            | OpKind::Slice { .. }
            | OpKind::Concat { .. }
            | OpKind::Weigh { .. }
            | OpKind::PublicLinear { .. }
            | OpKind::Gather { .. } => needed[ValueId::of(index).index()],
            OpKind::Activation(_)
            | OpKind::Compare(_)
            | OpKind::Truncate(_)
            | OpKind::Select(_)
            | OpKind::Outside(_)
            | OpKind::Xnor { .. } => false,
        };
        if through {
            op.kind.inputs().iter().for_each(|input| needed[input.index()] = true);
        }
    }
    for (index, op) in plan.indexed_ops() {
        let at = ValueId::of(index).index();
        values[at].mask = match &op.kind {
            OpKind::Truncate(_) | OpKind::Select(_) if needed[at] => MaskKind::Shared,
            OpKind::Truncate(_) | OpKind::Select(_) | OpKind::Compare(_) => MaskKind::Helper,
            OpKind::Linear { .. } | OpKind::Multiply { .. } | OpKind::Outside(_) => MaskKind::Helper,
            OpKind::Activation(_) if plan.public.is_empty() || needed[at] => MaskKind::Shared,
            OpKind::Activation(_) => MaskKind::Helper,
            // Shares of it are a product of their own.
            OpKind::PublicLinear { .. } if !needed[at] => MaskKind::Helper,
            _ => local(&op.kind, values),
        };
    }
}

/// A value computed locally has a shared mask where all its inputs have.
fn local(kind: &OpKind, values: &[ValueInfo]) -> MaskKind {
    let shared = kind.inputs().iter().all(|v| values[v.index()].mask == MaskKind::Shared);
    if shared { MaskKind::Shared } else { MaskKind::Helper }
}
