//! Notes of what is expanded from labels, for the test that nothing is drawn twice
//! (`docs/protocol.md`, section 7.1).
//!
//! Notes say where vectors come from, not what they hold. Nothing is noted unless a test asks for
//! it, in its own thread, and nothing can without the feature `danger`.

use crate::label::{LABEL_BYTES, Label};
use amicus_field::Seed;
#[cfg(feature = "danger")]
use std::cell::RefCell;
use std::ops::Range;

/// One vector that a role expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Name of the stream: equal for equal seeds.
    pub stream: [u8; 8],
    /// The label it was asked for with.
    pub label: Label,
    /// The bytes that the label's seed was derived with.
    pub bytes: [u8; LABEL_BYTES],
    /// Domain within the stream.
    pub domain: u32,
    /// Positions within the domain: the elements of all batch elements, one after the other.
    pub positions: Range<u64>,
}

#[cfg(feature = "danger")]
thread_local! {
    static NOTES: RefCell<Option<Vec<Draw>>> = const { RefCell::new(None) };
}

/// Takes the notes of this thread since the last call; from the first call on there are some.
#[cfg(feature = "danger")]
pub fn danger_take_notes() -> Vec<Draw> {
    NOTES.with_borrow_mut(|notes| notes.replace(Vec::new())).unwrap_or_default()
}

/// The name of a seed's stream, while notes are taken.
#[cfg(feature = "danger")]
pub(crate) fn name(seed: &Seed) -> Option<[u8; 8]> {
    NOTES.with_borrow(Option::is_some).then(|| {
        let mut name = [0; 8];
        name.copy_from_slice(&seed.derive(b"name of a stream, for tests").as_bytes()[..8]);
        name
    })
}

#[cfg(feature = "danger")]
pub(crate) fn note(draw: Draw) {
    NOTES.with_borrow_mut(|notes| notes.as_mut().map(|notes| notes.push(draw)));
}

#[cfg(not(feature = "danger"))]
pub(crate) fn name(_: &Seed) -> Option<[u8; 8]> {
    None
}

#[cfg(not(feature = "danger"))]
pub(crate) fn note(_: Draw) {}
