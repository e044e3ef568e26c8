//! The plan is public, so it must not tell of weights more than `docs/security.md` says; and values
//! outside what a plan was made for are counted.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_field::Limbs;
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::escapes::escapes;
use amicus_model::scales::ForcedScales;
use amicus_model::{CompileOptions, Compiled, Graph, GraphBuilder, compile};
use amicus_plan::{OpKind, Plan, WrapRule};
use common::Random;

const PIXELS: usize = 36;
/// Pixels that are dark in all calibration samples.
const DARK: usize = 12;
const HIDDEN: usize = 20;

/// Two activations; what reaches a dark pixel is multiplied by `dark`. All other weights are the
/// same for a seed.
fn network(seed: u64, dark: f32, recorded: Option<f64>) -> Graph {
    let mut r = Random(seed);
    let mut g = GraphBuilder::new("net", &[PIXELS], 0.0..=1.0);
    let mut first = r.reals(HIDDEN * PIXELS, 0.5);
    for row in first.chunks_mut(PIXELS) {
        row[..DARK].iter_mut().for_each(|w| *w = dark * (0.5 + w.abs()));
    }
    let input = g.input();
    let bias = r.reals(HIDDEN, 0.2);
    let fc1 = g.linear("fc1", input, HIDDEN, first, Some(bias));
    let act1 = g.polynomial("act1", fc1, 4.0, vec![0.3, 1.0, 0.8, 0.0, -0.2]);
    let fc2 = g.linear("fc2", act1, HIDDEN, r.reals(HIDDEN * HIDDEN, 0.3), None);
    let act2 = g.polynomial("act2", fc2, 4.0, vec![0.3, 1.0, 0.8]);
    let fc3 = g.linear("fc3", act2, 4, r.reals(4 * HIDDEN, 0.4), None);
    if let Some(largest) = recorded {
        // Scales of an argument in units of its interval, and of the result.
        g.record(act1, largest);
        g.record(act2, largest);
        g.record(fc3, 4.0 * largest);
    }
    g.finish(fc3).unwrap()
}

fn samples(count: usize) -> Vec<Vec<f32>> {
    let mut r = Random(77);
    let sample = |_| {
        let mut x = vec![0.0; DARK];
        x.extend((DARK..PIXELS).map(|_| r.real().abs() as f32));
        x
    };
    (0..count).map(sample).collect()
}

fn bounds(plan: &Plan) -> Vec<(u32, WrapRule)> {
    let of = |op: &OpKind| match op {
        OpKind::Activation(a) => Some((a.ell, a.wrap)),
        _ => None,
    };
    let activations = plan.ops.iter().filter_map(|op| of(&op.kind));
    activations.chain([(plan.output.ell, WrapRule::Exact)]).collect()
}

#[test]
fn weights_that_calibration_does_not_see_leave_the_plan_alone() {
    for statistical in [true, false] {
        for limbs in [None, Some(Limbs::ONE), Some(Limbs::TWO), Some(Limbs::THREE)] {
            let options = CompileOptions { limbs, statistical, ..CompileOptions::default() };
            let plans: Vec<Plan> = [0.1f32, 0.5, 1.0, 2.0, 4.0, 7.0, 10.0]
                .iter()
                .map(|&dark| compile(&network(5, dark, None), &samples(16), &options).unwrap())
                .inspect(|c| assert!(c.report.proofs.iter().all(|p| p.seen > 0.0)))
                .map(|c| c.plan)
                .collect();
            assert!(plans.iter().all(|p| p.digest().unwrap() == plans[0].digest().unwrap()), "{limbs:?}");
        }
    }
    // What an input can cause does differ: the owner's report says so, the plan does not.
    let worst = |dark| {
        let compiled = compile(&network(5, dark, None), &samples(16), &CompileOptions::default()).unwrap();
        compiled.report.proofs[0].from_input_range
    };
    assert!(worst(10.0) > 10.0 * worst(0.1));
}

#[test]
fn equal_calibrated_ranges_give_equal_bounds_whatever_the_weights() {
    for statistical in [true, false] {
        for limbs in [Limbs::TWO, Limbs::THREE] {
            let scales = ForcedScales {
                input: Some(10),
                argument: Some(9),
                coefficients: Some(12),
                weights: Some(12),
                ..ForcedScales::default()
            };
            // Any error meets the target, so that no units of arguments are looked for: they are
            // scales too.
            let max_error = 1e9;
            let options = CompileOptions {
                limbs: Some(limbs),
                statistical,
                scales,
                max_error,
                ..CompileOptions::default()
            };
            let found: Vec<Vec<(u32, WrapRule)>> = (0..8)
                .map(|seed| {
                    let graph = network(seed, 0.1 + seed as f32, Some(20.0));
                    let Compiled { plan, report, .. } = compile(&graph, &samples(8), &options).unwrap();
                    // The recorded range is the larger one, so calibrated ranges are equal.
                    assert!((report.proofs[0].seen - 20.0).abs() < 1e-9, "{}", report.proofs[0].seen);
                    bounds(&plan)
                })
                .collect();
            assert!(found.iter().all(|b| *b == found[0]), "{statistical} {limbs:?}: {found:?}");
            let largest = 52 * limbs.count() as u32 - 3;
            for (ell, wrap) in &found[0] {
                assert!(
                    *wrap == WrapRule::Statistical || *ell == largest,
                    "exact bounds are the largest: {found:?}"
                );
            }
        }
    }
}

#[test]
fn values_behind_a_layer_are_counted_although_inputs_are_in_range() {
    let graph = network(5, 9.0, None);
    let calibration = samples(16);
    let Compiled { plan, weights, factors, .. } =
        compile(&graph, &calibration, &CompileOptions::default()).unwrap();
    let fixed = Some(FixedPoint { plan: &plan, weights: &weights, factors: &factors });
    let networks = Networks { original: &graph, polynomial: &graph, fixed };
    let quiet = compare(networks, &calibration, None, &mut |_| ()).unwrap().escapes.unwrap();
    assert!(quiet.layers.is_empty() && quiet.meaning().is_empty() && quiet.samples == 16, "{quiet:?}");
    // Bright where all calibration samples are dark.
    let mut bright = calibration.clone();
    bright[3][..DARK].fill(1.0);
    let found = compare(networks, &bright, None, &mut |_| ()).unwrap();
    let escapes_found = found.escapes.unwrap();
    assert_eq!(escapes_found, escapes(&plan, &factors, &graph, &bright).unwrap());
    assert_eq!((escapes_found.samples, escapes_found.outside_interval.as_slice()), (16, &[3][..]));
    let act1 = &escapes_found.layers[0];
    assert_eq!((act1.layer.as_str(), act1.values, act1.samples), ("act1", 16 * HIDDEN as u64, 1));
    assert!(act1.outside_interval >= 15 && act1.largest.unwrap() > 10.0, "{act1:?}");
    assert_eq!(escapes_found.wrapped, [3]);
    let said = escapes_found.meaning().join("\n");
    for part in ["act1: of 320 values", "times its end", "1 of 16 sample (number 3)", "mean nothing"] {
        assert!(said.contains(part), "{said}");
    }
    // And that is right: the answer is wrong by far more than any other.
    let error = found.total.unwrap().relative_error;
    assert!(error.max > 0.5 && error.median < 0.05, "{error:?}");
}

#[test]
fn small_outputs_small_inputs_and_uneven_channels_keep_their_precision() {
    let mut r = Random(9);
    for (inputs, outputs) in
        [(1.0f32, 1e-8f32), (1.0, 1e-3), (0.01, 1.0), (0.01, 1e-6), (1.0, 1e6), (200.0, 1.0)]
    {
        let mut g = GraphBuilder::new("small", &[PIXELS], 0.0..=f64::from(inputs));
        let input = g.input();
        let fc1 = g.linear("fc1", input, HIDDEN, r.reals(HIDDEN * PIXELS, f64::from(0.3 / inputs)), None);
        let act = g.polynomial("act", fc1, 6.0, vec![0.3, 1.0, 0.8]);
        let fc2 = g.linear("fc2", act, 4, r.reals(4 * HIDDEN, f64::from(outputs)), None);
        let graph = g.finish(fc2).unwrap();
        let scaled: Vec<Vec<f32>> =
            samples(12).iter().map(|x| x.iter().map(|v| v * inputs).collect()).collect();
        let Compiled { plan, weights, factors, report } =
            compile(&graph, &scaled, &CompileOptions::default()).unwrap();
        assert!(report.meets_target(), "{inputs} {outputs}: {report}");
        let fixed = Some(FixedPoint { plan: &plan, weights: &weights, factors: &factors });
        let networks = Networks { original: &graph, polynomial: &graph, fixed };
        let total = compare(networks, &scaled, None, &mut |_| ()).unwrap().total.unwrap();
        assert!(total.relative_error.max < 0.02, "{inputs} {outputs}: {total:?}");
    }
}

#[test]
fn an_activation_may_come_first() {
    for size in [0.01f32, 1.0, 3.0] {
        let mut r = Random(4);
        let mut g = GraphBuilder::new("first", &[PIXELS], 0.0..=f64::from(size));
        let input = g.input();
        let act = g.polynomial("act", input, f64::from(size), vec![0.1, 0.5, 0.4]);
        let fc = g.linear("fc", act, 3, r.reals(3 * PIXELS, 0.5), None);
        let graph = g.finish(fc).unwrap();
        let scaled: Vec<Vec<f32>> =
            samples(12).iter().map(|x| x.iter().map(|v| v * size).collect()).collect();
        let compiled = compile(&graph, &scaled, &CompileOptions::default()).unwrap();
        assert!(compiled.report.meets_target(), "{size}: {}", compiled.report);
    }
}
