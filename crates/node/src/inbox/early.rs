//! Messages ahead of their time: how many are kept for later, of each peer and of all users.

use super::{Received, Want};
use crate::Peer;
use amicus_protocol::Fault;
use amicus_protocol::wire::Header;
use std::collections::VecDeque;

/// Room for messages of one peer that are kept for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many.
    pub messages: usize,
    /// Their bytes, and [`MESSAGE_COST`] for each.
    pub bytes: usize,
}

impl Room {
    /// No room.
    pub(crate) const NONE: Room = Room { messages: 0, bytes: 0 };

    /// The larger of two bounds, each by itself.
    #[must_use]
    pub(crate) fn or(self, other: Room) -> Room {
        Room { messages: self.messages.max(other.messages), bytes: self.bytes.max(other.bytes) }
    }
}

/// Room for messages that are kept for later. An honest peer never meets these bounds; whoever
/// sends more is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Early {
    /// For each helper and party.
    pub of_node: Room,
    /// For each client, and for the owner.
    pub of_user: Room,
    /// Bytes for all users together. Beyond it the user who takes most loses what is furthest
    /// ahead, which is nobody's fault.
    pub of_users: usize,
}

/// What a message costs that is kept, beyond its bytes.
pub const MESSAGE_COST: usize = 256;
/// Messages of one node, at most; an inbox looks through all of them with every message it takes.
pub const MESSAGES_OF_NODE: usize = 512;
/// Messages of one user where nothing else was said: it has little to say ahead of time.
const MESSAGES_OF_USER: usize = 16;
/// Frames for which there is room where nothing else was said: of each peer, and of all users.
const FRAMES: usize = 16;

impl Early {
    /// Room for a few frames of each peer, of at most so many bytes.
    pub fn frames(max_frame: usize) -> Self {
        let room = |messages| Room { messages, bytes: FRAMES * (max_frame + MESSAGE_COST) };
        let of_user = room(MESSAGES_OF_USER);
        Early { of_node: room(MESSAGES_OF_NODE), of_user, of_users: FRAMES * of_user.bytes }
    }

    /// Whether one more message of so many bytes is kept; makes room for it where that is fair.
    ///
    /// Counted for each peer, so that nobody can use up what others need; and what is furthest ahead
    /// gives way, so that junk of the past does not stand in the way for ever.
    pub(super) fn admit(
        &self,
        kept: &mut VecDeque<Received>,
        peer: &Peer,
        header: &Header,
        bytes: usize,
    ) -> Want {
        let room = if is_user(peer) { self.of_user } else { self.of_node };
        let new = bytes + MESSAGE_COST;
        loop {
            let of_peer = || kept.iter().filter(|k| k.peer == *peer);
            if of_peer().count() < room.messages && of_peer().map(cost).sum::<usize>() + new <= room.bytes {
                break;
            }
            match furthest(kept, peer).filter(|&at| kept[at].header.id > header.id) {
                Some(at) => drop(kept.remove(at)),
                None => {
                    let Room { messages, bytes } = room;
                    let most = format!("more than {messages} messages or {bytes} bytes ahead of time");
                    return Want::Refuse(Fault::NotAllowed(most));
                }
            }
        }
        while is_user(peer) && users(kept).map(cost).sum::<usize>() + new > self.of_users {
            let mine = kept.iter().filter(|k| k.peer == *peer).map(cost).sum::<usize>() + new;
            let of = |user: &Peer| kept.iter().filter(|k| k.peer == *user).map(cost).sum::<usize>();
            let most = users(kept).map(|k| &k.peer).max_by_key(|user| of(user)).cloned();
            match most.filter(|user| user != peer && of(user) >= mine).and_then(|user| furthest(kept, &user))
            {
                Some(at) => drop(kept.remove(at)),
                None => return Want::Drop,
            }
        }
        Want::Keep
    }
}

/// Whether a peer is no node: there may be many, and nothing needs them.
pub(super) fn is_user(peer: &Peer) -> bool {
    matches!(peer, Peer::Client(_) | Peer::Owner)
}

fn cost(kept: &Received) -> usize {
    kept.frame.len() + MESSAGE_COST
}

fn users(kept: &VecDeque<Received>) -> impl Iterator<Item = &Received> {
    kept.iter().filter(|k| is_user(&k.peer))
}

/// The message of a peer that is furthest ahead.
fn furthest(kept: &VecDeque<Received>, peer: &Peer) -> Option<usize> {
    let of_peer = kept.iter().enumerate().filter(|(_, k)| k.peer == *peer);
    of_peer.max_by_key(|(_, k)| k.header.id).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_protocol::wire::Kind;
    use amicus_protocol::{EpochId, InferenceId, Parties, Scope, SessionId};

    const SESSION: SessionId = SessionId::from_bytes([1; 16]);
    const BODY: usize = 744;

    fn client(name: &str) -> Peer {
        Peer::Client(name.into())
    }

    fn header(id: u64) -> Header {
        Header::new(Kind::Input, Scope::new(SESSION, EpochId::from_bytes([2; 16]), InferenceId(id)), 0)
    }

    /// Offers a message with so many bytes; what is kept of every peer afterwards.
    fn offer(early: &Early, kept: &mut VecDeque<Received>, peer: &Peer, id: u64, bytes: usize) -> Want {
        let verdict = early.admit(kept, peer, &header(id), bytes);
        if verdict == Want::Keep {
            kept.push_back(Received { peer: peer.clone(), header: header(id), frame: vec![0; bytes].into() });
        }
        verdict
    }

    fn ids(kept: &VecDeque<Received>, peer: &Peer) -> Vec<u64> {
        kept.iter().filter(|k| k.peer == *peer).map(|k| k.header.id.0).collect()
    }

    /// Room for four messages of `BODY` bytes of each user, eight of all, and six of a node.
    fn early() -> Early {
        let each = BODY + MESSAGE_COST;
        let room = |bytes| Room { messages: 100, bytes };
        Early { of_node: room(6 * each), of_user: room(4 * each), of_users: 8 * each }
    }

    #[test]
    fn bytes_of_one_peer_are_bounded_and_whoever_sends_more_is_at_fault() {
        let party = Peer::Party(Parties::new(2).unwrap().last());
        for (peer, most) in [(client("a"), 4), (Peer::Owner, 4), (party, 6), (Peer::Helper, 6)] {
            let mut kept = VecDeque::new();
            for id in 1..=most {
                assert_eq!(offer(&early(), &mut kept, &peer, id, BODY), Want::Keep, "{peer}");
            }
            // One that is further ahead has no room; one that is wanted earlier takes another's.
            let refused = offer(&early(), &mut kept, &peer, most + 1, BODY);
            assert!(matches!(&refused, Want::Refuse(fault) if fault.to_string().contains("ahead of time")));
            assert_eq!(offer(&early(), &mut kept, &peer, 0, BODY), Want::Keep);
            assert_eq!(ids(&kept, &peer), (1..most).chain([0]).collect::<Vec<_>>());
            // One large message takes the room of many, or has none at all.
            let mut kept = VecDeque::new();
            let all = most as usize * (BODY + MESSAGE_COST) - MESSAGE_COST;
            assert_eq!(offer(&early(), &mut kept, &peer, 1, all), Want::Keep);
            assert!(matches!(offer(&early(), &mut kept, &peer, 2, 0), Want::Refuse(_)));
            assert!(matches!(offer(&early(), &mut VecDeque::new(), &peer, 1, all + 1), Want::Refuse(_)));
        }
    }

    #[test]
    fn empty_messages_are_bounded_too() {
        let room = |messages| Room { messages, bytes: 1 << 30 };
        let early = Early { of_node: room(9), of_user: room(5), of_users: 1 << 30 };
        let mut kept = VecDeque::new();
        for peer in [client("a"), Peer::Helper] {
            let fits =
                (1..100).take_while(|&id| offer(&early, &mut kept, &peer, id, 0) == Want::Keep).count();
            assert_eq!(fits, if is_user(&peer) { 5 } else { 9 });
        }
    }

    #[test]
    fn of_all_users_the_one_who_takes_most_gives_way() {
        let (early, mut kept) = (early(), VecDeque::new());
        let [a, b, c] = ["a", "b", "c"].map(client);
        for peer in [&a, &b] {
            (1..=4).for_each(|id| assert_eq!(offer(&early, &mut kept, peer, id, BODY), Want::Keep));
        }
        // All room is taken; nobody is blamed, and who takes least gets some.
        for id in 1..=2 {
            assert_eq!(offer(&early, &mut kept, &c, id, BODY), Want::Keep);
        }
        assert_eq!([&a, &b, &c].map(|p| ids(&kept, p).len()), [3, 3, 2]);
        assert!([&a, &b].iter().all(|p| ids(&kept, p) == [1, 2, 3]), "what is furthest ahead gives way");
        // With as many as others, it is its own that would give way.
        assert_eq!(offer(&early, &mut kept, &c, 3, BODY), Want::Keep);
        assert_eq!(offer(&early, &mut kept, &c, 4, BODY), Want::Drop);
        assert!(kept.iter().map(cost).sum::<usize>() <= early.of_users);
        // Nodes' messages are not theirs to take, nor the other way round.
        for id in 1..=6 {
            assert_eq!(offer(&early, &mut kept, &Peer::Helper, id, BODY), Want::Keep);
        }
    }
}
