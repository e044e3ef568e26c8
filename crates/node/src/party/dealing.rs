//! Preprocessing at a party: takes what the helper deals, expands it, and keeps it ready for the
//! online thread.

use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, InboxHandle, Incoming, Received, Want};
use crate::store::Store;
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::epoch::PartyEpoch;
use amicus_protocol::preprocess::Material;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, InferenceId, ProtocolError, Step};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the dealing thread tells the online thread.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Material for an inference.
    Material(Material),
    /// The helper will not bind this inference.
    Burned(EpochId, InferenceId),
}

pub(super) struct Dealer {
    pub(super) inbox: Inbox,
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) epochs: Receiver<Arc<PartyEpoch>>,
    pub(super) epoch: Option<Arc<PartyEpoch>>,
    pub(super) prepared: Sender<Prepared>,
    pub(super) online: InboxHandle,
    pub(super) max_batch: u32,
    pub(super) limits: Limits,
    pub(super) reporter: Reporter,
}

impl Dealer {
    pub(super) fn run(mut self) {
        loop {
            let deal =
                self.inbox.next(clock::now() + Duration::from_secs(3600), |peer, h| match (peer, h.kind) {
                    (Peer::Helper, Kind::Deal | Kind::Abort) => Want::Take,
                    (Peer::Helper, Kind::DealCorrection) => Want::Keep,
                    _ => Want::Drop,
                });
            let result = match deal {
                Ok(Incoming::Message(notice)) if notice.header.kind == Kind::Abort => {
                    self.tell(Prepared::Burned(notice.header.epoch, notice.header.id));
                    Ok(())
                }
                Ok(Incoming::Message(deal)) => self.prepare(&deal).map_err(|e| (deal.header, e)),
                Ok(_) => Ok(()),
                Err(NodeError::Stopped) => return,
                Err(error) => {
                    self.reporter.report(Event::Fatal { error });
                    return;
                }
            };
            match result {
                Ok(()) => {}
                Err((_, NodeError::Stopped)) => return,
                Err((header, error)) => {
                    let step = Step::Preprocessing { layer: None };
                    if let Ok(body) = amicus_protocol::control::encode(&error.notice(&step)) {
                        self.inbox.send(&Peer::Helper, Header { kind: Kind::Abort, ..header }, &body).ok();
                    }
                    self.reporter.report(Event::DealFailed { error });
                }
            }
        }
    }

    fn prepare(&mut self, message: &Received) -> Result<(), NodeError> {
        let Header { epoch: epoch_id, id, index: batch, .. } = message.header;
        let deadline = clock::now() + self.limits.load;
        let step = Step::Preprocessing { layer: None };
        let wait = Wait::new(&Peer::Helper, &step, deadline);
        if batch == 0 || batch > self.max_batch {
            return Err(wait.fault_of(wait.from, Fault::Unexpected(format!("batch of {batch}"))));
        }
        let epoch = self.epoch(epoch_id, deadline)?;
        // From here on the id is spent, whatever happens (`docs/protocol.md`, section 7).
        let store = self.store.lock();
        let store = store.map_err(|_| ProtocolError::Internal("a thread with the store panicked".into()));
        let fresh = store?.spend_inference(epoch_id, id)?;
        let mut deal = epoch.begin_deal(fresh, batch as usize);
        while !deal.complete() {
            let correction = self.inbox.exchange(&wait, part, |peer, h| match (peer, h.kind) {
                (Peer::Helper, Kind::DealCorrection) if (h.epoch, h.id) == (epoch_id, id) => Want::Take,
                (Peer::Helper, Kind::DealCorrection | Kind::Deal) if (h.epoch, h.id) > (epoch_id, id) => {
                    Want::Keep
                }
                (Peer::Helper, Kind::DealCorrection) => Want::Drop,
                (Peer::Helper, Kind::Abort) if (h.epoch, h.id) == (epoch_id, id) => Want::Take,
                (Peer::Helper, Kind::Abort) => Want::Keep,
                (Peer::Helper, _) => Want::Refuse(Fault::Unexpected(format!("{:?}", h.kind))),
                // Only the helper deals.
                _ => Want::Drop,
            })?;
            deal.correction(&epoch, correction.header.index, correction.body())?;
        }
        let material = epoch.prepare(deal)?;
        self.tell(Prepared::Material(material));
        self.inbox.send(&Peer::Helper, Header::inference(Kind::Ready, epoch_id, id, 0), &[])?;
        Ok(())
    }

    fn tell(&self, prepared: Prepared) {
        // The online thread ends only with this one.
        let _ = self.prepared.send(prepared);
        self.online.wake();
    }

    /// The epoch dealt for; the helper may deal before the online thread has finished loading it.
    fn epoch(&mut self, id: EpochId, deadline: Instant) -> Result<Arc<PartyEpoch>, NodeError> {
        loop {
            self.epoch = self.epochs.try_iter().last().or(self.epoch.take());
            match &self.epoch {
                Some(epoch) if epoch.epoch() == id => return Ok(Arc::clone(epoch)),
                // Dealt while another model was being loaded.
                Some(epoch) if epoch.epoch() > id => {
                    return Err(ProtocolError::NotLoaded { epoch: id }.into());
                }
                _ => {}
            }
            if self.inbox.handle().stopped() {
                return Err(NodeError::Stopped);
            }
            match clock::receive(&self.epochs, clock::now() + Duration::from_millis(100)) {
                Ok(epoch) => self.epoch = Some(epoch),
                Err(_) if clock::now() < deadline => {}
                Err(_) => return Err(ProtocolError::NotLoaded { epoch: id }.into()),
            }
        }
    }
}

/// Who takes part in dealing.
fn part(peer: &Peer) -> Part {
    if *peer == Peer::Helper { Part::Needed } else { Part::Bystander }
}
