//! Outputs that receivers have not collected yet (`docs/protocol.md`, section 6.8).
//!
//! Once the helper may have decided, every receiver is to get its output, whatever becomes of the
//! session: what was sent once is kept, the same bytes, until all receivers have it, or for longer
//! than the helper keeps its release. Bounded for each client and in all.

use super::recipients::Recipients;
use crate::Peer;
use crate::inbox::Received;
use crate::store::RELEASES_KEPT;
use amicus_protocol::{Fault, Scope};
use std::collections::{BTreeMap, HashMap, VecDeque};
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
}

/// What is kept of one client's inferences.
#[derive(Debug, Default)]
struct Share {
    /// Numbers of its outputs, oldest first.
    numbers: VecDeque<u64>,
    bytes: usize,
}

/// The outputs that are kept.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// By number, in the order in which they came, which is that in which they expire.
    kept: BTreeMap<u64, Output>,
    numbers: HashMap<Scope, u64>,
    /// By the client who asked.
    shares: HashMap<Peer, Share>,
    bytes: usize,
    next: u64,
}

impl Outputs {
    /// Keeps an output that was sent now for its receivers, the client first.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        scope: Scope,
        (receivers, recipients): (Vec<Peer>, Recipients),
        body: Arc<[u8]>,
    ) {
        while let Some((&oldest, _)) = self.kept.first_key_value().filter(|(_, output)| output.until <= now) {
            self.remove(oldest);
        }
        let Some(client) = receivers.first().cloned() else { return };
        let collected = vec![false; receivers.len()];
        let output = Output { scope, receivers, recipients, collected, body, until: now + KEPT };
        let (number, cost) = (self.next, output.cost());
        self.next += 1;
        let share = self.shares.entry(client.clone()).or_default();
        share.numbers.push_back(number);
        share.bytes += cost;
        self.bytes += cost;
        self.numbers.insert(scope, number);
        self.kept.insert(number, output);
        self.make_room(&client);
    }

    /// The client of the newest output gives way with its oldest, then whoever takes most room.
    fn make_room(&mut self, client: &Peer) {
        let share = self.shares.get(client).filter(|share| share.numbers.len() > MAX_OF_CLIENT);
        if let Some(&oldest) = share.and_then(|share| share.numbers.front()) {
            self.remove(oldest);
        }
        while self.bytes > MAX_BYTES {
            let most = self.shares.values().max_by_key(|share| share.bytes);
            let Some(&oldest) = most.and_then(|share| share.numbers.front()) else { return };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(output) = self.kept.remove(&number) else { return };
        self.numbers.remove(&output.scope);
        self.bytes -= output.cost();
        let Some(client) = output.receivers.first() else { return };
        if let Some(share) = self.shares.get_mut(client) {
            share.bytes -= output.cost();
            share.numbers.retain(|other| *other != number);
            if share.numbers.is_empty() {
                self.shares.remove(client);
            }
        }
    }

    /// Forgets an output that the helper has not accepted.
    pub(super) fn forget(&mut self, scope: Scope) {
        if let Some(&number) = self.numbers.get(&scope) {
            self.remove(number);
        }
    }

    /// The output that a receiver asks for, if there is one.
    ///
    /// # Errors
    /// A message that is not this receiver's.
    pub(super) fn asked(&self, message: &Received) -> Result<Option<Arc<[u8]>>, Fault> {
        Ok(self.find(message)?.and_then(|(number, _)| Some(Arc::clone(&self.kept.get(&number)?.body))))
    }

    /// Notes that a receiver has its output.
    ///
    /// # Errors
    /// Those of [`Outputs::asked`].
    pub(super) fn collected(&mut self, message: &Received) -> Result<(), Fault> {
        let Some((number, receiver)) = self.find(message)? else { return Ok(()) };
        if let Some(output) = self.kept.get_mut(&number) {
            output.collected[receiver] = true;
            if output.collected.iter().all(|collected| *collected) {
                self.remove(number);
            }
        }
        Ok(())
    }

    /// The number of the output, and of the receiver, that a message is about.
    fn find(&self, message: &Received) -> Result<Option<(u64, usize)>, Fault> {
        let Some(&number) = self.numbers.get(&message.header.scope()) else { return Ok(None) };
        let Some(output) = self.kept.get(&number) else { return Ok(None) };
        let among = message.peer.may_be(&output.receivers);
        if among.is_empty() {
            return Ok(None);
        }
        let (receiver, said) =
            output.recipients.whose(&among, message).map(|(at, said)| (at, said.body()))?;
        match said.is_empty() {
            true => Ok(Some((number, receiver))),
            false => Err(Fault::Length { expected: 0, got: said.len() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_protocol::InferenceId;

    fn keep(outputs: &mut Outputs, now: Instant, client: &str, id: u64, bytes: usize) {
        let receivers = vec![Peer::Client(client.into()), Peer::Client("never comes".into())];
        outputs.keep(now, scope(id), (receivers, Recipients::default()), vec![0; bytes].into());
    }

    fn scope(id: u64) -> Scope {
        Scope { id: InferenceId(id), ..Scope::NONE }
    }

    fn of(outputs: &Outputs, client: &str) -> Vec<u64> {
        let client = Peer::Client(client.into());
        let of_client = outputs.kept.values().filter(|output| output.receivers.first() == Some(&client));
        of_client.map(|output| output.scope.id.0).collect()
    }

    fn assert_consistent(outputs: &Outputs) {
        let bytes: usize = outputs.kept.values().map(Output::cost).sum();
        assert!(bytes == outputs.bytes && bytes <= MAX_BYTES);
        assert_eq!(outputs.numbers.len(), outputs.kept.len());
        let (numbers, of_shares) = outputs
            .shares
            .values()
            .fold((0, 0), |(numbers, bytes), share| (numbers + share.numbers.len(), bytes + share.bytes));
        assert_eq!((numbers, of_shares), (outputs.kept.len(), bytes));
    }

    #[test]
    fn receivers_that_never_come_do_not_pile_up() {
        let (mut outputs, now) = (Outputs::default(), Instant::now());
        for id in 1..=3 {
            keep(&mut outputs, now, "honest", id, 100);
        }
        for id in 1000..2000 {
            keep(&mut outputs, now, "hostile", id, 100);
            assert_consistent(&outputs);
        }
        assert_eq!(of(&outputs, "honest"), [1, 2, 3]);
        assert_eq!(of(&outputs, "hostile"), (2000 - MAX_OF_CLIENT as u64..2000).collect::<Vec<_>>());
        // However large: who takes most gives way.
        for id in 3000..3020 {
            keep(&mut outputs, now, "large", id, MAX_BYTES / 8);
            assert_consistent(&outputs);
        }
        assert_eq!(of(&outputs, "honest"), [1, 2, 3]);
        assert_eq!(of(&outputs, "large"), (3013..3020).collect::<Vec<_>>());
        outputs.forget(scope(2));
        assert_eq!(of(&outputs, "honest"), [1, 3]);
        assert_consistent(&outputs);
    }

    #[test]
    fn an_output_that_nobody_collects_is_forgotten_after_the_release() {
        let (mut outputs, start) = (Outputs::default(), Instant::now());
        keep(&mut outputs, start, "honest", 1, 100);
        keep(&mut outputs, start + RELEASES_KEPT, "honest", 2, 100);
        assert_eq!(of(&outputs, "honest"), [1, 2], "the helper may just have released it");
        keep(&mut outputs, start + KEPT, "honest", 3, 100);
        assert_eq!(of(&outputs, "honest"), [2, 3]);
        assert_consistent(&outputs);
    }
}
