//! The helper dies between its decision and the release (`docs/protocol.md`, 6.8): the right output
//! reaches everybody after all, exactly once decided.

use amicus_client::inference::PendingRequest;
use amicus_client::{Message, load};
use amicus_field::{Element, Limbs, OperatingSystem};
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_node::local::LocalCluster;
use amicus_protocol::authentic::AuthenticationKeys;
use amicus_protocol::control::{self, TicketGrant};
use amicus_protocol::release::ReleaseKey;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Scope, SessionId};
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::Deviation;
use amicus_testkit::run::{Run, Setup, assert_says};
use amicus_testkit::user::User;
use amicus_testkit::zoo;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

/// Waits until the parties have lost the helper while they waited for its word.
fn helper_is_dead(cluster: &LocalCluster) {
    for events in &cluster.party_events {
        loop {
            match events.recv_timeout(PATIENCE).unwrap() {
                Event::Failed { error, .. } => {
                    assert_says("party", &error, &["check", "helper", "link lost"]);
                    break;
                }
                Event::Fatal { error } => panic!("{error}"),
                _ => {}
            }
        }
    }
}

fn client() -> Peer {
    Peer::Client("1".into())
}

#[test]
fn a_client_that_waits_gets_the_output_after_the_restart() {
    for setup in [Setup::new(zoo::mlp(TWO), 2), Setup::new(zoo::mlp(TWO), 3).batch(2).tls()] {
        let memory = setup.is_in_memory();
        let mut run = setup.helper_dies().start();
        let inputs = run.next_inputs();
        let batch = run.batch;
        let inboxes = run.client.inboxes().clone();
        let admission = run.client.request(batch, &[]).unwrap();
        let epoch = admission.scope().epoch;
        let (alice, cluster) = (&mut run.client, &mut run.cluster);
        let result = std::thread::scope(|scope| {
            let result = scope.spawn(|| alice.infer(admission, &inputs));
            helper_is_dead(cluster);
            cluster.start_node(&Peer::Helper).unwrap();
            if memory {
                // Over TLS the client dials again by itself.
                cluster.connect_user(&client(), &inboxes).unwrap();
            }
            result.join().unwrap()
        });
        run.assert_right(&inputs, &result.unwrap().logits);
        run.recovers();
        assert_eq!(run.last.epoch, epoch, "the model did not outlive the helper");
        run.finish();
    }
}

#[test]
fn a_client_that_comes_back_later_gets_the_output() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
    let inputs = run.next_inputs();
    let inboxes = run.client.inboxes().clone();
    let admission = run.client.request(1, &[]).unwrap();
    let (alice, cluster) = (&mut run.client, &mut run.cluster);
    let result = std::thread::scope(|scope| {
        let result = scope.spawn(|| alice.infer(admission, &inputs));
        helper_is_dead(cluster);
        // Twice: the decision survives any number of crashes, and is not taken again.
        for _ in 0..2 {
            cluster.start_node(&Peer::Helper).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!result.is_finished());
        cluster.connect_user(&client(), &inboxes).unwrap();
        result.join().unwrap()
    });
    run.assert_right(&inputs, &result.unwrap().logits);
    run.client = run.cluster.client("1").unwrap();
    // Acknowledged: nothing comes a second time.
    run.recovers();
    run.finish();
}

#[test]
fn a_rejected_inference_is_not_released_by_a_restart() {
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("activation 0"), 0, Element::one(TWO));
    // It dies after an acceptance only, so this one lives on, and is restarted by hand.
    let mut run = Setup::new(net, 2).last_deviating(deviation).start();
    run.attack().rejected();
    run.cluster.start_node(&Peer::Helper).unwrap();
    let mut user = User::connect(&mut run.cluster, run.parties, &client());
    assert!(user.heard(Duration::from_millis(300)).is_none(), "something was released");
    run.client = run.cluster.client("1").unwrap();
    run.recovers();
    run.finish();
}

/// The helper dies after its decision about an inference of a client who is gone when it comes
/// back.
fn undelivered(run: &mut Run, client: &Peer) -> Scope {
    let inputs = run.next_inputs();
    let mut alice = User::connect(&mut run.cluster, run.parties, client);
    let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
    let scope = admission.scope();
    let (_, messages) = admission.mask(&inputs).unwrap();
    for party in run.parties.all().map(Peer::Party) {
        messages.iter().for_each(|message| alice.send_to(&party, message));
    }
    helper_is_dead(&run.cluster);
    run.cluster.start_node(&Peer::Helper).unwrap();
    scope
}

/// The release that the helper has sent a user so far: it comes before the answer to a request that
/// cannot be.
fn released(user: &mut User) -> Option<Vec<u8>> {
    let header = Header::new(Kind::Request, Scope::NONE, 0);
    user.send(&Peer::Helper, &Message { header, body: Vec::new() });
    let mut release = None;
    loop {
        let message = user.expect(&Peer::Helper, &[Kind::Release, Kind::Abort]);
        if message.header.kind == Kind::Abort {
            return release;
        }
        assert!(release.replace(message.body().to_vec()).is_none(), "two releases");
    }
}

/// A user who has just connected, and the release it got for that.
fn connected(run: &mut Run, peer: &Peer) -> (User, Option<Vec<u8>>) {
    let mut user = User::connect(&mut run.cluster, run.parties, peer);
    let release = released(&mut user);
    (user, release)
}

/// Acknowledges a release and waits until the helper has heard it.
fn acknowledge(user: &mut User, scope: Scope) {
    let header = Header::new(Kind::ReleaseAck, scope, 0);
    user.send(&Peer::Helper, &Message { header, body: Vec::new() });
    assert!(released(user).is_none());
}

#[test]
fn a_release_is_repeated_to_its_receiver_alone_until_that_one_acknowledges_it() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
    let [alice, mallory] = ["2", "3"].map(|name| Peer::Client(name.into()));
    let scope = undelivered(&mut run, &alice);
    let (mut user, nothing) = connected(&mut run, &mallory);
    assert!(nothing.is_none(), "somebody else's release");
    let (_, first) = connected(&mut run, &alice);
    let (_, second) = connected(&mut run, &alice);
    assert!(first.is_some() && first == second, "not repeated");
    // Others cannot acknowledge it, nor she another one.
    acknowledge(&mut user, scope);
    let (mut user, third) = connected(&mut run, &alice);
    assert_eq!(first, third);
    acknowledge(&mut user, Scope { id: InferenceId(scope.id.0 + 1), ..scope });
    acknowledge(&mut user, Scope { epoch: EpochId::from_bytes([7; 16]), ..scope });
    acknowledge(&mut user, Scope { session: SessionId::from_bytes([7; 16]), ..scope });
    let (mut user, fourth) = connected(&mut run, &alice);
    assert_eq!(first, fourth);
    acknowledge(&mut user, scope);
    assert!(connected(&mut run, &alice).1.is_none(), "acknowledged, and repeated");
    // Nor does a restart bring it back.
    run.cluster.start_node(&Peer::Helper).unwrap();
    assert!(connected(&mut run, &alice).1.is_none() && connected(&mut run, &mallory).1.is_none());
}

/// Once, a load kept the helper from everything else.
#[test]
fn releases_acknowledgements_and_refusals_are_served_while_an_owner_stalls() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
    let alice = Peer::Client("2".into());
    let scope = undelivered(&mut run, &alice);
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&run.net.plan).unwrap());
    owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
    // Every one of them asks for something that cannot be, and hears so.
    let (_, first) = connected(&mut run, &alice);
    let (mut user, second) = connected(&mut run, &alice);
    assert!(first.is_some() && first == second, "not released during a load");
    acknowledge(&mut user, scope);
    assert!(connected(&mut run, &alice).1.is_none(), "acknowledged during a load, and repeated");
    let loading = owner.heard(Duration::ZERO).is_none_or(|message| message.header.kind == Kind::LoadReady);
    assert!(loading, "the load ended before");
}

/// A copy of the helper's folder shows neither the masks of an output nor what they are masked with.
#[test]
fn a_stored_release_shows_no_mask() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
    let inputs = run.next_inputs();
    let me = Peer::Client("2".into());
    let mut alice = User::connect(&mut run.cluster, run.parties, &me);
    let (pending, request) =
        PendingRequest::new(Arc::clone(&run.net.plan), run.parties, 1, Vec::new()).unwrap();
    alice.send(&Peer::Helper, &request);
    let ticket = alice.expect(&Peer::Helper, &[Kind::Ticket]);
    let grant: TicketGrant = control::decode(ticket.body()).unwrap();
    let keys = AuthenticationKeys::decode(run.parties, &grant.keys).unwrap();
    let admission = pending.granted(&ticket.header, ticket.body(), &mut OperatingSystem).unwrap();
    let (mut awaiting, messages) = admission.mask(&inputs).unwrap();
    for party in run.parties.all().map(Peer::Party) {
        messages.iter().for_each(|message| alice.send_to(&party, message));
    }
    for party in run.parties.all() {
        awaiting.output(party, alice.expect(&Peer::Party(party), &[Kind::Output]).body().to_vec());
    }
    helper_is_dead(&run.cluster);
    let kept = all_files(&run.folder_of(&Peer::Helper));
    run.cluster.start_node(&Peer::Helper).unwrap();
    let nodes = [Peer::Helper];
    alice.connect_to(&mut run.cluster, &me, &nodes);
    let release = alice.expect(&Peer::Helper, &[Kind::Release]);
    let released = ReleaseKey::of(&keys, ticket.header.scope()).decrypt(release.body()).unwrap();
    let holds = |bytes: &[u8]| kept.windows(bytes.len()).any(|window| window == bytes);
    // It is there, as it is sent; nothing of what is in it, nor of what it is read with.
    assert!(holds(release.body()));
    let secrets = released.chunks_exact(8).chain(grant.keys.chunks(32)).chain(grant.seeds.chunks(32));
    assert!(!secrets.into_iter().any(holds));
    awaiting.release(release.body().to_vec());
    run.assert_right(&inputs, &awaiting.result().unwrap().unwrap());
    run.finish();
}

/// What all files of a folder hold, one behind the other.
fn all_files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend(if path.is_dir() { all_files(&path) } else { std::fs::read(path).unwrap() });
    }
    all
}
