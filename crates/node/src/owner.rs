//! The model owner over links: masks its weights and gives them to the parties.
//!
//! A load goes on over new links when some break: the owner asks a party how much it has, and says
//! the same again from there on.

mod upload;

pub use upload::Progress;

use crate::bounds::{Bounds, Unread};
use crate::connect::InboxHandles;
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, Received, Want};
use crate::{Limits, NodeError, Peer};
use amicus_client::load::{self, Loading, WeightSource};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::Plan;
use amicus_protocol::control;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Parties, ProtocolError, Scope, Step};
use std::sync::Arc;
use std::time::Instant;
use upload::Upload;

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
        self.load_watched(weights, &mut |_| ())
    }

    /// [`OwnerNode::load`], which tells how far it is.
    ///
    /// # Errors
    /// Those of [`OwnerNode::load`].
    pub fn load_watched<W: WeightSource + ?Sized>(
        &mut self,
        weights: &W,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<LoadedModel, NodeError> {
        let loading = self.granted()?;
        let scope = loading.scope();
        let mut upload = Upload::new(&self.plan, self.parties, loading, weights)?;
        match self.upload(&mut upload, watch) {
            Ok(()) => Ok(LoadedModel { epoch: scope.epoch, fingerprint: upload.fingerprint() }),
            Err(error) => {
                if !matches!(&error, NodeError::Protocol(ProtocolError::Aborted { .. })) {
                    self.give_up(scope, &error);
                }
                Err(error)
            }
        }
    }

    /// Asks for a load.
    fn granted(&mut self) -> Result<Loading, NodeError> {
        let deadline = clock::now() + self.limits.load_granted();
        let everybody: Vec<Peer> = self.parties.all().map(Peer::Party).chain([Peer::Helper]).collect();
        self.inbox.wait_for(&everybody, &Step::load_part("request"), deadline)?;
        // Links that come from now on are new ones.
        self.inbox.take_arrived();
        let request = load::request(&self.plan)?;
        self.inbox.send(&Peer::Helper, request.header, &request.body)?;
        let grant = self.grant(deadline)?;
        let (plan, header, body) = (Arc::clone(&self.plan), &grant.header, grant.body());
        self.last = grant.header.scope();
        Ok(Loading::granted(plan, self.parties, header, body, &mut OperatingSystem)?)
    }

    /// The helper's grant. Only its abort counts.
    fn grant(&mut self, deadline: Instant) -> Result<Received, NodeError> {
        let (last, step) = (self.last, Step::load_part("request"));
        let wait = Wait::new(&Peer::Helper, &step, deadline);
        self.inbox.exchange(
            &wait,
            |_| Part::Needed,
            |peer, h| match (peer, h.kind) {
                _ if is_over(last, h) => Want::Drop,
                // About a load that this owner has no grant for: another owner's, which is failing.
                (_, Kind::Abort) if h.id != InferenceId(0) => Want::Drop,
                (Peer::Helper, Kind::Abort | Kind::LoadGrant) => Want::Take,
                // A party may be faster than the helper's grant.
                (Peer::Party(_), Kind::LoadReady) => Want::Keep,
                _ => Want::Drop,
            },
        )
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
}

/// Whether a message is of the last load, or one before it in its session.
fn is_over(last: Scope, h: &Header) -> bool {
    h.id > InferenceId(0) && h.session == last.session && h.id <= last.id
}
