//! Who is at fault when time runs out or links end, and what goes out although they do. Time is
//! virtual where a test waits.

use amicus_field::Limbs;
use amicus_net::clock::world::World;
use amicus_node::Limits;
use amicus_protocol::wire::Kind;
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::fake_helper::FakeHelper;
use amicus_testkit::run::{Setup, assert_says};
use amicus_testkit::zoo;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A party that is a little too slow in every round, and in none so slow that this alone ends it.
#[test]
fn a_party_that_is_slow_in_every_round_is_named_and_no_other() {
    for (parties, slow) in [(2, 1), (2, 2), (3, 1), (3, 2), (3, 3)] {
        let _world = World::enter(parties as u64);
        let limits = Limits { round: seconds(10), inference: seconds(15), load: seconds(60) };
        let late = Deviation::message(Kind::Opening, How::Late(seconds(9)));
        let setup = Setup::new(zoo::mlp(TWO), parties).limits(limits).deviating(slow, late);
        let mut run = setup.start();
        run.switch.set(true);
        let error = run.infer().unwrap_err();
        let accused = format!(": party {slow}: nothing received for");
        assert_says("client", &error, &["given up by helper: opening of layer", &accused]);
        run.switch.set(false);
        run.recovers();
        run.cluster.stop();
    }
}

/// The helper may have heard everything although the link failed then, and release the output.
#[test]
fn outputs_go_out_although_the_link_to_the_helper_fails() {
    let folder = tempfile::tempdir().unwrap();
    let check = Deviation::message(Kind::Check, How::ThenClose);
    let mut world = FakeHelper::deviating(zoo::mlp(TWO), folder.path(), check);
    let epoch = world.load(1);
    let dealt = world.deal(&epoch, 2);
    let inputs = world.net.inputs(1, 1);
    world.bind(&dealt, &inputs);
    for party in [1, 2] {
        world.expect_output(party);
    }
    world.stop();
}
