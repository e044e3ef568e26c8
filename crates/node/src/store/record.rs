//! The records of a node's log as bytes: the version of their form, a kind, then ids, numbers of
//! eight bytes, texts with their length, and what follows.

use amicus_protocol::ids::ID_BYTES;
use amicus_protocol::{EpochId, Scope};
use zeroize::Zeroizing;

/// The version of what follows. It changes with the form of any record, or the meaning of one: so
/// does what a release's bytes are. Version 1 had no number, and began with the kind.
const VERSION: u8 = 0x80 | 2;

const ACCEPTED: u8 = 3;
const DELIVERED: u8 = 4;
const FAILED_CHECKS: u8 = 5;
const RETIRED: u8 = 6;

/// Something that happened and must not be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// An inference was accepted.
    Accepted(Decision<'a>),
    /// A receiver, by its number, has the release of an inference.
    Delivered(Scope, u64),
    /// So many checks of an epoch failed.
    FailedChecks(EpochId, u32),
    /// An epoch is used no more.
    Retired(EpochId),
}

/// Why a record is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is of this other version.
    Version(u8),
    /// It is of this version, and says nothing.
    Damaged,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Version(version) => write!(
                f,
                "its records are of version {version}, this program reads version {}; use the program that \
                 wrote them, or move the whole folder away and start with a new one: models must be loaded \
                 again, and answers that were not delivered are lost",
                VERSION & 0x7f
            ),
            Unreadable::Damaged => f.write_str("a record that no version of this program writes"),
        }
    }
}

/// A decision with all that is needed to repeat its release.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Decision<'a> {
    pub(super) scope: Scope,
    /// Seconds since 1970.
    pub(super) made: u64,
    pub(super) receivers: Vec<String>,
    pub(super) release: &'a [u8],
}

impl std::fmt::Debug for Decision<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decision").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Bytes of the record of a decision.
pub(super) fn decision_bytes<'a>(receivers: impl Iterator<Item = &'a str>, release: usize) -> usize {
    2 + Scope::BYTES + 2 * 8 + receivers.map(|name| 8 + name.len()).sum::<usize>() + release
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Record::Delivered(scope, receiver) => bytes(DELIVERED, &scope.encode(), &[*receiver]),
            Record::FailedChecks(epoch, count) => {
                bytes(FAILED_CHECKS, epoch.as_bytes(), &[u64::from(*count)])
            }
            Record::Retired(epoch) => bytes(RETIRED, epoch.as_bytes(), &[]),
            Record::Accepted(Decision { scope, made, receivers, release }) => {
                let length = decision_bytes(receivers.iter().map(String::as_str), release.len());
                let mut out = Zeroizing::new(Vec::with_capacity(length));
                let numbers = [*made, receivers.len() as u64];
                out.extend_from_slice(&bytes(ACCEPTED, &scope.encode(), &numbers));
                for name in receivers {
                    out.extend_from_slice(&(name.len() as u64).to_le_bytes());
                    out.extend_from_slice(name.as_bytes());
                }
                out.extend_from_slice(release);
                out
            }
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Another version, or no record of this version.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        match bytes.split_first() {
            Some((&VERSION, of_kind)) => Self::of_kind(of_kind).ok_or(Unreadable::Damaged),
            Some((&first, _)) => Err(Unreadable::Version(if first & 0x80 == 0 { 1 } else { first & 0x7f })),
            None => Err(Unreadable::Damaged),
        }
    }

    fn of_kind(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let mut fields = Fields(rest);
        let record = match kind {
            DELIVERED => Record::Delivered(fields.scope()?, fields.number()?),
            FAILED_CHECKS => Record::FailedChecks(fields.epoch()?, fields.number()?.try_into().ok()?),
            RETIRED => Record::Retired(fields.epoch()?),
            ACCEPTED => {
                let (scope, made) = (fields.scope()?, fields.number()?);
                let count = fields.number()?;
                let receivers = (0..count).map(|_| fields.text()).collect::<Option<_>>()?;
                let release = std::mem::take(&mut fields.0);
                Record::Accepted(Decision { scope, made, receivers, release })
            }
            _ => return None,
        };
        fields.0.is_empty().then_some(record)
    }
}

fn bytes(kind: u8, ids: &[u8], numbers: &[u64]) -> Zeroizing<Vec<u8>> {
    let numbers = numbers.iter().flat_map(|n| n.to_le_bytes());
    Zeroizing::new([VERSION, kind].into_iter().chain(ids.iter().copied()).chain(numbers).collect())
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let (head, tail) = self.0.split_first_chunk::<8>()?;
        self.0 = tail;
        Some(u64::from_le_bytes(*head))
    }

    fn epoch(&mut self) -> Option<EpochId> {
        let (head, tail) = self.0.split_first_chunk::<ID_BYTES>()?;
        self.0 = tail;
        Some(EpochId::from_bytes(*head))
    }

    fn scope(&mut self) -> Option<Scope> {
        let (head, tail) = self.0.split_first_chunk::<{ Scope::BYTES }>()?;
        self.0 = tail;
        Some(Scope::decode(head))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_protocol::{InferenceId, SessionId};

    #[test]
    fn records_come_back_and_have_one_form() {
        let (session, epoch) = (SessionId::from_bytes([4; 16]), EpochId::from_bytes([3; 16]));
        let scope = Scope::new(session, epoch, InferenceId(u64::MAX));
        let receivers = vec!["client a".to_owned(), String::new()];
        let decision = Decision { scope, made: 1 << 33, receivers, release: b"masks" };
        let records = [
            Record::Delivered(scope, 7),
            Record::FailedChecks(epoch, u32::MAX),
            Record::Retired(epoch),
            Record::Accepted(decision.clone()),
        ];
        for record in &records {
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes).as_ref(), Ok(record));
            for cut in 0..bytes.len() {
                // A shorter release is another release; all else has its length.
                let shorter = Record::decode(&bytes[..cut]);
                let release = matches!(shorter, Ok(Record::Accepted(_))) && cut + 5 >= bytes.len();
                assert!(shorter.is_err() || release, "{record:?} cut to {cut}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(Record::decode(&longer).is_err() || matches!(record, Record::Accepted(_)));
        }
        let unreadable = |bytes: &[u8]| Record::decode(bytes).unwrap_err();
        assert_eq!([unreadable(&bytes(7, &[], &[1])), unreadable(&[])], [Unreadable::Damaged; 2]);
        for record in &records {
            let mut bytes = record.encode();
            assert_eq!(unreadable(&bytes[1..]), Unreadable::Version(1), "one without a version");
            bytes[0] += 1;
            assert_eq!(unreadable(&bytes), Unreadable::Version(3));
        }
        let names = decision.receivers.iter().map(String::as_str);
        assert_eq!(decision_bytes(names, 5), Record::Accepted(decision.clone()).encode().len());
    }
}
