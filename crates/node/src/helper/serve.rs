//! The helper's online thread: requests in order, one inference in flight, the check, and the
//! release.

use super::dealing::{Command, Ended};
use super::load::Loading;
use super::session::Starting;
use super::supply::{Claimed, Supply};
use crate::error::lost;
use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, InboxHandle, Incoming, Received, Want};
use crate::peer::MAX_NAME;
use crate::store::Store;
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_plan::{Plan, PlanDigest};
use amicus_protocol::check::CheckMessage;
use amicus_protocol::control::{self, AbortNotice, Binding, Request, TicketGrant};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::output::Release;
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::session::HelperSession;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, Parties, ProtocolError, Scope, Step};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

/// Requests that wait, at most; further ones are refused.
const MAX_REQUESTS: usize = 256;
/// Receivers besides the client, at most.
const MAX_RECEIVERS: usize = 16;
// A binding that names all of them is no longer than parties and receivers accept.
const _: () = assert!((1 + MAX_RECEIVERS) * (MAX_NAME + 16) < control::MAX_BYTES);

pub(super) struct Helper {
    pub(super) plan: Arc<Plan>,
    pub(super) digest: PlanDigest,
    pub(super) parties: Parties,
    pub(super) inbox: Inbox,
    pub(super) store: Store,
    /// Bytes of a release, for every input.
    pub(super) answer: usize,
    pub(super) session: Option<Arc<HelperSession>>,
    pub(super) starting: Option<Starting>,
    /// Why the last session could not begin, when none has since.
    pub(super) refused: Option<NodeError>,
    /// After a session could not begin: when the next one is offered.
    pub(super) paused_until: Option<Instant>,
    pub(super) epoch: Option<Arc<HelperEpoch>>,
    /// The last epoch is retired: until a model is loaded, requests are refused.
    pub(super) retired: Option<ProtocolError>,
    pub(super) commands: Sender<Command>,
    pub(super) dealing: Option<InboxHandle>,
    pub(super) dealt: Receiver<Ended>,
    pub(super) supply: Supply,
    pub(super) max_batch: u32,
    pub(super) failure_limit: u32,
    pub(super) requests_of_client: usize,
    pub(super) requests: VecDeque<Waiting>,
    pub(super) flight: Option<Flight>,
    /// The owner's wish for a load, until nothing else goes on.
    pub(super) load_request: Option<Received>,
    pub(super) loading: Option<Loading>,
    pub(super) busy: Arc<AtomicBool>,
    pub(super) limits: Limits,
    pub(super) reporter: Reporter,
    #[cfg(feature = "danger")]
    pub(super) stop_after_decision: bool,
}

/// A request that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    client: Peer,
    request: Request,
    /// It waits for material, and hears why when there is none.
    pub(super) asked: bool,
    /// When it came.
    since: Instant,
}

/// The inference in flight.
#[derive(Debug)]
pub(super) struct Flight {
    dealt: Dealt,
    epoch: Arc<HelperEpoch>,
    binding: Binding,
    checks: Vec<Option<CheckMessage>>,
    since: Instant,
    until: Instant,
}

impl Flight {
    /// Why the inference ends, when that is what this means. Of a party that still lacks messages
    /// of others, the helper would have heard.
    fn ended_by(&self, incoming: &Incoming, parties: &[Peer]) -> Option<NodeError> {
        let this = self.dealt.scope();
        if matches!(incoming, Incoming::Message(m) if m.header.scope() != this) {
            return None;
        }
        let missing = self.checks.iter().position(Option::is_none).unwrap_or(0);
        let wait = Wait { from: &parties[missing], step: &Step::Check, since: self.since, until: self.until };
        wait.ended_by(incoming, |peer| match peer {
            Peer::Party(_) => Part::Needed,
            Peer::Helper | Peer::Owner | Peer::Client(_) => Part::Bystander,
        })
    }

    fn header(&self, kind: Kind) -> Header {
        Header::new(kind, self.dealt.scope(), 0)
    }
}

impl Helper {
    pub(super) fn run(mut self) {
        let error = loop {
            if let Err(error) = self.step() {
                break error;
            }
        };
        if !matches!(error, NodeError::Stopped) {
            self.reporter.report(Event::Fatal { error });
        }
    }

    pub(super) fn party_peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    fn step(&mut self) -> Result<(), NodeError> {
        self.keep_session()?;
        self.take_dealt();
        self.refuse_late();
        self.begin_load()?;
        self.advance_load()?;
        self.start_next()?;
        let flight = self.flight.as_ref().map(|f| f.dealt.scope());
        let loading = self.loading.as_ref();
        let turn = self.requests.front().map(|waiting| waiting.since + self.limits.turn());
        let deadlines = [
            self.flight.as_ref().map(|f| f.until),
            // One that waits for a session that is being begun ends with that.
            loading.filter(|load| !(load.waits() && self.starting.is_some())).map(Loading::deadline),
            turn,
            self.starting.as_ref().map(Starting::deadline),
            // Once it is over, links are what a session waits for.
            self.paused_until.filter(|until| *until > clock::now()),
        ];
        let idle = clock::now() + Duration::from_secs(3600);
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(idle);
        let starting = self.starting.is_some();
        let incoming = self.inbox.next(deadline, |peer, h| want(flight, loading, starting, peer, h))?;
        let parties = self.party_peers();
        let lost = matches!(&incoming, Incoming::Lost(Peer::Party(_), _));
        if let Some(error) = self.starting.as_ref().and_then(|s| s.ended_by(&incoming, &parties)) {
            return self.fail_start(error);
        }
        if let Some(error) = self.loading.as_ref().and_then(|l| l.ended_by(&incoming, &parties)) {
            return self.give_up_load(error);
        }
        if let Some(error) = self.flight.as_ref().and_then(|f| f.ended_by(&incoming, &parties)) {
            self.fail_flight(error);
            if lost {
                self.end_session();
            }
            return Ok(());
        }
        if lost {
            self.end_session();
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
                // The last of several counts: the owner may have given up the others. While one is
                // loading it has asked already, unless it came anew.
                if self.loading.as_ref().is_none_or(|loading| loading.owner_left) {
                    self.load_request = Some(message);
                }
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

    /// Queues a client's request, or says why not.
    fn request(&mut self, message: &Received) {
        let client = message.peer.clone();
        let checked = control::decode::<Request>(message.body()).and_then(|request| {
            let known = |name: &String| matches!(Peer::parse(name, self.parties), Some(Peer::Client(_)));
            if request.batch == 0 || request.batch > self.max_batch {
                let (batch, most) = (request.batch, self.max_batch);
                return Err(Fault::NotAllowed(format!("a batch of {batch}; 1 to {most} are allowed")));
            }
            if request.also_to.len() > MAX_RECEIVERS || !request.also_to.iter().all(known) {
                return Err(Fault::NotAllowed("these receivers".into()));
            }
            let of_client = self.requests.iter().filter(|waiting| waiting.client == client).count();
            if of_client >= self.requests_of_client {
                return Err(Fault::NotAllowed(format!("more than {of_client} waiting requests of a client")));
            }
            if self.requests.len() >= MAX_REQUESTS {
                return Err(Fault::NotAllowed(format!("more than {MAX_REQUESTS} waiting requests")));
            }
            Ok(request)
        });
        match checked {
            Ok(request) => {
                let since = clock::now();
                self.requests.push_back(Waiting { client, request, asked: false, since });
            }
            Err(fault) => {
                let error = ProtocolError::peer(&client, Step::Input, fault);
                self.tell(&client, message.header, &AbortNotice::of(&error, &Step::Input));
            }
        }
    }

    pub(super) fn tell(&mut self, to: &Peer, header: Header, notice: &AbortNotice) {
        if let Ok(body) = control::encode(notice) {
            self.inbox.send(to, Header { kind: Kind::Abort, ..header }, &body).ok();
        }
    }

    fn take_dealt(&mut self) {
        while let Ok(Ended { scope, batch, ordered, dealt }) = self.dealt.try_recv() {
            // Dealt while another model was being loaded, or in a session that ended.
            if !self.uses(scope) {
                continue;
            }
            if ordered {
                self.supply.arrived(batch);
            }
            match dealt {
                Ok(Some(dealt)) => self.supply.add(dealt, ordered),
                Ok(None) => {}
                Err(error) => {
                    let waiting = self.requests.iter().position(|w| w.asked && w.request.batch == batch);
                    if let Some(waiting) = waiting.and_then(|at| self.requests.remove(at)) {
                        self.refuse(&waiting.client, &error.notice(&Step::Preprocessing { layer: None }));
                    }
                }
            }
        }
    }

    /// Tells a client that its request comes to nothing. It has no ticket, so it knows of no id.
    fn refuse(&mut self, client: &Peer, notice: &AbortNotice) {
        self.tell(client, Header::new(Kind::Abort, Scope::NONE, 0), notice);
    }

    /// Refuses requests that waited so long that their clients are about to give up: for a session
    /// that some party kept from beginning, or in a queue, which is nobody's fault.
    fn refuse_late(&mut self) {
        while self.requests.front().is_some_and(|w| clock::now() >= w.since + self.limits.turn()) {
            let Some(late) = self.requests.pop_front() else { return };
            let waited = clock::since(late.since).as_millis() as u64;
            let error = self.why_no_session(&Step::Input, late.since);
            let error = error.unwrap_or_else(|| ProtocolError::NoTurn { waited }.into());
            self.refuse(&late.client, &error.notice(&Step::Input));
        }
    }

    /// Whether material is of the present session and epoch.
    fn uses(&self, scope: Scope) -> bool {
        let epoch = self.epoch.as_ref().is_some_and(|epoch| epoch.epoch() == scope.epoch);
        epoch && self.session.as_ref().is_some_and(|session| session.id() == scope.session)
    }

    /// Binds the oldest request to dealt material, when nothing is in flight.
    fn start_next(&mut self) -> Result<(), NodeError> {
        if self.flight.is_some() {
            return Ok(());
        }
        if let Some(Err(retired)) = self.epoch.as_ref().map(|epoch| epoch.usable()) {
            if let Some(epoch) = self.epoch.take() {
                self.store.retire(epoch.epoch())?;
            }
            self.supply.clear();
            self.retired = Some(retired);
        }
        if let Some(retired) = self.retired.clone() {
            self.refuse_waiting(&retired);
            return Ok(());
        }
        if self.session.is_none() {
            return Ok(());
        }
        let Some(epoch) = self.epoch.clone() else { return Ok(()) };
        self.refuse_what_cannot_be_kept();
        let Some(waiting) = self.requests.front_mut() else { return Ok(()) };
        let batch = waiting.request.batch;
        let Some(Claimed { dealt, dealt_ahead }) = self.supply.claim(batch) else {
            waiting.asked = true;
            let order = self.supply.order(batch);
            order.burned.into_iter().for_each(|scope| self.command(Command::Burn(scope)));
            if order.send {
                self.command(Command::Wanted(batch));
            }
            return Ok(());
        };
        let Some(Waiting { client, request, .. }) = self.requests.pop_front() else { return Ok(()) };
        // Before the dealing thread hears that one was taken: it is not to deal while this one is
        // in flight.
        self.busy.store(true, Ordering::SeqCst);
        dealt_ahead.into_iter().for_each(|batch| self.command(Command::Taken(batch)));
        let receivers = receivers(&client, &request);
        let binding = Binding { plan: self.digest, batch, client: client.to_string(), receivers };
        self.inbox.set_hop(0);
        // A receiver may have connected just before the client asked.
        self.inbox.take_arrivals();
        let flight = Flight {
            dealt,
            epoch,
            checks: self.parties.all().map(|_| None).collect(),
            since: clock::now(),
            until: clock::now() + self.limits.checks(),
            binding,
        };
        let started = self.announce(&flight, &client);
        self.flight = Some(flight);
        if let Err(error) = started {
            self.refuse(&client, &error.notice(&Step::Input));
            self.fail_flight(error);
        }
        Ok(())
    }

    /// Refuses requests whose decision could not be recorded and kept until it is delivered, before
    /// anything is told of them.
    fn refuse_what_cannot_be_kept(&mut self) {
        self.store.expire_releases(SystemTime::now());
        while let Some(Waiting { client, request, .. }) = self.requests.front() {
            let receivers = receivers(client, request);
            let release = Release::bytes(receivers.len(), self.answer * request.batch as usize);
            let Err(what) = self.store.room_for_decision(&receivers, release) else { return };
            let error = ProtocolError::peer(client.clone(), Step::Input, Fault::NotAllowed(what));
            let client = client.clone();
            self.requests.pop_front();
            let header = Header::new(Kind::Abort, Scope::NONE, 0);
            self.tell(&client, header, &AbortNotice::of(&error, &Step::Input));
        }
    }

    /// Tells all who wait why they wait in vain.
    fn refuse_waiting(&mut self, error: &ProtocolError) {
        let notice = AbortNotice::of(error, &Step::Input);
        for waiting in std::mem::take(&mut self.requests) {
            self.refuse(&waiting.client, &notice);
        }
    }

    fn announce(&mut self, flight: &Flight, client: &Peer) -> Result<(), NodeError> {
        let body = control::encode(&flight.binding)?;
        for party in self.party_peers() {
            self.announce_to(&party, flight.header(Kind::Bind), &body)?;
        }
        for name in &flight.binding.receivers[1..] {
            if let Some(receiver) = Peer::parse(name, self.parties) {
                self.announce_to(&receiver, flight.header(Kind::Invite), &body)?;
            }
        }
        // Only the bound client, over its own channel, learns the seeds of the input mask.
        let grant = TicketGrant { binding: flight.binding.clone(), seeds: flight.dealt.grant().encode() };
        let mut body = control::encode(&grant)?;
        let sent = self.announce_to(client, flight.header(Kind::Ticket), &body);
        zeroize::Zeroize::zeroize(&mut body);
        sent
    }

    /// Sends a message without which an inference cannot be; who cannot be reached is named.
    fn announce_to(&mut self, to: &Peer, header: Header, body: &[u8]) -> Result<(), NodeError> {
        let sent = self.inbox.send(to, header, body);
        sent.map_err(|e| ProtocolError::peer(to, Step::Input, lost(&e)).into())
    }

    /// Takes a party's message; with the last one, decides.
    fn check(&mut self, message: &Received) -> Result<(), NodeError> {
        let (Some(flight), Peer::Party(from)) = (&mut self.flight, &message.peer) else { return Ok(()) };
        let receivers = flight.binding.receivers.len();
        let decoded =
            CheckMessage::decode(&self.plan, flight.dealt.batch(), receivers, *from, message.body());
        let slot = &mut flight.checks[from.index()];
        let failure = match (decoded, slot.is_some()) {
            (Err(error), _) => Some(error),
            (Ok(_), true) => {
                Some(ProtocolError::peer(from, Step::Check, Fault::Duplicate("check message".into())))
            }
            (Ok(decoded), false) => {
                *slot = Some(decoded);
                None
            }
        };
        if let Some(error) = failure {
            self.fail_flight(error.into());
            return Ok(());
        }
        if flight.checks.iter().all(Option::is_some) {
            return self.decide();
        }
        Ok(())
    }

    fn decide(&mut self) -> Result<(), NodeError> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let Flight { dealt, epoch, binding, checks, .. } = flight;
        let scope = dealt.scope();
        let checks: Vec<CheckMessage> = checks.into_iter().flatten().collect();
        match epoch.verify(dealt, &checks) {
            Ok(accepted) => {
                let release = accepted.release(self.store.receivers(&binding.receivers))?;
                #[cfg(feature = "danger")]
                if self.stop_after_decision {
                    return Err(NodeError::Stopped);
                }
                for (index, name) in binding.receivers.iter().enumerate() {
                    self.send_release(scope, name, index, &release);
                }
                for party in self.party_peers() {
                    self.inbox.send(&party, Header::new(Kind::Outcome, scope, 0), &[]).ok();
                }
                let id = scope.id;
                self.reporter.report(Event::Finished { id, sent: Vec::new(), waited_for_material: false });
            }
            Err(error) => {
                // Counted before anybody hears of it: what failures say of the keys is bounded
                // across restarts.
                self.store.record_failed_checks(epoch.epoch(), epoch.failures())?;
                self.tell_failure(scope, &binding, error.into());
            }
        }
        self.landed();
        Ok(())
    }

    fn send_release(&mut self, scope: Scope, receiver: &str, index: usize, release: &Release) {
        if let (Some(peer), Some(body)) = (Peer::parse(receiver, self.parties), release.message(index)) {
            // A receiver that is away gets it when it comes back.
            self.inbox.send(&peer, Header::new(Kind::Release, scope, 0), &body).ok();
        }
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
            self.send_release(scope, &name, index, &release);
        }
        Ok(())
    }

    fn fail_flight(&mut self, error: NodeError) {
        if let Some(flight) = self.flight.take() {
            self.tell_failure(flight.dealt.scope(), &flight.binding, error);
            self.landed();
        }
    }

    fn tell_failure(&mut self, scope: Scope, binding: &Binding, error: NodeError) {
        let notice = error.notice(&Step::Check);
        let header = Header::new(Kind::Abort, scope, 0);
        let receivers = binding.receivers.iter().filter_map(|name| Peer::parse(name, self.parties));
        for peer in self.party_peers().into_iter().chain(receivers.collect::<Vec<_>>()) {
            self.tell(&peer, header, &notice);
        }
        self.reporter.report(Event::Failed { id: scope.id, error });
    }

    fn landed(&mut self) {
        self.busy.store(false, Ordering::SeqCst);
        if let Some(handle) = &self.dealing {
            handle.wake();
        }
    }
}

/// Receivers of an inference, the client first, each once.
fn receivers(client: &Peer, request: &Request) -> Vec<String> {
    let mut receivers = vec![client.to_string()];
    for name in &request.also_to {
        if !receivers.contains(name) {
            receivers.push(name.clone());
        }
    }
    receivers
}

fn want(flight: Option<Scope>, loading: Option<&Loading>, starting: bool, peer: &Peer, h: &Header) -> Want {
    match (peer, h.kind) {
        (Peer::Party(_), Kind::SessionAnswer | Kind::Abort) if starting => return Want::Take,
        (Peer::Owner, Kind::LoadRequest) => return Want::Take,
        (Peer::Client(_), Kind::Request | Kind::ReleaseAck) => return Want::Take,
        (Peer::Party(_), Kind::Check | Kind::Abort) if flight == Some(h.scope()) => return Want::Take,
        _ => {}
    }
    if let Some(verdict) = loading.and_then(|loading| loading.want(peer, h)) {
        return verdict;
    }
    match (peer, h.kind) {
        // Sent before the party knew that the inference ended.
        (Peer::Party(_), Kind::Abort) => Want::Drop,
        (Peer::Party(_), Kind::Check) if flight.is_none_or(|flight| h.id < flight.id) => Want::Drop,
        (Peer::Party(_), kind) => Want::Refuse(Fault::Unexpected(format!("{kind:?}"))),
        _ => Want::Drop,
    }
}
