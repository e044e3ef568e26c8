//! Readers of data sets, one for each format.
//!
//! What this is: the only place where images and arrays of others become values. The demonstration
//! (`amicus-cli`) and training (`amicus-train`) read through it; networks are read by
//! `amicus-model`.
//!
//! | format | module |
//! | --- | --- |
//! | IDX, and how MNIST names its files | [`idx`], [`mnist`] |
//! | CIFAR-10: binary batches, class folders, archives of either | [`cifar10`] |
//! | folders of PNG and JPEG files, a folder for each class | [`pictures`] |
//! | NumPy's `.npz`, read and written | [`npz`] |
//! | files that may be gzipped | [`gzip`] |
//!
//! Files come from outside: they may be cut off, lie about sizes, or be made to harm. Readers do
//! not panic and do not take memory that the bytes do not warrant; what they refuse is a
//! [`DataError`] that names the file. Each has a fuzz target ([docs/testing.md]).
//!
//! [docs/testing.md]: ../../../docs/testing.md
#![forbid(unsafe_code)]

pub mod cifar10;
mod error;
pub mod gzip;
pub mod idx;
mod images;
pub mod mnist;
pub mod npz;
pub mod pictures;

pub use error::DataError;
pub use images::{Images, fingerprint};
