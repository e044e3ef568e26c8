//! Text that peers write never reaches anybody's logs as it is: notices, names of receivers,
//! accusations.

use amicus_client::Message;
use amicus_field::Limbs;
use amicus_node::{NodeError, Peer, peer};
use amicus_plan::printable;
use amicus_protocol::control::{self, AbortNotice, Request};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Scope, Step};
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::run::{Ending, Setup, assert_says};
use amicus_testkit::user::{User, notice};
use amicus_testkit::zoo;

const TWO: Limbs = Limbs::TWO;
/// Clears the screen and forges a line.
const HOSTILE: &str = "\x1b[2J\x1b[H\r\nhelper: accepted \u{202e}";

/// An error as it would be logged: short, and nothing that a terminal obeys.
fn assert_loggable(who: &str, error: &NodeError) {
    let text = error.to_string();
    assert!(text.chars().count() < 8 * printable::MAX_BYTES, "{who}: {} bytes", text.len());
    let obeyed = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
    assert!(!text.chars().any(obeyed), "{who}: {text:?}");
}

/// Everybody's account of how an inference ended.
fn assert_all_loggable(ending: &Ending) {
    assert_loggable("client", ending.client.as_ref().unwrap_err());
    assert_loggable("helper", ending.helper.as_ref().unwrap_err());
    for (party, result) in &ending.honest {
        assert_loggable(&party.to_string(), result.as_ref().unwrap_err());
    }
}

/// A notice whose every text is `text`, as bytes: what nobody can build from the types.
fn hostile_notice(text: &str) -> Vec<u8> {
    // Who is accused, step 5 (the check, which has no text), reason, whether the check failed, how many
    // did, reporter.
    control::encode(&(Some(text), 5u32, text, false, 0u32, Some(text))).unwrap()
}

#[test]
fn the_hostile_notice_is_a_notice() {
    let decoded: AbortNotice = control::decode(&hostile_notice("x")).unwrap();
    assert_eq!((decoded.step, decoded.reason.as_str()), (Step::Check, "x"));
}

#[test]
fn a_party_that_gives_up_in_hostile_words_is_named_and_not_quoted() {
    for text in [HOSTILE.to_owned(), "x".repeat(3000)] {
        let gives_up = How::Instead(Kind::Abort, hostile_notice(&text));
        let mut run = Setup::new(zoo::mlp(TWO), 3).last_deviating(Deviation::opening(1, gives_up)).start();
        run.infer().unwrap();
        let ending = run.attack();
        assert_all_loggable(&ending);
        // The one who wrote it is at fault, not those who heard it.
        ending.given_up(&["party 3", "no honest peer writes"]);
        run.recovers();
        run.finish();
    }
}

#[test]
fn a_party_that_gives_up_in_long_words_within_the_rules_is_passed_on() {
    let long = "x".repeat(printable::MAX_BYTES);
    let words = AbortNotice {
        accused: Some(long.as_str().into()),
        step: Step::Load { part: long.as_str().into(), layer: Some(long.as_str().into()) },
        reason: long.as_str().into(),
        rejected: false,
        failures: 0,
        reporter: Some(long.as_str().into()),
    };
    let mut run =
        Setup::new(zoo::mlp(TWO), 3).last_deviating(Deviation::opening(1, How::GiveUp(words))).start();
    let ending = run.attack();
    assert_all_loggable(&ending);
    // Everybody passes it on within the rules: nobody accuses one who only repeats it.
    ending.given_up(&[&long]);
    run.recovers();
    run.finish();
}

#[test]
fn receivers_names_are_refused_unless_short_and_printable() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut mallory = User::connect(&mut run.cluster, run.parties, &Peer::Client("2".into()));
    let plan = run.net.plan.digest().unwrap();
    let long = format!("client {}", "x".repeat(peer::MAX_NAME + 1));
    for name in [format!("client {HOSTILE}"), long, "client ".into(), "party 1".into(), "helper".into()] {
        let request = Request { plan, batch: 1, also_to: vec![name.clone()] };
        let body = control::encode(&request).unwrap();
        mallory.send(&Peer::Helper, &Message { header: Header::new(Kind::Request, Scope::NONE, 0), body });
        let refused = notice(&mallory.expect(&Peer::Helper, &[Kind::Abort, Kind::Ticket]));
        assert!(refused.to_string().contains("not allowed: these receivers"), "{name:?}: {refused}");
        assert_loggable("client 2", &refused);
    }
    run.recovers();
    run.finish();
}

/// A binding that names all of them still fits, so that nobody takes the helper for a liar.
#[test]
fn the_longest_names_of_as_many_receivers_as_may_be_blame_a_receiver() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let absent: Vec<Peer> = (0..16).map(|n| Peer::Client(format!("{n:0>64}"))).collect();
    let error = run.client.request(1, &absent).unwrap_err();
    let first = absent[0].to_string();
    assert_says("client", &error, &["given up by helper: input", &first, "link lost"]);
    run.recovers();
    run.finish();
}
