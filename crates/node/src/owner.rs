//! The model owner over links: masks its weights and gives them to the parties.

use crate::bounds::{Bounds, Unread};
use crate::connect::InboxHandles;
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, Received, Want};
use crate::{Limits, NodeError, Peer};
use amicus_client::ToParties;
use amicus_client::load::{self, Loading, WeightSource};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::{Plan, WeightId};
use amicus_protocol::control;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Parties, Scope, Step};
use std::sync::Arc;
use std::time::Instant;

/// A model that all parties have loaded and the helper has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedModel {
    /// Its epoch.
    pub epoch: EpochId,
    /// Its fingerprint, for clients to compare with what the parties say.
    pub fingerprint: [u8; 32],
}

/// A model owner with its links. Links are delivered to [`OwnerNode::inboxes`].
pub struct OwnerNode {
    plan: Arc<Plan>,
    parties: Parties,
    inbox: Inbox,
    inboxes: InboxHandles,
    limits: Limits,
    /// The last load that the helper granted: what is still said of it is no answer to a new
    /// request.
    last: Scope,
}

impl OwnerNode {
    /// An owner without links.
    ///
    /// # Errors
    /// An invalid plan, or no handle to wait on.
    pub fn new(plan: Arc<Plan>, parties: Parties, limits: Limits) -> Result<Self, NodeError> {
        let mut inbox = Inbox::new(crate::limits::online(&plan, 1)?)?;
        // It says only what it wants to say itself, and waits until each part has left.
        inbox.set_bounds(Bounds { unread: Unread::ANY, ..crate::bounds::online(&plan, 1)? });
        let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
        let limits = limits.for_plan(&plan)?;
        Ok(OwnerNode { plan, parties, inbox, inboxes, limits, last: Scope::NONE })
    }

    /// Where links are delivered.
    pub fn inboxes(&self) -> &InboxHandles {
        &self.inboxes
    }

    /// Loads the model: masked weights, part by part, to every party. Returns once the helper has
    /// checked the tags.
    ///
    /// # Errors
    /// A refusal or abort with its reason; weights that do not fit the plan.
    pub fn load<W: WeightSource + ?Sized>(&mut self, weights: &W) -> Result<LoadedModel, NodeError> {
        let deadline = clock::now() + self.limits.load_granted();
        let parties: Vec<Peer> = self.parties.all().map(Peer::Party).collect();
        let everybody: Vec<Peer> = parties.iter().cloned().chain([Peer::Helper]).collect();
        self.inbox.wait_for(&everybody, &Step::load_part("request"), deadline)?;
        let request = load::request(&self.plan)?;
        self.inbox.send(&Peer::Helper, request.header, &request.body)?;
        let grant = self.next_of(&Peer::Helper, deadline, Kind::LoadGrant, None)?;
        let deadline = clock::now() + self.limits.load_by_helper();
        let (plan, header, body) = (Arc::clone(&self.plan), &grant.header, grant.body());
        self.last = grant.header.scope();
        let loading = Loading::granted(plan, self.parties, header, body, &mut OperatingSystem)?;
        let scope = loading.scope();
        let nonce = loading.nonce();
        let patience = clock::now() + self.limits.load_by_owner();
        for party in &parties {
            // Until it has its keys, a party could only pile weights up.
            let ready = self.next_of(party, patience, Kind::LoadReady, Some(scope));
            if let Err(error) = ready {
                self.give_up(scope, &error);
                return Err(error);
            }
        }
        self.send_to_parties(&nonce)?;
        let mut fingerprint = loading.fingerprint()?;
        for id in (0..self.plan.weights.len() as u32).map(WeightId) {
            let mut of_tensor = loading.tensor_fingerprint(id);
            for part in loading.tensor(id, weights) {
                let part = part?;
                of_tensor.part(part.body());
                self.send_to_parties(&part)?;
                // One part at a time: masked weights are not all held in memory.
                self.inbox.flush(deadline)?;
            }
            fingerprint.tensor(&of_tensor.finish());
        }
        self.next_of(&Peer::Helper, deadline, Kind::LoadAccepted, Some(scope))?;
        Ok(LoadedModel { epoch: scope.epoch, fingerprint: fingerprint.finish().0 })
    }

    fn send_to_parties(&mut self, message: &ToParties) -> Result<(), NodeError> {
        for party in self.parties.all() {
            self.inbox.send_in_parts(&Peer::Party(party), message.header(), message.parts(party))?;
        }
        Ok(())
    }

    /// Tells the helper who holds up the load: parties that wait for weights would blame the owner.
    fn give_up(&mut self, scope: Scope, error: &NodeError) {
        let notice = error.notice(&Step::load_part("request"));
        if let Ok(body) = control::encode(&notice) {
            // A helper that is gone needs not be told.
            self.inbox.send(&Peer::Helper, Header::new(Kind::Abort, scope, 0), &body).ok();
            self.inbox.flush(clock::now() + self.limits.round).ok();
        }
    }

    /// The next message of a kind from a peer; others of that kind are kept. Only the helper's
    /// abort counts.
    fn next_of(
        &mut self,
        from: &Peer,
        deadline: Instant,
        kind: Kind,
        scope: Option<Scope>,
    ) -> Result<Received, NodeError> {
        let (last, step) = (self.last, Step::load_part("request"));
        let wait = Wait::new(from, &step, deadline);
        self.inbox.exchange(
            &wait,
            |_| Part::Needed,
            |peer, h| match h.kind {
                _ if scope.map_or(is_over(last, h), |scope| scope != h.scope()) => Want::Drop,
                // About a load that this owner has no grant for: another owner's, which is failing.
                Kind::Abort if scope.is_none() && h.id != InferenceId(0) => Want::Drop,
                Kind::Abort if *peer == Peer::Helper => Want::Take,
                k if k == kind && peer == from => Want::Take,
                // A party may be faster than the helper's grant.
                Kind::LoadReady => Want::Keep,
                _ => Want::Drop,
            },
        )
    }
}

/// Whether a message is of the last load, or one before it in its session.
fn is_over(last: Scope, h: &Header) -> bool {
    h.id > InferenceId(0) && h.session == last.session && h.id <= last.id
}
