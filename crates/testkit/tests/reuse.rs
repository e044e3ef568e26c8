//! Nothing is used twice (`docs/protocol.md`, section 7): a helper that repeats itself gets nothing
//! from honest parties.

use amicus_client::Message;
use amicus_field::Limbs;
use amicus_node::event::Event;
use amicus_node::{NodeError, Peer};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{InferenceId, Parties, ProtocolError};
use amicus_testkit::PATIENCE;
use amicus_testkit::fake_helper::FakeHelper;
use amicus_testkit::run::party;
use amicus_testkit::user::notice;
use amicus_testkit::zoo;
use std::sync::mpsc::Receiver;
use std::time::Duration;

fn peers() -> Vec<Peer> {
    let parties = Parties::new(2).unwrap();
    vec![party(parties, 1), party(parties, 2)]
}

/// The next event that is a failure.
fn failure(events: &Receiver<Event>) -> NodeError {
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            Event::Failed { error, .. } | Event::DealFailed { error } | Event::LoadFailed { error } => {
                return error;
            }
            _ => {}
        }
    }
}

fn assert_spent(error: &NodeError, what: &str) {
    assert!(matches!(error, NodeError::Protocol(ProtocolError::Spent { .. })), "{error}");
    assert_eq!(error.to_string(), format!("{what} is spent and is never used again"));
}

#[test]
fn an_inference_dealt_twice() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(1);
    // Before and after its use, and one that was passed over.
    helper.deal(&epoch, 5);
    helper.infer(&epoch, 6, &inputs);
    for id in [5, 6, 6, 1] {
        helper.deal(&epoch, id);
        for (peer, events) in peers().iter().zip(&helper.events) {
            assert_spent(&failure(events), &format!("inference {id} of epoch 1"));
            let abort = helper.dealing.expect(peer, &[Kind::Abort]);
            assert!(notice(&abort).to_string().contains("is spent"), "{}", notice(&abort));
        }
    }
    helper.infer(&epoch, 7, &inputs);
    helper.stop();
}

#[test]
fn an_inference_bound_twice() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let (inputs, others) = (net.inputs(1, 1), net.inputs(1, 2));
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(1);
    helper.infer(&epoch, 1, &inputs);
    // Another input under the same mask would show the difference of the two.
    let again = epoch_deal_alone(&epoch, 1);
    helper.bind(&again, &others);
    for events in &helper.events {
        assert_spent(&failure(events), "inference 1 of epoch 1");
    }
    assert!(helper.online.heard(Duration::from_millis(200)).is_none(), "a party went on with it");
    helper.infer(&epoch, 2, &inputs);
    helper.stop();
}

#[test]
fn an_inference_of_a_size_that_was_not_agreed() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(1);
    // Else it could make parties expand as much as it likes.
    for (id, batch) in [(1, 0), (2, 5), (3, u32::MAX)] {
        let header = Header::inference(Kind::Deal, epoch.epoch(), InferenceId(id), batch);
        for (peer, events) in peers().iter().zip(&helper.events) {
            helper.dealing.send(peer, &Message { header, body: Vec::new() });
            let text = failure(events).to_string();
            assert!(text.contains(&format!("helper misbehaved: unexpected batch of {batch}")), "{text}");
            helper.dealing.expect(peer, &[Kind::Abort]);
        }
    }
    helper.infer(&epoch, 4, &inputs);
    helper.stop();
}

/// What the helper would need to use an id again, without telling the parties that it is dealt.
fn epoch_deal_alone(
    epoch: &amicus_protocol::epoch::HelperEpoch,
    id: u64,
) -> amicus_protocol::preprocess::Dealt {
    let fresh = amicus_protocol::Fresh::recorded(amicus_protocol::InferenceId(id));
    epoch.deal::<ProtocolError>(fresh, 1, &mut |_, _| Ok(())).unwrap()
}

#[test]
fn an_epoch_begun_twice() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    helper.load(3);
    for epoch in [3, 2] {
        helper.begin_epoch(epoch);
        for (peer, events) in peers().iter().zip(&helper.events) {
            assert_spent(&failure(events), &format!("epoch {epoch}"));
            let abort = helper.online.expect(peer, &[Kind::Abort]);
            assert!(notice(&abort).to_string().contains("is spent"), "{}", notice(&abort));
        }
    }
    let epoch = helper.load(4);
    helper.infer(&epoch, 1, &inputs);
    helper.stop();
}

#[test]
fn parties_remember_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = zoo::mlp(Limbs::TWO).inputs(1, 1);
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), folder.path());
    let epoch = helper.load(1);
    helper.infer(&epoch, 1, &inputs);
    helper.stop();
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), folder.path());
    helper.begin_epoch(1);
    for events in &helper.events {
        assert_spent(&failure(events), "epoch 1");
    }
    let epoch = helper.load(2);
    helper.infer(&epoch, 1, &inputs);
    helper.stop();
}
