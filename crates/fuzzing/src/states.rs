//! Bytes for what clients, owner and helper read, each in a state of a small network.

use crate::input::Input;
use amicus_client::fingerprint::Fingerprints;
use amicus_client::inference::{Awaiting, PendingRequest};
use amicus_client::load::Loading;
use amicus_field::{Limbs, OperatingSystem};
use amicus_plan::Plan;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::epoch::{PartyContext, PartyLoad};
use amicus_protocol::input::Ticket;
use amicus_protocol::keys::{CONTRIBUTION_BYTES, KeyAgreement};
use amicus_protocol::output::{Receiver, ReceiverKey, Release};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fresh, InferenceId, Parties, PartyId};
use amicus_testkit::zoo;
use std::cell::OnceCell;
use std::sync::Arc;

const EPOCH: EpochId = EpochId(1);
const ID: InferenceId = InferenceId(1);

thread_local! {
    static PLAN: OnceCell<Arc<Plan>> = const { OnceCell::new() };
}

/// The first byte chooses the reader.
pub(crate) fn states(bytes: &[u8]) {
    let plan = PLAN.with(|plan| Arc::clone(plan.get_or_init(|| zoo::joined(Limbs::TWO).plan)));
    let parties = Parties::new(3).expect("3 parties");
    let mut input = Input::new(bytes);
    let choice = input.byte() % 8;
    match choice {
        0 => check_message(&plan, &mut input),
        1 => ticket(plan, parties, &mut input),
        2 => invitation(&plan, parties, &mut input),
        3 => unmasking(&plan, &mut input),
        4 => keys(parties, &mut input),
        5 => load(plan, parties, &mut input),
        6 => {
            let header = Header::epoch(Kind::LoadGrant, EPOCH, 0);
            let _ = Loading::granted(plan, parties, &header, input.rest(), &mut OperatingSystem);
        }
        _ => {
            let _ = ReceiverKey::decode(&amicus_protocol::Peer::Client("1".into()), input.rest());
        }
    }
}

fn check_message(plan: &Plan, input: &mut Input<'_>) {
    let (batch, receivers) = (1 + usize::from(input.byte() % 4), usize::from(input.byte() % 4));
    let body = input.rest();
    if let Ok(message) = CheckMessage::decode(plan, batch, receivers, PartyId::FIRST, body) {
        assert_eq!(message.encode(), body, "a check message has one encoding");
        assert_eq!(message.outputs.len(), receivers);
    }
}

fn ticket(plan: Arc<Plan>, parties: Parties, input: &mut Input<'_>) {
    let batch = 1 + u32::from(input.byte() % 2);
    let header = Header::inference(Kind::Ticket, EPOCH, ID, 0);
    let body = input.rest();
    let _ = Ticket::from_grant(Arc::clone(&plan), parties, EPOCH, ID, 1, body);
    let (pending, _) = PendingRequest::new(Arc::clone(&plan), parties, batch, Vec::new()).expect("a request");
    if let Ok(admission) = pending.granted(&header, body, &mut OperatingSystem) {
        let inputs = plan.input.shape.iter().product::<usize>() * batch as usize;
        admission.mask(&vec![1; inputs]).expect("inputs of the plan");
    }
}

fn invitation(plan: &Plan, parties: Parties, input: &mut Input<'_>) {
    let header = Header::inference(Kind::Invite, EPOCH, ID, 0);
    let invitation = input.chunk();
    let Ok((mut awaiting, _)) = Awaiting::invited(plan, parties, &header, invitation, &mut OperatingSystem)
    else {
        return;
    };
    for party in parties.all() {
        awaiting.output(party, input.chunk().to_vec());
    }
    awaiting.release(input.rest().to_vec());
    // Nobody can hit the hash under the receiver's key.
    assert!(awaiting.result().is_err());
}

fn unmasking(plan: &Plan, input: &mut Input<'_>) {
    let receiver = Receiver::new(plan, EPOCH, ID, 1, &mut OperatingSystem).expect("a valid plan");
    let output = input.chunk();
    let release = input.rest();
    assert!(receiver.unmask(release, [output]).is_err());
    if let Ok(read) = Release::from_log(release) {
        let count = u32::from_le_bytes(*release.first_chunk().expect("a count"));
        assert!(read.message(count as usize).is_none());
        assert!(count == 0 || read.message(0).is_some());
    }
}

/// Contributions of two parties, and answers about the fingerprint.
fn keys(parties: Parties, input: &mut Input<'_>) {
    let mut agreement =
        KeyAgreement::new(parties, PartyId::FIRST, EPOCH, &mut OperatingSystem).expect("randomness");
    let mut fingerprints = Fingerprints::default();
    for party in parties.others(PartyId::FIRST) {
        let body = input.chunk();
        let taken = agreement.receive(party, body).is_ok();
        assert_eq!(taken, body.len() == CONTRIBUTION_BYTES);
        assert!(!taken || agreement.receive(party, body).is_err(), "a second contribution");
        let _ = fingerprints.answer(party, EpochId(u64::from(input.byte() % 2)), body);
    }
    assert_eq!(agreement.missing().is_none(), agreement.finish().is_ok());
}

/// Messages of a load in any order.
fn load(plan: Arc<Plan>, parties: Parties, input: &mut Input<'_>) {
    let me = parties.last();
    let mut agreement = KeyAgreement::new(parties, me, EPOCH, &mut OperatingSystem).expect("randomness");
    for party in parties.others(me) {
        agreement.receive(party, &[party.number() as u8; CONTRIBUTION_BYTES]).expect("a contribution");
    }
    let ctx = PartyContext::new(plan, parties, me).expect("a valid plan");
    let keys = agreement.finish().expect("all contributions");
    let Ok(mut load) = PartyLoad::begin(ctx, Fresh::recorded(EPOCH), keys, input.chunk()) else { return };
    while !input.is_empty() {
        let (kind, index) = (input.byte() % 3, u32::from(input.byte()));
        let body = input.chunk();
        let _ = match kind {
            0 => load.nonce(body),
            1 => load.weights(index, body),
            _ => load.correction(index, body),
        };
    }
    assert_eq!(load.complete(), load.tag().is_ok());
}
