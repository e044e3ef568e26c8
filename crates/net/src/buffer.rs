//! A byte buffer that is filled at the end and consumed from the front.

use std::ops::Range;

use crate::wiped::wipe;

/// Bytes `filled` of a fixed block of memory are in use. Moves its content to the front only when
/// it runs out of room.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    filled: Range<usize>,
}

impl Buffer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], filled: 0..0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.filled.clone()]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled.clone()]
    }

    /// Forgets `count` bytes at the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.filled.start += count;
        debug_assert!(self.filled.start <= self.filled.end);
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
    }

    /// Forgets `count` bytes at the front and overwrites them.
    pub(crate) fn consume_and_wipe(&mut self, count: usize) {
        wipe(&mut self.filled_mut()[..count]);
        self.consume(count);
    }

    /// Bytes that can be written without moving or growing.
    pub(crate) fn free(&self) -> usize {
        self.bytes.len() - self.filled.end
    }

    pub(crate) fn free_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled.end..]
    }

    /// `count` bytes of [`Buffer::free_mut`] were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.filled.end += count;
        debug_assert!(self.filled.end <= self.bytes.len());
    }

    /// Moves the content to the front.
    pub(crate) fn compact(&mut self) {
        self.bytes.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
    }

    /// Makes room for `count` bytes, growing only if moving is not enough.
    pub(crate) fn reserve(&mut self, count: usize) {
        if self.free() < count {
            self.compact();
            if self.free() < count {
                self.bytes.resize(self.filled.end + count, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_survives_moving_and_growing() {
        let mut buffer = Buffer::new(4);
        buffer.free_mut().copy_from_slice(b"abcd");
        buffer.advance(4);
        buffer.consume(3);
        assert_eq!(buffer.free(), 0);
        buffer.reserve(3);
        assert_eq!((buffer.free(), buffer.filled()), (3, &b"d"[..]));
        buffer.reserve(10);
        buffer.free_mut()[..2].copy_from_slice(b"ef");
        buffer.advance(2);
        assert_eq!(buffer.filled(), b"def");
        buffer.consume(3);
        assert!(buffer.is_empty());
        assert_eq!(buffer.free(), 11);
    }

    #[test]
    fn what_is_consumed_can_be_overwritten() {
        let mut buffer = Buffer::new(8);
        buffer.free_mut().copy_from_slice(b"abcdefgh");
        buffer.advance(8);
        buffer.consume_and_wipe(3);
        assert_eq!((&buffer.bytes[..], buffer.filled()), (&b"\0\0\0defgh"[..], &b"defgh"[..]));
        buffer.consume_and_wipe(5);
        assert!(buffer.is_empty() && buffer.bytes == [0; 8]);
    }
}
