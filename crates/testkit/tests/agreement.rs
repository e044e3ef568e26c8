//! What the helper compares and sees: hashes of every party count and cover everything, sums come
//! under shares of zero (`docs/security.md`, sections 10 and 12).

use amicus_field::{BitVec, Element, LimbVec, Limbs, RandomnessError, Seed, packed_len};
use amicus_node::Peer;
use amicus_plan::ValueId;
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::wire::{Kind, unpack};
use amicus_protocol::{Parties, ProtocolError, Scope};
use amicus_testkit::covers::Witness;
use amicus_testkit::direct::{self, Outcome, Shift};
use amicus_testkit::nets::{Draft, Net};
use amicus_testkit::world::{DangerKnownSeeds, Letter, World};
use amicus_testkit::zoo;
use std::collections::HashSet;

const BATCH: usize = 2;

/// Flips a bit of a message of one party to the helper.
struct Flip {
    from: Peer,
    kind: Kind,
    /// Byte, counted from the end.
    at: usize,
}

impl World for Flip {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if letter.from == self.from && letter.header.kind == self.kind {
            let at = body.len() - self.at;
            body[at] ^= 1;
        }
    }
}

#[test]
fn a_hash_of_any_party_that_differs_is_a_rejection() {
    let net = zoo::mlp(Limbs::TWO);
    let (layers, inputs) = (net.layers(), net.inputs(1, 1));
    for n in 2..=5 {
        let parties = Parties::new(n).unwrap();
        for party in parties.all() {
            let from = Peer::Party(party);
            for at in [1, 32] {
                let mut world = Flip { from: from.clone(), kind: Kind::LoadHash, at };
                let error = direct::load_over(&net.plan, &layers, parties, None, &mut world).unwrap_err();
                assert!(matches!(error, ProtocolError::Rejected { .. }), "load hash of {party}: {error}");
            }
            let loaded = direct::load(&net.plan, &layers, parties, None).unwrap();
            // The output's hash comes last, the transcript's before it.
            for at in [1, 32, 33, 64] {
                let mut world = Flip { from: from.clone(), kind: Kind::Check, at };
                let outcome = direct::infer_over(&loaded, &inputs, 1, &[], &mut |_| (), &mut world).unwrap();
                let error = outcome.logits.unwrap_err();
                assert!(matches!(error, ProtocolError::Rejected { .. }), "hash of {party}: {error}");
            }
        }
    }
}

/// A witness in whose world parties and clients draw from seeds of other names than helper and
/// owner. A party's part of its own seed, on which masks depend, counts with the helper's.
struct Separate {
    witness: Witness,
    parts: HashSet<Peer>,
    parties: DangerKnownSeeds,
    client: DangerKnownSeeds,
}

impl World for Separate {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        match role {
            // The first that it draws.
            Peer::Party(_) if self.parts.insert(role.clone()) => self.witness.seed(role),
            Peer::Party(_) => Ok(self.parties.next(role)),
            Peer::Client(_) => Ok(self.client.next(role)),
            _ => self.witness.seed(role),
        }
    }

    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        self.witness.carry(letter, body);
    }
}

/// A load and two inferences.
struct Runs {
    witness: Witness,
    load: Scope,
    outcomes: Vec<Outcome>,
}

impl Runs {
    fn new(net: &Net, layers: &[LayerWeights], n: usize, parties_draw: &str, client_draws: &str) -> Self {
        Runs::of(net, layers, n, parties_draw, client_draws, &net.inputs(BATCH, 7), &[])
    }

    fn of(
        net: &Net,
        layers: &[LayerWeights],
        n: usize,
        parties_draw: &str,
        client_draws: &str,
        inputs: &[i64],
        shifts: &[Shift],
    ) -> Self {
        let mut world = Separate {
            witness: Witness::new("agreement"),
            parts: HashSet::new(),
            parties: DangerKnownSeeds::new(parties_draw),
            client: DangerKnownSeeds::new(client_draws),
        };
        let parties = Parties::new(n).unwrap();
        let loaded = direct::load_over(&net.plan, layers, parties, None, &mut world).unwrap();
        let infer = |world: &mut Separate| -> Outcome {
            direct::infer_over(&loaded, inputs, BATCH, shifts, &mut |_| (), world).unwrap()
        };
        let outcomes = (0..2).map(|_| infer(&mut world)).collect();
        let of_load = |(l, _): &&(Letter, Vec<u8>)| l.header.kind == Kind::LoadHash;
        let load = world.witness.letters.iter().find(of_load).unwrap().0.header.scope();
        Runs { witness: world.witness, load, outcomes }
    }

    /// A party's answer to the challenge and its sums of the check.
    fn sums(&self, net: &Net, party: &Peer) -> Vec<LimbVec> {
        let (limbs, count) = (net.plan.limbs, BATCH * net.plan.check_slots());
        let answer = self.witness.bodies(party, Kind::LoadResponse, 0, self.load)[0];
        let mut all = vec![unpack(limbs, net.plan.weights.len(), answer).unwrap()];
        for outcome in &self.outcomes {
            let body = self.witness.bodies(party, Kind::Check, 0, outcome.scope)[0];
            all.push(unpack(limbs, count, &body[..packed_len(limbs, count)]).unwrap());
        }
        all
    }

    /// A party's shares of the reports on proofs, 16 bytes at a time.
    fn reports(&self, net: &Net, n: usize, party: &Peer) -> Vec<Vec<u128>> {
        let first = packed_len(net.plan.limbs, BATCH * net.plan.check_slots());
        let bytes = net.plan.report_bytes(&net.plan.values().unwrap(), BATCH, n);
        let of_check = |outcome: &Outcome| {
            let body = self.witness.bodies(party, Kind::Check, 0, outcome.scope)[0];
            let parts = body[first..first + bytes].as_chunks().0;
            parts.iter().map(|part| u128::from_le_bytes(*part)).collect()
        };
        self.outcomes.iter().map(of_check).collect()
    }

    /// The transcript hashes of a party.
    fn transcripts(&self, party: &Peer) -> Vec<Vec<u8>> {
        let bodies = self.outcomes.iter().map(|o| self.witness.bodies(party, Kind::Check, 0, o.scope)[0]);
        bodies.map(|body| body[body.len() - 64..][..32].to_vec()).collect()
    }

    /// Everything opened.
    fn opened(&self) -> Vec<&LimbVec> {
        self.outcomes.iter().flat_map(|o| o.opened.iter().map(|(_, opened)| opened)).collect()
    }
}

/// What is left of the messages to the helper when all it knows is taken away: in two worlds that
/// differ in nothing but what parties (or the client) drew, all values are equal, so messages
/// differ by shares of zero alone.
fn zero_shares_differ(what: &str, before: &Runs, after: &Runs, net: &Net, n: usize, load_too: bool) {
    assert!(before.opened() == after.opened(), "{what}: other values");
    for party in Parties::new(n).unwrap().all().map(Peer::Party) {
        let mut seen = HashSet::new();
        let pairs = before.sums(net, &party).into_iter().zip(after.sums(net, &party));
        for (number, (before, mut after)) in pairs.enumerate() {
            after.sub_assign(&before);
            for limb in 0..net.plan.limbs.count() {
                for (element, &residue) in after.plane(limb).iter().enumerate() {
                    if number == 0 && !load_too {
                        assert_eq!(residue, 0);
                        continue;
                    }
                    let place = format!("{what}, {party}, message {number}, sum {element}");
                    assert!(residue != 0, "{place}: no share of zero");
                    assert!(seen.insert((limb, residue)), "{place}: the same share of zero");
                }
            }
        }
        let pairs = before.reports(net, n, &party).into_iter().zip(after.reports(net, n, &party));
        let mut seen = HashSet::new();
        for (number, (before, after)) in pairs.enumerate() {
            for (at, (before, after)) in before.into_iter().zip(after).enumerate() {
                let place = format!("{what}, {party}, inference {number}, part {at} of the report");
                assert!(before != after, "{place}: no share of zero");
                assert!(seen.insert(before ^ after), "{place}: the same share of zero");
            }
        }
    }
}

#[test]
fn sums_come_under_shares_of_zero_from_the_pairs_keys() {
    for net in [zoo::repeated(Limbs::TWO), zoo::conv_net(Limbs::ONE), zoo::relu(Limbs::ONE, true, &[2; 6])] {
        for n in [2, 3] {
            let runs = |draw| Runs::new(&net, &net.layers(), n, draw, "client");
            zero_shares_differ("other keys", &runs("keys"), &runs("other keys"), &net, n, true);
        }
    }
}

#[test]
fn shares_of_zero_depend_on_the_outputs_hashes() {
    for (net, n) in [zoo::repeated(Limbs::TWO), zoo::relu(Limbs::TWO, true, &[3, 3])]
        .iter()
        .flat_map(|net| [(net, 2), (net, 3)])
    {
        let runs = |draw| Runs::new(net, &net.layers(), n, "keys", draw);
        let (before, after) = (runs("client"), runs("other client"));
        // Nothing but the receiver's key is another one.
        for party in Parties::new(n).unwrap().all().map(Peer::Party) {
            assert_eq!(before.transcripts(&party), after.transcripts(&party));
        }
        zero_shares_differ("another receiver's key", &before, &after, net, n, false);
    }
}

#[test]
fn transcripts_cover_the_input_and_every_opening() {
    let mut draft = Draft::new("ignored input", Limbs::TWO, &[5]);
    let z = draft.dense(ValueId::INPUT, 5, 4, true);
    let y = draft.activation(z, 3, 2, None);
    let z = draft.dense(y, 4, 3, true);
    let net = draft.reveal(z);
    let mut layers = net.layers();
    // The network does not look at its last input, so nothing that is opened depends on it.
    for row in 0..4 {
        layers[0].weights.set(5 * row + 4, Element::zero(Limbs::TWO));
    }
    let inputs = net.inputs(BATCH, 7);
    let mut others = inputs.clone();
    others[4] += 1;
    others[9] -= 1;
    for n in [2, 3] {
        let run =
            |inputs: &[i64], shifts: &[Shift]| Runs::of(&net, &layers, n, "keys", "client", inputs, shifts);
        let honest = run(&inputs, &[]);
        let other = run(&others, &[]);
        let input = |runs: &Runs| runs.outcomes[0].input.clone();
        assert!(input(&honest) != input(&other) && honest.opened() == other.opened());
        let differ = |what: &str, after: &Runs| {
            for party in Parties::new(n).unwrap().all().map(Peer::Party) {
                let pairs = honest.transcripts(&party).into_iter().zip(after.transcripts(&party));
                pairs.for_each(|(a, b)| assert_ne!(a, b, "{what} is not in the transcript of {party}"));
            }
        };
        differ("the input", &other);
        // An error in the last opening changes nothing else.
        let element = BATCH * 3 - 1;
        for op in 0..3 {
            let shift =
                Shift { index: op, element: element.min(BATCH * 4 - 1), error: Element::one(Limbs::TWO) };
            differ(&format!("operation {op}"), &run(&inputs, &[shift]));
        }
    }
}

#[test]
fn transcripts_cover_every_bit_of_every_level() {
    let net = zoo::relu(Limbs::ONE, true, &[2; 6]);
    let inputs = net.inputs(BATCH, 7);
    for n in [2, 3] {
        let run = |shifts: &[Shift]| Runs::of(&net, &net.layers(), n, "keys", "client", &inputs, shifts);
        let honest = run(&[]);
        let mut unnoticed_elsewhere = 0;
        for (stage, planes) in honest.outcomes[0].bits.clone() {
            for at in (0..planes.iter().map(BitVec::len).sum()).step_by(7) {
                let shift = Shift { index: stage.index(), element: at, error: Element::one(Limbs::ONE) };
                let other = run(&[shift]);
                // Many a wrong bit changes no other one.
                unnoticed_elsewhere += usize::from(honest.opened() == other.opened());
                for party in Parties::new(n).unwrap().all().map(Peer::Party) {
                    let pairs = honest.transcripts(&party).into_iter().zip(other.transcripts(&party));
                    pairs.for_each(|(a, b)| assert_ne!(a, b, "bit {at} of {stage} at {party}"));
                }
            }
        }
        assert!(unnoticed_elsewhere > 3, "{unnoticed_elsewhere}");
    }
}
