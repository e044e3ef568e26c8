//! How much of their quotas tokens have used, across restarts, and how fast they go.

use super::Grant;
use amicus::files::{Existing, private};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "used.json";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Images that are written down ahead, at most: what a node that is killed forgets of them counts as
/// used.
const AHEAD: u64 = 64;
const MINUTE: f64 = 60.0;

/// Images that are written down as used, by ids of tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Written(HashMap<String, u64>);

/// What a token did since this node started.
#[derive(Debug)]
struct Now {
    used: u64,
    /// Images that may be asked for at once.
    allowance: f64,
    since: Instant,
    /// Inferences in flight.
    lanes: u32,
}

/// Why a token may not go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// Its quota is used up.
    Quota(u64),
    /// It goes too fast: how long to wait.
    Rate(Duration),
    /// Its lanes are taken: so many inferences are in flight.
    Lanes(u32),
}

/// Counts what tokens use.
#[derive(Debug)]
pub(crate) struct Meter {
    path: PathBuf,
    written: Written,
    now: HashMap<String, Now>,
}

impl Meter {
    /// Reads what was used before.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else: quotas would begin anew.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let written = match std::fs::File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_BYTES).read_to_string(&mut text)?;
                serde_json::from_str(&text)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Written::default(),
            Err(error) => return Err(error),
        };
        Ok(Meter { path, written, now: HashMap::new() })
    }

    /// Lets a token use so many images, or says why not. Nothing is used then.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(crate) fn take(&mut self, grant: &Grant, images: u32, at: Instant) -> io::Result<Result<(), Spent>> {
        let before = self.written.0.get(&grant.id).copied().unwrap_or(0);
        let burst = f64::from(grant.rate.unwrap_or(u32::MAX));
        let new = || Now { used: before, allowance: burst, since: at, lanes: 0 };
        let now = self.now.entry(grant.id.clone()).or_insert_with(new);
        let used = now.used.saturating_add(u64::from(images));
        if let Some(quota) = grant.quota.filter(|quota| used > *quota) {
            return Ok(Err(Spent::Quota(quota)));
        }
        if let Some(rate) = grant.rate {
            let passed = at.saturating_duration_since(now.since).as_secs_f64();
            let a_second = f64::from(rate) / MINUTE;
            now.allowance = (now.allowance + passed * a_second).min(burst);
            now.since = at;
            let lacks = f64::from(images) - now.allowance;
            if lacks > 0.0 {
                return Ok(Err(Spent::Rate(Duration::from_secs_f64(lacks / a_second))));
            }
            now.allowance -= f64::from(images);
        }
        now.used = used;
        if grant.quota.is_some() && used > before {
            self.written.0.insert(grant.id.clone(), used.saturating_add(AHEAD - 1));
            self.write()?;
        }
        Ok(Ok(()))
    }

    /// Takes one of a token's lanes.
    pub(crate) fn enter(&mut self, grant: &Grant, at: Instant) -> Result<(), Spent> {
        let used = self.written.0.get(&grant.id).copied().unwrap_or(0);
        let allowance = f64::from(grant.rate.unwrap_or(u32::MAX));
        let new = || Now { used, allowance, since: at, lanes: 0 };
        let now = self.now.entry(grant.id.clone()).or_insert_with(new);
        if now.lanes >= grant.lanes {
            return Err(Spent::Lanes(grant.lanes));
        }
        now.lanes += 1;
        Ok(())
    }

    /// Gives a lane back.
    pub(crate) fn leave(&mut self, id: &str) {
        if let Some(now) = self.now.get_mut(id) {
            now.lanes = now.lanes.saturating_sub(1);
        }
    }

    /// Writes down what was used exactly: the node ends.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let mut changed = false;
        for (id, now) in &self.now {
            if let Some(written) = self.written.0.get_mut(id).filter(|written| **written != now.used) {
                *written = now.used;
                changed = true;
            }
        }
        if changed { self.write() } else { Ok(()) }
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.written)?;
        private::write(&self.path, Existing::Replace, |file| file.write_all(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{NewToken, NodeTag, TokenRole, Tokens};

    fn grant(folder: &Path, quota: Option<u64>, rate: Option<u32>) -> Grant {
        let (name, role, models) = ("alice".into(), TokenRole::Client, Vec::new());
        let new = NewToken { name, role, models, quota, rate, lanes: 2, days: None };
        Tokens::open(folder, NodeTag::default()).unwrap().make(new).unwrap().1
    }

    #[test]
    fn quotas_hold_across_restarts_to_the_holders_cost() {
        let folder = tempfile::tempdir().unwrap();
        let grant = grant(folder.path(), Some(100), None);
        let mut meter = Meter::open(folder.path()).unwrap();
        let take = |meter: &mut Meter, images| meter.take(&grant, images, Instant::now()).unwrap();
        assert_eq!(take(&mut meter, 10), Ok(()));
        // Killed: what may have been used counts.
        let mut meter = Meter::open(folder.path()).unwrap();
        assert_eq!(take(&mut meter, 28), Err(Spent::Quota(100)));
        assert_eq!(take(&mut meter, 20), Ok(()));
        meter.settle().unwrap();
        // Ended: what was used counts.
        let mut meter = Meter::open(folder.path()).unwrap();
        assert_eq!(take(&mut meter, 8), Err(Spent::Quota(100)));
        assert_eq!(take(&mut meter, 7), Ok(()));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Meter::open(folder.path()).is_err());
    }

    #[test]
    fn a_rate_is_a_bucket_that_fills_again() {
        let folder = tempfile::tempdir().unwrap();
        let grant = grant(folder.path(), None, Some(60));
        let mut meter = Meter::open(folder.path()).unwrap();
        let start = Instant::now();
        let mut take =
            |images, seconds| meter.take(&grant, images, start + Duration::from_secs(seconds)).unwrap();
        assert_eq!(take(60, 0), Ok(()));
        assert_eq!(take(1, 0), Err(Spent::Rate(Duration::from_secs(1))));
        assert_eq!(take(3, 3), Ok(()));
        assert!(matches!(take(1, 3), Err(Spent::Rate(_))));
        // It never holds more than a minute's.
        assert_eq!(take(60, 1000), Ok(()));
        assert!(matches!(take(1, 1000), Err(Spent::Rate(_))));
    }

    #[test]
    fn lanes_are_taken_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let grant = grant(folder.path(), None, None);
        let mut meter = Meter::open(folder.path()).unwrap();
        let now = Instant::now();
        assert_eq!([(); 3].map(|()| meter.enter(&grant, now)), [Ok(()), Ok(()), Err(Spent::Lanes(2))]);
        meter.leave(&grant.id);
        assert_eq!(meter.enter(&grant, now), Ok(()));
    }
}
