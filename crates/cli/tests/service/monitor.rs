//! The monitor's port against those who hold it up.

use crate::trial::{Trial, http};
use std::io::Write;
use std::net::TcpStream;

#[test]
fn who_says_nothing_or_too_much_is_in_nobodys_way() {
    let trial = Trial::new();
    let node = trial.start("helper");
    node.answers("/healthz", 200, "ok");
    assert_eq!(node.get("/").unwrap().0, 404);
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("HEAD /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n", 200),
        ("nonsense\r\n\r\n", 400),
    ] {
        assert_eq!(http(&node.monitor, request).unwrap().0, status, "{request}");
    }
    let long = format!("GET /healthz HTTP/1.1\r\nHost: node\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    assert!(http(&node.monitor, &long).map_or(true, |(status, _)| status == 431));
    // Connections that never finish their request, more than there is room for.
    let silent: Vec<TcpStream> = (0..40)
        .map(|n| {
            let mut socket = TcpStream::connect(&node.monitor).unwrap();
            socket.write_all(if n % 2 == 0 { b"" } else { b"GET /met" }).unwrap();
            socket
        })
        .collect();
    node.answers("/healthz", 200, "ok");
    let metrics = node.answers("/metrics", 200, "# EOF");
    assert!(metrics.contains("amicus_build_info") && metrics.contains("role=\"helper\""), "{metrics}");
    drop(silent);
}
