//! What a store promises, across restarts and failures.

use super::*;
use amicus_protocol::{InferenceId, Parties, PartyId, SessionId};
use std::fs;
use std::path::Path;
use std::time::Duration;

const EPOCH: EpochId = EpochId::from_bytes([1; 16]);
const OTHER: EpochId = EpochId::from_bytes([2; 16]);
const CLIENT: &str = "client a";

fn place(around: &Path) -> Place {
    Place { folder: around.join("node"), cluster: ClusterDigest::local(Parties::new(2).unwrap()) }
}

fn reopen(around: &Path) -> Store {
    Store::open(&place(around), Peer::Helper).unwrap()
}

fn scope(id: u64) -> Scope {
    Scope::new(SessionId::from_bytes([9; 16]), EPOCH, InferenceId(id))
}

fn decide(store: &mut Store, id: u64, release: &[u8]) -> Result<(), NodeError> {
    store.receivers(&[CLIENT.to_owned()]).accepted(scope(id), release)?;
    store.synchronise()
}

fn room(store: &Store, receivers: &[String], release: usize) -> Result<(), String> {
    store.room_for_decision(Promised { receivers, release }, std::iter::empty())
}

fn pending(store: &Store) -> Vec<u64> {
    store.pending().map(|(scope, _)| scope.id.0).collect()
}

fn log_length(around: &Path) -> u64 {
    fs::metadata(around.join("node/log")).unwrap().len()
}

#[test]
fn decisions_wait_for_every_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    let (id, names) = (scope(9), [CLIENT.to_owned(), "client b".to_owned()]);
    store.receivers(&names).accepted(id, b"release").unwrap();
    store.delivered(id, "client b").unwrap();
    drop(store);
    // It is written anew each time it is opened; nothing is lost by that.
    drop(reopen(folder.path()));
    let mut store = reopen(folder.path());
    let (found, pending) = store.pending().next().unwrap();
    assert_eq!((found, &pending.delivered[..]), (id, &[false, true][..]));
    assert_eq!((&pending.release[..], &pending.receivers[..]), (&b"release"[..], &names[..]));
    store.delivered(id, CLIENT).unwrap();
    assert_eq!(store.pending().count(), 0);
    drop(store);
    assert_eq!(reopen(folder.path()).pending().count(), 0);
}

/// What an acknowledgement costs that is no news: no record, so no synchronisation.
#[test]
fn an_acknowledgement_is_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    let (id, names) = (scope(9), [CLIENT.to_owned(), "client b".to_owned()]);
    store.receivers(&names).accepted(id, b"release").unwrap();
    store.delivered(id, CLIENT).unwrap();
    // The disk takes nothing any more, and does not have to.
    store.log.fail_writes();
    for (id, name) in [
        (id, CLIENT),
        (id, "client c"),
        (scope(8), CLIENT),
        (Scope { session: SessionId::NONE, ..id }, "client b"),
    ] {
        store.delivered(id, name).unwrap();
    }
    assert!(store.delivered(id, "client b").is_err());
}

#[test]
fn delivered_releases_are_erased_and_the_log_stays_short() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    let length = log_length(folder.path());
    let release = [0xab; 4096];
    for id in 1..=300 {
        decide(&mut store, id, &release).unwrap();
        if id != 77 {
            store.delivered(scope(id), CLIENT).unwrap();
        }
        assert_eq!(log_length(folder.path()), length);
    }
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(pending(&store), [77]);
    let bytes = fs::read(folder.path().join("node/log")).unwrap();
    // One release, in two copies.
    let runs = bytes.split(|&b| b != 0xab).map(<[u8]>::len).filter(|&run| run > 32);
    assert_eq!(runs.collect::<Vec<_>>(), [4096, 4096]);
}

#[test]
fn the_log_grows_with_what_it_must_keep() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    let release = vec![7; 1 << 20];
    for id in 1..=5 {
        decide(&mut store, id, &release).unwrap();
    }
    assert!(log_length(folder.path()) > 10 << 20);
    drop(store);
    let mut store = reopen(folder.path());
    assert_eq!(pending(&store), [1, 2, 3, 4, 5]);
    assert!(store.pending().all(|(.., p)| p.release[..] == release));
    (1..=5).for_each(|id| store.delivered(scope(id), CLIENT).unwrap());
    drop(store);
    reopen(folder.path());
    assert!(log_length(folder.path()) < 1 << 20);
}

#[test]
fn releases_that_nobody_collects_are_bounded_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    let receivers = |client: &str| [client.to_owned(), "client nobody".to_owned()];
    let mut decided = 0;
    while decided < 1000 && room(&store, &receivers("client a"), 100).is_ok() {
        decided += 1;
        store.receivers(&receivers("client a")).accepted(scope(decided), &[1; 100]).unwrap();
    }
    assert!((10..1000).contains(&decided), "{decided}");
    // Others still have room, until all of it is used.
    room(&store, &receivers("client b"), 100).unwrap();
    let large = MAX_RECORD - 1000;
    while room(&store, &receivers(&format!("client {decided}")), large).is_ok() {
        decided += 1;
        let names = receivers(&format!("client {decided}"));
        store.receivers(&names).accepted(scope(decided), &vec![1; large]).unwrap();
        assert!(decided < 1000);
    }
    room(&store, &receivers("client b"), 100).unwrap();
    // After a deadline they go, also where nobody asks.
    let now = clock::now();
    store.known.releases.expire(now + RELEASES_KEPT - Duration::from_secs(3600));
    assert_eq!(store.pending().count() as u64, decided);
    store.known.releases.expire(now + RELEASES_KEPT + Duration::from_secs(60));
    assert_eq!(store.pending().count(), 0);
    room(&store, &receivers("client a"), large).unwrap();
}

/// Else many inferences at a time could end in decisions that cannot be recorded.
#[test]
fn what_is_in_flight_has_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = reopen(folder.path());
    let names = |client: &str| [client.to_owned(), "client nobody".to_owned()];
    let [alice, bob] = ["client a", "client b"].map(names);
    let room = |release, beside: &[Promised<'_>]| {
        store.room_for_decision(Promised { receivers: &alice, release }, beside.iter().copied())
    };
    let promised = |receivers, release, count| vec![Promised { receivers, release }; count];
    let of_client = (0..1000).find(|&n| room(100, &promised(&alice, 100, n)).is_err()).unwrap();
    assert!((10..1000).contains(&of_client), "{of_client}");
    // Another client's are none of it, until they fill the store.
    room(100, &promised(&bob, 100, of_client)).unwrap();
    let large = MAX_RECORD - 1000;
    let of_all = (0..1000).find(|&n| room(large, &promised(&bob, large, n)).is_err()).unwrap();
    assert!((1..1000).contains(&of_all), "{of_all}");
}

#[test]
fn a_decision_that_could_not_be_kept_is_known_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    let names = [CLIENT.to_owned()];
    // The largest that is promised to fit does fit, and is there after a restart.
    let most = (0..).map(|less| MAX_RECORD - less).find(|&n| room(&store, &names, n).is_ok());
    let most = most.unwrap();
    let error = room(&store, &names, most + 1).unwrap_err();
    assert!(error.contains(&MAX_RECORD.to_string()), "{error}");
    assert!(decide(&mut store, 1, &vec![0; most + 1]).is_err());
    decide(&mut store, 2, &vec![0; most]).unwrap();
    drop(store);
    assert_eq!(pending(&reopen(folder.path())), [2]);
}

#[test]
fn failed_checks_and_retired_epochs_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    store.record_failed_checks(EPOCH, 3).unwrap();
    store.record_failed_checks(EPOCH, 2).unwrap();
    store.record_failed_checks(OTHER, 1).unwrap();
    store.retire(OTHER).unwrap();
    drop(store);
    // It is written anew each time it is opened; nothing is lost by that.
    drop(reopen(folder.path()));
    let mut store = reopen(folder.path());
    assert_eq!((store.failed_checks(EPOCH), store.failed_checks(OTHER)), (3, 0));
    assert!(store.is_retired(OTHER) && !store.is_retired(EPOCH));
    // What is known already is not written again.
    store.log.fail_writes();
    store.record_failed_checks(EPOCH, 3).unwrap();
    store.retire(OTHER).unwrap();
    assert!(store.record_failed_checks(EPOCH, 4).is_err());
}

#[test]
fn what_is_remembered_of_epochs_is_bounded() {
    let epoch = |n: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        EpochId::from_bytes(id)
    };
    let (mut known, most) = (Known::new(), EPOCHS as u64);
    for n in 1..=2 * most {
        known.learn(Record::FailedChecks(epoch(n), 1));
        known.learn(Record::Retired(epoch(4 * most + n)));
    }
    // Read again, it is the same: the oldest are forgotten.
    let mut again = Known::new();
    known.records().for_each(|record| again.learn(record));
    for known in [known, again] {
        assert_eq!(known.records().count(), 2 * EPOCHS);
        assert_eq!((known.failed_checks(epoch(most)), known.failed_checks(epoch(2 * most))), (0, 1));
        assert!(!known.is_retired(epoch(5 * most)) && known.is_retired(epoch(6 * most)));
    }
}

#[test]
fn nothing_counts_as_recorded_that_could_not_be_written() {
    type Action = fn(&mut Store) -> Result<(), NodeError>;
    let id = InferenceId(1);
    let actions: [(&str, Action); 4] = [
        ("a decision", |s| decide(s, 2, b"r")),
        ("a delivery", |s| s.delivered(scope(1), CLIENT)),
        ("a failed check", |s| s.record_failed_checks(EPOCH, 1)),
        ("an end", |s| s.retire(EPOCH)),
    ];
    let failures: [fn(&mut Log); 2] = [Log::fail_writes, Log::fail_synchronising];
    for ((what, action), fail) in actions.into_iter().flat_map(|a| failures.map(|fail| (a, fail))) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = reopen(folder.path());
        decide(&mut store, id.0, b"release").unwrap();
        fail(&mut store.log);
        let error = action(&mut store).expect_err(what);
        assert!(matches!(error, NodeError::Store { .. }), "{what}: {error}");
        // Part of the record may be in the file: nothing may follow it, even when the disk works
        // again.
        store.log.mend_writes();
        for (other, action) in actions {
            let error = action(&mut store).expect_err(other);
            assert!(error.to_string().contains("restart the node"), "{other} after {what}: {error}");
        }
        assert!(store.failed_checks(EPOCH) == 0 && !store.is_retired(EPOCH), "{what}");
        // What was written before is still there, and nothing else.
        drop(store);
        let store = reopen(folder.path());
        assert_eq!(pending(&store), [id.0]);
        assert!(store.failed_checks(EPOCH) == 0 && !store.is_retired(EPOCH));
    }
}

#[test]
fn what_is_recorded_is_synchronised_before_anybody_hears_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    store.receivers(&[CLIENT.to_owned()]).accepted(scope(1), b"release").unwrap();
    assert_eq!(store.log.synchronised, [0; 0], "one receiver is told meanwhile");
    store.synchronise().unwrap();
    assert_eq!(store.log.synchronised, [1]);
    store.delivered(scope(1), CLIENT).unwrap();
    assert_eq!(store.log.synchronised, [1, 2]);
    store.record_failed_checks(EPOCH, 1).unwrap();
    assert_eq!(store.log.synchronised, [1, 2, 3]);
    store.retire(EPOCH).unwrap();
    assert_eq!(store.log.synchronised, [1, 2, 3, 4]);
}

#[test]
fn one_damaged_copy_is_healed_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = reopen(folder.path());
    store.retire(EPOCH).unwrap();
    decide(&mut store, 4, b"release").unwrap();
    drop(store);
    let path = folder.path().join("node/log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[200..300].fill(0x55);
    fs::write(&path, &bytes).unwrap();
    let store = reopen(folder.path());
    assert!(store.repaired() > 0);
    assert_eq!(pending(&store), [4]);
    drop(store);
    let store = reopen(folder.path());
    assert_eq!((store.repaired(), store.is_retired(EPOCH)), (0, true));
}

#[test]
fn a_folder_without_its_log_or_of_another_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = reopen(folder.path());
    let sealed = SealedEpoch { epoch: EPOCH, plan: amicus_plan::PlanDigest([1; 32]) };
    store.epochs().seal(sealed, |out| out.put_section(1, b"secret")).unwrap();
    drop(store);
    let place = place(folder.path());
    let party = Peer::Party(PartyId::FIRST);
    let error = Store::open(&place, party).unwrap_err().to_string();
    assert!(error.contains("is of helper, this is party 1"), "{error}");
    let other = Place { cluster: ClusterDigest([3; 32]), ..place.clone() };
    let error = Store::open(&other, Peer::Helper).unwrap_err().to_string();
    assert!(error.contains("another cluster"), "{error}");
    fs::remove_file(place.folder.join("log")).unwrap();
    let error = Store::open(&place, Peer::Helper).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
}

#[test]
fn every_file_is_its_owners_alone() {
    use std::os::unix::fs::MetadataExt;
    let around = tempfile::tempdir().unwrap();
    let mut store = reopen(around.path());
    assert!(store.epochs().names().unwrap().is_empty());
    store.retire(EPOCH).unwrap();
    let folder = around.path().join("node");
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let found = entry.unwrap();
        let metadata = found.metadata().unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o777, expected, "{:?}", found.path());
    }
}

/// Once, the record of a decision changed its form, and older ones were read as something else.
#[test]
fn records_of_another_version_are_refused_and_left_alone() {
    let around = tempfile::tempdir().unwrap();
    let place = place(around.path());
    for version in [1, 3] {
        let mut body = Record::Retired(OTHER).encode();
        match version {
            1 => drop(body.remove(0)),
            _ => body[0] += 1,
        }
        let folder = Folder::open(&place, Peer::Helper).unwrap();
        let path = folder.path.join("log");
        Log::create(&path, &folder, std::iter::once(body), 0).unwrap();
        drop(folder);
        let before = fs::read(&path).unwrap();
        let error = Store::open(&place, Peer::Helper).unwrap_err().to_string();
        assert!(
            error.contains(&format!("its records are of version {version}, this program reads")),
            "{error}"
        );
        assert!(error.contains("move the whole folder away"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
