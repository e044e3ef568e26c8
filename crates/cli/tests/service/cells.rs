//! Two cells of real processes, one of which is killed: clients go on with the other.

use crate::common::{amicus, text};
use crate::trial::{IMAGE, Node, Trial, eventually};
use amicus::cells::{CellAnswers, Cells, CellsClient, Expectations};
use amicus::deployment::DeploymentLimits;
use amicus::files::{read_identity, read_plan};
use std::fs;

/// Two clusters of the same owner and clients, and the file that names them.
fn two_cells() -> [Trial; 2] {
    let cells = [Trial::new(), Trial::new()];
    for name in ["owner.pem", "alice.pem", "bob.pem"] {
        fs::copy(cells[0].at(name), cells[1].at(name)).unwrap();
    }
    let of_first = cells[0].deployment();
    cells[1].change(|deployment| {
        deployment.owner = of_first.owner.clone();
        deployment.clients = of_first.clients.clone();
    });
    let mut file = "name = \"hospital\"\n".to_owned();
    for (name, cell) in ["north", "south"].iter().zip(&cells) {
        // How long a client waits for a node that is gone.
        cell.change(|deployment| {
            deployment.limits = DeploymentLimits { round: 20, ..deployment.limits };
        });
        let digest = cell.deployment().digest().unwrap();
        let cluster = cell.at("cluster.toml");
        file += &format!(
            "\n[[cell]]\nname = \"{name}\"\ncluster = \"{}\"\ndigest = \"{digest}\"\n",
            text(&cluster)
        );
    }
    fs::write(cells[0].at("cells.toml"), file).unwrap();
    cells
}

#[test]
fn clients_go_on_with_the_other_cell() {
    let trials = two_cells();
    let mut nodes: Vec<Vec<Node>> = trials
        .iter()
        .map(|trial| ["helper", "party-1", "party-2"].map(|name| trial.start(name)).into())
        .collect();
    // A model is loaded into each, with a nonce of its own.
    let models = trials.each_ref().map(Trial::owner_loads);
    assert_ne!(models[0].fingerprint, models[1].fingerprint);
    let file = trials[0].at("cells.toml");
    let shown = amicus(&["cells", text(&file)]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let digest = shown.lines().find_map(|line| line.strip_prefix("digest ")).unwrap();
    let cells = Cells::pinned(&file, digest.parse().unwrap()).unwrap();
    let names = ["north", "south"];
    let expected: Expectations =
        names.iter().zip(&models).map(|(name, model)| ((*name).to_owned(), model.fingerprint)).collect();
    let mut clients = ["alice", "bob"].map(|name| {
        let identity = read_identity(&trials[0].at(&format!("{name}.pem"))).unwrap();
        let plan = read_plan(&trials[0].at("tiny.plan")).unwrap();
        CellsClient::new(cells.clone(), identity, plan, &expected).unwrap()
    });
    let mut before = Vec::new();
    for client in &mut clients {
        let first = client.order().next().unwrap().to_owned();
        let found = eventually("a cell answers", || {
            let found = client.infer_batch(&[&IMAGE]).map_err(|error| error.to_string())?;
            if found.cell == first { Ok(found) } else { Err(format!("{} answers", found.cell)) }
        });
        before.push(found);
    }
    // The cell that the first client asks first is gone, and is not coming back.
    let gone = before[0].cell.clone();
    nodes.remove(names.iter().position(|name| **name == *gone).unwrap()).clear();
    for (client, before) in clients.iter_mut().zip(&before) {
        for turn in 0..3 {
            let CellAnswers { cell, answers, failed } = client.infer_batch(&[&IMAGE]).unwrap();
            assert_ne!(cell, gone);
            let apart = answers[0].logits().iter().zip(before.answers[0].logits());
            assert!(apart.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1e-2);
            // It is asked once, and others first for a while.
            let asked: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
            let first = turn == 0 && before.cell == gone;
            assert_eq!(asked, if first { vec![gone.as_str()] } else { vec![] }, "{failed:?}");
        }
    }
    // A client that approved that one alone asks no other.
    let identity = read_identity(&trials[0].at("alice.pem")).unwrap();
    let plan = read_plan(&trials[0].at("tiny.plan")).unwrap();
    let alone = cells.approved(std::slice::from_ref(&gone)).unwrap();
    let mut alone = CellsClient::new(alone, identity, plan, &Expectations::new()).unwrap();
    let error = alone.infer_batch(&[&IMAGE]).unwrap_err().to_string();
    assert!(error.contains("no cell gave an answer") && error.contains(&gone), "{error}");
}
