//! An inference in flight at the helper: what parties have said of it, and until when they may.

use crate::exchange::{Part, Wait, concerns};
use crate::inbox::{Incoming, Received};
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::authentic::FIRST_RECIPIENT;
use amicus_protocol::check::{Accepted, CheckMessage};
use amicus_protocol::control::{self, Binding, Invitation, TicketGrant};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, InferenceId, PartyId, ProtocolError, Scope, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// An inference that is bound to a client and not decided.
#[derive(Debug)]
pub(super) struct Flight {
    dealt: Dealt,
    epoch: Arc<HelperEpoch>,
    /// Bytes of its material at a party.
    material: u64,
    client: Peer,
    binding: Binding,
    /// What parties said, in party order.
    checks: Vec<Option<CheckMessage>>,
    /// Hops in sequence so far.
    hop: u16,
    /// How long the request waited.
    pub(super) queued: Duration,
    since: Instant,
    until: Instant,
}

/// What becomes of an inference that all parties have spoken of.
pub(super) struct Verdict {
    pub(super) scope: Scope,
    pub(super) epoch: Arc<HelperEpoch>,
    pub(super) binding: Binding,
    pub(super) hop: u16,
    pub(super) queued: Duration,
    pub(super) since: Instant,
    pub(super) accepted: Result<Accepted, ProtocolError>,
}

impl Flight {
    /// An inference that begins now.
    pub(super) fn new(
        (dealt, material): (Dealt, u64),
        epoch: Arc<HelperEpoch>,
        client: Peer,
        binding: Binding,
        limits: &Limits,
    ) -> Self {
        let checks = epoch.parties().all().map(|_| None).collect();
        let since = clock::now();
        let until = since + limits.checks();
        let queued = Duration::ZERO;
        Flight { dealt, epoch, material, client, binding, checks, hop: 0, queued, since, until }
    }

    pub(super) fn scope(&self) -> Scope {
        self.dealt.scope()
    }

    pub(super) fn client(&self) -> &Peer {
        &self.client
    }

    /// Inputs.
    pub(super) fn batch(&self) -> usize {
        self.dealt.batch()
    }

    /// Whether verdicts of its epoch may be given.
    pub(super) fn usable(&self) -> Result<(), ProtocolError> {
        self.epoch.usable()
    }

    /// Bytes of its material at a party.
    pub(super) fn material(&self) -> u64 {
        self.material
    }

    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// When it is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    pub(super) fn header(&self, kind: Kind) -> Header {
        Header::new(kind, self.scope(), 0)
    }

    /// What only the bound client, over its own channel, learns: the seeds of the input's mask, and
    /// its keys.
    pub(super) fn ticket(&self) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
        let keys = self.dealt.authentication(FIRST_RECIPIENT).encode();
        let grant = TicketGrant { binding: self.binding.clone(), seeds: self.dealt.grant().encode(), keys };
        Ok(Zeroizing::new(control::encode(&grant)?))
    }

    /// What a further receiver, by its number, learns over its own channel.
    pub(super) fn invitation(&self, receiver: u32) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
        let keys = self.dealt.authentication(receiver).encode();
        let invitation = Invitation { binding: self.binding.clone(), keys };
        Ok(Zeroizing::new(control::encode(&invitation)?))
    }

    /// Why the inference ends, when that is what this means. Of a party that still lacks messages
    /// of others, the helper would have heard.
    pub(super) fn ended_by(
        &self,
        incoming: &Incoming,
        parties: &[Peer],
        in_flight: impl Fn(InferenceId) -> bool,
    ) -> Option<NodeError> {
        let this = self.scope();
        if matches!(incoming, Incoming::Message(m) if m.header.scope() != this)
            || !concerns(incoming, this.id, in_flight)
        {
            return None;
        }
        let missing = self.checks.iter().position(Option::is_none).unwrap_or(0);
        let wait = Wait { from: &parties[missing], step: &Step::Check, since: self.since, until: self.until };
        wait.ended_by(incoming, |peer| match peer {
            Peer::Party(_) => Part::Needed,
            Peer::Helper | Peer::Owner | Peer::Client(_) => Part::Bystander,
        })
    }

    /// Takes a party's message; true once all have spoken.
    pub(super) fn check(&mut self, from: PartyId, message: &Received) -> Result<bool, ProtocolError> {
        let receivers = self.binding.receivers.len();
        let shape = self.epoch.check_shape(self.dealt.batch(), receivers);
        let decoded = CheckMessage::decode(&shape, from, message.body())?;
        let slot = &mut self.checks[from.index()];
        if slot.is_some() {
            return Err(ProtocolError::peer(from, Step::Check, Fault::Duplicate("check message".into())));
        }
        *slot = Some(decoded);
        self.hop = self.hop.max(message.header.hop);
        Ok(self.checks.iter().all(Option::is_some))
    }

    /// Decides, once all have spoken.
    pub(super) fn decide(self) -> Verdict {
        let Flight { dealt, epoch, binding, checks, hop, queued, since, .. } = self;
        let scope = dealt.scope();
        let checks: Vec<CheckMessage> = checks.into_iter().flatten().collect();
        let accepted = epoch.verify(dealt, &checks);
        Verdict { scope, epoch, binding, hop, queued, since, accepted }
    }
}
