//! Words that start at a cache line, so that no vector of a plane lies across two.

/// One cache line, one AVX-512 vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

const _: () = assert!(size_of::<Line>() == 64);

/// A fixed number of words, the first of them at the start of a cache line.
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Aligned {
        Aligned { lines: vec![Line([0; 8]); len.div_ceil(8)], len }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: lines are nothing but words, 8 each, one after the other (`repr(C)`, size 64),
        // and there are at least `len` words in them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
