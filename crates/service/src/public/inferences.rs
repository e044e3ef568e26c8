//! Inferences at the helper's public port: asked for, followed until they are decided, and released
//! to whose token asked.

use super::Front;
use super::places::{Guest, Said};
use super::problem::Refused;
use crate::token::Grant;
use amicus::client::https::id_of;
use amicus::protocol::control::{self, Request};
use amicus::protocol::wire::{Header, Kind};
use amicus::protocol::{InferenceId, Scope};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Decided inferences that are remembered, at most; the oldest give way. The node itself keeps their
/// releases, for longer.
const REMEMBERED: usize = 1 << 10;

/// Inferences that were asked for here.
#[derive(Default)]
pub(super) struct Inferences(Mutex<HashMap<Scope, Arc<Asked>>>);

/// An inference.
struct Asked {
    /// Whose it is.
    token: String,
    /// Its place at the node.
    place: usize,
    since: Instant,
    outcome: Mutex<Option<Result<Arc<Said>, Refused>>>,
    decided: Notify,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the helper for an inference; returns its id and the ticket.
pub(super) async fn ask(front: &Arc<Front>, grant: &Grant, body: &[u8]) -> Result<(String, Said), Refused> {
    let request: Request = control::decode(body).map_err(|fault| {
        Refused::invalid(
            format!("this is no request for an inference: {fault}"),
            "send the body that docs/api.md describes",
        )
    })?;
    front.facts.allowed(grant, &request.plan)?;
    let lane = front.enter(grant)?;
    front.take(grant, request.batch)?;
    let mut guest = front.places.guest()?;
    guest.ask(Header::new(Kind::Request, Scope::NONE, 0), body)?;
    let turn = front.facts.patience.turn;
    let new = |scope: Scope| scope.id == InferenceId(0) || !lock(&front.inferences.0).contains_key(&scope);
    let said = loop {
        let said = tokio::time::timeout(turn, guest.hear(new)).await;
        let said = said.map_err(|_| Refused::no_answer("the helper gives no ticket"))??;
        match said.header.kind {
            Kind::Ticket => break said,
            Kind::Abort if said.header.id == InferenceId(0) => {
                guest.settle();
                return Err(said.refusal().unwrap_or_else(Refused::node_ended));
            }
            _ => {}
        }
    };
    let scope = said.header.scope();
    let (token, place) = (grant.id.clone(), guest.number());
    let (since, outcome, decided) = (Instant::now(), Mutex::new(None), Notify::new());
    let asked = Arc::new(Asked { token, place, since, outcome, decided });
    front.inferences.remember(scope, Arc::clone(&asked));
    tokio::spawn(follow(asked, scope, guest, lane, front.facts.patience.outcome));
    Ok((id_of(scope), said))
}

/// Hears how an inference is decided.
async fn follow(asked: Arc<Asked>, scope: Scope, mut guest: Guest, lane: super::Lane, patience: Duration) {
    let decision = async {
        loop {
            let said = guest.hear(|about| about == scope).await?;
            match said.header.kind {
                Kind::Release => return Ok(Arc::new(said)),
                Kind::Abort => return Err(said.refusal().unwrap_or_else(Refused::node_ended)),
                _ => {}
            }
        }
    };
    let late = || Err(Refused::no_answer("the helper does not say how the inference ended"));
    let decision = tokio::time::timeout(patience, decision).await;
    if decision.is_ok() {
        guest.settle();
    }
    *lock(&asked.outcome) = Some(decision.unwrap_or_else(|_| late()));
    drop((guest, lane));
    asked.decided.notify_waiters();
}

impl Inferences {
    fn remember(&self, scope: Scope, asked: Arc<Asked>) {
        let mut all = lock(&self.0);
        if all.len() >= REMEMBERED {
            let decided = all.iter().filter(|(_, asked)| lock(&asked.outcome).is_some());
            let oldest = decided.min_by_key(|(_, asked)| asked.since).map(|(scope, _)| *scope);
            oldest.map(|scope| all.remove(&scope));
        }
        all.insert(scope, asked);
    }

    /// An inference of this token's. One of another's is none.
    fn of(&self, scope: Scope, grant: &Grant) -> Result<Arc<Asked>, Refused> {
        let found = lock(&self.0).get(&scope).filter(|asked| asked.token == grant.id).cloned();
        found.ok_or_else(|| {
            let what = "no inference with this id was asked for with this token, or it was acknowledged";
            Refused::missing(
                what,
                "take the id that the helper gave with the ticket, and the token that asked",
            )
        })
    }
}

/// How often, and how long in between, a release of before this node was started is looked for.
const LOOKS: (u32, Duration) = (5, Duration::from_millis(50));

/// The release of an inference, once there is one.
pub(super) async fn release(front: &Front, grant: &Grant, scope: Scope) -> Result<Arc<Said>, Refused> {
    let asked = match front.inferences.of(scope, grant) {
        Ok(asked) => asked,
        Err(none) => {
            // Whose it is is not known any more. It is encrypted to whoever asked.
            if lock(&front.inferences.0).contains_key(&scope) {
                return Err(none);
            }
            for _ in 0..LOOKS.0 {
                if let Some(left) = front.places.left(scope) {
                    return Ok(left);
                }
                tokio::time::sleep(LOOKS.1).await;
            }
            return Err(none);
        }
    };
    loop {
        let decided = asked.decided.notified();
        let mut decided = std::pin::pin!(decided);
        // Before the look: what is decided after it rings.
        decided.as_mut().enable();
        if let Some(outcome) = &*lock(&asked.outcome) {
            return outcome.clone();
        }
        decided.await;
    }
}

/// The client has the release: nobody keeps it any more.
pub(super) fn acknowledge(front: &Front, grant: &Grant, scope: Scope) -> Result<(), Refused> {
    let asked = front.inferences.of(scope, grant)?;
    if !matches!(&*lock(&asked.outcome), Some(Ok(_))) {
        let what = "nothing was released that could be acknowledged";
        return Err(Refused::conflict(what, "wait for the release first"));
    }
    front.places.say(asked.place, Header::new(Kind::ReleaseAck, scope, 0), &[])?;
    lock(&front.inferences.0).remove(&scope);
    Ok(())
}
