//! A user who speaks the protocol by hand, message by message: what malicious clients and owners
//! are made of.

use crate::PATIENCE;
use amicus_client::inference::{Admission, Awaiting, PendingRequest};
use amicus_client::{Message, ToParties};
use amicus_field::OperatingSystem;
use amicus_net::{Link, clock};
use amicus_node::connect::{Arrival, InboxHandles};
use amicus_node::inbox::{Inbox, Incoming, Received, Want};
use amicus_node::local::LocalCluster;
use amicus_node::{NodeError, Peer};
use amicus_plan::Plan;
use amicus_protocol::authentic::AuthenticationKeys;
use amicus_protocol::control::{self, AbortNotice, Channel};
use amicus_protocol::wire::Kind;
use amicus_protocol::{Parties, ProtocolError, Step};
use std::sync::Arc;
use std::time::Duration;

/// Links to helper and parties, and nothing else.
pub struct User {
    inbox: Inbox,
    inboxes: InboxHandles,
}

impl Default for User {
    fn default() -> Self {
        Self::new()
    }
}

impl User {
    /// A user without links.
    ///
    /// # Panics
    /// When the operating system gives no handle to wait on.
    pub fn new() -> Self {
        let inbox = Inbox::new(1 << 24).expect("an inbox");
        let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
        User { inbox, inboxes }
    }

    /// A user of a running deployment.
    ///
    /// # Panics
    /// When it cannot be connected.
    pub fn connect(cluster: &mut LocalCluster, parties: Parties, me: &Peer) -> Self {
        let mut user = User::new();
        cluster.connect_user(me, &user.inboxes).expect("a connected user");
        let everybody: Vec<Peer> = parties.all().map(Peer::Party).chain([Peer::Helper]).collect();
        user.inbox.wait_for(&everybody, &Step::Keys, clock::now() + PATIENCE).expect("links");
        user
    }

    /// Connects this user, called `me`, to some nodes of a running deployment, anew where there was a
    /// link.
    ///
    /// # Panics
    /// When it cannot be connected.
    pub fn connect_to(&mut self, cluster: &mut LocalCluster, me: &Peer, nodes: &[Peer]) {
        nodes.iter().for_each(|node| self.close(node));
        cluster.connect_user_to(me, &self.inboxes, nodes).expect("a connected user");
        self.inbox.wait_for(nodes, &Step::Keys, clock::now() + PATIENCE).expect("links");
    }

    /// Joins this user, called `me`, and a node's thread by a link in memory.
    pub fn join(&mut self, me: &Peer, peer: &Peer, inboxes: &InboxHandles, channel: Channel) {
        let (here, there) = Link::pair(&me.to_string(), &peer.to_string());
        self.inbox.insert(peer, here);
        inboxes.deliver(channel, Arrival { peer: me.clone(), link: there });
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When there is no link.
    pub fn send(&mut self, to: &Peer, message: &Message) {
        self.inbox.send(to, message.header, &message.body).expect("a link");
        self.inbox.flush(clock::now() + PATIENCE).expect("a link");
    }

    /// Sends a party a message with this user's tag for it.
    ///
    /// # Panics
    /// When there is no link, or the peer is no party.
    pub fn send_to(&mut self, to: &Peer, message: &ToParties) {
        let Peer::Party(party) = to else { panic!("{to} is no party") };
        self.send(to, &message.message(*party));
    }

    /// Sends a message, if the link still takes it.
    ///
    /// # Errors
    /// How the link ended.
    pub fn try_send(&mut self, to: &Peer, message: &Message) -> Result<(), NodeError> {
        Ok(self.inbox.send(to, message.header, &message.body)?)
    }

    /// Whether all that was sent has left, in time for this test.
    pub fn try_flush(&mut self) -> bool {
        self.inbox.flush(clock::now() + PATIENCE).is_ok()
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When there is no link.
    pub fn send_raw(&mut self, to: &Peer, bytes: &[u8]) {
        self.inbox.send_raw(to, &[bytes]).expect("a link");
        self.inbox.flush(clock::now() + PATIENCE).expect("a link");
    }

    /// Closes a link.
    pub fn close(&mut self, peer: &Peer) {
        self.inbox.close(peer);
    }

    /// The next message from a peer that is of one of these kinds; others are dropped.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect(&mut self, from: &Peer, kinds: &[Kind]) -> Received {
        let deadline = clock::now() + PATIENCE;
        loop {
            let wanted = |peer: &Peer, kind| peer == from && kinds.contains(&kind);
            let next =
                self.inbox.next(deadline, |p, h| if wanted(p, h.kind) { Want::Take } else { Want::Keep });
            match next.expect("a running inbox") {
                Incoming::Message(message) => return message,
                Incoming::Timeout => panic!("no {kinds:?} from {from}"),
                Incoming::Lost(peer, error) if peer == *from => panic!("{peer}: {error}"),
                Incoming::Lost(..) | Incoming::Refused(..) | Incoming::Woken => {}
            }
        }
    }

    /// A message that came already or comes within a time.
    pub fn heard(&mut self, within: Duration) -> Option<Received> {
        let deadline = clock::now() + within;
        loop {
            match self.inbox.next(deadline, |_, _| Want::Take) {
                Ok(Incoming::Message(message)) => return Some(message),
                Ok(Incoming::Timeout) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Asks for an inference and waits for the ticket.
    ///
    /// # Panics
    /// When there is none.
    pub fn ticket(&mut self, plan: &Arc<Plan>, parties: Parties, batch: u32, also_to: &[&str]) -> Admission {
        self.ask(plan, parties, batch, also_to).expect("a ticket")
    }

    /// Asks for an inference; the helper's refusal, if that is what it says.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When the helper says nothing.
    pub fn ask(
        &mut self,
        plan: &Arc<Plan>,
        parties: Parties,
        batch: u32,
        also_to: &[&str],
    ) -> Result<Admission, NodeError> {
        let also_to = also_to.iter().map(|&name| name.to_owned()).collect();
        let (pending, message) =
            PendingRequest::new(Arc::clone(plan), parties, batch, also_to).expect("a request");
        self.send(&Peer::Helper, &message);
        let answer = self.expect(&Peer::Helper, &[Kind::Ticket, Kind::Abort]);
        if answer.header.kind == Kind::Abort {
            return Err(notice(&answer));
        }
        Ok(pending.granted(&answer.header, answer.body(), &mut OperatingSystem).expect("a valid ticket"))
    }

    /// The key, for every party, of an inference of another client that this one is invited to.
    ///
    /// # Panics
    /// When there is no invitation.
    pub fn invited(&mut self, plan: &Plan, parties: Parties) -> ToParties {
        self.invitation(plan, parties).1
    }

    /// An inference of another client that this one is invited to.
    ///
    /// # Panics
    /// When there is no invitation.
    pub fn invitation(&mut self, plan: &Plan, parties: Parties) -> (Awaiting, ToParties) {
        let invite = self.expect(&Peer::Helper, &[Kind::Invite]);
        let (header, body) = (&invite.header, invite.body());
        Awaiting::invited(plan, parties, header, body, &mut OperatingSystem).expect("an invitation")
    }

    /// Waits for the result of an inference.
    ///
    /// # Errors
    /// What the helper says instead.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn result(&mut self, mut awaiting: Awaiting) -> Result<Vec<f64>, NodeError> {
        let deadline = clock::now() + PATIENCE;
        loop {
            if let Some(logits) = awaiting.result()? {
                return Ok(logits);
            }
            let this = awaiting.scope();
            let next =
                self.inbox.next(deadline, |_, h| if h.scope() == this { Want::Take } else { Want::Keep })?;
            let message = match next {
                Incoming::Message(message) => message,
                Incoming::Woken => continue,
                other => panic!("no result: {other:?}"),
            };
            match (&message.peer, message.header.kind) {
                (Peer::Helper, Kind::Abort) => return Err(self::notice(&message)),
                (Peer::Helper, Kind::Release) => awaiting.release(message.body().to_vec()),
                (Peer::Party(party), Kind::Output) => awaiting.output(*party, message.body().to_vec()),
                _ => {}
            }
        }
    }
}

/// Another message than this one, with tags that are right: what its sender could have sent instead.
pub fn changed(
    message: &ToParties,
    keys: &AuthenticationKeys,
    change: impl FnOnce(&mut Message),
) -> ToParties {
    let mut other = Message { header: message.header(), body: message.body().to_vec() };
    change(&mut other);
    ToParties::new(other.header, other.body.clone(), keys)
}

/// A notice as the error it is for those who get it.
///
/// # Panics
/// When it does not decode.
pub fn notice(message: &Received) -> NodeError {
    let notice: AbortNotice = control::decode(message.body()).expect("a notice");
    ProtocolError::Aborted { by: message.peer.clone(), notice: Box::new(notice) }.into()
}
