//! What an image costs when many are classified one after the other, both phases at once: time, and
//! processor time of every role.

use super::session::{LARGE, Session};
use super::{DemoError, DemoOptions, MAX_BATCH};
use crate::cpu;
use crate::interrupt::TemporaryFolder;
use amicus_model::{ModelError, quantize_input};
use amicus_node::client::ClientNode;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig};
use amicus_node::{Ahead, Limits, NodeError};
use amicus_protocol::ProtocolError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Inferences before those that are measured.
const WARM_UP: usize = 2;
/// Inferences for which material is kept: one in flight, and one that is dealt meanwhile.
const KEPT: usize = 2;
/// The thread of the client, by its name.
const CLIENT: &str = "client";

/// What to measure.
#[derive(Clone, Debug)]
pub struct ThroughputOptions {
    /// A model as in [`DemoOptions`].
    pub model: String,
    /// Compute parties, 2 to 8.
    pub parties: usize,
    /// Images in one inference.
    pub batch: usize,
    /// Images, at least; whole inferences are measured. By default eight inferences, and at least
    /// 256 images of a small model.
    pub images: Option<usize>,
    /// Threads beside the roles that compute all the time.
    pub busy: usize,
}

/// What an image costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// Name of the model.
    pub model: String,
    /// Compute parties; 0 where a network ran in plain text.
    pub parties: usize,
    /// Images in one inference.
    pub batch: usize,
    /// Inferences that were measured.
    pub inferences: usize,
    /// Threads beside the roles that computed all the time.
    pub busy: usize,
    /// Cores that the process may use.
    pub cores: usize,
    /// Images a second: all roles on this machine, their material dealt in the same time.
    pub images_per_second: f64,
    /// Processor time for an image in milliseconds, role by role and phase by phase; empty where
    /// the system does not tell.
    pub cpu_ms: BTreeMap<String, f64>,
    /// Bytes dealt for an image.
    pub dealt_bytes: f64,
    /// Kernels used.
    pub kernel: String,
}

impl Throughput {
    /// Processor time for an image of all roles in one phase, `dealing` or `online`, in
    /// milliseconds.
    pub fn phase_ms(&self, phase: &str) -> f64 {
        let of_phase = self.cpu_ms.iter().filter(|(role, _)| role.ends_with(phase));
        // The sum of no floating-point numbers is -0.
        0.0 + of_phase.map(|(_, ms)| ms).sum::<f64>()
    }
}

/// Measures it.
///
/// # Errors
/// Options, files or a network that cannot be used; roles that fail.
pub fn throughput(options: &ThroughputOptions) -> Result<Throughput, DemoError> {
    let prepare = DemoOptions {
        model: Some(options.model.clone()),
        parties: options.parties,
        batch: options.batch,
        ..DemoOptions::default()
    };
    if !(1..=MAX_BATCH).contains(&options.batch) {
        let reason = format!("{} images in an inference, 1 to {MAX_BATCH} are possible", options.batch);
        return Err(DemoError::Option { option: "--batch", reason });
    }
    Session::prepare(&prepare, false, &mut |_| ())?.throughput(options)
}

impl Session {
    fn throughput(self, options: &ThroughputOptions) -> Result<Throughput, DemoError> {
        let folder = TemporaryFolder::new().map_err(|e| DemoError::File {
            path: std::env::temp_dir().display().to_string(),
            reason: e.to_string(),
        })?;
        let plan = Arc::new(self.plan.clone());
        let mut config = LocalConfig::new(Arc::clone(&plan), self.parties, folder.path().to_owned());
        config.model.ahead = Ahead::new(options.batch as u32, KEPT);
        config.model.max_batch = options.batch as u32;
        let mut cluster = LocalCluster::start(config)?;
        let done = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            for _ in 0..options.busy {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::black_box((0..1000u64).sum::<u64>());
                    }
                });
            }
            let named = thread::Builder::new().name(CLIENT.to_owned());
            let measured = named.spawn_scoped(scope, || self.measured(&mut cluster, options));
            let measured = measured.map(|thread| thread.join());
            done.store(true, Ordering::Relaxed);
            measured
        });
        cluster.stop();
        let failed = |reason: &str| NodeError::from(ProtocolError::Internal(reason.to_owned()));
        let result = result.map_err(|_| failed("no thread for the client"))?;
        result.unwrap_or_else(|_| Err(failed("the client's thread ended").into()))
    }

    fn measured(
        &self,
        cluster: &mut LocalCluster,
        options: &ThroughputOptions,
    ) -> Result<Throughput, DemoError> {
        let patience = Limits::default().for_plan(&self.plan)?.load;
        cluster.owner()?.load(self.weights())?;
        let mut client = cluster.client("1")?;
        let batches = self.batches(options.batch)?;
        let large = self.plan.cost(1).map_err(ModelError::from)?.multiply_adds > LARGE;
        let usual = (8 * options.batch).max(if large { 0 } else { 256 });
        let inferences = options.images.unwrap_or(usual).div_ceil(options.batch).max(1);
        let mut deals = Deals::default();
        for number in 0..WARM_UP {
            infer(&mut client, options.batch, &batches[number % batches.len()])?;
        }
        deals.wait(cluster, WARM_UP + KEPT, patience)?;
        let (cpu, bytes, started) = (cpu::by_thread(), deals.bytes, Instant::now());
        for number in 0..inferences {
            infer(&mut client, options.batch, &batches[number % batches.len()])?;
        }
        // No fewer were dealt than were used.
        deals.wait(cluster, WARM_UP + KEPT + inferences, patience)?;
        let (elapsed, images) = (started.elapsed(), (inferences * options.batch) as f64);
        let spent = |(role, now): (String, Duration)| {
            let before = cpu.get(&role).copied().unwrap_or_default();
            (role, now.saturating_sub(before).as_secs_f64() * 1e3 / images)
        };
        let of_roles = |(role, _): &(String, f64)| {
            role == CLIENT || role.ends_with("dealing") || role.ends_with("online")
        };
        Ok(Throughput {
            model: self.name.clone(),
            parties: self.parties.count(),
            batch: options.batch,
            inferences,
            busy: options.busy,
            cores: thread::available_parallelism().map_or(1, usize::from),
            images_per_second: images / elapsed.as_secs_f64(),
            cpu_ms: cpu::by_thread().into_iter().map(spent).filter(of_roles).collect(),
            dealt_bytes: (deals.bytes - bytes) as f64 / images,
            kernel: self.kernel.name().to_owned(),
        })
    }

    /// Inputs in batches: those that there are, again and again until every one had its turn.
    fn batches(&self, batch: usize) -> Result<Vec<Vec<i64>>, ModelError> {
        let quantized: Vec<Vec<i64>> =
            self.inputs.iter().map(|input| quantize_input(&self.plan, input)).collect::<Result<_, _>>()?;
        let count = quantized.len().div_ceil(batch);
        let mut inputs = quantized.iter().cycle();
        Ok((0..count).map(|_| inputs.by_ref().take(batch).flatten().copied().collect()).collect())
    }
}

/// What the helper has dealt.
#[derive(Default)]
struct Deals {
    count: usize,
    bytes: u64,
}

impl Deals {
    /// Waits for material; without it there is nothing to tell.
    fn wait(&mut self, cluster: &LocalCluster, wanted: usize, patience: Duration) -> Result<(), NodeError> {
        while self.count < wanted {
            match cluster.helper_events.recv_timeout(patience) {
                Ok(Event::Dealt { bytes, .. }) => {
                    self.count += 1;
                    self.bytes += bytes;
                }
                Ok(Event::DealFailed { error } | Event::Fatal { error }) => return Err(error),
                Ok(_) => {}
                Err(_) => return Err(ProtocolError::Internal("no material was dealt".into()).into()),
            }
        }
        Ok(())
    }
}

fn infer(client: &mut ClientNode, batch: usize, input: &[i64]) -> Result<(), NodeError> {
    let admission = client.request(batch as u32, &[])?;
    client.infer(admission, input).map(drop)
}
