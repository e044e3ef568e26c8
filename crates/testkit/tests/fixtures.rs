//! Bytes of every message of this version of the wire format, as they were written when it was made.
//!
//! `fixtures/wire-5.txt` has a line a message: kind, sender, receiver, header and body in
//! hexadecimal. Messages of a load and an inference are read by the states that read them in a node:
//! the run of known seeds goes on with the bytes of the file in place of its own, and sends the
//! bytes that stand there next. Words that only nodes say are decoded and encoded again. A change of
//! any byte needs another version (`wire::VERSION`) and another file, which
//! `AMICUS_WRITE_FIXTURES=1 cargo test -p amicus-testkit --test fixtures` writes.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use amicus_field::{Limbs, RandomnessError, Seed};
use amicus_node::Peer;
use amicus_plan::PlanDigest;
use amicus_protocol::authentic::{AuthenticationKeys, BodyDigest};
use amicus_protocol::control::{
    self, AbortNotice, About, Binding, Channel, Hello, Invitation, OpenedEpoch, SessionOpening,
};
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind, VERSION};
use amicus_protocol::{EpochId, InferenceId, Parties, Scope, SessionId, Step, greeting};
use amicus_testkit::world::{DangerKnownSeeds, Letter, World};
use amicus_testkit::{direct, zoo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/wire-{VERSION}.txt"))
}

/// A message as a line of the file.
#[derive(Clone, PartialEq, Eq)]
struct Fixture {
    kind: String,
    from: String,
    to: String,
    message: Vec<u8>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

impl Fixture {
    fn line(&self) -> String {
        let (header, body) = self.message.split_at(HEADER_BYTES);
        format!("{}; {}; {}; {}; {}\n", self.kind, self.from, self.to, hex(header), hex(body))
    }

    fn read(line: &str) -> Self {
        let parts: Vec<&str> = line.split("; ").collect();
        let [kind, from, to, header, body] = parts[..] else { panic!("{line}") };
        let message = [unhex(header), unhex(body.trim_end())].concat();
        Fixture { kind: kind.into(), from: from.into(), to: to.into(), message }
    }

    fn same(&self, other: &Fixture) {
        let same = (&self.kind, &self.from, &self.to) == (&other.kind, &other.from, &other.to)
            && self.message == other.message;
        assert!(same, "the bytes of a message have changed:\n{}{}", self.line(), other.line());
    }
}

/// A run of known seeds that reads the file's messages in place of its own.
struct Replay {
    seeds: DangerKnownSeeds,
    sent: Vec<Fixture>,
    stored: Option<Vec<Fixture>>,
}

impl World for Replay {
    fn seed(&mut self, role: &Peer) -> Result<Seed, RandomnessError> {
        Ok(self.seeds.next(role))
    }

    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        let message = [&letter.header.encode()[..], body].concat();
        let kind = format!("{:?}", letter.header.kind);
        let sent = Fixture { kind, from: letter.from.to_string(), to: letter.to.to_string(), message };
        if let Some(stored) = &self.stored {
            let stored = stored.get(self.sent.len()).unwrap_or_else(|| panic!("one more: {}", sent.line()));
            sent.same(stored);
            let (header, stored) = Header::decode(&stored.message).unwrap();
            assert_eq!(header, letter.header);
            *body = stored.to_vec();
        }
        self.sent.push(sent);
    }
}

/// A load and an inference of a network with a truncation, one with a comparison.
fn replayed(mut stored: Option<Vec<Fixture>>) -> Vec<Fixture> {
    let mut all = Vec::new();
    let parties = Parties::new(2).unwrap();
    for net in [zoo::mlp(Limbs::TWO), zoo::relu(Limbs::ONE, true, &[2; 6])] {
        let of_run = stored.take();
        let seeds = DangerKnownSeeds::new("wire fixtures");
        let mut world = Replay { seeds, sent: Vec::new(), stored: of_run };
        let inputs = net.inputs(1, 9);
        let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut world).unwrap();
        let outcome = direct::infer_over(&loaded, &inputs, 1, &[], &mut |_| (), &mut world).unwrap();
        outcome.logits.unwrap();
        stored = world.stored.map(|all| all[world.sent.len()..].to_vec());
        all.extend(world.sent);
    }
    assert!(stored.is_none_or(|left| left.is_empty()), "messages that nobody sends any more");
    all
}

/// What only nodes say: a message and how its body is read.
struct Word {
    kind: Kind,
    between: (Peer, Peer),
    body: Vec<u8>,
    again: fn(&[u8]) -> Vec<u8>,
}

/// Reads a body and writes it again.
fn again<T: Serialize + DeserializeOwned>(body: &[u8]) -> Vec<u8> {
    control::encode(&control::decode::<T>(body).unwrap()).unwrap()
}

fn empty(body: &[u8]) -> Vec<u8> {
    assert!(body.is_empty());
    Vec::new()
}

/// 32 bytes: a digest or a fingerprint.
fn bytes_32(body: &[u8]) -> Vec<u8> {
    <[u8; 32]>::try_from(body).unwrap().to_vec()
}

fn greeted(body: &[u8]) -> Vec<u8> {
    let (hello, program) = greeting::decode(body).unwrap();
    greeting::encode_as(&hello, VERSION, program.as_str()).unwrap()[HEADER_BYTES..].to_vec()
}

/// A message without a body but its receiver's tag.
fn tagged(kind: Kind) -> Vec<u8> {
    let keys = AuthenticationKeys::decode(Parties::new(2).unwrap(), &[8; 64]).unwrap();
    let key = keys.with(Parties::new(2).unwrap().party(1).unwrap()).unwrap();
    key.tag(&header(kind), &BodyDigest::of(&[])).as_bytes().to_vec()
}

/// Reads a message without a body but its receiver's tag, and tags it again.
fn tagged_again(kind: Kind, body: &[u8]) -> Vec<u8> {
    let keys = AuthenticationKeys::decode(Parties::new(2).unwrap(), &[8; 64]).unwrap();
    let key = keys.with(Parties::new(2).unwrap().party(1).unwrap()).unwrap();
    assert!(key.verify(&header(kind), body).unwrap().body().is_empty());
    tagged(kind)
}

fn words() -> Vec<Word> {
    let [one, two] = [1, 2].map(|number| Peer::Party(Parties::new(2).unwrap().party(number).unwrap()));
    let (helper, owner, client) = (Peer::Helper, Peer::Owner, direct::client());
    let hello = Hello { channel: Channel::Dealing, cluster: [7; 32], parties: 2 };
    let greeting = greeting::encode_as(&hello, VERSION, "0.1.0").unwrap()[HEADER_BYTES..].to_vec();
    let plan = PlanDigest([9; 32]);
    let about = About { time: 1_800_000_000_000, plans: vec![plan, PlanDigest([10; 32])] };
    let notice = AbortNotice {
        accused: Some("party 2".into()),
        step: Step::Load { part: "weights".into(), layer: Some("linear 0".into()) },
        reason: "message of 3 bytes, expected 5".into(),
        rejected: true,
        failures: 3,
        reporter: Some("party 1".into()),
    };
    let opening =
        SessionOpening { epochs: vec![OpenedEpoch { epoch: EpochId::from_bytes([0xee; 16]), failures: 2 }] };
    let receivers = vec!["client 1".into(), "client 2".into()];
    let binding = Binding { plan, batch: 2, client: "client 1".into(), receivers };
    let invitation = Invitation { binding: binding.clone(), keys: vec![8; 64] };
    fn encoded<T: Serialize>(body: &T) -> Vec<u8> {
        control::encode(body).unwrap()
    }
    let word = |kind, from: &Peer, to: &Peer, body, again| Word {
        kind,
        between: (from.clone(), to.clone()),
        body,
        again,
    };
    vec![
        word(Kind::Hello, &one, &helper, greeting, greeted),
        word(Kind::Abort, &two, &helper, encoded(&notice), again::<AbortNotice>),
        word(Kind::SessionOpen, &helper, &one, encoded(&opening), again::<SessionOpening>),
        word(Kind::About, &helper, &one, encoded(&about), again::<About>),
        word(Kind::Echo, &one, &helper, vec![0; 8], <[u8]>::to_vec),
        word(Kind::LoadAccepted, &helper, &owner, Vec::new(), empty),
        word(Kind::LoadReady, &one, &owner, Vec::new(), empty),
        word(Kind::EpochRetired, &helper, &one, Vec::new(), empty),
        word(Kind::Deal, &helper, &two, Vec::new(), empty),
        word(Kind::Ready, &two, &helper, Vec::new(), empty),
        word(Kind::Bind, &helper, &one, encoded(&binding), again::<Binding>),
        word(Kind::ReleaseAck, &client, &helper, Vec::new(), empty),
        word(Kind::Outcome, &helper, &one, Vec::new(), empty),
        word(Kind::Fingerprint, &client, &one, plan.0.to_vec(), bytes_32),
        word(Kind::Fingerprint, &one, &client, vec![5; 32], bytes_32),
        word(Kind::Collect, &client, &one, tagged(Kind::Collect), |b| tagged_again(Kind::Collect, b)),
        word(Kind::Collected, &client, &one, tagged(Kind::Collected), |b| tagged_again(Kind::Collected, b)),
        word(Kind::Invite, &helper, &client, encoded(&invitation), again::<Invitation>),
    ]
}

/// The header of a message that only nodes say.
fn header(kind: Kind) -> Header {
    let session = SessionId::from_bytes(*b"session's number");
    let scope = match kind {
        Kind::Hello | Kind::About | Kind::Echo => Scope::NONE,
        _ => Scope::new(session, EpochId::from_bytes([0xee; 16]), InferenceId(77)),
    };
    Header { hop: 3, ..Header::new(kind, scope, 5) }
}

impl Word {
    fn fixture(&self) -> Fixture {
        let header = header(self.kind);
        let message = [&header.encode()[..], &self.body].concat();
        let (from, to) = (self.between.0.to_string(), self.between.1.to_string());
        Fixture { kind: format!("{:?}", self.kind), from, to, message }
    }
}

#[test]
fn every_message_is_read_and_written_as_it_was() {
    let words = words();
    if std::env::var_os("AMICUS_WRITE_FIXTURES").is_some() {
        let said = words.iter().map(Word::fixture);
        let text: String = said.chain(replayed(None)).map(|fixture| fixture.line()).collect();
        std::fs::create_dir_all(file().parent().unwrap()).unwrap();
        std::fs::write(file(), text).unwrap();
    }
    let text = std::fs::read_to_string(file()).unwrap();
    let mut stored: Vec<Fixture> = text.lines().map(Fixture::read).collect();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for fixture in &stored {
        let (header, _) = Header::decode(&fixture.message).unwrap();
        assert_eq!(format!("{:?}", header.kind), fixture.kind);
        assert_eq!(header.encode()[..], fixture.message[..HEADER_BYTES]);
        *kinds.entry(fixture.kind.clone()).or_default() += 1;
    }
    for kind in Kind::ALL {
        assert!(kinds.contains_key(&format!("{kind:?}")), "{kind:?} has no line in {}", file().display());
    }
    let run = stored.split_off(words.len());
    for (word, stored) in words.iter().zip(&stored) {
        word.fixture().same(stored);
        let body = &stored.message[HEADER_BYTES..];
        assert_eq!((word.again)(body), body, "{}", stored.line());
    }
    replayed(Some(run));
}

#[test]
fn a_message_of_another_version_is_refused() {
    let text = std::fs::read_to_string(file()).unwrap();
    for fixture in text.lines().map(Fixture::read) {
        for version in [VERSION - 1, VERSION + 1] {
            let mut other = fixture.message.clone();
            other[0] = version;
            let words = format!("wire version {version}");
            let refusals =
                [Header::decode(&other).unwrap_err(), greeting::header(&other).map(drop).unwrap_err()];
            for refusal in refusals.map(|fault| fault.to_string()) {
                let both = refusal.contains(&words) && refusal.contains(&VERSION.to_string());
                assert!(both, "{}: {refusal}", fixture.kind);
            }
        }
    }
}
