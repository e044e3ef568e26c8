//! Tokens of a node's public port: who may ask, for what, how often and how long.
//!
//! A token is 256 random bits behind the first digits of its node's fingerprint, so that one that is
//! shown to another node is told from one that is made up. The node keeps a hash of it alone. A
//! token admits and meters; it proves nothing about who an input or weights are of: that is what the
//! helper's keys are for (`docs/protocol.md`, section 6.1).

mod file;
mod meter;

pub(crate) use file::now;
pub use file::{TokenError, Tokens};
pub(crate) use meter::{Meter, Spent};

use amicus::net::Fingerprint;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What every token begins with.
const PREFIX: &str = "amicus_";
/// Hex digits of the node's fingerprint in a token.
const NODE_DIGITS: usize = 8;
/// Bytes of the secret.
const SECRET: usize = 32;
/// Characters of a token.
const LENGTH: usize = PREFIX.len() + NODE_DIGITS + 1 + 2 * SECRET;

/// What a token lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Ask for inferences.
    Client,
    /// Load models, and retire what it loaded.
    Owner,
}

impl fmt::Display for TokenRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenRole::Client => "client",
            TokenRole::Owner => "owner",
        })
    }
}

/// The node that tokens are of: the first digits of its fingerprint when its first token was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeTag(String);

impl NodeTag {
    /// The tag of a node with this certificate.
    pub fn of(fingerprint: &Fingerprint) -> Self {
        let digits = fingerprint.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        NodeTag(digits[..NODE_DIGITS].to_owned())
    }
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token as its holder has it. It is wiped when it is dropped, and `Debug` shows none of it.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Draws a token of a node.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random(node: &NodeTag) -> std::io::Result<Self> {
        let mut secret = Zeroizing::new([0; SECRET]);
        getrandom::fill(&mut *secret).map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        text.push_str(&node.0);
        text.push('_');
        for byte in *secret {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[digit as usize])));
        }
        Ok(Token(text))
    }

    /// The node that it is of.
    pub fn node(&self) -> NodeTag {
        NodeTag(self.0[PREFIX.len()..PREFIX.len() + NODE_DIGITS].to_owned())
    }

    /// The text, for its holder alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a node keeps of it. 256 random bits need no slow hash.
    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(blake3::Hash::from_bytes(blake3::derive_key("amicus 2026-11 token", self.0.as_bytes())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no token: amicus_, 8 hex digits, _ and 64 hex digits, as `amicus token new` printed it")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let digits = text.strip_prefix(PREFIX).filter(|_| text.len() == LENGTH).ok_or(NoToken)?;
        let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match digits.split_once('_') {
            Some((node, secret)) if node.len() == NODE_DIGITS && hex(node) && hex(secret) => {
                Ok(Token(Zeroizing::new(text.to_owned())))
            }
            _ => Err(NoToken),
        }
    }
}

/// The hash of a token. It is compared in constant time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenHash(blake3::Hash);

impl Serialize for TokenHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        blake3::Hash::from_hex(text).map(TokenHash).map_err(serde::de::Error::custom)
    }
}

/// What a token lets its holder do, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its number at this node, by which it is revoked; no secret.
    pub id: String,
    /// Who has it, for people.
    pub name: String,
    /// What it is for.
    pub role: TokenRole,
    /// Models that it is for, by their names in the cluster's file; all when there are none.
    #[serde(default)]
    pub models: Vec<String>,
    /// Images in all; any number when there is none.
    #[serde(default)]
    pub quota: Option<u64>,
    /// Images a minute; any number when there is none.
    #[serde(default)]
    pub rate: Option<u32>,
    /// Inferences at a time.
    pub lanes: u32,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ends, in seconds since 1970; never when there is none.
    #[serde(default)]
    pub expires: Option<u64>,
    /// It is taken back.
    #[serde(default)]
    pub revoked: bool,
    pub(crate) hash: TokenHash,
}

/// What is asked for a token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Who gets it, for people: 1 to 64 printable bytes.
    pub name: String,
    /// What it is for.
    pub role: TokenRole,
    /// Models that it is for; all when there are none.
    pub models: Vec<String>,
    /// Images in all.
    pub quota: Option<u64>,
    /// Images a minute.
    pub rate: Option<u32>,
    /// Inferences at a time.
    pub lanes: u32,
    /// Days until it ends; never when there is none.
    pub days: Option<u32>,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is another node's.
    OtherNode { is: NodeTag, ours: NodeTag },
    /// Nobody got it here.
    Unknown,
    /// It has ended.
    Expired,
    /// It was taken back.
    Revoked,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_random_and_tell_their_node() {
        let node = NodeTag("8d0c1f64".into());
        let [one, two] = [(); 2].map(|()| Token::random(&node).unwrap());
        assert_ne!(one.reveal(), two.reveal());
        assert!(one.hash() != two.hash() && one.node() == node);
        let again: Token = one.reveal().parse().unwrap();
        assert_eq!(again.hash(), one.hash());
        assert!(!format!("{one:?}").contains(&one.reveal()[16..24]));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = Token::random(&NodeTag("8d0c1f64".into())).unwrap();
        let good = good.reveal();
        for wrong in [
            String::new(),
            good[1..].to_owned(),
            good.to_uppercase(),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            good.replacen('_', "-", 1),
            format!("{}\u{e9}", &good[..good.len() - 2]),
        ] {
            assert_eq!(wrong.parse::<Token>().unwrap_err(), NoToken, "{wrong}");
        }
    }
}
