//! The one TLS configuration of this crate: TLS 1.3, both sides authenticated by pinned
//! certificates, nothing resumed.

use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::pins::Pins;
use crate::{Identity, NetError, PeerSet};

/// The version of what travels inside TLS (framing and greeting). Peers of another version fail the
/// handshake.
const ALPN: &[u8] = b"amicus-net/1";

/// aws-lc-rs rather than ring: it offers the hybrid X25519MLKEM768 key exchange, so that traffic
/// recorded today stays private if elliptic curves fall later (links carry shares of inputs that
/// never lose their value). It needs only a C compiler. Everything but two cipher suites of equal
/// strength and two key exchanges is left out.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use aws_lc_rs::{cipher_suite as suite, kx_group};
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                suite::TLS13_AES_256_GCM_SHA384,
                // For CPUs without AES instructions.
                suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
            ..aws_lc_rs::default_provider()
        })
    });
    PROVIDER.clone()
}

/// SHA-256 by the same library that does TLS, so that no second implementation is linked.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let mut digest = [0; 32];
    digest.copy_from_slice(suite.common.hash_provider.hash(bytes).as_ref());
    digest
}

fn pins(peers: PeerSet) -> Arc<Pins> {
    Arc::new(Pins::new(peers, provider().signature_verification_algorithms))
}

pub(crate) fn client_config(identity: &Identity, peers: PeerSet) -> Result<Arc<ClientConfig>, NetError> {
    client_with_key(identity.certified_key()?, peers)
}

fn client_with_key(key: CertifiedKey, peers: PeerSet) -> Result<Arc<ClientConfig>, NetError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        // "Dangerous" because rustls cannot know what our verifier does; see `Pins`.
        .dangerous()
        .with_custom_certificate_verifier(pins(peers))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

pub(crate) fn server_config(identity: &Identity, peers: PeerSet) -> Result<Arc<ServerConfig>, NetError> {
    server_with_key(identity.certified_key()?, peers)
}

fn server_with_key(key: CertifiedKey, peers: PeerSet) -> Result<Arc<ServerConfig>, NetError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(pins(peers))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

pub(crate) fn unusable(error: rustls::Error) -> NetError {
    NetError::Identity { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, Error, NamedGroup, ProtocolVersion, ServerConnection};

    use super::*;

    struct Roles {
        client: Identity,
        server: Identity,
    }

    impl Roles {
        fn new() -> Self {
            Self { client: Identity::generate("c").unwrap(), server: Identity::generate("s").unwrap() }
        }

        fn known_to_client(&self) -> PeerSet {
            PeerSet::from_iter([(self.server.fingerprint(), "s")])
        }

        fn known_to_server(&self) -> PeerSet {
            PeerSet::from_iter([(self.client.fingerprint(), "c")])
        }
    }

    /// The certificate of one identity with the key of another.
    fn stolen(certificate: &Identity, key: &Identity) -> CertifiedKey {
        let mut stolen = key.certified_key().unwrap();
        stolen.cert = certificate.certified_key().unwrap().cert;
        stolen
    }

    fn handshake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
    ) -> Result<(ClientConnection, ServerConnection), Error> {
        let mut client = ClientConnection::new(client, ServerName::try_from("x").unwrap()).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut bytes = &wire[..];
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).unwrap();
                server.process_new_packets()?;
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut bytes = &wire[..];
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok((client, server))
    }

    #[test]
    fn a_handshake_is_tls13_with_post_quantum_key_exchange() {
        let roles = Roles::new();
        let client = client_config(&roles.client, roles.known_to_client()).unwrap();
        let server = server_config(&roles.server, roles.known_to_server()).unwrap();
        let (client, server) = handshake(client, server).unwrap();
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = server.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
        assert_eq!(client.peer_certificates().unwrap().len(), 1);
        assert_eq!(server.peer_certificates().unwrap().len(), 1);
    }

    /// Certificates are public; the pin must not be enough without the key.
    #[test]
    fn a_pinned_certificate_without_its_key_is_refused() {
        let roles = Roles::new();
        let thief = Identity::generate("thief").unwrap();
        let client = client_config(&roles.client, roles.known_to_client()).unwrap();
        let server = server_config(&roles.server, roles.known_to_server()).unwrap();

        let false_client = client_with_key(stolen(&roles.client, &thief), roles.known_to_client()).unwrap();
        assert!(matches!(handshake(false_client, server), Err(Error::InvalidCertificate(_))));
        let false_server = server_with_key(stolen(&roles.server, &thief), roles.known_to_server()).unwrap();
        assert!(matches!(handshake(client, false_server), Err(Error::InvalidCertificate(_))));
    }

    #[test]
    fn a_client_without_certificate_is_refused() {
        let roles = Roles::new();
        let server = server_config(&roles.server, roles.known_to_server()).unwrap();
        let mut nobody = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(pins(roles.known_to_client()))
            .with_no_client_auth();
        nobody.alpn_protocols = vec![ALPN.to_vec()];
        assert!(matches!(handshake(Arc::new(nobody), server), Err(Error::NoCertificatesPresented)));
    }

    #[test]
    fn another_version_of_the_framing_is_refused() {
        let roles = Roles::new();
        let mut client = client_config(&roles.client, roles.known_to_client()).unwrap();
        let server = server_config(&roles.server, roles.known_to_server()).unwrap();
        Arc::get_mut(&mut client).unwrap().alpn_protocols = vec![b"amicus-net/999".to_vec()];
        assert!(matches!(handshake(client, server), Err(Error::NoApplicationProtocol)));
    }

    #[test]
    fn sha256_is_sha256() {
        // FIPS 180-4, example "abc".
        assert_eq!(sha256(b"abc")[..8], [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea]);
    }
}
