//! The model owner on a machine of its own.

use super::seat::Seat;
use super::{Links, Role};
use crate::{Deployment, Error};
use amicus_client::load::WeightSource;
use amicus_net::Identity;
pub use amicus_node::owner::Progress as UploadProgress;
use amicus_node::owner::{LoadedModel, OwnerNode};
use amicus_plan::Plan;
use amicus_protocol::EpochId;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A model owner with links to helper and parties.
pub struct Owner {
    node: OwnerNode,
    links: Links,
}

/// A model that all parties have loaded and the helper has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The epoch that it is loaded in.
    pub epoch: EpochId,
    /// Its fingerprint in this epoch, which clients compare with what the parties say.
    pub fingerprint: ModelFingerprint,
}

/// A fingerprint of a model as it is loaded: weights, plan and epoch.
///
/// The owner tells it to clients over a channel that they trust; it is no secret but from the
/// helper. Written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModelFingerprint(pub [u8; 32]);

impl fmt::Display for ModelFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModelFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelFingerprint({self})")
    }
}

impl FromStr for ModelFingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let mut bytes = [0; 32];
        match digits {
            Some(digits) if digits.len() == 64 => {
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = pair[0] << 4 | pair[1];
                }
                Ok(ModelFingerprint(bytes))
            }
            _ => Err(Error::NoFingerprint { text: text.into() }),
        }
    }
}

impl Owner {
    /// Connects the owner of a deployment, for the model of a plan.
    ///
    /// # Errors
    /// A deployment that is none, an identity that is not the owner's, an invalid plan, a host that
    /// is not found.
    pub fn connect(
        deployment: &Deployment,
        identity: impl Into<Arc<Identity>>,
        plan: impl Into<Arc<Plan>>,
    ) -> Result<Self, Error> {
        let seat = Seat::find(deployment, identity.into(), Role::Owner)?;
        let node = OwnerNode::new(plan.into(), seat.parties, seat.limits)?;
        let links = Links::new();
        seat.dial_all(&links, node.inboxes())?;
        Ok(Owner { node, links })
    }

    /// Gives the masked model to the parties. Nodes that are not there yet are waited for.
    ///
    /// # Errors
    /// Nodes that do not come, a refusal or abort with its reason, weights that do not fit the
    /// plan.
    pub fn load<W: WeightSource + ?Sized>(&mut self, weights: &W) -> Result<Model, Error> {
        self.load_watched(weights, |_| ())
    }

    /// [`Owner::load`], which tells how far it is after every message. Where a link breaks, the load
    /// goes on over the next one, from what the node behind it has.
    ///
    /// # Errors
    /// Those of [`Owner::load`].
    pub fn load_watched<W: WeightSource + ?Sized>(
        &mut self,
        weights: &W,
        mut watch: impl FnMut(UploadProgress),
    ) -> Result<Model, Error> {
        let loaded =
            self.node.load_watched(weights, &mut watch).map_err(|error| self.links.explain(error))?;
        let LoadedModel { epoch, fingerprint } = loaded;
        Ok(Model { epoch, fingerprint: ModelFingerprint(fingerprint) })
    }

    pub(crate) fn of(node: OwnerNode, links: Links) -> Self {
        Owner { node, links }
    }
}
