//! Shaped lines take the time that arithmetic says, within 5%, and what it takes to wake the
//! proxy's threads.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use amicus_net::shaper::{Shape, ShapedProxy};

/// Measurements do not disturb each other: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A connection through a proxy: the dialling and the accepting end.
fn line(shape: Shape) -> (ShapedProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = ShapedProxy::spawn(listener.local_addr().unwrap(), shape).unwrap();
    let near = TcpStream::connect(proxy.addr()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (proxy, near, far)
}

/// What waking up one more thread may cost a hop.
const WAKE: Duration = Duration::from_micros(50);

/// A busy machine can only add time, so the best of some tries is what the proxy does. It must
/// never be too fast.
fn assert_takes(expected: Duration, what: &str, once: impl FnMut() -> Duration) {
    assert_takes_about(expected, Duration::ZERO, what, once);
}

/// Checks a time: as long as expected, or up to `more` longer.
fn assert_takes_about(expected: Duration, more: Duration, what: &str, mut once: impl FnMut() -> Duration) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tries = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(300) {
        let took = once();
        let ratio = took.as_secs_f64() / expected.as_secs_f64();
        assert!(ratio > 0.95, "{what}: {ratio:.3} of {expected:?} is too fast");
        if took.saturating_sub(more).as_secs_f64() < 1.05 * expected.as_secs_f64() {
            return;
        }
        tries.push(format!("{ratio:.3}"));
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: {} of {expected:?}", tries.join(", "));
}

fn send_all(mut to: &TcpStream, bytes: usize) {
    to.write_all(&vec![1; bytes]).unwrap();
}

fn receive_all(mut from: &TcpStream, bytes: usize) {
    from.read_exact(&mut vec![0; bytes]).unwrap();
}

fn transfer(from: &TcpStream, to: &TcpStream, bytes: usize) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| send_all(from, bytes));
        receive_all(to, bytes);
    });
    start.elapsed()
}

#[test]
fn a_transfer_takes_delay_plus_size_by_rate() {
    let (_proxy, near, far) = line(Shape::wan());
    // 2 MB at 100 Mbit/s are 160 ms, and the last byte is under way for 20 ms.
    assert_takes(Duration::from_millis(180), "2 MB over wan", || transfer(&near, &far, 2_000_000));
    assert_takes(Duration::from_millis(180), "2 MB back", || transfer(&far, &near, 2_000_000));
    let (_proxy, near, far) = line(Shape::lan());
    let expected = Duration::from_micros(160_000 + 250);
    assert_takes(expected, "20 MB over lan", || transfer(&near, &far, 20_000_000));
}

#[test]
fn directions_do_not_share_the_rate() {
    let (_proxy, near, far) = line(Shape::wan());
    assert_takes(Duration::from_millis(180), "2 MB both ways", || {
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| transfer(&near, &far, 2_000_000));
            transfer(&far, &near, 2_000_000);
        });
        start.elapsed()
    });
}

/// The time of some rounds of 64 bytes between two threads, with the far one waiting already.
fn rounds(near: TcpStream, far: TcpStream, count: u32) -> impl FnMut() -> Duration {
    // Ends when `near` is dropped.
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while (&far).read_exact(&mut bytes).is_ok() {
            (&far).write_all(&bytes).unwrap();
        }
    });
    move || {
        let start = Instant::now();
        for _ in 0..count {
            send_all(&near, 64);
            receive_all(&near, 64);
        }
        start.elapsed()
    }
}

/// A shaped round takes what the same round takes over loopback (system calls, waking up both
/// ends), and the line's time.
fn assert_rounds(shape: Shape, count: u32) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nodelay(true).unwrap();
    let mut direct = rounds(near, listener.accept().unwrap().0, count);
    let own = (0..50).map(|_| direct()).min().unwrap();

    let (_proxy, near, far) = line(shape);
    let expected = own + 2 * (shape.one_way + shape.line_time(64)) * count;
    let wakes = 2 * WAKE * count;
    assert_takes_about(expected, wakes, &format!("{count} rounds over {shape}"), rounds(near, far, count));
}

#[test]
fn rounds_over_wan_take_their_delay() {
    assert_rounds(Shape::wan(), 8);
}

#[test]
fn rounds_over_lan_take_their_delay() {
    // Few rounds, because on a busy machine every longer stretch is disturbed somewhere.
    assert_rounds(Shape::lan(), 20);
}

#[test]
fn the_end_of_a_stream_arrives_after_its_bytes() {
    let (_proxy, near, mut far) = line(Shape { one_way: Duration::from_millis(20), bits_per_second: None });
    let start = Instant::now();
    send_all(&near, 100_000);
    drop(near);
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 100_000);
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_receiver_that_does_not_read_slows_the_sender_down() {
    let (_proxy, near, far) = line(Shape::local());
    near.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let chunk = vec![0; 1 << 20];
    let sent = (0..400).take_while(|_| (&near).write_all(&chunk).is_ok()).count();
    // 64 MiB on the line and the buffers of four sockets.
    assert!((64..200).contains(&sent), "{sent} MiB");
    receive_all(&far, sent << 20);
}

#[test]
fn dropping_the_proxy_cuts_even_a_busy_line() {
    let (proxy, near, mut far) = line(Shape::lan());
    let sending = thread::spawn(move || {
        let chunk = [0; 10_000];
        while (&near).write_all(&chunk).is_ok() {}
    });
    let mut bytes = [0; 10_000];
    far.read_exact(&mut bytes).unwrap();
    // Whoever waited for the line to be quiet would wait forever.
    drop(proxy);
    while far.read(&mut bytes).is_ok_and(|count| count > 0) {}
    sending.join().unwrap();
}
