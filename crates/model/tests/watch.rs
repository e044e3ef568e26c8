//! Hidden values outside what a plan was made for: found, and told to receivers.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_field::LimbVec;
use amicus_model::approximate::{ApproximateOptions, approximate};
use amicus_model::compile::{FAR, NEAR};
use amicus_model::function::{Elementary, Function};
use amicus_model::graph::{ConvOptions, Graph, GraphBuilder, PoolOptions};
use amicus_model::prepare::prepare;
use amicus_model::{
    CompileOptions, Compiled, FloatExecutor, Simulator, compile, quantize_input, relative_error,
};
use amicus_plan::{Link, OpKind, Plan};
use common::{Random, masks};

const WIDTH: usize = 4096;

/// Activations of the networks below.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Relu,
    Relu6,
    LeakyRelu,
    Silu,
    Square,
    MaxPool,
}

const KINDS: [Kind; 6] = [Kind::Relu, Kind::Relu6, Kind::LeakyRelu, Kind::Silu, Kind::Square, Kind::MaxPool];

/// `layers` activations one behind the other, then differences over all of 4096 numbers: these are
/// small for random numbers, and large where one half is 1 and the other 0.
fn network(kind: Kind, layers: usize) -> Graph {
    let mut g = GraphBuilder::new("differences", &[1, 2, WIDTH / 2], 0.0..=1.0);
    let mut x = g.input();
    let activation = |g: &mut GraphBuilder, name: &str, x| match kind {
        Kind::Relu => g.activation(name, x, Function::elementary(Elementary::Relu)),
        Kind::Relu6 => {
            let clip = Elementary::Clip { low: 0.0, high: 6.0 };
            g.activation(name, x, Function::elementary(clip))
        }
        Kind::LeakyRelu => g.activation(name, x, Function::elementary(Elementary::LeakyRelu { alpha: 0.1 })),
        Kind::Silu => {
            let silu = Function::elementary(Elementary::Sigmoid).times(Function::identity()).unwrap();
            g.activation(name, x, silu)
        }
        Kind::Square => g.polynomial(name, x, 1.0, vec![0.1, 0.5, 0.2]),
        Kind::MaxPool => g.max_pool(name, x, PoolOptions::square(1)),
    };
    for layer in 0..layers {
        let one = ConvOptions::square(1, 1);
        x = g.conv2d(&format!("same{layer}"), x, one, vec![1.0], Some(vec![0.0]));
        x = activation(&mut g, &format!("inside{layer}"), x);
    }
    let flat = g.flatten("flat", x);
    let sign = |i: usize| if i < WIDTH / 2 { 1.0f32 } else { -1.0 };
    // Four sums: twice the difference of halves, and sums that always stay small.
    let row = |o: usize| {
        (0..WIDTH).map(move |i| match o {
            0 => sign(i),
            1 => -sign(i),
            _ => sign(i) * if (i >> o) & 1 == 0 { 1.0 } else { -1.0 },
        })
    };
    let weights: Vec<f32> = (0..4).flat_map(row).map(|w| w / 16.0).collect();
    let mut y = g.linear("differences", flat, 4, weights, Some(vec![0.1, 0.2, 0.3, 0.4]));
    if kind == Kind::MaxPool {
        y = g.reshape("places", y, &[1, 2, 2]);
        y = g.max_pool("largest", y, PoolOptions::square(2));
        y = g.flatten("flat again", y);
    } else {
        y = activation(&mut g, "behind", y);
    }
    let inputs = g.shape(y).iter().product::<usize>();
    let weights = (0..3 * inputs).map(|i| 0.1 + 0.05 * i as f32).collect();
    let y = g.linear("result", y, 3, weights, Some(vec![0.0, 0.1, 0.2]));
    g.finish(y).unwrap()
}

fn samples(seed: u64, count: usize) -> Vec<Vec<f32>> {
    let mut r = Random(seed);
    (0..count).map(|_| r.reals(WIDTH, 0.5).into_iter().map(|v| v + 0.5).collect()).collect()
}

/// One half grows towards 1 and the other towards 0: the differences are `times` as large as the
/// largest that calibration saw.
fn driven(graph: &Graph, calibration: &[Vec<f32>], share: f32) -> (Vec<f32>, f64) {
    let x: Vec<f32> =
        (0..WIDTH).map(|i| if i < WIDTH / 2 { 0.5 + share / 2.0 } else { 0.5 - share / 2.0 }).collect();
    let node = graph.find("differences").unwrap();
    let float = FloatExecutor::new(graph);
    let size =
        |x: &Vec<f32>| float.values(x).unwrap().node(node).iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let seen = calibration.iter().map(size).fold(0.0, f64::max);
    let times = size(&x) / seen;
    (x, times)
}

fn compiled(graph: &Graph, samples: &[Vec<f32>], watch: bool) -> (Graph, Compiled) {
    let graph =
        prepare(&approximate(graph, samples, &ApproximateOptions::exact()).unwrap().graph).unwrap().graph;
    let options = CompileOptions { watch, max_error: 0.01, ..CompileOptions::default() };
    let compiled = compile(&graph, samples, &options).unwrap();
    (graph, compiled)
}

/// What a private run reveals of one input: outputs, and whether a value was outside.
fn private(c: &Compiled, x: &[f32], r: &mut Random) -> (Vec<f64>, Option<bool>) {
    let simulator = Simulator::new(&c.plan, &c.weights).unwrap();
    let input = LimbVec::from_i64(c.plan.limbs, &quantize_input(&c.plan, x).unwrap());
    let trace = simulator.trace_masked(&input, &masks(&c.plan, r), 1).unwrap();
    let revealed = trace.outputs().logits();
    let (outputs, outside) = c.plan.answer(&revealed);
    (outputs.to_vec(), outside)
}

#[test]
fn values_far_outside_behind_any_layer_are_right_or_told() {
    let mut far = 0;
    for kind in KINDS {
        for layers in [0, 1, 2, 3] {
            let graph = network(kind, layers);
            let calibration = samples(layers as u64, 24);
            let (graph, c) = compiled(&graph, &calibration, true);
            let name = format!("{kind:?} behind {layers}: {}", c.report);
            let watch = c.report.watch.as_ref().unwrap();
            assert!(watch.complete, "{name}");
            let float = FloatExecutor::new(&graph);
            let mut r = Random(7);
            for x in samples(99, 12) {
                let (outputs, outside) = private(&c, &x, &mut r);
                assert_eq!(outside, Some(false), "{name}");
                let error = relative_error(&outputs, &float.run(&x).unwrap());
                assert!(error < 0.02, "{name}: {error}");
            }
            for share in [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0] {
                let (x, times) = driven(&graph, &calibration, share);
                for _ in 0..3 {
                    let (outputs, outside) = private(&c, &x, &mut r);
                    let error = relative_error(&outputs, &float.run(&x).unwrap());
                    assert!(outside == Some(true) || error < 0.02, "{times} times, {error}: {name}");
                    far += usize::from(times > 25.0 && outside == Some(true));
                }
            }
        }
    }
    assert!(far >= 30, "{far}");
}

/// Without looking, the same inputs give wrong answers and nobody knows: the test above is about
/// something.
#[test]
fn without_looking_they_are_wrong() {
    let calibration = samples(2, 24);
    let (graph, c) = compiled(&network(Kind::Relu, 2), &calibration, false);
    let (x, times) = driven(&graph, &calibration, 1.0);
    let (outputs, outside) = private(&c, &x, &mut Random(3));
    let error = relative_error(&outputs, &FloatExecutor::new(&graph).run(&x).unwrap());
    assert!(times > 25.0 && error > 0.5, "{times} times, {error}");
    assert_eq!(outside, None);
}

#[test]
fn one_number_beyond_is_enough() {
    // Every number of the layer but one stays what it was: groups must not hide it.
    let mut g = GraphBuilder::new("one", &[1, 1, 512], -1.0..=1.0);
    let x = g.input();
    let x = g.conv2d("ten", x, ConvOptions::square(1, 1), vec![10.0], Some(vec![0.0]));
    let x = g.activation("relu", x, Function::elementary(Elementary::Relu));
    let x = g.flatten("flat", x);
    let x = g.linear("sum", x, 2, vec![0.01; 1024], Some(vec![0.0; 2]));
    let graph = g.finish(x).unwrap();
    let mut r = Random(5);
    let calibration: Vec<Vec<f32>> = (0..16).map(|_| r.reals(512, 0.01)).collect();
    let (_, c) = compiled(&graph, &calibration, true);
    let groups: Vec<usize> = c.report.watch.as_ref().unwrap().watched.iter().map(|w| w.group).collect();
    assert!(groups.iter().any(|&g| g >= 4), "{groups:?}");
    for place in [0, 1, 7, 8, 63, 255, 256, 510, 511] {
        for value in [0.9f32, -0.9] {
            let mut x = calibration[0].clone();
            assert_eq!(private(&c, &x, &mut r).1, Some(false));
            x[place] = value;
            assert_eq!(private(&c, &x, &mut r).1, Some(true), "{value} at {place}");
        }
    }
}

/// What is found at all values but the last becomes one number, and that as many as receivers need.
#[test]
fn a_value_that_no_later_layer_sees_is_told_of() {
    const LEN: usize = 64;
    let diagonal = |first: f32, weight: f32| {
        let at = move |i: usize| if i == 0 { first } else { weight };
        (0..LEN * LEN).map(|w| if w / LEN == w % LEN { at(w / LEN) } else { 0.0 }).collect::<Vec<f32>>()
    };
    let mut g = GraphBuilder::new("unseen", &[1, 1, LEN], -1.0..=1.0);
    let mut x = g.flatten("flat", g.input());
    // The second layer takes no notice of the first number.
    for (layer, weights) in [("one", diagonal(10.0, 10.0)), ("two", diagonal(0.0, 1.0))] {
        x = g.linear(layer, x, LEN, weights, Some(vec![0.0; LEN]));
        x = g.activation(&format!("{layer} relu"), x, Function::elementary(Elementary::Relu));
    }
    let x = g.linear("result", x, 2, vec![0.01; 2 * LEN], Some(vec![0.0; 2]));
    let graph = g.finish(x).unwrap();
    let mut r = Random(15);
    let calibration: Vec<Vec<f32>> = (0..16).map(|_| r.reals(LEN, 0.01)).collect();
    let (_, c) = compiled(&graph, &calibration, true);
    let numbers = c.plan.ops.iter().filter_map(|op| match &op.kind {
        OpKind::Outside(outside) => Some(outside.numbers),
        _ => None,
    });
    // One value, all but the last, the last.
    let numbers: Vec<u32> = numbers.collect();
    assert!(numbers[1] > 1 && numbers == [1, numbers[1], numbers[1]], "{numbers:?}: {}", c.report);
    for value in [0.5f32, -0.5, 0.9, -0.9] {
        let mut x = calibration[0].clone();
        for _ in 0..5 {
            assert_eq!(private(&c, &x, &mut r).1, Some(false));
        }
        x[0] = value;
        for _ in 0..5 {
            assert_eq!(private(&c, &x, &mut r).1, Some(true), "{value}");
        }
    }
}

/// Where windows of maxima overlap, numbers are looked at in place of their differences, and no
/// difference is outside while they are inside.
#[test]
fn numbers_looked_at_keep_their_differences_inside() {
    const SIDE: usize = 16;
    let mut g = GraphBuilder::new("overlapping", &[1, SIDE, SIDE], -1.0..=1.0);
    let x = g.input();
    let x = g.conv2d("numbers", x, ConvOptions::square(1, 1), vec![1.0], Some(vec![0.0]));
    let windows = PoolOptions { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 0, 0] };
    let x = g.max_pool("pool", x, windows);
    let x = g.flatten("flat", x);
    let x = g.linear("result", x, 2, vec![0.1; SIDE * SIDE / 2], Some(vec![0.001, -0.001]));
    let graph = g.finish(x).unwrap();
    let mut r = Random(21);
    let calibration: Vec<Vec<f32>> = (0..16).map(|_| r.reals(SIDE * SIDE, 0.01)).collect();
    let (graph, c) = compiled(&graph, &calibration, true);
    let watch = c.report.watch.as_ref().unwrap();
    let layers: Vec<&str> = watch.watched.iter().map(|w| w.layer.as_str()).collect();
    assert_eq!(layers, ["numbers"], "{}", c.report);
    assert!(watch.complete && watch.inside_anyway >= 4, "{}", c.report);
    let float = FloatExecutor::new(&graph);
    let mut seen = [0, 0];
    for step in 0..40 {
        // Two neighbours as far apart as numbers of a size can be, in the places of every comparison.
        let size = 0.004 * 1.15f32.powi(step);
        for (one, other) in [((7, 7), (7, 8)), ((7, 8), (7, 9)), ((7, 7), (8, 7)), ((8, 7), (9, 7))] {
            let mut x = calibration[step as usize % 16].clone();
            let sign = if step % 2 == 0 { size } else { -size };
            (x[one.0 * SIDE + one.1], x[other.0 * SIDE + other.1]) = (sign, -sign);
            let (outputs, outside) = private(&c, &x, &mut r);
            let error = relative_error(&outputs, &float.run(&x).unwrap());
            assert!(outside == Some(true) || error < 0.02, "{size}: {error}, {}", c.report);
            seen[usize::from(outside == Some(true))] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count >= 10), "{seen:?}");
}

/// Over slow networks numbers that are looked at have no more bits than squares leave room for; where
/// bytes cost little they are finer, and bits of each are dropped first.
#[test]
fn bytes_for_looking_are_saved_where_they_are_dear() {
    let dropped = |link: Link| {
        let graph = prepare(&network(Kind::Relu, 2)).unwrap().graph;
        let options = CompileOptions { watch: true, max_error: 0.01, link, ..CompileOptions::default() };
        let c = compile(&graph, &samples(6, 24), &options).unwrap();
        let first = |op: &&amicus_plan::Op| op.name.starts_with("inside") && op.name.ends_with(".size");
        c.plan.ops.iter().filter(first).count()
    };
    assert_eq!([NEAR, FAR].map(dropped), [2, 0]);
}

/// From twice the calibrated range with its margin on to its border nothing is sure, and from there on
/// all is told; well inside nothing is.
#[test]
fn numbers_at_the_border_are_told() {
    // Times the calibrated range at which the border of each is passed for sure: margins, rounded up to
    // what squares allow. A border whose square counts half would be passed at 1.4 times that.
    for (kind, border) in [(Kind::Relu, 2.5), (Kind::Silu, 4.4), (Kind::Square, 3.5)] {
        let (graph, c) = compiled(&network(kind, 1), &samples(4, 24), true);
        let mut told = 0;
        let mut r = Random(2);
        for step in 0..60 {
            let (x, times) = driven(&graph, &samples(4, 24), 0.02 + step as f32 / 200.0);
            let outside = private(&c, &x, &mut r).1 == Some(true);
            assert!(outside || times < border, "{kind:?}: {times} times, {}", c.report);
            assert!(!outside || times > 1.4, "{kind:?}: {times} times, {}", c.report);
            told += usize::from(outside);
        }
        assert!((10..60).contains(&told), "{told}");
    }
}

/// Outputs have finer units the smaller they are; what is found must fit beside them.
#[test]
fn tiny_outputs_leave_room_for_what_is_found() {
    let mut r = Random(9);
    for (kind, size) in
        [(Kind::Relu, 1e-2f32), (Kind::Relu, 1e-6), (Kind::Square, 1e-2), (Kind::Square, 1e-6)]
    {
        let mut g = GraphBuilder::new("tiny", &[1, 1, 64], -1.0..=1.0);
        let x = g.flatten("flat", g.input());
        let x = g.linear("first", x, 4, vec![0.25; 256], Some(vec![0.1; 4]));
        let x = match kind {
            Kind::Square => g.polynomial("square", x, 1.0, vec![0.1, 0.5, 0.2]),
            _ => g.activation("relu", x, Function::elementary(Elementary::Relu)),
        };
        let x = g.linear("result", x, 2, vec![size; 8], Some(vec![0.0; 2]));
        let graph = g.finish(x).unwrap();
        let calibration: Vec<Vec<f32>> = (0..16).map(|_| r.reals(64, 0.02)).collect();
        let (_, mut c) = compiled(&graph, &calibration, true);
        for round in 0..20 {
            // So it is beside outputs that are rounded further.
            if round == 10 {
                assert!(c.plan.round_outputs(4).unwrap_err().to_string().contains("needs 5"));
                c.plan.round_outputs(5).unwrap();
            }
            assert_eq!(private(&c, &calibration[3], &mut r).1, Some(false), "{kind:?}, {size}");
            let (_, outside) = private(&c, &[1.0; 64], &mut r);
            assert_eq!(outside, Some(true), "{kind:?}, {size}: {}", c.report);
        }
    }
}

/// Outputs that values inside cannot drive too far are not looked at: that would come last.
#[test]
fn outputs_are_looked_at_where_they_may_not_fit() {
    // Polynomials get numbers as long as fit, with no room for more, where the error asked for is tiny.
    for (max_error, looked_at) in [(0.01, false), (1e-12, true)] {
        let mut g = GraphBuilder::new("outputs", &[1, 1, WIDTH], -0.02..=0.02);
        let x = g.input();
        let x = match looked_at {
            true => g.polynomial("square", x, 1.0, vec![0.0, 1.0, 0.5]),
            false => g.activation("relu", x, Function::elementary(Elementary::Relu)),
        };
        let x = g.flatten("flat", x);
        // What is small in sum for random numbers, and may be large.
        let signs =
            (0..2 * WIDTH).map(|i| if (i % WIDTH / 3).is_multiple_of(2) { 1.0 } else { -1.0 }).collect();
        let x = g.linear("result", x, 2, signs, Some(vec![0.0; 2]));
        let graph = g.finish(x).unwrap();
        let mut r = Random(11);
        let calibration: Vec<Vec<f32>> = (0..16).map(|_| r.reals(WIDTH, 0.01)).collect();
        let options = CompileOptions { watch: true, max_error, ..CompileOptions::default() };
        let c = compile(&prepare(&graph).unwrap().graph, &calibration, &options).unwrap();
        let watch = c.report.watch.as_ref().unwrap();
        assert_eq!(watch.watched.iter().any(|w| w.layer == "output"), looked_at, "{}", c.report);
        let x: Vec<f32> = (0..WIDTH).map(|i| if (i / 3) % 2 == 0 { 0.02 } else { -0.02 }).collect();
        let (outputs, outside) = private(&c, &x, &mut r);
        let error = relative_error(&outputs, &FloatExecutor::new(&graph).run(&x).unwrap());
        assert!(outside == Some(true) || error < 0.02, "{error}: {}", c.report);
        assert!(!looked_at || outside == Some(true), "{}", c.report);
        assert_eq!(private(&c, &calibration[2], &mut r).1, Some(false));
    }
}

/// What is looked at must not tell of weights: bounds of a plan are those of another one of the same
/// ranges.
#[test]
fn what_is_looked_at_does_not_depend_on_weights() {
    let graph = |weight: f32| {
        let mut g = GraphBuilder::new("weights", &[1, 1, 64], 0.0..=1.0);
        let x = g.flatten("flat", g.input());
        // The first half is 0 in all samples: its weights change nothing that calibration sees.
        let row: Vec<f32> = (0..64).map(|i| if i < 32 { weight } else { 0.125 }).collect();
        let x = g.linear("one", x, 1, row, Some(vec![0.0]));
        let x = g.activation("relu", x, Function::elementary(Elementary::Relu));
        let x = g.linear("two", x, 1, vec![1.0], Some(vec![0.0]));
        g.finish(x).unwrap()
    };
    let calibration: Vec<Vec<f32>> = samples(1, 8)
        .iter()
        .map(|x| x[..64].iter().enumerate().map(|(i, v)| if i < 32 { 0.0 } else { *v }).collect())
        .collect();
    let plans = [0.0, 0.03, -0.08, 0.12, -0.125].map(|w| compiled(&graph(w), &calibration, true).1.plan);
    assert!(plans[0].output.watch > 0);
    assert!(plans.iter().all(|plan| *plan == plans[0]));
}

#[test]
fn looking_is_part_of_the_plan_and_of_its_digest() {
    let calibration = samples(2, 24);
    let (_, with) = compiled(&network(Kind::Relu, 1), &calibration, true);
    let (_, without) = compiled(&network(Kind::Relu, 1), &calibration, false);
    let Compiled { plan, factors, .. } = &with;
    let network = plan.network();
    assert_eq!(network.output.watch, 0);
    assert_eq!(network.ops[..], plan.ops[..plan.ops.len() - plan.output.watch as usize]);
    assert!(network.values().is_ok());
    assert_eq!(factors.len(), plan.ops.len() + 1);
    assert_ne!(plan.digest().unwrap(), without.plan.digest().unwrap());
    assert_eq!(Plan::decode(&plan.encode().unwrap()).unwrap(), *plan);
    // A plan that claims to look and does not is none.
    let mut claims = without.plan.clone();
    claims.output.watch = 1;
    assert!(claims.values().is_err());
    let mut all = plan.clone();
    all.output.watch = plan.ops.len() as u32;
    assert!(all.values().is_err());
    assert!(plan.ops.iter().any(|op| matches!(op.kind, OpKind::Compare(_))));
}
