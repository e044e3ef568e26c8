//! Inferences over public ports.

use crate::cluster::{Cluster, Setup, assert_revealed, assert_right, of_client, sums};
use crate::raw::ask;
use amicus::client::https;
use amicus::https::HttpsClient;
use amicus::{Answer, Client, Expected};
use amicus_service::{NodeLimits, PublicLimits};
use std::time::Duration;

#[test]
fn clients_over_both_ports_are_served_at_the_same_time() {
    let cluster = Cluster::loaded();
    let fingerprint = cluster.model.as_ref().unwrap().fingerprint;
    let tokens = cluster.all_tokens(&of_client("bob"));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (deployment, tokens, plan) = (&cluster.deployment, &tokens, cluster.plan());
            scope.spawn(move || {
                let expected = Expected::Model(fingerprint);
                let mut client = HttpsClient::connect(deployment, tokens, plan, expected).unwrap();
                for k in 0..10 {
                    let image = [(k as f32 - 5.0) / 6.0, n as f32 / 5.0];
                    assert_right(image, client.infer(&image).unwrap().logits());
                }
                let batch: Vec<[f32; 2]> = (0..4).map(|k| [k as f32 / 4.0, -0.5]).collect();
                let images: Vec<&[f32]> = batch.iter().map(|image| &image[..]).collect();
                for (image, answer) in batch.iter().zip(client.infer_batch(&images).unwrap()) {
                    assert_right(*image, answer.logits());
                    assert_eq!(answer.outside(), Some(false));
                }
            });
        }
        let alice = cluster.identity("alice");
        let mut alice = Client::connect(&cluster.deployment, alice, cluster.plan(), Expected::Any).unwrap();
        for k in 0..10 {
            let image = [0.25, k as f32 / 10.0];
            assert_right(image, alice.infer(&image).unwrap().logits());
        }
    });
    // Each with a ticket and a release.
    assert!(cluster.outcomes(0, "ok") >= 2 * 4 * 11);
    assert_eq!(cluster.outcomes(0, "failed") + cluster.outcomes(0, "busy"), 0);
}

/// A sum more than 25 times as large as the window behind it is made for.
#[test]
fn clients_over_both_ports_are_told_of_values_outside() {
    let cluster = Setup { network: sums, ..Setup::default() }.start();
    assert!(cluster.compiled.report.watch.as_ref().unwrap().complete);
    let images: [&[f32]; 3] = [&[0.5, -0.49], &[1.0, 1.0], &[-0.25, 0.25]];
    let told = |answers: Vec<Answer>| answers.iter().map(Answer::outside).collect::<Vec<_>>();
    let expected = [Some(false), Some(true), Some(false)];
    let mut bob = cluster.client(&of_client("bob"));
    assert_eq!(told(bob.infer_batch(&images).unwrap()), expected);
    assert_eq!(bob.infer(&[1.0, 0.5]).unwrap().outside(), Some(true));
    let alice = cluster.identity("alice");
    let mut alice = Client::connect(&cluster.deployment, alice, cluster.plan(), Expected::Any).unwrap();
    assert_eq!(told(alice.infer_batch(&images).unwrap()), expected);
}

#[test]
fn many_images_go_at_a_time_and_every_answer_is_of_its_image() {
    every_answer_is_of_its_image(&Cluster::loaded());
}

#[test]
fn a_party_that_gives_one_inference_at_a_time_answers_all() {
    let party = NodeLimits { inferences: Some(1), ..NodeLimits::default() };
    let cluster = Setup { party, ..Setup::default() }.start();
    every_answer_is_of_its_image(&cluster);
    assert_eq!(cluster.metric(2, "amicus_inferences_total{outcome=\"failed\"}"), 0);
}

fn every_answer_is_of_its_image(cluster: &Cluster) {
    let mut client = cluster.client(&of_client("bob"));
    let images: Vec<[f32; 2]> = (0..40).map(|k| [k as f32 / 40.0, 0.5 - k as f32 / 50.0]).collect();
    let slices: Vec<&[f32]> = images.iter().map(|image| &image[..]).collect();
    let mut seen = vec![0; images.len()];
    client
        .infer_all(&slices, 8, |at, answer| {
            assert_right(images[at], answer.logits());
            seen[at] += 1;
        })
        .unwrap();
    assert!(seen.iter().all(|seen| *seen == 1));
}

#[test]
fn a_client_that_rested_for_long_is_served_again() {
    let limits = PublicLimits { seconds: 1, ..PublicLimits::default() };
    let cluster = Setup { limits, ..Setup::default() }.start();
    let mut client = cluster.client(&of_client("bob"));
    let image = [0.5, -0.25];
    for _ in 0..3 {
        assert_right(image, client.infer(&image).unwrap().logits());
        // Meanwhile nodes end the lines that it keeps.
        std::thread::sleep(Duration::from_secs(3));
    }
}

#[test]
fn a_client_takes_no_other_model_and_notices_a_new_one() {
    let mut cluster = Cluster::loaded();
    let tokens = cluster.all_tokens(&of_client("bob"));
    let wrong = Expected::Model(amicus::ModelFingerprint([7; 32]));
    let error = HttpsClient::connect(&cluster.deployment, &tokens, cluster.plan(), wrong).err().unwrap();
    assert!(matches!(error, amicus::Error::OtherModel { .. }), "{error}");
    let mut client = cluster.client(&of_client("carol"));
    client.infer(&[0.5, 0.5]).unwrap();
    let owner = cluster.identity("owner");
    let mut owner = amicus::Owner::connect(&cluster.deployment, owner, cluster.plan()).unwrap();
    cluster.model = Some(owner.load(&cluster.compiled.weights).unwrap());
    let error = client.infer(&[0.5, 0.5]).unwrap_err().to_string();
    assert!(error.contains("loaded"), "{error}");
    client.compare(Expected::Model(cluster.model.unwrap().fingerprint)).unwrap();
    assert_right([0.5, 0.5], client.infer(&[0.5, 0.5]).unwrap().logits());
}

#[test]
fn the_plan_comes_from_the_parties_and_is_checked() {
    let cluster = Cluster::loaded();
    let tokens = cluster.all_tokens(&of_client("bob"));
    let plan = amicus::https::fetch_plan(&cluster.deployment, &tokens, "tiny").unwrap();
    assert_eq!(plan, cluster.compiled.plan);
    let error = amicus::https::fetch_plan(&cluster.deployment, &tokens, "other").unwrap_err();
    assert!(error.to_string().contains("no model other"), "{error}");
    let mut listed = cluster.deployment.clone();
    listed.models.get_mut("tiny").unwrap().plan.0[0] ^= 1;
    let error = amicus::https::fetch_plan(&listed, &tokens, "tiny").unwrap_err();
    assert!(error.to_string().contains("not the one that the cluster's file has"), "{error}");
}

#[test]
fn a_node_that_shows_another_certificate_gets_no_token() {
    let cluster = Cluster::loaded();
    let tokens = cluster.all_tokens(&of_client("bob"));
    let mut other = cluster.deployment.clone();
    other.parties[0].certificate = cluster.identity("alice").fingerprint().into();
    other.clients.clear();
    let before = cluster.outcomes(1, "ok");
    let error = HttpsClient::connect(&other, &tokens, cluster.plan(), Expected::Any).err().unwrap();
    assert!(error.to_string().contains("party 1") && error.to_string().contains("is not pinned"), "{error}");
    assert_eq!(cluster.outcomes(1, "ok"), before);
}

#[test]
fn an_answer_that_was_decided_outlives_the_nodes() {
    let mut cluster = Cluster::loaded();
    let tokens: Vec<String> =
        (0..3).map(|n| cluster.token(n, of_client("bob")).0.reveal().to_owned()).collect();
    let mut begun = crate::wrongs::begin(&cluster, &tokens);
    let outputs = crate::wrongs::submit_all(&cluster.reach, &tokens, &begun.inputs);
    assert!(outputs.iter().all(|output| output.status == 200), "{outputs:?}");
    // Decided, and nobody has asked for the release.
    let released = ask(&cluster.reach, 0, "GET", &https::release(begun.scope).path, &tokens[0], b"");
    assert_eq!(released.status, 200);
    cluster.services[0] = None;
    cluster.start(0);
    let again = ask(&cluster.reach, 0, "GET", &https::release(begun.scope).path, &tokens[0], b"");
    assert_eq!((again.status, &again.body), (200, &released.body), "{again:?}");
    // Nobody can say that it was delivered but who asked, whom the helper does not know any more.
    let done = https::acknowledge(begun.scope).path;
    assert_eq!(ask(&cluster.reach, 0, "DELETE", &done, &tokens[0], b"").status, 404);
    // Parties keep what they sent, across the end of the session, for who has the key.
    let parties: Vec<_> = cluster.deployment.count().unwrap().all().collect();
    let call = https::collect(parties[1], &begun.awaiting.collect());
    let kept = ask(&cluster.reach, 2, "POST", &call.path, &tokens[2], &call.body.0);
    assert_eq!((kept.status, &kept.body), (200, &outputs[1].body));
    let mut forged = call.body.0.clone();
    forged[3] ^= 1;
    assert_eq!(ask(&cluster.reach, 2, "POST", &call.path, &tokens[2], &forged).status, 422);
    begun.awaiting.output(parties[1], kept.body);
    begun.awaiting.release(again.body);
    assert_revealed(&cluster.compiled.plan, [0.5, -0.25], &begun.awaiting.result().unwrap().unwrap());
    let collected = https::collected(parties[1], &begun.awaiting.collected());
    assert_eq!(ask(&cluster.reach, 2, "POST", &collected.path, &tokens[2], &collected.body.0).status, 204);
    let gone = ask(&cluster.reach, 2, "POST", &call.path, &tokens[2], &call.body.0);
    assert!(gone.status == 422 && gone.problem().what.contains("not kept here"), "{gone:?}");
}
