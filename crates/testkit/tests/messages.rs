//! Malformed, repeated, replayed and missing messages of a party: everybody's error names the step
//! and the party.

use amicus_field::{Element, Limbs, packed_len};
use amicus_net::clock::world::World;
use amicus_node::Peer;
use amicus_protocol::control::AbortNotice;
use amicus_protocol::wire::{HEADER_BYTES, Kind, VERSION};
use amicus_protocol::{Parties, Step};
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::run::{Setup, party};
use amicus_testkit::zoo;

const TWO: Limbs = Limbs::TWO;

/// The last of two parties plays one attack, after an honest inference; all say these words.
fn given_up(deviation: Deviation, words: &[&str]) {
    let mut run = Setup::new(zoo::mlp(TWO), 2).last_deviating(deviation).start();
    run.infer().unwrap();
    run.attack().given_up(words);
    run.recovers();
    run.finish();
}

#[test]
fn openings_of_the_wrong_length() {
    let bytes = packed_len(TWO, 5);
    let step = "opening of layer linear 0 (operation 0)";
    let says = |got: usize| format!("message of {got} bytes, expected {bytes}");
    given_up(Deviation::opening(0, How::Shorter(1)), &[step, "party 2", &says(bytes - 1)]);
    given_up(Deviation::opening(0, How::Shorter(bytes)), &[step, "party 2", &says(0)]);
    given_up(Deviation::opening(0, How::Longer(13)), &[step, "party 2", &says(bytes + 13)]);
}

#[test]
fn openings_with_a_residue_out_of_range() {
    for limb in 0..2 {
        given_up(
            Deviation::opening(1, How::Residue(limb)),
            &["opening of layer activation 0 (operation 1)", "party 2", "residue"],
        );
    }
}

#[test]
fn openings_of_the_wrong_layer() {
    let step = "opening of layer activation 0 (operation 1)";
    // One that does not exist, one that is local, one that is over.
    given_up(Deviation::opening(1, How::Index(77)), &["party 2", "unexpected share of operation 77"]);
    given_up(Deviation::opening(1, How::Index(0)), &[step, "party 2", "second share of operation 0"]);
    let net = zoo::products(TWO);
    let slice = net.op("slice 0");
    let deviation = Deviation::opening(net.op("activation 0"), How::Index(slice));
    let mut run = Setup::new(net, 2).last_deviating(deviation).start();
    run.attack().given_up(&["activation 0", "party 2", &format!("unexpected share of operation {slice}")]);
    run.recovers();
    run.finish();
    // One that is still to come: the share that is due never comes.
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient();
    run = run.last_deviating(Deviation::opening(1, How::Index(2)));
    let mut run = run.start();
    run.attack().given_up(&[step, "party 2", "nothing received for"]);
    run.recovers();
    run.finish();
}

#[test]
fn messages_of_the_wrong_type() {
    let step = "opening of layer linear 1 (operation 2)";
    given_up(Deviation::opening(2, How::Kind(Kind::Tags)), &[step, "party 2", "unexpected Tags"]);
    given_up(Deviation::opening(2, How::Kind(Kind::Outcome)), &[step, "party 2", "unexpected Outcome"]);
    given_up(Deviation::opening(2, How::Kind(Kind::Input)), &[step, "party 2", "unexpected Input"]);
    given_up(
        Deviation::message(Kind::Check, How::Kind(Kind::Opening)),
        &["check", "party 2", "unexpected Opening"],
    );
}

// From the second opening on: while a party still waits for its client, an unreadable first one is
// an error of the input.
#[test]
fn bytes_that_are_no_message() {
    let step = "opening of layer activation 0 (operation 1)";
    given_up(
        Deviation::opening(1, How::Garbage(vec![1; 10])),
        &[step, "party 2", &format!("message of 10 bytes, expected {HEADER_BYTES}")],
    );
    given_up(Deviation::opening(1, How::Garbage(vec![9; 100])), &[step, "party 2", "wire version 9"]);
    given_up(
        Deviation::opening(1, How::Garbage([vec![VERSION, 255], vec![0; HEADER_BYTES - 2]].concat())),
        &[step, "party 2", "kind 255"],
    );
    given_up(Deviation::message(Kind::Check, How::Garbage(Vec::new())), &["check", "party 2", "0 bytes"]);
}

#[test]
fn a_replayed_message() {
    let _world = World::enter(1);
    let step = "opening of layer activation 0 (operation 1)";
    let replay = "inference 2 was used before";
    given_up(Deviation::opening(1, How::Earlier), &[step, "party 2", replay]);
    given_up(Deviation::opening(1, How::EarlierToo), &[step, "party 2", replay]);
    // An old share under the present id is only a wrong value.
    for op in 0..3 {
        let deviation = Deviation::opening(op, How::EarlierBody);
        let mut run = Setup::new(zoo::mlp(TWO), 3).last_deviating(deviation).start();
        run.infer().unwrap();
        run.attack().rejected();
        run.recovers();
        run.finish();
    }
}

#[test]
fn a_message_sent_twice() {
    given_up(Deviation::opening(0, How::Twice), &["party 2", "second share of operation 0"]);
    given_up(Deviation::opening(1, How::AnotherToo), &["party 2", "second share of operation 1"]);
}

#[test]
fn a_message_never_sent() {
    for (n, who) in [(2, "party 2"), (3, "party 3")] {
        let deviation = Deviation::opening(1, How::Nothing);
        let mut run = Setup::new(zoo::mlp(TWO), n).impatient().last_deviating(deviation).start();
        run.attack().given_up(&["opening of layer activation 0 (operation 1)", who, "nothing received for"]);
        run.recovers();
        run.finish();
    }
    let deviation = Deviation::message(Kind::Check, How::Nothing);
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().last_deviating(deviation).start();
    run.attack().given_up(&["check", "party 2", "nothing received for 30"]);
    run.recovers();
    run.finish();
}

#[test]
fn a_message_to_one_of_two_parties_only() {
    let parties = Parties::new(3).unwrap();
    // Malformed to one: that one says so, and the other hears it.
    let deviation = Deviation::opening(0, How::Shorter(3)).to(party(parties, 2));
    let mut run = Setup::new(zoo::mlp(TWO), 3).last_deviating(deviation).start();
    run.attack().given_up(&["opening of layer linear 0", "party 3", "bytes, expected"]);
    run.recovers();
    run.finish();
}

#[test]
fn a_false_accusation_is_signed() {
    // It may say what it likes, but not in somebody else's name, and not that a check failed.
    let notice = AbortNotice {
        accused: Some("party 1".into()),
        step: Step::Check,
        reason: "cheated".into(),
        rejected: true,
        failures: 1 << 20,
        reporter: Some("helper".into()),
    };
    let deviation = Deviation::opening(1, How::GiveUp(notice));
    let mut run = Setup::new(zoo::mlp(TWO), 2).last_deviating(deviation).start();
    let ending = run.attack().given_up(&["party 1: cheated"]);
    let text = ending.client.unwrap_err().to_string();
    assert!(text.contains("says party 2"), "{text}");
    run.recovers();
    run.finish();
}

#[test]
fn wrong_messages_of_the_check() {
    let step = "check: party 2";
    given_up(Deviation::message(Kind::Check, How::Shorter(1)), &[step, "bytes, expected"]);
    given_up(Deviation::message(Kind::Check, How::Longer(32)), &[step, "bytes, expected"]);
    // The sums are followed by hashes, so only the first limb begins where it does in a vector.
    given_up(Deviation::message(Kind::Check, How::Residue(0)), &[step, "residue"]);
    for what in [Kind::Ready, Kind::LoadResponse, Kind::Output] {
        let deviation = Deviation::opening(2, How::Also(Peer::Helper, what));
        given_up(deviation, &["check", "party 2", &format!("unexpected {what:?}")]);
    }
}

#[test]
fn a_wrong_sigma() {
    let one = Element::one(TWO);
    let limb = Element::from_signed(TWO, amicus_field::I256::from(amicus_field::PRIMES[0]));
    // Slots of two batch elements and three uses of a layer; one wrong, and two that cancel in a
    // total.
    for errors in [
        vec![(0, one)],
        vec![(5, one)],
        vec![(0, limb)],
        vec![(0, one), (3, -one)],
        vec![(1, one), (2, -one)],
    ] {
        let deviation = Deviation::Sigma(errors);
        let mut run = Setup::new(zoo::repeated(TWO), 2).batch(2).last_deviating(deviation).start();
        run.attack().rejected();
        run.recovers();
        run.finish();
    }
}

#[test]
fn a_second_sigma() {
    // The decision may fall between the two messages; then the second changes nothing. Not so every
    // time.
    for _ in 0..100 {
        let mut run = Setup::new(zoo::mlp(TWO), 2).last_deviating(Deviation::SecondSigma(2)).start();
        let ending = run.attack();
        let refused = ending.client.is_err();
        if refused {
            ending.given_up(&["check", "party 2", "second check message"]);
        } else {
            ending.accepted();
        }
        run.recovers();
        run.finish();
        if refused {
            return;
        }
    }
    panic!("never refused");
}

#[test]
fn wrong_hashes() {
    for n in [2, 3] {
        for deviation in [Deviation::Transcript, Deviation::OutputHash] {
            let mut run = Setup::new(zoo::mlp(TWO), n).last_deviating(deviation).start();
            run.attack().rejected();
            run.recovers();
            run.finish();
        }
    }
}

#[test]
fn a_wrong_output_after_the_check() {
    let hows = [
        How::Flip(0),
        How::Shorter(1),
        How::Longer(1),
        How::Nothing,
        How::Twice,
        How::Garbage(vec![7; 30]),
        How::Kind(Kind::Release),
        How::Kind(Kind::Abort),
        How::EarlierBody,
    ];
    for cheater in [1, 2] {
        for how in hows.clone() {
            let deviation = Deviation::message(Kind::Output, how);
            let mut run = Setup::new(zoo::mlp(TWO), 2).deviating(cheater, deviation).start();
            run.infer().unwrap();
            run.attack().accepted();
            run.recovers();
            run.finish();
        }
    }
}
