//! The roles of a deployment, one a process: what each is told, whom it connects to, what it says.

mod client;
mod helper;
mod notice;
mod owner;
mod party;
mod probe;
mod seat;
mod serving;

#[cfg(feature = "https")]
pub(crate) use client::input_of;
pub use client::{Answer, Client, Expected};
pub use helper::Helper;
pub use notice::Notice;
pub use owner::{Model, ModelFingerprint, Owner, UploadProgress};
pub use party::Party;
pub use probe::{probe, probe_certificate};
pub use seat::Role;
pub use serving::{Door, Watch};

pub(crate) use seat::Links;
