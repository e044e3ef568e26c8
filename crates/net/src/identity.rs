//! Who a role is on the network: a self-signed certificate, known to others by its fingerprint.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use crate::{NetError, tls, validity};

/// A certificate and its private key. `Debug` shows the fingerprint only; the key is wiped on drop.
pub struct Identity {
    certificate: CertificateDer<'static>,
    pkcs8: Zeroizing<Vec<u8>>,
    pem: Zeroizing<String>,
}

impl Identity {
    /// Makes a new ECDSA P-256 key and a self-signed certificate for it. `name` (such as "party 2")
    /// goes into the certificate for human readers; nothing trusts it, peers are known by
    /// fingerprint.
    pub fn generate(name: &str) -> Result<Self, NetError> {
        Self::self_signed(CertificateParams::default(), name)
    }

    /// Makes a key as [`Identity::generate`] does, with a certificate that is valid between two times
    /// only.
    pub fn generate_valid(name: &str, from: SystemTime, until: SystemTime) -> Result<Self, NetError> {
        let date = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).map_err(|_| refused("a time before 1970"))?;
            Ok::<_, NetError>(rcgen::date_time_ymd(1970, 1, 1) + since)
        };
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date(from)?, date(until)?);
        Self::self_signed(params, name)
    }

    fn self_signed(mut params: CertificateParams, name: &str) -> Result<Self, NetError> {
        // P-256 rather than Ed25519: as fast here, and browsers and hardware tokens accept it.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(refused)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(refused)?;
        let pkcs8 = Zeroizing::new(key.serialize_der());
        let key_pem = Zeroizing::new(key.serialize_pem());
        let pem = Zeroizing::new([certificate.pem().as_str(), key_pem.as_str()].concat());
        Ok(Self { certificate: certificate.der().clone(), pkcs8, pem })
    }

    /// Reads what [`Identity::to_pem`] wrote: one certificate and its PKCS#8 key, in any order.
    pub fn from_pem(pem: &str) -> Result<Self, NetError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| refused(format!("no certificate found: {error}")))?;
        let mut key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| refused(format!("no PKCS#8 private key found: {error}")))?;
        let pkcs8 = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        key.zeroize();
        let identity = Self { certificate, pkcs8, pem: Zeroizing::new(pem.to_owned()) };
        identity.certified_key()?;
        Ok(identity)
    }

    /// Certificate and **private key** as text, to be kept in a file that only this role can read.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.pem.clone()
    }

    /// What others pin to recognise this identity.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// SHA-256 of the public key, as `curl --pinnedpubkey` compares it.
    pub fn public_key_hash(&self) -> Result<[u8; 32], NetError> {
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(&self.pkcs8[..])).map_err(refused)?;
        Ok(tls::sha256(&key.subject_public_key_info()))
    }

    /// The last second at which others accept the certificate.
    pub fn valid_until(&self) -> Option<SystemTime> {
        let until = validity::of(&self.certificate)?.until;
        UNIX_EPOCH.checked_add(Duration::from_secs(until.as_secs()))
    }

    /// Certificate and key in the form rustls uses; checks that they belong together.
    pub(crate) fn certified_key(&self) -> Result<CertifiedKey, NetError> {
        // Borrowed: `CertifiedKey::from_der` would take a copy and drop it as it is.
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&self.pkcs8[..]));
        let key = any_supported_type(&key).map_err(refused)?;
        let certified = CertifiedKey::new(vec![self.certificate.clone()], key);
        certified.keys_match().map_err(refused)?;
        Ok(certified)
    }
}

fn refused(reason: impl fmt::Display) -> NetError {
    NetError::Identity { reason: reason.to_string() }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate's DER encoding.
///
/// SHA-256 and not BLAKE3, because it is what `openssl x509 -noout -fingerprint -sha256` and
/// browsers show: operators can compare fingerprints without trusting this program. Written as
/// eight groups of eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(tls::sha256(certificate))
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let gap = if i > 0 && i % 4 == 0 { "-" } else { "" };
            write!(f, "{gap}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = NetError;

    /// Accepts 64 hex digits of either case, with `-`, `:` or spaces anywhere between bytes
    /// (OpenSSL prints `AB:CD:..`).
    fn from_str(text: &str) -> Result<Self, NetError> {
        let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'-' | b':' | b' ')).collect();
        let wrong = || refused(format!("a fingerprint is 64 hex digits, got {text:?}"));
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(wrong);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_keeps_the_identity() {
        let identity = Identity::generate("party 1").unwrap();
        let again = Identity::from_pem(&identity.to_pem()).unwrap();
        assert_eq!(identity.fingerprint(), again.fingerprint());
        assert_eq!(identity.to_pem(), again.to_pem());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
        let (a, b) = (a.to_pem(), b.to_pem());
        let split = |pem: &str| pem.find("-----BEGIN PRIVATE").unwrap();
        let mixed = [&a[..split(&a)], &b[split(&b)..]].concat();
        assert!(matches!(Identity::from_pem(&mixed), Err(NetError::Identity { .. })));
        assert!(matches!(Identity::from_pem(&a[..split(&a)]), Err(NetError::Identity { .. })));
        assert!(matches!(Identity::from_pem("nonsense"), Err(NetError::Identity { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let identity = Identity::generate("party 1").unwrap();
        let expected = format!("Identity {{ fingerprint: {:?}, .. }}", identity.fingerprint());
        assert_eq!(format!("{identity:?}"), expected);
    }

    #[test]
    fn fingerprints_are_read_back_in_every_usual_form() {
        let fingerprint = Identity::generate("x").unwrap().fingerprint();
        let shown = fingerprint.to_string();
        let openssl = fingerprint.0.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":");
        assert_eq!(shown.parse::<Fingerprint>().unwrap(), fingerprint);
        assert_eq!(openssl.parse::<Fingerprint>().unwrap(), fingerprint);
        for wrong in ["", "ab", &shown[1..], &shown.replace('-', "g"), &"é".repeat(32)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
