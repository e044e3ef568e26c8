//! A malicious party, or a malicious owner, in a model load (`docs/protocol.md`, section 4). Time is
//! virtual, for many a load ends by waiting.

use amicus_client::load::{self, Loading};
use amicus_client::{Message, ToParties};
use amicus_field::{Dense, Element, I256, Limbs, LinearShape, OperatingSystem, PRIMES};
use amicus_net::clock::{self, world::World};
use amicus_node::event::Event;
use amicus_node::{Limits, NodeError, Peer};
use amicus_protocol::affine::columns;
use amicus_protocol::wire::Kind;
use amicus_protocol::{Parties, ProtocolError};
use amicus_testkit::deviation::{Deviation, How, Tamper};
use amicus_testkit::direct::Shift;
use amicus_testkit::run::{Run, Setup, assert_says, party};
use amicus_testkit::user::{User, notice};
use amicus_testkit::{PATIENCE, small, zoo};
use std::sync::Arc;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

/// Two minutes are enough for a small model; 130 million weights of 13 bytes take longer at 100
/// Mbit/s.
#[test]
fn large_models_have_time_to_load() {
    let (limits, mut plan) = (Limits::default(), small::plan(TWO));
    assert_eq!(limits.for_plan(&plan).unwrap(), limits);
    plan.input.shape = vec![32_500_000];
    plan.weights[0].shape = LinearShape::Dense(Dense { inputs: 32_500_000, outputs: small::HIDDEN });
    let larger = limits.for_plan(&plan).unwrap();
    assert!(larger.load > Duration::from_secs(1600) && larger.load < Duration::from_secs(1700), "{larger:?}");
    assert_eq!(Limits { load: limits.load, ..larger }, limits);
}

fn one() -> Element {
    Element::one(TWO)
}

/// The load fails, nothing can be asked of the model, and the next load works.
fn fails(setup: Setup) -> NodeError {
    let _world = World::enter(1);
    let mut run = setup.start_unloaded();
    let error = run.attack_load();
    for events in run.cluster.party_events.iter().chain([&run.cluster.helper_events]) {
        let loaded = events.try_iter().any(|e| matches!(e, Event::Loaded { .. }));
        assert!(!loaded, "a node uses a model whose load failed");
    }
    run.load().unwrap();
    run.recovers();
    run.finish();
    error
}

fn rejected(setup: Setup, part: &str) {
    let error = fails(setup);
    assert!(error.is_rejection() && error.to_string().contains(part), "{error}");
}

fn given_up(setup: Setup, words: &[&str]) {
    assert_says("owner", &fails(setup), words);
}

#[test]
fn a_wrong_part_of_the_tags() {
    let net = zoo::conv_net(TWO);
    let limb = Element::from_signed(TWO, I256::from(PRIMES[1]));
    for (index, spec) in (0u32..).zip(&net.plan.weights) {
        // An input's column, and the last one: the bias, where there is one.
        for (element, error) in [(0, one()), (columns(spec) - 1, limb)] {
            let deviation = Deviation::Tags(vec![Shift { index, element, error }]);
            rejected(
                Setup::new(zoo::conv_net(TWO), 2).last_deviating(deviation.clone()),
                "check of the tags",
            );
            rejected(Setup::new(zoo::conv_net(TWO), 3).deviating(1, deviation), "check of the tags");
        }
    }
    // Two that cancel in a sum over layers, and in one over columns.
    for other in [(1, 0), (0, 1)] {
        let shift = |(index, element), error| Shift { index, element, error };
        let deviation = Deviation::Tags(vec![shift((0, 0), one()), shift(other, -one())]);
        rejected(Setup::new(zoo::mlp(TWO), 2).last_deviating(deviation), "check of the tags");
    }
}

#[test]
fn different_tags_or_keys_to_different_parties() {
    let first = party(Parties::new(3).unwrap(), 1);
    let part = "hash of masked weights and tags";
    let tags = Deviation::message(Kind::Tags, How::Shift(0, one())).to(first.clone());
    rejected(Setup::new(zoo::mlp(TWO), 3).last_deviating(tags), part);
    // The contribution to the key common to all: first half of the message.
    let keys = Deviation::message(Kind::Keys, How::Flip(0)).to(first.clone());
    rejected(Setup::new(zoo::mlp(TWO), 3).last_deviating(keys).from_the_start(), "key exchange");
    // That to the key of the pair.
    let keys = Deviation::message(Kind::Keys, How::Flip(63)).to(first);
    rejected(Setup::new(zoo::mlp(TWO), 3).last_deviating(keys).from_the_start(), "key exchange");
}

#[test]
fn wrong_words_to_the_helper() {
    let two = || Setup::new(zoo::mlp(TWO), 2);
    let hash = |how| two().last_deviating(Deviation::message(Kind::LoadHash, how));
    rejected(hash(How::Flip(5)), "hash of masked weights and tags");
    given_up(hash(How::Shorter(1)), &["hash of masked weights and tags", "party 2", "31 bytes, expected 32"]);
    given_up(hash(How::Twice), &["party 2", "LoadHash"]);
    given_up(
        hash(How::Kind(Kind::LoadResponse)),
        &["hash of masked weights", "party 2", "unexpected LoadResponse"],
    );
    let answer = |how| two().last_deviating(Deviation::message(Kind::LoadResponse, how));
    rejected(answer(How::Shift(1, one())), "check of the tags");
    let step = "answer to the challenge";
    given_up(answer(How::Residue(1)), &[step, "party 2", "residue"]);
    given_up(answer(How::Longer(1)), &[step, "party 2", "bytes, expected"]);
    given_up(answer(How::Garbage(vec![0xee; 60])), &[step, "party 2", "wire version"]);
}

#[test]
fn every_partys_word_counts() {
    for party in 1..=3 {
        let three = |kind, how| Setup::new(zoo::mlp(TWO), 3).deviating(party, Deviation::message(kind, how));
        rejected(three(Kind::LoadHash, How::Flip(31)), "hash of masked weights and tags");
        for tensor in 0..2 {
            rejected(three(Kind::LoadResponse, How::Shift(tensor, one())), "check of the tags");
        }
        // Both halves of a pair's key come from both.
        let victim = self::party(Parties::new(3).unwrap(), party % 3 + 1);
        let keys = Deviation::message(Kind::Keys, How::Flip(63)).to(victim);
        let three = Setup::new(zoo::mlp(TWO), 3).deviating(party, keys).from_the_start();
        rejected(three, "key exchange");
    }
}

#[test]
fn malformed_keys_and_tags() {
    let to_all = |kind, how| Setup::new(zoo::mlp(TWO), 2).last_deviating(Deviation::message(kind, how));
    let keys = |how| to_all(Kind::Keys, how).from_the_start();
    given_up(keys(How::Shorter(1)), &["key exchange", "party 2", "63 bytes, expected 64"]);
    given_up(keys(How::Nothing).impatient(), &["key exchange", "party 2", "nothing received for"]);
    let answer = |how| to_all(Kind::SessionAnswer, how).from_the_start();
    given_up(answer(How::Shorter(1)), &["key exchange", "party 2"]);
    given_up(answer(How::Nothing).impatient(), &["key exchange", "party 2", "nothing received for"]);
    // The hash that says that all have one common key; the part of the seed comes first.
    rejected(answer(How::Flip(40)), "key exchange");
    let tags_of = |tensor, how| {
        let tamper = Tamper { kind: Kind::Tags, index: Some(tensor), to: None, how };
        Setup::new(zoo::mlp(TWO), 2).last_deviating(Deviation::Message(tamper))
    };
    let tags = |how| tags_of(1, how);
    let step = "tags of layer weights 1";
    given_up(tags(How::Shorter(2)), &[step, "party 2", "bytes, expected"]);
    // No message at all. Before the other party knows of the load, it would be forgotten.
    given_up(tags(How::Garbage(Vec::new())), &["model load", "party 2", "0 bytes"]);
    given_up(tags(How::Residue(0)), &[step, "party 2", "residue"]);
    given_up(tags(How::Index(0)), &["tags of layer weights 0", "party 2", "second part of the tags"]);
    given_up(tags(How::Index(9)), &["party 2", "unexpected tags of weight tensor 9"]);
    // Followed by those of another tensor: the load cannot end before the second copy comes.
    given_up(tags_of(0, How::Twice), &["party 2", "second part of the tags"]);
    given_up(tags(How::Nothing).impatient(), &[step, "party 2", "nothing received for"]);
}

#[test]
fn a_replayed_load() {
    let _world = World::enter(1);
    let deviation = Deviation::message(Kind::Tags, How::EarlierToo);
    let mut run = Setup::new(zoo::mlp(TWO), 2).last_deviating(deviation).start();
    assert_says("owner", &run.attack_load(), &["party 2", "inference 1 was used before"]);
    run.load().unwrap();
    run.recovers();
    run.finish();
}

/// What a malicious owner does to a message (its number counts from 0) for a party.
type Change<'a> = &'a dyn Fn(usize, usize, Message) -> Vec<Message>;

/// A load by an owner who changes its messages; what it hears at the end.
fn misloaded(run: &mut Run, change: Change<'_>) -> Result<(), NodeError> {
    let plan = Arc::clone(&run.net.plan);
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&plan).unwrap());
    let grant = owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
    let (header, body) = (&grant.header, grant.body());
    let loading = Loading::granted(Arc::clone(&plan), run.parties, header, body, &mut OperatingSystem);
    let loading = loading.unwrap();
    let layers = run.net.layers();
    let ids = (0u32..).take(plan.weights.len()).map(amicus_plan::WeightId);
    let tensors = ids.flat_map(|id| loading.tensor(id, layers.as_slice())).map(Result::unwrap);
    for (number, message) in [loading.nonce()].into_iter().chain(tensors).enumerate() {
        for to in run.parties.all() {
            let untagged = Message { header: message.header(), body: message.body().to_vec() };
            for message in change(number, to.number(), untagged) {
                let tagged = ToParties::new(message.header, message.body.clone(), loading.authentication());
                owner.send_to(&Peer::Party(to), &tagged);
            }
        }
    }
    let word = owner.expect(&Peer::Helper, &[Kind::LoadAccepted, Kind::Abort]);
    // An honest owner takes over.
    run.owner = run.cluster.owner().unwrap();
    if word.header.kind == Kind::Abort { Err(notice(&word)) } else { Ok(()) }
}

fn flipped(mut message: Message, at: usize) -> Message {
    message.body[at] ^= 1;
    message
}

#[test]
fn an_owner_whose_masked_weights_differ_between_parties() {
    let _world = World::enter(1);
    for n in [2, 3] {
        let mut run = Setup::new(zoo::mlp(TWO), n).start_unloaded();
        // Message 1 is the first tensor's weights: four bytes of part number, then elements.
        let change = |number, to, message| match (number, to) {
            (1, 2) => vec![flipped(message, 4)],
            _ => vec![message],
        };
        let error = misloaded(&mut run, &change).unwrap_err();
        assert!(error.is_rejection() && error.to_string().contains("hash of masked weights"), "{error}");
        run.load().unwrap();
        run.recovers();
        run.finish();
    }
}

#[test]
fn an_owner_whose_masked_weights_change_on_retry() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start_unloaded();
    for message_number in [1, 3] {
        let change = |number, _, message: Message| match number {
            n if n == message_number => vec![message.clone(), flipped(message, 4)],
            _ => vec![message],
        };
        let error = misloaded(&mut run, &change).unwrap_err();
        assert_says("owner", &error, &["masked weights", "model owner", "second part 0 of masked weights"]);
    }
    // The very last message again: nothing is missing any more when it comes.
    let last = 2 * run.net.plan.weights.len();
    let change = |number, _, message: Message| match number {
        n if n == last => vec![message.clone(), flipped(message, 4)],
        _ => vec![message],
    };
    let error = misloaded(&mut run, &change).unwrap_err();
    // Where the helper's corrections are late, the last party does not have everything yet.
    assert_says("owner", &error, &["model load", "model owner", "second "]);
    // A new load is a new epoch with new masks, and clients see that it is another one.
    run.load().unwrap();
    let before = run.client.fingerprint().unwrap();
    run.load().unwrap();
    assert_ne!(before, run.client.fingerprint().unwrap());
    run.recovers();
    run.finish();
}

#[test]
fn an_owner_who_gives_parties_different_nonces_is_seen_by_clients() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 3).start_unloaded();
    let change = |number, to, message| match (number, to) {
        (0, 3) => vec![flipped(message, 0)],
        _ => vec![message],
    };
    misloaded(&mut run, &change).unwrap();
    let error = run.client.fingerprint().unwrap_err();
    assert_says("client", &error, &["fingerprint", "party 3", "does not agree"]);
}

#[test]
fn malformed_masked_weights() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start_unloaded();
    type Edit = fn(&mut Message);
    let edits: [(Edit, &str); 7] = [
        (
            |m| m.body.truncate(m.body.len().saturating_sub(1)),
            "masked weights of layer weights 0: model owner: message of",
        ),
        (|m| m.body.push(0), "masked weights of layer weights 0: model owner: message of"),
        (|m| m.body.clear(), "message of 0 bytes, expected 4"),
        (|m| m.body[4..11].fill(0xff), "packed residue 0 of limb 0 is not below the prime"),
        (|m| m.body[0] = 3, "unexpected part 3 of masked weights"),
        (|m| m.header.index = 8, "unexpected weight tensor 8"),
        // A kind that is not the owner's is not heard: the first part is missing.
        (|m| m.header.kind = Kind::Challenge, "unexpected part 1 of masked weights, 0 are there"),
    ];
    for (edit, fault) in edits {
        let change = |number, to, mut message: Message| {
            if (number, to) == (1, 1) {
                edit(&mut message);
            }
            vec![message]
        };
        let error = misloaded(&mut run, &change).unwrap_err();
        assert_says("owner", &error, &["model owner", fault]);
    }
    run.load().unwrap();
    run.recovers();
    run.finish();
}

#[test]
fn an_owner_who_leaves_or_falls_silent() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start_unloaded();
    let plan = Arc::clone(&run.net.plan);
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    for leaves in [false, true] {
        run.drain();
        owner.send(&Peer::Helper, &load::request(&plan).unwrap());
        owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
        if leaves {
            drop(owner);
            owner = User::new();
        } else {
            let abort = owner.expect(&Peer::Helper, &[Kind::Abort]);
            assert_says("owner", &notice(&abort), &["masked weights", "model owner", "nothing received"]);
        }
        for events in &run.cluster.party_events {
            let ends = std::iter::from_fn(|| clock::receive(events, clock::now() + PATIENCE).ok());
            let error = ends.into_iter().find_map(|event| match event {
                Event::LoadFailed { error } => Some(error),
                _ => None,
            });
            let error = error.expect("a load that failed");
            let words = if leaves { "link lost" } else { "nothing received" };
            assert_says("party", &error, &["masked weights", "model owner", words]);
        }
    }
    drop(owner);
    run.owner = run.cluster.owner().unwrap();
    run.load().unwrap();
    run.recovers();
    run.finish();
}

#[test]
fn an_owner_who_leaves_once_its_weights_are_there_harms_nothing() {
    // It was an error once: the link's end overtook the helper's word.
    for order in 0..20 {
        let _world = World::enter(order);
        let mut run = Setup::new(zoo::mlp(TWO), 2).start_unloaded();
        run.load().unwrap();
        drop(run.owner);
        let client = run.client.fingerprint();
        assert!(client.is_ok(), "{client:?}");
        run.cluster.stop();
    }
}

#[test]
fn an_owner_that_comes_while_the_load_of_one_before_fails_is_served() {
    // The helper hears the one's end or the other's beginning first.
    for order in 0..20 {
        let _world = World::enter(order);
        let setup = Setup::new(zoo::mlp(TWO), 2);
        let patience = setup.patience();
        let mut run = setup.start();
        let parties: Vec<Peer> = run.parties.all().map(Peer::Party).collect();
        let begun = clock::now();
        let mut gone = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
        gone.send(&Peer::Helper, &load::request(&run.net.plan).unwrap());
        for party in &parties {
            gone.expect(party, &[Kind::LoadReady]);
        }
        drop(gone);
        run.owner = run.cluster.owner().unwrap();
        run.load().unwrap();
        let waited = clock::since(begun);
        assert!(waited < patience, "{waited:?}: as long as for an owner that is silent");
        run.recovers();
        run.finish();
    }
}

#[test]
fn an_owner_of_another_plan_is_refused() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&zoo::repeated(TWO).plan).unwrap());
    let abort = owner.expect(&Peer::Helper, &[Kind::Abort]);
    assert_says(
        "owner",
        &notice(&abort),
        &["model load, request", "model owner", "is not served here", &run.net.plan.name],
    );
    run.owner = run.cluster.owner().unwrap();
    run.load().unwrap();
    run.recovers();
    run.finish();
}

#[test]
fn a_load_between_inferences_leaves_nothing_of_the_old_epoch() {
    // Material dealt for the old model must never meet the new one.
    for n in [2, 3] {
        let _world = World::enter(n as u64);
        let mut run = Setup::new(zoo::mlp(TWO), n).start();
        for _ in 0..10 {
            run.infer().unwrap();
            run.load().unwrap();
            run.infer().unwrap();
            run.infer().unwrap();
        }
        run.finish();
    }
}

#[test]
fn weights_of_the_wrong_size_are_the_owners_own_error() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start_unloaded();
    let mut layers = run.net.layers();
    layers[1].weights = layers[0].weights.slice(0..2);
    let error = run.owner.load(layers.as_slice()).unwrap_err();
    assert!(matches!(error, NodeError::Protocol(ProtocolError::Misuse(_))), "{error}");
}
