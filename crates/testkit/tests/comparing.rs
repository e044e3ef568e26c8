//! Malicious parties in comparisons, truncations and selections (`docs/security.md`, section 6):
//! every wrong bit, proof and element is caught, also those that would cancel if sums or keys were
//! shared.

use amicus_field::{BitVec, Element, LimbVec, Limbs};
use amicus_node::Peer;
use amicus_plan::{OpIndex, OpKind, Plan, Stage};
use amicus_protocol::online::{Next, Running};
use amicus_protocol::preprocess::{self, CorrectionShape};
use amicus_protocol::share::Share;
use amicus_protocol::wire::Kind;
use amicus_protocol::{Fault, Parties, PartyId, ProtocolError};
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::direct::{self, Loaded, Shift};
use amicus_testkit::nets::Net;
use amicus_testkit::run::{Setup, party};
use amicus_testkit::steps;
use amicus_testkit::world::{Equivocates, Letter, World};
use amicus_testkit::zoo;
use std::collections::HashMap;

const ONE: Limbs = Limbs::ONE;

fn relu() -> Net {
    zoo::relu(ONE, true, &[2; 6])
}

fn load(net: &Net, n: usize) -> Loaded {
    direct::load(&net.plan, &net.layers(), Parties::new(n).unwrap(), None).unwrap()
}

/// A model that is loaded anew before too many checks failed.
struct Target<'a> {
    net: &'a Net,
    n: usize,
    loaded: Loaded,
    runs: usize,
}

impl<'a> Target<'a> {
    fn new(net: &'a Net, n: usize) -> Self {
        Target { net, n, loaded: load(net, n), runs: 0 }
    }

    fn rejects(&mut self, batch: usize, shifts: &[Shift]) -> bool {
        self.runs += 1;
        if self.runs.is_multiple_of(1000) {
            self.loaded = load(self.net, self.n);
        }
        let inputs = self.net.inputs(batch, self.runs as u64);
        let outcome = direct::infer(&self.loaded, &inputs, batch, shifts, &mut |_| ()).unwrap();
        matches!(outcome.logits, Err(ProtocolError::Rejected { .. }))
    }
}

fn shift(stage: Stage, element: usize) -> Shift {
    Shift { index: stage.index(), element, error: Element::one(ONE) }
}

/// Everything that is opened, with the number of elements or bits for one input.
fn openings(plan: &Plan) -> Vec<(Stage, usize)> {
    let values = plan.values().unwrap();
    let of = |(index, op): (OpIndex, &amicus_plan::Op)| -> Vec<(Stage, usize)> {
        let len = values.get(amicus_plan::ValueId::of(index)).len;
        let each = match &op.kind {
            OpKind::Compare(compare) => compare.openings().iter().map(|bits| bits * len).collect(),
            kind => vec![len; kind.levels()],
        };
        (0u32..).zip(each).map(|(level, len)| (Stage { op: index, level }, len)).collect()
    };
    plan.indexed_ops().flat_map(of).collect()
}

#[test]
fn every_wrong_bit_and_element_is_caught() {
    for net in [
        relu(),
        zoo::relu(ONE, false, &[3, 3, 3]),
        zoo::maxima(ONE),
        zoo::labels(3, 1, false),
        zoo::watched(ONE),
    ] {
        for n in [2, 3] {
            let mut target = Target::new(&net, n);
            for (stage, len) in openings(&net.plan) {
                for at in (0..len).step_by(if n == 2 { 1 } else { 5 }) {
                    assert!(target.rejects(1, &[shift(stage, at)]), "{}, {stage}, {at}", net.plan.name);
                }
            }
        }
    }
    for net in [zoo::pieces(ONE), zoo::labels(4, 2, true)] {
        let mut target = Target::new(&net, 2);
        for (stage, len) in openings(&net.plan) {
            for at in (0..len).step_by(7).chain([len - 1]) {
                assert!(target.rejects(1, &[shift(stage, at)]), "{}, {stage}, {at}", net.plan.name);
            }
        }
    }
}

/// The last of as many as there may be.
#[test]
fn every_party_of_many_is_caught() {
    let net = relu();
    let proof = |stage: &Stage| match &net.plan.op(stage.op).kind {
        OpKind::Compare(compare) => Some((Stage::proof(stage.op, compare), compare.proof_bytes(5))),
        _ => None,
    };
    for n in 4..=8 {
        let mut target = Target::new(&net, n);
        let opened = openings(&net.plan);
        let proofs: Vec<(Stage, usize)> =
            opened.iter().filter_map(|(stage, _)| proof(stage)).take(1).collect();
        for (stage, len) in opened.into_iter().chain(proofs) {
            for at in [0, len - 1] {
                assert!(target.rejects(1, &[shift(stage, at)]), "{n} parties, {stage}, {at}");
            }
        }
    }
}

/// Errors in two openings of an element do not make each other right.
#[test]
fn errors_in_two_openings_of_one_element_do_not_cancel() {
    for (net, elements) in [(relu(), 5), (zoo::pieces(ONE), 3)] {
        let bits: Vec<(Stage, usize)> = openings(&net.plan)
            .into_iter()
            .filter(|(stage, _)| matches!(net.plan.op(stage.op).kind, OpKind::Compare(_)))
            .flat_map(|(stage, len)| (0..len / elements).map(move |plane| (stage, plane * elements + 1)))
            .collect();
        let mut target = Target::new(&net, 2);
        let far = if bits.len() > 30 { 7 } else { 1 };
        for (i, one) in bits.iter().enumerate() {
            for other in bits[i + 1..].iter().step_by(far) {
                assert!(
                    target.rejects(1, &[shift(one.0, one.1), shift(other.0, other.1)]),
                    "{one:?} {other:?}"
                );
            }
        }
    }
}

#[test]
fn errors_in_two_elements_of_one_sum_or_two_batch_elements_do_not_cancel() {
    let net = relu();
    let mut target = Target::new(&net, 3);
    for (stage, len) in openings(&net.plan) {
        let planes = len / net.plan.values().unwrap().get(amicus_plan::ValueId::of(stage.op)).len;
        let each = len / planes;
        for plane in 0..planes {
            // Planes hold both batch elements.
            let at = |element: usize| shift(stage, plane * 2 * each + element);
            assert!(target.rejects(2, &[at(0), at(1)]), "two elements, {stage}");
            let negative = Shift { error: -Element::one(ONE), ..at(each) };
            assert!(target.rejects(2, &[at(0), negative]), "two batch elements, {stage}");
        }
    }
}

#[test]
fn all_of_every_partys_report_counts() {
    let net = relu();
    let mut loaded = load(&net, 3);
    let report = net.plan.report_bytes(&net.plan.values().unwrap(), 2, 3);
    // One chunk of ten elements: the weights' seed, and for each party 8 challenges and two results.
    assert_eq!(report, 32 + 3 * 16 * (8 + 2));
    for byte in 0..report + 32 {
        if byte % 500 == 499 {
            loaded = load(&net, 3);
        }
        let mut wrong = |messages: &mut Vec<amicus_protocol::check::CheckMessage>| {
            let proofs = messages[byte % 3].proofs.as_mut().unwrap();
            match byte.checked_sub(report) {
                None => proofs.share.flip(8 * byte + byte % 8),
                Some(at) => proofs.hash.0[at] ^= 1 << (byte % 8),
            }
        };
        let outcome = direct::infer(&loaded, &net.inputs(2, 1), 2, &[], &mut wrong).unwrap();
        assert!(matches!(outcome.logits, Err(ProtocolError::Rejected { .. })), "byte {byte} of the report");
    }
}

/// The prover vouches for what the other party reports, so that nothing but the proof itself tells.
#[test]
fn a_wrong_proof_is_caught_whatever_its_prover_reports() {
    let net = relu();
    let loaded = load(&net, 2);
    let compare = OpIndex(net.op("compare 0"));
    let OpKind::Compare(of) = &net.plan.op(compare).kind else { panic!("a comparison") };
    let proof = Stage::proof(compare, of);
    let mut vouches = |messages: &mut Vec<amicus_protocol::check::CheckMessage>| {
        // Its share is one of zero: the report is the first party's, of what it was sent.
        let hash = messages[0].proofs.as_ref().unwrap().hash;
        messages[1].proofs.as_mut().unwrap().hash = hash;
    };
    let honest = direct::infer(&loaded, &net.inputs(1, 1), 1, &[], &mut vouches).unwrap();
    assert!(honest.logits.is_ok());
    for byte in 0..of.proof_bytes(5) {
        let shifts = [shift(proof, byte)];
        let outcome = direct::infer(&loaded, &net.inputs(1, 1), 1, &shifts, &mut vouches).unwrap();
        assert!(matches!(outcome.logits, Err(ProtocolError::Rejected { .. })), "byte {byte}");
    }
}

#[test]
fn different_bits_to_different_parties_are_caught() {
    let net = relu();
    let loaded = load(&net, 3);
    let [from, to] = [3, 1].map(|n| Peer::Party(loaded.helper.parties().party(n).unwrap()));
    for (stage, _) in openings(&net.plan) {
        let mut world = Equivocates { stage, from: from.clone(), to: to.clone() };
        let outcome =
            direct::infer_over(&loaded, &net.inputs(1, 3), 1, &[], &mut |_| (), &mut world).unwrap();
        assert!(matches!(outcome.logits, Err(ProtocolError::Rejected { .. })), "{stage}");
    }
}

#[test]
fn nodes_catch_and_recover() {
    let net = || zoo::relu(Limbs::TWO, true, &[2; 6]);
    for (stage, _) in openings(&net().plan) {
        for deviation in [
            Deviation::shift(stage.index(), 0, Element::one(Limbs::TWO)),
            Deviation::opening(stage.index(), How::Flip(0)).to(party(Parties::new(3).unwrap(), 1)),
        ] {
            let mut run = Setup::new(net(), 3).deviating(3, deviation).start();
            run.infer().unwrap();
            run.attack().rejected();
            run.recovers();
            run.finish();
        }
    }
}

/// The first party of three at a round, with zeros as input.
fn at_round(loaded: &Loaded, round: usize) -> Running {
    let (helper, one) = (&loaded.helper, &loaded.parties[0]);
    let dealt = loaded.session.helper.next(helper.epoch(), helper.digest()).unwrap();
    let scope = dealt.scope();
    let keys = loaded.session.parties[0].take(scope.epoch, helper.digest(), scope.id).unwrap();
    let mut deal = one.begin_deal(keys, 1);
    let mut corrections = |op: OpIndex, to: PartyId, body: Vec<u8>| match to {
        PartyId::FIRST => deal.correction(one, op.0, &body),
        _ => Ok(()),
    };
    helper.deal(dealt, 1, &mut corrections).unwrap();
    let material = one.prepare(deal).unwrap();
    let plan = helper.plan();
    let len = amicus_field::packed_len(plan.limbs, plan.input.shape.iter().product());
    let mut running = direct::given_input(one, material, &vec![0; len]).unwrap();
    for _ in 1..round {
        let Next::Open(opening) = running.next().unwrap() else { panic!("no round {round}") };
        let bodies: Vec<(Stage, Vec<u8>)> =
            opening.shares().iter().map(|(stage, share)| (*stage, share.pack())).collect();
        let mut collecting = opening.collect().unwrap();
        for from in helper.parties().others(helper.parties().party(1).unwrap()) {
            bodies.iter().for_each(|(stage, body)| collecting.receive(from, stage.index(), body).unwrap());
        }
        running = collecting.complete().unwrap();
    }
    running
}

#[test]
fn a_level_is_taken_once_in_its_turn_and_in_its_form() {
    let net = relu();
    let loaded = load(&net, 3);
    let [two, three] = [2, 3].map(|n| loaded.helper.parties().party(n).unwrap());
    let compare = OpIndex(net.op("compare 0"));
    for level in 0..3 {
        // Round 1 opens the first layer.
        let Next::Open(opening) = at_round(&loaded, 2 + level as usize).next().unwrap() else {
            panic!("no level {level}")
        };
        let of_level =
            |(stage, share): &(Stage, Share)| (stage.op == compare).then(|| (*stage, share.clone()));
        let (stage, share) = opening.shares().iter().find_map(of_level).unwrap();
        assert_eq!(stage, Stage { op: compare, level });
        let Share::Bits(planes) = &share else { panic!("bits") };
        assert_eq!((planes.len(), planes[0].len()), ([8, 4, 1][level as usize], 5));
        let body = share.pack();
        // A plane is a byte for five elements.
        assert_eq!(body.len(), planes.len());
        let mut collecting = opening.collect().unwrap();
        for other in (0..4).filter(|&other| other != level).map(|level| Stage { level, ..stage }) {
            let error = collecting.receive(two, other.index(), &body).unwrap_err();
            assert!(error.to_string().contains("unexpected share of operation"), "{error}");
        }
        collecting.receive(two, stage.index(), &body).unwrap();
        let error = collecting.receive(two, stage.index(), &body).unwrap_err();
        assert!(error.to_string().contains("second share"), "{error}");
        let mut padded = body.clone();
        padded[0] |= 1 << 5;
        let error = collecting.receive(three, stage.index(), &padded).unwrap_err();
        assert!(error.to_string().contains("padding"), "{error}");
    }
    for length in [0, 7, 9, 5 * 8, 8 * 5 * 13 / 2] {
        let Next::Open(opening) = at_round(&loaded, 2).next().unwrap() else { panic!("no level 0") };
        let mut collecting = opening.collect().unwrap();
        let error = collecting.receive(two, Stage::first(compare).index(), &vec![0; length]).unwrap_err();
        let expected = Fault::Length { expected: 8, got: length };
        assert!(matches!(error, ProtocolError::Peer { fault, .. } if fault == expected));
    }
}

#[test]
fn every_bit_is_a_correction_and_padding_is_none() {
    let net = relu();
    let loaded = load(&net, 2);
    let (last, plan) = (&loaded.parties[1], &net.plan);
    let compare = net.op("compare 0");
    let shape = preprocess::corrections(plan, &plan.values().unwrap(), OpIndex(compare), 1);
    assert_eq!(shape, CorrectionShape::Bits { count: 24, len: 5 });
    let deal = || {
        let scope =
            loaded.session.helper.next(loaded.helper.epoch(), loaded.helper.digest()).unwrap().scope();
        last.begin_deal(
            loaded.session.parties[1].take(scope.epoch, loaded.helper.digest(), scope.id).unwrap(),
            1,
        )
    };
    // A byte holds five bits and three of padding.
    let body = [0x1f; 24];
    assert_eq!(body.len(), shape.bytes(plan.limbs));
    deal().correction(last, compare, &body).unwrap();
    for plane in [0, 23] {
        for bit in 5..8 {
            let mut padded = body;
            padded[plane] |= 1 << bit;
            let error = deal().correction(last, compare, &padded).unwrap_err();
            assert!(error.to_string().contains("padding"), "{error}");
        }
    }
    for wrong in [&body[1..], &[&body[..], &[0]].concat()] {
        let error = deal().correction(last, compare, wrong).unwrap_err();
        assert!(error.to_string().contains("expected"), "{error}");
    }
}

/// Half of all runs on a threshold go either way, and the fraction follows the distance.
#[test]
fn bits_near_a_threshold_are_fair() {
    let net = zoo::relu(ONE, true, &[2; 6]);
    let mut loaded = load(&net, 2);
    let mut counts = [[0usize; 2]; 16];
    for salt in 0..2500 {
        if salt % 1000 == 999 {
            loaded = load(&net, 2);
        }
        let inputs = net.inputs(8, salt);
        let outcome = direct::infer(&loaded, &inputs, 8, &[], &mut |_| ()).unwrap();
        let values = steps::values(&loaded, &net, &outcome);
        let OpKind::Compare(compare) = &net.plan.ops[1].kind else { panic!("a comparison") };
        let half = 1i128 << compare.unit >> 1;
        for (i, z) in values[1].signed().into_iter().enumerate() {
            let z = z.as_i128();
            if z.abs() <= half {
                let bit = !values[2].get(i).is_zero();
                counts[(z + half) as usize][usize::from(bit)] += 1;
            }
        }
    }
    let OpKind::Compare(compare) = &net.plan.ops[1].kind else { panic!("a comparison") };
    let unit = 1usize << compare.unit;
    let mut seen = 0;
    for (distance, [zeros, ones]) in counts[..=unit].iter().enumerate() {
        let runs = (zeros + ones) as f64;
        let expected = distance as f64 / unit as f64;
        // Five deviations of a coin.
        let allowed = 5.0 * (runs * expected * (1.0 - expected)).sqrt();
        assert!((*ones as f64 - runs * expected).abs() <= allowed, "{distance}: {ones} of {runs}");
        seen += usize::from(runs > 30.0);
    }
    assert!(seen >= 3, "too few values near the threshold: {counts:?}");
}

/// Masks of bits are as often 1 as 0 and never repeat from run to run, nor from bit to bit.
#[test]
fn opened_bits_are_fair_coins_of_their_own() {
    let net = zoo::pieces(ONE);
    let loaded = load(&net, 2);
    let inputs = net.inputs(1, 5);
    let mut planes: Vec<Vec<bool>> = Vec::new();
    for run in 0..400 {
        let outcome = direct::infer(&loaded, &inputs, 1, &[], &mut |_| ()).unwrap();
        let bits = outcome.bits.iter().flat_map(|(_, planes)| planes);
        for (number, plane) in
            bits.flat_map(|plane: &BitVec| (0..plane.len()).map(|i| plane.get(i))).enumerate()
        {
            if run == 0 {
                planes.push(Vec::new());
            }
            planes[number].push(plane);
        }
    }
    for (i, one) in planes.iter().enumerate() {
        let ones = one.iter().filter(|&&bit| bit).count();
        assert!((145..=255).contains(&ones), "bit {i}: {ones} of 400");
        for (j, other) in planes[..i].iter().enumerate() {
            let equal = one.iter().zip(other).filter(|(a, b)| a == b).count();
            assert!((145..=255).contains(&equal), "bits {i} and {j}: equal {equal} times of 400");
        }
    }
}

#[test]
fn debug_shows_nothing_of_bits() {
    let share = Share::Bits(vec![[true, false].into_iter().collect()]);
    assert_eq!(format!("{share:?}"), "Bits([BitVec { len: 2, .. }])");
    assert!(!format!("{:?}", Share::Elements(LimbVec::from_i64(ONE, &[77]))).contains("77"));
}

/// Counts every bit of what a party gets from the helper and from another party.
#[derive(Default)]
struct Counts {
    runs: usize,
    /// How often each bit was 1. Messages of one operation from one role to another differ in length.
    ones: HashMap<(String, String, Kind, u32, usize), Vec<usize>>,
}

impl World for Counts {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if matches!(letter.header.kind, Kind::DealCorrection | Kind::Opening) {
            let (from, to) = (letter.from.to_string(), letter.to.to_string());
            let place = (from, to, letter.header.kind, letter.header.index, body.len());
            let ones = self.ones.entry(place).or_insert_with(|| vec![0; 8 * body.len()]);
            for (at, ones) in ones.iter_mut().enumerate() {
                *ones += usize::from(body[at / 8] >> (at % 8) & 1);
            }
        }
    }
}

/// With eight inputs of five elements no message has padding.
#[test]
fn corrections_and_shares_are_fair_coins() {
    for (truncated, parties) in [(true, 2), (false, 2), (true, 3)] {
        let net = zoo::relu(ONE, truncated, &[2; 6]);
        let loaded = load(&net, parties);
        let inputs = net.inputs(8, 3);
        let mut counts = Counts::default();
        for _ in 0..400 {
            direct::infer_over(&loaded, &inputs, 8, &[], &mut |_| (), &mut counts).unwrap();
            counts.runs += 1;
        }
        let coins: usize = counts.ones.values().map(Vec::len).sum();
        assert!(coins > 25_000 * parties / 2, "{coins}");
        // Every party gets corrections of bits or of elements, and shares of all others.
        let given = |party: usize| {
            let to = format!("party {party}");
            counts.ones.keys().any(|(_, of, kind, ..)| *kind == Kind::DealCorrection && *of == to)
        };
        assert!((1..=parties).all(given));
        for (place, ones) in &counts.ones {
            // Seven deviations of 400 coins. The last layer opens three elements.
            let fair = |ones: &usize| (130..=270).contains(ones);
            assert!(ones.iter().all(fair), "{place:?}: {ones:?} of {}", counts.runs);
        }
    }
}
