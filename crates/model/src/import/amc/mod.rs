//! The compiled file `MODEL.amc`: what its owner keeps and works with.
//!
//! It holds the plan, the quantised weights, and the float network with the polynomials chosen for
//! it, so that the simulator can compare all three. It is the owner's secret: parties, helper and
//! clients get the plan alone.
//!
//! Format, version 4, numbers little-endian: the magic word `amc.modl`; the version (u16); the
//! length (u32) of the description that follows in `postcard`; the float network's tensors in the
//! order of its nodes; per linear layer of the plan its weights and biases as integers, each list
//! with a byte that says how wide they are; the BLAKE3 hash of all that. Files are private
//! ([`crate::private_file`]): there wholly or not at all, on Unix readable for the owner only.

mod graph;
mod read;
mod write;

use std::io;
use std::path::Path;

use amicus_plan::{OpKind, Plan};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::approximate::{self, Approximation, MaxPooling};
use crate::compare;
use crate::error::ModelError;
use crate::fold::Folded;
use crate::graph::{Graph, Layer};
use crate::private_file::Existing;
use crate::publish::published;
use crate::quality::Quality;
use crate::quantize::QuantizedWeights;

const MAGIC: &[u8; 8] = b"amc.modl";
const VERSION: u16 = 4;
/// Longest description accepted.
const MAX_DESCRIPTION: usize = 128 << 20;
const HASH: usize = 32;

/// A compiled model. `Debug` shows no weights.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// What all roles run; public.
    pub plan: Plan,
    /// The integers of its linear layers; secret.
    pub weights: QuantizedWeights,
    /// What the plan's numbers stand for, see [`crate::compile::Compiled::factors`].
    pub factors: Vec<f64>,
    /// The network as it was imported; secret.
    pub original: Graph,
    /// The polynomials that stand for its activations.
    pub approximations: Vec<Approximation>,
    /// What it reached on calibration data, and what it was asked to reach.
    pub quality: Quality,
    /// Where it came from and how.
    pub about: About,
}

/// Where a compiled model came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Name of the file imported.
    pub source: String,
    /// Version of the program that compiled it.
    pub program: String,
    /// What was dropped or rewritten at import, and what its author should know.
    pub notes: Vec<String>,
    /// The compilation report as JSON.
    pub report: String,
}

/// Why a compiled file cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file system refused.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// The reason.
        error: io::Error,
    },
    /// The file is none, is damaged, or comes from another version.
    #[error("{file}: {reason}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// What was written could not be read, folded or planned again, so the file was not kept.
    #[error(
        "{file} was not written, because later commands could not use it: {reason}. This is a fault of this program: please \
         report it"
    )]
    Useless {
        /// The file.
        file: String,
        /// What went wrong when it was read back.
        reason: String,
    },
    /// What the file holds does not fit together.
    #[error("{file}: {error}")]
    Model {
        /// The file.
        file: String,
        /// What does not fit.
        error: ModelError,
    },
}

impl ModelFile {
    /// The network as its owner imported it, with its own activations: what private answers are
    /// compared with.
    pub fn user_network(&self) -> &Graph {
        &self.original
    }

    /// The network that was compiled: the original with polynomials for the activations that were
    /// approximated and, unless the plan compares, means for largest numbers.
    pub fn polynomial(&self) -> Graph {
        let pools = if self.compares() { MaxPooling::Exact } else { MaxPooling::Average };
        polynomial(&self.original, &self.approximations, pools)
    }

    /// Whether the plan compares: whether the network's own activations and maxima are computed.
    pub fn compares(&self) -> bool {
        self.plan.ops.iter().any(|op| matches!(op.kind, OpKind::Compare(_)))
    }

    /// This model with its weights in the plan, where everybody sees them; nothing is left to load.
    ///
    /// # Errors
    /// Weights that are too large.
    pub fn published(self) -> Result<Self, ModelError> {
        let (plan, weights, factors) = published(&self.plan, &self.weights, self.factors)?;
        Ok(ModelFile { plan, weights, factors, ..self })
    }

    /// Checks that its parts belong together: the network with polynomials folds into the plan's
    /// operations.
    ///
    /// # Errors
    /// The node that does not fold, or the plan when it is another network's.
    pub fn check(&self) -> Result<(), ModelError> {
        compare::fits(&Folded::new(&self.polynomial())?, &self.plan, &self.factors)?;
        self.plan.cost(1)?;
        Ok(())
    }

    /// Writes the file, wholly or not at all, readable for its owner only.
    ///
    /// What was written is read back and checked before it takes its place.
    ///
    /// # Errors
    /// When the file system refuses, there is a file that is to be kept, or the model cannot be
    /// read back.
    pub fn save(&self, path: &Path, existing: Existing) -> Result<(), FileError> {
        write::save(self, path, existing)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is cut off or damaged, comes from another version, or does not fit
    /// together.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        read::load(path)
    }
}

/// A graph with polynomials in place, by the names of their nodes.
pub fn polynomial(original: &Graph, approximations: &[Approximation], pools: MaxPooling) -> Graph {
    original.with_layers(|_, node| match &node.layer {
        Layer::MaxPool(pool) if pools != MaxPooling::Exact => Layer::AveragePool(*pool),
        layer => match approximations.iter().find(|a| a.node == node.name) {
            Some(a) => approximate::polynomial(a),
            None => layer.clone(),
        },
    })
}
