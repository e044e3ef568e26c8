//! Comparisons, truncations and selections at tiny primes with words of a few bits: what all parties
//! but one see has one distribution for all inputs, also under errors; and how often a wrong bit
//! passes (`docs/security.md`, Lemmas 1 and 3).

mod common;

use std::cell::RefCell;

use amicus_field::oracle::{Draw, Oracle, Origin};
use amicus_field::{Limbs, Prime};
use amicus_plan::{OpIndex, OpKind, Stage};
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

/// Everything but MAC keys, of elements and of bits.
fn masks(oracle: &Oracle, draw: &Draw) -> bool {
    let key = draw.domain == domain::KEY || draw.domain == domain::BIT_KEY;
    purpose(oracle, draw) != Some(Purpose::Material as u8) || !key
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

/// One inference whose views, over the masks of one operation or of all, must be the same for all
/// secrets. Keys are fixed, and earlier masks so that earlier messages are the same.
fn hidden(conduct: Conduct<'_>, primes: Primes, word: u32, honest: usize, all: &[Secret], op: Option<u32>) {
    hidden_from(&[], conduct, primes, word, honest, all, op);
}

/// Looks with more corrupt roles. What a receiver gets in the end counts where the last operation
/// is looked at; then it matters which bits were opened before, on which corrections have a say.
fn hidden_from(
    more: &[Role],
    conduct: Conduct<'_>,
    primes: Primes,
    word: u32,
    honest: usize,
    all: &[Secret],
    op: Option<u32>,
) {
    let corrupt = [&all_but(honest, 2)[..], more].concat();
    let is_last = op == Some(conduct.net.plan.ops.len() as u32 - 1);
    let dealt =
        |m: &Message| !more.is_empty() && m.kind == Kind::DealCorrection && op.is_some_and(|op| m.index < op);
    let told =
        |m: &Message| is_last && more.contains(&m.to) && matches!(m.kind, Kind::Output | Kind::Release);
    for salt in if everything() { 1..5 } else { 1..2 } {
        let view = RefCell::new(None);
        let mut first: Option<Distribution> = None;
        for secret in all {
            let start = Oracle::new(primes, salt).words_of(word);
            let before = Before::new(start, conduct, secret, 100 + salt);
            let run = |log: &mut Log| {
                let accepted = u64::from(before.inference(log));
                // What later operations send is covered by masks of their own, which are fixed.
                log.0.retain(|m| op.is_none_or(|op| is_before(m, op)) || told(m) || dealt(m));
                accepted
            };
            let enumeration =
                |start, free| Enumeration { start, before: &before.log, corrupt: &corrupt, free };
            let seen = match op {
                None => enumeration(&before.oracle, &masks).distribution(run),
                Some(op) => {
                    let early = |o: &Oracle, draw: &Draw| masks(o, draw) && !is_of(o, draw, op);
                    let late = |o: &Oracle, draw: &Draw| masks(o, draw) && is_of(o, draw, op);
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

/// Errors of the corrupt party in every opening of a comparison, fixed and by what it saw.
///
/// Where later operations are fixed, errors do not depend on what the party saw of their corrections.
fn deviations(net: &Net, by: usize, whole: bool) -> Vec<Vec<Deviation>> {
    let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
    let mut all = vec![Vec::new()];
    for (level, &bits) in compare.openings().iter().enumerate() {
        for bit in 0..bits {
            let at = place(0, level as u32, bit);
            all.push(vec![Deviation { by, at, error: Error::of(net, 1) }]);
            let error = if whole { Error::Adaptive(1) } else { Error::OfEarlier(1) };
            all.push(vec![Deviation { by, at, error }]);
        }
    }
    if whole {
        all.push(vec![Deviation { by, at: place(1, 0, 0), error: Error::Adaptive(0) }]);
    }
    all
}

#[test]
fn a_comparison_of_one_digit_and_its_selection_hide_the_input() {
    let net = nets::compared(ONE, &[0], &[1], RELU);
    for honest in [1, 2] {
        for deviations in deviations(&net, 3 - honest, true) {
            let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
            hidden(conduct, THREE, 2, honest, &[input(0), input(1), input(2)], None);
        }
    }
}

#[test]
fn joins_of_two_three_and_four_digits_hide_the_input() {
    // Words of one bit: values without tags, which are covered in the same way; then some with.
    let cases: [(&[u32], u32, Primes); 4] =
        [(&[1, 1], 2, FIVE), (&[1, 1, 1], 1, THIRTEEN), (&[2, 1], 1, THIRTEEN), (&[1, 1, 1, 1], 1, THIRTEEN)];
    for (digits, word, primes) in cases {
        let net = nets::compared(ONE, &[0], digits, RELU);
        let four = digits.len() > 3;
        for honest in if four { 1..2 } else { 1..3 } {
            for deviations in deviations(&net, 3 - honest, false).iter().step_by(if four { 7 } else { 2 }) {
                let conduct = Conduct { deviations, ..Conduct::honest(&net, 2) };
                hidden(conduct, primes, word, honest, &[input(0), input(1), input(-2)], Some(0));
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
            hidden(conduct, FIVE, 1, honest, &[input(0), input(1), input(-1)], Some(0));
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
                hidden(conduct, THREE, 1, honest, &[input(0), input(1), input(2)], Some(op));
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
        hidden(conduct, THREE, 1, honest, &[input(0), input(1), input(2)], Some(1));
    }
    let net = nets::relu(ONE);
    let all: Vec<Secret> =
        [(1, 0), (2, 1), (1, 2)].map(|(w, x)| Secret { weights: vec![vec![w]], x: vec![x] }).into();
    for honest in [1, 2] {
        for (op, level) in [(1, 0), (2, 0), (3, 0)] {
            let at = place(op, level, 0);
            for deviations in [vec![], vec![Deviation { by: 3 - honest, at, error: Error::of(&net, 1) }]] {
                let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
                hidden(conduct, THREE, 1, honest, &all, Some(op));
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
                hidden_from(&[Role::Receiver], conduct, SEVEN, 1, honest, all, Some(op));
            }
        }
    }
    // A later round: what label the loser has shows nowhere.
    let net = nets::label_of_winners(ONE, &[1, 1]);
    let all = inputs(&[&[1, 1, 0], &[0, 1, 1], &[-1, 2, -1], &[-2, 0, -1]]);
    let all = if everything() { &all[..] } else { &all[1..3] };
    for honest in [1, 2] {
        hidden_from(&[Role::Receiver], Conduct::honest(&net, 2), SEVEN, 1, honest, all, Some(5));
    }
}

/// The test above can fail: other labels are told.
#[test]
#[should_panic(expected = "shows more than")]
fn another_label_is_told() {
    let net = nets::label(ONE, &[1, 1]);
    let all = inputs(&[&[1, 0], &[0, 1]]);
    hidden_from(&[Role::Receiver], Conduct::honest(&net, 2), SEVEN, 1, 1, &all, Some(4));
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
                hidden_from(&[Role::Receiver], conduct, primes, 1, honest, all, Some(0));
            }
        }
    }
}

/// The test above can fail: whether there is one is told.
#[test]
#[should_panic(expected = "shows more than")]
fn whether_a_value_is_outside_is_told() {
    let net = nets::outside(ONE, 1);
    hidden_from(&[Role::Receiver], Conduct::honest(&net, 2), FIVE, 1, 1, &inputs(&[&[1], &[2]]), Some(0));
}

/// The keys of bits.
fn bit_keys(oracle: &Oracle, draw: &Draw) -> bool {
    purpose(oracle, draw) == Some(Purpose::Material as u8) && draw.domain == domain::BIT_KEY
}

/// A wrong bit shifts its sum by the element's key: whoever guesses 51 of its bits passes, and the
/// input does not matter.
#[test]
fn one_key_of_many_lets_a_wrong_bit_pass() {
    let net = nets::compared(ONE, &[0], &[1, 1], RELU);
    for word in [2, 4] {
        for x in [0, 1, -1] {
            // In the order of their numbers: e1 and l2, then f.
            for (number, (level, bit)) in [(0, (0, 0)), (1, (0, 1)), (2, (1, 0))] {
                for guess in (0..1i128 << word).step_by(if word == 2 { 1 } else { 3 }) {
                    let flip = Deviation { by: 2, at: place(0, level, bit), error: Error::of(&net, 1) };
                    let sum = Deviation { by: 2, at: Place::BitSum(number), error: Error::of(&net, guess) };
                    let deviations = [flip, sum];
                    let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
                    let start = Oracle::new(THIRTEEN_AND_MORE, 3).words_of(word);
                    let corrupt = all_but(1, 2);
                    let enumeration = Enumeration {
                        start: &start,
                        before: &Log::default(),
                        corrupt: &corrupt,
                        free: &bit_keys,
                    };
                    let (passed, all) = enumeration.count(|log| {
                        let loaded = load_of(conduct.kept(), &input(x), log);
                        u64::from(inference(conduct, &loaded, &input(x), 1, log))
                    });
                    assert_eq!(all, 1 << word);
                    let expected = if guess % 2 == 1 { all >> (word - 1) } else { 0 };
                    assert_eq!(passed, expected, "{word} bits, input {x}, bit {number}, guess {guess}");
                }
            }
        }
    }
}

/// Primes above every guess of four bits.
const THIRTEEN_AND_MORE: Primes = &[Prime::toy(251), Prime::toy(13), Prime::toy(7)];

/// Small numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn random_forgeries_pass_as_often_as_the_lemma_says() {
    let runs: u64 = if everything() { 100_000 } else { 6_000 };
    for word in [4u32, 5, 6, 8] {
        let mut passed = 0u64;
        for salt in 0..runs {
            let mut numbers = Numbers(salt * 8 + u64::from(word));
            let digits: &[u32] = [&[1, 1][..], &[2, 1, 1], &[1, 1, 1, 1]][numbers.below(3) as usize];
            let net = nets::compared(ONE, &[0], digits, RELU);
            let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
            let openings = compare.openings();
            let level = numbers.below(openings.len() as u64) as usize;
            let bit = numbers.below(openings[level] as u64) as usize;
            let number = openings[..level].iter().sum::<usize>() + bit;
            let by = 1 + numbers.below(2) as usize;
            let guess = 2 * numbers.below(1 << (word - 1)) as i128 + 1;
            let deviations = [
                Deviation { by, at: place(0, level as u32, bit), error: Error::of(&net, 1) },
                Deviation { by, at: Place::BitSum(number), error: Error::of(&net, guess % 251) },
            ];
            let secret = input(numbers.below(9) as i64 - 4);
            let accepted = || {
                let conduct = Conduct { deviations: &deviations, ..Conduct::honest(&net, 2) };
                let mut log = Log::default();
                let loaded = load_of(conduct.kept(), &secret, &mut log);
                inference(conduct, &loaded, &secret, 1, &mut log)
            };
            passed += u64::from(Oracle::new(THIRTEEN_AND_MORE, salt).words_of(word).run(accepted).0);
        }
        let expected = runs as f64 / f64::from(1u32 << (word - 1));
        // Five deviations; seeds are fixed, so it does not fail by chance.
        let allowed = 5.0 * expected.sqrt();
        println!("words of {word} bits: {passed} of {runs} forgeries pass, expected {expected:.1}");
        assert!((passed as f64 - expected).abs() <= allowed, "{word} bits: {passed}, expected {expected}");
    }
}
