//! Waiting for others: the next message that somebody needs, or the error that says whose fault it
//! is that it did not come.
//!
//! All roles wait through [`Inbox::exchange`], so that faults, lost links, deadlines and notices of
//! other nodes mean the same everywhere. A role says what it waits for ([`Wait`]), which messages
//! it takes, and what part every peer has in it ([`Part`]).

use crate::inbox::{Inbox, Incoming, Received, Want};
use crate::{NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, InferenceId, ProtocolError, Step};
use std::time::Instant;

/// What a peer's faults mean to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is needed until the end: its faults end the wait, and so does the end of its link.
    Needed,
    /// It may leave once it has said all it has to say, so the end of its link ends a wait for
    /// itself only, after what it had sent before. Others may speak in its name, so its faults end
    /// nothing but what it authenticated.
    MayLeave,
    /// It has no part in this, and cannot end it.
    Bystander,
}

/// A wait for a message at a step.
#[derive(Debug)]
pub struct Wait<'a> {
    /// Whose message is missing: it is at fault when the deadline passes.
    pub from: &'a Peer,
    /// What the message is for.
    pub step: &'a Step,
    /// When the wait began.
    pub since: Instant,
    /// When it ends.
    pub until: Instant,
}

impl<'a> Wait<'a> {
    /// A wait that begins now.
    pub fn new(from: &'a Peer, step: &'a Step, until: Instant) -> Self {
        Wait { from, step, since: clock::now(), until }
    }

    /// A peer's fault, as the error that ends the wait.
    pub fn fault_of(&self, peer: &Peer, fault: Fault) -> NodeError {
        ProtocolError::peer(peer, self.step.clone(), fault).into()
    }

    /// Why the wait ends without its message, when that is what this means.
    pub fn ended_by(&self, incoming: &Incoming, part: impl Fn(&Peer) -> Part) -> Option<NodeError> {
        match incoming {
            Incoming::Message(m) if m.header.kind == Kind::Abort => Some(aborted_by(m)),
            Incoming::Refused(peer, fault, _) if part(peer) == Part::Needed => {
                Some(self.fault_of(peer, fault.clone()))
            }
            Incoming::Lost(peer, error) if part(peer) == Part::Needed => {
                Some(self.fault_of(peer, Fault::Lost(error.to_string())))
            }
            Incoming::Timeout if clock::now() >= self.until => {
                let waited = clock::since(self.since).as_millis() as u64;
                Some(self.fault_of(self.from, Fault::Silent(waited)))
            }
            Incoming::Message(_)
            | Incoming::Refused(..)
            | Incoming::Lost(..)
            | Incoming::Woken
            | Incoming::Timeout => None,
        }
    }
}

impl Inbox {
    /// The next message that `want` takes.
    ///
    /// # Errors
    /// Whose fault it is that none came before the deadline; another node's notice, when `want`
    /// takes it; [`NodeError::Stopped`] when the node was told to end.
    pub fn exchange(
        &mut self,
        wait: &Wait<'_>,
        part: impl Fn(&Peer) -> Part,
        mut want: impl FnMut(&Peer, &Header) -> Want,
    ) -> Result<Received, NodeError> {
        loop {
            if let Some(message) = self.exchange_or_woken(wait, &part, &mut want)? {
                return Ok(message);
            }
        }
    }

    /// The next message that `want` takes, or none when something else may have changed: links came.
    ///
    /// # Errors
    /// Those of [`Inbox::exchange`].
    pub fn exchange_or_woken(
        &mut self,
        wait: &Wait<'_>,
        part: impl Fn(&Peer) -> Part,
        mut want: impl FnMut(&Peer, &Header) -> Want,
    ) -> Result<Option<Received>, NodeError> {
        loop {
            // What somebody sent before it left comes first. Its link may have ended long before this
            // wait began, when nobody cared.
            let concerned = part(wait.from) != Part::Bystander;
            let left = concerned.then(|| self.left(wait.from)).flatten();
            let until = if left.is_some() { wait.until.min(clock::now()) } else { wait.until };
            let incoming = self.next(until, &mut want)?;
            if let (Some(how), Incoming::Timeout) = (left, &incoming) {
                return Err(wait.fault_of(wait.from, Fault::Lost(how)));
            }
            match (wait.ended_by(&incoming, &part), incoming) {
                (Some(error), _) => return Err(error),
                (None, Incoming::Message(message)) => return Ok(Some(message)),
                (None, Incoming::Woken) => return Ok(None),
                (None, _) => {}
            }
        }
    }
}

/// Whether what happened is about an id: a fault in a message about another id that is in flight is
/// not.
pub(crate) fn concerns(
    incoming: &Incoming,
    this: InferenceId,
    in_flight: impl Fn(InferenceId) -> bool,
) -> bool {
    match incoming {
        Incoming::Refused(_, _, Some(id)) => *id == this || !in_flight(*id),
        _ => true,
    }
}

/// A notice from another node as an error. That a check failed is believed of the helper only.
pub(crate) fn aborted_by(message: &Received) -> NodeError {
    match control::decode::<AbortNotice>(message.body()) {
        Ok(mut notice) => {
            notice.rejected &= message.peer == Peer::Helper;
            notice.failures *= u32::from(notice.rejected);
            ProtocolError::Aborted { by: message.peer.clone(), notice: Box::new(notice) }.into()
        }
        Err(fault) => ProtocolError::peer(&message.peer, Step::Check, fault).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_net::Link;
    use amicus_protocol::{EpochId, Scope};
    use std::time::Duration;

    const NOBODY_MEETS: Duration = Duration::from_secs(120);

    /// An inbox with links to the helper and a client, and their ends.
    fn inbox() -> (Inbox, [Link; 2]) {
        let mut inbox = Inbox::new(1 << 16).unwrap();
        let ends = [Peer::Helper, bob()].map(|peer| {
            let (there, here) = Link::pair(&peer.to_string(), "party 1");
            inbox.insert(&peer, here);
            there
        });
        (inbox, ends)
    }

    fn bob() -> Peer {
        Peer::Client("bob".into())
    }

    fn message(kind: Kind, body: &[u8]) -> Vec<u8> {
        [&Header::new(kind, Scope::epoch(EpochId::from_bytes([1; 16])), 0).encode()[..], body].concat()
    }

    /// What a wait for the helper's grant gives, where the client has a part.
    fn wait_for(inbox: &mut Inbox, from: &Peer, of_bob: Part, within: Duration) -> Result<Kind, String> {
        let step = Step::Input;
        let wait = Wait::new(from, &step, clock::now() + within);
        let part = |peer: &Peer| if *peer == bob() { of_bob } else { Part::Needed };
        let want = |_: &Peer, h: &Header| match h.kind {
            Kind::Nonce => Want::Refuse(Fault::Unexpected("nonce".into())),
            _ => Want::Take,
        };
        inbox.exchange(&wait, part, want).map(|m| m.header.kind).map_err(|e| e.to_string())
    }

    #[test]
    fn a_lost_link_is_the_fault_of_whoever_is_needed() {
        for (of_bob, from, expected) in [
            (Part::Needed, Peer::Helper, "input: client bob misbehaved: link lost"),
            (Part::MayLeave, Peer::Helper, "input: helper misbehaved: nothing received"),
            (Part::MayLeave, bob(), "input: client bob misbehaved: link lost"),
            (Part::Bystander, Peer::Helper, "input: helper misbehaved: nothing received"),
            (Part::Bystander, bob(), "input: client bob misbehaved: nothing received"),
        ] {
            let (mut inbox, [_helper, bob]) = inbox();
            drop(bob);
            let within = Duration::from_millis(if expected.ends_with("lost") { 120_000 } else { 50 });
            let error = wait_for(&mut inbox, &from, of_bob, within).unwrap_err();
            assert!(error.starts_with(expected), "{of_bob:?}, {from}: {error}");
        }
    }

    /// Once, only a link that ended during a wait counted: for whoever had left before, others waited
    /// until the deadline.
    #[test]
    fn whoever_left_before_a_wait_is_not_waited_for() {
        for of_bob in [Part::Needed, Part::MayLeave] {
            let (mut inbox, [_helper, mut end]) = inbox();
            end.send(&[&message(Kind::Weights, &[])]).unwrap();
            drop(end);
            // Nobody cares yet.
            let next =
                |inbox: &mut Inbox| inbox.next(clock::now() + NOBODY_MEETS, |_, _| Want::Keep).unwrap();
            assert!(matches!(next(&mut inbox), Incoming::Lost(peer, _) if peer == bob()));
            // What it said before counts; then it is gone.
            assert_eq!(wait_for(&mut inbox, &bob(), of_bob, NOBODY_MEETS), Ok(Kind::Weights));
            let error = wait_for(&mut inbox, &bob(), of_bob, NOBODY_MEETS).unwrap_err();
            assert!(error.starts_with("input: client bob misbehaved: link lost"), "{of_bob:?}: {error}");
            // Waits for others do not end by that.
            let error = wait_for(&mut inbox, &Peer::Helper, of_bob, Duration::from_millis(50)).unwrap_err();
            assert!(error.starts_with("input: helper misbehaved: nothing received"), "{error}");
            // A new link is on its way: it may have something to say.
            let (_end, link) = Link::pair("client bob", "party 1");
            inbox.handle().deliver(crate::connect::Arrival { peer: bob(), link });
            let error = wait_for(&mut inbox, &bob(), of_bob, Duration::from_millis(50)).unwrap_err();
            assert!(error.starts_with("input: client bob misbehaved: nothing received"), "{error}");
        }
    }

    #[test]
    fn what_somebody_sent_before_it_left_comes_first() {
        let (mut inbox, [_helper, mut end]) = inbox();
        end.send(&[&message(Kind::Weights, &[])]).unwrap();
        end.send(&[&message(Kind::Weights, &[])]).unwrap();
        drop(end);
        let mut wait = || wait_for(&mut inbox, &bob(), Part::MayLeave, NOBODY_MEETS);
        assert_eq!([wait(), wait()], [Ok(Kind::Weights), Ok(Kind::Weights)]);
        assert!(wait().unwrap_err().contains("link lost"));
        // It is back.
        let (mut end, here) = Link::pair("client bob", "party 1");
        inbox.insert(&bob(), here);
        end.send(&[&message(Kind::Weights, &[])]).unwrap();
        assert_eq!(wait_for(&mut inbox, &bob(), Part::MayLeave, NOBODY_MEETS), Ok(Kind::Weights));
    }

    #[test]
    fn a_refused_message_is_the_fault_of_its_sender_if_that_is_needed() {
        for (of_bob, ends) in [(Part::Needed, true), (Part::MayLeave, false), (Part::Bystander, false)] {
            for refused in [message(Kind::Nonce, &[]), b"no message".to_vec()] {
                let (mut inbox, [mut helper, mut end]) = inbox();
                end.send(&[&refused]).unwrap();
                if !ends {
                    helper.send(&[&message(Kind::Ticket, &[])]).unwrap();
                }
                match wait_for(&mut inbox, &Peer::Helper, of_bob, NOBODY_MEETS) {
                    Ok(kind) => assert!(!ends && kind == Kind::Ticket),
                    Err(error) => {
                        assert!(ends && error.starts_with("input: client bob misbehaved"), "{error}")
                    }
                }
            }
        }
    }

    #[test]
    fn a_notice_is_an_error_in_the_name_of_its_sender() {
        let notice = AbortNotice {
            accused: Some("party 2".into()),
            step: Step::Check,
            reason: "silent".into(),
            rejected: true,
            failures: 3,
            reporter: None,
        };
        let (mut inbox, [mut helper, mut end]) = inbox();
        for (sender, by, rejected) in [(&mut helper, "helper", true), (&mut end, "client bob", false)] {
            sender.send(&[&message(Kind::Abort, &control::encode(&notice).unwrap())]).unwrap();
            let step = Step::Input;
            let wait = Wait::new(&Peer::Helper, &step, clock::now() + NOBODY_MEETS);
            let error = inbox.exchange(&wait, |_| Part::Needed, |_, _| Want::Take).unwrap_err();
            assert!(error.to_string().starts_with(&format!("given up by {by}: ")), "{error}");
            // Whether a check failed, only the helper knows.
            assert_eq!(error.is_rejection(), rejected);
        }
        // One that does not decode.
        helper.send(&[&message(Kind::Abort, &[255; 40])]).unwrap();
        let error = wait_for(&mut inbox, &Peer::Helper, Part::Bystander, NOBODY_MEETS).unwrap_err();
        assert!(error.starts_with("check: helper misbehaved"), "{error}");
    }
}
