//! What can go wrong on a link, and whose fault it is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::Fingerprint;
use crate::pins::NotPinned;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the rules of the link (or someone between us and it did).
    Peer,
    /// Nobody broke a rule, but the two ends do not fit: they do not know each other's
    /// certificates, or they speak different versions.
    Pairing,
    /// The program using this crate.
    Caller,
    /// The network or the operating system.
    Environment,
}

/// An error of one link, listener or dialling attempt. Cheap to clone, so that it can be attached
/// to an abort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Nothing arrived (or nothing more could be sent) before the deadline. The link itself is
    /// still usable.
    #[error("no progress with {peer} within {waited:?}")]
    Timeout {
        /// Whom we waited for; several names when any of them would have done.
        peer: String,
        /// How long this call waited.
        waited: Duration,
    },
    /// The peer said goodbye between two frames.
    #[error("{peer} closed the link")]
    Closed {
        /// The peer.
        peer: String,
    },
    /// The byte stream ended without a goodbye or in the middle of a frame: the peer died, or
    /// someone cut the line.
    #[error("the link to {peer} was cut off ({detail})")]
    Truncated {
        /// The peer.
        peer: String,
        /// Where in the stream it happened.
        detail: &'static str,
    },
    /// The peer announced a frame longer than allowed. Nothing was allocated for it.
    #[error("{peer} announced a frame of {announced} bytes, the limit is {limit} bytes")]
    FrameTooLong {
        /// The peer.
        peer: String,
        /// Bytes announced.
        announced: usize,
        /// Bytes allowed, see [`Link::set_max_frame`](crate::Link::set_max_frame).
        limit: usize,
    },
    /// The peer does not read what it is sent, and more waits for it than is kept for anybody.
    #[error("{peer} does not read: {waiting} bytes wait for it, the limit is {limit} bytes")]
    Unread {
        /// The peer.
        peer: String,
        /// Bytes that wait, with those that would have been too many.
        waiting: usize,
        /// Bytes kept, see [`Link::set_max_unsent`](crate::Link::set_max_unsent).
        limit: usize,
    },
    /// The peer does not speak our TLS, or a record was forged or damaged on its way.
    #[error("TLS with {peer} failed: {reason}")]
    Tls {
        /// The peer, or its address before it is authenticated.
        peer: String,
        /// What rustls found.
        reason: String,
    },
    /// The peer speaks TLS, but no version of TLS or of our framing that we speak too.
    #[error("{peer} is incompatible: {reason}")]
    Incompatible {
        /// The peer, or its address before it is authenticated.
        peer: String,
        /// What rustls found.
        reason: String,
    },
    /// The peer ended the handshake with an alert: most likely it does not know our certificate.
    #[error("{peer} refused us ({alert}): {}", asked(.alert))]
    Refused {
        /// The peer, or its address before it is authenticated.
        peer: String,
        /// The TLS alert it sent.
        alert: String,
    },
    /// The peer's certificate is known, and not valid at this time: it has expired, or a clock is
    /// wrong.
    #[error(
        "the certificate of {peer} {problem}; its operator makes a new key, or one of the clocks is wrong"
    )]
    NotValidNow {
        /// The peer, or its address before it is authenticated.
        peer: String,
        /// Since or until when.
        problem: String,
    },
    /// Someone connected whose certificate is not in the [`PeerSet`](crate::PeerSet).
    #[error("unknown certificate {fingerprint} from {address}")]
    UnknownPeer {
        /// The certificate presented.
        fingerprint: Fingerprint,
        /// Where the connection came from.
        address: SocketAddr,
    },
    /// Whoever answers at the dialled address is not the expected peer.
    #[error("{address} is not {peer}: expected certificate {}, got {got}", any_of(.expected))]
    WrongPeer {
        /// Whom we wanted to reach.
        peer: String,
        /// The pinned certificate; two while the peer changes its key.
        expected: Vec<Fingerprint>,
        /// The certificate presented.
        got: Fingerprint,
        /// The address dialled.
        address: SocketAddr,
    },
    /// A connection did not finish its handshake in time.
    #[error("the handshake with {address} did not finish within {waited:?}")]
    HandshakeStalled {
        /// The other end.
        address: SocketAddr,
        /// How long it was given.
        waited: Duration,
    },
    /// More handshakes went on at a time than a listener takes part in; this one had to go, whoever
    /// it was with.
    #[error("the handshake with {address} was given up: more than {limit} at a time")]
    Crowded {
        /// The other end.
        address: SocketAddr,
        /// Handshakes at a time.
        limit: usize,
    },
    /// Another program (or another role) already listens there.
    #[error("address {address} is already in use")]
    AddressInUse {
        /// The address asked for.
        address: String,
    },
    /// The frame to send is longer than a frame can be.
    #[error("a frame of {length} bytes for {peer} is longer than a frame can be (4 GiB)")]
    OversizedSend {
        /// The receiver.
        peer: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The mesh holds no link under this key.
    #[error("no link under key {key}")]
    NoLink {
        /// The key asked for.
        key: usize,
    },
    /// A certificate or key cannot be made, read or used.
    #[error("identity: {reason}")]
    Identity {
        /// Why.
        reason: String,
    },
    /// The operating system refused.
    #[error("{context}: {message}")]
    Io {
        /// The peer or address, and what was attempted.
        context: String,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The operating system's words.
        message: String,
    },
}

impl NetError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::FrameTooLong { .. } | Self::Unread { .. } | Self::Tls { .. } => Fault::Peer,
            Self::Incompatible { .. }
            | Self::Refused { .. }
            | Self::NotValidNow { .. }
            | Self::UnknownPeer { .. }
            | Self::WrongPeer { .. } => Fault::Pairing,
            Self::OversizedSend { .. } | Self::NoLink { .. } | Self::Identity { .. } => Fault::Caller,
            // A silent or vanished peer cannot be told from a broken network.
            Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Truncated { .. }
            | Self::HandshakeStalled { .. }
            | Self::Crowded { .. }
            | Self::AddressInUse { .. }
            | Self::Io { .. } => Fault::Environment,
        }
    }

    pub(crate) fn io(context: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { context: context.into(), kind: error.kind(), message: error.to_string() }
    }
}

/// A failure inside a transport, which does not know the peer's name.
#[derive(Debug)]
pub(crate) enum Failure {
    Closed,
    Truncated(&'static str),
    TooLong { announced: usize, limit: usize },
    Unread { waiting: usize, limit: usize },
    Tls(TlsError),
    Io(io::Error),
}

impl Failure {
    pub(crate) fn named(self, peer: &str) -> NetError {
        let peer = peer.to_owned();
        match self {
            Self::Closed => NetError::Closed { peer },
            Self::Truncated(detail) => NetError::Truncated { peer, detail },
            Self::TooLong { announced, limit } => NetError::FrameTooLong { peer, announced, limit },
            Self::Unread { waiting, limit } => NetError::Unread { peer, waiting, limit },
            Self::Tls(TlsError::AlertReceived(alert)) if is_refusal(alert) => {
                NetError::Refused { peer, alert: format!("{alert:?}") }
            }
            Self::Tls(TlsError::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => {
                let days = time.as_secs().saturating_sub(not_after.as_secs()) / DAY;
                NetError::NotValidNow { peer, problem: format!("expired {days} days ago") }
            }
            Self::Tls(TlsError::InvalidCertificate(CertificateError::NotValidYetContext {
                time,
                not_before,
            })) => {
                let days = not_before.as_secs().saturating_sub(time.as_secs()).div_ceil(DAY);
                NetError::NotValidNow { peer, problem: format!("will be valid in {days} days only") }
            }
            Self::Tls(
                error @ (TlsError::NoApplicationProtocol
                | TlsError::PeerIncompatible(_)
                | TlsError::AlertReceived(
                    AlertDescription::NoApplicationProtocol | AlertDescription::ProtocolVersion,
                )),
            ) => NetError::Incompatible { peer, reason: error.to_string() },
            Self::Tls(error) => NetError::Tls { peer, reason: error.to_string() },
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => NetError::Truncated { peer, detail: "reset by the other end" },
                _ => NetError::io(peer, &error),
            },
        }
    }

    /// The certificate our own verifier turned down, if that is what happened.
    pub(crate) fn not_pinned(&self) -> Option<Fingerprint> {
        let Self::Tls(TlsError::InvalidCertificate(CertificateError::Other(other))) = self else {
            return None;
        };
        other.0.downcast_ref::<NotPinned>().map(|found| found.0)
    }
}

/// Certificates of which one was expected.
fn any_of(fingerprints: &[Fingerprint]) -> String {
    fingerprints.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(" or ")
}

/// What a refused end asks itself.
fn asked(alert: &str) -> &'static str {
    match alert {
        EXPIRED => "has our certificate expired, or is a clock wrong?",
        _ => "does it know our certificate?",
    }
}

/// Name of the alert of a peer whose clock says that our certificate is not valid.
const EXPIRED: &str = "CertificateExpired";
/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

fn is_refusal(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateUnknown
            | A::CertificateExpired
            | A::CertificateRequired
            | A::UnknownCA
            | A::AccessDenied
    )
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}
