//! What the helper sees (`docs/security.md`, section 12), exactly: for every value of the keys it
//! lacks, the same distribution of answers and sums for all inputs and weights; and uniform noise
//! where parties were shown different things. Hashes under keys it lacks count by which of them are
//! equal.

mod common;

use amicus_field::Limbs;
use amicus_field::oracle::Oracle;
use amicus_plan::WrapRule;
use amicus_toy::nets::{self, Net};
use amicus_toy::run::{Conduct, Log, Role, infer};
use amicus_toy::views::{Distribution, Enumeration, unknown};
use amicus_toy::{FIVE, everything};
use common::{Before, Secret, inference, load_of, secrets};

const ONE: Limbs = Limbs::ONE;
const HELPER: &[Role] = &[Role::Helper];

fn same(conduct: Conduct<'_>, all: &[Secret]) {
    for salt in if everything() { 0..20 } else { 0..4 } {
        let of = |secret: &Secret| {
            let start = Oracle::new(FIVE, salt);
            Enumeration { start: &start, before: &Log::default(), corrupt: HELPER, free: &unknown }
                .distribution(|log| {
                    let loaded = load_of(conduct, secret, log);
                    u64::from(inference(conduct, &loaded, secret, 1, log))
                })
        };
        let first = of(&all[0]);
        // One share of zero for every pair of parties: of the load's answer of each tensor, and of
        // each sum.
        let pairs = conduct.parties * (conduct.parties - 1) / 2;
        let shares = conduct.net.plan.weights.len()
            + all[0].x.len() / conduct.net.input_len() * conduct.net.plan.check_slots();
        assert_eq!(first.enumerated, pairs * shares, "{}", conduct.net.plan.name);
        for secret in &all[1..] {
            assert!(first == of(secret), "the helper sees a difference between {:?} and {secret:?}", all[0]);
        }
    }
}

#[test]
fn answers_and_sums_say_nothing() {
    let cases: [(Net, Vec<Secret>); 5] = [
        (nets::dense(ONE, 1, 1, false), secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])])),
        // A batch of two.
        (nets::dense(ONE, 1, 2, true), secrets(&[(&[&[1, 2, 0, 1]], &[0, 0]), (&[&[3, 0, 1, 1]], &[1, 4])])),
        (
            nets::activation(ONE, WrapRule::Exact),
            secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])]),
        ),
        (nets::product(ONE), secrets(&[(&[], &[0, 0]), (&[], &[1, 2]), (&[], &[4, 4])])),
        (nets::repeated(ONE), secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])])),
    ];
    for (net, all) in &cases {
        same(Conduct::honest(net, 2), all);
    }
    same(Conduct::honest(&cases[0].0, 3), &cases[0].1);
    same(Conduct::honest(&cases[3].0, 3), &cases[3].1);
}

/// The sums that the helper sees when a client misleads some parties.
fn noise(parties: usize, misled: &[usize], secret: &Secret) -> Distribution {
    let net = nets::dense(ONE, 1, 1, false);
    let conduct = Conduct { misled, ..Conduct::honest(&net, parties) };
    let before = Before::new(Oracle::new(FIVE, 2), conduct, secret, 3);
    let start = &before.oracle;
    let walk = Enumeration { start, before: &before.log, corrupt: HELPER, free: &unknown };
    walk.distribution(|log| u64::from(before.inference(log)))
}

#[test]
fn sums_are_noise_where_parties_saw_different_things() {
    let all = secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])]);
    for (parties, misled) in [(2, [2]), (3, [3])] {
        let [first, rest @ ..] = &all[..] else { panic!("some secrets") };
        let sums = noise(parties, &misled, first);
        // Every combination of sums: nothing cancels.
        assert_eq!(sums.views(), 5usize.pow(parties as u32));
        for secret in rest {
            assert!(sums == noise(parties, &misled, secret), "the helper sees a difference to {secret:?}");
        }
    }
}

/// Two parties are told another key by a receiver than the third: the inputs agree, the outputs'
/// hashes do not.
#[test]
fn sums_are_noise_where_receivers_gave_different_keys() {
    let net = nets::dense(ONE, 1, 1, false);
    let conduct = Conduct { misled_about_keys: &[1], ..Conduct::honest(&net, 2) };
    let all = secrets(&[(&[&[1]], &[0]), (&[&[4]], &[2])]);
    let of = |secret: &Secret| {
        let before = Before::new(Oracle::new(FIVE, 5), conduct, secret, 3);
        let walk =
            Enumeration { start: &before.oracle, before: &before.log, corrupt: HELPER, free: &unknown };
        walk.distribution(|log| u64::from(before.inference(log)))
    };
    let sums = of(&all[0]);
    assert_eq!(sums.views(), 25);
    assert!(sums == of(&all[1]), "the helper sees a difference");
}

/// The comparison is able to fail: the helper together with a party, which it may not collude with,
/// sees everything.
#[test]
fn a_helper_that_colludes_sees_a_difference() {
    let net = nets::dense(ONE, 1, 1, false);
    let all = secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3])]);
    let of = |secret: &Secret| {
        let start = Oracle::new(FIVE, 1);
        let corrupt = [Role::Helper, Role::Party(1)];
        Enumeration { start: &start, before: &Log::default(), corrupt: &corrupt, free: &unknown }
            .distribution(|log| {
                let loaded = load_of(Conduct::honest(&net, 2), secret, log);
                let run = infer(Conduct::honest(&net, 2), &loaded, 1, &secret.x, log);
                u64::from(run.expect("no error of the protocol").accepted)
            })
    };
    assert!(of(&all[0]) != of(&all[1]));
}
