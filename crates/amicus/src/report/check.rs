//! What of a network can be compiled, and why the rest cannot.

use super::Text;
use amicus_model::check::{Check, check};
use amicus_model::onnx::{Import, OnnxError, Problem};
use serde::Serialize;

/// Names listed where many nodes share one line.
const LISTED: usize = 6;

/// What `amicus check` says of a network.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its name.
    pub model: String,
    /// Whether every node can be compiled.
    pub ok: bool,
    /// Nodes that cannot be.
    pub problems: Vec<Problem>,
    /// Operator set of the file, where it could be imported.
    pub opset: Option<i64>,
    /// The program that wrote it.
    pub producer: Option<String>,
    /// Its operators, with their counts.
    pub operators: Vec<(String, usize)>,
    /// What was dropped or rewritten at import.
    pub notes: Vec<String>,
    /// What is known of a file that could be imported.
    #[serde(flatten)]
    pub structure: Option<Structure>,
    /// Version of this library.
    pub version: &'static str,
}

/// What is known of a file that could be imported.
#[derive(Clone, Debug, Serialize)]
pub struct Structure {
    /// What is rewritten.
    pub rewrites: Vec<String>,
    /// Nodes that become splines or polynomials, and their functions.
    pub approximated: Vec<(String, String)>,
    /// Nodes that are computed by comparisons, and their functions.
    pub compared: Vec<(String, String)>,
    /// Max pooling.
    pub max_pools: Vec<String>,
    /// Number of linear layers.
    pub linear_layers: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// Names of all nodes, by which lines are recognised as alike.
    #[serde(skip)]
    nodes: Vec<String>,
}

impl Checked {
    /// From what importing the network came to.
    ///
    /// # Errors
    /// Those of the import but for nodes that cannot be imported, which are what is found.
    pub fn of(model: &str, import: Result<Import, OnnxError>) -> Result<Self, OnnxError> {
        let model = model.to_owned();
        let version = env!("CARGO_PKG_VERSION");
        let import = match import {
            Ok(import) => import,
            Err(OnnxError::Unsupported { problems, .. }) => {
                let (operators, notes) = (Vec::new(), Vec::new());
                let (opset, producer, structure) = (None, None, None);
                return Ok(Checked {
                    model,
                    ok: false,
                    problems,
                    opset,
                    producer,
                    operators,
                    notes,
                    structure,
                    version,
                });
            }
            Err(error) => return Err(error),
        };
        let Check { problems, rewrites, approximated, compared, max_pools, linear_layers, parameters } =
            check(&import.graph);
        let nodes = import.graph.nodes().iter().map(|node| node.name.clone()).collect();
        Ok(Checked {
            model,
            ok: problems.is_empty(),
            problems,
            opset: Some(import.opset),
            producer: Some(import.producer),
            operators: import.operators,
            notes: import.notes,
            structure: Some(Structure {
                rewrites,
                approximated,
                compared,
                max_pools,
                linear_layers,
                parameters,
                nodes,
            }),
            version,
        })
    }

    /// For people.
    pub fn text(&self) -> Text {
        let mut text = Text::default();
        if let (Some(opset), Some(structure)) = (self.opset, &self.structure) {
            let producer = self.producer.as_deref().filter(|p| !p.is_empty()).unwrap_or("an unnamed program");
            text.line(format_args!("{}: operator set {opset}, written by {producer}", self.model));
            let operators: Vec<String> = self.operators.iter().map(|(op, n)| format!("{n} {op}")).collect();
            text.line(format_args!("operators: {}", operators.join(", ")));
            text.line(format_args!(
                "{} linear layers, {} parameters",
                structure.linear_layers, structure.parameters
            ));
            let notes: Vec<&String> = self.notes.iter().chain(&structure.rewrites).collect();
            for alike in grouped(&notes, |note| pattern(note, &structure.nodes)) {
                let more = match alike.len() {
                    1 => String::new(),
                    n => format!(" ({} more like this)", n - 1),
                };
                text.line(format_args!("note: {}{more}", alike[0]));
            }
            for alike in grouped(&structure.approximated, |(_, function)| function.clone()) {
                text.line(format_args!(
                    "note: {} is computed by comparisons as a spline, or becomes a polynomial where asked for: {}",
                    alike[0].1,
                    names(alike.iter().map(|(node, _)| node))
                ));
            }
            for alike in grouped(&structure.compared, |(_, function)| function.clone()) {
                text.line(format_args!(
                    "note: {} is computed as it is, by comparisons: {}",
                    alike[0].1,
                    names(alike.iter().map(|(node, _)| node))
                ));
            }
            if !structure.max_pools.is_empty() {
                text.line(format_args!(
                    "note: max pooling is computed as it is, by comparisons: {}",
                    names(structure.max_pools.iter())
                ));
            }
        }
        if self.problems.is_empty() {
            text.line("every node can be compiled");
            return text;
        }
        text.line(format_args!("{}: {} node(s) cannot be compiled", self.model, self.problems.len()));
        for alike in grouped(&self.problems, |p| (p.op.clone(), p.why.clone(), p.what_to_do.clone())) {
            let Problem { node, op, why, what_to_do } = alike[0];
            let nodes = if alike.len() == 1 { node.clone() } else { names(alike.iter().map(|p| &p.node)) };
            text.line(format_args!("  {nodes} ({op})"));
            text.line(format_args!("    why:        {why}"));
            text.line(format_args!("    what to do: {what_to_do}"));
        }
        text
    }
}

/// Items in groups of one key, in the order in which keys appear.
fn grouped<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<Vec<&T>> {
    let mut groups: Vec<(K, Vec<&T>)> = Vec::new();
    for item in items {
        let key = key(item);
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, group)) => group.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// A note without the names of nodes and without numbers: notes that say the same of several nodes
/// have one pattern.
fn pattern(note: &str, nodes: &[String]) -> String {
    let mut words = note.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| matches!(c, ',' | '.' | ':' | ';' | '(' | ')' | '`'));
        let varies = nodes.iter().any(|node| node == bare) || bare.parse::<f64>().is_ok();
        if varies && !bare.is_empty() { word.replacen(bare, "*", 1) } else { word.to_owned() }
    });
    let first = words.next().unwrap_or_default();
    words.fold(first, |line, word| line + " " + &word)
}

/// The first few of several names, and how many there are.
fn names<'a>(all: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = all.len();
    let first: Vec<&str> = all.take(LISTED).map(String::as_str).collect();
    match count {
        1 => first.concat(),
        n if n <= LISTED => first.join(", "),
        n => format!("{} and {} more", first.join(", "), n - LISTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_the_same_are_one_group() {
        let nodes = ["bn1", "/layer1/bn2", "conv1", "2"].map(str::to_owned);
        let notes = [
            "bn1 folded into what reads it",
            "factor 1.5 of conv1 goes to bn1",
            "/layer1/bn2 folded into what reads it",
            "factor 2.5 of conv1 goes to 2, later",
            "factor 2.5 of conv1 goes to bn1",
        ];
        let groups = grouped(&notes, |note| pattern(note, &nodes));
        let groups: Vec<Vec<&str>> = groups.into_iter().map(|g| g.into_iter().copied().collect()).collect();
        assert_eq!(groups, [vec![notes[0], notes[2]], vec![notes[1], notes[4]], vec![notes[3]]]);
    }

    #[test]
    fn many_names_are_counted() {
        let all: Vec<String> = (0..16).map(|i| format!("gate{i}")).collect();
        assert_eq!(names(all[..2].iter()), "gate0, gate1");
        assert_eq!(names(all.iter()), "gate0, gate1, gate2, gate3, gate4, gate5 and 10 more");
    }
}
