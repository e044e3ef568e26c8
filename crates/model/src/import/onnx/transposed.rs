//! Transposed convolutions as convolutions.
//!
//! Pixel `t` of the result, counted in the padded result, gets what the taps `k` with
//! `t = i stride + k dilation` bring of pixels `i`. Pixels of one remainder of `t` by the stride
//! read the same taps: together they are a convolution of the image as it is. All remainders are
//! computed as channels of one convolution, without any zero between, and put in place by a gather.

use super::importer::Importer;
use super::proto::NodeProto;
use super::value::{Refusal, Value, unsupported};
use super::window::{pair_of, window};
use crate::graph::{ConvOptions, Gather};

/// One axis of a transposed convolution.
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Rows of the padded result before the first that is kept.
    before: usize,
}

impl Axis {
    /// Size of the convolution's kernel: pixels between the first and the last that one reads.
    fn span(&self) -> usize {
        (self.kernel - 1) * self.dilation / self.stride + 1
    }

    /// The remainder of a tap, and its place in the convolution's kernel.
    fn place(&self, tap: usize) -> (usize, usize) {
        let at = tap * self.dilation;
        (at % self.stride, self.span() - 1 - at / self.stride)
    }

    /// The padding before and behind, and the pixel `t / stride` of the first one computed.
    fn padding(&self) -> (usize, usize, usize) {
        let last = (self.before + self.output - 1) / self.stride;
        let before = (self.span() - 1).saturating_sub(self.before / self.stride);
        let behind = (last + 1).saturating_sub(self.input);
        (before, behind, self.span() - 1 - before)
    }

    fn computed(&self) -> usize {
        let (before, behind, _) = self.padding();
        (self.input + before + behind + 1).saturating_sub(self.span())
    }
}

impl<'b> Importer<'_, 'b> {
    pub(super) fn transposed_conv(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let view = self.tensor(node, 0)?;
        let weights = self.constant(node, 1, "weight")?.ok_or("it has no weights")?;
        let Some(([inputs, per_group], [kh, kw])) = super::window::kernel_dims(&weights.dims) else {
            return Err(unsupported(
                format!("a transposed convolution with weights of shape {:?}", weights.dims),
                "one and two dimensions are possible",
            ));
        };
        let one = weights.dims.len() == 3;
        let input = self.image(&view)?;
        let [channels, height, width] = self.image_shape(input)?;
        let groups =
            usize::try_from(node.int("group", 1)).ok().filter(|&g| g > 0 && channels.is_multiple_of(g));
        let groups =
            groups.ok_or_else(|| format!("{} groups of {channels} channels", node.int("group", 1)))?;
        if inputs != channels {
            return Err(format!("weights for {inputs} channels, the value has {channels}").into());
        }
        let list = |what: &str, default: i64| pair_of(what, node.ints(what), default, one);
        let [stride, dilation] = [list("strides", 1)?, list("dilations", 1)?];
        let extra = list("output_padding", 0)?;
        let kernel = [kh, kw];
        if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
            return Err("a stride, dilation or kernel of 0".into());
        }
        let sizes = [height, width];
        // Rows before anything is cut off.
        let whole = |i: usize| {
            let span = (kernel[i] - 1).checked_mul(dilation[i])?.checked_add(1)?;
            (sizes[i] - 1).checked_mul(stride[i])?.checked_add(span)
        };
        let whole = [whole(0), whole(1)];
        let [Some(down), Some(across)] = whole else { return Err("windows larger than memory".into()) };
        let whole = [down, across];
        let mut declared = node.ints("output_shape").map(<[i64]>::to_vec);
        if one && let Some(list) = &mut declared {
            list.insert(list.len().saturating_sub(1), 1);
        }
        let mut axes = Vec::with_capacity(2);
        for i in 0..2 {
            let (cut, output) = match (&declared, node.text("auto_pad")) {
                (Some(list), mode) => {
                    let size = list.get(list.len().saturating_sub(2) + i).copied().unwrap_or(0);
                    let [size] = window("output_shape", [size])?;
                    let total = (whole[i] + extra[i]).saturating_sub(size);
                    (split_in_two(total, mode), size)
                }
                (None, "SAME_UPPER" | "SAME_LOWER") => {
                    let size = sizes[i].checked_mul(stride[i]).ok_or("a result larger than memory")?;
                    (split_in_two(whole[i].saturating_sub(size), node.text("auto_pad")), size)
                }
                (None, "VALID") => (0, whole[i] + extra[i]),
                (None, _) => {
                    let pads = match (node.ints("pads"), one) {
                        (None | Some([]), _) => [0; 4],
                        (Some([top, left, bottom, right]), false) => {
                            window("pads", [*top, *left, *bottom, *right])?
                        }
                        (Some([left, right]), true) => window("pads", [0, *left, 0, *right])?,
                        (Some(other), _) => return Err(format!("{} pads", other.len()).into()),
                    };
                    let size = (whole[i] + extra[i]).checked_sub(pads[i] + pads[i + 2]);
                    (pads[i], size.unwrap_or(0))
                }
            };
            if output == 0 || output > 1 << 20 {
                return Err(format!("a result of {output} rows or columns").into());
            }
            axes.push(Axis {
                input: sizes[i],
                output,
                kernel: kernel[i],
                stride: stride[i],
                dilation: dilation[i],
                before: cut,
            });
        }
        let [down, across] = [&axes[0], &axes[1]];
        let phases = stride[0] * stride[1];
        let span = [down.span(), across.span()];
        let out_channels = per_group * groups;
        let depth = channels / groups;
        let taps = span[0].checked_mul(span[1]).ok_or("a kernel larger than memory")?;
        let each = depth.checked_mul(taps);
        let count = out_channels.checked_mul(phases).and_then(|n| n.checked_mul(each?));
        let count =
            count.filter(|&n| n <= amicus_plan::values::MAX_WEIGHTS).ok_or("more weights than possible")?;
        self.spend(4 * count as u64)?;
        let given = self.floats(&weights)?;
        let mut values = vec![0.0; count];
        for (at, &weight) in given.iter().enumerate() {
            let (x, y) = (at % kw, at / kw % kh);
            let (o, i) = (at / (kw * kh) % per_group, at / (kw * kh * per_group));
            let ((remainder_y, y), (remainder_x, x)) = (down.place(y), across.place(x));
            let channel = (i / depth * per_group + o) * phases + remainder_y * stride[1] + remainder_x;
            values[(channel * depth + i % depth) * taps + y * span[1] + x] = weight;
        }
        let bias = match self.constant(node, 2, "bias")? {
            Some(bias) if bias.len() == out_channels => {
                let each = self.floats(&bias)?;
                self.spend(4 * (out_channels * phases) as u64)?;
                Some(each.into_iter().flat_map(|b| std::iter::repeat_n(b, phases)).collect())
            }
            Some(bias) => return Err(format!("{} biases for {out_channels} channels", bias.len()).into()),
            None => None,
        };
        let ((top, bottom, first_y), (left, right, first_x)) = (down.padding(), across.padding());
        let options = ConvOptions {
            out_channels: out_channels * phases,
            kernel: span,
            stride: [1; 2],
            padding: [top, left, bottom, right],
            dilation: [1; 2],
            groups,
        };
        let label = self.unique(name);
        let parts = self.builder.conv2d(&label, input, options, values, bias);
        let mut dims = vec![self.batch, out_channels, down.output, across.output];
        if one {
            dims.remove(2);
        }
        if phases == 1 && [down.computed(), across.computed()] == [down.output, across.output] {
            return Ok(Value::Tensor(super::value::View::new(parts, dims)));
        }
        self.spend(8 * (down.output * across.output) as u64)?;
        // Where a pixel of the result stands among the channels of its remainders.
        let plane = down.computed() * across.computed();
        let place = |y: usize, x: usize| {
            let (y, x) = (y + down.before, x + across.before);
            let remainder = y % down.stride * across.stride + x % across.stride;
            remainder * plane + (y / down.stride - first_y) * across.computed() + x / across.stride - first_x
        };
        let (columns, length) = (across.output, phases * plane);
        let rows = (0..down.output).flat_map(|y| (0..columns).map(move |x| (y, x)));
        let rows = rows.map(|(y, x)| place(y, x) as u32).collect();
        let gather = Gather::along(length, 1, rows);
        Ok(Value::Tensor(self.take(&format!("{name}.pixels"), parts, gather, dims)))
    }
}

/// What is cut off before, of a total.
fn split_in_two(total: usize, mode: &str) -> usize {
    if mode == "SAME_UPPER" { total / 2 } else { total - total / 2 }
}
