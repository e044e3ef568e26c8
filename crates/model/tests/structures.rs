//! Networks whose structure asks for more than layer after layer: compiled, written and read back.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_model::amc::{About, ModelFile};
use amicus_model::approximate::{ApproximateOptions, approximate};
use amicus_model::check::check;
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::function::{Elementary, Function};
use amicus_model::graph::{ConvOptions, Graph, GraphBuilder, PoolOptions};
use amicus_model::prepare::prepare;
use amicus_model::quality::{Quality, Targets};
use amicus_model::{CompileOptions, FloatExecutor, compile};

#[test]
fn parts_that_are_not_opened_join_and_small_inputs_meet_an_activation() {
    let mut r = common::Random(4);
    let mut graphs = Vec::new();
    // A convolution without an activation, the input, and means over windows of fewer numbers at
    // the border.
    let mut g = GraphBuilder::new("join", &[2, 6, 6], -1.0..=1.0);
    let input = g.input();
    let linear = g.conv2d("linear", input, ConvOptions::square(2, 3).padding(1), r.reals(36, 0.4), None);
    let pool = PoolOptions::square(3).stride(1).padding(1);
    let sums = g.sum_pool("sums", linear, pool);
    let edge = |n: usize| (0..n).map(|i| if i == 0 || i + 1 == n { 3 } else { 2 }).collect::<Vec<u32>>();
    let means = g.weigh("means", sums, edge(6), edge(6), 36.0);
    let joined = g.concat("joined", &[linear, input, means]);
    let x = g.conv2d("behind", joined, ConvOptions::square(3, 3), r.reals(162, 0.3), None);
    let x = g.flatten("flat", x);
    graphs.push((g.finish(x).unwrap(), 1.0));
    // DenseNet's way: BatchNorm behind joined parts, one of which is read elsewhere too.
    let mut g = GraphBuilder::new("dense", &[2, 6, 6], -1.0..=1.0);
    let input = g.input();
    let a = g.conv2d("a", input, ConvOptions::square(2, 3).padding(1), r.reals(36, 0.4), None);
    let b = g.conv2d("b", a, ConvOptions::square(2, 3).padding(1), r.reals(36, 0.4), None);
    let joined = g.concat("joined", &[a, b]);
    let scale = [0.5, 1.5, 0.8, 1.2].into_iter().collect();
    let norm = g.affine("norm", joined, scale, [0.1, -0.2, 0.3, 0.0].into_iter().collect());
    let c = g.conv2d("c", norm, ConvOptions::square(2, 3).padding(1), r.reals(72, 0.3), None);
    let x = g.add("sum", c, a);
    let x = g.flatten("flat", x);
    graphs.push((g.finish(x).unwrap(), 1.0));
    // An activation of the input itself, also where it is pooled first; with small and large
    // numbers.
    for (size, pooled) in [(0.01, false), (0.01, true), (1e-4, false), (300.0, true), (1.0, false)] {
        let mut g = GraphBuilder::new("first", &[1, 4, 4], 0.0..=size);
        let input = g.input();
        let x = if pooled { g.average_pool("means", input, PoolOptions::square(2)) } else { input };
        let slope = Elementary::LeakyRelu { alpha: 0.2 };
        let x = g.activation("act", x, Function::elementary(slope));
        let x = g.flatten("flat", x);
        let inputs = if pooled { 4 } else { 16 };
        // Logits of ordinary size.
        let x = g.linear("fc", x, 3, r.reals(3 * inputs, 0.5 / size.min(1.0)), None);
        graphs.push((g.finish(x).unwrap(), size));
    }
    let folder = tempfile::tempdir().unwrap();
    for (graph, size) in graphs {
        let count = graph.nodes()[0].len();
        let samples: Vec<Vec<f32>> =
            (0..8).map(|_| r.reals(count, size).into_iter().map(f32::abs).collect()).collect();
        assert!(check(&graph).problems.is_empty(), "{}", graph.name());
        let prepared = prepare(&graph).unwrap().graph;
        for x in &samples {
            let run = |g: &Graph| FloatExecutor::new(g).run(x).unwrap();
            assert!(amicus_model::relative_error(&run(&prepared), &run(&graph)) < 1e-6, "{}", graph.name());
        }
        let approximated = approximate(&prepared, &samples, &ApproximateOptions::default()).unwrap();
        let compiled = compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
        assert!(compiled.report.meets_target(), "{} {size}: {}", graph.name(), compiled.report);
        assert!(compiled.report.simulated.median < 0.01, "{} {size}: {}", graph.name(), compiled.report);
        let parts =
            FixedPoint { plan: &compiled.plan, weights: &compiled.weights, factors: &compiled.factors };
        let networks = Networks { original: &prepared, polynomial: &approximated.graph, fixed: Some(parts) };
        let comparison = compare(networks, &samples, None, &mut |_| ()).unwrap();
        let targets = Targets { fixed_point: CompileOptions::default().max_error, total: None };
        let file = ModelFile {
            quality: Quality::of(&comparison, &compiled.report, targets),
            plan: compiled.plan,
            weights: compiled.weights,
            factors: compiled.factors,
            original: prepared,
            approximations: approximated.approximations,
            about: About::default(),
        };
        let path = folder.path().join("m.amc");
        file.save(&path, amicus_model::private_file::Existing::Replace).unwrap();
        ModelFile::load(&path).unwrap();
    }
}
