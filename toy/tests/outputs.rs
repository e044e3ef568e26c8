//! What the network computes, exactly: for every mask and every value in range, the opened values
//! less their masks are what the plan says within one unit of each rounding, and receivers get what
//! the functionality gives (`inference` holds every honest run to it).

mod common;

use amicus_field::Limbs;
use amicus_field::oracle::Oracle;
use amicus_plan::WrapRule;
use amicus_toy::THIRTEEN;
use amicus_toy::nets;
use amicus_toy::run::{Conduct, Log, infer};
use amicus_toy::views::{Enumeration, unknown};
use common::{all_but, load_of, secrets};

/// Runs one network for every mask that the last of two parties draws, and gives every logit to
/// `right`.
fn every_mask(net: &nets::Net, w: i64, x: i64, right: impl Fn(f64) -> bool) {
    let secret = secrets(&[(&[&[w]], &[x])]).remove(0);
    let conduct = Conduct::honest(net, 2);
    let mut log = Log::default();
    let (loaded, oracle) = Oracle::new(THIRTEEN, 3).run(|| load_of(conduct, &secret, &mut log));
    let masks = |oracle: &Oracle, draw: &amicus_field::oracle::Draw| {
        unknown(oracle, draw) && draw.domain == amicus_protocol::label::domain::FOLLOW
    };
    let corrupt = all_but(2, 2);
    let walk = Enumeration { start: &oracle, before: &log, corrupt: &corrupt, free: &masks };
    let (_, runs) = walk.count(|log| {
        let run = infer(conduct, &loaded, 1, &secret.x, log).expect("no error of the protocol");
        let logits = run.logits.expect("an honest run is accepted");
        for logit in logits.iter().flatten() {
            assert!(right(*logit), "{w} times {x} gives {logit}");
        }
        1
    });
    assert!(runs >= 13 * 13, "{runs} masks");
}

#[test]
fn a_truncated_product_is_within_a_unit_and_a_half_for_every_mask() {
    // |w x| < 2: one bit is dropped, and 2^(ell + 1) is at most half of 13.
    let net = nets::truncated(Limbs::ONE, 1);
    for w in -1..=1 {
        for x in -1..=1 {
            every_mask(&net, w, x, |logit| (logit - (w * x) as f64 / 2.0).abs() <= 1.5);
        }
    }
}

#[test]
fn a_polynomial_is_that_of_a_neighbouring_unit_for_every_mask() {
    let net = nets::activation(Limbs::ONE, WrapRule::Exact);
    for w in -1..=1 {
        for x in -1..=1 {
            let z = (w * x) as f64 / 2.0;
            // 1 + 2 u + u^2 at a whole u within one unit of z. Here nothing is dropped from the
            // result.
            every_mask(&net, w, x, |logit| {
                (-1..=1)
                    .any(|u| (f64::from(u) - z).abs() < 1.0 + 1e-9 && logit == f64::from((1 + u) * (1 + u)))
            });
        }
    }
}
