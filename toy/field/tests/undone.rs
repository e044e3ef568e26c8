//! An oracle whose runs are undone is, in every run, what a clone from its beginning is.

use amicus_toy_field::oracle::{Draw, FreshSeeds, Oracle};
use amicus_toy_field::{Limbs, Prime, Randomness, Seed};

static PRIMES: [Prime; 3] = [Prime::toy(3), Prime::toy(5), Prime::toy(7)];

/// Draws from streams that every run has and from ones that only this run has, in an order of its own;
/// returns what came, and the seeds.
fn draw(parent: &Seed, number: u64) -> (Vec<u64>, Vec<Seed>) {
    let fresh = FreshSeeds.seed().unwrap();
    let mut seeds = vec![parent.clone(), fresh.clone(), parent.derive(b"every run")];
    if number.is_multiple_of(3) {
        seeds.push(parent.derive(b"before"));
    }
    seeds.extend((0..20u8).map(|i| fresh.derive(&[&number.to_le_bytes()[..], &[i]].concat())));
    let at = number as usize % seeds.len();
    seeds.rotate_left(at);
    let mut values = Vec::new();
    for seed in &seeds {
        let stream = seed.stream();
        let first = number % 5;
        let elements = stream.sample_from(3, Limbs::TWO, first, 3);
        values.extend((0..3).flat_map(|i| [0, 1].map(|l| elements.get(i).limb(l))));
        let bits = stream.sample_bits(4, 64 * (number % 2), 70);
        values.extend((0..70).map(|i| u64::from(bits.get(i))));
        values.extend(stream.sample_gf128(5, first, 2).get(1).to_bytes().map(u64::from));
    }
    (values, seeds)
}

#[test]
fn runs_that_were_undone_leave_nothing() {
    let ([parent, child], mut start) = Oracle::new(&PRIMES, 1).named(3).run(|| {
        let parent = FreshSeeds.seed().unwrap();
        let child = parent.derive(b"before");
        // A part of what runs draw is drawn before.
        parent.stream().sample_from(3, Limbs::ONE, 0, 4);
        child.stream().sample_bits(4, 0, 7);
        [parent, child]
    });
    start.fix(20, 1);
    let (mut oracle, beginning) = start.clone().repeatable();
    let mut before: (Vec<Draw>, Vec<Seed>) = (Vec::new(), Vec::new());
    // More than is left over.
    for number in 0..200 {
        let (mut clone, point) = (start.clone(), 15 + number as usize % 40);
        clone.fix(point, number % 2);
        oracle.fix(point, number % 2);
        let (drawn, clone) = clone.run(|| draw(&parent, number));
        let (also_drawn, also) = oracle.run(|| draw(&parent, number));
        assert!(drawn == also_drawn, "run {number}");
        assert!(clone.draws().eq(also.draws()), "run {number}");
        let draws = before.0.into_iter().chain(clone.draws().map(|(draw, _)| draw));
        assert!({ draws }.all(|draw| clone.drawn(&draw) == also.drawn(&draw)), "run {number}");
        let seeds = before.1.iter().chain(&drawn.1).chain([&parent, &child]).map(Seed::as_bytes);
        assert!({ seeds }.all(|seed| clone.origin(seed) == also.origin(seed)), "run {number}");
        before = (clone.draws().map(|(draw, _)| draw).collect(), drawn.1);
        oracle = also;
        oracle.undo(&beginning);
    }
}
