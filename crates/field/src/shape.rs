//! Shapes of linear layers and pools. They come from files, so nothing is taken for granted: empty
//! dimensions and sizes that do not fit a machine word are refused by `validate`.

use serde::{Deserialize, Serialize};

use crate::error::ShapeError;
use crate::winograd::Tiling;

/// A two-dimensional convolution (cross-correlation, as in every framework), layout
/// `[channel, y, x]`.
///
/// Weights are laid out `[out_channels, in_channels / groups, kernel height, kernel width]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Conv2d {
    /// Channels of the input.
    pub in_channels: usize,
    /// Height of the input in pixels.
    pub in_height: usize,
    /// Width of the input in pixels.
    pub in_width: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal step.
    pub stride: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Vertical and horizontal distance of kernel taps.
    pub dilation: [usize; 2],
    /// Groups; `in_channels` of them make a depthwise convolution.
    pub groups: usize,
}

/// A fully connected layer; weights are laid out `[outputs, inputs]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Dense {
    /// Input elements.
    pub inputs: usize,
    /// Output elements.
    pub outputs: usize,
}

/// A linear layer.
///
/// The numbers below are exact for a shape that [`validate`](Self::validate) accepts and panic or
/// wrap for others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum LinearShape {
    /// A fully connected layer.
    Dense(Dense),
    /// A two-dimensional convolution.
    Conv2d(Conv2d),
}

/// Sum-pooling of every channel by itself, layout `[channel, y, x]`. Padding counts as zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SumPool2d {
    /// Channels.
    pub channels: usize,
    /// Height of the input in pixels.
    pub height: usize,
    /// Width of the input in pixels.
    pub width: usize,
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal step.
    pub stride: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub padding: [usize; 4],
}

/// Refuses zeros.
fn not_empty(dimensions: &[(&'static str, usize)]) -> Result<(), ShapeError> {
    match dimensions.iter().find(|(_, size)| *size == 0) {
        Some(&(what, _)) => Err(ShapeError::Empty { what }),
        None => Ok(()),
    }
}

/// The product of sizes. Bytes of three limbs and a few times that must be countable too, so a
/// sixty-fourth of the address space is the limit.
fn product(what: &'static str, sizes: &[usize]) -> Result<usize, ShapeError> {
    sizes
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size))
        .filter(|&n| n <= usize::MAX / 64)
        .ok_or(ShapeError::Overflow { what })
}

/// Steps of a window along one axis.
fn windows(
    what: &'static str,
    size: usize,
    (before, after): (usize, usize),
    kernel: usize,
    dilation: usize,
    stride: usize,
) -> Result<usize, ShapeError> {
    let overflow = ShapeError::Overflow { what };
    let padded = size.checked_add(before).and_then(|n| n.checked_add(after)).ok_or(overflow.clone())?;
    let span = (kernel - 1).checked_mul(dilation).and_then(|n| n.checked_add(1)).ok_or(overflow)?;
    if span > padded {
        return Err(ShapeError::KernelTooLarge { what, span, padded });
    }
    Ok((padded - span) / stride + 1)
}

impl Conv2d {
    /// Checks every dimension.
    ///
    /// # Errors
    /// When a dimension is 0, channels do not divide into groups, the kernel does not fit into the
    /// padded input, or a size does not fit a machine word.
    pub fn validate(&self) -> Result<(), ShapeError> {
        not_empty(&[
            ("in_channels", self.in_channels),
            ("in_height", self.in_height),
            ("in_width", self.in_width),
            ("out_channels", self.out_channels),
            ("kernel height", self.kernel[0]),
            ("kernel width", self.kernel[1]),
            ("vertical stride", self.stride[0]),
            ("horizontal stride", self.stride[1]),
            ("vertical dilation", self.dilation[0]),
            ("horizontal dilation", self.dilation[1]),
            ("groups", self.groups),
        ])?;
        for (what, channels) in [("input", self.in_channels), ("output", self.out_channels)] {
            if !channels.is_multiple_of(self.groups) {
                return Err(ShapeError::Groups { what, channels, groups: self.groups });
            }
        }
        let [height, width] = self.try_out_size()?;
        // With the windows counted, padded sizes fit a word.
        let [top, left, bottom, right] = self.padding;
        let padded = [self.in_height + top + bottom, self.in_width + left + right];
        product("padded inputs", &[self.in_channels, padded[0], padded[1]])?;
        let outputs = product("outputs", &[self.out_channels, height, width])?;
        product("weights", &[self.out_channels, self.depth(), self.kernel[0], self.kernel[1]])?;
        product("multiply-adds", &[outputs, self.depth(), self.kernel[0], self.kernel[1]])?;
        Ok(())
    }

    fn try_out_size(&self) -> Result<[usize; 2], ShapeError> {
        let [top, left, bottom, right] = self.padding;
        Ok([
            windows(
                "height",
                self.in_height,
                (top, bottom),
                self.kernel[0],
                self.dilation[0],
                self.stride[0],
            )?,
            windows("width", self.in_width, (left, right), self.kernel[1], self.dilation[1], self.stride[1])?,
        ])
    }

    /// Height and width of the output in pixels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) refuses the shape.
    pub fn out_size(&self) -> [usize; 2] {
        match self.try_out_size() {
            Ok(size) => size,
            Err(error) => panic!("{error}"),
        }
    }

    /// Input channels of one group.
    pub(crate) const fn depth(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Weights of one output channel.
    pub(crate) const fn taps(&self) -> usize {
        self.depth() * self.kernel[0] * self.kernel[1]
    }
}

impl Dense {
    /// Checks every dimension.
    ///
    /// # Errors
    /// When a dimension is 0 or the number of weights does not fit a machine word.
    pub fn validate(&self) -> Result<(), ShapeError> {
        not_empty(&[("inputs", self.inputs), ("outputs", self.outputs)])?;
        product("weights", &[self.inputs, self.outputs]).map(|_| ())
    }
}

impl LinearShape {
    /// Checks every dimension.
    ///
    /// # Errors
    /// See [`Dense::validate`] and [`Conv2d::validate`].
    pub fn validate(&self) -> Result<(), ShapeError> {
        match self {
            LinearShape::Dense(dense) => dense.validate(),
            LinearShape::Conv2d(conv) => conv.validate(),
        }
    }

    /// Input elements of one batch element.
    pub const fn inputs(&self) -> usize {
        match self {
            LinearShape::Dense(dense) => dense.inputs,
            LinearShape::Conv2d(conv) => conv.in_channels * conv.in_height * conv.in_width,
        }
    }

    /// Output elements of one batch element.
    pub fn outputs(&self) -> usize {
        self.biases() * self.outputs_per_bias()
    }

    /// Weight elements.
    pub const fn weights(&self) -> usize {
        match self {
            LinearShape::Dense(dense) => dense.inputs * dense.outputs,
            LinearShape::Conv2d(conv) => conv.out_channels * conv.taps(),
        }
    }

    /// Bias elements: one per output channel or output.
    pub const fn biases(&self) -> usize {
        match self {
            LinearShape::Dense(dense) => dense.outputs,
            LinearShape::Conv2d(conv) => conv.out_channels,
        }
    }

    /// Output elements that share one bias: the pixels of a channel. They are contiguous.
    pub fn outputs_per_bias(&self) -> usize {
        match self {
            LinearShape::Dense(_) => 1,
            LinearShape::Conv2d(conv) => {
                let [height, width] = conv.out_size();
                height * width
            }
        }
    }

    /// Multiply-adds of one batch element in one limb; those with padding are counted.
    pub fn multiply_adds(&self) -> usize {
        match self {
            LinearShape::Dense(_) => self.weights(),
            LinearShape::Conv2d(conv) => self.outputs() * conv.taps(),
        }
    }

    /// Products that the active kernel takes for `batch` inputs: the multiply-adds, or fewer for
    /// convolutions that are computed over tiles, with what the transforms there cost.
    pub fn products(&self, batch: usize) -> usize {
        let tiled = match self {
            LinearShape::Dense(_) => None,
            LinearShape::Conv2d(conv) => Tiling::of(conv, batch).map(|tiling| tiling.products(conv, batch)),
        };
        tiled.unwrap_or_else(|| self.multiply_adds() * batch)
    }
}

impl SumPool2d {
    /// Checks every dimension.
    ///
    /// # Errors
    /// When a dimension is 0, the window does not fit into the padded input, or a size does not fit
    /// a machine word.
    pub fn validate(&self) -> Result<(), ShapeError> {
        not_empty(&[
            ("channels", self.channels),
            ("height", self.height),
            ("width", self.width),
            ("window height", self.kernel[0]),
            ("window width", self.kernel[1]),
            ("vertical stride", self.stride[0]),
            ("horizontal stride", self.stride[1]),
        ])?;
        let [height, width] = self.try_out_size()?;
        product("inputs", &[self.channels, self.height, self.width])?;
        product("additions", &[self.channels, height, width, self.kernel[0], self.kernel[1]]).map(|_| ())
    }

    fn try_out_size(&self) -> Result<[usize; 2], ShapeError> {
        let [top, left, bottom, right] = self.padding;
        Ok([
            windows("height", self.height, (top, bottom), self.kernel[0], 1, self.stride[0])?,
            windows("width", self.width, (left, right), self.kernel[1], 1, self.stride[1])?,
        ])
    }

    /// Height and width of the output in pixels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) refuses the shape.
    pub fn out_size(&self) -> [usize; 2] {
        match self.try_out_size() {
            Ok(size) => size,
            Err(error) => panic!("{error}"),
        }
    }

    /// Input elements of one batch element.
    pub const fn inputs(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Output elements of one batch element.
    pub fn outputs(&self) -> usize {
        let [height, width] = self.out_size();
        self.channels * height * width
    }
}
