//! Bytes for what clients, owner and helper read, each in a state of a small network, and for epochs
//! that nodes kept.

use crate::input::Input;
use amicus_client::fingerprint::Fingerprints;
use amicus_client::inference::{Awaiting, PendingRequest};
use amicus_client::load::Loading;
use amicus_field::{Limbs, OperatingSystem};
use amicus_plan::Plan;
use amicus_protocol::authentic::{AuthenticationKey, AuthenticationKeys, BodyDigest};
use amicus_protocol::check::{CheckMessage, CheckShape};
use amicus_protocol::epoch::{HelperEpoch, PartyContext, PartyEpoch, PartyLoad};
use amicus_protocol::input::Ticket;
use amicus_protocol::keys::CONTRIBUTION_BYTES;
use amicus_protocol::output::{Receiver, ReceiverKey, Release};
use amicus_protocol::release::ReleaseKey;
use amicus_protocol::session::{Holding, Joining, SessionStart};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Parties, PartyId, ProtocolError, Scope, SessionId, control};
use amicus_testkit::zoo;
use std::cell::OnceCell;
use std::convert::Infallible;
use std::sync::Arc;

const SCOPE: Scope = Scope::new(SessionId::from_bytes([1; 16]), EpochId::from_bytes([1; 16]), InferenceId(1));

thread_local! {
    static PLAN: OnceCell<Arc<Plan>> = const { OnceCell::new() };
    static COMPARING: OnceCell<Arc<Plan>> = const { OnceCell::new() };
}

/// A plan whose check has a report on proofs.
fn comparing() -> Arc<Plan> {
    zoo::relu(Limbs::ONE, true, &[2; 6]).plan
}

/// The first byte chooses the reader.
pub(crate) fn states(bytes: &[u8]) {
    let plan = PLAN.with(|plan| Arc::clone(plan.get_or_init(|| zoo::joined(Limbs::TWO).plan)));
    let parties = Parties::new(3).expect("3 parties");
    let mut input = Input::new(bytes);
    let choice = input.byte() % 10;
    match choice {
        0 => {
            let with_bits = || COMPARING.with(|plan| Arc::clone(plan.get_or_init(comparing)));
            let plan = if input.byte().is_multiple_of(2) { plan } else { with_bits() };
            check_message(&plan, &mut input);
        }
        1 => ticket(plan, parties, &mut input),
        2 => invitation(&plan, parties, &mut input),
        3 => unmasking(&plan, &mut input),
        4 => session(parties, &mut input),
        5 => load(plan, parties, &mut input),
        6 => {
            let header = Header::new(Kind::LoadGrant, SCOPE, 0);
            let _ = Loading::granted(plan, parties, &header, input.rest(), &mut OperatingSystem);
        }
        8 => kept_by_party(plan, parties, &mut input),
        9 => {
            let section = input.rest();
            if let Ok(epoch) = HelperEpoch::unseal(plan, parties, section) {
                assert_eq!(*epoch.seal(), section, "an epoch has one form");
            }
        }
        _ => {
            let keys = AuthenticationKeys::decode(parties, &[7; 96]).expect("three keys");
            let key = keys.with(PartyId::FIRST).expect("a party's key");
            let header = Header::new(Kind::ReceiverKey, SCOPE, 0);
            let body = input.rest();
            assert!(key.verify(&header, body).is_err(), "a tag that was guessed");
            let message = tagged(key, &header, body);
            let message = key.verify(&header, &message).expect("a right tag");
            let _ = ReceiverKey::decode(&amicus_protocol::Peer::Client("1".into()), message);
        }
    }
}

fn tagged(key: &AuthenticationKey, header: &Header, body: &[u8]) -> Vec<u8> {
    [body, key.tag(header, &BodyDigest::of(body)).as_bytes()].concat()
}

fn check_message(plan: &Plan, input: &mut Input<'_>) {
    let (batch, receivers) = (1 + usize::from(input.byte() % 4), usize::from(input.byte() % 4));
    let body = input.rest();
    let values = plan.values().expect("a valid plan");
    let shape = CheckShape::new(plan, &values, 2, batch, receivers);
    if let Ok(message) = CheckMessage::decode(&shape, PartyId::FIRST, body) {
        assert_eq!(message.encode(), body, "a check message has one encoding");
        assert_eq!(message.outputs.len(), receivers);
    }
}

fn ticket(plan: Arc<Plan>, parties: Parties, input: &mut Input<'_>) {
    let batch = 1 + u32::from(input.byte() % 2);
    let header = Header::new(Kind::Ticket, SCOPE, 0);
    let body = input.rest();
    let _ = Ticket::from_grant(Arc::clone(&plan), parties, SCOPE, 1, body);
    let (pending, _) = PendingRequest::new(Arc::clone(&plan), parties, batch, Vec::new()).expect("a request");
    if let Ok(admission) = pending.granted(&header, body, &mut OperatingSystem) {
        let inputs = plan.input.shape.iter().product::<usize>() * batch as usize;
        admission.mask(&vec![1; inputs]).expect("inputs of the plan");
    }
}

fn invitation(plan: &Plan, parties: Parties, input: &mut Input<'_>) {
    let header = Header::new(Kind::Invite, SCOPE, 0);
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
    let keys = AuthenticationKeys::decode(Parties::new(2).expect("two parties"), &[7; 64]).expect("two keys");
    let receiver = Receiver::new(plan, SCOPE, 1, &keys, &mut OperatingSystem).expect("a valid plan");
    let output = input.chunk();
    let release = input.rest();
    assert!(receiver.unmask(release, [output]).is_err());
    let encrypted = ReleaseKey::of(&keys, SCOPE).encrypt(release);
    assert!(receiver.unmask(&encrypted, [output]).is_err());
    if let Ok(read) = Release::from_log(release) {
        let count = u32::from_le_bytes(*release[32..].first_chunk().expect("a count"));
        assert!(read.message(count as usize).is_none());
        assert!(count == 0 || read.message(0).is_some());
    }
}

/// The helper's offer of a session, or an honest one where there is none; contributions of two
/// parties, and answers about the fingerprint.
fn session(parties: Parties, input: &mut Input<'_>) {
    let (offer, me) = (input.chunk(), PartyId::FIRST);
    let joining = Joining::begin(parties, me, SCOPE.session, offer, &mut OperatingSystem);
    let mut joining = joining.unwrap_or_else(|_| joining_honestly(parties, me));
    let mut fingerprints = Fingerprints::default();
    for party in parties.others(me) {
        let body = input.chunk();
        let taken = joining.receive(party, body).is_ok();
        assert_eq!(taken, body.len() == CONTRIBUTION_BYTES);
        assert!(!taken || joining.receive(party, body).is_err(), "a second contribution");
        let _ = fingerprints.answer(party, EpochId::from_bytes([input.byte() % 2; 16]), body);
    }
    assert_eq!(joining.missing().is_none(), joining.answer(|_| Holding::Nothing).is_ok());
}

fn joining_honestly(parties: Parties, me: PartyId) -> Joining {
    let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).expect("randomness");
    let offer = control::encode(&start.offer(me)).expect("memory");
    Joining::begin(parties, me, start.id(), &offer, &mut OperatingSystem).expect("an honest offer")
}

/// Sections of an epoch, as they come from a file.
fn kept_by_party(plan: Arc<Plan>, parties: Parties, input: &mut Input<'_>) {
    let ctx = PartyContext::new(plan, parties, parties.last()).expect("a valid plan");
    let mut read = Vec::new();
    let epoch = PartyEpoch::unseal::<ProtocolError>(ctx, &mut || {
        let length = input.word();
        let section = input.take(length);
        read.push(section);
        Ok(section.to_vec().into())
    });
    let Ok(epoch) = epoch else { return };
    let mut again = Vec::new();
    let mut write = |section: &[u8]| {
        again.push(section.to_vec());
        Ok::<(), Infallible>(())
    };
    epoch.seal(&mut write).expect("nothing fails");
    assert_eq!(again, read, "an epoch has one form");
}

/// Messages of a load in any order.
fn load(plan: Arc<Plan>, parties: Parties, input: &mut Input<'_>) {
    let me = parties.last();
    let mut joining = joining_honestly(parties, me);
    for party in parties.others(me) {
        joining.receive(party, &[party.number() as u8; CONTRIBUTION_BYTES]).expect("a contribution");
    }
    let ctx = PartyContext::new(plan, parties, me).expect("a valid plan");
    let (session, _) = joining.answer(|_| Holding::Nothing).expect("all contributions");
    let keys = session.take(SCOPE.epoch, &ctx.digest, SCOPE.id).expect("the first id");
    let Ok(mut load) = PartyLoad::begin(ctx, keys, input.chunk()) else { return };
    while !input.is_empty() {
        let (kind, index) = (input.byte() % 3, u32::from(input.byte()));
        let body = input.chunk();
        let header = Header::new(if kind == 0 { Kind::Nonce } else { Kind::Weights }, SCOPE, index);
        let owner = load.owner();
        let message = tagged(&owner, &header, body);
        let message = owner.verify(&header, &message).expect("the owner's tag");
        let _ = match kind {
            0 => load.nonce(message),
            1 => load.weights(index, message),
            _ => load.correction(index, body),
        };
    }
    assert_eq!(load.complete(), load.tag().is_ok());
}
