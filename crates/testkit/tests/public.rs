//! Weights that everybody knows (`docs/protocol.md`, sections 3 and 6.6): every operation gives the
//! exact integers, layers of them open nothing, openings behind them are checked, and plans with other
//! weights are other plans.

use amicus_field::{Element, I256, LimbVec, Limbs, LinearMap};
use amicus_plan::{MaskKind, OpKind, Plan, PublicId, PublicWeights, Schedule, ValueId};
use amicus_protocol::wire::Kind;
use amicus_protocol::{Fault, Parties, ProtocolError};
use amicus_testkit::deviation::Deviation;
use amicus_testkit::nets::{Draft, Net};
use amicus_testkit::run::Setup;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::{direct, steps, zoo};

const TWO: Limbs = Limbs::TWO;

fn parties(n: usize) -> Parties {
    Parties::new(n).unwrap()
}

#[test]
fn every_operation_gives_the_exact_integers() {
    for limbs in Limbs::ALL {
        let nets = zoo::all(limbs).into_iter().chain(zoo::comparing(limbs));
        for net in nets.filter(|net| !net.plan.weights.is_empty()).map(Net::published) {
            assert!(net.plan.weights.is_empty() && !net.plan.public.is_empty());
            for (n, batch) in [(2, 1), (3, 3)] {
                let loaded = direct::load(&net.plan, &net.layers(), parties(n), None).unwrap();
                let inputs = net.inputs(batch, 40);
                let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
                let context = format!("{} with {} limbs", net.plan.name, limbs.count());
                steps::check(&loaded, &net, &inputs, &outcome).unwrap_or_else(|e| panic!("{context}: {e}"));
                // Where pieces do not meet, a value near a threshold may take either; what tells of
                // values outside is random.
                let jumps = ["pieces", "watched"].contains(&net.plan.name.as_str());
                let error = net.error_of(&inputs, outcome.logits.as_ref().unwrap());
                assert!(limbs == Limbs::ONE || jumps || error < 0.03, "{context}: {error}");
            }
        }
    }
}

/// Integers are those of secret weights, and so are answers within roundings.
#[test]
fn answers_are_those_of_secret_weights() {
    for net in [zoo::conv_net(TWO), zoo::relu(TWO, true, &[3, 3, 3])] {
        let inputs = net.inputs(2, 3);
        let secret = net.simulate(&inputs, 2);
        assert_eq!(net.published().simulate(&inputs, 2), secret);
    }
}

/// No message is sent for a layer, and its mask is that of its input, times the weights.
#[test]
fn layers_open_nothing_and_map_masks() {
    for net in [zoo::mlp(TWO).published(), zoo::mixed(TWO)] {
        let loaded = direct::load(&net.plan, &net.layers(), parties(3), None).unwrap();
        let outcome = direct::infer(&loaded, &net.inputs(2, 5), 2, &[], &mut |_| ()).unwrap();
        outcome.logits.as_ref().unwrap();
        let masks = loaded.danger_masks(&outcome);
        let mut layers = 0;
        for (index, op) in net.plan.indexed_ops() {
            let OpKind::PublicLinear { input, weights } = op.kind else { continue };
            let at = ValueId::of(index);
            assert!(outcome.opened.iter().all(|(value, _)| *value != at), "{} is opened", op.name);
            let tensor = net.plan.public_tensor(weights);
            let integers = LimbVec::from_i64(TWO, tensor.values.weights());
            let map = LinearMap::new(tensor.spec.shape, &integers).unwrap();
            assert_eq!(masks[at.index()], map.apply(&masks[input.index()], 2), "{}", op.name);
            layers += 1;
        }
        assert!(layers >= 2);
    }
}

/// A network of one layer opens nothing at all: clients send masked inputs, and get their answers.
#[test]
fn a_network_of_one_layer_takes_no_round() {
    let one = || {
        let mut net = Draft::new("one layer", TWO, &[5]);
        let z = net.public(ValueId::INPUT, 5, 3, true);
        net.reveal(z)
    };
    let net = one();
    assert_eq!((Schedule::of(&net.plan).openings(), net.plan.published(Vec::new()).unwrap().1), (0, None));
    for (n, batch) in [(2, 1), (3, 2)] {
        let loaded = direct::load(&net.plan, &net.layers(), parties(n), None).unwrap();
        let inputs = net.inputs(batch, 8);
        let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
        assert!(outcome.opened.is_empty());
        steps::check(&loaded, &net, &inputs, &outcome).unwrap();
        assert!(net.error_of(&inputs, outcome.logits.as_ref().unwrap()) < 0.03);
    }
    let mut run = Setup::new(one(), 2).start();
    run.infer().unwrap();
    run.finish();
}

/// What follows a layer of public weights is checked like anything else.
#[test]
fn a_wrong_element_in_any_opening_is_caught() {
    let nets: [fn(Limbs) -> Net; 4] = [
        |limbs| zoo::conv_net(limbs).published(),
        |limbs| zoo::residual(limbs).published(),
        |limbs| zoo::relu(limbs, true, &[3, 3, 3]).published(),
        zoo::mixed,
    ];
    for (net, (n, cheater)) in nets.into_iter().zip([(2, 2), (2, 1), (3, 3), (3, 2)]) {
        let opened = net(TWO);
        let opening = opened.plan.indexed_ops().filter(|(_, op)| op.kind.opens());
        for (index, op) in opening.filter(|(_, op)| !matches!(op.kind, OpKind::Compare(_))) {
            let deviation = Deviation::shift(index.0, 1, Element::one(TWO));
            let mut run = Setup::new(net(TWO), n).deviating(cheater, deviation).start();
            let first = run.infer().unwrap();
            let attacked = run.attack().rejected().id;
            assert!(first < attacked && attacked < run.recovers(), "{}", op.name);
            run.finish();
        }
    }
}

/// One weight or bias is another: another plan, which its nodes do not take for this one.
#[test]
fn other_weights_are_another_plan() {
    let net = zoo::mlp(TWO).published();
    let digest = net.plan.digest().unwrap();
    let edit = |change: &dyn Fn(&mut Vec<i64>, &mut Vec<I256>)| {
        let mut plan = Plan::clone(&net.plan);
        let values = &mut plan.public[1].values;
        let (mut weights, mut bias) = (values.weights().to_vec(), values.bias().to_vec());
        change(&mut weights, &mut bias);
        *values = PublicWeights::new(weights, bias);
        plan
    };
    assert_eq!(edit(&|_, _| ()).digest().unwrap(), digest);
    for other in [edit(&|weights, _| weights[3] += 1), edit(&|_, bias| bias[2] -= 1)] {
        assert_ne!(other.digest().unwrap(), digest);
        // Its digest is what a helper with these weights would name.
        let mut world = Names(other.digest().unwrap().0);
        let error = direct::load_over(&net.plan, &[], parties(2), None, &mut world).unwrap_err();
        let refused = |fault: &Fault| matches!(fault, Fault::Incompatible(_));
        assert!(matches!(&error, ProtocolError::Peer { fault, .. } if refused(fault)), "{error}");
    }
    assert!(edit(&|weights, _| weights.truncate(3)).values().is_err());
}

/// Begins loads of another plan.
struct Names([u8; 32]);

impl World for Names {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if letter.header.kind == Kind::EpochBegin {
            *body = self.0.to_vec();
        }
    }
}

/// Parties get shares of a mask only where a product needs them.
#[test]
fn masks_are_shared_where_products_need_them() {
    let of = |net: &Net, name: &str| {
        let value = ValueId(net.op(name) + 1);
        net.plan.values().unwrap().get(value).mask
    };
    let mixed = zoo::mixed(TWO);
    assert_eq!(of(&mixed, "public linear 0"), MaskKind::Shared);
    assert_eq!(of(&mixed, "activation 0"), MaskKind::Shared);
    assert_eq!(of(&mixed, "public linear 2"), MaskKind::Shared);
    assert_eq!(of(&mixed, "public linear 3"), MaskKind::Helper);
    let all = zoo::mlp(TWO).published();
    assert_eq!(of(&all, "activation 0"), MaskKind::Helper);
    assert_eq!(all.plan.public_tensor(PublicId(0)).spec.shape.outputs(), 5);
}
