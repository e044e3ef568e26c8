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
/// Addresses that a thread reserves without using them: for the heap that the GNU allocator makes for
/// it, of which there are so many a core at most, and its stack.
const HEAP: u64 = 64 << 20;
const HEAPS: u64 = 8;
const STACK: u64 = 2 << 20;

/// Bytes, by who takes them.
struct Needs(Vec<(String, u64)>);

impl Needs {
    /// Adds what so many threads take of addresses where those are limited.
    fn among(mut self, threads: u64, available: Option<Available>) -> Self {
        if available.is_some_and(|a| a.limit == Limit::AddressSpace) {
            self.0.push((format!("addresses of {threads} threads"), addresses(threads, cores())));
        }
        self
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Refuses what does not fit, with the counts.
    fn check(&self, available: Option<Available>, advice: &str) -> Result<(), DemoError> {
        let Some(Available { bytes: left, limit }) = available else { return Ok(()) };
        let needed = self.sum();
        if needed <= left {
            return Ok(());
        }
        let parts: Vec<String> = self.0.iter().map(|(what, bytes)| format!("{what}: {bytes}")).collect();
        let parts = parts.join(", ");
        Err(DemoError::Memory { needed, left, limit, parts, advice: advice.to_owned() })
    }
}

/// What so many threads take of an address space beside memory.
fn addresses(count: u64, cores: u64) -> u64 {
    count.min(HEAPS.saturating_mul(cores)).saturating_mul(HEAP).saturating_add(count * STACK)
}

/// Threads of a demonstration: some for each party and for each link of two, those of the other roles,
/// and one for each core. Counted with 2 to 8 parties and two cores.
fn threads_running(parties: u64) -> u64 {
    8 + cores() + parties * (parties + 15) / 2
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

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, usize::from) as u64
}

fn compiling(graph: &Graph) -> Needs {
    Needs(vec![
        ("the network while it is compiled".to_owned(), COMPILING.saturating_mul(parameters(graph))),
        ("values of calibration".to_owned(), COMPARING * cores() * values(graph)),
        ("the program".to_owned(), BESIDE),
    ])
}

/// Refuses a network that cannot even be compiled here.
pub(super) fn before_compiling(graph: &Graph) -> Result<(), DemoError> {
    let available = available();
    let needs = compiling(graph).among(1 + cores(), available);
    needs.check(available, "use a larger machine or a smaller network")
}

/// Refuses a run that does not fit. Gives the inferences for which material is kept: one where
/// memory is scarce.
pub(super) fn before_running(
    plan: &Plan,
    graph: &Graph,
    estimate: &Estimate,
    [parties, batch, threads]: [usize; 3],
) -> Result<usize, DemoError> {
    let available = available();
    // Two threads of helper and parties have others for their arithmetic.
    let others = 2 * (parties as u64 + 1) * (threads as u64).saturating_sub(1);
    let threads = threads_running(parties as u64) + others;
    let needs =
        |kept: usize| running(estimate.memory, [parties, batch, kept], plan, graph).among(threads, available);
    if available.is_none_or(|a| needs(KEPT).sum() <= a.bytes) {
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
    let Memory { party, ready, helper, helper_ready, owner, client } = memory;
    let (parties, batch) = (parties as u64, batch as u64);
    let with_more = |one: u64, ready: u64| one.saturating_add(ready.saturating_mul(kept as u64 - 1));
    let (each, helper) = (with_more(party, ready), with_more(helper, helper_ready));
    // Messages on their way, what is packed or unpacked at the moment, and what the allocator keeps:
    // with MobileNetV2 for 224 x 224 images 9.7 GB are in use at most, and 12.3 to 13.5 GB are held.
    let moving = each.saturating_mul(parties).saturating_add(helper) / 3;
    let word = 8 * plan.limbs.count() as u64;
    let comparing = COMPARING * cores() * values(graph) + word.saturating_mul(batch * values(graph));
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
        let among = |bytes| {
            let available = Some(Available { bytes, limit: Limit::AddressSpace });
            needs().among(27, available).check(available, "")
        };
        let reserved = addresses(27, cores());
        assert!(among(1001 + reserved).is_ok());
        let error = among(1000 + reserved).unwrap_err().to_string();
        assert!(error.contains("addresses of 27 threads: "), "{error}");
        assert_eq!(addresses(27, 2), (16 << 26) + (27 << 21));
        assert_eq!(addresses(27, 64), (27 << 26) + (27 << 21));
        assert_eq!(needs().among(27, machine(9)).sum(), 1001);
        assert!(Needs(vec![("one".to_owned(), u64::MAX); 2]).check(machine(u64::MAX - 1), "").is_err());
    }
}
