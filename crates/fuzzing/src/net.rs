//! Bytes as they come out of a socket.

use crate::input::Input;
use amicus_net::fuzz::{Door, frame, frames as cut};
use amicus_net::{Identity, PeerSet};
use std::cell::OnceCell;

thread_local! {
    static DOOR: OnceCell<Door> = const { OnceCell::new() };
}

/// A byte stream in pieces of any size: cut into frames, and put together again.
pub(crate) fn frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (limit, step) = (input.word(), 1 + usize::from(input.byte()));
    let stream = input.rest();
    let (frames, rest) = cut(limit, stream.chunks(step));
    assert!(frames.iter().all(|f| f.len() <= limit));
    let whole: Vec<u8> = frames.iter().flat_map(|f| frame(f)).collect();
    assert!(stream.starts_with(&whole), "frames have one encoding");
    match rest {
        // Cut off in the middle of a frame, or at its end.
        Ok(mid_frame) => assert_eq!(mid_frame, whole.len() < stream.len()),
        Err(announced) => assert!(announced > limit),
    }
    // However the stream is cut, the frames are the same.
    assert_eq!(cut(limit, [stream].into_iter()).0, frames);
}

/// A stranger's bytes at a listening node, before it has proved who it is.
pub(crate) fn handshake(bytes: &[u8]) {
    DOOR.with(|door| {
        let door = door.get_or_init(|| {
            let [node, friend] = ["party 1", "client 1"].map(|name| Identity::generate(name).expect("a key"));
            Door::new(&node, PeerSet::from_iter([(friend.fingerprint(), "client 1")])).expect("a server")
        });
        let mut input = Input::new(bytes);
        let step = 1 + input.word();
        let heard = door.knock(input.rest().chunks(step));
        assert!(!heard, "somebody who proved nothing was let in");
    });
}
