//! A sumcheck of an inner product over GF(2^128), made non-interactive (`docs/protocol.md`, section
//! 6.14).
//!
//! Of `<A, B>` the prover knows both vectors, and nobody who checks it knows both: parties know `A`,
//! and the helper `B`. Each round halves them: what is said of the sum becomes what must hold of a
//! shorter one, at a challenge that nobody can foresee. In the end there is one product.

use crate::keyed::KeyedHash;
use crate::transcript::Digest;
use amicus_field::{BitVec, Gf128, Gf128Vec};

/// What a prover sends in one round, masked: the round's polynomial `q0 + q1 X + q2 X^2` without
/// `q1`, which the claim gives.
pub(super) type Sent = [Gf128; 2];

/// The challenges of one prover, each a hash of all that it sent so far.
pub(super) struct Challenges(Digest);

impl Challenges {
    /// Before the first round.
    pub(super) fn new(state: Digest) -> Self {
        Challenges(state)
    }

    /// The challenge that answers what was sent.
    pub(super) fn next(&mut self, sent: Sent) -> Gf128 {
        let mut hash = KeyedHash::new(&self.0.0);
        sent.iter().for_each(|part| _ = hash.update(&part.to_bytes()));
        let mut bytes = [0; 48];
        hash.fill(&mut bytes);
        let (mut state, mut challenge) = ([0; 32], [0; 16]);
        state.copy_from_slice(&bytes[..32]);
        challenge.copy_from_slice(&bytes[32..]);
        self.0 = Digest(state);
        Gf128::from_bytes(challenge)
    }
}

/// A proof, and what its challenges make of the public side.
pub(super) struct Proof {
    pub(super) sent: Vec<Sent>,
    pub(super) challenges: Vec<Gf128>,
    pub(super) public: Gf128,
}

/// Proves `<A, B>`; the lengths are a power of two, and `masks` two for every halving.
pub(super) fn prove(a: &Gf128Vec, b: &BitVec, masks: &Gf128Vec, mut challenges: Challenges) -> Proof {
    let rounds = a.len().ilog2() as usize;
    let (mut sent, mut all) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    let [public, _] = a.sumcheck(b, |[q0, q2]| {
        let masked = [q0 + masks.get(2 * sent.len()), q2 + masks.get(2 * sent.len() + 1)];
        let challenge = challenges.next(masked);
        sent.push(masked);
        all.push(challenge);
        challenge
    });
    Proof { sent, challenges: all, public }
}

/// What is claimed of the last product, from a claim of the sum and the rounds' polynomials. Linear in
/// both together: masks and what they hide can be taken apart.
pub(super) fn reduce(claim: Gf128, rounds: impl Iterator<Item = Sent>, challenges: &[Gf128]) -> Gf128 {
    let round = |claim, ([q0, q2], &r): (Sent, &Gf128)| q0 + (claim + q2) * r + q2 * r * r;
    rounds.zip(challenges).fold(claim, round)
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_field::Seed;

    const ROUNDS: usize = 7;

    fn vectors() -> (Gf128Vec, BitVec, Gf128Vec, Challenges) {
        let stream = Seed::from_bytes([9; 32]).stream();
        let a = stream.sample_gf128(0, 0, 1 << ROUNDS);
        let b = stream.sample_bits(1, 0, 1 << ROUNDS);
        let masks = stream.sample_gf128(2, 0, 2 * ROUNDS);
        (a, b, masks, Challenges::new(Digest([3; 32])))
    }

    fn pairs(masks: &Gf128Vec) -> impl Iterator<Item = Sent> {
        (0..ROUNDS).map(|round| [masks.get(2 * round), masks.get(2 * round + 1)])
    }

    /// Whether what parties and helper make of a proof fits.
    fn accepted(claim: Gf128, sent: &[Sent]) -> bool {
        let (a, b, masks, mut challenges) = vectors();
        let challenges: Vec<Gf128> = sent.iter().map(|&sent| challenges.next(sent)).collect();
        let of_parties = reduce(claim, sent.iter().copied(), &challenges);
        let of_helper = reduce(Gf128::ZERO, pairs(&masks), &challenges);
        of_parties + of_helper == a.evaluate(&challenges) * Gf128Vec::evaluate_bits(&b, &challenges)
    }

    #[test]
    fn a_right_claim_is_accepted_and_a_wrong_one_is_not() {
        let (a, b, masks, challenges) = vectors();
        let claim = a.sum_selected(&b);
        let proof = prove(&a, &b, &masks, challenges);
        assert!(accepted(claim, &proof.sent));
        assert_eq!(proof.public, a.evaluate(&proof.challenges));
        assert!(!accepted(claim + Gf128::ONE, &proof.sent));
        for round in 0..ROUNDS {
            for part in 0..2 {
                let mut sent = proof.sent.clone();
                sent[round][part] += Gf128::ONE;
                assert!(!accepted(claim, &sent), "round {round}");
            }
        }
    }

    #[test]
    fn a_prover_that_lies_from_some_round_on_is_caught() {
        // It claims one more, and makes the polynomials of every round fit what it claims, as far
        // as it can: `q1` is what the claim gives. Only a challenge that it knew before would help.
        let (a, b, masks, mut challenges) = vectors();
        let claim = a.sum_selected(&b) + Gf128::ONE;
        let mut sent: Vec<Sent> = Vec::new();
        a.sumcheck(&b, |[q0, q2]| {
            let round = sent.len();
            // The error to one end of the sum, and to the other.
            let q0 = if round.is_multiple_of(2) { q0 + Gf128::ONE } else { q0 };
            sent.push([q0 + masks.get(2 * round), q2 + masks.get(2 * round + 1)]);
            challenges.next(sent[round])
        });
        assert!(!accepted(claim, &sent));
    }

    #[test]
    fn every_challenge_depends_on_all_that_was_sent() {
        let of = |sent: [[u8; 2]; 2]| {
            let mut challenges = Challenges::new(Digest([3; 32]));
            sent.map(|sent| challenges.next(sent.map(|x| Gf128::from_bytes([x; 16]))))
        };
        let [first, second] = of([[1, 2], [3, 4]]);
        assert_eq!(of([[1, 2], [3, 4]]), [first, second]);
        assert!(first != second && of([[1, 2], [1, 2]])[1] != first);
        for other in [[[9, 2], [3, 4]], [[1, 9], [3, 4]]] {
            let [a, b] = of(other);
            assert!(a != first && b != second, "{other:?}");
        }
        for other in [[[1, 2], [9, 4]], [[1, 2], [3, 9]]] {
            let [a, b] = of(other);
            assert!(a == first && b != second, "{other:?}");
        }
    }
}
