//! What an inference of a compiled model takes.

use super::{Table, Text, bytes};
use crate::rates::{self, MachineRates};
use amicus_model::amc::ModelFile;
use amicus_net::shaper::Shape;
use amicus_plan::{Estimate, PlanError, Rates};
use serde::Serialize;

/// What `amicus estimate` says of a compiled model.
#[derive(Clone, Debug, Serialize)]
pub struct Estimated {
    /// Its name.
    pub model: String,
    /// Compute parties.
    pub parties: usize,
    /// Images in one inference.
    pub batch: usize,
    /// Network between the roles.
    pub net: String,
    /// Primes of the modulus.
    pub limbs: usize,
    /// How many weights are public; none where they are secret.
    pub public_weights: usize,
    /// One-way hops.
    pub rounds: usize,
    /// Bytes that a party sends to another.
    pub sent_bytes_per_party: u64,
    /// Bytes that the helper deals.
    pub dealt_bytes: u64,
    /// Multiply-adds of a party, all limbs together.
    pub multiply_adds: u64,
    /// Bytes of material of one inference.
    pub material_bytes: u64,
    /// Bytes of memory of every role.
    pub memory: Memory,
    /// Milliseconds from input to answer.
    pub online_ms: f64,
    /// Milliseconds of preparation.
    pub preprocessing_ms: f64,
    /// What every operation that opens something takes, in their order.
    pub operations: Vec<Operation>,
    /// What times follow from.
    pub rates: StatedRates,
    /// Targets for the error that the compiled file misses on its calibration data.
    pub missed_targets: Vec<String>,
    /// Version of this library.
    pub version: &'static str,
}

/// What one operation takes of an inference.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Bytes that a party sends to another for it.
    pub sent_bytes_per_party: u64,
    /// Bytes that the helper deals for it.
    pub dealt_bytes: u64,
    /// Multiply-adds of a party, all limbs together.
    pub multiply_adds: u64,
    /// Milliseconds online.
    pub online_ms: f64,
    /// Milliseconds of preparation.
    pub preprocessing_ms: f64,
}

/// Bytes of memory of every role.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// With the material of one inference.
    pub party: u64,
    /// Material of every inference more that is kept ready.
    pub ready: u64,
    /// The helper, with what it keeps of one inference.
    pub helper: u64,
    /// What the helper keeps of every inference more that is ready.
    pub helper_ready: u64,
    /// The owner.
    pub owner: u64,
    /// A client.
    pub client: u64,
}

/// The rates times follow from, and whether they were measured on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct StatedRates {
    /// Whether they were measured on this machine.
    pub measured_here: bool,
    /// Cores that all roles share; none where each has a machine of its own.
    pub cores: Option<usize>,
    /// Multiply-adds of convolutions, a second.
    pub products_per_second: f64,
    /// Multiply-adds of fully connected layers, a second.
    pub dense_products_per_second: f64,
    /// Nanoseconds to use an element of dealt material.
    pub online_element_ns: f64,
    /// Nanoseconds to deal one.
    pub dealt_element_ns: f64,
    /// Microseconds to handle a message.
    pub hop_us: f64,
}

/// Who knows the weights.
pub fn weights(public: usize) -> String {
    match public {
        0 => "secret: nobody but the owner knows them".to_owned(),
        n => format!("public: all roles know all {n}; inputs and outputs stay secret"),
    }
}

impl Estimated {
    /// For so many parties and images in an inference, with rates of this machine if there are any.
    ///
    /// # Errors
    /// A plan that is not valid, a batch that does not fit.
    pub fn of(
        file: &ModelFile,
        (parties, batch): (usize, usize),
        net: &Shape,
        measured: Option<&MachineRates>,
    ) -> Result<Self, PlanError> {
        let link = rates::link(net);
        let measured_here = measured.is_some();
        let rates = measured.map_or(Rates::STATED, MachineRates::rates);
        let Estimate { cost, memory, online, preprocessing } =
            file.plan.estimate(parties, batch, &link, &rates)?;
        let each = file.plan.op_estimates(parties, batch, &link, &rates)?;
        let opening = file.plan.ops.iter().zip(each).filter(|(op, _)| op.kind.opens());
        let operations = opening.map(|(op, estimate)| Operation {
            name: op.name.clone(),
            sent_bytes_per_party: estimate.cost.sent_bytes_per_party,
            dealt_bytes: estimate.cost.dealt_bytes,
            multiply_adds: estimate.cost.multiply_adds,
            online_ms: 1e3 * estimate.online,
            preprocessing_ms: 1e3 * estimate.preprocessing,
        });
        Ok(Estimated {
            operations: operations.collect(),
            missed_targets: file.quality.misses(),
            model: file.plan.name.clone(),
            parties,
            batch,
            net: net.to_string(),
            limbs: file.plan.limbs.count(),
            public_weights: file.plan.public_weights(),
            rounds: cost.rounds,
            sent_bytes_per_party: cost.sent_bytes_per_party,
            dealt_bytes: cost.dealt_bytes,
            multiply_adds: cost.multiply_adds,
            material_bytes: cost.material_bytes,
            memory: Memory {
                party: memory.party,
                ready: memory.ready,
                helper: memory.helper,
                helper_ready: memory.helper_ready,
                owner: memory.owner,
                client: memory.client,
            },
            online_ms: 1e3 * online,
            preprocessing_ms: 1e3 * preprocessing,
            rates: StatedRates {
                measured_here,
                cores: link.shared_cores,
                products_per_second: rates.product,
                dense_products_per_second: rates.dense,
                online_element_ns: 1e9 * rates.element,
                dealt_element_ns: 1e9 * rates.dealt,
                hop_us: 1e6 * rates.hop_over(&link),
            },
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// For people.
    pub fn text(&self) -> Text {
        let s = self;
        let mut text = Text::default();
        let mut table = Table::new();
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("model", format!("{}, {} limb(s) of 52 bits", s.model, s.limbs));
        row("weights", weights(s.public_weights));
        row("parties", format!("{} + helper, batch {}, network {}", s.parties, s.batch, s.net));
        row("online, an inference", format!("{:.2} ms", s.online_ms));
        row("preprocessing, an inference", format!("{:.2} ms", s.preprocessing_ms));
        row("rounds (one-way hops)", s.rounds.to_string());
        row("sent by a party to another", bytes(s.sent_bytes_per_party));
        row("dealt by the helper", bytes(s.dealt_bytes));
        row(
            "multiply-adds of a party",
            format!("{:.1} million, all limbs together", s.multiply_adds as f64 / 1e6),
        );
        let with_ready =
            |one, ready| format!("{}, and {} for every inference kept ready", bytes(one), bytes(ready));
        row("memory of a party", with_ready(s.memory.party, s.memory.ready));
        let helper = match s.memory.helper_ready {
            0 => bytes(s.memory.helper),
            ready => with_ready(s.memory.helper, ready),
        };
        row("memory of the helper", helper);
        row("memory of the owner", bytes(s.memory.owner));
        row("memory of a client", bytes(s.memory.client));
        text.table(table);
        let r = &s.rates;
        text.line(format_args!(
            "times are for one thread of arithmetic at a time in every role, and follow from {}: {:.1} G multiply-adds/s in convolutions, {:.1} G/s in fully connected layers, {:.1} ns to \
             use and {:.1} ns to deal an element, {:.0} us a hop{}",
            if r.measured_here {
                "rates measured on this machine"
            } else {
                "stated rates, not measured on this machine (`amicus bench --suite calibrate` does that)"
            },
            r.products_per_second / 1e9,
            r.dense_products_per_second / 1e9,
            r.online_element_ns,
            r.dealt_element_ns,
            r.hop_us,
            r.cores.map_or_else(String::new, |c| format!(", all roles on {c} core(s)"))
        ));
        text
    }
}
