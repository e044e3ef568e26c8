//! How much one-time material a party holds: a helper that deals, or begins inferences, without end
//! does not fill its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for the material of a number of inputs.
#[derive(Clone, Debug)]
pub(super) struct Room {
    held: Arc<AtomicUsize>,
    most: usize,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Room,
    inputs: usize,
}

impl Room {
    /// Room for so many inputs.
    pub(super) fn new(most: usize) -> Self {
        Room { held: Arc::default(), most }
    }

    /// Inputs for which there is room in all.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Takes room for the material of an inference, if there is any left.
    pub(super) fn take(&self, inputs: usize) -> Option<Held> {
        let fits = |held: usize| held.checked_add(inputs).filter(|held| *held <= self.most);
        self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Held { room: self.clone(), inputs })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.inputs, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let room = Room::new(5);
        let three = room.take(3).unwrap();
        assert!(room.take(3).is_none() && room.take(usize::MAX).is_none());
        let two = room.clone().take(2).unwrap();
        assert!(room.take(1).is_none());
        drop(three);
        assert!(room.take(4).is_none() && room.take(3).is_some());
        drop(two);
        assert!(room.take(5).is_some());
    }
}
