//! Several models a cluster: each is loaded, dealt for and used on its own, and what happens to one
//! is none of the others' affair.

use amicus_client::inference::{Admission, PendingRequest};
use amicus_client::load::Loading;
use amicus_client::{ToParties, load};
use amicus_field::{Element, Limbs, OperatingSystem};
use amicus_net::clock::{self, world::World};
use amicus_node::client::ClientNode;
use amicus_node::conduct::Conduct;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_node::store::Place;
use amicus_node::{Ahead, Limits, NodeError, Peer, Served};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Parties};
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::{Deviation, Switch};
use amicus_testkit::nets::Net;
use amicus_testkit::run::assert_says;
use amicus_testkit::user::{User, notice};
use amicus_testkit::zoo;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TWO: Limbs = Limbs::TWO;
/// Longer than an inference in memory takes, also on a busy machine; shorter than any deadline.
const SOON: Duration = Duration::from_secs(1);

/// Networks that differ in shape and in the length of their messages.
fn two() -> [Net; 2] {
    [zoo::mlp(TWO), zoo::conv_net(TWO)]
}

struct Models {
    nets: [Net; 2],
    parties: Parties,
    cluster: LocalCluster,
    clients: Vec<ClientNode>,
    salt: u64,
    folder: TempDir,
    /// Turns the deviation of the last party on and off, where it has one.
    switch: Switch,
}

impl Models {
    /// A cluster that serves both, with a client each; nothing is loaded.
    fn start(wiring: Wiring, parties: usize, kept: usize) -> Self {
        Self::with(wiring, parties, kept, |_, _| ())
    }

    fn with(
        wiring: Wiring,
        parties: usize,
        kept: usize,
        more: impl FnOnce(&mut LocalConfig, &Switch),
    ) -> Self {
        let (nets, parties) = (two(), Parties::new(parties).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let mut config = LocalConfig::new(Arc::clone(&nets[0].plan), parties, folder.path().to_owned());
        config.model.ahead = Ahead::new(1, kept);
        let other = Served::new(Arc::clone(&nets[1].plan));
        config.others = vec![Served { max_batch: 4, ahead: Ahead::new(1, kept), ..other }];
        config.clients = (1..=4).map(|number| number.to_string()).collect();
        config.wiring = wiring;
        config.limits = Limits { round: PATIENCE, inference: PATIENCE, load: PATIENCE };
        let switch = Switch::default();
        more(&mut config, &switch);
        let mut cluster = LocalCluster::start(config).unwrap();
        let clients = [0, 1].map(|m| cluster.client_of(m, &(m + 1).to_string()).unwrap()).into();
        Models { nets, parties, cluster, clients, salt: 0, folder, switch }
    }

    /// Waits until the helper has reported something.
    fn helper_reports(&self, is: impl Fn(&Event) -> bool) {
        let until = clock::now() + PATIENCE;
        while !is(&clock::receive(&self.cluster.helper_events, until).expect("an event")) {}
    }

    /// Whether the helper has begun another session since somebody looked at its events.
    fn session_began(&self) -> bool {
        self.cluster.helper_events.try_iter().any(|event| matches!(event, Event::SessionOpened { .. }))
    }

    /// Whether a load has failed since somebody looked at the helper's events.
    fn load_failed(&self) -> bool {
        self.cluster.helper_events.try_iter().any(|event| matches!(event, Event::LoadFailed { .. }))
    }

    fn nodes(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).chain([Peer::Helper]).collect()
    }

    /// Sealed epochs in a node's folder.
    fn sealed(&self, node: &Peer) -> usize {
        let folder = Place::local(self.folder.path(), self.parties, node).folder.join("epochs");
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Stops these nodes all at once and starts them again, with clients that come anew.
    fn restart(&mut self, nodes: &[Peer]) {
        nodes.iter().for_each(|node| self.cluster.stop_node(node));
        nodes.iter().for_each(|node| self.cluster.start_node(node).unwrap());
        let client = |model: usize| self.cluster.client_of(model, &(model + 1).to_string()).unwrap();
        self.clients = [0, 1].map(client).into();
    }

    /// An inference of a model, as soon as the nodes have it again; they may still be dialling.
    fn infer_again(&mut self, model: usize) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.infer(model, 1) {
            assert!(Instant::now() < until, "model {model} is not served: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// An inference of a model that is in flight: its client has a ticket and has sent nothing.
    fn in_flight(&mut self, model: usize, client: &str) -> (User, Admission) {
        self.in_flight_of(model, client, 1)
    }

    /// One of several inputs.
    fn in_flight_of(&mut self, model: usize, client: &str, batch: u32) -> (User, Admission) {
        let mut user = User::connect(&mut self.cluster, self.parties, &Peer::Client(client.into()));
        let admission = user.ticket(&self.nets[model].plan, self.parties, batch, &[]);
        (user, admission)
    }

    /// Waits until material for so many inferences is ready.
    fn dealt(&self, most: usize) {
        self.helper_reports(|event| matches!(event, Event::Dealt { ready, .. } if *ready == most));
    }

    /// Sends the input of an inference in flight, and holds its result against the simulator.
    fn ends_well(&mut self, model: usize, (mut user, admission): (User, Admission)) {
        self.salt += 1;
        let net = &self.nets[model];
        let inputs = net.inputs(1, self.salt);
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        for party in self.parties.all().map(Peer::Party) {
            messages.iter().for_each(|message| user.send_to(&party, message));
        }
        let error = net.error_of(&inputs, &user.result(awaiting).unwrap());
        assert!(error < 0.05, "{}: {error} from the simulator", net.plan.name);
    }

    fn load(&mut self, model: usize) -> EpochId {
        let mut owner = self.cluster.owner_of(model).unwrap();
        owner.load(self.nets[model].layers().as_slice()).unwrap().epoch
    }

    /// An inference of a model, held against the simulator.
    fn infer(&mut self, model: usize, batch: u32) -> Result<(), NodeError> {
        self.salt += 1;
        infer(&self.nets[model], &mut self.clients[model], batch, self.salt)
    }
}

fn infer(net: &Net, client: &mut ClientNode, batch: u32, salt: u64) -> Result<(), NodeError> {
    let inputs = net.inputs(batch as usize, salt);
    let admission = client.request(batch, &[])?;
    let result = client.infer(admission, &inputs)?;
    let error = net.error_of(&inputs, &result.logits);
    assert!(error < 0.05, "{}: {error} from the simulator", net.plan.name);
    Ok(())
}

#[test]
fn two_models_are_served_alternately() {
    for (wiring, parties, kept) in [(Wiring::Memory, 2, 1), (Wiring::Tls, 3, 4)] {
        let mut run = Models::start(wiring, parties, kept);
        let epochs = [run.load(0), run.load(1)];
        assert_ne!(epochs[0], epochs[1]);
        let fingerprints = [0, 1].map(|model| run.clients[model].fingerprint().unwrap());
        assert_ne!(fingerprints[0], fingerprints[1]);
        for (turn, batch) in [1, 1, 2, 1, 4, 1].into_iter().enumerate() {
            run.infer(turn % 2, batch).unwrap();
            run.infer((turn + 1) % 2, 1).unwrap();
        }
        run.cluster.stop();
    }
}

#[test]
fn two_models_are_served_at_once() {
    let mut run = Models::start(Wiring::Memory, 2, 4);
    run.load(0);
    run.load(1);
    let (nets, clients) = (&run.nets, &mut run.clients);
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .zip(nets)
            .map(|(client, net)| scope.spawn(move || (0..8).try_for_each(|salt| infer(net, client, 1, salt))))
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
    run.cluster.stop();
}

#[test]
fn a_model_is_used_while_another_is_loaded_and_loaded_anew() {
    let _world = World::enter(1);
    let mut run = Models::start(Wiring::Memory, 2, 2);
    run.load(0);
    run.infer(0, 1).unwrap();
    // The owner of the other has its grant and says no more: its load waits.
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&run.nets[1].plan).unwrap());
    let parties: Vec<Peer> = run.parties.all().map(Peer::Party).collect();
    for party in &parties {
        owner.expect(party, &[Kind::LoadReady]);
    }
    for batch in [1, 3] {
        run.infer(0, batch).unwrap();
    }
    assert!(!run.load_failed(), "inferences waited for the end of a load");
    // Who is owner now asks anew.
    drop(owner);
    let first = run.load(1);
    run.infer(1, 1).unwrap();
    assert!(run.load_failed(), "the load that its owner left");
    // One that is loaded anew is served by the epoch before, until the new one is accepted.
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&run.nets[1].plan).unwrap());
    for party in &parties {
        owner.expect(party, &[Kind::LoadReady]);
    }
    run.infer(1, 1).unwrap();
    let flight = run.in_flight(1, "3");
    assert!(!run.load_failed(), "inferences waited for the end of a load");
    drop(owner);
    let second = run.load(1);
    assert_ne!(first, second);
    assert_eq!(flight.1.scope().epoch, first);
    run.ends_well(1, flight);
    for model in [0, 1, 0, 1] {
        run.infer(model, 1).unwrap();
    }
    run.cluster.stop();
}

#[test]
fn restarted_nodes_serve_both_models_without_their_owners() {
    for (wiring, parties) in [(Wiring::Memory, 2), (Wiring::Tls, 3)] {
        let mut run = Models::start(wiring, parties, 2);
        run.load(0);
        run.load(1);
        let fingerprints = [0, 1].map(|model| run.clients[model].fingerprint().unwrap());
        let nodes = run.nodes();
        let each = nodes.iter().map(|node| vec![node.clone()]);
        for victims in each.chain([nodes.clone()]).collect::<Vec<_>>() {
            run.restart(&victims);
            for model in [0, 1, 0, 1] {
                run.infer_again(model);
            }
            assert_eq!([0, 1].map(|model| run.clients[model].fingerprint().unwrap()), fingerprints);
        }
        // A new one of one model replaces that model's only.
        run.load(1);
        run.restart(&nodes);
        [0, 1].into_iter().for_each(|model| run.infer_again(model));
        let now = [0, 1].map(|model| run.clients[model].fingerprint().unwrap());
        assert!(now[0] == fingerprints[0] && now[1] != fingerprints[1]);
        assert!(nodes.iter().all(|node| run.sealed(node) == 2));
        run.cluster.stop();
    }
}

/// Failed checks are counted for each model, and one that is retired takes nothing of others with
/// it: neither what is in flight, nor material, nor the session.
#[test]
fn a_model_that_is_retired_leaves_the_other_alone() {
    let mut run = Models::with(Wiring::Memory, 2, 2, |config, switch| {
        let deviation = Deviation::Sigma(vec![(0, Element::one(TWO))]);
        config.conduct = Some((config.parties.last(), deviation.conduct(TWO, switch.clone())));
        config.failure_limit = 2;
    });
    let epochs = [run.load(0), run.load(1)];
    let flight = run.in_flight(1, "3");
    run.session_began();
    for model in [1, 0, 0] {
        run.switch.set(true);
        let error = run.infer(model, 1).unwrap_err();
        assert!(error.is_rejection(), "{error}");
        run.switch.set(false);
    }
    let error = run.clients[0].request(1, &[]).unwrap_err().to_string();
    assert!(error.contains("the epoch is retired after 2 failed checks"), "{error}");
    assert!(!run.session_began(), "a session ended because a model was retired");
    // All nodes have heard of it, and erased it.
    for events in &run.cluster.party_events {
        let retired = |e: &Event| matches!(e, Event::Retired { epoch } if *epoch == epochs[0]);
        while !retired(&events.recv_timeout(PATIENCE).expect("an event")) {}
    }
    assert!(run.nodes().iter().all(|node| run.sealed(node) == 1));
    run.ends_well(1, flight);
    for _ in 0..3 {
        run.infer(1, 1).unwrap();
    }
    // Loaded anew, it counts from nothing; the other's one failure counts across restarts.
    run.load(0);
    run.restart(&run.nodes());
    [0, 1].into_iter().for_each(|model| run.infer_again(model));
    run.cluster.stop();
}

/// Whatever a load comes to, inferences of other models that are in flight go on.
#[test]
fn a_load_that_fails_leaves_inferences_in_flight_alone() {
    // An owner that leaves may come back: parties wait a while for it.
    let _world = World::enter(1);
    let mut run = Models::start(Wiring::Memory, 2, 2);
    run.load(0);
    let parties: Vec<Peer> = run.parties.all().map(Peer::Party).collect();
    for leaves in [true, false] {
        let flight = run.in_flight(0, "3");
        run.session_began();
        let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
        owner.send(&Peer::Helper, &load::request(&run.nets[1].plan).unwrap());
        let grant = owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
        let (plan, header) = (Arc::clone(&run.nets[1].plan), &grant.header);
        let loading =
            Loading::granted(plan, run.parties, header, grant.body(), &mut OperatingSystem).unwrap();
        parties.iter().for_each(|party| drop(owner.expect(party, &[Kind::LoadReady])));
        if leaves {
            drop(owner);
        } else {
            // Weights that are none.
            let header = Header::new(Kind::Weights, loading.scope(), 0);
            let weights = ToParties::new(header, vec![0xff; 5], loading.authentication());
            owner.send_to(&parties[0], &weights);
        }
        run.helper_reports(|event| matches!(event, Event::LoadFailed { .. }));
        run.ends_well(0, flight);
        run.infer(0, 1).unwrap();
        assert!(!run.session_began(), "a session ended because a load failed");
    }
    run.load(1);
    [0, 1].into_iter().for_each(|model| run.infer(model, 1).unwrap());
    run.cluster.stop();
}

/// A party whose work on whole models says when it begins, and waits until it may go on.
struct Slow {
    begun: Sender<()>,
    go: Arc<Mutex<Receiver<()>>>,
}

impl Conduct for Slow {
    fn aside(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        let (begun, go) = (self.begun.clone(), Arc::clone(&self.go));
        Some(Box::new(move || {
            // Nobody says more once the test has ended.
            begun.send(()).ok();
            go.lock().unwrap().recv().ok();
        }))
    }
}

/// However long a party computes with a model, writes it to disk or erases the one before.
#[test]
fn work_on_a_model_that_is_loaded_keeps_no_inference_waiting() {
    let ((begun, begins), (go, goes)) = (channel(), channel());
    let slow = Box::new(Slow { begun, go: Arc::new(Mutex::new(goes)) });
    let mut run = Models::with(Wiring::Memory, 2, 2, |config, _| {
        config.conduct = Some((config.parties.last(), slow));
    });
    let begins = || begins.recv_timeout(PATIENCE).expect("work that begins");
    // Tags, and an answer with the epoch written to disk; twice.
    (0..4).for_each(|_| go.send(()).unwrap());
    run.load(0);
    run.load(1);
    (0..4).for_each(|_| begins());
    let mut owner = run.cluster.owner_of(1).unwrap();
    let weights = run.nets[1].layers();
    let loads = std::thread::spawn(move || owner.load(weights.as_slice()).map(|loaded| loaded.epoch));
    // At last the epoch before is erased.
    for _ in 0..3 {
        begins();
        for model in [0, 1] {
            run.infer(model, 1).unwrap();
        }
        go.send(()).unwrap();
    }
    loads.join().unwrap().unwrap();
    [0, 1].into_iter().for_each(|model| run.infer(model, 1).unwrap());
    run.cluster.stop();
}

/// However long the helper computes what it deals for a load.
#[test]
fn work_of_the_helper_on_a_load_keeps_no_inference_waiting() {
    let ((begun, begins), (go, goes)) = (channel(), channel());
    let (begun, goes) = (Mutex::new(begun), Mutex::new(goes));
    let mut run = Models::with(Wiring::Memory, 2, 2, |config, _| {
        config.danger_helper.aside = Some(Arc::new(move || {
            // Nobody says more once the test has ended.
            begun.lock().unwrap().send(()).ok();
            goes.lock().unwrap().recv().ok();
        }));
    });
    let begins = || begins.recv_timeout(PATIENCE).expect("work that begins");
    go.send(()).unwrap();
    run.load(0);
    begins();
    // A model that is loaded for the first time, and one that is loaded anew.
    for model in [1, 0] {
        let (mut owner, weights) = (run.cluster.owner_of(model).unwrap(), run.nets[model].layers());
        let loads = std::thread::spawn(move || owner.load(weights.as_slice()).map(drop));
        begins();
        for batch in [1, 3, 1] {
            run.infer(0, batch).unwrap();
        }
        go.send(()).unwrap();
        loads.join().unwrap().unwrap();
        [0, 1].into_iter().for_each(|model| run.infer(model, 1).unwrap());
    }
    run.cluster.stop();
}

#[test]
fn a_model_that_is_not_loaded_is_waited_for_and_others_are_not_held_up() {
    let mut run = Models::start(Wiring::Memory, 2, 1);
    run.load(0);
    let mut early = User::connect(&mut run.cluster, run.parties, &Peer::Client("3".into()));
    let (_, request) =
        PendingRequest::new(Arc::clone(&run.nets[1].plan), run.parties, 1, Vec::new()).unwrap();
    early.send(&Peer::Helper, &request);
    for _ in 0..3 {
        run.infer(0, 1).unwrap();
    }
    assert!(early.heard(SOON).is_none(), "an answer about a model that nobody has loaded");
    run.load(1);
    early.expect(&Peer::Helper, &[Kind::Ticket]);
    run.infer(1, 1).unwrap();
    run.cluster.stop();
}

/// Sizes that were asked for more than once have material ready too, for each model, with nobody
/// waiting.
#[test]
fn material_of_sizes_that_were_asked_for_is_kept_ready_for_each_model() {
    let mut run = Models::with(Wiring::Memory, 2, 1, |config, _| config.others[0].max_batch = 64);
    let epochs = [run.load(0), run.load(1)];
    // What is dealt ahead for each model.
    let mut most = 2;
    for (model, batch) in [(0, 3), (1, 2)] {
        run.dealt(most);
        (0..2).for_each(|_| run.infer(model, batch).unwrap());
        most += 4;
    }
    run.dealt(most);
    let dealt = |event: Event| matches!(event, Event::Dealt { .. });
    std::thread::sleep(SOON);
    assert!(!run.cluster.helper_events.try_iter().any(dealt), "beyond the marks");
    // The next of these sizes waits for nothing, and while it is in flight half is enough.
    let flights = [(0, 3), (1, 2)].map(|(model, batch)| run.in_flight_of(model, ["3", "4"][model], batch));
    assert_eq!([0, 1].map(|model: usize| flights[model].1.scope().epoch), epochs);
    assert!(!run.cluster.helper_events.try_iter().any(dealt), "material that a request waited for");
    run.cluster.stop();
}

#[test]
fn a_batch_that_one_model_takes_is_refused_for_another() {
    let mut run = Models::start(Wiring::Memory, 2, 1);
    run.load(0);
    run.load(1);
    let error = run.clients[1].request(5, &[]).unwrap_err();
    assert_says("client", &error, &["a batch of 5; 1 to 4"]);
    run.infer(0, 5).unwrap();
    run.infer(1, 4).unwrap();
    run.cluster.stop();
}

#[test]
fn material_that_waited_through_many_inferences_of_another_model_is_not_bound() {
    let _world = World::enter(1);
    // Parties forget single ids after about a thousand: what is older is refused by them.
    let mut run = Models::start(Wiring::Memory, 2, 1);
    run.load(0);
    run.load(1);
    // Each takes an id of the session, as do what is dealt ahead.
    for _ in 0..1100 {
        run.infer(0, 1).unwrap();
    }
    run.infer(1, 1).unwrap();
    run.infer(0, 1).unwrap();
    run.cluster.stop();
}

#[test]
fn an_answer_says_which_plan_is_not_served() {
    let mut run = Models::start(Wiring::Memory, 2, 1);
    run.load(0);
    let other = zoo::repeated(TWO).plan;
    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&other).unwrap());
    let refused = notice(&owner.expect(&Peer::Helper, &[Kind::Abort]));
    assert_says("owner", &refused, &["model load, request", "not served"]);
    run.infer(0, 1).unwrap();
    let fatal = run.cluster.helper_events.try_iter().any(|event| matches!(event, Event::Fatal { .. }));
    assert!(!fatal);
    run.cluster.stop();
}
