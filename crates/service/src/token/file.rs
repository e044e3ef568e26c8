//! The file of a node's tokens, in its folder, for its owner alone.

use super::{Grant, NewToken, NodeTag, Refusal, Token};
use amicus::files::Existing;
use amicus::files::private;
use amicus::net::clock;
use amicus::plan::Printable;
use amicus::plan::printable::visible;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The folder of what belongs to the public port, within the node's.
const FOLDER: &str = "public";
const FILE: &str = "tokens.json";
const LOCK: &str = "lock";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Tokens of a node, at most.
const MAX_TOKENS: usize = 1 << 14;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;
const DAY: u64 = 24 * 60 * 60;

/// Why tokens cannot be read, made or taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{}: {error}; it belongs to this node's operator alone", visible(&path.display().to_string()))]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others can read it.
    #[error("{}: others may read or write it (mode {mode:03o}); chmod 600", visible(&path.display().to_string()))]
    OpenToOthers {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error("{}: it is no list of tokens ({reason}); restore it, or remove it and make new tokens", visible(&path.display().to_string()))]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: Printable,
    },
    /// A name that is none.
    #[error("a name has 1 to 64 bytes, all printable")]
    Name,
    /// A number that cannot be.
    #[error("`{0}` cannot be 0")]
    Zero(&'static str),
    /// Too many.
    #[error("a node has at most {MAX_TOKENS} tokens; remove some that are revoked")]
    TooMany,
    /// There is no such token.
    #[error("no token of this node is called {0}; `amicus token list` shows their ids")]
    None(Printable),
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(io::Error),
}

/// What the file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    node: NodeTag,
    tokens: Vec<Grant>,
}

/// The tokens of a node. A running node looks whether the file has changed whenever somebody shows a
/// token, so that one that was revoked is refused from then on.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    listed: Listed,
    stamp: Option<Stamp>,
}

/// By what a file that was replaced is told from the one before.
type Stamp = (u64, i64, i64, u64);

impl Tokens {
    /// Opens the tokens of a node whose folder this is; there are none before the first is made.
    ///
    /// # Errors
    /// A file that cannot be read, that others can, or that holds something else.
    pub fn open(folder: &Path, node: NodeTag) -> Result<Self, TokenError> {
        let listed = Listed { node, tokens: Vec::new() };
        let mut tokens = Tokens { folder: folder.join(FOLDER), listed, stamp: None };
        tokens.refresh()?;
        Ok(tokens)
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The folder of what belongs to the public port.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The node that they are of.
    pub fn node(&self) -> &NodeTag {
        &self.listed.node
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> &[Grant] {
        &self.listed.tokens
    }

    /// Reads the file again if it has changed.
    ///
    /// # Errors
    /// Those of [`Tokens::open`]; then what was read before still counts.
    pub fn refresh(&mut self) -> Result<(), TokenError> {
        let path = self.path();
        let error = |error| TokenError::File { path: path.clone(), error };
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            // Removed: none of the tokens counts any more.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.listed.tokens.clear();
                self.stamp = None;
                return Ok(());
            }
            Err(e) => return Err(error(e)),
        };
        let stamp = (found.ino(), found.mtime(), found.mtime_nsec(), found.len());
        if self.stamp == Some(stamp) {
            return Ok(());
        }
        let mode = found.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::OpenToOthers { path, mode });
        }
        let mut text = String::new();
        let file = File::open(&path).map_err(error)?;
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(error)?;
        let damaged =
            |reason: String| TokenError::Damaged { path: path.clone(), reason: reason.as_str().into() };
        self.listed = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        self.stamp = Some(stamp);
        Ok(())
    }

    /// Makes a token. What is returned is all there will ever be of it.
    ///
    /// # Errors
    /// A name or number that cannot be, no random bytes, a file that cannot be written.
    pub fn make(&mut self, new: NewToken) -> Result<(Token, Grant), TokenError> {
        let NewToken { name, role, models, quota, rate, lanes, days } = new;
        if name.is_empty() || name.len() > MAX_NAME || !Printable::is(&name) {
            return Err(TokenError::Name);
        }
        let zero = [("quota", quota == Some(0)), ("rate", rate == Some(0)), ("lanes", lanes == 0)];
        if let Some((key, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(TokenError::Zero(key));
        }
        let _lock = self.change()?;
        if self.listed.tokens.len() >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        let token = Token::random(&self.listed.node).map_err(TokenError::Random)?;
        let mut id = [0; 4];
        getrandom::fill(&mut id).map_err(|e| TokenError::Random(io::Error::other(e.to_string())))?;
        let (created, hash) = (now(), token.hash());
        let expires = days.map(|days| created.saturating_add(DAY * u64::from(days)));
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let grant =
            Grant { id, name, role, models, quota, rate, lanes, created, expires, revoked: false, hash };
        self.listed.tokens.push(grant.clone());
        self.write()?;
        Ok((token, grant))
    }

    /// Takes a token back, by its id, or all of a name.
    ///
    /// # Errors
    /// No such token, a file that cannot be written.
    pub fn revoke(&mut self, which: &str) -> Result<usize, TokenError> {
        let _lock = self.change()?;
        let of = |grant: &&mut Grant| grant.id == which || grant.name == which;
        let found = self.listed.tokens.iter_mut().filter(of).map(|grant| grant.revoked = true).count();
        if found == 0 {
            return Err(TokenError::None(which.into()));
        }
        self.write()?;
        Ok(found)
    }

    /// Whom a token is of that somebody shows.
    pub(crate) fn find(&self, token: &Token, now: u64) -> Result<&Grant, Refusal> {
        if token.node() != self.listed.node {
            return Err(Refusal::OtherNode { is: token.node(), ours: self.listed.node.clone() });
        }
        let hash = token.hash();
        // All are looked at: how long this takes says nothing of which one it is.
        let mut found = None;
        for grant in &self.listed.tokens {
            if grant.hash == hash {
                found = Some(grant);
            }
        }
        match found {
            None => Err(Refusal::Unknown),
            Some(grant) if grant.revoked => Err(Refusal::Revoked),
            Some(grant) if grant.expires.is_some_and(|end| now >= end) => Err(Refusal::Expired),
            Some(grant) => Ok(grant),
        }
    }

    /// Begins a change: nobody else makes one meanwhile, and it starts from what is there.
    fn change(&mut self) -> Result<File, TokenError> {
        let private = |path: &Path| DirBuilder::new().mode(0o700).recursive(true).create(path);
        private(&self.folder).map_err(|error| TokenError::File { path: self.folder.clone(), error })?;
        let path = self.folder.join(LOCK);
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = open.and_then(|lock| lock.lock().map(|()| lock));
        let lock = lock.map_err(|error| TokenError::File { path, error })?;
        self.refresh()?;
        Ok(lock)
    }

    fn write(&mut self) -> Result<(), TokenError> {
        let path = self.path();
        let text = serde_json::to_string_pretty(&self.listed).map_err(io::Error::from);
        let written = text.and_then(|text| {
            private::write_durably(&path, Existing::Replace, |file| {
                file.write_all(text.as_bytes())?;
                file.write_all(b"\n")
            })
        });
        written.map_err(|error| TokenError::File { path, error })?;
        self.refresh()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    clock::of_day().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenRole;
    use std::os::unix::fs::PermissionsExt;

    fn new(name: &str) -> NewToken {
        let (models, role) = (Vec::new(), TokenRole::Client);
        NewToken { name: name.into(), role, models, quota: None, rate: None, lanes: 2, days: None }
    }

    fn open(folder: &Path) -> Tokens {
        Tokens::open(folder, NodeTag("0123abcd".into())).unwrap()
    }

    #[test]
    fn a_running_node_hears_of_new_and_revoked_tokens() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("state");
        let mut node = open(&folder);
        assert!(node.all().is_empty());
        let (token, grant) = open(&folder).make(new("alice")).unwrap();
        assert_eq!(node.find(&token, 0).unwrap_err(), Refusal::Unknown);
        node.refresh().unwrap();
        assert_eq!(node.find(&token, 0).unwrap(), &grant);
        let text = fs::read_to_string(node.path()).unwrap();
        assert!(text.contains("alice") && !text.contains(&token.reveal()[16..40]), "{text}");
        assert_eq!(fs::metadata(node.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(open(&folder).revoke("alice").unwrap(), 1);
        node.refresh().unwrap();
        assert_eq!(node.find(&token, 0).unwrap_err(), Refusal::Revoked);
        fs::remove_file(node.path()).unwrap();
        node.refresh().unwrap();
        assert_eq!(node.find(&token, 0).unwrap_err(), Refusal::Unknown);
    }

    #[test]
    fn a_token_ends_and_is_of_one_node() {
        let folder = tempfile::tempdir().unwrap();
        let mut tokens = open(folder.path());
        let (token, grant) = tokens.make(NewToken { days: Some(2), ..new("bob") }).unwrap();
        let end = grant.created + 2 * DAY;
        assert!(tokens.find(&token, end - 1).is_ok());
        assert_eq!(tokens.find(&token, end).unwrap_err(), Refusal::Expired);
        // By a clock that was set forwards for a while, or back to before the token was made.
        assert!(tokens.find(&token, end - 1).is_ok() && tokens.find(&token, grant.created - 3600).is_ok());
        let (is, ours) = (NodeTag("99999999".into()), NodeTag("0123abcd".into()));
        let other = Token::random(&is).unwrap();
        assert_eq!(tokens.find(&other, 0).unwrap_err(), Refusal::OtherNode { is, ours });
        // A new key of the node is no reason to make new tokens.
        let later = Tokens::open(folder.path(), NodeTag("77777777".into())).unwrap();
        assert!(later.find(&token, 0).is_ok());
    }

    #[test]
    fn wrong_wishes_and_wrong_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut tokens = open(folder.path());
        for (wish, words) in [
            (new(""), "a name has"),
            (new("a\nb"), "a name has"),
            (NewToken { quota: Some(0), ..new("a") }, "`quota` cannot be 0"),
            (NewToken { rate: Some(0), ..new("a") }, "`rate` cannot be 0"),
            (NewToken { lanes: 0, ..new("a") }, "`lanes` cannot be 0"),
        ] {
            assert!(tokens.make(wish).unwrap_err().to_string().contains(words));
        }
        assert!(tokens.revoke("nobody").unwrap_err().to_string().contains("no token of this node"));
        tokens.make(new("a")).unwrap();
        let path = tokens.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Tokens::open(folder.path(), NodeTag("0123abcd".into())).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{\"node\":\"0123abcd\",\"tokens\":[{}]}").unwrap();
        // What was read before still counts.
        assert!(tokens.refresh().unwrap_err().to_string().contains("no list of tokens"));
        assert_eq!(tokens.all().len(), 1);
    }
}
