//! The helper's online thread: it takes all messages of sessions, loads, requests and inferences,
//! and waits for nobody.

use super::dealing::{Command, Ended};
use super::flight::Flight;
use super::load::Loading;
use super::models::{Model, Models};
use super::requests::Waiting;
use super::session::Starting;
use super::supply::Supply;
use crate::aside::Asides;
use crate::begun::Begun;
#[cfg(feature = "danger")]
use crate::conduct::OfHelper;
use crate::event::{Event, Reporter};
use crate::inbox::{Inbox, InboxHandle, Incoming, Received, Want};
use crate::store::Store;
use crate::{Level, Limits, Loaded, NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::epoch::HelperLoad;
use amicus_protocol::output::Release;
use amicus_protocol::session::HelperSession;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, Parties, ProtocolError, Scope, SessionId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

pub(super) struct Helper {
    pub(super) models: Models,
    pub(super) parties: Parties,
    pub(super) inbox: Inbox,
    pub(super) store: Store,
    pub(super) session: Option<Arc<HelperSession>>,
    pub(super) starting: Option<Starting>,
    /// Why the last session could not begin, when none has since.
    pub(super) refused: Option<NodeError>,
    /// After a session could not begin: when the next one is offered.
    pub(super) paused_until: Option<Instant>,
    pub(super) commands: Sender<Command>,
    pub(super) dealing: Option<InboxHandle>,
    pub(super) dealt: Receiver<Ended>,
    pub(super) supply: Supply,
    pub(super) failure_limit: u32,
    pub(super) requests_of_client: usize,
    pub(super) requests: VecDeque<Waiting>,
    /// Inferences in flight, how many there may be at a time, and bytes of their material.
    pub(super) flights: Vec<Flight>,
    pub(super) lanes: usize,
    pub(super) in_flight: u64,
    /// Ids of the session that were told to parties: what these know, they were told in this order.
    pub(super) begun: Begun,
    /// The owner's wish for a load, until no other goes on.
    pub(super) load_request: Option<Received>,
    pub(super) loading: Option<Loading>,
    /// How the last load failed that was granted.
    pub(super) failed_load: Option<(Scope, Vec<u8>)>,
    /// Loads that are being computed, by their sessions.
    pub(super) asides: Asides<SessionId, Result<HelperLoad, ProtocolError>>,
    pub(super) limits: Limits,
    pub(super) reporter: Reporter,
    #[cfg(feature = "danger")]
    pub(super) danger: OfHelper,
}

/// What a model is loaded in, if it is.
fn loaded(model: &Model) -> Option<Loaded> {
    let epoch = model.epoch.as_ref()?.epoch();
    Some(Loaded { plan: model.digest, epoch, fingerprint: None })
}

impl Helper {
    pub(super) fn run(mut self) {
        let error = loop {
            if let Err(error) = self.step() {
                break error;
            }
        };
        match error {
            // Whoever waits for an inference need not wait for this node to come back.
            NodeError::Stopped if self.inbox.closing() => self.give_up_flights(),
            NodeError::Stopped => {}
            error => self.reporter.report(Event::Fatal { error }),
        }
        self.asides.finish();
    }

    pub(super) fn party_peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    fn step(&mut self) -> Result<(), NodeError> {
        self.keep_session()?;
        self.take_dealt();
        self.refuse_late();
        self.forget_material_of_loads()?;
        self.begin_load()?;
        self.advance_load()?;
        self.start_flights()?;
        self.refill_material();
        let loading = self.loading.as_ref();
        let turn = self.requests.front().map(|waiting| waiting.since + self.limits.turn());
        let deadlines = [
            self.flights.iter().map(Flight::deadline).min(),
            // One that waits for a session that is being begun ends with that.
            loading.filter(|load| !(load.waits() && self.starting.is_some())).and_then(Loading::deadline),
            turn,
            self.starting.as_ref().map(Starting::deadline),
            // Once it is over, links are what a session waits for.
            self.paused_until.filter(|until| *until > clock::now()),
        ];
        self.inbox.answer(|| Level {
            session: self.session.is_some(),
            models: self.models.iter().filter(|model| model.epoch.is_some()).count(),
            loaded: self.models.iter().filter_map(loaded).collect(),
            loading: self.loading.as_ref().map(Loading::id),
            nodes: self.party_peers().iter().filter(|peer| self.inbox.connected(peer)).count(),
            in_flight: self.flights.len(),
            waiting: self.requests.len(),
            ready: self.supply.ready().0,
            ..Level::default()
        });
        let idle = clock::now() + Duration::from_secs(3600);
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(idle);
        let (starting, flights, begun) = (self.starting.is_some(), &self.flights, &self.begun);
        let incoming =
            self.inbox.next(deadline, |peer, h| want(flights, begun, loading, starting, peer, h))?;
        let parties = self.party_peers();
        let lost = matches!(&incoming, Incoming::Lost(Peer::Party(_), _));
        if let Some(error) = self.starting.as_ref().and_then(|s| s.ended_by(&incoming, &parties)) {
            return self.fail_start(error);
        }
        let mut interrupted = self.interrupt_load(&incoming, &parties)?;
        interrupted |= self.interrupt(&incoming);
        if lost {
            self.end_session();
        }
        if interrupted {
            return Ok(());
        }
        match incoming {
            Incoming::Message(message) => self.message(message),
            Incoming::Lost(peer, _) => {
                self.requests.retain(|w| w.client != peer);
                self.load_request.take_if(|request| request.peer == peer);
                if let Some(loading) = self.loading.as_mut().filter(|_| peer == Peer::Owner) {
                    loading.owner_left = true;
                }
                Ok(())
            }
            // A link or a command: a receiver that came back gets what it is owed.
            Incoming::Woken => self.repeat_releases(),
            Incoming::Refused(..) | Incoming::Timeout => Ok(()),
        }
    }

    fn message(&mut self, message: Received) -> Result<(), NodeError> {
        match message.header.kind {
            Kind::LoadRequest => {
                // At once, not in its turn: the owner would take a late refusal for that of what it
                // asks for next.
                if let Err(error) = self.plan_asked_for(&message) {
                    if self.loading.is_some() {
                        // The owner takes the refusal for the end of what it loads.
                        return self.give_up_load(error);
                    }
                    return self.fail_load(&message.peer, Scope::NONE, error);
                }
                // While one is loading the owner has asked already, unless it came anew: then it has
                // given that one up, and parties would wait for its weights in vain.
                let same = |loading: &Loading| loading.plan().0 == message.body();
                if self.loading.as_ref().is_some_and(|loading| same(loading) && !loading.owner_left) {
                    return Ok(());
                }
                if let Some(loading) = self.loading.as_ref().filter(|loading| loading.owner_left) {
                    let fault = Fault::Lost("it asks anew".into());
                    let error = ProtocolError::peer(Peer::Owner, loading.step(), fault);
                    self.give_up_load(error.into())?;
                }
                // The last of several counts.
                self.load_request = Some(message);
                Ok(())
            }
            Kind::LoadReady => {
                self.tell_of_load(&message);
                Ok(())
            }
            Kind::SessionAnswer => self.answer(&message),
            Kind::LoadHash | Kind::LoadResponse => self.load_message(&message),
            Kind::Request => {
                self.request(&message);
                Ok(())
            }
            Kind::Check => self.check(&message),
            Kind::ReleaseAck => self.store.delivered(message.header.scope(), &message.peer.to_string()),
            _ => Ok(()),
        }
    }

    pub(super) fn command(&self, command: Command) {
        // The dealing thread ends only with this one.
        let _ = self.commands.send(command);
        if let Some(handle) = &self.dealing {
            handle.wake();
        }
    }

    pub(super) fn tell(&mut self, to: &Peer, header: Header, notice: &AbortNotice) {
        if let Ok(body) = control::encode(notice) {
            self.inbox.send(to, Header { kind: Kind::Abort, ..header }, &body).ok();
        }
    }

    /// The model that material is for, if that is of the present session and a used epoch.
    pub(super) fn model_of(&self, scope: Scope) -> Option<&Model> {
        let session = self.session.as_ref().map(|session| session.id());
        self.models.of_epoch(scope.epoch).filter(|_| session == Some(scope.session))
    }

    /// Sends recorded releases again that were not acknowledged, to receivers that have just
    /// connected.
    fn repeat_releases(&mut self) -> Result<(), NodeError> {
        let arrived: Vec<String> = self.inbox.take_arrived().iter().map(Peer::to_string).collect();
        let mut due = Vec::new();
        for (scope, pending) in self.store.pending() {
            for (index, name) in pending.receivers.iter().enumerate() {
                if !pending.delivered[index] && arrived.contains(name) {
                    due.push((scope, name.clone(), index, pending.release.clone()));
                }
            }
        }
        for (scope, name, index, bytes) in due {
            let release = Release::from_log(&bytes)?;
            send_release(&mut self.inbox, self.parties, scope, (index, &name), &release);
        }
        Ok(())
    }
}

/// Sends a receiver, by its number and name, its part of a release.
pub(super) fn send_release(
    inbox: &mut Inbox,
    parties: Parties,
    scope: Scope,
    (index, name): (usize, &str),
    release: &Release,
) {
    if let (Some(peer), Some(body)) = (Peer::parse(name, parties), release.message(index)) {
        // A receiver that is away gets it when it comes back.
        inbox.send(&peer, Header::new(Kind::Release, scope, 0), body).ok();
    }
}

fn want(
    flights: &[Flight],
    begun: &Begun,
    loading: Option<&Loading>,
    starting: bool,
    peer: &Peer,
    h: &Header,
) -> Want {
    match (peer, h.kind) {
        (Peer::Party(_), Kind::SessionAnswer | Kind::Abort) if starting => return Want::Take,
        (Peer::Owner, Kind::LoadRequest | Kind::LoadReady) => return Want::Take,
        (Peer::Client(_), Kind::Request | Kind::ReleaseAck) => return Want::Take,
        (Peer::Party(_), Kind::Check | Kind::Abort) if flights.iter().any(|f| f.scope() == h.scope()) => {
            return Want::Take;
        }
        _ => {}
    }
    if let Some(verdict) = loading.and_then(|loading| loading.want(peer, h)) {
        return verdict;
    }
    match (peer, h.kind) {
        // Sent before the party knew that the inference or load ended.
        (Peer::Party(_), Kind::Abort) => Want::Drop,
        (Peer::Party(_), kind) if flights.iter().any(|flight| flight.scope().id == h.id) => {
            Want::Refuse(Fault::Unexpected(format!("{kind:?}")))
        }
        (Peer::Party(_), Kind::Check | Kind::LoadHash | Kind::LoadResponse) if begun.is_spent(h.id) => {
            Want::Drop
        }
        (Peer::Party(_), kind) => Want::Refuse(Fault::Unexpected(format!("{kind:?}"))),
        _ => Want::Drop,
    }
}
