//! What nobody of ours asks: each a clear error and a count, and nothing for others.

use crate::cluster::{Cluster, Reach, Setup, assert_revealed, of_client};
use crate::raw::{Raw, Response, ask};
use amicus::client::https::{self, id_of};
use amicus::client::inference::{Awaiting, PendingRequest};
use amicus::field::OperatingSystem;
use amicus::node::Peer;
use amicus::plan::quantize_input;
use amicus::protocol::Scope;
use amicus::protocol::wire::Kind;
use amicus_service::{NodeLimits, PublicLimits};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const IMAGE: [f32; 2] = [0.5, -0.25];

/// An inference that was granted: bodies for the parties, and what opens the answer.
pub(crate) struct Begun {
    pub(crate) scope: Scope,
    pub(crate) awaiting: Awaiting,
    pub(crate) inputs: Vec<https::Call>,
}

/// Tokens of a client at every node.
fn tokens(cluster: &Cluster, name: &str) -> Vec<String> {
    (0..3).map(|n| cluster.token(n, of_client(name)).0.reveal().to_owned()).collect()
}

/// Asks for an inference of an image.
pub(crate) fn begin(cluster: &Cluster, tokens: &[String]) -> Begun {
    let parties = cluster.deployment.count().unwrap();
    let (pending, request) = PendingRequest::new(cluster.plan(), parties, 1, Vec::new()).unwrap();
    let granted = ask(&cluster.reach, 0, "POST", "/v1/inferences", &tokens[0], &request.body);
    begun(cluster, pending, &granted)
}

/// An inference by the helper's answer.
fn begun(cluster: &Cluster, pending: PendingRequest, granted: &Response) -> Begun {
    let parties = cluster.deployment.count().unwrap();
    assert_eq!(granted.status, 200, "{granted:?}");
    let header = https::granted(&Peer::Helper, Kind::Ticket, granted.header("amicus-id")).unwrap();
    let admission = pending.granted(&header, &granted.body, &mut OperatingSystem).unwrap();
    let scope = admission.scope();
    let x = quantize_input(&cluster.compiled.plan, &IMAGE).unwrap();
    let (awaiting, messages) = admission.mask(&x).unwrap();
    let inputs = parties.all().map(|party| https::submit(party, &messages)).collect();
    Begun { scope, awaiting, inputs }
}

fn submit(reach: &Reach, n: usize, token: &str, call: &https::Call) -> Response {
    ask(reach, n, "POST", &call.path, token, &call.body.0)
}

/// Gives both parties the inputs.
pub(crate) fn submit_all(reach: &Reach, tokens: &[String], inputs: &[https::Call]) -> Vec<Response> {
    std::thread::scope(|scope| {
        let calls = inputs.iter().enumerate();
        let asked: Vec<_> =
            calls.map(|(n, call)| scope.spawn(move || submit(reach, n + 1, &tokens[n + 1], call))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

/// Finishes an inference, as its client does.
fn finish(cluster: &Cluster, tokens: &[String], begun: &mut Begun) {
    let parties = cluster.deployment.count().unwrap();
    let outputs = submit_all(&cluster.reach, tokens, &begun.inputs);
    for (party, output) in parties.all().zip(outputs) {
        assert_eq!(output.status, 200, "{:?}", String::from_utf8_lossy(&output.body));
        begun.awaiting.output(party, output.body);
    }
    let release = ask(&cluster.reach, 0, "GET", &https::release(begun.scope).path, &tokens[0], b"");
    assert_eq!(release.status, 200, "{release:?}");
    begun.awaiting.release(release.body);
    assert_revealed(&cluster.compiled.plan, IMAGE, &begun.awaiting.result().unwrap().unwrap());
}

#[test]
fn inputs_of_the_wrong_size_are_refused_before_they_burn_anything() {
    let cluster = Cluster::loaded();
    let alice = tokens(&cluster, "alice");
    let mut begun = begin(&cluster, &alice);
    let call = &begun.inputs[0];
    let mut longer = call.body.0.clone();
    longer.push(0);
    for wrong in [&longer[..], &longer[..longer.len() - 2], &longer[..64], b""] {
        let refused = ask(&cluster.reach, 1, "POST", &call.path, &alice[1], wrong);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.problem().what.contains(&format!("have {} bytes for one image", call.body.0.len())));
    }
    assert_eq!(cluster.outcomes(1, "invalid"), 4);
    finish(&cluster, &alice, &mut begun);
}

#[test]
fn another_clients_id_gives_nothing_and_takes_nothing() {
    let cluster = Cluster::loaded();
    let [alice, mallory] = ["alice", "mallory"].map(|name| tokens(&cluster, name));
    let mut begun = begin(&cluster, &alice);
    // Mallory knows the id, and has tokens; she lacks the keys.
    let forged: Vec<https::Call> = begun
        .inputs
        .iter()
        .map(|call| {
            let mut forged = call.clone();
            forged.body.0.iter_mut().for_each(|byte| *byte ^= 1);
            forged
        })
        .collect();
    for (n, call) in forged.iter().enumerate() {
        let refused = submit(&cluster.reach, n + 1, &mallory[n + 1], call);
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.problem().what.contains("tag"), "{:?}", refused.problem());
        assert_eq!(cluster.outcomes(n + 1, "failed"), 1);
    }
    for (method, path) in
        [("GET", https::release(begun.scope).path), ("DELETE", https::acknowledge(begun.scope).path)]
    {
        let refused = ask(&cluster.reach, 0, method, &path, &mallory[0], b"");
        assert!(refused.status == 404 && refused.problem().what.contains("with this token"), "{refused:?}");
    }
    finish(&cluster, &alice, &mut begun);
}

#[test]
fn the_same_again_changes_nothing_and_something_else_burns_the_id() {
    let cluster = Cluster::loaded();
    let alice = tokens(&cluster, "alice");
    // The first party is told the same twice, at the same time: one answer or the other.
    let mut begun = begin(&cluster, &alice);
    let reach = cluster.reach.clone();
    let (token, call) = (alice[1].clone(), begun.inputs[0].clone());
    let twice = std::thread::spawn(move || {
        let mut raw = Raw::connect(&reach, 1);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            call.path,
            call.body.0.len()
        );
        raw.send(&[head.as_bytes(), &call.body.0].concat());
        // The line breaks before the answer.
    });
    twice.join().unwrap();
    finish(&cluster, &alice, &mut begun);
    // After its end an id is spent.
    let late = submit(&cluster.reach, 1, &alice[1], &begun.inputs[0]);
    assert_eq!(late.status, 422, "{late:?}");
    assert!(late.problem().what.contains("used"), "{:?}", late.problem());
    // The release may be taken again until it is acknowledged.
    let path = https::release(begun.scope).path;
    assert_eq!(ask(&cluster.reach, 0, "GET", &path, &alice[0], b"").status, 200);
    let done = https::acknowledge(begun.scope).path;
    assert_eq!(ask(&cluster.reach, 0, "DELETE", &done, &alice[0], b"").status, 204);
    assert_eq!(ask(&cluster.reach, 0, "GET", &path, &alice[0], b"").status, 404);
    // Another input under the same key: the difference of two masked inputs would show that of the
    // images, so the inference ends.
    let parties = cluster.deployment.count().unwrap();
    let (pending, request) = PendingRequest::new(cluster.plan(), parties, 1, Vec::new()).unwrap();
    let granted = ask(&cluster.reach, 0, "POST", "/v1/inferences", &alice[0], &request.body);
    let header = https::granted(&Peer::Helper, Kind::Ticket, granted.header("amicus-id")).unwrap();
    let admission = pending.granted(&header, &granted.body, &mut OperatingSystem).unwrap();
    let x = quantize_input(&cluster.compiled.plan, &IMAGE).unwrap();
    let (awaiting, [input, key]) = admission.mask(&x).unwrap();
    let mut body = input.body().to_vec();
    body[0] ^= 1;
    let other = amicus::client::ToParties::new(input.header(), body, awaiting.authentication());
    let one = parties.all().next().unwrap();
    let first = https::submit(one, &[input, key.clone()]);
    let second = https::submit(one, &[other, key]);
    let (reach, token) = (cluster.reach.clone(), alice[1].clone());
    let waiting = std::thread::spawn(move || submit(&reach, 1, &token, &first));
    std::thread::sleep(Duration::from_millis(300));
    let burned = submit(&cluster.reach, 1, &alice[1], &second);
    assert_eq!(burned.status, 422, "{burned:?}");
    assert_eq!(waiting.join().unwrap().status, 422);
    let release = ask(&cluster.reach, 0, "GET", &https::release(awaiting.scope()).path, &alice[0], b"");
    assert!(
        release.status == 422 && release.problem().what.contains("masked input"),
        "{:?}",
        release.problem()
    );
    cluster.client(&of_client("bob")).infer(&IMAGE).unwrap();
}

#[test]
fn nonsense_is_refused_and_counted() {
    let cluster = Cluster::loaded();
    let alice = tokens(&cluster, "alice");
    let id = "0".repeat(80);
    for (method, path, status, words) in [
        ("GET", "/".to_owned(), 404, "answers nothing"),
        ("GET", "/index.html".to_owned(), 404, "answers nothing"),
        ("PATCH", "/v1/info".to_owned(), 405, "GET is"),
        ("GET", "/v1/plans/00".to_owned(), 404, "no such plan"),
        ("GET", format!("/v1/inferences/{id}/release"), 404, "no inference with this id"),
        ("GET", "/v1/inferences/xyz/release".to_owned(), 400, "80 hex digits"),
        ("POST", format!("/v1/inferences/{id}/input"), 404, "answers nothing"),
        ("POST", "/v1/inferences".to_owned(), 400, "no request for an inference"),
    ] {
        let refused = ask(&cluster.reach, 0, method, &path, &alice[0], b"");
        assert_eq!((refused.status, refused.header("cache-control")), (status, Some("no-store")), "{path}");
        assert!(refused.header("set-cookie").is_none());
        assert!(refused.problem().what.contains(words), "{path}: {:?}", refused.problem());
    }
    assert_eq!(cluster.outcomes(0, "invalid"), 8);
    let refused = ask(&cluster.reach, 0, "POST", "/v1/info", &alice[0], b"");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")));
    let unknown = ask(&cluster.reach, 1, "POST", &format!("/v1/inferences/{id}/input"), &alice[1], &[0; 200]);
    assert!(unknown.status == 404 && unknown.problem().what.contains("no model is loaded here"));
}

#[test]
fn bodies_that_are_too_long_are_refused_by_their_announcement_or_their_bytes() {
    let cluster = Cluster::loaded();
    let alice = tokens(&cluster, "alice");
    let mut raw = Raw::connect(&cluster.reach, 0);
    let head = |length: &str| {
        format!(
            "POST /v1/inferences HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{length}\r\n\r\n",
            alice[0]
        )
    };
    raw.send(head("content-length: 1000000000000").as_bytes());
    let refused = raw.receive().unwrap();
    assert!(refused.status == 413 && refused.problem().what.contains("16384 bytes"), "{refused:?}");
    let mut raw = Raw::connect(&cluster.reach, 0);
    raw.send(head("transfer-encoding: chunked").as_bytes());
    let chunk = [format!("{:x}\r\n", 8192).as_bytes(), &[7; 8192], b"\r\n"].concat();
    // It may be refused, and closed, while the rest is sent.
    for _ in 0..3 {
        let _ = raw.0.write_all(&chunk).and_then(|()| raw.0.flush());
    }
    assert_eq!(raw.receive().unwrap().status, 413);
    // Without a token nothing of a body is read.
    let mut raw = Raw::connect(&cluster.reach, 0);
    raw.send(b"POST /v1/inferences HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n");
    assert_eq!(raw.receive().unwrap().status, 401);
    assert_eq!(cluster.outcomes(0, "too_large"), 2);
}

#[test]
fn slow_and_silent_connections_end_and_keep_nobody_out() {
    let limits = PublicLimits { seconds: 1, connections: 40, ..PublicLimits::default() };
    let cluster = Setup { limits, ..Setup::default() }.start();
    let alice = tokens(&cluster, "alice");
    // Headers that come byte by byte; a body that does not come; nobody who speaks TLS.
    let mut loris = Raw::connect(&cluster.reach, 0);
    loris.send(b"GET /v1/info HTTP/1.1\r\nx: ");
    let mut half = Raw::connect(&cluster.reach, 0);
    let head = format!("POST /v1/inferences HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", alice[0]);
    half.send(format!("{head}content-length: 100\r\n\r\nhalf").as_bytes());
    let mut silent = TcpStream::connect(cluster.reach.public[0]).unwrap();
    let mut plain = TcpStream::connect(cluster.reach.public[0]).unwrap();
    plain.write_all(b"GET /v1/info HTTP/1.1\r\n\r\n").unwrap();
    // Others are served meanwhile.
    cluster.client(&of_client("bob")).infer(&IMAGE).unwrap();
    let slow = half.receive().unwrap();
    assert!(slow.status == 408 && slow.problem().what.contains("within 1 s"), "{slow:?}");
    assert!(loris.receive().is_none_or(|ended| ended.status == 408));
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP"), "{rest:?}");
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Once the handshake's time is over.
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
    assert!(cluster.outcomes(0, "slow") >= 2);
}

#[test]
fn one_address_does_not_take_all_connections() {
    let limits = PublicLimits { connections: 40, ..PublicLimits::default() };
    let cluster = Setup { limits, load: false, ..Setup::default() }.start();
    let held: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(cluster.reach.public[0]).unwrap()).collect();
    // A quarter of them is let in.
    while cluster.outcomes(0, "busy") < 30 {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let token = cluster.token(0, of_client("a")).0;
    let served = || {
        std::panic::catch_unwind(|| {
            ask(&cluster.reach.clone(), 0, "GET", "/v1/info", token.reveal(), b"").status
        })
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !matches!(served(), Ok(200)) {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[test]
fn as_many_inferences_as_a_token_and_the_port_have_places_for() {
    let limits = PublicLimits { inferences: 2, ..PublicLimits::default() };
    let cluster = Setup { limits, ..Setup::default() }.start();
    let one = amicus_service::token::NewToken { lanes: 1, ..of_client("one") };
    let token = cluster.token(0, one).0;
    let alice = tokens(&cluster, "alice");
    let parties = cluster.deployment.count().unwrap();
    let (_, request) = PendingRequest::new(cluster.plan(), parties, 1, Vec::new()).unwrap();
    let ask_with = |token: &str| ask(&cluster.reach, 0, "POST", "/v1/inferences", token, &request.body);
    assert_eq!(ask_with(token.reveal()).status, 200);
    let refused = ask_with(token.reveal());
    assert!(refused.status == 429 && refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(ask_with(&alice[0]).status, 200);
    let refused = ask_with(&alice[0]);
    assert!(refused.status == 503 && refused.problem().what.contains("as this port takes"), "{refused:?}");
    // Nobody gives an input: both end by themselves, and their places are free again.
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while ask_with(&alice[0]).status != 200 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_helper_begins_no_more_inferences_than_its_own_machine_gives() {
    let helper = NodeLimits { inferences: Some(1), ..NodeLimits::default() };
    let cluster = Setup { helper, round: 300, ..Setup::default() }.start();
    let [alice, bob] = ["alice", "bob"].map(|name| tokens(&cluster, name));
    let mut first = begin(&cluster, &alice);
    // All agreed on more; the next one waits for its turn all the same.
    let parties = cluster.deployment.count().unwrap();
    let (pending, request) = PendingRequest::new(cluster.plan(), parties, 1, Vec::new()).unwrap();
    std::thread::scope(|scope| {
        let (reach, token) = (cluster.reach.clone(), bob[0].clone());
        let second = scope.spawn(move || ask(&reach, 0, "POST", "/v1/inferences", &token, &request.body));
        let lines = ["amicus_inferences_in_flight ", "amicus_requests_waiting "];
        while cluster.metrics(0, lines) != [1, 1] {
            assert!(!second.is_finished(), "two are in flight");
            std::thread::sleep(Duration::from_millis(20));
        }
        finish(&cluster, &alice, &mut first);
        finish(&cluster, &bob, &mut begun(&cluster, pending, &second.join().unwrap()));
    });
}

#[test]
fn pages_of_listed_origins_may_ask_and_no_others() {
    let origins = vec!["https://app.example".to_owned()];
    let cluster = Setup { origins, load: false, ..Setup::default() }.start();
    let token = cluster.token(0, of_client("a")).0;
    let with = |method: &str, origin: &str| {
        let mut raw = Raw::connect(&cluster.reach, 0);
        let token = token.reveal();
        let head = format!(
            "{method} /v1/info HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        raw.send(head.as_bytes());
        raw.receive().unwrap()
    };
    for method in ["GET", "OPTIONS"] {
        let listed = with(method, "https://app.example");
        assert!(listed.status == 200 || listed.status == 204);
        assert_eq!(listed.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(listed.header("vary"), Some("origin"));
        for other in ["https://app.example.evil", "https://APP.example", "null", "https://app.example:444"] {
            let refused = with(method, other);
            assert_eq!(refused.header("access-control-allow-origin"), None, "{method} {other}");
            assert_eq!(refused.status, if method == "GET" { 200 } else { 403 });
        }
        assert_eq!(listed.header("access-control-allow-credentials"), None);
    }
    let preflight = with("OPTIONS", "https://app.example");
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, content-type"));
}

#[test]
fn two_clients_that_race_for_one_id_get_one_answer() {
    let cluster = Cluster::loaded();
    let [alice, mallory] = ["alice", "mallory"].map(|name| tokens(&cluster, name));
    for _ in 0..5 {
        let mut begun = begin(&cluster, &alice);
        let mut theirs = begin(&cluster, &mallory);
        // Mallory's input, tagged under her keys, at the id of Alice.
        let stolen: Vec<https::Call> = theirs
            .inputs
            .iter()
            .map(|call| https::Call {
                path: call.path.replace(&id_of(theirs.scope), &id_of(begun.scope)),
                ..call.clone()
            })
            .collect();
        let (reach, tokens) = (cluster.reach.clone(), mallory.clone());
        let racing = std::thread::spawn(move || submit_all(&reach, &tokens, &stolen));
        finish(&cluster, &alice, &mut begun);
        for lost in racing.join().unwrap() {
            assert_eq!(lost.status, 422, "{lost:?}");
        }
        finish(&cluster, &mallory, &mut theirs);
    }
}
