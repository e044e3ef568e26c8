//! Uploads that go on over new links (`docs/protocol.md`, section 4): whatever link breaks, and
//! wherever, the load is the same load, and nothing is said differently.

use amicus_client::load::{self, Loading};
use amicus_client::{Message, ToParties};
use amicus_field::{LimbVec, Limbs, OperatingSystem};
use amicus_net::clock;
use amicus_net::clock::world::World;
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_plan::WeightId;
use amicus_plan::weights::{Part, WeightSource};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{InferenceId, Scope};
use amicus_testkit::run::{Run, Setup, party};
use amicus_testkit::user::{User, notice};
use amicus_testkit::{PATIENCE, zoo};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

fn everybody(run: &Run) -> Vec<Peer> {
    run.parties.all().map(Peer::Party).chain([Peer::Helper]).collect()
}

/// Takes the place of the owner's link to a node, and leaves: what was on its way is lost.
fn cut(run: &mut Run, node: &Peer) {
    let mut impostor = User::new();
    impostor.connect_to(&mut run.cluster, &Peer::Owner, std::slice::from_ref(node));
}

/// A load whose links to these nodes are cut when every party was given so much, and made anew after
/// a while.
fn load_with_a_cut(run: &mut Run, nodes: &[Peer], at: usize, away: Duration) -> (usize, [u8; 32]) {
    let mut owner = run.cluster.owner().unwrap();
    let (inboxes, layers) = (owner.inboxes().clone(), run.net.layers());
    let (mut resumed, mut over) = (0, false);
    let loaded = owner.load_watched(layers.as_slice(), &mut |progress| {
        resumed = progress.resumed;
        if progress.given == at && !over {
            over = true;
            nodes.iter().for_each(|node| cut(run, node));
            clock::sleep(away);
            run.cluster.connect_user_to(&Peer::Owner, &inboxes, nodes).unwrap();
        }
    });
    assert!(over, "{at} messages are all");
    (resumed, loaded.unwrap_or_else(|error| panic!("{nodes:?} after {at}: {error}")).fingerprint)
}

#[test]
fn an_upload_goes_on_over_new_links() {
    for away in [Duration::ZERO, Duration::from_secs(9)] {
        let _world = World::enter(1);
        let mut run = Setup::new(zoo::conv_net(TWO), 3).start_unloaded();
        let of = 1 + run
            .net
            .plan
            .weights
            .iter()
            .map(|spec| amicus_plan::weights::parts(spec).len())
            .sum::<usize>();
        let all = everybody(&run);
        let sets: Vec<&[Peer]> = all.chunks(1).chain([&all[..]]).collect();
        let mut resumed = 0;
        for nodes in sets {
            for at in 1..=of {
                let (again, fingerprint) = load_with_a_cut(&mut run, nodes, at, away);
                resumed += again;
                assert_eq!(run.client.fingerprint().unwrap(), fingerprint);
                run.infer().unwrap();
            }
        }
        assert!(resumed > of, "{resumed} times gone on");
        run.finish();
    }
}

/// One party is away while all others are given everything; then it gets what it lacks.
#[test]
fn a_party_that_was_away_is_given_what_it_lacks() {
    let _world = World::enter(2);
    let mut run = Setup::new(zoo::conv_net(TWO), 2).start_unloaded();
    for number in [1, 2] {
        let (mut owner, layers) = (run.cluster.owner().unwrap(), run.net.layers());
        let (inboxes, node) = (owner.inboxes().clone(), party(run.parties, number));
        let mut calls = 0;
        let loaded = owner.load_watched(layers.as_slice(), &mut |progress| {
            calls += 1;
            match calls {
                1 => {
                    cut(&mut run, &node);
                    clock::sleep(Duration::from_secs(1));
                }
                // The other one has everything by now.
                n if n == progress.of => {
                    run.cluster.connect_user_to(&Peer::Owner, &inboxes, std::slice::from_ref(&node)).unwrap();
                }
                _ => {}
            }
        });
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(run.client.fingerprint().unwrap(), loaded.fingerprint);
        run.infer().unwrap();
    }
    run.finish();
}

/// Weights that are others from some time on.
struct ChangingLayers {
    layers: Vec<LayerWeights>,
    changed: Cell<bool>,
}

impl WeightSource for ChangingLayers {
    fn part(&self, id: WeightId, part: &Part, limbs: Limbs) -> Option<LimbVec> {
        let mut values = self.layers.as_slice().part(id, part, limbs)?;
        if self.changed.get() {
            values.neg_assign();
        }
        Some(values)
    }
}

/// The difference of two models under one mask would be in the open.
#[test]
fn weights_that_changed_meanwhile_are_not_sent_under_the_same_masks() {
    let _world = World::enter(6);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut owner = run.cluster.owner().unwrap();
    let (inboxes, node) = (owner.inboxes().clone(), party(run.parties, 2));
    let mut calls = 0;
    let changing = ChangingLayers { layers: run.net.layers(), changed: Cell::new(false) };
    let error = owner
        .load_watched(&changing, &mut |progress| {
            calls += 1;
            match calls {
                1 => {
                    cut(&mut run, &node);
                    clock::sleep(Duration::from_secs(1));
                }
                n if n == progress.of => {
                    changing.changed.set(true);
                    run.cluster.connect_user_to(&Peer::Owner, &inboxes, std::slice::from_ref(&node)).unwrap();
                }
                _ => {}
            }
        })
        .unwrap_err();
    assert!(error.to_string().contains("the weights changed"), "{error}");
    // The load is over for everybody, and the model before is served.
    let failed = |event: &Event| matches!(event, Event::LoadFailed { .. });
    let until = clock::now() + PATIENCE;
    while !failed(&clock::receive(&run.cluster.helper_events, until).expect("an event")) {}
    run.recovers();
    run.finish();
}

/// An owner whose messages a test sends, and its load.
fn begin(run: &mut Run) -> (User, Loading, Vec<ToParties>) {
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    let plan = Arc::clone(&run.net.plan);
    owner.send(&Peer::Helper, &load::request(&plan).unwrap());
    let grant = owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
    let (header, body) = (&grant.header, grant.body());
    let loading =
        Loading::granted(Arc::clone(&plan), run.parties, header, body, &mut OperatingSystem).unwrap();
    let layers = run.net.layers();
    let ids = (0u32..).take(plan.weights.len()).map(WeightId);
    let tensors = ids.flat_map(|id| loading.tensor(id, layers.as_slice()).collect::<Vec<_>>());
    let messages = [loading.nonce()].into_iter().chain(tensors.map(Result::unwrap)).collect();
    (owner, loading, messages)
}

fn question(scope: Scope) -> Message {
    Message { header: Header::new(Kind::LoadReady, scope, 0), body: Vec::new() }
}

/// What a party says that it has, over whatever link.
fn has(owner: &mut User, party: &Peer, scope: Scope) -> u32 {
    owner.send(party, &question(scope));
    u32::from_le_bytes(owner.expect(party, &[Kind::LoadReady]).body().try_into().unwrap())
}

#[test]
fn a_party_says_what_it_has_and_the_same_again_changes_nothing() {
    let _world = World::enter(3);
    let mut run = Setup::new(zoo::conv_net(TWO), 2).start_unloaded();
    let (mut owner, loading, messages) = begin(&mut run);
    let scope = loading.scope();
    for node in run.parties.all().map(Peer::Party) {
        let first = owner.expect(&node, &[Kind::LoadReady]);
        assert_eq!(first.body(), [0; 4]);
        for (number, message) in (1u32..).zip(&messages) {
            owner.send_to(&node, message);
            owner.send_to(&node, &messages[0]);
            assert_eq!(has(&mut owner, &node, scope), number);
            owner.connect_to(&mut run.cluster, &Peer::Owner, std::slice::from_ref(&node));
            assert_eq!(has(&mut owner, &node, scope), number, "over a new link");
            if number as usize + 1 == messages.len() {
                break;
            }
        }
        // Another load is not this one.
        let other = Scope { id: InferenceId(scope.id.0 + 1), ..scope };
        owner.send(&node, &question(other));
    }
    for node in run.parties.all().map(Peer::Party) {
        owner.send_to(&node, messages.last().unwrap());
    }
    owner.expect(&Peer::Helper, &[Kind::LoadAccepted]);
    assert!(owner.heard(Duration::from_millis(200)).is_none(), "an answer about another load");
    run.finish();
}

/// The helper's word is lost with the owner's link, and then the helper dies: who asks is told.
#[test]
fn an_owner_that_comes_back_is_told_how_its_load_ended() {
    let _world = World::enter(5);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    for accepted in [true, false] {
        let (mut owner, loading, messages) = begin(&mut run);
        let scope = loading.scope();
        run.drain();
        if accepted {
            for node in run.parties.all().map(Peer::Party) {
                owner.expect(&node, &[Kind::LoadReady]);
                messages.iter().for_each(|message| owner.send_to(&node, message));
            }
        } else {
            let body = messages[1].body().to_vec();
            let wrong = ToParties::new(messages[0].header(), body, loading.authentication());
            let node = party(run.parties, 1);
            owner.expect(&node, &[Kind::LoadReady]);
            owner.send_to(&node, &wrong);
        }
        loop {
            let until = clock::now() + PATIENCE;
            match clock::receive(&run.cluster.helper_events, until).expect("an event") {
                Event::Loaded { .. } | Event::LoadFailed { .. } => break,
                _ => {}
            }
        }
        for restarted in [false, true] {
            if restarted {
                run.restart(&[Peer::Helper]);
            }
            let mut owner = User::new();
            owner.connect_to(&mut run.cluster, &Peer::Owner, &[Peer::Helper]);
            owner.send(&Peer::Helper, &question(scope));
            let told = owner.expect(&Peer::Helper, &[Kind::LoadAccepted, Kind::Abort]);
            assert_eq!(told.header.kind == Kind::LoadAccepted, accepted, "restarted: {restarted}");
            assert_eq!(told.header.scope(), scope);
            if !accepted {
                assert!(notice(&told).to_string().contains("given up by helper"), "{}", notice(&told));
            }
        }
        run.recovers();
    }
    run.finish();
}

/// An owner that does not come back is named, and the next one is served.
#[test]
fn an_owner_that_does_not_come_back_is_given_up() {
    let _world = World::enter(4);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let (mut owner, _, messages) = begin(&mut run);
    for node in run.parties.all().map(Peer::Party) {
        owner.expect(&node, &[Kind::LoadReady]);
        owner.send_to(&node, &messages[0]);
    }
    run.drain();
    let since = clock::now();
    owner.close(&party(run.parties, 2));
    loop {
        let event = clock::receive(&run.cluster.helper_events, since + PATIENCE).expect("an event");
        if let Event::LoadFailed { error } = event {
            let text = error.to_string();
            assert!(text.contains("model owner: link lost"), "{text}");
            break;
        }
    }
    let waited = clock::since(since);
    assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(25), "{waited:?}");
    run.owner = run.cluster.owner().unwrap();
    run.load().unwrap();
    run.recovers();
    run.finish();
}
