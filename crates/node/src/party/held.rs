//! How much one-time material a party holds: a helper that deals, or begins inferences, without end
//! does not fill its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room for material of all models, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Room {
    held: Arc<AtomicU64>,
    most: u64,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Room,
    bytes: u64,
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn new(most: u64) -> Self {
        Room { held: Arc::default(), most }
    }

    /// Bytes for which there is room in all.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Takes room for the material of an inference, if there is any left.
    pub(super) fn take(&self, bytes: u64) -> Option<Held> {
        let fits = |held: u64| held.checked_add(bytes).filter(|held| *held <= self.most);
        self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Held { room: self.clone(), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let room = Room::new(5);
        let three = room.take(3).unwrap();
        assert!(room.take(3).is_none() && room.take(u64::MAX).is_none());
        let two = room.clone().take(2).unwrap();
        assert!(room.take(1).is_none());
        drop(three);
        assert!(room.take(4).is_none() && room.take(3).is_some());
        drop(two);
        assert!(room.take(5).is_some());
    }
}
