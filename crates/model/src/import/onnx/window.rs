//! Windows of convolutions and pools: attributes of two numbers, and the three ways to say how much
//! is padded.

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
fn pair(what: &str, values: Option<&[i64]>, default: i64) -> Result<[usize; 2], Refusal> {
    match values {
        None | Some([]) => window(what, [default; 2]),
        Some([a, b]) => window(what, [*a, *b]),
        Some(other) => Err(unsupported(
            format!("{what} for {} dimensions", other.len()),
            "windows of one and two dimensions are possible",
        )),
    }
}

/// An attribute of two numbers, or of one for a value of one dimension, whose height is 1.
pub(super) fn pair_of(
    what: &str,
    values: Option<&[i64]>,
    default: i64,
    one: bool,
) -> Result<[usize; 2], Refusal> {
    match values {
        Some([along]) if one => {
            let [along] = window(what, [*along])?;
            Ok([usize::from(what != "output_padding"), along])
        }
        values if one && values.is_none_or(<[i64]>::is_empty) => {
            let [along] = window(what, [default])?;
            Ok([usize::from(what != "output_padding"), along])
        }
        values if !one => pair(what, values, default),
        _ => Err(format!("{what} of more than one dimension for a value of one").into()),
    }
}

/// Channels and kernel of weights of one or two dimensions; a kernel of one has a height of 1.
pub(super) fn kernel_dims(dims: &[usize]) -> Option<([usize; 2], [usize; 2])> {
    match *dims {
        [a, b, length] => Some(([a, b], [1, length])),
        [a, b, height, width] => Some(([a, b], [height, width])),
        _ => None,
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
    let mode = node.text("auto_pad");
    if !matches!(mode, "" | "NOTSET")
        && let Some(pads) = node.ints("pads").filter(|pads| pads.iter().any(|&p| p != 0))
    {
        return Err(unsupported(
            format!("auto_pad {mode} beside pads {pads:?}: one of them would be ignored"),
            "remove one of these attributes",
        ));
    }
    match mode {
        "" | "NOTSET" => match node.ints("pads") {
            None | Some([]) => Ok([0; 4]),
            Some([top, left, bottom, right]) => window("pads", [*top, *left, *bottom, *right]),
            Some([left, right]) if kernel[0] == 1 && size[0] == 1 => window("pads", [0, *left, 0, *right]),
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

/// Rows and columns that the last window needs beyond the padded image when output sizes are
/// rounded up.
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

/// Number of windows over a padded image.
pub(super) fn outputs(padded: usize, kernel: usize, stride: usize) -> usize {
    padded.checked_sub(kernel).map_or(0, |room| room / stride.max(1) + 1)
}

/// The places of `windows` windows with gaps along an axis, one window behind the other. A place in
/// the padding is taken by the first of the same window inside, which changes no maximum; `None`
/// where a window holds padding alone.
pub(super) fn taps(
    windows: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    size: usize,
) -> Option<Vec<u32>> {
    let place = |window: usize, tap: usize| {
        (window * stride + tap * dilation).checked_sub(before).filter(|&at| at < size).map(|at| at as u32)
    };
    let mut places = Vec::with_capacity(windows * kernel);
    for window in 0..windows {
        let inside = (0..kernel).find_map(|tap| place(window, tap))?;
        places.extend((0..kernel).map(|tap| place(window, tap).unwrap_or(inside)));
    }
    Some(places)
}

/// How many rows (or columns) of each window count.
pub(super) fn counts(
    outputs: usize,
    kernel: usize,
    stride: usize,
    counted: &std::ops::Range<usize>,
) -> Vec<usize> {
    let overlap = |start: usize| (start + kernel).min(counted.end).saturating_sub(start.max(counted.start));
    (0..outputs).map(|o| overlap(o * stride)).collect()
}

/// The least common multiple of all counts over each count, and the multiple.
pub(super) fn inverted(counts: &[usize]) -> Result<(Vec<u32>, u32), Refusal> {
    let common = counts.iter().try_fold(1usize, |multiple, &n| {
        let next = multiple / greatest_common_divisor(multiple, n) * n;
        (1..=amicus_plan::values::MAX_FACTOR as usize).contains(&next).then_some(next)
    });
    let common = common.ok_or_else(|| {
        unsupported(
            "means over windows of too many different sizes, or of none",
            "use AvgPool2d(count_include_pad=True), or no padding",
        )
    })?;
    Ok((counts.iter().map(|&n| (common / n) as u32).collect(), common as u32))
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_at_the_border_count_less() {
        // Three rows at stride 2 over 7 rows with one row of padding on both sides.
        let found = counts(outputs(9, 3, 2), 3, 2, &(1..8));
        assert_eq!(found, [2, 3, 3, 2]);
        assert_eq!(inverted(&found), Ok((vec![3, 2, 2, 3], 6)));
        assert_eq!(counts(2, 3, 2, &(0..9)), [3, 3]);
        assert!(inverted(&[3, 0]).is_err());
        assert!(inverted(&[7, 11, 13, 17, 19]).is_err());
    }
}
