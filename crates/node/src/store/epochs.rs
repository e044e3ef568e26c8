//! The files of sealed epochs: what a loaded model leaves at a node, one file each.
//!
//! A file is written once, after the last message of a load that depends on the secrets in it, and
//! never again. It carries the cluster, the node, the epoch and the plan; whoever opens one names
//! all four.

use super::ClusterDigest;
use super::folder::{Folder, error, fault, private_folder};
use crate::{NodeError, Peer};
use amicus_files::private_file;
use amicus_files::sealed::{self, SealedReader, SealedWriter};
use amicus_plan::{PlanDigest, Printable};
use amicus_protocol::EpochId;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of cluster, epoch and plan in a file's subject; the node's name follows.
const CLUSTER: usize = 32;
const EPOCH: usize = 16;
const PLAN: usize = 32;
const SUFFIX: &str = ".sealed";
/// Bytes that are overwritten at once.
const BLOCK: usize = 1 << 16;

/// The sealed epochs of one node.
#[derive(Clone, Debug)]
pub struct EpochFiles {
    folder: PathBuf,
    cluster: ClusterDigest,
    node: Peer,
}

/// A sealed epoch that lies in a node's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedEpoch {
    /// The epoch.
    pub epoch: EpochId,
    /// Its plan.
    pub plan: PlanDigest,
}

impl EpochFiles {
    pub(super) fn of(folder: &Folder) -> Result<Self, NodeError> {
        let path = folder.path.join("epochs");
        private_folder(&path)?;
        private_file::remove_leftovers(&path).map_err(|e| error(&path, &e))?;
        Ok(EpochFiles { folder: path, cluster: folder.cluster, node: folder.node.clone() })
    }

    /// Writes an epoch's file; it survives a power cut once this returns.
    ///
    /// # Errors
    /// When there is a file of this epoch already, the disk takes no more, or `content` fails; then
    /// nothing was written.
    pub fn seal(
        &self,
        sealed: SealedEpoch,
        content: impl FnOnce(&mut SealedWriter<'_>) -> io::Result<()>,
    ) -> Result<(), NodeError> {
        Ok(sealed::write(&self.path(sealed.epoch), &self.subject(sealed), content)?)
    }

    /// Reads an epoch's file; `content` takes all its sections. What it makes of them counts only
    /// when this returns it: later pieces may turn out to be damaged.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of another cluster, node, epoch or plan; what `content`
    /// says.
    pub fn open<T>(
        &self,
        sealed: SealedEpoch,
        content: impl FnOnce(&mut SealedReader<'_>) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        sealed::read(&self.path(sealed.epoch), |subject| self.fits(sealed, subject), content)
    }

    /// The files that are there, by epoch; those that cannot be used come as errors, and stand in
    /// nobody's way.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Result<SealedEpoch, NodeError>>, NodeError> {
        Ok(self.paths()?.iter().map(|path| self.listed(path)).collect())
    }

    /// The files, in the order of their names.
    fn paths(&self) -> Result<Vec<PathBuf>, NodeError> {
        let fail = |e: io::Error| error(&self.folder, &e);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(SUFFIX)) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Epochs that files are named after, whatever is in them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<EpochId>, NodeError> {
        Ok(self.paths()?.iter().filter_map(|path| named(path)).collect())
    }

    /// Whether there is a file named after an epoch, whatever is in it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn has(&self, epoch: EpochId) -> Result<bool, NodeError> {
        let path = self.path(epoch);
        path.try_exists().map_err(|e| error(&path, &e))
    }

    /// Erases an epoch's file, if there is one: overwrites it in its place, then removes it. File
    /// systems that write elsewhere, and disks that do, may keep the old blocks for a while.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn erase(&self, epoch: EpochId) -> Result<(), NodeError> {
        let path = self.path(epoch);
        match overwrite(&path).and_then(|()| fs::remove_file(&path)) {
            Ok(()) => private_file::sync_folder(&self.folder).map_err(|e| error(&self.folder, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(error(&path, &e)),
        }
    }

    pub(super) fn path(&self, epoch: EpochId) -> PathBuf {
        self.folder.join(format!("{:032x}{SUFFIX}", number(epoch)))
    }

    fn subject(&self, sealed: SealedEpoch) -> Vec<u8> {
        let epoch = number(sealed.epoch).to_le_bytes();
        let name = self.node.to_string();
        [&self.cluster.0[..], &epoch, &sealed.plan.0, name.as_bytes()].concat()
    }

    /// Whether a file's subject is what is looked for, or what differs.
    fn fits(&self, sealed: SealedEpoch, subject: &[u8]) -> Result<(), String> {
        let expected = self.subject(sealed);
        if subject == expected {
            return Ok(());
        }
        let [ours, theirs] = [&expected[..], subject].map(Fields::of);
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return Err("does not say whose epoch it is".into());
        };
        let name = |bytes: &[u8]| Printable::new(&String::from_utf8_lossy(bytes)).to_string();
        Err(if theirs.cluster != ours.cluster {
            "is of another cluster; move it back to the folder it came from".into()
        } else if theirs.node != ours.node {
            format!("is of {}, this is {}; put it back where it belongs", name(theirs.node), self.node)
        } else if theirs.epoch != ours.epoch {
            "is of another epoch than its name says; give it its old name".into()
        } else {
            "is of another plan".into()
        })
    }

    fn listed(&self, path: &Path) -> Result<SealedEpoch, NodeError> {
        let epoch = named(path).filter(|&epoch| self.path(epoch) == path);
        let epoch = epoch.ok_or_else(|| fault(path, "has a name that is no epoch's; rename or remove it"))?;
        let subject = sealed::subject(path)?;
        let plan = Fields::of(&subject).map(|fields| fields.plan);
        let sealed = SealedEpoch { epoch, plan: plan.unwrap_or(PlanDigest([0; PLAN])) };
        self.fits(sealed, &subject).map_err(|what| fault(path, &what))?;
        Ok(sealed)
    }
}

/// Overwrites a file from its beginning to its end.
fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    let zeros = [0; BLOCK];
    while left > 0 {
        let now = left.min(BLOCK as u64);
        file.write_all(&zeros[..now as usize])?;
        left -= now;
    }
    file.sync_data()
}

/// An epoch as a file says it.
fn number(epoch: EpochId) -> u128 {
    u128::from_le_bytes(*epoch.as_bytes())
}

/// The epoch whose file has this name.
fn named(path: &Path) -> Option<EpochId> {
    let digits = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let number = u128::from_str_radix(digits, 16).ok()?;
    Some(EpochId::from_bytes(number.to_le_bytes()))
}

/// A subject's fields.
struct Fields<'a> {
    cluster: &'a [u8],
    epoch: u128,
    plan: PlanDigest,
    node: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(subject: &'a [u8]) -> Option<Self> {
        let (cluster, rest) = subject.split_at_checked(CLUSTER)?;
        let (epoch, rest) = rest.split_first_chunk::<EPOCH>()?;
        let (plan, node) = rest.split_first_chunk::<PLAN>()?;
        Some(Fields { cluster, epoch: u128::from_le_bytes(*epoch), plan: PlanDigest(*plan), node })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;
    use amicus_protocol::PartyId;
    use std::io::Write;

    const PLAN: PlanDigest = PlanDigest([5; 32]);

    fn files(folder: &Path, cluster: u8, node: Peer) -> EpochFiles {
        let place = Place { folder: folder.join("node"), cluster: ClusterDigest([cluster; 32]) };
        EpochFiles::of(&Folder::open(&place, node).unwrap()).unwrap()
    }

    fn epoch(n: u8) -> EpochId {
        EpochId::from_bytes([n; 16])
    }

    fn party() -> Peer {
        Peer::Party(PartyId::FIRST)
    }

    fn put(files: &EpochFiles, sealed: SealedEpoch, secret: &[u8]) -> Result<(), NodeError> {
        files.seal(sealed, |out| {
            out.section(1, secret.len() as u64)?;
            out.write_all(secret)
        })
    }

    fn get(files: &EpochFiles, sealed: SealedEpoch) -> Result<Vec<u8>, NodeError> {
        files.open(sealed, |file| Ok(file.bytes(1, 100)?.to_vec()))
    }

    #[test]
    fn epochs_are_kept_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let epochs = [3, 70, 255].map(|n| SealedEpoch { epoch: epoch(n), plan: PLAN });
        let here = files(folder.path(), 1, party());
        for sealed in epochs {
            put(&here, sealed, sealed.epoch.as_bytes()).unwrap();
        }
        assert!(put(&here, epochs[0], b"again").unwrap_err().to_string().contains("exists"));
        let here = files(folder.path(), 1, party());
        let listed: Vec<SealedEpoch> = here.list().unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(listed, epochs);
        assert_eq!(get(&here, epochs[1]).unwrap(), [70; 16]);
        // Whoever still has the file open reads nothing of it.
        let mut open = fs::File::open(here.path(epochs[1].epoch)).unwrap();
        here.erase(epochs[1].epoch).unwrap();
        let mut left = Vec::new();
        io::Read::read_to_end(&mut open, &mut left).unwrap();
        assert!(left.len() > 100 && left.iter().all(|&byte| byte == 0));
        here.erase(epochs[1].epoch).unwrap();
        assert!(get(&here, epochs[1]).is_err() && !here.has(epochs[1].epoch).unwrap());
        assert_eq!(here.list().unwrap().len(), 2);
        #[cfg(unix)]
        for entry in fs::read_dir(folder.path().join("node").join("epochs")).unwrap() {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn files_of_another_cluster_node_epoch_or_plan_are_refused() {
        let [home, away] = [0; 2].map(|_| tempfile::tempdir().unwrap());
        let sealed = SealedEpoch { epoch: epoch(3), plan: PLAN };
        let here = files(home.path(), 1, party());
        put(&here, sealed, b"secret").unwrap();
        let path = here.path(sealed.epoch);
        for (cluster, node, words) in [(2, party(), "another cluster"), (1, Peer::Helper, "is of party 1")] {
            let there = files(away.path(), cluster, node);
            fs::copy(&path, there.path(sealed.epoch)).unwrap();
            let listed = there.list().unwrap().remove(0).map(drop);
            for error in [listed.unwrap_err(), get(&there, sealed).unwrap_err()] {
                let (text, name) = (error.to_string(), there.path(sealed.epoch).display().to_string());
                assert!(text.contains(words) && text.contains(&name), "{text}");
            }
        }
        let other = SealedEpoch { plan: PlanDigest([6; 32]), ..sealed };
        assert!(get(&here, other).unwrap_err().to_string().contains("another plan"));
        let renamed = SealedEpoch { epoch: epoch(4), ..sealed };
        fs::rename(&path, here.path(renamed.epoch)).unwrap();
        assert!(get(&here, renamed).unwrap_err().to_string().contains("another epoch"));
        assert!(here.list().unwrap().remove(0).unwrap_err().to_string().contains("another epoch"));
    }

    #[test]
    fn a_damaged_file_is_named_and_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let here = files(folder.path(), 1, party());
        let [first, second] = [1, 2].map(|n| SealedEpoch { epoch: epoch(n), plan: PLAN });
        put(&here, first, b"first").unwrap();
        put(&here, second, b"second").unwrap();
        fs::write(here.folder.join("x.sealed"), b"x").unwrap();
        let path = here.path(first.epoch);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(&path, &changed).unwrap();
            let error = get(&here, first).expect_err("a flipped bit").to_string();
            assert!(error.contains(&path.display().to_string()) && error.contains("load"), "{error}");
            fs::write(&path, &whole[..at]).unwrap();
            let error = get(&here, first).expect_err("a lost tail").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        let listed = here.list().unwrap();
        assert_eq!(listed.iter().filter_map(|l| l.as_ref().ok()).collect::<Vec<_>>(), [&second]);
        assert_eq!(listed.len(), 3);
        assert_eq!(get(&here, second).unwrap(), b"second");
    }
}
