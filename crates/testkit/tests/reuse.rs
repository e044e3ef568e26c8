//! Nothing is used twice (`docs/protocol.md`, section 7): a helper that repeats itself gets nothing
//! from honest parties.

use amicus_client::Message;
use amicus_field::Limbs;
use amicus_net::clock;
use amicus_node::event::Event;
use amicus_node::{NodeError, Peer};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Parties, ProtocolError};
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
        match clock::receive(events, clock::now() + PATIENCE).unwrap() {
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
    // Before and after its use, and one that was passed over and dealt late.
    helper.deal(&epoch, 5);
    helper.infer(&epoch, 6, &inputs);
    helper.deal(&epoch, 3);
    for peer in peers() {
        helper.dealing.expect(&peer, &[Kind::Ready]);
    }
    for id in [5, 6, 6, 3] {
        helper.deal(&epoch, id);
        for (peer, events) in peers().iter().zip(&helper.events) {
            assert_spent(&failure(events), &format!("inference {id}"));
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
    helper.infer(&epoch, 2, &inputs);
    // Another input under the same mask would show the difference of the two.
    let again = helper.deal_alone(&epoch, 2);
    helper.bind(&again, &others);
    for events in &helper.events {
        assert_spent(&failure(events), "inference 2");
    }
    assert!(helper.online.heard(Duration::from_millis(200)).is_none(), "a party went on with it");
    helper.infer(&epoch, 3, &inputs);
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
    for (id, batch) in [(2, 0), (3, 5), (4, u32::MAX)] {
        let scope = helper.scope(&epoch, id);
        let header = Header::new(Kind::Deal, scope, batch);
        for (peer, events) in peers().iter().zip(&helper.events) {
            helper.dealing.send(peer, &Message { header, body: Vec::new() });
            let text = failure(events).to_string();
            assert!(text.contains(&format!("helper misbehaved: unexpected batch of {batch}")), "{text}");
            helper.dealing.expect(peer, &[Kind::Abort]);
        }
    }
    helper.infer(&epoch, 5, &inputs);
    helper.stop();
}

#[test]
fn a_load_begun_twice() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(3);
    helper.infer(&epoch, 4, &inputs);
    // What was a load, and what was an inference.
    for id in [3, 4] {
        helper.begin_load(id);
        for (peer, events) in peers().iter().zip(&helper.events) {
            assert_spent(&failure(events), &format!("inference {id}"));
            let abort = helper.online.expect(peer, &[Kind::Abort]);
            assert!(notice(&abort).to_string().contains("is spent"), "{}", notice(&abort));
        }
    }
    let epoch = helper.load(5);
    helper.infer(&epoch, 6, &inputs);
    helper.stop();
}

/// An id and a load may be numbered as before, but nothing of the session before is heard.
#[test]
fn messages_of_a_session_that_ended() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(1);
    let dealt = helper.deal_alone(&epoch, 3);
    helper.infer(&epoch, 2, &inputs);
    helper.begin_session();
    // Material is dealt by an answer, a load by its begin, an inference by its binding.
    helper.bind(&dealt, &inputs);
    assert!(helper.online.heard(Duration::from_millis(200)).is_none(), "a party heard of the old session");
    helper.deal_in_the_old_session(&epoch, 4);
    for (peer, events) in peers().iter().zip(&helper.events) {
        let error = failure(events).to_string();
        assert!(error.contains("is not loaded"), "{error}");
        helper.dealing.expect(peer, &[Kind::Abort]);
    }
    // Numbers begin anew with the session.
    let epoch = helper.load(1);
    helper.infer(&epoch, 2, &inputs);
    helper.stop();
}
