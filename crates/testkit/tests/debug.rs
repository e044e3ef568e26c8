//! `Debug` shows nothing secret: no seed, key, share, mask, weight, message body or output.
//!
//! Every state of a run is formatted as it is; the sources are searched for types whose `Debug` is
//! derived although they hold bare bytes or numbers, so that a new type cannot forget it.

use amicus_client::Message;
use amicus_field::{Element, LimbVec, Limbs, LinearMap, OperatingSystem, Randomness};
use amicus_net::{Direction, Event, Link, Recorded};
use amicus_node::Peer;
use amicus_node::client::Inferred;
use amicus_node::conduct::Outgoing;
use amicus_node::inbox::{Inbox, Incoming, Want};
use amicus_node::store::{Place, Store};
use amicus_protocol::check::DecisionLog;
use amicus_protocol::ids::{EpochId, ID_BYTES, InferenceId, Parties, Scope, SessionId};
use amicus_protocol::label::{Label, Purpose};
use amicus_protocol::wire::{Header, Kind};
use amicus_testkit::direct;
use amicus_testkit::world::World;
use amicus_testkit::zoo;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest runs that public things need: layers have at most nine coefficients, ids and sizes a few
/// digits.
const NUMBERS: usize = 12;
const DIGITS: usize = 6;

/// Types that are public, and hexadecimal: digests of plans, ids of sessions and epochs.
const HEXADECIMAL: [(&str, usize); 3] =
    [("PlanDigest", 2 * 32), ("SessionId", 2 * ID_BYTES), ("EpochId", 2 * ID_BYTES)];

/// A text without the public hexadecimal values in it, each of which has its exact length.
fn without_public(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, digits) in HEXADECIMAL {
        let start = format!("{name}(");
        let mut parts = text.split(&start);
        let mut rest = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let shown = part
                .split_once(')')
                .filter(|(shown, _)| shown.len() == digits && shown.bytes().all(|b| b.is_ascii_hexdigit()));
            rest.push_str(shown.map_or(part, |(_, after)| after));
        }
        text = rest;
    }
    text
}

/// Why a text might show something secret: a long number, or many numbers in a row.
fn leak(text: &str) -> Option<String> {
    let rest = without_public(text);
    // Times have long fractions.
    let mut run = 0;
    for word in rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).filter(|w| !w.is_empty()) {
        let digits = word.bytes().filter(u8::is_ascii_hexdigit).count();
        let is_time = word.ends_with('s');
        if word.bytes().any(|b| b.is_ascii_digit()) && digits == word.len() && digits > DIGITS && !is_time {
            return Some(format!("the number {word}"));
        }
        run = if word.bytes().all(|b| b.is_ascii_digit()) { run + 1 } else { 0 };
        if run > NUMBERS {
            return Some(format!("{run} numbers in a row, the last one {word}"));
        }
    }
    None
}

fn hides(value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        if let Some(leak) = leak(&text) {
            panic!("{leak} in {text}");
        }
    }
}

#[test]
fn the_search_finds_what_a_derived_debug_shows() {
    let body: Vec<u8> = (0..40).collect();
    for secret in [
        format!("{body:?}"),
        format!("{body:#?}"),
        format!("Element({})", (1u64 << 52) - 48),
        format!("{:02x?}", [17u8; 40]).replace(", ", ""),
        format!("{:?}", amicus_field::U256::MAX),
    ] {
        assert!(leak(&secret).is_some(), "{secret}");
    }
    let (session, epoch) = (SessionId::from_bytes([0x93; ID_BYTES]), EpochId::from_bytes([17; ID_BYTES]));
    let public = format!("Header {{ hop: 12, {session:?}, {epoch:?} }} [1, 2, 3] 1.234567891ms");
    assert_eq!(leak(&public), None);
    // Not because of what it is called: a longer one, or one of another type.
    for secret in [format!("{epoch:?}").replace('(', "(00"), format!("{session:?}").replace("Id", "")] {
        assert!(leak(&secret).is_some(), "{secret}");
    }
}

struct Onlooker(usize);

impl World for Onlooker {
    fn looks_at(&mut self, state: &dyn Debug) {
        self.0 += 1;
        hides(state);
    }
}

#[test]
fn states_of_a_run_hide_their_secrets() {
    for net in [
        zoo::conv_net(Limbs::TWO),
        zoo::products(Limbs::ONE),
        zoo::residual(Limbs::THREE),
        zoo::maxima(Limbs::ONE),
        zoo::watched(Limbs::ONE),
    ] {
        let mut world = Onlooker(0);
        let parties = Parties::new(3).unwrap();
        let layers = net.layers();
        hides(&layers);
        let loaded = direct::load_over(&net.plan, &layers, parties, None, &mut world).unwrap();
        let inputs = net.inputs(4, 1);
        let outcome = direct::infer_over(&loaded, &inputs, 4, &[], &mut |_| (), &mut world).unwrap();
        assert!(world.0 > 30, "{} looks", world.0);
        let logits = outcome.logits.unwrap();
        hides(&Inferred { logits, elapsed: Duration::from_millis(3), rounds: 9 });
    }
    // Numbers that nothing else in it has: a logit of a network may be as short as the number of rounds.
    let inferred = Inferred { logits: vec![1234.5, -876.25], elapsed: Duration::from_millis(3), rounds: 9 };
    let shown = format!("{inferred:?}");
    assert!(!shown.contains("1234.5") && !shown.contains("876.25"), "{shown}");
}

#[test]
fn vectors_keys_and_messages_hide_their_content() {
    let seed = OperatingSystem.seed().unwrap();
    let vector = seed.stream().sample(0, Limbs::TWO, 40);
    let shape = amicus_field::LinearShape::Dense(amicus_field::Dense { inputs: 8, outputs: 5 });
    let body = vec![173; 60];
    let epoch = EpochId::from_bytes([1; 16]);
    let scope = Scope::new(SessionId::from_bytes([2; 16]), epoch, InferenceId(2));
    let header = Header::new(Kind::Input, scope, 0);
    hides(&(&seed, seed.stream(), &vector, vector.get(0), Element::one(Limbs::ONE)));
    hides(&LinearMap::new(shape, &vector).unwrap());
    hides(&Label::epoch(Purpose::LoadTags, epoch, 0).stream(&seed));
    hides(&LimbVec::concat(&[&vector, &vector]));
    hides(&Message { header, body: body.clone() });
    let party = Peer::Party(amicus_protocol::PartyId::FIRST);
    hides(&[
        Outgoing::Message(header, body.clone()),
        Outgoing::MessageTo(party, header, body.clone()),
        Outgoing::Raw(body.clone()),
    ]);
    hides(&Event::Frame { key: 1, bytes: body.clone().into() });
    hides(&Recorded { direction: Direction::Sent, bytes: body.clone() });

    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut here, mut there) = (Inbox::new(1 << 16).unwrap(), Inbox::new(1 << 16).unwrap());
    let (a, b) = Link::pair("helper", "client 1");
    here.insert(&Peer::Client("1".into()), a);
    there.insert(&Peer::Helper, b);
    here.send(&Peer::Client("1".into()), header, &body).unwrap();
    here.flush(deadline).unwrap();
    let incoming = there.next(deadline, |_, _| Want::Take).unwrap();
    assert!(matches!(&incoming, Incoming::Message(m) if m.body() == body));
    hides(&incoming);

    let folder = tempfile::tempdir().unwrap();
    let parties = Parties::new(2).unwrap();
    let place = Place::local(folder.path(), parties, &Peer::Helper);
    let mut store = Store::open(&place, Peer::Helper).unwrap();
    store.receivers(&["client 1".into()]).accepted(scope, &body).unwrap();
    hides(&store.pending().collect::<Vec<_>>());
}

/// Types that may derive `Debug` over bare bytes or numbers: crate, name, and why.
const PUBLIC: [(&str, &str, &str); 7] = [
    ("node", "LoadedModel", "the fingerprint is made to be told"),
    ("node", "Loaded", "the fingerprint is made to be told"),
    ("node", "Event", "counts of bytes sent"),
    ("protocol", "Hello", "the digest of a cluster, which its members know"),
    ("protocol", "LabelStream", "the name of a stream, for tests"),
    ("protocol", "Draw", "labels are public"),
    ("protocol", "Recipients", "counts of bytes sent"),
];

#[test]
fn no_type_derives_debug_over_bare_secrets() {
    let bare = ["Vec<u8>", "Vec<u64>", "Vec<i64>", "Vec<f64>", "U256", "I256", "[u8;", "[u64;", "Box<[u"];
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut types, mut found) = (0, Vec::new());
    for package in ["protocol", "client", "node", "field", "net"] {
        for file in sources(&crates.join(package).join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            for item in derived(&text) {
                types += 1;
                let name = item.split(|c: char| !c.is_alphanumeric() && c != '_');
                let name = name.skip_while(|w| *w != "struct" && *w != "enum").nth(1).unwrap_or_default();
                let excused = PUBLIC.iter().any(|(p, public, _)| (*p, *public) == (package, name));
                if bare.iter().any(|b| item.contains(b)) && !excused {
                    found.push(format!("{}: {name}", file.display()));
                }
            }
        }
    }
    assert!(types > 80, "{types} types were found");
    assert!(found.is_empty(), "write Debug by hand: {found:#?}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all
}

/// The items of a source file whose `Debug` is derived, from the attribute to the end of their
/// fields.
fn derived(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    for (at, _) in text.match_indices("#[derive(") {
        let rest = &text[at..];
        let Some(end) = rest.find(")]") else { continue };
        if !rest[..end].contains("Debug") {
            continue;
        }
        let body = rest.find(['{', ';']).unwrap_or(rest.len());
        let mut depth = 0;
        let close = rest[body..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        items.push(&rest[..body + close.map_or(0, |(i, _)| i)]);
    }
    items
}
