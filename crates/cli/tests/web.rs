//! The page of `amicus up --web`, without a browser: what its server answers, and to whom.
#![allow(clippy::unwrap_used)] // a test fails with what it did not expect

use amicus::Parties;
use amicus_cli::up::{Files, UpError, Web};
use amicus_field::Limbs;
use amicus_testkit::zoo;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const POLICY: &str = "default-src 'none'; connect-src 'self' NODES";

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// A folder with a page.
fn page() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["icon.svg", "index.html", "page.css", "page.js", "amicus.js", "amicus.wasm"] {
        write(folder.path(), name, &format!("this is {name}"));
    }
    write(folder.path(), "policy.txt", POLICY);
    folder
}

fn ask(host: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(host).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_page_that_was_not_built_is_named_with_the_command() {
    let folder = page();
    std::fs::remove_file(folder.path().join("amicus.wasm")).unwrap();
    let error = Web::open(folder.path(), 3).unwrap_err();
    assert!(matches!(error, UpError::NoPage { .. }));
    let text = error.to_string();
    assert!(text.contains("amicus.wasm: there is no such file; `web/build.sh` makes it"), "{text}");
}

#[test]
fn the_page_answers_its_own_address_with_its_own_files() {
    let (folder, at) = (page(), tempfile::tempdir().unwrap());
    let web = Web::open(folder.path(), 3).unwrap();
    let origin = web.origin().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let (plans, origins) = ([("mlp".to_owned(), &*net.plan)], [origin.clone()]);
    let files = Files::write(at.path(), Parties::new(2).unwrap(), &[], &plans, &origins, 1).unwrap();
    // Nodes answer this page, and no other.
    let config = std::fs::read_to_string(&files.nodes[0].config).unwrap();
    assert!(config.contains(&format!("origins = [\"{origin}\"]")), "{config}");
    let serving = web.serve(&files.deployment, &[]).unwrap();
    assert_eq!((&serving.origin, serving.relays.len()), (&origin, 3));
    let host = origin.strip_prefix("http://").unwrap();
    let get = |path: &str, name: &str| {
        ask(host, &format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"))
    };
    let index = get("/", host);
    assert!(index.starts_with("HTTP/1.1 200") && index.ends_with("this is index.html"), "{index}");
    let policy = POLICY.replace("NODES", &serving.relays.join(" "));
    assert!(index.contains(&format!("content-security-policy: {policy}\r\n")), "{index}");
    for header in
        ["cache-control: no-store", "x-content-type-options: nosniff", "referrer-policy: no-referrer"]
    {
        assert!(index.contains(header), "{index}");
    }
    let wasm = get("/amicus.wasm", host);
    assert!(
        wasm.contains("content-type: application/wasm") && wasm.ends_with("this is amicus.wasm"),
        "{wasm}"
    );
    let cluster = get("/cluster.json", host);
    assert!(cluster.contains(&format!("\"helper\":\"{}\"", serving.relays[0])), "{cluster}");
    for path in ["/policy.txt", "/../policy.txt", "/%2e%2e/Cargo.toml", "//etc/passwd", "/owner.tokens"] {
        assert!(get(path, host).starts_with("HTTP/1.1 404"), "{path}");
    }
    // Somebody's name that points here is not this page's.
    for name in ["evil.example", "localhost", "127.0.0.1"] {
        assert!(get("/", name).starts_with("HTTP/1.1 421"), "{name}");
    }
    let post = ask(
        host,
        &format!("POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    );
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"), "{post}");
}
