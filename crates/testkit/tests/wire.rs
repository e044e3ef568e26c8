//! Real nodes send exactly what the states in one thread send, byte by byte, and nothing else.
//!
//! All links of a deployment in memory are recorded. What the roles drew shows in the record, so
//! the same runs are played again without channels, from the same seeds. `known_answers.rs` holds
//! those to the specification.

use amicus_client::Message;
use amicus_field::{Limbs, RandomnessError, Seed};
use amicus_net::{Direction, Link, Recorder};
use amicus_node::client::ClientNode;
use amicus_node::conduct::OfHelper;
use amicus_node::connect::{Arrival, InboxHandles};
use amicus_node::event::{Event, Reporter};
use amicus_node::helper::{HelperConfig, HelperNode};
use amicus_node::limits::MAX_LANES;
use amicus_node::owner::OwnerNode;
use amicus_node::party::{PartyConfig, PartyNode};
use amicus_node::store::Place;
use amicus_node::{Ahead, Limits, Peer, Served};
use amicus_plan::PlanDigest;
use amicus_protocol::control::{self, Binding, Channel, SessionAnswer, SessionOffer, SessionOpening};
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{InferenceId, Parties};
use amicus_testkit::nets::Net;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::{PATIENCE, direct, zoo};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// A message as it went over a link: sender, recipient, header without hops, body.
type Frame = (Peer, Peer, [u8; HEADER_BYTES], Vec<u8>);

/// Links of a deployment, all recorded.
#[derive(Default)]
struct Wires(Vec<(Peer, Peer, Recorder)>);

impl Wires {
    fn join(&mut self, a: (&Peer, &InboxHandles), b: (&Peer, &InboxHandles), channel: Channel) {
        let (mut here, there) = Link::pair(&a.0.to_string(), &b.0.to_string());
        self.0.push((a.0.clone(), b.0.clone(), here.recorded()));
        a.1.deliver(channel, Arrival { peer: b.0.clone(), link: here });
        b.1.deliver(channel, Arrival { peer: a.0.clone(), link: there });
    }

    fn frames(&self) -> Vec<Frame> {
        let mut all = Vec::new();
        for (here, there, recorder) in &self.0 {
            for frame in recorder.frames() {
                let (header, body) = Header::decode(&frame.bytes).unwrap();
                let (from, to) = match frame.direction {
                    Direction::Sent => (here, there),
                    Direction::Received => (there, here),
                };
                all.push((from.clone(), to.clone(), Header { hop: 0, ..header }.encode(), body.to_vec()));
            }
        }
        all
    }
}

/// Draws what the nodes drew, and keeps what is sent.
struct Again {
    seeds: HashMap<Peer, VecDeque<Seed>>,
    frames: Vec<Frame>,
    /// Nobody was bound to the inference: nodes only dealt it.
    only_dealt: bool,
}

impl World for Again {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        if self.only_dealt {
            return Ok(Seed::from_bytes([0; 32]));
        }
        let seed = self.seeds.get_mut(role).and_then(VecDeque::pop_front);
        Ok(seed.unwrap_or_else(|| panic!("no seed of {role}")))
    }

    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        self.frames.push((letter.from.clone(), letter.to.clone(), letter.header.encode(), body.clone()));
    }
}

fn kind(frame: &Frame) -> Kind {
    Header::decode(&frame.2).unwrap().0.kind
}

/// What every role drew, in its order.
fn drawn(frames: &[Frame], parties: Parties) -> HashMap<Peer, VecDeque<Seed>> {
    let body = |from: &Peer, to: &Peer, k: Kind, at: usize| -> Seed {
        let frame = frames.iter().find(|f| f.0 == *from && f.1 == *to && kind(f) == k);
        Seed::from_bytes(frame.unwrap_or_else(|| panic!("no {k:?}")).3[at..at + 32].try_into().unwrap())
    };
    let peers: Vec<Peer> = parties.all().map(Peer::Party).collect();
    let mut all = HashMap::new();
    let sent = |from: &Peer, to: &Peer, k: Kind| -> &Frame {
        frames.iter().find(|f| f.0 == *from && f.1 == *to && kind(f) == k).unwrap()
    };
    // An id is the first half of a seed.
    let id = |id: &[u8; 16]| {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(id);
        Seed::from_bytes(bytes)
    };
    let first = |k: Kind| Header::decode(&sent(&Peer::Helper, &peers[0], k).2).unwrap().0;
    let mut helper = VecDeque::from([id(first(Kind::SessionBegin).session.as_bytes())]);
    helper.extend(peers.iter().map(|p| {
        let offer = &sent(&Peer::Helper, p, Kind::SessionBegin).3;
        control::decode::<SessionOffer>(offer).unwrap().part_seed().unwrap()
    }));
    helper.push_back(id(first(Kind::EpochBegin).epoch.as_bytes()));
    helper.push_back(body(&Peer::Helper, &peers[0], Kind::Challenge, 0));
    all.insert(Peer::Helper, helper);
    all.insert(Peer::Owner, VecDeque::from([body(&Peer::Owner, &peers[0], Kind::Nonce, 0)]));
    for party in &peers {
        let other = peers.iter().find(|p| *p != party).unwrap();
        let answer = &sent(party, &Peer::Helper, Kind::SessionAnswer).3;
        let part = control::decode::<SessionAnswer>(answer).unwrap().part_seed().unwrap();
        let mut own = VecDeque::from([part, body(party, other, Kind::Keys, 0)]);
        // A contribution for itself is drawn and never used.
        own.extend(
            peers.iter().map(|to| {
                if to == party { Seed::from_bytes([0; 32]) } else { body(party, to, Kind::Keys, 32) }
            }),
        );
        all.insert(party.clone(), own);
    }
    let keys = frames.iter().filter(|f| f.1 == peers[0] && kind(f) == Kind::ReceiverKey);
    all.insert(direct::client(), keys.map(|f| Seed::from_bytes(*f.3.first_chunk().unwrap())).collect());
    all
}

/// How often each frame was sent.
fn counted(frames: impl IntoIterator<Item = Frame>) -> BTreeMap<Frame, usize> {
    let mut counts = BTreeMap::new();
    frames.into_iter().for_each(|frame| *counts.entry(frame).or_default() += 1);
    counts
}

/// A load, a question for the fingerprint and some inferences on real nodes; everything sent, and
/// the fingerprint.
fn deployment(
    net: &Net,
    parties: Parties,
    batch: u32,
    inputs: &[Vec<i64>],
    folder: &Path,
) -> (Vec<Frame>, [u8; 32]) {
    let plan = || Arc::clone(&net.plan);
    let served = || vec![Served { plan: plan(), max_batch: batch, lanes: 16, ahead: Ahead::new(batch, 2) }];
    let limits = Limits { round: PATIENCE, inference: PATIENCE, load: PATIENCE };
    let mut events = Vec::new();
    let nodes = parties.all().map(|me| {
        let (reporter, receiver) = Reporter::channel();
        events.push(receiver);
        PartyNode::start(PartyConfig {
            models: served(),
            parties,
            me,
            place: Place::local(folder, parties, &Peer::Party(me)),
            limits,
            inferences: MAX_LANES,
            core: None,
            threads: 1,
            conduct: None,
            reporter,
        })
        .unwrap()
    });
    let nodes: Vec<PartyNode> = nodes.collect();
    let helper = HelperNode::start(HelperConfig {
        models: served(),
        parties,
        place: Place::local(folder, parties, &Peer::Helper),
        limits,
        requests_of_client: 1,
        failure_limit: amicus_protocol::check::FAILURE_LIMIT,
        threads: 1,
        reporter: Reporter::default(),
        danger: OfHelper::default(),
    })
    .unwrap();
    let mut owner = OwnerNode::new(plan(), parties, limits).unwrap();
    let mut client = ClientNode::new(plan(), parties, batch, limits).unwrap();
    let mut wires = Wires::default();
    let (owner_hubs, client_hubs) = (owner.inboxes().clone(), client.inboxes().clone());
    let users = [(&Peer::Owner, &owner_hubs), (&direct::client(), &client_hubs)];
    let peers: Vec<Peer> = parties.all().map(Peer::Party).collect();
    for (number, (peer, node)) in peers.iter().zip(&nodes).enumerate() {
        let here = (peer, node.inboxes());
        for (other, there) in peers.iter().zip(&nodes).take(number) {
            wires.join(here, (other, there.inboxes()), Channel::Online);
        }
        wires.join(here, (&Peer::Helper, helper.inboxes()), Channel::Online);
        wires.join(here, (&Peer::Helper, helper.inboxes()), Channel::Dealing);
        users.iter().for_each(|user| wires.join(here, *user, Channel::Online));
    }
    users.iter().for_each(|user| wires.join((&Peer::Helper, helper.inboxes()), *user, Channel::Online));
    let fingerprint = owner.load(&net.layers()).unwrap().fingerprint;
    assert_eq!(client.fingerprint().unwrap(), fingerprint);
    for inputs in inputs {
        let admission = client.request(batch, &[]).unwrap();
        client.infer(admission, inputs).unwrap();
    }
    // The client needs one party's output only: a party has sent all of it when it reports the end.
    for events in &events {
        let ends = std::iter::from_fn(|| events.recv_timeout(PATIENCE).ok());
        let ends = ends.filter(|event| matches!(event, Event::Finished { .. })).take(inputs.len());
        assert_eq!(ends.count(), inputs.len());
    }
    helper.stop();
    nodes.into_iter().for_each(PartyNode::stop);
    (wires.frames(), fingerprint)
}

/// A message of nodes that the states know nothing of: what its body must be.
fn words(frame: &Frame, plan: PlanDigest, fingerprint: [u8; 32], batch: u32) -> Option<Vec<u8>> {
    let client = direct::client().to_string();
    let binding = Binding { plan, batch, client: client.clone(), receivers: vec![client] };
    match kind(frame) {
        // It has nothing of the owner's yet.
        Kind::LoadReady => Some(vec![0; 4]),
        Kind::LoadAccepted | Kind::Deal | Kind::Ready | Kind::Outcome | Kind::ReleaseAck => Some(Vec::new()),
        Kind::Fingerprint if frame.0 == direct::client() => Some(plan.0.to_vec()),
        Kind::Fingerprint => Some(fingerprint.to_vec()),
        Kind::SessionOpen => Some(control::encode(&SessionOpening { epochs: Vec::new() }).unwrap()),
        Kind::Bind => Some(control::encode(&binding).unwrap()),
        _ => None,
    }
}

#[test]
fn nodes_send_what_the_states_send_and_nothing_else() {
    for (net, n, batch) in [(zoo::conv_net(Limbs::TWO), 2, 1), (zoo::products(Limbs::ONE), 3, 2)] {
        let (parties, folder) = (Parties::new(n).unwrap(), tempfile::tempdir().unwrap());
        let inputs: Vec<Vec<i64>> = (0..2).map(|salt| net.inputs(batch, salt)).collect();
        let (frames, fingerprint) = deployment(&net, parties, batch as u32, &inputs, folder.path());

        let ids = |wanted: Kind| -> BTreeSet<u64> {
            let of_kind = frames.iter().filter(|f| kind(f) == wanted);
            of_kind.map(|f| Header::decode(&f.2).unwrap().0.id.0).collect()
        };
        let plan = net.plan.digest().unwrap();
        let (dealt, bound) = (ids(Kind::DealCorrection), ids(Kind::Bind));
        assert_eq!(bound.len(), inputs.len());

        let mut again = Again { seeds: drawn(&frames, parties), frames: Vec::new(), only_dealt: false };
        let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut again).unwrap();
        let (mut inputs, mut ahead) = (inputs.iter(), Vec::new());
        // The first is the load.
        for id in 2..=dealt.last().copied().unwrap() {
            let unused = net.inputs(batch, 9);
            again.only_dealt = !bound.contains(&id);
            let inputs = if again.only_dealt { &unused } else { inputs.next().unwrap() };
            let before = again.frames.len();
            let outcome = direct::infer_over(&loaded, inputs, batch, &[], &mut |_| (), &mut again).unwrap();
            assert_eq!(outcome.scope.id, InferenceId(id));
            direct::says_of_output(parties, &outcome.receiver.collected(), &mut again);
            if again.only_dealt {
                let frames = again.frames.drain(before..);
                ahead.extend(frames.filter(|f| kind(f) == Kind::DealCorrection));
            }
        }
        let (said, known): (Vec<Frame>, Vec<Frame>) =
            frames.into_iter().partition(|frame| words(frame, plan, fingerprint, batch as u32).is_some());
        for frame in &said {
            let body = words(frame, plan, fingerprint, batch as u32).unwrap();
            assert!(frame.3 == body, "{:?} of {} to {}", kind(frame), frame.0, frame.1);
        }
        // Dealt ahead of requests that never came, and perhaps not to the end. As roles leave, one by
        // one, what is left of it may be given up.
        let given_up = |frame: &Frame| {
            let id = Header::decode(&frame.2).unwrap().0.id.0;
            kind(frame) == Kind::Abort && dealt.contains(&id) && !bound.contains(&id)
        };
        let known = known.into_iter().filter(|frame| !ahead.contains(frame) && !given_up(frame));
        let (sent, expected) = (counted(known), counted(again.frames));
        for (frame, count) in sent.iter().chain(&expected) {
            let header = Header::decode(&frame.2).unwrap().0;
            let what = Message { header, body: frame.3.clone() };
            assert_eq!(
                sent.get(frame),
                expected.get(frame),
                "{} to {}, {count} times: {what:?}",
                frame.0,
                frame.1
            );
        }
    }
}
