//! A node's folder: for this node of this cluster alone, entered by nobody else and used by one
//! process at a time.

use super::{ClusterDigest, EpochFiles};
use crate::{NodeError, Peer};
use amicus_files::private_file;
use amicus_protocol::Parties;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Permissions of a folder and of files: their owner's alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Permissions of others.
const OTHERS: u32 = 0o077;

/// Where a node keeps what must survive it, and whose node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder; it is made where there is none.
    pub folder: PathBuf,
    /// The cluster.
    pub cluster: ClusterDigest,
}

impl Place {
    /// A node's own folder within one that the nodes of a cluster in one process share.
    pub fn local(shared: &Path, parties: Parties, node: &Peer) -> Self {
        let folder = shared.join(node.to_string().replace(' ', "-"));
        Place { folder, cluster: ClusterDigest::local(parties) }
    }
}

/// A folder that this process has to itself as long as this lives.
#[derive(Debug)]
pub struct Folder {
    pub(super) path: PathBuf,
    pub(super) cluster: ClusterDigest,
    pub(super) node: Peer,
    _lock: File,
}

impl Folder {
    /// Makes the folder where there is none, and locks it.
    ///
    /// # Errors
    /// A folder that others may enter, that another process uses, or that cannot be written.
    pub fn open(place: &Place, node: Peer) -> Result<Self, NodeError> {
        let path = &place.folder;
        private_folder(path)?;
        let lock_path = path.join("lock");
        let lock = open_private(&lock_path).map_err(|e| error(&lock_path, &e))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => fault(path, "another process uses this folder; stop it first"),
            TryLockError::Error(e) => error(&lock_path, &e),
        })?;
        private_file::remove_leftovers(path).map_err(|e| error(path, &e))?;
        Ok(Folder { path: path.clone(), cluster: place.cluster, node, _lock: lock })
    }

    /// The sealed epochs in this folder.
    ///
    /// # Errors
    /// When their folder cannot be made or read.
    pub fn epochs(&self) -> Result<EpochFiles, NodeError> {
        EpochFiles::of(self)
    }
}

/// Makes a folder that its owner alone may enter, or checks that it is one.
pub(super) fn private_folder(path: &Path) -> Result<(), NodeError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => {
            let parent = private_file::folder_of(path);
            return private_file::sync_folder(parent).map_err(|e| error(parent, &e));
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(fault(path, "cannot be made: the folder around it is missing"));
        }
        Err(e) => return Err(error(path, &e)),
    }
    let found = fs::metadata(path).map_err(|e| error(path, &e))?;
    if !found.is_dir() {
        return Err(fault(path, "is no folder; name one that this node has to itself"));
    }
    if found.mode() & OTHERS != 0 {
        let mode = found.mode() & 0o777;
        let advice = format!(
            "can be entered by others (mode {mode:o}); it holds secrets: chmod {FOLDER_MODE:o} {}, and \
             see to it that nobody copied them",
            path.display()
        );
        return Err(fault(path, &advice));
    }
    Ok(())
}

/// Opens a file for reading and writing, or makes one that its owner alone may read.
fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// What the system says of a file of a node.
pub(super) fn error(path: &Path, error: &io::Error) -> NodeError {
    fault(path, &error.to_string())
}

/// What is wrong with a file of a node.
pub(super) fn fault(path: &Path, reason: &str) -> NodeError {
    NodeError::Store { path: path.display().to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place(folder: &Path) -> Place {
        Place { folder: folder.to_owned(), cluster: ClusterDigest::local(Parties::new(2).unwrap()) }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_folder_is_private_and_used_by_one_process() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("node");
        let first = Folder::open(&place(&path), Peer::Helper).unwrap();
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o700, 0o600));
        let error = Folder::open(&place(&path), Peer::Helper).unwrap_err();
        assert!(error.to_string().contains("another process uses"), "{error}");
        drop(first);
        Folder::open(&place(&path), Peer::Helper).unwrap();
        for open in [0o750, 0o701, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = Folder::open(&place(&path), Peer::Helper).unwrap_err().to_string();
            assert!(error.contains("chmod 700") && error.contains(&format!("{open:o}")), "{error}");
        }
    }

    #[test]
    fn what_is_no_folder_is_refused_with_advice() {
        let around = tempfile::tempdir().unwrap();
        let file = around.path().join("file");
        fs::write(&file, b"x").unwrap();
        for (path, words) in [(file, "is no folder"), (around.path().join("a/b"), "is missing")] {
            let error = Folder::open(&place(&path), Peer::Helper).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn drafts_of_a_process_that_was_killed_go() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("node");
        drop(Folder::open(&place(&path), Peer::Helper).unwrap());
        fs::write(path.join(".abc.part"), b"half a secret").unwrap();
        drop(Folder::open(&place(&path), Peer::Helper).unwrap());
        assert!(!path.join(".abc.part").exists());
    }
}
