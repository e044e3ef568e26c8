//! Work that the real crate splits over threads, done in place and in order.

/// Never looked at.
pub(crate) const LIGHT: usize = 1 << 15;

/// Threads that this thread's work may be split over, itself included.
pub fn threads() -> usize {
    1
}

/// How planes of one length are split: not at all.
#[derive(Clone, Copy)]
pub(crate) struct Split {
    /// Elements of a part of a plane.
    pub(crate) part: usize,
}

/// Planes of `len` elements as they are.
pub(crate) fn split(len: usize, _planes: usize, _grain: usize) -> Split {
    Split { part: len.max(1) }
}

impl Split {
    /// Does `work` with every part.
    pub(crate) fn for_each<T: Send>(self, parts: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
        parts.into_iter().for_each(work);
    }
}

/// How many elements of `len` one part has: all of them.
pub(crate) fn part_len(len: usize, grain: usize) -> usize {
    split(len, 1, grain).part
}

/// Into how many parts work is split.
pub(crate) fn parts(_cost: usize, _grain: usize) -> usize {
    1
}

/// Does `work` with every part.
pub fn for_each<T: Send>(parts: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    parts.into_iter().for_each(work);
}

/// What `work` gives for every part.
pub fn map<T: Send, R: Send>(parts: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    parts.into_iter().map(work).collect()
}
