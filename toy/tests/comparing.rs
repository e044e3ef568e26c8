//! Comparisons, truncations and selections at tiny primes, proofs of their bits over a field of four
//! elements: what all parties but one see has one distribution for all inputs, also under errors; and
//! which wrong bits pass (`docs/security.md`, Lemmas 1 and 3).
//!
//! Challenges of proofs are the hashes that ship, and are not walked through. What depends on them, how
//! seldom one of them lets a false claim pass, has its tests at the real field
//! (`crates/protocol/src/compare`).

mod common;

use std::cell::RefCell;

use amicus_field::oracle::{Draw, Oracle, Origin};
use amicus_field::{Limbs, Prime};
use amicus_plan::{OpIndex, OpKind, Plan, Stage};
use amicus_protocol::label::{Purpose, domain};
use amicus_protocol::wire::Kind;
use amicus_toy::nets::{self, Net};
use amicus_toy::run::{Conduct, Deviation, Error, Log, Message, Place, Role};
use amicus_toy::views::{Distribution, Enumeration, purpose};
use amicus_toy::{FIVE, THIRTEEN, THREE, everything};
use common::{Before, Secret, all_but, inference, load_of};

const ONE: Limbs = Limbs::ONE;
const RELU: &[&[i128]] = &[&[0], &[0, 1]];

type Primes = &'static [Prime; 3];

fn input(x: i64) -> Secret {
    Secret { weights: Vec::new(), x: vec![x] }
}

/// Everything but MAC keys.
fn masks(oracle: &Oracle, draw: &Draw) -> bool {
    purpose(oracle, draw) != Some(Purpose::Material as u8) || draw.domain != domain::KEY
}

/// The masks of proofs.
fn of_proofs(oracle: &Oracle, draw: &Draw) -> bool {
    purpose(oracle, draw) == Some(Purpose::Material as u8) && draw.domain == domain::PROOF
}

fn is_of(oracle: &Oracle, draw: &Draw, op: u32) -> bool {
    let of_op = match oracle.origin(&draw.seed) {
        Some(Origin::Derived { label, .. }) => label.ends_with(&op.to_le_bytes()),
        _ => false,
    };
    of_op && purpose(oracle, draw) == Some(Purpose::Material as u8)
}

fn place(op: u32, level: u32, at: usize) -> Place {
    Place::Opening(Stage { op: OpIndex(op), level }.index(), at)
}

/// Whether a message is of an operation, or opened before it. Corrections of earlier operations are
/// covered by masks that are fixed, as those of later ones.
fn is_before(m: &Message, op: u32) -> bool {
    match m.kind {
        Kind::Opening => Stage::from_index(m.index).op.0 <= op,
        Kind::DealCorrection => m.index == op,
        kind => !matches!(kind, Kind::Check | Kind::Output | Kind::Outcome | Kind::Release),
    }
}

/// Whether a message is a proof. Where proofs are not walked through they are not looked at: whatever
/// everything else is, they are uniform.
fn is_proof(plan: &Plan, m: &Message) -> bool {
    let stage = Stage::from_index(m.index);
    let of_op = || match &plan.op(stage.op).kind {
        OpKind::Compare(compare) => stage.is_proof(compare),
        _ => false,
    };
    m.kind == Kind::Opening && of_op()
}

/// One inference whose views, over the masks of one operation or of all, must be the same for all
/// secrets. Keys are fixed, and earlier masks so that earlier messages are the same.
fn hidden(conduct: Conduct<'_>, primes: Primes, honest: usize, all: &[Secret], op: Option<u32>) {
    hidden_from(&[], conduct, primes, honest, all, op);
}

/// Looks with more corrupt roles. What a receiver gets in the end counts where the last operation
/// is looked at; then it matters which bits were opened before, on which corrections have a say.
///
/// Masks of proofs are walked through with those of all operations. Without them it is left to chance
/// whether a wrong bit passes in a field of four elements, so that does not count, nor what is released
/// then.
fn hidden_from(
    more: &[Role],
    conduct: Conduct<'_>,
    primes: Primes,
    honest: usize,
    all: &[Secret],
    op: Option<u32>,
) {
    let corrupt = [&all_but(honest, 2)[..], more].concat();
    let plan = &conduct.net.plan;
    let is_last = op == Some(plan.ops.len() as u32 - 1);
    let proofs = op.is_none();
    let walked = |o: &Oracle, draw: &Draw| masks(o, draw) && (proofs || !of_proofs(o, draw));
    let dealt =
        |m: &Message| !more.is_empty() && m.kind == Kind::DealCorrection && op.is_some_and(|op| m.index < op);
    let told = |m: &Message| {
        let kind = m.kind == Kind::Output || m.kind == Kind::Release && conduct.is_honest();
        is_last && more.contains(&m.to) && kind
    };
    for salt in if everything() { 1..5 } else { 1..2 } {
        let view = RefCell::new(None);
        let mut first: Option<Distribution> = None;
        for secret in all {
            let start = Oracle::new(primes, salt);
            let before = Before::new(start, conduct, secret, 100 + salt);
            let run = |log: &mut Log| {
                let accepted = before.inference(log);
                // What later operations send is covered by masks of their own, which are fixed.
                log.0.retain(|m| {
                    let seen = op.is_none_or(|op| is_before(m, op)) || told(m) || dealt(m);
                    seen && (proofs || !is_proof(plan, m))
                });
                u64::from(proofs && accepted)
            };
            let enumeration =
                |start, free| Enumeration { start, before: &before.log, corrupt: &corrupt, free };
            let seen = match op {
                None => enumeration(&before.oracle, &walked).distribution(run),
                Some(op) => {
                    let early = |o: &Oracle, draw: &Draw| walked(o, draw) && !is_of(o, draw, op);
                    let late = |o: &Oracle, draw: &Draw| walked(o, draw) && is_of(o, draw, op);
                    let mut view = view.borrow_mut();
                    let (seen, start) = enumeration(&before.oracle, &early).leading_to(
                        run,
                        op,
                        view.as_ref(),
                        !more.is_empty(),
                    );
                    *view = Some(seen);
                    enumeration(&start, &late).distribution(run)
                }
            };
            assert!(seen.enumerated > 0);
            match &first {
                None => first = Some(seen),
                Some(first) => assert!(
                    *first == seen,
                    "{:?} shows more than {:?} in {op:?}, {:?}",
                    secret.x,
                    all[0].x,
                    conduct.deviations
                ),
            }
        }
    }
}

/// Errors of the corrupt party in every opening of a comparison, and in its proof, fixed and by what
/// it saw.
///
/// Where later operations are fixed, errors do not depend on what the party saw of their corrections.
fn deviations(net: &Net, by: usize, whole: bool) -> Vec<Vec<Deviation>> {
    let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
    let mut all = vec![Vec::new()];
    // The first byte of each of a proof's two elements.
    let opened = compare.openings().into_iter().enumerate();
    let bits = opened.flat_map(|(level, bits)| (0..bits).map(move |bit| (level, bit)));
    let of_proof = [(compare.levels(), 0), (compare.levels(), 16)];
    for (level, bit) in bits.chain(of_proof.into_iter().filter(|_| whole)) {
        let at = place(0, level as u32, bit);
        all.push(vec![Deviation { by, at, error: Error::of(net, 1) }]);
        let error = if whole { Error::Adaptive(1) } else { Error::OfEarlier(1) };
        all.push(vec![Deviation { by, at, error }]);
    }
    if whole {
        all.push(vec![Deviation { by, at: place(1, 0, 0), error: Error::Adaptive(0) }]);
    }
    all
}

#[test]
fn a_comparison_of_one_digit_and_its_selection_hide_the_input() {
    let net = nets::compared(ONE, &[0], &[1], RELU);
    let all = [input(0), input(1), input(2)];
    for honest in [1, 2] {
        // The last party's corrections are enumerated too.
        let (some, step) = if honest == 1 && !everything() { (&all[1..], 4) } else { (&all[..], 1) };
        for deviations in deviations(&net, 3 - honest, true).iter().step_by(step) {
            let conduct = Conduct { deviations, ..Conduct::honest(&net, 2) };
            hidden(conduct, THREE, honest, some, None);
        }
    }
}

#[test]
fn joins_of_two_three_and_four_digits_hide_the_input() {
    let cases: [(&[u32], Primes); 4] =
        [(&[1, 1], FIVE), (&[1, 1, 1], THIRTEEN), (&[2, 1], THIRTEEN), (&[1, 1, 1, 1], THIRTEEN)];
    for (digits, primes) in cases {
        let net = nets::compared(ONE, &[0], digits, RELU);
        let four = digits.len() > 3;
        for honest in if four { 1..2 } else { 1..3 } {
            for deviations in deviations(&net, 3 - honest, false).iter().step_by(if four { 7 } else { 2 }) {
                let conduct = Conduct { deviations, ..Conduct::honest(&net, 2) };
                hidden(conduct, primes, honest, &[input(0), input(1), input(-2)], Some(0));
            }
        }
    }
}

#[test]
fn two_thresholds_hide_the_input_together() {
    let clip: &[&[i128]] = &[&[0], &[0, 1], &[2, -1]];
    let net = nets::compared(ONE, &[0, 2], &[1, 1], clip);
    for honest in [1, 2] {
        let at = place(0, 0, 3);
        for deviations in [vec![], vec![Deviation { by: 3 - honest, at, error: Error::of(&net, 1) }]] {
            let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
            hidden(conduct, FIVE, honest, &[input(0), input(1), input(-1)], Some(0));
        }
    }
}

/// The third bit has the masks of the other two: what is dealt and opened for a selection by all
/// three shows no more.
#[test]
fn bits_of_two_comparisons_and_whether_they_are_equal_hide_the_input() {
    // Two where both bits are 1, else 0: few enough corrections to enumerate.
    let net = nets::both(ONE, [0, 1], &[&[-1], &[1], &[1], &[1]]);
    for honest in [1, 2] {
        for op in [1, 3] {
            let at = place(op, 0, 0);
            for deviations in [vec![], vec![Deviation { by: 3 - honest, at, error: Error::of(&net, 1) }]] {
                let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
                hidden(conduct, THREE, honest, &[input(0), input(1), input(2)], Some(op));
            }
        }
    }
}

#[test]
fn selection_and_truncation_hide_input_and_weights() {
    let square: &[&[i128]] = &[&[0, 0, 1], &[0, 1]];
    let net = nets::compared(ONE, &[0], &[1], square);
    for honest in [1, 2] {
        let conduct = Conduct::honest(&net, 2);
        hidden(conduct, THREE, honest, &[input(0), input(1), input(2)], Some(1));
    }
    let net = nets::relu(ONE);
    let all: Vec<Secret> =
        [(1, 0), (2, 1), (1, 2)].map(|(w, x)| Secret { weights: vec![vec![w]], x: vec![x] }).into();
    for honest in [1, 2] {
        for (op, level) in [(1, 0), (2, 0), (3, 0)] {
            let at = place(op, level, 0);
            for deviations in [vec![], vec![Deviation { by: 3 - honest, at, error: Error::of(&net, 1) }]] {
                let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
                hidden(conduct, THREE, honest, &all, Some(op));
            }
        }
    }
}

/// Differences from -2 to 2 are decided rightly with a window of three bits.
const SEVEN: Primes = &[Prime::toy(7), Prime::toy(5), Prime::toy(3)];

fn inputs(all: &[&[i64]]) -> Vec<Secret> {
    all.iter().map(|x| Secret { weights: Vec::new(), x: x.to_vec() }).collect()
}

/// Whoever gets the label, with all parties but one, sees the same for all outputs that have it: by
/// how much the largest wins, and what the others are, shows nowhere; nor do errors show it.
#[test]
fn receivers_of_a_label_and_parties_with_them_learn_the_label_alone() {
    let net = nets::label(ONE, &[1, 1]);
    let same_label = [inputs(&[&[0, 0], &[2, 0], &[2, 1]]), inputs(&[&[0, 1], &[-1, 1]])];
    for all in &same_label {
        for honest in [1, 2] {
            let by = 3 - honest;
            let errors =
                |op, level, at| vec![Deviation { by, at: place(op, level, at), error: Error::of(&net, 1) }];
            let all_errors = [(3, 3, 0, 0), (4, 4, 0, 0), (3, 3, 0, 1), (3, 3, 1, 0), (4, 3, 1, 0)];
            let some = if everything() { all_errors.len() } else { 2 };
            let with_errors =
                all_errors[..some].iter().map(|&(op, of, level, at)| (op, errors(of, level, at)));
            for (op, deviations) in [(3, vec![]), (4, vec![])].into_iter().chain(with_errors) {
                let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
                hidden_from(&[Role::Receiver], conduct, SEVEN, honest, all, Some(op));
            }
        }
    }
    // A later round: what label the loser has shows nowhere.
    let net = nets::label_of_winners(ONE, &[1, 1]);
    let all = inputs(&[&[1, 1, 0], &[0, 1, 1], &[-1, 2, -1], &[-2, 0, -1]]);
    let all = if everything() { &all[..] } else { &all[1..3] };
    for honest in [1, 2] {
        hidden_from(&[Role::Receiver], Conduct::honest(&net, 2), SEVEN, honest, all, Some(5));
    }
}

/// The test above can fail: other labels are told.
#[test]
#[should_panic(expected = "shows more than")]
fn another_label_is_told() {
    let net = nets::label(ONE, &[1, 1]);
    let all = inputs(&[&[1, 0], &[0, 1]]);
    hidden_from(&[Role::Receiver], Conduct::honest(&net, 2), SEVEN, 1, &all, Some(4));
}

/// Whoever gets the number that tells of values outside, with all parties but one, sees the same
/// whichever and how many are outside, and by how much; the same too while all are inside.
#[test]
fn receivers_told_of_values_outside_and_parties_with_them_learn_one_bit() {
    let one = [inputs(&[&[2], &[3], &[-1]]), inputs(&[&[0], &[1]])];
    let two = [inputs(&[&[-1, 0], &[1, -1], &[-1, -1]]), inputs(&[&[0, 1], &[1, 1], &[0, 0]])];
    let cases = one.iter().map(|all| (1, FIVE, all)).chain(two.iter().map(|all| (2, THREE, all)));
    for (count, primes, all) in cases {
        let net = nets::outside(ONE, count);
        for honest in [1, 2] {
            // The last party's corrections are enumerated: for two inputs that is much.
            if count == 2 && honest == 1 && !everything() {
                continue;
            }
            let by = 3 - honest;
            let errors = |error| vec![Deviation { by, at: place(0, 0, 0), error }];
            let with = [vec![], errors(Error::of(&net, 1)), errors(Error::Adaptive(1))];
            for deviations in &with[..if count == 1 || everything() { 3 } else { 2 }] {
                let conduct = Conduct { deviations, ..Conduct::honest(&net, 2) };
                hidden_from(&[Role::Receiver], conduct, primes, honest, all, Some(0));
            }
        }
    }
}

/// The test above can fail: whether there is one is told.
#[test]
#[should_panic(expected = "shows more than")]
fn whether_a_value_is_outside_is_told() {
    let net = nets::outside(ONE, 1);
    hidden_from(&[Role::Receiver], Conduct::honest(&net, 2), FIVE, 1, &inputs(&[&[1], &[2]]), Some(0));
}

/// With everything else fixed: what an honest party proves with is each of all values once, so it is
/// uniform and independent of everything else.
#[test]
fn proofs_of_an_honest_party_are_uniform_whatever_everything_else_is() {
    let cases: [(&[i128], &[u32], Primes); 5] = [
        (&[0], &[1], THREE),
        (&[0], &[1, 1], FIVE),
        (&[0], &[2, 1], THIRTEEN),
        (&[0], &[1, 1, 1], THIRTEEN),
        (&[0, 2], &[1, 1], FIVE),
    ];
    let clip: &[&[i128]] = &[&[0], &[0, 1], &[2, -1]];
    for (thresholds, digits, primes) in cases {
        let net = nets::compared(ONE, thresholds, digits, &clip[..thresholds.len() + 1]);
        let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
        let elements = compare.proof_bytes(1) / 16;
        for (parties, honest) in [(2, 1), (2, 2), (3, 2)] {
            if elements > 2 && (parties, honest) != (2, 1) && !everything() {
                continue;
            }
            let flip =
                [Deviation { by: 1 + honest % parties, at: place(0, 0, 0), error: Error::of(&net, 1) }];
            for (salt, deviations) in [(1, &[][..]), (2, &flip)] {
                let conduct = Conduct { deviations, ..Conduct::honest(&net, parties) };
                let secret = input(salt - 1);
                let before = Before::new(Oracle::new(primes, salt as u64), conduct, &secret, 7);
                let corrupt = all_but(honest, parties);
                let walk = Enumeration {
                    start: &before.oracle,
                    before: &before.log,
                    corrupt: &corrupt,
                    free: &of_proofs,
                };
                let seen = walk.distribution(|log| {
                    before.inference(log);
                    log.0.retain(|m| m.kind == Kind::Opening && Stage::from_index(m.index).op.0 == 0);
                    0
                });
                assert_eq!(seen.enumerated, elements);
                assert_eq!((seen.views() as u64, seen.runs), (1 << (2 * elements), 1 << (2 * elements)));
            }
        }
    }
}

/// What the helper is told of proofs in a run: the seed of the weights, and the challenges of a party.
fn report(net: &Net, log: &Log, parties: usize, of: usize) -> ([u8; 32], Vec<u128>) {
    let checks: Vec<&Message> = log.0.iter().filter(|m| m.kind == Kind::Check).collect();
    let len = net.plan.report_bytes(&net.plan.values().expect("a valid plan"), 1, parties);
    let mut report = vec![0; len];
    for check in checks {
        let end = check.body.len() - 32 * check.index as usize;
        let share = &check.body[end - len..end];
        report.iter_mut().zip(share).for_each(|(sum, byte)| *sum ^= byte);
    }
    let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
    let chunk = compare.chunks(1).next().expect("a chunk");
    let (seed, provers) = report.split_at(32);
    let said = &provers[(of - 1) * 16 * (chunk.rounds + 2)..][..16 * chunk.rounds];
    let challenges = said.as_chunks::<16>().0.iter().map(|bytes| u128::from_le_bytes(*bytes)).collect();
    (seed.try_into().expect("32 bytes"), challenges)
}

/// Wrong bits pass where their weights add up to 0, or where a challenge is 0, and nowhere else; the
/// input does not matter.
#[test]
fn wrong_bits_pass_where_weights_or_a_challenge_allow_it_and_nowhere_else() {
    let runs: u64 = if everything() { 100_000 } else { 6_000 };
    // By whether weights add up to 0, and whether a challenge is 0.
    let mut counts = [[0u64; 2]; 2];
    for salt in 0..runs {
        let mut numbers = Numbers(salt * 8);
        let digits: &[u32] = [&[1][..], &[1, 1], &[2, 1, 1], &[1, 1, 1, 1]][numbers.below(4) as usize];
        let net = nets::compared(ONE, &[0], digits, RELU);
        let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
        let openings = compare.openings();
        let all: Vec<(u32, usize)> = (0u32..)
            .zip(&openings)
            .flat_map(|(level, &bits)| (0..bits).map(move |bit| (level, bit)))
            .collect();
        let by = 1 + numbers.below(2) as usize;
        let mut wrong: Vec<u64> = (0..=numbers.below(2)).map(|_| numbers.below(all.len() as u64)).collect();
        wrong.dedup();
        let flip = |&number: &u64| {
            let (level, bit) = all[number as usize];
            Deviation { by, at: place(0, level, bit), error: Error::of(&net, 1) }
        };
        let deviations: Vec<Deviation> = wrong.iter().map(flip).collect();
        let secret = input(numbers.below(9) as i64 - 4);
        let mut log = Log::default();
        let infer = || {
            let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
            let loaded = load_of(conduct.kept(), &secret, &mut log);
            inference(conduct, &loaded, &secret, 1, &mut log)
        };
        let (accepted, oracle) = Oracle::new(LARGE, salt).named(salt).run(infer);
        let (seed, challenges) = report(&net, &log, 2, by);
        let weight = |&opening: &u64| {
            let draw = Draw { seed, domain: opening as u32, limb: 0, position: 0 };
            oracle.drawn(&draw).expect("the weight of an opening")
        };
        let sum = wrong.iter().map(weight).fold(0, |sum, weight| sum ^ weight);
        let (nothing, lost) = (sum == 0, challenges.contains(&0));
        assert_eq!(accepted, nothing || lost, "{deviations:?}, weights {sum}, challenges {challenges:?}");
        counts[usize::from(nothing)][usize::from(lost)] += 1;
    }
    println!("weights and challenges not 0, challenges, weights, both: {counts:?}");
    assert!(counts.iter().flatten().all(|&count| count > runs / 50), "{counts:?}");
}

/// Primes of which no test of bits depends on.
const LARGE: Primes = &[Prime::toy(251), Prime::toy(13), Prime::toy(7)];

/// Small numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
