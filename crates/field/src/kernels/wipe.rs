//! Overwriting secrets so that the compiler cannot leave it out.

/// Sets every word to 0, also when nobody reads them afterwards.
///
/// A plain fill at the speed of `memset`, then a barrier: an empty assembly statement that is given
/// the address and may read memory, so the stores must have happened (what Linux does in
/// `memzero_explicit`). `zeroize` stores word by word, which is several times slower on large
/// vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) fn wipe(words: &mut [u64]) {
    words.fill(0);
    // SAFETY: the statement is empty; it neither reads nor writes registers, stack or memory.
    unsafe { std::arch::asm!("/* {0} */", in(reg) words.as_ptr(), options(nostack, preserves_flags)) };
}

/// Sets every word to 0, also when nobody reads them afterwards.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn wipe(words: &mut [u64]) {
    zeroize::Zeroize::zeroize(words);
}
