//! Why data are refused.

use std::path::{Path, PathBuf};

/// Data that cannot be read. Every message names the folder, file or archive's entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder is missing, or no folder.
    #[error("{path}: no such folder; give the folder with the data set's files")]
    NoFolder {
        /// The folder asked for.
        path: PathBuf,
    },
    /// None of the files that a folder may hold is there.
    #[error("{folder} holds none of: {wanted}")]
    NoFile {
        /// The folder searched.
        folder: PathBuf,
        /// The files it may hold.
        wanted: String,
    },
    /// The operating system refused a file.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, for example "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file's bytes are not what its format says.
    #[error("{file}: {problem}")]
    Format {
        /// The file's name as given.
        file: String,
        /// What was expected and what is there.
        problem: String,
    },
    /// Images and labels, or two sets, do not fit together.
    #[error("{problem}")]
    Mismatch {
        /// Both sides with their sizes.
        problem: String,
    },
}

impl DataError {
    /// What `file` holds is not what its format says.
    pub(crate) fn format(file: impl Into<String>, problem: impl Into<String>) -> Self {
        DataError::Format { file: file.into(), problem: problem.into() }
    }

    /// A file that cannot be read.
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        DataError::Io { action: "read", path: path.into(), source }
    }
}

/// Refuses what is no folder.
pub(crate) fn must_be_folder(path: &Path) -> Result<(), DataError> {
    if path.is_dir() { Ok(()) } else { Err(DataError::NoFolder { path: path.into() }) }
}
