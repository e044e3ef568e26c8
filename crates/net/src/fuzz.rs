//! Entry points for fuzzing: bytes as a socket delivers them, without sockets. No part of what this
//! crate promises.

use std::sync::Arc;

use rustls::ServerConfig;

use crate::buffer::Buffer;
use crate::error::Failure;
use crate::frame::{self, Assembler, Inbox};
use crate::session::{Desk, Session};
use crate::stream::READ;
use crate::{Identity, NetError, PeerSet, tls};

/// A frame as it goes over a stream.
///
/// # Panics
/// When it is longer than a frame can be.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let header = frame::header(body.len()).expect("a frame of less than 4 GiB");
    [&header[..], body].concat()
}

/// The frames of a stream that comes in pieces, and whether it ends in the middle of one; or the
/// length announced by the first that is longer than `limit`.
pub fn frames<'a>(
    limit: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Vec<u8>>, Result<bool, usize>) {
    let (mut assembler, mut frames) = (Assembler::new(limit), Vec::new());
    for piece in pieces {
        match assembler.push(piece, &mut |frame| frames.push(frame.to_vec())) {
            Ok(()) => {}
            Err(Failure::TooLong { announced, .. }) => return (frames, Err(announced)),
            Err(other) => panic!("{other:?}"),
        }
    }
    (frames, Ok(assembler.is_mid_frame()))
}

/// A listening node, as strangers see it.
pub struct Door(Arc<ServerConfig>);

impl Door {
    /// A node that lets these peers in.
    ///
    /// # Errors
    /// An identity that cannot be used.
    pub fn new(identity: &Identity, peers: PeerSet) -> Result<Self, NetError> {
        Ok(Door(tls::server_config(identity, peers)?))
    }

    /// What a client says first.
    ///
    /// # Errors
    /// An identity that cannot be used.
    ///
    /// # Panics
    /// When no session can be made.
    pub fn first_words(identity: &Identity, peers: PeerSet) -> Result<Vec<u8>, NetError> {
        let mut session = Session::client(tls::client_config(identity, peers)?).expect("a session");
        let (mut incoming, mut outgoing) = (Buffer::new(READ), Buffer::new(READ));
        let (mut assembler, mut inbox) = (Assembler::new(0), Inbox::new());
        let mut desk = Desk {
            incoming: &mut incoming,
            outgoing: &mut outgoing,
            assembler: &mut assembler,
            inbox: &mut inbox,
        };
        session.advance(&mut desk, &mut &[][..]).expect("a client speaks first");
        Ok(outgoing.filled().to_vec())
    }

    /// Sends the bytes of a stranger. Whether the node took them for a peer's, or for a message.
    ///
    /// # Panics
    /// When no session can be made.
    pub fn knock<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut session = Session::server(Arc::clone(&self.0)).expect("a session");
        let (mut incoming, mut outgoing) = (Buffer::new(READ), Buffer::new(READ));
        let (mut assembler, mut inbox) = (Assembler::new(1 << 16), Inbox::new());
        for piece in pieces {
            let mut piece = piece;
            while !piece.is_empty() {
                incoming.compact();
                let take = piece.len().min(incoming.free());
                if take == 0 {
                    return false; // A handshake message without end: the stream closes.
                }
                incoming.free_mut()[..take].copy_from_slice(&piece[..take]);
                incoming.advance(take);
                piece = &piece[take..];
                let mut desk = Desk {
                    incoming: &mut incoming,
                    outgoing: &mut outgoing,
                    assembler: &mut assembler,
                    inbox: &mut inbox,
                };
                let advanced = session.advance(&mut desk, &mut &[][..]);
                // What a stream does before it reads on, or gives up.
                outgoing.consume(outgoing.filled().len());
                if advanced.is_err() {
                    session.say_goodbye(true, &mut incoming, &mut outgoing);
                    return !session.is_handshaking() || inbox.pop().is_some();
                }
            }
        }
        !session.is_handshaking() || inbox.pop().is_some()
    }
}
