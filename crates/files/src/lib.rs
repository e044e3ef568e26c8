//! Files that hold secrets: private, written whole or not at all, and refused when damaged.
//!
//! - [`private_file`]: drafts with random names, mode 0600, renamed when complete
//! - [`sealed`]: a container for large secrets in sections, written once, streamed in bounded
//!   memory, every piece of it under a checksum
#![forbid(unsafe_code)]

pub mod private_file;
pub mod sealed;
