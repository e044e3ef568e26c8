//! A browser's inference takes its steps in one order, and stops before anything leaves when nodes,
//! model or image are not what they should be.
#![allow(clippy::unwrap_used)] // a test fails with what it did not expect

use amicus_client::https::{Info, ModelInfo, id_of};
use amicus_field::{Limbs, OperatingSystem, Seed, packed_len, unpack};
use amicus_protocol::control::{self, Binding, TicketGrant};
use amicus_protocol::label::domain;
use amicus_protocol::wire::VERSION;
use amicus_protocol::{EpochId, InferenceId, Scope, SessionId};
use amicus_testkit::nets::Net;
use amicus_testkit::zoo;
use amicus_web::{Machine, WebError};

const PARTIES: usize = 2;
const EPOCH: [u8; 16] = [7; 16];

fn fingerprint(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn info(net: &Net, node: usize) -> Info {
    let role = if node == 0 { "helper".to_owned() } else { format!("party {node}") };
    let model = ModelInfo {
        name: "mlp".into(),
        plan: net.plan.digest().unwrap().to_string(),
        batch: 1,
        epoch: Some("07".repeat(16)),
        fingerprint: (node > 0).then(|| fingerprint(1)),
    };
    let (version, cluster, digest) = ("0".into(), "test".into(), "0".into());
    Info { role, version, wire: VERSION, cluster, digest, parties: PARTIES, ready: true, models: vec![model] }
}

fn heard(net: &Net, said: impl Fn(usize, &mut Info), more: &str) -> Result<Machine, WebError> {
    let cluster = format!(r#"{{"parties":{PARTIES},"model":"mlp"{more}}}"#);
    let mut machine = Machine::new(cluster.as_bytes())?;
    for node in 0..=PARTIES {
        let mut info = info(net, node);
        said(node, &mut info);
        machine.hear(node, &serde_json::to_vec(&info).unwrap())?;
    }
    Ok(machine)
}

/// A machine that knows the plan and has compared.
fn compared(net: &Net) -> Machine {
    let more = format!(r#","fingerprint":"{}""#, fingerprint(1));
    let mut machine = heard(net, |_, _| (), &more).unwrap();
    let digest = net.plan.digest().unwrap();
    assert_eq!(machine.ask_plan().unwrap().path, format!("/v1/plans/{digest}"));
    machine.take_plan(&net.plan.encode().unwrap()).unwrap();
    machine.compare().unwrap();
    machine
}

fn image(net: &Net) -> Vec<u8> {
    let count: usize = net.plan.input.shape.iter().product();
    (0..count).flat_map(|at| (at as f32 / 64.0).to_le_bytes()).collect()
}

/// The id and the ticket of an inference of this epoch.
fn ticket(net: &Net, epoch: [u8; 16]) -> (String, Vec<u8>) {
    let scope = Scope::new(SessionId::from_bytes([3; 16]), EpochId::from_bytes(epoch), InferenceId(5));
    let (plan, names) = (net.plan.digest().unwrap(), vec!["c".to_owned()]);
    let binding = Binding { plan, batch: 1, client: "c".into(), receivers: names };
    let grant = TicketGrant { binding, seeds: vec![9; 32 * PARTIES], keys: vec![8; 32 * PARTIES] };
    (id_of(scope), control::encode(&grant).unwrap())
}

fn said(error: &WebError) -> String {
    let problem = error.problem();
    for part in [&problem.what, &problem.place, &problem.whose, &problem.next] {
        assert!(!part.is_empty(), "{problem:?}");
    }
    problem.to_string()
}

fn refused<T>(taken: Result<T, WebError>, words: &str) {
    let Err(error) = taken else { panic!("taken, expected \"{words}\"") };
    assert!(said(&error).contains(words), "{}, expected \"{words}\"", said(&error));
}

#[test]
fn every_party_is_sent_the_image_under_all_masks() {
    let net = zoo::mlp(Limbs::TWO);
    let mut machine = compared(&net);
    machine.take_input(&image(&net)).unwrap();
    assert_eq!(machine.ask().unwrap().path, "/v1/inferences");
    let (id, ticket) = ticket(&net, EPOCH);
    machine.granted(&id, &ticket, &mut OperatingSystem).unwrap();
    let picture = machine.mask().unwrap();
    let (limbs, len) = (net.plan.limbs, picture.len());
    let calls: Vec<_> = (1..=PARTIES).map(|party| machine.submit(party).unwrap()).collect();
    // A receiver's key with its tag, the input, its tag.
    let of = |body: &[u8]| body[64..64 + packed_len(limbs, len)].to_vec();
    let masked = of(&calls[0].body.0);
    assert_eq!(masked, of(&calls[1].body.0));
    let mut found = unpack(limbs, len, &masked).unwrap();
    assert!(picture.iter().zip(found.plane(0)).all(|(pixel, residue)| u64::from(*pixel) == residue >> 44));
    // What is left without the masks of the ticket's seeds is the image.
    for _ in 0..PARTIES {
        let scope = amicus_client::https::scope_of(&id).unwrap();
        let label = amicus_protocol::label::Label::new(amicus_protocol::label::Purpose::InputMask, scope, 0);
        found.sub_assign(&label.expand(&Seed::from_bytes([9; 32])).sample(domain::MAIN, limbs, len));
    }
    let numbers: Vec<f32> =
        image(&net).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(found.to_i64().unwrap(), amicus_plan::quantize_input(&net.plan, &numbers).unwrap());
    // It gives these bytes as often as they are asked for, and no second mask.
    assert_eq!(machine.submit(1).unwrap(), calls[0]);
    refused(machine.mask(), "masking comes later");
    refused(machine.ask(), "asking comes later");
    assert!(machine.answer().unwrap().is_empty());
    assert_eq!(machine.ask_release().unwrap().path, format!("/v1/inferences/{id}/release"));
    assert_eq!(machine.farewell(0).unwrap().path, format!("/v1/inferences/{id}"));
    assert_eq!(machine.farewell(2).unwrap().path, format!("/v1/inferences/{id}/collected"));
    assert_eq!(machine.collect(2).unwrap().path, format!("/v1/inferences/{id}/output"));
    refused(machine.submit(3), "there is no party 3");
    // Two outputs that are none, and a release that is none.
    for party in 1..=PARTIES {
        machine.take_output(party, &[1; 40]).unwrap();
    }
    machine.take_release(&[2; 40]).unwrap();
    refused(machine.answer().map(drop), "helper misbehaved");
}

#[test]
fn nothing_is_asked_before_all_was_looked_at() {
    let net = zoo::mlp(Limbs::TWO);
    let mut machine = heard(&net, |_, _| (), "").unwrap();
    refused(machine.ask(), "comes later");
    refused(machine.take_input(&image(&net)), "comes later");
    machine.take_plan(&net.plan.encode().unwrap()).unwrap();
    machine.take_input(&image(&net)).unwrap();
    refused(machine.ask(), "asking comes later");
    machine.compare().unwrap();
    refused(machine.mask(), "comes later");
    refused(machine.submit(1), "comes later");
    machine.ask().unwrap();
    refused(machine.submit(1), "comes later");
    // Without an image either.
    refused(compared(&net).ask(), "asking comes later");
}

#[test]
fn another_model_than_the_owners_ends_it() {
    let net = zoo::mlp(Limbs::TWO);
    let plan = net.plan.encode().unwrap();
    let other = format!(r#","fingerprint":"{}""#, fingerprint(2));
    let mut machine = heard(&net, |_, _| (), &other).unwrap();
    machine.take_plan(&plan).unwrap();
    machine.take_input(&image(&net)).unwrap();
    refused(machine.compare(), "expected is 0202");
    refused(machine.ask(), "asking comes later");
    // One party says something else than another.
    let differs = |node, info: &mut Info| {
        if node == 2 {
            info.models[0].fingerprint = Some(fingerprint(3));
        }
    };
    let mut machine = heard(&net, differs, "").unwrap();
    machine.take_plan(&plan).unwrap();
    refused(machine.compare(), "party 1, party 2 or model owner");
    refused(machine.ask(), "asking comes later");
    // The model was loaded anew before the ticket came.
    let mut machine = compared(&net);
    machine.take_input(&image(&net)).unwrap();
    machine.ask().unwrap();
    let (id, ticket) = ticket(&net, [6; 16]);
    refused(machine.granted(&id, &ticket, &mut OperatingSystem), "loaded anew");
    refused(machine.mask(), "comes later");
}

#[test]
fn nodes_and_plans_are_those_that_were_meant() {
    let net = zoo::mlp(Limbs::TWO);
    refused(Machine::new(b"{}"), "the cluster");
    refused(Machine::new(br#"{"parties":1,"model":"mlp"}"#), "2 to 8");
    refused(Machine::new(br#"{"parties":2,"model":"mlp","fingerprint":"12"}"#), "64 hex digits");
    refused(heard(&net, |_, info| info.role = "party 1".into(), ""), "says that it is party 1");
    refused(heard(&net, |_, info| info.wire += 1, ""), "use the same");
    refused(heard(&net, |_, _| (), "").unwrap().hear(1, b"<html>"), "is not understood");
    let listed = format!(r#","plan":"{}""#, fingerprint(5));
    refused(heard(&net, |_, _| (), &listed).unwrap().ask_plan(), "not the one that the cluster's file has");
    let mut machine = heard(&net, |_, _| (), "").unwrap();
    refused(machine.take_plan(&zoo::mlp(Limbs::ONE).plan.encode().unwrap()), "another digest");
    refused(machine.take_plan(b"no plan"), "");
    let gone = |_, info: &mut Info| info.models.clear();
    refused(heard(&net, gone, "").unwrap().ask_plan(), "serves no model mlp");
}

#[test]
fn images_are_what_the_network_takes() {
    let net = zoo::mlp(Limbs::TWO);
    let mut machine = compared(&net);
    let good = image(&net);
    refused(machine.take_input(&good[4..]), "5 numbers, expected 6");
    for (bad, words) in
        [(f32::NAN, "element 2 is NaN"), (f32::INFINITY, "inf"), (1e9, "element 2 is 1000000000")]
    {
        let mut numbers = good.clone();
        numbers[8..12].copy_from_slice(&bad.to_le_bytes());
        refused(machine.take_input(&numbers), words);
        refused(machine.ask(), "asking comes later");
    }
}

#[test]
fn what_a_helper_grants_may_be_anything() {
    let net = zoo::mlp(Limbs::TWO);
    let (id, good) = ticket(&net, EPOCH);
    let asked = || {
        let mut machine = compared(&net);
        machine.take_input(&image(&net)).unwrap();
        machine.ask().unwrap();
        machine
    };
    for cut in 0..good.len() {
        refused(asked().granted(&id, &good[..cut], &mut OperatingSystem), "");
    }
    refused(asked().granted("", &good, &mut OperatingSystem), "an answer without an id");
    let text = format!("{:?}", asked());
    assert!(!text.contains("4, 8, 12, 16, 20"), "{text}"); // the image, at the plan's scale
}
