//! `amicus doctor` against planted faults: each is found, with whose it is.

use crate::common::{amicus, strict_json, text};
use crate::trial::{Node, PATIENCE, Trial};
use amicus::Identity;
use amicus::deployment::{ClusterId, Deployment};
use amicus::files::{read_identity, read_plan};
use amicus::net::{Listener, PeerSet, clock};
use amicus::plan::PlanDigest;
use amicus::protocol::Scope;
use amicus::protocol::control::{self, About, Channel, Hello};
use amicus::protocol::greeting::encode_as;
use amicus::protocol::wire::{Header, Kind, VERSION};
use rustls::ServerConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Party 1's findings: exit code, and all that are not fine.
fn examined(trial: &Trial) -> (Option<i32>, Vec<Value>) {
    let ended = amicus(&["doctor", "--config", text(&trial.config("party-1")), "--patience", "20", "--json"]);
    let report = strict_json(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let findings = report["findings"].as_array().unwrap();
    (ended.status.code(), findings.iter().filter(|finding| finding["verdict"] != "fine").cloned().collect())
}

/// Sees that one fault is found, and nothing else.
fn finds(trial: &Trial, subject: &str, whose: &str, words: &str) {
    let (code, found) = examined(trial);
    assert_eq!((code, found.len()), (Some(1), 1), "{words}: {found:?}");
    assert_eq!((&found[0]["subject"], &found[0]["whose"]), (&subject.into(), &whose.into()), "{found:?}");
    assert!(found[0]["found"].as_str().unwrap().contains(words), "{words}: {found:?}");
    assert!(!found[0]["advice"].as_str().unwrap().is_empty());
}

/// What party 1's operator has in place of the cluster's file that all share.
fn with_cluster(trial: &Trial, change: impl FnOnce(&mut Deployment), examine: impl FnOnce()) {
    let mut deployment = trial.deployment();
    change(&mut deployment);
    fs::write(trial.at("mine.toml"), deployment.to_toml().unwrap()).unwrap();
    with_line(trial, "\"cluster.toml\"", "\"mine.toml\"", examine);
}

fn with_line(trial: &Trial, from: &str, to: &str, examine: impl FnOnce()) {
    let good = fs::read_to_string(trial.config("party-1")).unwrap();
    assert!(good.contains(from), "{good}");
    fs::write(trial.config("party-1"), good.replacen(from, to, 1)).unwrap();
    examine();
    fs::write(trial.config("party-1"), good).unwrap();
}

/// A node of a version that speaks another protocol, until it was asked twice.
fn old_node(listener: TcpListener, pem: String) -> std::thread::JoinHandle<()> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"amicus-net/0".to_vec()];
    let config = Arc::new(config);
    std::thread::spawn(move || {
        // The first connection measures the round trip.
        for socket in listener.incoming().take(2) {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = tls.complete_io(&mut socket.unwrap());
        }
    })
}

/// How a node is that stands in another's place.
struct Fake {
    /// What it greets with; a greeting of its cluster if nothing else.
    greeting: Option<Vec<u8>>,
    /// By how much its clock is ahead.
    ahead: Duration,
    plans: Vec<PlanDigest>,
}

impl Fake {
    fn like(trial: &Trial) -> Self {
        let plan = read_plan(&trial.at("tiny.plan")).unwrap().digest().unwrap();
        Fake { greeting: None, ahead: Duration::ZERO, plans: vec![plan] }
    }

    /// Listens with this key until party 1 has asked for the round trip and looked.
    fn listen(self, trial: &Trial, address: &str, key: &str) -> std::thread::JoinHandle<()> {
        let identity = read_identity(&trial.at(key)).unwrap();
        let ours = read_identity(&trial.at("party-1.pem")).unwrap().fingerprint();
        let pins = PeerSet::from_iter([(ours, "party 1")]);
        let mut listener = Listener::bind(address, &identity, pins).unwrap();
        std::thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            listener.accept(deadline).map(drop).unwrap_err();
            let Ok(mut link) = listener.accept(deadline) else { return };
            let hello = link.recv(deadline).unwrap();
            link.send(&[self.greeting.as_deref().unwrap_or(&hello)]).unwrap();
            let now = clock::of_day().duration_since(UNIX_EPOCH).unwrap() + self.ahead;
            let about = About { time: now.as_millis() as u64, plans: self.plans };
            let header = Header::new(Kind::About, Scope::NONE, 0).encode();
            let _ = link.send(&[&header, &control::encode(&about).unwrap()]);
            while let Ok(frame) = link.recv(deadline) {
                let _ = link.send(&[&frame]);
            }
        })
    }
}

#[test]
fn planted_faults_are_found_with_whose_they_are() {
    let trial = Trial::new();
    let nodes = ["helper", "party-2"].map(|name| trial.start(name));
    nodes.iter().for_each(|node| drop(node.answers("/healthz", 200, "ok")));
    assert_eq!(examined(&trial), (Some(0), vec![]));
    let stranger = Identity::generate("stranger").unwrap();

    // 1. A wrong port.
    let closed = trial.address(7777);
    let second = |address: &str| {
        let address = address.to_owned();
        move |deployment: &mut Deployment| deployment.parties[1].address = address
    };
    with_cluster(&trial, second(&closed), || {
        finds(&trial, "connection", "the operator's of party 2", "refused");
    });
    // 2. A wrong pin.
    let pinned =
        |deployment: &mut Deployment| deployment.parties[1].certificate = stranger.fingerprint().into();
    with_cluster(&trial, pinned, || {
        finds(&trial, "pin", "the operator's of party 2", "expected certificate");
    });
    // 3. A key of ours that others do not know.
    let (key, kept) = (trial.at("party-1.pem"), trial.at("kept.pem"));
    fs::rename(&key, &kept).unwrap();
    assert!(amicus(&["keygen", text(&key)]).status.success());
    let ours = read_identity(&key).unwrap().fingerprint();
    with_cluster(
        &trial,
        |deployment| deployment.parties[0].certificate = ours.into(),
        || {
            let (code, found) = examined(&trial);
            assert_eq!((code, found.len()), (Some(1), 2), "{found:?}");
            assert!(found.iter().all(|finding| finding["subject"] == "pin"), "{found:?}");
            assert!(
                found[0]["advice"].as_str().unwrap().contains("does not have your certificate"),
                "{found:?}"
            );
        },
    );
    finds(&trial, "key", "all operators'", "is nobody's in this deployment");
    fs::rename(&kept, &key).unwrap();
    // 4. A clock that is an hour late: the folder's files are of the future.
    let folder = trial.at("party-1.folder");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let file = File::create(folder.join("log")).unwrap();
    file.set_modified(clock::of_day() + Duration::from_secs(3600)).unwrap();
    finds(&trial, "clock", "yours", "minutes behind");
    fs::remove_dir_all(&folder).unwrap();
    // And one that is an hour late by the others' clocks, and one of theirs.
    let hour = Duration::from_secs(3600);
    let [one, other] = [7782, 7783].map(|port| trial.address(port));
    let late = [(&one, "helper.pem"), (&other, "party-2.pem")]
        .map(|(address, key)| Fake { ahead: hour, ..Fake::like(&trial) }.listen(&trial, address, key));
    let both = |deployment: &mut Deployment| {
        deployment.helper.address = one.clone();
        deployment.parties[1].address = other.clone();
    };
    with_cluster(&trial, both, || finds(&trial, "clock", "yours", "60 minutes behind the others'"));
    late.into_iter().for_each(|node| node.join().unwrap());
    let late = Fake { ahead: hour, ..Fake::like(&trial) }.listen(&trial, &other, "party-2.pem");
    with_cluster(&trial, second(&other), || {
        finds(&trial, "clock", "the operator's of party 2", "party 2: its clock is 60 minutes ahead");
    });
    late.join().unwrap();
    // Certificates that have expired, of another and of ours.
    let day = Duration::from_secs(24 * 3600);
    let now = clock::of_day();
    let expired = Identity::generate_valid("party 2", now - 30 * day, now - 2 * day).unwrap();
    let write = |name: &str, identity: &Identity| {
        fs::write(trial.at(name), identity.to_pem().as_bytes()).unwrap();
        fs::set_permissions(trial.at(name), Permissions::from_mode(0o600)).unwrap();
    };
    write("expired.pem", &expired);
    let node = Fake::like(&trial).listen(&trial, &other, "expired.pem");
    let pinned = |deployment: &mut Deployment| {
        deployment.parties[1].address = other.clone();
        deployment.parties[1].certificate = expired.fingerprint().into();
    };
    with_cluster(&trial, pinned, || {
        finds(&trial, "pin", "the operator's of party 2", "the certificate of party 2 expired 2 days ago");
    });
    node.join().unwrap();
    fs::rename(&key, &kept).unwrap();
    write("party-1.pem", &expired);
    let ours = |deployment: &mut Deployment| deployment.parties[0].certificate = expired.fingerprint().into();
    with_cluster(&trial, ours, || {
        let (_, found) = examined(&trial);
        assert!(found[0]["subject"] == "key" && found[0]["whose"] == "yours", "{found:?}");
        assert!(found[0]["found"].as_str().unwrap().contains("expired 2 days ago"), "{found:?}");
    });
    fs::rename(&kept, &key).unwrap();
    // 5. A peer that is blocked: connections are taken, and nothing comes back.
    let silent = TcpListener::bind(trial.address(7778)).unwrap();
    with_cluster(&trial, second(&trial.address(7778)), || {
        finds(&trial, "connection", "the operator's of party 2", "did not finish");
    });
    drop(silent);
    // 6. A key of another role.
    with_line(&trial, "party-1.pem", "owner.pem", || finds(&trial, "key", "yours", "is that of model owner"));
    // 7. An old version.
    let old = TcpListener::bind(trial.address(7779)).unwrap();
    let node = old_node(old, fs::read_to_string(trial.at("party-2.pem")).unwrap());
    with_cluster(&trial, second(&trial.address(7779)), || {
        finds(&trial, "version", "the operator's of party 2", "party 2");
    });
    node.join().unwrap();
    // One whose messages are older, and names itself.
    let hello = Hello { channel: Channel::Look, cluster: [0; 32], parties: 2 };
    let greeting = Some(encode_as(&hello, VERSION - 1, "0.0.9").unwrap());
    let node = Fake { greeting, ..Fake::like(&trial) }.listen(&trial, &other, "party-2.pem");
    with_cluster(&trial, second(&other), || {
        let words = format!("it runs amicus 0.0.9, wire version {}, we run amicus", VERSION - 1);
        finds(&trial, "version", "the operator's of party 2", &words);
    });
    node.join().unwrap();
    // 8. Another plan than the cluster's.
    let shipped = trial.at("shipped.amc");
    assert!(amicus(&["export", "lenet5-mnist-degree2", "-o", text(&shipped)]).status.success());
    assert!(amicus(&["plan", text(&shipped), "-o", text(&trial.at("other.plan"))]).status.success());
    with_line(&trial, "tiny.plan", "other.plan", || finds(&trial, "plans", "yours", "is none of the models"));
    // A plan that another node does not serve, and one that only it does.
    let node = Fake { plans: vec![PlanDigest([9; 32])], ..Fake::like(&trial) };
    let node = node.listen(&trial, &other, "party-2.pem");
    with_cluster(&trial, second(&other), || {
        let (code, found) = examined(&trial);
        assert_eq!((code, found.len()), (Some(1), 2), "{found:?}");
        for (finding, words) in found.iter().zip(["does not serve plan", "serves plan 0909"]) {
            assert!(finding["subject"] == "plans" && finding["whose"] == "the operator's of party 2");
            assert!(finding["found"].as_str().unwrap().contains(words), "{finding}");
        }
    });
    node.join().unwrap();
    // 9. A full disk.
    with_line(&trial, "disk = \"1 MiB\"", "disk = \"10000000 GiB\"", || {
        finds(&trial, "disk", "yours", "are wanted");
    });
    // 10. A key that others can read.
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    finds(&trial, "key", "yours", "others may read or write it");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    // Keys that cannot be read: none, and something else.
    fs::rename(&key, &kept).unwrap();
    finds(&trial, "key", "yours", "there is no such file");
    fs::write(&key, "nonsense").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    finds(&trial, "key", "yours", "is no identity");
    fs::rename(&kept, &key).unwrap();
    // 11. A name that is not found.
    with_cluster(&trial, second("no-such-host.invalid:7000"), || {
        finds(&trial, "dns", "the operator's of party 2", "is not found");
    });
    // 12. A file of another cluster.
    with_cluster(
        &trial,
        |deployment| deployment.id = Some(ClusterId::random().unwrap()),
        || {
            let (_, found) = examined(&trial);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(
                found.iter().all(|f| f["subject"] == "cluster" && f["whose"] == "all operators'"),
                "{found:?}"
            );
        },
    );
    // 13. Ports that other programs have.
    for (port, words) in [(7001, "another program has it"), (9101, "`monitor`")] {
        let taken = TcpListener::bind(trial.address(port)).unwrap();
        finds(&trial, "port", "yours", words);
        drop(taken);
    }
    // 14. A mistake in its own file.
    with_line(&trial, "monitor", "monitr", || finds(&trial, "files", "yours", "did you mean `monitor`?"));
    assert_eq!(examined(&trial), (Some(0), vec![]));
}

#[test]
fn a_node_that_runs_is_examined_without_being_disturbed() {
    let trial = Trial::new();
    let nodes = ["helper", "party-1", "party-2"].map(|name| trial.start(name));
    trial.owner_loads();
    nodes.iter().for_each(|node| drop(node.answers("/readyz", 200, "ready")));
    let sessions = |node: &Node| node.metric("amicus_sessions_total{outcome=\"ok\"}").unwrap();
    let before = nodes.each_ref().map(sessions);
    for _ in 0..3 {
        assert_eq!(examined(&trial), (Some(0), vec![]));
    }
    assert_eq!(nodes.each_ref().map(sessions), before);
    nodes.iter().for_each(|node| drop(node.answers("/readyz", 200, "ready")));
    // For people it is a line each, with the same code.
    let shown = amicus(&["doctor", "--config", text(&trial.config("party-1"))]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("the node runs") && shown.ends_with("nothing is wrong\n"), "{shown}");
    assert_eq!(crate::common::too_wide(&shown, 80), [""; 0]);
}
