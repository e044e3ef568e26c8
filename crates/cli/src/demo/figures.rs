//! What a demonstration measures, inference by inference, and the report it becomes.

use super::report::{DemoReport, ScaleReport, Spread};
use super::session::Session;
use crate::beside::apart;
use crate::memory::peak;
use amicus_model::compare::Comparison;
use amicus_model::report::ErrorFigures;
use amicus_node::NodeError;
use amicus_node::client::Inferred;
use amicus_node::event::Event;
use amicus_node::local::LocalCluster;
use amicus_plan::{OpKind, Plan};
use amicus_protocol::InferenceId;
use std::time::Duration;

/// Figures collected inference by inference.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) load_ms: f64,
    online_ms: Vec<f64>,
    pub(super) preprocessing_ms: Vec<f64>,
    dealt_bytes: Vec<f64>,
    sent_bytes: Option<u64>,
    rounds: Option<u16>,
    noticed: Option<Vec<usize>>,
    answers: Answers,
}

/// How answers compare.
#[derive(Default)]
struct Answers {
    /// Errors of private answers against the user's network.
    errors: Vec<f64>,
    /// Errors of polynomials against the user's network.
    polynomial_errors: Vec<f64>,
    /// Errors of private answers against the network with polynomials.
    fixed_errors: Vec<f64>,
    /// Errors of private answers against the simulator's.
    simulator_errors: Vec<f64>,
    labelled: usize,
    correct: usize,
    plaintext_correct: usize,
    polynomial_correct: usize,
    agree: usize,
    agree_plaintext: usize,
    agree_polynomial: usize,
}

/// One input's outputs, as everyone computes them: labels where the plan reveals labels.
pub(super) struct Outputs<'a> {
    pub(super) private: &'a [f64],
    /// The user's network.
    pub(super) plaintext: &'a [f64],
    /// Outputs of the network with polynomials.
    pub(super) polynomial: &'a [f64],
    /// The integer simulator.
    pub(super) simulated: &'a [f64],
}

impl Figures {
    /// Takes in one input's outputs.
    pub(super) fn compare(&mut self, plan: &Plan, outputs: &Outputs<'_>, label: Option<usize>) {
        let a = &mut self.answers;
        let Outputs { private, plaintext, polynomial, simulated } = outputs;
        a.errors.push(apart(plan, private, plaintext));
        a.polynomial_errors.push(apart(plan, polynomial, plaintext));
        a.fixed_errors.push(apart(plan, private, polynomial));
        a.simulator_errors.push(apart(plan, private, simulated));
        let [private, plaintext, polynomial, simulated] =
            [private, plaintext, polynomial, simulated].map(|outputs| plan.class(outputs));
        a.labelled += usize::from(label.is_some());
        a.correct += usize::from(Some(private) == label);
        a.plaintext_correct += usize::from(Some(plaintext) == label);
        a.polynomial_correct += usize::from(Some(polynomial) == label);
        a.agree += usize::from(private == simulated);
        a.agree_plaintext += usize::from(private == plaintext);
        a.agree_polynomial += usize::from(private == polynomial);
    }

    /// Takes in whether the client was told that a hidden value of a sample left its window.
    pub(super) fn notice(&mut self, sample: usize, outside: Option<bool>) {
        if let Some(found) = outside {
            self.noticed.get_or_insert_default().extend(found.then_some(sample));
        }
    }

    /// Waits until the helper has dealt for that many inferences: those that were used and those
    /// that are kept.
    ///
    /// All roles share this machine's cores: without the wait the next inference would be measured
    /// together with the dealing for the one after it, which other machines do in a deployment.
    pub(super) fn settle(&mut self, cluster: &LocalCluster, wanted: usize, patience: Duration) {
        while self.preprocessing_ms.len() < wanted {
            match cluster.helper_events.recv_timeout(patience) {
                Ok(Event::Dealt { elapsed, bytes, .. }) => {
                    self.preprocessing_ms.push(elapsed.as_secs_f64() * 1e3);
                    self.dealt_bytes.push(bytes as f64);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Takes the figures of one inference from the roles' events.
    pub(super) fn collect(&mut self, cluster: &LocalCluster, id: InferenceId, result: &Inferred) {
        self.online_ms.push(result.elapsed.as_secs_f64() * 1e3);
        self.rounds = self.rounds.max(Some(result.rounds));
        for events in &cluster.party_events {
            // A party reports when the helper has told it the outcome, perhaps after the client has
            // its answer.
            while let Ok(event) = events.recv_timeout(Duration::from_secs(1)) {
                if let Event::Finished { id: finished, sent, .. } = event
                    && finished == id
                {
                    self.sent_bytes = self.sent_bytes.max(sent.into_iter().max());
                    break;
                }
            }
        }
    }

    /// Everything as one report.
    pub(super) fn report(
        self,
        session: &Session,
        expected: &Comparison,
        verdict: Option<NodeError>,
        recovered: Option<bool>,
    ) -> DemoReport {
        let plan = &session.plan;
        let a = self.answers;
        let classes = |n: usize| expected.classes.then_some(n);
        let with_labels = |n: usize| classes(n).filter(|_| a.labelled > 0);
        let median = |values: Vec<f64>| Spread::of(values).map(|s| s.median);
        let errors =
            |values: Vec<f64>| Spread::of(values).map(|s| ErrorFigures { median: s.median, max: s.max });
        let total = errors(a.errors);
        let mut escapes = expected.escapes.clone();
        // Numbers of samples as in the data, not in the order of this run.
        if let Some(escapes) = &mut escapes {
            for samples in [&mut escapes.outside_interval, &mut escapes.wrapped] {
                samples.iter_mut().for_each(|s| *s = session.samples.get(*s).map_or(*s, |s| s.number));
                samples.sort_unstable();
            }
        }
        DemoReport {
            model: session.name.clone(),
            parties: session.parties.count(),
            samples: session.samples.len(),
            batch: session.options.batch,
            data: session.source.clone(),
            classes: session.classes.clone(),
            tells_classes: expected.classes,
            labelled: a.labelled,
            correct: with_labels(a.correct),
            plaintext_correct: with_labels(a.plaintext_correct),
            polynomial_correct: with_labels(a.polynomial_correct),
            agree: classes(a.agree),
            agree_plaintext: classes(a.agree_plaintext),
            agree_polynomial: classes(a.agree_polynomial),
            relative_error: total.map(|e| e.median),
            relative_error_max: total.map(|e| e.max),
            polynomials_error: errors(a.polynomial_errors),
            fixed_point_error: errors(a.fixed_errors),
            simulator_error_max: errors(a.simulator_errors).map(|e| e.max),
            escapes,
            noticed: self.noticed,
            missed_targets: session.missed.clone(),
            notes: session.notes.clone(),
            check: verdict.map_or_else(|| "accepted".to_owned(), |error| error.to_string()),
            compile_ms: session.compile_ms,
            load_ms: self.load_ms,
            online_ms: Spread::of(self.online_ms),
            estimated_online_ms: session.estimated_online_ms,
            preprocessing_ms: median(self.preprocessing_ms),
            rounds: self.rounds,
            sent_bytes_per_party: self.sent_bytes,
            dealt_bytes: median(self.dealt_bytes).map(|b| b as u64),
            peak_rss_bytes: peak(),
            limbs: plan.limbs.count(),
            public_weights: plan.public_weights(),
            scales: scales(plan),
            kernel: session.kernel.name().to_owned(),
            net: session.options.net.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cheat: session.options.cheat.as_ref().map(ToString::to_string),
            recovered,
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
        weights: plan.tensors().map(|w| w.scale.0).collect(),
        arguments: activations.iter().map(|a| a.input_scale.0).collect(),
        coefficients: activations.iter().map(|a| a.coefficient_scale.0).collect(),
        output: plan.output.scale.0,
    }
}
