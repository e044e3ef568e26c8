//! The fit that is taken by default, on a ReLU network trained on digits: what it answers against
//! what the network answers.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::Path;

use amicus_data::mnist;
use amicus_model::approximate::{ApproximateOptions, approximate};
use amicus_model::fit::Method;
use amicus_model::function::{Elementary, Function};
use amicus_model::graph::Layer;
use amicus_model::networks::PixelRule;
use amicus_model::{FloatExecutor, Graph, GraphBuilder, argmax, networks};

fn asset(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/assets").join(name)).unwrap()
}

fn digits() -> Vec<Vec<f32>> {
    let [images, labels] = ["digits-images.idx3-ubyte", "digits-labels.idx1-ubyte"].map(asset);
    let digits = mnist::parse(("images", &images), ("labels", &labels)).unwrap();
    (0..digits.len()).map(|i| digits.input(i, PixelRule::Unit)).collect()
}

/// Answers of the same class as the network's, on digits that were not used for the fit.
fn same(network: &Graph, polynomial: &Graph, digits: &[Vec<f32>]) -> usize {
    let class = |graph: &Graph, x: &[f32]| argmax(&FloatExecutor::new(graph).run(x).unwrap());
    digits.iter().filter(|x| class(network, x) == class(polynomial, x)).count()
}

#[test]
fn the_default_answers_about_as_the_best_method_does() {
    let digits = digits();
    let (calibration, held_out) = digits.split_at(150);
    let relu = networks::read(&asset("lenet5-mnist-teacher.safetensors")).unwrap().graph;
    for function in ["relu", "silu", "gelu"] {
        let other = |layer: &Layer| match layer {
            Layer::Activation(_) => Layer::Activation(named(function)),
            layer => layer.clone(),
        };
        let network = relu.with_layers(|_, node| other(&node.layer));
        let by = |options: &ApproximateOptions| {
            let found = approximate(&network, calibration, options).unwrap();
            (same(&network, &found.graph, held_out), found)
        };
        let (default, found) = by(&ApproximateOptions::default());
        let taken: Vec<_> = found.trials.iter().filter(|t| t.taken).collect();
        assert_eq!(taken.len(), 1, "{:?}", found.trials);
        let most = found.trials.iter().filter_map(|t| t.same_class).max().unwrap();
        assert!(taken[0].same_class.unwrap() >= most, "{:?}", found.trials);
        let mut best = 0;
        for method in Method::ALL {
            let (degree, margin) = (Some(4), Some(1.2));
            let (count, _) =
                by(&ApproximateOptions { method: Some(method), degree, margin, ..Default::default() });
            println!("{function}, {method}: {count} of {}", held_out.len());
            best = best.max(count);
        }
        println!("{function}, default {:?}: {default} of {}", taken[0].recipe, held_out.len());
        assert!(default + 2 >= best, "{function}: {default} by default, {best} by the best method");
    }
}

fn named(function: &str) -> Function {
    let x = Function::identity;
    match function {
        "relu" => Function::elementary(Elementary::Relu),
        "silu" => x().then(Elementary::Sigmoid).unwrap().times(x()).unwrap(),
        _ => {
            let scaled = x().then_polynomial(&[0.0, std::f64::consts::FRAC_1_SQRT_2]).unwrap();
            let erf = scaled.then(Elementary::Erf).unwrap().then_polynomial(&[0.5, 0.5]).unwrap();
            erf.times(x()).unwrap()
        }
    }
}

#[test]
fn what_the_caller_fixes_is_not_chosen() {
    let digits = digits();
    let relu = networks::read(&asset("lenet5-mnist-teacher.safetensors")).unwrap().graph;
    let options = ApproximateOptions { degree: Some(2), margin: Some(1.1), ..Default::default() };
    let found = approximate(&relu, &digits[..40], &options).unwrap();
    assert_eq!(found.trials.len(), 3);
    assert!(found.trials.iter().all(|t| t.recipe.degree == 2 && t.recipe.margin == 1.1 && t.samples == 20));
    for a in &found.approximations {
        assert!(a.coefficients.len() <= 3 && (a.interval / a.seen - 1.1).abs() < 1e-9);
    }
    let all = ApproximateOptions { method: Some(Method::Minimax), ..options };
    assert!(approximate(&relu, &digits[..40], &all).unwrap().trials.is_empty());
    // Too few to compare.
    assert!(approximate(&relu, &digits[..7], &ApproximateOptions::default()).unwrap().trials.is_empty());
}

/// A gate that is open by nearly the same for all inputs, and what is left of it is small: how far a
/// spline is off at this one place decides, and a finer one can be off further.
#[test]
fn finer_splines_are_tried_though_one_of_them_is_worse() {
    let calibration: Vec<Vec<f32>> =
        (0..12).map(|i| vec![(i as f32 - 5.5) / 6.0, (i * 5 % 12) as f32 / 12.0]).collect();
    for place in 0..16 {
        let centre = (f64::from(place) - 7.7) / 4.0;
        let mut g = GraphBuilder::new("gate", &[2], -1.0..=1.0);
        let x = g.input();
        let z = g.linear("z", x, 2, vec![3.0, 0.0, 0.0, 0.02], Some(vec![0.0, centre as f32]));
        let gate = g.activation("gate", z, Function::elementary(Elementary::Sigmoid));
        let open = Elementary::Sigmoid.at(centre);
        let y = g.linear("y", gate, 1, vec![0.0, 1.0], Some(vec![(-0.9 * open) as f32]));
        let network = g.finish(y).unwrap();
        let found = approximate(&network, &calibration, &ApproximateOptions::exact()).unwrap();
        let error = |x: &Vec<f32>| {
            let [exact, spline] = [&network, &found.graph].map(|g| FloatExecutor::new(g).run(x).unwrap()[0]);
            ((spline - exact) / exact).abs()
        };
        let mut errors: Vec<f64> = calibration.iter().map(error).collect();
        errors.sort_by(f64::total_cmp);
        println!("{centre:.3}: {:.6}", errors[6]);
        assert!(errors[6] < 0.3 * ApproximateOptions::exact().max_error, "{centre}: {errors:?}");
    }
}
