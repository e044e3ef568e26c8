//! Bytes of single messages, plans and names: parsed, and written again as they were.

use crate::input::Input;
use amicus_field::{Limbs, packed_len, unpack_add};
use amicus_net::shaper::Shape;
use amicus_net::{Fingerprint, Identity};
use amicus_node::{Peer, limits};
use amicus_plan::{Plan, Printable, Schedule};
use amicus_protocol::control::{self, AbortNotice, Binding, Hello, Invitation, Request, TicketGrant};
use amicus_protocol::epoch::PartyContext;
use amicus_protocol::wire::{Header, pack, pack_all, pack_bits, unpack, unpack_all, unpack_bits};
use amicus_protocol::{Parties, PartyId, ProtocolError, greeting};
use std::sync::Arc;

/// A header, then vectors of residues.
pub(crate) fn wire(bytes: &[u8]) {
    if let Ok((header, body)) = Header::decode(bytes) {
        assert_eq!([&header.encode()[..], body].concat(), bytes, "a header has one encoding");
    }
    let mut input = Input::new(bytes);
    let limbs = *input.pick(&Limbs::ALL);
    // The length that fits, or any other.
    let said = input.word();
    let body = input.rest();
    let element = packed_len(limbs, 2);
    let fits = body.len() / element * 2 + usize::from(!body.len().is_multiple_of(element));
    for len in [fits, said, said << 48] {
        if let Ok(vector) = unpack(limbs, len, body) {
            assert_eq!(pack(&vector), body, "a vector has one encoding");
            let mut doubled = vector.clone();
            unpack_add(&mut doubled, body).expect("the same bytes");
            let mut twice = vector.clone();
            twice.add_assign(&vector);
            assert_eq!(doubled, twice);
        }
        for count in [1, 2, 7] {
            if let Ok(planes) = unpack_bits(count, len, body) {
                assert_eq!(pack_bits(&planes), body, "planes of bits have one encoding");
                assert!(planes.iter().all(|plane| plane.len() == len));
            }
        }
        let lengths = [len / 2, len - len / 2, 0];
        if let Ok(vectors) = unpack_all(limbs, &lengths, body) {
            assert_eq!(pack_all(&vectors), body, "vectors have one encoding");
        }
    }
}

/// A control message of any kind: the first byte chooses.
pub(crate) fn control(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte() % 6;
    let body = input.rest();
    match kind {
        0 => {
            let _ = greeting::header(body).and_then(|(_, rest)| greeting::decode(rest));
            same(control::decode::<Hello>(body), body)
        }
        1 => same(control::decode::<Request>(body), body),
        2 => same(control::decode::<Binding>(body), body),
        3 => same(control::decode::<TicketGrant>(body), body),
        5 => same(control::decode::<Invitation>(body), body),
        _ => {
            let notice = control::decode::<AbortNotice>(body);
            if let Ok(notice) = &notice {
                passed_on(notice);
            }
            same(notice, body);
        }
    }
}

fn same<T: serde::Serialize, E>(decoded: Result<T, E>, body: &[u8]) {
    if let Ok(value) = decoded {
        assert_eq!(control::encode(&value).expect("memory"), body, "a control message has one encoding");
    }
}

/// Whatever a peer says can be logged, and passed on to others who accept it.
fn passed_on(notice: &AbortNotice) {
    let shown = notice.to_string();
    assert!(shown.len() < 8 * 256 && !shown.chars().any(char::is_control), "{shown:?}");
    let error = ProtocolError::Aborted { by: Peer::Owner, notice: Box::new(notice.clone()) };
    let again = AbortNotice::of(&error, &notice.step);
    let body = control::encode(&again).expect("memory");
    assert_eq!(control::decode::<AbortNotice>(&body), Ok(again));
}

/// A plan, and everything that is derived from one before anybody runs it.
pub(crate) fn plan(bytes: &[u8]) {
    let Ok(plan) = Plan::decode(bytes) else { return };
    assert_eq!(plan.encode().expect("memory"), bytes, "a plan has one encoding");
    let values = plan.values().expect("decoded plans are valid");
    assert_eq!(values.count(), plan.ops.len() + 1);
    let levels: usize = plan.ops.iter().map(|op| op.kind.levels()).sum();
    // All proofs that no other round takes go in one.
    assert!(Schedule::of(&plan).openings() <= levels + usize::from(plan.compares()));
    for batch in [1, 64, u32::MAX] {
        plan.cost(batch as usize).expect("decoded plans are valid");
        limits::online(&plan, batch).expect("decoded plans are valid");
        limits::dealing(&plan, batch).expect("decoded plans are valid");
    }
    let parties = Parties::new(3).expect("3 parties");
    PartyContext::new(Arc::new(plan), parties, PartyId::FIRST).expect("decoded plans are valid");
}

/// Names and other short texts of configurations, certificates and messages.
pub(crate) fn names(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    let printable = Printable::new(text);
    assert!(Printable::is(printable.as_str()), "{printable:?}");
    assert_eq!(Printable::new(printable.as_str()), printable);
    for n in [2, 8] {
        let parties = Parties::new(n).expect("2 to 8");
        if let Some(peer) = Peer::parse(text, parties) {
            assert_eq!(peer.to_string(), text, "a name has one form");
            assert!(Printable::is(text));
        }
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>(), Ok(fingerprint));
    }
    if let Ok(shape) = text.parse::<Shape>() {
        // What is shown is read again, up to rounding.
        shape.to_string().parse::<Shape>().expect("a shape as it is shown");
    }
    if let Ok(identity) = Identity::from_pem(text) {
        assert_eq!(identity.to_pem().as_str(), text);
    }
}
