//! A node that is killed while it writes: what it was told to be recorded is there.
//!
//! The child is this test's own program, started again with a folder in its environment; it says
//! what it has recorded, and is killed at a moment of the system's choosing.

use amicus_node::Peer;
use amicus_node::store::{Place, SealedEpoch, Store};
use amicus_plan::PlanDigest;
use amicus_protocol::check::DecisionLog;
use amicus_protocol::{EpochId, InferenceId, Parties, Scope, SessionId};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const FOLDER: &str = "AMICUS_KILLED_FOLDER";
const ROUND: &str = "AMICUS_KILLED_ROUND";
const ROUNDS: u64 = 12;
const CLIENT: &str = "client 1";
/// Enough that the log is written anew several times in a round.
const RELEASE: usize = 20_000;

fn place(folder: &Path) -> Place {
    Place::local(folder, Parties::new(2).expect("two parties"), &Peer::Helper)
}

/// An epoch of a round; the first has number 0.
fn epoch(round: u64, number: u64) -> EpochId {
    EpochId::from_bytes((u128::from(round + 1) << 64 | u128::from(number)).to_le_bytes())
}

fn scope(round: u64, id: u64) -> Scope {
    Scope::new(SessionId::from_bytes([1; 16]), epoch(round, 0), InferenceId(id))
}

fn sealed(round: u64, number: u64) -> SealedEpoch {
    SealedEpoch { epoch: epoch(round, number), plan: PlanDigest([1; 32]) }
}

fn release(id: u64) -> Vec<u8> {
    vec![id as u8; RELEASE]
}

/// What the child does, until it is killed: decisions, acknowledgements of every other one, failed
/// checks, sealed files, and the end of every other one of these.
fn write(folder: &Path, round: u64) {
    let mut store = Store::open(&place(folder), Peer::Helper).expect("a store");
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{what} {number}").and_then(|()| out.flush()).expect("somebody who reads");
    };
    for id in 1.. {
        let inference = scope(round, id);
        store.receivers(&[CLIENT.to_owned()]).accepted(inference, &release(id)).expect("a record");
        say("decided", id);
        if id % 2 == 0 {
            say("delivering", id);
            store.delivered(inference, CLIENT).expect("a record");
            say("delivered", id);
        }
        if id % 4 == 0 {
            let content = release(id);
            store.epochs().seal(sealed(round, id), |out| out.put_section(1, &content)).expect("a file");
            say("sealed", id);
        }
        if id % 8 == 0 {
            say("retiring", id);
            store.retire(epoch(round, id)).expect("a record");
            say("retired", id);
        }
        store.record_failed_checks(epoch(round, 0), id as u32).expect("a record");
        say("failed", id);
    }
}

#[test]
fn the_child_that_is_killed() {
    if let (Some(folder), Ok(round)) = (std::env::var_os(FOLDER), std::env::var(ROUND)) {
        write(Path::new(&folder), round.parse().expect("a number"));
    }
}

/// What a child said before it was killed.
#[derive(Default)]
struct Said {
    failed: u64,
    decided: BTreeSet<u64>,
    delivering: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    sealed: BTreeSet<u64>,
    retiring: BTreeSet<u64>,
    retired: BTreeSet<u64>,
}

/// Runs a child until it has said so many things; what it said, to the last line.
fn killed_after(folder: &Path, round: u64, lines: usize) -> Said {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["the_child_that_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let mut said = Said::default();
    let mut heard = 0;
    let output = BufReader::new(child.stdout.take().expect("its output"));
    for line in output.lines() {
        let line = line.expect("a line");
        let Some((what, Ok(number))) = line.split_once(' ').map(|(what, n)| (what, n.parse::<u64>())) else {
            continue;
        };
        match what {
            "failed" => said.failed = number,
            "decided" => drop(said.decided.insert(number)),
            "delivering" => drop(said.delivering.insert(number)),
            "delivered" => drop(said.delivered.insert(number)),
            "sealed" => drop(said.sealed.insert(number)),
            "retiring" => drop(said.retiring.insert(number)),
            "retired" => drop(said.retired.insert(number)),
            _ => continue,
        }
        heard += 1;
        if heard == lines {
            // It goes on meanwhile; what it still says is read to the end.
            child.kill().expect("a child that runs");
        }
    }
    child.wait().expect("a child that ended");
    assert!(heard >= lines, "the child ended by itself after {heard} lines");
    said
}

#[test]
fn what_was_recorded_survives_a_kill_at_any_moment() {
    let around = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        // From within the first records to some rewritings of the log on.
        let said = killed_after(around.path(), round, 1 + (round * round * 5) as usize);
        let mut store = Store::open(&place(around.path()), Peer::Helper).expect("a store after a kill");
        // The record that was being written may be there once.
        assert!(store.repaired() <= 1, "round {round}: a kill damaged {} records", store.repaired());
        let of_round = |scope: Scope| scope.epoch == epoch(round, 0);
        let pending: BTreeSet<u64> =
            store.pending().filter(|(scope, _)| of_round(*scope)).map(|(scope, _)| scope.id.0).collect();
        let lost = said.decided.iter().find(|id| !said.delivering.contains(id) && !pending.contains(id));
        assert_eq!(lost, None, "round {round}: a decision is lost");
        assert!(said.delivered.iter().all(|id| !pending.contains(id)), "round {round}");
        for (scope, kept) in store.pending() {
            assert!(kept.release[..] == release(scope.id.0) && kept.receivers == [CLIENT], "round {round}");
        }
        assert!(u64::from(store.failed_checks(epoch(round, 0))) >= said.failed, "round {round}");
        let listed = store.epochs().list().expect("a folder");
        let listed: Vec<SealedEpoch> = listed.into_iter().map(|file| file.expect("a whole file")).collect();
        for id in &said.sealed {
            let sealed = sealed(round, *id);
            if !said.retiring.contains(id) {
                assert!(listed.contains(&sealed), "round {round}: a sealed file is lost");
                let content = store.epochs().open(sealed, |file| Ok(file.bytes(1, RELEASE)?.to_vec()));
                assert_eq!(content.expect("a whole file"), release(*id));
            }
            let retired = store.is_retired(sealed.epoch);
            assert!(retired || !said.retired.contains(id), "round {round}: a retired epoch came back");
            assert!(!retired || !listed.contains(&sealed), "round {round}: a retired epoch is still there");
        }
        let folder = place(around.path()).folder;
        for folder in [folder.join("epochs"), folder] {
            let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
            assert!(names.into_iter().all(|name| !name.to_str().unwrap().ends_with(".part")));
        }
        // The next round has room again.
        listed.iter().for_each(|sealed| store.epochs().erase(sealed.epoch).expect("a folder"));
        let old: Vec<Scope> = store.pending().map(|(scope, _)| scope).collect();
        old.into_iter().for_each(|scope| store.delivered(scope, CLIENT).unwrap());
    }
}
