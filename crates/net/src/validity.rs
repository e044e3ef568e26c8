//! When a certificate is valid: what of a certificate's inside counts, beside its key.

use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// The first and the last second that a certificate is valid at.
pub(crate) struct Validity {
    pub(crate) from: UnixTime,
    pub(crate) until: UnixTime,
}

/// When a certificate is valid; none when its bytes are none.
pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (rest, parsed) = parse_x509_certificate(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let validity = parsed.validity();
    Some(Validity { from: unix(validity.not_before), until: unix(validity.not_after) })
}

/// A time before 1970 is 1970: no clock is that late.
fn unix(time: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
}
