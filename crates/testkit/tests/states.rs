//! The protocol's states refuse what they must not take, whoever moves the messages
//! (`docs/protocol.md`, 4 to 7).

use amicus_field::{Limbs, OperatingSystem, Seed, packed_len};
use amicus_node::Peer;
use amicus_node::inbox::{Inbox, Incoming, Want};
use amicus_plan::{OpIndex, WeightId};
use amicus_protocol::affine::Part;
use amicus_protocol::authentic::AuthenticationKeys;
use amicus_protocol::control::{self, TicketGrant};
use amicus_protocol::epoch::{HelperEpoch, HelperLoad};
use amicus_protocol::keys::PartyKeys;
use amicus_protocol::label::{Label, Purpose};
use amicus_protocol::online::{AwaitingInput, Next};
use amicus_protocol::release::ReleaseKey;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Parties, PartyId, ProtocolError, Scope};
use amicus_testkit::PATIENCE;
use amicus_testkit::direct::{self, Loaded};
use amicus_testkit::nets::Net;
use amicus_testkit::world::Honest;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::zoo;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TWO: Limbs = Limbs::TWO;

fn loaded(net: &Net) -> Loaded {
    direct::load(&net.plan, &net.layers(), Parties::new(3).unwrap(), None).unwrap()
}

fn says(error: Result<(), ProtocolError>, words: &str) {
    let text = error.unwrap_err().to_string();
    assert!(text.contains(words), "{text}");
}

/// The keys of an inference at one of the parties.
fn keys(loaded: &Loaded, party: usize, id: u64) -> PartyKeys {
    let epoch = &loaded.helper;
    loaded.session.parties[party].take(epoch.epoch(), epoch.digest(), InferenceId(id)).unwrap()
}

/// The first of three parties, dealt an inference and given an input of zeros.
fn running(loaded: &Loaded, net: &Net, id: u64) -> amicus_protocol::online::Running {
    let one = &loaded.parties[0];
    let material = one.prepare(one.begin_deal(keys(loaded, 0, id), 1)).unwrap();
    let input = vec![0; packed_len(TWO, net.input_len())];
    direct::given_input(one, material, &input).unwrap()
}

#[test]
fn one_share_of_each_operation_of_each_other_party() {
    let net = zoo::mlp(TWO);
    let loaded = loaded(&net);
    let parties = loaded.helper.parties();
    let [one, two, three] = [1, 2, 3].map(|n| parties.party(n).unwrap());
    let Next::Open(opening) = running(&loaded, &net, 2).next().unwrap() else { panic!("nothing opened") };
    let (op, share) = &opening.shares()[0];
    let (op, body) = (op.index(), share.pack());
    let mut collecting = opening.collect().unwrap();
    // Its own share is there already.
    says(collecting.receive(one, op, &body), "party 1 misbehaved: second share");
    collecting.receive(two, op, &body).unwrap();
    says(collecting.receive(two, op, &body), "party 2 misbehaved: second share");
    says(collecting.receive(three, op + 1, &body), "unexpected share of operation");
    assert_eq!(collecting.missing().map(|(party, _)| party), Some(three));
    says(collecting.complete().map(drop), "share of party 3");
}

#[test]
fn material_is_used_in_its_own_epoch_only() {
    let net = zoo::mlp(TWO);
    let [old, new] = [loaded(&net), loaded(&net)];
    let (first, second) = (&old.parties[0], &new.parties[0]);
    // Keys that were taken for one epoch make no material of another.
    let deal = first.begin_deal(keys(&old, 0, 2), 1);
    let words = format!("keys of {} in {}", first.epoch(), second.epoch());
    says(second.prepare(deal).map(drop), &words);
    let material = first.prepare(first.begin_deal(keys(&old, 0, 3), 1)).unwrap();
    let words = format!("material of {} in {}", first.epoch(), second.epoch());
    says(AwaitingInput::new(Arc::clone(second), material).map(drop), &words);
    // Nor does the helper deal with them.
    let others = old.session.helper.next(old.helper.epoch(), old.helper.digest()).unwrap();
    let dealt = new.helper.deal::<ProtocolError>(others, 1, &mut |_: OpIndex, _: PartyId, _: Vec<u8>| {
        panic!("something is dealt")
    });
    says(dealt.map(drop), "keys of");
}

#[test]
fn every_party_needs_its_corrections_once() {
    let net = zoo::conv_net(TWO);
    let loaded = loaded(&net);
    let mut corrections = Vec::new();
    let mut deal = |op: OpIndex, to: PartyId, body: Vec<u8>| {
        corrections.push((op.0, to, body));
        Ok::<(), ProtocolError>(())
    };
    let (epoch, digest) = (loaded.helper.epoch(), loaded.helper.digest());
    let taken = loaded.session.helper.next(epoch, digest).unwrap();
    loaded.helper.deal(taken, 1, &mut deal).unwrap();
    // A deal goes on in the epoch that it began in.
    let other = self::loaded(&net);
    let mut ids = 2..;
    for party in &loaded.parties {
        let me = party.context().me;
        let mut begin = || party.begin_deal(keys(&loaded, me.index(), ids.next().unwrap()), 1);
        let (mine, others): (Vec<_>, Vec<_>) = corrections.iter().partition(|(_, to, _)| *to == me);
        let (op, _, body) = mine[0];
        says(begin().correction(&other.parties[me.index()], *op, body), "keys of");
        says(party.prepare(begin()).map(drop), "corrections are missing");
        // What was refused is not taken for what should have come.
        let mut deal = begin();
        says(deal.correction(party, *op, &body[1..]), "bytes, expected");
        says(party.prepare(deal).map(drop), "corrections are missing");
        // Those of an operation without any, of one that is not the next, and of another party.
        says(begin().correction(party, 0, body), "unexpected corrections");
        says(begin().correction(party, u32::MAX, body), "unexpected corrections");
        for (later, _, body) in mine.iter().filter(|(later, ..)| later > op) {
            says(begin().correction(party, *later, body), "unexpected corrections");
        }
        for (of, _, body) in others {
            let words = if of == op { "bytes, expected" } else { "unexpected corrections" };
            says(begin().correction(party, *of, body), words);
        }
        let mut deal = begin();
        for (number, (op, _, body)) in mine.iter().enumerate() {
            assert!(!deal.complete());
            deal.correction(party, *op, body).unwrap();
            let missing = mine[number + 1..].iter().any(|(of, ..)| of == op);
            let words = if missing { "bytes, expected" } else { "second corrections" };
            says(deal.correction(party, *op, body), words);
        }
        assert!(deal.complete());
        party.prepare(deal).unwrap();
    }
}

#[test]
fn messages_ahead_of_their_time_are_bounded_for_each_peer() {
    let mut inbox = Inbox::new(1 << 10).unwrap();
    let peers = [Peer::Client("a".into()), Peer::Client("b".into())];
    let mut links = Vec::new();
    for peer in &peers {
        let (mut here, there) = amicus_net::Link::pair(&peer.to_string(), "node");
        inbox.insert(peer, there);
        for id in 1..=20 {
            let header = Header::new(Kind::Input, Scope { id: InferenceId(id), ..Scope::NONE }, 0);
            here.send(&[&header.encode()]).unwrap();
        }
        links.push(here);
    }
    let mut refused = [0; 2];
    loop {
        match inbox.next(Instant::now() + Duration::from_millis(200), |_, _| Want::Keep).unwrap() {
            Incoming::Refused(peer, fault, _) => {
                assert!(fault.to_string().contains("more than 16 messages"), "{fault}");
                refused[peers.iter().position(|p| *p == peer).unwrap()] += 1;
            }
            Incoming::Timeout => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, [4, 4]);
    // What is kept is delivered when it is wanted.
    let mut delivered = 0;
    while let Ok(Incoming::Message(_)) = inbox.next(Instant::now(), |_, _| Want::Take) {
        delivered += 1;
    }
    assert_eq!(delivered, 32);
}

#[test]
fn a_message_longer_than_the_plan_says_ends_the_link() {
    let mut inbox = Inbox::new(1 << 10).unwrap();
    let peer = Peer::Client("a".into());
    let (mut here, there) = amicus_net::Link::pair(&peer.to_string(), "node");
    inbox.insert(&peer, there);
    let header = Header::new(Kind::Input, Scope::NONE, 0).encode();
    let most = (1 << 10) - header.len();
    here.send(&[&header, &vec![0; most]]).unwrap();
    here.send(&[&header, &vec![0; most + 1]]).unwrap();
    let mut next = || inbox.next(Instant::now() + PATIENCE, |_, _| Want::Take).unwrap();
    assert!(matches!(next(), Incoming::Message(message) if message.body().len() == most));
    let Incoming::Lost(_, error) = next() else { panic!("a message that is too long") };
    assert!(error.to_string().contains("announced a frame of 1025 bytes"), "{error}");
}

#[test]
fn parts_of_weights_have_their_part_of_the_mask() {
    let seed = Seed::from_bytes([5; 32]);
    let stream = Label::epoch(Purpose::WeightMask, EpochId::from_bytes([1; 16]), 0).stream(&seed);
    let part = |part: Part| amicus_protocol::affine::sample(&part, &stream, TWO);
    let whole = part(Part::Weights(0..70));
    for (start, end) in [(0, 30), (30, 31), (31, 70)] {
        assert_eq!(part(Part::Weights(start..end)), whole.slice(start..end));
    }
    // No element of it covers a bias too.
    let bias = part(Part::Bias(70));
    assert!((0..70).all(|i| (0..70).all(|j| bias.get(i) != whole.get(j))));
}

/// A party sends the receiver another output than it said it would.
struct WrongOutput(Peer);

impl World for WrongOutput {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if letter.header.kind == Kind::Output && letter.from == self.0 {
            body.iter_mut().for_each(|byte| *byte ^= 1);
        }
    }
}

#[test]
fn an_output_that_the_parties_did_not_agree_on_is_passed_over() {
    let net = zoo::mlp(TWO);
    let loaded = loaded(&net);
    let inputs = net.inputs(1, 3);
    for party in loaded.helper.parties().all().map(Peer::Party) {
        let mut world = WrongOutput(party);
        let outcome = direct::infer_over(&loaded, &inputs, 1, &[], &mut |_| (), &mut world).unwrap();
        assert!(net.error_of(&inputs, &outcome.logits.unwrap()) < 0.05, "{:?}", world.0);
    }
}

/// The helper's release comes with a mask that is no truncated mask, encrypted as it should be.
#[derive(Default)]
struct LongMask {
    key: Option<ReleaseKey>,
}

impl World for LongMask {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if letter.header.kind == Kind::Ticket {
            let grant: TicketGrant = control::decode(body).unwrap();
            let keys = AuthenticationKeys::decode(Parties::new(3).unwrap(), &grant.keys).unwrap();
            self.key = Some(ReleaseKey::of(&keys, letter.header.scope()));
        }
        if letter.header.kind == Kind::Release {
            let key = self.key.as_ref().unwrap();
            let mut text = key.decrypt(body).unwrap();
            // After the hash: the first mask, and behind it its wrap bit.
            let each = (text.len() - 32) / OUTPUTS;
            text[32..32 + each - 1].fill(0xff);
            *body = key.encrypt(&text);
        }
    }
}

/// Outputs of the small network.
const OUTPUTS: usize = 3;

#[test]
fn a_release_out_of_range_is_refused() {
    let net = zoo::mlp(TWO);
    let loaded = loaded(&net);
    assert_eq!(net.simulate(&net.inputs(1, 3), 1).len(), OUTPUTS);
    let outcome =
        direct::infer_over(&loaded, &net.inputs(1, 3), 1, &[], &mut |_| (), &mut LongMask::default())
            .unwrap();
    says(outcome.logits.map(drop), "output entry");
}

#[test]
fn an_output_may_drop_no_bits() {
    let Net { plan, weights } = zoo::mlp(TWO);
    let mut plan = (*plan).clone();
    plan.output.scale = plan.values().unwrap().get(plan.output.value).scale;
    let net = Net { plan: Arc::new(plan), weights };
    let loaded = loaded(&net);
    // Masks of the upper and of the lower half, with and without a wrap.
    for salt in 0..40 {
        let inputs = net.inputs(1, salt);
        let logits = direct::infer(&loaded, &inputs, 1, &[], &mut |_| ()).unwrap().logits.unwrap();
        assert!(net.error_of(&inputs, &logits) < 0.05, "{salt}");
    }
}

#[test]
fn limits_on_frames_leave_room_for_corrections_of_a_load() {
    let net = zoo::conv_net(TWO);
    let parties = Parties::new(2).unwrap();
    let session = direct::begin(parties, &mut Honest).unwrap();
    let load = HelperLoad::begin(Arc::clone(&net.plan), &session.helper, &mut OperatingSystem).unwrap();
    let lengths = (0u32..).take(net.plan.weights.len()).map(|id| load.corrections(WeightId(id)).len());
    assert_eq!(Some(HelperEpoch::longest_load_message(&net.plan)), lengths.max());
}
