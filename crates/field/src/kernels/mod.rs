//! The kernels: all unsafe code (but for names of exports) and all SIMD of the project.
//!
//! Element-wise work is written once, in [`elementwise`], [`words`], [`boolean`] and [`evaluation`],
//! over the small trait [`lanes::Lanes`]; the token [`portable::Scalar`] makes it plain Rust,
//! [`avx2::Avx2`] 4 lanes of AVX2 and [`avx512::Avx512`] 8 lanes of AVX-512. So is work on GF(2^128),
//! in [`binary`] and [`sumcheck`], over [`elements::Elements`]. Matrix tiles, the generator and
//! packing have versions of their own. Functions here work on one plane (one prime) and choose the
//! active kernel by themselves.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod aesni;
mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_fma;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_ifma;
mod binary;
mod boolean;
#[cfg(target_arch = "x86_64")]
mod carryless;
mod dispatch;
mod elements;
mod elementwise;
mod evaluation;
mod lanes;
mod packing;
mod pooling;
mod portable;
mod product;
mod selection;
mod sumcheck;
#[cfg(target_arch = "x86_64")]
mod vaes;
mod winograd;
mod wipe;
mod words;

#[cfg(target_arch = "x86_64")]
pub(crate) use aesni::AesNi;
pub(crate) use aligned::Aligned;
pub(crate) use binary::Sum;
pub(crate) use dispatch::*;
pub(crate) use evaluation::{MAX_DEGREE, ShareRows, SignedRows};
pub(crate) use pooling::Direction;
pub(crate) use product::{
    Extent, LANES, Left, PANEL, Panel, TILE_ROWS, Tile, left_buffer, pack_patches, prepare, prepare_left,
    tile,
};
pub use selection::{Kernel, KernelError, with_kernel};
#[cfg(target_arch = "x86_64")]
pub(crate) use vaes::Vaes;
pub(crate) use wipe::wipe;
