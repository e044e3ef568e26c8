//! Words that start at a cache line, so that no vector of a plane lies across two.

/// Bytes of a cache line, one AVX-512 vector.
const LINE: usize = 64;
/// Words of a cache line.
const WORDS: usize = LINE / size_of::<u64>();

/// A fixed number of words, the first of them at the start of a cache line.
pub(crate) struct Aligned {
    /// A line longer than needed. Asked for without alignment, large ones come from the operating
    /// system as zeros; with it they would be filled once more.
    words: Vec<u64>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Aligned {
        let words = vec![0; len + WORDS - 1];
        let beyond = words.as_ptr().addr() % LINE;
        let start = (LINE - beyond) % LINE / size_of::<u64>();
        Aligned { words, start, len }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.words[self.start..][..self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.words[self.start..][..self.len]
    }
}
