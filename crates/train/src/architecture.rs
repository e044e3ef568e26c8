//! The networks as data: blocks of a linear layer, BatchNorm, activation and pooling, then one
//! linear layer.
//!
//! Everything that must know a network's shape reads this: initial weights, the forward pass,
//! equalising, rounding, export. Names are those of the shipped files and of the PyTorch package.

use amicus_model::networks::PixelRule;

use crate::ModelName;

/// BatchNorm's epsilon.
pub const BN_EPS: f64 = 1e-5;
/// Number of classes.
pub const CLASSES: usize = 10;

/// Channels of ResNet-8's first stage, where nothing else is said.
pub const RESNET8_WIDTH: usize = 16;

/// A network.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// Its name.
    pub name: ModelName,
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// From pixels to the input's numbers.
    pub rule: PixelRule,
    /// One block for each activation, in order of use.
    pub blocks: Vec<Block>,
    /// What gives the logits.
    pub output: Layer,
}

/// Linear layer, sum with a shortcut, BatchNorm, activation, pooling.
#[derive(Clone, Debug)]
pub struct Block {
    /// The linear layer.
    pub layer: Layer,
    /// What is added to its result.
    pub shortcut: Option<Shortcut>,
    /// Name of the BatchNorm.
    pub norm: String,
    /// Name of the activation.
    pub activation: String,
    /// What follows the activation.
    pub pool: Pool,
}

/// The result of an earlier block, taken around the layers between.
#[derive(Clone, Debug)]
pub struct Shortcut {
    /// The block, counted from 0.
    pub from: usize,
    /// The layer in between; the result itself if none.
    pub layer: Option<Layer>,
}

/// A linear layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name, for example `s1.conv1`.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// Whether it has a bias.
    pub bias: bool,
}

/// The two linear layers.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Square convolution.
    Convolution {
        /// Channels read.
        inputs: usize,
        /// Channels given.
        outputs: usize,
        /// Height and width of the kernel.
        kernel: usize,
        /// Step, both directions.
        stride: usize,
        /// Zeros on every side.
        padding: usize,
    },
    /// Fully connected; images are flattened channel, row, column.
    Dense {
        /// Numbers read.
        inputs: usize,
        /// Numbers given.
        outputs: usize,
    },
}

/// What follows an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Nothing.
    None,
    /// Means over 2 x 2 pixels.
    Two,
    /// The mean over the image.
    Whole,
}

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name, for example `conv1.weight`.
    pub name: String,
    /// Sizes of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
}

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A matrix or kernel, with the number of inputs of one of its outputs.
    Weight {
        /// Inputs of one output.
        fan_in: usize,
    },
    /// A bias beside such a matrix or kernel.
    Bias {
        /// Inputs of one output.
        fan_in: usize,
    },
    /// BatchNorm's factor.
    Gamma,
    /// BatchNorm's offset.
    Beta,
    /// BatchNorm's running mean: measured, not trained.
    Mean,
    /// BatchNorm's running variance: measured, not trained.
    Variance,
}

impl Role {
    /// Whether gradients move it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Role::Mean | Role::Variance)
    }
}

impl Architecture {
    /// The network of a name, of its usual width.
    pub fn of(name: ModelName) -> Self {
        Self::with_width(name, RESNET8_WIDTH)
    }

    /// The same; `width` is the number of channels of ResNet-8's first stage and means nothing for
    /// the others.
    pub fn with_width(name: ModelName, width: usize) -> Self {
        match name {
            ModelName::LeNet5 => lenet5(),
            ModelName::AlexNetCifar => alexnet_cifar(),
            ModelName::ResNet8 => resnet8(width),
        }
    }

    /// All linear layers: the blocks' with their shortcuts', then the output.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        let inner = self.blocks.iter().flat_map(|block| {
            let shortcut = block.shortcut.as_ref().and_then(|shortcut| shortcut.layer.as_ref());
            std::iter::once(&block.layer).chain(shortcut)
        });
        inner.chain(std::iter::once(&self.output))
    }

    /// All tensors.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        let mut push = |name: String, shape: Vec<usize>, role| all.push(Parameter { name, shape, role });
        for layer in self.layers() {
            let fan_in = layer.kind.fan_in();
            push(format!("{}.weight", layer.name), layer.kind.shape(), Role::Weight { fan_in });
            if layer.bias {
                push(format!("{}.bias", layer.name), vec![layer.kind.outputs()], Role::Bias { fan_in });
            }
        }
        for block in &self.blocks {
            let shape = vec![block.layer.kind.outputs()];
            for (part, role) in [
                ("weight", Role::Gamma),
                ("bias", Role::Beta),
                ("running_mean", Role::Mean),
                ("running_var", Role::Variance),
            ] {
                push(format!("{}.{part}", block.norm), shape.clone(), role);
            }
        }
        all
    }

    /// The layers that read what block `index` gives; none when something else than a linear layer
    /// reads it too, so that its channels cannot be scaled.
    pub fn readers(&self, index: usize) -> Vec<&Layer> {
        let next = self.blocks.get(index + 1).map_or(&self.output, |block| &block.layer);
        let mut readers = vec![next];
        for shortcut in self.blocks.iter().filter_map(|block| block.shortcut.as_ref()) {
            match &shortcut.layer {
                Some(layer) if shortcut.from == index => readers.push(layer),
                None if shortcut.from == index => return Vec::new(),
                _ => {}
            }
        }
        readers
    }
}

impl Kind {
    /// Channels or numbers given.
    pub fn outputs(self) -> usize {
        match self {
            Kind::Convolution { outputs, .. } | Kind::Dense { outputs, .. } => outputs,
        }
    }

    /// Inputs of one output.
    pub fn fan_in(self) -> usize {
        match self {
            Kind::Convolution { inputs, kernel, .. } => inputs * kernel * kernel,
            Kind::Dense { inputs, .. } => inputs,
        }
    }

    /// Shape of the weights, outputs first.
    pub fn shape(self) -> Vec<usize> {
        match self {
            Kind::Convolution { inputs, outputs, kernel, .. } => vec![outputs, inputs, kernel, kernel],
            Kind::Dense { inputs, outputs } => vec![outputs, inputs],
        }
    }
}

fn convolution(name: &str, [inputs, outputs]: [usize; 2], [kernel, stride, padding]: [usize; 3]) -> Layer {
    let kind = Kind::Convolution { inputs, outputs, kernel, stride, padding };
    Layer { name: name.to_owned(), kind, bias: false }
}

fn dense(name: &str, inputs: usize, outputs: usize, bias: bool) -> Layer {
    Layer { name: name.to_owned(), kind: Kind::Dense { inputs, outputs }, bias }
}

fn block(layer: Layer, index: usize, pool: Pool) -> Block {
    Block { layer, shortcut: None, norm: format!("bn{index}"), activation: format!("act{index}"), pool }
}

/// conv 6@5x5 pad 2, pool, conv 16@5x5, pool, fully connected 400-120-84-10.
fn lenet5() -> Architecture {
    let with_bias = |layer| Layer { bias: true, ..layer };
    Architecture {
        name: ModelName::LeNet5,
        input: [1, 28, 28],
        rule: PixelRule::Unit,
        blocks: vec![
            block(with_bias(convolution("conv1", [1, 6], [5, 1, 2])), 1, Pool::Two),
            block(with_bias(convolution("conv2", [6, 16], [5, 1, 0])), 2, Pool::Two),
            block(dense("fc1", 400, 120, true), 3, Pool::None),
            block(dense("fc2", 120, 84, true), 4, Pool::None),
        ],
        output: dense("fc3", 84, CLASSES, true),
    }
}

/// conv 64-192-384-256-256, all 3x3, pools after 1, 2 and 5, fully connected 4096-1024-512-10.
fn alexnet_cifar() -> Architecture {
    let channels = [3, 64, 192, 384, 256, 256];
    let pools = [Pool::Two, Pool::Two, Pool::None, Pool::None, Pool::Two];
    let mut blocks: Vec<Block> = (1..=5)
        .map(|i| {
            let layer = convolution(&format!("conv{i}"), [channels[i - 1], channels[i]], [3, 1, 1]);
            block(layer, i, pools[i - 1])
        })
        .collect();
    blocks.push(block(dense("fc1", 4096, 1024, false), 6, Pool::None));
    blocks.push(block(dense("fc2", 1024, 512, false), 7, Pool::None));
    Architecture {
        name: ModelName::AlexNetCifar,
        input: [3, 32, 32],
        rule: PixelRule::Symmetric,
        blocks,
        output: dense("fc3", 512, CLASSES, true),
    }
}

/// conv 3x3, three residual blocks of widths w, 2w, 4w with BatchNorm behind the sum, mean, fully
/// connected.
fn resnet8(width: usize) -> Architecture {
    let mut blocks = vec![block(convolution("conv1", [3, width], [3, 1, 1]), 1, Pool::None)];
    for (stage, [inputs, outputs], stride) in
        [(1, [1, 1], 1), (2, [1, 2], 2), (3, [2, 4], 2)].map(|(s, w, t)| (s, w.map(|w| w * width), t))
    {
        let named = |part: &str| format!("s{stage}.{part}");
        let from = blocks.len() - 1;
        let around =
            (inputs != outputs).then(|| convolution(&named("shortcut"), [inputs, outputs], [1, stride, 0]));
        for (i, layer, shortcut) in [
            (1, convolution(&named("conv1"), [inputs, outputs], [3, stride, 1]), None),
            (
                2,
                convolution(&named("conv2"), [outputs, outputs], [3, 1, 1]),
                Some(Shortcut { from, layer: around }),
            ),
        ] {
            let (norm, activation) = (named(&format!("bn{i}")), named(&format!("act{i}")));
            blocks.push(Block { layer, shortcut, norm, activation, pool: Pool::None });
        }
    }
    if let Some(last) = blocks.last_mut() {
        last.pool = Pool::Whole;
    }
    Architecture {
        name: ModelName::ResNet8,
        input: [3, 32, 32],
        rule: PixelRule::Symmetric,
        blocks,
        output: dense("fc", 4 * width, CLASSES, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: ModelName) -> usize {
        let trained = |p: &Parameter| if p.role.is_trained() { p.shape.iter().product() } else { 0 };
        Architecture::of(name).parameters().iter().map(trained).sum()
    }

    /// By hand: kernels and matrices with biases, and two numbers for each channel of each
    /// BatchNorm.
    #[test]
    fn numbers_of_parameters() {
        assert_eq!(count(ModelName::LeNet5), 156 + 2416 + 48_120 + 10_164 + 850 + 2 * (6 + 16 + 120 + 84));
        let kernels = 9 * (3 * 64 + 64 * 192 + 192 * 384 + 384 * 256 + 256 * 256);
        let norms = 2 * (64 + 192 + 384 + 256 + 256 + 1024 + 512);
        assert_eq!(count(ModelName::AlexNetCifar), kernels + 4096 * 1024 + 1024 * 512 + 5130 + norms);
        let kernels = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 16 * 32 + 32 * 64;
        assert_eq!(count(ModelName::ResNet8), kernels + 650 + 2 * (3 * 16 + 2 * 32 + 2 * 64));
    }

    #[test]
    fn names_are_unique_and_readers_are_those_of_the_pytorch_package() {
        for &name in ModelName::ALL {
            let parameters = Architecture::of(name).parameters();
            let names: std::collections::BTreeSet<&str> =
                parameters.iter().map(|p| p.name.as_str()).collect();
            assert_eq!(names.len(), parameters.len());
        }
        let resnet = Architecture::of(ModelName::ResNet8);
        let readers = |i| resnet.readers(i).iter().map(|l| l.name.as_str()).collect::<Vec<_>>();
        assert_eq!(readers(0), [""; 0]); // also read by an identity
        assert_eq!(readers(1), ["s1.conv2"]);
        assert_eq!(readers(2), ["s2.conv1", "s2.shortcut"]);
        assert_eq!(readers(4), ["s3.conv1", "s3.shortcut"]);
        assert_eq!(readers(6), ["fc"]);
    }
}
