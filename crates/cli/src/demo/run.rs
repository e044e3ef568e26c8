//! One demonstration from starting the roles to the last answer.

use super::figures::{Figures, Outputs};
use super::session::Session;
use super::{DemoError, DemoReport, Progress};
use crate::beside::apart;
use crate::interrupt::TemporaryFolder;
use amicus_model::compare::Comparison;
use amicus_model::{FloatExecutor, ModelError, quantize_input};
use amicus_node::client::{ClientNode, Inferred};
use amicus_node::conduct::Cheat;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_node::owner::{LoadedModel, OwnerNode};
use amicus_node::{Ahead, Limits, NodeError};
use amicus_protocol::{Fault, InferenceId, ProtocolError, Step};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// Runs all inferences and measures them.
    pub(super) fn run(self, progress: &mut dyn FnMut(Progress)) -> Result<DemoReport, DemoError> {
        let expected = self.compare(&mut |_, _| ())?;
        let folder = TemporaryFolder::new().map_err(|e| DemoError::File {
            path: std::env::temp_dir().display().to_string(),
            reason: e.to_string(),
        })?;
        let plan = Arc::new(self.plan.clone());
        let batch = self.options.batch as u32;
        let mut config = LocalConfig::new(Arc::clone(&plan), self.parties, folder.path().to_owned());
        config.wiring =
            if self.options.net.is_local() { Wiring::Tls } else { Wiring::Shaped(self.options.net) };
        config.model.ahead = Ahead { batch, kept: self.kept, total: Some(self.inferences()) };
        config.model.max_batch = batch;
        config.first_port = self.options.port;
        config.threads = self.options.threads;
        if let Some(cheat) = &self.options.cheat {
            config.conduct = Some((self.parties.last(), cheat.into_conduct(&plan)));
        }
        let mut cluster = LocalCluster::start(config)?;
        let result = self.with(&mut cluster, &expected, progress);
        cluster.stop();
        result
    }

    fn with(
        &self,
        cluster: &mut LocalCluster,
        expected: &Comparison,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<DemoReport, DemoError> {
        let mut figures = Figures::default();
        let dealing = Limits::default().for_plan(&self.plan)?.load;
        let mut owner = cluster.owner()?;
        let started = Instant::now();
        let (model, mut verdict) = self.load(&mut owner, progress)?;
        figures.load_ms = started.elapsed().as_secs_f64() * 1e3;
        progress(Progress::Loaded {
            elapsed: started.elapsed(),
            samples: self.samples.len(),
            public: !self.plan.public.is_empty(),
        });
        let mut client = cluster.client("1")?;
        if client.fingerprint()? != model.fingerprint {
            let fault = Fault::Disagreement("fingerprint of the model".into());
            return Err(NodeError::from(ProtocolError::peer(
                amicus_node::Culprit::EveryPartyHeard,
                Step::load_part("fingerprint"),
                fault,
            ))
            .into());
        }

        let mut recovered = None;
        let mut first = self.options.cheat.filter(|_| verdict.is_none());
        if verdict.is_some() {
            recovered = Some(true);
        }
        let mut start = 0;
        let mut used = 0;
        if self.warms_up() {
            figures.settle(cluster, self.inferences().min(self.kept), dealing);
            self.infer(&mut client, 0..self.options.batch.min(self.samples.len()))?;
            used = 1;
        }
        while start < self.samples.len() {
            figures.settle(cluster, self.inferences().min(used + self.kept), dealing);
            used += 1;
            let range = start..(start + self.options.batch).min(self.samples.len());
            match self.infer(&mut client, range.clone()) {
                Ok((id, result)) => {
                    self.score(&range, &result, expected, &mut figures, progress)?;
                    figures.collect(cluster, id, &result);
                    if let Some(cheat) = first {
                        progress(Progress::Cheated { result: repaired(cheat).to_owned() });
                    }
                    start = range.end;
                }
                Err(error) if first.is_some() => {
                    progress(Progress::Cheated { result: error.to_string() });
                    verdict = Some(error);
                    recovered = Some(self.infer(&mut client, range).is_ok());
                    start = self.samples.len();
                }
                Err(error) => return Err(error.into()),
            }
            first = None;
        }
        Ok(figures.report(self, expected, verdict, recovered))
    }

    /// Loads the model. With a party that cheats at load the first attempt fails; the second one
    /// must not.
    fn load(
        &self,
        owner: &mut OwnerNode,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(LoadedModel, Option<NodeError>), DemoError> {
        let weights = self.weights();
        match owner.load(weights) {
            Ok(model) => Ok((model, None)),
            Err(error) if self.options.cheat.is_some() => {
                progress(Progress::Cheated { result: error.to_string() });
                Ok((owner.load(weights)?, Some(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn input(&self, range: Range<usize>) -> Result<Vec<i64>, ModelError> {
        let each = self.inputs[range].iter().map(|input| quantize_input(&self.plan, input));
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
        let id = admission.scope().id;
        Ok((id, client.infer(admission, &input)?))
    }

    fn score(
        &self,
        range: &Range<usize>,
        result: &Inferred,
        expected: &Comparison,
        figures: &mut Figures,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), DemoError> {
        let polynomial = self.original.as_ref().map(|_| FloatExecutor::new(&self.graph));
        let each = result.logits.len() / range.len();
        for (index, revealed) in range.clone().zip(result.logits.chunks(each)) {
            let (private, outside) = self.plan.answer(revealed);
            let sample = &self.samples[index];
            let plaintext = &self.plan.revealed(&expected.outputs.float[index]);
            let polynomial =
                polynomial.as_ref().map(|network| network.run(&self.inputs[index])).transpose()?;
            let polynomial = polynomial.map(|outputs| self.plan.revealed(&outputs));
            let outputs = Outputs {
                private,
                plaintext,
                // A network trained with polynomials is its own.
                polynomial: polynomial.as_ref().unwrap_or(plaintext),
                simulated: &expected.outputs.fixed[index],
            };
            figures.compare(&self.plan, &outputs, sample.label);
            figures.notice(sample.number, outside);
            progress(Progress::Classified {
                number: sample.number,
                picture: sample.picture.clone(),
                label: sample.label,
                private: private.to_vec(),
                plaintext: plaintext.clone(),
                named: [private, plaintext].map(|outputs| self.plan.class(outputs)),
                apart: apart(&self.plan, private, plaintext),
            });
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
}

/// Why the right answer came although a party cheated.
fn repaired(cheat: Cheat) -> &'static str {
    match cheat {
        Cheat::Output => {
            "the check had passed before; the client saw by the hash that the helper released that this party's output \
             was not the one all had vouched for, took another party's, and so got the right answer"
        }
        _ => "the honest parties repaired it, and the client got the right answer",
    }
}
