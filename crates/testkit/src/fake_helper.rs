//! A helper that follows no rule but the test's: it can deal and bind an id twice, and begin a load
//! twice.
//!
//! It stands alone with two real parties, plays owner and client too, and talks to them over links
//! in memory. Time is virtual.

use crate::PATIENCE;
use crate::deviation::{Deviation, Switch};
use crate::nets::Net;
use crate::user::User;
use amicus_client::fingerprint::Fingerprints;
use amicus_client::load::Loading;
use amicus_client::{Message, ToParties};
use amicus_field::OperatingSystem;
use amicus_net::Link;
use amicus_net::clock::{self, world::World};
use amicus_node::conduct::Conduct;
use amicus_node::connect::Arrival;
use amicus_node::event::{Event, Reporter};
use amicus_node::inbox::Received;
use amicus_node::limits::MAX_LANES;
use amicus_node::party::{PartyConfig, PartyNode};
use amicus_node::store::Place;
use amicus_node::{Ahead, Limits, Peer, Served};
use amicus_plan::{OpIndex, WeightId};
use amicus_protocol::authentic::FIRST_RECIPIENT;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::control::{self, Binding, Channel, OfferedEpoch, SessionAnswer};
use amicus_protocol::epoch::{HelperEpoch, HelperLoad};
use amicus_protocol::input::Ticket;
use amicus_protocol::output::{Receiver as OutputReceiver, Release};
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::session::{Confirmed, HelperSession, SessionStart, Standing};
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{EpochId, InferenceId, Parties, PartyId, ProtocolError, Scope};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

const MAX_BATCH: u32 = 4;
const LANES: usize = 63;
/// Inputs for which a party holds material: in flight, ahead, and of four more of the largest batch.
pub const MAX_INPUTS: usize = LANES + 1 + 4 * MAX_BATCH as usize;

/// Two real parties, and everybody else by hand.
pub struct FakeHelper {
    /// The network.
    pub net: Net,
    parties: Parties,
    /// The session as it began, and the one before.
    session: HelperSession,
    before: Option<HelperSession>,
    nodes: Vec<PartyNode>,
    /// Events of the parties, in order.
    pub events: Vec<Receiver<Event>>,
    /// The helper's online channel.
    pub online: User,
    /// The helper's dealing channel.
    pub dealing: User,
    owner: User,
    client: User,
    /// Ends last.
    _world: World,
}

impl FakeHelper {
    /// Starts two parties with their folders in one, and begins a session with them.
    ///
    /// # Panics
    /// When they do not start, or join no session.
    pub fn start(net: Net, folder: &Path) -> Self {
        Self::with(net, folder, None, MAX_LANES)
    }

    /// Starts two parties whose machines give so many inferences at a time.
    ///
    /// # Panics
    /// When they do not start, or join no session.
    pub fn giving(net: Net, folder: &Path, inferences: usize) -> Self {
        Self::with(net, folder, None, inferences)
    }

    /// Starts two parties, the first of which deviates.
    ///
    /// # Panics
    /// When they do not start, or join no session.
    pub fn deviating(net: Net, folder: &Path, deviation: Deviation) -> Self {
        let switch = Switch::default();
        switch.set(true);
        let conduct = deviation.conduct(net.plan.limbs, switch);
        Self::with(net, folder, Some(conduct), MAX_LANES)
    }

    fn with(net: Net, folder: &Path, mut conduct: Option<Box<dyn Conduct>>, inferences: usize) -> Self {
        let world = World::enter(1);
        let parties = Parties::new(2).expect("two parties");
        let (mut nodes, mut events) = (Vec::new(), Vec::new());
        for me in parties.all() {
            let (reporter, receiver) = Reporter::channel();
            events.push(receiver);
            let config = PartyConfig {
                models: vec![Served {
                    plan: Arc::clone(&net.plan),
                    max_batch: MAX_BATCH,
                    lanes: LANES,
                    ahead: Ahead::new(1, 1),
                }],
                parties,
                me,
                place: Place::local(folder, parties, &Peer::Party(me)),
                limits: Limits { round: PATIENCE, inference: PATIENCE, load: PATIENCE },
                inferences,
                core: None,
                threads: 1,
                conduct: conduct.take(),
                reporter,
            };
            nodes.push(PartyNode::start(config).expect("a party"));
        }
        let [one, two] = [1, 2].map(|n| crate::run::party(parties, n));
        let (at_one, at_two) = Link::pair("party 1", "party 2");
        nodes[0].inboxes().deliver(Channel::Online, Arrival { peer: two, link: at_one });
        nodes[1].inboxes().deliver(Channel::Online, Arrival { peer: one, link: at_two });
        let [mut online, mut dealing, mut owner, mut client] = [(); 4].map(|()| User::new());
        link(&mut online, parties, &nodes);
        for (peer, node) in parties.all().map(Peer::Party).zip(&nodes) {
            dealing.join(&Peer::Helper, &peer, node.inboxes(), Channel::Dealing);
            owner.join(&Peer::Owner, &peer, node.inboxes(), Channel::Online);
            client.join(&Peer::Client("1".into()), &peer, node.inboxes(), Channel::Online);
        }
        let (session, _) = begin(parties, &mut online, Vec::new(), true);
        FakeHelper {
            net,
            parties,
            session,
            before: None,
            nodes,
            events,
            online,
            dealing,
            owner,
            client,
            _world: world,
        }
    }

    /// Begins another session; nothing that was loaded is offered.
    ///
    /// # Panics
    /// When a party does not join it.
    pub fn begin_session(&mut self) {
        self.offer(Vec::new(), true);
    }

    /// Begins another session and offers epochs; those that all hold are opened, or none. How they
    /// stand.
    ///
    /// # Panics
    /// When a party does not join it.
    pub fn offer(&mut self, epochs: Vec<OfferedEpoch>, open: bool) -> Vec<Standing> {
        let (next, standings) = begin(self.parties, &mut self.online, epochs, open);
        self.before = Some(std::mem::replace(&mut self.session, next));
        for events in &self.events {
            while !matches!(
                clock::receive(events, clock::now() + PATIENCE).expect("a session"),
                Event::SessionOpened { .. }
            ) {}
        }
        standings
    }

    /// Tells every party that a load of this epoch begins, whatever it was before.
    pub fn begin_load_of(&mut self, epoch: EpochId, id: u64) {
        let header = Header::new(Kind::EpochBegin, Scope::new(self.session.id(), epoch, InferenceId(id)), 0);
        for party in self.peers() {
            self.online.send(&party, &Message { header, body: vec![7; 32] });
        }
    }

    /// Gives the helper new links to the parties, after the old ones ended.
    pub fn relink(&mut self) {
        link(&mut self.online, self.parties, &self.nodes);
    }

    /// A message that the owner hears within a time.
    pub fn owner_heard(&mut self, within: Duration) -> Option<Received> {
        self.owner.heard(within)
    }

    /// What a party says when a client asks for the fingerprint of its model.
    pub fn fingerprint(&mut self, party: usize) -> Option<Vec<u8>> {
        let party = crate::run::party(self.parties, party);
        let plan = self.net.plan.digest().expect("a plan");
        self.client.send(&party, &Fingerprints::question(&plan));
        loop {
            let answer = self.client.expect(&party, &[Kind::Fingerprint, Kind::Abort]);
            match answer.header.kind {
                Kind::Fingerprint => return Some(answer.body().to_vec()),
                _ if answer.header.id == InferenceId(0) => return None,
                // A message of an inference.
                _ => {}
            }
        }
    }

    fn peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    /// Tells every party that a load with this id begins.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn begin_load(&mut self, id: u64) -> HelperLoad {
        let session = self.session.danger_copy();
        // The one before is passed over, so that this one is next.
        let plan = self.net.plan.digest().expect("a valid plan");
        if id > 1 {
            session.danger_take(EpochId::NONE, &plan, InferenceId(id - 1)).expect("an id before");
        }
        let load = HelperLoad::begin(Arc::clone(&self.net.plan), &session, &mut OperatingSystem);
        let load = load.expect("a load");
        for party in self.parties.all() {
            let header = Header::new(Kind::EpochBegin, load.scope(), 0);
            self.online.send(&Peer::Party(party), &Message { header, body: plan.0.to_vec() });
        }
        load
    }

    /// A whole load, as it should be.
    ///
    /// # Panics
    /// When it fails.
    pub fn load(&mut self, id: u64) -> HelperEpoch {
        let (loaded, scope) = self.load_untold(id);
        self.accept(scope);
        loaded
    }

    /// Tells the parties that their load is accepted, and waits until they have loaded.
    ///
    /// # Panics
    /// When a party gives the load up.
    pub fn accept(&mut self, scope: Scope) {
        for party in self.peers() {
            let header = Header::new(Kind::LoadAccepted, scope, 0);
            self.online.send(&party, &Message { header, body: Vec::new() });
        }
        for events in &self.events {
            loop {
                match clock::receive(events, clock::now() + PATIENCE).expect("a loaded party") {
                    Event::Loaded { .. } => break,
                    Event::LoadFailed { error } => panic!("{error}"),
                    _ => {}
                }
            }
        }
    }

    /// A load that is right, without the word that it is accepted.
    ///
    /// # Panics
    /// When it fails.
    pub fn load_untold(&mut self, id: u64) -> (HelperEpoch, Scope) {
        let load = self.begin_load(id);
        let scope = load.scope();
        let (plan, layers) = (Arc::clone(&self.net.plan), self.net.layers());
        let granted = Header::new(Kind::LoadGrant, scope, 0);
        let (of_plan, grant) = (Arc::clone(&plan), load.owner_grant());
        let owner = Loading::granted(of_plan, self.parties, &granted, &grant, &mut OperatingSystem);
        let owner = owner.expect("a grant");
        let ids = || (0u32..).take(plan.weights.len()).map(WeightId);
        let tensors = ids().flat_map(|id| owner.tensor(id, layers.as_slice())).map(|m| m.expect("weights"));
        let messages: Vec<ToParties> = [owner.nonce()].into_iter().chain(tensors).collect();
        for party in self.peers() {
            self.owner.expect(&party, &[Kind::LoadReady]);
            messages.iter().for_each(|message| self.owner.send_to(&party, message));
        }
        let last = Peer::Party(self.parties.last());
        for id in ids() {
            let header = Header::new(Kind::LoadCorrection, scope, id.0);
            self.online.send(&last, &Message { header, body: load.corrections(id) });
        }
        let peers = self.peers();
        let hashes = peers.iter().map(|p| self.online.expect(p, &[Kind::LoadHash]));
        let hashes: Vec<Digest> = hashes.map(|m| Digest(m.body().try_into().expect("a hash"))).collect();
        let challenge = load.hashes(&hashes, &mut OperatingSystem).expect("equal hashes");
        // The last party answers before the first one is asked: what the first one says with its
        // answer finds the last one waiting for the helper's word.
        let header = Header::new(Kind::Challenge, scope, 0);
        let mut responses: Vec<Vec<u8>> = Vec::new();
        for party in self.peers().iter().rev() {
            let body = challenge.seed().as_bytes().to_vec();
            self.online.send(party, &Message { header, body });
            responses.insert(0, self.online.expect(party, &[Kind::LoadResponse]).body().to_vec());
        }
        (challenge.responses(&responses).expect("right tags"), scope)
    }

    /// Deals an id, fresh or not; nothing is waited for.
    ///
    /// # Panics
    /// When the epoch is retired.
    pub fn deal(&mut self, epoch: &HelperEpoch, id: u64) -> Dealt {
        let session = self.session.danger_copy();
        self.deal_of(&session, epoch, id)
    }

    /// Deals an inference in the session before.
    ///
    /// # Panics
    /// When there was none.
    pub fn deal_in_the_old_session(&mut self, epoch: &HelperEpoch, id: u64) -> Dealt {
        let session = self.before.as_ref().expect("a session before").danger_copy();
        self.deal_of(&session, epoch, id)
    }

    /// What the helper needs to use an id, without telling the parties that it is dealt.
    ///
    /// # Panics
    /// When the epoch is retired.
    pub fn deal_alone(&self, epoch: &HelperEpoch, id: u64) -> Dealt {
        let session = self.session.danger_copy();
        let keys = session.danger_take(epoch.epoch(), epoch.digest(), InferenceId(id));
        let keys = keys.expect("an id of this session");
        epoch.deal(keys, 1, &mut crate::direct::discard).expect("an epoch in use")
    }

    /// An inference of the session.
    pub fn scope(&self, epoch: &HelperEpoch, id: u64) -> Scope {
        Scope::new(self.session.id(), epoch.epoch(), InferenceId(id))
    }

    fn deal_of(&mut self, session: &HelperSession, epoch: &HelperEpoch, id: u64) -> Dealt {
        let keys = session.danger_take(epoch.epoch(), epoch.digest(), InferenceId(id));
        let keys = keys.expect("an id of the session");
        let scope = keys.scope();
        for party in self.peers() {
            let header = Header::new(Kind::Deal, scope, 1);
            self.dealing.send(&party, &Message { header, body: Vec::new() });
        }
        let dealing = &mut self.dealing;
        epoch
            .deal::<ProtocolError>(keys, 1, &mut |op: OpIndex, to: PartyId, body: Vec<u8>| {
                let header = Header::new(Kind::DealCorrection, scope, op.0);
                dealing.send(&Peer::Party(to), &Message { header, body });
                Ok(())
            })
            .expect("an epoch in use")
    }

    /// Binds an id, fresh or not, and sends an input under it; nothing is waited for.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn bind(&mut self, dealt: &Dealt, inputs: &[i64]) -> OutputReceiver {
        self.bind_alone(dealt);
        self.input(dealt, inputs)
    }

    /// Binds an id, fresh or not; its client says nothing.
    ///
    /// # Panics
    /// When the plan is not valid.
    pub fn bind_alone(&mut self, dealt: &Dealt) {
        let digest = self.net.plan.digest().expect("a valid plan");
        let client = "client 1".to_owned();
        let binding = Binding { plan: digest, batch: 1, client: client.clone(), receivers: vec![client] };
        let header = Header::new(Kind::Bind, dealt.scope(), 0);
        for party in self.peers() {
            let body = control::encode(&binding).expect("a binding");
            self.online.send(&party, &Message { header, body });
        }
    }

    /// Sends an input, and a receiver's key, under an id.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn input(&mut self, dealt: &Dealt, inputs: &[i64]) -> OutputReceiver {
        let (scope, plan) = (dealt.scope(), Arc::clone(&self.net.plan));
        let ticket = Ticket::from_grant(Arc::clone(&plan), self.parties, scope, 1, &dealt.grant().encode());
        let input = pack(&ticket.expect("a ticket").mask(inputs).expect("inputs of this plan"));
        let keys = dealt.authentication(FIRST_RECIPIENT);
        let receiver = OutputReceiver::new(&plan, scope, 1, &keys, &mut OperatingSystem).expect("randomness");
        let key = receiver.key().encode().to_vec();
        let messages = [(Kind::Input, input), (Kind::ReceiverKey, key)]
            .map(|(kind, body)| ToParties::new(Header::new(kind, scope, 0), body, &keys));
        for party in self.peers() {
            messages.iter().for_each(|message| self.client.send_to(&party, message));
        }
        receiver
    }

    /// A whole inference, as it should be.
    ///
    /// # Panics
    /// When it fails or gives something wrong.
    pub fn infer(&mut self, epoch: &HelperEpoch, id: u64, inputs: &[i64]) {
        let dealt = self.deal(epoch, id);
        let scope = dealt.scope();
        for party in self.peers() {
            self.dealing.expect(&party, &[Kind::Ready]);
        }
        let receiver = self.bind(&dealt, inputs);
        let checks: Vec<CheckMessage> = self
            .parties
            .all()
            .map(|party| {
                let message = self.online.expect(&Peer::Party(party), &[Kind::Check]);
                CheckMessage::decode(&epoch.check_shape(1, 1), party, message.body()).expect("a check")
            })
            .collect();
        let accepted = epoch.verify(dealt, &checks).expect("an honest run");
        let of_receiver = |release: &Release| release.message(0).expect("a receiver").to_vec();
        let release = match accepted.release(&mut crate::direct::NoLog, of_receiver) {
            Ok(release) => release,
            Err(never) => match never {},
        };
        self.outcome(scope);
        let output = self.client.expect(&crate::run::party(self.parties, 1), &[Kind::Output]);
        let logits = receiver.unmask(&release, [output.body()]);
        assert!(self.net.error_of(inputs, &logits.expect("the output")) < 0.05);
    }

    /// Tells the parties that an inference was accepted.
    pub fn outcome(&mut self, scope: Scope) {
        for party in self.peers() {
            let header = Header::new(Kind::Outcome, scope, 0);
            self.online.send(&party, &Message { header, body: Vec::new() });
        }
    }

    /// Waits for a party's output.
    ///
    /// # Panics
    /// When there is none.
    pub fn expect_output(&mut self, party: usize) {
        self.client.expect(&crate::run::party(self.parties, party), &[Kind::Output]);
    }

    /// Stops the parties.
    pub fn stop(self) {
        self.nodes.into_iter().for_each(PartyNode::stop);
    }
}

fn link(online: &mut User, parties: Parties, nodes: &[PartyNode]) {
    for (peer, node) in parties.all().map(Peer::Party).zip(nodes) {
        online.join(&Peer::Helper, &peer, node.inboxes(), Channel::Online);
    }
}

fn begin(
    parties: Parties,
    online: &mut User,
    epochs: Vec<OfferedEpoch>,
    open: bool,
) -> (HelperSession, Vec<Standing>) {
    let start = SessionStart::draw(parties, epochs, &mut OperatingSystem).expect("randomness");
    let header = |kind| Header::new(kind, Scope::session(start.id()), 0);
    for party in parties.all() {
        let body = control::encode(&start.offer(party)).expect("an offer");
        online.send(&Peer::Party(party), &Message { header: header(Kind::SessionBegin), body });
    }
    let mut answers: Vec<SessionAnswer> = Vec::new();
    for party in parties.all() {
        let answer = online.expect(&Peer::Party(party), &[Kind::SessionAnswer]);
        answers.push(control::decode(answer.body()).expect("an answer"));
    }
    let header = header(Kind::SessionOpen);
    let (session, confirmed) = start.open(&answers).expect("one common key");
    let opened = if open { &confirmed[..] } else { &[] };
    let body = control::encode(&Confirmed::opening(opened)).expect("an opening");
    for party in parties.all() {
        online.send(&Peer::Party(party), &Message { header, body: body.clone() });
    }
    (session, confirmed.iter().map(|confirmed| confirmed.standing).collect())
}
