//! Every message of a few loads and inferences is, byte by byte, what the specification says.
//!
//! `vectors/transcripts.py` is an independent program written from `docs/protocol.md`: it computes
//! what each role must send from the seeds that the roles draw, and wrote
//! `vectors/transcripts.json`. So a change of the wire format, of a label, a mask, a hash or a
//! formula shows here, also where both sides change alike and runs stay right. To write the vectors
//! anew after a wanted change: `python3 crates/testkit/vectors/transcripts.py`.

use amicus_field::{LimbVec, Limbs, RandomnessError, Seed};
use amicus_node::Peer;
use amicus_plan::Plan;
use amicus_protocol::Parties;
use amicus_protocol::affine::LayerWeights;
use amicus_testkit::direct;
use amicus_testkit::world::{DangerKnownSeeds, Letter, World};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const VECTORS: &str = include_str!("../vectors/transcripts.json");

/// Messages by sender, recipient, kind, index and inference; those of one tensor differ in nothing
/// of it.
type Transcript = BTreeMap<String, Vec<String>>;

/// Draws the known seeds and keeps what is sent.
struct Recording {
    seeds: DangerKnownSeeds,
    sent: Transcript,
}

impl World for Recording {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        Ok(self.seeds.next(role))
    }

    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        let message = [&letter.header.encode()[..], body].concat();
        let digest: String = hash(&message)[..16].iter().map(|b| format!("{b:02x}")).collect();
        let (header, key) = (letter.header, format!("{} > {}", letter.from, letter.to));
        let key = format!("{key}: {:?} {} {}", header.kind, header.index, header.id.0);
        self.sent.entry(key).or_default().push(format!("{} bytes, {digest}", message.len()));
    }
}

fn hash(message: &[u8]) -> [u8; 32] {
    *blake3::hash(message).as_bytes()
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

/// Numbers that may be longer than those of any network: random ones, modulo `Q`.
fn reals(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn layers(case: &Value, limbs: Limbs) -> Vec<LayerWeights> {
    let vector = |v: &Value| LimbVec::from_i64(limbs, &integers(v));
    let tensors = case["weights"].as_array().unwrap().iter();
    tensors
        .map(|t| LayerWeights { weights: vector(&t[0]), bias: t[1].is_array().then(|| vector(&t[1])) })
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn plan(case: &Value) -> Arc<Plan> {
    let encoded = bytes(case["plan"].as_str().unwrap());
    let plan = Plan::decode(&encoded).unwrap();
    assert_eq!(plan.encode().unwrap(), encoded);
    Arc::new(plan)
}

/// What the specification says.
fn expected(case: &Value) -> Transcript {
    let mut all = Transcript::new();
    for message in case["messages"].as_array().unwrap() {
        let (key, what) = message.as_str().unwrap().split_once(", ").unwrap();
        all.entry(key.into()).or_default().push(what.into());
    }
    all
}

#[test]
fn every_message_is_what_the_specification_says() {
    let cases: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    assert!(cases.len() >= 10);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let plan = plan(case);
        let parties = Parties::new(case["parties"].as_u64().unwrap() as usize).unwrap();
        let mut world = Recording { seeds: DangerKnownSeeds::new(name), sent: Transcript::new() };
        let layers = layers(case, plan.limbs);
        let loaded = direct::load_over(&plan, &layers, parties, None, &mut world).unwrap();
        for party in &loaded.parties {
            assert_eq!(party.fingerprint().0[..], bytes(case["fingerprint"].as_str().unwrap()), "{name}");
        }
        for inference in case["inferences"].as_array().unwrap() {
            let (inputs, batch) = (integers(&inference["inputs"]), inference["batch"].as_u64().unwrap());
            let outcome =
                direct::infer_over(&loaded, &inputs, batch as usize, &[], &mut |_| (), &mut world).unwrap();
            let unit = 2f64.powi(-(plan.output.scale.0 as i32));
            let outputs: Vec<f64> = reals(&inference["outputs"]).into_iter().map(|v| v * unit).collect();
            for message in [outcome.receiver.collect(), outcome.receiver.collected()] {
                direct::says_of_output(parties, &message, &mut world);
            }
            let logits = outcome.logits.unwrap();
            // Alike to the last bit of what a number holds.
            let alike = |(a, b): (&f64, &f64)| (a - b).abs() <= b.abs() * 2f64.powi(-51);
            assert!(logits.len() == outputs.len() && logits.iter().zip(&outputs).all(alike), "{name}");
        }
        let expected = expected(case);
        let keys = |t: &Transcript| t.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&world.sent), keys(&expected), "{name}: messages sent");
        for (key, messages) in &expected {
            assert_eq!(world.sent[key], *messages, "{name}, {key}");
        }
    }
}
