//! Machines that fail a node, and users that leave in the middle: a clear error, a metric, and nobody
//! else notices.

use crate::common::text;
use crate::trial::{IMAGE, Trial, eventually};
use amicus::client::load::WeightSource;
use amicus::field::{LimbVec, Limbs};
use amicus::files::{read_identity, read_plan};
use amicus::model::QuantizedWeights;
use amicus::net::{Identity, dial};
use amicus::plan::WeightId;
use amicus::plan::weights::Part;
use amicus::{Client, Expected, Owner};
use std::fs::Permissions;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether this system lets its user have file systems of its own, as containers do.
fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// A command in which a folder is a disk of its own, with these options.
fn on_a_disk(folder: &std::path::Path, options: &str) -> Command {
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh", options]).arg(folder);
    command.arg(env!("CARGO_BIN_EXE_amicus"));
    command
}

#[test]
fn a_disk_that_cannot_be_written_stops_a_node_with_one_line() {
    if !has_namespaces() {
        return eprintln!("no namespaces: not tried");
    }
    let trial = Trial::new();
    let folder = trial.at("party-1.folder");
    std::fs::create_dir(&folder).unwrap();
    for (options, words) in
        [("ro,mode=700", "Read-only file system"), ("size=4k,mode=700", "No space left on device")]
    {
        let mut command = on_a_disk(&folder, options);
        let ended = command.args(["party", "--config"]).arg(trial.config("party-1")).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(
            errors.len() == 1 && errors[0].contains(words) && errors[0].contains("party-1.folder"),
            "{said}"
        );
        assert_eq!(ended.status.code(), Some(1), "{said}");
    }
}

#[test]
fn a_disk_that_is_full_keeps_a_model_out_and_everybody_is_told_whose_it_is() {
    if !has_namespaces() {
        return eprintln!("no namespaces: not tried");
    }
    let trial = Trial::new();
    let others = ["helper", "party-1"].map(|name| trial.start(name));
    let folder = trial.at("party-2.folder");
    std::fs::create_dir(&folder).unwrap();
    let mut command = on_a_disk(&folder, "size=1m,mode=700");
    let mut full = command
        .args(["party", "--config"])
        .arg(trial.config("party-2"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(trial.at("party-2.log")).unwrap())
        .spawn()
        .unwrap();
    let log = || std::fs::read_to_string(trial.at("party-2.log")).unwrap();
    eventually("it runs", || if log().contains("listens at") { Ok(()) } else { Err(log()) });
    // Its disk as it sees it, until nothing fits any more.
    let inside = format!("/proc/{}/root{}/filler", full.id(), text(&folder));
    let mut filler = std::fs::File::create(inside).unwrap();
    while filler.write_all(&[0; 1024]).is_ok() {}
    let owner = read_identity(&trial.at("owner.pem")).unwrap();
    let plan = read_plan(&trial.at("tiny.plan")).unwrap();
    let loaded = Owner::connect(&trial.deployment(), owner, plan).unwrap().load(trial.weights());
    match loaded {
        Ok(_) => panic!("there was room: {}", log()),
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("a file of this node cannot be used") && text.contains("party 2"),
                "{text}"
            );
        }
    }
    eventually("its log says what and where", || match log() {
        log if log.contains("No space left") && log.contains("party-2.folder") => Ok(()),
        log => Err(log),
    });
    // Others count it, and go on: with room again the model is loaded.
    others.iter().for_each(|node| drop(node.answers("/healthz", 200, "ok")));
    eventually("the helper counts it", || {
        match others[0].metric("amicus_loads_total{outcome=\"failed\"}")? {
            count if count >= 1.0 => Ok(()),
            count => Err(count.to_string()),
        }
    });
    let _ = full.kill();
    let _ = full.wait();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let _second = trial.start("party-2");
    trial.owner_loads();
    trial.patient_client("alice").infer(&IMAGE).unwrap();
}

#[test]
fn users_that_leave_in_the_middle_hold_up_nobody() {
    let trial = Trial::new();
    let nodes = ["helper", "party-1", "party-2"].map(|name| trial.start(name));
    nodes.iter().for_each(|node| drop(node.answers("/healthz", 200, "ok")));
    // An owner whose program ends while the nodes wait for its weights.
    let owner = || read_identity(&trial.at("owner.pem")).unwrap();
    let plan = read_plan(&trial.at("tiny.plan")).unwrap();
    let stuck =
        Owner::connect(&trial.deployment(), owner(), plan.clone()).unwrap().load(&Half(trial.weights()));
    assert!(stuck.is_err());
    eventually("the load is given up and counted", || {
        match nodes[0].metric("amicus_loads_total{outcome=\"failed\"}")? {
            count if count >= 1.0 => Ok(()),
            count => Err(count.to_string()),
        }
    });
    nodes[0].expect("load_failed");
    trial.owner_loads();
    let mut alice = trial.patient_client("alice");
    alice.infer(&IMAGE).unwrap();
    // Connections that stay half open: one that says nothing, one that stops within TLS, one that is
    // accepted and never speaks.
    let deployment = trial.deployment();
    let mut half = Vec::new();
    for node in [&deployment.helper, &deployment.parties[0], &deployment.parties[1]] {
        half.push(TcpStream::connect(&node.address).unwrap());
        let mut begun = TcpStream::connect(&node.address).unwrap();
        begun.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
        half.push(begun);
    }
    let bob: Identity = read_identity(&trial.at("bob.pem")).unwrap();
    let helper = &deployment.helper;
    let expected = ("helper", helper.certificate.all()[0]);
    let silent = dial(&helper.address, &bob, expected, Instant::now() + Duration::from_secs(120)).unwrap();
    for _ in 0..5 {
        alice.infer(&IMAGE).unwrap();
    }
    eventually("stalled connections are counted", || {
        match nodes[1].metric("amicus_connection_errors_total")? {
            count if count >= 1.0 => Ok(()),
            count => Err(count.to_string()),
        }
    });
    nodes[1].expect("did not finish within");
    alice.infer(&IMAGE).unwrap();
    drop((half, silent));
    drop(Client::connect(&deployment, bob, plan, Expected::Any).unwrap());
}

/// Weights that end after the first layer.
struct Half<'a>(&'a QuantizedWeights);

impl WeightSource for Half<'_> {
    fn part(&self, id: WeightId, part: &Part, limbs: Limbs) -> Option<LimbVec> {
        if id.index() > 0 { None } else { self.0.part(id, part, limbs) }
    }
}
