//! Parameters of layers, with the defaults every framework has.

/// Sizes of a convolution; stride, dilation and groups are 1 and padding is 0 unless said
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Output channels.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride down and across.
    pub stride: [usize; 2],
    /// Zeros added at top, left, bottom, right.
    pub padding: [usize; 4],
    /// Distance of kernel taps down and across.
    pub dilation: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl ConvOptions {
    /// A convolution with a square kernel.
    pub fn square(out_channels: usize, kernel: usize) -> Self {
        let kernel = [kernel; 2];
        ConvOptions { out_channels, kernel, stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups: 1 }
    }

    /// Sets one stride, down and across.
    pub fn stride(self, stride: usize) -> Self {
        ConvOptions { stride: [stride; 2], ..self }
    }

    /// Sets one padding, on all sides.
    pub fn padding(self, padding: usize) -> Self {
        ConvOptions { padding: [padding; 4], ..self }
    }

    /// Sets one dilation, down and across.
    pub fn dilation(self, dilation: usize) -> Self {
        ConvOptions { dilation: [dilation; 2], ..self }
    }

    /// Channel groups; as many as input channels for a depthwise convolution.
    pub fn groups(self, groups: usize) -> Self {
        ConvOptions { groups, ..self }
    }
}

/// Windows of a pooling layer; the stride equals the kernel and padding is 0 unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Stride down and across.
    pub stride: [usize; 2],
    /// Zeros added at top, left, bottom, right.
    pub padding: [usize; 4],
}

impl PoolOptions {
    /// Square windows side by side.
    pub fn square(kernel: usize) -> Self {
        PoolOptions { kernel: [kernel; 2], stride: [kernel; 2], padding: [0; 4] }
    }

    /// Sets one stride, down and across.
    pub fn stride(self, stride: usize) -> Self {
        PoolOptions { stride: [stride; 2], ..self }
    }

    /// Sets one padding, on all sides.
    pub fn padding(self, padding: usize) -> Self {
        PoolOptions { padding: [padding; 4], ..self }
    }
}

/// Parameters of a BatchNorm layer at inference: `gamma (x - mean) / sqrt(variance + eps) + beta`,
/// one of each a channel. The model owner's secret: `Debug` shows the number of channels only.
#[derive(Clone, PartialEq)]
pub struct BatchNorm {
    /// Learned factor.
    pub gamma: Vec<f32>,
    /// Learned offset.
    pub beta: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub variance: Vec<f32>,
    /// Added to the variance.
    pub eps: f64,
}

impl std::fmt::Debug for BatchNorm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchNorm({} channels)", self.gamma.len())
    }
}
