//! Outputs that receivers have not collected yet (`docs/protocol.md`, section 6.8).
//!
//! Once the helper may have decided, every receiver is to get its output, whatever becomes of the
//! session: what was sent once is kept, the same bytes, until all receivers have it, or for longer
//! than the helper keeps its release. Bounded for each client and in all.

use super::recipients::{Heard, Recipients};
use crate::Peer;
use crate::inbox::Received;
use crate::store::RELEASES_KEPT;
use amicus_net::clock;
use amicus_protocol::{Fault, Scope};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an output is kept.
const KEPT: Duration = RELEASES_KEPT.saturating_add(Duration::from_secs(3600));
/// Outputs of one client's inferences that are kept, at most: as many as the helper keeps releases.
/// The oldest gives way.
const MAX_OF_CLIENT: usize = 64;
/// Bytes of all outputs that are kept, at most: twice those of the helper's releases.
const MAX_BYTES: usize = 1 << 28;
/// What an output costs that is kept, beyond its bytes and for each receiver.
const COST: usize = 512;

/// An output that was sent.
#[derive(Debug)]
struct Output {
    scope: Scope,
    /// The client first.
    receivers: Vec<Peer>,
    recipients: Recipients,
    collected: Vec<bool>,
    body: Arc<[u8]>,
    until: Instant,
}

impl Output {
    fn cost(&self) -> usize {
        self.body.len() + COST * (1 + self.receivers.len())
    }

    fn is_of(&self, client: &Peer) -> bool {
        self.receivers.first() == Some(client)
    }
}

/// The outputs that are kept, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outputs(VecDeque<Output>);

impl Outputs {
    /// Keeps an output for its receivers, the client first.
    pub(super) fn keep(
        &mut self,
        scope: Scope,
        receivers: Vec<Peer>,
        recipients: Recipients,
        body: &Arc<[u8]>,
    ) {
        let now = clock::now();
        self.0.retain(|output| output.until > now);
        let collected = vec![false; receivers.len()];
        let (body, until) = (Arc::clone(body), now + KEPT);
        self.0.push_back(Output { scope, receivers, recipients, collected, body, until });
        self.make_room();
    }

    /// The client of the newest output gives way with its oldest, then whoever takes most room.
    fn make_room(&mut self) {
        let newest = self.0.back().and_then(|output| output.receivers.first()).cloned();
        if let Some(client) = newest
            && self.0.iter().filter(|output| output.is_of(&client)).count() > MAX_OF_CLIENT
        {
            self.forget_oldest_of(&client);
        }
        while self.0.iter().map(Output::cost).sum::<usize>() > MAX_BYTES {
            let cost_of = |client: &Peer| -> usize {
                self.0.iter().filter(|output| output.is_of(client)).map(Output::cost).sum()
            };
            let clients = self.0.iter().filter_map(|output| output.receivers.first());
            let Some(most) = clients.max_by_key(|client| cost_of(client)).cloned() else { return };
            self.forget_oldest_of(&most);
        }
    }

    fn forget_oldest_of(&mut self, client: &Peer) {
        if let Some(at) = self.0.iter().position(|output| output.is_of(client)) {
            self.0.remove(at);
        }
    }

    /// Forgets an output that the helper has not accepted.
    pub(super) fn forget(&mut self, scope: Scope) {
        self.0.retain(|output| output.scope != scope);
    }

    /// The output that a receiver asks for, if there is one.
    ///
    /// # Errors
    /// A message that is not this receiver's.
    pub(super) fn asked(&mut self, message: &Received) -> Result<Option<Arc<[u8]>>, Fault> {
        self.find(message).map(|found| found.map(|(at, _)| Arc::clone(&self.0[at].body)))
    }

    /// Notes that a receiver has its output.
    ///
    /// # Errors
    /// Those of [`Outputs::asked`].
    pub(super) fn collected(&mut self, message: &Received) -> Result<(), Fault> {
        if let Some((at, receiver)) = self.find(message)? {
            self.0[at].collected[receiver] = true;
            if self.0[at].collected.iter().all(|collected| *collected) {
                self.0.remove(at);
            }
        }
        Ok(())
    }

    /// The output, and the number of the receiver, that a message is about.
    fn find(&mut self, message: &Received) -> Result<Option<(usize, usize)>, Fault> {
        let scope = message.header.scope();
        let Some(at) = self.0.iter().position(|output| output.scope == scope) else { return Ok(None) };
        let output = &mut self.0[at];
        let Some(receiver) = output.receivers.iter().position(|r| *r == message.peer) else {
            return Ok(None);
        };
        match output.recipients.hear(receiver, message) {
            Heard::New(_) | Heard::Again => Ok(Some((at, receiver))),
            Heard::Other => Err(Fault::Unauthenticated),
            Heard::Forged(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_protocol::InferenceId;

    fn keep(outputs: &mut Outputs, client: &str, id: u64, bytes: usize) {
        let scope = Scope { id: InferenceId(id), ..Scope::NONE };
        let receivers = vec![Peer::Client(client.into()), Peer::Client("never comes".into())];
        outputs.keep(scope, receivers, Recipients::default(), &vec![0; bytes].into());
    }

    fn of(outputs: &Outputs, client: &str) -> Vec<u64> {
        let client = Peer::Client(client.into());
        outputs.0.iter().filter(|output| output.is_of(&client)).map(|output| output.scope.id.0).collect()
    }

    #[test]
    fn receivers_that_never_come_do_not_pile_up() {
        let mut outputs = Outputs::default();
        for id in 1..=3 {
            keep(&mut outputs, "honest", id, 100);
        }
        for id in 1000..2000 {
            keep(&mut outputs, "hostile", id, 100);
        }
        assert_eq!(of(&outputs, "honest"), [1, 2, 3]);
        assert_eq!(of(&outputs, "hostile"), (2000 - MAX_OF_CLIENT as u64..2000).collect::<Vec<_>>());
        // However large: who takes most gives way.
        for id in 3000..3020 {
            keep(&mut outputs, "large", id, MAX_BYTES / 8);
        }
        assert_eq!(of(&outputs, "honest"), [1, 2, 3]);
        assert_eq!(of(&outputs, "large"), (3013..3020).collect::<Vec<_>>());
        assert!(outputs.0.iter().map(Output::cost).sum::<usize>() <= MAX_BYTES);
    }
}
