//! One round between two threads, each with a mesh: a frame there and a frame of the same size
//! back, waking up the other thread included.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use amicus_net::{Event, Identity, Link, Listener, Mesh, NetError, PeerSet, dial};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 3] = [("64 B", 64), ("60 kB", 60_000), ("1 MiB", 1 << 20)];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn tls_pair() -> (Link, Link) {
    let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
    let peers = PeerSet::from_iter([(a.fingerprint(), "a")]);
    let mut listener = Listener::bind("127.0.0.1:0", &b, peers).unwrap();
    let address = listener.local_addr();
    let dialling = thread::spawn(move || dial(address, &a, ("b", b.fingerprint()), soon()).unwrap());
    let accepted = listener.accept(soon()).unwrap();
    (dialling.join().unwrap(), accepted)
}

/// Sends back every frame until the link ends.
fn echo(link: Link) {
    let mut mesh = Mesh::new().unwrap();
    mesh.insert(0, link);
    loop {
        match mesh.recv(soon()) {
            Ok(Event::Frame { key, bytes }) => mesh.send(key, &[&bytes]).unwrap(),
            Ok(Event::Down { error: NetError::Closed { .. }, .. }) => return,
            other => panic!("{other:?}"),
        }
    }
}

fn round_trips(c: &mut Criterion, name: &str, pair: fn() -> (Link, Link)) {
    let mut group = c.benchmark_group(name);
    group
        .sample_size(15)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    for (label, size) in SIZES {
        let (near, far) = pair();
        let other = thread::spawn(move || echo(far));
        let mut mesh = Mesh::new().unwrap();
        mesh.insert(0, near);
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(2 * size as u64));
        group.bench_function(BenchmarkId::from_parameter(label), |b| {
            b.iter(|| {
                mesh.send(0, &[&payload]).unwrap();
                black_box(mesh.recv_from(0, soon()).unwrap())
            });
        });
        drop(mesh);
        other.join().unwrap();
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    round_trips(c, "TLS", tls_pair);
    round_trips(c, "memory", || Link::pair("a", "b"));
}

criterion_group!(benches, all);
criterion_main!(benches);
