//! What the helper sees (`docs/security.md`, section 12), exactly: for every value of the keys it
//! lacks, the same distribution of answers and sums for all inputs and weights; and uniform noise
//! where parties were shown different things. Hashes under keys it lacks count by which of them are
//! equal.
//!
//! Reports on proofs are hashes, and elements that follow from them: too many bits to walk through, and
//! drawn from no oracle. So a few bits of their shares are walked through, and what they add up to is
//! counted over many keys.

mod common;

use amicus_field::Limbs;
use amicus_field::oracle::{Draw, Oracle};
use amicus_plan::{Compare, OpKind, WrapRule};
use amicus_protocol::label::{Purpose, domain};
use amicus_protocol::wire::Kind;
use amicus_toy::nets::{self, Net};
use amicus_toy::run::{Conduct, Log, Role, infer};
use amicus_toy::views::{Distribution, Enumeration, purpose, unknown};
use amicus_toy::{FIVE, everything};
use common::{Before, Secret, inference, load_of, secrets};

const ONE: Limbs = Limbs::ONE;
const HELPER: &[Role] = &[Role::Helper];

/// Whether a draw is a bit of a share of zero of a report.
fn of_report(oracle: &Oracle, draw: &Draw) -> bool {
    purpose(oracle, draw) == Some(Purpose::CheckZero as u8) && draw.domain == domain::ZERO_REPORT
}

/// What the helper does not know but for reports: of weights of proofs it is told the seed.
fn of_sums(oracle: &Oracle, draw: &Draw) -> bool {
    oracle.origin(&draw.seed).is_some() && !of_report(oracle, draw)
}

/// Bytes of a report, which lies before the hashes of a check.
fn report_bytes(net: &Net, parties: usize) -> usize {
    net.plan.report_bytes(&net.plan.values().expect("a valid plan"), 1, parties)
}

fn same(conduct: Conduct<'_>, all: &[Secret]) {
    let report = report_bytes(conduct.net, conduct.parties);
    for salt in if everything() { 0..20 } else { 0..4 } {
        let of = |secret: &Secret| {
            let start = Oracle::new(FIVE, salt);
            Enumeration { start: &start, before: &Log::default(), corrupt: HELPER, free: &of_sums }
                .distribution(|log| {
                    let loaded = load_of(conduct, secret, log);
                    let accepted = inference(conduct, &loaded, secret, 1, log);
                    for check in log.0.iter_mut().filter(|m| m.kind == Kind::Check) {
                        let end = check.body.len() - 32 * check.index as usize;
                        check.body.drain(end - report..end);
                    }
                    u64::from(accepted)
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
    let cases: [(Net, Vec<Secret>); 7] = [
        (nets::dense(ONE, 1, 1, false), secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])])),
        // A batch of two.
        (nets::dense(ONE, 1, 2, true), secrets(&[(&[&[1, 2, 0, 1]], &[0, 0]), (&[&[3, 0, 1, 1]], &[1, 4])])),
        (
            nets::activation(ONE, WrapRule::Exact),
            secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])]),
        ),
        (nets::product(ONE), secrets(&[(&[], &[0, 0]), (&[], &[1, 2]), (&[], &[4, 4])])),
        (nets::repeated(ONE), secrets(&[(&[&[1]], &[0]), (&[&[1]], &[3]), (&[&[4]], &[2])])),
        (compared(&[1]), secrets(&[(&[], &[0]), (&[], &[1]), (&[], &[-1])])),
        (compared(&[1, 1]), secrets(&[(&[], &[0]), (&[], &[1]), (&[], &[-1])])),
    ];
    for (net, all) in &cases {
        same(Conduct::honest(net, 2), all);
    }
    same(Conduct::honest(&cases[0].0, 3), &cases[0].1);
    same(Conduct::honest(&cases[3].0, 3), &cases[3].1);
}

/// A comparison with 0, and a ReLU.
fn compared(digits: &[u32]) -> Net {
    nets::compared(ONE, &[0], digits, &[&[0], &[0, 1]])
}

/// Bits of every party's share of a report, two of each: where parties saw the same, they add up to
/// the report's and are anything else; where they did not, nothing cancels.
#[test]
fn reports_come_under_shares_of_zero_that_follow_from_what_was_seen() {
    let (net, bits) = (compared(&[1, 1]), 2u64);
    let free = |oracle: &Oracle, draw: &Draw| of_report(oracle, draw) && draw.position < bits;
    let secret = &secrets(&[(&[], &[1])])[0];
    let honest = Conduct::honest(&net, 2);
    let cases = [
        (honest, 1),
        (Conduct { parties: 3, ..honest }, 2),
        (Conduct { misled: &[2], ..honest }, 2),
        (Conduct { misled_about_keys: &[1], ..honest }, 2),
        (Conduct { misled: &[3], parties: 3, ..honest }, 3),
    ];
    for (conduct, random) in cases {
        let before = Before::new(Oracle::new(FIVE, 6), conduct, secret, 3);
        let walk = Enumeration { start: &before.oracle, before: &before.log, corrupt: HELPER, free: &free };
        let seen = walk.distribution(|log| u64::from(before.inference(log)));
        assert_eq!(seen.views(), 1 << (bits * random), "{conduct:?}");
    }
}

/// What the helper is told of every proof: challenges, and the public side, which an element hides that
/// it lacks. Both are any elements, each as often as others, for every input; but for public sides where
/// a challenge is 0, which in a field of four elements is often.
#[test]
fn what_reports_add_up_to_is_uniform() {
    let net = compared(&[1, 1]);
    let OpKind::Compare(compare) = &net.plan.ops[0].kind else { panic!("a comparison") };
    let runs: u64 = if everything() { 40_000 } else { 4_000 };
    for x in [0, 1] {
        let secret = &secrets(&[(&[], &[x])])[0];
        let mut counts = vec![[0u32; 4]; 2 * (rounds(compare) + 1)];
        let mut pairs = [0u32; 16];
        for names in 0..runs {
            let mut log = Log::default();
            Oracle::new(FIVE, names).named(names).run(|| {
                let loaded = load_of(Conduct::honest(&net, 2), secret, &mut log);
                assert!(inference(Conduct::honest(&net, 2), &loaded, secret, 1, &mut log));
            });
            let sides = tally(compare, &report(&net, &log), &mut counts);
            if let [Some(one), Some(two)] = sides {
                pairs[4 * one + two] += 1;
            }
        }
        // Five deviations; names are fixed, so it does not fail by chance.
        let fair = |counts: &[u32]| {
            let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
            assert!(mean > 20.0);
            counts.iter().all(|&count| (f64::from(count) - mean).abs() < 5.0 * mean.sqrt())
        };
        assert!(counts.iter().all(|counts| fair(counts)), "input {x}: {counts:?}");
        assert!(fair(&pairs), "input {x}: public sides of both {pairs:?}");
    }
}

fn rounds(compare: &Compare) -> usize {
    compare.chunks(1).next().expect("a chunk").rounds
}

/// What the shares of two parties add up to.
fn report(net: &Net, log: &Log) -> Vec<u8> {
    let len = report_bytes(net, 2);
    let mut report = vec![0; len];
    for check in log.0.iter().filter(|m| m.kind == Kind::Check) {
        let end = check.body.len() - 32 * check.index as usize;
        report.iter_mut().zip(&check.body[end - len..end]).for_each(|(sum, byte)| *sum ^= byte);
    }
    report
}

/// Counts the challenges of both provers, and their public sides where no challenge is 0; returns those.
fn tally(compare: &Compare, report: &[u8], counts: &mut [[u32; 4]]) -> [Option<usize>; 2] {
    let rounds = rounds(compare);
    let said: Vec<usize> = report[32..].chunks(16).map(|element| element[0].into()).collect();
    [0, 1].map(|prover| {
        let said = &said[prover * (rounds + 2)..][..rounds + 1];
        let counts = &mut counts[prover * (rounds + 1)..][..rounds + 1];
        let hides = !said[..rounds].contains(&0);
        said[..rounds].iter().zip(&mut *counts).for_each(|(&r, counts)| counts[r] += 1);
        hides.then(|| {
            counts[rounds][said[rounds]] += 1;
            said[rounds]
        })
    })
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
