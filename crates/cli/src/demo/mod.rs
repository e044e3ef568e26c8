//! `amicus demo`: private inference on images that ship or the user's own, with all roles in this
//! process over loopback TLS.
//!
//! The same helper, party, owner and client code as in a deployment, in threads that share nothing
//! but links.

mod data;
mod figures;
mod models;
mod needs;
pub mod picture;
mod report;
mod run;
mod session;
mod shipped;
mod throughput;

pub use data::shipped_digits;
pub use models::MODELS;
pub use picture::Picture;
pub use report::{DemoReport, ScaleReport, Spread};
pub use shipped::{Shipped, shipped};
pub use throughput::{Throughput, ThroughputOptions, throughput};

use crate::memory::Limit;
use crate::samples::Invalid;
use amicus_data::DataError;
use amicus_field::KernelError;
use amicus_model::amc::FileError;
use amicus_model::compare::Comparison;
use amicus_model::compile::NEAR;
use amicus_model::{Graph, ModelError};
use amicus_net::shaper::Shape;
use amicus_node::NodeError;
use amicus_node::conduct::Cheat;
use amicus_plan::{Link, Plan, Rates};
use std::path::PathBuf;
use std::time::Duration;

/// Largest batch.
pub const MAX_BATCH: usize = 256;

/// What to demonstrate.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// One of [`MODELS`] or a compiled file; if none, the model that `weights` are of, or the first
    /// of [`MODELS`].
    pub model: Option<String>,
    /// Weights in place of those that ship.
    pub weights: Option<PathBuf>,
    /// Folder with images in place of those that ship.
    pub data_dir: Option<PathBuf>,
    /// Inputs as numbers (an `.npz` file) in place of images.
    pub data: Option<PathBuf>,
    /// What becomes of such inputs outside the model's range.
    pub invalid: Invalid,
    /// Compute parties, 2 to 8.
    pub parties: usize,
    /// Inputs to classify; by default 300 if there are as many, but 20 over a slow network or with
    /// a large model.
    pub samples: Option<usize>,
    /// Inputs in one inference.
    pub batch: usize,
    /// Network between the roles, which plans of networks that ship, and of weights, are made for.
    pub net: Shape,
    /// Whether all roles know the weights.
    pub public_model: bool,
    /// What the last party does wrong, once.
    pub cheat: Option<Cheat>,
    /// First port of helper (this one) and parties (those after it); free ones if none.
    pub port: Option<u16>,
    /// Threads for the arithmetic of each of the two threads of helper and parties.
    pub threads: usize,
    /// This machine's rates, for an estimate beside the measurement.
    pub rates: Option<Rates>,
    /// One inference before those that are measured, which meets memory that nobody has used yet;
    /// none with a cheat.
    pub warm_up: bool,
}

impl Default for DemoOptions {
    fn default() -> Self {
        DemoOptions {
            model: None,
            weights: None,
            data_dir: None,
            data: None,
            invalid: Invalid::Refuse,
            parties: 2,
            samples: None,
            batch: 1,
            net: Shape::local(),
            public_model: false,
            cheat: None,
            port: None,
            threads: 1,
            rates: None,
            warm_up: false,
        }
    }
}

/// Whether a network is far: messages take longer than 5 ms.
fn is_far(net: &Shape) -> bool {
    net.one_way > Duration::from_millis(5)
}

/// The network that plans are made for where roles run over this one; those of roles on one machine
/// are made for a near one.
fn planned_for(net: &Shape) -> Link {
    if is_far(net) { crate::rates::link(net) } else { NEAR }
}

/// What a demonstration tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The data are found.
    Found {
        /// Where they come from.
        source: String,
        /// Names of the classes, if they have any.
        classes: Option<Vec<String>>,
        /// Whether the network's outputs tell classes apart.
        tells_classes: bool,
        /// What was skipped or changed when they were read.
        notes: Vec<String>,
    },
    /// The network is being compiled: weights of the user's come without a plan.
    Compiling {
        /// Inputs that scales and ranges are calibrated with.
        samples: usize,
    },
    /// The network is compiled; how, for people.
    Compiled(String),
    /// The model is loaded at all parties.
    Loaded {
        /// Time from the owner's request to the checked tags.
        elapsed: Duration,
        /// Inputs that will be classified.
        samples: usize,
        /// Whether weights are public, so that nothing was masked.
        public: bool,
    },
    /// The misbehaving party was caught, or what it did was repaired.
    Cheated {
        /// What came of it.
        result: String,
    },
    /// One input is classified.
    Classified {
        /// Its place in the data.
        number: usize,
        /// What it looks like, if it is an image.
        picture: Option<Picture>,
        /// What it is, if that is known.
        label: Option<usize>,
        /// The outputs of the private inference.
        private: Vec<f64>,
        /// Those of the network as its owner imported it.
        plaintext: Vec<f64>,
        /// The classes that they name, in this order.
        named: [usize; 2],
        /// How far they are apart ([`apart`](crate::beside::apart)).
        apart: f64,
    },
}

/// Why a demonstration cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// No such model.
    #[error("unknown model {model}; known: {known}, or a file made by `amicus compile`")]
    UnknownModel {
        /// The name given.
        model: String,
        /// The names there are.
        known: String,
    },
    /// An option that cannot be.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A compiled file that cannot be used.
    #[error(transparent)]
    Compiled(#[from] FileError),
    /// The network or its inputs are not usable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It would take more memory than there is.
    #[error(
        "needs about {needed} bytes of memory ({parts}), and {left} are left of what {limit} allows; {advice}"
    )]
    Memory {
        /// Bytes of all roles and what is compared.
        needed: u64,
        /// Bytes there are.
        left: u64,
        /// What keeps it from being more.
        limit: Limit,
        /// The bytes, by who takes them.
        parts: String,
        /// What to do.
        advice: String,
    },
    /// The roles failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The forced kernel cannot run here.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Runs a demonstration.
///
/// With a misbehaving party that is caught the report's `check` says so; that is no error here.
///
/// # Errors
/// Options, files or a network that cannot be used; roles that fail for another reason than the
/// asked-for misbehaviour.
pub fn run(options: &DemoOptions, progress: &mut dyn FnMut(Progress)) -> Result<DemoReport, DemoError> {
    session::Session::prepare(options, false, progress)?.run(progress)
}

/// What a demonstration would compute, without cryptography.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Name of the model.
    pub model: String,
    /// Where the inputs come from.
    pub data: String,
    /// Primes of the modulus.
    pub limbs: usize,
    /// The network.
    pub network: Graph,
    /// The classes of all inputs, if they are known.
    pub labels: Option<Vec<usize>>,
    /// Floating point against fixed point.
    pub comparison: Comparison,
}

/// The network as its owner imported it, whose answers private ones are compared with.
///
/// # Errors
/// A model that cannot be found or read.
pub fn user_network(options: &DemoOptions) -> Result<(Graph, Option<Plan>), DemoError> {
    let model = models::Model::find(options)?;
    Ok((model.user_network().clone(), model.compiled.as_ref().map(|(plan, ..)| plan.clone())))
}

/// Runs the float network and the exact integer simulator on all inputs, or on as many as the
/// options say. `done` hears how many are through, of how many.
///
/// # Errors
/// Options, files or a network that cannot be used.
pub fn simulate(
    options: &DemoOptions,
    progress: &mut dyn FnMut(Progress),
    done: &mut dyn FnMut(usize, usize),
) -> Result<Simulation, DemoError> {
    session::Session::prepare(options, true, progress)?.simulate(done)
}
