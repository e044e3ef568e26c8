//! What a node keeps on disk.
//!
//! - [`Place`], [`Folder`]: where, and whose it is; locked while it is used
//! - [`EpochFiles`]: sealed epochs, a file each

mod cluster;
mod epochs;
mod folder;

pub use amicus_files::sealed::{SealedReader, SealedWriter};
pub use cluster::ClusterDigest;
pub use epochs::{EpochFiles, SealedEpoch};
pub use folder::{Folder, Place};
