//! An epoch is retired after a number of failed checks whose hashes agreed (`docs/protocol.md`,
//! 6.7, `docs/security.md`, 16): each of them excludes a guess of the MAC keys.

use amicus_field::{Element, Limbs};
use amicus_net::clock::world::World;
use amicus_node::NodeError;
use amicus_node::event::Event;
use amicus_protocol::check::{CheckMessage, FAILURE_LIMIT};
use amicus_protocol::{Parties, ProtocolError};
use amicus_testkit::deviation::Deviation;
use amicus_testkit::direct::{self, Loaded};
use amicus_testkit::nets::Net;
use amicus_testkit::run::Setup;
use amicus_testkit::zoo;

const TWO: Limbs = Limbs::TWO;

fn loaded(net: &Net) -> Loaded {
    direct::load(&net.plan, &net.layers(), Parties::new(2).unwrap(), None).unwrap()
}

/// One inference whose messages to the helper are changed.
fn infer(
    loaded: &Loaded,
    net: &Net,
    change: &mut dyn FnMut(&mut Vec<CheckMessage>),
) -> Result<Vec<f64>, ProtocolError> {
    direct::infer(loaded, &net.inputs(1, 1), 1, &[], change)?.logits
}

fn wrong_sum(messages: &mut [CheckMessage]) {
    let sums = &mut messages[1].sums;
    sums.set(0, sums.get(0) + Element::one(TWO));
}

fn wrong_hash(messages: &mut [CheckMessage]) {
    messages[1].transcript.0[0] ^= 1;
}

fn is_rejected(result: &Result<Vec<f64>, ProtocolError>) -> bool {
    matches!(result, Err(ProtocolError::Rejected { .. }))
}

#[test]
fn an_epoch_ends_with_the_last_failure_it_is_allowed() {
    let net = zoo::mlp(TWO);
    let loaded = loaded(&net);
    for failure in 0..FAILURE_LIMIT {
        assert!(loaded.helper.usable().is_ok(), "after {failure} failures");
        // Between failures it goes on working.
        if failure % 256 == 255 {
            assert!(infer(&loaded, &net, &mut |_| ()).is_ok());
        }
        assert!(is_rejected(&infer(&loaded, &net, &mut |m| wrong_sum(m))), "failure {failure}");
    }
    assert!(matches!(loaded.helper.usable(), Err(ProtocolError::Retired { failures: FAILURE_LIMIT })));
    // Nothing is dealt any more.
    let error = infer(&loaded, &net, &mut |_| ()).unwrap_err();
    assert!(matches!(error, ProtocolError::Retired { failures: FAILURE_LIMIT }), "{error}");
}

#[test]
fn differing_hashes_say_nothing_of_the_keys_and_do_not_count() {
    // Else any client could retire an epoch, with different inputs for different parties.
    let net = zoo::mlp(TWO);
    let Loaded { session, helper, parties } = loaded(&net);
    let loaded = Loaded { session, helper: helper.retired_after(2), parties };
    for _ in 0..5 {
        assert!(is_rejected(&infer(&loaded, &net, &mut |m| wrong_hash(m))));
        let both = &mut |messages: &mut Vec<CheckMessage>| {
            wrong_sum(messages);
            wrong_hash(messages);
        };
        assert!(is_rejected(&infer(&loaded, &net, both)));
    }
    assert!(infer(&loaded, &net, &mut |_| ()).is_ok());
    assert!(is_rejected(&infer(&loaded, &net, &mut |m| wrong_sum(m))));
    assert!(infer(&loaded, &net, &mut |_| ()).is_ok());
    assert!(is_rejected(&infer(&loaded, &net, &mut |m| wrong_sum(m))));
    assert!(matches!(loaded.helper.usable(), Err(ProtocolError::Retired { failures: 2 })));
}

#[test]
fn wrong_proofs_count_like_wrong_sums() {
    let net = zoo::relu(Limbs::ONE, true, &[3, 3]);
    let Loaded { session, helper, parties } = loaded(&net);
    let loaded = Loaded { session, helper: helper.retired_after(4), parties };
    for failure in 0..4 {
        assert!(loaded.helper.usable().is_ok(), "after {failure} failures");
        let mut wrong = |messages: &mut Vec<CheckMessage>| {
            let proofs = messages[1].proofs.as_mut().unwrap();
            if failure % 2 == 0 { proofs.share.flip(0) } else { proofs.hash.0[0] ^= 1 }
        };
        assert!(is_rejected(&infer(&loaded, &net, &mut wrong)));
    }
    assert!(matches!(loaded.helper.usable(), Err(ProtocolError::Retired { failures: 4 })));
}

#[test]
fn nobody_can_raise_the_limit() {
    let net = zoo::mlp(TWO);
    let Loaded { session, helper, parties } = loaded(&net);
    let loaded = Loaded { session, helper: helper.retired_after(u32::MAX), parties };
    for _ in 0..FAILURE_LIMIT {
        assert!(is_rejected(&infer(&loaded, &net, &mut |m| wrong_sum(m))));
    }
    assert!(loaded.helper.usable().is_err());
}

fn is_retired(error: &NodeError) -> bool {
    error.to_string().contains("the epoch is retired after 3 failed checks; load the model again")
}

#[test]
fn a_helper_retires_a_model_with_all_material_dealt_before() {
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("linear 0"), 0, Element::one(TWO));
    // Material for one more inference lies ready while one is in flight.
    let mut run = Setup::new(net, 2).last_deviating(deviation).keeping(2).failure_limit(3).start();
    for failure in 0..3 {
        assert!(run.infer().is_ok(), "after {failure} failures");
        run.attack().rejected();
    }
    let error = run.infer().unwrap_err();
    assert!(is_retired(&error), "{error}");
    // Nor is anything dealt for it.
    let retired = |event: &Event| matches!(event, Event::Retired { .. });
    let since: Vec<Event> = run.cluster.helper_events.try_iter().skip_while(|e| !retired(e)).collect();
    assert!(!since.is_empty() && !since.iter().any(|e| matches!(e, Event::Dealt { .. })), "{since:?}");
    // With fresh keys it counts from nothing.
    run.load().unwrap();
    for _ in 0..2 {
        run.attack().rejected();
        run.recovers();
    }
    run.finish();
}

#[test]
fn clients_hear_of_the_retirement() {
    let _world = World::enter(1);
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("linear 0"), 0, Element::one(TWO));
    let mut run = Setup::new(net, 2).last_deviating(deviation).failure_limit(1).start();
    run.attack().rejected();
    // Each time it asks, not only once; and a batch of any size.
    for batch in [3, 1] {
        let error = run.client.request(batch, &[]).unwrap_err().to_string();
        assert!(error.contains("the epoch is retired after 1 failed checks"), "{error}");
    }
    run.load().unwrap();
    run.recovers();
    run.finish();
}
