//! A client with tokens.

use super::tokens::{Tokens, nodes};
use super::wire::{self, Wire};
use crate::roles::{Answer, Expected, ModelFingerprint, input_of};
use crate::{Deployment, Error};
use amicus_client::https::{self, Call, Info};
use amicus_client::inference::PendingRequest;
use amicus_client::served;
use amicus_field::OperatingSystem;
use amicus_node::{Limits, NodeError, Peer, limits};
use amicus_plan::{Plan, PlanDigest, encoding};
use amicus_protocol::wire::Kind;
use amicus_protocol::{EpochId, Parties, PartyId, ProtocolError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// How long to wait before a node that is away is asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a client that ends waits until nodes know what it has.
const FAREWELL: Duration = Duration::from_secs(2);

/// A client with tokens whose inferences are futures, for programs that have a runtime of tokio;
/// [`HttpsClient`] is the same with a runtime of its own. Any number of them may be awaited at a
/// time; one that is dropped is given up.
#[derive(Clone)]
pub struct AsyncHttpsClient {
    core: Arc<Core>,
}

/// A client that talks to every node's public port, with a token for each. Requests are the
/// messages of [`amicus_client`]; there is no gateway, and no node sees what another is sent.
pub struct HttpsClient {
    runtime: Runtime,
    client: AsyncHttpsClient,
}

struct Core {
    wire: Wire,
    plan: Arc<Plan>,
    digest: PlanDigest,
    parties: Parties,
    /// How long an inference may take.
    patience: Duration,
    /// The epoch whose fingerprint was compared.
    compared: Mutex<Option<EpochId>>,
    /// Acknowledgements on their way.
    farewells: Mutex<JoinSet<()>>,
}

/// A runtime on the calling thread: requests to all nodes go on at the same time, without threads.
pub(super) fn runtime() -> Result<Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|error| Error::Https { node: Peer::Helper, reason: error.to_string() })
}

/// What all nodes say of themselves, the helper first.
pub(super) async fn infos(wire: &Arc<Wire>, nodes: Vec<Peer>) -> Result<Vec<Info>, Error> {
    let mut asked = JoinSet::new();
    for (at, node) in nodes.into_iter().enumerate() {
        let wire = Arc::clone(wire);
        asked.spawn(async move { (at, info(&wire, node).await) });
    }
    let mut infos = Vec::new();
    while let Some(joined) = asked.join_next().await {
        let (at, info) = joined.map_err(|error| lost(&error))?;
        infos.push((at, info?));
    }
    infos.sort_by_key(|(at, _)| *at);
    Ok(infos.into_iter().map(|(_, info)| info).collect())
}

async fn info(wire: &Wire, node: Peer) -> Result<Info, Error> {
    let answer = wire.call(&https::info(node.clone())).await?;
    let info: Info = serde_json::from_slice(&answer.body).map_err(|error| Error::Https {
        node: node.clone(),
        reason: format!("what it says of itself: {error}"),
    })?;
    served::speaks(&node, &info).map_err(|reason| Error::Https { node, reason })?;
    Ok(info)
}

fn lost(error: &tokio::task::JoinError) -> Error {
    NodeError::from(ProtocolError::Internal(error.to_string())).into()
}

/// Takes the public plan of a model from a node; the digest says that it is the right one.
///
/// # Errors
/// Nodes that do not answer, or do not serve the model; a plan that is another.
pub fn fetch_plan(deployment: &Deployment, tokens: &Tokens, model: &str) -> Result<Plan, Error> {
    runtime()?.block_on(fetch_plan_async(deployment, tokens, model))
}

/// [`fetch_plan`] as a future.
///
/// # Errors
/// Those of [`fetch_plan`].
pub async fn fetch_plan_async(deployment: &Deployment, tokens: &Tokens, model: &str) -> Result<Plan, Error> {
    let wire = Arc::new(Wire::new(deployment, tokens, encoding::MAX_BYTES)?);
    let all = nodes(deployment)?;
    let parties = all[1..].to_vec();
    let said = infos(&wire, parties.clone()).await?;
    let digest = served::plan_of(model, deployment.count()?.all().zip(&said))
        .map_err(|(party, reason)| Error::Https { node: Peer::Party(party), reason })?
        .to_owned();
    let listed = deployment.models.get(model).map(|listed| listed.plan.to_string());
    let differs = |reason: &str| Error::Https { node: parties[0].clone(), reason: reason.into() };
    if listed.is_some_and(|listed| listed != digest) {
        return Err(differs("its plan of the model is not the one that the cluster's file has"));
    }
    let answer = wire.call(&https::plan(parties[0].clone(), &digest)).await?;
    let plan = Plan::decode(&answer.body)?;
    match plan.digest()?.to_string() == digest {
        true => Ok(plan),
        false => Err(differs("its plan has another digest than it says")),
    }
}

impl AsyncHttpsClient {
    /// Connects to the public ports of a deployment, and compares what the parties say of their
    /// model with what is expected.
    ///
    /// # Errors
    /// A deployment without public addresses, tokens that are refused, an invalid plan, parties that
    /// do not answer, have no model or another one.
    pub async fn connect(
        deployment: &Deployment,
        tokens: &Tokens,
        plan: impl Into<Arc<Plan>>,
        expected: Expected,
    ) -> Result<Self, Error> {
        let plan = plan.into();
        deployment.check()?;
        let parties = deployment.count()?;
        let longest = limits::online(&plan, deployment.max_batch(&plan))?;
        let wire = Wire::new(deployment, tokens, longest)?;
        let digest = plan.digest()?;
        let Limits { round, inference, .. } = deployment.patience();
        let (patience, compared, farewells) = (inference + 3 * round, Mutex::default(), Mutex::default());
        let core = Core { wire, plan, digest, parties, patience, compared, farewells };
        let client = AsyncHttpsClient { core: Arc::new(core) };
        client.compare(expected).await?;
        Ok(client)
    }

    /// Compares again, after the model was loaded anew: until then no image leaves this client.
    ///
    /// # Errors
    /// Parties that do not answer, have no model or another one.
    pub async fn compare(&self, expected: Expected) -> Result<ModelFingerprint, Error> {
        expected.is_met_by(ModelFingerprint(self.core.fingerprint().await?))
    }

    /// The plan of the model.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.core.plan
    }

    /// Has several images classified in one inference: numbers as the network takes them.
    ///
    /// # Errors
    /// Images that the network does not take, none, or more than the deployment allows; an inference
    /// that was refused or given up, with its reason.
    pub async fn infer_batch(&self, images: &[&[f32]]) -> Result<Vec<Answer>, Error> {
        let input = input_of(&self.core.plan, images)?;
        self.infer(images.len(), &input).await
    }

    async fn infer(&self, batch: usize, input: &[i64]) -> Result<Vec<Answer>, Error> {
        let (answers, said) = self.core.infer(batch, input).await?;
        let mut farewells = self.core.farewells.lock().unwrap_or_else(PoisonError::into_inner);
        while farewells.try_join_next().is_some() {}
        // Nodes need not keep release and outputs any more, which they are told while the client goes
        // on.
        for farewell in said {
            let core = Arc::clone(&self.core);
            farewells.spawn(async move { drop(core.wire.call(&farewell).await) });
        }
        Ok(answers)
    }

    /// Waits a little until nodes know which answers are here, before a runtime ends.
    pub async fn farewell(&self) {
        let mut farewells =
            std::mem::take(&mut *self.core.farewells.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while farewells.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}

impl HttpsClient {
    /// Connects to the public ports of a deployment, and compares what the parties say of their
    /// model with what is expected.
    ///
    /// # Errors
    /// Those of [`AsyncHttpsClient::connect`].
    pub fn connect(
        deployment: &Deployment,
        tokens: &Tokens,
        plan: impl Into<Arc<Plan>>,
        expected: Expected,
    ) -> Result<Self, Error> {
        let runtime = runtime()?;
        let client = runtime.block_on(AsyncHttpsClient::connect(deployment, tokens, plan, expected))?;
        Ok(HttpsClient { runtime, client })
    }

    /// Compares again, after the model was loaded anew: until then no image leaves this client.
    ///
    /// # Errors
    /// Parties that do not answer, have no model or another one.
    pub fn compare(&self, expected: Expected) -> Result<ModelFingerprint, Error> {
        self.runtime.block_on(self.client.compare(expected))
    }

    /// Has one image classified: numbers as the network takes them.
    ///
    /// # Errors
    /// An image that the network does not take; an inference that was refused or given up, with its
    /// reason.
    pub fn infer(&mut self, image: &[f32]) -> Result<Answer, Error> {
        let answers = self.infer_batch(&[image])?;
        answers.into_iter().next().ok_or(Error::NoImages)
    }

    /// Has several images classified in one inference.
    ///
    /// # Errors
    /// Those of [`HttpsClient::infer`], no images, or more than the deployment allows.
    pub fn infer_batch(&mut self, images: &[&[f32]]) -> Result<Vec<Answer>, Error> {
        self.runtime.block_on(self.client.infer_batch(images))
    }

    /// Has many images classified, so many at a time, each in an inference of its own; `done` hears
    /// of every answer with the number of its image, in the order in which they come.
    ///
    /// # Errors
    /// The first that fails; no further ones begin then.
    pub fn infer_all(
        &mut self,
        images: &[&[f32]],
        at_a_time: usize,
        mut done: impl FnMut(usize, Answer),
    ) -> Result<(), Error> {
        let inputs: Vec<Arc<Zeroizing<Vec<i64>>>> = images
            .iter()
            .map(|image| Ok(Arc::new(input_of(self.client.plan(), &[*image])?)))
            .collect::<Result<_, Error>>()?;
        let client = &self.client;
        self.runtime.block_on(async {
            let next = AtomicUsize::new(0);
            let mut running = JoinSet::new();
            let begin = |running: &mut JoinSet<_>| {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if let Some(input) = inputs.get(at).cloned() {
                    let client = client.clone();
                    running.spawn(async move { (at, client.infer(1, &input).await) });
                }
            };
            (0..at_a_time.max(1)).for_each(|_| begin(&mut running));
            while let Some(joined) = running.join_next().await {
                let (at, inferred) = joined.map_err(|error| lost(&error))?;
                inferred?.into_iter().for_each(|answer| done(at, answer));
                begin(&mut running);
            }
            Ok(())
        })
    }
}

impl Drop for HttpsClient {
    fn drop(&mut self) {
        self.runtime.block_on(self.client.farewell());
    }
}

impl Core {
    /// The fingerprint that all parties tell.
    async fn fingerprint(self: &Arc<Self>) -> Result<[u8; 32], Error> {
        let mut asked = JoinSet::new();
        for party in self.parties.all() {
            let core = Arc::clone(self);
            asked.spawn(async move { (party, info(&core.wire, Peer::Party(party)).await) });
        }
        let mut infos = Vec::new();
        while let Some(joined) = asked.join_next().await {
            infos.push(joined.map_err(|error| lost(&error))?);
        }
        infos.sort_by_key(|(party, _)| *party);
        let said: Vec<(PartyId, Info)> =
            infos.into_iter().map(|(party, said)| Ok((party, said?))).collect::<Result<_, Error>>()?;
        let each = said.iter().map(|(party, info)| (*party, info));
        let (epoch, digest) = served::fingerprint(&self.digest, each).map_err(NodeError::from)?;
        *self.compared.lock().unwrap_or_else(PoisonError::into_inner) = Some(epoch);
        Ok(digest.0)
    }

    /// Asks, again and again while the node is away, until the inference can have no answer any more.
    async fn wait(&self, call: &Call, since: Instant) -> Result<wire::Answer, Error> {
        loop {
            match self.wire.call(call).await {
                Err(Error::Https { .. }) if since.elapsed() < self.patience => {
                    tokio::time::sleep(PAUSE).await
                }
                answered => return answered,
            }
        }
    }

    /// One inference; also what to tell nodes when it is over.
    async fn infer(self: &Arc<Self>, batch: usize, x: &[i64]) -> Result<(Vec<Answer>, Vec<Call>), Error> {
        let fail = |error: ProtocolError| Error::from(NodeError::from(error));
        let images = u32::try_from(batch).unwrap_or(u32::MAX);
        let pending = PendingRequest::new(Arc::clone(&self.plan), self.parties, images, Vec::new());
        let (pending, request) = pending.map_err(fail)?;
        let ticket = self.wire.call(&https::ask(&request)).await?;
        let header = https::granted(&Peer::Helper, Kind::Ticket, ticket.id.as_deref()).map_err(fail)?;
        let admission = pending.granted(&header, &ticket.body, &mut OperatingSystem).map_err(fail)?;
        let scope = admission.scope();
        let compared = *self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(was) = compared.filter(|epoch| *epoch != scope.epoch) {
            return Err(fail(ProtocolError::Reloaded { was, is: scope.epoch }));
        }
        let (mut awaiting, messages) = admission.mask(x).map_err(fail)?;
        let begun = Instant::now();
        let mut answers = JoinSet::new();
        for party in self.parties.all() {
            let (core, call) = (Arc::clone(self), https::submit(party, &messages));
            let again = https::collect(party, &awaiting.collect());
            answers.spawn(async move {
                match core.wire.call(&call).await {
                    Ok(output) => (Some(party), Ok(output)),
                    // The line may have broken after the party had answered, or the party was started
                    // anew: what it sent once it keeps.
                    Err(error) => (Some(party), core.wait(&again, begun).await.map_err(|_| error)),
                }
            });
        }
        let (core, call) = (Arc::clone(self), https::release(scope));
        answers.spawn(async move { (None, core.wait(&call, Instant::now()).await) });
        let mut first_failure = None;
        while let Some(joined) = answers.join_next().await {
            match joined.map_err(|error| lost(&error))? {
                (None, Ok(release)) => awaiting.release(release.body.to_vec()),
                // Only the helper's word counts: a single party could lie.
                (None, Err(error)) => return Err(error),
                (Some(party), Ok(output)) => awaiting.output(party, output.body.to_vec()),
                (Some(_), Err(error)) => first_failure = first_failure.or(Some(error)),
            }
            if let Some(logits) = awaiting.result().map_err(fail)? {
                // Outputs of other parties are of no use any more.
                answers.detach_all();
                let logits = Zeroizing::new(logits);
                let each = (logits.len() / batch.max(1)).max(1);
                let collected = awaiting.collected();
                let farewells = self.parties.all().map(|party| https::collected(party, &collected));
                let farewells = farewells.chain([https::acknowledge(scope)]).collect();
                return Ok((
                    logits.chunks(each).map(|revealed| Answer::of(&self.plan, revealed)).collect(),
                    farewells,
                ));
            }
        }
        Err(first_failure.unwrap_or_else(|| fail(ProtocolError::NoModel)))
    }
}
