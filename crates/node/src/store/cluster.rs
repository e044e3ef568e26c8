//! Which cluster a folder belongs to.

use crate::Peer;
use amicus_net::Fingerprint;
use amicus_protocol::Parties;
use std::collections::BTreeMap;
use std::fmt;

/// A digest of a cluster: its name, the number and roles of its nodes and their pinned
/// certificates.
///
/// Every file of a node carries it, so that a folder of one cluster is not used in another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterDigest(pub [u8; 32]);

impl ClusterDigest {
    /// The digest of a cluster with this name whose helper and parties have these certificates;
    /// users of it do not count.
    pub fn pinned<'a>(
        cluster: &str,
        parties: Parties,
        certificates: impl IntoIterator<Item = (&'a Peer, Fingerprint)>,
    ) -> Self {
        let nodes =
            certificates.into_iter().filter(|(peer, _)| matches!(peer, Peer::Helper | Peer::Party(_)));
        let nodes: BTreeMap<&Peer, Fingerprint> = nodes.collect();
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 cluster of pinned nodes");
        hasher.update(&(cluster.len() as u64).to_le_bytes()).update(cluster.as_bytes());
        hasher.update(&[u8::from(parties)]);
        for (peer, fingerprint) in nodes {
            let name = peer.to_string();
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hasher.update(fingerprint.as_bytes());
        }
        ClusterDigest(*hasher.finalize().as_bytes())
    }

    /// The digest of a cluster with this name and number of parties that is known by a random id, so
    /// that its nodes can change their certificates.
    pub fn identified(cluster: &str, parties: Parties, id: &[u8; 16]) -> Self {
        let (mut hasher, name) =
            (blake3::Hasher::new_derive_key("amicus 2026-11 cluster with an id"), cluster.as_bytes());
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name);
        hasher.update(&[u8::from(parties)]).update(id);
        ClusterDigest(*hasher.finalize().as_bytes())
    }

    /// The digest of a cluster in one process, whose certificates last no longer than it does.
    pub fn local(parties: Parties) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 cluster in one process");
        hasher.update(&[u8::from(parties)]);
        ClusterDigest(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for ClusterDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An operator compares no more bits.
        self.0[..8].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ClusterDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_net::Identity;

    #[test]
    fn every_node_counts_and_no_user_does() {
        let [two, three] = [2, 3].map(|n| Parties::new(n).unwrap());
        let certificate = |name: &str| Identity::generate(name).unwrap().fingerprint();
        let [a, b, c] = ["a", "b", "c"].map(certificate);
        let [helper, client] = [Peer::Helper, Peer::Client("1".into())];
        let [first, second] = [0, 1].map(|i| Peer::Party(two.all().nth(i).unwrap()));
        let digest = ClusterDigest::pinned("ward 7", two, [(&helper, a), (&first, b), (&second, c)]);
        assert_eq!(
            digest,
            ClusterDigest::pinned("ward 7", two, [(&second, c), (&client, a), (&helper, a), (&first, b)])
        );
        let others = [
            ClusterDigest::pinned("ward 8", two, [(&helper, a), (&first, b), (&second, c)]),
            ClusterDigest::pinned("ward 7", three, [(&helper, a), (&first, b), (&second, c)]),
            ClusterDigest::pinned("ward 7", two, [(&helper, a), (&first, b)]),
            ClusterDigest::pinned("ward 7", two, [(&helper, a), (&first, c), (&second, b)]),
            ClusterDigest::pinned("ward 7", two, [(&helper, b), (&first, b), (&second, c)]),
            ClusterDigest::identified("ward 7", two, &[1; 16]),
            ClusterDigest::identified("ward 7", two, &[2; 16]),
            ClusterDigest::identified("ward 8", two, &[1; 16]),
            ClusterDigest::identified("ward 7", three, &[1; 16]),
            ClusterDigest::local(two),
            ClusterDigest::local(three),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(*other != digest && !others[..at].contains(other), "{at}");
        }
    }
}
