//! What the tests share: secrets to compare, and one load with one inference.

#![allow(dead_code)] // each test uses a part

use std::cell::RefCell;

use amicus_field::oracle::Oracle;
use amicus_toy::ideal;
use amicus_toy::nets::Net;
use amicus_toy::run::{Conduct, Deviation, Error, Loaded, Log, Place, Role, infer, load};

/// What must not be seen: weights, tensor by tensor, and an input.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    /// Weights and biases.
    pub(crate) weights: Vec<Vec<i64>>,
    /// Inputs, as many as the batch has.
    pub(crate) x: Vec<i64>,
}

/// Secrets from short notation.
pub(crate) fn secrets(all: &[(&[&[i64]], &[i64])]) -> Vec<Secret> {
    all.iter()
        .map(|(weights, x)| Secret { weights: weights.iter().map(|w| w.to_vec()).collect(), x: x.to_vec() })
        .collect()
}

/// All parties but one.
pub(crate) fn all_but(honest: usize, parties: usize) -> Vec<Role> {
    (1..=parties).filter(|&p| p != honest).map(Role::Party).collect()
}

/// Loads a secret's weights, which must succeed.
pub(crate) fn load_of(conduct: Conduct<'_>, secret: &Secret, log: &mut Log) -> Loaded {
    let tensors: Vec<&[i64]> = secret.weights.iter().map(Vec::as_slice).collect();
    let loaded = load(conduct, &conduct.net.weights(&tensors), log).expect("no error of the protocol");
    loaded.expect("the load is accepted")
}

/// The load alone: whether it is accepted.
pub(crate) fn load_only(conduct: Conduct<'_>, secret: &Secret, log: &mut Log) -> bool {
    let tensors: Vec<&[i64]> = secret.weights.iter().map(Vec::as_slice).collect();
    load(conduct, &conduct.net.weights(&tensors), log).expect("no error of the protocol").is_some()
}

/// An inference of a loaded model: whether it is accepted. When nobody deviates it must be, and
/// every receiver must get what the functionality gives.
pub(crate) fn inference(
    conduct: Conduct<'_>,
    loaded: &Loaded,
    secret: &Secret,
    id: u64,
    log: &mut Log,
) -> bool {
    let run = infer(conduct, loaded, id, &secret.x, log).expect("no error of the protocol");
    if conduct.is_honest() {
        let logits = run.logits.as_ref().expect("an honest run is accepted");
        let tensors: Vec<&[i64]> = secret.weights.iter().map(Vec::as_slice).collect();
        if secret.x.len() == conduct.net.input_len() {
            let weights = conduct.net.weights(&tensors);
            let expected = ideal::logits(&conduct.net.plan, &weights, &secret.x, &run);
            assert!(
                logits.iter().all(|l| l.iter().zip(&expected).all(|(l, e)| e.is_nan() || l == e)),
                "{logits:?}, but the functionality gives {expected:?}"
            );
        }
    }
    run.accepted
}

/// A loaded model, with what its load has drawn and sent.
pub(crate) struct Before<'a> {
    conduct: Conduct<'a>,
    secret: &'a Secret,
    start: Oracle,
    loaded: RefCell<(Loaded, u32)>,
    pub(crate) oracle: Oracle,
    pub(crate) log: Log,
}

/// Runs after which a model is loaded anew, with the same randomness: helpers retire an epoch of
/// many failed checks.
const RUNS: u32 = 1000;

impl<'a> Before<'a> {
    /// Loads a model, with randomness from `start`. What inferences draw after it follows from
    /// `salt`.
    pub(crate) fn new(start: Oracle, conduct: Conduct<'a>, secret: &'a Secret, salt: u64) -> Before<'a> {
        let mut log = Log::default();
        let (loaded, oracle) = start.clone().run(|| load_of(conduct.kept(), secret, &mut log));
        Before { conduct, secret, start, loaded: RefCell::new((loaded, 0)), oracle: oracle.salted(salt), log }
    }

    /// The inference that follows: whether it is accepted.
    pub(crate) fn inference(&self, log: &mut Log) -> bool {
        let mut loaded = self.loaded.borrow_mut();
        loaded.1 += 1;
        if loaded.1.is_multiple_of(RUNS) {
            let again = || load_of(self.conduct.kept(), self.secret, &mut Log::default());
            loaded.0 = self.start.clone().run(again).0;
        }
        inference(self.conduct, &loaded.0, self.secret, 1, log)
    }
}

/// Every error that is not 0 in a residue field, at one place.
pub(crate) fn errors_at(net: &Net, by: usize, at: Place, p: i128) -> Vec<Deviation> {
    (1..p).map(|e| Deviation { by, at, error: Error::of(net, e) }).collect()
}
