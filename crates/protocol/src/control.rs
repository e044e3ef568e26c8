//! Short control messages: everything that is not residues. Encoded with `postcard`, bounded in size.

use crate::{Fault, ProtocolError, Step};
use amicus_plan::PlanDigest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Largest control body accepted.
pub const MAX_BYTES: usize = 16 << 10;

/// Which of a node's threads a link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// Everything that happens while somebody waits for an answer, and model loads.
    Online,
    /// Dealing ahead of time, between helper and party.
    Dealing,
}

/// First message on every link, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the link is for.
    pub channel: Channel,
    /// Plan the sender runs.
    pub plan: PlanDigest,
    /// Number of compute parties the sender knows of.
    pub parties: u8,
}

/// Why a node gave up an inference or a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortNotice {
    /// The peer at fault, as far as the sender can tell.
    pub accused: Option<String>,
    /// Where.
    pub step: Step,
    /// What happened.
    pub reason: String,
    /// Whether the helper's check failed.
    pub rejected: bool,
    /// Who says so, when it is passed on.
    pub reporter: Option<String>,
}

/// A client's wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Number of inputs.
    pub batch: u32,
    /// Others who get the output too, by the names their certificates are pinned under.
    pub also_to: Vec<String>,
}

/// What an inference is bound to, told by the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Number of inputs.
    pub batch: u32,
    /// The client, whose input alone is taken.
    pub client: String,
    /// Receivers of the output in the order of their hashes; the client is the first.
    pub receivers: Vec<String>,
}

/// Helper to client: the binding and the seeds of the input mask.
#[derive(Serialize, Deserialize)]
pub struct TicketGrant {
    /// What the inference is bound to.
    pub binding: Binding,
    /// Seeds of the shares of the input mask, in party order.
    pub seeds: Vec<u8>,
}

impl std::fmt::Debug for TicketGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketGrant").field("binding", &self.binding).finish_non_exhaustive()
    }
}

impl Drop for TicketGrant {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.seeds);
    }
}

/// Encodes a control body.
///
/// # Errors
/// When serialisation fails (out of memory).
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, ProtocolError> {
    postcard::to_extend(body, Vec::new())
        .map_err(|e| ProtocolError::Misuse(format!("encoding a control message: {e}")))
}

/// Decodes a control body.
///
/// # Errors
/// Bytes that are no such body, trailing bytes, or too many.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if body.len() > MAX_BYTES {
        return Err(Fault::Length { expected: MAX_BYTES, got: body.len() });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            Err(Fault::Encoding(format!("{} bytes after the end of a control message", rest.len())))
        }
        Err(e) => Err(Fault::Encoding(format!("control message: {e}"))),
    }
}

impl AbortNotice {
    /// What to tell others about an error.
    pub fn of(error: &ProtocolError, step: &Step) -> Self {
        match error {
            ProtocolError::Peer { peer, step, fault } => AbortNotice {
                accused: Some(peer.clone()),
                step: step.clone(),
                reason: fault.to_string(),
                rejected: false,
                reporter: None,
            },
            ProtocolError::Rejected { step } => AbortNotice {
                accused: None,
                step: step.clone(),
                reason: "rejected, some party deviated from the protocol; nothing was released".into(),
                rejected: true,
                reporter: None,
            },
            ProtocolError::Aborted { by, notice } => {
                // Whoever passes something on answers for it: a claim of what another said is only a claim.
                let reporter = match &notice.reporter {
                    None => by.clone(),
                    Some(first) => format!("{first}, says {by}"),
                };
                AbortNotice { reporter: Some(reporter), ..(**notice).clone() }
            }
            other => AbortNotice {
                accused: None,
                step: step.clone(),
                reason: other.to_string(),
                rejected: false,
                reporter: None,
            },
        }
    }
}

impl std::fmt::Display for AbortNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.step)?;
        if let Some(accused) = &self.accused {
            write!(f, "{accused}: ")?;
        }
        write!(f, "{}", self.reason)?;
        match &self.reporter {
            Some(reporter) => write!(f, " (says {reporter})"),
            None => Ok(()),
        }
    }
}
