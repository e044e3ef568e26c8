//! What must hold in every execution, whatever the corrupt roles do.
//!
//! - No honest receiver accepts a wrong output, and a single changed value is never accepted.
//! - All honest receivers get the output, or none of them does.
//! - Every honest role ends in time; if not well, it names a corrupt role or the failed check, and
//!   no honest one.
//! - An honest party gives an output to its receivers alone, and always the same bytes.
//! - Where no message was touched, all goes well.
//! - Afterwards, with the same nodes, an honest load and inference work.

use super::Report;
use super::adversary::{Changed, Played, names};
use super::deployment::Deployment;
use super::moves::Act;
use super::scenario::{Scenario, Stage};
use super::stage::{self, Ending};
use amicus_field::Limbs;
use amicus_net::clock::world::World;
use amicus_node::event::Event;
use amicus_node::{NodeError, Peer};
use amicus_protocol::ProtocolError;
use amicus_protocol::SessionId;
use amicus_protocol::control::AbortNotice;
use amicus_protocol::wire::Kind;
use std::collections::{BTreeSet, HashSet};

/// What the names of clients begin with.
const ANY_CLIENT: &str = "client ";

/// Relative distance from the simulator that rounding may cause: scales for one limb have few bits.
fn rounding(limbs: Limbs) -> f64 {
    if limbs == Limbs::ONE { 3.0 } else { 0.1 }
}

fn is_right(limbs: Limbs, error: f64) -> bool {
    error < rounding(limbs)
}

/// Plays an execution.
///
/// # Panics
/// When the bench itself fails, or the world gets nowhere.
pub fn execute(scenario: &Scenario) -> Report {
    let world = World::enter(scenario.seed);
    let mut deployment = Deployment::start(scenario);
    let mut report = Report::default();
    let mut salt = scenario.seed;
    // Sessions in which somebody was told other keys.
    let mut spoilt = HashSet::new();
    let mut honest = |deployment: &mut Deployment, stage: &Stage, when: &str, report: &mut Report| {
        salt = salt.wrapping_add(1);
        let ending = stage::run(deployment, scenario, stage, salt);
        must_work(scenario, deployment, &ending, when, report);
    };
    if scenario.stages.first() != Some(&Stage::Load) {
        honest(&mut deployment, &Stage::Load, "the load before", &mut report);
    }
    let (mut loaded, mut touched) = (true, BTreeSet::new());
    for (number, attacked) in scenario.stages.iter().enumerate() {
        let inference = matches!(attacked, Stage::Inference(..));
        if inference && !loaded {
            end_spoilt(scenario, &mut deployment, &spoilt, &mut report);
            honest(&mut deployment, &Stage::Load, "the load between", &mut report);
        }
        deployment.adversary.attack(&scenario.moves);
        let ending = stage::run(&mut deployment, scenario, attacked, scenario.seed ^ number as u64);
        let played = deployment.adversary.rest();
        report.played.extend(names(&scenario.moves, &played));
        touched.extend(played.iter().map(|played| played.number));
        let changed = played.iter().filter_map(|played| played.changed);
        spoilt.extend(changed.filter(|changed| changed.kind == Kind::Keys).map(|changed| changed.session));
        let verdict =
            Judge { scenario, stage: attacked, ending: &ending, played: &played, touched: &touched };
        verdict.judge(&deployment, &mut report);
        loaded = loaded && (inference || verdict.helper_loaded());
    }
    // Somebody may still wait for material that is being dealt under attack.
    stage::wait();
    end_spoilt(scenario, &mut deployment, &spoilt, &mut report);
    // An owner may end an epoch whenever it likes.
    honest(&mut deployment, &Stage::Load, "the load afterwards", &mut report);
    honest(&mut deployment, &stage::honest_inference(), "the inference afterwards", &mut report);
    report.violations.extend(deployment.adversary.leaks());
    deployment.stop();
    report.course = (world.turns(), world.elapsed());
    report.violations.extend(world.panics().into_iter().map(|panic| format!("panic: {panic}")));
    report
}

/// A session whose pairs have different keys may have begun under attack. Its first load is rejected,
/// and ends it.
fn end_spoilt(
    scenario: &Scenario,
    deployment: &mut Deployment,
    spoilt: &HashSet<SessionId>,
    report: &mut Report,
) {
    stage::read_events(deployment);
    if !deployment.session.is_some_and(|session| spoilt.contains(&session)) {
        return;
    }
    let ending = stage::run(deployment, scenario, &Stage::Load, scenario.seed);
    let rejected =
        ending.users.iter().all(|(_, result, _)| result.as_ref().is_err_and(NodeError::is_rejection));
    let checked = !scenario.net().plan.weights.is_empty();
    if checked && scenario.is_honest(&Peer::Helper) && !rejected {
        report.violations.push("a load was not rejected in a session of different keys".to_owned());
    }
}

/// Honest stages go well for everybody.
fn must_work(scenario: &Scenario, deployment: &Deployment, ending: &Ending, when: &str, report: &mut Report) {
    for (who, result, _) in &ending.users {
        match result {
            Ok(logits) if !ending.inputs.is_empty() => {
                let error = deployment.net.error_of(&ending.inputs, logits);
                if !is_right(scenario.limbs, error) {
                    report.violations.push(format!("{when}: {who} got an output {error} from the right one"));
                }
            }
            Ok(_) => {}
            Err(error) => report.violations.push(format!("{when}: {who}: {error}")),
        }
    }
}

struct Judge<'a> {
    scenario: &'a Scenario,
    stage: &'a Stage,
    ending: &'a Ending,
    played: &'a [Played],
    /// Moves played so far, in this stage or before.
    touched: &'a BTreeSet<usize>,
}

impl Judge<'_> {
    fn judge(&self, deployment: &Deployment, report: &mut Report) {
        let mut found = Vec::new();
        self.outputs(deployment, &mut found);
        self.all_or_nobody(&mut found);
        self.in_time(&mut found);
        self.blame(&mut found);
        self.untouched(&mut found);
        self.changed(&mut found);
        let at = match self.stage {
            Stage::Load => "load",
            Stage::Inference(..) => "inference",
        };
        report.violations.extend(found.into_iter().map(|words| format!("{at}: {words}")));
        let errors = self.errors();
        let accepted = errors.is_empty();
        let rejected = errors.iter().any(|(_, e)| e.is_rejection());
        report.endings[if accepted {
            0
        } else if rejected {
            1
        } else {
            2
        }] += 1;
    }

    fn honest_users(
        &self,
    ) -> impl Iterator<Item = &(Peer, Result<Vec<f64>, NodeError>, std::time::Duration)> {
        self.ending.users.iter().filter(|(who, ..)| self.scenario.is_honest(who))
    }

    fn honest_events(&self) -> impl Iterator<Item = &(Peer, Event)> {
        self.ending.events.iter().filter(|(who, _)| self.scenario.is_honest(who))
    }

    fn helper_loaded(&self) -> bool {
        self.honest_events().any(|(who, e)| *who == Peer::Helper && matches!(e, Event::Loaded { .. }))
    }

    /// Errors of honest roles.
    fn errors(&self) -> Vec<(&Peer, &NodeError)> {
        let users = self.honest_users().filter_map(|(who, result, _)| Some((who, result.as_ref().err()?)));
        let events = self.honest_events().filter_map(|(who, event)| match event {
            Event::SessionFailed { error }
            | Event::LoadFailed { error }
            | Event::DealFailed { error }
            | Event::Failed { error, .. }
            | Event::Fatal { error } => Some((who, error)),
            _ => None,
        });
        users.chain(events).collect()
    }

    /// A corrupt client that changes what it sends asks about another input, a corrupt owner gives
    /// another model.
    fn output_is_known(&self) -> bool {
        let Stage::Inference(asks, _) = self.stage else { return false };
        let changed = |role: &Peer, kind| {
            !self.scenario.is_honest(role)
                && self.scenario.moves.iter().any(|m| m.from == *role && m.kind == kind)
        };
        !changed(asks, Kind::Input) && !changed(&Peer::Owner, Kind::Weights)
    }

    fn outputs(&self, deployment: &Deployment, found: &mut Vec<String>) {
        let outputs: Vec<_> =
            self.honest_users().filter_map(|(who, result, _)| Some((who, result.as_ref().ok()?))).collect();
        if !matches!(self.stage, Stage::Inference(..)) {
            return;
        }
        for (who, logits) in &outputs {
            if self.output_is_known() {
                let error = deployment.net.error_of(&self.ending.inputs, logits);
                if !is_right(self.scenario.limbs, error) {
                    found.push(format!("{who} accepted an output {error} from the right one"));
                }
            } else if *logits != outputs[0].1 {
                found.push(format!("{who} and {} accepted different outputs", outputs[0].0));
            }
        }
    }

    fn all_or_nobody(&self, found: &mut Vec<String>) {
        let (got, not): (Vec<_>, Vec<_>) = self.honest_users().partition(|(_, result, _)| result.is_ok());
        if let (Some((one, ..)), Some((other, Err(error), _))) = (got.first(), not.first()) {
            found.push(format!("{one} got the output, {other} did not: {error}"));
        }
    }

    fn in_time(&self, found: &mut Vec<String>) {
        let bound = stage::bound(self.stage);
        for (who, _, at) in self.honest_users().filter(|(_, _, at)| *at > bound) {
            found.push(format!("{who} ended after {at:?}, due in {bound:?}"));
        }
        // Whoever takes part in something ends it.
        let nodes: Vec<Peer> = self
            .scenario
            .all_parties()
            .all()
            .map(Peer::Party)
            .chain([Peer::Helper])
            .filter(|role| self.scenario.is_honest(role))
            .collect();
        let mut ids: BTreeSet<_> = self.ending.id.into_iter().collect();
        let ended = |event: &Event| match event {
            Event::Finished { id, .. } | Event::Failed { id, .. } => Some(*id),
            _ => None,
        };
        ids.extend(self.honest_events().filter_map(|(_, event)| ended(event)));
        for id in ids {
            for node in &nodes {
                let times =
                    self.honest_events().filter(|(who, e)| who == node && ended(e) == Some(id)).count();
                if times != 1 {
                    found.push(format!("{node} ended {id} {times} times"));
                }
            }
        }
        // A load that the helper accepts is one that every honest party has; others may have ended
        // before they began.
        let of = |node: &Peer, loaded: bool| {
            let begun = |event: &Event| match event {
                Event::Loaded { .. } => loaded,
                Event::LoadFailed { .. } => !loaded,
                _ => false,
            };
            self.honest_events().filter(|(who, e)| who == node && begun(e)).count()
        };
        for node in &nodes {
            let (here, there) = (of(node, true), of(&Peer::Helper, true));
            if here != there || of(node, false) > of(&Peer::Helper, false) {
                found.push(format!("{node} accepted {here} loads, the helper {there}"));
            }
        }
    }

    /// A corrupt client that asks more than once, late, or for others than it said names receivers
    /// that are not waiting: nobody can tell them from silent ones.
    fn receivers_do_not_wait(&self) -> bool {
        self.touched.iter().any(|number| self.scenario.moves[*number].kind == Kind::Request)
    }

    fn blame(&self, found: &mut Vec<String>) {
        let mut culprits: Vec<String> = self.scenario.corrupt.iter().map(Peer::to_string).collect();
        if self.receivers_do_not_wait() {
            culprits.push(ANY_CLIENT.to_owned());
        }
        for (who, error) in self.errors() {
            if let Err(words) = names_a_culprit(&culprits, error) {
                found.push(format!("{who} {words}: {error}"));
            }
        }
        for (who, event) in self.honest_events() {
            if let Event::Fatal { error } = event {
                found.push(format!("{who} died: {error}"));
            }
        }
    }

    fn untouched(&self, found: &mut Vec<String>) {
        let errors = self.errors();
        if let (true, Some((who, error))) = (self.touched.is_empty(), errors.first()) {
            found.push(format!("nothing was done to any message, and {who} says: {error}"));
        }
    }

    /// One change of a value that is opened, checked or compared: whatever the values are, it is
    /// noticed.
    fn changed(&self, found: &mut Vec<String>) {
        let numbers: BTreeSet<usize> = self.played.iter().map(|played| played.number).collect();
        let times = self.played.len();
        let one = self.played.iter().find_map(|played| Some((played.number, played.changed?)));
        let Some((number, Changed { kind, session })) = one.filter(|_| numbers.len() == 1) else { return };
        let for_all = matches!(self.scenario.moves[number].act, Act::AddForAll(..) | Act::Cancel(..));
        let compared = match kind {
            Kind::Opening | Kind::Tags => for_all || times == 1,
            // One change for all is another model, input or key.
            Kind::Weights | Kind::Input | Kind::ReceiverKey => times == 1,
            // A load without weights has nothing to check the pairs' keys with; its inferences do.
            Kind::Keys => times == 1 && !self.scenario.net().plan.weights.is_empty(),
            Kind::LoadHash | Kind::LoadResponse | Kind::Check => times == 1,
            _ => false,
        };
        let accepted = match (kind, self.stage) {
            // Keys count in their session; another one may have begun since.
            (Kind::Keys, _) => self.ending.accepted_in.contains(&session),
            (_, Stage::Load) => self.helper_loaded(),
            (_, Stage::Inference(..)) => self
                .honest_events()
                .any(|(who, event)| *who == Peer::Helper && matches!(event, Event::Finished { .. })),
        };
        if compared && accepted && self.scenario.is_honest(&Peer::Helper) {
            found.push(format!("a changed {kind:?} was accepted"));
        }
    }
}

/// An error names a culprit, or says that a check failed; and it names nobody else on an honest
/// role's word.
fn names_a_culprit(culprits: &[String], error: &NodeError) -> Result<(), String> {
    match error {
        NodeError::Protocol(ProtocolError::Rejected { .. }) => Ok(()),
        NodeError::Protocol(ProtocolError::Peer { culprit, .. }) => is_one(culprits, &culprit.to_string()),
        NodeError::Protocol(ProtocolError::Aborted { by, notice }) => {
            passed_on(culprits, &by.to_string(), notice)
        }
        _ => Err("names nobody".into()),
    }
}

/// What one heard of another: a claim of a corrupt role names that role, whatever it claims.
fn passed_on(culprits: &[String], by: &str, notice: &AbortNotice) -> Result<(), String> {
    let mut reporters = notice.reporter.iter().flat_map(|r| r.as_str().split(", says ")).chain([by]);
    match &notice.accused {
        _ if notice.rejected || reporters.any(|who| is_one(culprits, who).is_ok()) => Ok(()),
        Some(accused) => is_one(culprits, accused.as_str()),
        None => Err("names nobody".into()),
    }
}

fn is_one(culprits: &[String], name: &str) -> Result<(), String> {
    if culprits.iter().any(|c| c == name || c == ANY_CLIENT && name.starts_with(ANY_CLIENT)) {
        Ok(())
    } else {
        Err(format!("blames {name}, which is honest"))
    }
}
