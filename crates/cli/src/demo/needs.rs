//! Whether a demonstration fits the memory there is, before it takes any.

use super::DemoError;
use crate::memory::{Available, Limit, available};
use amicus_model::Graph;
use amicus_model::graph::Layer;
use amicus_plan::{Estimate, Memory, Plan};

/// Inferences for which material is kept where there is memory for it: the one in flight and the
/// next.
const KEPT: usize = 2;
/// Bytes of a float network's number while it is compiled: as it was read, folded, in fixed point,
/// and copies of single layers; measured with AlexNet.
const COMPILING: u64 = 40;
/// Bytes of an input's values while networks are compared, of one thread: numbers of three
/// executions, and residues.
const COMPARING: u64 = 64;
/// What the process takes beside: the program, threads, links.
const BESIDE: u64 = 64 << 20;
/// What threads reserve of an address space without using it.
const RESERVED: u64 = 768 << 20;

/// Bytes, by who takes them.
struct Needs(Vec<(String, u64)>);

impl Needs {
    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Refuses what does not fit, with the counts.
    fn check(&self, available: Option<Available>, advice: &str) -> Result<(), DemoError> {
        let Some(Available { bytes, limit }) = available else { return Ok(()) };
        let (needed, left) = (self.sum(), left(bytes, limit));
        if needed <= left {
            return Ok(());
        }
        let parts: Vec<String> = self.0.iter().map(|(what, bytes)| format!("{what}: {bytes}")).collect();
        let parts = parts.join(", ");
        Err(DemoError::Memory { needed, left, limit, parts, advice: advice.to_owned() })
    }
}

/// What is left for data: address space is taken by threads too.
fn left(bytes: u64, limit: Limit) -> u64 {
    match limit {
        Limit::AddressSpace => bytes.saturating_sub(RESERVED),
        _ => bytes,
    }
}

/// Numbers of a network's layers.
fn parameters(graph: &Graph) -> u64 {
    let count = |layer: &Layer| match layer {
        Layer::Conv2d { weights, bias, .. } | Layer::Linear { weights, bias, .. } => {
            weights.len() + bias.as_ref().map_or(0, |b| b.len())
        }
        _ => 0,
    };
    graph.nodes().iter().map(|node| count(&node.layer) as u64).sum()
}

/// Values that one input has in all layers together.
fn values(graph: &Graph) -> u64 {
    graph.nodes().iter().map(|node| node.len() as u64).sum()
}

fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, usize::from) as u64
}

fn compiling(graph: &Graph) -> Needs {
    Needs(vec![
        ("the network while it is compiled".to_owned(), COMPILING.saturating_mul(parameters(graph))),
        ("values of calibration".to_owned(), COMPARING * threads() * values(graph)),
        ("the program".to_owned(), BESIDE),
    ])
}

/// Refuses a network that cannot even be compiled here.
pub(super) fn before_compiling(graph: &Graph) -> Result<(), DemoError> {
    compiling(graph).check(available(), "use a larger machine or a smaller network")
}

/// Refuses a run that does not fit. Gives the inferences for which material is kept: one where
/// memory is scarce.
pub(super) fn before_running(
    plan: &Plan,
    graph: &Graph,
    estimate: &Estimate,
    [parties, batch]: [usize; 2],
) -> Result<usize, DemoError> {
    let available = available();
    let needs = |kept: usize| running(estimate.memory, [parties, batch, kept], plan, graph);
    if available.is_none_or(|a| needs(KEPT).sum() <= left(a.bytes, a.limit)) {
        return Ok(KEPT);
    }
    let advice = match batch {
        1 => "use a larger machine, fewer parties or a smaller network".to_owned(),
        _ => format!("use a --batch below {batch}, fewer parties or a larger machine"),
    };
    needs(1).check(available, &advice)?;
    Ok(1)
}

fn running(memory: Memory, [parties, batch, kept]: [usize; 3], plan: &Plan, graph: &Graph) -> Needs {
    let Memory { party, ready, helper, owner, client } = memory;
    let (parties, batch) = (parties as u64, batch as u64);
    let each = party.saturating_add(ready.saturating_mul(kept as u64 - 1));
    // Messages on their way, and what is packed or unpacked at the moment.
    let moving = each.saturating_mul(parties).saturating_add(helper) / 3;
    let word = 8 * plan.limbs.count() as u64;
    let comparing = COMPARING * threads() * values(graph) + word.saturating_mul(batch * values(graph));
    Needs(vec![
        (format!("{parties} parties"), each.saturating_mul(parties)),
        ("the helper".to_owned(), helper),
        ("the owner".to_owned(), owner),
        ("a client".to_owned(), client),
        ("messages".to_owned(), moving),
        ("the network and what answers are compared with".to_owned(), 20 * parameters(graph) + comparing),
        ("the program".to_owned(), BESIDE),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_counts() {
        let needs = || Needs(vec![("2 parties".to_owned(), 600), ("the helper".to_owned(), 401)]);
        let machine = |bytes| Some(Available { bytes, limit: Limit::Machine });
        assert!(needs().check(machine(1001), "").is_ok());
        assert!(needs().check(None, "").is_ok());
        let error = needs().check(machine(1000), "use a smaller --batch").unwrap_err().to_string();
        assert_eq!(
            error,
            "needs about 1001 bytes of memory (2 parties: 600, the helper: 401), and 1000 are left of what this machine \
             allows; use a smaller --batch"
        );
        let address_space = Some(Available { bytes: RESERVED + 1000, limit: Limit::AddressSpace });
        assert!(needs().check(address_space, "").is_err());
        assert!(Needs(vec![("one".to_owned(), u64::MAX); 2]).check(machine(u64::MAX - 1), "").is_err());
    }
}
