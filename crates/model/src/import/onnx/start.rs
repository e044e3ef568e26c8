//! What is looked at before any node: the one input, its sizes, and the order of the nodes.

use std::collections::{HashMap, HashSet};

use amicus_plan::printable::visible;

use super::ImportOptions;
use super::proto::{GraphProto, NodeProto, ValueInfo};

/// The one input that is no initializer.
pub(super) fn the_input<'m, 'b>(graph: &'m GraphProto<'b>) -> Result<&'m ValueInfo<'b>, String> {
    if graph.nodes.is_empty() {
        return Err("the graph has no nodes".to_owned());
    }
    if graph.sparse_initializers > 0 {
        return Err("it holds sparse weights; export them dense".to_owned());
    }
    let known: HashSet<&str> = graph.initializers.iter().map(|t| t.name).collect();
    let inputs: Vec<_> = graph.inputs.iter().filter(|i| !known.contains(i.name)).collect();
    match inputs.as_slice() {
        [input] if matches!(input.element_type, 1 | 10 | 11 | 16) => Ok(input),
        [input] => Err(format!(
            "input {} has element type {}, expected real numbers; export with a float32 example input",
            input.name, input.element_type
        )),
        [] => Err("the graph has no input".to_owned()),
        many => {
            let names: Vec<&str> = many.iter().map(|i| i.name).collect();
            Err(format!("{} inputs ({}); one image is expected", many.len(), names.join(", ")))
        }
    }
}

/// Every name stands for one thing.
pub(super) fn check_names(graph: &GraphProto<'_>) -> Result<(), String> {
    let mut known = HashSet::new();
    for tensor in &graph.initializers {
        if !known.insert(tensor.name) {
            return Err(format!("two initializers are named {}", tensor.name));
        }
    }
    let mut inputs = HashSet::new();
    for input in &graph.inputs {
        // Old files list initializers among the inputs too.
        if !inputs.insert(input.name) {
            return Err(format!("two inputs are named {}", input.name));
        }
    }
    let mut computed = HashSet::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|n| !n.is_empty()) {
            let other = match (known.contains(name), inputs.contains(name)) {
                (true, _) => "an initializer",
                (_, true) => "an input",
                _ if !computed.insert(*name) => return Err(format!("two nodes compute {name}")),
                _ => continue,
            };
            let node = label(node, index);
            return Err(format!(
                "{name} is {other} and the result of node {node}: which one is meant is not clear"
            ));
        }
        let mut attributes = HashSet::new();
        if let Some(twice) = node.attributes.iter().find(|a| !attributes.insert(a.name)) {
            return Err(format!("node {} has the attribute {} twice", label(node, index), twice.name));
        }
    }
    Ok(())
}

/// The order in which images are given, where a `Transpose` brings them into another one before
/// anything else looks at them: axis `k` of the network's input is axis `order[k]` of what the file
/// declares.
pub(super) fn input_order(
    graph: &GraphProto<'_>,
    order: &[usize],
    input: &str,
    dims: &[usize],
) -> Option<Vec<usize>> {
    if dims.len() != 4 {
        return None;
    }
    let settled = |axes: &Vec<usize>| axes[0] == 0 && !axes.iter().filter(|&&a| dims[a] != 1).is_sorted();
    let mut orders: HashMap<&str, Vec<usize>> = HashMap::from([(input, (0..4).collect())]);
    let (mut last, mut reshaped) = (None, None);
    for &index in order {
        let node = &graph.nodes[index];
        let Some(before) = node.inputs.iter().find_map(|name| orders.get(name)).cloned() else { continue };
        if looks_at_axes(node.op) {
            return Some(before).filter(settled);
        }
        if reshapes(node.op) {
            // Whatever order it makes flat, weights behind it can follow: others decide first.
            reshaped.get_or_insert(before);
            continue;
        }
        let after: Vec<usize> = match node.op {
            "Transpose" => {
                let perm = super::layout::permutation(node.ints("perm"), 4).ok()?;
                perm.iter().map(|&a| before[a]).collect()
            }
            _ => before,
        };
        last = Some(after.clone());
        orders.insert(node.outputs.first()?, after);
    }
    reshaped.or(last).filter(settled)
}

/// Whether an operator takes the axes of a value apart without looking at the numbers.
fn reshapes(op: &str) -> bool {
    matches!(op, "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze")
}

/// Whether an operator treats the axes of a value differently. What does not, every number or
/// channel by itself, leaves the order of axes open.
fn looks_at_axes(op: &str) -> bool {
    let layers = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Pad", "Concat", "Resize", "Upsample", "LRN"];
    let places = ["Slice", "Split", "Gather", "Tile", "Expand", "DepthToSpace", "SpaceToDepth"];
    let shapes = ["Softmax", "LogSoftmax", "Hardmax", "ArgMax", "TopK"];
    layers.contains(&op)
        || places.contains(&op)
        || shapes.contains(&op)
        || op.contains("Pool")
        || op.contains("Reduce")
        || op.ends_with("Normalization")
}

/// Sizes of the input, batch first.
pub(super) fn input_dims(input: &ValueInfo<'_>, options: &ImportOptions) -> Result<Vec<usize>, String> {
    let name = input.name;
    let declared = input.shape.as_deref().unwrap_or_default();
    let batch = match declared.first() {
        Some(Some(n)) if *n > 0 && *n <= 4096 => *n as usize,
        Some(Some(n)) if *n > 0 => {
            return Err(format!("input {name}: batch of {n}; export with a batch of 1"));
        }
        _ => 1,
    };
    let mut dims = vec![batch];
    if let Some(shape) = &options.input_shape {
        let fits = |(i, size): (usize, &usize)| match declared.get(i + 1) {
            Some(Some(d)) => usize::try_from(*d) == Ok(*size),
            Some(None) => true,
            None => declared.is_empty(),
        };
        let same_rank = declared.is_empty() || declared.len() == shape.len() + 1;
        if !same_rank || !shape.iter().enumerate().all(fits) {
            return Err(format!(
                "input {name}: shape {shape:?} was given, the file says {}",
                shown(declared)
            ));
        }
        dims.extend(shape);
    } else {
        if declared.len() < 2 {
            return Err(format!("input {name}: shape {}, expected a batch of images", shown(declared)));
        }
        for size in &declared[1..] {
            let size = size.and_then(|s| usize::try_from(s).ok()).filter(|&s| s > 0);
            dims.push(size.ok_or_else(|| {
                format!(
                    "input {name}: shape {} is not fixed; export with fixed height and width, or give the shape",
                    shown(declared)
                )
            })?);
        }
    }
    let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let limit = amicus_plan::values::MAX_VALUE_LEN;
    if dims.len() > 8 || elements.is_none_or(|n| n == 0 || n / batch > limit) {
        return Err(format!("input {name}: shape {}, at most {limit} numbers are possible", shown(declared)));
    }
    Ok(dims)
}

fn shown(shape: &[Option<i64>]) -> String {
    let sizes = shape.iter().take(8).map(|d| d.map_or_else(|| "?".to_owned(), |d| d.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

/// The nodes that the outputs need, each after those it reads.
pub(super) fn order(graph: &GraphProto<'_>, outputs: &[&str]) -> Result<Vec<usize>, String> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|n| !n.is_empty()) {
            producer.insert(name, i);
        }
    }
    let known: HashSet<&str> =
        graph.initializers.iter().map(|t| t.name).chain(graph.inputs.iter().map(|i| i.name)).collect();
    if let Some(output) = outputs.iter().find(|o| known.contains(*o) || !producer.contains_key(*o)) {
        return Err(format!("output {output} is not computed by a node"));
    }
    // Depth first without recursion: a node is entered, its inputs are done, then it is left.
    let mut state = vec![0u8; graph.nodes.len()];
    let mut order = Vec::new();
    let mut stack = Vec::new();
    for &output in outputs {
        // One output after the other: what waits for its turn is not on the way to another.
        if state[producer[output]] == 0 {
            state[producer[output]] = 1;
            stack.push((producer[output], 0));
        }
        while let Some((index, at)) = stack.pop() {
            let node = &graph.nodes[index];
            let Some(name) = node.inputs.get(at) else {
                state[index] = 2;
                order.push(index);
                continue;
            };
            stack.push((index, at + 1));
            if name.is_empty() || known.contains(name) {
                continue;
            }
            let label = || label(node, index);
            let &next =
                producer.get(name).ok_or_else(|| format!("node {}: input {name} is missing", label()))?;
            match state[next] {
                0 => {
                    state[next] = 1;
                    stack.push((next, 0));
                }
                1 => return Err(format!("the graph has a cycle through node {}", label())),
                _ => {}
            }
        }
    }
    // In the order of the file where it is valid, for people; an order by depth is as good.
    let sorted = {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        let place: HashMap<usize, usize> = sorted.iter().enumerate().map(|(p, &i)| (i, p)).collect();
        let valid = sorted.iter().all(|&i| {
            let inputs = graph.nodes[i].inputs.iter().filter_map(|n| producer.get(n));
            inputs.into_iter().all(|p| place.get(p) < place.get(&i))
        });
        valid.then_some(sorted)
    };
    Ok(sorted.unwrap_or(order))
}

/// A node's name, or what it computes where it has none, fit to be printed.
pub(super) fn label(node: &NodeProto<'_>, index: usize) -> String {
    let name = [node.name, node.outputs.first().copied().unwrap_or_default()];
    name.into_iter().find(|n| !n.is_empty()).map_or_else(|| format!("number {index}"), visible)
}
