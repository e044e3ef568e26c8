//! Masked inputs at a party's public port.
//!
//! A token admits and meters. Whose input it is, the party sees by the tags: what is not under the
//! client's key is refused, and changes nothing for the client (`docs/protocol.md`, section 6.1).

use super::Front;
use super::places::Said;
use super::problem::Refused;
use crate::token::Grant;
use amicus::client::https::KEY_BYTES;
use amicus::field::packed_len;
use amicus::plan::{Plan, ValueId};
use amicus::protocol::Scope;
use amicus::protocol::authentic::TAG_BYTES;
use amicus::protocol::wire::{Header, Kind};
use std::sync::Arc;

/// Gives the party an input; returns the masked output.
pub(super) async fn input(
    front: &Arc<Front>,
    grant: &Grant,
    scope: Scope,
    body: &[u8],
) -> Result<Said, Refused> {
    let plan = front.plan_of(scope.epoch).await?;
    front.facts.allowed(grant, &plan.digest)?;
    let batch = plan.batches.iter().position(|bytes| KEY_BYTES + bytes + TAG_BYTES == body.len());
    let Some(batch) = batch.and_then(|at| u32::try_from(at + 1).ok()) else {
        let one = plan.batches.first().map_or(0, |bytes| KEY_BYTES + bytes + TAG_BYTES);
        let what = format!(
            "a receiver's key and a masked input have {one} bytes for one image of this model, these have {}",
            body.len()
        );
        return Err(Refused::invalid(what, "mask the input for the model's plan, and send all of it"));
    };
    let _lane = front.enter(grant)?;
    front.take(grant, batch)?;
    let mut guest = front.places.guest()?;
    let (key, input) = body.split_at(KEY_BYTES);
    guest.ask(Header::new(Kind::Input, scope, 0), input)?;
    guest.ask(Header::new(Kind::ReceiverKey, scope, 0), key)?;
    let said = tokio::time::timeout(front.facts.patience.outcome, async {
        loop {
            let said = guest.hear(|about| about == scope).await?;
            match said.header.kind {
                Kind::Output => return Ok(said),
                Kind::Abort => return Err(said.refusal().unwrap_or_else(Refused::node_ended)),
                _ => {}
            }
        }
    });
    let late = "no such inference has begun at this party, or it has not ended";
    let said = said.await.unwrap_or_else(|_| Err(Refused::no_answer(late)));
    if said.is_ok() {
        guest.settle();
    }
    said
}

/// Asks the party for an output that it keeps, whatever session it is of.
pub(super) async fn output(front: &Arc<Front>, scope: Scope, tag: &[u8]) -> Result<Said, Refused> {
    let mut guest = front.places.guest()?;
    guest.ask(Header::new(Kind::Collect, scope, 0), whole(tag)?)?;
    let said = tokio::time::timeout(front.facts.patience.round, async {
        let said = guest.hear(|about| about == scope).await?;
        said.refusal().map_or(Ok(said), Err)
    });
    let said =
        said.await.unwrap_or_else(|_| Err(Refused::no_answer("this party says nothing of the output")));
    if said.is_ok() {
        guest.settle();
    }
    said
}

/// Tells the party that an output has been collected.
pub(super) fn collected(front: &Arc<Front>, scope: Scope, tag: &[u8]) -> Result<(), Refused> {
    let mut guest = front.places.guest()?;
    guest.ask(Header::new(Kind::Collected, scope, 0), whole(tag)?)?;
    guest.settle();
    Ok(())
}

/// The tag of a message without a body.
fn whole(tag: &[u8]) -> Result<&[u8], Refused> {
    match tag.len() {
        TAG_BYTES => Ok(tag),
        len => {
            let what = format!("the message is a tag of {TAG_BYTES} bytes, this has {len}");
            Err(Refused::invalid(what, "send the tag alone"))
        }
    }
}

/// Bytes of masked inputs of one image, two images, and so on.
pub(super) fn batches(plan: &Plan, most: u32) -> Vec<usize> {
    let Ok(values) = plan.values() else { return Vec::new() };
    let len = values.get(ValueId::INPUT).len;
    (1..=most as usize).map(|batch| packed_len(plan.limbs, len.saturating_mul(batch))).collect()
}
