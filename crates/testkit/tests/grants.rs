//! Secrets are drawn anew, and each is given to the role it is for and to nobody else
//! (`docs/protocol.md`, 4, 6, 7).

use amicus_client::inference::{Awaiting, PendingRequest};
use amicus_client::load::Loading;
use amicus_field::{Limbs, OperatingSystem, Randomness, RandomnessError, Seed};
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_plan::Plan;
use amicus_protocol::check::{CheckMessage, DecisionLog};
use amicus_protocol::control::{self, TicketGrant};
use amicus_protocol::epoch::{HelperLoad, PartyContext, PartyLoad};
use amicus_protocol::keys::KeyAgreement;
use amicus_protocol::output::{ReceiverKey, Release};
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{InferenceId, Parties, ProtocolError, Scope, SessionId};
use amicus_testkit::PATIENCE;
use amicus_testkit::direct::{self, Loaded};
use amicus_testkit::nets::Net;
use amicus_testkit::run::{Run, Setup};
use amicus_testkit::user::User;
use amicus_testkit::world::{DangerKnownSeeds, Honest, Letter, World};
use amicus_testkit::zoo;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

fn parties(n: usize) -> Parties {
    Parties::new(n).unwrap()
}

/// All of these secrets of 32 bytes are different, and none is all zeros.
fn assert_distinct(secrets: &[Vec<u8>]) {
    let each: BTreeSet<&[u8]> = secrets.iter().flat_map(|s| s.chunks(32)).collect();
    assert_eq!(each.len(), secrets.iter().map(|s| s.len() / 32).sum::<usize>(), "two secrets are alike");
    assert!(!each.contains(&[0; 32][..]));
}

fn begun(net: &Net, n: usize) -> HelperLoad {
    let session = direct::begin(parties(n), &mut Honest).unwrap();
    HelperLoad::begin(Arc::clone(&net.plan), &session.helper, &mut OperatingSystem).unwrap()
}

/// What messages of a kind carry.
struct Overheard {
    kind: Kind,
    bodies: Vec<Vec<u8>>,
}

impl World for Overheard {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if letter.header.kind == self.kind {
            self.bodies.push(body.clone());
        }
    }
}

/// A load, and what its messages of a kind carried.
fn overheard(net: &Net, kind: Kind) -> (Loaded, Vec<Vec<u8>>) {
    let mut world = Overheard { kind, bodies: Vec::new() };
    let loaded = direct::load_over(&net.plan, &net.layers(), parties(3), None, &mut world).unwrap();
    (loaded, world.bodies)
}

#[test]
fn seeds_of_loads_parties_and_tensors_differ() {
    let net = zoo::mlp(TWO);
    let mut secrets = Vec::new();
    // Two loads share nothing, not even their epochs.
    for _ in 0..2 {
        let load = begun(&net, 3);
        secrets.push([load.scope().epoch.as_bytes().as_slice(), &[0; 16]].concat());
        secrets.extend(load.danger_seeds().iter().map(|seed| seed.as_bytes().to_vec()));
        // The owner's seeds are derived one-way: none is a party's seed.
        secrets.push(load.owner_grant().to_vec());
    }
    assert_distinct(&secrets);
}

/// A world in which the machines of some roles draw the same seeds in every run.
struct SetBack {
    which: fn(&Peer) -> bool,
    seeds: DangerKnownSeeds,
}

impl World for SetBack {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        if (self.which)(role) { Ok(self.seeds.next(role)) } else { OperatingSystem.seed() }
    }
}

#[test]
fn a_machine_that_draws_the_same_again_masks_no_second_load_alike() {
    let net = zoo::mlp(TWO);
    let run = |which| {
        let mut world = SetBack { which, seeds: DangerKnownSeeds::new("again") };
        direct::load_over(&net.plan, &net.layers(), parties(3), None, &mut world).unwrap()
    };
    let sides: [fn(&Peer) -> bool; 2] = [|role| *role == Peer::Helper, |role| matches!(role, Peer::Party(_))];
    for which in sides {
        let loads = [run(which), run(which)];
        let [one, two] = loads.each_ref().map(|loaded| loaded.helper.epoch());
        assert_eq!(one == two, which(&Peer::Helper), "it is the helper that names epochs");
        let seeds = loads.iter().flat_map(|loaded| loaded.helper.danger_seeds());
        assert_distinct(&seeds.map(|seed| seed.as_bytes().to_vec()).collect::<Vec<_>>());
    }
}

#[test]
fn challenges_differ_from_load_to_load() {
    let net = zoo::mlp(TWO);
    let mut challenges = Vec::new();
    for _ in 0..2 {
        let (_, of_load) = overheard(&net, Kind::Challenge);
        // One for all parties.
        assert_eq!(of_load.iter().collect::<BTreeSet<_>>().len(), 1);
        challenges.extend(of_load.into_iter().next());
    }
    assert_distinct(&challenges);
}

#[test]
fn contributions_of_parties_to_their_keys_are_fresh() {
    let (one, others) = (parties(3).party(1).unwrap(), [2, 3].map(|n| parties(3).party(n).unwrap()));
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let agreement =
            KeyAgreement::new(parties(3), one, SessionId::from_bytes([1; 16]), &mut OperatingSystem).unwrap();
        let messages = others.map(|other| agreement.message(other));
        // One common part, and one for each pair.
        assert_eq!(messages[0][..32], messages[1][..32]);
        secrets.extend([messages[0].to_vec(), messages[1][32..].to_vec()]);
    }
    assert_distinct(&secrets);
}

#[test]
fn nonces_and_keys_of_receivers_are_fresh() {
    let net = zoo::mlp(TWO);
    let load = begun(&net, 2);
    let header = Header::new(Kind::LoadGrant, load.scope(), 0);
    let grant = load.owner_grant();
    let nonces = [(); 2].map(|()| {
        let plan = Arc::clone(&net.plan);
        let loading = Loading::granted(plan, parties(2), &header, &grant, &mut OperatingSystem);
        loading.unwrap().nonce().body().to_vec()
    });
    let keys = [(); 2].map(|()| ReceiverKey::random(&mut OperatingSystem).unwrap().encode().to_vec());
    assert_distinct(&[nonces, keys].concat());
}

#[test]
fn a_word_for_another_plan_or_of_another_length_is_refused() {
    let (net, other) = (zoo::mlp(TWO), zoo::repeated(TWO));
    let session = direct::begin(parties(2), &mut Honest).unwrap();
    let load = HelperLoad::begin(Arc::clone(&net.plan), &session.helper, &mut OperatingSystem).unwrap();
    let (me, word) = (direct::party(parties(2), 1), net.plan.digest().unwrap().0);
    let (scope, of_party) = (load.scope(), &session.parties[0]);
    let mut ids = 1u64..;
    let mut begin = |plan: &Arc<Plan>, word: &[u8]| {
        let ctx = PartyContext::new(Arc::clone(plan), parties(2), me).unwrap();
        let keys = of_party.take(scope.epoch, &ctx.digest, InferenceId(ids.next().unwrap())).unwrap();
        PartyLoad::begin(ctx, keys, word).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(begin(&net.plan, &word), Ok(()));
    let error = begin(&other.plan, &word).unwrap_err();
    assert!(error.contains("grant: helper misbehaved") && error.contains("a load of plan"), "{error}");
    for wrong in [&word[..31], &[&word[..], &[0]].concat(), &[]] {
        let error = begin(&net.plan, wrong).unwrap_err();
        assert!(error.contains("helper misbehaved") && error.contains("expected 32"), "{error}");
    }
}

#[test]
fn seeds_of_a_mask_are_of_one_inference_and_no_partys() {
    let net = zoo::mlp(TWO);
    let loaded = direct::load(&net.plan, &net.layers(), parties(3), None).unwrap();
    let of_epoch = loaded.helper.danger_seeds().iter().map(|seed| seed.as_bytes().to_vec());
    let mut secrets: Vec<Vec<u8>> = of_epoch.collect();
    for _ in 0..3 {
        let keys = loaded.session.helper.next(loaded.helper.epoch(), loaded.helper.digest()).unwrap();
        let of_parties = keys.danger_seeds().iter().flat_map(|seed| *seed.as_bytes()).collect();
        let dealt = loaded.helper.deal(keys, 1, &mut direct::discard).unwrap();
        secrets.extend([of_parties, dealt.grant().encode()]);
    }
    assert_eq!(secrets.len(), 9);
    assert_distinct(&secrets);
}

/// An honest inference as the helper sees it: what it dealt, and the parties' messages.
fn inference(loaded: &Loaded, net: &Net) -> (Dealt, Vec<CheckMessage>) {
    let mut messages = Vec::new();
    let mut keep = |all: &mut Vec<CheckMessage>| {
        let copy = |m: &CheckMessage| CheckMessage {
            sums: m.sums.clone(),
            proofs: m.proofs.clone(),
            transcript: m.transcript,
            outputs: m.outputs.clone(),
        };
        messages = all.iter().map(copy).collect();
    };
    let outcome = direct::infer(loaded, &net.inputs(1, 1), 1, &[], &mut keep).unwrap();
    // Once more what was dealt.
    let again = loaded.danger_keys(&outcome);
    (loaded.helper.deal(again, 1, &mut direct::discard).unwrap(), messages)
}

#[test]
fn material_is_verified_in_its_own_epoch_only() {
    let net = zoo::mlp(TWO);
    let [old, new] = [(); 2].map(|()| direct::load(&net.plan, &net.layers(), parties(2), None).unwrap());
    let (dealt, messages) = inference(&old, &net);
    let error = new.helper.verify(dealt, &messages).unwrap_err();
    assert!(matches!(error, ProtocolError::Misuse(_)), "{error}");
}

/// A log in memory, of which a step may fail, and the order in which things happen.
#[derive(Default)]
struct Log<'a> {
    records: Vec<(Scope, Vec<u8>)>,
    events: Rc<RefCell<Vec<&'a str>>>,
    fails: Option<&'a str>,
}

impl<'a> Log<'a> {
    fn happens(&self, what: &'a str) -> Result<(), &'a str> {
        self.events.borrow_mut().push(what);
        self.fails.filter(|fails| *fails == what).map_or(Ok(()), Err)
    }
}

impl<'a> DecisionLog for Log<'a> {
    type Error = &'a str;

    fn accepted(&mut self, scope: Scope, release: &[u8]) -> Result<(), &'a str> {
        self.records.push((scope, release.to_vec()));
        self.happens("written")
    }

    fn synchronise(&mut self) -> Result<(), &'a str> {
        self.happens("synchronised")
    }
}

#[test]
fn a_decision_that_cannot_be_recorded_releases_nothing() {
    let net = zoo::mlp(TWO);
    let loaded = direct::load(&net.plan, &net.layers(), parties(2), None).unwrap();
    let accepted = || {
        let (dealt, messages) = inference(&loaded, &net);
        loaded.helper.verify(dealt, &messages).unwrap()
    };
    let mut full = Log { fails: Some("written"), ..Log::default() };
    let told = accepted().release(&mut full, |_| panic!("told what is not recorded"));
    assert_eq!(told.unwrap_err(), "written");
    // Recorded is all that a receiver needs, under the right ids.
    let mut log = Log::default();
    let messages = |release: &Release| [0, 1].map(|receiver| release.message(receiver).map(<[u8]>::to_vec));
    let (plan, told) = accepted().release(&mut log, |release| (*release.plan(), messages(release))).unwrap();
    let (scope, bytes) = log.records.pop().unwrap();
    assert_eq!((scope.session, scope.epoch), (loaded.session.helper.id(), loaded.helper.epoch()));
    assert_eq!(scope.id.0, 3, "the load was 1");
    let again = Release::from_log(&bytes).unwrap();
    assert_eq!((*again.plan(), plan), (*loaded.helper.digest(), *loaded.helper.digest()));
    assert_eq!(messages(&again), told);
    assert_eq!(told.map(|message| message.is_some()), [true, false]);
}

/// A power cut between two receivers' messages must leave a record of the second's.
#[test]
fn several_receivers_are_told_what_survives_a_power_cut() {
    let net = zoo::mlp(TWO);
    let loaded = direct::load(&net.plan, &net.layers(), parties(2), None).unwrap();
    for (receivers, order) in [
        // One receiver has all that a record would keep for it.
        (1, ["written", "told", "synchronised"]),
        (2, ["written", "synchronised", "told"]),
        (3, ["written", "synchronised", "told"]),
    ] {
        for fails in [None, Some("written"), Some("synchronised")] {
            let (dealt, mut messages) = inference(&loaded, &net);
            for message in &mut messages {
                message.outputs = vec![message.outputs[0]; receivers];
            }
            let accepted = loaded.helper.verify(dealt, &messages).unwrap();
            let mut log = Log { fails, ..Log::default() };
            let events = log.events.clone();
            let told = accepted.release(&mut log, |_| events.borrow_mut().push("told"));
            assert_eq!(told.err(), fails);
            let until = order.iter().position(|&event| Some(event) == fails).map_or(3, |at| at + 1);
            assert_eq!(*events.borrow(), order[..until], "{receivers} receivers, {fails:?} fails");
        }
    }
}

#[test]
fn further_receivers_are_told_no_seeds() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let user =
        |run: &mut Run, name: &str| User::connect(&mut run.cluster, run.parties, &Peer::Client(name.into()));
    let (mut alice, mut bob) = (user(&mut run, "2"), user(&mut run, "3"));
    let also = vec!["client 3".to_owned()];
    let plan = Arc::clone(&run.net.plan);
    let (pending, request) = PendingRequest::new(Arc::clone(&plan), run.parties, 1, also).unwrap();
    alice.send(&Peer::Helper, &request);
    let ticket = alice.expect(&Peer::Helper, &[Kind::Ticket]);
    let seeds = control::decode::<TicketGrant>(ticket.body()).unwrap().seeds.clone();
    // With them Bob, and one party, would know Alice's input.
    let invite = bob.expect(&Peer::Helper, &[Kind::Invite, Kind::Ticket]);
    assert_eq!((&invite.peer, invite.header.kind), (&Peer::Helper, Kind::Invite));
    let told = |bytes: &[u8]| seeds.chunks(32).any(|seed| bytes.windows(32).any(|w| w == seed));
    assert!(told(ticket.body()) && !told(invite.body()));
    let more = bob.heard(Duration::from_millis(300));
    assert!(more.is_none(), "{more:?} besides the invitation");
    // Both receive the output.
    let (awaiting_of_bob, key_of_bob) =
        Awaiting::invited(&plan, run.parties, &invite.header, invite.body(), &mut OperatingSystem).unwrap();
    let inputs = run.next_inputs();
    let (awaiting, [input, key]) =
        pending.granted(&ticket.header, ticket.body(), &mut OperatingSystem).unwrap().mask(&inputs).unwrap();
    for party in run.parties.all().map(Peer::Party) {
        alice.send_to(&party, &input);
        alice.send_to(&party, &key);
        bob.send_to(&party, &key_of_bob);
    }
    run.assert_right(&inputs, &alice.result(awaiting).unwrap());
    run.assert_right(&inputs, &bob.result(awaiting_of_bob).unwrap());
    run.finish();
}

#[test]
fn a_ticket_of_another_epoch_than_compared_is_refused() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start();
    run.client.fingerprint().unwrap();
    run.infer().unwrap();
    // Somebody loads other weights; the client would not know.
    let old = run.last.epoch;
    let new = run.load().unwrap();
    run.drain();
    let error = run.client.request(1, &[]).unwrap_err().to_string();
    let words = format!("loaded anew ({new} after {old}); compare its fingerprint again");
    assert!(error.contains(&words), "{error}");
    // The ticket it does not use goes stale; then it compares again.
    for events in run.cluster.party_events.iter().chain([&run.cluster.helper_events]) {
        while !matches!(events.recv_timeout(PATIENCE).unwrap(), Event::Failed { .. }) {}
    }
    run.client.fingerprint().unwrap();
    run.recovers();
    run.finish();
}
