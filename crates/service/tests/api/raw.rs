//! HTTP as bytes, for what no client of ours says.

use crate::cluster::Reach;
use amicus::client::https::Problem;
use amicus::net::https::{Trust, client};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(crate) struct Raw(pub(crate) StreamOwned<ClientConnection, TcpStream>);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The four parts of an error.
    pub(crate) fn problem(&self) -> Problem {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        for part in [&problem.what, &problem.place, &problem.whose, &problem.next] {
            assert!(!part.is_empty(), "{problem:?}");
        }
        problem
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Raw {
    pub(crate) fn connect(reach: &Reach, n: usize) -> Self {
        let config = client(&Trust::Pinned(vec![reach.fingerprints[n]])).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let socket = TcpStream::connect(reach.public[n]).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Raw(StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket))
    }

    pub(crate) fn send(&mut self, text: &[u8]) {
        self.0.write_all(text).unwrap();
        self.0.flush().unwrap();
    }

    /// The next response; none when the connection ends.
    pub(crate) fn receive(&mut self) -> Option<Response> {
        let (mut bytes, mut one) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\r\n\r\n") {
            match self.0.read(&mut one) {
                Ok(1) => bytes.push(one[0]),
                _ => return None,
            }
        }
        let head = String::from_utf8(bytes).unwrap();
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let mut response = Response { status, head, body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        response.body = vec![0; length];
        self.0.read_exact(&mut response.body).unwrap();
        Some(response)
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, token: &str, body: &[u8]) -> Response {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body].concat());
        self.receive().expect("an answer")
    }
}

/// One request over a connection of its own.
pub(crate) fn ask(reach: &Reach, n: usize, method: &str, path: &str, token: &str, body: &[u8]) -> Response {
    Raw::connect(reach, n).ask(method, path, token, body)
}
