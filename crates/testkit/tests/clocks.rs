//! The time of day may jump while nodes run: nothing waits by it, so nothing ends early and nothing
//! lasts for ever.

use amicus_field::Limbs;
use amicus_net::clock;
use amicus_net::clock::world::World;
use amicus_node::Peer;
use amicus_node::store::{Place, RELEASES_KEPT, Store};
use amicus_protocol::check::DecisionLog;
use amicus_protocol::wire::Kind;
use amicus_protocol::{EpochId, InferenceId, Parties, Scope, SessionId};
use amicus_testkit::run::{Run, Setup, assert_says};
use amicus_testkit::user::{User, notice};
use amicus_testkit::zoo;
use std::path::Path;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A cluster that serves one client while another says nothing; what happens to the clock meanwhile.
/// How long the silent one was waited for.
fn serves(jump: impl Fn(&World, u32)) -> Duration {
    let world = World::enter(21);
    let mut run: Run = Setup::new(zoo::mlp(Limbs::TWO), 2).lanes(2).start();
    run.infer().unwrap();
    let mut silent = User::connect(&mut run.cluster, run.parties, &Peer::Client("silent".into()));
    silent.ticket(&run.net.plan, run.parties, 1, &[]);
    let started = clock::now();
    for step in 0..4 {
        jump(&world, step);
        clock::sleep(Duration::from_millis(100));
        run.infer().unwrap();
    }
    let abort = silent.expect(&Peer::Helper, &[Kind::Abort]);
    assert_says("client", &notice(&abort), &["client silent", "nothing received for"]);
    let waited = clock::since(started);
    run.infer().unwrap();
    run.cluster.stop();
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    waited
}

#[test]
fn a_running_cluster_does_not_notice_that_the_clock_is_set() {
    let still = serves(|_, _| {});
    for by in [HOUR, 2 * YEAR] {
        let moved = serves(|world, step| match step {
            0 | 3 => world.set_forwards(by),
            _ => world.set_back(by),
        });
        assert!(moved.abs_diff(still) < Duration::from_secs(1), "{moved:?}, and {still:?} otherwise");
    }
}

fn open(folder: &Path) -> Store {
    let parties = Parties::new(2).unwrap();
    Store::open(&Place::local(folder, parties, &Peer::Helper), Peer::Helper).unwrap()
}

fn decide(store: &mut Store, id: u64) {
    let epoch = EpochId::from_bytes([1; 16]);
    let scope = Scope::new(SessionId::from_bytes([2; 16]), epoch, InferenceId(id));
    store.receivers(&["client a".to_owned()]).accepted(scope, b"masks").unwrap();
}

/// Releases that a store still keeps after a time.
fn kept_after(store: &mut Store, time: Duration) -> usize {
    clock::sleep(time);
    store.expire_releases();
    store.pending().count()
}

#[test]
fn a_release_is_kept_for_a_day_whatever_the_clock_says() {
    let world = World::enter(22);
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for (id, jump) in (1..).zip([World::set_forwards, World::set_back]) {
        decide(&mut store, id);
        jump(&world, 2 * YEAR);
        assert_eq!(kept_after(&mut store, RELEASES_KEPT - HOUR), 1);
        assert_eq!(kept_after(&mut store, HOUR), 0);
    }
}

/// Only who starts asks the clock how old a release is; one from the future is new.
#[test]
fn a_node_that_starts_keeps_a_release_for_a_day_at_most() {
    let world = World::enter(23);
    let folder = tempfile::tempdir().unwrap();
    let still: fn(&World, Duration) = |_, _| {};
    for (id, jump, left) in [
        (1, still, RELEASES_KEPT - 2 * HOUR),
        (2, World::set_forwards, RELEASES_KEPT - 3 * HOUR),
        (3, World::set_back, RELEASES_KEPT - HOUR),
    ] {
        let mut store = open(folder.path());
        decide(&mut store, id);
        drop(store);
        clock::sleep(2 * HOUR);
        jump(&world, HOUR);
        let mut store = open(folder.path());
        assert_eq!(kept_after(&mut store, left - Duration::from_secs(10)), 1, "{id}");
        assert_eq!(kept_after(&mut store, Duration::from_secs(20)), 0, "{id}");
    }
    // Set back to before it was decided.
    let mut store = open(folder.path());
    decide(&mut store, 4);
    drop(store);
    world.set_back(YEAR);
    let mut store = open(folder.path());
    assert_eq!(kept_after(&mut store, RELEASES_KEPT - HOUR), 1);
    assert_eq!(kept_after(&mut store, HOUR), 0);
}
