//! The models a demonstration can run: trained networks that ship or come from a file, and compiled
//! files.

use super::{DemoError, DemoOptions, is_far};
use amicus_model::amc::ModelFile;
use amicus_model::graph::Layer;
use amicus_model::networks::{self, Architecture, Network, PixelRule};
use amicus_model::planned::Planned;
use amicus_model::{Graph, QuantizedWeights};
use amicus_net::shaper::Shape;
use amicus_plan::Plan;
use std::fmt;
use std::path::Path;

/// What a network is built of.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    architecture: Architecture,
    /// Whether its activations are ReLU, not polynomials.
    relu: bool,
}

impl Kind {
    const fn polynomial(architecture: Architecture) -> Self {
        Kind { architecture, relu: false }
    }

    const fn relu(architecture: Architecture) -> Self {
        Kind { architecture, relu: true }
    }

    fn of(network: &Network) -> Self {
        let relu = network.graph.nodes().iter().any(|node| matches!(node.layer, Layer::Activation(_)));
        Kind { architecture: network.architecture, relu }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let activations = if self.relu { "ReLU" } else { "polynomials" };
        write!(f, "{} with {activations}", self.architecture.name())
    }
}

/// From so many images in one inference on, plans for large batches are taken.
const LARGE_BATCH: usize = 8;

/// A model that is known by name.
struct Known {
    name: &'static str,
    kind: Kind,
    /// A safetensors file.
    ///
    /// Part of the program, so that an installed one runs without its source: some megabytes that
    /// are only paged in when used.
    weights: &'static [u8],
    /// Its plans, made from training images: no image that is run has a say in them. One for roles
    /// near each other, one for large batches there, and one for roles far apart.
    plans: [&'static [u8]; 3],
}

impl Known {
    /// The plan for roles over a network, and batches.
    fn plan(&self, net: &Shape, batch: usize) -> &'static [u8] {
        let [near, batches, far] = self.plans;
        match (is_far(net), batch >= LARGE_BATCH) {
            (true, _) => far,
            (false, true) => batches,
            (false, false) => near,
        }
    }
}

const KNOWN: [Known; 7] = [
    Known {
        name: "lenet5-mnist",
        kind: Kind::polynomial(Architecture::LeNet5),
        weights: include_bytes!("../../assets/lenet5-mnist.safetensors"),
        plans: [
            include_bytes!("../../assets/lenet5-mnist.plan"),
            include_bytes!("../../assets/lenet5-mnist.batch.plan"),
            include_bytes!("../../assets/lenet5-mnist.wan.plan"),
        ],
    },
    Known {
        name: "alexnet-cifar10",
        kind: Kind::polynomial(Architecture::AlexNetCifar),
        weights: include_bytes!("../../assets/alexnet-cifar10.safetensors"),
        plans: [
            include_bytes!("../../assets/alexnet-cifar10.plan"),
            include_bytes!("../../assets/alexnet-cifar10.batch.plan"),
            include_bytes!("../../assets/alexnet-cifar10.wan.plan"),
        ],
    },
    Known {
        name: "resnet8-cifar10",
        kind: Kind::polynomial(Architecture::ResNet8),
        weights: include_bytes!("../../assets/resnet8-cifar10.safetensors"),
        plans: [
            include_bytes!("../../assets/resnet8-cifar10.plan"),
            include_bytes!("../../assets/resnet8-cifar10.batch.plan"),
            include_bytes!("../../assets/resnet8-cifar10.wan.plan"),
        ],
    },
    Known {
        name: "lenet5-mnist-degree2",
        kind: Kind::polynomial(Architecture::LeNet5),
        weights: include_bytes!("../../assets/lenet5-mnist-degree2.safetensors"),
        plans: [
            include_bytes!("../../assets/lenet5-mnist-degree2.plan"),
            include_bytes!("../../assets/lenet5-mnist-degree2.batch.plan"),
            include_bytes!("../../assets/lenet5-mnist-degree2.wan.plan"),
        ],
    },
    Known {
        name: "resnet8-cifar10-degree2",
        kind: Kind::polynomial(Architecture::ResNet8),
        weights: include_bytes!("../../assets/resnet8-cifar10-degree2.safetensors"),
        plans: [
            include_bytes!("../../assets/resnet8-cifar10-degree2.plan"),
            include_bytes!("../../assets/resnet8-cifar10-degree2.batch.plan"),
            include_bytes!("../../assets/resnet8-cifar10-degree2.wan.plan"),
        ],
    },
    Known {
        name: "lenet5-mnist-relu",
        kind: Kind::relu(Architecture::LeNet5),
        weights: include_bytes!("../../assets/lenet5-mnist-relu.safetensors"),
        plans: [
            include_bytes!("../../assets/lenet5-mnist-relu.plan"),
            include_bytes!("../../assets/lenet5-mnist-relu.batch.plan"),
            include_bytes!("../../assets/lenet5-mnist-relu.wan.plan"),
        ],
    },
    Known {
        name: "resnet8-cifar10-relu",
        kind: Kind::relu(Architecture::ResNet8),
        weights: include_bytes!("../../assets/resnet8-cifar10-relu.safetensors"),
        plans: [
            include_bytes!("../../assets/resnet8-cifar10-relu.plan"),
            include_bytes!("../../assets/resnet8-cifar10-relu.batch.plan"),
            include_bytes!("../../assets/resnet8-cifar10-relu.wan.plan"),
        ],
    },
];

/// Names of the models that are known.
pub const MODELS: [&str; KNOWN.len()] = {
    let mut names = [""; KNOWN.len()];
    let mut at = 0;
    while at < KNOWN.len() {
        names[at] = KNOWN[at].name;
        at += 1;
    }
    names
};

/// A model to run.
pub(super) struct Model {
    pub(super) name: String,
    /// The network in floating point, with polynomials.
    pub(super) graph: Graph,
    /// The network as its owner imported it, where polynomials stand for its activations.
    pub(super) original: Option<Graph>,
    /// Targets that a compiled file misses, a sentence each.
    pub(super) missed: Vec<String>,
    /// How it takes pixels; compiled files take numbers.
    pub(super) pixels: Option<PixelRule>,
    /// What is already compiled, with the factors of its values; none for weights of the user's.
    pub(super) compiled: Option<(Plan, QuantizedWeights, Vec<f64>)>,
}

impl Model {
    /// The model that the options name.
    pub(super) fn find(options: &DemoOptions) -> Result<Self, DemoError> {
        let known = |name: &str| KNOWN.iter().find(|k| k.name == name);
        match (options.model.as_deref(), options.weights.as_deref()) {
            (None, None) => Self::shipped(&KNOWN[0], options),
            (None, Some(path)) => {
                let network = read(path)?;
                let named = KNOWN.iter().find(|k| k.kind == Kind::of(&network));
                Self::trained(named.map_or(network.architecture.name(), |k| k.name), network)
            }
            (Some(name), None) => match known(name) {
                Some(known) => Self::shipped(known, options),
                None if Path::new(name).is_file() => Self::compiled(Path::new(name)),
                None => unknown(name),
            },
            (Some(name), Some(path)) => {
                let Some(known) = known(name) else {
                    if Path::new(name).is_file() {
                        let reason = "a compiled model holds its weights already".to_owned();
                        return Err(DemoError::Option { option: "--weights", reason });
                    }
                    return unknown(name);
                };
                let network = read(path)?;
                let got = Kind::of(&network);
                if got != known.kind {
                    let reason = format!("holds a network of kind {got}, {name} is of kind {}", known.kind);
                    return Err(DemoError::File { path: path.display().to_string(), reason });
                }
                Self::trained(name, network)
            }
        }
    }

    fn shipped(known: &Known, options: &DemoOptions) -> Result<Self, DemoError> {
        let mut model = Self::trained(known.name, networks::read(known.weights)?)?;
        let planned = Planned::decode(known.plan(&options.net, options.batch))?;
        let weights = planned.weights(&model.graph)?;
        model.compiled = Some((planned.plan, weights, planned.factors));
        Ok(model)
    }

    fn trained(name: &str, network: Network) -> Result<Self, DemoError> {
        let Network { pixels, graph, .. } = network;
        Ok(Model {
            name: name.to_owned(),
            graph,
            original: None,
            missed: Vec::new(),
            pixels: Some(pixels),
            compiled: None,
        })
    }

    fn compiled(path: &Path) -> Result<Self, DemoError> {
        let file = ModelFile::load(path)?;
        let graph = file.polynomial();
        Ok(Model {
            name: file.plan.name.clone(),
            graph,
            original: Some(file.user_network().clone()),
            missed: file.quality.misses(),
            pixels: None,
            compiled: Some((file.plan, file.weights, file.factors)),
        })
    }

    /// The network as its owner knows it.
    pub(super) fn user_network(&self) -> &Graph {
        self.original.as_ref().unwrap_or(&self.graph)
    }

    /// Classes told apart.
    pub(super) fn classes(&self) -> usize {
        self.graph.node(self.graph.output()).len()
    }
}

/// No known name, and no file. What looks like a file's name was meant as one.
fn unknown<T>(model: &str) -> Result<T, DemoError> {
    let path = Path::new(model);
    let reason = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => "a folder; give a file made by `amicus compile`".to_owned(),
        Ok(_) => "no ordinary file; give one made by `amicus compile`".to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            "no such file; `amicus compile` makes one of an ONNX file".to_owned()
        }
        Err(e) => e.to_string(),
    };
    if path.components().count() > 1 || path.extension().is_some() || path.exists() {
        return Err(DemoError::File { path: model.to_owned(), reason });
    }
    Err(DemoError::UnknownModel { model: model.to_owned(), known: MODELS.join(", ") })
}

fn read(path: &Path) -> Result<Network, DemoError> {
    let file = |reason: String| DemoError::File { path: path.display().to_string(), reason };
    let bytes = std::fs::read(path).map_err(|e| file(e.to_string()))?;
    let network = networks::read(&bytes).map_err(|e| file(e.to_string()))?;
    Ok(network)
}
