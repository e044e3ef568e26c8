//! The proof that the bits which a party sent for a comparison follow from its shares
//! (`docs/protocol.md`, section 6.14): what a prover sends, what parties make of all proofs, and what
//! the helper, who knows all shares, decides.

use super::circuit::{Public, Transpose};
use super::helper::Shares;
use super::party::{Compared, DealtBits};
use super::sumcheck::{self, Challenges, Sent};
use crate::PartyId;
use crate::keyed::KeyedHash;
use crate::label::{LabelStream, domain};
use crate::transcript::Digest;
use amicus_field::{BitVec, Gf128, Gf128Rows, Gf128Vec, Seed, parallel, with_wiped_stack};
use amicus_plan::{Chunk, Compare, MAX_ROUNDS};
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Deref;
use std::{fmt, mem};

/// Masks that a chunk's proof may need: two for every round.
const MASKS: u64 = 64;
const _: () = assert!(2 * MAX_ROUNDS as u64 <= MASKS, "chunks would share masks");

/// Chunks of a comparison whose public sides are kept from the proof to the report, at most: 1 MiB
/// each. Those of more are made again, which takes half the time of a proof.
const KEPT: usize = 2;

/// What the hashes of a proof begin from.
const CONTEXT: &[u8] = b"amicus proof";

/// Bytes of an element of GF(2^128).
const ELEMENT: usize = Gf128::BYTES;

/// A comparison whose proof is made, waiting for those of the other parties.
pub(crate) struct Proving {
    public: Public,
    parts: Vec<Part>,
    message: Vec<u8>,
}

/// What a party knows of one chunk.
struct Part {
    chunk: Chunk,
    secrets: ChunkSecrets,
    /// What every party claims of its sum, but for masks.
    claims: Vec<Gf128>,
    /// What this party's own proof came to.
    own: Outcome,
    /// The public side, where it is kept, with what hides that of this party.
    side: Option<Gf128Vec>,
}

/// What parties know of one proof for a chunk.
struct Outcome {
    challenges: Vec<Gf128>,
    /// What the challenges make of the public side.
    public: Gf128,
    /// What is claimed of the last product, but for masks.
    claim: Gf128,
}

/// What all parties draw alike for a chunk, and the helper cannot foresee.
///
/// It has a place of its own: from where it is moved, a copy would stay behind.
struct ChunkSecrets(Box<Seed>);

impl ChunkSecrets {
    /// Those of chunk `number` of a comparison that ended at this point of the transcript.
    fn new(point: &Digest, number: usize) -> Self {
        let number = number as u32;
        with_wiped_stack(|| {
            let mut hash = KeyedHash::new(&point.0);
            let Digest(key) = hash.update(CONTEXT).update(&number.to_le_bytes()).finish();
            ChunkSecrets(Box::new(Seed::from_bytes(key)))
        })
    }

    fn hash(&self, of: &[u8]) -> Digest {
        KeyedHash::new(self.0.as_bytes()).update(of).finish()
    }

    /// The seed of the weights, which the helper is told.
    fn weights(&self) -> Digest {
        self.hash(&[0])
    }

    /// What hides the public side of a prover from the helper.
    fn mask(&self, prover: PartyId) -> Gf128 {
        let Digest(hash) = self.hash(&[1, prover.number() as u8]);
        let mut bytes = [0; ELEMENT];
        bytes.copy_from_slice(&hash[..ELEMENT]);
        Gf128::from_bytes(bytes)
    }

    /// The challenges of a prover.
    fn challenges(&self, prover: PartyId) -> Challenges {
        Challenges::new(self.hash(&[2, prover.number() as u8]))
    }
}

impl fmt::Debug for Proving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proving").field("chunks", &self.parts.len()).finish_non_exhaustive()
    }
}

/// Weights of what is opened, drawn for one chunk after the other.
fn draw(weights: &mut Gf128Rows, seed: &Digest) {
    weights.sample(&Seed::from_bytes(seed.0).stream());
}

/// The bits of a chunk.
fn of_chunk<'a>(chunk: &Chunk, bits: &'a BitVec) -> Cow<'a, BitVec> {
    if chunk.elements.len() == bits.len() {
        return Cow::Borrowed(bits);
    }
    Cow::Owned(bits.slice(chunk.elements.clone()))
}

/// The sum of the weights of bits of a chunk that are set.
fn weighted(weights: &Gf128Rows, chunk: &Chunk, bits: &[BitVec]) -> Gf128 {
    let of = |(opening, bits): (usize, &BitVec)| weights.sum_selected(opening, &of_chunk(chunk, bits));
    bits.iter().enumerate().map(of).fold(Gf128::ZERO, |sum, part| sum + part)
}

thread_local! {
    /// Memory of this thread for chunks, of whatever inference: what is there is public among parties,
    /// and to wipe it would take a tenth of a proof.
    static MEMORY: Cell<Transpose> = Cell::default();
}

/// Does `work` with memory for a chunk.
fn with_memory<T>(compare: &Compare, chunk: &Chunk, work: impl FnOnce(&mut Transpose) -> T) -> T {
    let mut transpose = MEMORY.take();
    transpose.fit(compare, chunk.elements.len(), 1 << chunk.rounds);
    let result = work(&mut transpose);
    MEMORY.set(transpose);
    result
}

/// Takes back a side that was kept, where it has more room than what is there.
fn take_back(side: Gf128Vec) {
    let mut transpose = MEMORY.take();
    if transpose.side.len() < side.len() {
        transpose.side = side;
    }
    MEMORY.set(transpose);
}

/// A party's side of a chunk: its shares of what is dealt, bit by bit, and zeros.
fn secret_side<'a>(chunk: &Chunk, dealt: impl Iterator<Item = &'a BitVec>) -> BitVec {
    let mut side = BitVec::zeros(1 << chunk.rounds);
    let len = chunk.elements.len();
    dealt.enumerate().for_each(|(row, bits)| side.xor_at(row * len, &of_chunk(chunk, bits)));
    side
}

/// The masks of a party's proof for chunk `number`, from its stream of the operation.
pub(crate) fn masks_of(stream: &LabelStream, number: usize, chunk: &Chunk) -> Gf128Vec {
    stream.sample_gf128(domain::PROOF, MASKS * number as u64, 2 * chunk.rounds)
}

/// What a message says of one chunk.
fn rounds_of(body: &[u8]) -> impl Iterator<Item = Sent> {
    body.chunks_exact(2 * ELEMENT).map(|round| [element(round, 0), element(round, ELEMENT)])
}

/// The element whose bytes begin at `at`.
fn element(bytes: &[u8], at: usize) -> Gf128 {
    let mut element = [0; ELEMENT];
    element.copy_from_slice(&bytes[at..at + ELEMENT]);
    Gf128::from_bytes(element)
}

impl Proving {
    /// Proves what this party sent, once the transcript has all bits that were sent up to this point.
    pub(crate) fn new(compare: &Compare, compared: Compared, me: PartyId, point: &Digest) -> Self {
        let Compared { bits: DealtBits { tables, joins }, stream, public, mut sent } = compared;
        // What is public of all that is sent, the first party sends.
        for (sent, known) in sent[PartyId::FIRST.index()].iter_mut().zip(public.known(compare)) {
            sent.xor_assign(&known);
        }
        let keep = compare.chunks(public.len).nth(KEPT).is_none();
        let prove = |(number, chunk): (usize, Chunk)| {
            let secrets = ChunkSecrets::new(point, number);
            with_memory(compare, &chunk.clone(), |transpose| {
                draw(&mut transpose.weights, &secrets.weights());
                let claims: Vec<Gf128> =
                    sent.iter().map(|sent| weighted(&transpose.weights, &chunk, sent)).collect();
                transpose.run(compare, &public.slice(chunk.elements.clone()));
                transpose.side.set((1 << chunk.rounds) - 1, secrets.mask(me));
                let secret = secret_side(&chunk, tables.iter().chain(&joins));
                let masks = masks_of(&stream, number, &chunk);
                let proof = sumcheck::prove(&transpose.side, &secret, &masks, secrets.challenges(me));
                let sumcheck::Proof { sent, challenges, public } = proof;
                let message: Vec<[u8; ELEMENT]> = sent.iter().flatten().map(|part| part.to_bytes()).collect();
                let claim = sumcheck::reduce(claims[me.index()], sent.into_iter(), &challenges);
                let own = Outcome { challenges, public, claim };
                let side = keep.then(|| mem::replace(&mut transpose.side, Gf128Vec::zeros(0)));
                (Part { chunk, secrets, claims, own, side }, message)
            })
        };
        let mut message = Vec::with_capacity(compare.proof_bytes(public.len));
        let mut parts = Vec::new();
        for (part, of_chunk) in parallel::map(compare.chunks(public.len).enumerate(), prove) {
            message.extend_from_slice(of_chunk.as_flattened());
            parts.push(part);
        }
        Proving { public, parts, message }
    }

    /// The proof, for every other party.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The report for the helper, from what every party sent.
    pub(crate) fn report(
        self,
        compare: &Compare,
        me: PartyId,
        messages: &[(PartyId, impl Deref<Target = [u8]>)],
    ) -> Vec<u8> {
        let Proving { public, parts, .. } = self;
        let mut at = 0;
        let with_bodies = parts.into_iter().map(|part| {
            let body = at..at + part.chunk.proof_bytes();
            at = body.end;
            (part, messages.iter().map(|(prover, message)| (*prover, &message[body.clone()])).collect())
        });
        let report = |(mut part, bodies): (Part, Vec<(PartyId, &[u8])>)| match part.side.take() {
            // A side that is kept has what hides that of this party.
            Some(side) => {
                let report = part.report(&side, part.secrets.mask(me), me, &bodies);
                take_back(side);
                report
            }
            None => with_memory(compare, &part.chunk, |transpose| {
                draw(&mut transpose.weights, &part.secrets.weights());
                transpose.run(compare, &public.slice(part.chunk.elements.clone()));
                part.report(&transpose.side, Gf128::ZERO, me, &bodies)
            }),
        };
        parallel::map(with_bodies, report).concat()
    }
}

impl Part {
    /// Its part of the report, from what every party sent of it. The end of `side` is this.
    fn report(&self, side: &Gf128Vec, end: Gf128, me: PartyId, bodies: &[(PartyId, &[u8])]) -> Vec<u8> {
        let mut report = Vec::with_capacity(self.chunk.report_bytes(bodies.len()));
        report.extend_from_slice(&self.secrets.weights().0);
        for ((prover, body), &claim) in bodies.iter().zip(&self.claims) {
            let of_other;
            let outcome = if *prover == me {
                &self.own
            } else {
                let mut challenges = self.secrets.challenges(*prover);
                let challenges: Vec<Gf128> = rounds_of(body).map(|sent| challenges.next(sent)).collect();
                let claim = sumcheck::reduce(claim, rounds_of(body), &challenges);
                // What hides the public side stands at the end, where every bit of the index is 1.
                let last = challenges.iter().fold(Gf128::ONE, |last, &challenge| last * challenge);
                let hidden = end + self.secrets.mask(*prover);
                let public = side.evaluate(&challenges) + hidden * last;
                of_other = Outcome { challenges, public, claim };
                &of_other
            };
            let Outcome { challenges, public, claim } = outcome;
            for element in challenges.iter().chain([public, claim]) {
                report.extend_from_slice(&element.to_bytes());
            }
        }
        report
    }
}

/// What the helper keeps of a comparison that it dealt, until its proofs are there.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Every party's shares.
    pub(crate) shares: Vec<Shares>,
    /// The masks of every party's proof, chunk by chunk.
    pub(crate) masks: Vec<Vec<Gf128Vec>>,
}

impl Committed {
    /// Whether what parties report of their proofs is right, from the part of the report that is of
    /// this comparison of `len` elements. One of another length is not.
    pub(crate) fn holds(&self, compare: &Compare, len: usize, report: &[u8]) -> bool {
        if report.len() != compare.report_bytes(len, self.shares.len()) {
            return false;
        }
        let mut rest = report;
        let parts = compare.chunks(len).enumerate().map(|(number, chunk)| {
            let (part, behind) = rest.split_at(chunk.report_bytes(self.shares.len()));
            rest = behind;
            (number, chunk, part)
        });
        let holds =
            |(number, chunk, part): (usize, Chunk, &[u8])| self.chunk_holds(compare, number, &chunk, part);
        parallel::map(parts, holds).into_iter().all(|holds| holds)
    }

    /// [`Committed::holds`] of one chunk.
    fn chunk_holds(&self, compare: &Compare, number: usize, chunk: &Chunk, report: &[u8]) -> bool {
        let (head, provers) = report.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        with_memory(compare, chunk, |Transpose { weights, .. }| {
            draw(weights, &Digest(seed));
            let parties = self.shares.iter().zip(&self.masks);
            let mut right = true;
            for ((shares, masks), said) in parties.zip(provers.chunks_exact(ELEMENT * (chunk.rounds + 2))) {
                let (challenges, ends) = said.split_at(ELEMENT * chunk.rounds);
                let challenges: Vec<Gf128> =
                    challenges.chunks_exact(ELEMENT).map(|bytes| element(bytes, 0)).collect();
                let (public, claim) = (element(ends, 0), element(ends, ELEMENT));
                let hidden = weighted(weights, chunk, &shares.masks);
                let masks = &masks[number];
                let rounds = (0..chunk.rounds).map(|r| [masks.get(2 * r), masks.get(2 * r + 1)]);
                let hidden = sumcheck::reduce(hidden, rounds, &challenges);
                let secret = Gf128Vec::evaluate_bits(&secret_side(chunk, shares.dealt.iter()), &challenges);
                right &= claim + hidden == public * secret;
            }
            right
        })
    }
}
