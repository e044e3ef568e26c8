//! Deployments over mutual TLS on loopback: honest runs, attacks on links, and attacks of every
//! other sort once.

use amicus_field::{Element, Limbs};
use amicus_net::shaper::Shape;
use amicus_node::Peer;
use amicus_node::conduct::Cheat;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_protocol::Parties;
use amicus_protocol::wire::{HEADER_BYTES, Kind};
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::random::Random;
use amicus_testkit::run::{Setup, assert_says, party};
use amicus_testkit::zoo;
use std::sync::Arc;

const TWO: Limbs = Limbs::TWO;

#[test]
fn honest_runs() {
    for (net, n, batch) in [
        (zoo::mlp(Limbs::ONE), 2, 1),
        (zoo::conv_net(TWO), 3, 2),
        (zoo::residual(TWO), 5, 1),
        (zoo::products(Limbs::THREE), 2, 3),
        (zoo::statistical(), 2, 1),
    ] {
        let tolerant = net.plan.limbs == Limbs::ONE;
        let mut run = Setup::new(net, n).batch(batch).tls().start();
        run.client.fingerprint().unwrap();
        for _ in 0..if tolerant { 0 } else { 5 } {
            run.infer().unwrap();
        }
        run.finish();
    }
}

#[test]
fn attacks() {
    let one = Element::one(TWO);
    let net = zoo::mlp(TWO);
    let victim = party(Parties::new(3).unwrap(), 1);
    let rejected = [
        Deviation::shift(net.op("linear 0"), 0, one),
        Deviation::shift(net.op("activation 0"), 0, Element::power_of_two(TWO, 90)),
        Deviation::opening(2, How::Shift(1, one)).to(victim),
        Deviation::Sigma(vec![(0, one)]),
        Deviation::Transcript,
        Deviation::OutputHash,
        Deviation::opening(1, How::EarlierBody),
    ];
    for deviation in rejected {
        let mut run = Setup::new(zoo::mlp(TWO), 3).tls().last_deviating(deviation).start();
        run.infer().unwrap();
        run.attack().rejected();
        run.recovers();
        run.finish();
    }
    let step = "opening of layer activation 0 (operation 1)";
    let given_up: [(How, &[&str]); 5] = [
        (How::Shorter(1), &[step, "party 2", "bytes, expected"]),
        (How::Residue(1), &[step, "party 2", "is not below the prime"]),
        (How::Earlier, &[step, "party 2", "was used before"]),
        (How::Garbage(vec![0xee; 50]), &[step, "party 2", "wire version"]),
        (How::Twice, &["party 2", "second share"]),
    ];
    for (how, words) in given_up {
        let mut run = Setup::new(zoo::mlp(TWO), 2).tls().last_deviating(Deviation::opening(1, how)).start();
        run.infer().unwrap();
        run.attack().given_up(words);
        run.recovers();
        run.finish();
    }
    let deviation = Deviation::message(Kind::Output, How::Flip(3));
    let mut run = Setup::new(zoo::mlp(TWO), 2).tls().last_deviating(deviation).start();
    run.attack().accepted();
    run.finish();
}

#[test]
fn a_link_closed_in_the_middle_of_a_round() {
    // The last party dials the others, the first one is dialled; the helper is dialled by both.
    for cheater in [1, 2] {
        let deviation = Deviation::opening(1, How::Close);
        let mut run = Setup::new(zoo::mlp(TWO), 2).tls().deviating(cheater, deviation).start();
        let who = format!("party {cheater}");
        run.attack().given_up(&["opening of layer activation 0 (operation 1)", &who, "link lost"]);
        run.recovers();
        run.finish();
        let deviation = Deviation::message(Kind::Check, How::Close);
        let mut run = Setup::new(zoo::mlp(TWO), 2).tls().deviating(cheater, deviation).start();
        run.attack().given_up(&["check", &who, "link lost"]);
        run.recovers();
        run.finish();
        // To the client: another party's output is as good.
        let deviation = Deviation::message(Kind::Output, How::Close);
        let mut run = Setup::new(zoo::mlp(TWO), 2).tls().deviating(cheater, deviation).start();
        run.attack().accepted();
        run.recovers();
        run.finish();
    }
}

#[test]
fn a_frame_longer_than_anything_in_the_plan() {
    for (kind, step) in [(Kind::Opening, "opening of layer linear 0"), (Kind::Check, "check")] {
        let deviation = Deviation::message(kind, How::TooLong);
        let mut run = Setup::new(zoo::mlp(TWO), 2).tls().last_deviating(deviation).start();
        // The cheater sees its link cut and may be the first to complain; who got the frame knows
        // better, if it comes to look before it hears that what waits for it is too much.
        let ending = run.attack().given_up(&["party 2"]);
        let hit = if kind == Kind::Opening { &ending.honest[0].1 } else { &ending.helper };
        let error = hit.as_ref().unwrap_err();
        if !error.to_string().contains(" does not read: ") {
            let announced = format!("announced a frame of {} bytes", (1 << 22) + HEADER_BYTES);
            assert_says("who got it", error, &[&announced]);
        }
        // It may come while the party still waits for its client. The cheater's own complaint, which
        // may be the first, names the step that the cheater has reached.
        let text = ending.client.unwrap_err().to_string();
        let said = [step, "input", "says party 2"].iter().any(|words| text.contains(words));
        assert!(said, "{text}");
        run.recovers();
        run.finish();
    }
}

#[test]
fn noise_of_a_party_over_a_slow_network() {
    let deviation = Deviation::message(Kind::Opening, How::Noise(Random(5)));
    let mut run = Setup::new(zoo::mlp(TWO), 2).shaped(Shape::lan()).last_deviating(deviation).start();
    for _ in 0..3 {
        assert!(run.attack().client.is_err());
        run.recovers();
    }
    run.finish();
}

#[test]
fn the_cheats_of_the_demonstration() {
    let cheats =
        ["linear:1", "activation:0", "equivocate:2", "batch-cancel:1", "sigma", "hash", "output", "load"];
    for text in cheats {
        let cheat: Cheat = text.parse().unwrap();
        let (net, parties) = (zoo::mlp(TWO), Parties::new(3).unwrap());
        cheat.check_against(&net.plan, parties, 2).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = LocalConfig::new(Arc::clone(&net.plan), parties, folder.path().to_owned());
        config.wiring = Wiring::Tls;
        config.conduct = Some((parties.last(), cheat.into_conduct(&net.plan)));
        let mut cluster = LocalCluster::start(config).unwrap();
        let mut owner = cluster.owner().unwrap();
        let loaded = owner.load(net.layers().as_slice());
        if text == "load" {
            assert!(loaded.unwrap_err().is_rejection());
            owner.load(net.layers().as_slice()).unwrap();
        }
        let mut client = cluster.client("1").unwrap();
        for attempt in 0..2 {
            let inputs = net.inputs(2, 8);
            let admission = client.request(2, &[Peer::Client("1".into())]).unwrap();
            match client.infer(admission, &inputs) {
                Ok(result) => {
                    assert!(attempt == 1 || ["output", "load"].contains(&text), "{text} was not caught");
                    assert!(net.error_of(&inputs, &result.logits) < 0.05);
                }
                Err(error) => assert!(attempt == 0 && error.is_rejection(), "{text}: {error}"),
            }
        }
        cluster.stop();
    }
}
