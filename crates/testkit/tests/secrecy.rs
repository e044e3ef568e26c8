//! Lemma 1 (`docs/security.md`, section 5) on real runs: of everything that is sent to parties,
//! something uniform is left whatever all others but one party put together, and never the same
//! twice.
//!
//! Weights, inputs and keys are taken for known. Seeds are fixed, so none of the statistics fails
//! by chance.

use amicus_field::{LimbVec, Limbs, Prime, SumPool2d};
use amicus_plan::{ValueId, WrapRule};
use amicus_protocol::Parties;
use amicus_testkit::covers::{Cover, Covers, Witness};
use amicus_testkit::direct;
use amicus_testkit::nets::{Draft, Net, bound};
use amicus_testkit::zoo;
use std::collections::{BTreeMap, HashMap};

/// One load and inferences of these batches; the same inputs for every batch element of all of
/// them.
fn covers(net: &Net, n: usize, batches: &[usize]) -> Vec<Cover> {
    let parties = Parties::new(n).unwrap();
    let mut witness = Witness::new(&format!("covers of {}, {n} parties", net.plan.name));
    let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut witness).unwrap();
    let one = net.inputs(1, 5);
    let mut runs = Vec::new();
    for &batch in batches {
        let inputs = one.repeat(batch);
        let outcome = direct::infer_over(&loaded, &inputs, batch, &[], &mut |_| (), &mut witness).unwrap();
        assert!(outcome.logits.is_ok());
        runs.push((inputs, outcome));
    }
    let mut covers = Covers::of_load(net, &witness, &loaded);
    runs.iter().for_each(|(inputs, outcome)| covers.add_inference(inputs, outcome));
    covers.finish()
}

fn residues(v: &LimbVec, i: usize) -> Vec<u64> {
    (0..v.limbs().count()).map(|limb| v.plane(limb)[i]).collect()
}

#[test]
fn every_message_is_covered_by_a_share_of_every_party_and_no_cover_is_used_twice() {
    let nets = Limbs::ALL.into_iter().flat_map(zoo::all);
    for net in nets {
        for n in [2, 3] {
            let covers = covers(&net, n, &[1, 2]);
            // What each coalition is left with: where every value was seen.
            let mut seen: HashMap<(usize, usize, Vec<u64>), (usize, usize)> = HashMap::new();
            for (number, cover) in covers.iter().enumerate() {
                let at =
                    |element: usize| format!("{}, {n} parties: {}, {element}", net.plan.name, cover.name);
                let zero = LimbVec::zeros(net.plan.limbs, cover.total.len());
                for (coalition, left) in cover.leftovers() {
                    for element in 0..left.len() {
                        let residues = residues(&left, element);
                        assert!(residues.iter().all(|&r| r != 0), "{} is not covered", at(element));
                        let key = (cover.shares.len(), coalition, residues);
                        if let Some((other, place)) = seen.insert(key, (number, element)) {
                            panic!("{} is covered like {}, {place}", at(element), covers[other].name);
                        }
                    }
                }
                assert_eq!(cover.unexplained(), zero, "{} is not what the parties expand", at(0));
            }
        }
    }
}

/// Many elements of every kind.
fn wide() -> Net {
    let mut net = Draft::new("wide", Limbs::TWO, &[64]);
    let left = net.slice(ValueId::INPUT, 0, 32);
    let right = net.slice(ValueId::INPUT, 32, 32);
    let product = net.multiply(left, right);
    let y = net.activation(product, 3, 2, None);
    let z = net.dense(y, 32, 96, true);
    let pool =
        SumPool2d { channels: 32, height: 1, width: 3, kernel: [1, 3], stride: [1, 3], padding: [0; 4] };
    let y = net.polynomial(z, 3, vec![3, -5, 2], Some(pool), WrapRule::Exact, bound(Limbs::TWO));
    let z = net.dense(y, 32, 64, true);
    net.reveal(z)
}

/// How often the residues fall into each of 64 equal parts of `0..p`, and have each value of their
/// low six bits.
#[derive(Clone)]
struct Histogram {
    high: [u64; 64],
    low: [u64; 64],
}

impl Histogram {
    const EMPTY: Histogram = Histogram { high: [0; 64], low: [0; 64] };

    fn add(&mut self, prime: Prime, residues: &[u64]) {
        for &r in residues {
            self.high[(u128::from(r) * 64 / u128::from(prime.value())) as usize] += 1;
            self.low[(r % 64) as usize] += 1;
        }
    }

    /// The chi-square statistics, with 63 degrees of freedom each: mean 63, deviation 11.2. Beyond
    /// 150 with probability below 1e-8.
    fn statistics(&self) -> [f64; 2] {
        [&self.high, &self.low].map(|counts| {
            let expected = counts.iter().sum::<u64>() as f64 / 64.0;
            assert!(expected > 20.0, "too few elements");
            counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum()
        })
    }

    fn is_uniform(&self) -> bool {
        self.statistics().iter().all(|s| (20.0..150.0).contains(s))
    }
}

#[test]
fn what_is_left_is_uniform_for_every_kind_of_message_and_every_coalition() {
    let net = wide();
    for n in [2, 3] {
        let covers = covers(&net, n, &[16, 1, 16, 16]);
        let mut histograms: BTreeMap<(&str, usize, usize, usize), Histogram> = BTreeMap::new();
        for cover in &covers {
            for (coalition, left) in cover.leftovers() {
                for (limb, prime) in Prime::ALL.into_iter().enumerate().take(2) {
                    let key = (cover.word, cover.shares.len(), coalition, limb);
                    let histogram = histograms.entry(key).or_insert(Histogram::EMPTY);
                    histogram.add(prime, left.plane(limb));
                }
            }
        }
        let mut words: Vec<&str> = Vec::new();
        for ((word, shares, coalition, limb), histogram) in &histograms {
            // A load has few tags.
            if *word != "tags" {
                let statistics = histogram.statistics();
                assert!(
                    histogram.is_uniform(),
                    "{word}, coalition {coalition:b} of {shares}, limb {limb}: {statistics:?}"
                );
            }
            words.push(word);
        }
        words.dedup();
        assert_eq!(words, ["activation", "correction", "input", "linear", "product", "tags", "weights"]);
    }
}

#[test]
fn the_tags_of_many_loads_are_uniform() {
    let net = wide();
    let parties = Parties::new(2).unwrap();
    let mut witness = Witness::new("tags of many loads");
    let mut histograms = vec![Histogram::EMPTY; 2];
    for _ in 0..20 {
        witness.letters.clear();
        let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut witness).unwrap();
        for cover in Covers::of_load(&net, &witness, &loaded).finish() {
            for (_, left) in cover.leftovers().filter(|_| cover.word == "tags") {
                for (limb, histogram) in histograms.iter_mut().enumerate() {
                    histogram.add(Prime::of_limb(limb), left.plane(limb));
                }
            }
        }
    }
    assert!(histograms.iter().all(Histogram::is_uniform));
}
