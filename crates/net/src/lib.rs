//! Framed, ordered, mutually authenticated links between roles, and the [`Mesh`] that drives all
//! links of one thread.
//!
//! This crate stands between the protocol and the network and knows nothing of either's meaning: a
//! frame is opaque bytes. A [`Link`] is TLS 1.3 over TCP ([`dial`], [`Listener`]) or a queue in
//! memory ([`Link::pair`]); both behave the same, so a whole protocol run can be tested in one
//! process. Peers are known by the fingerprints of self-signed certificates ([`Identity`],
//! [`PeerSet`]). [`https`] has the TLS of a node's public port, which knows its users by tokens.
//!
//! Nothing here runs in the background: data moves while a thread is inside `send`, `recv` or
//! `flush`. The bytes of a peer never panic, and never reserve memory beyond
//! [`Link::set_max_frame`]; what a peer does not read is bounded by [`Link::set_max_unsent`].
//!
//! ```
//! use std::time::{Duration, Instant};
//! use amicus_net::{Event, Link, Mesh};
//!
//! let (mut client, party) = Link::pair("client", "party 1");
//! let mut mesh = Mesh::new()?;
//! mesh.insert(7, party);
//! client.send(&[b"two ", b"parts"])?;
//! let deadline = Instant::now() + Duration::from_secs(1);
//! assert_eq!(mesh.recv(deadline)?, Event::Frame { key: 7, bytes: b"two parts".to_vec().into() });
//! # Ok::<(), amicus_net::NetError>(())
//! ```
#![forbid(unsafe_code)]

mod buffer;
mod busy_poll;
pub mod clock;
mod connect;
mod error;
mod frame;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod https;
mod identity;
mod link;
mod memory;
mod mesh;
mod pins;
mod poll;
mod port;
mod record;
mod session;
pub mod shaper;
mod stream;
mod tls;
mod validity;
mod wiped;

pub use connect::{Listener, dial, dial_while};
pub use error::{Fault, NetError};
pub use identity::{Fingerprint, Identity};
pub use link::{Counters, DEFAULT_MAX_FRAME, Link};
pub use mesh::{Event, Mesh};
pub use pins::PeerSet;
pub use poll::Waker;
pub use port::Port;
pub use record::{Direction, Recorded, Recorder};
pub use wiped::Frame;
