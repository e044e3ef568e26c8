//! The TLS of a node's public port: one-sided, TLS 1.3 only, nothing resumed, no early data.
//!
//! The node shows its own pinned certificate, or one from files as ACME tools write them; its users
//! are known by tokens, so none of them has a certificate. Clients pin the node's certificate, or
//! trust the system's authorities for the name that they dialled. `docs/api.md` says when which.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pins::Pins;
use crate::tls::{provider, unusable};
use crate::{Fingerprint, Identity, NetError, PeerSet};

/// What both ends speak inside.
const ALPN: &[u8] = b"http/1.1";
/// Certificates of a chain, at most.
const MAX_CHAIN: usize = 16;

/// A server that shows a node's own certificate, which its users pin.
///
/// # Errors
/// An identity that TLS refuses.
pub fn server_of(identity: &Identity) -> Result<Arc<ServerConfig>, NetError> {
    server(identity.certified_key()?)
}

/// A server that shows a certificate from files: the chain, the node's own first, and its key, in
/// PEM.
///
/// # Errors
/// No certificate or key, or ones that do not belong together.
pub fn server_with(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, NetError> {
    let refused = |reason: String| NetError::Identity { reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .take(MAX_CHAIN)
        .collect::<Result<_, _>>()
        .map_err(|error| refused(format!("the certificate is no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(refused("no certificate found".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| refused(format!("no private key found: {error}")))?;
    let key = provider().key_provider.load_private_key(key).map_err(unusable)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| refused("certificate and key do not belong together".into()))?;
    server(certified)
}

fn server(key: CertifiedKey) -> Result<Arc<ServerConfig>, NetError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // Early data could be replayed by anybody who recorded it.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// How a client knows a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By its certificate: one of these, whatever stands in it.
    Pinned(Vec<Fingerprint>),
    /// By its name, for which an authority vouches that this system trusts.
    Authorities,
}

/// A client of nodes that are known this way.
///
/// # Errors
/// When the system has no authorities and they are asked for.
pub fn client(trust: &Trust) -> Result<Arc<ClientConfig>, NetError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?;
    let mut config = match trust {
        Trust::Pinned(fingerprints) => {
            let peers: PeerSet = fingerprints.iter().map(|fingerprint| (*fingerprint, "node")).collect();
            let pins = Pins::new(peers, provider().signature_verification_algorithms);
            // "Dangerous" because rustls cannot know what our verifier does; see `Pins`.
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pins)).with_no_client_auth()
        }
        Trust::Authorities => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities()?), provider());
            let verifier =
                verifier.build().map_err(|error| NetError::Identity { reason: error.to_string() })?;
            builder.with_webpki_verifier(verifier).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = matches!(trust, Trust::Authorities);
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The authorities that this system trusts.
fn authorities() -> Result<RootCertStore, NetError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = "this system has no certificates of authorities; install them, or pin the node's".into();
        return Err(NetError::Identity { reason });
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, Error, ServerConnection};

    fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<ServerConnection, Error> {
        let mut client = ClientConnection::new(client, ServerName::try_from("127.0.0.1").unwrap())?;
        let mut server = ServerConnection::new(server)?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets()?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(server)
    }

    #[test]
    fn a_client_takes_the_pinned_certificate_and_no_other() {
        let [node, other] = ["node", "other"].map(|name| Identity::generate(name).unwrap());
        let pinned = |identity: &Identity| client(&Trust::Pinned(vec![identity.fingerprint()])).unwrap();
        let server = server_of(&node).unwrap();
        let session = handshake(pinned(&node), server.clone()).unwrap();
        assert_eq!(session.alpn_protocol(), Some(ALPN));
        assert!(session.peer_certificates().is_none());
        assert!(matches!(handshake(pinned(&other), server), Err(Error::InvalidCertificate(_))));
    }

    #[test]
    fn there_is_no_early_data_and_no_resumption() {
        let server = server_of(&Identity::generate("node").unwrap()).unwrap();
        assert_eq!((server.max_early_data_size, server.send_tls13_tickets), (0, 0));
        let client = client(&Trust::Pinned(Vec::new())).unwrap();
        assert!(!client.enable_early_data);
    }

    #[test]
    fn certificates_from_files_are_checked_with_their_keys() {
        let [one, two] = ["one", "two"].map(|name| Identity::generate(name).unwrap().to_pem());
        let server = server_with(one.as_bytes(), one.as_bytes()).unwrap();
        let pin = Identity::from_pem(&one).unwrap().fingerprint();
        assert!(handshake(client(&Trust::Pinned(vec![pin])).unwrap(), server).is_ok());
        for (chain, key, words) in [
            (&one, &two, "do not belong together"),
            (&zeroize::Zeroizing::new(String::new()), &one, "no certificate found"),
        ] {
            let error = server_with(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(server_with(one.as_bytes(), b"").unwrap_err().to_string().contains("no private key"));
    }
}
