//! The listening end of a public port: connections, TLS, and how many of whom.

use super::config::PublicConfig;
use super::facts::Facts;
use super::inferences::Inferences;
use super::loads::Loads;
use super::places::Places;
use super::{Front, Outcome, answer, lock};
use crate::error::StartError;
use crate::metrics::ApiCounts;
use crate::node::Prepared;
use crate::serving::Serving;
use crate::token::{Meter, NodeTag, Tokens};
use amicus::net::https;
use amicus::{Door, Identity, Level, Watch};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Its thread, in errors.
const PUBLIC: &str = "the public port's thread";
/// Until a connection has shown that it speaks TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of a request's headers, at most.
const BUFFER: usize = 16 << 10;
/// Rest after an error of the operating system, such as no descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest file of a certificate or key, in bytes.
const MAX_PEM: u64 = 1 << 20;
/// Connections of one address, at least.
const OF_ADDRESS: usize = 8;

/// A listening socket, and the certificate that is shown there. Nothing is answered yet.
pub(crate) struct Socket {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
}

/// A public port at work; it ends when this is dropped.
pub(crate) struct Public {
    pub(crate) address: SocketAddr,
    front: Arc<Front>,
    /// What new connections are shown.
    tls: Arc<Mutex<Arc<ServerConfig>>>,
    serving: Option<Serving>,
}

impl Socket {
    /// Takes the address, and reads the certificate.
    ///
    /// # Errors
    /// An address that cannot be listened at, files that hold no certificate.
    pub(crate) fn bind(config: &PublicConfig, prepared: &Prepared) -> Result<Self, StartError> {
        let tls = tls(config, &prepared.identity)?;
        let bound = TcpListener::bind(&config.listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = bound.map_err(|error| StartError::Public { address: config.listen.clone(), error })?;
        Ok(Socket { listener, tls })
    }
}

/// What is shown to clients: certificates from files, or the node's own.
fn tls(config: &PublicConfig, identity: &Identity) -> Result<Arc<ServerConfig>, StartError> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return https::server_of(identity).map_err(|error| amicus::Error::from(error).into());
    };
    let read = |path: &Path| {
        let refused = |reason: String| StartError::Certificate { path: path.to_owned(), reason };
        let file = std::fs::File::open(path).map_err(|error| refused(error.to_string()))?;
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_PEM), &mut bytes)
            .map_err(|error| refused(error.to_string()))?;
        Ok::<_, StartError>(bytes)
    };
    let (chain, key) = (read(certificate)?, read(key)?);
    let path = certificate.clone();
    https::server_with(&chain, &key)
        .map_err(|error| StartError::Certificate { path, reason: error.to_string() })
}

impl Public {
    /// Answers from now on.
    ///
    /// # Errors
    /// Tokens that cannot be read, no thread.
    pub(crate) fn start(
        socket: Socket,
        config: &PublicConfig,
        prepared: &Prepared,
        (door, watch): (Door, Watch),
        (folder, counts): (&Path, ApiCounts),
    ) -> Result<Self, StartError> {
        let system = |error| StartError::System { what: PUBLIC, error };
        let tokens = Tokens::open(folder, NodeTag::of(&prepared.identity.fingerprint()))?;
        let meter = Meter::open(tokens.folder())
            .map_err(|error| StartError::System { what: "what tokens have used", error })?;
        let facts = Facts::of(prepared)?;
        // Whatever is longer the node itself would refuse.
        let given = config.limits.body.and_then(|body| usize::try_from(body.0).ok());
        let longest = given.map_or(facts.longest, |given| given.min(facts.longest));
        let front = Arc::new(Front {
            facts,
            watch,
            tokens: Mutex::new(tokens),
            meter: Mutex::new(meter),
            places: Places::new(door, config.limits.inferences as usize),
            inferences: Inferences::default(),
            loads: Loads::default(),
            level: Mutex::new(Level::default()),
            counts,
            origins: config.origins.clone(),
            limits: config.limits,
            longest,
        });
        let address = socket.listener.local_addr().map_err(system)?;
        let tls = Arc::new(Mutex::new(socket.tls));
        let (accepting, shown) = (Arc::clone(&front), Arc::clone(&tls));
        let accepts = move || serve(socket.listener, shown, accepting);
        let serving = Some(Serving::start("public", PUBLIC, accepts)?);
        Ok(Public { address, front, tls, serving })
    }

    /// Shows another certificate to connections to come.
    ///
    /// # Errors
    /// Files that hold none; then nothing has changed.
    pub(crate) fn reload(&self, config: &PublicConfig, identity: &Identity) -> Result<(), StartError> {
        *lock(&self.tls) = tls(config, identity)?;
        Ok(())
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        // Afterwards nobody uses a token.
        drop(self.serving.take());
        if let Err(error) = lock(&self.front.meter).settle() {
            tracing::warn!(event = "meter_failed", "what tokens used is written down as too much: {error}");
        }
    }
}

/// Connections of every address.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its address.
struct OfAddress(Arc<Addresses>, IpAddr);

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<OfAddress> {
        let mut all = lock(&self.0);
        let count = all.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(OfAddress(Arc::clone(self), address))
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut all = lock(&self.0.0);
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

async fn serve(listener: TcpListener, tls: Arc<Mutex<Arc<ServerConfig>>>, front: Arc<Front>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let most = front.limits.connections as usize;
    let (room, requests) =
        (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(front.limits.requests as usize)));
    let addresses = Arc::new(Addresses::default());
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((socket, from)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // One address does not keep others out.
        let Some(of_address) = addresses.enter(from.ip(), (most / 4).max(OF_ADDRESS)) else {
            front.counts.count(Outcome::Busy);
            continue;
        };
        let _ = socket.set_nodelay(true);
        let acceptor = TlsAcceptor::from(Arc::clone(&lock(&tls)));
        let (front, requests) = (Arc::clone(&front), Arc::clone(&requests));
        tokio::spawn(async move {
            connection(socket, acceptor, front, requests).await;
            drop((place, of_address));
        });
    }
}

async fn connection(
    socket: tokio::net::TcpStream,
    acceptor: TlsAcceptor,
    front: Arc<Front>,
    requests: Arc<Semaphore>,
) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return front.counts.count(Outcome::Invalid),
        Err(_) => return front.counts.count(Outcome::Slow),
    };
    let headers = Duration::from_secs(front.limits.seconds.into());
    let counts = Arc::clone(&front);
    let answers = service_fn(move |request| {
        let (front, requests) = (Arc::clone(&front), Arc::clone(&requests));
        async move {
            let going_on = requests.try_acquire();
            let answer = match &going_on {
                Ok(_) => answer::answer(&front, request).await,
                Err(_) => answer::too_many(&front),
            };
            drop(going_on);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(headers).max_buf_size(BUFFER);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answers).await
        && error.is_timeout()
    {
        counts.counts.count(Outcome::Slow);
    }
}
