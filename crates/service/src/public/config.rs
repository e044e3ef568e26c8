//! `[public]` of `node.toml`: the node's port for clients and owners with tokens.

use crate::config::Bytes;
use amicus::deployment::{DeploymentError, DeploymentProblem, is_address};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Origins that may be listed, at most.
const MAX_ORIGINS: usize = 64;

/// A node's public port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PublicConfig {
    /// Where it listens: `HOST:PORT`.
    pub listen: String,
    /// A certificate chain in PEM, as ACME tools write it; the node's own certificate without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Origins of pages that may ask: exact ones, such as `https://app.example`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// What it takes.
    #[serde(default)]
    pub limits: PublicLimits,
}

/// What a public port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublicLimits {
    /// Connections at a time; of one address, a quarter of them.
    pub connections: u32,
    /// Requests at a time.
    pub requests: u32,
    /// Inferences at a time.
    pub inferences: u32,
    /// The longest body; as long as the models need when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Bytes>,
    /// Seconds until a request must be there, and a second more for every MiB.
    pub seconds: u32,
}

impl Default for PublicLimits {
    fn default() -> Self {
        PublicLimits { connections: 256, requests: 256, inferences: 64, body: None, seconds: 30 }
    }
}

impl PublicConfig {
    /// Its paths, from this folder.
    pub(crate) fn within(&mut self, folder: &Path) {
        for path in [&mut self.certificate, &mut self.key].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    pub(crate) fn check(&self) -> Result<(), DeploymentError> {
        let wrong = |name: &str, problem| Err(DeploymentError::of("public", name, problem));
        if !is_address(&self.listen) {
            return wrong("listen", DeploymentProblem::Address);
        }
        let text = |text: &str| DeploymentProblem::Text(text.into());
        if self.certificate.is_some() != self.key.is_some() {
            let name = if self.key.is_some() { "key" } else { "certificate" };
            return wrong(name, text("`certificate` and `key` are given together, or neither"));
        }
        if self.origins.len() > MAX_ORIGINS || !self.origins.iter().all(|origin| is_origin(origin)) {
            return wrong(
                "origins",
                text("an origin is exact, such as \"https://app.example\": scheme, host, port"),
            );
        }
        let PublicLimits { connections, requests, inferences, seconds, .. } = self.limits;
        for (name, found, most) in [
            ("connections", connections, 1 << 16),
            ("requests", requests, 1 << 16),
            ("inferences", inferences, 1 << 10),
            ("seconds", seconds, 3600),
        ] {
            if found == 0 || found > most {
                let problem = DeploymentProblem::Range { found, most };
                return Err(DeploymentError::of("public limits", name, problem));
            }
        }
        Ok(())
    }
}

/// Whether a text is the origin of pages, and of one alone.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| {
        let fits = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        !host.is_empty() && host.bytes().all(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        for good in ["https://app.example", "http://127.0.0.1:8000", "https://[::1]:7"] {
            assert!(is_origin(good), "{good}");
        }
        for wrong in ["*", "https://", "https://*.example", "app.example", "https://a/", "null", "https://A"]
        {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
