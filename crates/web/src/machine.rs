//! One inference of a browser's, step by step.

use crate::WebError;
use amicus_client::ToParties;
use amicus_client::https::{self, Call, Info};
use amicus_client::inference::{Admission, Awaiting, PendingRequest};
use amicus_client::served;
use amicus_field::{Randomness, unpack};
use amicus_plan::{Plan, PlanDigest, quantize_input};
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::Kind;
use amicus_protocol::{EpochId, Parties, PartyId, Peer, ProtocolError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bits of a residue that its picture leaves out: primes are just below 2^52, and a pixel has 8.
const HIDDEN_BITS: u32 = 44;

/// Whom a client asks for what.
#[derive(Debug, Deserialize)]
struct Cluster {
    parties: usize,
    /// The model's name in the cluster's file.
    model: String,
    /// The digest of its plan, where the cluster's file has it.
    plan: Option<String>,
    /// Its fingerprint, as its owner told it; without one, whichever all parties name.
    fingerprint: Option<String>,
}

/// What a page shows of a plan.
#[derive(Debug, Serialize)]
struct Described<'a> {
    name: &'a str,
    digest: String,
    shape: &'a [usize],
    low: f64,
    high: f64,
    /// Numbers that are revealed of an image, without the word on values outside.
    outputs: usize,
    /// How many of the best labels are revealed of every place, where no outputs are.
    labels: Option<u32>,
    /// Whether it tells of values outside what the network was compiled for.
    watches: bool,
}

/// What parties say of the model, when they agree.
#[derive(Debug, Serialize)]
struct Compared {
    epoch: String,
    fingerprint: String,
}

/// What the answer says.
#[derive(Serialize)]
struct Answer<'a> {
    outputs: Option<&'a [f64]>,
    labels: Option<Vec<usize>>,
    class: usize,
    outside: Option<bool>,
}

/// How far the inference is.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Before,
    Pending(PendingRequest),
    Admitted(Box<Admission>),
    Awaiting(Box<(Awaiting, [ToParties; 2])>),
}

/// One inference, and what is held against each other before it: message in, message out.
///
/// Nothing can be asked before the fingerprint was compared and the numbers were found to be an input;
/// nothing can be masked before the helper's ticket is for the model that was compared.
pub struct Machine {
    cluster: Cluster,
    parties: Parties,
    infos: BTreeMap<Peer, Info>,
    plan: Option<(Arc<Plan>, PlanDigest)>,
    compared: Option<EpochId>,
    input: Option<Zeroizing<Vec<i64>>>,
    stage: Stage,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The input is the image.
        f.debug_struct("Machine")
            .field("cluster", &self.cluster)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

fn caller(reason: impl Into<String>) -> WebError {
    WebError::Caller(reason.into())
}

fn early(what: &str) -> WebError {
    caller(format!("{what} comes later"))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, WebError> {
    serde_json::to_vec(value).map_err(|error| ProtocolError::Internal(error.to_string()).into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Machine {
    /// A machine for one inference. `cluster` is JSON: `parties`, `model`, and where they are known
    /// `plan` and `fingerprint`.
    ///
    /// # Errors
    /// When it describes no cluster.
    pub fn new(cluster: &[u8]) -> Result<Self, WebError> {
        let cluster: Cluster =
            serde_json::from_slice(cluster).map_err(|error| caller(format!("the cluster: {error}")))?;
        let parties = Parties::new(cluster.parties)
            .ok_or_else(|| caller(format!("a cluster of {} parties; there are 2 to 8", cluster.parties)))?;
        let digest = |text: &Option<String>| text.as_deref().is_none_or(|t| served::unhex::<32>(t).is_some());
        if !digest(&cluster.plan) {
            return Err(caller("a digest of a plan has 64 hex digits"));
        }
        if !digest(&cluster.fingerprint) {
            return Err(caller(
                "a model's fingerprint has 64 hex digits, as its owner got when it was loaded",
            ));
        }
        let (infos, stage) = (BTreeMap::new(), Stage::Before);
        Ok(Machine { cluster, parties, infos, plan: None, compared: None, input: None, stage })
    }

    /// A node by its number: 0 for the helper.
    fn node(&self, number: usize) -> Result<Peer, WebError> {
        if number == 0 {
            return Ok(Peer::Helper);
        }
        self.party(number).map(Peer::Party)
    }

    fn party(&self, number: usize) -> Result<PartyId, WebError> {
        self.parties.party(number).ok_or_else(|| caller(format!("there is no party {number}")))
    }

    /// What all parties said.
    fn said(&self) -> Result<Vec<(PartyId, &Info)>, WebError> {
        let of = |party| self.infos.get(&Peer::Party(party)).map(|info| (party, info));
        self.parties.all().map(|party| of(party).ok_or_else(|| early("this"))).collect()
    }

    /// Takes what a node says of itself (`GET /v1/info`).
    ///
    /// # Errors
    /// When it is another node, or speaks otherwise.
    pub fn hear(&mut self, number: usize, info: &[u8]) -> Result<(), WebError> {
        let node = self.node(number)?;
        let fail = |reason| WebError::Node { node: node.clone(), reason };
        let info: Info = serde_json::from_slice(info)
            .map_err(|error| fail(format!("what it says of itself is not understood: {error}")))?;
        served::speaks(&node, &info).map_err(fail)?;
        self.infos.insert(node, info);
        Ok(())
    }

    /// Asks the first party for the plan that all of them serve.
    ///
    /// # Errors
    /// Parties that have not been heard, or do not agree with each other or the cluster's file.
    pub fn ask_plan(&self) -> Result<Call, WebError> {
        let (first, digest) = (PartyId::FIRST, self.agreed()?);
        Ok(https::plan(Peer::Party(first), digest))
    }

    /// The digest of the model's plan, in which parties and the cluster's file agree.
    fn agreed(&self) -> Result<&str, WebError> {
        let found = served::plan_of(&self.cluster.model, self.said()?);
        let digest = found.map_err(|(party, reason)| WebError::Node { node: Peer::Party(party), reason })?;
        match &self.cluster.plan {
            Some(listed) if listed != digest => {
                let reason = "its plan of the model is not the one that the cluster's file has".to_owned();
                Err(WebError::Node { node: Peer::Party(PartyId::FIRST), reason })
            }
            _ => Ok(digest),
        }
    }

    /// Takes the plan; what a page shows of it, as JSON.
    ///
    /// # Errors
    /// A plan that is none, or another than the parties serve.
    pub fn take_plan(&mut self, plan: &[u8]) -> Result<Vec<u8>, WebError> {
        let agreed = self.agreed()?;
        let plan = Plan::decode(plan)?;
        let digest = plan.digest()?;
        if digest.to_string() != agreed {
            let reason = "its plan has another digest than it says".to_owned();
            return Err(WebError::Node { node: Peer::Party(PartyId::FIRST), reason });
        }
        let watches = plan.output.watch > 0;
        let described = json(&Described {
            name: &plan.name,
            digest: digest.to_string(),
            shape: &plan.input.shape,
            low: plan.input.range.low,
            high: plan.input.range.high,
            outputs: plan.outputs()?,
            labels: plan.output.reveal.as_ref().map(|reveal| reveal.labels),
            watches,
        })?;
        self.plan = Some((Arc::new(plan), digest));
        Ok(described)
    }

    /// Compares what all parties say of their model with each other, and with its owner's word; the
    /// model's fingerprint and epoch, as JSON.
    ///
    /// # Errors
    /// Parties that have no model or not the same, or one that is not the owner's.
    pub fn compare(&mut self) -> Result<Vec<u8>, WebError> {
        let (_, plan) = self.plan.as_ref().ok_or_else(|| early("comparing"))?;
        let (epoch, Digest(found)) = served::fingerprint(plan, self.said()?)?;
        let found = hex(&found);
        if let Some(expected) = &self.cluster.fingerprint
            && !found.eq_ignore_ascii_case(expected)
        {
            return Err(WebError::OtherModel { found, expected: expected.clone() });
        }
        self.compared = Some(epoch);
        json(&Compared { epoch: hex(epoch.as_bytes()), fingerprint: found })
    }

    /// Takes the image: numbers as the network takes them, 4 bytes each, little-endian.
    ///
    /// # Errors
    /// Numbers that the network does not take; the first is named.
    pub fn take_input(&mut self, numbers: &[u8]) -> Result<(), WebError> {
        let (plan, _) = self.plan.as_ref().ok_or_else(|| early("an input"))?;
        let (numbers, _) = numbers.as_chunks::<4>();
        let mut input = Zeroizing::new(Vec::with_capacity(numbers.len()));
        input.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        self.input = Some(Zeroizing::new(quantize_input(plan, &input).map_err(WebError::Input)?));
        Ok(())
    }

    /// Asks the helper for an inference.
    ///
    /// # Errors
    /// Before the fingerprint was compared and an input is there, and a second time.
    pub fn ask(&mut self) -> Result<Call, WebError> {
        let ready = self.compared.is_some() && self.input.is_some();
        let ((plan, _), Stage::Before, true) =
            (self.plan.as_ref().ok_or_else(|| early("asking"))?, &self.stage, ready)
        else {
            return Err(early("asking"));
        };
        let (pending, request) = PendingRequest::new(Arc::clone(plan), self.parties, 1, Vec::new())?;
        self.stage = Stage::Pending(pending);
        Ok(https::ask(&request))
    }

    /// Takes the helper's ticket; `id` is what its header `amicus-id` says.
    ///
    /// # Errors
    /// A ticket that is none, or is for another load of the model than the one that was compared.
    pub fn granted(
        &mut self,
        id: &str,
        ticket: &[u8],
        randomness: &mut dyn Randomness,
    ) -> Result<(), WebError> {
        let pending = match mem::take(&mut self.stage) {
            Stage::Pending(pending) => pending,
            other => {
                self.stage = other;
                return Err(early("a ticket"));
            }
        };
        let header = https::granted(&Peer::Helper, Kind::Ticket, Some(id))?;
        let admission = pending.granted(&header, ticket, randomness)?;
        let is = admission.scope().epoch;
        if let Some(was) = self.compared.filter(|was| *was != is) {
            return Err(ProtocolError::Reloaded { was, is }.into());
        }
        self.stage = Stage::Admitted(Box::new(admission));
        Ok(())
    }

    /// Masks the input. What comes back is a picture of what every party is sent: of each element, the
    /// highest 8 bits modulo the first prime.
    ///
    /// # Errors
    /// Without a ticket, which serves once.
    pub fn mask(&mut self) -> Result<Vec<u8>, WebError> {
        let admission = match mem::take(&mut self.stage) {
            Stage::Admitted(admission) => admission,
            other => {
                self.stage = other;
                return Err(early("masking"));
            }
        };
        let input = self.input.take().ok_or_else(|| early("masking"))?;
        let (awaiting, messages) = admission.mask(&input)?;
        let limbs = self.plan.as_ref().ok_or_else(|| early("masking"))?.0.limbs;
        let masked = unpack(limbs, input.len(), messages[0].body())
            .map_err(|error| ProtocolError::Internal(error.to_string()))?;
        let picture = masked.plane(0).iter().map(|residue| (residue >> HIDDEN_BITS) as u8).collect();
        self.stage = Stage::Awaiting(Box::new((awaiting, messages)));
        Ok(picture)
    }

    fn awaiting(&self) -> Result<&(Awaiting, [ToParties; 2]), WebError> {
        let Stage::Awaiting(awaiting) = &self.stage else { return Err(early("this")) };
        Ok(awaiting)
    }

    fn awaiting_mut(&mut self) -> Result<&mut Awaiting, WebError> {
        let Stage::Awaiting(awaiting) = &mut self.stage else { return Err(early("this")) };
        Ok(&mut awaiting.0)
    }

    /// Gives a party the masked input: always the same bytes.
    ///
    /// # Errors
    /// Before it is masked.
    pub fn submit(&self, party: usize) -> Result<Call, WebError> {
        Ok(https::submit(self.party(party)?, &self.awaiting()?.1))
    }

    /// Asks a party for its output again.
    ///
    /// # Errors
    /// Before the input is masked.
    pub fn collect(&self, party: usize) -> Result<Call, WebError> {
        Ok(https::collect(self.party(party)?, &self.awaiting()?.0.collect()))
    }

    /// Waits for the helper's release.
    ///
    /// # Errors
    /// Before the input is masked.
    pub fn ask_release(&self) -> Result<Call, WebError> {
        Ok(https::release(self.awaiting()?.0.scope()))
    }

    /// Tells a party that the output is here, or the helper that the release is.
    ///
    /// # Errors
    /// Before the input is masked.
    pub fn farewell(&self, number: usize) -> Result<Call, WebError> {
        let (awaiting, _) = self.awaiting()?;
        Ok(match self.node(number)? {
            Peer::Party(party) => https::collected(party, &awaiting.collected()),
            _ => https::acknowledge(awaiting.scope()),
        })
    }

    /// Takes a party's output.
    ///
    /// # Errors
    /// Before the input is masked.
    pub fn take_output(&mut self, party: usize, output: &[u8]) -> Result<(), WebError> {
        let party = self.party(party)?;
        self.awaiting_mut()?.output(party, output.to_vec());
        Ok(())
    }

    /// Takes the helper's release.
    ///
    /// # Errors
    /// Before the input is masked.
    pub fn take_release(&mut self, release: &[u8]) -> Result<(), WebError> {
        self.awaiting_mut()?.release(release.to_vec());
        Ok(())
    }

    /// The answer as JSON, as soon as the release and an output that matches it are there; nothing
    /// before.
    ///
    /// # Errors
    /// When all outputs are there and none matches, or the release does not decode.
    pub fn answer(&self) -> Result<Zeroizing<Vec<u8>>, WebError> {
        let Some(revealed) = self.awaiting()?.0.result()? else { return Ok(Zeroizing::default()) };
        let revealed = Zeroizing::new(revealed);
        let (plan, _) = self.plan.as_ref().ok_or_else(|| early("an answer"))?;
        let (outputs, outside) = plan.answer(&revealed);
        let labels =
            plan.output.reveal.is_some().then(|| outputs.iter().map(|&label| label as usize).collect());
        let class = plan.class(outputs);
        let outputs = labels.is_none().then_some(outputs);
        Ok(Zeroizing::new(json(&Answer { outputs, labels, class, outside })?))
    }
}
