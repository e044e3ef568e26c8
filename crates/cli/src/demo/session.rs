//! What one demonstration runs: network, plan, inputs, all checked before any role starts.

use super::data::Data;
use super::models::Model;
use super::picture::Picture;
use super::{DemoError, DemoOptions, MAX_BATCH, Progress, Simulation, is_far, needs, planned_for};
use amicus_field::Kernel;
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare, tells_classes};
use amicus_model::publish::published;
use amicus_model::{CompileOptions, Compiled, Graph, ModelError, QuantizedWeights, compile};
use amicus_plan::{Plan, Rates};
use amicus_protocol::Parties;
use std::time::Instant;

/// Inputs from the end of the set that scales and ranges are calibrated with, where weights of the
/// user's come without a plan.
const CALIBRATION: usize = 64;
/// Inputs classified unless told otherwise, if there are as many.
const USUAL_SAMPLES: usize = 300;
/// Inputs classified over a slow network or with a large model unless told otherwise.
const SLOW_SAMPLES: usize = 20;
/// Multiply-adds of a party in one inference that make a model large: about a second without
/// AVX-512.
pub(super) const LARGE: u64 = 200_000_000;

pub(super) struct Session {
    pub(super) options: DemoOptions,
    pub(super) parties: Parties,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) classes: Option<Vec<String>>,
    /// What was skipped or changed, for people.
    pub(super) notes: Vec<String>,
    /// Targets that the compiled file misses.
    pub(super) missed: Vec<String>,
    /// One a sample.
    pub(super) inputs: Vec<Vec<f32>>,
    pub(super) samples: Vec<Known>,
    /// The network with polynomials.
    pub(super) graph: Graph,
    /// The network as its owner imported it, where that is another one.
    pub(super) original: Option<Graph>,
    pub(super) plan: Plan,
    weights: QuantizedWeights,
    factors: Vec<f64>,
    pub(super) compile_ms: Option<f64>,
    pub(super) estimated_online_ms: Option<f64>,
    pub(super) kernel: Kernel,
    /// Inferences for which material is kept.
    pub(super) kept: usize,
}

/// What is known of a sample beside its input.
pub(super) struct Known {
    /// Its place in the data.
    pub(super) number: usize,
    pub(super) label: Option<usize>,
    pub(super) picture: Option<Picture>,
}

impl Session {
    /// With `all`, every input is taken unless the options say how many.
    pub(super) fn prepare(
        options: &DemoOptions,
        all: bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DemoError> {
        let kernel = Kernel::from_env()?;
        let mut options = options.clone();
        let parties = checked(&options)?;
        let bad = |option, reason: String| DemoError::Option { option, reason };
        let model = Model::find(&options)?;
        let data = Data::open(&options, &model)?;
        progress(Progress::Found {
            source: data.source.clone(),
            classes: data.classes.clone(),
            tells_classes: tells_classes(model.user_network()),
            notes: data.notes.clone(),
        });
        match options.samples {
            Some(0) => return Err(bad("--samples", "0 samples, at least 1 is needed".into())),
            Some(n) if n > data.len() => {
                return Err(bad("--samples", format!("{n} samples, there are {}", data.len())));
            }
            _ => {}
        }
        let Model { name, graph, original, compiled, missed, .. } = model;
        let (plan, weights, factors, compile_ms) = match compiled {
            Some((plan, weights, factors)) => (plan, weights, factors, None),
            None => {
                needs::before_compiling(&graph)?;
                let started = Instant::now();
                let calibration = data.calibration(CALIBRATION)?;
                progress(Progress::Compiling { samples: calibration.len() });
                let (link, batch) = (planned_for(&options.net), options.batch.max(1));
                let planning = CompileOptions { link, batch, ..CompileOptions::default() };
                let compiled = compile(&graph, &calibration, &planning)?;
                progress(Progress::Compiled(compiled.report.to_string()));
                let Compiled { plan, weights, factors, .. } = compiled;
                (plan, weights, factors, Some(started.elapsed().as_secs_f64() * 1e3))
            }
        };
        let (plan, weights, factors) = match options.public_model && plan.public.is_empty() {
            true => published(&plan, &weights, factors)?,
            false => (plan, weights, factors),
        };
        let large = plan.cost(1).map_err(ModelError::from)?.multiply_adds > LARGE;
        let slow = is_far(&options.net);
        let count = match options.samples {
            Some(n) => n,
            // A cheat is shown with one inference, and one more after it.
            None if all => data.len(),
            None if options.cheat.is_some() => options.batch,
            None if slow || large => SLOW_SAMPLES.max(options.batch),
            None => USUAL_SAMPLES.max(options.batch),
        }
        .min(data.len());
        let mut notes = data.notes.clone();
        if options.batch > count && !all {
            notes.push(format!("a batch of {count} instead of {}: there are no more samples", options.batch));
            options.batch = count;
        }
        if let Some(cheat) = &options.cheat {
            cheat.check_against(&plan, parties, options.batch).map_err(|reason| bad("--cheat", reason))?;
        }
        let link = crate::rates::link(&options.net);
        let rates = options.rates.unwrap_or(Rates::STATED);
        let estimate =
            plan.estimate(parties.count(), options.batch, &link, &rates).map_err(ModelError::from)?;
        let kept = match all {
            true => 0,
            false => needs::before_running(
                &plan,
                &graph,
                &estimate,
                [parties.count(), options.batch, options.threads],
            )?,
        };
        let (mut inputs, mut samples) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for index in 0..count {
            let sample = data.sample(index)?;
            inputs.push(sample.input);
            samples.push(Known { number: sample.number, label: sample.label, picture: sample.picture });
        }
        let Data { source, classes, .. } = data;
        Ok(Session {
            estimated_online_ms: options.rates.map(|_| 1e3 * estimate.online),
            options,
            parties,
            name,
            source,
            classes,
            notes,
            missed,
            inputs,
            samples,
            graph,
            original,
            plan,
            weights,
            factors,
            compile_ms,
            kernel,
            kept,
        })
    }

    pub(super) fn weights(&self) -> &QuantizedWeights {
        &self.weights
    }

    /// Runs all executions without cryptography on all inputs.
    pub(super) fn compare(&self, done: &mut dyn FnMut(usize, usize)) -> Result<Comparison, ModelError> {
        let labels: Option<Vec<usize>> = self.samples.iter().map(|sample| sample.label).collect();
        let fixed = FixedPoint { plan: &self.plan, weights: &self.weights, factors: &self.factors };
        let original = self.original.as_ref().unwrap_or(&self.graph);
        let networks = Networks { original, polynomial: &self.graph, fixed: Some(fixed) };
        let count = self.inputs.len();
        compare(networks, &self.inputs, labels.as_deref(), &mut |n| done(n, count))
    }

    pub(super) fn simulate(self, done: &mut dyn FnMut(usize, usize)) -> Result<Simulation, DemoError> {
        let comparison = self.compare(done)?;
        let labels = self.samples.iter().map(|sample| sample.label).collect();
        let network = self.original.unwrap_or(self.graph);
        let limbs = self.plan.limbs.count();
        Ok(Simulation { model: self.name, data: self.source, limbs, network, labels, comparison })
    }
}

/// Refuses numbers that no run can have.
fn checked(options: &DemoOptions) -> Result<Parties, DemoError> {
    let bad = |option, reason: String| Err(DemoError::Option { option, reason });
    let Some(parties) = Parties::new(options.parties) else {
        return bad("--parties", format!("{} parties, 2 to 8 are possible", options.parties));
    };
    if !(1..=MAX_BATCH).contains(&options.batch) {
        let reason = format!("{} inputs in an inference, 1 to {MAX_BATCH} are possible", options.batch);
        return bad("--batch", reason);
    }
    if let Some(first) = options.port {
        // The helper's, and one for each party.
        let most = u16::MAX - parties.count() as u16;
        if !(1..=most).contains(&first) {
            let count = parties.count() + 1;
            return bad(
                "--port",
                format!("{first}: {count} ports are taken from there, so 1 to {most} are possible"),
            );
        }
    }
    Ok(parties)
}

#[cfg(test)]
mod tests {
    use super::super::MODELS;
    use super::*;
    use amicus_net::shaper::Shape;
    use std::path::Path;

    /// Images that no network was trained on: black and white, as both data sets' files.
    fn images(folder: &Path) {
        let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
        let digits = [header(&[2051, 2, 28, 28]), vec![0; 784], vec![255; 784]].concat();
        std::fs::write(folder.join("test-images-idx3-ubyte"), digits).unwrap();
        let labels = [header(&[2049, 2]), vec![3, 4]].concat();
        std::fs::write(folder.join("test-labels-idx1-ubyte"), labels).unwrap();
        let photographs = [[0; 3073], [255; 3073]].map(|mut image| {
            image[0] = 7;
            image
        });
        std::fs::write(folder.join("test_batch.bin"), photographs.concat()).unwrap();
    }

    #[test]
    fn plans_of_named_models_are_equal_whatever_is_run() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        for model in MODELS {
            let plan = |data_dir, net| {
                let options = DemoOptions {
                    model: Some(model.to_owned()),
                    samples: Some(2),
                    data_dir,
                    net,
                    ..DemoOptions::default()
                };
                let mut compiled = false;
                let session = Session::prepare(&options, true, &mut |progress| {
                    compiled |= matches!(progress, Progress::Compiling { .. });
                });
                assert!(!compiled, "{model}");
                session.unwrap().plan
            };
            let all = [Shape::local(), Shape::lan(), Shape::wan()].map(|net| plan(None, net));
            assert_eq!(all[0], plan(Some(folder.path().to_owned()), Shape::local()), "{model}");
            // Roles that are far apart have a plan with fewer rounds, unless there are none to save.
            let rounds = all.each_ref().map(|plan| plan.cost(1).unwrap().rounds);
            assert_eq!(all[0], all[1], "{model}");
            assert!(rounds[2] <= rounds[0], "{model}: {rounds:?}");
        }
    }
}
