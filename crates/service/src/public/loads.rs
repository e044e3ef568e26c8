//! Loads of models over public ports: asked for and sealed at the helper, put part by part at the
//! parties. Connections may break meanwhile: what a party has it keeps as long as the session lasts,
//! and the owner puts the rest.

use super::Front;
use super::places::{Guest, Said};
use super::problem::Refused;
use crate::token::Grant;
use amicus::client::https::{PartsThere, id_of};
use amicus::plan::PlanDigest;
use amicus::protocol::authentic::TAG_BYTES;
use amicus::protocol::wire::{Header, Kind};
use amicus::protocol::{InferenceId, Scope};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often it is looked whether the node has taken a part.
const GLANCE: Duration = Duration::from_micros(500);
/// How often it is looked whether another's load has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Parts of a load that are remembered, at most: as many as a plan may have at all.
const MAX_PARTS: usize = 1 << 20;

/// The load that goes on at this node, if one does.
#[derive(Default)]
pub(super) struct Loads(Mutex<Option<Arc<Load>>>);

struct Load {
    scope: Scope,
    token: String,
    /// The owner's place at the node. A party's next load has it too: the party may have said that it
    /// is ready before the owner asks.
    guest: Arc<tokio::sync::Mutex<Guest>>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    ready: bool,
    outcome: Option<Result<(), Refused>>,
    nonce: Option<[u8; TAG_BYTES]>,
    parts: HashMap<(u32, u32), [u8; TAG_BYTES]>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    fn new(scope: Scope, token: String, guest: Arc<tokio::sync::Mutex<Guest>>) -> Arc<Self> {
        let state = State { ready: false, outcome: None, nonce: None, parts: HashMap::new() };
        Arc::new(Load { scope, token, guest, state: Mutex::new(state), changed: Notify::new() })
    }
}

impl Loads {
    /// Somebody else's load, if one is remembered that may go on.
    fn of_another(&self, grant: &Grant) -> Option<InferenceId> {
        let now = lock(&self.0);
        let goes_on = |load: &&Arc<Load>| load.token != grant.id && lock(&load.state).outcome.is_none();
        now.as_ref().filter(goes_on).map(|load| load.scope.id)
    }
}

impl Front {
    /// Refuses an owner while another's model is being loaded.
    async fn may_load(&self, grant: &Grant) -> Result<(), Refused> {
        let Some(other) = self.loads.of_another(grant) else { return Ok(()) };
        if self.level().await.loading != Some(other) {
            return Ok(());
        }
        let what = "another owner's model is being loaded";
        Err(Refused::conflict(what, "wait until it is loaded").after(Duration::from_secs(10)))
    }
}

impl Loads {
    /// The load with this id, if it is this token's.
    fn of(&self, scope: Scope, grant: &Grant) -> Result<Arc<Load>, Refused> {
        let found = lock(&self.0).clone().filter(|load| load.scope == scope && load.token == grant.id);
        found.ok_or_else(|| {
            let what = "no load with this id goes on here with this token";
            Refused::missing(what, "ask the helper for a load; one ends with the session that it began in")
        })
    }
}

/// Asks the helper for a load; returns its id and the grant.
pub(super) async fn ask(front: &Arc<Front>, grant: &Grant, body: &[u8]) -> Result<(String, Said), Refused> {
    let plan = <[u8; 32]>::try_from(body).map(PlanDigest).map_err(|_| {
        let what = format!("the digest of a plan has 32 bytes, this has {}", body.len());
        Refused::invalid(what, "send the digest's bytes")
    })?;
    front.facts.allowed(grant, &plan)?;
    front.may_load(grant).await?;
    *lock(&front.loads.0) = None;
    let mut guest = front.places.owner();
    guest.ask(Header::new(Kind::LoadRequest, Scope::NONE, 0), body)?;
    let grant_of_helper = tokio::time::timeout(front.facts.patience.load, async {
        loop {
            let said = guest.hear(|_| true).await?;
            match said.header.kind {
                Kind::LoadGrant => return Ok(said),
                Kind::Abort if said.header.id == InferenceId(0) => {
                    return Err(said.refusal().unwrap_or_else(Refused::node_ended));
                }
                _ => {}
            }
        }
    });
    let said =
        grant_of_helper.await.unwrap_or_else(|_| Err(Refused::no_answer("the helper grants no load")))?;
    let scope = said.header.scope();
    let load = Load::new(scope, grant.id.clone(), Arc::new(tokio::sync::Mutex::new(guest)));
    *lock(&front.loads.0) = Some(Arc::clone(&load));
    let patience = front.facts.patience.load.saturating_mul(4);
    tokio::spawn(async move {
        let guest = load.guest.lock().await;
        let outcome = tokio::time::timeout(patience, async {
            loop {
                let said = guest.hear(|about| about == scope).await?;
                match said.header.kind {
                    Kind::LoadAccepted => return Ok(()),
                    Kind::Abort => return Err(said.refusal().unwrap_or_else(Refused::node_ended)),
                    _ => {}
                }
            }
        });
        let late = || Err(Refused::no_answer("the helper does not say whether the load is accepted"));
        lock(&load.state).outcome = Some(outcome.await.unwrap_or_else(|_| late()));
        load.changed.notify_waiters();
    });
    Ok((id_of(scope), said))
}

/// Waits for the helper's word on a load.
pub(super) async fn seal(front: &Front, grant: &Grant, scope: Scope) -> Result<(), Refused> {
    let load = front.loads.of(scope, grant)?;
    loop {
        let mut changed = std::pin::pin!(load.changed.notified());
        changed.as_mut().enable();
        if let Some(outcome) = &lock(&load.state).outcome {
            return outcome.clone();
        }
        changed.await;
    }
}

/// Waits until this party takes parts of a load.
pub(super) async fn announce(front: &Arc<Front>, grant: &Grant, scope: Scope) -> Result<(), Refused> {
    // This party may not have heard yet that another's has ended.
    let since = Instant::now();
    while let Err(refused) = front.may_load(grant).await {
        if since.elapsed() > front.facts.patience.round {
            return Err(refused);
        }
        tokio::time::sleep(LOOK).await;
    }
    let load = match front.loads.of(scope, grant) {
        Ok(load) => load,
        Err(_) => {
            let mut now = lock(&front.loads.0);
            let before = now.as_ref().map(|load| Arc::clone(&load.guest));
            let guest = before.unwrap_or_else(|| Arc::new(tokio::sync::Mutex::new(front.places.owner())));
            Arc::clone(now.insert(Load::new(scope, grant.id.clone(), guest)))
        }
    };
    let mut guest = load.guest.lock().await;
    if !guest.is_open() {
        *guest = front.places.owner();
    }
    if lock(&load.state).ready {
        return Ok(());
    }
    let ready = tokio::time::timeout(front.facts.patience.load, async {
        loop {
            let said = guest.hear(|about| about == scope).await?;
            match said.header.kind {
                Kind::LoadReady => return Ok(()),
                Kind::Abort => return Err(said.refusal().unwrap_or_else(Refused::node_ended)),
                _ => {}
            }
        }
    });
    ready.await.unwrap_or_else(|_| Err(Refused::no_answer("this party is not ready for the load")))?;
    lock(&load.state).ready = true;
    Ok(())
}

/// Which parts of a load this party has.
pub(super) fn parts_there(front: &Front, grant: &Grant, scope: Scope) -> Result<PartsThere, Refused> {
    let load = front.loads.of(scope, grant)?;
    let state = lock(&load.state);
    let mut there = PartsThere { nonce: state.nonce.is_some(), ..PartsThere::default() };
    for (tensor, part) in state.parts.keys() {
        there.weights.entry(*tensor).or_default().push(*part);
    }
    there.weights.values_mut().for_each(|parts| parts.sort_unstable());
    Ok(there)
}

/// What is put at a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Nonce,
    Part { tensor: u32, part: u32 },
}

/// Gives the party a part of a load. The same bytes again change nothing; others are the party's to
/// judge, which ends the load if they are the owner's.
pub(super) async fn put(
    front: &Front,
    grant: &Grant,
    scope: Scope,
    what: Put,
    body: &[u8],
) -> Result<(), Refused> {
    let load = front.loads.of(scope, grant)?;
    let Some((message, tag)) = body.split_last_chunk::<TAG_BYTES>() else {
        return Err(Refused::invalid("a part ends with a tag of 32 bytes", "send the whole part"));
    };
    if let Put::Part { part, .. } = what
        && message.first_chunk() != Some(&part.to_le_bytes())
    {
        let said = "this is another part of the tensor than the path says";
        return Err(Refused::invalid(said, "put every part at its own path"));
    }
    let guest = load.guest.lock().await;
    let known = {
        let state = lock(&load.state);
        if !state.ready {
            let what = "this party is not ready for parts";
            return Err(Refused::conflict(what, "announce the load first, and wait for the answer"));
        }
        match what {
            Put::Nonce => state.nonce,
            Put::Part { tensor, part } => state.parts.get(&(tensor, part)).copied(),
        }
    };
    if known.as_ref() == Some(tag) {
        return Ok(());
    }
    let header = match what {
        Put::Nonce => Header::new(Kind::Nonce, scope, 0),
        Put::Part { tensor, .. } => Header::new(Kind::Weights, scope, tensor),
    };
    front.places.say(guest.number(), header, body)?;
    // One part at a time: what the node has not taken is not piled up before it.
    let taken = async {
        while guest.untaken() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
    };
    let late = || Refused::no_answer("this party does not take the part");
    tokio::time::timeout(front.facts.patience.load, taken).await.map_err(|_| late())?;
    if known.is_some() {
        let what = "other bytes were put here before; if these are the owner's, the load has ended";
        return Err(Refused::conflict(what, "begin a new load"));
    }
    let mut state = lock(&load.state);
    match what {
        Put::Nonce => state.nonce = Some(*tag),
        Put::Part { tensor, part } if state.parts.len() < MAX_PARTS => {
            state.parts.insert((tensor, part), *tag);
        }
        Put::Part { .. } => {}
    }
    Ok(())
}
