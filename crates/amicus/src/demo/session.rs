//! One demonstration: compile, load, classify, measure.

use super::data::{Data, Sample};
use super::models::Model;
use super::report::{DemoReport, ScaleReport, Spread, available_memory, peak_rss};
use super::{DemoError, DemoOptions, MAX_BATCH, Progress, Simulation};
use crate::interrupt::TemporaryFolder;
use amicus_client::load::WeightSource;
use amicus_field::{Kernel, LimbVec, Limbs};
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::{
    CompileOptions, Compiled, FloatExecutor, Graph, ModelError, QuantizedWeights, Simulator, argmax, compile,
    quantize_input, relative_error,
};
use amicus_node::client::{ClientNode, Inferred};
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_node::owner::{LoadedModel, OwnerNode};
use amicus_node::{Ahead, Limits, NodeError};
use amicus_plan::{Estimate, OpKind, Plan, Rates, WeightId};
use amicus_protocol::affine::Part;
use amicus_protocol::{Fault, InferenceId, Parties, ProtocolError, Step};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Inputs from the end of the set that scales and ranges are calibrated with.
const CALIBRATION: usize = 64;
/// Inputs classified unless told otherwise, if there are as many.
const USUAL_SAMPLES: usize = 300;
/// Inputs classified over a slow network or with a large model unless told otherwise.
const SLOW_SAMPLES: usize = 20;
/// Multiply-adds of a party in one inference that make a model large: about a second without AVX-512.
const LARGE: u64 = 200_000_000;
/// Inferences for which material is kept where there is memory for it: the one in flight and the next.
const KEPT: usize = 2;

pub(super) struct Session {
    options: DemoOptions,
    parties: Parties,
    name: String,
    source: String,
    classes: Option<Vec<String>>,
    samples: Vec<Sample>,
    graph: Graph,
    plan: Plan,
    weights: QuantizedWeights,
    factors: Vec<f64>,
    compile_ms: Option<f64>,
    kernel: Kernel,
}

/// Figures collected inference by inference.
#[derive(Default)]
struct Figures {
    load_ms: f64,
    online_ms: Vec<f64>,
    preprocessing_ms: Vec<f64>,
    dealt_bytes: Vec<f64>,
    sent_bytes: Option<u64>,
    rounds: Option<u16>,
    errors: Vec<f64>,
    labelled: usize,
    correct: usize,
    plaintext_correct: usize,
    agree: usize,
    agree_plaintext: usize,
}

impl Session {
    /// With `all`, every input is taken unless the options say how many.
    pub(super) fn prepare(
        options: &DemoOptions,
        all: bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DemoError> {
        let kernel = Kernel::from_env()?;
        let bad = |option, reason: String| DemoError::Option { option, reason };
        let parties = Parties::new(options.parties)
            .ok_or_else(|| bad("--parties", format!("{} parties, 2 to 8 are possible", options.parties)))?;
        if !(1..=MAX_BATCH).contains(&options.batch) {
            return Err(bad(
                "--batch",
                format!("{} inputs in an inference, 1 to {MAX_BATCH} are possible", options.batch),
            ));
        }
        let model = Model::find(options)?;
        let data = Data::open(options, &model)?;
        progress(Progress::Found { source: data.source.clone(), classes: data.classes.clone() });
        match options.samples {
            Some(0) => return Err(bad("--samples", "0 samples, at least 1 is needed".into())),
            Some(n) if n > data.len() => {
                return Err(bad("--samples", format!("{n} samples, there are {}", data.len())));
            }
            _ => {}
        }
        let Model { name, graph, compiled, .. } = model;
        let (plan, weights, factors, compile_ms) = match compiled {
            Some((plan, weights, factors)) => (plan, weights, factors, None),
            None => {
                let started = Instant::now();
                let calibration = data.calibration(CALIBRATION)?;
                progress(Progress::Compiling { samples: calibration.len() });
                let compiled = compile(&graph, &calibration, &CompileOptions::default())?;
                progress(Progress::Compiled(compiled.report.to_string()));
                let Compiled { plan, weights, factors, .. } = compiled;
                (plan, weights, factors, Some(milliseconds(started)))
            }
        };
        if let Some(cheat) = &options.cheat {
            cheat.check_against(&plan, parties, options.batch).map_err(|reason| bad("--cheat", reason))?;
        }
        let large = plan.cost(1).map_err(ModelError::from)?.multiply_adds > LARGE;
        let slow = options.net.one_way > Duration::from_millis(5);
        let count = match options.samples {
            Some(n) => n,
            // A cheat is shown with one inference, and one more after it.
            None if all => data.len(),
            None if options.cheat.is_some() => options.batch,
            None if slow || large => SLOW_SAMPLES.max(options.batch),
            None => USUAL_SAMPLES.max(options.batch),
        };
        let samples = (0..count.min(data.len())).map(|i| data.sample(i)).collect::<Result<_, _>>()?;
        let Data { source, classes, .. } = data;
        let options = options.clone();
        Ok(Session {
            options,
            parties,
            name,
            source,
            classes,
            samples,
            graph,
            plan,
            weights,
            factors,
            compile_ms,
            kernel,
        })
    }

    pub(super) fn simulate(self, done: &mut dyn FnMut(usize, usize)) -> Result<Simulation, DemoError> {
        let labels: Option<Vec<usize>> = self.samples.iter().map(|sample| sample.label).collect();
        let images: Vec<Vec<f32>> = self.samples.into_iter().map(|sample| sample.input).collect();
        let fixed = FixedPoint { plan: &self.plan, weights: &self.weights, factors: &self.factors };
        let networks = Networks { original: &self.graph, polynomial: &self.graph, fixed: Some(fixed) };
        let count = images.len();
        let comparison = compare(networks, &images, labels.as_deref(), &mut |n| done(n, count))?;
        let (limbs, network) = (self.plan.limbs.count(), self.graph);
        Ok(Simulation { model: self.name, data: self.source, limbs, network, labels, comparison })
    }

    pub(super) fn run(self, progress: &mut dyn FnMut(Progress)) -> Result<DemoReport, DemoError> {
        let folder = TemporaryFolder::new().map_err(|e| DemoError::File {
            path: std::env::temp_dir().display().to_string(),
            reason: e.to_string(),
        })?;
        let plan = Arc::new(self.plan.clone());
        let batch = self.options.batch as u32;
        let mut config = LocalConfig::new(Arc::clone(&plan), self.parties, folder.path().to_owned());
        config.wiring =
            if self.options.net.is_local() { Wiring::Tls } else { Wiring::Shaped(self.options.net) };
        let kept = self.kept();
        config.ahead = Ahead { batch, kept, total: Some(self.inferences()) };
        config.max_batch = batch;
        config.first_port = self.options.port;
        if let Some(cheat) = &self.options.cheat {
            config.conduct = Some((self.parties.last(), cheat.into_conduct(&plan)));
        }
        let mut cluster = LocalCluster::start(config)?;
        let result = self.with(&mut cluster, kept, progress);
        cluster.stop();
        result
    }

    fn with(
        &self,
        cluster: &mut LocalCluster,
        kept: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<DemoReport, DemoError> {
        let mut figures = Figures::default();
        let dealing = Limits::default().for_plan(&self.plan)?.load;
        let mut owner = cluster.owner()?;
        let started = Instant::now();
        let (model, mut verdict) = self.load(&mut owner, progress)?;
        figures.load_ms = milliseconds(started);
        progress(Progress::Loaded { elapsed: started.elapsed(), samples: self.samples.len() });
        let mut client = cluster.client("1")?;
        if client.fingerprint()? != model.fingerprint {
            let fault = Fault::Disagreement("fingerprint of the model".into());
            return Err(NodeError::from(ProtocolError::peer(
                "every party",
                Step::load_part("fingerprint"),
                fault,
            ))
            .into());
        }

        let simulator = Simulator::new(&self.plan, &self.weights)?;
        let float = FloatExecutor::new(&self.graph);
        let mut recovered = None;
        let mut first = self.options.cheat.is_some() && verdict.is_none();
        if verdict.is_some() {
            recovered = Some(true);
        }
        let mut start = 0;
        let mut used = 0;
        if self.warms_up() {
            settle(cluster, self.inferences().min(kept), dealing, &mut figures);
            self.infer(&mut client, 0..self.options.batch.min(self.samples.len()))?;
            used = 1;
        }
        while start < self.samples.len() {
            settle(cluster, self.inferences().min(used + kept), dealing, &mut figures);
            used += 1;
            let range = start..(start + self.options.batch).min(self.samples.len());
            match self.infer(&mut client, range.clone()) {
                Ok((id, result)) => {
                    self.score(&range, &result, &simulator, &float, &mut figures, progress)?;
                    collect(cluster, id, &result, &mut figures);
                    if first {
                        let result = "what it did was repaired; the client got the right answer".to_owned();
                        progress(Progress::Cheated { result });
                    }
                    start = range.end;
                }
                Err(error) if first => {
                    progress(Progress::Cheated { result: error.to_string() });
                    verdict = Some(error);
                    recovered = Some(self.infer(&mut client, range).is_ok());
                    start = self.samples.len();
                }
                Err(error) => return Err(error.into()),
            }
            first = false;
        }
        Ok(self.report(figures, verdict, recovered))
    }

    /// Loads the model. With a party that cheats at load the first attempt fails; the second one must not.
    fn load(
        &self,
        owner: &mut OwnerNode,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(LoadedModel, Option<NodeError>), DemoError> {
        let weights = Owned(&self.weights);
        match owner.load(&weights) {
            Ok(model) => Ok((model, None)),
            Err(error) if self.options.cheat.is_some() => {
                progress(Progress::Cheated { result: error.to_string() });
                Ok((owner.load(&weights)?, Some(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn input(&self, range: Range<usize>) -> Result<Vec<i64>, ModelError> {
        let each = self.samples[range].iter().map(|sample| quantize_input(&self.plan, &sample.input));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn infer(
        &self,
        client: &mut ClientNode,
        range: Range<usize>,
    ) -> Result<(InferenceId, Inferred), NodeError> {
        let batch = range.len() as u32;
        let input = self.input(range);
        let input = input.map_err(|e| ProtocolError::Misuse(e.to_string()))?;
        let admission = client.request(batch, &[])?;
        let id = admission.id();
        Ok((id, client.infer(admission, &input)?))
    }

    fn score(
        &self,
        range: &Range<usize>,
        result: &Inferred,
        simulator: &Simulator<'_>,
        float: &FloatExecutor<'_>,
        figures: &mut Figures,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), DemoError> {
        let input = LimbVec::from_i64(self.plan.limbs, &self.input(range.clone())?);
        let simulated = simulator.outputs(&input, range.len())?;
        let classes = result.logits.len() / range.len();
        let samples = self.samples[range.clone()].iter();
        for (index, (sample, logits)) in samples.zip(result.logits.chunks(classes)).enumerate() {
            let plain = float.run(&sample.input)?;
            let (private, plaintext, label) = (argmax(logits), argmax(&plain), sample.label);
            figures.errors.push(relative_error(logits, &plain));
            figures.labelled += usize::from(label.is_some());
            figures.correct += usize::from(Some(private) == label);
            figures.plaintext_correct += usize::from(Some(plaintext) == label);
            figures.agree += usize::from(private == argmax(&simulated.logits_of(index)));
            figures.agree_plaintext += usize::from(private == plaintext);
            progress(Progress::Classified { picture: sample.picture.clone(), label, private, plaintext });
        }
        Ok(())
    }

    /// Inferences that the samples take, and the one before them.
    fn inferences(&self) -> usize {
        self.samples.len().div_ceil(self.options.batch) + usize::from(self.warms_up())
    }

    /// A cheat is for the first inference.
    fn warms_up(&self) -> bool {
        self.options.warm_up && self.options.cheat.is_none()
    }

    /// Inferences for which material is kept: one where memory is scarce.
    fn kept(&self) -> usize {
        let link = crate::rates::link(&self.options.net);
        let estimate = self.plan.estimate(self.parties.count(), self.options.batch, &link, &Rates::STATED);
        match (estimate, available_memory()) {
            (Ok(Estimate { memory: m, .. }), Some(available)) => {
                let each = m.party.saturating_add(m.ready);
                let parties = each.saturating_mul(self.parties.count() as u64);
                let needed = parties.saturating_add(m.helper).saturating_add(m.owner);
                // Messages on their way, and the simulator that answers are compared with.
                if needed.saturating_add(needed / 3) < available { KEPT } else { 1 }
            }
            _ => KEPT,
        }
    }

    fn estimate(&self) -> Option<f64> {
        let (link, rates) = (crate::rates::link(&self.options.net), self.options.rates.as_ref()?);
        let estimate = self.plan.estimate(self.parties.count(), self.options.batch, &link, rates);
        estimate.ok().map(|e| 1e3 * e.online)
    }

    fn report(&self, figures: Figures, verdict: Option<NodeError>, recovered: Option<bool>) -> DemoReport {
        let plan = &self.plan;
        let with_labels = |n: usize| (figures.labelled > 0).then_some(n);
        let (correct, plaintext_correct) =
            (with_labels(figures.correct), with_labels(figures.plaintext_correct));
        let median = |values: Vec<f64>| Spread::of(values).map(|s| s.median);
        let errors = Spread::of(figures.errors);
        DemoReport {
            model: self.name.clone(),
            parties: self.parties.count(),
            samples: self.samples.len(),
            batch: self.options.batch,
            data: self.source.clone(),
            classes: self.classes.clone(),
            labelled: figures.labelled,
            correct,
            plaintext_correct,
            agree: figures.agree,
            agree_plaintext: figures.agree_plaintext,
            relative_error: errors.map(|e| e.median),
            relative_error_max: errors.map(|e| e.max),
            check: verdict.map_or_else(|| "accepted".to_owned(), |error| error.to_string()),
            compile_ms: self.compile_ms,
            load_ms: figures.load_ms,
            online_ms: Spread::of(figures.online_ms),
            estimated_online_ms: self.estimate(),
            preprocessing_ms: median(figures.preprocessing_ms),
            rounds: figures.rounds,
            sent_bytes_per_party: figures.sent_bytes,
            dealt_bytes: median(figures.dealt_bytes).map(|b| b as u64),
            peak_rss_bytes: peak_rss(),
            limbs: plan.limbs.count(),
            scales: scales(plan),
            kernel: self.kernel.name().to_owned(),
            net: self.options.net.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cheat: self.options.cheat.as_ref().map(ToString::to_string),
            recovered,
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Waits until the helper has dealt for that many inferences: those that were used and those that are kept.
///
/// All roles share this machine's cores: without the wait the next inference would be measured together with the
/// dealing for the one after it, which other machines do in a deployment.
fn settle(cluster: &LocalCluster, wanted: usize, patience: Duration, figures: &mut Figures) {
    while figures.preprocessing_ms.len() < wanted {
        match cluster.helper_events.recv_timeout(patience) {
            Ok(Event::Dealt { elapsed, bytes, .. }) => {
                figures.preprocessing_ms.push(elapsed.as_secs_f64() * 1e3);
                figures.dealt_bytes.push(bytes as f64);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Takes the figures of one inference from the roles' events.
fn collect(cluster: &LocalCluster, id: InferenceId, result: &Inferred, figures: &mut Figures) {
    figures.online_ms.push(result.elapsed.as_secs_f64() * 1e3);
    figures.rounds = figures.rounds.max(Some(result.rounds));
    for events in &cluster.party_events {
        // A party reports when the helper has told it the outcome, perhaps after the client has its answer.
        while let Ok(event) = events.recv_timeout(Duration::from_secs(1)) {
            if let Event::Finished { id: finished, sent, .. } = event
                && finished == id
            {
                figures.sent_bytes = figures.sent_bytes.max(sent.into_iter().max());
                break;
            }
        }
    }
}

/// Quantised weights, handed to the owner's states part by part.
struct Owned<'a>(&'a QuantizedWeights);

impl WeightSource for Owned<'_> {
    fn part(&self, id: WeightId, part: &Part, limbs: Limbs) -> Option<LimbVec> {
        let layer = self.0.layers().get(id.index())?;
        match part {
            Part::Weights(range) => Some(LimbVec::from_i64(limbs, layer.weights().get(range.clone())?)),
            Part::Bias(_) => self.0.bias(id, limbs),
        }
    }
}

fn scales(plan: &Plan) -> ScaleReport {
    let activations: Vec<_> = plan
        .ops
        .iter()
        .filter_map(|op| if let OpKind::Activation(a) = &op.kind { Some(a) } else { None })
        .collect();
    ScaleReport {
        input: plan.input.scale.0,
        weights: plan.weights.iter().map(|w| w.scale.0).collect(),
        arguments: activations.iter().map(|a| a.input_scale.0).collect(),
        coefficients: activations.iter().map(|a| a.coefficient_scale.0).collect(),
        output: plan.output.scale.0,
    }
}
