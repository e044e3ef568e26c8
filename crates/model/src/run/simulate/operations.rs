//! Operations that are exact: all but those that truncate or compare. Random numbers have stand-ins.

use amicus_field::{Element, LimbVec, gather, sum_pool};
use amicus_plan::{OpIndex, OpKind};

use super::Simulator;
use super::comparison::{outside, select};

impl Simulator<'_> {
    /// The result of an operation that neither truncates nor compares; lengths are checked already.
    pub(super) fn exact(&self, index: OpIndex, inputs: &[&LimbVec], batch: usize) -> LimbVec {
        let limbs = self.plan.limbs;
        match &self.plan.op(index).kind {
            OpKind::Linear { weights, .. } => self.layers[weights.index()].of(inputs[0], batch),
            OpKind::PublicLinear { weights, .. } => self.public[weights.index()].of(inputs[0], batch),
            OpKind::Multiply { .. } => {
                let mut z = inputs[0].clone();
                z.mul_assign(inputs[1]);
                z
            }
            OpKind::Add { left_shift, right_shift, .. } => {
                let mut z = inputs[0].clone();
                z.scale_assign(&Element::power_of_two(limbs, *left_shift));
                z.add_scaled(&Element::power_of_two(limbs, *right_shift), inputs[1]);
                z
            }
            OpKind::SumPool { pool, .. } => sum_pool(pool, inputs[0], batch),
            OpKind::Slice { start, len, .. } => {
                let each = inputs[0].len() / batch;
                let parts: Vec<LimbVec> =
                    (0..batch).map(|b| inputs[0].slice(b * each + start..b * each + start + len)).collect();
                LimbVec::concat(&parts.iter().collect::<Vec<_>>())
            }
            OpKind::Concat { parts } => {
                let scaled: Vec<LimbVec> = inputs
                    .iter()
                    .zip(parts)
                    .map(|(x, part)| {
                        let mut x = (*x).clone();
                        x.scale_assign(&Element::power_of_two(limbs, part.shift));
                        x
                    })
                    .collect();
                let piece = |x: &LimbVec, b: usize| {
                    let each = x.len() / batch;
                    x.slice(b * each..(b + 1) * each)
                };
                let pieces: Vec<LimbVec> =
                    (0..batch).flat_map(|b| scaled.iter().map(move |x| piece(x, b))).collect();
                LimbVec::concat(&pieces.iter().collect::<Vec<_>>())
            }
            OpKind::Weigh { rows, columns, .. } => {
                let plane =
                    rows.iter().flat_map(|&r| columns.iter().map(move |&c| i64::from(r) * i64::from(c)));
                let factors: Vec<i64> = plane.cycle().take(inputs[0].len()).collect();
                let mut z = inputs[0].clone();
                z.mul_assign(&LimbVec::from_i64(limbs, &factors));
                z
            }
            OpKind::Subtract { left_shift, right_shift, .. } => {
                let mut z = inputs[0].clone();
                z.scale_assign(&Element::power_of_two(limbs, *left_shift));
                let mut negative = inputs[1].clone();
                negative.neg_assign();
                z.add_scaled(&Element::power_of_two(limbs, *right_shift), &negative);
                z
            }
            OpKind::Gather { size, rows, columns, .. } => gather(inputs[0], *size, rows, columns),
            OpKind::Select(s) => {
                let behind = &inputs[1..];
                let (bits, base) = match (s.bits, s.base) {
                    (Some(_), Some(_)) => (Some(behind[0]), Some(behind[1])),
                    (Some(_), None) => (Some(behind[0]), None),
                    (None, Some(_)) => (None, Some(behind[0])),
                    (None, None) => (None, None),
                };
                select(limbs, s, inputs[0], bits, base, batch)
            }
            OpKind::Outside(o) => outside(limbs, index, o, inputs[0], batch),
            OpKind::Xnor { .. } => {
                let (a, b) = (inputs[0], inputs[1]);
                let equal = (0..a.len()).map(|i| i64::from(a.get(i) == b.get(i))).collect::<Vec<_>>();
                LimbVec::concat(&[a, b, &LimbVec::from_i64(limbs, &equal)])
            }
            OpKind::Activation(_) | OpKind::Compare(_) | OpKind::Truncate(_) => {
                unreachable!("what rounds or decides is computed elsewhere")
            }
        }
    }
}
