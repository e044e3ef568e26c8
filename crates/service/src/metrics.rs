//! What Prometheus reads of a node: counted from what the node tells, and asked of it when it is
//! read.

use crate::process;
use crate::public::Outcome as ApiOutcome;
use amicus::net::clock;
use amicus::node::event::{Event, Phase};
use amicus::{Level, Notice};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// Bounds of the buckets of times, in seconds: from a round on one machine to a load over a WAN.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    #[allow(non_camel_case_types, reason = "the label's value")]
    ok,
    #[allow(non_camel_case_types, reason = "the label's value")]
    failed,
    #[allow(non_camel_case_types, reason = "the label's value")]
    check_failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct During {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    outcome: &'static str,
}

/// Requests of a public port by how they ended.
#[derive(Clone)]
pub(crate) struct ApiCounts(Family<Asked, Counter>);

impl ApiCounts {
    fn new() -> Self {
        let all = ApiCounts(Family::default());
        // Present from the beginning, so that an alarm can be set on them.
        for outcome in ApiOutcome::ALL {
            let _ = all.0.get_or_create(&Asked { outcome: outcome.name() });
        }
        all
    }

    /// Counts a request.
    pub(crate) fn count(&self, outcome: ApiOutcome) {
        self.0.get_or_create(&Asked { outcome: outcome.name() }).inc();
    }
}

/// A node's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    inferences: Family<Ended, Counter>,
    failed_checks: Counter,
    rounds: Counter,
    inference_bytes: Counter,
    phases: Family<During, Histogram>,
    loads: Family<Ended, Counter>,
    sessions: Family<Ended, Counter>,
    retired: Counter,
    dealt: Counter,
    dealt_bytes: Counter,
    dealing: Histogram,
    dealing_failed: Counter,
    ready_bytes: Gauge,
    connection_errors: Counter,
    unauthenticated: Counter,
    missed: Counter,
    repaired: Counter,
    api: ApiCounts,
    // Asked of the node when somebody reads them.
    session: Gauge,
    models: Gauge,
    nodes: Gauge,
    links: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    ready: Gauge,
    sent: Counter,
    received: Counter,
    memory: Gauge,
    files: Gauge,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// Metrics of a node that begins now.
    pub(crate) fn new(role: &str, cluster: &str, digest: &str) -> Self {
        let mut registry = Registry::with_prefix("amicus");
        let info = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("role", role),
            ("cluster", cluster),
            ("digest", digest),
        ];
        let info = Info::new(info.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        registry.register("build", "Version and place of this node", info);
        let started = Gauge::<i64>::default();
        let now = clock::of_day().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        started.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        registry.register_with_unit(
            "start_time",
            "When this node started, since 1970",
            Unit::Seconds,
            started,
        );
        let metrics = Metrics {
            inferences: Family::default(),
            failed_checks: Counter::default(),
            rounds: Counter::default(),
            inference_bytes: Counter::default(),
            phases: Family::new_with_constructor(histogram),
            loads: Family::default(),
            sessions: Family::default(),
            retired: Counter::default(),
            dealt: Counter::default(),
            dealt_bytes: Counter::default(),
            dealing: histogram(),
            dealing_failed: Counter::default(),
            ready_bytes: Gauge::default(),
            connection_errors: Counter::default(),
            unauthenticated: Counter::default(),
            missed: Counter::default(),
            repaired: Counter::default(),
            api: ApiCounts::new(),
            session: Gauge::default(),
            models: Gauge::default(),
            nodes: Gauge::default(),
            links: Gauge::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            ready: Gauge::default(),
            sent: Counter::default(),
            received: Counter::default(),
            memory: Gauge::default(),
            files: Gauge::default(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        // Present from the beginning, so that an alarm can be set on them.
        for outcome in [Outcome::ok, Outcome::failed, Outcome::check_failed] {
            let _ = metrics.inferences.get_or_create(&Ended { outcome });
        }
        Metrics { registry, ..metrics }
    }

    fn register(&self, to: &mut Registry) {
        to.register("inferences", "Inferences by how they ended", self.inferences.clone());
        let text = "Checks that failed: some party cheated, and nothing was released";
        to.register("failed_checks", text, self.failed_checks.clone());
        to.register("rounds", "Rounds of openings (parties)", self.rounds.clone());
        let text = "Bytes of inferences sent to other parties (parties)";
        to.register_with_unit("inference_sent", text, Unit::Bytes, self.inference_bytes.clone());
        let text = "Time of finished inferences by phase";
        to.register_with_unit("phase", text, Unit::Seconds, self.phases.clone());
        to.register("loads", "Model loads by how they ended", self.loads.clone());
        to.register("sessions", "Sessions by whether they could begin", self.sessions.clone());
        to.register("retired_epochs", "Loaded models that are used no more", self.retired.clone());
        to.register("dealt", "Inferences for which material was dealt (helper)", self.dealt.clone());
        let text = "Material dealt to all parties (helper)";
        to.register_with_unit("dealt", text, Unit::Bytes, self.dealt_bytes.clone());
        let text = "Time to deal the material of an inference (helper)";
        to.register_with_unit("dealing", text, Unit::Seconds, self.dealing.clone());
        to.register("dealing_failures", "Material that could not be dealt", self.dealing_failed.clone());
        let text = "Material that is ready and not taken, at each party (helper)";
        to.register_with_unit("ready", text, Unit::Bytes, self.ready_bytes.clone());
        to.register(
            "connection_errors",
            "Connections that failed, each told once a minute",
            self.connection_errors.clone(),
        );
        let text = "Messages of users whose tags were wrong: somebody claims to be another";
        to.register("unauthenticated_messages", text, self.unauthenticated.clone());
        to.register(
            "missed_events",
            "Events that were not counted because too many came",
            self.missed.clone(),
        );
        to.register(
            "repaired_records",
            "Damaged records of the folder that were repaired",
            self.repaired.clone(),
        );
        let text =
            "Requests and connections of the public port by how they ended; connections that idle are slow";
        to.register("api_requests", text, self.api.0.clone());
        to.register("session_open", "Whether a session with all nodes is open", self.session.clone());
        to.register("models", "Models that are served", self.models.clone());
        to.register("nodes_connected", "Other nodes that this one has a link to", self.nodes.clone());
        to.register("links", "Links to nodes and users", self.links.clone());
        to.register("inferences_in_flight", "Inferences that have not ended", self.in_flight.clone());
        to.register(
            "requests_waiting",
            "Requests, or inferences of a party, that wait for their turn",
            self.waiting.clone(),
        );
        to.register("ready_inferences", "Inferences for which material is ready", self.ready.clone());
        let text = "Bytes sent over links, dealt material not counted";
        to.register_with_unit("links_sent", text, Unit::Bytes, self.sent.clone());
        let text = "Bytes received over links, dealt material not counted";
        to.register_with_unit("links_received", text, Unit::Bytes, self.received.clone());
        to.register_with_unit("memory", "Memory of this process", Unit::Bytes, self.memory.clone());
        to.register("open_files", "Files and sockets of this process", self.files.clone());
    }

    /// Where the public port counts its requests.
    pub(crate) fn api(&self) -> ApiCounts {
        self.api.clone()
    }

    /// Counts what the node told.
    pub(crate) fn count(&self, notice: &Notice) {
        let event = match notice {
            Notice::Event(event) => event,
            Notice::Connection(_) => {
                self.connection_errors.inc();
                return;
            }
            _ => return,
        };
        match event {
            Event::SessionOpened { .. } => self.ended(&self.sessions, Outcome::ok),
            Event::SessionFailed { .. } => self.ended(&self.sessions, Outcome::failed),
            Event::Loaded { .. } => self.ended(&self.loads, Outcome::ok),
            Event::LoadFailed { error } => self.failed(&self.loads, error.is_rejection()),
            Event::Retired { .. } => add(&self.retired, 1),
            Event::Dealt { elapsed, bytes, material, .. } => {
                self.dealt.inc();
                self.dealt_bytes.inc_by(*bytes);
                self.dealing.observe(elapsed.as_secs_f64());
                self.ready_bytes.set(i64::try_from(*material).unwrap_or(i64::MAX));
            }
            Event::DealFailed { .. } => add(&self.dealing_failed, 1),
            Event::Finished { sent, rounds, phases, .. } => {
                self.ended(&self.inferences, Outcome::ok);
                self.rounds.inc_by(*rounds as u64);
                self.inference_bytes.inc_by(sent.iter().sum());
                for (phase, time) in phases {
                    self.phases.get_or_create(&During { phase: name(*phase) }).observe(time.as_secs_f64());
                }
            }
            Event::Failed { error, .. } => self.failed(&self.inferences, error.is_rejection()),
            Event::Unauthenticated { .. } => add(&self.unauthenticated, 1),
            Event::Missed { events } => add(&self.missed, *events),
            Event::Repaired { records } => add(&self.repaired, u64::from(*records)),
            Event::Recalled { .. }
            | Event::Unconfirmed { .. }
            | Event::Unusable { .. }
            | Event::Fatal { .. } => {}
        }
    }

    fn ended(&self, family: &Family<Ended, Counter>, outcome: Outcome) {
        family.get_or_create(&Ended { outcome }).inc();
    }

    fn failed(&self, family: &Family<Ended, Counter>, rejected: bool) {
        if rejected {
            self.failed_checks.inc();
        }
        self.ended(family, if rejected { Outcome::check_failed } else { Outcome::failed });
    }

    /// All metrics as text, with how the node is now.
    pub(crate) fn text(&self, level: Level) -> Result<String, std::fmt::Error> {
        let Level { session, models, nodes, links, in_flight, waiting, ready, .. } = level;
        let Level { bytes_sent, bytes_received, .. } = level;
        for (gauge, value) in [
            (&self.session, usize::from(session)),
            (&self.models, models),
            (&self.nodes, nodes),
            (&self.links, links),
            (&self.in_flight, in_flight),
            (&self.waiting, waiting),
            (&self.ready, ready),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (counter, value) in [(&self.sent, bytes_sent), (&self.received, bytes_received)] {
            counter.inner().fetch_max(value, Ordering::Relaxed);
        }
        for (gauge, value) in
            [(&self.memory, process::resident_bytes()), (&self.files, process::open_files())]
        {
            gauge.set(value.and_then(|value| i64::try_from(value).ok()).unwrap_or(0));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn add(counter: &Counter<u64, AtomicU64>, more: u64) {
    counter.inc_by(more);
}

/// The name of a phase in labels.
fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Queue => "queue",
        Phase::Parties => "parties",
        Phase::Material => "material",
        Phase::Input => "input",
        Phase::Rounds => "rounds",
        Phase::Verdict => "verdict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus::node::{NodeError, Peer};
    use amicus::protocol::control::AbortNotice;
    use amicus::protocol::{InferenceId, ProtocolError, Step};

    fn failed(rejected: bool) -> Notice {
        let notice = AbortNotice {
            accused: None,
            step: Step::Check,
            reason: "no".into(),
            rejected,
            failures: 0,
            reporter: None,
        };
        let error =
            NodeError::Protocol(ProtocolError::Aborted { by: Peer::Helper, notice: Box::new(notice) });
        Notice::Event(Event::Failed { id: InferenceId(1), error })
    }

    fn value(text: &str, line: &str) -> String {
        let found = text.lines().find_map(|l| l.strip_prefix(line));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}")).trim().to_owned()
    }

    #[test]
    fn inferences_are_counted_by_how_they_ended() {
        let metrics = Metrics::new("party 1", "ward 7", "d1");
        let text = metrics.text(Level::default()).unwrap();
        for outcome in ["ok", "failed", "check_failed"] {
            assert_eq!(value(&text, &format!("amicus_inferences_total{{outcome=\"{outcome}\"}}")), "0");
        }
        for id in 0..3 {
            metrics.count(&Notice::Event(Event::Finished {
                id: InferenceId(id),
                sent: vec![100, 20],
                waited_for_material: false,
                rounds: 12,
                phases: vec![(Phase::Rounds, Duration::from_millis(2)), (Phase::Input, Duration::ZERO)],
            }));
        }
        [failed(true), failed(false), failed(true)].iter().for_each(|notice| metrics.count(notice));
        let level = Level { session: true, links: 5, bytes_sent: 70, ..Level::default() };
        let text = metrics.text(level).unwrap();
        for (line, is) in [
            ("amicus_inferences_total{outcome=\"ok\"}", "3"),
            ("amicus_inferences_total{outcome=\"failed\"}", "1"),
            ("amicus_inferences_total{outcome=\"check_failed\"}", "2"),
            ("amicus_failed_checks_total", "2"),
            ("amicus_rounds_total", "36"),
            ("amicus_inference_sent_bytes_total", "360"),
            ("amicus_phase_seconds_count{phase=\"rounds\"}", "3"),
            ("amicus_phase_seconds_sum{phase=\"input\"}", "0.0"),
            ("amicus_session_open", "1"),
            ("amicus_links", "5"),
            ("amicus_links_sent_bytes_total", "70"),
        ] {
            assert_eq!(value(&text, line), is, "{line}");
        }
        assert!(text.contains("role=\"party 1\"") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
