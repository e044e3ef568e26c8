//! Folders set back to an older state (`docs/security.md`, section 24): yesterday's copy of a node's
//! folder is put back, and on the recorded wire nothing one-time is used twice.

use amicus_client::ToParties;
use amicus_client::load::{self, Loading};
use amicus_field::{Element, LimbVec, Limbs, OperatingSystem};
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_plan::WeightId;
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::wire::{Header, Kind};
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::Deviation;
use amicus_testkit::run::{Run, Setup, party};
use amicus_testkit::user::{User, changed};
use amicus_testkit::zoo;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const TWO: Limbs = Limbs::TWO;

/// Copies a folder with all in it, as a backup does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), to);
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The folder of a node, whatever is in it.
fn backup(run: &Run, node: &Peer, to: &Path) {
    copy(&run.folder_of(node), &to.join(node.to_string()));
}

/// Puts the copy of a stopped node's folder in its place.
fn put_back(run: &mut Run, node: &Peer, from: &Path) {
    run.cluster.stop_node(node);
    let folder = run.folder_of(node);
    fs::remove_dir_all(&folder).unwrap();
    copy(&from.join(node.to_string()), &folder);
}

/// An inference of always the same input, once one works again: under the same masks it would look
/// the same on the wire.
fn infer(run: &mut Run) {
    let inputs = run.net.inputs(1, 7);
    let since = Instant::now();
    loop {
        let ended = run.client.request(1, &[]).and_then(|admission| run.client.infer(admission, &inputs));
        match ended {
            Ok(result) => return run.assert_right(&inputs, &result.logits),
            Err(error) => assert!(since.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nothing that an inference or a load sends is sent under two of them, and nothing is answered
/// twice. Returns how many messages that holds for.
fn nothing_is_used_twice(run: &Run) -> usize {
    let mut answers = HashMap::new();
    let mut bodies = HashMap::new();
    for (from, to, header, body) in run.frames() {
        let Header { kind, session, epoch, id, index, .. } = header;
        let answers_something = matches!(
            kind,
            Kind::Opening | Kind::Check | Kind::Output | Kind::Tags | Kind::LoadHash | Kind::LoadResponse
        );
        if answers_something {
            let what = (from.clone(), to.clone(), kind, session, epoch, id, index);
            let before = answers.insert(what.clone(), body.clone());
            assert!(before.is_none(), "{what:?} was answered twice");
        }
        // All that depends on a mask, or is a seed of one.
        let masked = matches!(kind, Kind::Ticket | Kind::Input | Kind::DealCorrection);
        if (answers_something || masked) && body.len() >= 16 {
            // What goes to all is the same for all; `D_x` that the parties open is a sum of others.
            let what = (kind, session, epoch, id);
            let before = bodies.insert((kind, index, body), what);
            assert!(before.is_none_or(|before| before == what), "{what:?} looks like {before:?}");
        }
    }
    bodies.len()
}

#[test]
fn a_node_set_back_to_yesterday_uses_nothing_twice_and_serves() {
    for parties in [2, 3] {
        let mut run = Setup::new(zoo::mlp(TWO), parties).recorded().start();
        let yesterday = tempfile::tempdir().unwrap();
        infer(&mut run);
        let fingerprint = run.client.fingerprint().unwrap();
        let nodes = run.nodes();
        nodes.iter().for_each(|node| run.cluster.stop_node(node));
        nodes.iter().for_each(|node| backup(&run, node, yesterday.path()));
        run.restart(&nodes);
        for _ in 0..3 {
            infer(&mut run);
        }
        // Each alone, then all together.
        let mut rounds: Vec<Vec<Peer>> = nodes.iter().map(|node| vec![node.clone()]).collect();
        rounds.push(nodes.clone());
        for back in rounds {
            back.iter().for_each(|node| put_back(&mut run, node, yesterday.path()));
            run.restart(&back);
            for _ in 0..3 {
                infer(&mut run);
            }
            assert_eq!(run.client.fingerprint().unwrap(), fingerprint);
        }
        let seen = nothing_is_used_twice(&run);
        let inferences = 1 + 3 * (parties + 3);
        assert!(seen > 10 * inferences, "{seen} messages of {inferences} inferences were recorded");
        run.finish();
    }
}

/// The next request is refused, and why.
fn refusal(run: &mut Run) -> String {
    run.client.request(1, &[]).expect_err("a request that is served").to_string()
}

fn wait_for(events: &Receiver<Event>, is: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = events.recv_timeout(PATIENCE).expect("an event");
        if is(&event) {
            return event;
        }
    }
}

/// Yesterday's model was replaced since.
#[test]
fn a_replaced_model_does_not_come_back_with_a_folder() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).recorded().start();
    let yesterday = tempfile::tempdir().unwrap();
    let today = tempfile::tempdir().unwrap();
    let nodes = run.nodes();
    let stop_and_copy = |run: &mut Run, to: &Path| {
        nodes.iter().for_each(|node| run.cluster.stop_node(node));
        nodes.iter().for_each(|node| backup(run, node, to));
        run.restart(&nodes);
        infer(run);
    };
    infer(&mut run);
    stop_and_copy(&mut run, yesterday.path());
    run.owner = run.cluster.owner().unwrap();
    run.load().unwrap();
    infer(&mut run);
    stop_and_copy(&mut run, today.path());
    let (first, helper) = (party(run.parties, 1), Peer::Helper);
    // The helper offers what parties know to be replaced.
    put_back(&mut run, &helper, yesterday.path());
    run.restart(std::slice::from_ref(&helper));
    wait_for(&run.cluster.helper_events, |event| matches!(event, Event::Retired { .. }));
    let error = refusal(&mut run);
    assert!(error.contains("the epoch is retired; load the model again"), "{error}");
    put_back(&mut run, &helper, today.path());
    run.restart(&[helper]);
    infer(&mut run);
    // A party has only what was replaced.
    put_back(&mut run, &first, yesterday.path());
    run.cluster.helper_events.try_iter().for_each(drop);
    run.restart(std::slice::from_ref(&first));
    let event = wait_for(&run.cluster.helper_events, |event| matches!(event, Event::Unconfirmed { .. }));
    let Event::Unconfirmed { error } = event else { unreachable!() };
    let words = "party 1 does not have it; put the newest state of its folder back and restart that party";
    assert!(error.to_string().contains(words), "{error}");
    assert!(refusal(&mut run).contains(words));
    // It heard that yesterday's is over.
    wait_for(&run.cluster.party_events[0], |event| matches!(event, Event::Retired { .. }));
    assert_eq!(fs::read_dir(run.folder_of(&first).join("epochs")).unwrap().count(), 0);
    put_back(&mut run, &first, today.path());
    run.restart(&[first]);
    infer(&mut run);
    nothing_is_used_twice(&run);
    run.finish();
}

/// The critical one: after `g = b^T W + u` was told, the party is set back to before, and other
/// weights come under the same masks. `g - g'` would show `b`.
#[test]
fn a_party_set_back_to_the_middle_of_a_load_answers_no_other_weights() {
    for all_told in [false, true] {
        let mut run = Setup::new(zoo::mlp(TWO), 2).recorded().start_unloaded();
        let copies = tempfile::tempdir().unwrap();
        let plan = Arc::clone(&run.net.plan);
        let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
        owner.send(&Peer::Helper, &load::request(&plan).unwrap());
        let grant = owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
        let scope = grant.header.scope();
        let (header, body) = (&grant.header, grant.body());
        let loading = Loading::granted(Arc::clone(&plan), run.parties, header, body, &mut OperatingSystem);
        let loading = loading.unwrap();
        let messages = |layers: Vec<LayerWeights>| -> Vec<ToParties> {
            let ids = (0u32..).take(plan.weights.len()).map(WeightId);
            let tensors = ids.flat_map(|id| loading.tensor(id, layers.as_slice()).collect::<Vec<_>>());
            [loading.nonce()].into_iter().chain(tensors.map(Result::unwrap)).collect()
        };
        let (right, wrong) = (messages(run.net.layers()), messages(other_weights(&run)));
        assert!(right.iter().zip(&wrong).skip(1).all(|(right, wrong)| right.body() != wrong.body()));
        let (first, second) = (party(run.parties, 1), party(run.parties, 2));
        let (begun, rest) = right.split_at(2);
        for to in [&first, &second] {
            owner.expect(to, &[Kind::LoadReady]);
            begun.iter().for_each(|message| owner.send_to(to, message));
        }
        // Yesterday: the middle of the load.
        backup(&run, &first, copies.path());
        rest.iter().for_each(|message| owner.send_to(&first, message));
        if all_told {
            rest.iter().for_each(|message| owner.send_to(&second, message));
            owner.expect(&Peer::Helper, &[Kind::LoadAccepted]);
        }
        let tags = |run: &Run| -> Vec<Vec<u8>> {
            let frames = run.frames().into_iter();
            let tags = frames.filter(|(from, _, h, _)| *from == first && h.kind == Kind::Tags);
            tags.map(|(.., body)| body).collect()
        };
        let since = Instant::now();
        while tags(&run).len() < plan.weights.len() {
            assert!(since.elapsed() < PATIENCE, "the tags were not told");
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = tags(&run);
        put_back(&mut run, &first, copies.path());
        run.cluster.helper_events.try_iter().for_each(drop);
        run.restart(std::slice::from_ref(&first));
        wait_for(&run.cluster.helper_events, |event| matches!(event, Event::SessionOpened { .. }));
        let session = run.frames().iter().rev().find(|f| f.2.kind == Kind::SessionOpen).unwrap().2.session;
        // In the name of the load that was, and of its epoch in the session that is.
        let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
        for session in [scope.session, session] {
            for message in &wrong {
                let message = changed(message, loading.authentication(), |m| m.header.session = session);
                owner.send_to(&first, &message);
            }
        }
        assert!(run.client.fingerprint().is_err(), "a party uses what it has half of");
        assert_eq!(tags(&run), told, "another answer under the same masks");
        // All begin anew. What the corrupt owner said in this session ends one load of its own.
        run.owner = run.cluster.owner().unwrap();
        if run.load().is_err() {
            run.load().unwrap();
        }
        infer(&mut run);
        nothing_is_used_twice(&run);
        run.finish();
    }
}

/// Weights of the same shapes, every one larger by 1.
fn other_weights(run: &Run) -> Vec<LayerWeights> {
    let mut layers = run.net.layers();
    let more = |values: &mut LimbVec| {
        let ones = LimbVec::from_i64(TWO, &vec![1; values.len()]);
        values.add_assign(&ones);
    };
    for layer in &mut layers {
        more(&mut layer.weights);
        layer.bias.iter_mut().for_each(more);
    }
    layers
}

/// Each failed check excludes a guess of the MAC keys: what the helper forgets, the parties know.
#[test]
fn failed_checks_count_although_a_folder_is_set_back() {
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("linear 0"), 0, Element::one(TWO));
    let mut run = Setup::new(net, 2).last_deviating(deviation).failure_limit(3).start();
    let yesterday = tempfile::tempdir().unwrap();
    let helper = Peer::Helper;
    backup(&run, &helper, yesterday.path());
    for _ in 0..2 {
        run.attack().rejected();
    }
    put_back(&mut run, &helper, yesterday.path());
    run.restart(std::slice::from_ref(&helper));
    infer(&mut run);
    run.attack().rejected();
    let error = refusal(&mut run);
    assert!(error.contains("retired after 3 failed checks"), "{error}");
    // Nor does it come back with yesterday's folder.
    put_back(&mut run, &helper, yesterday.path());
    run.restart(&[helper]);
    wait_for(&run.cluster.helper_events, |event| matches!(event, Event::Retired { .. }));
    assert!(refusal(&mut run).contains("retired"));
    run.finish();
}

/// Different inputs for different parties fail a check too, and say nothing of the keys: else any
/// client could retire a model.
#[test]
fn a_client_retires_no_model_by_restarts_between_its_failed_checks() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).failure_limit(2).start();
    let nodes = run.nodes();
    for _ in 0..3 {
        let inputs = run.next_inputs();
        let mut mallory = User::connect(&mut run.cluster, run.parties, &Peer::Client("2".into()));
        let admission = mallory.ticket(&run.net.plan, run.parties, 1, &[]);
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        for (number, party) in run.parties.all().map(Peer::Party).enumerate() {
            for message in &messages {
                let differs = number == 1 && message.header().kind == Kind::Input;
                let message = changed(message, awaiting.authentication(), |m| m.body[0] ^= u8::from(differs));
                mallory.send_to(&party, &message);
            }
        }
        assert!(mallory.result(awaiting).unwrap_err().is_rejection());
        run.restart(&nodes);
        infer(&mut run);
    }
    run.finish();
}
