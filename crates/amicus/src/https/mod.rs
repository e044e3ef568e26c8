//! Clients and owners with tokens: every node over HTTPS, at its public port.
//!
//! The protocol is that of [`amicus_client`]; here its requests are moved, with hyper and tokio on
//! the calling thread. [`Client`](crate::Client) and [`Owner`](crate::Owner) do the same over nodes'
//! own ports, with certificates. `docs/api.md` describes the requests.

mod client;
mod owner;
mod tokens;
mod wire;

pub use client::{AsyncHttpsClient, HttpsClient, fetch_plan, fetch_plan_async};
pub use owner::HttpsOwner;
pub use tokens::{Tokens, name_of, nodes};
