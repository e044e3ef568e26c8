//! What a program that ends early leaves behind: nothing.
//!
//! Folders of nodes of demonstrations and measurements lie in temporary folders.
//! [`TemporaryFolder`] removes its own when dropped; where the process ends otherwise, by a signal
//! or by [`end`], they are removed all the same.

use amicus_model::private_file;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Folders that are there now.
static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Tries to remove a folder in which other threads still make files.
const TRIES: usize = 100;

/// Cleans up when SIGINT, SIGTERM or SIGHUP end this process. Called once, by the command line.
///
/// Signals that whoever started the program has switched off, as `nohup` does with SIGHUP, stay so.
///
/// # Errors
/// When the system refuses; then an interrupted command leaves its folders, as any program does.
pub fn clean_up_when_interrupted() -> io::Result<()> {
    let ignored = ignored();
    let signals = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(signals)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _held = remove_all();
            // The process ends as without a handler, so that whoever started it sees the signal.
            let _ = emulate_default_handler(signal);
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Ends the process with an exit code, whatever its threads are doing.
pub fn end(code: i32) -> ! {
    let _held = remove_all();
    std::process::exit(code)
}

/// A folder for the time of a run, removed with all it holds when dropped and when the process ends
/// early.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes a folder that only its owner can enter, in the system's place for temporary files.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new() -> io::Result<Self> {
        // Held from before the folder is there, so that a signal misses none.
        let mut folders = folders();
        let mut builder = tempfile::Builder::new();
        builder.prefix("amicus-");
        #[cfg(unix)]
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        #[cfg(unix)]
        builder.permissions(private);
        let path = builder.tempdir()?.keep();
        folders.insert(path.clone());
        Ok(TemporaryFolder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let mut folders = folders();
        remove(&self.0);
        folders.remove(&self.0);
    }
}

fn folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a folder, whatever other threads do in it meanwhile.
fn remove(path: &Path) {
    for _ in 0..TRIES {
        if std::fs::remove_dir_all(path).is_ok() || !path.exists() {
            return;
        }
    }
}

/// Removes all folders, and drafts of private files. As long as the result is held nobody makes new
/// ones.
fn remove_all() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    let folders = folders();
    private_file::remove_drafts();
    folders.iter().for_each(|path| remove(path));
    folders
}

/// Signals that are switched off, one bit each; none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_private_and_go() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("log"), b"spent").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert!(folders().contains(&path));
        drop(folder);
        assert!(!path.exists() && !folders().contains(&path));
    }
}
