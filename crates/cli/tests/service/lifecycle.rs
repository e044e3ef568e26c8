//! From the start of three processes to their end: what they answer, count and log.

use crate::trial::{IMAGE, Node, Trial, eventually};
use amicus::net::{Listener, PeerSet};
use amicus::node::conduct::Cheat;
use amicus::node::connect::{Complaints, Connector, Target, Terms};
use amicus::node::event::Reporter;
use amicus::node::party::{PartyConfig, PartyNode};
use amicus::node::store::{ClusterDigest, Place};
use amicus::node::{Limits, Peer, Served};
use amicus::protocol::control::Channel;
use std::net::TcpListener;
use std::sync::Arc;

#[test]
fn three_processes_serve_count_log_and_end_well() {
    let trial = Trial::new();
    let mut nodes = ["helper", "party-1", "party-2"].map(|name| trial.start(name));
    for node in &nodes {
        node.answers("/healthz", 200, "ok");
        // There is a session once all are there, and nothing to serve in it.
        node.answers("/readyz", 503, "not ready: no model is loaded\n");
    }
    let model = trial.owner_loads();
    nodes.iter().for_each(|node| drop(node.answers("/readyz", 200, "ready")));
    let mut client = trial.client("alice").unwrap();
    let answers: Vec<_> = (0..3).map(|_| client.infer(&IMAGE).unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.logits().len() == 2));
    let plan = amicus::files::read_plan(&trial.at("tiny.plan")).unwrap();
    let rounds = plan.cost(1).unwrap().rounds;
    for (at, node) in nodes.iter().enumerate() {
        node.counts("amicus_inferences_total{outcome=\"ok\"}", 3.0);
        node.counts("amicus_inferences_total{outcome=\"failed\"}", 0.0);
        node.counts("amicus_failed_checks_total", 0.0);
        node.counts("amicus_inferences_in_flight", 0.0);
        node.counts("amicus_models", 1.0);
        node.counts("amicus_session_open", 1.0);
        let phase = if at == 0 { "parties" } else { "rounds" };
        node.counts(&format!("amicus_phase_seconds_count{{phase=\"{phase}\"}}"), 3.0);
        // Openings take a round each; the client, the check and the release take no openings.
        let counted = node.metric("amicus_rounds_total").unwrap();
        assert!(if at == 0 { counted == 0.0 } else { counted > 0.0 && counted <= (3 * rounds) as f64 });
        assert!(counted % 3.0 == 0.0);
        assert!(node.metric("amicus_links_sent_bytes_total").unwrap() > 1000.0);
        assert!(node.metric("amicus_memory_bytes").unwrap() > 1e6);
    }
    nodes.iter().for_each(|node| node.counts("amicus_loads_total{outcome=\"ok\"}", 1.0));
    assert!(nodes[0].metric("amicus_dealt_total").unwrap() >= 3.0);
    assert!(nodes[0].metric("amicus_ready_inferences").unwrap() >= 0.0);
    drop(client);

    // They end one after the other, each with a port that is free again.
    for (at, node) in nodes.iter_mut().enumerate() {
        node.signal(["TERM", "INT", "TERM"][at]);
        let (status, log) = node.ended();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("ended; nothing was in flight"), "{log}");
        TcpListener::bind(trial.address(7000 + at as u16)).unwrap();
        TcpListener::bind(trial.address(9100 + at as u16)).unwrap();
    }
    let logs = nodes.each_ref().map(Node::log);
    for log in &logs {
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
        }
    }
    assert!(logs[1].contains("ended well") && logs[1].contains("a model is loaded"), "{}", logs[1]);
    no_secrets(&trial, &logs, &answers, &model.fingerprint.to_string());
}

/// Logs at their most talkative show no key, no image, no answer, and the helper's not the model's
/// fingerprint, from which it could test guesses of weights.
fn no_secrets(trial: &Trial, logs: &[String; 3], answers: &[amicus::Answer], fingerprint: &str) {
    let mut secrets: Vec<String> = IMAGE.iter().map(|number| format!("{number}")[..6].to_owned()).collect();
    for answer in answers {
        secrets.extend(answer.logits().iter().map(|number| format!("{number:.5}")));
    }
    for name in ["helper", "party-1", "party-2", "owner", "alice"] {
        let pem = std::fs::read_to_string(trial.at(&format!("{name}.pem"))).unwrap();
        secrets
            .extend(pem.lines().filter(|line| line.len() > 20 && !line.starts_with('-')).map(str::to_owned));
    }
    assert!(secrets.len() > 15, "{}", secrets.len());
    for log in logs {
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{secret} in\n{log}");
        }
    }
    assert!(!logs[0].contains(fingerprint));
}

#[test]
fn a_failed_check_is_a_metric_of_its_own() {
    let trial = Trial::new();
    let nodes = ["helper", "party-1"].map(|name| trial.start(name));
    let cheat = Cheater::start(&trial);
    trial.owner_loads();
    let mut client = trial.client("alice").unwrap();
    let error = client.infer(&IMAGE).unwrap_err();
    assert!(error.is_rejection(), "{error}");
    for node in &nodes {
        node.counts("amicus_failed_checks_total", 1.0);
        node.counts("amicus_inferences_total{outcome=\"check_failed\"}", 1.0);
        node.counts("amicus_inferences_total{outcome=\"ok\"}", 0.0);
        // Who is alarmed by it finds the line; others are served.
        node.expect("\"event\":\"check_failed\"");
        node.answers("/readyz", 200, "ready");
    }
    drop(cheat);
    // Without a party there is no session, and its operator sees it.
    nodes.iter().for_each(|node| drop(node.answers("/readyz", 503, "not all nodes are connected")));
}

/// Party 2, which adds one to a value that it opens.
struct Cheater {
    node: Option<PartyNode>,
    connector: Connector,
}

impl Cheater {
    fn start(trial: &Trial) -> Self {
        let deployment = trial.deployment();
        let parties = deployment.count().unwrap();
        let me = parties.all().nth(1).unwrap();
        let cluster = ClusterDigest::identified(&deployment.cluster, parties, &deployment.id.unwrap().0);
        let plan = Arc::new(amicus::files::read_plan(&trial.at("tiny.plan")).unwrap());
        let place = Place { folder: trial.at("cheater"), cluster };
        let mut config =
            PartyConfig::new(vec![Served::new(Arc::clone(&plan))], parties, me, place, Reporter::default());
        config.conduct = Some(Cheat::Activation(0).into_conduct(&plan));
        let second = std::time::Duration::from_secs(1);
        config.limits = Limits { round: 120 * second, inference: 240 * second, load: 240 * second };
        let node = PartyNode::start(config).unwrap();
        let identity = Arc::new(amicus::files::read_identity(&trial.at("party-2.pem")).unwrap());
        let pins: PeerSet = deployment
            .roles(parties)
            .filter(|role| *role != Peer::Party(me))
            .map(|role| (deployment.certificates(&role)[0], role.to_string()))
            .collect();
        let terms = Terms { cluster, parties };
        let connector = Connector::new(Complaints::channel().0);
        let listener = Listener::bind(&deployment.parties[1].address, &identity, pins).unwrap();
        connector.listen(listener, terms, Vec::new(), node.inboxes().clone()).unwrap();
        let target = |peer: Peer, channel| {
            let dialled = deployment.node(&peer).unwrap();
            let fingerprints = dialled.certificate.all().to_vec();
            Target { address: dialled.address.clone(), fingerprints, peer, channel }
        };
        let one = Peer::Party(parties.all().next().unwrap());
        let targets = vec![
            target(Peer::Helper, Channel::Online),
            target(Peer::Helper, Channel::Dealing),
            target(one, Channel::Online),
        ];
        connector.dial(&identity, targets, terms, node.inboxes()).unwrap();
        Cheater { node: Some(node), connector }
    }
}

impl Drop for Cheater {
    fn drop(&mut self) {
        self.connector.stop();
        if let Some(node) = self.node.take() {
            node.stop();
        }
    }
}

#[test]
fn a_node_that_is_told_to_end_finishes_what_is_in_flight_and_begins_nothing() {
    let trial = Trial::new();
    let mut nodes = ["helper", "party-1", "party-2"].map(|name| trial.start(name));
    trial.owner_loads();
    let mut client = trial.client("alice").unwrap();
    has_material(&nodes[0]);
    // A party that does nothing keeps an inference in flight.
    nodes[2].stand_still();
    std::thread::scope(|scope| {
        let in_flight = scope.spawn(|| client.infer(&IMAGE));
        nodes[0].counts("amicus_inferences_in_flight", 1.0);
        nodes[0].signal("TERM");
        nodes[0].answers("/readyz", 503, "it is shutting down");
        nodes[0].answers("/healthz", 200, "ok");
        nodes[2].signal("CONT");
        in_flight.join().unwrap().unwrap();
    });
    let (status, log) = nodes[0].ended();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("ended; nothing was in flight"), "{log}");

    // Who does not end in time is given up, and who asks meanwhile is told why.
    let config = std::fs::read_to_string(trial.config("helper")).unwrap();
    std::fs::write(trial.config("helper"), format!("shutdown = 3\n{config}")).unwrap();
    nodes[0] = trial.start("helper");
    nodes[0].answers("/readyz", 200, "ready");
    let mut client = trial.patient_client("alice");
    let mut other = trial.patient_client("bob");
    has_material(&nodes[0]);
    nodes[2].stand_still();
    std::thread::scope(|scope| {
        let in_flight = scope.spawn(|| client.infer(&IMAGE));
        nodes[0].counts("amicus_inferences_in_flight", 1.0);
        nodes[0].signal("TERM");
        nodes[0].expect("told to end");
        let refused = eventually("a request is refused", || match other.infer(&IMAGE) {
            Err(error) => Ok(error.to_string()),
            Ok(_) => Err("it is served".into()),
        });
        assert!(refused.contains("shutting down") || refused.contains("closed"), "{refused}");
        let (status, log) = nodes[0].ended();
        assert_eq!(status.code(), Some(0));
        assert!(log.contains("ended; 1 inferences were given up"), "{log}");
        let given_up = in_flight.join().unwrap().unwrap_err();
        assert!(given_up.to_string().contains("shutting down"), "{given_up}");
    });
    nodes[2].signal("CONT");
}

/// Waits until an inference can begin without waiting for material.
fn has_material(helper: &Node) {
    eventually("material is ready", || match helper.metric("amicus_ready_inferences")? {
        ready if ready > 0.0 => Ok(()),
        _ => Err("none".into()),
    });
}
