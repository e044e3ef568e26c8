//! What went over the wires: whether anything that hides something hid two things.

use amicus::protocol::Scope;
use amicus::protocol::authentic::TAG_BYTES;
use amicus::protocol::control::{self, SessionAnswer, SessionOffer, TicketGrant};
use amicus::protocol::wire::{Header, Kind};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a seed.
const SEED: usize = 32;

/// What one-time material and masked values were seen, and what each belonged to.
///
/// Seeds must be new wherever they are sent. Masked values of another inference differ, whatever
/// they hide: clients ask about the same few images again and again, so that a mask that is used
/// twice shows as the same bytes.
#[derive(Default)]
pub(crate) struct Record {
    hasher: RandomState,
    seen: Mutex<HashMap<[u64; 2], (Kind, Scope)>>,
    repeats: Mutex<Vec<String>>,
    pub(crate) frames: AtomicU64,
}

impl Record {
    pub(crate) fn look(&self, frame: &[u8]) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        if let Ok((header, body)) = Header::decode(frame) {
            self.body(&header, body);
        }
    }

    /// What goes over a public port: the body of a frame, whose header the request stands for.
    pub(crate) fn look_at(&self, kind: Kind, scope: Scope, body: &[u8]) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.body(&Header::new(kind, scope, 0), body);
    }

    fn body(&self, header: &Header, body: &[u8]) {
        match header.kind {
            Kind::Ticket => {
                if let Ok(grant) = control::decode::<TicketGrant>(body) {
                    grant.seeds.chunks(SEED).for_each(|seed| self.add(header, seed));
                }
            }
            Kind::SessionBegin => {
                if let Ok(offer) = control::decode::<SessionOffer>(body) {
                    self.add(header, &offer.part);
                }
            }
            Kind::SessionAnswer => {
                if let Ok(answer) = control::decode::<SessionAnswer>(body) {
                    self.add(header, &answer.part);
                }
            }
            Kind::LoadGrant => body.chunks(SEED).for_each(|seed| self.add(header, seed)),
            // Every party is sent equal bytes, but for the tag.
            Kind::Input | Kind::ReceiverKey => {
                self.add(header, &body[..body.len().saturating_sub(TAG_BYTES)])
            }
            Kind::Opening | Kind::DealCorrection | Kind::Output | Kind::Release | Kind::Check => {
                self.add(header, body);
            }
            _ => {}
        }
    }

    fn add(&self, header: &Header, bytes: &[u8]) {
        if bytes.len() < SEED {
            return;
        }
        let key = [0u8, 1].map(|part| self.hasher.hash_one((part, header.kind as u8, bytes)));
        let found = (header.kind, header.scope());
        let mut seen = self.seen.lock().expect("no thread panics with it");
        match seen.entry(key) {
            Entry::Vacant(free) => drop(free.insert(found)),
            Entry::Occupied(known) if *known.get() == found => {}
            Entry::Occupied(known) => {
                let words = format!("{:?} of {:?} is that of {:?}", found.0, found.1, known.get().1);
                self.repeats.lock().expect("no thread panics with it").push(words);
            }
        }
    }

    /// How many different masked inputs were seen.
    pub(crate) fn inputs(&self) -> usize {
        let seen = self.seen.lock().expect("no thread panics with it");
        seen.values().filter(|(kind, _)| *kind == Kind::Input).count()
    }

    /// How many different ones were seen, and those that were seen twice.
    pub(crate) fn found(&self) -> (usize, Vec<String>) {
        let seen = self.seen.lock().expect("no thread panics with it").len();
        (seen, self.repeats.lock().expect("no thread panics with it").clone())
    }
}

/// Sees what is planted: a record that finds nothing would prove nothing.
pub(crate) fn sees_a_planted_repeat() -> bool {
    use amicus::protocol::{EpochId, InferenceId, SessionId};
    let record = Record::default();
    let frame = |id, byte| {
        let scope = Scope::new(SessionId::NONE, EpochId::NONE, InferenceId(id));
        [&Header::new(Kind::Opening, scope, 1).encode()[..], &[byte; 64]].concat()
    };
    record.look(&frame(1, 5));
    record.look(&frame(1, 5));
    record.look(&frame(2, 6));
    let before = record.found().1.len();
    record.look(&frame(2, 5));
    before == 0 && record.found().1.len() == 1
}
