//! Whole runs in which messages are changed: every decoder meets hostile bytes in the state it is
//! really used in.

use crate::input::Input;
use amicus_field::{Limbs, RandomnessError, Seed};
use amicus_node::Peer;
use amicus_protocol::Parties;
use amicus_protocol::authentic::TAG_BYTES;
use amicus_protocol::wire::Kind;
use amicus_testkit::direct;
use amicus_testkit::nets::Net;
use amicus_testkit::world::{DangerKnownSeeds, Letter, World};
use amicus_testkit::zoo;
use std::cell::OnceCell;

/// Most changes of one run.
const CHANGES: usize = 8;

thread_local! {
    static NETS: OnceCell<[Net; 7]> = const { OnceCell::new() };
}

/// A change of one message.
struct Change<'a> {
    /// Which message, counted from the first of the load.
    number: usize,
    how: u8,
    at: usize,
    bytes: &'a [u8],
}

impl Change<'_> {
    fn apply(&self, body: &mut Vec<u8>) {
        let at = if body.is_empty() { 0 } else { self.at % body.len() };
        match self.how % 5 {
            0 => body[at..].iter_mut().zip(self.bytes).for_each(|(byte, change)| *byte ^= change),
            1 => *body = self.bytes.to_vec(),
            2 => body.truncate(at),
            3 => body.extend_from_slice(self.bytes),
            _ => drop(body.splice(at..at, self.bytes.iter().copied())),
        }
    }
}

/// A world in which some messages are changed. Its seeds are known, so that an input does the same
/// every time.
struct Changing<'a> {
    seeds: DangerKnownSeeds,
    changes: &'a [Change<'a>],
    /// The number of the next message.
    number: usize,
    /// What was really changed.
    changed: Vec<Kind>,
}

impl World for Changing<'_> {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        Ok(self.seeds.next(role))
    }

    fn has_keys_of_users(&self) -> bool {
        true
    }

    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        let before = body.clone();
        self.changes
            .iter()
            .filter(|change| change.number == self.number)
            .for_each(|change| change.apply(body));
        // What users send parties is tagged anew: a changed tag alone is no change.
        let tag = match (&letter.from, &letter.to) {
            (Peer::Owner | Peer::Client(_), Peer::Party(_)) => TAG_BYTES,
            _ => 0,
        };
        let untagged = |body: &[u8]| body[..body.len().saturating_sub(tag)].to_vec();
        if untagged(body) != untagged(&before) {
            self.changed.push(letter.header.kind);
        }
        self.number += 1;
    }
}

/// A network, a number of parties, and changes of messages of one load and one inference.
pub(crate) fn messages(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (net, parties) = (usize::from(input.byte()), Parties::new(2 + usize::from(input.byte() % 2)));
    let mut changes = Vec::new();
    while !input.is_empty() && changes.len() < CHANGES {
        let (number, how, at) = (usize::from(input.byte()), input.byte(), input.word());
        changes.push(Change { number, how, at, bytes: input.chunk() });
    }
    NETS.with(|nets| {
        let nets = nets.get_or_init(|| {
            [
                zoo::mlp(Limbs::TWO),
                zoo::products(Limbs::TWO),
                zoo::pools(Limbs::THREE),
                zoo::joined(Limbs::TWO),
                zoo::relu(Limbs::ONE, true, &[2; 6]),
                zoo::maxima(Limbs::TWO),
                zoo::mixed(Limbs::TWO),
            ]
        });
        run(&nets[net % nets.len()], parties.expect("2 or 3 parties"), &changes);
    });
}

fn run(net: &Net, parties: Parties, changes: &[Change<'_>]) {
    let mut world =
        Changing { seeds: DangerKnownSeeds::new("fuzz"), changes, number: 0, changed: Vec::new() };
    let inputs = net.inputs(1, 9);
    let result = direct::load_over(&net.plan, &net.layers(), parties, None, &mut world)
        .and_then(|loaded| direct::infer_over(&loaded, &inputs, 1, &[], &mut |_| (), &mut world))
        .and_then(|outcome| outcome.logits);
    match (result, world.changed.as_slice()) {
        (Err(_), []) => panic!("an honest run fails"),
        // Words of helper, owner and client decide what is computed; another party's output is as
        // good; corrections of the case that does not occur are not used.
        (Ok(_), [Kind::LoadGrant | Kind::Nonce | Kind::Request | Kind::Ticket | Kind::Release]) => {}
        (Ok(_), [Kind::Output | Kind::DealCorrection]) => {}
        (Ok(_), [kind]) => panic!("a changed {kind:?} was accepted"),
        // An owner or client that changes the same for everybody has only chosen something else.
        _ => {}
    }
}
