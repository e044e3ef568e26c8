//! A client of several cells: one inference is asked of one cell at a time, and of each at most once.

use super::Cells;
use super::rendezvous::order;
use crate::roles::{Answer, Client, Expected, ModelFingerprint};
use crate::{Deployment, Error};
use amicus_net::Identity;
use amicus_plan::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a cell that did not answer is asked after all others.
const AWAY: Duration = Duration::from_secs(30);

/// Which models a client takes answers of: a fingerprint for each cell, since a model is loaded into
/// each by itself; whichever a cell has loaded where none is named.
pub type Expectations = BTreeMap<String, ModelFingerprint>;

/// A client that knows several cells.
pub struct CellsClient {
    cells: Vec<Seat>,
    identity: Arc<Identity>,
    plan: Arc<Plan>,
}

/// A cell as a client sees it, in the client's order.
struct Seat {
    name: String,
    deployment: Deployment,
    expected: Expected,
    client: Option<Client>,
    /// Since when it did not answer.
    away: Option<Instant>,
}

/// Answers, and the cell that gave them.
#[derive(Debug)]
pub struct CellAnswers {
    /// The name of the cell.
    pub cell: String,
    /// One for each image.
    pub answers: Vec<Answer>,
    /// Cells that were asked before and gave none, and why.
    pub failed: Vec<(String, Error)>,
}

impl CellsClient {
    /// A client of cells that it approved. Nothing is connected yet.
    ///
    /// # Errors
    /// An invalid plan; a fingerprint of a cell that is none of these.
    pub fn new(
        cells: Cells,
        identity: impl Into<Arc<Identity>>,
        plan: impl Into<Arc<Plan>>,
        expected: &Expectations,
    ) -> Result<Self, Error> {
        let (identity, plan) = (identity.into(), plan.into());
        let names: Vec<&str> = cells.cells.iter().map(|cell| cell.name.as_str()).collect();
        if let Some(unknown) = expected.keys().find(|name| !names.contains(&name.as_str())) {
            return Err(Error::OtherCell { name: unknown.as_str().into() });
        }
        let order = order(identity.fingerprint(), plan.digest()?, &names);
        let seat = |at: usize| {
            let cell = &cells.cells[at];
            Seat {
                name: cell.name.clone(),
                deployment: cell.deployment.clone(),
                expected: expected.get(&cell.name).map_or(Expected::Any, |model| Expected::Model(*model)),
                client: None,
                away: None,
            }
        };
        Ok(CellsClient { cells: order.into_iter().map(seat).collect(), identity, plan })
    }

    /// The names of the cells, in the order in which this client asks them.
    pub fn order(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().map(|seat| seat.name.as_str())
    }

    /// Has images classified in one inference by the first cell that does. Each cell is asked at most
    /// once, with a ticket and a mask of its own; a check that failed is told at once, and nobody else
    /// is asked.
    ///
    /// # Errors
    /// Images that the network does not take, a cheat, or that no cell answered, with the reason of
    /// each.
    pub fn infer_batch(&mut self, images: &[&[f32]]) -> Result<CellAnswers, Error> {
        let mut failed: Vec<(String, Error)> = Vec::new();
        let now = Instant::now();
        let is_away = |seat: &Seat| seat.away.is_some_and(|since| now.duration_since(since) < AWAY);
        // Those that did not answer lately come last; the order is stable else.
        let mut turns: Vec<usize> = (0..self.cells.len()).collect();
        turns.sort_by_key(|at| is_away(&self.cells[*at]));
        for at in turns {
            let seat = &mut self.cells[at];
            match seat.ask(&self.identity, &self.plan, images) {
                Ok(answers) => {
                    seat.away = None;
                    return Ok(CellAnswers { cell: seat.name.clone(), answers, failed });
                }
                // No cell could do better, or none should be asked to.
                Err(error) if error.is_rejection() || error.is_of_the_caller() => return Err(error),
                Err(error) => {
                    (seat.client, seat.away) = (None, Some(Instant::now()));
                    failed.push((seat.name.clone(), error));
                }
            }
        }
        Err(Error::Cells { failed })
    }
}

impl Seat {
    fn ask(
        &mut self,
        identity: &Arc<Identity>,
        plan: &Arc<Plan>,
        images: &[&[f32]],
    ) -> Result<Vec<Answer>, Error> {
        let client = match self.client.take() {
            // Whether all its nodes are there shows in a round, and not only when a ticket does not
            // come.
            Some(mut client) => client.compare(self.expected).map(|_| client)?,
            None => {
                let (identity, plan) = (Arc::clone(identity), Arc::clone(plan));
                Client::connect(&self.deployment, identity, plan, self.expected)?
            }
        };
        self.client.insert(client).infer_batch(images)
    }
}
