//! A cluster of services in this process, on an address of its own.

use amicus::deployment::{ClusterId, DeployedModel, Deployment, DeploymentLimits, Node, User};
use amicus::files::{Existing, new_identity, write_plan};
use amicus::https::{self, HttpsClient};
use amicus::model::function::{Elementary, Function};
use amicus::model::publish::published;
use amicus::model::{CompileOptions, Compiled, GraphBuilder, compile};
use amicus::net::Fingerprint;
use amicus::node::Peer;
use amicus::{Expected, Identity, Model, Owner, Plan};
use amicus_service::token::{Grant, NewToken, NodeTag, Token, TokenRole, Tokens};
use amicus_service::{LogConfig, NodeConfig, NodeLimits, PublicConfig, PublicLimits, Service, ServiceRole};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use zeroize::Zeroizing;

/// Tests of one process run at the same time; each cluster has an address of its own.
static CLUSTERS: AtomicU8 = AtomicU8::new(1);

const PARTIES: usize = 2;

pub(crate) struct Cluster {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) deployment: Deployment,
    /// The helper, then the parties.
    pub(crate) services: Vec<Option<Service>>,
    pub(crate) configs: Vec<NodeConfig>,
    pub(crate) compiled: Compiled,
    pub(crate) model: Option<Model>,
    pub(crate) reach: Reach,
}

/// How nodes are reached, for threads.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) public: Vec<SocketAddr>,
    pub(crate) fingerprints: Vec<Fingerprint>,
}

fn network() -> Compiled {
    let mut network = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
    let x = network.input();
    let x = network.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
    let x = network.polynomial("activation", x, 2.0, vec![0.1, 0.5, 0.25]);
    let x = network.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], None);
    let typical: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32 / 4.0 - 1.0, 0.5]).collect();
    let options = CompileOptions { watch: true, ..CompileOptions::default() };
    compile(&network.finish(x).unwrap(), &typical, &options).unwrap()
}

/// Sums of two numbers that calibration data keep near 0, and the ReLUs of these.
pub(crate) fn sums() -> Compiled {
    let mut network = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
    let x = network.input();
    let x = network.linear("first", x, 2, vec![64.0, 64.0, 0.5, -0.5], Some(vec![0.1, 0.2]));
    let x = network.activation("relu", x, Function::elementary(Elementary::Relu));
    let x = network.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], Some(vec![0.1, -0.1]));
    let near = |i: i32| vec![i as f32 / 8.0, 0.01 * (i % 3) as f32 - i as f32 / 8.0];
    let typical: Vec<Vec<f32>> = (-8..=8).map(near).collect();
    let options = CompileOptions { watch: true, ..CompileOptions::default() };
    compile(&network.finish(x).unwrap(), &typical, &options).unwrap()
}

/// The network with weights that everybody knows.
pub(crate) fn public() -> Compiled {
    let compiled = network();
    let (plan, weights, factors) =
        published(&compiled.plan, &compiled.weights, compiled.factors.clone()).unwrap();
    Compiled { plan, weights, factors, ..compiled }
}

/// What the network says of an image.
pub(crate) fn expected(image: [f32; 2]) -> [f64; 2] {
    let [a, b] = image.map(f64::from);
    // Coefficients are those of x over the interval's end, 2.
    let bent = [0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b].map(|x| x / 2.0).map(|t| 0.1 + 0.5 * t + 0.25 * t * t);
    [bent[0] - 0.5 * bent[1], 0.25 * bent[0] + bent[1]]
}

pub(crate) fn assert_right(image: [f32; 2], logits: &[f64]) {
    assert_eq!(logits.len(), 2, "{logits:?}");
    for (is, should) in logits.iter().zip(expected(image)) {
        assert!((is - should).abs() < 0.02, "{logits:?} for {image:?}, expected {:?}", expected(image));
    }
}

/// Holds the numbers that are revealed to the network: behind the outputs some say that no hidden
/// value was outside.
pub(crate) fn assert_revealed(plan: &Plan, image: [f32; 2], revealed: &[f64]) {
    let (logits, outside) = plan.answer(revealed);
    assert!(outside == Some(false) && revealed.len() > logits.len(), "{revealed:?}");
    assert_right(image, logits);
}

/// How a cluster is set up.
pub(crate) struct Setup {
    pub(crate) limits: PublicLimits,
    pub(crate) origins: Vec<String>,
    pub(crate) load: bool,
    pub(crate) network: fn() -> Compiled,
    /// What the helper's machine gives.
    pub(crate) helper: NodeLimits,
    /// What the last party's machine gives.
    pub(crate) party: NodeLimits,
    /// Seconds to wait for a message of a round.
    pub(crate) round: u32,
}

impl Default for Setup {
    fn default() -> Self {
        let (limits, helper, party) = (PublicLimits::default(), NodeLimits::default(), NodeLimits::default());
        let round = DeploymentLimits::default().round;
        Setup { limits, origins: Vec::new(), load: true, network, helper, party, round }
    }
}

impl Setup {
    pub(crate) fn start(self) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let compiled = (self.network)();
        let pid = std::process::id().to_le_bytes();
        let host =
            IpAddr::V4(Ipv4Addr::new(127, 64 | pid[1] & 63, pid[0], CLUSTERS.fetch_add(1, Ordering::SeqCst)));
        let at = |port: u16| SocketAddr::from((host, port)).to_string();
        let names: Vec<String> =
            ["helper".to_owned()].into_iter().chain((1..=PARTIES).map(|n| format!("party-{n}"))).collect();
        let identity = |name: &str| {
            new_identity(&folder.path().join(format!("{name}.pem")), name, None, Existing::Keep)
                .unwrap()
                .fingerprint()
        };
        let fingerprints: Vec<Fingerprint> = names.iter().map(|name| identity(name)).collect();
        let node = |n: usize| Node {
            address: at(7000 + n as u16),
            listen: None,
            public: Some(at(7100 + n as u16)),
            authorities: false,
            certificate: fingerprints[n].into(),
        };
        let plan = compiled.plan.digest().unwrap();
        write_plan(&folder.path().join("tiny.plan"), &compiled.plan, Existing::Keep).unwrap();
        let deployment = Deployment {
            cluster: "test".into(),
            id: Some(ClusterId::random().unwrap()),
            helper: node(0),
            parties: (1..=PARTIES).map(node).collect(),
            owner: User { certificate: identity("owner").into() },
            clients: BTreeMap::from([("alice".to_owned(), User { certificate: identity("alice").into() })]),
            models: BTreeMap::from([("tiny".to_owned(), DeployedModel { plan })]),
            limits: DeploymentLimits { batch: Some(4), round: self.round, ..DeploymentLimits::default() },
        };
        let file = folder.path().join("cluster.toml");
        std::fs::write(&file, deployment.to_toml().unwrap()).unwrap();
        let config = |(n, name): (usize, &String)| NodeConfig {
            cluster: file.clone(),
            key: folder.path().join(format!("{name}.pem")),
            folder: folder.path().join(name),
            plans: vec![folder.path().join("tiny.plan")],
            listen: None,
            monitor: Some(at(7200 + n as u16).parse().unwrap()),
            public: Some(PublicConfig {
                listen: at(7100 + n as u16),
                certificate: None,
                key: None,
                origins: self.origins.clone(),
                limits: self.limits,
            }),
            threads: 1,
            shutdown: 1,
            log: LogConfig::default(),
            limits: match n {
                0 => self.helper,
                PARTIES => self.party,
                _ => NodeLimits::default(),
            },
        };
        let configs: Vec<NodeConfig> = names.iter().enumerate().map(config).collect();
        let services = configs.iter().map(|_| None).collect();
        let public = (0..=PARTIES).map(|n| at(7100 + n as u16).parse().unwrap()).collect();
        let reach = Reach { public, fingerprints };
        let mut cluster = Cluster { folder, deployment, services, configs, compiled, model: None, reach };
        (0..=PARTIES).for_each(|n| cluster.start(n));
        if self.load {
            let owner = cluster.identity("owner");
            let mut owner = Owner::connect(&cluster.deployment, owner, cluster.plan()).unwrap();
            cluster.model = Some(owner.load(&cluster.compiled.weights).unwrap());
        }
        cluster
    }
}

impl Cluster {
    /// One with a model loaded.
    pub(crate) fn loaded() -> Self {
        Setup::default().start()
    }

    pub(crate) fn start(&mut self, n: usize) {
        let role = if n == 0 { ServiceRole::Helper } else { ServiceRole::Party };
        self.services[n] = Some(Service::start(&self.configs[n], role).unwrap());
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::new(self.compiled.plan.clone())
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        amicus::files::read_identity(&self.folder.path().join(format!("{name}.pem"))).unwrap()
    }

    pub(crate) fn nodes(&self) -> Vec<Peer> {
        let parties = self.deployment.count().unwrap();
        [Peer::Helper].into_iter().chain(parties.all().map(Peer::Party)).collect()
    }

    /// Tokens of a node, as its operator has them.
    pub(crate) fn tokens_of(&self, n: usize) -> Tokens {
        Tokens::open(&self.configs[n].folder, NodeTag::of(&self.reach.fingerprints[n])).unwrap()
    }

    pub(crate) fn token(&self, n: usize, new: NewToken) -> (Token, Grant) {
        self.tokens_of(n).make(new).unwrap()
    }

    /// A token of every node for somebody.
    pub(crate) fn all_tokens(&self, new: &NewToken) -> https::Tokens {
        let mut all = https::Tokens::default();
        for (n, node) in self.nodes().into_iter().enumerate() {
            let token = self.token(n, new.clone()).0;
            all.insert(node, Zeroizing::new(token.reveal().to_owned()));
        }
        all
    }

    pub(crate) fn client(&self, new: &NewToken) -> HttpsClient {
        let tokens = self.all_tokens(new);
        HttpsClient::connect(&self.deployment, &tokens, self.plan(), Expected::Any).unwrap()
    }

    /// A counter of a node's.
    pub(crate) fn metric(&self, n: usize, line: &str) -> u64 {
        self.metrics(n, [line])[0]
    }

    /// Counters of a node's at one moment.
    pub(crate) fn metrics<const N: usize>(&self, n: usize, lines: [&str; N]) -> [u64; N] {
        use std::io::{Read, Write};
        let monitor = self.services[n].as_ref().unwrap().monitor().unwrap();
        let mut socket = std::net::TcpStream::connect(monitor).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        lines.map(|line| {
            let found = text.lines().find_map(|l| l.strip_prefix(line));
            found.unwrap_or_else(|| panic!("no {line} in {text}")).trim().parse().unwrap()
        })
    }

    /// Requests of a node's public port that ended so.
    pub(crate) fn outcomes(&self, n: usize, outcome: &str) -> u64 {
        self.metric(n, &format!("amicus_api_requests_total{{outcome=\"{outcome}\"}}"))
    }
}

/// A client's token without bounds.
pub(crate) fn of_client(name: &str) -> NewToken {
    let (models, role) = (Vec::new(), TokenRole::Client);
    NewToken { name: name.into(), role, models, quota: None, rate: None, lanes: 8, days: None }
}

pub(crate) fn of_owner(name: &str) -> NewToken {
    NewToken { role: TokenRole::Owner, ..of_client(name) }
}
