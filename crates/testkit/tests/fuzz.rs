//! Bytes of a peer never panic and never reserve memory beyond the plan's sizes.
//!
//! Every message of a load and an inference is changed at random, so that every decoder meets
//! hostile bytes in the state it is really used in; then arbitrary bytes go to those that stand
//! alone.

use amicus_field::Limbs;
use amicus_plan::Plan;
use amicus_protocol::authentic::{AuthenticationKeys, BodyDigest, TAG_BYTES};
use amicus_protocol::control::{self, AbortNotice, About, Binding, Hello, Invitation, Request, TicketGrant};
use amicus_protocol::output::{ReceiverKey, Release};
use amicus_protocol::wire::{Header, Kind, unpack, unpack_all};
use amicus_protocol::{Parties, PartyId, Peer, ProtocolError, Scope, greeting};
use amicus_testkit::direct;
use amicus_testkit::nets::Net;
use amicus_testkit::random::Random;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::zoo;
use cap::Cap;
use proptest::prelude::*;
use std::alloc::System;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that changed bytes may need on top.
const SLACK: usize = 4 << 20;

/// One test at a time: memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes a message: cut, extended, bits flipped, a stretch overwritten, replaced.
fn mutate(random: &mut Random, body: &mut Vec<u8>) {
    match random.below(7) {
        0 => body.truncate(random.below(body.len() + 1)),
        1 => {
            let more = random.below(64);
            body.extend(random.bytes(more));
        }
        2 => body.clear(),
        3 => *body = random.bytes(body.len()),
        4 => {
            let length = random.below(4 * body.len() + 8);
            *body = random.bytes(length);
        }
        5 if !body.is_empty() => {
            let (at, value) = (random.below(body.len()), [0, 0xff][random.below(2)]);
            let end = (at + 1 + random.below(16)).min(body.len());
            body[at..end].fill(value);
        }
        _ if !body.is_empty() => {
            let at = random.below(body.len());
            body[at] ^= 1 << random.below(8);
        }
        _ => body.push(0),
    }
}

/// A world in which one message is changed.
struct Changing<'a> {
    random: &'a mut Random,
    /// Which one, counted from now.
    target: usize,
    number: usize,
    hit: Option<Kind>,
}

impl World for Changing<'_> {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if self.number == self.target {
            // Whoever changes what a user says has the user's keys: what counts is before the tag.
            let tagged =
                matches!(letter.header.kind, Kind::Nonce | Kind::Weights | Kind::Input | Kind::ReceiverKey);
            let tag = body.split_off(body.len() - if tagged { TAG_BYTES } else { 0 });
            let before = body.clone();
            while *body == before {
                mutate(self.random, body);
            }
            body.extend_from_slice(&tag);
            self.hit = Some(letter.header.kind);
        }
        self.number += 1;
    }

    fn has_keys_of_users(&self) -> bool {
        true
    }
}

/// One load and one inference in which the message of this number is changed; what kind it was, and
/// the result.
fn run(net: &Net, target: usize, random: &mut Random) -> (Option<Kind>, Result<Vec<f64>, ProtocolError>) {
    let mut world = Changing { random, target, number: 0, hit: None };
    let parties = Parties::new(3).unwrap();
    let inputs = net.inputs(2, 9);
    let result = direct::load_over(&net.plan, &net.layers(), parties, None, &mut world).and_then(|loaded| {
        direct::infer_over(&loaded, &inputs, 2, &[], &mut |_| (), &mut world)
            .and_then(|outcome| outcome.logits)
    });
    (world.hit, result)
}

#[test]
fn changed_messages_are_errors_and_no_panics() {
    let _alone = alone();
    let nets = [zoo::mlp(Limbs::TWO), zoo::products(Limbs::ONE), zoo::pools(Limbs::THREE)];
    for net in nets {
        let mut random = Random(1);
        assert!(run(&net, usize::MAX, &mut random).1.is_ok());
        let honest = ALLOCATOR.max_allocated();
        let mut seen: BTreeMap<u8, (Kind, usize)> = BTreeMap::new();
        for pass in 0..100 {
            for target in 0.. {
                let mut random = Random(pass * 1000 + target as u64);
                let (Some(kind), result) = run(&net, target, &mut random) else { break };
                seen.entry(kind as u8).or_insert((kind, 0)).1 += 1;
                match (result, kind) {
                    (Err(_), _) => {}
                    // Words of helper, owner and client decide what is computed.
                    (Ok(_), Kind::LoadGrant | Kind::Nonce | Kind::Ticket | Kind::Release | Kind::Request) => {
                    }
                    // Another party's output is as good; corrections of the case that does not
                    // occur are not used.
                    (Ok(logits), Kind::Output | Kind::DealCorrection) => {
                        let error = net.error_of(&net.inputs(2, 9), &logits);
                        assert!(net.plan.limbs == Limbs::ONE || error < 0.05, "{kind:?}: {error}");
                    }
                    (Ok(_), _) => panic!("a changed {kind:?} was accepted"),
                }
            }
        }
        assert_eq!(seen.len(), 22, "{seen:?}");
        let grown = ALLOCATOR.max_allocated() - honest;
        assert!(grown < SLACK, "{grown} bytes more than an honest run");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic_nor_reserve(bytes in prop::collection::vec(any::<u8>(), 0..600), len in 0usize..80) {
        let _alone = alone();
        // All that is ever reserved: what is dropped at once counts too.
        let before = ALLOCATOR.total_allocated();
        let _ = Header::decode(&bytes);
        let _ = control::decode::<Hello>(&bytes);
        let _ = greeting::header(&bytes);
        let _ = greeting::decode(&bytes);
        let _ = control::decode::<About>(&bytes);
        let _ = control::decode::<AbortNotice>(&bytes);
        let _ = control::decode::<Request>(&bytes);
        let _ = control::decode::<Binding>(&bytes);
        let _ = control::decode::<TicketGrant>(&bytes);
        let _ = control::decode::<Invitation>(&bytes);
        let keys = AuthenticationKeys::decode(Parties::new(2).unwrap(), &[7; 64]).unwrap();
        let (key, header) = (keys.with(PartyId::FIRST).unwrap(), Header::new(Kind::ReceiverKey, Scope::NONE, 0));
        prop_assert!(key.verify(&header, &bytes).is_err());
        let message = [&bytes[..], key.tag(&header, &BodyDigest::of(&bytes)).as_bytes()].concat();
        let _ = ReceiverKey::decode(&Peer::Client("1".into()), key.verify(&header, &message).unwrap());
        let _ = Release::from_log(&bytes);
        let _ = Plan::decode(&bytes);
        for limbs in Limbs::ALL {
            let _ = unpack(limbs, len, &bytes);
            let _ = unpack_all(limbs, &[len, 1, len], &bytes);
            // However long the vector is said to be.
            let _ = unpack(limbs, usize::MAX / 16, &bytes);
        }
        prop_assert!(ALLOCATOR.total_allocated() < before + SLACK);
    }

    #[test]
    fn plans_with_random_changes_never_panic(seed in any::<u64>()) {
        let _alone = alone();
        let mut random = Random(seed);
        let mut bytes = zoo::conv_net(Limbs::TWO).plan.encode().unwrap();
        mutate(&mut random, &mut bytes);
        if let Ok(plan) = Plan::decode(&bytes) {
            // Whatever is valid can be costed and run through the schedule.
            let _ = plan.cost(1);
            let _ = amicus_plan::Schedule::of(&plan);
        }
    }
}
