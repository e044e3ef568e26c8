//! All randomness of loads and inferences, listed by the labels that the code really draws it with:
//! nothing is drawn twice (`docs/protocol.md`, section 7.1).

use amicus_field::Limbs;
use amicus_node::Peer;
use amicus_protocol::Parties;
use amicus_protocol::draws::{Draw, danger_take_notes};
use amicus_protocol::label::{LABEL_BYTES, Label, Purpose, domain};
use amicus_testkit::direct;
use amicus_testkit::nets::Net;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::zoo;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Lists what every role draws.
#[derive(Default)]
struct Lister {
    acting: Option<Peer>,
    draws: Vec<(Peer, Draw)>,
}

impl Lister {
    fn collect(&mut self) {
        let notes = danger_take_notes();
        if let Some(role) = &self.acting {
            self.draws.extend(notes.into_iter().map(|draw| (role.clone(), draw)));
        }
    }
}

impl World for Lister {
    fn acts(&mut self, role: &Peer) {
        self.collect();
        self.acting = Some(role.clone());
    }

    fn carry(&mut self, _: &Letter, _: &mut Vec<u8>) {
        // Whoever sends has acted.
        self.collect();
    }
}

/// Everything drawn in two epochs of each of two sessions, with two inferences each, by role.
fn draws(net: &Net, n: usize) -> Vec<(Peer, Draw)> {
    let mut lister = Lister::default();
    let parties = Parties::new(n).unwrap();
    let sessions = [(); 2].map(|()| direct::begin(parties, &mut lister).unwrap());
    for session in sessions.iter().chain(&sessions) {
        let session = Arc::clone(session);
        let loaded = direct::load_in(session, &net.plan, &net.layers(), None, &mut lister).unwrap();
        for batch in [1, 3] {
            let inputs = net.inputs(batch, 2);
            let outcome = direct::infer_over(&loaded, &inputs, batch, &[], &mut |_| (), &mut lister).unwrap();
            assert!(outcome.logits.is_ok());
        }
    }
    lister.collect();
    lister.draws
}

#[test]
fn every_label_domain_and_position_is_drawn_once() {
    for net in
        Limbs::ALL.into_iter().flat_map(|limbs| zoo::all(limbs).into_iter().chain(zoo::comparing(limbs)))
    {
        for n in [2, 3] {
            let what = format!("{}, {} limbs, {n} parties", net.plan.name, net.plan.limbs.count());
            let draws = draws(&net, n);
            assert!(!draws.is_empty());
            labels_have_bytes_of_their_own(&what, &draws);
            no_party_draws_twice(&what, &draws);
            streams_belong_to_one_label_and_party(&what, &draws);
            others_draw_what_parties_draw(&what, &draws);
            let purposes: BTreeSet<u8> = draws.iter().map(|(_, d)| d.label.purpose() as u8).collect();
            // A network without weights has no load to speak of.
            let all: Vec<u8> = if net.plan.weights.is_empty() { vec![3, 4, 6] } else { (1..=7).collect() };
            assert!(purposes.iter().copied().filter(|p| all.contains(p)).eq(all.iter().copied()), "{what}");
        }
    }
}

/// What tells of values outside is masked, keyed and made random by every party: whoever lacks one
/// party's share knows nothing of the sum.
#[test]
fn every_party_has_a_share_of_what_tells_of_values_outside() {
    let net = zoo::watched(Limbs::ONE);
    let (index, numbers) = (net.op("outside 0"), 3);
    for n in [2, 3] {
        let draws = draws(&net, n);
        let of_op = |d: &Draw| d.bytes.ends_with(&index.to_le_bytes());
        let own = |d: &Draw| d.label.purpose() == Purpose::Material && of_op(d);
        let domains = [domain::FOLLOW, domain::KEY].into_iter().chain((0..numbers).map(domain::selected));
        for domain in domains {
            let drawn = |(role, d): &&(Peer, Draw)| {
                matches!(role, Peer::Party(_)) && own(d) && d.domain == domain && !d.positions.is_empty()
            };
            let parties: BTreeSet<&Peer> = draws.iter().filter(drawn).map(|(role, _)| role).collect();
            assert_eq!(parties.len(), n, "domain {domain}");
        }
    }
}

fn labels_have_bytes_of_their_own(what: &str, draws: &[(Peer, Draw)]) {
    let mut labels: HashMap<[u8; LABEL_BYTES], Label> = HashMap::new();
    for (_, draw) in draws {
        let known = *labels.entry(draw.bytes).or_insert(draw.label);
        assert_eq!(known, draw.label, "{what}: two labels are the same bytes");
    }
}

/// Batch elements are consecutive positions, so that a draw has them all.
fn no_party_draws_twice(what: &str, draws: &[(Peer, Draw)]) {
    let parties: BTreeSet<&Peer> =
        draws.iter().map(|(role, _)| role).filter(|role| matches!(role, Peer::Party(_))).collect();
    for party in parties {
        let mut own: Vec<&Draw> = draws.iter().filter(|(role, _)| role == party).map(|(_, d)| d).collect();
        own.sort_by_key(|d| (d.stream, d.domain, d.positions.start));
        for pair in own.windows(2) {
            let [a, b] = pair else { unreachable!() };
            let apart = (a.stream, a.domain) != (b.stream, b.domain) || a.positions.end <= b.positions.start;
            assert!(apart, "{what}: {party} draws twice: {a:?} and {b:?}");
        }
    }
}

fn streams_belong_to_one_label_and_party(what: &str, draws: &[(Peer, Draw)]) {
    let mut known: HashMap<[u8; 8], (&Peer, Label)> = HashMap::new();
    for (role, draw) in draws.iter().filter(|(role, _)| matches!(role, Peer::Party(_))) {
        let (first, label) = *known.entry(draw.stream).or_insert((role, draw.label));
        assert_eq!(label, draw.label, "{what}: two labels have one stream");
        // Both parties of a pair draw its zeros, and the challenge is public.
        let shared =
            matches!(draw.label.purpose(), Purpose::LoadZero | Purpose::CheckZero | Purpose::Challenge);
        assert!(shared || first == role, "{what}: {first} and {role} have one stream for {label:?}");
    }
}

/// Helper, owner and client draw nothing of their own from seeds.
fn others_draw_what_parties_draw(what: &str, draws: &[(Peer, Draw)]) {
    let key = |d: &Draw| (d.stream, d.bytes, d.domain, d.positions.clone());
    let of_parties: HashSet<_> =
        draws.iter().filter(|(role, _)| matches!(role, Peer::Party(_))).map(|(_, d)| key(d)).collect();
    for (role, draw) in draws.iter().filter(|(role, _)| !matches!(role, Peer::Party(_))) {
        assert!(of_parties.contains(&key(draw)), "{what}: {role} alone draws {draw:?}");
    }
}
