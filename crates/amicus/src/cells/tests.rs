use super::*;
use crate::Identity;
use crate::deployment::{ClusterId, DeploymentLimits, Node, User};
use std::collections::BTreeMap;

fn deployment(number: u8, helper: &Identity, parties: [&Identity; 2]) -> Deployment {
    let node = |port: u16, identity: &Identity| Node {
        address: format!("127.0.0.1:{port}"),
        listen: None,
        public: None,
        authorities: false,
        certificate: identity.fingerprint().into(),
    };
    let user = |name: &str| User { certificate: Identity::generate(name).unwrap().fingerprint().into() };
    Deployment {
        cluster: format!("cell {number}"),
        id: Some(ClusterId([number; 16])),
        helper: node(7000, helper),
        parties: vec![node(7001, parties[0]), node(7002, parties[1])],
        owner: user("owner"),
        clients: [("alice".to_owned(), user("alice"))].into(),
        models: BTreeMap::new(),
        limits: DeploymentLimits::default(),
    }
}

/// Two cells in a folder, and the text of their file.
fn written(second_helper_is_first_party: bool) -> (tempfile::TempDir, String) {
    let ids: Vec<Identity> = (0..6).map(|n| Identity::generate(&n.to_string()).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let helper = if second_helper_is_first_party { &ids[1] } else { &ids[3] };
    let mut text = "name = \"hospital\"\n".to_owned();
    for (name, deployment) in [
        ("north", deployment(1, &ids[0], [&ids[1], &ids[2]])),
        ("south", deployment(2, helper, [&ids[4], &ids[5]])),
    ] {
        std::fs::write(folder.path().join(format!("{name}.toml")), deployment.to_toml().unwrap()).unwrap();
        let digest = deployment.digest().unwrap();
        text += &format!("\n[[cell]]\nname = \"{name}\"\ncluster = \"{name}.toml\"\ndigest = \"{digest}\"\n");
    }
    (folder, text)
}

fn read(folder: &tempfile::TempDir, text: &str) -> Result<Cells, Error> {
    let path = folder.path().join("cells.toml");
    std::fs::write(&path, text).unwrap();
    Cells::read(&path)
}

#[test]
fn a_file_of_cells_is_pinned_by_its_digest() {
    let (folder, text) = written(false);
    let cells = read(&folder, &text).unwrap();
    assert_eq!((cells.name.as_str(), cells.cells.len()), ("hospital", 2));
    let (path, digest) = (folder.path().join("cells.toml"), cells.digest().unwrap());
    assert_eq!(Cells::pinned(&path, digest).unwrap(), cells);
    assert_eq!(digest.to_string().parse::<DeploymentDigest>().unwrap(), digest);
    // Whatever decides who computes changes it: a cell more or less, their names, their clusters.
    for other in [
        Cells { name: "another".into(), ..cells.clone() },
        Cells { cells: cells.cells[..1].to_vec(), ..cells.clone() },
        Cells { cells: cells.cells.iter().rev().cloned().collect(), ..cells.clone() },
    ] {
        let other = other.digest().unwrap();
        assert_ne!(other, digest);
        let error = Cells::pinned(&path, other).unwrap_err().to_string();
        assert!(error.contains("cells.toml") && error.contains(&format!("pinned is {other}")), "{error}");
    }
    assert_eq!(cells.clone().approved(&["south".into()]).unwrap().cells, cells.cells[1..]);
    let unknown = cells.approved(&["west".into()]).unwrap_err().to_string();
    assert!(unknown.contains("west is none of north, south"), "{unknown}");
}

#[test]
fn what_is_wrong_with_a_file_of_cells_is_named() {
    let (folder, text) = written(false);
    let first = text.split("[[cell]]").nth(1).unwrap();
    let digest = first.split('"').nth(5).unwrap();
    for (wrong, words) in [
        (text.replace("name = \"south\"", "name = \"north\""), "another cell has it"),
        (text.replace("name = \"south\"", "nam = \"south\""), "did you mean `name`?"),
        (text.replace(digest, &"7".repeat(64)), "find out which one is right"),
        (text.replace(digest, "77"), "is no digest of a deployment"),
        (text.replace("south.toml", "west.toml"), "west.toml"),
        (
            text.replace("south.toml", "north.toml").replace(text.rsplit('"').nth(1).unwrap(), digest),
            "the same cluster",
        ),
        ("name = \"x\"\ncell = []\n".to_owned(), "there are 0"),
    ] {
        let error = read(&folder, &wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_helper_of_one_cell_is_no_party_of_another() {
    let (folder, text) = written(true);
    let error = read(&folder, &text).unwrap_err().to_string();
    assert!(error.contains("a helper's operator runs no party"), "{error}");
}
