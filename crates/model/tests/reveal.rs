//! Labels in place of outputs: which ones, at what cost, and what is refused.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_field::LimbVec;
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::compile::NEAR;
use amicus_model::function::{Elementary, Function};
use amicus_model::graph::{ConvOptions, Graph, GraphBuilder};
use amicus_model::reveal::Reveals;
use amicus_model::{CompileOptions, Compiled, FloatExecutor, Simulator, compile, quantize_input};
use amicus_plan::{Choice, Link, OpKind, Plan, ScaleBits, ValueId};
use common::{Random, masks};

const FAR: Link = Link { one_way: 0.02, ..NEAR };

fn weights(random: &mut Random, count: usize) -> Vec<f32> {
    random.reals(count, 1.0)
}

/// Six numbers, a ReLU if wanted, and a row of classes.
fn row(classes: usize, relu: bool) -> Graph {
    let mut random = Random(classes as u64);
    let mut g = GraphBuilder::new("row", &[6], -1.0..=1.0);
    let mut x = g.linear("first", g.input(), 8, weights(&mut random, 48), None);
    if relu {
        x = g.activation("relu", x, Function::elementary(Elementary::Relu));
    }
    let x = g.linear("classes", x, classes, weights(&mut random, 8 * classes), None);
    g.finish(x).unwrap()
}

/// An image whose pixels are classified.
fn image(classes: usize) -> Graph {
    let mut random = Random(9);
    let mut g = GraphBuilder::new("image", &[2, 3, 4], -1.0..=1.0);
    let options = ConvOptions::square(classes, 3).padding(1);
    let x = g.conv2d("pixels", g.input(), options, weights(&mut random, 18 * classes), None);
    g.finish(x).unwrap()
}

fn samples(graph: &Graph, count: usize, most: f64) -> Vec<Vec<f32>> {
    let mut random = Random(77);
    let len = graph.input_shape().iter().product::<usize>();
    (0..count).map(|_| random.reals(len, most)).collect()
}

fn compiled(graph: &Graph, labels: u32, link: Link) -> Compiled {
    let reveal = Reveals::Labels(labels);
    let options = CompileOptions { reveal, link, ..CompileOptions::default() };
    compile(graph, &samples(graph, 12, 1.0), &options).unwrap()
}

/// What is ranked: outputs without the bits that are dropped first.
fn ranked(plan: &Plan) -> ValueId {
    let reveal = plan.output.reveal.as_ref().unwrap();
    let first = plan.ops.len() - (reveal.ops + plan.output.watch) as usize;
    match &plan.ops[first].kind {
        OpKind::Truncate(_) => ValueId(first as u32 + 1),
        _ => reveal.hidden,
    }
}

/// Runs under random masks: labels are exactly those of the truncated outputs, the smallest of equal
/// ones, and those of the network where outputs differ clearly. Returns how often outputs were equal.
fn runs(graph: &Graph, c: &Compiled, most: f64) -> usize {
    let Compiled { plan, weights, .. } = c;
    let reveal = plan.output.reveal.as_ref().unwrap();
    let simulator = Simulator::new(plan, weights).unwrap();
    let float = FloatExecutor::new(graph);
    let (mut equal, mut clear) = (0, 0);
    for (seed, sample) in samples(graph, 24, most).iter().enumerate() {
        let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, sample).unwrap());
        let trace = simulator.trace_masked(&input, &masks(plan, &mut Random(seed as u64)), 1).unwrap();
        let numbers: Vec<f64> = trace.value(ranked(plan)).signed().into_iter().map(|z| z.as_f64()).collect();
        let got = trace.outputs().logits();
        assert_eq!(got, reveal.of(&numbers), "{}: {numbers:?}", plan.name);
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        equal += usize::from(sorted[sorted.len() - 1] == sorted[sorted.len() - 2]);
        let mut outputs = float.run(sample).unwrap();
        let expected = reveal.of(&outputs);
        outputs.sort_by(f64::total_cmp);
        if reveal.choices[..] == [Choice { classes: outputs.len() as u32, places: 1 }] && reveal.labels == 1 {
            let (best, next) = (outputs[outputs.len() - 1], outputs[outputs.len() - 2]);
            if most > 0.5 && best - next > 0.02 {
                clear += 1;
                assert_eq!(got, expected, "{outputs:?}");
            }
            assert_eq!(plan.class(&got), got[0] as usize);
        }
    }
    assert!(clear > 8 || most < 0.1 || graph.name() != "row" || reveal.labels > 1, "{clear}");
    equal
}

#[test]
fn labels_are_those_of_the_largest_outputs() {
    for classes in [2, 3, 5, 10, 23, 64] {
        for (relu, link) in [(true, NEAR), (false, NEAR), (true, FAR)] {
            let graph = row(classes, relu);
            let c = compiled(&graph, 1, link);
            runs(&graph, &c, 1.0);
        }
    }
}

#[test]
fn of_equal_outputs_the_smallest_label_comes_first() {
    let mut equal = 0;
    for (labels, link) in [(1, NEAR), (1, FAR), (3, NEAR)] {
        let graph = row(11, false);
        // Outputs of almost nothing are a few units large.
        equal += runs(&graph, &compiled(&graph, labels, link), 0.002);
    }
    assert!(equal > 12, "{equal}");
}

#[test]
fn several_labels_come_in_order_through_groups_of_any_size() {
    for classes in [5, 10, 31, 100] {
        for link in [NEAR, FAR] {
            let graph = row(classes, true);
            let c = compiled(&graph, 5, link);
            assert_eq!(c.plan.output.reveal.as_ref().unwrap().len(), 5);
            runs(&graph, &c, 1.0);
        }
    }
    // More classes than the largest group: the best of each are ranked again.
    let graph = row(300, false);
    runs(&graph, &compiled(&graph, 5, NEAR), 1.0);
    runs(&graph, &compiled(&graph, 1, FAR), 1.0);
}

#[test]
fn every_pixel_has_a_label() {
    for (classes, labels, link) in [(3, 1, NEAR), (4, 1, FAR), (5, 2, NEAR)] {
        let graph = image(classes);
        let c = compiled(&graph, labels, link);
        let reveal = c.plan.output.reveal.as_ref().unwrap();
        assert_eq!(reveal.choices, [Choice { classes: classes as u32, places: 12 }]);
        runs(&graph, &c, 1.0);
    }
}

#[test]
fn few_bytes_or_few_rounds() {
    let more = |classes: usize, link: Link| {
        let found = compiled(&row(classes, true), 1, link).report.labels.unwrap();
        println!("{found}");
        (found.dealt_bytes, found.rounds)
    };
    let (bytes, _) = more(10, NEAR);
    assert!(bytes <= 3_000, "{bytes}");
    let (bytes, _) = more(1000, NEAR);
    assert!(bytes <= 300_000, "{bytes}");
    let (_, rounds) = more(10, FAR);
    assert!(rounds <= 8, "{rounds}");
}

#[test]
fn outputs_that_are_no_classes_are_refused_by_name() {
    let reveal = |labels| CompileOptions { reveal: Reveals::Labels(labels), ..CompileOptions::default() };
    let refused = |graph: &Graph, labels| {
        compile(graph, &samples(graph, 4, 1.0), &reveal(labels)).map(|_| ()).unwrap_err().to_string()
    };
    let error = refused(&row(1, true), 1);
    assert!(error.contains("classes") && error.contains("a regression has no label"), "{error}");
    let error = refused(&row(4, true), 5);
    assert!(error.contains("5 labels of 4 classes, 1 to 4 are possible"), "{error}");
}

#[test]
fn a_plan_with_labels_is_the_networks_and_more() {
    let graph = row(10, true);
    let c = compiled(&graph, 1, NEAR);
    let outputs = compile(&graph, &samples(&graph, 12, 1.0), &CompileOptions::default()).unwrap();
    assert_eq!(c.plan.network(), outputs.plan);
    let bytes = c.plan.encode().unwrap();
    assert_eq!(Plan::decode(&bytes).unwrap(), c.plan);
    assert_ne!(c.plan.digest().unwrap(), outputs.plan.digest().unwrap());
    for cut in 0..bytes.len() {
        assert!(Plan::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    let refused = |change: &dyn Fn(&mut Plan), reason: &str| {
        let mut plan = c.plan.clone();
        change(&mut plan);
        let error = plan.values().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(&|p| p.output.reveal.as_mut().unwrap().labels = 2, "does not hold 2 labels");
    refused(&|p| p.output.reveal.as_mut().unwrap().labels = 0, "0 labels of 10 classes");
    refused(&|p| p.output.reveal.as_mut().unwrap().choices[0].classes = 9, "9 numbers to choose from");
    refused(&|p| p.output.reveal.as_mut().unwrap().ops = 0, "does not hold 1 labels");
    refused(&|p| p.output.reveal.as_mut().unwrap().ops = 1000, "is no result of the network");
    refused(&|p| p.output.reveal.as_mut().unwrap().scale = ScaleBits(50), "above value scale");
    let hidden = c.plan.output.reveal.as_ref().unwrap().hidden;
    refused(&|p| p.output.value = hidden, "does not hold 1 labels");
}

#[test]
fn values_outside_are_looked_for_beside_labels() {
    let graph = row(10, true);
    let options = CompileOptions { reveal: Reveals::Labels(1), watch: true, ..CompileOptions::default() };
    let c = compile(&graph, &samples(&graph, 12, 0.5), &options).unwrap();
    let simulator = Simulator::new(&c.plan, &c.weights).unwrap();
    let told = |sample: &[f32]| {
        let input = LimbVec::from_i64(c.plan.limbs, &quantize_input(&c.plan, sample).unwrap());
        let all = simulator.outputs(&input, 1).unwrap().logits();
        let (labels, outside) = c.plan.answer(&all);
        assert_eq!(labels.len(), 1);
        outside.unwrap()
    };
    let inside = samples(&graph, 12, 0.5);
    assert!(inside.iter().all(|sample| !told(sample)));
    // Calibrated for a tenth of the range: most of the rest is outside, and what is not is right.
    let c = compile(&graph, &samples(&graph, 12, 0.1), &options).unwrap();
    let simulator = Simulator::new(&c.plan, &c.weights).unwrap();
    let (mut told, float) = (0, FloatExecutor::new(&graph));
    for sample in samples(&graph, 40, 1.0) {
        let input = LimbVec::from_i64(c.plan.limbs, &quantize_input(&c.plan, &sample).unwrap());
        let all = simulator.outputs(&input, 1).unwrap().logits();
        let (labels, outside) = c.plan.answer(&all);
        let mut outputs = float.run(&sample).unwrap();
        let expected = c.plan.revealed(&outputs);
        outputs.sort_by(f64::total_cmp);
        told += usize::from(outside == Some(true));
        assert!(outside == Some(true) || outputs[9] - outputs[8] < 0.02 || labels == expected);
    }
    assert!(told > 20, "{told}");
    let watched: Vec<&str> =
        c.report.watch.as_ref().unwrap().watched.iter().map(|w| w.layer.as_str()).collect();
    assert!(watched.contains(&"labels") && watched.iter().all(|w| !w.starts_with("label ")), "{watched:?}");
}

#[test]
fn comparisons_name_classes_by_what_is_revealed() {
    let graph = row(10, true);
    let c = compiled(&graph, 1, NEAR);
    let all = samples(&graph, 16, 1.0);
    let fixed = FixedPoint { plan: &c.plan, weights: &c.weights, factors: &c.factors };
    let networks = Networks { original: &graph, polynomial: &graph, fixed: Some(fixed) };
    let float = FloatExecutor::new(&graph);
    let labels: Vec<usize> = all.iter().map(|s| amicus_model::argmax(&float.run(s).unwrap())).collect();
    let found = compare(networks, &all, Some(&labels), &mut |_| ()).unwrap();
    assert!(found.outputs.fixed.iter().all(|labels| labels.len() == 1));
    let same = found.outputs.fixed.iter().zip(&labels).filter(|(f, l)| f[0] as usize == **l).count();
    assert!(same >= 14, "{same}");
    assert_eq!(found.fixed_correct, Some(same));
    // Errors are of the outputs, which are hidden.
    let error = found.total.unwrap().relative_error;
    assert!(error.median > 0.0 && error.median < 0.01, "{error:?}");
}
