//! Secrets do not outlive their use: every block of memory that is released while nodes work is
//! kept, and searched afterwards for the seeds, keys and masks of the run (`docs/security.md`,
//! section 17).

use amicus_client::inference::PendingRequest;
use amicus_client::load;
use amicus_field::{Limbs, with_wiped_stack};
use amicus_net::{Identity, Link, Listener, PeerSet, dial};
use amicus_node::event::Reporter;
use amicus_node::limits::MAX_LANES;
use amicus_node::party::{PartyConfig, PartyNode};
use amicus_node::store::Place;
use amicus_node::{Limits, Peer, Served};
use amicus_protocol::authentic::AuthenticationKeys;
use amicus_protocol::control::{self, Channel, SessionAnswer, SessionOffer, TicketGrant};
use amicus_protocol::release::ReleaseKey;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Parties, Scope, SessionId};
use amicus_testkit::PATIENCE;
use amicus_testkit::random::Random;
use amicus_testkit::run::Setup;
use amicus_testkit::user::User;
use amicus_testkit::zoo;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Released blocks that are kept, in bytes; pages that are not written cost nothing.
const KEPT: usize = 1 << 30;
/// Secrets are searched for in pieces of so many bytes: part of one is found too.
const PIECE: usize = 16;

/// The system's allocator, which keeps a copy of what is released.
struct Keeper {
    on: AtomicBool,
    kept: AtomicPtr<u8>,
    bytes: AtomicUsize,
}

#[global_allocator]
static KEEPER: Keeper = Keeper {
    on: AtomicBool::new(false),
    kept: AtomicPtr::new(std::ptr::null_mut()),
    bytes: AtomicUsize::new(0),
};

// SAFETY: allocates as the system's allocator does; the copy is made before a block is released, and
// into memory that nobody else writes, because every copy has its own range. Growing blocks come
// here too: `realloc` is the trait's own, which allocates, copies and releases.
unsafe impl GlobalAlloc for Keeper {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.on.load(Ordering::SeqCst) {
            let at = self.bytes.fetch_add(layout.size(), Ordering::SeqCst);
            if at + layout.size() <= KEPT {
                // SAFETY: the block is `size` bytes long, and so is the range from `at`.
                unsafe { self.kept.load(Ordering::SeqCst).add(at).copy_from(block, layout.size()) };
            }
        }
        // SAFETY: the caller's promise about block and layout.
        unsafe { System.dealloc(block, layout) }
    }
}

/// How often pieces of these secrets are in memory that `work` released, by name. It tells the
/// secrets without releasing copies of them.
fn found_after(work: impl FnOnce(&mut dyn FnMut(&'static str, &[u8]))) -> HashMap<&'static str, usize> {
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let layout = Layout::from_size_align(KEPT, 4096).unwrap();
    if KEEPER.kept.load(Ordering::SeqCst).is_null() {
        // SAFETY: the layout is not empty.
        KEEPER.kept.store(unsafe { System.alloc_zeroed(layout) }, Ordering::SeqCst);
    }
    assert!(!KEEPER.kept.load(Ordering::SeqCst).is_null());
    // Room for all, so that nothing is moved.
    let mut secrets: Vec<(&'static str, [u8; PIECE])> = Vec::with_capacity(1 << 16);
    KEEPER.bytes.store(0, Ordering::SeqCst);
    KEEPER.on.store(true, Ordering::SeqCst);
    work(&mut |name, secret| {
        for piece in secret.chunks_exact(PIECE) {
            assert!(secrets.len() < secrets.capacity());
            secrets.push((name, piece.try_into().unwrap()));
        }
    });
    KEEPER.on.store(false, Ordering::SeqCst);
    let bytes = KEEPER.bytes.load(Ordering::SeqCst);
    assert!(bytes <= KEPT, "{bytes} bytes were released: more than are kept");
    assert!(!secrets.is_empty());
    // SAFETY: so many bytes were allocated, zeroed and written since; nobody writes any more.
    let kept = unsafe { std::slice::from_raw_parts(KEEPER.kept.load(Ordering::SeqCst), bytes) };
    let mut found: HashMap<&'static str, usize> = secrets.iter().map(|(name, _)| (*name, 0)).collect();
    let head = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let heads: HashMap<u64, &(&'static str, [u8; PIECE])> =
        secrets.iter().map(|secret| (head(&secret.1), secret)).collect();
    for window in kept.windows(PIECE) {
        if let Some((name, piece)) = heads.get(&head(window)).filter(|(_, piece)| piece == window) {
            let _ = piece;
            *found.get_mut(name).unwrap() += 1;
        }
    }
    found
}

fn none_found(found: &HashMap<&'static str, usize>) {
    assert!(found.values().all(|count| *count == 0), "left in memory: {found:?}");
}

fn client(name: &str) -> Peer {
    Peer::Client(name.into())
}

#[test]
fn what_is_not_wiped_is_found() {
    let found = found_after(|secret| {
        let bytes = Random(1).bytes(96);
        secret("released", &bytes);
        secret("part of a block", &bytes[35..67]);
        let mut grown = Random(2).bytes(64);
        secret("moved", &grown);
        grown.reserve_exact(1 << 16);
        grown.fill(0);
        let mut wiped = Random(3).bytes(64);
        secret("wiped", &wiped);
        wiped.fill(0);
        black_box(&wiped);
    });
    assert!(found["released"] >= 6 && found["part of a block"] >= 2 && found["moved"] >= 4, "{found:?}");
    assert_eq!(found["wiped"], 0);
}

/// Copies of a secret on the stack, as deriving a key leaves them.
#[inline(never)]
fn leave(secret: &[u8; 2 * PIECE]) {
    black_box([*secret; 64]);
}

/// A value on the heap most of whose bytes are never written.
#[inline(never)]
fn carry() {
    let mut room = MaybeUninit::<[u8; 8 << 10]>::uninit();
    black_box(&mut room);
    drop(black_box(Box::new(room)));
}

#[test]
fn what_a_call_left_on_the_stack_is_wiped() {
    // What the test itself holds is never released.
    let [left, wiped] = [4, 5].map(|seed| {
        let secret: &'static [u8] = Random(seed).bytes(2 * PIECE).leak();
        <&[u8; 2 * PIECE]>::try_from(secret).unwrap()
    });
    let found = found_after(|secret| {
        secret("left", left);
        leave(left);
        carry();
        secret("wiped", wiped);
        with_wiped_stack(|| leave(wiped));
        carry();
    });
    assert!(found["left"] > 0, "nothing carries copies to the heap: {found:?}");
    assert_eq!(found["wiped"], 0);
}

/// Frames of all sizes, read, unread, queued, and on their way when a link ends. Over TLS the sender's
/// alone: rustls copies what it has decrypted.
#[test]
fn frames_are_wiped() {
    let [a, b] = ["a", "b"].map(|name| Identity::generate(name).unwrap());
    let mut listener =
        Listener::bind("127.0.0.1:0", &b, PeerSet::from_iter([(a.fingerprint(), "a")])).unwrap();
    let address = listener.local_addr();
    let soon = || Instant::now() + PATIENCE;
    for tls in [false, true] {
        // What the test itself holds is never released.
        let small: &'static [u8] = Random(1).bytes(64).leak();
        let large: &'static [u8] = Random(2).bytes(300_000).leak();
        let (mut near, mut far) = if tls {
            std::thread::scope(|scope| {
                let dialling = scope.spawn(|| dial(address, &a, ("b", b.fingerprint()), soon()).unwrap());
                let accepted = listener.accept(soon()).unwrap();
                (dialling.join().unwrap(), accepted)
            })
        } else {
            Link::pair("a", "b")
        };
        let found = found_after(|secret| {
            secret("small", small);
            secret("large", &large[..16 * PIECE]);
            secret("end of large", &large[large.len() - 16 * PIECE..]);
            for _ in 0..10 {
                near.send(&[&small[..10], &small[10..]]).unwrap();
                near.send(&[large]).unwrap();
                if !tls {
                    assert_eq!(far.recv(soon()).unwrap(), small);
                    assert_eq!(far.recv(soon()).unwrap(), large);
                }
            }
            // What nobody reads, until the link ends for it.
            near.set_max_unsent(8 << 20);
            while near.send(&[small, large]).is_ok() {}
            drop((near, far));
        });
        none_found(&found);
    }
}

/// What helper and client say to each other for an inference, and the helper to the owner for a
/// load.
#[test]
fn tickets_keys_releases_and_grants_are_wiped() {
    // Enough of everything that messages have grown more than once until they are written.
    let batch = 8;
    let mut run = Setup::new(zoo::mlp(Limbs::TWO), 3).start();
    let (plan, parties) = (Arc::clone(&run.net.plan), run.parties);
    let everybody: Vec<Peer> = parties.all().map(Peer::Party).collect();
    let found = found_after(|secret| {
        let mut alice = User::connect(&mut run.cluster, parties, &client("2"));
        for _ in 0..3 {
            let (pending, request) =
                PendingRequest::new(Arc::clone(&plan), parties, batch, Vec::new()).unwrap();
            alice.send(&Peer::Helper, &request);
            let ticket = alice.expect(&Peer::Helper, &[Kind::Ticket]);
            let grant: TicketGrant = control::decode(ticket.body()).unwrap();
            assert_eq!(grant.seeds.len(), 32 * parties.count());
            secret("seeds of an input's mask", &grant.seeds);
            secret("a client's authentication keys", &grant.keys);
            let mut randomness = amicus_field::OperatingSystem;
            let admission = pending.granted(&ticket.header, ticket.body(), &mut randomness).unwrap();
            let (mut awaiting, [input, key]) = admission.mask(&run.net.inputs(batch as usize, 1)).unwrap();
            secret("a receiver's key", key.body());
            for party in &everybody {
                alice.send_to(party, &input);
                alice.send_to(party, &key);
            }
            for party in parties.all() {
                let output = alice.expect(&Peer::Party(party), &[Kind::Output]);
                awaiting.output(party, output.body().to_vec());
            }
            let release = alice.expect(&Peer::Helper, &[Kind::Release]);
            let keys = AuthenticationKeys::decode(parties, &grant.keys).unwrap();
            let released = ReleaseKey::of(&keys, release.header.scope()).decrypt(release.body()).unwrap();
            secret("masks of an output", &released[32..]);
            awaiting.release(release.body().to_vec());
            assert!(awaiting.result().unwrap().is_some());
            alice.send(&Peer::Helper, &awaiting.acknowledgement());
        }
        let mut owner = User::connect(&mut run.cluster, parties, &Peer::Owner);
        owner.send(&Peer::Helper, &load::request(&plan).unwrap());
        let grant = owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
        secret("seeds of weights' masks, and an owner's keys", grant.body());
        let mut randomness = amicus_field::OperatingSystem;
        let loading =
            load::Loading::granted(plan, parties, &grant.header, grant.body(), &mut randomness).unwrap();
        secret("nonce of the fingerprint", loading.nonce().body());
        for party in &everybody {
            owner.expect(party, &[Kind::LoadReady]);
            owner.send_to(party, &loading.nonce());
        }
        drop((alice, owner, loading, grant));
        run.cluster.stop();
    });
    none_found(&found);
}

/// What a party is told when a session begins, and what it says.
#[test]
fn parts_of_session_seeds_are_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(Limbs::TWO);
    let parties = Parties::new(2).unwrap();
    let [first, second] = [1, 2].map(|number| parties.party(number).unwrap());
    let found = found_after(|secret| {
        let place = Place::local(folder.path(), parties, &Peer::Party(first));
        let party = PartyNode::start(PartyConfig {
            models: vec![Served::new(Arc::clone(&net.plan))],
            parties,
            me: first,
            place,
            limits: Limits::default(),
            inferences: MAX_LANES,
            core: None,
            threads: 1,
            conduct: None,
            reporter: Reporter::default(),
        });
        let party = party.unwrap();
        let (mut helper, mut other) = (User::new(), User::new());
        let me = Peer::Party(first);
        helper.join(&Peer::Helper, &me, party.inboxes(), Channel::Online);
        other.join(&Peer::Party(second), &me, party.inboxes(), Channel::Online);
        for number in 1..=3 {
            let scope = Scope::session(SessionId::from_bytes([number; 16]));
            let mut random = Random(u64::from(number));
            let part: &'static [u8] = random.bytes(32).leak();
            secret("the helper's part", part);
            let offer = SessionOffer { part: part.to_vec(), epochs: Vec::new() };
            let send = |user: &mut User, kind, body: Vec<u8>| {
                user.send(&me, &amicus_client::Message { header: Header::new(kind, scope, 0), body });
            };
            send(&mut helper, Kind::SessionBegin, control::encode(&offer).unwrap());
            let keys = other.expect(&me, &[Kind::Keys]);
            secret("its contributions to keys", keys.body());
            let contribution: &'static [u8] = random.bytes(64).leak();
            secret("another's contributions", contribution);
            send(&mut other, Kind::Keys, contribution.to_vec());
            let answer = helper.expect(&me, &[Kind::SessionAnswer]);
            let answer: SessionAnswer = control::decode(answer.body()).unwrap();
            secret("its part", &answer.part);
        }
        party.stop();
    });
    none_found(&found);
}
