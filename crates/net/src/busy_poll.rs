//! Looking for data again and again for a moment before blocking.
//!
//! To wake a thread up takes a few microseconds where cores never sleep, and around fifty on
//! virtual machines, which give idle cores back to the host. Nodes that exchange small messages
//! wait for each other about that long, again and again. A look that finds nothing gives the core
//! to whoever else wants it. One that gets it back late has neighbours, and only blocks for a
//! while, the longer the more often that happened: to the scheduler a thread that looks is one more
//! that never sleeps, while one that slept gets its core at once.

use std::time::{Duration, Instant};

/// How long a thread looks before it blocks.
const LOOKS: Duration = Duration::from_micros(100);
/// A wait that says that the next one may be worth looking: the peer is near and quick.
const SHORT: Duration = Duration::from_micros(300);
/// A look that took longer: others want this core.
const LATE: Duration = Duration::from_millis(1);
/// How long a thread that has met neighbours only blocks: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// Whether a wait begins with looking.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    on: bool,
    /// Whether the last wait was short.
    short: bool,
    /// Whether this wait looked, and met no neighbours.
    undisturbed: bool,
    /// Neighbours were met: there is no looking before.
    paused_until: Option<Instant>,
    /// For how long, the next time.
    pause: Duration,
}

impl Default for BusyPoll {
    fn default() -> Self {
        Self { on: false, short: false, undisturbed: false, paused_until: None, pause: PAUSES[0] }
    }
}

impl BusyPoll {
    /// Turns it on or off; it is off at first.
    pub(crate) fn turn(&mut self, on: bool) {
        self.on = on;
    }

    /// Whether to look once more, in a wait that has lasted so long.
    pub(crate) fn looks(&self, waited: Duration, now: Instant) -> bool {
        self.on && self.short && waited < LOOKS && self.paused_until.is_none_or(|until| now >= until)
    }

    /// Gives the core to whoever else wants it.
    pub(crate) fn give_way(&mut self) {
        let before = Instant::now();
        std::thread::yield_now();
        self.got_core_back(before, Instant::now());
    }

    fn got_core_back(&mut self, before: Instant, after: Instant) {
        self.undisturbed = after.saturating_duration_since(before) <= LATE;
        if !self.undisturbed {
            self.paused_until = Some(after + self.pause);
            self.pause = PAUSES[1].min(2 * self.pause);
        }
    }

    /// A wait has ended, for what was not here when it began.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.short = time < SHORT;
        if std::mem::take(&mut self.undisturbed) {
            self.pause = PAUSES[0].max(self.pause / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: Duration = Duration::from_micros(5);

    fn turned_on() -> BusyPoll {
        let mut poll = BusyPoll::default();
        poll.turn(true);
        poll.waited(LITTLE);
        poll
    }

    #[test]
    fn a_thread_looks_where_the_last_wait_was_short() {
        let (mut poll, now) = (turned_on(), Instant::now());
        assert!(poll.looks(LITTLE, now) && !poll.looks(LOOKS, now));
        poll.waited(SHORT);
        assert!(!poll.looks(LITTLE, now));
        let mut off = BusyPoll::default();
        off.waited(LITTLE);
        assert!(!off.looks(LITTLE, now));
    }

    #[test]
    fn a_thread_with_neighbours_blocks_the_longer_the_more_often_it_meets_them() {
        let (mut poll, mut now) = (turned_on(), Instant::now());
        let [first, most] = PAUSES;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            // Before it has its core back late, it has it back at once a few times.
            (0..9).for_each(|_| poll.got_core_back(now, now + LITTLE));
            poll.got_core_back(now, now + 2 * LATE);
            now += 2 * LATE;
            poll.waited(LITTLE);
            let begun = now;
            while !poll.looks(LITTLE, now) {
                now += first / 2;
            }
            pauses.push(now.saturating_duration_since(begun));
        }
        assert_eq!(pauses[..3], [first, 2 * first, 4 * first]);
        assert_eq!(pauses[10..], [most, most]);
        // Once they are gone it is soon as before.
        for _ in 0..12 {
            poll.got_core_back(now, now + LITTLE);
            poll.waited(LITTLE);
        }
        poll.got_core_back(now, now + 2 * LATE);
        assert!(!poll.looks(LITTLE, now + first) && poll.looks(LITTLE, now + first + 2 * LATE));
    }
}
