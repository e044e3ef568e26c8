//! What a sealed epoch's file holds (`docs/protocol.md`, section 7.4): the sections that
//! `amicus_protocol::epoch` makes, and at the helper the epochs that this one replaces.
//!
//! Both ways a file goes section by section, so that there is never a second copy of a model in
//! memory. What was read counts only when the whole file was found to be as it was written.

use super::folder::fault;
use super::{EpochFiles, SealedEpoch, SealedReader, Store};
use crate::NodeError;
use amicus_plan::Plan;
use amicus_protocol::epoch::{HelperEpoch, PartyContext, PartyEpoch, longest_section};
use amicus_protocol::ids::ID_BYTES;
use amicus_protocol::{EpochId, Parties, ProtocolError};
use std::io;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Names of sections: parts of an epoch, in order, and the epochs that it replaces.
const EPOCH: u32 = 1;
const REPLACED: u32 = 2;
/// Epochs that one replaces, at most.
const MAX_REPLACED: usize = 64;

/// An epoch that the helper accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The epoch.
    pub epoch: HelperEpoch,
    /// Epochs that it replaces: they are retired, also when the helper died before it said so.
    pub replaced: Vec<EpochId>,
}

impl EpochFiles {
    /// Writes a party's epoch; it survives a power cut once this returns.
    ///
    /// # Errors
    /// When there is a file of this epoch already, or the disk takes no more.
    pub fn keep_of_party(&self, epoch: &PartyEpoch) -> Result<(), NodeError> {
        let sealed = SealedEpoch { epoch: epoch.epoch(), plan: epoch.context().digest };
        self.seal(sealed, |out| epoch.seal::<io::Error>(&mut |section| out.put_section(EPOCH, section)))
    }
}

impl Store {
    /// Reads a party's epoch.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of another cluster, node, epoch or plan.
    pub fn of_party(&self, sealed: SealedEpoch, ctx: PartyContext) -> Result<PartyEpoch, NodeError> {
        let longest = longest_section(&ctx.plan);
        read(self.epochs(), sealed, |file| {
            let epoch = PartyEpoch::unseal::<NodeError>(ctx, &mut || Ok(file.bytes(EPOCH, longest)?))?;
            same(sealed, epoch.epoch()).map(|()| epoch)
        })
    }

    /// Writes an epoch that the helper accepts, and which ones it replaces; it survives a power cut
    /// once this returns.
    ///
    /// # Errors
    /// Those of [`EpochFiles::keep_of_party`].
    pub fn keep_of_helper(&self, epoch: &HelperEpoch, replaced: &[EpochId]) -> Result<(), NodeError> {
        let sealed = SealedEpoch { epoch: epoch.epoch(), plan: *epoch.digest() };
        let replaced: Vec<u8> = replaced.iter().flat_map(|epoch| *epoch.as_bytes()).collect();
        self.epochs().seal(sealed, |out| {
            out.put_section(EPOCH, &epoch.seal())?;
            out.put_section(REPLACED, &replaced)
        })
    }

    /// Reads an epoch that the helper accepted.
    ///
    /// # Errors
    /// Those of [`Store::of_party`].
    pub fn of_helper(
        &self,
        sealed: SealedEpoch,
        plan: &Arc<Plan>,
        parties: Parties,
    ) -> Result<Accepted, NodeError> {
        let longest = longest_section(plan);
        read(self.epochs(), sealed, |file| {
            let section: Zeroizing<Vec<u8>> = file.bytes(EPOCH, longest)?;
            let epoch = HelperEpoch::unseal(Arc::clone(plan), parties, &section)?;
            same(sealed, epoch.epoch())?;
            let replaced = file.bytes(REPLACED, MAX_REPLACED * ID_BYTES)?;
            let (ids, rest) = replaced.as_chunks::<ID_BYTES>();
            if !rest.is_empty() {
                return Err(ProtocolError::Misuse("a part of an id".into()).into());
            }
            Ok(Accepted { epoch, replaced: ids.iter().map(|id| EpochId::from_bytes(*id)).collect() })
        })
    }
}

/// Reads a file; what is wrong with its content is said with its name.
fn read<T>(
    files: &EpochFiles,
    sealed: SealedEpoch,
    content: impl FnOnce(&mut SealedReader<'_>) -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    files.open(sealed, content).map_err(|error| match error {
        NodeError::Protocol(error) => {
            let advice = format!("{error}; remove it and have the owner load the model again");
            fault(&files.path(sealed.epoch), &advice)
        }
        error => error,
    })
}

fn same(sealed: SealedEpoch, found: EpochId) -> Result<(), NodeError> {
    match found == sealed.epoch {
        true => Ok(()),
        false => Err(ProtocolError::Misuse(format!("it holds {found}")).into()),
    }
}
