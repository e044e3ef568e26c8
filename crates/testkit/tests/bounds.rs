//! What an honest node says fits what others take and keep of it (`amicus_node::limits`,
//! `amicus_node::bounds`), whatever the plan.

use amicus_field::{BitVec, Limbs, packed_len};
use amicus_node::inbox::MESSAGE_COST;
use amicus_node::limits::MAX_LANES;
use amicus_node::{bounds, limits};
use amicus_plan::{OpKind, Plan, Schedule, Stage, ValueId};
use amicus_protocol::check::CheckShape;
use amicus_protocol::ids::PARTIES;
use amicus_protocol::wire::HEADER_BYTES;
use amicus_testkit::nets::{Draft, Net};
use amicus_testkit::zoo;

const ONE: Limbs = Limbs::ONE;

/// The client and further ones, at most.
const RECEIVERS: usize = 17;

/// Bytes of a party's message for one opening.
fn opening(plan: &Plan, stage: Stage, batch: usize) -> usize {
    let len = plan.values().unwrap().get(ValueId::of(stage.op)).len * batch;
    let body = match &plan.op(stage.op).kind {
        OpKind::Compare(compare) if stage.is_proof(compare) => compare.proof_bytes(len),
        OpKind::Compare(compare) => compare.openings()[stage.level as usize] * BitVec::packed_len(len),
        _ => packed_len(plan.limbs, len),
    };
    HEADER_BYTES + body
}

/// Many tables of bits: proofs and reports are longer than what they are of.
fn wide_tables() -> Net {
    let mut draft = Draft::new("wide tables", ONE, &[1 << 15]);
    draft.compare(ValueId::INPUT, &[0], 2, &[8, 8]);
    let z = draft.dense(ValueId::INPUT, 1 << 15, 1, true);
    draft.reveal(z)
}

/// More openings in one round than there are layers before and behind it.
fn many_at_once() -> Net {
    let mut draft = Draft::new("many at once", ONE, &[4]);
    let z = draft.dense(ValueId::INPUT, 4, 4, true);
    for threshold in 0..24 {
        draft.compare(z, &[threshold], 4, &[3, 3]);
    }
    draft.reveal(z)
}

#[test]
fn an_honest_node_meets_no_bound() {
    let labels = [zoo::labels(7, 1, false), zoo::labels(4, 2, true), zoo::watched_label()];
    let nets = zoo::all(ONE).into_iter().chain(zoo::comparing(ONE)).chain(labels);
    for net in nets.chain([wide_tables(), many_at_once()]) {
        let (plan, name) = (&net.plan, &net.plan.name);
        let rounds = Schedule::of(plan).rounds;
        for batch in [1, 3, 64] {
            let longest = limits::online(plan, batch as u32).unwrap();
            let values = plan.values().unwrap();
            let check = CheckShape::new(plan, &values, *PARTIES.end(), batch, RECEIVERS);
            assert!(HEADER_BYTES + check.bytes() <= longest, "{name}, batch {batch}: a check");
            for &stage in rounds.iter().flat_map(|round| &round.open) {
                assert!(opening(plan, stage, batch) <= longest, "{name}, batch {batch}: {stage}");
            }
        }
        // A party that waits in all inferences hears of one round more in each.
        let room = bounds::online(plan, 1).unwrap().early.of_node;
        let check = CheckShape::new(plan, &plan.values().unwrap(), *PARTIES.end(), 1, RECEIVERS).bytes();
        assert!(MAX_LANES * (HEADER_BYTES + check + MESSAGE_COST) <= room.bytes, "{name}: bytes of checks");
        for (number, round) in rounds.iter().enumerate() {
            let bytes = round.open.iter().map(|&stage| opening(plan, stage, 1) + MESSAGE_COST).sum::<usize>();
            assert!(MAX_LANES * round.open.len() <= room.messages, "{name}: messages of round {number}");
            assert!(MAX_LANES * bytes <= room.bytes, "{name}: bytes of round {number}");
        }
    }
}
