//! A deployment for tests in one line: n parties (one of them possibly malicious), a helper, an
//! owner, a client.

use crate::PATIENCE;
use crate::deviation::{Deviation, Switch};
use crate::nets::Net;
use amicus_net::clock;
use amicus_net::shaper::Shape;
use amicus_node::client::ClientNode;
use amicus_node::conduct::Conduct;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_node::owner::OwnerNode;
use amicus_node::store::Place;
use amicus_node::{Ahead, Limits, NodeError, Peer};
use amicus_protocol::check::FAILURE_LIMIT;
use amicus_protocol::wire::Header;
use amicus_protocol::{EpochId, InferenceId, Parties, PartyId, ProtocolError, Scope};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tempfile::TempDir;

/// Relative distance from the simulator that rounding may cause in the test networks.
const ROUNDING: f64 = 0.05;
/// Attempts after an attack that cost links: they are dialled again in the background.
const ATTEMPTS: usize = 50;

/// Clients that can connect over TLS.
pub const CLIENTS: usize = 20;

/// What a deployment consists of.
pub struct Setup {
    net: Net,
    parties: Parties,
    batch: u32,
    wiring: Wiring,
    limits: Limits,
    malicious: Option<(PartyId, Deviation)>,
    conduct: Option<(PartyId, Box<dyn Conduct>)>,
    stop_after_decision: bool,
    kept: usize,
    lanes: Option<usize>,
    failure_limit: u32,
    from_the_start: bool,
    record: bool,
    threads: usize,
}

impl Setup {
    /// Honest parties in memory, with deadlines that nobody meets by accident.
    ///
    /// # Panics
    /// When there are not 2 to 8 parties.
    pub fn new(net: Net, parties: usize) -> Self {
        let patient = Duration::from_secs(30);
        Setup {
            net,
            parties: Parties::new(parties).expect("2 to 8 parties"),
            batch: 1,
            wiring: Wiring::Memory,
            limits: Limits { round: patient, inference: patient, load: patient },
            malicious: None,
            conduct: None,
            stop_after_decision: false,
            kept: 1,
            lanes: None,
            failure_limit: FAILURE_LIMIT,
            from_the_start: false,
            record: false,
            threads: 1,
        }
    }

    /// Inputs in every inference.
    pub fn batch(self, batch: u32) -> Self {
        Setup { batch, ..self }
    }

    /// Mutual TLS over loopback instead of queues in memory.
    pub fn tls(self) -> Self {
        Setup { wiring: Wiring::Tls, ..self }
    }

    /// TLS over lines of a shape.
    pub fn shaped(self, shape: Shape) -> Self {
        Setup { wiring: Wiring::Shaped(shape), ..self }
    }

    /// Deadlines that a test can wait for, where parties fall silent.
    ///
    /// Seconds where an honest round takes less than a millisecond: on a busy machine a thread may
    /// get no core for a long time, and a deadline that comes too early blames somebody else. Tests
    /// that wait use no core meanwhile.
    pub fn impatient(self) -> Self {
        let long = Duration::from_secs(20);
        Setup { limits: Limits { round: Duration::from_secs(5), inference: long, load: long }, ..self }
    }

    /// These deadlines.
    pub fn limits(self, limits: Limits) -> Self {
        Setup { limits, ..self }
    }

    /// How long nodes wait for each other in a load.
    pub fn patience(&self) -> Duration {
        self.limits.load
    }

    /// Deadlines so short that an honest party may miss one on a busy machine, for many attacks in
    /// a row where it does not matter who is blamed.
    pub fn hasty(self) -> Self {
        let long = Duration::from_secs(3);
        Setup { limits: Limits { round: Duration::from_millis(700), inference: long, load: long }, ..self }
    }

    /// A party, counted from 1, deviates when the run's switch is on.
    ///
    /// # Panics
    /// When there is no such party.
    pub fn deviating(self, party: usize, deviation: Deviation) -> Self {
        let party = self.parties.party(party).expect("a party of this run");
        Setup { malicious: Some((party, deviation)), ..self }
    }

    /// The last party deviates when the run's switch is on.
    pub fn last_deviating(self, deviation: Deviation) -> Self {
        let last = self.parties.count();
        self.deviating(last, deviation)
    }

    /// A party, counted from 1, behaves in a way of the test's own.
    ///
    /// # Panics
    /// When there is no such party.
    pub fn conduct(self, party: usize, conduct: Box<dyn Conduct>) -> Self {
        let party = self.parties.party(party).expect("a party of this run");
        Setup { conduct: Some((party, conduct)), ..self }
    }

    /// The deviation is on when the nodes start: it meets how they begin their session.
    pub fn from_the_start(self) -> Self {
        Setup { from_the_start: true, ..self }
    }

    /// The helper dies after it recorded its first decision.
    pub fn helper_dies(self) -> Self {
        Setup { stop_after_decision: true, ..self }
    }

    /// Links in memory are recorded, see [`Run::frames`].
    pub fn recorded(self) -> Self {
        Setup { record: true, ..self }
    }

    /// Material is kept for so many inferences, the one in flight counted.
    pub fn keeping(self, kept: usize) -> Self {
        Setup { kept, ..self }
    }

    /// So many inferences may be in flight at a time.
    pub fn lanes(self, lanes: usize) -> Self {
        Setup { lanes: Some(lanes), ..self }
    }

    /// Helper and parties have so many threads for the arithmetic of each of theirs.
    pub fn threads(self, threads: usize) -> Self {
        Setup { threads, ..self }
    }

    /// The helper retires a model after so many failed checks.
    pub fn failure_limit(self, failure_limit: u32) -> Self {
        Setup { failure_limit, ..self }
    }

    /// Whether links are queues in memory, which nobody re-establishes.
    pub fn is_in_memory(&self) -> bool {
        self.wiring == Wiring::Memory
    }

    /// Starts the nodes and connects owner and client; nothing is loaded yet.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start_unloaded(self) -> Run {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = LocalConfig::new(Arc::clone(&self.net.plan), self.parties, folder.path().to_owned());
        config.clients = (1..=CLIENTS).map(|number| number.to_string()).collect();
        config.wiring = self.wiring;
        config.limits = self.limits;
        config.cores = Vec::new();
        config.model.ahead = Ahead::new(self.batch, self.kept);
        config.model.lanes = self.lanes.unwrap_or(config.model.lanes);
        config.failure_limit = self.failure_limit;
        config.threads = self.threads;
        config.danger_helper.stop_after_decision = self.stop_after_decision;
        config.danger_record = self.record;
        let switch = Switch::default();
        switch.set(self.from_the_start);
        let deviates = |(party, deviation): (PartyId, Deviation)| {
            (party, deviation.conduct(self.net.plan.limbs, switch.clone()))
        };
        config.conduct = self.malicious.map(deviates).or(self.conduct);
        let malicious = config.conduct.as_ref().map(|(party, _)| *party);
        let mut cluster = LocalCluster::start(config).expect("nodes that start");
        let owner = cluster.owner().expect("a connected owner");
        let client = cluster.client("1").expect("a connected client");
        Run {
            net: self.net,
            batch: self.batch,
            memory: self.wiring == Wiring::Memory,
            parties: self.parties,
            malicious,
            switch,
            cluster,
            owner,
            client,
            folder,
            last: Scope::NONE,
            salt: 0,
        }
    }

    /// Starts the nodes and loads the model.
    ///
    /// # Panics
    /// When that fails.
    pub fn start(self) -> Run {
        let mut run = self.start_unloaded();
        run.load().expect("an honest load");
        run
    }
}

/// A running deployment.
pub struct Run {
    /// The network.
    pub net: Net,
    /// Inputs in every inference.
    pub batch: u32,
    memory: bool,
    /// The parties.
    pub parties: Parties,
    malicious: Option<PartyId>,
    /// Turns the deviation on and off.
    pub switch: Switch,
    /// The nodes.
    pub cluster: LocalCluster,
    /// The model owner.
    pub owner: OwnerNode,
    /// A client.
    pub client: ClientNode,
    folder: TempDir,
    /// The last inference that a ticket was given for.
    pub last: Scope,
    salt: u64,
}

/// How one inference ended, as everybody saw it.
#[derive(Debug)]
pub struct Ending {
    /// The inference.
    pub id: InferenceId,
    /// What the client got.
    pub client: Result<Vec<f64>, NodeError>,
    /// What the helper reported.
    pub helper: Result<(), NodeError>,
    /// What every honest party reported.
    pub honest: Vec<(PartyId, Result<(), NodeError>)>,
}

impl Run {
    /// Loads the model.
    ///
    /// # Errors
    /// What the owner is told.
    pub fn load(&mut self) -> Result<EpochId, NodeError> {
        Ok(self.owner.load(self.net.layers().as_slice())?.epoch)
    }

    /// One inference; a result is held against the simulator.
    ///
    /// # Errors
    /// What the client is told.
    ///
    /// # Panics
    /// When a result is wrong.
    pub fn infer(&mut self) -> Result<InferenceId, NodeError> {
        let inputs = self.next_inputs();
        let admission = self.client.request(self.batch, &[])?;
        self.last = admission.scope();
        let id = self.last.id;
        let result = self.client.infer(admission, &inputs)?;
        self.assert_right(&inputs, &result.logits);
        Ok(id)
    }

    /// The folder with those of all nodes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of a node.
    pub fn folder_of(&self, node: &Peer) -> PathBuf {
        Place::local(self.folder.path(), self.parties, node).folder
    }

    /// Helper and parties.
    pub fn nodes(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).chain([Peer::Helper]).collect()
    }

    /// Starts nodes with their folders, after all of them stopped, and connects the client to them.
    ///
    /// # Panics
    /// When they do not start.
    pub fn restart(&mut self, nodes: &[Peer]) {
        nodes.iter().for_each(|node| self.cluster.stop_node(node));
        nodes.iter().for_each(|node| self.cluster.start_node(node).expect("a node that starts"));
        if self.memory {
            // Over TLS it dials again by itself.
            let client = Peer::Client("1".into());
            self.cluster.connect_user(&client, self.client.inboxes()).expect("links");
        }
    }

    /// The messages that went over the links, when they are recorded: sender, recipient, header, body.
    pub fn frames(&self) -> Vec<(Peer, Peer, Header, Vec<u8>)> {
        let frames = self.cluster.danger_frames().into_iter();
        let decoded = frames.filter_map(|(from, to, bytes)| {
            let (header, body) = Header::decode(&bytes).ok()?;
            Some((from, to, header, body.to_vec()))
        });
        decoded.collect()
    }

    /// Inputs that were not used before.
    pub fn next_inputs(&mut self) -> Vec<i64> {
        self.salt += 1;
        self.net.inputs(self.batch as usize, self.salt)
    }

    /// Holds a result against the simulator.
    ///
    /// # Panics
    /// When it is wrong.
    pub fn assert_right(&self, inputs: &[i64], logits: &[f64]) {
        let error = self.net.error_of(inputs, logits);
        assert!(error < ROUNDING, "{}: {error} from the simulator", self.net.plan.name);
    }

    /// One inference with the switch on, and how everybody saw it end. The deviation must have been
    /// played.
    ///
    /// # Panics
    /// When a node says nothing of it, or a result is wrong.
    pub fn attack(&mut self) -> Ending {
        let inputs = self.next_inputs();
        self.drain();
        let admission = self.client.request(self.batch, &[]).expect("a ticket");
        self.last = admission.scope();
        let id = self.last.id;
        let before = self.switch.played();
        self.switch.set(true);
        let client = self.client.infer(admission, &inputs).map(|result| result.logits);
        let ending = self.ending(id, client);
        // The party that cheats may still be about to, when everybody else is done without it.
        let until = clock::now() + PATIENCE;
        while self.switch.played() == before {
            assert!(clock::now() < until, "the deviation was never played: {ending:?}");
            clock::sleep(Duration::from_millis(1));
        }
        self.switch.set(false);
        if let Ok(logits) = &ending.client {
            self.assert_right(&inputs, logits);
        }
        ending
    }

    /// Waits until helper and honest parties have reported the end of an inference.
    ///
    /// # Panics
    /// When one does not.
    pub fn ending(&self, id: InferenceId, client: Result<Vec<f64>, NodeError>) -> Ending {
        let helper = outcome(&self.cluster.helper_events, id).expect("the helper's report");
        let honest = self.parties.all().filter(|p| Some(*p) != self.malicious);
        let honest = honest.map(|p| {
            let events = &self.cluster.party_events[p.index()];
            (p, outcome(events, id).unwrap_or_else(|| panic!("no report of {p}")))
        });
        Ending { id, honest: honest.collect(), helper, client }
    }

    /// Forgets the events so far.
    pub fn drain(&self) {
        self.cluster.helper_events.try_iter().for_each(drop);
        self.cluster.party_events.iter().for_each(|events| events.try_iter().for_each(drop));
    }

    /// A load with the switch on.
    ///
    /// # Panics
    /// When it succeeds, or the deviation was not played.
    pub fn attack_load(&mut self) -> NodeError {
        self.switch.set(true);
        let error = self.load().expect_err("a load with a deviation");
        self.switch.set(false);
        assert!(self.switch.played() > 0, "the deviation was never played: {error}");
        error
    }

    /// All nodes are alive: the next inference on the same nodes, with the switch off, gives the
    /// right answer.
    ///
    /// # Panics
    /// When it does not.
    pub fn recovers(&mut self) -> InferenceId {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.infer() {
                Ok(id) => return id,
                // Only links that are being dialled again are a reason to try again.
                Err(NodeError::Protocol(ProtocolError::Rejected { .. })) => break,
                Err(error) => last = Some(error),
            }
            clock::sleep(Duration::from_millis(100));
        }
        panic!("no inference works any more: {last:?}");
    }

    /// Stops all nodes.
    pub fn finish(self) {
        self.cluster.stop();
    }
}

impl Ending {
    /// The check failed at the helper: nothing was released, everybody knows, and nobody is
    /// accused.
    ///
    /// # Panics
    /// When it ended in another way.
    pub fn rejected(self) -> Self {
        let all = self.honest.iter().map(|(party, result)| (party.to_string(), result));
        for (who, result) in all.chain([("helper".to_owned(), &self.helper)]) {
            let error = result.as_ref().expect_err(&who);
            assert!(error.is_rejection(), "{who}: {error}");
        }
        let error = self.client.as_ref().expect_err("the client got a result");
        assert!(error.is_rejection(), "client: {error}");
        assert!(error.to_string().contains("check"), "{error}");
        self
    }

    /// It was given up before the check: nothing was released, and everybody's error contains these
    /// words (the step, the peer, what it did).
    ///
    /// # Panics
    /// When it ended in another way.
    pub fn given_up(self, words: &[&str]) -> Self {
        let all = self.honest.iter().map(|(party, result)| (party.to_string(), result));
        for (who, result) in all.chain([("helper".to_owned(), &self.helper)]) {
            assert_says(&who, result.as_ref().expect_err(&who), words);
        }
        assert_says("client", self.client.as_ref().expect_err("the client got a result"), words);
        self
    }

    /// Accepted, and the client has the right result.
    ///
    /// # Panics
    /// When it ended in another way.
    pub fn accepted(self) -> Self {
        assert!(self.helper.is_ok() && self.client.is_ok(), "{self:?}");
        self
    }
}

/// An error contains all these words and is no rejection.
///
/// # Panics
/// When one is missing.
pub fn assert_says(who: &str, error: &NodeError, words: &[&str]) {
    let text = error.to_string();
    assert!(!error.is_rejection(), "{who}: {text}");
    for word in words {
        assert!(text.contains(word), "{who} says {text:?}, without {word:?}");
    }
}

/// How a node reported the end of an inference.
fn outcome(events: &Receiver<Event>, inference: InferenceId) -> Option<Result<(), NodeError>> {
    let deadline = clock::now() + PATIENCE;
    loop {
        match clock::receive(events, deadline).ok()? {
            Event::Finished { id, .. } if id == inference => return Some(Ok(())),
            Event::Failed { id, error } if id == inference => return Some(Err(error)),
            Event::Fatal { error } => panic!("a node died: {error}"),
            _ => {}
        }
    }
}

/// A party as a peer.
///
/// # Panics
/// When there is no such party.
pub fn party(parties: Parties, number: usize) -> Peer {
    Peer::Party(parties.party(number).expect("a party of this run"))
}
