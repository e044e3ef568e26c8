//! One load or inference of an execution, and how it ended for every role.

use super::deployment::Deployment;
use super::scenario::{Scenario, Stage, client};
use amicus_net::clock;
use amicus_node::client::ClientNode;
use amicus_node::event::Event;
use amicus_node::{Limits, NodeError, Peer};
use amicus_protocol::{InferenceId, ProtocolError, SessionId, Step};
use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a stage may take in all, far beyond all deadlines: afterwards every node waits for
/// something new.
const LONG: Duration = Duration::from_secs(1200);

/// How a stage ended.
#[derive(Debug, Default)]
pub struct Ending {
    /// Inputs of an inference.
    pub inputs: Vec<i64>,
    /// How users saw it end, and when.
    pub users: Vec<(Peer, Result<Vec<f64>, NodeError>, Duration)>,
    /// What nodes reported.
    pub events: Vec<(Peer, Event)>,
    /// The inference, as an honest client knows it.
    pub id: Option<InferenceId>,
    /// Sessions in which the helper accepted a load or an inference.
    pub accepted_in: HashSet<SessionId>,
}

/// Runs a stage and waits until all nodes are idle.
///
/// # Panics
/// When there is no thread for a receiver.
pub fn run(deployment: &mut Deployment, scenario: &Scenario, stage: &Stage, salt: u64) -> Ending {
    read_events(deployment);
    let started = clock::now();
    let mut ending = match stage {
        Stage::Load => {
            let result = deployment.owner.load(deployment.net.layers().as_slice());
            let result = result.map(|_| Vec::new());
            Ending { users: vec![(Peer::Owner, result, clock::since(started))], ..Ending::default() }
        }
        Stage::Inference(asks, also) => infer(deployment, scenario, asks, also, started, salt),
    };
    let honest_end = ending.users.iter().all(|(_, result, _)| result.is_ok());
    // What comes late comes now.
    clock::sleep(if honest_end { Duration::from_millis(1) } else { LONG });
    ending.events = drain(deployment);
    ending.accepted_in = accepted_in(&mut deployment.session, &ending.events);
    ending
}

/// Reads what nodes reported since the last stage; a session may have been opened.
pub fn read_events(deployment: &mut Deployment) {
    let events = drain(deployment);
    accepted_in(&mut deployment.session, &events);
}

/// Sessions in which the helper accepted something, and afterwards its present one.
fn accepted_in(present: &mut Option<SessionId>, events: &[(Peer, Event)]) -> HashSet<SessionId> {
    let mut accepted = HashSet::new();
    for (_, event) in events.iter().filter(|(who, _)| *who == Peer::Helper) {
        match event {
            Event::SessionOpened { session } => *present = Some(*session),
            Event::Loaded { .. } | Event::Finished { .. } => accepted.extend(*present),
            _ => {}
        }
    }
    accepted
}

/// Lets all deadlines pass.
pub fn wait() {
    clock::sleep(LONG);
}

/// When every honest node must have ended a stage.
pub fn bound(stage: &Stage) -> Duration {
    let limits = Limits::default();
    let second = Duration::from_secs(1);
    match stage {
        // The owner waits longest, for links, a session and the load, each time five rounds more than
        // parties for keys.
        Stage::Load => 3 * (limits.load + 5 * limits.round) + second,
        // The wait for a ticket, for the helper's decision, and a round more.
        Stage::Inference(..) => ticket_bound() + limits.inference + 3 * limits.round + second,
    }
}

/// How long a client waits for a ticket, and a receiver for an invitation.
fn ticket_bound() -> Duration {
    let limits = Limits::default();
    limits.load + limits.inference + 3 * limits.round
}

fn number(of: &Peer) -> usize {
    match of {
        Peer::Client(name) => name.parse().unwrap_or(0),
        _ => 0,
    }
}

fn infer(
    deployment: &mut Deployment,
    scenario: &Scenario,
    asks: &Peer,
    also: &[Peer],
    started: Instant,
    salt: u64,
) -> Ending {
    let (sender, receiver) = channel();
    for other in also {
        let mut node = take(deployment, other);
        let (sender, other) = (sender.clone(), other.clone());
        clock::spawn("receiver", move || {
            let result = node.receive_invited().map(|(_, inferred)| inferred.logits);
            let _ = sender.send((other, node, result, clock::since(started)));
        })
        .expect("a thread");
    }
    let inputs = deployment.net.inputs(scenario.batch as usize, salt);
    let mut node = take(deployment, asks);
    let (mut id, mut users) = (None, Vec::new());
    let result = node.request(scenario.batch, also).and_then(|admission| {
        id = Some(admission.scope().id);
        node.infer(admission, &inputs)
    });
    users.push((asks.clone(), result.map(|inferred| inferred.logits), clock::since(started)));
    deployment.clients[number(asks)] = Some(node);
    for _ in also {
        let (other, node, result, at) =
            clock::receive(&receiver, started + LONG).expect("a receiver that ends");
        deployment.clients[number(&other)] = Some(node);
        if !was_not_invited(&result) {
            users.push((other, result, at));
        }
    }
    let id = id.filter(|_| scenario.is_honest(asks));
    Ending { inputs, users, id, ..Ending::default() }
}

/// A receiver that heard of no inference gives up as a client without a ticket does; one that did
/// waits less.
fn was_not_invited(result: &Result<Vec<f64>, NodeError>) -> bool {
    let silent = amicus_protocol::Fault::Silent(ticket_bound().as_millis() as u64);
    matches!(result, Err(NodeError::Protocol(ProtocolError::Peer { step: Step::Output, fault, .. })) if *fault == silent)
}

fn take(deployment: &mut Deployment, who: &Peer) -> ClientNode {
    deployment.clients[number(who)].take().expect("a client that is here")
}

fn drain(deployment: &Deployment) -> Vec<(Peer, Event)> {
    let all = deployment.events.iter();
    all.flat_map(|(role, events)| events.try_iter().map(|event| (role.clone(), event))).collect()
}

/// The inference of the honest client who takes part in nothing else.
pub fn honest_inference() -> Stage {
    Stage::Inference(client(0), Vec::new())
}
