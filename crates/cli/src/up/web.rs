//! The page of `amicus up --web`: served from an address of its own, never by a node.
//!
//! Browsers trust certificates of authorities alone, and nodes on this machine have none. So each node
//! has a relay here, at an address of its own: what a browser sends there in plain text goes to the
//! node's public port over its pinned TLS, byte by byte. Nodes see the page's origin and answer it or
//! not, as they would anywhere. Everything stays on loopback. A relay sees what its node sees; all
//! relays together see everything, as this machine does anyway.

use super::UpError;
use amicus::Deployment;
use amicus::https::nodes;
use amicus_net::https::client;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// Where `web/build.sh` puts what it makes, in the project's folder.
pub const DIST: &str = "web/dist";
/// Files that are served, and what they are.
const FILES: [(&str, &str); 6] = [
    ("icon.svg", "image/svg+xml"),
    ("index.html", "text/html; charset=utf-8"),
    ("page.css", "text/css; charset=utf-8"),
    ("page.js", "text/javascript; charset=utf-8"),
    ("amicus.js", "text/javascript; charset=utf-8"),
    ("amicus.wasm", "application/wasm"),
];
/// The page's content security policy, and what stands for the nodes in it.
const POLICY: &str = "policy.txt";
const NODES: &str = "NODES";
/// Longest of them, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Connections at a time, to the page and to each relay.
const CONNECTIONS: usize = 64;
/// Until the headers of a request must be there.
const HEADERS: Duration = Duration::from_secs(10);
/// Rest after an error of the operating system, such as no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The page's files, and addresses that are taken. Nothing is answered yet.
#[derive(Debug)]
pub struct Web {
    page: TcpListener,
    /// The helper's, then the parties'.
    relays: Vec<TcpListener>,
    files: BTreeMap<String, (&'static str, Bytes)>,
    policy: String,
}

/// A page that is served; it ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    /// Where the page is.
    pub origin: String,
    /// Where each node is reached from it, the helper first.
    pub relays: Vec<String>,
    _runtime: Runtime,
}

/// A cluster as the page is told of it: what is public.
#[derive(Serialize)]
struct Described<'a> {
    cluster: &'a str,
    helper: &'a str,
    parties: &'a [String],
    models: &'a [Model],
}

/// A model as the page is told of it.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// The digest of its plan.
    pub plan: String,
    /// Its fingerprint, as it was loaded.
    pub fingerprint: String,
    /// Names of its classes, where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

fn origin(listener: &TcpListener) -> Result<String, UpError> {
    let address = listener.local_addr().map_err(|error| UpError::System { what: "an address", error })?;
    Ok(format!("http://{address}"))
}

fn bind() -> Result<TcpListener, UpError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| UpError::System { what: "an address", error })
}

fn read_file(path: &Path) -> Result<Vec<u8>, UpError> {
    let read = std::fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes)?;
        Ok(bytes)
    });
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => UpError::NoPage { path: path.to_owned() },
        _ => UpError::File { path: path.to_owned(), error },
    })
}

impl Web {
    /// Reads the page's files, and takes an address for it and one for each of so many nodes.
    ///
    /// # Errors
    /// A folder in which a file is missing, no addresses.
    pub fn open(folder: &Path, nodes: usize) -> Result<Self, UpError> {
        let read =
            |(name, kind)| Ok((format!("/{name}"), (kind, Bytes::from(read_file(&folder.join(name))?))));
        let files = FILES.into_iter().map(read).collect::<Result<_, UpError>>()?;
        let policy = String::from_utf8_lossy(&read_file(&folder.join(POLICY))?).into_owned();
        let relays = (0..nodes).map(|_| bind()).collect::<Result<_, _>>()?;
        Ok(Web { page: bind()?, relays, files, policy })
    }

    /// Where the page will be: the one origin that nodes are to answer.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn origin(&self) -> Result<String, UpError> {
        origin(&self.page)
    }

    /// Serves the page and the relays of a deployment's nodes.
    ///
    /// # Errors
    /// Nodes without public ports, no thread.
    pub fn serve(mut self, deployment: &Deployment, models: &[Model]) -> Result<Serving, UpError> {
        let system = |error| UpError::System { what: "the page's thread", error };
        let page = self.origin()?;
        let relays = self.relays.iter().map(origin).collect::<Result<Vec<_>, _>>()?;
        let (helper, parties) = relays.split_first().ok_or_else(|| system(io::Error::other("no nodes")))?;
        let described = Described { cluster: &deployment.cluster, helper, parties, models };
        let described = serde_json::to_vec(&described).map_err(|error| system(error.into()))?;
        self.files.insert("/cluster.json".to_owned(), ("application/json", described.into()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("web")
            .enable_io()
            .enable_time()
            .build()
            .map_err(system)?;
        for (node, listener) in nodes(deployment)?.into_iter().zip(self.relays) {
            let (to, trust) = deployment
                .public(&node)
                .ok_or_else(|| system(io::Error::other(format!("{node} has no public port"))))?;
            let tls = client(&trust).map_err(amicus::Error::from)?;
            runtime.spawn(relay(listener, to.to_owned(), tls));
        }
        let host = page.strip_prefix("http://").unwrap_or_default().to_owned();
        // What the page may do: run its own files, and talk to the nodes.
        let policy = self.policy.trim().replace(NODES, &relays.join(" "));
        let shown = Shown { host, policy, files: self.files };
        runtime.spawn(pages(self.page, Arc::new(shown)));
        Ok(Serving { origin: page, relays, _runtime: runtime })
    }
}

/// What the page's server knows.
struct Shown {
    host: String,
    policy: String,
    files: BTreeMap<String, (&'static str, Bytes)>,
}

/// Accepts connections, so many at a time.
async fn accept(listener: TcpListener, each: impl Fn(TcpStream, tokio::sync::OwnedSemaphorePermit)) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => each(socket, place),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn pages(listener: TcpListener, shown: Arc<Shown>) {
    let connection = |socket, place| {
        let shown = Arc::clone(&shown);
        tokio::spawn(async move {
            let answers = service_fn(|request| {
                let answer = answer(&shown, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADERS);
            let _ = server.serve_connection(TokioIo::new(socket), answers).await;
            drop(place);
        });
    };
    accept(listener, connection).await;
}

fn answer(shown: &Shown, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let plain =
        |status, text: &'static str| response(status, "text/plain; charset=utf-8", text.into(), shown);
    // A name that somebody else points at this machine is not this page's.
    if request.headers().get(HOST).is_none_or(|host| host.as_bytes() != shown.host.as_bytes()) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "this is the page of another address\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let path = match request.uri().path() {
        "/" => "/index.html",
        path => path,
    };
    match shown.files.get(path) {
        Some((kind, bytes)) => response(StatusCode::OK, kind, bytes.clone(), shown),
        None => plain(StatusCode::NOT_FOUND, "there is no such file\n"),
    }
}

fn response(status: StatusCode, kind: &'static str, body: Bytes, shown: &Shown) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&shown.policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Carries bytes to a node and back. They are not looked at.
async fn relay(listener: TcpListener, to: String, tls: Arc<ClientConfig>) {
    let connection = |socket: TcpStream, place| {
        let (to, connector) = (to.clone(), TlsConnector::from(Arc::clone(&tls)));
        tokio::spawn(async move {
            // Either end may break; the other finds out.
            let _ = carry(socket, &to, connector).await;
            drop(place);
        });
    };
    accept(listener, connection).await;
}

async fn carry(mut socket: TcpStream, to: &str, connector: TlsConnector) -> io::Result<()> {
    let node = TcpStream::connect(to).await?;
    node.set_nodelay(true)?;
    socket.set_nodelay(true)?;
    let host = to.rsplit_once(':').map_or(to, |(host, _)| host).to_owned();
    let host = ServerName::try_from(host).map_err(io::Error::other)?;
    let mut node = connector.connect(host, node).await?;
    tokio::io::copy_bidirectional(&mut socket, &mut node).await.map(drop)
}
