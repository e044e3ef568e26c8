//! An operator changes the key of a running party, as docs/deploy.md says.

use crate::common::{program, text};
use crate::trial::{IMAGE, Trial};
use amicus::files::read_identity;

#[test]
fn a_key_is_changed_by_files_and_signals_and_nobody_is_sent_away() {
    let trial = Trial::new();
    let mut nodes = ["helper", "party-1", "party-2"].map(|name| trial.start(name));
    trial.owner_loads();
    let class = trial.client("alice").unwrap().infer(&IMAGE).unwrap().class();
    let served = || assert_eq!(trial.client("alice").unwrap().infer(&IMAGE).unwrap().class(), class);
    let old = read_identity(&trial.at("party-2.pem")).unwrap().fingerprint();

    // The new key is made beside the old one; everybody learns its certificate.
    let next = trial.at("party-2.next.pem");
    assert!(program().args(["keygen", text(&next)]).output().unwrap().status.success());
    let new = read_identity(&next).unwrap().fingerprint();
    trial.change(|deployment| assert!(deployment.parties[1].certificate.add(new)));
    for node in &nodes {
        node.signal("HUP");
        node.expect("\"event\":\"reloaded\"");
    }
    served();
    // The party shows the new one from now on.
    std::fs::rename(&next, trial.at("party-2.pem")).unwrap();
    nodes[2].signal("HUP");
    nodes[2].expect(&format!("\"fingerprint\":\"{new}\""));
    served();
    // Everybody forgets the old one; a node that starts anew finds the party by the new one.
    trial.change(|deployment| deployment.parties[1].certificate = new.into());
    nodes.iter().for_each(|node| node.signal("HUP"));
    nodes[1].signal("KILL");
    nodes[1].ended();
    nodes[1] = trial.start("party-1");
    nodes.iter().for_each(|node| drop(node.answers("/readyz", 200, "ready")));
    served();
    // None of them restarted but that one, and none has heard of the old key since.
    assert_ne!(old, new);
    for node in [&nodes[0], &nodes[2]] {
        assert_eq!(node.log().matches("\"event\":\"start\"").count(), 1);
    }

    // A file with a mistake changes nothing, and says so.
    let good = std::fs::read_to_string(trial.at("cluster.toml")).unwrap();
    std::fs::write(trial.at("cluster.toml"), good.replace("[owner]", "[oner]")).unwrap();
    nodes[0].signal("HUP");
    nodes[0].expect("nothing is taken up");
    nodes[0].expect("did you mean `owner`?");
    std::fs::write(trial.at("cluster.toml"), good).unwrap();
    served();
}
