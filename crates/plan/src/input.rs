//! A client's numbers as the plan's integers.

use crate::{Plan, Range};

/// Why a client's numbers cannot be an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input: {0}")]
pub struct InputError(String);

/// The client's numbers as the plan's integers: `round(x * 2^scale)`.
///
/// # Errors
/// When there are not as many numbers as the input has elements, or one is outside the plan's input
/// range; the element is named.
pub fn quantize_input(plan: &Plan, x: &[f32]) -> Result<Vec<i64>, InputError> {
    let expected: usize = plan.input.shape.iter().product();
    if x.len() != expected {
        let reason = format!("{} numbers, expected {expected} ({:?})", x.len(), plan.input.shape);
        return Err(InputError(reason));
    }
    let range = plan.input.range;
    let scale = 2f64.powi(i32::try_from(plan.input.scale.0).unwrap_or(i32::MAX));
    let quantize = |(i, &x): (usize, &f32)| {
        let Some(real) = range.hold(x) else {
            let Range { low, high } = range;
            return Err(InputError(format!("element {i} is {x}, outside {low} to {high}")));
        };
        let scaled = (real * scale).round();
        if scaled.abs() >= 2f64.powi(62) {
            let scale = plan.input.scale;
            return Err(InputError(format!(
                "element {i} is {x}, which does not fit 62 bits at scale {scale}"
            )));
        }
        Ok(scaled as i64)
    };
    x.iter().enumerate().map(quantize).collect()
}
