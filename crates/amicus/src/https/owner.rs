//! A model owner with tokens.

use super::client::runtime;
use super::tokens::Tokens;
use super::wire::Wire;
use crate::roles::{Model, ModelFingerprint, UploadProgress};
use crate::{Deployment, Error};
use amicus_client::ToParties;
use amicus_client::https::{self, Call};
use amicus_client::load::{self, Loading, WeightSource};
use amicus_field::OperatingSystem;
use amicus_node::{NodeError, Peer, limits};
use amicus_plan::{Plan, WeightId};
use amicus_protocol::wire::Kind;
use amicus_protocol::{Parties, ProtocolError};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How often a request over a line that breaks is said again.
const ATTEMPTS: u32 = 30;
/// How long to wait before that, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A model owner that talks to every node's public port, with a token for each.
pub struct HttpsOwner {
    runtime: Runtime,
    wire: Arc<Wire>,
    plan: Arc<Plan>,
    parties: Parties,
}

impl HttpsOwner {
    /// An owner of the model of a plan.
    ///
    /// # Errors
    /// A deployment without public addresses, an invalid plan.
    pub fn connect(
        deployment: &Deployment,
        tokens: &Tokens,
        plan: impl Into<Arc<Plan>>,
    ) -> Result<Self, Error> {
        let plan = plan.into();
        deployment.check()?;
        let wire = Arc::new(Wire::new(deployment, tokens, limits::online(&plan, 1)?)?);
        Ok(HttpsOwner { runtime: runtime()?, wire, plan, parties: deployment.count()? })
    }

    /// Gives the masked model to the parties. A connection that breaks meanwhile is made anew, and
    /// the same bytes are said again; `watch` hears how far it is.
    ///
    /// # Errors
    /// A refusal or abort with its reason, nodes that stay away, weights that do not fit the plan.
    pub fn load<W: WeightSource + ?Sized>(
        &mut self,
        weights: &W,
        watch: impl FnMut(UploadProgress),
    ) -> Result<Model, Error> {
        match self.load_unless(weights, watch, std::future::pending())? {
            Some(model) => Ok(model),
            None => Err(NodeError::Stopped.into()),
        }
    }

    /// [`HttpsOwner::load`], which is given up, with none, when `end` comes first; what of the model
    /// is there already the nodes forget.
    ///
    /// # Errors
    /// Those of [`HttpsOwner::load`].
    pub fn load_unless<W: WeightSource + ?Sized>(
        &mut self,
        weights: &W,
        mut watch: impl FnMut(UploadProgress),
        end: impl Future<Output = ()>,
    ) -> Result<Option<Model>, Error> {
        let fail = |error: ProtocolError| Error::from(NodeError::from(error));
        let (wire, plan, parties) = (&self.wire, &self.plan, self.parties);
        let load = async {
            let request = load::request(plan).map_err(fail)?;
            let grant = again(wire, &https::ask_load(&request)).await?;
            let header = https::granted(&Peer::Helper, Kind::LoadGrant, grant.id.as_deref()).map_err(fail)?;
            let loading =
                Loading::granted(Arc::clone(plan), parties, &header, &grant.body, &mut OperatingSystem);
            let loading = loading.map_err(fail)?;
            let scope = loading.scope();
            // The helper's word ends it, whenever it comes.
            let (sealing, seal) = (Arc::clone(wire), https::seal(scope));
            let mut sealed = tokio::spawn(async move { again(&sealing, &seal).await.map(drop) });
            let parts = async {
                each(wire, parties.all().map(|party| https::announce(party, scope))).await?;
                put(wire, parties, &loading.nonce(), 0).await?;
                let mut fingerprint = loading.fingerprint().map_err(fail)?;
                let all = plan.weights.iter().map(|spec| amicus_plan::weights::parts(spec).len());
                let (mut given, of) = (0, all.sum());
                for id in (0..plan.weights.len() as u32).map(WeightId) {
                    let mut of_tensor = loading.tensor_fingerprint(id);
                    for (number, part) in (0..).zip(loading.tensor(id, weights)) {
                        let part = part.map_err(fail)?;
                        of_tensor.part(part.body());
                        put(wire, parties, &part, number).await?;
                        given += 1;
                        watch(UploadProgress { given, of, resumed: wire.resumed.load(Ordering::Relaxed) });
                    }
                    fingerprint.tensor(&of_tensor.finish());
                }
                Ok::<_, Error>(fingerprint.finish().0)
            };
            let fingerprint = both(parts, &mut sealed).await;
            if fingerprint.is_err() {
                sealed.abort();
            }
            let fingerprint = fingerprint?;
            Ok(Model { epoch: scope.epoch, fingerprint: ModelFingerprint(fingerprint) })
        };
        self.runtime.block_on(async {
            let (mut load, mut end) = (std::pin::pin!(load), std::pin::pin!(end));
            std::future::poll_fn(|context| match load.as_mut().poll(context) {
                Poll::Ready(loaded) => Poll::Ready(loaded.map(Some)),
                Poll::Pending => end.as_mut().poll(context).map(|()| Ok(None)),
            })
            .await
        })
    }
}

/// What `parts` gives, once the helper has accepted the load, which may be before the last answer of a
/// party is here; the first error of either ends it.
async fn both<T>(
    parts: impl Future<Output = Result<T, Error>>,
    sealed: &mut tokio::task::JoinHandle<Result<(), Error>>,
) -> Result<T, Error> {
    let mut parts = std::pin::pin!(parts);
    let (mut given, mut accepted) = (None, false);
    std::future::poll_fn(|context| {
        if given.is_none()
            && let Poll::Ready(parts) = parts.as_mut().poll(context)
        {
            match parts {
                Ok(parts) => given = Some(parts),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if !accepted && let Poll::Ready(word) = Pin::new(&mut *sealed).poll(context) {
            match word {
                Ok(Ok(())) => accepted = true,
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(error) => {
                    let error = ProtocolError::Internal(error.to_string());
                    return Poll::Ready(Err(NodeError::from(error).into()));
                }
            }
        }
        given.take_if(|_| accepted).map_or(Poll::Pending, |given| Poll::Ready(Ok(given)))
    })
    .await
}

/// Gives all parties a part.
async fn put(wire: &Arc<Wire>, parties: Parties, part: &ToParties, number: u32) -> Result<(), Error> {
    each(wire, parties.all().map(|party| https::put_part(party, part, number))).await
}

/// Sends requests at the same time, until all are answered.
async fn each(wire: &Arc<Wire>, calls: impl Iterator<Item = Call>) -> Result<(), Error> {
    let mut asked = JoinSet::new();
    for call in calls {
        let wire = Arc::clone(wire);
        asked.spawn(async move { again(&wire, &call).await.map(drop) });
    }
    while let Some(joined) = asked.join_next().await {
        joined.map_err(|error| NodeError::from(ProtocolError::Internal(error.to_string())))??;
    }
    Ok(())
}

/// Sends a request, and the same bytes again when the line breaks: that changes nothing at a node
/// that has them.
async fn again(wire: &Wire, call: &Call) -> Result<super::wire::Answer, Error> {
    let mut pause = PAUSE.0;
    for _ in 1..ATTEMPTS {
        match wire.call(call).await {
            Err(Error::Https { .. }) => {}
            answered => return answered,
        }
        wire.resumed.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
    wire.call(call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong() -> Error {
        Error::NoImages
    }

    #[test]
    fn a_load_ends_when_both_are_done_or_one_fails() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let later = |seconds| tokio::time::sleep(Duration::from_millis(20 * seconds));
        let run = |parts: (u64, bool), helper: (u64, bool)| {
            runtime.block_on(async {
                let answer = |good: bool| if good { Ok(()) } else { Err(wrong()) };
                let mut sealed = tokio::spawn(async move {
                    later(helper.0).await;
                    answer(helper.1)
                });
                let parts = async {
                    later(parts.0).await;
                    answer(parts.1)
                };
                both(parts, &mut sealed).await.is_ok()
            })
        };
        // The helper's word comes before the last answer of a party, with it, and after it.
        for (parts, helper) in [(1, 0), (0, 0), (0, 1)] {
            for good in [(true, true), (true, false), (false, true), (false, false)] {
                assert_eq!(run((parts, good.0), (helper, good.1)), good == (true, true), "{parts} {good:?}");
            }
        }
    }
}
