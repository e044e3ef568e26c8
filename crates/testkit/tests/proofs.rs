//! Where proofs that bits of comparisons are right begin (`docs/protocol.md`, section 6.14): behind all
//! bits, and under a key that the helper lacks.

use amicus_field::{Element, Limbs, packed_len};
use amicus_node::Peer;
use amicus_plan::{OpIndex, OpKind, Stage, ValueId};
use amicus_protocol::wire::Kind;
use amicus_protocol::{Parties, ProtocolError};
use amicus_testkit::covers::Witness;
use amicus_testkit::direct::{self, Shift};
use amicus_testkit::nets::{Draft, Net};
use amicus_testkit::world::Equivocates;
use amicus_testkit::zoo;

/// What the helper gets at the end of an inference.
struct Told {
    /// The sum of all shares of the report.
    report: Vec<u8>,
    /// Every party's hash of the report, and the transcript's.
    hashes: Vec<[[u8; 32]; 2]>,
}

fn hash(key: &[u8; 32], of: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, of).as_bytes()
}

/// Begins anew with the same seeds each time.
fn told(net: &Net, n: usize, shifts: &[Shift]) -> Told {
    let parties = Parties::new(n).unwrap();
    let mut witness = Witness::new("proofs");
    let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut witness).unwrap();
    let inputs = net.inputs(1, 4);
    let outcome = direct::infer_over(&loaded, &inputs, 1, shifts, &mut |_| (), &mut witness).unwrap();
    let sums = packed_len(net.plan.limbs, net.plan.check_slots());
    let bytes = net.plan.report_bytes(&net.plan.values().unwrap(), 1, n);
    let mut told = Told { report: vec![0; bytes], hashes: Vec::new() };
    for party in parties.all().map(Peer::Party) {
        let body = witness.bodies(&party, Kind::Check, 0, outcome.scope)[0];
        let (share, hashes) = body[sums..].split_at(bytes);
        told.report.iter_mut().zip(share).for_each(|(sum, byte)| *sum ^= byte);
        let hash = |at: usize| hashes[at..at + 32].try_into().unwrap();
        told.hashes.push([hash(0), hash(32)]);
    }
    told
}

/// A comparison that nothing depends on may be the last thing that is opened. The transcript's hash by
/// then is the one that the helper is told.
#[test]
fn hashes_of_transcripts_do_not_tell_where_proofs_begin() {
    let mut draft = Draft::new("unused comparison", Limbs::ONE, &[4]);
    let z = draft.dense(ValueId::INPUT, 4, 3, true);
    draft.compare(ValueId::INPUT, &[0], 2, &[3]);
    let net = draft.reveal(z);
    let values = net.plan.values().unwrap();
    let OpKind::Compare(compare) = &net.plan.ops[1].kind else { panic!("a comparison") };
    assert_eq!((compare.levels(), net.plan.ops.len()), (1, 2));
    for n in [2, 3] {
        let Told { report, hashes } = told(&net, n, &[]);
        assert_eq!(report.len(), compare.report_bytes(values.get(compare.input).len, n));
        for [of_report, transcript] in hashes {
            // What is taken for the report is it.
            assert_eq!(of_report, hash(&transcript, &report));
            for point in [transcript, of_report, [0; 32]] {
                let key = hash(&point, &[&b"amicus proof"[..], &[0; 4]].concat());
                assert_ne!(report[..32], hash(&key, &[0]), "the helper knows where proofs begin");
            }
        }
    }
}

#[test]
fn weights_follow_from_all_bits_of_all_levels() {
    let net = zoo::relu(Limbs::ONE, true, &[2; 6]);
    let op = OpIndex(net.op("compare 0"));
    for n in [2, 5] {
        let weights = |shifts: &[Shift]| told(&net, n, shifts).report[..32].to_vec();
        let honest = weights(&[]);
        assert_eq!(honest, weights(&[]));
        for level in 0..3 {
            let index = Stage { op, level }.index();
            for element in 0..5 {
                // The last party's bit is wrong.
                let shift = Shift { index, element, error: Element::one(Limbs::ONE) };
                assert_ne!(honest, weights(&[shift]), "{n} parties, level {level}, element {element}");
            }
        }
    }
}

#[test]
fn different_proofs_to_different_parties_are_caught() {
    let net = zoo::maxima(Limbs::ONE);
    for n in [2, 3] {
        let parties = Parties::new(n).unwrap();
        let loaded = direct::load(&net.plan, &net.layers(), parties, None).unwrap();
        for (op, compare) in net.plan.indexed_ops() {
            let OpKind::Compare(compare) = &compare.kind else { continue };
            for from in parties.all() {
                for to in parties.others(from) {
                    let [from, to] = [from, to].map(Peer::Party);
                    let mut world = Equivocates { stage: Stage::proof(op, compare), from, to };
                    let inputs = net.inputs(1, 3);
                    let outcome =
                        direct::infer_over(&loaded, &inputs, 1, &[], &mut |_| (), &mut world).unwrap();
                    let rejected = matches!(outcome.logits, Err(ProtocolError::Rejected { .. }));
                    assert!(rejected, "{op}, {} to {}", world.from, world.to);
                }
            }
        }
    }
}
