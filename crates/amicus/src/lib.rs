//! Private CNN inference with a friend.
//!
//! Clients have images that nobody else may see, an owner has a trained CNN. Two or more compute
//! parties that do not trust each other, and one helper that follows the protocol and colludes with
//! nobody, compute the answer: up to n-1 of the n parties may be malicious, and still they learn
//! nothing, cannot make anyone accept a wrong answer, and cannot keep the answer from the client
//! once they know that it is right.
//!
//! # How to start
//!
//! All roles in this process:
//!
//! ```
//! use amicus::local::{Cluster, LocalConfig};
//! use amicus::model::{CompileOptions, GraphBuilder, compile};
//! use amicus::{Expected, Parties};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A network of two layers, and typical inputs that tell how large numbers get.
//! let mut network = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
//! let x = network.input();
//! let x = network.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
//! let x = network.polynomial("activation", x, 2.0, vec![0.1, 0.5, 0.25]);
//! let x = network.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], None);
//! let typical: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32 / 4.0 - 1.0, 0.5]).collect();
//! let compiled = compile(&network.finish(x)?, &typical, &CompileOptions::default())?;
//!
//! // Two parties and the helper; the owner gives them the weights, masked.
//! let folder = tempfile::tempdir()?;
//! let parties = Parties::new(2).expect("2 to 8");
//! let mut cluster = Cluster::start(LocalConfig::new(compiled.plan.into(), parties, folder.path().into()))?;
//! let model = cluster.owner()?.load(&compiled.weights)?;
//!
//! // A client that takes answers of this model only.
//! let mut client = cluster.client("1", Expected::Model(model.fingerprint))?;
//! let answer = client.infer(&[1.0, -0.5])?;
//! assert_eq!(answer.class(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! Roles on machines of their own read a [`Deployment`] file, which is the same for all, and start
//! from an [`Identity`] and a plan: [`Helper::start`], [`Party::start`], [`Owner::connect`],
//! [`Client::connect`]. There is a program of 20 lines for each in `examples`, and `docs/library.md`
//! runs them; the program `amicus` runs nodes as services (`docs/deploy.md`). Networks come from
//! ONNX files ([`compile::onnx`]) or are built in Rust ([`model::GraphBuilder`]).
//!
//! # What is stable
//!
//! Before version 1 everything may change with the second number of the version, and says so in the
//! changelog. Beyond that:
//!
//! | item | promise |
//! | --- | --- |
//! | [`Helper`], [`Party`], [`Owner`], [`Client`], [`Answer`], [`Expected`], [`Model`], [`ModelFingerprint`], [`UploadProgress`], [`Role`] | stable |
//! | [`Deployment`] and its file | stable; keys may be added, with defaults |
//! | [`Watch`], [`Level`], [`Loaded`], [`Door`], [`Asked`], [`probe`], [`probe_certificate`] | what operators' programs use; fields may be added |
//! | [`files`], [`Identity`] | stable; files written today are read by later versions |
//! | [`Error`] | stable; cases may be added, sentences may change |
//! | [`mod@rates`] | what estimates follow from; fields may be added
//! | [`Notice`] | its text is for people and may change; the events inside are those of [`node`] |
//! | [`Plan`], [`ModelFile`] | opaque: pass them on; what is inside may change, and files may have to be made anew |
//! | [`compile`], [`local`] | functions are stable, options may be added |
//! | [`client`], [`field`], [`model`], [`net`], [`node`], [`plan`], [`protocol`] | not stable: the crates below, as they are |
//!
//! # Features
//!
//! `https`, off by default, adds clients and owners with tokens, who use nodes' public ports; it
//! brings hyper and tokio. `report` and `images` add what the
//! command line says of networks, and how it reads pictures; they bring comfy-table and decoders. Hooks for attack tests (`danger` of
//! `amicus-node`), threads with virtual time (`virtual-time` of `amicus-node`) and training
//! (`burn` of `amicus-train`) are features of the crates below, off here and by default.
#![forbid(unsafe_code)]

pub mod calibration;
pub mod cells;
pub mod compile;
pub mod deployment;
mod error;
pub mod files;
#[cfg(feature = "https")]
pub mod https;
#[cfg(feature = "images")]
pub mod images;
pub mod local;
mod problem;
pub mod rates;
#[cfg(feature = "report")]
pub mod report;
mod roles;
#[cfg(test)]
mod tiny;

pub use amicus_model::amc::ModelFile;
pub use amicus_net::Identity;
pub use amicus_node::{Asked, Level, Loaded};
pub use amicus_plan::Plan;
pub use amicus_protocol::Parties;
pub use cells::{Cells, CellsClient};
pub use deployment::{Deployment, DeploymentError};
pub use error::{Error, FileKind, FileProblem};
pub use roles::{
    Answer, Client, Door, Expected, Helper, Model, ModelFingerprint, Notice, Owner, Party, Role,
    UploadProgress, Watch, probe, probe_certificate,
};

/// Client and model owner as message in, message out.
pub use amicus_client as client;
/// Arithmetic modulo 52-bit primes.
pub use amicus_field as field;
/// Graphs, compilation, the integer simulator.
pub use amicus_model as model;
/// Links between roles.
pub use amicus_net as net;
/// Helper, parties, clients and owner over links.
pub use amicus_node as node;
/// The plan that every role reads.
pub use amicus_plan as plan;
/// The protocol's states.
pub use amicus_protocol as protocol;
