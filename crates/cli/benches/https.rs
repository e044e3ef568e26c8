//! What HTTPS costs a lone private inference of LeNet-5, over frames in the same run.
//!
//! `cargo bench -p amicus-cli --bench https [-- --each N]`. Helper and two parties are services of
//! this process; a client with a certificate and one with tokens take turns (A B B A), so that
//! whatever else the machine does falls on both alike. Medians and least times of both; of the
//! differences between neighbours the median, and between which values half of them lie.

#![allow(missing_docs, clippy::unwrap_used)]

mod lenet;

use amicus::files::read_identity;
use amicus::https::{HttpsClient, Tokens};
use amicus::{Client, Expected, Owner, Parties};
use amicus_cli::up::Files;
use amicus_service::{NodeConfig, Service, ServiceRole};
use lenet::{image, lenet};
use std::sync::Arc;
use std::time::Instant;

/// Inferences of each client.
const EACH: usize = 200;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut each = EACH;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--test" => each = 1,
            "--each" => each = arguments.next().and_then(|n| n.parse().ok()).expect("a number"),
            _ => {}
        }
    }
    let model = lenet();
    let folder = tempfile::tempdir().unwrap();
    let plan = Arc::new(model.plan.clone());
    let parties = Parties::new(2).unwrap();
    let files = Files::write(
        folder.path(),
        parties,
        &["alice".to_owned()],
        &[("lenet".to_owned(), &model.plan)],
        &[],
        1,
    )
    .unwrap();
    let roles = [ServiceRole::Helper, ServiceRole::Party, ServiceRole::Party];
    let services: Vec<Service> = files
        .nodes
        .iter()
        .zip(roles)
        .map(|(place, role)| Service::start(&NodeConfig::read(&place.config).unwrap(), role).unwrap())
        .collect();
    let deployment = &files.deployment;
    let key = |name: &str| read_identity(&folder.path().join(format!("{name}.pem"))).unwrap();
    Owner::connect(deployment, key("owner"), Arc::clone(&plan)).unwrap().load(&model.weights).unwrap();
    let mut frames =
        Client::connect(deployment, key("client-alice"), Arc::clone(&plan), Expected::Any).unwrap();
    let tokens = Tokens::read(&folder.path().join("client-alice.tokens"), deployment).unwrap();
    let mut https = HttpsClient::connect(deployment, &tokens, plan, Expected::Any).unwrap();
    let image = image();
    // The first inferences of a process meet cold caches.
    for _ in 0..each.min(10) {
        let one = frames.infer(&image).unwrap();
        let two = https.infer(&image).unwrap();
        assert_eq!(one.class(), two.class());
    }
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..2 * each {
        // A B B A: what drifts falls on both.
        let over_https = usize::from(matches!(turn % 4, 1 | 2));
        // Material is dealt ahead; who comes right behind another would meet its dealing.
        std::thread::sleep(std::time::Duration::from_millis(15));
        let start = Instant::now();
        match over_https {
            0 => drop(frames.infer(&image).unwrap()),
            _ => drop(https.infer(&image).unwrap()),
        }
        times[over_https].push(start.elapsed().as_secs_f64() * 1e3);
    }
    // The n-th of one client was beside the n-th of the other.
    let mut differences: Vec<f64> = times[1].iter().zip(&times[0]).map(|(https, f)| https - f).collect();
    println!("client    median ms   least ms");
    for (name, times) in ["frames", "https"].into_iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{name:9} {:9.2} {:10.2}", times[times.len() / 2], times[0]);
    }
    differences.sort_by(f64::total_cmp);
    let [low, median, high] = [1, 2, 3].map(|quarter| differences[quarter * differences.len() / 4]);
    println!("https - f {median:9.2}   half of {} between {low:.2} and {high:.2}", differences.len());
    drop(services);
}
