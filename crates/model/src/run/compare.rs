//! Three executions side by side: the network as imported, with polynomials, and in fixed point.
//!
//! Where it stands: what `amicus compile` and `amicus simulate` print. The fixed point is the exact
//! simulator's ([`mod@crate::simulate`]); the secure run differs from it by at most one unit per
//! truncation.

use std::fmt;

use amicus_field::{I256, LimbVec};
use amicus_plan::quantize_input;
use amicus_plan::{OpIndex, Plan, Printable, Reveal, ValueId};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::ModelError;
use crate::escapes::{Bounds, EscapeTally, Escapes, Outside};
use crate::fake_quantisation::{FakeQuantised, Rounding, power_of_two};
use crate::float::FloatExecutor;
use crate::fold::Folded;
use crate::graph::{Graph, Layer, NodeId, OutputPart};
use crate::measure::{argmax, median, relative_error};
use crate::planner::exact::Measured;
use crate::quantize::QuantizedWeights;
use crate::report::ErrorFigures;
use crate::simulate::Simulator;

/// A layer stands out when its error is this many times that of the layer before.
const STANDS_OUT: f64 = 4.0;
/// Samples run at once.
const CHUNK: usize = 16;
/// Samples run under random masks, at most.
const MASKED: usize = 24;
/// Errors below this are of no interest.
const OF_INTEREST: f64 = 1e-3;

/// How often two executions name the same class, and how far their logits are apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Samples on which the largest logit is the same; `None` where outputs are no classes.
    pub same_class: Option<usize>,
    /// Relative errors of the logits.
    pub relative_error: ErrorFigures,
}

/// Errors at one node, medians over samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerError {
    /// The node.
    pub name: String,
    /// Relative error of its values with polynomials, against the network as imported.
    pub approximation: f64,
    /// Relative error of its values in fixed point, against the network with polynomials; `None`
    /// where folding left no value of its own, or it was not asked for.
    pub fixed_point: Option<f64>,
}

/// How far one of several outputs, or a segmentation, is from that of the network as imported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartAgreement {
    /// Name of the output; empty for the only one.
    pub name: String,
    /// Its shape, without the batch.
    pub shape: Vec<usize>,
    /// Relative errors of its numbers.
    pub relative_error: ErrorFigures,
    /// The share of places, over all samples, at which the largest of its channels is the same: one
    /// place where it is a row of numbers, every pixel where it is an image. `None` where it has no
    /// channels to choose from.
    pub same_class: Option<f64>,
}

impl PartAgreement {
    /// `labels` are those that fixed point reveals, where it reveals labels: place by place.
    fn of(part: &OutputPart, got: &[&[f64]], expected: &[&[f64]], labels: Option<&[&[f64]]>) -> Self {
        let errors: Vec<f64> = got.iter().zip(expected).map(|(g, e)| relative_error(g, e)).collect();
        let channels = part.shape.first().copied().unwrap_or(1);
        let places = part.shape.iter().skip(1).product::<usize>();
        let class = |x: &[f64], place: usize| {
            let of_channel: Vec<f64> = (0..channels).map(|c| x[c * places + place]).collect();
            argmax(&of_channel)
        };
        let same = |(i, e): (usize, &&[f64])| {
            let own = |p: usize| labels.map_or_else(|| class(got[i], p), |all| all[i][p] as usize);
            (0..places).filter(|&p| own(p) == class(e, p)).count()
        };
        let total: usize = expected.iter().enumerate().map(same).sum();
        let max = errors.iter().copied().fold(0.0, f64::max);
        PartAgreement {
            name: part.name.clone(),
            shape: part.shape.clone(),
            relative_error: ErrorFigures { median: median(&errors), max },
            same_class: (channels > 1 && !got.is_empty()).then(|| total as f64 / (places * got.len()) as f64),
        }
    }

    /// All outputs of a network that need figures of their own.
    fn all(
        graph: &Graph,
        got: &[Vec<f64>],
        expected: &[Vec<f64>],
        (reveal, revealed): (Option<&Reveal>, &[Vec<f64>]),
    ) -> Vec<Self> {
        let shape = &graph.node(graph.output()).shape;
        let whole = [OutputPart { name: String::new(), shape: shape.clone() }];
        let parts = match graph.outputs() {
            [] if shape.len() == 3 && !tells_classes(graph) => &whole[..],
            parts => parts,
        };
        let (mut first, mut label) = (0, 0);
        let mut figures = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            let end = first + part.shape.iter().product::<usize>();
            let [got, expected] =
                [got, expected].map(|all| all.iter().map(|x| &x[first..end]).collect::<Vec<&[f64]>>());
            let choice = reveal.and_then(|reveal| Some((reveal.choices.get(number)?.places, reveal.labels)));
            let labels: Option<Vec<&[f64]>> = choice.and_then(|(places, ranks)| {
                let of_part = label..label + places as usize;
                label = of_part.start + (places * ranks) as usize;
                let by_place = part.shape.iter().skip(1).product::<usize>() == of_part.len();
                by_place.then(|| revealed.iter().map(|all| &all[of_part.clone()]).collect())
            });
            figures.push(Self::of(part, &got, &expected, labels.as_deref()));
            first = end;
        }
        figures
    }
}

/// Errors of a private run, whose masks are random, against the network with polynomials: some of
/// the samples, simulated with masks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrivateRun {
    /// The first samples, as many as are affordable.
    pub samples: usize,
    /// Rounding alone: every number is on the right side of its threshold.
    pub rounding: ErrorFigures,
    /// What is changed by numbers so near to a threshold that their side is left to chance.
    pub signs: ErrorFigures,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Samples compared.
    pub samples: usize,
    /// Whether the outputs tell classes apart ([`tells_classes`]); where not, errors are all there
    /// is to compare.
    pub classes: bool,
    /// Labels among them that the network as imported gets right; `None` without labels.
    pub float_correct: Option<usize>,
    /// Labels among them that the network with polynomials gets right.
    pub polynomial_correct: Option<usize>,
    /// Labels among them that fixed point gets right; `None` when it was not run.
    pub fixed_correct: Option<usize>,
    /// Polynomials against the network as imported.
    pub polynomial: Agreement,
    /// Fixed point against polynomials; `None` when it was not run.
    pub fixed: Option<Agreement>,
    /// Fixed point against the network as imported: both losses together; `None` when it was not
    /// run.
    pub total: Option<Agreement>,
    /// Output by output, where there are several or one has a class at every place.
    pub parts: Vec<PartAgreement>,
    /// What the parts of the fixed point's error are in a private run; `None` for networks without
    /// comparisons, or when the fixed point was not run.
    pub private_run: Option<PrivateRun>,
    /// Layer by layer.
    pub layers: Vec<LayerError>,
    /// The first layer whose error stands out, and which of the two errors.
    pub stands_out: Option<String>,
    /// Where samples leave what the network was compiled for; `None` when the fixed point was not
    /// run.
    pub escapes: Option<Escapes>,
    /// Numbers of the samples whose receivers are told that a hidden value left what the network was
    /// compiled for; `None` where the plan does not look, or the fixed point was not run.
    pub noticed: Option<Vec<usize>>,
    /// The outputs of every sample.
    #[serde(skip)]
    pub outputs: Outputs,
}

/// Outputs of the executions, one vector a sample. They are answers, so `Debug` shows how many
/// there are.
#[derive(Clone, Default, PartialEq)]
pub struct Outputs {
    /// Outputs of the network as imported.
    pub float: Vec<Vec<f64>>,
    /// In fixed point, as receivers get them: labels where the plan reveals labels; none when it was
    /// not run.
    pub fixed: Vec<Vec<f64>>,
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outputs({}, {})", self.float.len(), self.fixed.len())
    }
}

/// Whether a network's outputs tell classes apart: at least two numbers, all in one row. A single
/// number is a regression, and an output with rows and columns (a segmentation, an image) has a
/// meaning at each place. Several outputs together are no classes.
pub fn tells_classes(graph: &Graph) -> bool {
    if !graph.outputs().is_empty() {
        return false;
    }
    let shape = &graph.node(graph.output()).shape;
    let most = shape.iter().copied().max().unwrap_or(0);
    most > 1 && shape.iter().product::<usize>() == most
}

/// The networks to compare.
#[derive(Clone, Copy, Debug)]
pub struct Networks<'a> {
    /// The network as imported.
    pub original: &'a Graph,
    /// The network with polynomials: the same nodes.
    pub polynomial: &'a Graph,
    /// To compare the fixed point too.
    pub fixed: Option<FixedPoint<'a>>,
}

/// A compiled network.
#[derive(Clone, Copy, Debug)]
pub struct FixedPoint<'a> {
    /// What all roles run.
    pub plan: &'a Plan,
    /// The integers of its layers.
    pub weights: &'a QuantizedWeights,
    /// See [`crate::compile::Compiled::factors`].
    pub factors: &'a [f64],
}

/// Runs all samples through all networks; `labels` are classes, one a sample.
///
/// # Errors
/// Samples of the wrong size or outside the input's range, or labels that are not as many; networks
/// of other nodes, or a plan that is not that of the polynomial one.
pub fn compare(
    networks: Networks<'_>,
    samples: &[Vec<f32>],
    labels: Option<&[usize]>,
    progress: &mut dyn FnMut(usize),
) -> Result<Comparison, ModelError> {
    if let Some(labels) = labels
        && labels.len() != samples.len()
    {
        let reason = format!("{} labels for {} samples", labels.len(), samples.len());
        return Err(ModelError::data("labels", reason));
    }
    let Networks { original, polynomial, fixed } = networks;
    let names = |g: &Graph| g.nodes().iter().map(|n| (n.name.clone(), n.shape.clone())).collect::<Vec<_>>();
    if names(original) != names(polynomial) {
        return Err(ModelError::data("networks", "do not have the same nodes"));
    }
    let count = samples.len();
    let same = std::ptr::eq(original, polynomial);
    let (float, student) = (FloatExecutor::new(original), FloatExecutor::new(polynomial));
    let fixed = fixed.map(|fixed| Fixed::new(fixed, polynomial)).transpose()?;
    let nodes = original.nodes().len();
    let mut errors: Vec<Vec<f64>> = vec![Vec::new(); nodes];
    let mut fixed_errors: Vec<Vec<f64>> = vec![Vec::new(); nodes];
    let classes = tells_classes(original);
    let [mut poly, mut int, mut total] =
        [(); 3].map(|()| Tally { same: classes.then_some(0), errors: Vec::new() });
    let mut escaped = fixed.as_ref().map(|f| EscapeTally::new(&f.bounds));
    let mut outputs = Outputs::default();
    let mut logits_of: Vec<Vec<f64>> = Vec::new();
    let mut noticed = fixed.as_ref().filter(|f| f.plan.output.watch > 0).map(|_| Vec::new());
    let mut correct = [0usize; 3];
    let mut expected = Vec::new();
    let run = |sample: &Vec<f32>| -> Result<Runs, ModelError> {
        let float = float.values(sample)?;
        let student = if same { float.clone() } else { student.values(sample)? };
        let error = |id: usize| relative_error(student.node(NodeId(id)), float.node(NodeId(id)));
        Ok(Runs {
            errors: (0..nodes).map(error).collect(),
            fixed: fixed.as_ref().map(|f| f.run(sample)).transpose()?,
            float: float.output().to_vec(),
            student: student.output().to_vec(),
        })
    };
    for (chunk, samples) in samples.chunks(CHUNK).enumerate() {
        let runs = samples.par_iter().map(run).collect::<Result<Vec<Runs>, ModelError>>()?;
        for (s, Runs { errors: found, fixed, float, student }) in runs.into_iter().enumerate() {
            let label = labels.map(|l| l[chunk * CHUNK + s]);
            errors.iter_mut().zip(found).skip(1).for_each(|(all, error)| all.push(error));
            correct[0] += usize::from(Some(argmax(&float)) == label);
            correct[1] += usize::from(Some(argmax(&student)) == label);
            poly.add((argmax(&student), &student), &float);
            if let Some(FixedRun { logits, revealed, class, errors, outside, found }) = fixed {
                errors.into_iter().for_each(|(node, error)| fixed_errors[node].push(error));
                correct[2] += usize::from(Some(class) == label);
                int.add((class, &logits), &student);
                total.add((class, &logits), &float);
                if let Some(escaped) = &mut escaped {
                    escaped.add(chunk * CHUNK + s, &outside);
                }
                if let Some(noticed) = noticed.as_mut().filter(|_| found) {
                    noticed.push(chunk * CHUNK + s);
                }
                outputs.fixed.push(revealed);
                logits_of.push(logits);
                if expected.len() < MASKED {
                    expected.push(student);
                }
            }
            outputs.float.push(float);
        }
        progress((chunk * CHUNK + samples.len()).min(count));
    }
    let private_run = match &fixed {
        Some(fixed) if fixed.plan.compares() && !samples.is_empty() => {
            // Errors are those of the outputs, whether they are revealed or not.
            let network = fixed.plan.network();
            let run = Measured::of(&Simulator::new(&network, fixed.weights)?, samples, &expected)?;
            Some(PrivateRun { samples: run.samples, rounding: run.rounding, signs: run.signs })
        }
        _ => None,
    };
    let layers: Vec<LayerError> = original
        .nodes()
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, node)| !matches!(node.layer, Layer::Flatten | Layer::Reshape))
        .map(|(i, node)| LayerError {
            name: node.name.clone(),
            approximation: median(&errors[i]),
            fixed_point: (!fixed_errors[i].is_empty()).then(|| median(&fixed_errors[i])),
        })
        .collect();
    let with_labels = |n: usize| labels.filter(|_| classes).map(|_| n);
    Ok(Comparison {
        samples: samples.len(),
        classes,
        float_correct: with_labels(correct[0]),
        polynomial_correct: with_labels(correct[1]),
        fixed_correct: fixed.as_ref().and_then(|_| with_labels(correct[2])),
        polynomial: poly.agreement(),
        fixed: fixed.as_ref().map(|_| int.agreement()),
        total: fixed.as_ref().map(|_| total.agreement()),
        parts: match outputs.fixed.is_empty() {
            true => Vec::new(),
            false => {
                let reveal = fixed.as_ref().and_then(|f| f.plan.output.reveal.as_ref());
                PartAgreement::all(original, &logits_of, &outputs.float, (reveal, &outputs.fixed))
            }
        },
        private_run,
        stands_out: stands_out(&layers),
        layers,
        escapes: escaped.map(EscapeTally::finish),
        noticed,
        outputs,
    })
}

/// What the executions gave for one sample.
struct Runs {
    /// By node, with polynomials against as imported.
    errors: Vec<f64>,
    fixed: Option<FixedRun>,
    float: Vec<f64>,
    student: Vec<f64>,
}

/// What the fixed point gave for one sample.
struct FixedRun {
    /// The network's outputs, whether they are revealed or not.
    logits: Vec<f64>,
    /// What receivers get: outputs, or labels.
    revealed: Vec<f64>,
    class: usize,
    /// Node and error.
    errors: Vec<(usize, f64)>,
    /// What is out of bounds, by bounded value.
    outside: Vec<Outside>,
    /// Whether the plan found a value outside.
    found: bool,
}

struct Tally {
    same: Option<usize>,
    errors: Vec<f64>,
}

impl Tally {
    fn add(&mut self, (class, got): (usize, &[f64]), expected: &[f64]) {
        self.same = self.same.map(|n| n + usize::from(class == argmax(expected)));
        self.errors.push(relative_error(got, expected));
    }

    fn agreement(self) -> Agreement {
        let max = self.errors.iter().copied().fold(0.0, f64::max);
        Agreement {
            same_class: self.same,
            relative_error: ErrorFigures { median: median(&self.errors), max },
        }
    }
}

/// The first layer whose error jumps, by either measure.
fn stands_out(layers: &[LayerError]) -> Option<String> {
    let approximated = jump(layers, |l| Some(l.approximation)).map(|at| (at, "when replaced by polynomials"));
    let rounded = jump(layers, |l| l.fixed_point).map(|at| (at, "in fixed point"));
    let ((at, error), what) = approximated.into_iter().chain(rounded).min_by_key(|((at, _), _)| *at)?;
    Some(format!("{}: {:.2}% error {what}", layers[at].name, 100.0 * error))
}

/// The first layer whose error is far above all before, and that error.
fn jump(layers: &[LayerError], of: fn(&LayerError) -> Option<f64>) -> Option<(usize, f64)> {
    let mut before = OF_INTEREST;
    for (at, layer) in layers.iter().enumerate() {
        let Some(error) = of(layer) else { continue };
        if error > STANDS_OUT * before {
            return Some((at, error));
        }
        before = before.max(error);
    }
    None
}

/// Checks that a plan and its factors are those of a folded network. Gives the plan's value for
/// each value of the network: a comparison takes several operations, as does a polynomial behind a
/// truncation of its own; the last of them has its name. A maximum that is computed together with the
/// activation behind it has none.
pub(crate) fn fits(
    folded: &Folded,
    plan: &Plan,
    factors: &[f64],
) -> Result<Vec<Option<ValueId>>, ModelError> {
    let other = || ModelError::data("plan", "is not that of the network it comes with");
    if factors.len() != plan.ops.len() + 1 {
        return Err(other());
    }
    // What looks for values outside, and what finds labels, is the plan's own.
    let plan = &plan.network();
    let mut values = vec![Some(ValueId::INPUT)];
    let mut rest = plan.ops.iter().enumerate();
    for (index, op) in folded.ops.iter().enumerate() {
        let name = Printable::new(&op.name);
        let mut ahead = rest.clone();
        let found = ahead.find(|(_, found)| found.name == name.as_str());
        values.push(match found {
            Some((at, _)) => {
                rest = ahead;
                Some(ValueId::of(OpIndex(at as u32)))
            }
            None if folded.is_maximum_before_pieces(index) => None,
            None => return Err(other()),
        });
    }
    let infos = plan.values()?;
    let same = rest.next().is_none()
        && folded.input_shape == plan.input.shape
        && values
            .iter()
            .enumerate()
            .all(|(v, id)| id.is_none_or(|id| infos.get(id).len == folded.value_len(ValueId(v as u32))));
    if same { Ok(values) } else { Err(other()) }
}

/// The simulator beside the exact values of the folded network.
struct Fixed<'a> {
    plan: &'a Plan,
    weights: &'a QuantizedWeights,
    simulator: Simulator<'a>,
    folded: Folded,
    /// The plan's value for each value of the folded network that has one.
    values: Vec<Option<ValueId>>,
    /// The number of the folded network that one unit of a plan's integer is worth, by value.
    units: Vec<f64>,
    /// Node of the graph behind every operation.
    nodes: Vec<Option<usize>>,
    bounds: Bounds,
    /// A unit of the outputs' scale, and what is dropped for it, where they are hidden.
    hidden: (f64, f64),
}

impl<'a> Fixed<'a> {
    fn new(
        FixedPoint { plan, weights, factors }: FixedPoint<'a>,
        polynomial: &Graph,
    ) -> Result<Self, ModelError> {
        let folded = Folded::new(polynomial)?;
        let values = fits(&folded, plan, factors)?;
        let infos = plan.values()?;
        let unit = |(id, folded): (&Option<ValueId>, &f64)| {
            id.map_or(0.0, |id| factors[id.index()] / folded / power_of_two(infos.get(id).scale.0))
        };
        let units = values.iter().zip(&folded.factors).map(unit).collect();
        let nodes = folded.ops.iter().map(|op| polynomial.find(&op.name).map(|id| id.index())).collect();
        let bounds = Bounds::of(plan, &folded, factors)?;
        let simulator = Simulator::new(plan, weights)?;
        let hidden = plan.output.reveal.as_ref().map_or((1.0, 1.0), |reveal| {
            let whole = infos.get(reveal.hidden).scale.0;
            (power_of_two(reveal.scale.0), power_of_two(whole - reveal.scale.0))
        });
        Ok(Fixed { plan, weights, simulator, folded, values, units, nodes, bounds, hidden })
    }

    /// The logits of one sample, and errors by node.
    fn run(&self, sample: &[f32]) -> Result<FixedRun, ModelError> {
        let input = LimbVec::from_i64(self.plan.limbs, &quantize_input(self.plan, sample)?);
        let trace = self.simulator.trace(&input, 1)?;
        let real = vec![sample.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()];
        let exact = FakeQuantised::run(&self.folded, &real, &Rounding::none(&self.folded));
        let error = |(op, node): (usize, &Option<usize>)| {
            let unit = self.units[op + 1];
            let value = trace.value(self.values[op + 1]?).signed().into_iter();
            let got: Vec<f64> = value.map(|z| z.as_f64() * unit).collect();
            Some(((*node)?, relative_error(&got, exact.first(op + 1))))
        };
        let errors = self.nodes.iter().enumerate().filter_map(error).collect();
        let all = trace.outputs().logits();
        let (revealed, found) = self.plan.answer(&all);
        let logits = match &self.plan.output.reveal {
            None => revealed.to_vec(),
            Some(reveal) => {
                let (kept, dropped) = self.hidden;
                let whole = |z: I256| (z.as_f64() / dropped).round() / kept;
                trace.value(reveal.hidden).signed().into_iter().map(whole).collect()
            }
        };
        let (class, found) = (self.plan.class(revealed), found.unwrap_or(false));
        let revealed = revealed.to_vec();
        Ok(FixedRun { logits, revealed, class, errors, outside: self.bounds.look(&exact), found })
    }
}
