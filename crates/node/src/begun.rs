//! Ids that somebody has begun in a session: nodes loads and inferences, a client those that it has
//! tickets for.

use amicus_protocol::InferenceId;
use std::collections::BTreeMap;

/// Ids that are remembered one by one; of what is older, only that it is spent.
const REMEMBERED: usize = 1024;

/// Loads and inferences that have begun in a session, in any order and each once.
#[derive(Debug)]
pub(crate) struct Begun {
    /// All ids up to this one are spent.
    floor: InferenceId,
    /// Later ones, and whether they were given up midway: what still arrives for those is no
    /// replay.
    later: BTreeMap<InferenceId, bool>,
}

impl Default for Begun {
    fn default() -> Self {
        Begun { floor: InferenceId(0), later: BTreeMap::new() }
    }
}

impl Begun {
    /// Begins an id, unless it is spent.
    pub(crate) fn begin(&mut self, id: InferenceId) -> bool {
        if self.is_spent(id) {
            return false;
        }
        self.later.insert(id, false);
        if self.later.len() > REMEMBERED
            && let Some((oldest, _)) = self.later.pop_first()
        {
            self.floor = self.floor.max(oldest);
        }
        true
    }

    /// Notes that an id was given up midway.
    pub(crate) fn give_up(&mut self, id: InferenceId) {
        if let Some(given_up) = self.later.get_mut(&id) {
            *given_up = true;
        }
    }

    /// Whether an id has begun, or is so old that it never will.
    pub(crate) fn is_spent(&self, id: InferenceId) -> bool {
        id <= self.floor || self.later.contains_key(&id)
    }

    /// Whether an id was given up midway.
    pub(crate) fn gave_up(&self, id: InferenceId) -> bool {
        self.later.get(&id).is_some_and(|given_up| *given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_once_in_any_order() {
        let mut begun = Begun::default();
        assert!(!begun.begin(InferenceId(0)), "ids count from 1");
        for id in [5, 3, 9, 1] {
            assert!(!begun.is_spent(InferenceId(id)));
            assert!(begun.begin(InferenceId(id)));
        }
        for id in [5, 3, 9, 1] {
            assert!(begun.is_spent(InferenceId(id)) && !begun.begin(InferenceId(id)), "{id}");
        }
        assert!(begun.begin(InferenceId(4)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_forgotten_begins_again() {
        let mut begun = Begun::default();
        let all: Vec<u64> = (1..=REMEMBERED as u64 + 10).map(|n| 2 * n).collect();
        for id in &all {
            assert!(begun.begin(InferenceId(*id)));
            assert!(begun.later.len() <= REMEMBERED);
        }
        assert!(all.iter().all(|id| begun.is_spent(InferenceId(*id))));
        // What was passed over meanwhile cannot be told from what began.
        assert!(!begun.begin(InferenceId(1)) && !begun.begin(InferenceId(19)));
        assert!(begun.begin(InferenceId(21)));
    }

    #[test]
    fn only_what_has_begun_is_given_up() {
        let mut begun = Begun::default();
        begun.give_up(InferenceId(1));
        assert!(!begun.gave_up(InferenceId(1)) && begun.begin(InferenceId(1)));
        assert!(!begun.gave_up(InferenceId(1)));
        begun.give_up(InferenceId(1));
        assert!(begun.gave_up(InferenceId(1)) && begun.is_spent(InferenceId(1)));
    }
}
