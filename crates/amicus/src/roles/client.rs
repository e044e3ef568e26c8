//! A client on a machine of its own.

use super::owner::ModelFingerprint;
use super::seat::Seat;
use super::{Links, Role};
use crate::{Deployment, Error};
use amicus_net::Identity;
use amicus_node::Served;
use amicus_node::client::ClientNode;
use amicus_plan::{Plan, quantize_input};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A client with links to helper and parties.
pub struct Client {
    node: ClientNode,
    plan: Arc<Plan>,
    links: Links,
}

/// Which model a client takes answers of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The one that its owner named.
    Model(ModelFingerprint),
    /// Whichever the parties have loaded, the same at all of them.
    Any,
}

impl Expected {
    /// The fingerprint that was found, if it is as expected.
    pub(crate) fn is_met_by(self, found: ModelFingerprint) -> Result<ModelFingerprint, Error> {
        match self {
            Expected::Model(expected) if found != expected => Err(Error::OtherModel { found, expected }),
            Expected::Model(_) | Expected::Any => Ok(found),
        }
    }
}

/// Images of one inference as the network's integers, one after the other.
///
/// # Errors
/// No images, or one that the network does not take.
pub(crate) fn input_of(plan: &Plan, images: &[&[f32]]) -> Result<Zeroizing<Vec<i64>>, Error> {
    if images.is_empty() {
        return Err(Error::NoImages);
    }
    // It never grows, which would leave copies behind.
    let mut input = Zeroizing::new(Vec::with_capacity(images.iter().map(|image| image.len()).sum()));
    for image in images {
        input.extend_from_slice(&Zeroizing::new(quantize_input(plan, image)?));
    }
    Ok(input)
}

/// An answer to one image: what the network says of it, for its client alone.
#[derive(Clone, PartialEq)]
pub struct Answer {
    logits: Zeroizing<Vec<f64>>,
    class: Zeroizing<usize>,
    labels: bool,
    outside: Option<bool>,
}

impl Answer {
    /// What one input's revealed numbers say.
    pub(crate) fn of(plan: &Plan, revealed: &[f64]) -> Self {
        let (logits, outside) = plan.answer(revealed);
        let class = Zeroizing::new(plan.class(logits));
        Answer {
            logits: Zeroizing::new(logits.to_vec()),
            class,
            labels: plan.output.reveal.is_some(),
            outside,
        }
    }

    /// The network's outputs; where the plan reveals labels only, these as numbers.
    pub fn logits(&self) -> &[f64] {
        &self.logits
    }

    /// Whether some hidden value left what the network was compiled for: then the outputs may be
    /// wrong, although nobody cheated. `None` where the plan does not look.
    pub fn outside(&self) -> Option<bool> {
        self.outside
    }

    /// The class of the largest output: the first label where the plan reveals labels only.
    pub fn class(&self) -> usize {
        *self.class
    }

    /// Labels of the largest outputs, the best first, where the plan reveals them and no outputs: of
    /// every place in turn if there are several places ([`amicus_plan::Reveal`]).
    pub fn labels(&self) -> Option<Zeroizing<Vec<usize>>> {
        self.labels.then(|| Zeroizing::new(self.logits.iter().map(|&label| label as usize).collect()))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It belongs into no log.
        f.debug_struct("Answer").field("logits", &self.logits.len()).finish()
    }
}

impl Client {
    /// Connects the client that the deployment knows by this identity, and compares what the
    /// parties say of their model with what is expected.
    ///
    /// # Errors
    /// A deployment that is none, an identity of no client, an invalid plan, a host that is not
    /// found, parties that do not answer, have no model or another one.
    pub fn connect(
        deployment: &Deployment,
        identity: impl Into<Arc<Identity>>,
        plan: impl Into<Arc<Plan>>,
        expected: Expected,
    ) -> Result<Self, Error> {
        let seat = Seat::find(deployment, identity.into(), Role::Client)?;
        let Served { plan, max_batch, .. } = seat.served(plan.into());
        let node = ClientNode::new(Arc::clone(&plan), seat.parties, max_batch, seat.limits)?;
        let links = Links::new();
        seat.dial_all(&links, node.inboxes())?;
        Client::of(node, plan, links, expected)
    }

    pub(crate) fn of(
        node: ClientNode,
        plan: Arc<Plan>,
        links: Links,
        expected: Expected,
    ) -> Result<Self, Error> {
        let mut client = Client { node, plan, links };
        client.compare(expected)?;
        Ok(client)
    }

    /// Compares again, after the model was loaded anew: until then no image leaves this client.
    ///
    /// # Errors
    /// Parties that do not answer, have no model or another one.
    pub fn compare(&mut self, expected: Expected) -> Result<ModelFingerprint, Error> {
        let found = self.node.fingerprint().map_err(|error| self.links.explain(error))?;
        expected.is_met_by(ModelFingerprint(found))
    }

    /// Has one image classified: numbers as the network takes them.
    ///
    /// # Errors
    /// An image that the network does not take; an inference that was refused or given up, with its
    /// reason; a cheat, after which nothing was released ([`Error::is_rejection`]).
    pub fn infer(&mut self, image: &[f32]) -> Result<Answer, Error> {
        let answers = self.infer_batch(&[image])?;
        answers.into_iter().next().ok_or(Error::NoImages)
    }

    /// Has several images classified in one inference, which takes fewer bytes and less time than
    /// one after the other.
    ///
    /// # Errors
    /// Those of [`Client::infer`], no images, or more than the deployment allows.
    pub fn infer_batch(&mut self, images: &[&[f32]]) -> Result<Vec<Answer>, Error> {
        let input = input_of(&self.plan, images)?;
        let batch = u32::try_from(images.len()).unwrap_or(u32::MAX);
        let inferred = self
            .node
            .request(batch, &[])
            .and_then(|admission| self.node.infer(admission, &input))
            .map_err(|error| self.links.explain(error))?;
        let logits = Zeroizing::new(inferred.logits);
        let each = logits.len() / images.len();
        Ok(logits.chunks(each.max(1)).map(|revealed| Answer::of(&self.plan, revealed)).collect())
    }
}
