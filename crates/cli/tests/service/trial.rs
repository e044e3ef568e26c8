//! A cluster of real processes on this machine, set up by the commands of docs/deploy.md.

use crate::common::{program, text};
use amicus::deployment::DeploymentLimits;
use amicus::files::{read_identity, read_plan, write_plan};
use amicus::model::private_file::Existing;
use amicus::model::{CompileOptions, Compiled, GraphBuilder, QuantizedWeights, compile};
use amicus::{Client, Deployment, Expected, Model, Owner};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Until anything is given up. Nothing is measured: a busy machine is only slower.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Numbers that are found in no log by chance.
pub(crate) const IMAGE: [f32; 2] = [0.734_817_3, -0.518_264_9];

/// Files of a cluster, in one folder; operators' own files have the names of their nodes.
pub(crate) struct Trial {
    pub(crate) folder: tempfile::TempDir,
    /// Addresses of this test alone: `127.x.y.z`.
    net: [u8; 3],
    weights: QuantizedWeights,
}

fn tiny() -> Compiled {
    let mut graph = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
    let x = graph.input();
    let x = graph.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
    let x = graph.polynomial("activation", x, 2.0, vec![0.1, 0.5, 0.25]);
    let x = graph.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], None);
    let samples: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32 / 4.0 - 1.0, 1.0 - i as f32 / 5.0]).collect();
    compile(&graph.finish(x).unwrap(), &samples, &CompileOptions::default()).unwrap()
}

impl Trial {
    /// Makes keys, the cluster's file and the nodes' own: a helper and two parties.
    pub(crate) fn new() -> Self {
        static TESTS: AtomicU8 = AtomicU8::new(1);
        let pid = std::process::id().to_be_bytes();
        let net = [pid[2] | 1, pid[3], TESTS.fetch_add(1, Ordering::Relaxed)];
        let Compiled { plan, weights, .. } = tiny();
        let trial = Trial { folder: tempfile::tempdir().unwrap(), net, weights };
        write_plan(&trial.at("tiny.plan"), &plan, Existing::Keep).unwrap();
        let fingerprint = |name: &str| {
            let made = program().args(["keygen", text(&trial.at(&format!("{name}.pem")))]).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            String::from_utf8(made.stdout).unwrap().trim().to_owned()
        };
        let node = |at: u16, name: &str| format!("{}={}", trial.address(7000 + at), fingerprint(name));
        let made = program()
            .args(["cluster", "new", "trial", "--helper", &node(0, "helper")])
            .args(["--party", &node(1, "party-1"), "--party", &node(2, "party-2")])
            .args(["--owner", &fingerprint("owner")])
            .args(["--client", &format!("alice={}", fingerprint("alice"))])
            .args(["--client", &format!("bob={}", fingerprint("bob"))])
            .args(["--model", &format!("tiny={}", text(&trial.at("tiny.plan")))])
            .args(["-o", text(&trial.at("cluster.toml"))])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // Deadlines of a machine that has other things to do.
        trial.change(|deployment| {
            let limits = DeploymentLimits { round: 120, inference: 240, load: 240, ..deployment.limits };
            deployment.limits = limits;
        });
        for (at, name) in ["helper", "party-1", "party-2"].into_iter().enumerate() {
            let monitor = trial.address(9100 + at as u16);
            // How full the disk of this machine is says nothing about nodes that hold a few kilobytes.
            let lines = format!(
                "cluster = \"cluster.toml\"\nkey = \"{name}.pem\"\nfolder = \"{name}.folder\"\n\
                 plans = [\"tiny.plan\"]\nmonitor = \"{monitor}\"\n\n[limits]\ndisk = \"1 MiB\"\n\n[log]\n\
                 format = \"json\"\nlevel = \"debug\"\n"
            );
            std::fs::write(trial.config(name), lines).unwrap();
        }
        trial
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the owner loads.
    pub(crate) fn weights(&self) -> &QuantizedWeights {
        &self.weights
    }

    /// A node's own file.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.at(&format!("{name}.toml"))
    }

    pub(crate) fn address(&self, port: u16) -> String {
        let [a, b, c] = self.net;
        format!("127.{a}.{b}.{c}:{port}")
    }

    pub(crate) fn deployment(&self) -> Deployment {
        Deployment::read(&self.at("cluster.toml")).unwrap()
    }

    /// Changes the file that all share.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Deployment)) {
        let mut deployment = self.deployment();
        change(&mut deployment);
        std::fs::write(self.at("cluster.toml"), deployment.to_toml().unwrap()).unwrap();
    }

    /// Starts a node as its operator does.
    pub(crate) fn start(&self, name: &str) -> Node {
        let role = name.split('-').next().unwrap();
        let monitor = ["helper", "party-1", "party-2"].iter().position(|n| *n == name).unwrap();
        Node::start(role, &self.config(name), self.address(9100 + monitor as u16))
    }

    pub(crate) fn owner_loads(&self) -> Model {
        let owner = read_identity(&self.at("owner.pem")).unwrap();
        let plan = read_plan(&self.at("tiny.plan")).unwrap();
        Owner::connect(&self.deployment(), owner, plan).unwrap().load(&self.weights).unwrap()
    }

    pub(crate) fn client(&self, name: &str) -> Result<Client, amicus::Error> {
        let identity = read_identity(&self.at(&format!("{name}.pem"))).unwrap();
        let plan = read_plan(&self.at("tiny.plan")).unwrap();
        Client::connect(&self.deployment(), identity, plan, Expected::Any)
    }

    /// A client, once the cluster serves.
    pub(crate) fn patient_client(&self, name: &str) -> Client {
        eventually("a client is served", || self.client(name).map_err(|error| error.to_string()))
    }
}

/// Tries until something holds.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < deadline, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running node; it is killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    reader: Option<JoinHandle<()>>,
    lines: Arc<Mutex<Vec<String>>>,
    pub(crate) monitor: String,
}

impl Node {
    fn start(role: &str, config: &Path, monitor: String) -> Self {
        let mut child = program()
            .args([role, "--config", text(config)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (errors, kept) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Node { child, reader: Some(reader), lines, monitor }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub(crate) fn expect(&self, words: &str) {
        let logged = || if self.log().contains(words) { Ok(()) } else { Err(self.log()) };
        eventually(&format!("the log says {words:?}"), logged);
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args([format!("-{name}"), id]).status().unwrap();
        assert!(sent.success());
    }

    /// Stops all its threads: a signal that was sent has not yet reached them.
    pub(crate) fn stand_still(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        eventually("the node stands still", || {
            let tasks = std::fs::read_dir(&tasks).map_err(|error| error.to_string())?;
            let stats = tasks.flatten().flat_map(|task| std::fs::read_to_string(task.path().join("stat")));
            let moves = stats.into_iter().find(|stat| !stat.contains(") T "));
            moves.map_or(Ok(()), Err)
        });
    }

    /// Waits for its end; how it ended, and all that it logged.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        let ended = || self.child.try_wait().unwrap().ok_or_else(|| "it is still there".to_owned());
        let status = eventually("the node ends", ended);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status, self.log())
    }

    /// Asks its monitor; status and body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), String> {
        http(&self.monitor, &format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"))
    }

    /// Waits until its monitor answers with this status; the body.
    pub(crate) fn answers(&self, path: &str, status: u16, words: &str) -> String {
        eventually(&format!("{path} of {}", self.monitor), || match self.get(path)? {
            (found, body) if found == status && body.contains(words) => Ok(body),
            other => Err(format!("{other:?}")),
        })
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> Result<f64, String> {
        let (_, body) = self.get("/metrics")?;
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).ok_or(body)
    }

    /// Waits until a metric has a value, and sees that it stays so.
    pub(crate) fn counts(&self, name: &str, expected: f64) {
        let reached = || match self.metric(name)? {
            value if value == expected => Ok(()),
            value => Err(format!("{value}")),
        };
        eventually(&format!("{name} is {expected}"), reached);
        assert_eq!(self.metric(name), Ok(expected), "{name}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be stopped, or have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.monitor, self.log());
        }
    }
}

/// Sends a request and reads the answer to its end; status and body.
pub(crate) fn http(address: &str, request: &str) -> Result<(u16, String), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut socket = TcpStream::connect(address).map_err(text)?;
    socket.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or("no status")?, body.to_owned()))
}
