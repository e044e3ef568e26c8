//! Connections to the public ports of all nodes: kept open, and made anew when they break.

use super::tokens::{Tokens, nodes};
use crate::{Deployment, Error};
use amicus_client::https::{Call, ID_HEADER, Problem};
use amicus_net::https::{Trust, client};
use amicus_node::Peer;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(10);
/// Connections of a node that are kept, at most.
const KEPT: usize = 64;
/// What is said of a line that ended before an answer was there.
const BROKEN: &str = "the line broke before its answer; ask again, and its operator if that goes on";
/// The longest answer that is an error.
const MAX_PROBLEM: usize = 64 << 10;

/// The answer to a request.
pub(super) struct Answer {
    /// The inference or load that it grants, if it does.
    pub(super) id: Option<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// A node's public port.
struct Node {
    address: String,
    host: ServerName<'static>,
    tls: TlsConnector,
    bearer: HeaderValue,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// The public ports of all nodes.
pub(super) struct Wire {
    nodes: BTreeMap<Peer, Node>,
    /// The longest answer, in bytes.
    longest: usize,
    /// Requests that were said again because a line had broken.
    pub(super) resumed: AtomicUsize,
}

/// How a request failed.
enum Failure {
    /// Before the node can have seen all of it: the same may be said again.
    Unsaid(String),
    /// After that.
    Said(String),
}

impl Wire {
    pub(super) fn new(deployment: &Deployment, tokens: &Tokens, longest: usize) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        let mut configs: Vec<(Trust, Arc<ClientConfig>)> = Vec::new();
        for peer in nodes(deployment)? {
            let failed = |reason: String| Error::Https { node: peer.clone(), reason };
            let (address, trust) = deployment.public(&peer).ok_or_else(|| {
                failed("the cluster's file has no `public` address of it; ask its operator".into())
            })?;
            let config = match configs.iter().find(|(known, _)| *known == trust) {
                Some((_, config)) => Arc::clone(config),
                None => {
                    let config = client(&trust)?;
                    configs.push((trust, Arc::clone(&config)));
                    config
                }
            };
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let host = ServerName::try_from(host).map_err(|error| failed(error.to_string()))?;
            let token = tokens.of(&peer).ok_or_else(|| failed("there is no token for it".into()))?;
            let mut bearer = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {token}")))
                .map_err(|_| failed("its token is no token".into()))?;
            bearer.set_sensitive(true);
            let (address, tls) = (address.to_owned(), TlsConnector::from(config));
            all.insert(peer.clone(), Node { address, host, tls, bearer, idle: Mutex::default() });
        }
        Ok(Wire { nodes: all, longest, resumed: AtomicUsize::new(0) })
    }

    /// Sends a request and waits for its answer. A connection that breaks before the node can have
    /// answered is made anew once, and the same bytes are sent again.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, Error> {
        let failed = |reason: String| Error::Https { node: call.node.clone(), reason };
        let node = self.nodes.get(&call.node).ok_or_else(|| failed("it is no node of the cluster".into()))?;
        let body = Bytes::copy_from_slice(&call.body.0);
        // What was kept may have been closed by the node meanwhile.
        let kept = node.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = kept {
            match self.over(node, connection, call, body.clone()).await {
                Ok(answer) => return answer,
                Err(Failure::Said(reason)) => return Err(failed(reason)),
                Err(Failure::Unsaid(_)) => {}
            }
        }
        let connection = tokio::time::timeout(CONNECT, node.connect()).await;
        let connection =
            connection.unwrap_or_else(|_| Err("no connection in time".into())).map_err(failed)?;
        match self.over(node, connection, call, body).await {
            Ok(answer) => answer,
            Err(Failure::Said(reason) | Failure::Unsaid(reason)) => Err(failed(reason)),
        }
    }

    async fn over(
        &self,
        node: &Node,
        mut connection: SendRequest<Full<Bytes>>,
        call: &Call,
        body: Bytes,
    ) -> Result<Result<Answer, Error>, Failure> {
        connection.ready().await.map_err(|error| Failure::Unsaid(error.to_string()))?;
        let request = Request::builder()
            .method(call.method.name())
            .uri(&call.path)
            .header(HOST, &node.address)
            .header(AUTHORIZATION, &node.bearer)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .map_err(|error| Failure::Said(error.to_string()))?;
        let response = connection.send_request(request).await.map_err(|error| {
            let unsaid = error.is_canceled() || error.is_incomplete_message() || error.is_closed();
            let reason = told(&error);
            // A node ends lines that were idle for long, which shows when they are used again.
            if unsaid || ended(&error) { Failure::Unsaid(reason) } else { Failure::Said(reason) }
        })?;
        let (head, body) = response.into_parts();
        let id = head.headers.get(ID_HEADER).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let most = if head.status.is_success() { self.longest } else { MAX_PROBLEM };
        let body =
            Limited::new(body, most).collect().await.map_err(|error| Failure::Said(error.to_string()))?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        let mut idle = node.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(connection);
        }
        drop(idle);
        if head.status.is_success() {
            return Ok(Ok(Answer { id, body }));
        }
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        let problem = problem.map(problem_of);
        let reason = format!("it answers {} without saying why", head.status);
        Ok(Err(match problem {
            Some(problem) => Error::Api {
                node: call.node.clone(),
                status: head.status.as_u16(),
                problem: Box::new(problem),
            },
            None => Error::Https { node: call.node.clone(), reason },
        }))
    }
}

/// What a node says, made fit for a terminal.
fn problem_of(problem: Problem) -> Problem {
    let shown = |text: &str| amicus_plan::printable::visible(text);
    let Problem { what, place, whose, next } = problem;
    Problem { what: shown(&what), place: shown(&place), whose: shown(&whose), next: shown(&next) }
}

/// An error with its cause, which says more; of a line that broke, what that means.
fn told(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        _ if ended(error) => BROKEN.to_owned(),
        Some(cause) => format!("{error}: {cause}"),
        None if error.is_incomplete_message() || error.is_canceled() => BROKEN.to_owned(),
        None => error.to_string(),
    }
}

/// Whether the line ended before the answer began.
fn ended(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(broken)
}

/// Whether the other end, or something between, ended the line.
fn broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

impl Node {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let socket = TcpStream::connect(&self.address).await.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = self.tls.connect(self.host.clone(), socket).await.map_err(|error| {
            // What our verifier says names the certificate that was shown.
            let refused = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            match refused {
                Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
                    format!("{}; compare it with the cluster's file", other.0)
                }
                _ if broken(&error) => BROKEN.to_owned(),
                _ => format!("TLS failed: {error}"),
            }
        })?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // It ends with its sender, or with the node; who sends next hears how.
        tokio::spawn(connection);
        Ok(sender)
    }
}
