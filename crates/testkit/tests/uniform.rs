//! What parties see looks uniform, whatever the input is, and no mask is used twice
//! (`docs/protocol.md`, sections 3, 7).

use amicus_field::{I256, LimbVec, Limbs, Prime};
use amicus_plan::WrapRule;
use amicus_protocol::Parties;
use amicus_testkit::direct::{self, Loaded, Outcome};
use amicus_testkit::nets::{Draft, Net, bound};
use amicus_testkit::random::Random;
use amicus_testkit::steps;

const TWO: Limbs = Limbs::TWO;
const BINS: usize = 256;
const BATCH: usize = 16;

/// Many opened elements: 1536 linear results and 512 activations, pooled by three, from 24 inputs.
fn wide() -> Net {
    let mut net = Draft::new("wide", TWO, &[24]);
    let z = net.dense(amicus_plan::ValueId::INPUT, 24, 1536, true);
    let pool = amicus_field::SumPool2d {
        channels: 512,
        height: 1,
        width: 3,
        kernel: [1, 3],
        stride: [1, 3],
        padding: [0; 4],
    };
    let y = net.polynomial(z, 3, vec![3, -5, 2], Some(pool), WrapRule::Exact, bound(TWO));
    let z = net.dense(y, 512, 4, true);
    net.reveal(z)
}

/// Everything opened in one run, the masked input included.
fn opened(outcome: &Outcome) -> impl Iterator<Item = &LimbVec> {
    std::iter::once(&outcome.input).chain(outcome.opened.iter().map(|(_, v)| v))
}

/// How often the residues of each limb fall into each of 256 equal parts of `0..p`.
#[derive(Clone)]
struct Histogram([[u64; BINS]; 2]);

impl Histogram {
    fn new() -> Self {
        Histogram([[0; BINS]; 2])
    }

    fn add(&mut self, values: &LimbVec) {
        for (limb, bins) in self.0.iter_mut().enumerate() {
            let p = u128::from(Prime::of_limb(limb).value());
            for &residue in values.plane(limb) {
                bins[(u128::from(residue) * BINS as u128 / p) as usize] += 1;
            }
        }
    }

    fn count(&self) -> u64 {
        self.0[0].iter().sum()
    }

    /// The chi-square statistic of one limb against equal bins.
    fn chi_square(&self, limb: usize) -> f64 {
        let expected = self.count() as f64 / BINS as f64;
        self.0[limb].iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum()
    }

    /// Chi-square with 255 degrees of freedom lies outside this interval with probability below
    /// 2e-9 (Wilson and Hilferty, six standard deviations).
    fn is_uniform(&self) -> bool {
        (0..2).all(|limb| (141.0..416.0).contains(&self.chi_square(limb)))
    }
}

fn run(loaded: &Loaded, inputs: &[i64]) -> Outcome {
    direct::infer(loaded, inputs, BATCH, &[], &mut |_| ()).unwrap()
}

#[test]
fn opened_values_are_uniform_for_very_different_inputs() {
    let net = wide();
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(2).unwrap(), None).unwrap();
    let (mut zeros, mut large) = (Histogram::new(), Histogram::new());
    let mut short = Histogram::new();
    let mut random = Random(77);
    let needed = 1 << 20;
    while large.count() < needed {
        let outcome = run(&loaded, &vec![0; 24 * BATCH]);
        opened(&outcome).for_each(|v| zeros.add(v));
        if short.count() == 0 {
            short_masks(&loaded, &net, &outcome).iter().for_each(|v| short.add(v));
        }
        // They are as large as a client can make them: nothing bounds what is masked.
        let inputs: Vec<i64> = (0..24 * BATCH).map(|_| random.bits() as i64).collect();
        opened(&run(&loaded, &inputs)).for_each(|v| large.add(v));
    }
    for (what, histogram) in [("zeros", &zeros), ("large inputs", &large)] {
        let statistics = [0, 1].map(|limb| histogram.chi_square(limb));
        assert!(histogram.is_uniform(), "{what}: {statistics:?} of {} elements", histogram.count());
    }
    // The test would notice: masks of 40 bits fail it by far with a twentieth of the elements.
    assert!(!short.is_uniform() && short.chi_square(0) > 1e4, "{}", short.chi_square(0));
}

/// What would have been opened had every mask only 40 bits.
fn short_masks(loaded: &Loaded, net: &Net, outcome: &Outcome) -> Vec<LimbVec> {
    let masks = loaded.danger_masks(outcome);
    let values = steps::values(loaded, net, outcome);
    let shorten = |m: &I256| *m & I256::from((1u64 << 40) - 1);
    let pairs = values.into_iter().zip(masks);
    pairs
        .map(|(mut value, mask)| {
            value.add_assign(&LimbVec::from_signed(TWO, mask.signed().iter().map(shorten)));
            value
        })
        .collect()
}

#[test]
fn a_small_bias_would_be_noticed() {
    let mut histogram = Histogram::new();
    let mut random = Random(3);
    for limb in 0..2 {
        for _ in 0..1 << 20 {
            let bin = random.below(BINS);
            // One residue in 20 of the upper half moves to the lower one.
            let moved = bin >= BINS / 2 && random.below(20) == 0;
            histogram.0[limb][if moved { bin - BINS / 2 } else { bin }] += 1;
        }
    }
    assert!(!histogram.is_uniform());
}

#[test]
fn masks_never_repeat() {
    let net = wide();
    let parties = Parties::new(2).unwrap();
    let inputs: Vec<i64> = net.inputs(1, 4).repeat(BATCH);
    // One input in every batch element, in two inferences of one epoch, and in one of another
    // epoch.
    let mut runs = Vec::new();
    for _ in 0..2 {
        let loaded = direct::load(&net.plan, &net.layers(), parties, None).unwrap();
        runs.extend((0..2).map(|_| run(&loaded, &inputs)));
    }
    let mut compared = 0;
    for (number, a) in runs.iter().enumerate() {
        for (x, at) in opened(a).zip(0..) {
            for limb in 0..2 {
                let each = x.len() / BATCH;
                let elements: Vec<&[u64]> = x.plane(limb).chunks(each).collect();
                for pair in elements.windows(2) {
                    assert!(pair[0].iter().zip(pair[1]).all(|(a, b)| a != b), "two batch elements alike");
                }
                for b in &runs[number + 1..] {
                    let y = opened(b).nth(at).unwrap();
                    assert!(
                        x.plane(limb).iter().zip(y.plane(limb)).all(|(a, b)| a != b),
                        "two inferences alike"
                    );
                    compared += y.len();
                }
            }
        }
    }
    assert!(compared > 100_000, "{compared}");
}
