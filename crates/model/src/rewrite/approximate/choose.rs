//! Choosing method, margin and degree by what the network answers.
//!
//! How close a polynomial is to its activation says little about the answers: a fit of small
//! largest error may be worse where values lie. So whole networks are compared. Polynomials are
//! fitted on every other calibration sample, and on the samples between, which no fit has seen, the
//! network's answers are compared with those of the network as imported: first how many keep their
//! class, among equals the median error of the outputs. All methods and margins are tried with the
//! usual degree, then other degrees with the best of them. The lowest degree that is about as good
//! as the best one is taken: [`CLASSES_GIVEN_UP`] and [`ERROR_GIVEN_UP`] say what "about" means.

use rayon::prelude::*;

use super::{ApproximateOptions, Recipe, Trial, replace};
use crate::compare::tells_classes;
use crate::error::ModelError;
use crate::fit::Method;
use crate::float::FloatExecutor;
use crate::graph::{Graph, Layer};
use crate::measure::{argmax, median, relative_error};

/// Taken where nothing can be compared.
const USUAL: Recipe = Recipe { method: Method::LeastSquares, margin: 1.2, degree: 4 };
/// Margins tried.
const MARGINS: [f64; 3] = [1.0, 1.2, 1.5];
/// Degrees tried, beside the usual one; higher ones take more limbs than they bring.
const OTHER_DEGREES: [usize; 2] = [2, 6];
/// A lower degree may change the class of one more sample in so many.
const CLASSES_GIVEN_UP: usize = 100;
/// Where outputs are no classes, a lower degree may have an error this many times as large.
const ERROR_GIVEN_UP: f64 = 2.0;
/// Samples fitted on, and as many compared, at most.
const SAMPLES: usize = 128;
/// Samples fitted on, and as many compared, at least: with fewer a comparison is luck.
const LEAST_SAMPLES: usize = 4;
/// Multiply-adds that all trials together may cost: some ten seconds.
const AFFORDABLE: u64 = 100_000_000_000;
/// Trials there may be.
const MOST_TRIALS: u64 = 12;

/// The recipe to use, and the trials it comes from.
pub(super) fn recipe(
    graph: &Graph,
    samples: &[Vec<f32>],
    options: &ApproximateOptions,
) -> Result<(Recipe, Vec<Trial>), ModelError> {
    let usual = Recipe {
        method: options.method.unwrap_or(USUAL.method),
        margin: options.margin.unwrap_or(USUAL.margin),
        degree: options.degree.unwrap_or(USUAL.degree),
    };
    let replaced =
        graph.nodes().iter().any(|n| matches!(n.layer, Layer::Activation(_)) && !options.keeps(&n.layer));
    let open = options.method.is_none() || options.margin.is_none() || options.degree.is_none();
    if !replaced || !open {
        return Ok((usual, Vec::new()));
    }
    let Some(mut bench) = Bench::new(graph, samples, usual.margin, options)? else {
        return Ok((usual, Vec::new()));
    };
    let methods = options.method.map_or_else(|| Method::ALL.to_vec(), |m| vec![m]);
    let margins = options.margin.map_or_else(|| MARGINS.to_vec(), |m| vec![m]);
    for &margin in &margins {
        for &method in &methods {
            bench.attempt(Recipe { method, margin, degree: usual.degree })?;
        }
    }
    if options.degree.is_none() {
        let best = bench.best();
        for degree in OTHER_DEGREES {
            bench.attempt(Recipe { degree, ..best })?;
        }
    }
    let taken = bench.cheapest();
    bench.trials[taken].taken = true;
    Ok((bench.trials[taken].recipe, bench.trials))
}

/// Trials of one network.
struct Bench<'a> {
    graph: &'a Graph,
    fitted: Vec<Vec<f32>>,
    compared: Vec<Vec<f32>>,
    /// What the network as imported answers to those compared.
    expected: Vec<Vec<f64>>,
    classes: bool,
    written: f64,
    options: &'a ApproximateOptions,
    trials: Vec<Trial>,
}

impl<'a> Bench<'a> {
    /// `None` when the samples are too few, or the network too large for that many.
    fn new(
        graph: &'a Graph,
        samples: &[Vec<f32>],
        written: f64,
        options: &'a ApproximateOptions,
    ) -> Result<Option<Self>, ModelError> {
        let each = 2 * MOST_TRIALS * graph.multiply_adds().max(1);
        let affordable = usize::try_from(AFFORDABLE / each).unwrap_or(usize::MAX);
        let count = (samples.len() / 2).min(SAMPLES).min(affordable);
        if count < LEAST_SAMPLES {
            return Ok(None);
        }
        // Pairs spread over all samples, which may come sorted by class: one to fit on, one to
        // compare.
        let pairs = samples.len() / 2;
        let pick = |which: usize| -> Vec<Vec<f32>> {
            (0..count).map(|i| samples[2 * (i * pairs / count) + which].clone()).collect()
        };
        let (fitted, compared) = (pick(0), pick(1));
        let float = FloatExecutor::new(graph);
        let expected = compared.par_iter().map(|x| float.run(x)).collect::<Result<_, _>>()?;
        let classes = tells_classes(graph);
        let trials = Vec::new();
        Ok(Some(Bench { graph, fitted, compared, expected, classes, written, options, trials }))
    }

    fn attempt(&mut self, recipe: Recipe) -> Result<(), ModelError> {
        let keeps = |layer: &Layer| self.options.keeps(layer);
        let graph = replace(self.graph, &self.fitted, &recipe, (self.written, &[]), None, &keeps)?.graph;
        let float = FloatExecutor::new(&graph);
        let answers = self.compared.par_iter().map(|x| float.run(x)).collect::<Result<Vec<_>, _>>()?;
        let pairs = || answers.iter().zip(&self.expected);
        let errors: Vec<f64> = pairs().map(|(a, e)| relative_error(a, e)).collect();
        let same = pairs().filter(|(a, e)| argmax(a) == argmax(e)).count();
        self.trials.push(Trial {
            recipe,
            samples: answers.len(),
            same_class: self.classes.then_some(same),
            error: median(&errors),
            taken: false,
        });
        Ok(())
    }

    /// The recipe of the best trial so far.
    fn best(&self) -> Recipe {
        self.trials.iter().min_by(|a, b| order(a, b)).map_or(USUAL, |t| t.recipe)
    }

    /// The trial of the lowest degree that is about as good as the best one.
    fn cheapest(&self) -> usize {
        let Some(best) = self.trials.iter().min_by(|a, b| order(a, b)) else { return 0 };
        let about = |t: &Trial| match (t.same_class, best.same_class) {
            (Some(same), Some(most)) => same + t.samples / CLASSES_GIVEN_UP >= most,
            _ => t.error <= ERROR_GIVEN_UP * best.error,
        };
        let good = self.trials.iter().enumerate().filter(|(_, t)| about(t));
        let cheapest = good.min_by(|(_, a), (_, b)| a.recipe.degree.cmp(&b.recipe.degree).then(order(a, b)));
        cheapest.map_or(0, |(at, _)| at)
    }
}

/// Samples that a network can be fitted on.
pub(super) fn affordable(graph: &Graph) -> usize {
    let each = MOST_TRIALS * graph.multiply_adds().max(1);
    usize::try_from(AFFORDABLE / each).unwrap_or(usize::MAX).clamp(LEAST_SAMPLES, SAMPLES)
}

/// Better trials first.
fn order(a: &Trial, b: &Trial) -> std::cmp::Ordering {
    b.same_class.cmp(&a.same_class).then(a.error.total_cmp(&b.error))
}
