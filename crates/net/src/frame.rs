//! Frames on a byte stream: a little-endian `u32` length, then that many bytes.
//!
//! Pure code without I/O. The receiver refuses a length above its limit before it reserves memory.

use std::collections::VecDeque;

use crate::Frame;
use crate::error::Failure;

/// Bytes of the length in front of every frame.
pub(crate) const HEADER: usize = 4;

/// The prefix of a frame of that length, or `None` when it is too long for one.
pub(crate) fn header(length: usize) -> Option<[u8; HEADER]> {
    Some(u32::try_from(length).ok()?.to_le_bytes())
}

pub(crate) fn length(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// What a frame costs that waits, beyond its bytes: without this, empty frames would queue up for
/// free.
pub(crate) const FRAME_COST: usize = 64;

/// Complete frames waiting for the program, and when to stop reading more.
pub(crate) struct Inbox {
    frames: VecDeque<Frame>,
    cost: usize,
    limit: usize,
}

impl Inbox {
    /// Small frames are cheap to let in, whatever the limit on one frame.
    const MIN_LIMIT: usize = 64 << 10;

    pub(crate) fn new() -> Self {
        Self { frames: VecDeque::new(), cost: 0, limit: Self::MIN_LIMIT }
    }

    /// The inbox is full once it holds about one frame of the longest kind: a peer that sends more
    /// than we asked for is slowed down by TCP instead of filling our memory.
    pub(crate) fn set_max_frame(&mut self, bytes: usize) {
        self.limit = bytes.max(Self::MIN_LIMIT);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.cost >= self.limit
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.cost += frame.len() + FRAME_COST;
        self.frames.push_back(frame);
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.cost -= frame.len() + FRAME_COST;
        Some(frame)
    }
}

/// Cuts a byte stream into frames.
pub(crate) struct Assembler {
    limit: usize,
    header: [u8; HEADER],
    header_len: usize,
    body: Frame,
    body_len: usize,
}

impl Assembler {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, header: [0; HEADER], header_len: 0, body: Frame::default(), body_len: 0 }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// True when the stream ends in the middle of a frame.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.header_len > 0
    }

    /// Takes the next bytes of the stream and hands every frame they complete to `done`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], done: &mut impl FnMut(Frame)) -> Result<(), Failure> {
        while !bytes.is_empty() {
            if self.header_len < HEADER {
                let take = (HEADER - self.header_len).min(bytes.len());
                self.header[self.header_len..self.header_len + take].copy_from_slice(&bytes[..take]);
                self.header_len += take;
                bytes = &bytes[take..];
                if self.header_len < HEADER {
                    return Ok(());
                }
                let announced = u32::from_le_bytes(self.header) as usize;
                if announced > self.limit {
                    return Err(Failure::TooLong { announced, limit: self.limit });
                }
                self.body_len = announced;
                self.body = Frame::with_capacity(announced);
            }
            let take = (self.body_len - self.body.len()).min(bytes.len());
            self.body.extend(&bytes[..take]);
            bytes = &bytes[take..];
            if self.body.len() == self.body_len {
                self.header_len = 0;
                done(std::mem::take(&mut self.body));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&header(frame.len()).unwrap());
            stream.extend_from_slice(frame);
        }
        stream
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cuts in prop::collection::vec(1usize..50, 1..50),
        ) {
            let stream = encode(&frames);
            let mut assembler = Assembler::new(200);
            let (mut got, mut rest, mut cut) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                assembler.push(chunk, &mut |frame| got.push(frame)).unwrap();
                rest = tail;
            }
            prop_assert!(!assembler.is_mid_frame());
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_allocate_beyond_the_limit(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..64),
            limit in 0usize..10_000,
        ) {
            let mut assembler = Assembler::new(limit);
            for chunk in chunks {
                let fits = assembler.push(&chunk, &mut |frame| assert!(frame.capacity() <= limit.max(8)));
                prop_assert!(assembler.body.capacity() <= limit.max(8));
                if fits.is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header_alone() {
        let mut assembler = Assembler::new(1000);
        let error = assembler.push(&1001u32.to_le_bytes(), &mut |_| ()).unwrap_err();
        assert!(matches!(error, Failure::TooLong { announced: 1001, limit: 1000 }));
        assert_eq!(assembler.body.capacity(), 0);
    }

    #[test]
    fn a_full_inbox_says_so_even_for_empty_frames() {
        let mut inbox = Inbox::new();
        let mut pushed = 0;
        while !inbox.is_full() {
            inbox.push(Frame::default());
            pushed += 1;
        }
        assert_eq!(pushed, Inbox::MIN_LIMIT / FRAME_COST);
        inbox.pop();
        assert!(!inbox.is_full());
    }
}
