//! Logs with any records, for fuzzing: their checksums are right, so that what these protect is
//! reached.

use super::Place;
use super::folder::Folder;
use super::log::Log;
use crate::{NodeError, Peer};
use zeroize::Zeroizing;

/// Writes a log with these records.
///
/// # Errors
/// A folder that cannot be used.
pub fn write_log(place: &Place, node: Peer, records: &[&[u8]]) -> Result<(), NodeError> {
    let folder = Folder::open(place, node)?;
    let bodies = records.iter().map(|record| Zeroizing::new(record.to_vec()));
    Log::create(&folder.path.join("log"), &folder, bodies, 0).map(drop)
}

/// Reads the records of a log.
///
/// # Errors
/// A folder or log that cannot be used.
pub fn read_log(place: &Place, node: Peer) -> Result<Vec<Vec<u8>>, NodeError> {
    let folder = Folder::open(place, node)?;
    let mut records = Vec::new();
    Log::read(&folder.path.join("log"), &folder, |body| {
        records.push(body.to_vec());
        Ok(())
    })?;
    Ok(records)
}
