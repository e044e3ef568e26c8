//! MAC keys, measured from outside: an error of 1 in one opened element moves the sums of the check
//! by the key of this element (`docs/security.md`, Lemma 2). Keys must be uniform, and one per
//! element within every sum, or errors cancel.
//!
//! And all seeds, keys and nonces that are drawn rather than derived are new every time.

use amicus_client::inference::Awaiting;
use amicus_field::{Element, LimbVec, Limbs, OperatingSystem, Prime};
use amicus_node::Peer;
use amicus_plan::{OpIndex, OpKind, ValueId};
use amicus_protocol::control::{self, Binding, Invitation, SessionAnswer, SessionOffer, TicketGrant};
use amicus_protocol::wire::{Header, Kind, unpack};
use amicus_protocol::{EpochId, InferenceId, Parties, Scope, SessionId};
use amicus_testkit::covers::{Witness, sum};
use amicus_testkit::direct::{self, Shift};
use amicus_testkit::nets::Net;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::zoo;
use std::collections::HashMap;

const BATCH: usize = 2;
const INFERENCES: usize = 2;

/// The sums of the check over all parties, of each of some inferences; `shift` is played in the
/// inference of a number.
fn sums(net: &Net, parties: Parties, shift: Option<(usize, Shift)>) -> Vec<LimbVec> {
    let mut witness = Witness::new("measured keys");
    let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut witness).unwrap();
    let inputs = net.inputs(BATCH, 3);
    let mut all = Vec::new();
    for number in 0..INFERENCES {
        let shifts: Vec<Shift> = shift.iter().filter(|(n, _)| *n == number).map(|(_, s)| *s).collect();
        let outcome =
            direct::infer_over(&loaded, &inputs, BATCH, &shifts, &mut |_| (), &mut witness).unwrap();
        assert_eq!(outcome.logits.is_ok(), shifts.is_empty(), "{}", net.plan.name);
        let count = BATCH * net.plan.check_slots();
        let of_party = |party| {
            let body = witness.bodies(&Peer::Party(party), Kind::Check, 0, outcome.scope)[0];
            let packed = amicus_field::packed_len(net.plan.limbs, count);
            unpack(net.plan.limbs, count, &body[..packed]).unwrap()
        };
        all.push(sum(&parties.all().map(of_party).collect::<Vec<_>>()));
    }
    all
}

/// The key of one element, and that no other sum knows of it.
fn key(
    net: &Net,
    parties: Parties,
    honest: &[LimbVec],
    number: usize,
    op: OpIndex,
    element: usize,
) -> Element {
    let limbs = net.plan.limbs;
    let shift = Shift { index: op.0, element, error: Element::one(limbs) };
    let shifted = sums(net, parties, Some((number, shift)));
    let values = net.plan.values().unwrap();
    let slot = net.plan.slot(&net.plan.op(op).kind);
    let own = element / values.get(ValueId::of(op)).len * net.plan.check_slots() + slot;
    let mut found = Element::zero(limbs);
    for (inference, (after, before)) in shifted.iter().zip(honest).enumerate() {
        for at in 0..after.len() {
            let moved = after.get(at) - before.get(at);
            if (inference, at) == (number, own) {
                found = moved;
            } else {
                assert!(moved.is_zero(), "{}, {op}: element {element} moves another sum", net.plan.name);
            }
        }
    }
    found
}

#[test]
fn every_opened_element_has_a_key_of_its_own() {
    let nets = [
        zoo::mlp(Limbs::TWO),
        zoo::conv_net(Limbs::TWO),
        zoo::products(Limbs::TWO),
        zoo::repeated(Limbs::TWO),
        zoo::residual(Limbs::ONE),
        zoo::joined(Limbs::ONE),
    ];
    let mut high_bits = [0u32; 16];
    for net in nets {
        let (plan, parties) = (&net.plan, Parties::new(2).unwrap());
        let honest = sums(&net, parties, None);
        let values = plan.values().unwrap();
        let mut keys: HashMap<Vec<u64>, String> = HashMap::new();
        for (op, kind) in plan.indexed_ops().map(|(index, op)| (index, &op.kind)).filter(|(_, k)| k.opens()) {
            let len = values.get(ValueId::of(op)).len;
            // A tensor has one key for all inferences, inputs and uses, each of which has a sum of
            // its own.
            let (inferences, elements) = match kind {
                OpKind::Linear { use_index, .. } if use_index.0 > 0 => continue,
                OpKind::Linear { .. } => (1, len),
                _ => (INFERENCES, BATCH * len),
            };
            for number in 0..inferences {
                for element in 0..elements {
                    let key = key(&net, parties, &honest, number, op, element);
                    let residues: Vec<u64> = (0..plan.limbs.count()).map(|l| key.limb(l)).collect();
                    let place = format!("{}: {op}, element {element}, inference {number}", plan.name);
                    assert!(residues.iter().all(|&r| r != 0), "{place} has no key");
                    for (limb, &r) in residues.iter().enumerate() {
                        let bin = u128::from(r) * 16 / u128::from(Prime::of_limb(limb).value());
                        high_bits[bin as usize] += 1;
                    }
                    if let Some(other) = keys.insert(residues, place.clone()) {
                        panic!("{place} has the key of {other}");
                    }
                }
            }
        }
    }
    // Chi-square, 15 degrees of freedom: beyond 80 with probability below 1e-9; seeds are fixed.
    let expected = f64::from(high_bits.iter().sum::<u32>()) / 16.0;
    let statistic: f64 = high_bits.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    assert!(expected > 50.0 && statistic < 80.0, "{high_bits:?}");
}

/// Keeps what roles draw and tell each other in the open.
#[derive(Default)]
struct Listener(HashMap<[u8; 32], String>);

impl Listener {
    /// Notes what is new; the same thing may be said to many.
    fn hear(&mut self, what: &str, secret: &[u8]) {
        let secret: [u8; 32] = secret.try_into().unwrap();
        assert!(secret.iter().any(|&b| b != 0), "{what} is zero");
        let before = self.0.insert(secret, what.into());
        assert!(before.as_ref().is_none_or(|b| b == what), "{what} is {}", before.unwrap());
    }
}

impl World for Listener {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        let (from, to, header) = (&letter.from, &letter.to, &letter.header);
        let run = format!("{:?}", header.scope());
        match header.kind {
            Kind::SessionBegin => {
                let offer: SessionOffer = control::decode(body).unwrap();
                self.hear(&format!("helper's part of the seed of {to} in {run}"), &offer.part);
            }
            Kind::SessionAnswer => {
                let answer: SessionAnswer = control::decode(body).unwrap();
                self.hear(&format!("part of {from} of its seed in {run}"), &answer.part);
            }
            Kind::LoadGrant => {
                let seeds = body.chunks(32).enumerate();
                seeds.for_each(|(i, seed)| self.hear(&format!("mask seed {i} in {run}"), seed));
            }
            Kind::Keys => {
                self.hear(&format!("common contribution of {from} in {run}"), &body[..32]);
                self.hear(&format!("contribution of {from} for {to} in {run}"), &body[32..]);
            }
            Kind::Nonce => self.hear(&format!("nonce in {run}"), &body[..32]),
            Kind::Challenge => self.hear(&format!("challenge in {run}"), body),
            Kind::ReceiverKey => self.hear(&format!("key of {from} in {run}"), &body[..32]),
            Kind::Ticket => {
                let grant: TicketGrant = control::decode(body).unwrap();
                let seeds = grant.seeds.chunks(32).enumerate();
                seeds.for_each(|(i, seed)| self.hear(&format!("input seed {i} in {run}"), seed));
                let keys = grant.keys.chunks(32).enumerate();
                keys.for_each(|(i, key)| self.hear(&format!("authentication key {i} in {run}"), key));
            }
            _ => {}
        }
    }
}

#[test]
fn seeds_keys_and_nonces_are_new_every_time() {
    let net = zoo::residual(Limbs::TWO);
    let parties = Parties::new(3).unwrap();
    let mut listener = Listener::default();
    let (loads, inferences) = (3, 3);
    for _ in 0..loads {
        let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut listener).unwrap();
        for (party, seed) in parties.all().zip(loaded.helper.danger_seeds()) {
            let epoch = loaded.helper.epoch();
            listener.hear(&format!("seed of {party} in {epoch:?}"), seed.as_bytes());
        }
        for _ in 0..inferences {
            direct::infer_over(&loaded, &net.inputs(1, 1), 1, &[], &mut |_| (), &mut listener).unwrap();
        }
    }
    // Per session, of one load each: parts of seeds, contributions; per load: seeds, mask seeds,
    // authentication keys, nonce, challenge; per inference: input seeds, authentication keys, key.
    let (n, tensors) = (3, net.plan.weights.len());
    let of_load = 2 * n + n + n * (n - 1) + n + n * tensors + n + 1 + 1;
    assert_eq!(listener.0.len(), loads * (of_load + inferences * (2 * n + 1)));

    // A receiver that was invited draws a key of its own, too.
    let plan = net.plan.digest().unwrap();
    let binding = Binding { plan, batch: 1, client: "client 1".into(), receivers: vec!["client 2".into()] };
    let invitation = Invitation { binding, keys: vec![7; 32 * parties.count()] };
    let body = control::encode(&invitation).unwrap();
    for id in 1..=3 {
        let (session, epoch) = (SessionId::from_bytes([1; 16]), EpochId::from_bytes([1; 16]));
        let header = Header::new(Kind::Invite, Scope::new(session, epoch, InferenceId(id)), 0);
        let invited = Awaiting::invited(&net.plan, parties, &header, &body, &mut OperatingSystem);
        listener.hear(&format!("invited key {id}"), invited.unwrap().1.body());
    }
}
