//! The OpenAPI document is served as it is checked in, and describes every request.

use crate::cluster::{Cluster, Setup, of_client};
use crate::raw::{Raw, ask};
use std::path::Path;

#[test]
fn the_document_is_served_without_a_token_and_is_the_one_that_is_checked_in() {
    let cluster = Setup { load: false, ..Setup::default() }.start();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let checked_in = std::fs::read(file).unwrap();
    for n in 0..3 {
        let mut raw = Raw::connect(&cluster.reach, n);
        raw.send(b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n");
        let served = raw.receive().unwrap();
        assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
        assert!(served.body == checked_in);
    }
}

#[test]
fn what_nodes_say_of_themselves_is_what_the_document_says() {
    let cluster = Cluster::loaded();
    let document: serde_json::Value = serde_json::from_str(amicus_service::public::OPEN_API).unwrap();
    let schemas = &document["components"]["schemas"];
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    for n in 0..3 {
        let token = cluster.token(n, of_client("alice")).0;
        let info = ask(&cluster.reach, n, "GET", "/v1/info", token.reveal(), b"").json();
        assert_eq!(keys(&info), keys(&schemas["Info"]["properties"]));
        let model = &info["models"][0];
        assert_eq!(keys(model), keys(&schemas["Model"]["properties"]));
        // The helper neither receives nonces nor serves fingerprints.
        assert_eq!(model["fingerprint"].is_null(), n == 0);
        assert_eq!(info["role"], if n == 0 { "helper".to_owned() } else { format!("party {n}") });
        if let (1.., Some(model)) = (n, &cluster.model) {
            assert_eq!(info["models"][0]["fingerprint"], model.fingerprint.to_string());
        }
        let digest = model["plan"].as_str().unwrap();
        let plan = ask(&cluster.reach, n, "GET", &format!("/v1/plans/{digest}"), token.reveal(), b"");
        assert_eq!(amicus::Plan::decode(&plan.body).unwrap(), cluster.compiled.plan);
        let refused = ask(&cluster.reach, n, "GET", "/v1/nothing", token.reveal(), b"");
        let problem: serde_json::Value = refused.json();
        assert_eq!((refused.status, keys(&problem)), (404, keys(&schemas["Problem"]["properties"])));
    }
}
