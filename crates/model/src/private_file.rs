//! Files for their owner alone, written beside their place and then renamed: there wholly or not at
//! all.
//!
//! Compiled models, checkpoints and answers are secrets. A draft gets a name that nobody can
//! foresee, is created and never opened where something lies already, and only its owner may read
//! it (mode 0600). A process that is interrupted calls [`remove_drafts`] before it ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Drafts that this process is writing.
static DRAFTS: Drafts = Drafts(Mutex::new(Vec::new()));

/// Whether a file that is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is kept, and nothing is written.
    Keep,
    /// It is replaced.
    Replace,
}

/// Writes a file with `content`.
///
/// # Errors
/// When the file system refuses, `content` fails, or the file exists and is to be kept; then there
/// is no draft left.
pub fn write(
    path: &Path,
    existing: Existing,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    DRAFTS.write(path, existing, content)
}

/// Removes the drafts of this process: for one that is about to end early. Whoever writes one
/// fails.
pub fn remove_drafts() {
    DRAFTS.remove();
}

/// Drafts that are being written.
struct Drafts(Mutex<Vec<PathBuf>>);

impl Drafts {
    fn list(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(
        &self,
        path: &Path,
        existing: Existing,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut draft = {
            let mut drafts = self.list();
            let draft = tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(folder)?;
            drafts.push(draft.path().to_owned());
            draft
        };
        let listed = Listed { all: self, draft: draft.path().to_owned() };
        content(draft.as_file_mut())?;
        draft.as_file().sync_all()?;
        match existing {
            Existing::Keep => draft.persist_noclobber(path),
            Existing::Replace => draft.persist(path),
        }
        .map_err(|e| e.error)?;
        drop(listed);
        // The rename survives a power cut once the folder is written; systems that cannot do this
        // go without.
        let _ = File::open(folder).and_then(|f| f.sync_all());
        Ok(())
    }

    fn remove(&self) {
        for draft in self.list().drain(..) {
            // Best effort: the process ends.
            let _ = fs::remove_file(draft);
        }
    }
}

/// A draft's place in the list, given up when it is dropped.
struct Listed<'a> {
    all: &'a Drafts,
    draft: PathBuf,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.all.list().retain(|d| *d != self.draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        fs::read_dir(folder).unwrap().map(name).collect()
    }

    #[test]
    fn files_are_private_whole_and_replaced_only_with_leave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let put = |existing, text: &'static [u8]| write(&path, existing, |f| f.write_all(text));
        put(Existing::Keep, b"one").unwrap();
        assert_eq!(put(Existing::Keep, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        put(Existing::Replace, b"three").unwrap();
        let failed = write(&path, Existing::Replace, |f| {
            f.write_all(b"half")?;
            Err(io::Error::other("full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "full");
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(names(folder.path()), ["secret"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn names_of_drafts_differ_and_an_early_end_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        // A list of its own: other tests of this process write files at the same time.
        let drafts = Drafts(Mutex::default());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let result = drafts.write(&folder.path().join("secret"), Existing::Keep, |_| {
                seen.extend(names(folder.path()));
                drafts.remove();
                assert!(names(folder.path()).is_empty());
                Ok(())
            });
            assert!(result.is_err());
        }
        assert!(seen.len() == 2 && seen[0] != seen[1], "{seen:?}");
        assert!(names(folder.path()).is_empty());
    }
}
