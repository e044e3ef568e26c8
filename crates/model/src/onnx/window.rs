//! Windows of convolutions and pools: attributes of two numbers, and the three ways to say how much is padded.

use super::proto::NodeProto;
use super::value::{Refusal, unsupported};

/// Largest stride, dilation, kernel or padding.
const MAX_WINDOW: i64 = 1 << 16;

/// Padding on top of padding.
pub(super) fn added(a: [usize; 4], b: [usize; 4]) -> [usize; 4] {
    std::array::from_fn(|i| a[i] + b[i])
}

/// Sizes from a file that must lie in `0..=MAX_WINDOW`.
pub(super) fn window<const N: usize>(what: &str, values: [i64; N]) -> Result<[usize; N], Refusal> {
    match values.iter().find(|v| !(0..=MAX_WINDOW).contains(*v)) {
        Some(v) => Err(unsupported(format!("{what} of {v}"), format!("0 to {MAX_WINDOW} is possible"))),
        None => Ok(values.map(|v| v as usize)),
    }
}

/// An attribute of two numbers, down and across.
pub(super) fn pair(what: &str, values: Option<&[i64]>, default: i64) -> Result<[usize; 2], Refusal> {
    match values {
        None | Some([]) => window(what, [default; 2]),
        Some([a, b]) => window(what, [*a, *b]),
        Some(other) => Err(unsupported(
            format!("{what} for {} dimensions", other.len()),
            "two-dimensional windows are possible",
        )),
    }
}

/// Padding of a window: explicit, or so that the output is the input divided by the stride.
pub(super) fn window_padding(
    node: &NodeProto<'_>,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<[usize; 4], Refusal> {
    match node.text("auto_pad") {
        "" | "NOTSET" => match node.ints("pads") {
            None | Some([]) => Ok([0; 4]),
            Some([top, left, bottom, right]) => window("pads", [*top, *left, *bottom, *right]),
            Some(other) => Err(format!("{} pads, expected 4", other.len()).into()),
        },
        "VALID" => Ok([0; 4]),
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            let total = |i: usize| {
                let step = stride[i].max(1);
                let span = kernel[i].saturating_sub(1) * dilation[i] + 1;
                ((size[i].div_ceil(step).max(1) - 1) * step + span).saturating_sub(size[i])
            };
            let split =
                |t: usize| if mode == "SAME_UPPER" { (t / 2, t.div_ceil(2)) } else { (t.div_ceil(2), t / 2) };
            let ((top, bottom), (left, right)) = (split(total(0)), split(total(1)));
            Ok([top, left, bottom, right])
        }
        other => Err(format!("auto_pad {other}").into()),
    }
}

/// Rows and columns that the last window needs beyond the padded image when output sizes are rounded up.
pub(super) fn ceil_padding(
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
) -> [usize; 2] {
    std::array::from_fn(|i| {
        let padded = size[i] + padding[i] + padding[i + 2];
        let (span, step) = (kernel[i], stride[i].max(1));
        let mut steps = padded.saturating_sub(span).div_ceil(step);
        // A window that would start behind the image and its first padding is left out.
        if steps * step >= size[i] + padding[i] {
            steps -= 1;
        }
        (steps * step + span).saturating_sub(padded)
    })
}
