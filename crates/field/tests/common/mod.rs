//! What the tests share: every kernel of this machine, random and boundary vectors.

#![allow(dead_code)] // each test uses a part

use amicus_field::{Kernel, LimbVec, Limbs, Prime, Seed, with_kernel};

/// Runs a test under every kernel this processor has.
pub(crate) fn for_each_kernel(test: impl Fn()) {
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        with_kernel(kernel, || {
            assert_eq!(Kernel::active(), kernel);
            test();
        });
    }
}

/// Runs a test under every kernel and for every number of limbs.
pub(crate) fn for_each_kernel_and_limbs(test: impl Fn(Limbs)) {
    for_each_kernel(|| Limbs::ALL.into_iter().for_each(&test));
}

/// Uniform elements, always the same for one label.
pub(crate) fn random(label: u32, limbs: Limbs, len: usize) -> LimbVec {
    with_kernel(Kernel::Portable, || Seed::from_bytes([1; 32]).stream().sample(label, limbs, len))
}

/// Random elements with the boundary values 0, 1 and p - 1, and those around the middle, strewn in.
pub(crate) fn mixed(label: u32, limbs: Limbs, len: usize) -> LimbVec {
    let vector = random(label, limbs, len);
    let mut words = Vec::new();
    for (l, prime) in limbs.primes().iter().enumerate() {
        words.extend(vector.plane(l).iter().map(|&r| match r % 8 {
            0 => 0,
            1 => 1,
            2 => prime.value() - 1,
            3 => (1 << 51) - 1,
            4 => 1 << 51,
            _ => r,
        }));
    }
    LimbVec::from_planes(limbs, words).unwrap()
}

/// Every residue is p - 1: the largest sums there are.
pub(crate) fn largest(limbs: Limbs, len: usize) -> LimbVec {
    let words = limbs.primes().iter().flat_map(|prime| vec![prime.value() - 1; len]).collect();
    LimbVec::from_planes(limbs, words).unwrap()
}

/// Applies the scalar definition to two vectors.
pub(crate) fn zip(a: &LimbVec, b: &LimbVec, f: impl Fn(Prime, u64, u64) -> u64) -> LimbVec {
    let limbs = a.limbs();
    let words = (0..limbs.count())
        .flat_map(|l| {
            let pairs = a.plane(l).iter().zip(b.plane(l));
            pairs.map(|(&x, &y)| f(Prime::of_limb(l), x, y)).collect::<Vec<_>>()
        })
        .collect();
    LimbVec::from_planes(limbs, words).unwrap()
}
