//! Who may connect: certificates pinned by fingerprint, and the rustls verifiers that insist on
//! them.
//!
//! There is no certificate authority. A certificate is accepted when its fingerprint is pinned, the
//! time is one that it is valid at, *and* the peer proves with a TLS 1.3 signature that it holds the
//! key; names inside certificates mean nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::{Fingerprint, validity};

/// The fingerprints that may connect, each with the name of the role behind it (such as "party 2").
#[derive(Clone, Debug, Default)]
pub struct PeerSet {
    names: BTreeMap<Fingerprint, String>,
}

impl PeerSet {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a peer; a second name for the same fingerprint replaces the first.
    pub fn insert(&mut self, fingerprint: Fingerprint, name: impl Into<String>) {
        self.names.insert(fingerprint, name.into());
    }

    /// The name pinned for a fingerprint.
    pub fn name_of(&self, fingerprint: &Fingerprint) -> Option<&str> {
        self.names.get(fingerprint).map(String::as_str)
    }

    /// All peers, in the order of their fingerprints.
    pub fn iter(&self) -> impl Iterator<Item = (&Fingerprint, &str)> {
        self.names.iter().map(|(fingerprint, name)| (fingerprint, name.as_str()))
    }
}

impl<N: Into<String>> FromIterator<(Fingerprint, N)> for PeerSet {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, N)>>(peers: I) -> Self {
        Self { names: peers.into_iter().map(|(fingerprint, name)| (fingerprint, name.into())).collect() }
    }
}

/// A certificate that nobody pinned; travels inside rustls' error to where the peer's address is
/// known.
#[derive(Debug)]
pub(crate) struct NotPinned(pub(crate) Fingerprint);

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {} is not pinned", self.0)
    }
}

impl std::error::Error for NotPinned {}

/// Verifies both clients and servers against a [`PeerSet`].
#[derive(Debug)]
pub(crate) struct Pins {
    peers: PeerSet,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pins {
    pub(crate) fn new(peers: PeerSet, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { peers, algorithms }
    }

    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let fingerprint = Fingerprint::of(certificate);
        if self.peers.name_of(&fingerprint).is_none() {
            return Err(CertificateError::Other(OtherError(Arc::new(NotPinned(fingerprint)))).into());
        }
        let valid = validity::of(certificate).ok_or(CertificateError::BadEncoding)?;
        match now.as_secs() {
            time if time < valid.from.as_secs() => {
                Err(CertificateError::NotValidYetContext { time: now, not_before: valid.from }.into())
            }
            time if time > valid.until.as_secs() => {
                Err(CertificateError::ExpiredContext { time: now, not_after: valid.until }.into())
            }
            _ => Ok(()),
        }
    }
}

/// TLS 1.2 is not compiled in; should that ever change, this still refuses it.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".into()))
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
