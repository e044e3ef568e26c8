//! The encryption of a release to its receiver (`docs/protocol.md`, section 6.8).
//!
//! What the helper keeps until a receiver comes shows nothing to somebody who copies its folder: the
//! key follows from what the receiver got with its ticket or invitation, which is on no disk.

use crate::authentic::AuthenticationKeys;
use crate::keyed::KeyedHash;
use crate::transcript::Digest;
use crate::{Fault, Scope};
use amicus_field::{Seed, with_wiped_stack};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the tag behind an encrypted release.
pub const TAG_BYTES: usize = 32;

const CONTEXT: &str = "amicus 2026-11 key of a release";

/// The key of one release to one receiver. It encrypts one text: a decision is made once.
///
/// It has a place of its own: from where it is moved, a copy would stay behind.
#[derive(Debug)]
pub struct ReleaseKey(Box<Seed>);

impl ReleaseKey {
    /// The key that follows from a receiver's keys with all parties. Who lacks one of them knows
    /// nothing of it.
    pub fn of(keys: &AuthenticationKeys, scope: Scope) -> Self {
        with_wiped_stack(|| {
            let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
            hasher.update(&scope.encode());
            hasher.update(&Zeroizing::new(keys.encode()));
            let key = Seed::from_bytes(*hasher.finalize().as_bytes());
            hasher.zeroize();
            ReleaseKey(Box::new(key))
        })
    }

    /// The text under a stream, then a tag of that.
    pub fn encrypt(&self, text: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(text.len() + TAG_BYTES);
        sealed.extend_from_slice(text);
        self.mask(&mut sealed);
        let tag = self.tag(&sealed);
        sealed.extend_from_slice(&tag.0);
        sealed
    }

    /// The text of an encrypted release.
    ///
    /// # Errors
    /// Bytes that were not encrypted under this key.
    pub fn decrypt(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let Some((masked, tag)) = sealed.split_last_chunk::<TAG_BYTES>() else {
            return Err(Fault::Length { expected: TAG_BYTES, got: sealed.len() });
        };
        // Hashes are compared in constant time.
        if blake3::Hash::from_bytes(*tag) != blake3::Hash::from_bytes(self.tag(masked).0) {
            return Err(Fault::Unauthenticated);
        }
        let mut text = Zeroizing::new(masked.to_vec());
        self.mask(&mut text);
        Ok(text)
    }

    /// Adds the stream, or takes it away.
    fn mask(&self, text: &mut [u8]) {
        let mut stream = Zeroizing::new(vec![0; text.len()]);
        KeyedHash::new(self.0.derive(b"amicus stream of a release").as_bytes()).fill(&mut stream);
        text.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
    }

    fn tag(&self, masked: &[u8]) -> Digest {
        KeyedHash::new(self.0.derive(b"amicus tag of a release").as_bytes()).update(masked).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentic::{AuthenticationKeys, AuthenticationRoot};
    use crate::{EpochId, InferenceId, SessionId};

    fn key(parties: [u8; 2], id: u64, recipient: u32) -> ReleaseKey {
        let (session, epoch) = (SessionId::from_bytes([1; 16]), EpochId::from_bytes([2; 16]));
        let scope = Scope::new(session, epoch, InferenceId(id));
        let roots = parties.map(|party| AuthenticationRoot::of(&Seed::from_bytes([party; 32]), scope));
        ReleaseKey::of(&AuthenticationKeys::of(&roots, recipient), scope)
    }

    #[test]
    fn only_who_has_all_keys_reads_a_release() {
        let text: Vec<u8> = (0..200).collect();
        let sealed = key([3, 4], 1, 0).encrypt(&text);
        assert_eq!(*key([3, 4], 1, 0).decrypt(&sealed).unwrap(), text);
        assert!(!sealed.windows(8).any(|window| text.windows(8).any(|plain| plain == window)));
        for other in [key([3, 5], 1, 0), key([5, 4], 1, 0), key([3, 4], 2, 0), key([3, 4], 1, 1)] {
            assert_eq!(other.decrypt(&sealed).unwrap_err(), Fault::Unauthenticated);
        }
        for bit in 0..8 * sealed.len() {
            let mut wrong = sealed.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(key([3, 4], 1, 0).decrypt(&wrong).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(key([3, 4], 1, 0).decrypt(&sealed[..cut]).is_err());
        }
    }
}
