//! Known networks, with weights from safetensors files or made from a seed.
//!
//! Files are those of `python/amicus` and `crates/train`: tensors named and shaped as
//! PyTorch's, and metadata. [`read`] looks at `architecture` and builds the graph. Entries:
//!
//! | entry | value |
//! | --- | --- |
//! | `architecture` | `lenet5`, `alexnet-cifar` or `resnet8` |
//! | `input` | `pixel/255` or `pixel/127.5-1`, see [`PixelRule`] |
//! | `bn.eps` | what BatchNorm adds to variances |
//! | `activation` | `polynomial` (also when absent) or `relu` |
//! | `activation.interval` | half-width `B` of the polynomials' interval |
//! | `activation.coefficients` | JSON array `a_0..a_d` of `u = t / B`, or an array of such, one an activation in order of use |
//! | `activation.ranges` | optional: largest `|u|` seen in training, one number an activation |
//! | `pool` | `average` (also when absent) or `max`: pools of `lenet5` and `alexnet-cifar` |
//! | `width` | channels of `resnet8`'s first stage; those of `conv1.weight` when absent |
//! | `dataset` | optional: what it was trained on |

mod alexnet;
mod assembly;
mod lenet5;
mod pixels;
mod resnet8;
mod weight_file;

pub use alexnet::alexnet_cifar_random;
pub use lenet5::lenet5_random;
pub use pixels::PixelRule;
pub use resnet8::resnet8_random;
pub use weight_file::{WeightFile, half_precision};

use crate::error::ModelError;
use crate::graph::Graph;
use assembly::{Activations, Assembly, Pooling, Weights};

/// The networks that files can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// LeNet-5 for 28 x 28 grey images.
    LeNet5,
    /// AlexNet for 32 x 32 colour images.
    AlexNetCifar,
    /// Residual network of eight layers for 32 x 32 colour images.
    ResNet8,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 3] =
        [Architecture::LeNet5, Architecture::AlexNetCifar, Architecture::ResNet8];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::LeNet5 => "lenet5",
            Architecture::AlexNetCifar => "alexnet-cifar",
            Architecture::ResNet8 => "resnet8",
        }
    }
}

/// A network read from a file, and what a reader of its images must know.
#[derive(Clone, Debug)]
pub struct Network {
    /// Which network it is.
    pub architecture: Architecture,
    /// What it was trained on, if the file says.
    pub dataset: Option<String>,
    /// How pixels become its input.
    pub pixels: PixelRule,
    /// The graph, with polynomials or with ReLU.
    pub graph: Graph,
}

/// Reads a network from the bytes of a safetensors file.
///
/// # Errors
/// A file that is not safetensors or cut off, an unknown architecture, a tensor or entry that is
/// missing or wrong, each named.
pub fn read(safetensors: &[u8]) -> Result<Network, ModelError> {
    let file = WeightFile::parse(safetensors)?;
    let name = file.metadata("architecture")?;
    let architecture = Architecture::ALL.into_iter().find(|a| a.name() == name);
    let architecture = architecture.ok_or_else(|| {
        let known = Architecture::ALL.map(Architecture::name).join(", ");
        file.wrong("architecture", &format!("one of {known}"))
    })?;
    let pixels = PixelRule::parse(file.metadata("input")?)
        .ok_or_else(|| file.wrong("input", "`pixel/255` or `pixel/127.5-1`"))?;
    let assembly = |shape: [usize; 3]| {
        let activations = Activations::of(&file)?;
        let new = Assembly::new(name, shape, pixels, Weights::File(&file), activations);
        Ok::<_, ModelError>(new.pooling(Pooling::of(&file)?))
    };
    let graph = match architecture {
        Architecture::LeNet5 => lenet5::build(assembly([1, 28, 28])?),
        Architecture::AlexNetCifar => alexnet::build(assembly([3, 32, 32])?),
        Architecture::ResNet8 => resnet8::build(assembly([3, 32, 32])?, resnet8::width(&file)?),
    }?;
    Ok(Network { architecture, dataset: file.find_metadata("dataset").map(str::to_owned), pixels, graph })
}
