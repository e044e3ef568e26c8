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
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
        mut watch: impl FnMut(UploadProgress),
    ) -> Result<Model, Error> {
        let fail = |error: ProtocolError| Error::from(NodeError::from(error));
        let (wire, plan, parties) = (&self.wire, &self.plan, self.parties);
        self.runtime.block_on(async {
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
            let fingerprint = match first(parts, &mut sealed).await {
                Ok(fingerprint) => fingerprint,
                Err(error) => {
                    sealed.abort();
                    return Err(error);
                }
            };
            sealed.await.map_err(|error| fail(ProtocolError::Internal(error.to_string())))??;
            Ok(Model { epoch: scope.epoch, fingerprint: ModelFingerprint(fingerprint) })
        })
    }
}

/// What `parts` gives, unless the helper says before that the load is given up.
async fn first<T>(
    parts: impl Future<Output = Result<T, Error>>,
    sealed: &mut tokio::task::JoinHandle<Result<(), Error>>,
) -> Result<T, Error> {
    let (mut parts, mut over) = (std::pin::pin!(parts), false);
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(parts) = parts.as_mut().poll(context) {
            return std::task::Poll::Ready(parts);
        }
        if !over && let std::task::Poll::Ready(word) = std::pin::Pin::new(&mut *sealed).poll(context) {
            over = true;
            if let Ok(Err(error)) = word {
                return std::task::Poll::Ready(Err(error));
            }
        }
        std::task::Poll::Pending
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
