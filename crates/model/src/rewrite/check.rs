//! What stands between an imported network and a plan, all at once and before there is calibration
//! data.

use serde::Serialize;

use crate::error::ModelError;
use crate::fold::Folded;
use crate::graph::{Graph, Layer};
use crate::onnx::Problem;
use crate::prepare::prepare;

/// What `amicus check` tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Nodes that cannot be compiled where they stand.
    pub problems: Vec<Problem>,
    /// What will be rewritten so that it can be compiled.
    pub rewrites: Vec<String>,
    /// Activations that polynomials will stand for: node and function.
    pub approximated: Vec<(String, String)>,
    /// Activations that are computed as they are, by comparisons: node and function.
    pub compared: Vec<(String, String)>,
    /// Max pooling layers, which are computed as they are too.
    pub max_pools: Vec<String>,
    /// Convolutions and fully connected layers.
    pub linear_layers: usize,
    /// Numbers in them.
    pub parameters: usize,
}

/// Looks at every node.
pub fn check(graph: &Graph) -> Check {
    let (mut approximated, mut compared, mut max_pools) = (Vec::new(), Vec::new(), Vec::new());
    let (mut linear_layers, mut parameters) = (0, 0);
    // What approximation will do, as far as the structure goes.
    let polynomial = graph.with_layers(|_, node| match &node.layer {
        Layer::Activation(function) if function.pieces().is_some() => {
            compared.push((node.name.clone(), function.name()));
            node.layer.clone()
        }
        Layer::Activation(function) => {
            approximated.push((node.name.clone(), function.name()));
            Layer::Polynomial { coefficients: vec![0.0, 0.0, 1.0], interval: 1.0 }
        }
        Layer::MaxPool(pool) => {
            max_pools.push(node.name.clone());
            Layer::MaxPool(*pool)
        }
        layer => {
            if let Layer::Conv2d { weights, bias, .. } | Layer::Linear { weights, bias, .. } = layer {
                linear_layers += 1;
                parameters += weights.len() + bias.as_ref().map_or(0, |b| b.len());
            }
            layer.clone()
        }
    });
    let (problems, rewrites) = match prepare(&polynomial) {
        Ok(prepared) => (Folded::problems(&prepared.graph), prepared.notes),
        Err(error) => (vec![error], Vec::new()),
    };
    let problems = problems.into_iter().map(|error| problem(graph, error)).collect();
    Check { problems, rewrites, approximated, compared, max_pools, linear_layers, parameters }
}

fn problem(graph: &Graph, error: ModelError) -> Problem {
    let ModelError::Node { node, reason } = error else {
        let why = error.to_string();
        return Problem {
            node: String::new(),
            op: String::new(),
            why,
            what_to_do: "simplify the model".to_owned(),
        };
    };
    let op = graph.find(&node).map_or("", |id| graph.node(id).layer.kind());
    let (why, what_to_do) = match reason.split_once("; ") {
        Some((why, advice)) => (why.to_owned(), advice.to_owned()),
        None => (reason, "change the model there".to_owned()),
    };
    Problem { node, op: op.to_owned(), why, what_to_do }
}
