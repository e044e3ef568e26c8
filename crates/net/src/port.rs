//! The end of a link in memory for who has no thread to wait with, such as a server of many slow
//! connections: it is told when something arrives.

use crate::memory::MemoryEnd;
use crate::{Frame, NetError};
use std::fmt;

/// One end of a link in memory, made with [`Link::port`](crate::Link::port). Dropping it closes the link.
pub struct Port {
    peer: String,
    end: MemoryEnd,
}

impl Port {
    pub(crate) fn new(peer: &str, end: MemoryEnd) -> Self {
        Port { peer: peer.to_owned(), end }
    }

    /// Sends one frame, the concatenation of `parts`.
    ///
    /// # Errors
    /// When the other end has closed the link.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), NetError> {
        let sent = self.end.send(Frame::concat(parts));
        sent.map_err(|failure| failure.named(&self.peer))
    }

    /// The next frame that has arrived.
    ///
    /// # Errors
    /// When the other end has closed the link, and everything that arrived was taken.
    pub fn take(&mut self) -> Result<Option<Frame>, NetError> {
        self.end.take().map_err(|failure| failure.named(&self.peer))
    }

    /// Whether the link has not ended.
    pub fn is_open(&self) -> bool {
        self.end.is_open()
    }

    /// What the frames cost that the other end has not taken.
    pub fn untaken(&self) -> usize {
        self.end.unsent()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.end.close();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Link;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn a_port_is_told_of_every_frame_and_of_the_end() {
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let (mut port, mut link) = Link::port(
            "client 1",
            Arc::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        );
        let soon = || Instant::now() + Duration::from_secs(60);
        assert_eq!(port.take().unwrap(), None);
        link.send(&[b"one ", b"frame"]).unwrap();
        assert_eq!(
            (told.load(Ordering::SeqCst), port.take().unwrap().as_deref()),
            (1, Some(&b"one frame"[..]))
        );
        port.send(&[b"an", b"swer"]).unwrap();
        assert!(port.untaken() > 6);
        assert_eq!(link.recv(soon()).unwrap(), b"answer");
        assert_eq!(port.untaken(), 0);
        link.send(&[b"last"]).unwrap();
        assert!(port.is_open());
        drop(link);
        assert!(!port.is_open());
        assert_eq!((port.take().unwrap().as_deref(), told.load(Ordering::SeqCst)), (Some(&b"last"[..]), 3));
        assert!(matches!(port.take(), Err(NetError::Closed { .. })));
        assert!(port.send(&[b"too late"]).is_err());
    }

    #[test]
    fn a_port_that_is_dropped_ends_the_link() {
        let (port, mut link) = Link::port("client 1", Arc::new(|| ()));
        drop(port);
        assert!(matches!(link.recv(Instant::now()), Err(NetError::Closed { .. })));
    }
}
