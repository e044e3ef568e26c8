//! Labels in place of outputs: private runs give what the simulator gives, and nothing but labels
//! and their masks leaves the parties and the helper (`docs/security.md`, section 27).

use amicus_node::Peer;
use amicus_plan::OpKind;
use amicus_protocol::Parties;
use amicus_protocol::wire::Kind;
use amicus_testkit::direct;
use amicus_testkit::nets::Net;
use amicus_testkit::steps;
use amicus_testkit::world::{Letter, World};
use amicus_testkit::zoo;

/// By a tournament and by groups, one label and several.
fn networks() -> [Net; 5] {
    [(2, 1, false), (7, 1, false), (7, 1, true), (7, 3, false), (20, 5, true)]
        .map(|(classes, labels, far)| zoo::labels(classes, labels, far))
}

#[test]
fn private_labels_are_the_simulators() {
    for net in networks() {
        let reveal = net.plan.output.reveal.as_ref().unwrap();
        let classes = f64::from(reveal.choices[0].classes);
        for (n, batch) in [(2, 3), (3, 1)] {
            let loaded = direct::load(&net.plan, &net.layers(), Parties::new(n).unwrap(), None).unwrap();
            for salt in 0..4 {
                let inputs = net.inputs(batch, salt);
                let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
                steps::check(&loaded, &net, &inputs, &outcome).unwrap();
                let labels = outcome.logits.unwrap();
                assert_eq!(labels.len(), batch * reveal.labels as usize);
                assert!(labels.iter().all(|l| l.fract() == 0.0 && (0.0..classes).contains(l)), "{labels:?}");
                for of_one in labels.chunks(reveal.labels as usize) {
                    assert!((1..of_one.len()).all(|i| !of_one[..i].contains(&of_one[i])), "{of_one:?}");
                }
            }
        }
    }
}

/// Receivers, and nobody else, are told of a label that may be wrong.
#[test]
fn receivers_of_labels_are_told_of_values_outside() {
    let net = zoo::watched_label();
    let (batch, mut told, mut not_told) = (6, 0, 0);
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(2).unwrap(), None).unwrap();
    for salt in 0..4 {
        let mut inputs = net.inputs(batch, salt);
        // Half of them are like those that it was made for.
        let inside = inputs.len() / 2;
        inputs[..inside].iter_mut().for_each(|x| *x /= 16);
        let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
        steps::check(&loaded, &net, &inputs, &outcome).unwrap();
        for (i, revealed) in outcome.logits.unwrap().chunks(2).enumerate() {
            let (labels, outside) = net.plan.answer(revealed);
            assert!(labels[0].fract() == 0.0 && (0.0..7.0).contains(&labels[0]) || outside == Some(true));
            *(if outside.unwrap() { &mut told } else { &mut not_told }) += 1;
            assert!(i >= batch / 2 || outside == Some(false), "{i}");
        }
    }
    assert!(told >= 6 && not_told >= 12, "{told} and {not_told}");
}

/// Bodies of what receivers get.
#[derive(Default)]
struct Told(Vec<(Kind, usize)>);

impl World for Told {
    fn carry(&mut self, letter: &Letter, body: &mut Vec<u8>) {
        if matches!(letter.to, Peer::Client(_)) {
            self.0.push((letter.header.kind, body.len()));
        }
    }
}

#[test]
fn receivers_get_a_number_and_a_mask_for_each_label_and_for_nothing_else() {
    for net in networks().into_iter().chain([zoo::watched_label()]) {
        let labels = net.plan.values().unwrap().get(net.plan.output.value).len;
        assert_eq!(net.plan.outputs().unwrap(), net.plan.output.reveal.as_ref().unwrap().len());
        let n = 2;
        let loaded = direct::load(&net.plan, &net.layers(), Parties::new(n).unwrap(), None).unwrap();
        let mut told = Told::default();
        direct::infer_over(&loaded, &net.inputs(1, 1), 1, &[], &mut |_| (), &mut told).unwrap();
        let of = |kind| told.0.iter().filter(|(k, _)| *k == kind).map(|(_, len)| *len).collect::<Vec<_>>();
        // 52 bits and a byte for the wrap each; the release has its hash and its tag, too.
        let body = labels * (52usize.div_ceil(8) * net.plan.limbs.count() + 1);
        assert_eq!(of(Kind::Output), vec![body; n], "{}", net.plan.name);
        assert_eq!(of(Kind::Release), [body + 64], "{}", net.plan.name);
    }
}

/// What is revealed is a selection's result under its own mask: never an output, nor anything that a
/// linear layer gave.
#[test]
fn what_is_revealed_is_chosen_by_hidden_bits() {
    for net in networks() {
        let plan = &net.plan;
        let mut behind = vec![plan.output.value];
        while let Some(value) = behind.pop() {
            let op = &plan.ops[value.index() - 1];
            match &op.kind {
                // Its mask is fresh.
                OpKind::Select(select) => assert!(select.scale.0 == 0, "{}", op.name),
                OpKind::Linear { .. } | OpKind::Truncate(_) => panic!("{} is revealed", op.name),
                kind => behind.extend(kind.inputs()),
            }
        }
    }
}
