//! What operators compare: the id of a cluster, and the digest of a deployment.

use super::{Deployment, DeploymentError};
use amicus_plan::Printable;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// An id of a cluster: 128 random bits, drawn when it is set up. Nodes' folders are bound to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Draws a new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(ClusterId(bytes))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl Serialize for ClusterId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let what = "is no id of a cluster, which has 32 hex digits; `amicus cluster new` draws one";
        bytes(&String::deserialize(from)?, what).map(ClusterId)
    }
}

/// A digest of everything that a deployment file says, whatever its layout and comments. Operators
/// whose files have the same digest run the same cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeploymentDigest(pub [u8; 32]);

impl fmt::Display for DeploymentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let gap = if at > 0 && at % 4 == 0 { "-" } else { "" };
            write!(f, "{gap}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for DeploymentDigest {
    type Err = DeploymentError;

    /// Takes 64 hex digits, with `-` anywhere between.
    fn from_str(text: &str) -> Result<Self, DeploymentError> {
        let what = "is no digest of a deployment, which has 64 hex digits; `amicus cluster digest` prints it";
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let read: Result<[u8; 32], de::value::Error> = bytes(&digits, what);
        read.map(DeploymentDigest).map_err(|error| {
            let problem = super::DeploymentProblem::Text(error.to_string().as_str().into());
            DeploymentError::of("", "digest", problem)
        })
    }
}

impl Serialize for DeploymentDigest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeploymentDigest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let what = "is no digest of a deployment, which has 64 hex digits; `amicus cluster digest` prints it";
        let digits: String = String::deserialize(from)?.chars().filter(|c| *c != '-').collect();
        bytes(&digits, what).map(DeploymentDigest)
    }
}

impl fmt::Debug for DeploymentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeploymentDigest({self})")
    }
}

impl Deployment {
    /// The digest that operators compare.
    ///
    /// # Errors
    /// A deployment that is none.
    pub fn digest(&self) -> Result<DeploymentDigest, DeploymentError> {
        self.check()?;
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 deployment");
        // One text for one deployment: maps are sorted, numbers and texts are written in one way.
        serde_json::to_writer(&mut hasher, self).map_err(|error| {
            let problem = super::DeploymentProblem::Text(error.to_string().as_str().into());
            DeploymentError::of("", "", problem)
        })?;
        Ok(DeploymentDigest(*hasher.finalize().as_bytes()))
    }

    /// The deployment as a file says it.
    ///
    /// # Errors
    /// A deployment that is none.
    pub fn to_toml(&self) -> Result<String, DeploymentError> {
        self.check()?;
        toml::to_string(self).map_err(|error| {
            let problem = super::DeploymentProblem::Text(error.to_string().as_str().into());
            DeploymentError::of("", "", problem)
        })
    }
}

/// Digests of plans as texts.
pub(super) mod plan {
    use super::{Deserialize, Deserializer, Serializer, bytes};
    use amicus_plan::PlanDigest;

    pub(in crate::deployment) fn serialize<S: Serializer>(
        digest: &PlanDigest,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(in crate::deployment) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<PlanDigest, D::Error> {
        let what = "is no digest of a plan, which has 64 hex digits; `amicus plan` prints it";
        bytes(&String::deserialize(from)?, what).map(PlanDigest)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// So many bytes as hex digits.
fn bytes<const N: usize, E: de::Error>(text: &str, what: &str) -> Result<[u8; N], E> {
    let digit = |at: usize| text.as_bytes().get(at).and_then(|c| char::from(*c).to_digit(16));
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = digit(2 * at).zip(digit(2 * at + 1)).filter(|_| text.len() == 2 * N);
        let (high, low) =
            pair.ok_or_else(|| E::custom(format!("{:?} {what}", Printable::new(text).as_str())))?;
        *byte = (high << 4 | low) as u8;
    }
    Ok(bytes)
}
