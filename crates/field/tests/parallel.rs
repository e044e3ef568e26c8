//! With threads to split work over, everything gives what it gives without, to the bit.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::parallel::{Workers, with_workers};
use amicus_field::{
    Argument, BitVec, Conv2d, Dense, Kernel, LimbVec, Limbs, LinearMap, LinearShape, PolynomialShares, Seed,
    SumPool2d, Truncation, WordVec, add_signed_shares, evaluate, evaluate_shares, pack_into, sum_pool,
    sum_pool_transposed, taylor_coefficients, unpack, unpack_add, with_kernel,
};
use common::random;
use std::cell::Cell;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Long enough to be split, odd, and no multiple of what parts are a multiple of.
const LEN: usize = 180_001;

/// Threads of their own for every piece of work, which count the pieces.
struct Scoped {
    threads: usize,
    pieces: Cell<usize>,
}

impl Workers for Scoped {
    fn count(&self) -> usize {
        self.threads
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        self.pieces.set(self.pieces.get() + 1);
        let next = AtomicUsize::new(0);
        let worker = || {
            while let Some(part) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&part| part < parts) {
                work(part);
            }
        };
        std::thread::scope(|scope| {
            (1..self.threads).for_each(|_| _ = scope.spawn(worker));
            worker();
        });
    }
}

/// Holds what `work` gives on 2, 3 and 7 threads with every kernel to what it gives alone, and sees
/// that it was split.
fn same<T: PartialEq + Debug>(name: &str, work: impl Fn() -> T) {
    let alone = work();
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        for threads in [2, 3, 7] {
            let workers = Rc::new(Scoped { threads, pieces: Cell::new(0) });
            let shared = with_workers(workers.clone(), || with_kernel(kernel, &work));
            assert!(shared == alone, "{name}: {threads} threads, {kernel:?}");
            assert!(workers.pieces.get() > 0, "{name}: never split");
        }
    }
}

fn bits(seed: u64, len: usize) -> BitVec {
    let words = random(seed as u32, Limbs::ONE, len);
    words.plane(0).iter().map(|word| word >> 17 & 1 == 1).collect()
}

#[test]
fn element_by_element() {
    for limbs in [Limbs::TWO, Limbs::THREE] {
        let [a, b, c] = [1, 2, 3].map(|label| random(label, limbs, LEN));
        let changed = |change: &dyn Fn(&mut LimbVec)| {
            let mut a = a.clone();
            change(&mut a);
            a
        };
        same("sum", || changed(&|a| a.add_assign(&b)));
        same("difference", || changed(&|a| a.sub_assign(&b)));
        same("product", || changed(&|a| a.mul_assign(&b)));
        same("sum of products", || changed(&|a| a.add_product(&b, &c)));
        let signs = bits(4, LEN);
        same("signs", || changed(&|a| a.add_signed(&b, &signs)));
        same("inner product", || a.dot(&b));
        same("inner product of parts", || a.dot_parts(3..LEN - 4, &b, 7..LEN));
    }
}

#[test]
fn streams() {
    let stream = Seed::from_bytes([5; 32]).stream();
    for limbs in [Limbs::TWO, Limbs::THREE] {
        same("sample", || stream.sample_from(9, limbs, 17, LEN));
        let a = random(1, limbs, LEN);
        same("added", || {
            let mut a = a.clone();
            stream.add_sample_from(3, 5, &mut a);
            stream.sub_sample_from(4, 1 << 40, &mut a);
            a
        });
    }
}

#[test]
fn packing() {
    for limbs in [Limbs::TWO, Limbs::THREE] {
        let a = random(1, limbs, LEN);
        let mut bytes = Vec::new();
        pack_into(&a, &mut bytes);
        same("pack", || {
            let mut bytes = Vec::new();
            pack_into(&a, &mut bytes);
            bytes
        });
        same("unpack", || unpack(limbs, LEN, &bytes).unwrap());
        same("unpack and add", || {
            let mut sum = a.clone();
            unpack_add(&mut sum, &bytes).unwrap();
            sum
        });
        // The first wrong limb is named, wherever the word stands.
        let mut wrong = bytes.clone();
        let end = wrong.len();
        wrong[end - 60..].fill(0xff);
        same("a residue too large", || unpack(limbs, LEN, &wrong).unwrap_err());
        wrong[100..200].fill(0xff);
        same("two residues too large", || unpack(limbs, LEN, &wrong).unwrap_err());
    }
}

#[test]
fn polynomials_and_truncation() {
    for limbs in Limbs::ALL {
        let truncation = Truncation::new(limbs, limbs.bits() - 5, limbs.bits() / 3).unwrap();
        let d = random(1, limbs, LEN);
        same("open", || {
            let opened = truncation.open(&d);
            ((0..LEN).map(|i| opened.wrap.get(i)).collect::<Vec<_>>(), opened.v)
        });
        for wrap in [false, true] {
            same("mask", || truncation.mask(&d, wrap));
        }
        let leading = random(2, limbs, 7);
        let b: Vec<_> = (0..7).map(|i| leading.get(i)).collect();
        same("Taylor coefficients", || taylor_coefficients(&b, &d));
        let (degree, keys) = (3, random(3, limbs, LEN));
        let many =
            |first: u32, count: u32| (0..count).map(|k| random(first + k, limbs, LEN)).collect::<Vec<_>>();
        let (c, e, tag_c, tag_e) =
            (many(10, degree - 1), many(20, degree), many(30, degree - 1), many(40, degree));
        // Batch elements longer and shorter than parts, and one that ends inside of a part.
        for batch in [1, 53, LEN] {
            let len = LEN / batch * batch;
            let cut = |all: &[LimbVec]| all.iter().map(|v| v.slice(0..len)).collect::<Vec<_>>();
            let (d, keys) = (d.slice(0..len), keys.slice(0..len));
            let [c, e, tag_c, tag_e] = [&c, &e, &tag_c, &tag_e].map(|all| cut(all));
            let argument = Argument { d: &d, truncation: Some(&truncation), batch };
            let [values, tags] = [(&c, &e), (&tag_c, &tag_e)].map(|(c, e)| PolynomialShares { c, e });
            same("shares", || evaluate_shares(argument, values, tags, &keys, &b[0], true));
            let argument = Argument { truncation: None, ..argument };
            let [values, tags] = [values, tags].map(|shares| PolynomialShares { e: &[], ..shares });
            same("shares without truncation", || {
                evaluate_shares(argument, values, tags, &keys, &b[0], false)
            });
            let signs = bits(4, len);
            same("signed shares", || {
                let mut out = keys.clone();
                let sums = add_signed_shares(argument, &signs, &e, &tag_e, &mut out);
                (out, sums)
            });
        }
        // Public, and few.
        assert_eq!(evaluate(&b[..1], &d.slice(0..1)).get(0), b[0]);
    }
}

#[test]
fn windows() {
    for limbs in Limbs::ALL {
        let x = random(1, limbs, LEN);
        same("window", || WordVec::window(&x, limbs.bits() / 2, 13));
    }
}

#[test]
fn products() {
    let (stride, dilation, groups) = ([1; 2], [1; 2], 1);
    let conv = |in_channels, size: usize, out_channels, taps, padding, stride| Conv2d {
        in_channels,
        in_height: size,
        in_width: size,
        out_channels,
        kernel: [taps; 2],
        stride: [stride; 2],
        padding: [padding; 4],
        dilation,
        groups,
    };
    let _ = stride;
    let shapes = [
        (LinearShape::Dense(Dense { inputs: 1030, outputs: 517 }), 5),
        (LinearShape::Dense(Dense { inputs: 333, outputs: 101 }), 67),
        // Plain, few pixels and many channels; over tiles, one image and several.
        (LinearShape::Conv2d(conv(40, 8, 230, 3, 1, 2)), 2),
        (LinearShape::Conv2d(conv(47, 16, 61, 3, 1, 1)), 1),
        (LinearShape::Conv2d(conv(9, 13, 24, 5, 2, 1)), 11),
        (LinearShape::Conv2d(conv(9, 40, 60, 1, 0, 1)), 3),
    ];
    for limbs in [Limbs::TWO, Limbs::THREE] {
        for (shape, batch) in shapes {
            let map = LinearMap::new(shape, &random(1, limbs, shape.weights())).unwrap();
            let x = random(2, limbs, batch * shape.inputs());
            same(&format!("{shape:?}"), || map.apply(&x, batch));
            if shape.multiply_adds() > 1 << 22 {
                let y = random(3, limbs, shape.outputs());
                same(&format!("transposed {shape:?}"), || map.apply_transposed(&y, 1));
            }
        }
        let pool = SumPool2d {
            channels: 65,
            height: 33,
            width: 41,
            kernel: [3, 2],
            stride: [2, 2],
            padding: [0, 1, 1, 0],
        };
        let x = random(1, limbs, 3 * pool.inputs());
        same("sums of windows", || sum_pool(&pool, &x, 3));
        let y = random(1, limbs, 3 * pool.outputs());
        same("sums of windows, transposed", || sum_pool_transposed(&pool, &y, 3));
    }
}
