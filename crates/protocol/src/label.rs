//! Domain separation: which label every random value is expanded under (`docs/protocol.md`, section
//! 7).
//!
//! Party `i` has a [`Seed`] of each epoch and of each inference, which the helper has too. Every
//! vector is element 0, 1, ... of a stream whose seed is derived one-way from (purpose, session,
//! epoch, inference, operation or weight tensor); the vectors of one operation (coefficients, tags,
//! both wrap bits) are separate domains of that stream, limbs and retries are separated by the
//! stream itself, and batch elements are consecutive positions. A client or owner that is given a
//! derived seed can expand that label only.

use crate::draws::{self, Draw};
use crate::{EpochId, PartyId, Scope};
use amicus_field::{BitVec, Gf128Vec, LimbVec, Limbs, Seed, Stream};

/// Bytes of a label.
pub const LABEL_BYTES: usize = 1 + Scope::BYTES + 4;

/// What a stream is for; the first byte of its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Mask of a weight tensor: expanded by helper, parties and owner.
    WeightMask = 1,
    /// MAC keys and check values of a weight tensor: helper and parties.
    LoadTags = 2,
    /// Mask of the client's input: helper, parties and client.
    InputMask = 3,
    /// Material of one operation of one inference: helper and parties.
    Material = 4,
    /// Shares of zero between two parties, for the check of a load.
    LoadZero = 5,
    /// Shares of zero between two parties, for the check of an inference.
    CheckZero = 6,
    /// The public challenge vector of a load check.
    Challenge = 7,
    /// Keys under which users authenticate what they send a party: helper and party. No stream.
    Authentication = 8,
}

/// Domains within a stream: one per vector of an operation or weight tensor.
pub mod domain {
    /// The weights' mask, the input mask: streams with a single vector.
    pub const MAIN: u32 = 0;
    /// Mask of the bias.
    pub const BIAS: u32 = 1;
    /// Load: MAC key `b`.
    pub const MAC_KEY: u32 = 0;
    /// Load: mask `u` of `G = b^T W`.
    pub const TAG_MASK: u32 = 1;
    /// Load: `b^T M_W`.
    pub const TAGGED_MASK: u32 = 2;
    /// Load: check value `a`.
    pub const CHECK: u32 = 3;
    /// Load: `a b`.
    pub const CHECK_KEY: u32 = 4;
    /// Inference: share that the output mask follows from (`S`, `U`, `V`).
    pub const FOLLOW: u32 = 0;
    /// Inference: MAC key `g`.
    pub const KEY: u32 = 1;
    /// Inference: mask `m_o` of an activation's result.
    pub const OUT_MASK: u32 = 2;
    /// Inference: `g m_x` and `g m_y` of a product.
    pub const PRODUCT_TAGS: [u32; 2] = [3, 4];

    /// Inference: masks of a party's proof that its bits of a comparison are right, of GF(2^128).
    pub const PROOF: u32 = 130;
    /// Check: shares of zero of the report on proofs, bits; those of the sums are elements in
    /// [`MAIN`].
    pub const ZERO_REPORT: u32 = 1;

    /// Inference: entry number `position` of a comparison's tables, those of one digit behind those
    /// of the other, bits.
    pub const fn table(position: usize) -> u32 {
        1 << 24 | position as u32
    }
    /// Inference: bit number `position` that is dealt for a comparison's joins.
    pub const fn join(position: usize) -> u32 {
        2 << 24 | position as u32
    }
    /// Inference: mask bits of opening number `number` of a comparison.
    pub const fn mask_bit(number: usize) -> u32 {
        5 << 24 | number as u32
    }
    /// Inference: vector number `position` of a selection's masked coefficients.
    pub const fn selected(position: usize) -> u32 {
        3 << 24 | position as u32
    }
    /// Inference: tag of vector number `position` of a selection.
    pub const fn selected_tag(position: usize) -> u32 {
        4 << 24 | position as u32
    }
    /// Inference: coefficient `k` of the first set, `C_k(mu_0)`.
    pub const fn coefficient(k: usize) -> u32 {
        16 + k as u32
    }
    /// Inference: tag of coefficient `k`, `g C_k(mu_0)`.
    pub const fn coefficient_tag(k: usize) -> u32 {
        32 + k as u32
    }
    /// Inference: difference `E_k = C_k(mu_1) - C_k(mu_0)`.
    pub const fn difference(k: usize) -> u32 {
        48 + k as u32
    }
    /// Inference: tag of a difference, `g E_k`.
    pub const fn difference_tag(k: usize) -> u32 {
        64 + k as u32
    }
}

/// The label of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    purpose: Purpose,
    scope: Scope,
    index: u32,
}

impl Label {
    /// A label of an epoch, the same in all sessions, that concerns weight tensor `index`.
    pub fn epoch(purpose: Purpose, epoch: EpochId, index: u32) -> Self {
        Label::new(purpose, Scope::epoch(epoch), index)
    }

    /// A label of one inference or load that concerns operation `index`.
    pub fn new(purpose: Purpose, scope: Scope, index: u32) -> Self {
        Label { purpose, scope, index }
    }

    /// What the stream is for.
    pub fn purpose(self) -> Purpose {
        self.purpose
    }

    fn bytes(self) -> [u8; LABEL_BYTES] {
        let mut bytes = [0; LABEL_BYTES];
        bytes[0] = self.purpose as u8;
        bytes[1..1 + Scope::BYTES].copy_from_slice(&self.scope.encode());
        bytes[1 + Scope::BYTES..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    /// The seed of this label under a parent seed, derived one-way.
    pub fn seed(self, parent: &Seed) -> Seed {
        parent.derive(&self.bytes())
    }

    /// The stream of this label under a parent seed.
    pub fn stream(self, parent: &Seed) -> LabelStream {
        self.expand(&self.seed(parent))
    }

    /// The stream of a seed that was derived for this label.
    pub fn expand(self, seed: &Seed) -> LabelStream {
        LabelStream { stream: seed.stream(), label: self, name: draws::name(seed) }
    }
}

/// The vectors of a label under one parent seed.
#[derive(Debug)]
pub struct LabelStream {
    stream: Stream,
    label: Label,
    /// Only while a test takes notes.
    name: Option<[u8; 8]>,
}

impl LabelStream {
    /// The first `len` uniform elements of a domain.
    pub fn sample(&self, domain: u32, limbs: Limbs, len: usize) -> LimbVec {
        self.sample_from(domain, limbs, 0, len)
    }

    /// Elements `first..first + len` of a domain: the same values as within a longer
    /// [`sample`](Self::sample).
    pub fn sample_from(&self, domain: u32, limbs: Limbs, first: u64, len: usize) -> LimbVec {
        self.note(domain, first, len);
        self.stream.sample_from(domain, limbs, first, len)
    }

    /// Notes what is drawn, while a test takes notes.
    fn note(&self, domain: u32, first: u64, len: usize) {
        if let Some(stream) = self.name {
            let (label, bytes, positions) = (self.label, self.label.bytes(), first..first + len as u64);
            draws::note(Draw { stream, label, bytes, domain, positions });
        }
    }

    /// Bits `first..first + len` of a domain; `first` is a multiple of 64.
    pub fn sample_bits(&self, domain: u32, first: u64, len: usize) -> BitVec {
        self.note(domain, first, len);
        self.stream.sample_bits(domain, first, len)
    }

    /// Elements `first..first + len` of GF(2^128) of a domain.
    pub fn sample_gf128(&self, domain: u32, first: u64, len: usize) -> Gf128Vec {
        self.note(domain, first, len);
        self.stream.sample_gf128(domain, first, len)
    }
}

fn others(streams: &[LabelStream], than: PartyId) -> impl Iterator<Item = &LabelStream> {
    streams.iter().enumerate().filter(move |(at, _)| *at != than.index()).map(|(_, stream)| stream)
}

/// The sum over all parties of one domain: what the helper computes where only *some* sharing is
/// needed.
pub fn sum_of(streams: &[LabelStream], domain: u32, limbs: Limbs, len: usize) -> LimbVec {
    let mut total = LimbVec::zeros(limbs, len);
    for stream in streams {
        stream.note(domain, 0, len);
        stream.stream.add_sample_from(domain, 0, &mut total);
    }
    total
}

/// A party's corrections of elements `first..` of a domain: their values minus what all other parties
/// expand.
pub fn correction(
    streams: &[LabelStream],
    to: PartyId,
    domain: u32,
    first: u64,
    mut values: LimbVec,
) -> LimbVec {
    for stream in others(streams, to) {
        stream.note(domain, first, values.len());
        stream.stream.sub_sample_from(domain, first, &mut values);
    }
    values
}
