//! Memory of vectors.

use std::ops::{Deref, DerefMut};

/// Words.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words(Vec<u64>);

impl Words {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Words {
        Words(vec![0; len])
    }
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}
