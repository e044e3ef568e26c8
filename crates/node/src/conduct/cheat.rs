//! The deviations of `demo --cheat`: one wrong step each, by the smallest error there is.
//!
//! All but [`Cheat::Output`] make the helper's check fail (`docs/protocol.md`, sections 4 and 6.7):
//! nothing is released. A wrong output is recognised by the receiver, who takes another party's
//! (section 6.8).

use super::{Conduct, Outgoing};
use crate::Peer;
use amicus_field::Element;
use amicus_plan::{OpIndex, OpKind, Plan, ValueId, WeightId};
use amicus_protocol::Parties;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::epoch::PartyTagging;
use amicus_protocol::ids::PARTIES;
use amicus_protocol::online::Opening;
use amicus_protocol::wire::{Header, Kind};
use std::fmt;
use std::str::FromStr;

/// Where a party deviates from the protocol. Layers are counted from 0, in the order of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cheat {
    /// `load`: one element of its part of the tags of the first weight tensor.
    Load,
    /// `linear:I`: one element of its share of the result of linear layer `I`.
    Linear(usize),
    /// `activation:I`: one element of its share of the result of opening `I` of those that
    /// activations are made of: whole ones, truncations and selections.
    Activation(usize),
    /// `equivocate:I`: the share of opening `I` (linear layers, products and activations together)
    /// that the first of the other parties gets differs from what the rest get.
    Equivocate(usize),
    /// `batch-cancel:I`: in opening `I`, an error in the first input of the batch and its negative
    /// in the second.
    BatchCancel(usize),
    /// `sigma`: the sum of the check.
    Sigma,
    /// `hash`: the hash of what it saw opened.
    Hash,
    /// `output`: the masked output that it sends to the receivers, after its message to the helper.
    Output,
}

/// A text that names no [`Cheat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no way to cheat: load, linear:I, activation:I, equivocate:I, batch-cancel:I, sigma, hash or output, \
     where I counts layers from 0"
)]
pub struct UnknownCheat(String);

impl FromStr for Cheat {
    type Err = UnknownCheat;

    fn from_str(text: &str) -> Result<Self, UnknownCheat> {
        let unknown = || UnknownCheat(text.to_owned());
        let (name, layer) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<usize>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        Ok(match (name, layer) {
            ("load", None) => Cheat::Load,
            ("linear", Some(layer)) => Cheat::Linear(layer),
            ("activation", Some(layer)) => Cheat::Activation(layer),
            ("equivocate", Some(layer)) => Cheat::Equivocate(layer),
            ("batch-cancel", Some(layer)) => Cheat::BatchCancel(layer),
            ("sigma", None) => Cheat::Sigma,
            ("hash", None) => Cheat::Hash,
            ("output", None) => Cheat::Output,
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Cheat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cheat::Load => write!(f, "load"),
            Cheat::Linear(layer) => write!(f, "linear:{layer}"),
            Cheat::Activation(layer) => write!(f, "activation:{layer}"),
            Cheat::Equivocate(layer) => write!(f, "equivocate:{layer}"),
            Cheat::BatchCancel(layer) => write!(f, "batch-cancel:{layer}"),
            Cheat::Sigma => write!(f, "sigma"),
            Cheat::Hash => write!(f, "hash"),
            Cheat::Output => write!(f, "output"),
        }
    }
}

impl Cheat {
    /// Whether there is an occasion for it in runs of a plan.
    ///
    /// # Errors
    /// What does not fit, for the user.
    pub fn check_against(self, plan: &Plan, parties: Parties, batch: usize) -> Result<(), String> {
        match self {
            Cheat::Load if plan.weights.is_empty() => {
                return Err(format!("{self}: {} has no secret weights", plan.name));
            }
            Cheat::Equivocate(_) if parties.count() < 3 => {
                let most = PARTIES.end();
                return Err(format!(
                    "{self}: with {} parties nobody can be told something else; 3 to {most} are needed",
                    parties.count()
                ));
            }
            Cheat::BatchCancel(_) if batch < 2 => {
                return Err(format!("{self}: needs a batch of at least 2 inputs, this one has {batch}"));
            }
            _ => {}
        }
        let (what, layer) = match self {
            Cheat::Linear(layer) => ("layers of secret weights", layer),
            Cheat::Activation(layer) => ("openings of activations", layer),
            Cheat::Equivocate(layer) | Cheat::BatchCancel(layer) => ("openings", layer),
            Cheat::Load | Cheat::Sigma | Cheat::Hash | Cheat::Output => return Ok(()),
        };
        match self.candidates(plan).count() {
            0 => Err(format!("{self}: {} has no {what}", plan.name)),
            count if layer >= count => {
                Err(format!("{self}: {} has {count} {what}, 0 to {}", plan.name, count - 1))
            }
            _ => Ok(()),
        }
    }

    /// The party's conduct: it deviates at the first occasion, and is honest afterwards.
    pub fn into_conduct(self, plan: &Plan) -> Box<dyn Conduct> {
        let target = match self {
            Cheat::Linear(layer)
            | Cheat::Activation(layer)
            | Cheat::Equivocate(layer)
            | Cheat::BatchCancel(layer) => self.candidates(plan).nth(layer),
            Cheat::Load | Cheat::Sigma | Cheat::Hash | Cheat::Output => None,
        };
        Box::new(Cheater { cheat: self, target, lie: None, done: false })
    }

    /// The operations among which a layer number chooses.
    fn candidates(self, plan: &Plan) -> impl Iterator<Item = OpIndex> {
        plan.indexed_ops().filter_map(move |(index, op)| {
            let candidate = match self {
                Cheat::Linear(_) => matches!(op.kind, OpKind::Linear { .. }),
                Cheat::Activation(_) => {
                    matches!(op.kind, OpKind::Activation(_) | OpKind::Truncate(_) | OpKind::Select(_))
                }
                _ => op.kind.opens(),
            };
            candidate.then_some(index)
        })
    }
}

struct Cheater {
    cheat: Cheat,
    target: Option<OpIndex>,
    /// A share that differs from the one the party computes with, for whom it is sent to
    /// first, and its number in messages.
    lie: Option<(u32, Vec<u8>)>,
    /// It has deviated.
    done: bool,
}

impl Conduct for Cheater {
    fn tagging(&mut self, plan: &Plan, tagging: &mut PartyTagging) {
        if self.cheat == Cheat::Load && !self.done {
            self.done = true;
            tagging.danger_shift(WeightId(0), 0, Element::one(plan.limbs));
        }
    }

    fn opening(&mut self, plan: &Plan, opening: &mut Opening) {
        let one = Element::one(plan.limbs);
        let target = opening.shares().iter().find(|(stage, _)| Some(stage.op) == self.target);
        let Some((stage, share)) = target.filter(|_| !self.done).cloned() else {
            return;
        };
        self.done = true;
        match self.cheat {
            Cheat::Linear(_) | Cheat::Activation(_) => opening.danger_shift(stage, 0, one),
            Cheat::BatchCancel(_) => {
                let elements =
                    plan.values().map_or(share.len(), |values| values.get(ValueId::of(stage.op)).len);
                if elements < share.len() {
                    opening.danger_shift(stage, 0, one);
                    opening.danger_shift(stage, elements, -one);
                }
            }
            Cheat::Equivocate(_) => {
                let mut other = share;
                other.danger_shift(0, one);
                self.lie = Some((stage.index(), other.pack()));
            }
            Cheat::Load | Cheat::Sigma | Cheat::Hash | Cheat::Output => {}
        }
    }

    fn check(&mut self, message: &mut CheckMessage) {
        if self.done {
            return;
        }
        self.done = matches!(self.cheat, Cheat::Sigma | Cheat::Hash);
        match self.cheat {
            Cheat::Sigma => message.sums.set(0, message.sums.get(0) + Element::one(message.sums.limbs())),
            Cheat::Hash => message.transcript.0[0] ^= 1,
            _ => {}
        }
    }

    fn send(&mut self, _to: &Peer, header: Header, body: &[u8]) -> Vec<Outgoing> {
        let mut body = body.to_vec();
        let is_lie = |(index, _): &mut (u32, _)| header.kind == Kind::Opening && header.index == *index;
        if let Some((_, lie)) = self.lie.take_if(is_lie) {
            body = lie;
        }
        if self.cheat == Cheat::Output && header.kind == Kind::Output && !self.done {
            self.done = true;
            body.first_mut().into_iter().for_each(|byte| *byte ^= 1);
        }
        vec![Outgoing::Message(header, body)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_field::{Dense, Limbs, LinearShape};
    use amicus_plan::{InputSpec, Op, OutputSpec, Range, ScaleBits, UseIndex, WeightSpec};

    #[test]
    fn texts_are_read_back_as_shown() {
        for text in
            ["load", "linear:0", "activation:12", "equivocate:1", "batch-cancel:3", "sigma", "hash", "output"]
        {
            assert_eq!(text.parse::<Cheat>().unwrap().to_string(), text);
        }
        for text in ["", "Load", "load:0", "linear", "linear:", "linear:-1", "linear:x", "sigma:", "outputs"]
        {
            let error = text.parse::<Cheat>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no way to cheat")), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let shape = LinearShape::Dense(Dense { inputs: 2, outputs: 2 });
        let linear = OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(0) };
        let plan = Plan {
            name: "one layer".into(),
            limbs: Limbs::ONE,
            input: InputSpec { shape: vec![2], scale: ScaleBits(4), range: Range { low: -1.0, high: 1.0 } },
            weights: vec![WeightSpec { name: "w".into(), shape, scale: ScaleBits(4), bias: false }],
            public: Vec::new(),
            ops: vec![Op { name: "w".into(), kind: linear }],
            output: OutputSpec { value: ValueId(1), ell: 12, scale: ScaleBits(8), watch: 0, reveal: None },
        };
        let says = |cheat: Cheat, parties, batch| {
            cheat.check_against(&plan, Parties::new(parties).unwrap(), batch).err().unwrap_or_default()
        };
        assert_eq!(says(Cheat::Linear(0), 2, 1), "");
        assert_eq!(
            says(Cheat::Linear(1), 2, 1),
            "linear:1: one layer has 1 layers of secret weights, 0 to 0"
        );
        assert_eq!(
            says(Cheat::Activation(0), 2, 1),
            "activation:0: one layer has no openings of activations"
        );
        assert!(says(Cheat::Equivocate(0), 2, 1).contains("3 to 8 are needed"));
        assert_eq!(says(Cheat::Equivocate(0), 3, 1), "");
        assert!(says(Cheat::BatchCancel(0), 2, 1).contains("a batch of at least 2 inputs, this one has 1"));
        assert_eq!(says(Cheat::BatchCancel(0), 2, 2), "");
        for cheat in [Cheat::Load, Cheat::Sigma, Cheat::Hash, Cheat::Output] {
            assert_eq!(says(cheat, 2, 1), "");
        }
    }
}
