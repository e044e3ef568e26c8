//! What parties see looks uniform, whatever the inputs, and is never the same twice.

#![allow(clippy::unwrap_used)]

use amicus_field::{LimbVec, Limbs, PRIMES};
use amicus_plan::ValueId;
use amicus_protocol::Parties;
use amicus_testkit::direct;
use amicus_testkit::nets::{Draft, Net};
use amicus_testkit::random::Random;

const BATCH: usize = 64;
const BINS: usize = 256;
/// Elements per kind of input.
const ELEMENTS: usize = 1_000_000;
/// Chi-square with 255 degrees of freedom exceeds this with probability below 1e-9 (Wilson and Hilferty, z = 6).
const BOUND: f64 = 415.0;

fn net() -> Net {
    let mut net = Draft::new("wide", Limbs::TWO, &[32]);
    let z = net.dense(ValueId::INPUT, 32, 200, true);
    let y = net.activation(z, 3, 2, None);
    let z = net.dense(y, 200, 40, true);
    net.reveal(z)
}

/// Counts by position among the residues, one table per limb.
struct Histogram(Vec<[u64; BINS]>);

impl Histogram {
    fn new() -> Self {
        Histogram(vec![[0; BINS]; 2])
    }

    fn add(&mut self, limb: usize, residue: u64) {
        let bin = u128::from(residue) * BINS as u128 / u128::from(PRIMES[limb]);
        self.0[limb][bin as usize] += 1;
    }

    fn add_all(&mut self, values: &LimbVec) {
        for limb in 0..2 {
            values.plane(limb).iter().for_each(|&r| self.add(limb, r));
        }
    }

    fn chi_square(&self, limb: usize) -> f64 {
        let total: u64 = self.0[limb].iter().sum();
        let expected = total as f64 / BINS as f64;
        self.0[limb].iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum()
    }
}

#[test]
fn opened_values_are_uniform_for_very_different_inputs() {
    let net = net();
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(2).unwrap(), 1, None).unwrap();
    let len = net.input_len() * BATCH;
    let mut random = Random(77);
    let all_zero = vec![0; len];
    let large: Vec<i64> = random.integers(len, 1 << 11);
    for inputs in [all_zero, large] {
        let mut histogram = Histogram::new();
        let mut elements = 0;
        while elements < ELEMENTS {
            let outcome = direct::infer(&loaded, &inputs, BATCH, &[], &mut |_| ()).unwrap();
            outcome.logits.unwrap();
            histogram.add_all(&outcome.input);
            for (_, opened) in &outcome.opened {
                histogram.add_all(opened);
                elements += opened.len();
            }
        }
        for limb in 0..2 {
            let statistic = histogram.chi_square(limb);
            assert!(statistic < BOUND, "limb {limb}: {statistic}");
        }
    }
}

#[test]
fn masks_of_forty_bits_would_be_seen() {
    let mut random = Random(5);
    let mut histogram = Histogram::new();
    for _ in 0..100_000 {
        // A value of 27 bits under a mask of 40.
        let masked = (random.bits() >> 24) + (random.bits() >> 37);
        (0..2).for_each(|limb| histogram.add(limb, masked % PRIMES[limb]));
    }
    assert!((0..2).all(|limb| histogram.chi_square(limb) > BOUND));
}

#[test]
fn masks_never_repeat_across_inferences() {
    let net = net();
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(3).unwrap(), 1, None).unwrap();
    let inputs = Random(9).integers(net.input_len() * 2, 1 << 10);
    let runs: Vec<_> =
        (0..5).map(|_| direct::infer(&loaded, &inputs, 2, &[], &mut |_| ()).unwrap()).collect();
    for (at, one) in runs.iter().enumerate() {
        for other in &runs[at + 1..] {
            let pairs = one.opened.iter().zip(&other.opened).map(|((_, a), (_, b))| (a, b));
            for (a, b) in pairs.chain([(&one.input, &other.input)]) {
                assert!((0..a.len()).all(|i| a.get(i) != b.get(i)));
            }
        }
        // Nor between the inputs of one batch.
        for (_, opened) in &one.opened {
            let half = opened.len() / 2;
            assert!((0..half).all(|i| opened.get(i) != opened.get(half + i)));
        }
    }
}
