//! How a party joins sessions that the helper begins (`docs/protocol.md`, section 7).

use super::Party;
use super::dealing::Serving;
use crate::begun::Begun;
use crate::event::Event;
use crate::exchange::{Part, Wait};
use crate::inbox::{Received, Want};
use crate::{NodeError, Peer};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_protocol::control::{self, SessionOpening};
use amicus_protocol::session::Joining;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, InferenceId, ProtocolError, Scope, SessionId, Step};
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

impl Party {
    /// Joins a session; the one before is over.
    pub(super) fn join(&mut self, begin: &Received) -> Result<(), NodeError> {
        let session = begin.header.session;
        self.end_session()?;
        self.inbox.enter(session);
        match self.run_join(begin) {
            Ok(()) => {
                self.reporter.report(Event::SessionOpened { session });
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            // Nobody's fault: the helper begins another one.
            Err(_) if self.next_session.is_some() => Ok(()),
            Err(error) => {
                let header = Header::new(Kind::Abort, Scope::session(session), 0);
                self.tell_abort(&error, &Step::Keys, header, &[]);
                self.reporter.report(Event::SessionFailed { error });
                Ok(())
            }
        }
    }

    /// Nothing of the present session is used any more.
    pub(super) fn end_session(&mut self) -> Result<(), NodeError> {
        self.session = None;
        let fault = Fault::Lost("it ended the session".into());
        self.end_load(&fault)?;
        self.end_flights(&fault)?;
        self.begun = Begun::default();
        self.ready.clear();
        self.replaced.clear();
        self.serve();
        Ok(())
    }

    fn run_join(&mut self, begin: &Received) -> Result<(), NodeError> {
        let scope = Scope::session(begin.header.session);
        let (parties, me, started) = (self.parties, self.me, clock::now());
        let mut joining = Joining::begin(parties, me, scope.session, begin.body(), &mut OperatingSystem)?;
        let want = |_: &Begun, peer: &Peer, h: &Header| join_want(scope.session, Kind::Keys, peer, h);
        self.linked(&self.others(), &Step::Keys, started + self.limits.load, want)?;
        for other in parties.others(me) {
            let (to, message) = (Peer::Party(other), Zeroizing::new(joining.message(other)));
            self.send(&to, Header::new(Kind::Keys, scope, 0), &*message)
                .map_err(|e| ProtocolError::peer(&to, Step::Keys, Fault::Lost(e.to_string())))?;
        }
        let deadline = started + self.limits.load_of_keys();
        while let Some(missing) = joining.missing() {
            let waiting = Peer::Party(missing);
            let message = self.session_message(scope.session, Kind::Keys, deadline, &waiting)?;
            if let Peer::Party(from) = message.peer {
                joining.receive(from, message.body())?;
            }
        }
        self.recall(joining.offered())?;
        let held = self.models.held();
        let (session, answer) = joining.answer(|offered| self.holding(&held, offered))?;
        let body = Zeroizing::new(control::encode(&answer)?);
        self.send(&Peer::Helper, Header::new(Kind::SessionAnswer, scope, 0), &body)?;
        let deadline = started + self.limits.load_by_helper();
        let open = self.session_message(scope.session, Kind::SessionOpen, deadline, &Peer::Helper)?;
        let opening: SessionOpening = control::decode(open.body())
            .map_err(|fault| ProtocolError::peer(Peer::Helper, Step::Keys, fault))?;
        self.use_opened(&opening.epochs)?;
        self.session = Some(Arc::new(session));
        self.serve();
        Ok(())
    }

    /// Has the dealing thread take what is dealt for the present session and its epochs.
    pub(super) fn serve(&self) {
        let (session, replaced) = (self.session.clone(), self.replaced.clone());
        // The dealing thread ends only with this one.
        let _ = self.serving.send(Serving { session, epochs: self.models.all_used(), replaced });
        self.dealing.wake();
    }

    /// The next message of a kind that a session begins with.
    fn session_message(
        &mut self,
        session: SessionId,
        kind: Kind,
        deadline: Instant,
        from: &Peer,
    ) -> Result<Received, NodeError> {
        let wait = Wait::new(from, &Step::Keys, deadline);
        let part = |peer: &Peer| part(kind, peer);
        let message = self.exchange(&wait, part, |_, peer, h| join_want(session, kind, peer, h))?;
        if message.header.kind == Kind::SessionBegin {
            self.next_session = Some(message);
            return Err(wait.fault_of(&Peer::Helper, Fault::Lost("it began another session".into())));
        }
        Ok(message)
    }
}

/// Who takes part in a session's beginning. Once a party has answered, the helper alone decides:
/// a party that gave up now would leave others in a session that they think is open.
fn part(kind: Kind, peer: &Peer) -> Part {
    match peer {
        Peer::Helper => Part::Needed,
        Peer::Party(_) if kind == Kind::Keys => Part::Needed,
        Peer::Party(_) | Peer::Client(_) | Peer::Owner => Part::Bystander,
    }
}

fn join_want(session: SessionId, kind: Kind, peer: &Peer, h: &Header) -> Want {
    match (peer, h.kind) {
        (Peer::Client(_), Kind::Fingerprint) => Want::Take,
        (Peer::Client(_) | Peer::Owner, _) => Want::Keep,
        (Peer::Helper, Kind::SessionBegin) if h.session != session => Want::Take,
        // For a session that may follow.
        (Peer::Party(_), Kind::Keys) if h.session != session => Want::Keep,
        (Peer::Party(_), Kind::Keys | Kind::Abort) if kind == Kind::SessionOpen => after_the_answer(h),
        (_, Kind::Abort) | (Peer::Party(_), Kind::Keys) => Want::Take,
        (Peer::Helper, Kind::SessionOpen) if kind == Kind::SessionOpen => Want::Take,
        (_, k) if h.id == InferenceId(0) => Want::Refuse(Fault::Unexpected(format!("{k:?}"))),
        // Others may be a step ahead.
        _ => Want::Keep,
    }
}

/// What parties say of this beginning counts no more; of what follows, others may be a step ahead.
fn after_the_answer(h: &Header) -> Want {
    if h.id == InferenceId(0) { Want::Drop } else { Want::Keep }
}
