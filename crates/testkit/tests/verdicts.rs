//! A rejection tells nobody what was wrong: the helper computes the same whether sums are right or not,
//! which is counted by the memory that it asks for.

use amicus_field::{Element, Limbs};
use amicus_protocol::check::CheckMessage;
use amicus_protocol::{Parties, ProtocolError};
use amicus_testkit::direct::{self, Loaded};
use amicus_testkit::nets::Net;
use amicus_testkit::zoo;
use cap::Cap;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes asked for from the messages to the helper until its rejection. The least of several times:
/// memory serves again.
fn bytes_of_a_rejection(loaded: &Loaded, net: &Net, change: fn(&mut Vec<CheckMessage>)) -> usize {
    let once = || {
        let mut before = 0;
        let mut changed = |messages: &mut Vec<CheckMessage>| {
            change(messages);
            before = ALLOCATOR.total_allocated();
        };
        let outcome = direct::infer(loaded, &net.inputs(1, 1), 1, &[], &mut changed).unwrap();
        assert!(matches!(outcome.logits, Err(ProtocolError::Rejected { .. })));
        ALLOCATOR.total_allocated() - before
    };
    (0..8).map(|_| once()).min().unwrap()
}

fn wrong_sum(messages: &mut [CheckMessage]) {
    let sums = &mut messages[1].sums;
    sums.set(0, sums.get(0) + Element::one(Limbs::ONE));
}

fn wrong_transcript(messages: &mut [CheckMessage]) {
    messages[1].transcript.0[0] ^= 1;
}

/// The report is another one than that of the hashes.
fn wrong_report(messages: &mut [CheckMessage]) {
    messages[1].proofs.as_mut().unwrap().share.flip(9);
}

/// Hashes that differ are no failed check, so an answer to them must not say whether sums are right.
#[test]
fn no_work_depends_on_whether_sums_are_right() {
    let net = zoo::relu(Limbs::ONE, true, &[2; 6]);
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(2).unwrap(), None).unwrap();
    let bytes = |change| bytes_of_a_rejection(&loaded, &net, change);
    let right = bytes(|messages| wrong_transcript(messages));
    let wrong = bytes(|messages| {
        wrong_sum(messages);
        wrong_transcript(messages);
    });
    assert_eq!(right, wrong, "different transcripts");
    let right = bytes(|messages| wrong_report(messages));
    let wrong = bytes(|messages| {
        wrong_sum(messages);
        wrong_report(messages);
    });
    assert_eq!(right, wrong, "wrong reports");
}
