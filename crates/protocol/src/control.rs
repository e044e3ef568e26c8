//! Short control messages: everything that is not residues. Encoded with `postcard`, bounded in
//! size.
//!
//! A body has one encoding: what decodes is encoded again and compared, so that two peers that look
//! at the same bytes see the same value, and text that is not printable is refused.

use crate::{EpochId, Fault, Printable, ProtocolError, Step};
use amicus_field::Seed;
use amicus_plan::PlanDigest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// Largest control body accepted.
pub const MAX_BYTES: usize = 16 << 10;

/// Which of a node's threads a link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// Everything that happens while somebody waits for an answer, and model loads.
    Online,
    /// Dealing ahead of time, between helper and party.
    Dealing,
    /// A look from one node at another, for whoever searches for a fault: no thread gets the link.
    Look,
}

/// First message on every link, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the link is for.
    pub channel: Channel,
    /// Digest of the cluster the sender belongs to: its nodes and their pinned certificates.
    pub cluster: [u8; 32],
    /// Number of compute parties the sender knows of.
    pub parties: u8,
}

/// What a node says of itself to another that looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its clock: milliseconds since 1970.
    pub time: u64,
    /// Digests of the plans that it serves.
    pub plans: Vec<PlanDigest>,
}

/// An epoch that the helper offers in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedEpoch {
    /// The epoch.
    pub epoch: EpochId,
    /// Plan of its model.
    pub plan: PlanDigest,
    /// Failed checks that the helper knows of.
    pub failures: u32,
}

/// Helper to party: a session begins.
#[derive(Serialize, Deserialize)]
pub struct SessionOffer {
    /// The helper's part of the party's seed, 32 bytes.
    pub part: Vec<u8>,
    /// Epochs that the helper has accepted.
    pub epochs: Vec<OfferedEpoch>,
}

/// What a party has of an offered epoch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// The knowledge that it is retired.
    Retired,
    /// The epoch.
    Same {
        /// Hash of the epoch's ids, `D_W` and `D_G`, keyed for the session.
        hash: [u8; 32],
        /// Failed checks that the party knows of.
        failures: u32,
    },
}

/// Party to helper: it joins the session.
#[derive(Serialize, Deserialize)]
pub struct SessionAnswer {
    /// The party's part of its seed, 32 bytes.
    pub part: Vec<u8>,
    /// Hash of the session, keyed for it: equal for parties with one common key.
    pub hash: [u8; 32],
    /// Hashes of its pair keys, of the other parties in order: equal at both of a pair.
    pub pairs: Vec<[u8; 32]>,
    /// What it has of the offered epochs, in their order.
    pub epochs: Vec<Held>,
}

/// An epoch that may be used in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedEpoch {
    /// The epoch.
    pub epoch: EpochId,
    /// Failed checks that any node knows of.
    pub failures: u32,
}

/// Helper to parties: the session is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpening {
    /// The epochs that all parties hold.
    pub epochs: Vec<OpenedEpoch>,
}

impl SessionOffer {
    /// The helper's part as a seed.
    ///
    /// # Errors
    /// A wrong length.
    pub fn part_seed(&self) -> Result<Seed, Fault> {
        part_seed(&self.part)
    }
}

impl SessionAnswer {
    /// The party's part as a seed.
    ///
    /// # Errors
    /// A wrong length.
    pub fn part_seed(&self) -> Result<Seed, Fault> {
        part_seed(&self.part)
    }
}

fn part_seed(part: &[u8]) -> Result<Seed, Fault> {
    let bytes = part.try_into().map_err(|_| Fault::Length { expected: 32, got: part.len() })?;
    Ok(Seed::from_bytes(bytes))
}

impl std::fmt::Debug for SessionOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOffer").field("epochs", &self.epochs).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SessionAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionAnswer").field("epochs", &self.epochs.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Held::Nothing => f.write_str("Nothing"),
            Held::Retired => f.write_str("Retired"),
            Held::Same { failures, .. } => {
                f.debug_struct("Same").field("failures", failures).finish_non_exhaustive()
            }
        }
    }
}

impl Drop for SessionOffer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.part);
    }
}

impl Drop for SessionAnswer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.part);
    }
}

/// Why a node gave up an inference or a load. Its text is short and printable, whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortNotice {
    /// The peer at fault, as far as the sender can tell.
    pub accused: Option<Printable>,
    /// Where.
    pub step: Step,
    /// What happened.
    pub reason: Printable,
    /// Whether the helper's check failed.
    pub rejected: bool,
    /// Helper to parties, when a check failed: how many of the epoch have failed, as counted for its
    /// retirement. 0 in all other notices.
    pub failures: u32,
    /// Who says so, when it is passed on.
    pub reporter: Option<Printable>,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Plan of the model.
    pub plan: PlanDigest,
    /// Number of inputs.
    pub batch: u32,
    /// Others who get the output too, by the names their certificates are pinned under.
    pub also_to: Vec<String>,
}

/// What an inference is bound to, told by the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The plan.
    pub plan: PlanDigest,
    /// Number of inputs.
    pub batch: u32,
    /// The client, whose input alone is taken.
    pub client: String,
    /// Receivers of the output in the order of their hashes; the client is the first.
    pub receivers: Vec<String>,
}

/// Helper to client: the binding, the seeds of the input mask, and the client's keys.
#[derive(Serialize, Deserialize)]
pub struct TicketGrant {
    /// What the inference is bound to.
    pub binding: Binding,
    /// Seeds of the shares of the input mask, in party order.
    pub seeds: Vec<u8>,
    /// The client's authentication keys, in party order.
    pub keys: Vec<u8>,
}

/// Helper to a further receiver: the binding and the receiver's keys.
#[derive(Serialize, Deserialize)]
pub struct Invitation {
    /// What the inference is bound to.
    pub binding: Binding,
    /// The receiver's authentication keys, in party order.
    pub keys: Vec<u8>,
}

impl std::fmt::Debug for TicketGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketGrant").field("binding", &self.binding).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("binding", &self.binding).finish_non_exhaustive()
    }
}

impl Drop for TicketGrant {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.seeds);
        zeroize::Zeroize::zeroize(&mut self.keys);
    }
}

impl Drop for Invitation {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.keys);
    }
}

/// Encodes a control body. It may hold seeds: there is room for all of it from the start, because
/// what grows leaves copies behind.
///
/// # Errors
/// When serialisation fails (out of memory).
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, ProtocolError> {
    postcard::to_extend(body, Vec::with_capacity(MAX_BYTES))
        .map_err(|e| ProtocolError::Internal(format!("encoding a control message: {e}")))
}

/// Decodes a control body.
///
/// # Errors
/// Bytes that are no such body, trailing bytes, too many, or bytes that [`encode`] does not write
/// for that value.
pub fn decode<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if body.len() > MAX_BYTES {
        return Err(Fault::Length { expected: MAX_BYTES, got: body.len() });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => match encode(&value).map(Zeroizing::new) {
            Ok(again) if *again == body => Ok(value),
            _ => Err(Fault::Encoding("control message in a form that no honest peer writes".into())),
        },
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
            ProtocolError::Peer { culprit, step, fault } => AbortNotice {
                accused: Some(culprit.to_string().into()),
                step: step.clone(),
                reason: fault.to_string().into(),
                rejected: false,
                failures: 0,
                reporter: None,
            },
            ProtocolError::Rejected { step } => AbortNotice {
                accused: None,
                step: step.clone(),
                reason: "rejected, some party deviated from the protocol; nothing was released".into(),
                rejected: true,
                failures: 0,
                reporter: None,
            },
            ProtocolError::Aborted { by, notice } => {
                // Whoever passes something on answers for it: a claim of what another said is only
                // a claim.
                let reporter = match &notice.reporter {
                    None => by.to_string().into(),
                    Some(first) => format!("{first}, says {by}").into(),
                };
                AbortNotice { reporter: Some(reporter), failures: 0, ..(**notice).clone() }
            }
            other => AbortNotice {
                accused: None,
                step: step.clone(),
                reason: other.to_string().into(),
                rejected: false,
                failures: 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_plan::printable;

    const HOSTILE: [&str; 4] = ["\x1b[2J\x1b[H", "a\r\nhelper: all is well", "\u{202e}lasrever", "\u{9b}1A"];

    /// A notice as somebody writes it who does not care for its rules.
    #[derive(Serialize)]
    struct Written {
        accused: Option<String>,
        step: WrittenStep,
        reason: String,
        rejected: bool,
        failures: u32,
        reporter: Option<String>,
    }

    /// Same places in the list of steps as [`Step`].
    #[derive(Serialize)]
    enum WrittenStep {
        _Keys,
        Load { part: String, layer: Option<String> },
    }

    fn written(place: usize, text: &str) -> Vec<u8> {
        let at = |p| if p == place { text.to_owned() } else { "x".to_owned() };
        let step = WrittenStep::Load { part: at(0), layer: Some(at(1)) };
        let (accused, reporter) = (Some(at(2)), Some(at(3)));
        encode(&Written { accused, step, reason: at(4), rejected: false, failures: 0, reporter }).unwrap()
    }

    #[test]
    fn notices_that_are_not_short_and_printable_are_refused() {
        for place in 0..5 {
            assert!(decode::<AbortNotice>(&written(place, "x")).is_ok());
            assert!(decode::<AbortNotice>(&written(place, &"x".repeat(printable::MAX_BYTES))).is_ok());
            let long = "x".repeat(printable::MAX_BYTES + 1);
            for text in HOSTILE.into_iter().chain([long.as_str()]) {
                let refused = decode::<AbortNotice>(&written(place, text));
                assert!(matches!(refused, Err(Fault::Encoding(_))), "{place}: {text:?}");
            }
        }
    }

    /// However often a notice is passed on, and whatever it is about.
    #[test]
    fn notices_stay_short_and_printable_when_they_are_made_and_passed_on() {
        for text in HOSTILE.into_iter().chain(["y".repeat(5000).as_str()]) {
            let step = Step::Load { part: text.into(), layer: Some(text.into()) };
            let fault = Fault::Unexpected(text.to_owned());
            let stranger = crate::Culprit::Stranger(text.into());
            let mut error = ProtocolError::peer(stranger, step.clone(), fault);
            for hop in 0..20 {
                let notice = AbortNotice::of(&error, &step);
                let body = encode(&notice).unwrap();
                assert!(body.len() < 6 * (printable::MAX_BYTES + 3), "{} bytes", body.len());
                assert_eq!(decode::<AbortNotice>(&body).as_ref(), Ok(&notice));
                let shown = notice.to_string();
                assert!(
                    shown.len() < 6 * printable::MAX_BYTES && !shown.chars().any(char::is_control),
                    "{shown:?}"
                );
                let by = crate::Peer::Client(format!("{hop}"));
                error = ProtocolError::Aborted { by, notice: Box::new(notice) };
            }
            let other = AbortNotice::of(&ProtocolError::Misuse(text.to_owned()), &Step::Check);
            assert!(printable::Printable::is(other.reason.as_str()));
        }
    }

    #[test]
    fn a_body_has_one_encoding() {
        let request = Request { plan: PlanDigest([7; 32]), batch: 1, also_to: vec!["client 2".into()] };
        let body = encode(&request).unwrap();
        assert_eq!(decode::<Request>(&body).as_ref(), Ok(&request));
        // 1 in two bytes.
        let padded = [&body[..32], &[0x81, 0x00], &body[33..]].concat();
        assert_eq!(postcard::from_bytes::<Request>(&padded).as_ref(), Ok(&request));
        assert!(matches!(decode::<Request>(&padded), Err(Fault::Encoding(_))));
        assert!(matches!(decode::<Request>(&[&body[..], &[0]].concat()), Err(Fault::Encoding(_))));
        assert!(matches!(decode::<Request>(&vec![0; MAX_BYTES + 1]), Err(Fault::Length { .. })));
    }
}
