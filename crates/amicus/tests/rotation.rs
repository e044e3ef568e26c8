//! Nodes of a running cluster change their keys and addresses, and clients go on.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use amicus::deployment::{ClusterId, DeploymentLimits, Node, User};
use amicus::model::{CompileOptions, Compiled, GraphBuilder, compile};
use amicus::{Client, Deployment, Error, Expected, Helper, Identity, Owner, Party, Plan};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

fn compiled() -> Compiled {
    let mut graph = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
    let x = graph.input();
    let x = graph.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
    let x = graph.polynomial("activation", x, 2.0, vec![0.1, 0.5, 0.25]);
    let x = graph.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], None);
    let samples: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32 / 4.0 - 1.0, 1.0 - i as f32 / 5.0]).collect();
    compile(&graph.finish(x).unwrap(), &samples, &CompileOptions::default()).unwrap()
}

/// Addresses that are free: ports below those that the system gives to outgoing connections.
/// Processes with neighbouring numbers look far from each other.
fn free_addresses<const N: usize>() -> [String; N] {
    let first = 10_000 + (std::process::id() % 296 * 64 + 32) as u16;
    let free = (first..).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<u16> = free.take(N).collect();
    // By name: nodes resolve it for every attempt.
    std::array::from_fn(|n| format!("localhost:{}", ports[n]))
}

fn new_identity(name: &str) -> Arc<Identity> {
    Arc::new(Identity::generate(name).unwrap())
}

/// Identities of helper, two parties, owner and client.
struct Keys([Arc<Identity>; 5]);

impl Keys {
    fn of(&self, at: usize) -> Arc<Identity> {
        Arc::clone(&self.0[at])
    }
}

fn deployment(keys: &Keys, addresses: [String; 3]) -> Deployment {
    let fingerprint = |at: usize| keys.0[at].fingerprint().into();
    let [helper, one, two] = addresses;
    let node = |address: String, at| {
        let port = address.rsplit_once(':').unwrap().1;
        let listen = Some(format!("127.0.0.1:{port}"));
        Node { address, listen, public: None, authorities: false, certificate: fingerprint(at) }
    };
    Deployment {
        cluster: "rotation".into(),
        id: Some(ClusterId::random().unwrap()),
        helper: node(helper, 0),
        parties: vec![node(one, 1), node(two, 2)],
        owner: User { certificate: fingerprint(3) },
        clients: BTreeMap::from([("alice".into(), User { certificate: fingerprint(4) })]),
        models: BTreeMap::new(),
        limits: DeploymentLimits { round: 120, inference: 240, load: 240, ..DeploymentLimits::default() },
    }
}

fn helper(deployment: &Deployment, keys: &Keys, plan: &Arc<Plan>, folder: &Path) -> Helper {
    Helper::start(deployment, keys.of(0), [Arc::clone(plan)], folder.join("helper")).unwrap()
}

fn party(deployment: &Deployment, me: &Arc<Identity>, plan: &Arc<Plan>, folder: &Path) -> Party {
    let name = deployment.role_of(me.fingerprint()).unwrap().to_string();
    Party::start(deployment, Arc::clone(me), [Arc::clone(plan)], folder.join(name)).unwrap()
}

/// An answer of the cluster, once it serves its model again.
fn answer(deployment: &Deployment, keys: &Keys, plan: &Arc<Plan>) -> usize {
    let deadline = Instant::now() + PATIENCE;
    // One try does not take all of the time.
    let mut brief = deployment.clone();
    brief.limits = DeploymentLimits { round: 10, inference: 20, ..brief.limits };
    loop {
        let client = Client::connect(&brief, keys.of(4), Arc::clone(plan), Expected::Any);
        match client.and_then(|mut client| client.infer(&[1.0, -0.5])) {
            Ok(answer) => return answer.class(),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_party_changes_its_key_while_the_cluster_serves() {
    let folder = tempfile::tempdir().unwrap();
    let Compiled { plan, weights, .. } = compiled();
    let (plan, folder) = (Arc::new(plan), folder.path());
    let keys = Keys(["helper", "party 1", "party 2", "owner", "alice"].map(new_identity));
    let before = deployment(&keys, free_addresses());
    let first = helper(&before, &keys, &plan, folder);
    let one = party(&before, &keys.of(1), &plan, folder);
    let two = party(&before, &keys.of(2), &plan, folder);
    Owner::connect(&before, keys.of(3), Arc::clone(&plan)).unwrap().load(&weights).unwrap();
    let class = answer(&before, &keys, &plan);

    // Everybody learns the new certificate beside the old one, and nobody restarts.
    let new = new_identity("party 2, 2027");
    let mut during = before.clone();
    assert!(during.parties[1].certificate.add(new.fingerprint()));
    first.replace(&during, keys.of(0)).unwrap();
    one.replace(&during, keys.of(1)).unwrap();
    // Whose certificates others do not know yet cannot show it, and nobody takes another's place.
    assert!(matches!(two.replace(&before, Arc::clone(&new)), Err(Error::Identity { .. })));
    assert!(matches!(two.replace(&during, keys.of(1)), Err(Error::OtherSeat { .. })));
    let mut other = during.clone();
    other.id = Some(ClusterId::random().unwrap());
    assert!(matches!(two.replace(&other, Arc::clone(&new)), Err(Error::Deployment(_))));
    two.replace(&during, Arc::clone(&new)).unwrap();
    // Links that are there stay; users that know the old certificate alone find the new one wrong.
    assert_eq!(answer(&during, &keys, &plan), class);

    // The old certificate is forgotten everywhere. Each node restarts with its folder, one after the
    // other, and comes through to the party by its new key; its model is served without its owner.
    let mut after = during.clone();
    after.parties[1].certificate = new.fingerprint().into();
    first.replace(&after, keys.of(0)).unwrap();
    one.replace(&after, keys.of(1)).unwrap();
    two.replace(&after, Arc::clone(&new)).unwrap();
    // A node that knows the new certificate alone sees it of the party that never restarted ...
    drop(one);
    let one = party(&after, &keys.of(1), &plan, folder);
    assert_eq!(answer(&after, &keys, &plan), class);
    // ... and a helper that never restarted lets it in.
    drop(two);
    let two = party(&after, &new, &plan, folder);
    assert_eq!(answer(&after, &keys, &plan), class);
    drop(first);
    let first = helper(&after, &keys, &plan, folder);
    assert_eq!(answer(&after, &keys, &plan), class);

    // Who stole the old key reaches nobody: neither may it listen in the party's place ...
    drop(two);
    let stolen = Party::start(&before, keys.of(2), [Arc::clone(&plan)], folder.join("stolen")).unwrap();
    let mut impatient = after.clone();
    impatient.limits = DeploymentLimits { round: 1, inference: 1, load: 1, ..impatient.limits };
    let refused = Client::connect(&impatient, keys.of(4), Arc::clone(&plan), Expected::Any).err().unwrap();
    assert!(refused.to_string().contains("party 2"), "{refused}");
    // ... nor is it let in.
    let mut first = first;
    let (deadline, thief) = (Instant::now() + PATIENCE, keys.0[2].fingerprint().to_string());
    while !first.next_notice(PATIENCE).is_some_and(|notice| notice.to_string().contains(&thief)) {
        assert!(Instant::now() < deadline, "nobody told of the old key");
    }
    drop((stolen, one));
}

#[test]
fn without_an_id_a_node_has_one_certificate() {
    let keys = Keys(["helper", "party 1", "party 2", "owner", "alice"].map(new_identity));
    let mut two = deployment(&keys, free_addresses());
    assert!(two.helper.certificate.add(new_identity("helper, 2027").fingerprint()));
    two.check().unwrap();
    two.id = None;
    let error = two.check().unwrap_err().to_string();
    assert!(error.contains("`certificate` of helper") && error.contains("needs an `id`"), "{error}");
}
