//! What an execution consists of, drawn from a number.

use super::moves::{self, Move};
use super::network;
use crate::nets::Net;
use crate::random::Random;
use amicus_field::Limbs;
use amicus_node::Peer;
use amicus_protocol::Parties;

/// An execution.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The number it was drawn from: decides the turns of threads and the inputs too.
    pub seed: u64,
    /// Number of parties.
    pub parties: usize,
    /// Number of limbs.
    pub limbs: Limbs,
    /// What the network is drawn from; the smallest one for none.
    pub network: Option<u64>,
    /// Inputs in every inference.
    pub batch: u32,
    /// Corrupt roles.
    pub corrupt: Vec<Peer>,
    /// Whether the adversary sees what honest roles send before corrupt ones speak.
    pub rushing: bool,
    /// What the adversary attacks, in order.
    pub stages: Vec<Stage>,
    /// What it does.
    pub moves: Vec<Move>,
}

/// One thing that is attacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A model load.
    Load,
    /// An inference of a client whose output these others get too.
    Inference(Peer, Vec<Peer>),
}

/// Clients that may be corrupt. Beside them there is an honest one that takes no part in attacked
/// inferences.
pub const CLIENTS: usize = 3;

/// A client by number; 0 is the honest one.
pub fn client(number: usize) -> Peer {
    Peer::Client(number.to_string())
}

impl Scenario {
    /// Draws an execution.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random(seed);
        let random = &mut random;
        // The first numbers of neighbouring seeds are alike in nothing, but cost nothing to skip.
        random.bits();
        let n = [2, 2, 3, 3, 4][random.below(5)];
        let limbs = Limbs::ALL[random.below(3)];
        let network = Some(random.bits());
        let batch = [1, 1, 2, 3][random.below(4)];
        let parties = all_parties(n);
        let corrupt = coalition(random, &parties);
        let mut stages = Vec::new();
        if random.below(4) == 0 {
            stages.push(Stage::Load);
        }
        for _ in 0..if stages.is_empty() { 1 + random.below(2) } else { random.below(2) } {
            stages.push(inference(random));
        }
        let everybody: Vec<Peer> = parties
            .iter()
            .cloned()
            .chain([Peer::Helper, Peer::Owner])
            .chain((1..=CLIENTS).map(client))
            .collect();
        let moves = 1 + [0, 0, 0, 1, 1, 2, 3][random.below(7)];
        let mut moves: Vec<Move> = (0..moves)
            .map(|_| {
                let load = stages[random.below(stages.len())] == Stage::Load;
                Move::draw(random, load, &corrupt, &everybody)
            })
            .collect();
        let rushing = random.below(3) != 0;
        if random.below(4) == 0 {
            moves.extend(moves::demand(random, &corrupt, &everybody));
        }
        Scenario { seed, parties: n, limbs, network, batch, corrupt, rushing, stages, moves }
    }

    /// Its network.
    ///
    /// # Panics
    /// When what is drawn is not valid.
    pub fn net(&self) -> Net {
        match self.network {
            Some(seed) => network::draw(&mut Random(seed), self.limbs),
            None => crate::zoo::mlp(self.limbs),
        }
    }

    /// Its parties.
    ///
    /// # Panics
    /// When there are not 2 to 8.
    pub fn all_parties(&self) -> Parties {
        Parties::new(self.parties).expect("2 to 8 parties")
    }

    /// Whether a role is honest.
    pub fn is_honest(&self, role: &Peer) -> bool {
        !self.corrupt.contains(role)
    }
}

/// All parties of a run.
///
/// # Panics
/// When there are not 2 to 8.
pub fn all_parties(n: usize) -> Vec<Peer> {
    Parties::new(n).expect("2 to 8 parties").all().map(Peer::Party).collect()
}

/// All but one of the parties at most, and others; somebody.
fn coalition(random: &mut Random, parties: &[Peer]) -> Vec<Peer> {
    loop {
        let mut corrupt = Vec::new();
        let honest = random.below(parties.len());
        let all = random.below(2) == 0;
        for (at, party) in parties.iter().enumerate() {
            if at != honest && (all || random.below(2) == 0) {
                corrupt.push(party.clone());
            }
        }
        let others = [Peer::Owner].into_iter().chain((1..=CLIENTS).map(client));
        let eager = [8, 3][random.below(2)];
        corrupt.extend(others.filter(|_| random.below(eager) == 0));
        if !corrupt.is_empty() {
            return corrupt;
        }
    }
}

fn inference(random: &mut Random) -> Stage {
    let asks = 1 + random.below(CLIENTS);
    let also = (1..=CLIENTS).filter(|&other| other != asks && random.below(3) == 0);
    Stage::Inference(client(asks), also.map(client).collect())
}
