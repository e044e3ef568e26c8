//! Seeds of what a node keeps on disk.

use super::{Seed, seed};
use crate::store::{joined, place};
use amicus_files::sealed;
use amicus_node::Peer;
use amicus_node::store::{Store, fuzz};
use amicus_protocol::check::DecisionLog;
use amicus_protocol::{EpochId, InferenceId, Scope, SessionId};

const EPOCH: EpochId = EpochId::from_bytes([3; 16]);
const SCOPE: Scope = Scope::new(SessionId::from_bytes([5; 16]), EPOCH, InferenceId(70));

/// Records of a node, as a start of it finds them.
pub(super) fn logs() -> Vec<Seed> {
    let folder = tempfile::tempdir().expect("a folder");
    let place = place(folder.path());
    let with = |action: &dyn Fn(&mut Store)| {
        action(&mut Store::open(&place, Peer::Helper).expect("a store"));
        joined(&fuzz::read_log(&place, Peer::Helper).expect("a log"))
    };
    let mut all = vec![seed("new", with(&|_| ()))];
    let release = [&[7; 32][..], &2u32.to_le_bytes(), &[8; 100]].concat();
    let receivers = ["client 1".to_owned(), "client 2".to_owned()];
    let decide = |store: &mut Store| store.receivers(&receivers).accepted(SCOPE, &release).expect("a record");
    all.push(seed("decision", with(&decide)));
    all.push(seed("delivered", with(&|store| store.delivered(SCOPE, "client 2").expect("a record"))));
    let failed = |store: &mut Store| {
        store.record_failed_checks(EPOCH, 5).expect("a record");
        store.retire(EpochId::from_bytes([2; 16])).expect("a record");
    };
    all.push(seed("failed", with(&failed)));
    all
}

/// Sealed files with no, one and several sections.
pub(super) fn sealed() -> Vec<Seed> {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |name: &str, sections: &[&[u8]]| {
        let path = folder.path().join(name);
        let put = |out: &mut sealed::SealedWriter<'_>| {
            (0..).zip(sections).try_for_each(|(name, bytes)| out.put_section(name, bytes))
        };
        sealed::write(&path, b"an epoch of a party", put).expect("a sealed file");
        seed(name, std::fs::read(&path).expect("a sealed file"))
    };
    vec![with("empty", &[]), with("one", &[b"secret"]), with("several", &[&[1; 300], b"", &[2; 5000]])]
}
