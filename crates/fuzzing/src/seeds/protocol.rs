//! Seeds of what goes between roles, and of what a node keeps.

use super::{Seed, seed};
use amicus_field::{LimbVec, Limbs, OperatingSystem, packed_len};
use amicus_net::fuzz::{Door, frame};
use amicus_net::shaper::Shape;
use amicus_net::{Identity, PeerSet};
use amicus_plan::ValueId;
use amicus_protocol::check::CheckShape;
use amicus_protocol::control::{
    self, AbortNotice, Binding, Channel, Hello, Invitation, Request, TicketGrant,
};
use amicus_protocol::epoch::SEED_BYTES;
use amicus_protocol::keys::CONTRIBUTION_BYTES;
use amicus_protocol::session::SessionStart;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{EpochId, InferenceId, Parties, ProtocolError, Scope, SessionId, Step};
use amicus_testkit::nets::Net;
use amicus_testkit::{direct, zoo};

const SCOPE: Scope =
    Scope::new(SessionId::from_bytes([5; 16]), EpochId::from_bytes([3; 16]), InferenceId(70));

pub(super) fn wire() -> Vec<Seed> {
    let header = Header::new(Kind::Opening, SCOPE, 2).encode();
    let vector = |limbs: Limbs| {
        let largest = amicus_field::PRIMES[0] as i64 / 3;
        pack(&LimbVec::from_i64(limbs, &[0, 1, -1, largest, -largest]))
    };
    let limbs = |index: u8| {
        let body = vector(Limbs::ALL[usize::from(index)]);
        seed(&format!("vector-{}", index + 1), [&[index, 5, 0], &body[..]].concat())
    };
    let mut all = vec![seed("header", header), seed("opening", [&header[..], &vector(Limbs::TWO)].concat())];
    all.extend((0..3).map(limbs));
    // Two planes of nine bits, the first and the last one set.
    all.push(seed("bits", [0, 9, 0, 1, 1, 1, 1]));
    all
}

fn notice() -> AbortNotice {
    let plan = zoo::mlp(Limbs::TWO).plan;
    let fault = amicus_protocol::Fault::Length { expected: 65, got: 64 };
    let error = ProtocolError::peer(
        amicus_protocol::Parties::new(2).expect("two parties").last(),
        Step::opening(&plan, amicus_plan::OpIndex(1)),
        fault,
    );
    let first = AbortNotice::of(&error, &Step::Check);
    AbortNotice::of(
        &ProtocolError::Aborted { by: amicus_protocol::Peer::Helper, notice: Box::new(first) },
        &Step::Check,
    )
}

pub(super) fn control() -> Vec<Seed> {
    let chosen =
        |kind: u8, body: Result<Vec<u8>, ProtocolError>| [&[kind], &body.expect("memory")[..]].concat();
    let plan = zoo::mlp(Limbs::TWO).plan.digest().expect("memory");
    let binding = Binding {
        plan,
        batch: 2,
        client: "client 1".into(),
        receivers: vec!["client 1".into(), "client 2".into()],
    };
    let keys = vec![8; 2 * SEED_BYTES];
    let invitation = Invitation { binding: binding.clone(), keys: keys.clone() };
    let grant = TicketGrant { binding: binding.clone(), seeds: vec![7; 2 * SEED_BYTES], keys };
    let load = AbortNotice { step: Step::load_part("tags"), rejected: true, accused: None, ..notice() };
    vec![
        seed(
            "hello",
            chosen(0, control::encode(&Hello { channel: Channel::Dealing, cluster: [7; 32], parties: 3 })),
        ),
        seed(
            "request",
            chosen(1, control::encode(&Request { plan, batch: 1, also_to: vec!["client 2".into()] })),
        ),
        seed("binding", chosen(2, control::encode(&binding))),
        seed("ticket", chosen(3, control::encode(&grant))),
        seed("invitation", chosen(5, control::encode(&invitation))),
        seed("notice", chosen(4, control::encode(&notice()))),
        seed("notice-of-load", chosen(4, control::encode(&load))),
    ]
}

pub(super) fn plans() -> Vec<Seed> {
    let nets =
        [zoo::mlp(Limbs::TWO), zoo::conv_net(Limbs::ONE), zoo::residual(Limbs::TWO), zoo::joined(Limbs::TWO)];
    let more =
        [zoo::products(Limbs::TWO), zoo::repeated(Limbs::ONE), zoo::pools(Limbs::THREE), zoo::statistical()];
    let comparing = [zoo::relu(Limbs::ONE, true, &[2; 6]), zoo::maxima(Limbs::TWO), zoo::pieces(Limbs::ONE)];
    let plans = nets.into_iter().chain(more).chain(comparing).chain([zoo::mixed(Limbs::TWO)]);
    let of = |name: &str, net: &Net| seed(name, net.plan.encode().expect("memory"));
    let mut all: Vec<Seed> = plans.map(|net| of(&net.plan.name.replace(" ", "-"), &net)).collect();
    all.push(of("public", &zoo::mlp(Limbs::TWO).published()));
    all
}

pub(super) fn names() -> Vec<Seed> {
    let identity = Identity::generate("party 1").expect("a key");
    let texts = ["helper", "model owner", "party 2", "client 1", "wan", "\u{1b}[2J\u{202e}"];
    let shape = Shape { bits_per_second: Some(2_500_000_000), ..Shape::wan() }.to_string();
    let mut all: Vec<Seed> =
        texts.iter().zip(1..).map(|(text, i)| seed(&format!("text-{i}"), *text)).collect();
    all.push(seed("shape", shape));
    all.push(seed("fingerprint", identity.fingerprint().to_string()));
    all.push(seed("identity", identity.to_pem().as_str()));
    all
}

/// A change of message `number`, as `messages` reads it.
fn change(number: u8, how: u8, at: u16, bytes: &[u8]) -> Vec<u8> {
    [&[number, how], &at.to_le_bytes()[..], &[bytes.len() as u8], bytes].concat()
}

pub(super) fn messages() -> Vec<Seed> {
    let mut all = vec![seed("honest", [0, 0]), seed("honest-3", [3, 1])];
    for net in 0..7 {
        // Every fifth message of a run, each in another way.
        let numbers = (0u8..60).step_by(5).zip((0u8..5).cycle());
        all.extend(numbers.map(|(number, how)| {
            let change = change(number, how, 3 * u16::from(number), &[1, 0, 0xff]);
            seed(&format!("net-{net}-message-{number}"), [&[net, 0], &change[..]].concat())
        }));
    }
    all
}

pub(super) fn states() -> Vec<Seed> {
    let plan = zoo::joined(Limbs::TWO).plan;
    let values = plan.values().expect("a valid plan");
    let sums = packed_len(plan.limbs, plan.check_slots());
    let check = [vec![0, 0, 0, 2], vec![0; sums + 3 * 32]].concat();
    let with_bits = zoo::relu(Limbs::ONE, true, &[2; 6]).plan;
    let shape = CheckShape::new(&with_bits, &with_bits.values().expect("a valid plan"), 2, 1, 2);
    let check_of_bits = [vec![0, 1, 0, 2], vec![0; shape.bytes()]].concat();
    let digest = plan.digest().expect("memory");
    let binding =
        Binding { plan: digest, batch: 1, client: "client 1".into(), receivers: vec!["client 1".into()] };
    let keys = vec![8; 3 * SEED_BYTES];
    let invitation = Invitation { binding: binding.clone(), keys: keys.clone() };
    let grant = TicketGrant { binding, seeds: vec![7; 3 * SEED_BYTES], keys };
    let grant = control::encode(&grant).expect("memory");
    let invitation = control::encode(&invitation).expect("memory");
    let element = (plan.limbs.bits().div_ceil(8) + 1) as usize;
    let outputs = values.get(plan.output.value).len * element;
    let each = 32 + outputs + 32;
    let numbers = [2, each as u32].map(u32::to_le_bytes).concat();
    let release = [&digest.0[..], &numbers, &vec![0; 2 * each]].concat();
    let parties = Parties::new(3).expect("three parties");
    let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).expect("randomness");
    let offer = control::encode(&start.offer(parties.last())).expect("memory");
    let contribution = [&[CONTRIBUTION_BYTES as u8], &[9; CONTRIBUTION_BYTES][..], &[1]].concat();
    let mut load = [&[5, 0][..], &[0, 0, 32], &[6; 32]].concat();
    let first = packed_len(plan.limbs, plan.weights[0].shape.weights());
    load.extend([&[1, 0, (4 + first) as u8][..], &vec![0; 4 + first]].concat());
    let nonce_only = load.clone();
    load.extend([2, 0, 3, 1, 2, 3]);
    let grants = (plan.weights.len() + 1) * 3 * SEED_BYTES;
    assert_eq!(values.get(ValueId::INPUT).len, 18, "seeds fit the network that the target uses");
    let net = zoo::joined(Limbs::TWO);
    let loaded = direct::load(&net.plan, &net.layers(), parties, None).expect("an honest load");
    let mut kept_by_party = vec![8];
    let mut write = |section: &[u8]| {
        let length = u16::try_from(section.len()).expect("a short section");
        kept_by_party.extend([&length.to_le_bytes()[..], section].concat());
        Ok::<(), ProtocolError>(())
    };
    loaded.parties[2].seal(&mut write).expect("memory");
    vec![
        seed("check", check),
        seed("check-of-bits", check_of_bits),
        seed("epoch-of-party", kept_by_party),
        seed("epoch-of-helper", [&[9], &loaded.helper.seal()[..]].concat()),
        seed("ticket", [&[1, 0], &grant[..]].concat()),
        seed("invitation", [&[2, invitation.len() as u8], &invitation[..], &[0; 40]].concat()),
        seed("release", [&[3, 3, 1, 2, 3], &release[..]].concat()),
        seed("keys", [&[4, 0], &contribution[..], &contribution].concat()),
        seed("session", [&[4, offer.len() as u8], &offer[..], &contribution, &contribution].concat()),
        seed("load", load),
        seed("weights", nonce_only),
        seed("owner", [vec![6], vec![3; grants]].concat()),
        seed("receiver-key", [&[7], &[1; 32][..]].concat()),
    ]
}

pub(super) fn frames() -> Vec<Seed> {
    let stream = [frame(b""), frame(b"one"), frame(&[2; 40])].concat();
    let limited = |limit: u16, step: u8, stream: &[u8]| [&limit.to_le_bytes()[..], &[step], stream].concat();
    vec![
        seed("whole", limited(100, 255, &stream)),
        seed("bytes", limited(100, 0, &stream)),
        seed("cut", limited(100, 6, &stream[..stream.len() - 3])),
        seed("long", limited(39, 9, &stream)),
    ]
}

pub(super) fn handshake() -> Vec<Seed> {
    let [node, friend, stranger] =
        ["party 1", "client 1", "nobody"].map(|name| Identity::generate(name).expect("a key"));
    let peers = PeerSet::from_iter([(node.fingerprint(), "party 1")]);
    let step = |step: u16, bytes: &[u8]| [&step.to_le_bytes()[..], bytes].concat();
    let hello = Door::first_words(&friend, peers.clone()).expect("a client");
    let other = Door::first_words(&stranger, peers).expect("a client");
    vec![
        seed("client-hello", step(u16::MAX, &hello)),
        seed("client-hello-in-pieces", step(10, &other)),
        seed("alert", step(0, &[21, 3, 3, 0, 2, 2, 40])),
        seed("http", step(0, b"GET / HTTP/1.1\r\n\r\n")),
    ]
}
