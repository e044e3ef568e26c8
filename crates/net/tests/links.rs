//! What every link promises, over memory and over TLS alike.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

mod common;

use std::thread;
use std::time::{Duration, Instant};

use amicus_net::{Direction, Event, Fault, Link, Mesh, NetError};
use common::{KINDS, Kind, in_ms, mesh, pattern, soon};

#[test]
fn frames_arrive_whole_and_in_order() {
    for kind in KINDS {
        let (mut a, mut b) = kind.pair();
        assert_eq!((a.peer(), b.peer()), ("b", "a"));
        assert_eq!(a.fingerprint().is_some(), kind == Kind::Tls);
        let sizes = [0, 1, 3, 4, 16_379, 16_380, 16_381, 16_384, 100_000, 1 << 20];
        for (i, size) in sizes.into_iter().enumerate() {
            let bytes = pattern(i as u64, size);
            let (head, tail) = bytes.split_at(size / 3);
            a.send(&[head, b"", tail]).unwrap();
        }
        let receiving = thread::spawn(move || {
            for (i, size) in sizes.into_iter().enumerate() {
                assert_eq!(b.recv(soon()).unwrap(), pattern(i as u64, size), "{kind:?} {size}");
            }
            b
        });
        a.flush(soon()).unwrap();
        let b = receiving.join().unwrap();
        let (a, b) = (a.counters(), b.counters());
        let payload = sizes.iter().sum::<usize>() as u64;
        assert_eq!((a.frames_sent, a.payload_sent), (sizes.len() as u64, payload));
        assert_eq!((b.frames_received, b.payload_received), (sizes.len() as u64, payload));
        assert_eq!(b.frames_sent, 0);
        match kind {
            Kind::Memory => assert_eq!(a.bytes_sent, payload + 4 * sizes.len() as u64),
            // Records of 16 KiB cost 22 bytes each; the rest is the handshake.
            Kind::Tls => {
                assert!((payload..payload + payload / 500 + 10_000).contains(&a.bytes_sent), "{a:?}")
            }
        }
        // Over TLS, b's first bytes are its greeting, which `dial` has read.
        assert!(a.bytes_sent >= b.bytes_received);
    }
}

#[test]
fn both_directions_of_one_link_can_be_full() {
    for kind in KINDS {
        let (a, b) = kind.pair();
        let run = move |mut link: Link, mine: u64, theirs: u64| {
            link.set_max_frame(8 << 20);
            link.send(&[&pattern(mine, 8 << 20)]).unwrap();
            assert!(link.recv(soon()).unwrap() == pattern(theirs, 8 << 20));
            link.flush(soon()).unwrap();
            link
        };
        let other = thread::spawn(move || run(b, 2, 1));
        run(a, 1, 2);
        other.join().unwrap();
    }
}

/// Every party sends 4 MB to every other before anyone reads: only user-space queues make this
/// work.
#[test]
fn three_parties_exchange_large_frames_at_once() {
    const PARTIES: usize = 3;
    const LEN: usize = 4_000_000;
    for kind in KINDS {
        let mut links: [Vec<(usize, Link)>; PARTIES] = Default::default();
        for i in 0..PARTIES {
            for j in 0..i {
                let (mut near, mut far) = kind.pair();
                near.set_max_frame(LEN);
                far.set_max_frame(LEN);
                links[i].push((j, near));
                links[j].push((i, far));
            }
        }
        let parties = links.into_iter().enumerate().map(|(me, links)| {
            thread::spawn(move || {
                let mut mesh = mesh(links);
                let others: Vec<usize> = (0..PARTIES).filter(|&other| other != me).collect();
                for round in 0..3 {
                    for &other in &others {
                        mesh.send(other, &[&pattern((round * 100 + me * 10 + other) as u64, LEN)]).unwrap();
                    }
                    for &other in &others {
                        let got = mesh.recv_from(other, soon()).unwrap();
                        assert!(got == pattern((round * 100 + other * 10 + me) as u64, LEN));
                    }
                }
                mesh.flush(soon()).unwrap();
                mesh
            })
        });
        let parties: Vec<_> = parties.collect();
        parties.into_iter().for_each(|party| drop(party.join().unwrap()));
    }
}

#[test]
fn a_mesh_reports_frames_then_the_end_then_nothing() {
    for kind in KINDS {
        let (near, mut far) = kind.pair();
        let mut mesh = mesh([(5, near)]);
        far.send(&[b"one"]).unwrap();
        far.send(&[b"two"]).unwrap();
        drop(far);
        assert_eq!(mesh.recv(soon()), Ok(Event::Frame { key: 5, bytes: b"one".to_vec().into() }));
        assert_eq!(mesh.recv(soon()), Ok(Event::Frame { key: 5, bytes: b"two".to_vec().into() }));
        let error = NetError::Closed { peer: "b".into() };
        assert_eq!(mesh.recv(soon()), Ok(Event::Down { key: 5, error: error.clone() }));
        assert!(matches!(mesh.recv(in_ms(20)), Err(NetError::Timeout { .. })));
        assert_eq!(mesh.recv_from(5, soon()), Err(error.clone()));
        assert_eq!(mesh.send(5, &[b"x"]), Err(error));
        assert_eq!(mesh.get(5).unwrap().counters().frames_received, 2);
        assert!(mesh.remove(5).is_some() && !mesh.contains(5));
        assert_eq!(mesh.send(5, &[b"x"]), Err(NetError::NoLink { key: 5 }));
    }
}

#[test]
fn frames_of_other_links_and_wakes_are_kept_for_later() {
    for kind in KINDS {
        let ((a, mut to_a), (b, mut to_b)) = (kind.pair(), kind.pair());
        let mut mesh = mesh([(1, a), (2, b)]);
        let waker = mesh.waker();
        let sending = thread::spawn(move || {
            to_a.send(&[b"a1"]).unwrap();
            to_a.send(&[b"a2"]).unwrap();
            waker.wake();
            waker.wake();
            thread::sleep(Duration::from_millis(30));
            to_b.send(&[b"b1"]).unwrap();
            (to_a, to_b)
        });
        assert_eq!(mesh.recv_from(2, soon()).unwrap(), b"b1");
        let _open = sending.join().unwrap();
        assert_eq!(mesh.recv(soon()), Ok(Event::Frame { key: 1, bytes: b"a1".to_vec().into() }));
        assert_eq!(mesh.recv(soon()), Ok(Event::Frame { key: 1, bytes: b"a2".to_vec().into() }));
        assert_eq!(mesh.recv(soon()), Ok(Event::Woken));
        assert!(matches!(mesh.recv(in_ms(10)), Err(NetError::Timeout { .. })));
    }
}

#[test]
fn a_waker_ends_a_blocked_recv() {
    for _ in 0..3 {
        let mut mesh = Mesh::new().unwrap();
        let waker = mesh.waker();
        let waking = thread::spawn(move || {
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(2));
                waker.wake();
            }
        });
        assert_eq!(mesh.recv(soon()), Ok(Event::Woken));
        waking.join().unwrap();
        // Wakes that nobody looked at are one.
        if mesh.recv(in_ms(0)).is_ok() {
            assert!(matches!(mesh.recv(in_ms(0)), Err(NetError::Timeout { .. })));
        }
    }
}

#[test]
fn many_small_rounds_never_lose_a_wake() {
    for (kind, busy) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let (near, far) = kind.pair();
        let run = move |link, first: bool| {
            let mut mesh = Mesh::new().unwrap();
            mesh.busy_poll(busy);
            mesh.insert(0, link);
            for round in 0..5000u32 {
                if first {
                    mesh.send(0, &[&round.to_le_bytes()]).unwrap();
                }
                assert_eq!(mesh.recv_from(0, soon()).unwrap(), round.to_le_bytes());
                if !first {
                    mesh.send(0, &[&round.to_le_bytes()]).unwrap();
                }
            }
            assert!(matches!(mesh.recv(in_ms(10)), Err(NetError::Timeout { .. })));
            mesh
        };
        let other = thread::spawn(move || run(far, false));
        let _open = run(near, true);
        other.join().unwrap();
    }
}

#[test]
fn a_busy_link_does_not_starve_another() {
    for kind in KINDS {
        let ((a, mut to_a), (b, mut to_b)) = (kind.pair(), kind.pair());
        for _ in 0..100 {
            to_a.send(&[b"busy"]).unwrap();
        }
        to_b.send(&[b"quiet"]).unwrap();
        let mut mesh = mesh([(1, a), (2, b)]);
        thread::sleep(Duration::from_millis(20));
        let first: Vec<_> = (0..3).map(|_| mesh.recv(soon()).unwrap()).collect();
        assert!(first.contains(&Event::Frame { key: 2, bytes: b"quiet".to_vec().into() }), "{first:?}");
    }
}

#[test]
fn timeouts_name_the_peer_and_leave_the_link_usable() {
    for kind in KINDS {
        let (mut a, mut b) = kind.pair();
        let start = Instant::now();
        let error = a.recv(in_ms(30)).unwrap_err();
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(matches!(&error, NetError::Timeout { peer, .. } if peer == "b"));
        assert_eq!(error.fault(), Fault::Environment);
        b.send(&[b"late"]).unwrap();
        assert_eq!(a.recv(soon()).unwrap(), b"late");
    }
}

#[test]
fn too_long_frames_are_refused_by_name() {
    for kind in KINDS {
        let (mut a, mut b) = kind.pair();
        b.set_max_frame(1000);
        a.send(&[&[1; 1000]]).unwrap();
        a.send(&[&[2; 1001]]).unwrap();
        assert_eq!(b.recv(soon()).unwrap(), [1; 1000]);
        let error = b.recv(soon()).unwrap_err();
        assert_eq!(error, NetError::FrameTooLong { peer: "a".into(), announced: 1001, limit: 1000 });
        assert_eq!(error.fault(), Fault::Peer);
        // The link is dead on both ends.
        assert_eq!(b.send(&[b"x"]), Err(error));
        assert!(a.recv(soon()).is_err());
    }
}

/// A peer that sends without being asked fills its own memory, not ours.
#[test]
fn unread_frames_are_bounded() {
    let (mut a, b) = Kind::Tls.pair();
    let (_silent, other) = Kind::Memory.pair();
    let mut mesh = mesh([(0, b), (1, other)]);
    for _ in 0..64 {
        a.send(&[&[0; 1 << 20]]).unwrap();
    }
    let sending = thread::spawn(move || (a.flush(in_ms(500)), a));
    // The mesh reads on all links while it waits for one, but nobody takes the frames of link 0.
    assert!(matches!(mesh.recv_from(1, in_ms(600)), Err(NetError::Timeout { .. })));
    let (result, a) = sending.join().unwrap();
    assert!(matches!(result, Err(NetError::Timeout { .. })), "{result:?}");
    // One frame, what the inbox lets in beyond, and the buffers of the kernel.
    assert!(mesh.get(0).unwrap().counters().bytes_received < 4 << 20);
    drop(a);
}

#[test]
fn a_recorder_sees_plaintext_both_ways() {
    for kind in KINDS {
        let (mut a, mut b) = kind.pair();
        let recorder = a.recorded();
        a.send(&[b"he", b"llo"]).unwrap();
        assert_eq!(b.recv(soon()).unwrap(), b"hello");
        b.send(&[b"yes"]).unwrap();
        assert_eq!(a.recv(soon()).unwrap(), b"yes");
        let seen: Vec<_> =
            recorder.frames().into_iter().map(|frame| (frame.direction, frame.bytes)).collect();
        assert_eq!(seen, [(Direction::Sent, b"hello".to_vec()), (Direction::Received, b"yes".to_vec())]);
    }
}

#[test]
fn closing_after_flush_is_a_clean_end_for_the_peer() {
    for kind in KINDS {
        let (mut a, mut b) = kind.pair();
        a.send(&[b"last words"]).unwrap();
        a.flush(soon()).unwrap();
        a.close();
        assert_eq!(a.send(&[b"x"]), Err(NetError::Closed { peer: "b".into() }));
        assert_eq!(b.recv(soon()).unwrap(), b"last words");
        assert_eq!(b.recv(soon()), Err(NetError::Closed { peer: "a".into() }));
    }
}

#[test]
fn inserting_again_replaces_the_link() {
    let ((old, mut to_old), (new, mut to_new)) = (Kind::Memory.pair(), Kind::Memory.pair());
    let mut mesh = mesh([(1, old), (1, new)]);
    assert!(matches!(to_old.recv(soon()), Err(NetError::Closed { .. })));
    to_new.send(&[b"new"]).unwrap();
    assert_eq!(mesh.recv(soon()), Ok(Event::Frame { key: 1, bytes: b"new".to_vec().into() }));
    assert_eq!(mesh.iter().count(), 1);
}

#[test]
fn a_peer_that_does_not_read_costs_a_bounded_amount() {
    for kind in KINDS {
        let (mut a, b) = kind.pair();
        a.set_max_unsent(100_000);
        let frame = pattern(1, 10_000);
        // Kernels buffer some megabytes of a TLS link; everything beyond waits here.
        let error = (0..10_000).find_map(|_| {
            let error = a.send(&[&frame]).err();
            assert!(a.unsent() <= 100_000 + 200_000, "{}", a.unsent());
            error
        });
        let error = error.expect("a bound");
        assert!(matches!(error, NetError::Unread { limit: 100_000, .. }), "{kind:?}: {error}");
        assert_eq!(error.fault(), Fault::Peer);
        // The link has ended, and says why again; what waited is forgotten.
        assert_eq!((a.send(&[b"x"]).unwrap_err(), a.unsent()), (error, 0));
        drop(b);
    }
}

#[test]
fn what_is_read_does_not_count_as_unread() {
    for kind in KINDS {
        let (mut a, mut b) = kind.pair();
        a.set_max_unsent(100_000);
        for i in 0..100 {
            let frame = pattern(i, 50_000);
            a.send(&[&frame]).unwrap();
            let reading = thread::spawn(move || {
                assert!(b.recv(soon()).unwrap() == frame);
                b
            });
            a.flush(soon()).unwrap();
            b = reading.join().unwrap();
        }
        assert_eq!(a.unsent(), 0, "{kind:?}");
    }
}

#[test]
fn a_link_can_be_ended_for_what_many_leave_unread() {
    for kind in KINDS {
        let (mut a, b) = kind.pair();
        a.send(&[b"x"]).unwrap();
        a.end_unread(1000);
        let error = a.send(&[b"y"]).unwrap_err();
        assert!(matches!(error, NetError::Unread { limit: 1000, .. }), "{error}");
        drop(b);
    }
}

/// Once, small frames counted by their bytes alone: empty ones queued up for free.
#[test]
fn empty_frames_count_as_unread_too() {
    for kind in KINDS {
        let (mut a, b) = kind.pair();
        a.set_max_unsent(100_000);
        let error = (0..10_000_000).find_map(|_| a.send(&[]).err()).expect("a bound");
        assert!(matches!(error, NetError::Unread { .. }), "{kind:?}: {error}");
        drop(b);
    }
}
