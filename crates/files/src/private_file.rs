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
use tempfile::NamedTempFile;

/// What names of drafts start and end with.
const PREFIX: &str = ".";
const SUFFIX: &str = ".part";

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

/// Writes a file with `content`. It survives a power cut where the system can write folders.
///
/// # Errors
/// When the file system refuses, `content` fails, or the file exists and is to be kept; then there
/// is no draft left.
pub fn write(
    path: &Path,
    existing: Existing,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    // Systems that cannot write folders go without.
    DRAFTS.write(path, existing, content).map(|_| ())
}

/// Writes a file with `content`; it survives a power cut once this returns.
///
/// # Errors
/// Those of [`write()`], and when the folder cannot be written; then the file may be there.
pub fn write_durably(
    path: &Path,
    existing: Existing,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    DRAFTS.write(path, existing, content)?
}

/// Makes a draft beside `path` and removes it again: whether writing can begin, before there is
/// anything to write.
///
/// # Errors
/// When the folder does not exist or takes no file.
pub fn try_draft(path: &Path) -> io::Result<()> {
    draft_in(folder_of(path)).map(drop)
}

/// Removes drafts of processes that ended without warning from a folder that nobody else writes to.
/// Returns how many there were.
///
/// # Errors
/// When the folder cannot be read, or a draft cannot be removed.
pub fn remove_leftovers(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let draft = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if draft && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes changes of names in a folder survive a power cut.
///
/// # Errors
/// When the system cannot open or write folders.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes the drafts of this process: for one that is about to end early. Whoever writes one
/// fails.
pub fn remove_drafts() {
    DRAFTS.remove();
}

/// An empty draft, with a name that nobody can foresee.
fn draft_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)
}

/// Drafts that are being written.
struct Drafts(Mutex<Vec<PathBuf>>);

impl Drafts {
    fn list(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a file; what is returned inside says whether its name is sure to survive a power cut.
    fn write(
        &self,
        path: &Path,
        existing: Existing,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<io::Result<()>> {
        let folder = folder_of(path);
        let mut draft = {
            let mut drafts = self.list();
            let draft = draft_in(folder)?;
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
        Ok(sync_folder(folder))
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
    fn whether_a_file_can_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        try_draft(&folder.path().join("file")).unwrap();
        assert!(names(folder.path()).is_empty());
        assert!(try_draft(&folder.path().join("none/file")).is_err());
    }

    #[test]
    fn leftovers_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".draft.part", ".hidden", "kept.part", "kept"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        fs::create_dir(folder.path().join(".folder.part")).unwrap();
        assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".folder.part", ".hidden", "kept", "kept.part"]);
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
