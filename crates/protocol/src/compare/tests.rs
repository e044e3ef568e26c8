//! Comparisons and their proofs among all roles: right bits are accepted and wrong ones are not, and
//! no proof shows a share, or the helper what is public.

use super::circuit::{Public, Transpose};
use super::helper::{self, Shares};
use super::joins;
use super::party::{CompareMaterial, Comparing, DealtBits};
use super::proof::{Committed, Proving, masks_of};
use crate::keyed::KeyedHash;
use crate::label::{Label, LabelStream, Purpose};
use crate::transcript::Digest;
use crate::{EpochId, InferenceId, Parties, PartyId, Scope, SessionId};
use amicus_field::{BitVec, Gf128, Gf128Vec, Limbs, Seed};
use amicus_plan::{Chunk, Compare, ValueId};
use std::collections::HashSet;

const POINT: Digest = Digest([3; 32]);

/// So many that there are two chunks of them, with six digits of two bits; of chunks this few, parties
/// keep what they computed.
const TWO_CHUNKS: usize = 2688 + 70;

/// So many that they do not.
const FOUR_CHUNKS: usize = 3 * 2688 + 70;

fn compare(digits: &[u32], thresholds: usize) -> Compare {
    let thresholds = (0..thresholds as i128).map(|t| 1000 * t - 7).collect();
    Compare { input: ValueId(0), thresholds, unit: 3, digits: digits.to_vec() }
}

/// One wrong bit: who sends it, which opening's it is, and of which element.
#[derive(Clone, Copy, Debug)]
struct Flip {
    by: usize,
    opening: usize,
    element: usize,
}

/// A comparison up to its proofs.
struct Trial {
    compare: Compare,
    len: usize,
    parties: Parties,
    public: Public,
    committed: Committed,
    proving: Vec<Proving>,
}

fn streams(parties: Parties, op: u32) -> Vec<LabelStream> {
    let scope = Scope::new(SessionId::from_bytes([1; 16]), EpochId::from_bytes([2; 16]), InferenceId(3));
    let label = Label::new(Purpose::Material, scope, op);
    parties.all().map(|party| label.stream(&Seed::from_bytes([party.number() as u8; 32]))).collect()
}

/// The place of an opening: its level, and its position among what the level opens.
fn place(compare: &Compare, opening: usize) -> (usize, usize) {
    let joins = joins(compare);
    let (threshold, bit) = (opening / joins.all_bits(), opening % joins.all_bits());
    let levels = 0..compare.levels();
    let level = levels.rev().find(|&level| joins.bits_before(level) <= bit).unwrap();
    (level, threshold * joins.bits(level) + bit - joins.bits_before(level))
}

impl Trial {
    fn new(compare: &Compare, n: usize, len: usize, op: u32, flips: &[Flip]) -> Trial {
        let parties = Parties::new(n).unwrap();
        let numbers = Seed::from_bytes([40; 32]).stream();
        let [r, opened] = [0, 1].map(|domain| numbers.sample(domain, Limbs::ONE, len));
        let given = streams(parties, op);
        let place_of = (0, parties.last());
        let dealt = helper::deal(compare, &r, &given, place_of, &mut |_: &BitVec| ());
        let begin = |((me, stream), shares): ((PartyId, LabelStream), &Shares)| {
            let bits = DealtBits::new(compare, shares.dealt.clone());
            CompareMaterial::new(compare, len, stream, bits).begin(compare, me, n, &opened)
        };
        let of_parties = parties.all().zip(streams(parties, op)).zip(&dealt.shares);
        let mut comparing: Vec<Comparing> = of_parties.map(begin).collect();
        for level in 0..compare.levels() {
            let mut sent: Vec<Vec<BitVec>> = comparing.iter().map(Comparing::shares).collect();
            for flip in flips {
                let (of_level, plane) = place(compare, flip.opening);
                if of_level == level {
                    sent[flip.by][plane].flip(flip.element);
                }
            }
            comparing.iter_mut().for_each(|party| _ = party.opened(&sent));
        }
        assert!(comparing.iter().all(Comparing::is_done));
        let compared: Vec<_> = comparing.into_iter().map(Comparing::finish).collect();
        let public = compared[0].public.clone();
        let proving = parties.all().zip(compared);
        let proving = proving.map(|(me, compared)| Proving::new(compare, compared, me, &POINT)).collect();
        let chunks =
            |stream| compare.chunks(len).enumerate().map(|(c, chunk)| masks_of(stream, c, &chunk)).collect();
        let masks = given.iter().map(chunks).collect();
        let committed = Committed { shares: dealt.shares, masks };
        Trial { compare: compare.clone(), len, parties, public, committed, proving }
    }

    fn messages(&self) -> Vec<(PartyId, Vec<u8>)> {
        self.parties
            .all()
            .zip(&self.proving)
            .map(|(party, proving)| (party, proving.message().to_vec()))
            .collect()
    }

    /// The report that all parties give.
    fn report(self, messages: &[(PartyId, Vec<u8>)]) -> (Vec<u8>, Committed) {
        let Trial { compare, parties, proving, committed, .. } = self;
        let reports = parties.all().zip(proving).map(|(me, proving)| proving.report(&compare, me, messages));
        let reports: Vec<Vec<u8>> = reports.collect();
        assert!(reports.iter().all(|report| *report == reports[0]), "parties report different things");
        (reports[0].clone(), committed)
    }

    fn accepted(self) -> bool {
        let (compare, len, messages) = (self.compare.clone(), self.len, self.messages());
        let (report, committed) = self.report(&messages);
        committed.holds(&compare, len, &report)
    }
}

fn accepted(compare: &Compare, n: usize, len: usize, flips: &[Flip]) -> bool {
    Trial::new(compare, n, len, 0, flips).accepted()
}

fn openings(compare: &Compare) -> usize {
    compare.openings().iter().sum()
}

/// What is said to be kept of a comparison is what is kept.
#[test]
fn the_helper_keeps_as_many_bytes_as_the_plan_says() {
    for (compare, n, len) in [(compare(&[2; 6], 1), 2, TWO_CHUNKS), (compare(&[1, 3], 2), 3, 65)] {
        let committed = Trial::new(&compare, n, len, 0, &[]).committed;
        let bits = committed.shares.iter().flat_map(|shares| shares.dealt.iter().chain(&shares.masks));
        let masks = committed.masks.iter().flatten();
        let bytes = 8 * bits.map(|bits| bits.len().div_ceil(64)).sum::<usize>()
            + masks.map(|masks| Gf128::BYTES * masks.len()).sum::<usize>();
        assert_eq!(bytes, compare.kept_bytes(len, n));
    }
}

#[test]
fn right_bits_are_accepted_and_all_parties_report_the_same() {
    for (digits, thresholds) in [(&[1][..], 1), (&[2, 1], 1), (&[1, 2, 1], 2), (&[2; 6], 1), (&[1; 5], 3)] {
        for len in [1, 64, 130] {
            for n in [2, 3] {
                let compare = compare(digits, thresholds);
                assert!(accepted(&compare, n, len, &[]), "{digits:?}, {len} elements, {n} parties");
            }
        }
    }
    for len in [TWO_CHUNKS, FOUR_CHUNKS] {
        assert!(accepted(&compare(&[2; 6], 1), 3, len, &[]));
    }
    assert!(accepted(&compare(&[1], 1), 2, 0, &[]));
}

#[test]
fn every_wrong_bit_of_every_party_is_caught() {
    for (compare, len) in [(compare(&[1, 2, 1], 2), 70), (compare(&[2; 6], 1), 3), (compare(&[3], 1), 3)] {
        for n in [2, 3] {
            for by in 0..n {
                for opening in 0..openings(&compare) {
                    for element in [0, len - 1] {
                        let flip = Flip { by, opening, element };
                        assert!(!accepted(&compare, n, len, &[flip]), "{flip:?} of {n} parties");
                    }
                }
            }
        }
    }
    let compare = compare(&[2; 6], 1);
    for by in 0..2 {
        for (len, element) in [
            (TWO_CHUNKS, 0),
            (TWO_CHUNKS, 2687),
            (TWO_CHUNKS, 2688),
            (TWO_CHUNKS, TWO_CHUNKS - 1),
            (FOUR_CHUNKS, 2 * 2688),
            (FOUR_CHUNKS, FOUR_CHUNKS - 1),
        ] {
            let flip = Flip { by, opening: 5, element };
            assert!(!accepted(&compare, 2, len, &[flip]), "{flip:?} of {len}");
        }
    }
}

#[test]
fn no_two_wrong_bits_cancel() {
    let (compare, len) = (compare(&[1, 2, 1], 2), 4);
    let all = openings(&compare);
    let caught = |flips: [Flip; 2]| assert!(!accepted(&compare, 2, len, &flips), "{flips:?}");
    for one in 0..all {
        let of = |by, opening, element| Flip { by, opening, element };
        for element in 1..len {
            caught([of(1, one, 0), of(1, one, element)]);
        }
        for other in one + 1..all {
            caught([of(1, one, 2), of(1, other, 2)]);
        }
        // What is opened is right.
        caught([of(0, one, 3), of(1, one, 3)]);
    }
}

#[test]
fn every_element_of_a_proof_counts() {
    let compare = compare(&[2, 1], 1);
    for by in 0..2 {
        let bytes = compare.proof_bytes(5);
        for byte in 0..bytes {
            let trial = Trial::new(&compare, 2, 5, 0, &[]);
            let mut messages = trial.messages();
            messages[by].1[byte] ^= 1 << (byte % 8);
            // Its prover may report what the others saw, and its own is what it made itself.
            let reports: Vec<Vec<u8>> = trial
                .parties
                .all()
                .zip(trial.proving)
                .map(|(me, proving)| proving.report(&compare, me, &messages))
                .collect();
            let seen = &reports[1 - by];
            assert!(!trial.committed.holds(&compare, 5, seen), "byte {byte} of party {by}");
        }
    }
}

#[test]
fn a_report_of_another_length_is_an_error() {
    let compare = compare(&[2, 1], 1);
    let trial = Trial::new(&compare, 2, 5, 0, &[]);
    let messages = trial.messages();
    let (report, committed) = trial.report(&messages);
    for wrong in [&report[1..], &[&report[..], &[0]].concat(), &[]] {
        assert!(!committed.holds(&compare, 5, wrong));
    }
}

fn hash(key: &Digest, of: &[u8]) -> Digest {
    KeyedHash::new(&key.0).update(of).finish()
}

fn element(bytes: &[u8]) -> Gf128 {
    Gf128::from_bytes(bytes.try_into().unwrap())
}

/// What the specification says of a chunk.
struct Drawn {
    weights: Digest,
    /// What hides the public side of every prover.
    masks: Vec<Gf128>,
}

fn drawn(parties: Parties, number: usize) -> Drawn {
    let key = hash(&POINT, &[&b"amicus proof"[..], &(number as u32).to_le_bytes()].concat());
    let mask = |party: PartyId| element(&hash(&key, &[1, party.number() as u8]).0[..16]);
    Drawn { weights: hash(&key, &[0]), masks: parties.all().map(mask).collect() }
}

/// What a report says of one prover in one chunk.
struct Reported {
    challenges: Vec<Gf128>,
    public: Gf128,
}

/// Weights' seeds, and what is said of every prover, chunk by chunk.
fn parsed(compare: &Compare, len: usize, n: usize, report: &[u8]) -> Vec<(Digest, Vec<Reported>)> {
    let mut rest = report;
    let mut all = Vec::new();
    for chunk in compare.chunks(len) {
        let (part, behind) = rest.split_at(chunk.report_bytes(n));
        rest = behind;
        let (seed, provers) = part.split_at(32);
        let reported = |said: &[u8]| {
            let mut elements = said.chunks_exact(16).map(element);
            let challenges = elements.by_ref().take(chunk.rounds).collect();
            Reported { challenges, public: elements.next().unwrap() }
        };
        let provers = provers.chunks_exact(16 * (chunk.rounds + 2)).map(reported).collect();
        all.push((Digest(seed.try_into().unwrap()), provers));
    }
    all
}

/// The public side of a chunk, without what hides it.
fn public_side(compare: &Compare, public: &Public, chunk: &Chunk, weights: &Digest) -> Gf128Vec {
    let mut transpose = Transpose::default();
    transpose.fit(compare, chunk.elements.len(), 1 << chunk.rounds);
    transpose.weights.sample(&Seed::from_bytes(weights.0).stream());
    transpose.run(compare, &public.slice(chunk.elements.clone()));
    transpose.side
}

fn folded(mut side: Gf128Vec, challenges: &[Gf128]) -> Gf128 {
    challenges.iter().for_each(|&r| side.fold(r));
    side.get(0)
}

/// With the challenges that a report has, every round's polynomial can be computed from all shares:
/// what is sent is that and a mask, which is no other one.
#[test]
fn everything_that_provers_send_is_masked_by_an_element_of_its_own() {
    for len in [TWO_CHUNKS, FOUR_CHUNKS] {
        every_mask_is_another(len);
    }
}

fn every_mask_is_another(len: usize) {
    let (compare, n) = (compare(&[2; 6], 1), 3);
    let mut seen = HashSet::from([[0; 16]]);
    for op in 0..2 {
        let trial = Trial::new(&compare, n, len, op, &[]);
        let (public, parties, messages) = (trial.public.clone(), trial.parties, trial.messages());
        let (report, committed) = trial.report(&messages);
        let said = parsed(&compare, len, n, &report);
        let mut at = 0;
        for (number, chunk) in compare.chunks(len).enumerate() {
            let drawn = drawn(parties, number);
            assert_eq!(said[number].0, drawn.weights);
            let last = (1 << chunk.rounds) - 1;
            for (prover, shares) in committed.shares.iter().enumerate() {
                let mut a = public_side(&compare, &public, &chunk, &drawn.weights);
                a.set(last, drawn.masks[prover]);
                let mut b = Gf128Vec::zeros(last + 1);
                for (row, bits) in shares.dealt.iter().enumerate() {
                    let bits = bits.slice(chunk.elements.clone());
                    let set = (0..bits.len()).filter(|&e| bits.get(e));
                    set.for_each(|e| b.set(row * bits.len() + e, Gf128::ONE));
                }
                let sent = &messages[prover].1[at..at + chunk.proof_bytes()];
                for (round, sent) in sent.chunks_exact(32).enumerate() {
                    let parts = a.round(&b).into_iter().zip(sent.chunks_exact(16));
                    for (part, (polynomial, sent)) in parts.enumerate() {
                        let mask = polynomial + element(sent);
                        assert_eq!(mask, committed.masks[prover][number].get(2 * round + part));
                        let place = format!("operation {op}, chunk {number}, prover {prover}, round {round}");
                        assert!(seen.insert(mask.to_bytes()), "{place}: no mask, or one again");
                    }
                    let r = said[number].1[prover].challenges[round];
                    a.fold(r);
                    b.fold(r);
                }
            }
            at += chunk.proof_bytes();
        }
    }
    assert_eq!(seen.len(), 1 + 2 * n * compare.proof_bytes(len) / 16);
}

/// The helper can fold the public side itself if it guesses everything that is public. What a report
/// has is that and an element of the prover's and the chunk's own.
#[test]
fn public_sides_are_hidden_from_the_helper() {
    for len in [TWO_CHUNKS, FOUR_CHUNKS] {
        every_public_side_is_hidden(len);
    }
}

fn every_public_side_is_hidden(len: usize) {
    let (compare, n) = (compare(&[2; 6], 1), 3);
    let trial = Trial::new(&compare, n, len, 0, &[]);
    let (public, messages) = (trial.public.clone(), trial.messages());
    let (report, _) = trial.report(&messages);
    // Hidden elements times the product of the challenges: compared across.
    let mut seen: Vec<(Gf128, Gf128)> = Vec::new();
    let mut seeds = HashSet::new();
    for (chunk, (seed, provers)) in compare.chunks(len).zip(parsed(&compare, len, n, &report)) {
        assert!(seeds.insert(seed.0), "chunks have the same weights");
        let side = public_side(&compare, &public, &chunk, &seed);
        for Reported { challenges, public } in provers {
            let product = challenges.iter().fold(Gf128::ONE, |product, &r| product * r);
            let hidden = public + folded(side.clone(), &challenges);
            assert!(!hidden.is_zero(), "a public side is told");
            assert!(seen.iter().all(|(h, p)| *h * product != hidden * *p), "one element hides two");
            seen.push((hidden, product));
        }
    }
    assert_eq!(seen.len(), compare.chunks(len).count() * n);
}

/// Challenges are of one prover and chunk, also where the same is sent.
#[test]
fn challenges_are_of_one_prover_and_chunk() {
    let (compare, n, len) = (compare(&[2; 6], 1), 3, TWO_CHUNKS);
    let trial = Trial::new(&compare, n, len, 0, &[]);
    let alike: Vec<(PartyId, Vec<u8>)> =
        trial.messages().into_iter().map(|(party, body)| (party, vec![7; body.len()])).collect();
    let reports: Vec<Vec<u8>> = trial
        .parties
        .all()
        .zip(trial.proving)
        .map(|(me, proving)| proving.report(&compare, me, &alike))
        .collect();
    // A party reports of itself what it made.
    let mut seen = HashSet::new();
    for (_, provers) in parsed(&compare, len, n, &reports[0]) {
        for Reported { challenges, .. } in &provers[1..] {
            challenges.iter().for_each(|r| assert!(seen.insert(r.to_bytes()), "a challenge again"));
        }
    }
}
