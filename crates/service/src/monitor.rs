//! What a node answers its operator over HTTP: `/healthz`, `/readyz` and `/metrics`.
//!
//! One thread serves all connections. Headers have a deadline and a bounded size, connections a
//! bounded number and life, and requests have no bodies: whoever reaches the port can slow down
//! nothing but this.

use crate::error::StartError;
use crate::metrics::Metrics;
use crate::serving::Serving;
use amicus::{Level, Watch};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Its thread, in errors.
const MONITOR: &str = "the monitor's thread";
/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 16;
/// Until the headers of a request must be there.
const HEADERS: Duration = Duration::from_secs(5);
/// Life of a connection.
const LIFE: Duration = Duration::from_secs(30);
/// Bytes of a request's headers, at most.
const BUFFER: usize = 16 << 10;
/// Rest after an error of the operating system, such as no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of a node while it runs.
pub(crate) struct State {
    pub(crate) watch: Watch,
    pub(crate) metrics: Metrics,
    /// Other nodes of its cluster.
    pub(crate) nodes: usize,
    /// It was told to end.
    pub(crate) closing: AtomicBool,
    /// It cannot go on.
    pub(crate) fatal: AtomicBool,
}

/// A running monitor; it ends when it is dropped.
pub(crate) struct Monitor {
    pub(crate) address: SocketAddr,
    _serving: Serving,
}

impl Monitor {
    /// Takes the address; nothing is answered yet.
    ///
    /// # Errors
    /// An address that cannot be listened at.
    pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        bound.map_err(|error| StartError::Monitor { address, error })
    }

    /// Answers from now on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(listener: TcpListener, state: Arc<State>) -> Result<Self, StartError> {
        let address = listener.local_addr();
        let address = address.map_err(|error| StartError::System { what: MONITOR, error })?;
        let serving = Serving::start("monitor", MONITOR, move || serve(listener, state))?;
        Ok(Monitor { address, _serving: serving })
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let answers = service_fn(move |request| answer(request, Arc::clone(&state)));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(BUFFER);
            let connection = server.serve_connection(TokioIo::new(socket), answers);
            // Who is too slow, or sends something else, is not answered.
            let _ = tokio::time::timeout(LIFE, connection).await;
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET or HEAD\n".into());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    Ok(match request.uri().path() {
        "/healthz" if state.fatal.load(Ordering::SeqCst) => {
            let text = "this node cannot go on; its log says why\n";
            response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text.into())
        }
        "/healthz" => response(StatusCode::OK, PLAIN, "ok\n".into()),
        "/readyz" => {
            let lacks = lacks(&level(&state).await, &state);
            match lacks.is_empty() {
                true => response(StatusCode::OK, PLAIN, "ready\n".into()),
                false => {
                    let text = format!("not ready: {}\n", lacks.join("; "));
                    response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text)
                }
            }
        }
        "/metrics" => match state.metrics.text(level(&state).await) {
            Ok(text) => response(StatusCode::OK, METRICS, text),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "metrics have no text\n".into()),
        },
        _ => response(StatusCode::NOT_FOUND, PLAIN, "there are /healthz, /readyz and /metrics\n".into()),
    })
}

/// How the node is. It is asked by another thread: it may be busy for a moment.
async fn level(state: &Arc<State>) -> Level {
    let watch = state.watch.clone();
    tokio::task::spawn_blocking(move || watch.level()).await.unwrap_or_default()
}

/// What keeps a node from serving inferences.
fn lacks(level: &Level, state: &State) -> Vec<&'static str> {
    let lacks = [
        (state.fatal.load(Ordering::SeqCst), "it cannot go on; its log says why"),
        (state.closing.load(Ordering::SeqCst), "it is shutting down"),
        (level.nodes < state.nodes, "not all nodes are connected"),
        (!level.session, "no session with all nodes is open"),
        (level.models == 0, "no model is loaded"),
    ];
    lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, what)| what).collect()
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
