//! What an inference will take, before anything runs: time and memory by a stated model.
//!
//! Bytes and rounds are exact ([`crate::cost`]); times follow from them and from [`Rates`], which
//! say how fast one machine computes. The model, for one inference of `batch` inputs:
//!
//! - online: rounds times (one-way delay + time to handle a message) + bytes one party sends to
//!   another and bytes of the input over the bandwidth + products + activations,
//! - preprocessing: two delays + a party's part of the bytes dealt over the bandwidth of its line +
//!   the same products + corrections dealt.
//!
//! Where all roles share one machine, its cores are shared too.

use amicus_field::{Limbs, LinearShape};

use crate::{Cost, Op, OpCost, OpKind, Plan, PlanError, Schedule, ValueId, Values};

/// How fast one core computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Products of convolutions ([`LinearShape::products`]) and of layers with many inputs, a
    /// second and limb.
    pub product: f64,
    /// Multiply-adds of a fully connected layer with one input, which the memory limits, a second
    /// and limb.
    pub dense: f64,
    /// Seconds to use one element of dealt material online, a limb.
    pub element: f64,
    /// Seconds to make, send and take in one element of dealt material, a limb.
    pub dealt: f64,
    /// Seconds to handle a message on one machine.
    pub hop: f64,
    /// Seconds to handle a message that a network delays, beside that delay: those who wait for it
    /// are asleep.
    pub delayed_hop: f64,
}

impl Rates {
    /// One core of an AMD Zen 5 with AVX-512 IFMA: products are the kernel's measured rates, the
    /// rest is fitted to `amicus demo` with LeNet-5 over loopback.
    pub const STATED: Rates = Rates {
        product: 2.0e10,
        dense: 3.6e9,
        element: 1.0e-9,
        dealt: 9.0e-9,
        hop: 4.0e-5,
        delayed_hop: 9.0e-5,
    };
}

/// What a dealt bit of a comparison costs online, where proofs are about it, in elements.
const PROVEN_BIT: f64 = 8.0;
/// What it costs before, in elements.
const DEALT_BIT: f64 = 0.05;

/// Elements of dealt material, all limbs together.
#[derive(Clone, Copy, Default)]
struct Elements {
    /// Online: what [`Rates::element`] counts.
    used: f64,
    /// Before: what [`Rates::dealt`] counts.
    dealt: f64,
}

impl Elements {
    fn alike(count: usize, limbs: Limbs) -> Self {
        let all = count as f64 * limbs.count() as f64;
        Elements { used: all, dealt: all }
    }
}

impl Rates {
    /// Seconds to handle a message over a link, beside its delay.
    pub fn hop_over(&self, link: &Link) -> f64 {
        if link.one_way > 0.0 { self.delayed_hop } else { self.hop }
    }
}

/// The network between the roles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Seconds a message travels.
    pub one_way: f64,
    /// Bytes a second in each direction; `None` where it is no limit.
    pub bandwidth: Option<f64>,
    /// Whether all roles run on one machine, of that many cores.
    pub shared_cores: Option<usize>,
}

/// Bytes that each role holds at its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// A party: the masked weights, its share of them, the public ones, material for one inference, and
    /// the masks of all values that it is made with, or the masked values.
    pub party: u64,
    /// What a party needs for every further inference that is kept ready.
    pub ready: u64,
    /// The helper: the masks of the weights and of all values, the corrections of the largest
    /// operation, and what it keeps of one inference until it has checked it.
    pub helper: u64,
    /// What the helper keeps of every further inference that is ready: shares of comparisons.
    pub helper_ready: u64,
    /// The model owner: the integer weights.
    pub owner: u64,
    /// A client: its input, masked, and the result.
    pub client: u64,
}

/// An estimate for one inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Rounds, bytes and work.
    pub cost: Cost,
    /// Memory by role.
    pub memory: Memory,
    /// Seconds from the client's first message to its result.
    pub online: f64,
    /// Seconds from the helper's first step to all parties being ready.
    pub preprocessing: f64,
}

/// What one operation takes of an [`Estimate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpEstimate {
    /// Bytes and work.
    pub cost: OpCost,
    /// Seconds online. Where several operations open something in one round, the first has its hop.
    pub online: f64,
    /// Seconds of preparation.
    pub preprocessing: f64,
}

/// On one machine the parties' work, and the helper's, is done by the same cores.
fn crowd(link: &Link, roles: usize) -> f64 {
    link.shared_cores.map_or(1.0, |c| (roles as f64 / c.max(1) as f64).max(1.0))
}

fn transfer(link: &Link, bytes: f64) -> f64 {
    link.bandwidth.map_or(0.0, |b| bytes / b)
}

impl Plan {
    /// The estimate for one inference of `batch` inputs among `parties` compute parties.
    ///
    /// # Errors
    /// When the plan is invalid.
    pub fn estimate(
        &self,
        parties: usize,
        batch: usize,
        link: &Link,
        rates: &Rates,
    ) -> Result<Estimate, PlanError> {
        let cost = self.cost(batch)?;
        let values = self.values()?;
        let elements = self.elements_of_all(&values, batch);
        let products: f64 = self.ops.iter().map(|op| self.product_seconds(op, batch, rates)).sum();
        let dealt_products: f64 = self
            .ops
            .iter()
            .map(|op| self.product_seconds(op, batch, rates) * self.product_crowd(op, link, parties))
            .sum();
        let input = amicus_field::packed_len(self.limbs, values.get(ValueId::INPUT).len * batch) as f64;
        let hop = link.one_way + rates.hop_over(link);
        let hops = cost.rounds as f64 * hop;
        let compute = (products + elements.used * rates.element) * crowd(link, parties);
        let online = hops + transfer(link, cost.sent_bytes_per_party as f64 + input) + compute;
        let preprocessing = 2.0 * hop
            + transfer(link, cost.dealt_bytes as f64 / parties as f64)
            + dealt_products
            + elements.dealt * rates.dealt * crowd(link, parties + 1);
        Ok(Estimate { cost, memory: self.memory(&cost, &values, (parties, batch)), online, preprocessing })
    }

    /// What every operation takes of it, in their order. Beside them there are the hops of input,
    /// check and release, two of preparation, and the input's bytes.
    ///
    /// # Errors
    /// When the plan is invalid.
    pub fn op_estimates(
        &self,
        parties: usize,
        batch: usize,
        link: &Link,
        rates: &Rates,
    ) -> Result<Vec<OpEstimate>, PlanError> {
        let (costs, values) = (self.op_costs(batch)?, self.values()?);
        let hop = link.one_way + rates.hop_over(link);
        let mut hops = vec![0.0; self.ops.len()];
        for round in Schedule::of(self).rounds {
            if let Some(first) = round.open.first() {
                hops[first.op.index()] += hop;
            }
        }
        let of = |((op, cost), hops): ((&Op, OpCost), f64)| {
            let (products, elements) =
                (self.product_seconds(op, batch, rates), self.op_elements(op, &values, batch));
            OpEstimate {
                cost,
                online: hops
                    + transfer(link, cost.sent_bytes_per_party as f64)
                    + (products + elements.used * rates.element) * crowd(link, parties),
                preprocessing: transfer(link, cost.dealt_bytes as f64 / parties as f64)
                    + products * self.product_crowd(op, link, parties)
                    + elements.dealt * rates.dealt * crowd(link, parties + 1),
            }
        };
        Ok(self.ops.iter().zip(costs).zip(hops).map(of).collect())
    }

    /// Seconds of one core for an operation's products with weights.
    fn product_seconds(&self, op: &Op, batch: usize, rates: &Rates) -> f64 {
        let shape = match &op.kind {
            OpKind::Linear { weights, .. } => &self.weight(*weights).shape,
            OpKind::PublicLinear { weights, .. } => &self.public_tensor(*weights).spec.shape,
            _ => return 0.0,
        };
        let rate = match shape {
            LinearShape::Dense(_) if batch < 4 => rates.dense,
            _ => rates.product,
        };
        shape.products(batch) as f64 * self.limbs.count() as f64 / rate
    }

    /// By how much an operation's products take longer before the input comes: all roles compute those
    /// with secret weights, the helper alone those with public ones.
    fn product_crowd(&self, op: &Op, link: &Link, parties: usize) -> f64 {
        match op.kind {
            OpKind::PublicLinear { .. } => 1.0,
            _ => crowd(link, parties + 1),
        }
    }

    /// Elements of dealt material for `batch` inputs, all limbs together: what [`Rates::element`]
    /// counts, and, where nothing is compared, [`Rates::dealt`].
    ///
    /// # Errors
    /// When the plan is invalid.
    pub fn elements(&self, batch: usize) -> Result<f64, PlanError> {
        Ok(self.elements_of_all(&self.values()?, batch).used)
    }

    fn elements_of_all(&self, values: &Values, batch: usize) -> Elements {
        let add = |sum: Elements, op: &Op| {
            let Elements { used, dealt } = self.op_elements(op, values, batch);
            Elements { used: sum.used + used, dealt: sum.dealt + dealt }
        };
        self.ops.iter().fold(Elements::default(), add)
    }

    fn op_elements(&self, op: &Op, values: &Values, batch: usize) -> Elements {
        let len = |value: ValueId| values.get(value).len * batch;
        let count = match &op.kind {
            OpKind::Activation(a) => a.corrections_per_input() * len(a.input),
            OpKind::Multiply { left, .. } => 4 * len(*left),
            OpKind::Compare(c) => {
                let bits = (c.dealt_bits() * len(c.input)) as f64;
                return Elements { used: bits * PROVEN_BIT, dealt: bits * DEALT_BIT };
            }
            OpKind::Truncate(t) => 3 * len(t.input),
            OpKind::Select(s) => (s.corrections_per_input() + 1) * len(s.input),
            OpKind::Outside(o) => 4 * o.numbers as usize * len(o.input),
            _ => 0,
        };
        Elements::alike(count, self.limbs)
    }

    fn memory(&self, cost: &Cost, values: &Values, (parties, batch): (usize, usize)) -> Memory {
        let word = 8 * self.limbs.count() as u64;
        let len = |id: ValueId| (values.get(id).len * batch) as u64;
        let masks: u64 = (0..=self.ops.len()).map(|v| len(ValueId(v as u32))).sum();
        // Corrections as vectors, packed, and in the queue.
        let dealing = |op: &Op| match &op.kind {
            OpKind::Activation(a) => 3 * word * a.corrections_per_input() as u64 * len(a.input),
            OpKind::Multiply { left, .. } => 3 * word * 4 * len(*left),
            OpKind::Compare(c) => (c.dealt_bits() as u64 * len(c.input)).div_ceil(2),
            OpKind::Truncate(t) => 3 * word * 3 * len(t.input),
            OpKind::Outside(o) => 3 * word * o.corrections_per_input() as u64 * len(o.input),
            OpKind::Select(s) => 3 * word * (s.corrections_per_input() as u64 + 1) * len(s.input),
            _ => 0,
        };
        let kept = |op: &Op| match &op.kind {
            OpKind::Compare(c) => c.kept_bytes(values.get(c.input).len.saturating_mul(batch), parties) as u64,
            _ => 0,
        };
        let helper_ready = self.ops.iter().map(kept).fold(0, u64::saturating_add);
        let count =
            |w: &crate::WeightSpec| (w.shape.weights() + if w.bias { w.shape.biases() } else { 0 }) as u64;
        let all: u64 = self.weights.iter().map(count).sum();
        // In the plan, and at helper and parties ready for products.
        let public: u64 = self.public.iter().map(|tensor| count(&tensor.spec)).sum();
        let (plan, ready) = (8 * public, word * public);
        Memory {
            party: (2 * word * all + plan + ready)
                .saturating_add(cost.material_bytes)
                .saturating_add(word * masks),
            ready: cost.material_bytes,
            helper: (word * (all + masks) + plan + ready)
                .saturating_add(self.ops.iter().map(dealing).max().unwrap_or(0))
                .saturating_add(helper_ready),
            helper_ready,
            owner: 8 * all + plan,
            client: plan + 2 * word * len(ValueId::INPUT),
        }
    }
}
