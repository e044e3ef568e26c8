//! A one-way ratchet: keys of an id are derived once, and what derived them is gone.
//!
//! Each chain is a seed. The keys of an id are derived from the chains' state, and the state moves
//! on to the next id, one-way. So nobody who takes over a node later can derive the keys of an id
//! that was taken before, and no id is taken twice. Ids may be taken out of order: keys of a bounded
//! number of ids that were passed over are kept.

use crate::InferenceId;
use amicus_field::Seed;
use std::fmt;

/// How far an id may be ahead of the last one, and how many ids that were passed over are kept.
pub const WINDOW: usize = 1024;

/// Label of the keys of an id.
const KEY: &[u8] = b"amicus keys of one id";
/// Label of the next state.
const NEXT: &[u8] = b"amicus state of the next id";

/// Why there are no keys of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was taken, or passed over too long ago.
    Spent,
    /// It is further ahead of the next one, which this is, than the window is long, or the last of
    /// all.
    Ahead(InferenceId),
}

/// Chains that move on together.
pub(super) struct Ratchet {
    /// The chains' states at id `next`.
    chains: Vec<Seed>,
    next: u64,
    /// Keys of ids that were passed over, oldest first.
    skipped: Vec<(u64, Vec<Seed>)>,
}

impl fmt::Debug for Ratchet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ratchet").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Ratchet {
    /// Chains that begin with these seeds. Ids count from 1.
    pub(super) fn new(chains: Vec<Seed>) -> Self {
        Ratchet { chains, next: 1, skipped: Vec::new() }
    }

    /// The first id that was neither taken nor passed over, and the keys of its chains.
    pub(super) fn take_next(&mut self) -> Result<(InferenceId, Vec<Seed>), Refusal> {
        let id = InferenceId(self.next);
        Ok((id, self.take(id)?))
    }

    /// The keys of an id, once.
    pub(super) fn take(&mut self, id: InferenceId) -> Result<Vec<Seed>, Refusal> {
        if id.0 < self.next {
            let at = self.skipped.iter().position(|(skipped, _)| *skipped == id.0);
            return at.map(|at| self.skipped.remove(at).1).ok_or(Refusal::Spent);
        }
        // The last id has no successor, so that the counter never wraps.
        if id.0 - self.next > WINDOW as u64 || id.0 == u64::MAX {
            return Err(Refusal::Ahead(InferenceId(self.next)));
        }
        while self.next < id.0 {
            let skipped = (self.next, self.step());
            self.skipped.push(skipped);
        }
        let passed = self.skipped.len().saturating_sub(WINDOW);
        self.skipped.drain(..passed);
        Ok(self.step())
    }

    /// The keys of the next id; the state that they came from is wiped.
    fn step(&mut self) -> Vec<Seed> {
        let keys = self.chains.iter().map(|chain| chain.derive(KEY)).collect();
        self.chains.iter_mut().for_each(|chain| *chain = chain.derive(NEXT));
        self.next += 1;
        keys
    }

    /// All that somebody has who takes the node over now. For tests.
    #[cfg(any(test, feature = "danger"))]
    pub(super) fn danger_copy(&self) -> Self {
        Ratchet { chains: self.chains.clone(), next: self.next, skipped: self.skipped.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn ratchet() -> Ratchet {
        Ratchet::new(vec![Seed::from_bytes([1; 32]), Seed::from_bytes([2; 32])])
    }

    fn bytes(keys: &[Seed]) -> Vec<[u8; 32]> {
        keys.iter().map(|key| *key.as_bytes()).collect()
    }

    #[test]
    fn ids_are_taken_once_and_in_any_order_within_the_window() {
        let mut in_order = ratchet();
        let all: Vec<_> = (1..=6).map(|id| bytes(&in_order.take(InferenceId(id)).unwrap())).collect();
        assert_eq!(all.iter().flatten().collect::<HashSet<_>>().len(), 12, "keys are all different");
        let mut other = ratchet();
        for id in [4, 1, 6, 2, 5, 3] {
            let taken = bytes(&other.take(InferenceId(id)).unwrap());
            assert_eq!(taken, all[id as usize - 1], "the order of taking is no part of a key");
        }
        for id in 0..=6 {
            assert_eq!(other.take(InferenceId(id)), Err(Refusal::Spent), "{id}");
        }
        assert_eq!(other.take_next().unwrap().0, InferenceId(7));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let window = WINDOW as u64;
        let mut far = ratchet();
        for id in [window + 2, 1 << 40, u64::MAX] {
            assert_eq!(far.take(InferenceId(id)), Err(Refusal::Ahead(InferenceId(1))), "{id}");
        }
        assert!(far.skipped.is_empty() && far.next == 1, "a refused id changes nothing");
        far.take(InferenceId(window + 1)).unwrap();
        far.take(InferenceId(2 * window + 1)).unwrap();
        assert_eq!(far.skipped.len(), WINDOW);
        // The oldest gave way.
        assert!(far.take(InferenceId(1)).is_err());
        far.take(InferenceId(2 * window)).unwrap();
        let mut last = Ratchet { next: u64::MAX, ..ratchet() };
        assert!(last.take_next().is_err() && last.take(InferenceId(u64::MAX - 1)).is_err());
    }

    /// Whoever has the whole state derives what comes and what was passed over, and nothing else.
    #[test]
    fn who_takes_over_learns_no_key_that_was_taken() {
        let mut node = ratchet();
        let mut taken = HashSet::new();
        for id in [1, 2, 5, 9] {
            taken.extend(bytes(&node.take(InferenceId(id)).unwrap()));
        }
        let mut thief = node.danger_copy();
        let states: Vec<[u8; 32]> = thief.chains.iter().map(|c| *c.as_bytes()).collect();
        assert!(states.iter().all(|state| !taken.contains(state)));
        let mut known = HashSet::new();
        for id in 1..200 {
            let keys = thief.take(InferenceId(id));
            assert_eq!(keys.is_err(), [1, 2, 5, 9].contains(&id), "{id}");
            known.extend(keys.iter().flat_map(|keys| bytes(keys)));
        }
        // Also what else it can derive from the state that it found.
        for state in states {
            let seed = Seed::from_bytes(state);
            known.extend([KEY, NEXT].map(|label| *seed.derive(label).as_bytes()));
        }
        assert!(known.is_disjoint(&taken));
    }

    #[test]
    fn a_ratchet_is_wiped_and_shows_nothing() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &[T]) {}
        let mut all = ratchet();
        all.take(InferenceId(3)).unwrap();
        wiped(&all.chains);
        all.skipped.iter().for_each(|(_, keys)| wiped(keys));
        assert_eq!(format!("{all:?}"), "Ratchet { next: 4, .. }");
    }
}
