//! The roles of a deployment, each started as a program of its own would.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use amicus::deployment::{Deployment, DeploymentLimits, Node, User};
use amicus::model::function::{Elementary, Function};
use amicus::model::{CompileOptions, Compiled, GraphBuilder, compile};
use amicus::protocol::peer::Peer;
use amicus::{
    Answer, Client, Error, Expected, Helper, Identity, ModelFingerprint, Notice, Owner, Party, Plan,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);

/// A network of two layers.
fn compiled(name: &str) -> Compiled {
    let mut graph = GraphBuilder::new(name, &[2], -1.0..=1.0);
    let x = graph.input();
    let x = graph.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
    let x = graph.polynomial("activation", x, 2.0, vec![0.1, 0.5, 0.25]);
    let x = graph.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], Some(vec![0.1, -0.1]));
    let samples: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32 / 4.0 - 1.0, 1.0 - i as f32 / 5.0]).collect();
    compile(&graph.finish(x).unwrap(), &samples, &CompileOptions::default()).unwrap()
}

/// The network computed by hand.
fn network(x: &[f32]) -> [f64; 2] {
    let [x, y] = [f64::from(x[0]), f64::from(x[1])];
    // Polynomials are of arguments in units of their interval.
    let activation = |z: f64| 0.1 + 0.5 * (z / 2.0) + 0.25 * (z / 2.0).powi(2);
    let [a, b] = [0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y].map(activation);
    [a - 0.5 * b + 0.1, 0.25 * a + b - 0.1]
}

/// A port that is free, below those that the system gives to outgoing connections. Processes with
/// neighbouring numbers look far from each other.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 312 * 64;
    loop {
        let port = 10_000 + ((first + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A deployment on this machine and everybody's identity.
struct World {
    deployment: Deployment,
    identities: BTreeMap<String, Arc<Identity>>,
    plan: Arc<Plan>,
}

impl World {
    fn new(parties: usize, plan: &Plan) -> Self {
        let mut identities = BTreeMap::new();
        let mut certificate = |name: String| {
            let identity = Identity::generate(&name).unwrap();
            let fingerprint = identity.fingerprint();
            identities.insert(name, Arc::new(identity));
            fingerprint
        };
        let mut node = |name: String| Node {
            address: format!("127.0.0.1:{}", free_port()),
            listen: None,
            public: None,
            authorities: false,
            certificate: certificate(name).into(),
        };
        let helper = node("helper".into());
        let parties = (1..=parties).map(|n| node(format!("party {n}"))).collect();
        let owner = User { certificate: certificate("owner".into()).into() };
        let clients =
            BTreeMap::from([("alice".into(), User { certificate: certificate("alice".into()).into() })]);
        // Deadlines of a machine that has other things to do.
        let limits =
            DeploymentLimits { round: 120, inference: 240, load: 240, ..DeploymentLimits::default() };
        let deployment = Deployment {
            cluster: "test".into(),
            id: None,
            helper,
            parties,
            owner,
            clients,
            models: BTreeMap::new(),
            limits,
        };
        World { deployment, identities, plan: Arc::new(plan.clone()) }
    }

    fn identity(&self, name: &str) -> Arc<Identity> {
        Arc::clone(&self.identities[name])
    }

    fn party(&self, name: &str, folder: &Path) -> Result<Party, Error> {
        Party::start(&self.deployment, self.identity(name), [Arc::clone(&self.plan)], folder)
    }

    fn helper(&self, name: &str, folder: &Path) -> Result<Helper, Error> {
        Helper::start(&self.deployment, self.identity(name), [Arc::clone(&self.plan)], folder)
    }

    fn owner(&self, name: &str) -> Result<Owner, Error> {
        Owner::connect(&self.deployment, self.identity(name), Arc::clone(&self.plan))
    }

    fn client(&self, name: &str, expected: Expected) -> Result<Client, Error> {
        Client::connect(&self.deployment, self.identity(name), Arc::clone(&self.plan), expected)
    }

    /// What each role says that is started with this identity.
    fn start_all(&self, name: &str, folder: &Path) -> [Option<Error>; 4] {
        [
            self.helper(name, &folder.join("helper")).err(),
            self.party(name, &folder.join("party")).err(),
            self.owner(name).err(),
            self.client(name, Expected::Any).err(),
        ]
    }
}

#[test]
fn roles_that_share_a_deployment_classify_images() {
    let folder = tempfile::tempdir().unwrap();
    let Compiled { plan, weights, .. } = compiled("tiny");
    let world = World::new(3, &plan);
    let at = |name: &str| folder.path().join(name);
    let helper = world.helper("helper", &at("helper")).unwrap();
    assert_eq!(helper.address().to_string(), world.deployment.helper.address);
    let names = ["party 1", "party 2", "party 3"];
    let mut parties = names.map(|name| world.party(name, &at(name)).unwrap());
    for (party, name) in parties.iter().zip(names) {
        assert_eq!(party.number().to_string(), name);
    }
    let model = world.owner("owner").unwrap().load(&weights).unwrap();

    let mut client = world.client("alice", Expected::Model(model.fingerprint)).unwrap();
    assert_eq!(client.compare(Expected::Any).unwrap(), model.fingerprint);
    let images: [&[f32]; 3] = [&[0.5, -0.25], &[-1.0, 1.0], &[0.0, 0.75]];
    let by_hand = images.map(network);
    let batch = client.infer_batch(&images).unwrap();
    for ((image, expected), of_batch) in images.iter().zip(&by_hand).zip(&batch) {
        let alone = client.infer(image).unwrap();
        for answer in [of_batch, &alone] {
            let apart = answer.logits().iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f64::max) < 0.01, "{:?}, {expected:?}", answer.logits());
            assert_eq!(format!("{answer:?}"), "Answer { logits: 2 }");
        }
    }
    assert!(matches!(client.infer_batch(&[]), Err(Error::NoImages)));
    assert!(matches!(client.infer(&[0.5]), Err(Error::Input(_))));
    assert!(matches!(client.infer(&[0.5, f32::NAN]), Err(Error::Input(_))));

    // What its operator hears: everything that happened, each on one line. The last inference ends
    // there after its client has the answer.
    let mut lines: Vec<String> = Vec::new();
    while lines.iter().filter(|line| line.ends_with("ended well")).count() < 4 {
        lines.push(parties[0].next_notice(PATIENCE).unwrap_or_else(|| panic!("{lines:?}")).to_string());
    }
    assert!(lines.iter().any(|line| line.starts_with("a model is loaded")), "{lines:?}");
    assert!(lines.iter().all(|line| line.lines().count() == 1));

    // Another model than its owner's, and another plan than the nodes', are noticed at once.
    drop(client);
    let wrong = ModelFingerprint([7; 32]);
    match world.client("alice", Expected::Model(wrong)).err() {
        Some(Error::OtherModel { found, expected }) => {
            assert_eq!((found, expected), (model.fingerprint, wrong));
        }
        other => panic!("{other:?}"),
    }
    let none = "zz".parse::<ModelFingerprint>().unwrap_err().to_string();
    assert!(none.starts_with("\"zz\" is no fingerprint of a model"), "{none}");
    assert_eq!(model.fingerprint.to_string().parse::<ModelFingerprint>().unwrap(), model.fingerprint);
    let mut other = World { plan: Arc::new(compiled("other").plan), ..world };
    other.deployment.limits.round = 5;
    let error = other.client("alice", Expected::Any).err().unwrap().to_string();
    assert!(error.contains("incompatible") && error.contains("is not served"), "{error}");
}

/// Sums of two numbers that calibration data keep near 0, and the ReLUs of these.
fn watched() -> Compiled {
    let mut graph = GraphBuilder::new("sums", &[2], -1.0..=1.0);
    let x = graph.input();
    let x = graph.linear("first", x, 2, vec![8.0, 8.0, 0.5, -0.5], Some(vec![0.1, 0.2]));
    let x = graph.activation("relu", x, Function::elementary(Elementary::Relu));
    let x = graph.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], Some(vec![0.1, -0.1]));
    let samples: Vec<Vec<f32>> =
        (-8..=8).map(|i| vec![i as f32 / 8.0, 0.01 * (i % 3) as f32 - i as f32 / 8.0]).collect();
    let options = CompileOptions { watch: true, ..CompileOptions::default() };
    compile(&graph.finish(x).unwrap(), &samples, &options).unwrap()
}

#[test]
fn clients_are_told_when_hidden_values_are_outside() {
    let folder = tempfile::tempdir().unwrap();
    let Compiled { plan, weights, report, .. } = watched();
    assert!(report.watch.unwrap().complete);
    let world = World::new(2, &plan);
    let at = |name: &str| folder.path().join(name);
    let _helper = world.helper("helper", &at("helper")).unwrap();
    let _parties = ["party 1", "party 2"].map(|name| world.party(name, &at(name)).unwrap());
    world.owner("owner").unwrap().load(&weights).unwrap();
    let mut client = world.client("alice", Expected::Any).unwrap();
    // In a batch those alone are told that are outside: a sum 16 times as large as calibration's.
    let images: [&[f32]; 3] = [&[0.5, -0.49], &[1.0, 1.0], &[-0.25, 0.25]];
    let answers = client.infer_batch(&images).unwrap();
    assert_eq!(
        answers.iter().map(Answer::outside).collect::<Vec<_>>(),
        [Some(false), Some(true), Some(false)]
    );
    assert!(answers.iter().all(|answer| answer.logits().len() == 2));
    // relu(8 * 0.01 + 0.1) = 0.18 and relu(0.495 + 0.2) = 0.695.
    let expected = [0.18 - 0.5 * 0.695 + 0.1, 0.25 * 0.18 + 0.695 - 0.1];
    let apart = answers[0].logits().iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f64::max) < 0.01, "{:?}", answers[0].logits());
    assert_eq!(client.infer(&[-1.0, -1.0]).unwrap().outside(), Some(true));
}

#[test]
fn nodes_come_back_with_their_folders_and_to_their_cluster_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Compiled { plan, weights, .. } = compiled("tiny");
    let mut world = World::new(2, &plan);
    let at = |name: &str| folder.path().join(name);
    let mut nodes = Vec::new();
    for _ in 0..2 {
        drop(std::mem::take(&mut nodes));
        let helper = world.helper("helper", &at("helper")).unwrap();
        nodes.push((helper, ["party 1", "party 2"].map(|name| world.party(name, &at(name)).unwrap())));
        let again = world.party("party 1", &at("party 1")).err().unwrap().to_string();
        assert!(again.contains("another process uses this folder"), "{again}");
        world.owner("owner").unwrap().load(&weights).unwrap();
        let mut client = world.client("alice", Expected::Any).unwrap();
        assert_eq!(client.infer(&[0.5, -0.25]).unwrap().logits().len(), 2);
    }
    drop(nodes);
    world.deployment.cluster = "another".into();
    for error in [
        world.helper("helper", &at("helper")).err().unwrap(),
        world.party("party 1", &at("party 1")).err().unwrap(),
    ] {
        assert!(matches!(&error, Error::Node { .. }) && error.to_string().contains("cluster"), "{error}");
    }
}

#[test]
fn an_identity_is_good_for_its_own_role_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(2, &compiled("tiny").plan);
    world.deployment.limits.round = 1;
    let stranger = Arc::new(Identity::generate("stranger").unwrap());
    world.identities.insert("stranger".into(), stranger);
    for (name, is, own) in [
        ("helper", "is that of helper in", 0),
        ("party 2", "is that of party 2 in", 1),
        ("owner", "is that of model owner in", 2),
        ("alice", "is that of client alice in", 3),
        ("stranger", "is nobody's in", 4),
    ] {
        for (at, error) in world.start_all(name, folder.path()).into_iter().enumerate() {
            match error {
                Some(error @ Error::Identity { .. }) if at != own => {
                    assert!(error.to_string().contains(is), "{error}");
                }
                // A client finds no party that answers.
                Some(Error::Node { .. }) if (at, own) == (3, 3) => {}
                None if at == own => {}
                other => panic!("{name}, role {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_role_checks_the_deployment_and_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["helper", "party 1", "owner", "alice"];
    let start_all = |world: &World| {
        let started = names.map(|name| world.start_all(name, folder.path()));
        let [[helper, ..], [_, party, ..], [_, _, owner, _], [.., client]] = started;
        [helper, party, owner, client].map(Option::unwrap)
    };
    let mut world = World::new(2, &compiled("tiny").plan);
    world.deployment.parties[0].address = world.deployment.parties[1].address.clone();
    world.deployment.limits.round = 1;
    for error in start_all(&world) {
        assert!(matches!(error, Error::Deployment(_)), "{error}");
        assert!(error.to_string().contains("`address` of party 2"), "{error}");
    }
    let mut world = World::new(2, &compiled("tiny").plan);
    let mut plan = (*world.plan).clone();
    plan.ops.clear();
    world.plan = Arc::new(plan);
    for error in start_all(&world) {
        assert!(matches!(error, Error::Plan(_) | Error::Node { .. }), "{error}");
    }
    // Whoever is nobody's peer leaves nothing on the disk.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_does_not_come_is_named_with_what_its_connection_says() {
    let folder = tempfile::tempdir().unwrap();
    let Compiled { plan, weights, .. } = compiled("tiny");
    let mut world = World::new(2, &plan);
    // Longer than one attempt to connect, of ten seconds.
    world.deployment.limits.load = 2;
    world.deployment.limits.round = 2;
    let mut helper = world.helper("helper", &folder.path().join("helper")).unwrap();
    let _first = world.party("party 1", &folder.path().join("party 1")).unwrap();
    let error = world.owner("owner").unwrap().load(&weights).unwrap_err().to_string();
    assert!(error.contains("party 2") && error.contains(&world.deployment.parties[1].address), "{error}");
    // A peer that the deployment does not know is told of at the node it knocks at.
    let stranger = Arc::new(Identity::generate("stranger").unwrap());
    let fingerprint = stranger.fingerprint();
    world.deployment.clients.get_mut("alice").unwrap().certificate = fingerprint.into();
    world.identities.insert("alice".into(), stranger);
    assert!(world.client("alice", Expected::Any).is_err());
    let deadline = std::time::Instant::now() + PATIENCE;
    let knocked = |notice: &Notice| notice.to_string().contains(&fingerprint.to_string());
    while !helper.next_notice(PATIENCE).as_ref().is_some_and(knocked) {
        assert!(std::time::Instant::now() < deadline, "nobody told of the stranger");
    }
    assert_eq!(world.deployment.role_of(fingerprint), Some(Peer::Client("alice".into())));
}
