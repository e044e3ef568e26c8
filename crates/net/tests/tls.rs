//! Connections that should not come about, and connections that break.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use amicus_net::shaper::{Shape, ShapedProxy};
use amicus_net::{Fault, Identity, Listener, NetError, PeerSet, dial};
use common::{Site, in_ms, mesh, pattern, soon};

/// Whatever happened before, the listener still serves its peer.
fn assert_alive(site: &mut Site) {
    let (mut a, mut b) = site.pair();
    a.send(&[b"ping"]).unwrap();
    assert_eq!(b.recv(soon()).unwrap(), b"ping");
}

#[test]
fn each_side_knows_whom_it_talks_to() {
    let mut site = Site::new();
    let (near, far) = site.pair();
    assert_eq!((near.peer(), near.fingerprint()), ("b", Some(site.b.fingerprint())));
    assert_eq!((far.peer(), far.fingerprint()), ("a", Some(site.a.fingerprint())));
}

#[test]
fn an_unknown_client_is_refused_on_both_sides() {
    let mut site = Site::new();
    let stranger = Identity::generate("a").unwrap();
    let (address, expected) = (site.listener.local_addr(), site.b.fingerprint());
    let fingerprint = stranger.fingerprint();
    let dialling = thread::spawn(move || dial(address, &stranger, ("b", expected), soon()).map(drop));
    let error = site.listener.accept(soon()).unwrap_err();
    assert!(
        matches!(&error, NetError::UnknownPeer { fingerprint: got, .. } if *got == fingerprint),
        "{error}"
    );
    assert_eq!(error.fault(), Fault::Pairing);
    let error = dialling.join().unwrap().unwrap_err();
    assert!(matches!(&error, NetError::Refused { peer, .. } if peer == "b"), "{error}");
    assert_alive(&mut site);
}

#[test]
fn an_unexpected_server_is_refused_on_both_sides() {
    let mut site = Site::new();
    let expected = Identity::generate("b").unwrap().fingerprint();
    let got = site.b.fingerprint();
    let address = site.listener.local_addr();
    let a = Identity::from_pem(&site.a.to_pem()).unwrap();
    let dialling = thread::spawn(move || dial(address, &a, ("b", expected), soon()).map(drop));
    let error = site.listener.accept(soon()).unwrap_err();
    assert!(matches!(error, NetError::Refused { .. }), "{error}");
    let error = dialling.join().unwrap().unwrap_err();
    assert_eq!(error, NetError::WrongPeer { peer: "b".into(), expected: vec![expected], got, address });
    assert_alive(&mut site);
}

#[test]
fn garbage_is_an_error_of_that_connection() {
    let mut site = Site::new();
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0x16, 3, 1, 0xff, 0xff], &pattern(9, 100_000)]
    {
        let mut socket = TcpStream::connect(site.listener.local_addr()).unwrap();
        // The listener may hang up before everything is written.
        let _ = socket.write_all(garbage);
        let _ = socket.shutdown(Shutdown::Write);
        let error = site.listener.accept(soon()).unwrap_err();
        assert!(matches!(error, NetError::Tls { .. } | NetError::Truncated { .. }), "{error}");
        let address = socket.local_addr().unwrap().to_string();
        assert!(error.to_string().contains(&address), "{error} does not name {address}");
    }
    assert_alive(&mut site);
}

#[test]
fn stalled_handshakes_hold_up_nobody() {
    let mut site = Site::new();
    let limit = Duration::from_secs(10);
    site.listener.set_handshake_limit(limit);
    let mut stalled: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(site.listener.local_addr()).unwrap()).collect();
    stalled[0].write_all(&[0x16, 3, 1]).unwrap();
    let start = Instant::now();
    assert_alive(&mut site);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    for _ in &stalled {
        let error = site.listener.accept(soon()).unwrap_err();
        assert!(matches!(error, NetError::HandshakeStalled { .. }), "{error}");
    }
    assert!(start.elapsed() >= limit);
    assert!(matches!(site.listener.accept(in_ms(10)), Err(NetError::Timeout { .. })));
    assert_alive(&mut site);
}

/// A byte now and then is no progress: the time for a handshake is counted from its beginning.
#[test]
fn a_handshake_that_dribbles_is_given_up_like_one_that_stalls() {
    let mut site = Site::new();
    site.listener.set_handshake_limit(Duration::from_millis(300));
    let mut dribbling = TcpStream::connect(site.listener.local_addr()).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writing = thread::spawn(move || {
        // A handshake record of 16 KiB, with a hello of which no end comes.
        let beginning = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];
        let bytes = beginning.into_iter().chain(std::iter::repeat(7));
        for byte in bytes {
            let wait = stopped.recv_timeout(Duration::from_millis(10));
            if wait != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                || dribbling.write_all(&[byte]).is_err()
            {
                return;
            }
        }
    });
    let error = site.listener.accept(soon()).unwrap_err();
    assert!(matches!(error, NetError::HandshakeStalled { .. }), "{error}");
    drop(stop);
    writing.join().unwrap();
    assert_alive(&mut site);
}

#[test]
fn too_many_stalled_handshakes_cannot_lock_others_out() {
    let mut site = Site::new();
    let stalled: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(site.listener.local_addr()).unwrap()).collect();
    let (address, expected) = (site.listener.local_addr(), site.b.fingerprint());
    let a = Identity::from_pem(&site.a.to_pem()).unwrap();
    let dialling = thread::spawn(move || dial(address, &a, ("b", expected), soon()).unwrap());
    let mut given_up = 0;
    let _link = loop {
        match site.listener.accept(soon()) {
            Ok(link) => break link,
            Err(NetError::Crowded { limit: 64, .. }) => given_up += 1,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(given_up >= 100 - 64);
    dialling.join().unwrap();
    drop(stalled);
}

#[test]
fn stalled_handshakes_of_one_host_push_out_nobody_elses() {
    let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
    let peers = PeerSet::from_iter([(a.fingerprint(), "a")]);
    // Two hosts are two addresses: this one by IPv4 and by IPv6.
    let mut listener = Listener::bind("[::]:0", &b, peers).unwrap();
    let port = listener.local_addr().port();
    // The oldest of all, but alone of its host.
    let victim = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(("::1", port)).unwrap()).collect();
    let address = victim.local_addr().unwrap().port();
    for _ in 0..crowd.len() - 64 {
        match listener.accept(soon()) {
            Err(NetError::Crowded { address: of, .. }) => {
                assert_ne!(of.port(), address, "the only one of its host was given up");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_says_nothing_is_reported_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = Identity::generate("a").unwrap();
    let address = silent.local_addr().unwrap();
    let error = dial(address, &a, ("b", a.fingerprint()), in_ms(100)).unwrap_err();
    assert!(matches!(error, NetError::HandshakeStalled { address: at, .. } if at == address), "{error}");
}

#[test]
fn dialling_waits_until_someone_listens() {
    let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = dial(free, &a, ("b", b.fingerprint()), in_ms(50)).unwrap_err();
    assert!(matches!(&error, NetError::Io { kind: std::io::ErrorKind::ConnectionRefused, .. }), "{error}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");

    let (expected, peers) = (b.fingerprint(), PeerSet::from_iter([(a.fingerprint(), "a")]));
    let dialling = thread::spawn(move || dial(free.to_string(), &a, ("b", expected), soon()).unwrap());
    thread::sleep(Duration::from_millis(50));
    let mut listener = Listener::bind(free, &b, peers).unwrap();
    listener.accept(soon()).unwrap();
    dialling.join().unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::new();
    let address = site.listener.local_addr();
    let error = Listener::bind(address, &site.b, PeerSet::new()).unwrap_err();
    assert_eq!(error, NetError::AddressInUse { address: address.to_string() });
}

/// A man in the middle who forwards bytes until told to do something else.
struct Wire {
    address: std::net::SocketAddr,
    listener: TcpListener,
    target: std::net::SocketAddr,
}

impl Wire {
    fn to(site: &Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { address: listener.local_addr().unwrap(), listener, target: site.listener.local_addr() }
    }

    /// Forwards everything to the dialling side, and to the listening side what `alter` makes of
    /// each chunk; `None` cuts the connection.
    fn run(self, mut alter: impl FnMut(Vec<u8>) -> Option<Vec<u8>> + Send + 'static) {
        thread::spawn(move || {
            let (near, _) = self.listener.accept().unwrap();
            let far = TcpStream::connect(self.target).unwrap();
            let (mut near_in, mut near_out) = (near.try_clone().unwrap(), near);
            let (mut far_in, mut far_out) = (far.try_clone().unwrap(), far);
            thread::spawn(move || std::io::copy(&mut far_in, &mut near_out));
            let mut chunk = [0; 1000];
            while let Ok(count @ 1..) = near_in.read(&mut chunk) {
                let Some(bytes) = alter(chunk[..count].to_vec()) else { break };
                if far_out.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = far_out.shutdown(Shutdown::Both);
            let _ = near_in.shutdown(Shutdown::Both);
        });
    }
}

fn through(
    site: &mut Site,
    wire: Wire,
    alter: impl FnMut(Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
) -> [amicus_net::Link; 2] {
    let (address, expected) = (wire.address, site.b.fingerprint());
    wire.run(alter);
    thread::scope(|scope| {
        let a = &site.a;
        let dialling = scope.spawn(move || dial(address, a, ("b", expected), soon()).unwrap());
        let accepted = site.listener.accept(soon()).unwrap();
        [dialling.join().unwrap(), accepted]
    })
}

#[test]
fn a_line_cut_in_the_middle_of_a_frame_is_no_clean_end() {
    let mut site = Site::new();
    let wire = Wire::to(&site);
    let mut total = 0;
    let cut = move |bytes: Vec<u8>| {
        total += bytes.len();
        (total < 200_000).then_some(bytes)
    };
    let [mut a, b] = through(&mut site, wire, cut);
    // The sender may see the end of the line before it is done.
    let _ = a.send(&[&[1; 300_000]]);
    let mut mesh = mesh([(0, b)]);
    let error = mesh.recv_from(0, soon()).unwrap_err();
    assert_eq!(error, NetError::Truncated { peer: "a".into(), detail: "in the middle of a frame" });
}

#[test]
fn a_line_cut_between_frames_is_no_clean_end_either() {
    let mut site = Site::new();
    let wire = Wire::to(&site);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let mut seen = 0;
    // Once the handshake is over, everything from the signal on is lost.
    let cut = move |bytes: Vec<u8>| {
        seen += 1;
        (seen < 3 || wait.try_recv().is_err()).then_some(bytes)
    };
    let [mut a, mut b] = through(&mut site, wire, cut);
    a.send(&[b"whole"]).unwrap();
    assert_eq!(b.recv(soon()).unwrap(), b"whole");
    go.send(()).unwrap();
    a.send(&[b"lost"]).unwrap();
    assert_eq!(b.recv(soon()), Err(NetError::Truncated { peer: "a".into(), detail: "without a goodbye" }));
}

#[test]
fn a_changed_byte_is_detected() {
    let mut site = Site::new();
    let wire = Wire::to(&site);
    let mut total = 0;
    let flip = move |mut bytes: Vec<u8>| {
        total += bytes.len();
        if total > 50_000 {
            bytes[0] ^= 1;
        }
        Some(bytes)
    };
    let [mut a, mut b] = through(&mut site, wire, flip);
    a.send(&[&[1; 100_000]]).unwrap();
    let flushing = thread::spawn(move || {
        let _ = a.flush(soon());
        a.recv(soon())
    });
    let error = b.recv(soon()).unwrap_err();
    assert!(matches!(&error, NetError::Tls { peer, .. } if peer == "a"), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    assert!(flushing.join().unwrap().is_err());
}

#[test]
fn closing_with_unsent_frames_is_no_clean_end() {
    let mut site = Site::new();
    let (mut a, mut b) = site.pair();
    a.set_max_frame(64 << 20);
    b.set_max_frame(64 << 20);
    a.send(&[&vec![1; 64 << 20]]).unwrap();
    drop(a);
    let error = b.recv(soon()).unwrap_err();
    assert!(matches!(error, NetError::Truncated { .. }), "{error}");
}

#[test]
fn a_peer_that_disappears_while_we_send_is_noticed() {
    let mut site = Site::new();
    let (mut a, b) = site.pair();
    drop(b);
    let error = loop {
        if let Err(error) = a.send(&[&[1; 100_000]]).and_then(|()| a.flush(soon())) {
            break error;
        }
    };
    assert!(matches!(error, NetError::Closed { .. } | NetError::Truncated { .. }), "{error}");
}

/// The listening side may speak first, and may be gone before the dialling side looks.
#[test]
fn regression_data_right_after_the_greeting_is_not_lost() {
    let mut site = Site::new();
    let (address, expected) = (site.listener.local_addr(), site.b.fingerprint());
    let a = Identity::from_pem(&site.a.to_pem()).unwrap();
    let dialling = thread::spawn(move || dial(address, &a, ("b", expected), soon()).unwrap());
    let mut far = site.listener.accept(soon()).unwrap();
    far.send(&[&pattern(1, 100_000)]).unwrap();
    far.flush(soon()).unwrap();
    drop(far);
    let mut near = dialling.join().unwrap();
    assert_eq!(near.recv(soon()).unwrap(), pattern(1, 100_000));
    assert_eq!(near.recv(soon()), Err(NetError::Closed { peer: "b".into() }));
}

/// Links do not notice a shaped line, and a proxy whose target is not there yet looks like nobody
/// listening.
#[test]
fn links_work_through_a_shaped_line() {
    let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = ShapedProxy::spawn(target, Shape::lan()).unwrap();
    let (address, expected) = (proxy.addr(), b.fingerprint());
    let peers = PeerSet::from_iter([(a.fingerprint(), "a")]);
    let dialling = thread::spawn(move || dial(address, &a, ("b", expected), soon()).unwrap());
    thread::sleep(Duration::from_millis(30));
    let mut far = Listener::bind(target, &b, peers).unwrap().accept(soon()).unwrap();
    let mut near = dialling.join().unwrap();
    far.send(&[&pattern(1, 300_000)]).unwrap();
    near.send(&[b"hello"]).unwrap();
    assert_eq!(far.recv(soon()).unwrap(), b"hello");
    let echo = thread::spawn(move || far.flush(soon()).map(|()| far));
    assert_eq!(near.recv(soon()).unwrap(), pattern(1, 300_000));
    let mut far = echo.join().unwrap().unwrap();
    near.close();
    assert_eq!(far.recv(soon()), Err(NetError::Closed { peer: "a".into() }));
}

#[test]
fn a_certificate_that_is_not_valid_now_is_refused_on_both_sides() {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = amicus_net::clock::of_day();
    let between = |from, until| Identity::generate_valid("b", from, until).unwrap();
    let good = Identity::generate("a").unwrap();
    for (bad, words) in [
        (between(now - 30 * day, now - 3 * day), "expired 3 days ago"),
        (between(now + day * 3 / 2, now + 9 * day), "will be valid in 2 days only"),
    ] {
        let pem = bad.to_pem();
        for (listens, dials) in [(&good, &bad), (&bad, &good)] {
            let pins = PeerSet::from_iter([(dials.fingerprint(), "who dials")]);
            let mut listener = Listener::bind("127.0.0.1:0", listens, pins).unwrap();
            let (address, expected) = (listener.local_addr(), listens.fingerprint());
            let dials = Identity::from_pem(&dials.to_pem()).unwrap();
            let dialling =
                thread::spawn(move || dial(address, &dials, ("who listens", expected), soon()).map(drop));
            let ends = [listener.accept(soon()).unwrap_err(), dialling.join().unwrap().unwrap_err()];
            let refuses = |error: &NetError| matches!(error, NetError::NotValidNow { .. });
            assert_eq!(ends.iter().filter(|error| refuses(error)).count(), 1, "{ends:?}");
            let refused = ends.iter().find(|error| !refuses(error)).unwrap().to_string();
            let says = ends.iter().find(|error| refuses(error)).unwrap();
            assert!(says.to_string().contains(words) && says.fault() == Fault::Pairing, "{says}");
            if words.contains("expired") {
                assert!(refused.contains("has our certificate expired, or is a clock wrong?"), "{refused}");
            } else {
                assert!(refused.contains("refused us"), "{refused}");
            }
        }
        assert_eq!(Identity::from_pem(&pem).unwrap().fingerprint(), bad.fingerprint());
    }
    let later = now + 30 * day;
    let until = between(now, later).valid_until().unwrap();
    assert!(later.duration_since(until).unwrap() < Duration::from_secs(1));
}
