//! Estimates grow with what they are made of.

mod common;

use amicus_plan::{Link, Rates};

#[test]
fn slower_networks_and_larger_batches_take_longer() {
    let plan = common::lenet5();
    let local = Link { one_way: 0.0, bandwidth: None, shared_cores: Some(2) };
    let wan = Link { one_way: 0.02, bandwidth: Some(12.5e6), shared_cores: None };
    let of = |batch, link: &Link| plan.estimate(2, batch, link, &Rates::STATED).unwrap();
    let (a, b, c) = (of(1, &local), of(1, &wan), of(8, &wan));
    let delays = a.cost.rounds as f64 * 0.02;
    let sent = a.cost.sent_bytes_per_party as f64 / 12.5e6;
    assert!(b.online > delays + sent && b.online < delays + 2.0 * sent + a.online);
    assert!(b.preprocessing > 0.04 + a.cost.dealt_bytes as f64 / 12.5e6);
    assert!(c.online > b.online && c.memory.party > b.memory.party);
    assert_eq!(a.memory.owner, c.memory.owner);
}
