//! Models over public ports: whole, resumed, and what does not belong there.

use crate::cluster::{Cluster, Setup, assert_right, of_client, of_owner, public};
use crate::raw::ask;
use amicus::client::https::{self, PartsThere};
use amicus::client::load::{self, Loading};
use amicus::field::OperatingSystem;
use amicus::https::HttpsOwner;
use amicus::node::Peer;
use amicus::plan::WeightId;
use amicus::protocol::wire::Kind;

fn tokens(cluster: &Cluster, name: &str) -> Vec<String> {
    (0..3).map(|n| cluster.token(n, of_owner(name)).0.reveal().to_owned()).collect()
}

/// A model of public weights: the owner gives no weights, by tokens or with a certificate, and says that
/// it is in use.
#[test]
fn a_model_of_public_weights_is_served_without_weights_from_its_owner() {
    let cluster = Setup { load: false, network: public, ..Setup::default() }.start();
    assert!(cluster.compiled.plan.weights.is_empty());
    let tokens = cluster.all_tokens(&of_owner("owner"));
    let mut over_https = HttpsOwner::connect(&cluster.deployment, &tokens, cluster.plan()).unwrap();
    let first = over_https.load(&cluster.compiled.weights, |_| ()).unwrap();
    let identity = cluster.identity("owner");
    let mut owner = amicus::Owner::connect(&cluster.deployment, identity, cluster.plan()).unwrap();
    let second = owner.load(&cluster.compiled.weights).unwrap();
    assert_ne!(first.fingerprint, second.fingerprint);
    let mut client = cluster.client(&of_client("alice"));
    client.compare(amicus::Expected::Model(second.fingerprint)).unwrap();
    assert_right([0.5, 0.25], client.infer(&[0.5, 0.25]).unwrap().logits());
}

/// Asks for a load, and has the parties take it.
fn begin(cluster: &Cluster, tokens: &[String]) -> Loading {
    let parties = cluster.deployment.count().unwrap();
    let request = load::request(&cluster.compiled.plan).unwrap();
    let granted = ask(&cluster.reach, 0, "POST", "/v1/loads", &tokens[0], &request.body);
    assert_eq!(granted.status, 200, "{granted:?}");
    let header = https::granted(&Peer::Helper, Kind::LoadGrant, granted.header("amicus-id")).unwrap();
    let loading =
        Loading::granted(cluster.plan(), parties, &header, &granted.body, &mut OperatingSystem).unwrap();
    for (n, party) in parties.all().enumerate() {
        let call = https::announce(party, loading.scope());
        assert_eq!(ask(&cluster.reach, n + 1, "POST", &call.path, &tokens[n + 1], b"").status, 204);
    }
    loading
}

/// Everything that a party is given.
fn parts(cluster: &Cluster, loading: &Loading, n: usize) -> Vec<https::Call> {
    let party = cluster.deployment.count().unwrap().all().nth(n).unwrap();
    let tensors = (0..cluster.compiled.plan.weights.len() as u32).map(WeightId);
    let weights = tensors.flat_map(|id| {
        let parts = loading.tensor(id, &cluster.compiled.weights);
        (0..).zip(parts).map(|(number, part)| (part.unwrap(), number)).collect::<Vec<_>>()
    });
    [(loading.nonce(), 0)]
        .into_iter()
        .chain(weights)
        .map(|(part, number)| https::put_part(party, &part, number))
        .collect()
}

#[test]
fn an_owner_with_tokens_loads_a_model_that_clients_use() {
    let cluster = Setup { load: false, ..Setup::default() }.start();
    let tokens = cluster.all_tokens(&of_owner("owner"));
    let mut owner = HttpsOwner::connect(&cluster.deployment, &tokens, cluster.plan()).unwrap();
    for _ in 0..2 {
        let mut told = Vec::new();
        let model = owner.load(&cluster.compiled.weights, |now| told.push(now)).unwrap();
        assert!(told.iter().all(|now| now.of == told.len()), "{told:?}");
        let mut client = cluster.client(&of_client("alice"));
        assert_eq!(client.compare(amicus::Expected::Model(model.fingerprint)).unwrap(), model.fingerprint);
        assert_right([0.5, 0.25], client.infer(&[0.5, 0.25]).unwrap().logits());
    }
}

#[test]
fn an_upload_goes_on_where_it_was() {
    let cluster = Setup { load: false, ..Setup::default() }.start();
    let owner = tokens(&cluster, "owner");
    let loading = begin(&cluster, &owner);
    for n in 0..2 {
        let calls = parts(&cluster, &loading, n);
        let token = &owner[n + 1];
        let put =
            |call: &https::Call| ask(&cluster.reach, n + 1, "PUT", &call.path, token, &call.body.0).status;
        let there = || -> PartsThere {
            let path = https::parts_there(
                cluster.deployment.count().unwrap().all().nth(n).unwrap(),
                loading.scope(),
            )
            .path;
            serde_json::from_slice(&ask(&cluster.reach, n + 1, "GET", &path, token, b"").body).unwrap()
        };
        assert_eq!(there(), PartsThere::default());
        let (first, rest) = calls.split_at(2);
        assert!(first.iter().all(|call| put(call) == 204));
        // Over other connections: what is there, the same again, and the rest.
        let has = there();
        assert!(has.nonce && has.weights.values().map(Vec::len).sum::<usize>() == 1, "{has:?}");
        assert!(first.iter().chain(rest).all(|call| put(call) == 204));
    }
    let seal = https::seal(loading.scope()).path;
    assert_eq!(ask(&cluster.reach, 0, "POST", &seal, &owner[0], b"").status, 204);
    assert_right([0.5, 0.25], cluster.client(&of_client("a")).infer(&[0.5, 0.25]).unwrap().logits());
}

#[test]
fn other_weights_in_a_parts_place_end_the_load() {
    let cluster = Setup { load: false, ..Setup::default() }.start();
    let owner = tokens(&cluster, "owner");
    let loading = begin(&cluster, &owner);
    let calls = parts(&cluster, &loading, 0);
    let put = |path: &str, body: &[u8]| ask(&cluster.reach, 1, "PUT", path, &owner[1], body);
    assert_eq!(put(&calls[1].path, &calls[1].body.0).status, 204);
    // Truncated, and at another part's path: nothing has happened.
    assert_eq!(put(&calls[1].path, &[0; 20]).status, 400);
    assert_eq!(put(&format!("{}7", calls[1].path), &calls[1].body.0).status, 400);
    let mut changed = calls[1].body.0[..calls[1].body.0.len() - 32].to_vec();
    changed[5] ^= 1;
    let header = amicus::protocol::wire::Header::new(Kind::Weights, loading.scope(), 0);
    let changed = amicus::client::ToParties::new(header, changed, loading.authentication());
    let one = cluster.deployment.count().unwrap().all().next().unwrap();
    let changed = https::put_part(one, &changed, 0);
    assert_eq!(put(&changed.path, &changed.body.0).status, 409);
    let seal = https::seal(loading.scope()).path;
    let refused = ask(&cluster.reach, 0, "POST", &seal, &owner[0], b"");
    assert!(
        refused.status == 422 && refused.problem().what.contains("model owner"),
        "{:?}",
        refused.problem()
    );
    // Nothing stands in the way of the next.
    let tokens = cluster.all_tokens(&of_owner("owner"));
    HttpsOwner::connect(&cluster.deployment, &tokens, cluster.plan())
        .unwrap()
        .load(&cluster.compiled.weights, |_| ())
        .unwrap();
}

#[test]
fn one_owner_loads_at_a_time_and_plans_are_the_operators() {
    let cluster = Setup { load: false, ..Setup::default() }.start();
    let [one, two] = ["one", "two"].map(|name| tokens(&cluster, name));
    let loading = begin(&cluster, &one);
    let request = load::request(&cluster.compiled.plan).unwrap();
    let refused = ask(&cluster.reach, 0, "POST", "/v1/loads", &two[0], &request.body);
    assert!(refused.status == 409 && refused.problem().what.contains("another owner's"), "{refused:?}");
    let path = https::seal(loading.scope()).path;
    assert_eq!(ask(&cluster.reach, 0, "POST", &path, &two[0], b"").status, 404);
    let calls = parts(&cluster, &loading, 0);
    assert_eq!(ask(&cluster.reach, 1, "PUT", &calls[0].path, &two[1], &calls[0].body.0).status, 404);
    let unlisted = ask(&cluster.reach, 0, "POST", "/v1/loads", &one[0], &[9; 32]);
    assert!(unlisted.status == 404 && unlisted.problem().what.contains("serves no model"), "{unlisted:?}");
    assert_eq!(ask(&cluster.reach, 0, "POST", "/v1/loads", &one[0], &[9; 31]).status, 400);
}
