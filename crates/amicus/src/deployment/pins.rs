//! The certificates by which a role is known.

use amicus_net::Fingerprint;
use amicus_plan::Printable;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Certificates that a role may have at a time, at most: the old one and the new one, and one more
/// where the new one is lost before the old one is gone.
const MOST: usize = 3;

/// The fingerprints by which a role is known: one, or more while it changes its key. In a file it is
/// a text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates(Vec<Fingerprint>);

impl Certificates {
    /// The fingerprints, at least one.
    pub fn all(&self) -> &[Fingerprint] {
        &self.0
    }

    /// Adds another, for the time in which the role changes its key; false when there are three
    /// already.
    pub fn add(&mut self, certificate: Fingerprint) -> bool {
        let room = self.0.len() < MOST;
        if room {
            self.0.push(certificate);
        }
        room
    }
}

impl From<Fingerprint> for Certificates {
    fn from(certificate: Fingerprint) -> Self {
        Certificates(vec![certificate])
    }
}

impl Serialize for Certificates {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [only] => to.collect_str(only),
            several => to.collect_seq(several.iter().map(Fingerprint::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Certificates {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

fn parse<E: de::Error>(text: &str) -> Result<Fingerprint, E> {
    text.parse().map_err(|_| {
        let reason = "is no fingerprint of 64 hex digits; `amicus fingerprint` prints one";
        E::custom(format!("{:?} {reason}", Printable::new(text).as_str()))
    })
}

impl<'de> Visitor<'de> for Reader {
    type Value = Certificates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a fingerprint, or a list of 1 to {MOST}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Certificates, E> {
        parse(text).map(Certificates::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Certificates, A::Error> {
        let mut all = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            if all.len() == MOST {
                return Err(de::Error::invalid_length(MOST + 1, &self));
            }
            all.push(parse(&text)?);
        }
        if all.is_empty() { Err(de::Error::invalid_length(0, &self)) } else { Ok(Certificates(all)) }
    }
}
