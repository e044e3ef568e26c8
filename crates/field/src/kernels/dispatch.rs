//! From the active kernel to its code: every generic function as plain Rust, compiled for AVX2 and
//! compiled for AVX-512.

use super::binary::Sum;
use super::evaluation::{ShareRows, SignedRows};
use super::pooling::Direction;
use super::selection::Kernel;
use super::{binary, boolean, elementwise, evaluation, packing, pooling, product, sumcheck, winograd, words};
use crate::prime::{Limbs, Prime};
use crate::shape::SumPool2d;
use crate::winograd::AREA;

/// A kernel together with the proof that it can run.
#[derive(Clone, Copy)]
pub(crate) enum Token {
    Scalar(super::portable::Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(super::avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(super::avx512::Avx512),
}

impl Token {
    /// Whether tiles are faster when their left side went through [`super::prepare_left`].
    pub(crate) fn converts_left(self) -> bool {
        match self {
            Token::Scalar(_) => false,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => true,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => false,
        }
    }

    /// What transforming a filter costs ([`super::winograd::filter_line`]), in tiles that meet it.
    pub(crate) fn filter_cost(self) -> usize {
        match self {
            Token::Scalar(_) => 4,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => 4,
            // Products are cheap there.
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => 5,
        }
    }

    /// The token of the active kernel.
    pub(crate) fn active() -> Token {
        match Kernel::active() {
            Kernel::Portable => Token::Scalar(super::portable::Scalar),
            // SAFETY: the active kernel is always one whose availability was checked, see
            // `selection`.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => Token::Avx512(unsafe { super::avx512::Avx512::new() }),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Token::Avx2(unsafe { super::avx2::Avx2::new() }),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Avx512 => unreachable!("never active on this architecture"),
        }
    }
}

/// Defines a function that runs `module::name` of the active kernel.
macro_rules! dispatch {
    ($($module:ident :: $name:ident ( $($arg:ident : $type:ty),* $(,)? ) $(-> $result:ty)? ;)*) => {$(
        #[doc = concat!("[`", stringify!($module), "::", stringify!($name), "`] with the active kernel.")]
        #[allow(clippy::too_many_arguments)] // as many as the function behind it
        pub(crate) fn $name($($arg: $type),*) $(-> $result)? {
            /// The generic function, compiled for the instructions the token stands for.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,avx512vbmi")]
            #[allow(clippy::too_many_arguments)] // as many as the function behind it
            fn avx512(token: super::avx512::Avx512, $($arg: $type),*) $(-> $result)? {
                $module::$name(token, $($arg),*)
            }
            /// The generic function, compiled for the instructions the token stands for.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)] // as many as the function behind it
            fn avx2(token: super::avx2::Avx2, $($arg: $type),*) $(-> $result)? {
                $module::$name(token, $($arg),*)
            }
            match Token::active() {
                Token::Scalar(token) => $module::$name(token, $($arg),*),
                // SAFETY: the token exists only where these instructions were detected.
                #[cfg(target_arch = "x86_64")]
                Token::Avx2(token) => unsafe { avx2(token, $($arg),*) },
                // SAFETY: the token exists only where these instructions were detected.
                #[cfg(target_arch = "x86_64")]
                Token::Avx512(token) => unsafe { avx512(token, $($arg),*) },
            }
        }
    )*};
}

dispatch! {
    elementwise::add_assign(prime: Prime, a: &mut [u64], b: &[u64]);
    elementwise::sub_assign(prime: Prime, a: &mut [u64], b: &[u64]);
    elementwise::neg_assign(prime: Prime, a: &mut [u64]);
    elementwise::mul_assign(prime: Prime, a: &mut [u64], b: &[u64]);
    elementwise::add_constant(prime: Prime, a: &mut [u64], constant: u64);
    elementwise::scale_assign(prime: Prime, a: &mut [u64], factor: u64);
    elementwise::add_scaled(prime: Prime, a: &mut [u64], factor: u64, b: &[u64]);
    elementwise::add_product(prime: Prime, a: &mut [u64], b: &[u64], c: &[u64]);
    elementwise::dot(prime: Prime, a: &[u64], b: &[u64]) -> u64;
    elementwise::sum(prime: Prime, a: &[u64]) -> u64;
    product::panels_transposed(prime: Prime, panels: &[u64], y: &[u64], out: &mut [u64]);
    pooling::pool_channel(prime: Prime, shape: &SumPool2d, direction: Direction, from: &[u64], to: &mut [u64]);
    words::open(limbs: Limbs, shift: u32, ell: u32, d: &[&[u64]], v: &mut [&mut [u64]], wrap: &mut [u64]);
    words::mask(limbs: Limbs, shift: u32, wrap: bool, r: &[&[u64]], mu: &mut [&mut [u64]]);
    words::high_half(limbs: Limbs, r: &[&[u64]], high: &mut [u64]);
    evaluation::shares(prime: Prime, rows: &ShareRows<'_>, out: &mut [u64]) -> u64;
    evaluation::signed_shares(prime: Prime, rows: &SignedRows<'_>, out: &mut [u64]) -> u64;
    evaluation::taylor(prime: Prime, binomials: &[[u64; 9]; 9], mu: &[u64], out: &mut [&mut [u64]]);
    evaluation::horner(prime: Prime, b: &[u64], u: &[u64], out: &mut [u64]);
    winograd::image_patch(prime: Prime, image: &[u64], line: usize, channels: usize, out: &mut [u64], stride: usize);
    winograd::filter_line(prime: Prime, size: usize, taps: &[u64], line: usize, out: &mut [u64], stride: usize);
    winograd::output_patch(prime: Prime, size: usize, factors: &[u64; AREA], products: &[u64], spacing: [usize; 2], out: &mut [u64]);
    elementwise::mask52(prime: Prime, words: &mut [u64]) -> bool;
    packing::pack(plane: &[u64], out: &mut [u8]);
    elementwise::add_signed(prime: Prime, a: &mut [u64], b: &[u64], bits: &[u64]);
    words::window(limbs: Limbs, unit: u32, width: u32, x: &[&[u64]], window: &mut [u64]);
    boolean::xor_assign(a: &mut [u64], b: &[u64]);
    boolean::bit(words: &[u64], position: u32, bits: &mut [u64]);
    packing::unpack(prime: Prime, bytes: &[u8], plane: &mut [u64], accumulate: bool) -> bool;
}

/// Defines a function that runs `module::name` of the active kernel.
macro_rules! dispatch_binary {
    ($($module:ident :: $name:ident ( $($arg:ident : $type:ty),* $(,)? ) $(-> $result:ty)? ;)*) => {$(
        #[doc = concat!("[`", stringify!($module), "::", stringify!($name), "`] with the active kernel.")]
        pub(crate) fn $name($($arg: $type),*) $(-> $result)? {
            /// The generic function, compiled for the instructions the token stands for.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,pclmulqdq,vpclmulqdq")]
            fn avx512(token: super::avx512::Avx512, $($arg: $type),*) $(-> $result)? {
                $module::$name(token, $($arg),*)
            }
            /// The generic function, compiled for the instructions the token stands for.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
            fn pairs(token: super::carryless::Pairs, $($arg: $type),*) $(-> $result)? {
                $module::$name(token, $($arg),*)
            }
            /// The generic function, compiled for the instructions the token stands for.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,pclmulqdq")]
            fn single(token: super::carryless::Single, $($arg: $type),*) $(-> $result)? {
                $module::$name(token, $($arg),*)
            }
            match Token::active() {
                Token::Scalar(token) => $module::$name(token, $($arg),*),
                #[cfg(target_arch = "x86_64")]
                Token::Avx2(token) => match super::carryless::Pairs::new(token) {
                    // SAFETY: the tokens exist only where these instructions were detected.
                    Some(token) => unsafe { pairs(token, $($arg),*) },
                    // SAFETY: as above.
                    None => unsafe { single(super::carryless::Single::new(token), $($arg),*) },
                },
                // SAFETY: the token exists only where these instructions were detected.
                #[cfg(target_arch = "x86_64")]
                Token::Avx512(token) => unsafe { avx512(token, $($arg),*) },
            }
        }
    )*};
}

dispatch_binary! {
    binary::multiply(a: [u64; 2], b: [u64; 2]) -> [u64; 2];
    binary::combine(sums: &[Sum<'_>], more: bool, words: usize, out: &mut [u64]);
    binary::sum_selected(elements: &[u64], bits: &[u64]) -> [u64; 2];
    binary::inner_product(a: &[u64], b: &[u64]) -> [u64; 2];
    sumcheck::round(a: [&[u64]; 2], b: [&[u64]; 2]) -> [[u64; 2]; 2];
    sumcheck::fold(lower: &mut [u64], upper: &[u64], r: [u64; 2]);
    sumcheck::fold_and_round(lower: [[&mut [u64]; 2]; 2], upper: [[&[u64]; 2]; 2], r: [u64; 2]) -> [[u64; 2]; 2];
    sumcheck::two_rounds_of_bits(a: [&[u64]; 4], b: [&[u64]; 4]) -> [[u64; 2]; 9];
    sumcheck::fold_twice_and_round_of_bits(a: [[&[u64]; 2]; 4], weights: [[u64; 2]; 3], out: [&mut [u64]; 2], planes: [[&[u64]; 2]; 4]) -> [[[u64; 2]; 2]; 4];
    binary::weighted_bits(planes: [&[u64]; 8], weights: [[u64; 2]; 8], out: &mut [u64]);
    binary::split_by(lower: &mut [u64], upper: &mut [u64], r: [u64; 2]);
}
