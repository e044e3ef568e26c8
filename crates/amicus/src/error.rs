//! What goes wrong for a user of this library, a sentence each.

use crate::deployment::DeploymentError;
use crate::roles::{ModelFingerprint, Role};
use amicus_client::https::Problem;
use amicus_model::ModelError;
use amicus_model::amc::FileError;
use amicus_model::onnx::OnnxError;
use amicus_net::{Fingerprint, NetError};
use amicus_node::{NodeError, Peer};
use amicus_plan::printable::visible;
use amicus_plan::{InputError, PlanError, Printable};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The status with which a public port says that a check failed.
const REJECTED: u16 = 502;

/// Why something could not be done, and what to do about it.
///
/// `Debug` shows the same sentence as `Display`, because that is what a `main` that returns an
/// error prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written, or holds something else.
    #[error("{}: {problem}", visible(&path.display().to_string()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<FileProblem>,
    },
    /// The deployment is none.
    #[error(transparent)]
    Deployment(Box<DeploymentError>),
    /// The identity is not that of the role that is to start.
    #[error("{}", wrong_identity(.fingerprint, *.wanted, .found.as_ref()))]
    Identity {
        /// The fingerprint of its certificate.
        fingerprint: Fingerprint,
        /// The role that is to start.
        wanted: Role,
        /// The role that the deployment knows by it.
        found: Option<Peer>,
    },
    /// A running node's identity becomes that of another node.
    #[error("this node runs as {is}, and its identity is now that of {becomes}; a node keeps its place")]
    OtherSeat {
        /// Who it is.
        is: Peer,
        /// Whose identity it is to take up.
        becomes: Peer,
    },
    /// The parties have loaded another model than the client expects.
    #[error(
        "the parties have loaded a model with fingerprint {found}, expected is {expected}; ask the model owner which one is          right"
    )]
    OtherModel {
        /// The fingerprint that all parties told.
        found: ModelFingerprint,
        /// The fingerprint that the owner told.
        expected: ModelFingerprint,
    },
    /// A text that is no fingerprint of a model.
    #[error("\"{text}\" is no fingerprint of a model: 64 hex digits, as its owner got when it was loaded")]
    NoFingerprint {
        /// The text.
        text: Printable,
    },
    /// A fingerprint for a cell that is none of those in use.
    #[error("cell {name}: is none of the cells in use; name those of the file")]
    OtherCell {
        /// Its name.
        name: Printable,
    },
    /// No cell gave an answer.
    #[error("no cell gave an answer: {}", each(.failed))]
    Cells {
        /// The cells that were asked, and why each did not.
        failed: Vec<(String, Error)>,
    },
    /// An inference without images.
    #[error("there are no images; give at least one")]
    NoImages,
    /// Numbers that the network does not take.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The plan cannot be used.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The network cannot be compiled.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The file is no compiled model.
    #[error(transparent)]
    Compiled(#[from] FileError),
    /// The ONNX file cannot be imported.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A node's public port does not answer, or answers what it should not.
    #[error("the public port of {node}: {reason}")]
    Https {
        /// The node.
        node: Peer,
        /// What is wrong.
        reason: String,
    },
    /// A node refuses a request at its public port, or gave up what it was for.
    #[error("{node} refuses (status {status}): {problem}")]
    Api {
        /// The node.
        node: Peer,
        /// The status of its answer.
        status: u16,
        /// Why, and what to do.
        problem: Box<Problem>,
    },
    /// A role gave up: at which step, and who is at fault.
    #[error("{error}{}", connections(.links))]
    Node {
        /// Why.
        error: Box<NodeError>,
        /// What its connections say that may be the cause.
        links: Vec<String>,
    },
}

fn wrong_identity(fingerprint: &Fingerprint, wanted: Role, found: Option<&Peer>) -> String {
    let is = match found {
        Some(peer) => format!("is that of {peer} in this deployment, not of {wanted}"),
        None => format!("is nobody's in this deployment, so not that of {wanted}"),
    };
    format!("the identity {fingerprint} {is}; use another key file, or correct the deployment file")
}

fn each(failed: &[(String, Error)]) -> String {
    failed.iter().map(|(name, error)| format!("{name}: {error}")).collect::<Vec<_>>().join("; ")
}

fn connections(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        errors => format!(" (connections: {})", errors.join("; ")),
    }
}

impl From<DeploymentError> for Error {
    fn from(error: DeploymentError) -> Self {
        Error::Deployment(Box::new(error))
    }
}

impl From<NodeError> for Error {
    fn from(error: NodeError) -> Self {
        Error::Node { error: Box::new(error), links: Vec::new() }
    }
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Self {
        NodeError::from(error).into()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    pub(crate) fn file(path: &Path, problem: FileProblem) -> Self {
        Error::File { path: path.to_owned(), problem: Box::new(problem) }
    }

    /// Whether the caller's own images, plan or identity are at fault, which asking somebody else does
    /// not change.
    pub(crate) fn is_of_the_caller(&self) -> bool {
        matches!(self, Error::NoImages | Error::Input(_) | Error::Plan(_) | Error::Identity { .. })
    }

    /// Whether a check failed: some party cheated, and nothing was released.
    pub fn is_rejection(&self) -> bool {
        match self {
            Error::Node { error, .. } => error.is_rejection(),
            Error::Api { status, .. } => *status == REJECTED,
            _ => false,
        }
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A certificate and its private key.
    Identity,
    /// The public part of a compiled model.
    Plan,
    /// One input of a network, as numbers.
    Image,
}

impl FileKind {
    /// How to get one.
    fn source(self) -> &'static str {
        match self {
            FileKind::Identity => "`amicus keygen` makes one",
            FileKind::Plan => "the model owner makes it with `amicus plan`",
            FileKind::Image => "give the numbers of one image, 4 bytes each",
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// There is none.
    #[error("there is no such file; {}", .0.source())]
    Missing(FileKind),
    /// The system refuses.
    #[error("{0}")]
    System(io::Error),
    /// It would be replaced.
    #[error("is there already and is kept; choose another name, or move it away first")]
    Exists,
    /// It is longer than any of its kind.
    #[error("has more than {most} bytes, which is too long; {}", kind.source())]
    TooLong {
        /// What it should be.
        kind: FileKind,
        /// Most bytes that are read.
        most: u64,
    },
    /// A private key that others can read.
    #[error(
        "holds a private key, and others may read or write it (mode {mode:03o}); make a new one if somebody may have, \
         else `chmod 600` keeps them out"
    )]
    OpenToOthers {
        /// Its permissions.
        mode: u32,
    },
    /// Tokens that others can read.
    #[error(
        "holds tokens, and others may read or write it (mode {mode:03o}); have new ones made if somebody may have, else \
         `chmod 600` keeps them out"
    )]
    TokensOpenToOthers {
        /// Its permissions.
        mode: u32,
    },
    /// A node without a token.
    #[error("has no token for {node}; its operator makes one with `amicus token new`, which prints the line")]
    NoToken {
        /// The node.
        node: Peer,
    },
    /// A name that cannot be put into a certificate.
    #[error("{0:?} is no name for a certificate; give 1 to 64 printable bytes")]
    Name(String),
    /// Not a certificate with its key.
    #[error("is no identity ({0}); `amicus keygen` makes one")]
    NoIdentity(NetError),
    /// Not a plan.
    #[error("is no plan ({0}); the model owner makes one with `amicus plan`")]
    NoPlan(PlanError),
    /// A compiled model where its plan is asked for.
    #[error(
        "is a compiled model, which holds the weights and is for its owner alone; ask for the plan, which the owner makes \
         with `amicus plan`"
    )]
    CompiledModel,
    /// Not the numbers of one image.
    #[error("has {found} bytes, an image of shape {shape:?} has {expected}: float32, little-endian")]
    ImageSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes of an image.
        expected: usize,
        /// Shape of the network's input.
        shape: Vec<usize>,
    },
}
