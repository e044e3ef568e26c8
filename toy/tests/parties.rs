//! Lemma 1 of `docs/security.md`, exactly: what all parties but one see has the same distribution
//! for all inputs and weights, alone and with owner or receivers, whether they keep to the protocol
//! or inject any error.
//!
//! *Load and inference* walks through everything that the corrupt roles do not know, keys and both
//! phases together. That is possible for a layer of one weight. *Inference* fixes the randomness of
//! the load, to several values, and walks through all of the inference's: for each of them views
//! must be equal, hence jointly with the load's. Where even that is too much, MAC keys and the
//! masks of earlier operations are fixed too, as the proof of the lemma does.

mod common;

use std::cell::RefCell;

use amicus_field::oracle::{Draw, Oracle, Origin};
use amicus_field::{Limbs, Prime};
use amicus_plan::WrapRule;
use amicus_protocol::label::{Purpose, domain};
use amicus_toy::nets::{self, Net};
use amicus_toy::run::{Conduct, Deviation, Error, Log, Place, Role};
use amicus_toy::views::{Distribution, Enumeration, purpose, unknown};
use amicus_toy::{FIVE, THREE, everything};
use common::{Before, Secret, all_but, errors_at, inference, load_of, load_only, secrets};

const ONE: Limbs = Limbs::ONE;

type Primes = &'static [Prime; 3];

/// Requires one distribution for all secrets.
fn same(what: &str, secrets: &[Secret], of: impl Fn(&Secret) -> Distribution) -> Distribution {
    let first = of(&secrets[0]);
    assert!(first.enumerated > 0, "{what}: nothing is enumerated");
    for secret in &secrets[1..] {
        let other = of(secret);
        assert!(first == other, "{what}: views differ for {:?} and {secret:?}", secrets[0]);
    }
    first
}

/// Load and `ids` inferences; everything unknown is walked through.
fn whole(conduct: Conduct<'_>, primes: Primes, corrupt: &[Role], ids: u64, all: &[Secret]) -> Distribution {
    let start = Oracle::new(primes, 7);
    same("load and inference", all, |secret| {
        Enumeration { start: &start, before: &Log::default(), corrupt, free: &unknown }.distribution(|log| {
            let loaded = load_of(conduct, secret, log);
            // Every inference has inputs of its own.
            let each = secret.x.len() / ids as usize;
            let of = |id: u64| {
                let x = secret.x[(id as usize - 1) * each..][..each].to_vec();
                let secret = Secret { x, ..secret.clone() };
                u64::from(inference(conduct, &loaded, &secret, id, log)) << id
            };
            (1..=ids).map(of).sum()
        })
    })
}

/// What of an inference is walked through.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Everything.
    Whole,
    /// All masks; MAC keys are fixed.
    Masks,
    /// Masks of one operation. Keys are fixed, and earlier masks so that earlier messages are the
    /// same for all secrets.
    MasksOf(u32),
}

/// One inference for several values of the load's randomness and of the corrupt roles' own.
fn online(conduct: Conduct<'_>, primes: Primes, corrupt: &[Role], all: &[Secret], part: Part) {
    let salts = if everything() { 1..9 } else { 1..3 };
    for salt in salts {
        let view = RefCell::new(None);
        same("inference", all, |secret| {
            let before = Before::new(Oracle::new(primes, salt), conduct, secret, 100 + salt);
            let (run, oracle) = (|log: &mut Log| u64::from(before.inference(log)), &before.oracle);
            let enumeration = |start, free| Enumeration { start, before: &before.log, corrupt, free };
            match part {
                Part::Whole => enumeration(oracle, &unknown).distribution(run),
                Part::Masks => enumeration(oracle, &masks).distribution(run),
                Part::MasksOf(op) => {
                    let early =
                        |oracle: &Oracle, draw: &Draw| masks(oracle, draw) && !is_of(oracle, draw, op);
                    let late = |oracle: &Oracle, draw: &Draw| masks(oracle, draw) && is_of(oracle, draw, op);
                    let mut view = view.borrow_mut();
                    let (seen, start) = enumeration(oracle, &early).leading_to(run, op, view.as_ref(), false);
                    *view = Some(seen);
                    enumeration(&start, &late).distribution(run)
                }
            }
        });
    }
}

/// Everything but MAC keys.
fn masks(oracle: &Oracle, draw: &Draw) -> bool {
    purpose(oracle, draw) != Some(Purpose::Material as u8) || draw.domain != domain::KEY
}

/// Whether a draw is part of the material of an operation.
fn is_of(oracle: &Oracle, draw: &Draw, op: u32) -> bool {
    let of_op = match oracle.origin(&draw.seed) {
        Some(Origin::Derived { label, .. }) => label.ends_with(&op.to_le_bytes()),
        _ => false,
    };
    of_op && purpose(oracle, draw) == Some(Purpose::Material as u8)
}

/// All weights and inputs of a layer of one weight.
fn all_of(p: i64) -> Vec<Secret> {
    let pairs = (0..p).flat_map(|w| (0..p).map(move |x| (w, x)));
    pairs.map(|(w, x)| Secret { weights: vec![vec![w]], x: vec![x] }).collect()
}

#[test]
fn a_layer_of_one_weight_hides_all_weights_and_inputs() {
    let net = nets::dense(ONE, 1, 1, false);
    for honest in [1, 2] {
        let seen = whole(Conduct::honest(&net, 2), THREE, &all_but(honest, 2), 1, &all_of(3));
        // D_W, g, D_x and the share of the result; the first party's corrections of b M_W and a b.
        // Each view comes from every value of the keys a and b.
        let messages = if honest == 1 { 6 } else { 4 };
        assert_eq!((seen.views(), seen.runs), (3usize.pow(messages), 3u64.pow(messages + 2)));
    }
    for honest in [1, 2, 3] {
        whole(Conduct::honest(&net, 3), THREE, &all_but(honest, 3), 1, &all_of(3)[3..6]);
    }
    whole(Conduct::honest(&net, 2), FIVE, &all_but(2, 2), 1, &all_of(5)[6..8]);
}

#[test]
fn two_inferences_and_a_batch_of_two_are_hidden_together() {
    let net = nets::dense(ONE, 1, 1, false);
    let pairs = secrets(&[(&[&[1]], &[0, 0]), (&[&[1]], &[1, 2]), (&[&[2]], &[1, 1])]);
    for honest in if everything() { 1..3 } else { 2..3 } {
        whole(Conduct::honest(&net, 2), THREE, &all_but(honest, 2), 1, &pairs);
        whole(Conduct::honest(&net, 2), THREE, &all_but(honest, 2), 2, &pairs);
    }
    for honest in [1, 2] {
        online(Conduct::honest(&net, 2), THREE, &all_but(honest, 2), &pairs, Part::Whole);
    }
}

#[test]
fn a_load_hides_weights_and_biases() {
    let net = nets::dense(ONE, 2, 1, true);
    let all = secrets(&[(&[&[0, 0, 0]], &[]), (&[&[1, 2, 1]], &[]), (&[&[2, 2, 0]], &[])]);
    let conduct = Conduct::honest(&net, 2);
    let start = Oracle::new(THREE, 3);
    for honest in if everything() { 1..3 } else { 2..3 } {
        let corrupt = all_but(honest, 2);
        same("load", &all, |secret| {
            Enumeration { start: &start, before: &Log::default(), corrupt: &corrupt, free: &unknown }
                .distribution(|log| u64::from(load_only(conduct, secret, log)))
        });
    }
}

#[test]
fn errors_at_load_show_nothing() {
    let net = nets::dense(ONE, 1, 1, false);
    for (honest, cheater) in [(1, 2), (2, 1)] {
        let corrupt = all_but(honest, 2);
        let mut deviations: Vec<Deviation> = errors_at(&net, cheater, Place::Tags(0, 0), 3);
        deviations.extend(errors_at(&net, cheater, Place::Answer(0), 3));
        let (by, at) = (cheater, Place::Tags(0, 0));
        deviations.push(Deviation { by, at, error: Error::Adaptive(0) });
        for deviation in &deviations {
            let conduct = Conduct { deviations: &[*deviation], ..Conduct::honest(&net, 2) };
            let start = Oracle::new(THREE, 11);
            same("a deviating load", &all_of(3)[3..6], |secret| {
                Enumeration { start: &start, before: &Log::default(), corrupt: &corrupt, free: &unknown }
                    .distribution(|log| u64::from(load_only(conduct, secret, log)))
            });
        }
    }
}

#[test]
fn errors_of_an_inference_show_nothing() {
    let net = nets::dense(ONE, 1, 1, false);
    for (honest, cheater) in [(1, 2), (2, 1)] {
        let corrupt = all_but(honest, 2);
        let mut deviations: Vec<Deviation> = errors_at(&net, cheater, Place::Opening(0, 0), 3);
        deviations.extend(errors_at(&net, cheater, Place::Sum(0), 3));
        for at in [Place::Opening(0, 0), Place::Sum(0)] {
            deviations.push(Deviation { by: cheater, at, error: Error::Adaptive(1) });
        }
        for deviation in &deviations {
            let conduct = Conduct { deviations: &[*deviation], ..Conduct::honest(&net, 2) };
            let start = Oracle::new(THREE, 5);
            let all = [all_of(3)[4].clone(), all_of(3)[8].clone()];
            same("a deviating inference", &all, |secret| {
                Enumeration { start: &start, before: &Log::default(), corrupt: &corrupt, free: &unknown }
                    .distribution(|log| {
                        let loaded = load_of(Conduct::honest(&net, 2), secret, log);
                        u64::from(inference(conduct, &loaded, secret, 1, log))
                    })
            });
        }
    }
}

/// A network whose inference is walked through.
struct Case {
    net: Net,
    secrets: Vec<Secret>,
    /// Operations that open something, with the number of their elements.
    opens: Vec<(u32, usize)>,
}

fn case(net: Net, opens: &[(u32, usize)], all: &[(&[&[i64]], &[i64])]) -> Case {
    Case { net, secrets: secrets(all), opens: opens.to_vec() }
}

/// Every kind of operation that opens something; secrets differ in inputs, in weights, and in both.
fn cases() -> Vec<Case> {
    let (exact, statistical) = (WrapRule::Exact, WrapRule::Statistical);
    let ones: &[(&[&[i64]], &[i64])] = &[(&[&[1]], &[0]), (&[&[1]], &[2]), (&[&[2]], &[1])];
    let three: &[(&[&[i64]], &[i64])] =
        &[(&[&[1, 0, 2]], &[0]), (&[&[1, 0, 2]], &[2]), (&[&[2, 1, 1]], &[1])];
    let two: &[(&[&[i64]], &[i64])] = &[(&[&[1], &[2]], &[0]), (&[&[1], &[2]], &[1]), (&[&[2], &[0]], &[1])];
    vec![
        case(nets::activation(ONE, exact), &[(0, 1), (1, 1)], ones),
        case(nets::activation(ONE, statistical), &[(0, 1), (1, 1)], ones),
        // Nothing dropped: coefficients tell masks modulo 3 apart, as they do not above.
        case(nets::pooled(ONE, 1, nets::row_pool(1, 1, 1), exact), &[(0, 1), (1, 1)], ones),
        // Windows that overlap: the element in the middle is in both.
        case(nets::pooled(ONE, 3, nets::row_pool(3, 2, 1), statistical), &[(0, 3), (1, 2)], three),
        case(nets::product(ONE), &[(2, 1)], &[(&[], &[0, 0]), (&[], &[1, 2]), (&[], &[2, 2])]),
        case(nets::residual(ONE, statistical), &[(0, 1), (1, 1), (3, 1)], two),
        case(nets::repeated(ONE), &[(0, 1), (1, 1), (2, 1)], ones),
        case(
            nets::convolution(ONE),
            &[(0, 2)],
            &[(&[&[1, 0]], &[0, 0]), (&[&[1, 0]], &[2, 1]), (&[&[2, 1]], &[1, 0])],
        ),
    ]
}

/// Layers of public weights; secrets differ in inputs.
fn public_cases() -> Vec<Case> {
    let statistical = WrapRule::Statistical;
    vec![
        case(
            nets::public(ONE, &[1, 2], &[1], WrapRule::Exact),
            &[(1, 1)],
            &[(&[], &[0, 0]), (&[], &[2, 1]), (&[], &[1, 2])],
        ),
        // Masks of the two results depend on each other.
        case(
            nets::public(ONE, &[1, 2], &[0, 1], statistical),
            &[(1, 2)],
            &[(&[], &[0]), (&[], &[1]), (&[], &[2])],
        ),
        // The mask of the second one is 0.
        case(
            nets::public(ONE, &[1, 0], &[2, 1], statistical),
            &[(1, 2)],
            &[(&[], &[0]), (&[], &[1]), (&[], &[2])],
        ),
        // Masks that come from one are shared.
        case(nets::public_product(ONE), &[(2, 1)], &[(&[], &[0]), (&[], &[1]), (&[], &[2])]),
    ]
}

#[test]
fn layers_of_public_weights_hide_inputs() {
    for case in public_cases() {
        let &(last, len) = case.opens.last().expect("an opening");
        for (honest, by) in [(1, 2), (2, 1)] {
            let corrupt = all_but(honest, 2);
            walk(Conduct::honest(&case.net, 2), &corrupt, &case.secrets, last);
            let at = Place::Opening(last, len - 1);
            let deviation = Deviation { by, at, error: Error::Adaptive(0) };
            let conduct = Conduct { deviations: &[deviation], ..Conduct::honest(&case.net, 2) };
            walk(conduct, &corrupt, &case.secrets[1..], last);
        }
    }
}

/// Walks through an inference with as much of its randomness as is feasible.
fn walk(conduct: Conduct<'_>, corrupt: &[Role], all: &[Secret], last: u32) {
    let limit = if everything() { 11 } else { 8 };
    let before = Before::new(Oracle::new(THREE, 1), conduct, &all[0], 1);
    let size = |free| {
        let enumeration = Enumeration { start: &before.oracle, before: &before.log, corrupt, free };
        enumeration.size(|log| u64::from(before.inference(log)))
    };
    let part = match (size(&unknown), size(&masks)) {
        (size, _) if size <= limit => Part::Whole,
        (_, size) if size <= limit => Part::Masks,
        _ => Part::MasksOf(last),
    };
    online(conduct, THREE, corrupt, all, part);
}

#[test]
fn every_operation_hides_inputs_and_weights() {
    for case in cases() {
        let last = case.opens.last().expect("an opening").0;
        for (parties, honest) in [(2, 1), (2, 2), (3, 2)] {
            walk(Conduct::honest(&case.net, parties), &all_but(honest, parties), &case.secrets, last);
        }
    }
}

#[test]
fn every_error_in_every_opening_shows_nothing() {
    for case in cases() {
        let last = case.opens.last().expect("an opening").0;
        for &(op, len) in &case.opens {
            for (honest, by) in [(1, 2), (2, 1)] {
                let at = Place::Opening(op, len - 1);
                let mut deviations = errors_at(&case.net, by, at, 3);
                deviations.push(Deviation { by, at, error: Error::Adaptive(0) });
                // The last one takes every value, each where the view asks for it.
                let some = if everything() || len == 1 { 0..3 } else { 2..3 };
                for deviation in &deviations[some] {
                    let conduct = Conduct { deviations: &[*deviation], ..Conduct::honest(&case.net, 2) };
                    walk(conduct, &all_but(honest, 2), &case.secrets[1..], last);
                }
            }
        }
    }
}

/// Receivers see what the functionality gives and nothing else: where that is equal, views are.
#[test]
fn receivers_and_owner_learn_no_more_than_the_output() {
    let with = |honest, roles: &[Role]| [&all_but(honest, 2)[..], roles].concat();
    let net = nets::truncated(ONE, 2);
    let conduct = Conduct::honest(&net, 2);
    for honest in [1, 2] {
        // A receiver and the owner are corrupt: equal weights and results, other inputs.
        let all = secrets(&[(&[&[1, 2]], &[1, 1]), (&[&[1, 2]], &[3, 0]), (&[&[1, 2]], &[0, 4])]);
        online(conduct, FIVE, &with(honest, &[Role::Owner, Role::Receiver]), &all, Part::Whole);
        // The owner alone: other inputs and results.
        let all = secrets(&[(&[&[1, 2]], &[1, 1]), (&[&[1, 2]], &[0, 0])]);
        online(conduct, FIVE, &with(honest, &[Role::Owner]), &all, Part::Whole);
    }
    // The client is: equal inputs and results, other weights.
    let all = secrets(&[(&[&[1, 0]], &[1, 1]), (&[&[0, 1]], &[1, 1]), (&[&[2, 2]], &[1, 1])]);
    for honest in if everything() { 1..3 } else { 2..3 } {
        whole(conduct, THREE, &with(honest, &[Role::Client, Role::Receiver]), 1, &all);
    }
    let net = nets::activation(ONE, WrapRule::Exact);
    let all = secrets(&[(&[&[0]], &[1]), (&[&[0]], &[2])]);
    for honest in [1, 2] {
        let part = if honest == 1 { Part::MasksOf(1) } else { Part::Whole };
        online(Conduct::honest(&net, 2), THREE, &with(honest, &[Role::Receiver]), &all, part);
    }
}

/// The tests above can fail: with the receiver's view and other results they do.
#[test]
#[should_panic(expected = "views differ")]
fn other_results_are_seen_by_receivers() {
    let net = nets::truncated(ONE, 2);
    let all = secrets(&[(&[&[1, 2]], &[1, 1]), (&[&[1, 2]], &[0, 0])]);
    let corrupt = [&all_but(2, 2)[..], &[Role::Receiver]].concat();
    online(Conduct::honest(&net, 2), FIVE, &corrupt, &all, Part::Whole);
}
