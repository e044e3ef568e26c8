//! `plan`, `keygen`, `fingerprint` and `export`: what roles in processes of their own start from.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_model::amc::ModelFile;
use amicus_model::planned::Planned;
use amicus_plan::Plan;
use common::{amicus, compiled, count, data, strict_json, text};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

fn output(arguments: &[&str]) -> String {
    let output = amicus(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = amicus(arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(words.lines().count(), 1, "{words}");
    words
}

#[test]
fn a_plan_is_the_public_part_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let (model, plan) = (compiled(folder.path()), folder.path().join("lenet.plan"));
    let summary =
        strict_json(output(&["plan", text(&model), "-o", text(&plan), "--json"]).as_bytes()).unwrap();
    let expected = ModelFile::load(&model).unwrap().plan;
    let written = fs::read(&plan).unwrap();
    assert_eq!(written, expected.encode().unwrap());
    assert_eq!(summary["digest"], Plan::decode(&written).unwrap().digest().unwrap().to_string());
    // One that is there is replaced with leave only, and the compiled file never.
    fs::write(&plan, "kept").unwrap();
    assert!(refused(&["plan", text(&model), "-o", text(&plan)]).contains("--force replaces it"));
    assert_eq!(fs::read(&plan).unwrap(), b"kept");
    output(&["plan", text(&model), "-o", text(&plan), "--force"]);
    assert_eq!(fs::read(&plan).unwrap(), written);
    let itself = refused(&["plan", text(&model), "-o", text(&model), "--force"]);
    assert!(itself.contains("which this command reads"), "{itself}");
    let onnx = data("lenet_dynamo.onnx");
    assert!(
        refused(&["plan", text(&onnx), "-o", text(&folder.path().join("x"))]).contains("no compiled model")
    );
    assert_eq!(count(folder.path()), 2);
}

#[test]
fn an_identity_is_made_once_and_shown_as_often_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("party-1.pem");
    let made = output(&["keygen", text(&file)]);
    made.trim_end().parse::<amicus_net::Fingerprint>().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(output(&["fingerprint", text(&file)]), made);
    let key = fs::read(&file).unwrap();
    assert!(refused(&["keygen", text(&file)]).contains("--force replaces it"));
    assert_eq!(fs::read(&file).unwrap(), key);
    let replaced = output(&["keygen", text(&file), "--force"]);
    assert_ne!(replaced, made);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let other = folder.path().join("other.pem");
    assert_ne!(output(&["keygen", text(&other), "--name", "party 1"]), made);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&["fingerprint", text(&file)]).contains("chmod 600"));
    let none = folder.path().join("none.pem");
    assert!(refused(&["fingerprint", text(&none)]).contains("`amicus keygen` makes one"));
    assert!(refused(&["keygen", text(&none), "--name", "\u{1b}[2J"]).contains("no name"));
    assert_eq!(count(folder.path()), 2);
}

#[test]
fn networks_that_ship_become_compiled_files_with_images() {
    let folder = tempfile::tempdir().unwrap();
    let (model, images) = (folder.path().join("lenet.amc"), folder.path().join("digits"));
    let export = ["export", "lenet5-mnist-degree2", "-o", text(&model)];
    let with_images = [&export[..], &["--images", text(&images), "--json"]].concat();
    assert_eq!(strict_json(output(&with_images).as_bytes()).unwrap()["images"], 300);
    let shipped = include_bytes!("../assets/lenet5-mnist-degree2.plan");
    let file = ModelFile::load(&model).unwrap();
    assert_eq!(file.plan, Planned::decode(shipped).unwrap().plan);
    assert!(file.quality.misses().is_empty());
    assert_eq!(count(&images), 300);
    for class in 0..10 {
        let image = fs::read(images.join(format!("{class:03}-class-{class}.f32"))).unwrap();
        let numbers = image.chunks_exact(4).map(|n| f32::from_le_bytes(n.try_into().unwrap()));
        assert_eq!(image.len(), 4 * 28 * 28);
        assert!(numbers.clone().all(|x| (0.0..=1.0).contains(&x)) && numbers.clone().any(|x| x > 0.5));
    }
    // Roles that are far apart have a plan of their own, with fewer rounds.
    let far = folder.path().join("far.amc");
    output(&["export", "lenet5-mnist-relu", "-o", text(&far), "--net", "wan"]);
    let far = ModelFile::load(&far).unwrap().plan;
    let near = Planned::decode(include_bytes!("../assets/lenet5-mnist-relu.plan")).unwrap().plan;
    assert_eq!(far, Planned::decode(include_bytes!("../assets/lenet5-mnist-relu.wan.plan")).unwrap().plan);
    let [near, far] = [near, far].map(|plan| plan.cost(1).unwrap());
    assert!(far.rounds <= 26 && far.rounds < near.rounds && far.dealt_bytes <= 1_400_000, "{far:?}");
    assert!(refused(&export).contains("--force replaces it"));
    let again = [&export[..], &["--force", "--images", text(&images)]].concat();
    assert!(refused(&again).contains("digits"));
    let unknown = refused(&["export", "vgg", "-o", text(&folder.path().join("vgg.amc"))]);
    assert!(unknown.contains("lenet5-mnist, alexnet-cifar10"), "{unknown}");
}
