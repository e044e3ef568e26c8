//! What nodes do with their stores (`docs/security.md`, section 24): they count before they tell,
//! refuse what they could not keep, and report damage.

use amicus_field::{Element, Limbs};
use amicus_node::event::{Event, Reporter};
use amicus_node::limits::MAX_LANES;
use amicus_node::party::{PartyConfig, PartyNode};
use amicus_node::store::{Place, Store};
use amicus_node::{Limits, Peer, Served};
use amicus_protocol::wire::Kind;
use amicus_protocol::{EpochId, Parties};
use amicus_testkit::deviation::Deviation;
use amicus_testkit::run::{Setup, assert_says};
use amicus_testkit::user::User;
use amicus_testkit::zoo;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

/// What a node's store would hold if the machine stopped now.
fn as_it_is(folder: &Path, parties: Parties, node: &Peer) -> (Store, tempfile::TempDir) {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (Place::local(folder, parties, node), Place::local(copy.path(), parties, node));
    std::fs::create_dir(&to.folder).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&to.folder, private).unwrap();
    for entry in std::fs::read_dir(&from.folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.folder.join(entry.file_name())).unwrap();
        }
    }
    (Store::open(&to, node.clone()).unwrap(), copy)
}

/// Whoever hears of a failed check finds it counted on the helper's disk: if the helper died then
/// and there, nobody would get another try for it.
#[test]
fn failed_checks_are_counted_before_anybody_hears_of_them() {
    const FAILURES: u32 = 8;
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("linear 1"), 0, Element::one(TWO));
    let mut run = Setup::new(net, 2).last_deviating(deviation).failure_limit(FAILURES).start();
    run.recovers();
    let epoch = run.last.epoch;
    run.switch.set(true);
    for failure in 1..=FAILURES {
        let inputs = run.next_inputs();
        let admission = run.client.request(1, &[]).unwrap();
        let error = run.client.infer(admission, &inputs).unwrap_err();
        // Nothing between the word and the look.
        let (store, _copy) = as_it_is(run.folder(), run.parties, &Peer::Helper);
        assert!(error.is_rejection(), "{error}");
        // The last one retires the model, after which failures need not be counted.
        let retired = failure == FAILURES && store.is_retired(epoch);
        assert!(retired || store.failed_checks(epoch) == failure, "{failure}");
    }
    // Who hears of the retirement finds it on the disk, too.
    let error = run.client.request(1, &[]).unwrap_err();
    let (store, _copy) = as_it_is(run.folder(), run.parties, &Peer::Helper);
    assert_says("client", &error, &["retired"]);
    assert!(store.is_retired(epoch));
}

#[test]
fn an_answer_that_could_not_be_kept_is_refused_before_anything_is_told() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    // A receiver who gives its keys and acknowledges nothing.
    let bob = Peer::Client("3".into());
    let mut careless = User::connect(&mut run.cluster, run.parties, &bob);
    let mut alice = User::connect(&mut run.cluster, run.parties, &Peer::Client("2".into()));
    let mut answered = 0;
    let refusal = loop {
        let asked = alice.ask(&run.net.plan, run.parties, 1, &["client 3"]);
        let admission = match asked {
            Ok(admission) => admission,
            Err(error) => break error,
        };
        answered += 1;
        assert!(answered < 1000, "answers that nobody collects are kept without end");
        let (awaiting, messages) = admission.mask(&run.next_inputs()).unwrap();
        let key = careless.invited(&run.net.plan, run.parties);
        for party in run.parties.all().map(Peer::Party) {
            messages.iter().for_each(|message| alice.send_to(&party, message));
            careless.send_to(&party, &key);
        }
        let acknowledgement = awaiting.acknowledgement();
        alice.result(awaiting).unwrap();
        alice.send(&Peer::Helper, &acknowledgement);
    };
    assert_eq!(answered, 64);
    assert_says("client", &refusal, &["client 2", "answers that receivers have not collected"]);
    // Nobody else was told of anything, and others are served.
    run.recovers();
    while let Some(message) = careless.heard(Duration::from_millis(200)) {
        assert_ne!(message.header.kind, Kind::Invite);
    }
    run.cluster.stop();
}

#[test]
fn damage_that_was_repaired_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (net, parties) = (zoo::mlp(TWO), Parties::new(2).unwrap());
    let me = parties.party(1).unwrap();
    let place = Place::local(folder.path(), parties, &Peer::Party(me));
    let starts = || {
        let (reporter, events) = Reporter::channel();
        let party = PartyNode::start(PartyConfig {
            models: vec![Served::new(Arc::clone(&net.plan))],
            parties,
            me,
            place: place.clone(),
            limits: Limits::default(),
            inferences: MAX_LANES,
            core: None,
            threads: 1,
            conduct: None,
            reporter,
        });
        party.unwrap().stop();
        events.try_iter().find(|event| matches!(event, Event::Repaired { .. }))
    };
    assert!(starts().is_none());
    Store::open(&place, Peer::Party(me)).unwrap().retire(EpochId::from_bytes([1; 16])).unwrap();
    // One flipped bit in the first copy of what was written last.
    let path = place.folder.join("log");
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes[..bytes.len() / 2].iter().rposition(|byte| *byte != 0).unwrap();
    let log = std::fs::File::options().write(true).open(&path).unwrap();
    log.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    drop(log);
    assert!(matches!(starts(), Some(Event::Repaired { records }) if records > 0));
    assert!(starts().is_none(), "it is repaired once");
    let store = Store::open(&place, Peer::Party(me)).unwrap();
    assert!(store.is_retired(EpochId::from_bytes([1; 16])));
}
