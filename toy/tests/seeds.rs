//! Every stream depends on fresh randomness, and so does every key and nonce: runs that differ in
//! nothing but the names of fresh seeds have no seed and no key in common. No two points of a run
//! share a stream's point by accident, which the views would show; here it is counted.

mod common;

use std::collections::HashSet;

use amicus_field::Limbs;
use amicus_field::oracle::Oracle;
use amicus_plan::WrapRule;
use amicus_protocol::wire::Kind;
use amicus_toy::THREE;
use amicus_toy::nets;
use amicus_toy::run::{Conduct, Log};
use common::{inference, load_of, secrets};

/// What was drawn and sent in a load and two inferences of a network with every kind of operation.
fn run(names: u64) -> (Oracle, Log) {
    let net = nets::residual(Limbs::ONE, WrapRule::Exact);
    let secret = secrets(&[(&[&[1], &[2]], &[1])]).remove(0);
    let conduct = Conduct::honest(&net, 3);
    let mut log = Log::default();
    let ((), oracle) = Oracle::new(THREE, 1).named(names).run(|| {
        let loaded = load_of(conduct, &secret, &mut log);
        for id in [1, 2] {
            assert!(inference(conduct, &loaded, &secret, id, &mut log));
        }
    });
    (oracle, log)
}

#[test]
fn nothing_drawn_is_the_same_in_two_runs() {
    let streams = |names| -> HashSet<[u8; 32]> { run(names).0.draws().map(|(d, _)| d.seed).collect() };
    let (one, two) = (streams(1), streams(2));
    assert!(one.is_disjoint(&two), "a stream whose seed is fixed");
    assert_eq!(one, streams(1), "equal runs are equal");
    // Load: masks and tags of 2 tensors at 3 parties, 3 pairs, a challenge for each tensor.
    // Inference: the input's masks, 3 operations with material at 3 parties, 3 pairs.
    assert_eq!(one.len(), 2 * 2 * 3 + 3 + 2 + 2 * (3 + 3 * 3 + 3));
}

#[test]
fn keys_and_nonces_are_fresh() {
    let keys = |names| -> Vec<Vec<u8>> {
        let secret = [
            Kind::SessionBegin,
            Kind::SessionAnswer,
            Kind::Keys,
            Kind::Nonce,
            Kind::Challenge,
            Kind::ReceiverKey,
        ];
        let sent = run(names).1.0.into_iter().filter(|m| secret.contains(&m.kind));
        // A grant names the plan first.
        let start = |kind| if kind == Kind::EpochBegin { 32 } else { 0 };
        sent.flat_map(|m| m.body[start(m.kind)..].chunks(32).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    };
    let (one, two) = (keys(1), keys(2));
    let distinct: HashSet<_> = one.iter().collect();
    assert!(two.iter().all(|key| !distinct.contains(key)), "a key that is fixed");
    // Parts of session seeds 2 times 3, common contributions 3, pair contributions 6, a nonce, a challenge, 2 receivers' keys
    // twice.
    assert_eq!(distinct.len(), 6 + 3 + 6 + 1 + 1 + 4);
}
