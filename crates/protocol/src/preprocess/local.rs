//! Operations that open nothing: public linear maps that act on opened values, on masks and on
//! shares of masks alike (`docs/protocol.md`, section 6.6).

use crate::ProtocolError;
use crate::affine::Affine;
use amicus_field::{BitVec, Element, LimbVec, gather, sum_pool};
use amicus_plan::{OpKind, ValueId};

/// What a local operation acts on: constants belong to values, masks have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acts {
    /// Masked values.
    OnValues,
    /// Masks, or shares of them.
    OnMasks,
}

/// The result of a local operation from its inputs, which `value` looks up; none for operations
/// that open something, and for those on bits. `public` are the plan's public weights.
///
/// # Errors
/// What `value` returns.
pub(crate) fn local<'a>(
    kind: &OpKind,
    batch: usize,
    (public, acts): (&[Affine], Acts),
    value: impl Fn(ValueId) -> Result<&'a LimbVec, ProtocolError>,
) -> Result<Option<LimbVec>, ProtocolError> {
    Ok(Some(match kind {
        OpKind::Add { left, left_shift, right, right_shift } => {
            let mut sum = shifted(value(*left)?, *left_shift);
            sum.add_assign(&shifted(value(*right)?, *right_shift));
            sum
        }
        OpKind::Subtract { left, left_shift, right, right_shift } => {
            let mut difference = shifted(value(*left)?, *left_shift);
            difference.sub_assign(&shifted(value(*right)?, *right_shift));
            difference
        }
        OpKind::SumPool { input, pool } => sum_pool(pool, value(*input)?, batch),
        OpKind::Slice { input, start, len } => slice_each(value(*input)?, *start, *len, batch),
        OpKind::Concat { parts } => {
            let parts = parts.iter().map(|part| Ok(shifted(value(part.input)?, part.shift)));
            concat_each(&parts.collect::<Result<Vec<_>, ProtocolError>>()?, batch)
        }
        OpKind::Weigh { input, rows, columns } => weigh(value(*input)?, rows, columns),
        OpKind::Gather { input, size, rows, columns } => gather(value(*input)?, *size, rows, columns),
        OpKind::PublicLinear { input, weights } => {
            let layer = &public[weights.index()];
            let mut z = layer.product(value(*input)?, batch);
            if acts == Acts::OnValues
                && let Some(bias) = layer.bias_of_outputs()
            {
                z.add_assign(&LimbVec::concat(&vec![&bias; batch]));
            }
            z
        }
        OpKind::Linear { .. }
        | OpKind::Multiply { .. }
        | OpKind::Activation(_)
        | OpKind::Compare(_)
        | OpKind::Truncate(_)
        | OpKind::Select(_)
        | OpKind::Outside(_)
        | OpKind::Xnor { .. } => return Ok(None),
    }))
}

/// Two bits and their exclusive or, plane by plane: of masks.
pub(crate) fn xor_of_masks(left: &[BitVec], right: &[BitVec]) -> Vec<BitVec> {
    let mut planes = [left, right].concat();
    let both: Vec<BitVec> = left.iter().zip(right).map(|(a, b)| xor(a, b)).collect();
    planes.extend(both);
    planes
}

/// Two bits and whether they are equal, plane by plane: of masked bits.
pub(crate) fn xnor_of_bits(left: &[BitVec], right: &[BitVec]) -> Vec<BitVec> {
    let mut planes = xor_of_masks(left, right);
    planes[left.len() + right.len()..].iter_mut().for_each(BitVec::invert);
    planes
}

fn xor(a: &BitVec, b: &BitVec) -> BitVec {
    let mut sum = a.clone();
    sum.xor_assign(b);
    sum
}

/// `2^shift x`.
fn shifted(x: &LimbVec, shift: u32) -> LimbVec {
    let mut x = x.clone();
    if shift > 0 {
        x.scale_assign(&Element::power_of_two(x.limbs(), shift));
    }
    x
}

/// Values one behind the other for every batch element.
fn concat_each(parts: &[LimbVec], batch: usize) -> LimbVec {
    let pieces: Vec<LimbVec> = (0..batch)
        .flat_map(|e| parts.iter().map(move |x| (x, x.len() / batch, e)))
        .map(|(x, each, e)| x.slice(e * each..(e + 1) * each))
        .collect();
    LimbVec::concat(&pieces.iter().collect::<Vec<_>>())
}

/// Every element times the factors of its row and column.
fn weigh(x: &LimbVec, rows: &[u32], columns: &[u32]) -> LimbVec {
    let plane = rows.iter().flat_map(|&r| columns.iter().map(move |&c| i64::from(r) * i64::from(c)));
    let factors: Vec<i64> = plane.collect::<Vec<_>>().into_iter().cycle().take(x.len()).collect();
    let mut scaled = x.clone();
    scaled.mul_assign(&LimbVec::from_i64(x.limbs(), &factors));
    scaled
}

/// Elements `start..start + len` of every batch element.
fn slice_each(x: &LimbVec, start: usize, len: usize, batch: usize) -> LimbVec {
    let whole = x.len() / batch;
    let parts: Vec<LimbVec> =
        (0..batch).map(|e| x.slice(e * whole + start..e * whole + start + len)).collect();
    LimbVec::concat(&parts.iter().collect::<Vec<_>>())
}
