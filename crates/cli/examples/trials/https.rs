//! The line from whoever has a token to a node's public port: it can be cut, and what goes over it is
//! looked at.
//!
//! As a relay of frames does, it has the node's key, which this cluster made for itself: it ends TLS
//! in the node's place, and passes requests on.

use super::relay::{End, GLANCE};
use super::wire::Record;
use amicus::client::https::{ID_HEADER, KEY_BYTES, scope_of};
use amicus::net::https::{Trust, client, server_of};
use amicus::protocol::wire::Kind;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Failure = Box<dyn Error + Send + Sync>;

/// A relay in front of a node's public port.
struct Relay {
    to: End,
    at: SocketAddr,
    near: TlsAcceptor,
    far: TlsConnector,
    record: Arc<Record>,
    over: Arc<AtomicBool>,
}

/// Starts a relay to a node's public port, on a thread of its own; where it listens.
pub(crate) fn start(
    to: &End,
    at: SocketAddr,
    record: &Arc<Record>,
    over: &Arc<AtomicBool>,
) -> anyhow::Result<SocketAddr> {
    let pinned = client(&Trust::Pinned(vec![to.identity.fingerprint()]))?;
    let relay = Arc::new(Relay {
        to: to.clone(),
        at,
        near: TlsAcceptor::from(server_of(&to.identity)?),
        far: TlsConnector::from(pinned),
        record: Arc::clone(record),
        over: Arc::clone(over),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || runtime.block_on(relay.serve(listener)));
    Ok(address)
}

impl Relay {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while !self.over.load(Ordering::Relaxed) {
            self.heard().await;
            let Ok(accepted) = tokio::time::timeout(GLANCE, listener.accept()).await else { continue };
            let Ok((socket, _)) = accepted else { continue };
            if !self.to.is(|w| &w.closed) {
                // How a connection ends both ends see by themselves.
                let relay = Arc::clone(&self);
                tokio::spawn(async move { drop(relay.connection(socket).await) });
            }
        }
    }

    /// Waits as long as the node hears and says nothing.
    async fn heard(&self) {
        while self.to.is(|w| &w.silent) && !self.over.load(Ordering::Relaxed) {
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn connection(self: &Arc<Self>, socket: TcpStream) -> Result<(), Failure> {
        socket.set_nodelay(true)?;
        let near = self.near.accept(socket).await?;
        let far = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(self.at)).await??;
        far.set_nodelay(true)?;
        let far = self.far.connect(ServerName::from(self.at.ip()), far).await?;
        let (sender, far) = handshake(TokioIo::new(far)).await?;
        let (sender, relay) = (Arc::new(Mutex::new(sender)), Arc::clone(self));
        let pass = service_fn(move |request| Arc::clone(&relay).pass(Arc::clone(&sender), request));
        let near = http1::Builder::new().serve_connection(TokioIo::new(near), pass);
        let (near, far) = (tokio::spawn(near), tokio::spawn(far));
        let ended = || near.is_finished() || far.is_finished();
        while !self.to.is(|w| &w.closed) && !self.over.load(Ordering::Relaxed) && !ended() {
            tokio::time::sleep(GLANCE).await;
        }
        if ended() {
            // What the other end was sent before still arrives.
            tokio::time::sleep(GLANCE).await;
        }
        near.abort();
        far.abort();
        Ok(())
    }

    async fn pass(
        self: Arc<Self>,
        sender: Arc<Mutex<SendRequest<Full<Bytes>>>>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        self.look_at_request(&path, &body);
        self.heard().await;
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.insert(HOST, self.at.to_string().parse()?);
        let answer = {
            let mut sender = sender.lock().await;
            sender.ready().await?;
            sender.send_request(Request::from_parts(head, Full::new(body))).await?
        };
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        if head.status.is_success() {
            let id = head.headers.get(ID_HEADER).and_then(|id| id.to_str().ok());
            self.look_at_answer((&method, &path), id, &body);
        }
        self.heard().await;
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(TRANSFER_ENCODING);
        Ok(Response::from_parts(head, Full::new(body)))
    }

    fn look_at_request(&self, path: &str, body: &[u8]) {
        if let Some((scope, "input")) = of_inference(path)
            && let Some(scope) = scope_of(scope)
            && let Some((key, input)) = body.split_at_checked(KEY_BYTES)
        {
            self.record.look_at(Kind::ReceiverKey, scope, key);
            self.record.look_at(Kind::Input, scope, input);
        }
    }

    fn look_at_answer(&self, (method, path): (&Method, &str), granted: Option<&str>, body: &[u8]) {
        let (kind, scope) = match (method, of_inference(path)) {
            (&Method::POST, None) if path == "/v1/inferences" => (Kind::Ticket, granted),
            (&Method::POST, None) if path == "/v1/loads" => (Kind::LoadGrant, granted),
            (_, Some((scope, "input" | "output"))) => (Kind::Output, Some(scope)),
            (_, Some((scope, "release"))) => (Kind::Release, Some(scope)),
            _ => return,
        };
        if let Some(scope) = scope.and_then(scope_of) {
            self.record.look_at(kind, scope, body);
        }
    }
}

/// The inference that a path is of, and what of it.
fn of_inference(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/v1/inferences/")?.split_once('/')
}
