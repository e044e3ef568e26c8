//! A party that floods others with random frames: whatever happens to the inference or load, the
//! nodes stay alive.

use amicus_client::Message;
use amicus_field::Limbs;
use amicus_net::clock::world::World;
use amicus_node::Peer;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{InferenceId, Scope};
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::random::Random;
use amicus_testkit::run::Setup;
use amicus_testkit::user::User;
use amicus_testkit::zoo;

const TWO: Limbs = Limbs::TWO;

#[test]
fn noise_in_inferences() {
    for kind in [Kind::Opening, Kind::Check, Kind::Output] {
        for n in [2, 3] {
            // In virtual time no deadline is missed because the machine is busy.
            let _world = World::enter(n as u64);
            let deviation = Deviation::message(kind, How::Noise(Random(n as u64)));
            let mut run = Setup::new(zoo::mlp(TWO), n).hasty().last_deviating(deviation).start();
            for _ in 0..40 {
                // It may be dropped, refused, or do no harm.
                run.attack();
                run.recovers();
            }
            run.finish();
        }
    }
}

#[test]
fn noise_in_loads() {
    for kind in [Kind::Keys, Kind::SessionAnswer, Kind::Tags, Kind::LoadHash, Kind::LoadResponse] {
        let _world = World::enter(3);
        let deviation = Deviation::message(kind, How::Noise(Random(3)));
        let mut run = Setup::new(zoo::mlp(TWO), 2).hasty().last_deviating(deviation).start();
        for _ in 0..10 {
            run.switch.set(true);
            let _ = run.load();
            run.switch.set(false);
            // A load that was given up may still be on some node's mind.
            let loaded = (0..10).any(|_| run.load().is_ok());
            assert!(loaded, "no load works any more");
            run.recovers();
        }
        run.finish();
    }
}

#[test]
fn noise_of_users() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut random = Random(11);
    run.infer().unwrap();
    let mut mallory = User::connect(&mut run.cluster, run.parties, &Peer::Client("2".into()));
    let everybody: Vec<Peer> = run.parties.all().map(Peer::Party).chain([Peer::Helper]).collect();
    for _ in 0..50 {
        for to in &everybody {
            for _ in 0..5 {
                let length = random.below(60);
                let bytes = random.bytes(length);
                mallory.send_raw(to, &bytes);
                // A valid header with anything in it.
                let scope = Scope { id: InferenceId(random.bits() % 60), ..run.last };
                let mut header = Header::new(Kind::Input, scope, 0).encode();
                header[1] = random.below(64) as u8;
                let body = random.bytes(60 - length);
                mallory.send_raw(to, &[&header[..], &body].concat());
            }
        }
        run.infer().unwrap();
    }
    run.finish();
}

#[test]
fn early_junk_gives_way() {
    // More messages for far future inferences than are kept; then honest ones must still find room.
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    run.infer().unwrap();
    let mut client = User::connect(&mut run.cluster, run.parties, &Peer::Client("2".into()));
    for number in 0..100 {
        let id = InferenceId(u64::MAX - number);
        let header = Header::new(Kind::ReceiverKey, Scope { id, ..run.last }, 0);
        for party in run.parties.all().map(Peer::Party) {
            client.send(&party, &Message { header, body: vec![0; 32] });
        }
    }
    let inputs = run.next_inputs();
    let admission = client.ticket(&run.net.plan, run.parties, 1, &[]);
    let (awaiting, messages) = admission.mask(&inputs).unwrap();
    for party in run.parties.all().map(Peer::Party) {
        messages.iter().for_each(|m| client.send_to(&party, m));
    }
    run.assert_right(&inputs, &client.result(awaiting).unwrap());
    run.finish();
}
