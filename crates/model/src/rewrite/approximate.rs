//! Polynomials, or splines of quadratic pieces, for everything that is none.
//!
//! Where it stands: between an imported graph and [`mod@crate::compile`]. Node by node, on
//! calibration samples and with all earlier replacements already in place, it looks at what an
//! activation is fed, takes the largest number seen times a margin as the interval, and fits a
//! polynomial. Method, margin and degree that the caller leaves open are chosen by what the network
//! then answers (module `choose`). Where activations are computed by comparisons, smooth ones become
//! splines with tails (module `spline`), of as many pieces as the error allowed takes. Polynomials that the file wrote out itself only get the interval
//! they are used on. Max pooling becomes average pooling where asked.

mod choose;
mod spline;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::fit::{DEGREES, Distribution, Fit, Method, fit_by};
use crate::float::{self, FloatExecutor, horner};
use crate::function::Function;
use crate::graph::{Graph, Layer, Node, NodeId};
use crate::measure::{median, relative_error};
use crate::pieces::Pieces;

/// Coefficients below this share of the largest are rounding errors.
const NEGLIGIBLE: f64 = 1e-9;
/// Intervals of polynomials that the file wrote out are the largest number seen times this, unless
/// told otherwise: they are exact outside too, so a wide one costs little.
const WRITTEN_MARGIN: f64 = 1.2;

/// Ranges of splines are the largest number seen times this, unless told otherwise: their tails hold
/// beyond.
const SPLINE_MARGIN: f64 = 1.5;
/// The share of the error allowed that splines may take of the outputs, and that each may take of
/// its own first.
const SPLINE_SHARE: f64 = 0.3;
const FIRST_SHARE: f64 = 0.6;
/// How often finer splines are tried, and samples they are compared on.
const MOST_TRIES: usize = 6;
const COMPARED: usize = 8;

/// What becomes of max pooling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxPooling {
    /// It is refused by name.
    #[default]
    Refuse,
    /// Means over the same windows.
    Average,
    /// It is computed as it is, by comparisons.
    Exact,
}

/// What becomes of activations in pieces (ReLU and the like).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Polynomials stand for them.
    #[default]
    Polynomial,
    /// They are computed as they are, by comparisons; smooth ones as splines.
    Exact,
}

/// What the caller decides; the rest is chosen.
#[derive(Clone, Debug)]
pub struct ApproximateOptions {
    /// Largest median relative error of the outputs that splines may bring.
    pub max_error: f64,
    /// Degree of the polynomials, 2 to 8.
    pub degree: Option<usize>,
    /// Intervals are the largest number seen times this, at least 1.
    pub margin: Option<f64>,
    /// How polynomials are fitted.
    pub method: Option<Method>,
    /// What becomes of max pooling.
    pub max_pooling: MaxPooling,
    /// What becomes of activations in pieces.
    pub activations: Activations,
    /// Whether polynomials of the file end in straight lines outside their intervals, by
    /// comparisons: then no number grows as its sixth power.
    pub tails: bool,
}

impl Default for ApproximateOptions {
    fn default() -> Self {
        ApproximateOptions {
            max_error: 0.005,
            degree: None,
            margin: None,
            method: None,
            max_pooling: MaxPooling::default(),
            activations: Activations::default(),
            tails: false,
        }
    }
}

impl ApproximateOptions {
    /// Whether a smooth activation becomes a spline: unless a polynomial is asked for.
    fn splines(&self) -> bool {
        self.activations == Activations::Exact && self.degree.is_none() && self.method.is_none()
    }

    /// Whether a polynomial of the file becomes a spline that ends in lines.
    fn ends(&self, layer: &Layer) -> bool {
        self.tails && matches!(layer, Layer::Polynomial { coefficients, .. } if coefficients.len() > 2)
    }

    /// Activations in pieces and maxima as they are; splines stand for what is left.
    pub fn exact() -> Self {
        ApproximateOptions {
            max_pooling: MaxPooling::Exact,
            activations: Activations::Exact,
            ..ApproximateOptions::default()
        }
    }

    /// Whether a layer stays what it is.
    fn keeps(&self, layer: &Layer) -> bool {
        match layer {
            Layer::Activation(function) => {
                self.activations == Activations::Exact && function.pieces().is_some()
            }
            Layer::MaxPool(_) => self.max_pooling == MaxPooling::Exact,
            _ => false,
        }
    }
}

/// How all activations of a network are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// How polynomials are fitted.
    pub method: Method,
    /// Intervals are the largest number seen times this.
    pub margin: f64,
    /// Degree of the polynomials.
    pub degree: usize,
}

/// What a network with polynomials by one recipe answers on samples that were not used for the fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The recipe.
    pub recipe: Recipe,
    /// Samples answered.
    pub samples: usize,
    /// Those of the same class as the network as imported; `None` where outputs are no classes.
    pub same_class: Option<usize>,
    /// Median relative error of the outputs.
    pub error: f64,
    /// Whether this one was taken.
    pub taken: bool,
}

/// A polynomial that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// How it was found.
    pub method: Method,
    /// Largest error on the interval.
    pub max_error: f64,
    /// Root mean square error under the calibrated distribution.
    pub weighted_error: f64,
}

/// One activation and the polynomial that stands for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approximation {
    /// The node.
    pub node: String,
    /// What it computed before.
    pub function: String,
    /// Largest absolute number it was fed on calibration data.
    pub seen: f64,
    /// Half-width `B` of the interval.
    pub interval: f64,
    /// `a_0 .. a_d` of `u = t / B`.
    pub coefficients: Vec<f64>,
    /// The method picked; `None` for a polynomial of the file, which stays what it is.
    pub picked: Option<Method>,
    /// All that were tried.
    pub candidates: Vec<Candidate>,
    /// The spline that stands for it, if it is no polynomial.
    pub pieces: Option<Pieces>,
}

/// A graph of polynomials.
#[derive(Clone, Debug)]
pub struct Approximated {
    /// The graph to compile.
    pub graph: Graph,
    /// Its polynomials, in order.
    pub approximations: Vec<Approximation>,
    /// What its author should know: functions and pools that were replaced.
    pub warnings: Vec<String>,
    /// The recipes that were tried, in order; none when there was nothing to choose.
    pub trials: Vec<Trial>,
}

/// Replaces what is no polynomial; `samples` are calibration inputs in the graph's own numbers.
///
/// # Errors
/// Options out of range, no samples or ones of the wrong size, values that are not finite, max
/// pooling without leave: each names its node or sample.
pub fn approximate(
    graph: &Graph,
    samples: &[Vec<f32>],
    options: &ApproximateOptions,
) -> Result<Approximated, ModelError> {
    check(graph, samples, options)?;
    if options.splines() {
        return by_splines(graph, samples, options);
    }
    let (recipe, trials) = choose::recipe(graph, samples, options)?;
    let written = options.margin.unwrap_or(WRITTEN_MARGIN);
    let keeps = |layer: &Layer| options.keeps(layer);
    Ok(Approximated { trials, ..replace(graph, samples, &recipe, (written, &Method::ALL), None, &keeps)? })
}

/// Splines for smooth activations: as coarse as the error of the outputs allows.
fn by_splines(
    graph: &Graph,
    samples: &[Vec<f32>],
    options: &ApproximateOptions,
) -> Result<Approximated, ModelError> {
    let recipe =
        Recipe { method: Method::LeastSquares, margin: options.margin.unwrap_or(SPLINE_MARGIN), degree: 2 };
    let written = options.margin.unwrap_or(WRITTEN_MARGIN);
    let keeps = |layer: &Layer| options.keeps(layer);
    let fitted = &samples[..samples.len().min(choose::affordable(graph))];
    let becomes = |l: &Layer| (matches!(l, Layer::Activation(_)) && !keeps(l)) || options.ends(l);
    let replaced = graph.nodes().iter().any(|n| becomes(&n.layer));
    let mut share = options.max_error * FIRST_SHARE;
    let mut best: Option<(f64, Approximated)> = None;
    for _ in 0..MOST_TRIES {
        let splines = Splines { share, ends: &|layer| options.ends(layer) };
        let found = replace(graph, fitted, &recipe, (written, &[]), Some(&splines), &keeps)?;
        if !replaced {
            return Ok(found);
        }
        let [own, other] = [graph, &found.graph].map(FloatExecutor::new);
        let error = |x: &Vec<f32>| Ok(relative_error(&other.run(x)?, &own.run(x)?));
        let few = &fitted[..fitted.len().min(COMPARED)];
        let errors = few.par_iter().map(error).collect::<Result<Vec<f64>, ModelError>>()?;
        let error = median(&errors);
        // Finer splines are not always better: where a gate is nearly the same for all inputs, it
        // matters how far a spline is off at this one place.
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, found));
        }
        if error <= options.max_error * SPLINE_SHARE {
            break;
        }
        share /= 2.0;
    }
    best.map(|(_, found)| found).ok_or_else(|| ModelError::data("calibration", "no samples"))
}

/// Which functions become splines, and how fine.
struct Splines<'a> {
    /// The error of each, as a share of its own size.
    share: f64,
    /// Polynomials that end in lines.
    ends: &'a dyn Fn(&Layer) -> bool,
}

/// Replaces all activations by one recipe. Errors of the methods in `compared` are listed beside
/// those of the one taken; `written` is the margin of polynomials that the file wrote out. With
/// `splines`, smooth functions become splines.
fn replace(
    graph: &Graph,
    samples: &[Vec<f32>],
    recipe: &Recipe,
    (written, compared): (f64, &[Method]),
    splines: Option<&Splines<'_>>,
    keeps: &(dyn Fn(&Layer) -> bool + Sync),
) -> Result<Approximated, ModelError> {
    let mut layers: Vec<Option<Layer>> = vec![None; graph.nodes().len()];
    let (mut approximations, mut warnings) = (Vec::new(), Vec::new());
    let last_use = last_uses(graph);
    let mut values: Vec<Vec<Vec<f64>>> = Vec::with_capacity(graph.nodes().len());
    for (i, node) in graph.nodes().iter().enumerate() {
        let fed = || values[node.inputs[0].index()].iter().flatten().copied();
        match &node.layer {
            layer if keeps(layer) => {}
            Layer::MaxPool(pool) => {
                warnings.push(format!("{} takes means instead of largest numbers", node.name));
                layers[i] = Some(Layer::AveragePool(*pool));
            }
            layer if let Some(Smooth { name, f }) = splines.and_then(|s| smooth(node, layer, s)) => {
                let fed: Vec<f64> = fed().collect();
                let (seen, interval) = interval(node, fed.iter().copied(), recipe.margin)?;
                let size = fed.iter().map(|&x| f(x).powi(2)).sum::<f64>() / fed.len().max(1) as f64;
                let share = splines.map_or(0.0, |s| s.share);
                let tolerance = (share * size.sqrt()).max(f64::MIN_POSITIVE);
                let found = spline::spline(&node.name, &f, &fed, recipe.margin, tolerance)?;
                layers[i] = Some(Layer::Activation(Function::in_pieces(found.pieces.clone())));
                approximations.push(Approximation {
                    node: node.name.clone(),
                    function: name,
                    seen,
                    interval,
                    coefficients: Vec::new(),
                    picked: Some(Method::LeastSquares),
                    candidates: vec![Candidate {
                        method: Method::LeastSquares,
                        max_error: found.max_error,
                        weighted_error: found.rms_error,
                    }],
                    pieces: Some(found.pieces),
                });
            }
            Layer::Activation(function) => {
                let (seen, interval) = interval(node, fed(), recipe.margin)?;
                let distribution = Distribution::of(fed(), interval);
                let found = fitted(node, &|t| function.at(t), interval, &distribution, recipe, compared)?;
                let approximation = Approximation { seen, ..found };
                warnings.push(format!("{} ({}) is approximated", node.name, function.name()));
                layers[i] = Some(polynomial(&approximation));
                approximations.push(Approximation { function: function.name(), ..approximation });
            }
            Layer::Polynomial { coefficients, interval: old } if node.recorded.is_none() => {
                let (seen, interval) = interval(node, fed(), written)?;
                let scaled =
                    coefficients.iter().enumerate().map(|(k, a)| a * (interval / old).powi(k as i32));
                let approximation = Approximation {
                    node: node.name.clone(),
                    function: format!("polynomial of degree {}", coefficients.len() - 1),
                    seen,
                    interval,
                    coefficients: scaled.collect(),
                    picked: None,
                    candidates: Vec::new(),
                    pieces: None,
                };
                layers[i] = Some(polynomial(&approximation));
                approximations.push(approximation);
            }
            _ => {}
        }
        let node = Node { layer: layers[i].clone().unwrap_or_else(|| node.layer.clone()), ..node.clone() };
        let result = samples.par_iter().enumerate().map(|(s, image)| {
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|id| values[id.index()][s].as_slice()).collect();
            float::compute(&node, image, &inputs)
        });
        let result = result.collect();
        values.push(result);
        for id in &node.inputs {
            if last_use[id.index()] == i {
                values[id.index()] = Vec::new();
            }
        }
    }
    let graph = graph.with_layers(|id, node| layers[id.index()].take().unwrap_or_else(|| node.layer.clone()));
    Ok(Approximated { graph, approximations, warnings, trials: Vec::new() })
}

fn check(graph: &Graph, samples: &[Vec<f32>], options: &ApproximateOptions) -> Result<(), ModelError> {
    if let Some(degree) = options.degree.filter(|d| !DEGREES.contains(d)) {
        return Err(ModelError::data("options", format!("degree {degree}, 2 to 8 are possible")));
    }
    if let Some(margin) = options.margin.filter(|m| !(*m >= 1.0 && m.is_finite())) {
        return Err(ModelError::data("options", format!("margin {margin}, must be at least 1")));
    }
    if samples.is_empty() {
        return Err(ModelError::data("calibration", "no samples; at least one is needed"));
    }
    let expected = graph.nodes()[0].len();
    for (i, sample) in samples.iter().enumerate() {
        if sample.len() != expected {
            let reason = format!("{} numbers, expected {expected} ({:?})", sample.len(), graph.input_shape());
            return Err(ModelError::data(format!("calibration sample {i}"), reason));
        }
        if let Some(at) = sample.iter().position(|x| !x.is_finite()) {
            let reason = format!("element {at} is {}", sample[at]);
            return Err(ModelError::data(format!("calibration sample {i}"), reason));
        }
    }
    let pair = graph.nodes().iter().find(|n| matches!(n.layer, Layer::Extreme(_)));
    if let Some(node) = pair.filter(|_| options.activations == Activations::Polynomial) {
        let reason = "compares two values of the network with each other, and no polynomial does; compute it as it is \
                      (`--activations exact`)";
        return Err(ModelError::node(&node.name, reason));
    }
    let pool = graph.nodes().iter().find(|n| matches!(n.layer, Layer::MaxPool(_)));
    match pool.filter(|_| options.max_pooling == MaxPooling::Refuse) {
        Some(node) => Err(ModelError::node(
            &node.name,
            "max pooling compares secret numbers; compute it as it is (`--activations exact`), allow means instead with `--maxpool average`, or train with average \
             pooling",
        )),
        None => Ok(()),
    }
}

/// A function that becomes a spline.
struct Smooth<'a> {
    name: String,
    f: Box<dyn Fn(f64) -> f64 + 'a>,
}

/// The function of a layer that becomes a spline.
fn smooth<'a>(node: &Node, layer: &'a Layer, splines: &Splines<'_>) -> Option<Smooth<'a>> {
    match layer {
        Layer::Activation(function) => {
            Some(Smooth { name: function.name(), f: Box::new(|x| function.at(x)) })
        }
        Layer::Polynomial { coefficients, interval } if (splines.ends)(layer) => {
            // An interval that nobody recorded is that of the numbers seen: lines begin where the
            // spline's do.
            let end = node.recorded.map_or(f64::INFINITY, |_| *interval);
            let at = move |x: f64| horner(coefficients, x / interval);
            let step = 1e-4 * end;
            let f = move |x: f64| match x.abs() > end {
                false => at(x),
                true => {
                    let near = end.copysign(x);
                    at(near) + (at(near) - at(near - step.copysign(x))) / step * (x.abs() - end)
                }
            };
            let name = format!("polynomial of degree {} with tails", coefficients.len() - 1);
            Some(Smooth { name, f: Box::new(f) })
        }
        _ => None,
    }
}

/// For every node the last one that reads it.
fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![usize::MAX; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|id: &NodeId| last[id.index()] = i);
    }
    last
}

/// The largest number fed, and the interval.
fn interval(node: &Node, fed: impl Iterator<Item = f64>, margin: f64) -> Result<(f64, f64), ModelError> {
    let mut seen = 0f64;
    for t in fed {
        if !t.is_finite() {
            return Err(ModelError::node(
                &node.name,
                "it is fed numbers that are not finite on the calibration data",
            ));
        }
        seen = seen.max(t.abs());
    }
    // An activation that is never fed anything but 0 still needs an interval.
    Ok((seen, if seen > 0.0 { seen * margin } else { 1.0 }))
}

fn fitted(
    node: &Node,
    f: &dyn Fn(f64) -> f64,
    interval: f64,
    distribution: &Distribution,
    recipe: &Recipe,
    compared: &[Method],
) -> Result<Approximation, ModelError> {
    let by = |method: Method| -> Result<Fit, ModelError> {
        let fit = fit_by(method, f, interval, recipe.degree, distribution);
        fit.map_err(|e| ModelError::node(&node.name, e.to_string()))
    };
    let fit = by(recipe.method)?;
    let mut candidates = Vec::with_capacity(compared.len());
    for &method in compared {
        let fit = if method == recipe.method { fit.clone() } else { by(method)? };
        candidates.push(Candidate { method, max_error: fit.max_error, weighted_error: fit.rms_error });
    }
    let mut coefficients = fit.coefficients;
    let largest = coefficients.iter().fold(0f64, |m, a| m.max(a.abs()));
    while coefficients.len() > 2 && coefficients.last().is_some_and(|a| a.abs() <= NEGLIGIBLE * largest) {
        coefficients.pop();
    }
    Ok(Approximation {
        node: node.name.clone(),
        function: String::new(),
        seen: 0.0,
        interval,
        coefficients,
        picked: Some(recipe.method),
        candidates,
        pieces: None,
    })
}

/// What stands for an activation.
pub(crate) fn polynomial(a: &Approximation) -> Layer {
    if let Some(pieces) = &a.pieces {
        return Layer::Activation(Function::in_pieces(pieces.clone()));
    }
    Layer::Polynomial { coefficients: a.coefficients.clone(), interval: a.interval }
}
