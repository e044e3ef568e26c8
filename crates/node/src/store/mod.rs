//! What a node keeps on disk: a folder of its own with a log and sealed epochs
//! (`docs/protocol.md`, section 7.4; what each file would show, `docs/security.md`, section 24).
//!
//! - [`Place`], [`Folder`]: where, and whose it is; locked while it is used
//! - [`Store`]: decisions until they are delivered, failed checks, retired epochs
//! - [`EpochFiles`]: sealed epochs, a file each; [`kept`]: what is in them

mod cluster;
mod epochs;
mod folder;
pub mod kept;
mod known;
mod log;
mod record;
mod releases;

pub use amicus_files::sealed::{SealedReader, SealedWriter};
pub use cluster::ClusterDigest;
pub use epochs::{EpochFiles, SealedEpoch};
pub use folder::{Folder, Place};
pub use releases::{PendingRelease, Promised, RELEASES_KEPT};

use crate::{NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::check::DecisionLog;
use amicus_protocol::{EpochId, Scope};
use folder::fault;
use known::Known;
use log::{Findings, Log, MAX_RECORD, framed};
use record::{Decision, Record};
use releases::seconds;
use std::path::PathBuf;

/// Epochs whose failed checks or end are remembered, at most; the oldest are forgotten first.
const EPOCHS: usize = 1 << 12;

/// What a node must not forget. What a method records survives a power cut once it returns; a
/// decision only the end of the process, until [`DecisionLog::synchronise`].
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    files: EpochFiles,
    path: PathBuf,
    log: Log,
    known: Known,
    receivers: Vec<String>,
    findings: Findings,
}

impl Store {
    /// Opens a node's folder, or makes it.
    ///
    /// # Errors
    /// A folder that others may enter, that another process uses, or that is of another node; a log
    /// that is damaged beyond repair. The error says what can be done.
    pub fn open(place: &Place, node: Peer) -> Result<Self, NodeError> {
        let folder = Folder::open(place, node)?;
        let (path, files) = (folder.path.join("log"), folder.epochs()?);
        let mut known = Known::new();
        let findings = if path.try_exists().map_err(|e| folder::error(&path, &e))? {
            Log::read(&path, &folder, |body| {
                known.learn(Record::decode(body).map_err(|why| fault(&path, &why.to_string()))?);
                Ok(())
            })?
        } else if files.names()?.is_empty() {
            Findings::default()
        } else {
            let text = "is missing, while sealed epochs lie in the same folder: put it back, or remove the \
                        folder `epochs` and load the models again";
            return Err(fault(&path, text));
        };
        known.releases.expire(clock::now());
        // Written anew: what was damaged is whole again, what is not needed is gone, and that the
        // disk takes something is known before anybody relies on it.
        let log = Log::create(&path, &folder, known.records().map(|record| record.encode()), 0)?;
        for epoch in files.names()? {
            // Put back, or kept by a process that ended too early.
            if known.is_retired(epoch) {
                files.erase(epoch)?;
            }
        }
        Ok(Store { folder, files, path, log, known, receivers: Vec::new(), findings })
    }

    /// How many records were damaged in one of their two copies when the store was opened: the disk
    /// is failing.
    pub fn repaired(&self) -> u32 {
        self.findings.repaired
    }

    /// The sealed epochs of this node.
    pub fn epochs(&self) -> &EpochFiles {
        &self.files
    }

    /// Writes a record, and learns what it says once it is on disk.
    fn record(&mut self, record: Record<'_>) -> Result<(), NodeError> {
        self.write(&record)?;
        self.log.synchronise()?;
        self.known.learn(record);
        Ok(())
    }

    /// Writes a record that survives the end of this process.
    fn write(&mut self, record: &Record<'_>) -> Result<(), NodeError> {
        let body = record.encode();
        if body.len() <= MAX_RECORD && !self.log.has_room(body.len()) {
            self.log.writable()?;
            let records = self.known.records().map(|record| record.encode());
            match Log::create(&self.path, &self.folder, records, framed(body.len())) {
                Ok(log) => self.log = log,
                // Which of the two files is there is not known.
                Err(error) => {
                    self.log.give_up();
                    return Err(error);
                }
            }
        }
        self.log.write(&body)
    }

    /// Whether the decision about an inference can be recorded, and its release kept until it is
    /// delivered, beside those of inferences in flight; to be asked before anything of the inference
    /// is told.
    ///
    /// # Errors
    /// Why not.
    pub fn room_for_decision<'a>(
        &self,
        decision: Promised<'_>,
        beside: impl Iterator<Item = Promised<'a>>,
    ) -> Result<(), String> {
        let bytes = decision.bytes();
        if bytes > MAX_RECORD {
            return Err(format!(
                "an answer of {bytes} bytes; {MAX_RECORD} can be kept until it is collected"
            ));
        }
        let (mut of_client, mut all) = (0, framed(bytes));
        for other in beside {
            of_client += usize::from(other.client() == decision.client());
            all += framed(other.bytes());
        }
        self.known.releases.room_for(decision.client(), of_client, all)
    }

    /// Sets the receivers that the next recorded decision is for; the first is the client who
    /// asked.
    pub fn receivers(&mut self, receivers: &[String]) -> &mut Self {
        self.receivers = receivers.to_vec();
        self
    }

    /// Records that a receiver acknowledged its release. What is no news costs nothing.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn delivered(&mut self, scope: Scope, receiver: &str) -> Result<(), NodeError> {
        match self.known.releases.lacking(scope, receiver) {
            Some(at) => self.record(Record::Delivered(scope, at as u64)),
            None => Ok(()),
        }
    }

    /// Releases that are not acknowledged by every receiver, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = (Scope, &PendingRelease)> {
        self.known.releases.iter()
    }

    /// Drops releases that were kept for [`RELEASES_KEPT`]; they leave the disk when the log is
    /// next written anew.
    pub fn expire_releases(&mut self) {
        self.known.releases.expire(clock::now());
    }

    /// Records how many checks of an epoch failed, before anybody hears that one did.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn record_failed_checks(&mut self, epoch: EpochId, count: u32) -> Result<(), NodeError> {
        if count <= self.known.failed_checks(epoch) || self.known.is_retired(epoch) {
            return Ok(());
        }
        self.record(Record::FailedChecks(epoch, count))
    }

    /// How many checks of an epoch failed, as far as recorded.
    pub fn failed_checks(&self, epoch: EpochId) -> u32 {
        self.known.failed_checks(epoch)
    }

    /// Records that an epoch is used no more, whatever may be restored later, and erases its file.
    ///
    /// # Errors
    /// When the record cannot be written, or the file not be erased; the next start erases it.
    pub fn retire(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        self.record_retired(epoch)?;
        self.files.erase(epoch)
    }

    /// Records that an epoch is used no more; whoever asks for this has its file erased.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn record_retired(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        match self.known.is_retired(epoch) {
            true => Ok(()),
            false => self.record(Record::Retired(epoch)),
        }
    }

    /// Epochs that are used no more, as far as remembered, the last one first.
    pub fn retired(&self) -> impl Iterator<Item = EpochId> {
        self.known.retired()
    }

    /// Whether an epoch is used no more.
    pub fn is_retired(&self, epoch: EpochId) -> bool {
        self.known.is_retired(epoch)
    }
}

impl DecisionLog for Store {
    type Error = NodeError;

    fn accepted(&mut self, scope: Scope, release: &[u8]) -> Result<(), NodeError> {
        let receivers = std::mem::take(&mut self.receivers);
        let made = seconds(clock::of_day());
        let accepted = Record::Accepted(Decision { scope, made, receivers, release });
        self.write(&accepted)?;
        self.known.learn(accepted);
        Ok(())
    }

    fn synchronise(&mut self) -> Result<(), NodeError> {
        self.log.synchronise()
    }
}

#[cfg(feature = "fuzz")]
pub mod fuzz;
#[cfg(test)]
mod tests;
