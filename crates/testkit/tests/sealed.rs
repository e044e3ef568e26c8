//! What a party keeps of a load, and when it uses it (`docs/protocol.md`, sections 4 and 7.4): a
//! helper that follows no rule gets nothing out of it.

use amicus_client::Message;
use amicus_field::Limbs;
use amicus_net::clock;
use amicus_node::NodeError;
use amicus_node::event::Event;
use amicus_node::store::Place;
use amicus_protocol::control::OfferedEpoch;
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::session::Standing;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Parties};
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::fake_helper::FakeHelper;
use amicus_testkit::run::party;
use amicus_testkit::zoo;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

fn parties() -> Parties {
    Parties::new(2).unwrap()
}

fn offer(epoch: &HelperEpoch) -> Vec<OfferedEpoch> {
    vec![OfferedEpoch { epoch: epoch.epoch(), plan: *epoch.digest(), failures: 0 }]
}

fn folder(around: &Path, number: usize) -> PathBuf {
    Place::local(around, parties(), &party(parties(), number)).folder.join("epochs")
}

/// The sealed epochs of a party.
fn files(around: &Path, number: usize) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder(around, number)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Waits until both parties have erased all epochs.
fn erased(around: &Path) {
    let until = clock::now() + PATIENCE;
    while (1..=2).any(|number| !files(around, number).is_empty()) {
        assert!(clock::now() < until, "an epoch is kept");
        clock::sleep(Duration::from_millis(10));
    }
}

fn failure(events: &Receiver<Event>) -> NodeError {
    loop {
        match clock::receive(events, clock::now() + PATIENCE).unwrap() {
            Event::LoadFailed { error } | Event::Failed { error, .. } | Event::Unusable { error } => {
                return error;
            }
            _ => {}
        }
    }
}

const CONFIRMED: Standing = Standing::Confirmed { failures: 0 };

#[test]
fn an_epoch_is_used_only_once_the_helper_confirms_it() {
    let around = tempfile::tempdir().unwrap();
    let net = || zoo::mlp(Limbs::TWO);
    let inputs = net().inputs(1, 1);
    let mut helper = FakeHelper::start(net(), around.path());
    let epoch = helper.load(1);
    let fingerprint = helper.fingerprint(1).unwrap();
    // From memory, then from disk.
    for restart in [false, true] {
        if restart {
            helper.stop();
            helper = FakeHelper::start(net(), around.path());
        }
        for (offered, open) in [(Vec::new(), true), (offer(&epoch), false)] {
            let standings = helper.offer(offered, open);
            assert!(standings.iter().all(|standing| *standing == CONFIRMED), "{standings:?}");
            assert_eq!((helper.fingerprint(1), helper.fingerprint(2)), (None, None));
            let dealt = helper.deal_alone(&epoch, 1);
            helper.bind(&dealt, &inputs);
            for events in &helper.events {
                let error = failure(events).to_string();
                assert!(error.contains("is not loaded"), "{error}");
            }
        }
        assert_eq!(helper.offer(offer(&epoch), true), [CONFIRMED]);
        helper.infer(&epoch, 1, &inputs);
        assert_eq!(helper.fingerprint(1).as_ref(), Some(&fingerprint));
    }
    helper.stop();
}

/// The helper has recorded that it accepts, and dies before it says so.
#[test]
fn a_load_whose_end_nobody_heard_is_used_when_the_helper_confirms_it() {
    let net = || zoo::mlp(Limbs::TWO);
    let inputs = net().inputs(1, 1);
    for (restart, offered_at_once) in [(false, true), (false, false), (true, true), (true, false)] {
        let around = tempfile::tempdir().unwrap();
        let mut helper = FakeHelper::start(net(), around.path());
        let (epoch, _) = helper.load_untold(1);
        if restart {
            helper.stop();
            helper = FakeHelper::start(net(), around.path());
        } else {
            for number in [1, 2] {
                helper.online.close(&party(parties(), number));
            }
            helper.events.iter().for_each(|events| drop(failure(events)));
            helper.relink();
        }
        if !offered_at_once {
            assert_eq!(helper.offer(Vec::new(), true), []);
        }
        assert_eq!((helper.fingerprint(1), helper.fingerprint(2)), (None, None));
        let standings = helper.offer(offer(&epoch), true);
        if restart || offered_at_once {
            assert_eq!(standings, [CONFIRMED]);
            helper.infer(&epoch, 1, &inputs);
        } else {
            // A helper that does not offer it at once has not accepted it.
            assert_eq!(standings, [Standing::Retired]);
            erased(around.path());
        }
        helper.stop();
    }
}

/// A party that gave up for another's word would lack a model that the helper accepts.
#[test]
fn what_a_party_says_once_another_has_answered_ends_no_load() {
    for kind in [Kind::Abort, Kind::Tags, Kind::LoadAccepted] {
        let around = tempfile::tempdir().unwrap();
        let also = Deviation::message(Kind::LoadResponse, How::Also(party(parties(), 2), kind));
        let mut helper = FakeHelper::deviating(zoo::mlp(Limbs::TWO), around.path(), also);
        let (epoch, scope) = helper.load_untold(1);
        // It has heard the first party before it refuses two inferences of a model not yet accepted.
        for id in [2, 3] {
            let dealt = helper.deal_alone(&epoch, id);
            helper.bind_alone(&dealt);
            let error = failure(&helper.events[1]).to_string();
            assert!(error.contains("is not loaded"), "{kind:?}: {error}");
        }
        helper.accept(scope);
        assert!(helper.fingerprint(2).is_some());
        helper.stop();
    }
}

/// The helper says that it does not accept.
#[test]
fn a_load_that_the_helper_gives_up_is_burned() {
    let around = tempfile::tempdir().unwrap();
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), around.path());
    let (epoch, scope) = helper.load_untold(1);
    let kept = files(around.path(), 1);
    assert_eq!(kept.len(), 1);
    let copy = fs::read(&kept[0]).unwrap();
    let error = amicus_protocol::ProtocolError::NoModel;
    let notice = NodeError::from(error).notice(&amicus_protocol::Step::load_part("request"));
    let body = amicus_protocol::control::encode(&notice).unwrap();
    for number in [1, 2] {
        let header = Header::new(Kind::Abort, scope, 0);
        helper.online.send(&party(parties(), number), &Message { header, body: body.clone() });
    }
    helper.events.iter().for_each(|events| drop(failure(events)));
    assert!(files(around.path(), 1).is_empty() && files(around.path(), 2).is_empty());
    // Put back, it is refused all the same, and erased when the party starts.
    fs::write(&kept[0], copy).unwrap();
    assert_eq!(helper.offer(offer(&epoch), true), [Standing::Retired]);
    assert_eq!(helper.fingerprint(1), None);
    helper.stop();
    let helper = FakeHelper::start(zoo::mlp(Limbs::TWO), around.path());
    assert!(files(around.path(), 1).is_empty());
    helper.stop();
}

/// Another answer under the same masks would show the MAC key.
#[test]
fn no_message_of_a_load_is_handled_for_an_epoch_that_was_kept() {
    let around = tempfile::tempdir().unwrap();
    let net = || zoo::mlp(Limbs::TWO);
    let inputs = net().inputs(1, 1);
    let mut helper = FakeHelper::start(net(), around.path());
    let epoch = helper.load(1);
    for (restart, confirmed) in [(false, true), (true, false), (true, true)] {
        if restart {
            helper.stop();
            helper = FakeHelper::start(net(), around.path());
        }
        if confirmed {
            helper.offer(offer(&epoch), true);
        }
        helper.begin_load_of(epoch.epoch(), 2);
        for (number, events) in (1..).zip(&helper.events) {
            let error = failure(events).to_string();
            assert_eq!(error, format!("{} is spent and is never used again", epoch.epoch()));
            helper.online.expect(&party(parties(), number), &[Kind::Abort]);
        }
        assert!(helper.owner_heard(Duration::from_millis(100)).is_none(), "a party took the load");
    }
    // What was retired, too: here by a model that replaced it.
    let next = helper.load(3);
    helper.begin_load_of(epoch.epoch(), 4);
    for (number, events) in (1..).zip(&helper.events) {
        assert!(failure(events).to_string().contains("is spent"));
        helper.online.expect(&party(parties(), number), &[Kind::Abort]);
    }
    helper.offer(offer(&next), true);
    helper.infer(&next, 1, &inputs);
    helper.stop();
}

#[test]
fn an_epoch_that_a_party_retired_or_lacks_is_refused() {
    let around = tempfile::tempdir().unwrap();
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), around.path());
    let first = helper.load(1);
    let second = helper.load(2);
    // The second has replaced the first.
    assert_eq!(helper.offer(offer(&first), true), [Standing::Retired]);
    assert_eq!(helper.offer(offer(&second), true), [CONFIRMED]);
    // For another plan, and unknown.
    let mut other = offer(&second);
    other[0].plan.0[0] ^= 1;
    assert_eq!(helper.offer(other, true), [Standing::Missing]);
    let mut other = offer(&second);
    other[0].epoch = EpochId::from_bytes([9; 16]);
    assert_eq!(helper.offer(other, true), [Standing::Missing]);
    // The helper says that it is over: it is erased, and never comes back.
    let retired = vec![OfferedEpoch::retired(second.epoch())];
    assert_eq!(helper.offer(retired, true), [Standing::Retired]);
    erased(around.path());
    assert_eq!(helper.offer(offer(&second), true), [Standing::Retired]);
    assert_eq!(helper.fingerprint(1), None);
    helper.stop();
}

/// Every party says what it knows of failed checks; the largest count holds for all, and is kept.
#[test]
fn the_largest_count_of_failed_checks_holds_for_all() {
    let around = tempfile::tempdir().unwrap();
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), around.path());
    let epoch = helper.load(1);
    let count = |failures| {
        let mut offered = offer(&epoch);
        offered[0].failures = failures;
        offered
    };
    assert_eq!(helper.offer(count(700), true), [Standing::Confirmed { failures: 700 }]);
    // A helper that forgot, with parties that remember, here and after a restart.
    assert_eq!(helper.offer(count(3), true), [Standing::Confirmed { failures: 700 }]);
    helper.stop();
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), around.path());
    assert_eq!(helper.offer(count(0), true), [Standing::Confirmed { failures: 700 }]);
    assert_eq!(helper.offer(count(800), true), [Standing::Confirmed { failures: 800 }]);
    helper.stop();
}

#[test]
fn files_that_are_torn_damaged_exchanged_or_of_others_are_never_used() {
    let around = tempfile::tempdir().unwrap();
    let net = || zoo::mlp(Limbs::TWO);
    let inputs = net().inputs(1, 1);
    let mut helper = FakeHelper::start(net(), around.path());
    let epoch = helper.load(1);
    helper.stop();
    let (path, other) = (files(around.path(), 1).remove(0), files(around.path(), 2).remove(0));
    let whole = fs::read(&path).unwrap();
    let other = fs::read(&other).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let [half, tail] = [whole[..whole.len() / 2].to_vec(), [&whole[..], &[0]].concat()];
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty", Vec::new(), "is no sealed file"),
        ("torn", half, "is cut off"),
        ("longer", tail, "something was added"),
        ("zeros", vec![0; whole.len()], "is no sealed file"),
        ("flipped in its header", flipped(30), "is damaged in its header"),
        ("flipped in its seeds", flipped(300), "is damaged in its content"),
        ("flipped in the middle", flipped(whole.len() / 2), "is damaged in its content"),
        ("flipped at its end", flipped(whole.len() - 1), "is damaged in its content"),
        ("another party's", other, "is of party 2, this is party 1"),
    ];
    for (what, bytes, words) in cases {
        fs::write(&path, bytes).unwrap();
        let mut helper = FakeHelper::start(net(), around.path());
        assert_eq!(helper.offer(offer(&epoch), true), [Standing::Missing], "{what}");
        let error = failure(&helper.events[0]).to_string();
        assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{what}: {error}");
        assert_eq!((helper.fingerprint(1), helper.fingerprint(2)), (None, None), "{what}");
        // Nor may it be loaded again under its id.
        helper.begin_load_of(epoch.epoch(), 2);
        helper.events[0].try_iter().for_each(drop);
        helper.online.expect(&party(parties(), 1), &[Kind::Abort]);
        helper.stop();
    }
    // Nothing of it was lost for good.
    fs::write(&path, whole).unwrap();
    let mut helper = FakeHelper::start(net(), around.path());
    assert_eq!(helper.offer(offer(&epoch), true), [CONFIRMED]);
    helper.infer(&epoch, 1, &inputs);
    helper.stop();
}

/// Under the name of its epoch, in a folder of another cluster.
#[test]
fn a_file_of_another_cluster_is_not_used() {
    let [home, away] = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), home.path());
    let epoch = helper.load(1);
    helper.stop();
    FakeHelper::start(zoo::mlp(Limbs::TWO), away.path()).stop();
    for number in [1, 2] {
        let file = files(home.path(), number).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        // The cluster's digest comes first in the subject, after 24 bytes.
        bytes[24] ^= 1;
        let header = 24 + 32 + 16 + 32 + "party 1".len();
        let sum = *blake3::hash(&bytes[..header]).as_bytes();
        bytes[header..header + 32].copy_from_slice(&sum);
        fs::write(folder(away.path(), number).join(file.file_name().unwrap()), bytes).unwrap();
    }
    let mut helper = FakeHelper::start(zoo::mlp(Limbs::TWO), away.path());
    let error = failure(&helper.events[0]).to_string();
    assert!(error.contains("is of another cluster"), "{error}");
    assert_eq!(helper.offer(offer(&epoch), true), [Standing::Missing]);
    helper.stop();
}
