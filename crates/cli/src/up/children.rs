//! Nodes as children of this process.

use super::{Place, UpError};
use amicus_node::conduct::Cheat;
use amicus_service::ServiceRole;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};

/// A node that runs. It ends when this is dropped, and when this process ends, by whatever signal:
/// it holds the other end of a pipe.
pub struct Child {
    /// Its name, such as "party-1".
    pub name: String,
    process: std::process::Child,
    pipe: Option<ChildStdin>,
    log: PathBuf,
}

impl Child {
    /// Starts this program as a node, which deviates if it is told how.
    ///
    /// # Errors
    /// A log that cannot be written, no process.
    pub fn start(role: ServiceRole, place: &Place, cheat: Option<Cheat>) -> Result<Self, UpError> {
        let system = |error| UpError::System { what: "a process", error };
        let log =
            File::create(&place.log).map_err(|error| UpError::File { path: place.log.clone(), error })?;
        let role = match role {
            ServiceRole::Helper => "helper",
            ServiceRole::Party => "party",
        };
        let cheat = cheat.map(|cheat| ["--cheat".to_owned(), cheat.to_string()]);
        let mut process = Command::new(std::env::current_exe().map_err(system)?)
            .args([role, "--while-piped", "--config"])
            .arg(&place.config)
            .args(cheat.into_iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(system)?;
        let pipe = process.stdin.take();
        Ok(Child { name: place.name.clone(), process, pipe, log: place.log.clone() })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Tells it to end.
    pub fn tell_to_end(&mut self) {
        self.pipe = None;
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// How it ended, with the last line of its log.
    pub fn check(&mut self) -> Result<(), UpError> {
        let Ok(Some(status)) = self.process.try_wait() else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or("its log is empty").to_owned();
        Err(UpError::Ended { node: self.name.clone(), how: status.to_string(), last })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that was told to end and did is not killed: its number may be another's.
        if !self.ended() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
