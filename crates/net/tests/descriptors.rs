//! A listener in a process that has no file descriptors left. Alone in its binary, because the
//! limit is the process's.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

mod common;

use std::fs::File;
use std::thread;

use amicus_net::{Identity, NetError, dial};
use common::{Site, in_ms, soon};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_listener_without_descriptors_rests_and_recovers() {
    let mut site = Site::new();
    let (address, expected) = (site.listener.local_addr(), site.b.fingerprint());
    let a = Identity::from_pem(&site.a.to_pem()).unwrap();
    // Waits in the kernel's queue until it is accepted.
    let dialling = thread::spawn(move || dial(address, &a, ("b", expected), soon()).map(drop));
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: limit.maximum }).unwrap();
    let mut taken = Vec::new();
    let mut errors = 0;
    // Until the dialling end has its socket too, the listener may just find nobody.
    while errors < 5 {
        taken.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
        let start = std::time::Instant::now();
        let mut seen = 0;
        while start.elapsed() < std::time::Duration::from_secs(1) {
            match site.listener.accept(in_ms(500)) {
                Err(NetError::Io { .. }) => seen += 1,
                Err(NetError::Timeout { .. }) => {}
                Ok(_) => panic!("accepted without a descriptor"),
                Err(error) => panic!("{error}"),
            }
        }
        // One each tenth of a second; without a rest there are hundreds of thousands.
        assert!(seen <= 20, "{seen} errors a second");
        errors += seen;
        if seen == 0 {
            // The dialling end may lack a descriptor itself: let it have one.
            taken.pop();
        }
    }
    drop(taken);
    setrlimit(Resource::Nofile, limit).unwrap();
    let link = loop {
        match site.listener.accept(soon()) {
            Ok(link) => break link,
            Err(NetError::Io { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    dialling.join().unwrap().unwrap();
    assert_eq!(link.peer(), "a");
}
