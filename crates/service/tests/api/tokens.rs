//! Tokens as a running node takes them.

use crate::cluster::{Cluster, Setup, of_client, of_owner};
use crate::raw::{Raw, ask};
use amicus_service::token::NewToken;

#[test]
fn only_a_token_of_this_node_that_counts_is_taken() {
    let cluster = Setup { load: false, ..Setup::default() }.start();
    let (token, grant) = cluster.token(1, of_client("alice"));
    let other = cluster.token(2, of_client("alice")).0;
    let info = |token: &str| ask(&cluster.reach, 1, "GET", "/v1/info", token, b"");
    assert_eq!(info(token.reveal()).status, 200);
    let made_up = token.reveal().replace(&token.reveal()[20..], &"0".repeat(token.reveal().len() - 20));
    for (shown, words) in [
        ("x", "it is no token"),
        (&made_up[..], "does not know the token"),
        (other.reveal(), &format!("of the node {}, this is the node {}", other.node(), token.node())[..]),
    ] {
        let refused = info(shown);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
        assert!(refused.problem().what.contains(words), "{:?}", refused.problem());
    }
    let mut raw = Raw::connect(&cluster.reach, 1);
    raw.send(b"GET /v1/info HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(raw.receive().unwrap().problem().what.contains("there is no token"));
    assert_eq!(cluster.outcomes(1, "unauthenticated"), 4);
    // Without a restart, and over connections that are there.
    assert_eq!(raw.ask("GET", "/v1/info", token.reveal(), b"").status, 200);
    cluster.tokens_of(1).revoke(&grant.id).unwrap();
    let refused = raw.ask("GET", "/v1/info", token.reveal(), b"");
    assert_eq!((refused.status, refused.problem().what.as_str()), (401, "this token was taken back"));
    let (ended, _) = cluster.token(1, NewToken { days: Some(0), ..of_client("late") });
    assert_eq!(info(ended.reveal()).problem().what, "this token has expired");
}

#[test]
fn a_token_is_for_its_role_and_its_models() {
    let cluster = Cluster::loaded();
    let owner = cluster.token(0, of_owner("o")).0;
    let digest = cluster.compiled.plan.digest().unwrap();
    let refused = ask(&cluster.reach, 0, "POST", "/v1/inferences", owner.reveal(), b"x");
    assert!(
        refused.status == 403 && refused.problem().what.contains("this token is for a owner"),
        "{refused:?}"
    );
    let client = cluster.token(0, of_client("a")).0;
    assert_eq!(ask(&cluster.reach, 0, "POST", "/v1/loads", client.reveal(), &digest.0).status, 403);
    let other = cluster.token(0, NewToken { models: vec!["other".into()], ..of_client("b") }).0;
    let info = ask(&cluster.reach, 0, "GET", "/v1/info", other.reveal(), b"").json();
    assert_eq!(info["models"].as_array().unwrap().len(), 0);
    assert_eq!(
        ask(&cluster.reach, 0, "GET", &format!("/v1/plans/{digest}"), other.reveal(), b"").status,
        404
    );
    let tokens = cluster.all_tokens(&NewToken { models: vec!["other".into()], ..of_client("c") });
    let error = amicus::https::fetch_plan(&cluster.deployment, &tokens, "tiny").unwrap_err();
    assert!(error.to_string().contains("no model tiny"), "{error}");
}

#[test]
fn quotas_and_rates_end_at_every_node() {
    let cluster = Cluster::loaded();
    let mut client = cluster.client(&NewToken { quota: Some(3), ..of_client("a") });
    (0..3).for_each(|_| drop(client.infer(&[0.5, 0.5]).unwrap()));
    let error = client.infer(&[0.5, 0.5]).unwrap_err().to_string();
    assert!(error.contains("429") && error.contains("3 images are used up"), "{error}");
    let mut client = cluster.client(&NewToken { rate: Some(2), ..of_client("b") });
    client.infer_batch(&[&[0.5, 0.5], &[0.0, 0.5]]).unwrap();
    let error = client.infer(&[0.5, 0.5]).unwrap_err().to_string();
    assert!(error.contains("429") && error.contains("images of a minute"), "{error}");
    assert_eq!(cluster.outcomes(0, "limited"), 2);
    // Others go on.
    cluster.client(&of_client("c")).infer(&[0.5, 0.5]).unwrap();
}
