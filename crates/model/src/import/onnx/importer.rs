//! Node by node into a graph: names, order, budget, and who handles which operator.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;

use amicus_plan::printable::visible;

use super::constant::Constant;
use super::external::Externals;
use super::layout::is_layout;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use super::start::{check_names, input_dims, input_order, label, order, the_input};
use super::value::{Moved, Refusal, SIMPLIFY, Value, View, unsupported};
use super::{Import, ImportOptions, OPSETS, OnnxError, Problem};
use super::{foreign, training};
use crate::error::ModelError;
use crate::function::Function;
use crate::graph::{ConvOptions, Gather, GraphBuilder, NodeId, OutputPart, SecretReals};

/// Bytes of parameters that any file may have.
const BASE_BUDGET: u64 = 16 << 20;
/// Largest constant that is kept while the network is imported; larger ones are read again if two
/// nodes use them.
const KEPT: usize = 1 << 18;
/// Most outputs of a network.
const MAX_OUTPUTS: usize = 64;
/// Copies of the files' bytes that parameters may take.
const COPIES: u64 = 8;

pub(super) fn import(
    file: &str,
    bytes: &[u8],
    folder: Option<&Path>,
    options: &ImportOptions,
) -> Result<Import, OnnxError> {
    let whole = |reason: String| OnnxError::File { file: file.to_owned(), reason };
    if bytes.is_empty() {
        return Err(whole("the file is empty".into()));
    }
    if let Some(found) = foreign::kind(bytes) {
        return Err(whole(format!("no ONNX file, but {found}")));
    }
    let model = ModelProto::parse(bytes).map_err(|e| whole(format!("not a complete ONNX file: {e}")))?;
    let no_onnx = |what: &str| whole(format!("no ONNX file: it {what}; {}", foreign::EXPORT));
    let graph = model.graph.as_ref().ok_or_else(|| no_onnx("holds no graph"))?;
    let opset = model.opsets.iter().find(|(domain, _)| is_onnx(domain)).map(|(_, version)| *version);
    let opset = opset.ok_or_else(|| no_onnx("names no operator set"))?;
    if !OPSETS.contains(&opset) {
        let (first, last) = (OPSETS.start(), OPSETS.end());
        return Err(whole(format!(
            "operator set {opset}, supported are {first} to {last}; export with opset_version={last}"
        )));
    }
    check_names(graph).map_err(whole)?;
    let input = the_input(graph).map_err(whole)?;
    let outputs = wanted_outputs(graph, options).map_err(whole)?;
    let dims = input_dims(input, options).map_err(whole)?;
    let order = order(graph, &outputs).map_err(whole)?;
    let name = network_name(file, graph.name);
    let arrangement = input_order(graph, &order, input.name, &dims);
    let mut view = View::new(NodeId(0), dims.clone());
    if let Some(axes) = &arrangement {
        view.moved = Some(Rc::new(Moved { axes: axes.clone(), flattened: None, by: None }));
    }
    let stored = view.stored().dims;
    let flat = [dims[1..].iter().product()];
    let shape = if dims.len() == 4 { &stored[1..] } else { &flat[..] };
    let mut builder = GraphBuilder::new(&name, shape, 0.0..=1.0);
    if let Some(error) = builder.take_error() {
        return Err(whole(format!("input {}: {error}", input.name)));
    }
    if dims.len() != 4 && dims.len() > 2 {
        builder.shape_input(dims[1..].to_vec());
    }
    let mut notes = Vec::new();
    if let Some([0, axes @ ..]) = arrangement.as_deref()
        && let Ok(axes) = <[usize; 3]>::try_from(axes)
    {
        let axes = axes.map(|a| a - 1);
        builder.arrange_input(axes);
        notes.push(format!(
            "images are given as the file says, {:?}, and brought to [channels, height, width] before they are encrypted",
            &dims[1..]
        ));
    }
    let mut importer = Importer {
        initializers: graph.initializers.iter().map(|t| (t.name, t)).collect(),
        externals: Externals::new(folder),
        builder,
        values: HashMap::from([(input.name, Value::Tensor(view))]),
        emitted: HashMap::new(),
        shaped: HashMap::new(),
        ordered: Vec::new(),
        names: HashMap::from([("input".to_owned(), 1)]),
        labels: HashMap::new(),
        best: None,
        notes,
        batch: dims[0],
        file_bytes: bytes.len() as u64,
        generated: options.generated_bytes,
        spent: 0,
    };
    let mut problems = Vec::new();
    for &index in &order {
        importer.step(file, index, &graph.nodes[index], &mut problems)?;
    }
    let results = importer.results(&outputs);
    if !problems.is_empty() {
        return Err(OnnxError::Unsupported { file: file.to_owned(), problems });
    }
    let (last, parts) = results.map_err(|(output, r)| whole(format!("output {output}: {}", describe(&r))))?;
    let labels = importer.best.filter(|_| importer.reveals_labels(&outputs));
    let Importer { mut builder, mut notes, externals, .. } = importer;
    let get = match labels {
        None => "the logits".to_owned(),
        Some(1) => "the label".to_owned(),
        Some(n) => format!("{n} labels"),
    };
    for note in notes.iter_mut().filter(|note| note.ends_with(DROPPED)) {
        note.push_str(&format!(": receivers get {get}"));
    }
    let last = builder.prune(last);
    builder.name_outputs(parts);
    let graph_built = builder.finish(last).map_err(|e| whole(e.to_string()))?;
    let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
    order.iter().for_each(|&i| *operators.entry(graph.nodes[i].op).or_default() += 1);
    Ok(Import {
        graph: graph_built,
        notes,
        opset,
        producer: visible(format!("{} {}", model.producer, model.producer_version).trim()),
        operators: operators.into_iter().map(|(op, n)| (op.to_owned(), n)).collect(),
        external: externals.files(),
        labels,
    })
}

/// Names of the outputs to compute.
fn wanted_outputs<'b>(graph: &GraphProto<'b>, options: &ImportOptions) -> Result<Vec<&'b str>, String> {
    let names: Vec<&str> = graph.outputs.iter().map(|o| o.name).collect();
    let Some(wanted) = &options.output else {
        return match names.len() {
            0 => Err("the graph has no output".to_owned()),
            1..=MAX_OUTPUTS => Ok(names),
            many => Err(format!(
                "{many} outputs, at most {MAX_OUTPUTS} are possible; choose one with --output-name"
            )),
        };
    };
    let computed = graph.nodes.iter().flat_map(|node| node.outputs.iter().copied());
    let found = computed.into_iter().find(|name| name == wanted && !name.is_empty());
    found.map(|name| vec![name]).ok_or_else(|| format!("no output {wanted}; there are {}", names.join(", ")))
}

/// The graph's name, or the file's where exporters give all graphs the same one.
fn network_name(file: &str, graph: &str) -> String {
    let stem = Path::new(file).file_stem().and_then(|s| s.to_str());
    match (graph, stem) {
        ("" | "main_graph" | "torch_jit" | "torch-jit-export", Some(stem)) => visible(stem),
        _ => visible(graph),
    }
}

/// Whether an operator set is the standard one.
fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// How the note on what is left out at the end begins; what receivers get is added.
pub(super) const DROPPED: &str = " at the end dropped";

/// Why a `Transpose` is refused.
const MOVED: &str = "moves the axis of the batch to another place";
/// What to do about it.
const KEEP_ORDER: &str = "export the model with a batch of 1, or leave the first axis where it is";

fn describe(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Unsupported { why, what_to_do } => format!("{why}; {what_to_do}"),
        Refusal::Invalid(reason) => reason.clone(),
        Refusal::Moved(_) => format!("{MOVED}; {KEEP_ORDER}"),
        Refusal::Follows => "needs a second output of a node, which is not computed".to_owned(),
    }
}

/// A network being imported. `'m` is the parsed file, `'b` its bytes.
pub(super) struct Importer<'m, 'b> {
    initializers: HashMap<&'b str, &'m TensorProto<'b>>,
    externals: Externals<'m>,
    pub(super) builder: GraphBuilder,
    pub(super) values: HashMap<&'b str, Value>,
    /// Nodes made of functions of a node.
    emitted: HashMap<NodeId, Vec<(Function, NodeId)>>,
    shaped: HashMap<(NodeId, Vec<usize>), NodeId>,
    /// Values brought in order: the node, how, and the node that holds it in order.
    pub(super) ordered: Vec<(NodeId, Gather, NodeId)>,
    names: HashMap<String, usize>,
    /// Names of nodes by what they compute.
    labels: HashMap<&'b str, String>,
    /// How many of the largest outputs an ArgMax or a TopK at the end asks for.
    pub(super) best: Option<u32>,
    pub(super) notes: Vec<String>,
    pub(super) batch: usize,
    file_bytes: u64,
    generated: u64,
    spent: u64,
}

impl<'m, 'b> Importer<'m, 'b> {
    /// One node: its value, or a problem for the list.
    fn step(
        &mut self,
        file: &str,
        index: usize,
        node: &NodeProto<'b>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), OnnxError> {
        let name = label(node, index);
        if let Some(output) = node.outputs.first() {
            // An activation keeps its name behind what only changes shapes.
            let before = node.inputs.first().filter(|_| is_layout(node.op)).and_then(|i| self.labels.get(i));
            let label = before.unwrap_or(&name).clone();
            self.labels.insert(output, label);
        }
        let value = self.handle(&name, node).and_then(|value| match self.builder.take_error() {
            None => Ok(value),
            Some(ModelError::Node { reason, .. }) => Err(Refusal::Invalid(reason)),
            Some(other) => Err(Refusal::Invalid(other.to_string())),
        });
        let value = match value {
            Ok(value) => value,
            Err(Refusal::Invalid(reason)) => {
                let (file, op) = (file.to_owned(), node.op.to_owned());
                return Err(OnnxError::Node { file, node: name, op, reason });
            }
            Err(Refusal::Unsupported { why, what_to_do }) => {
                problems.push(Problem { node: name, op: node.op.to_owned(), why, what_to_do });
                self.stand_in(node)
            }
            Err(Refusal::Moved(moved)) => {
                let why = MOVED.to_owned();
                let (node_at_fault, op) = match &moved.by {
                    Some(transpose) => (transpose.clone(), "Transpose".to_owned()),
                    None => (name, node.op.to_owned()),
                };
                if !problems.iter().any(|p| p.node == node_at_fault && p.why == why) {
                    problems.push(Problem {
                        node: node_at_fault,
                        op,
                        why,
                        what_to_do: KEEP_ORDER.to_owned(),
                    });
                }
                self.stand_in(node)
            }
            Err(Refusal::Follows) => Value::Unknown,
        };
        let mut outputs = node.outputs.iter().filter(|n| !n.is_empty());
        if let Some(first) = outputs.next() {
            self.values.insert(first, value);
        }
        outputs.for_each(|other| {
            self.values.entry(other).or_insert(Value::Unknown);
        });
        Ok(())
    }

    fn handle(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        if node.domain == "ai.onnx.ml" {
            return self.machine_learning(name, node);
        }
        if !is_onnx(node.domain) {
            let todo = "export with standard operators only";
            return Err(unsupported(format!("an operator of the domain {}", node.domain), todo));
        }
        training::refuse(self, node)?;
        if let Some(constant) = self.evaluated(node)? {
            return Ok(Value::Constant(Rc::new(constant)));
        }
        if let Some(value) = self.layout(name, node)? {
            return Ok(value);
        }
        if let Some(value) = self.elementwise(name, node)? {
            return Ok(value);
        }
        if let Some(value) = self.rearranged(name, node)? {
            return Ok(value);
        }
        self.layer(name, node)
    }

    /// Another output of a node than the first.
    pub(super) fn also(&mut self, output: &'b str, value: Value) {
        if !output.is_empty() {
            self.values.insert(output, value);
        }
    }

    /// What to go on with behind a refused node, so that later nodes are looked at too.
    fn stand_in(&self, node: &NodeProto<'b>) -> Value {
        const SAME_SHAPE: [&str; 14] = [
            "LRN",
            "InstanceNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "PRelu",
            "Mul",
            "Div",
            "Min",
            "Max",
            "BatchNormalization",
            "Dropout",
            "Pow",
            "LpNormalization",
            "MeanVarianceNormalization",
        ];
        let view = |name: &&str| match self.values.get(*name) {
            Some(Value::Tensor(view) | Value::Scalar(view, _)) => Some(view.clone()),
            _ => None,
        };
        if !SAME_SHAPE.contains(&node.op) {
            return Value::Unknown;
        }
        // A gate is spread over what it is multiplied with, whichever is written first.
        let largest = node.inputs.iter().filter_map(view).max_by_key(|v| v.dims.iter().product::<usize>());
        largest.map_or(Value::Unknown, Value::Tensor)
    }

    /// The value of input `index`; `None` where it is left out.
    pub(super) fn input(&mut self, node: &NodeProto<'b>, index: usize) -> Result<Option<Value>, Refusal> {
        let Some(&name) = node.inputs.get(index).filter(|n| !n.is_empty()) else { return Ok(None) };
        if let Some(value) = self.values.get(name) {
            return Ok(Some(value.clone()));
        }
        let &tensor = self.initializers.get(name).ok_or_else(|| format!("input {name} is missing"))?;
        let constant =
            Constant::read(tensor, &mut self.externals).map_err(|e| format!("tensor {name}: {e}"))?;
        self.spend(4 * constant.len() as u64)?;
        let small = constant.len() <= KEPT;
        let value = Value::Constant(Rc::new(constant));
        if small {
            self.values.insert(name, value.clone());
        }
        Ok(Some(value))
    }

    /// Input `index` as a constant; `None` where it is left out.
    pub(super) fn constant(
        &mut self,
        node: &NodeProto<'b>,
        index: usize,
        what: &str,
    ) -> Result<Option<Rc<Constant>>, Refusal> {
        match self.input(node, index)? {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(Value::Unknown) => Err(Refusal::Follows),
            Some(_) => Err(unsupported(
                format!("its {what} depends on the image"),
                "make it a constant of the model",
            )),
        }
    }

    /// A tensor inside an attribute.
    pub(super) fn inline(&mut self, tensor: &TensorProto<'b>) -> Result<Constant, Refusal> {
        let constant = Constant::read(tensor, &mut self.externals)?;
        self.spend(4 * constant.len() as u64)?;
        Ok(constant)
    }

    /// The numbers of a constant as parameters of a layer.
    pub(super) fn floats(&mut self, constant: &Constant) -> Result<Vec<f32>, Refusal> {
        self.spend(4 * constant.len() as u64)?;
        Ok(constant.to_floats())
    }

    /// Counts memory for parameters.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.spent = self.spent.saturating_add(bytes);
        let files = self.file_bytes.saturating_add(self.externals.bytes);
        let limit = files.saturating_mul(COPIES).saturating_add(BASE_BUDGET).saturating_add(self.generated);
        if self.spent > limit {
            return Err(Refusal::Invalid(format!(
                "weights take more than {limit} bytes, although the files have {files}: they are generated; allow it \
                 with --generated-weights if the file can be trusted"
            )));
        }
        Ok(())
    }

    /// Input `index` as a value of the network, with functions made into nodes.
    pub(super) fn tensor(&mut self, node: &NodeProto<'b>, index: usize) -> Result<View, Refusal> {
        let view = self.tensor_in_any_order(node, index)?;
        self.in_order(node.op, &view)
    }

    /// An input's tensor, whatever the order of its axes: for operators that treat every number
    /// alike.
    pub(super) fn tensor_in_any_order(
        &mut self,
        node: &NodeProto<'b>,
        index: usize,
    ) -> Result<View, Refusal> {
        let name = *node.inputs.get(index).ok_or_else(|| format!("input {index} is missing"))?;
        let value = self.input(node, index)?.ok_or_else(|| format!("input {index} is missing"))?;
        self.materialise(name, value)
    }

    /// An input's tensor whose numbers are in order, or flat in an order that is known: for
    /// operators that have parameters for single numbers. Gives the order too.
    pub(super) fn flat_in_any_order(
        &mut self,
        node: &NodeProto<'b>,
    ) -> Result<(View, Option<Vec<usize>>), Refusal> {
        let view = self.tensor_in_any_order(node, 0)?;
        if view.moved.is_none() {
            return Ok((view, None));
        }
        self.spend(8 * view.dims.iter().product::<usize>() as u64)?;
        match view.places() {
            Some(places) => Ok((view, Some(places))),
            None => Ok((self.in_order(node.op, &view)?, None)),
        }
    }

    fn materialise(&mut self, name: &'b str, value: Value) -> Result<View, Refusal> {
        match value {
            Value::Tensor(view) => Ok(view),
            Value::Scalar(base, function) => {
                let known =
                    self.emitted.get(&base.node).and_then(|all| all.iter().find(|(f, _)| *f == function));
                if let Some(&(_, node)) = known {
                    return Ok(View { node, ..base });
                }
                let kept = function.clone();
                let label = self.labels.get(name).cloned().unwrap_or_else(|| visible(name));
                let label = self.unique(&label);
                // A function that gives the same for every number (x - x) still has the value's
                // shape.
                let coefficients =
                    function.coefficients().map(|c| if c.len() == 1 { vec![c[0], 0.0] } else { c });
                let node = match coefficients.as_deref() {
                    Some([offset, factor]) if (*offset, *factor) == (0.0, 1.0) => base.node,
                    Some([offset, factor]) => {
                        let channels = self.builder.shape(base.node)[0];
                        self.spend(16 * channels as u64)?;
                        let all = |v: f64| -> SecretReals { std::iter::repeat_n(v, channels).collect() };
                        self.builder.affine(&label, base.node, all(*factor), all(*offset))
                    }
                    Some(coefficients) => {
                        self.builder.polynomial(&label, base.node, 1.0, coefficients.to_vec())
                    }
                    None => self.builder.activation(&label, base.node, function),
                };
                self.emitted.entry(base.node).or_default().push((kept, node));
                Ok(View { node, ..base })
            }
            Value::Padded(view, padding) => self.zeros_around(name, view, padding),
            Value::Probabilities(_, "ArgMax" | "Hardmax" | "TopK" | "TopK values") => Err(unsupported(
                "goes on with the place of the largest number, which would compare secret numbers",
                "end the network with the logits; whoever receives them can do this with them",
            )),
            Value::Probabilities(_, op) => Err(unsupported(
                format!("reads a {op} inside the network, which divides by a sum of secret numbers"),
                "only at the very end is it possible, where receivers take it of the logits themselves; use a network \
                 without attention",
            )),
            Value::Constant(_) => Err(unsupported("a constant where an image's value belongs", SIMPLIFY)),
            Value::Unknown => Err(Refusal::Follows),
        }
    }

    /// The last node, and names and shapes of the outputs that it holds one behind the other, where
    /// there are several.
    fn results(&mut self, outputs: &[&'b str]) -> Result<(NodeId, Vec<OutputPart>), (&'b str, Refusal)> {
        let mut found = Vec::with_capacity(outputs.len());
        // Whoever receives the scores knows the label.
        let labels: Vec<bool> = outputs.iter().map(|name| self.is_label(name)).collect();
        let scores = labels.contains(&false);
        for (&name, label) in outputs.iter().zip(labels) {
            if label && scores {
                self.notes.push(format!(
                    "output {} left out: receivers can tell it from the others",
                    visible(name)
                ));
                continue;
            }
            found.push((name, self.result(name).map_err(|refusal| (name, refusal))?));
        }
        if let [(_, (node, _))] = found[..] {
            return Ok((node, Vec::new()));
        }
        let mut parts = Vec::with_capacity(found.len());
        let mut flat = Vec::with_capacity(found.len());
        for (name, (node, shape)) in found {
            let length = self.builder.shape(node).iter().product();
            flat.push(self.shaped(&View::new(node, vec![self.batch, length]), &[length]));
            parts.push(OutputPart { name: visible(name), shape });
        }
        let label = self.unique("outputs");
        Ok((self.builder.concat(&label, &flat), parts))
    }

    /// Whether an output is places of the largest numbers.
    fn is_label(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Probabilities(_, "ArgMax" | "TopK")))
    }

    /// Whether all outputs are.
    fn reveals_labels(&self, outputs: &[&'b str]) -> bool {
        outputs.iter().all(|name| self.is_label(name))
    }

    /// The node of an output, and its shape without the batch.
    fn result(&mut self, name: &'b str) -> Result<(NodeId, Vec<usize>), Refusal> {
        let value = self.values.get(name).cloned().unwrap_or(Value::Unknown);
        let view = match value {
            Value::Probabilities(_, "TopK values") => {
                return Err(unsupported(
                    "the largest numbers themselves are not given out",
                    "choose their places with --output-name, or end the network with the logits",
                ));
            }
            Value::Probabilities(view, _) => view,
            other => self.materialise(name, other)?,
        };
        let view = self.in_order(name, &view)?;
        // A single image may come without its batch of 1.
        let of_one = self.batch == 1
            && view.dims.iter().product::<usize>() == self.builder.shape(view.node).iter().product::<usize>();
        if view.dims.first() != Some(&self.batch) && !of_one {
            return Err(Refusal::Invalid(format!("shape {:?} does not start with the batch", view.dims)));
        }
        match self.builder.take_error() {
            Some(error) => Err(Refusal::Invalid(error.to_string())),
            None if view.dims.first() == Some(&self.batch) => Ok((view.node, view.dims[1..].to_vec())),
            None => Ok((view.node, view.dims)),
        }
    }

    /// Zeros around an image where no convolution or pooling takes them along: a convolution of one
    /// weight a channel.
    fn zeros_around(&mut self, name: &'b str, view: View, padding: [usize; 4]) -> Result<View, Refusal> {
        let input = self.image(&view)?;
        let channels = self.builder.shape(input)[0];
        self.spend(4 * channels as u64)?;
        let label = self.labels.get(name).cloned().unwrap_or_else(|| visible(name));
        let label = self.unique(&label);
        let options = ConvOptions { padding, ..ConvOptions::square(channels, 1).groups(channels) };
        let node = self.builder.conv2d(&label, input, options, vec![1.0; channels], None);
        self.notes.push(format!(
            "{label} becomes a layer of its own: no convolution behind it takes its zeros along"
        ));
        let dims = std::iter::once(self.batch).chain(self.builder.shape(node).iter().copied()).collect();
        let view = View::new(node, dims);
        self.values.insert(name, Value::Tensor(view.clone()));
        Ok(view)
    }

    /// A node that holds a view's numbers under a shape without the batch.
    pub(super) fn shaped(&mut self, view: &View, shape: &[usize]) -> NodeId {
        let node = view.node;
        if self.builder.shape(node) == shape {
            return node;
        }
        if let Some(&known) = self.shaped.get(&(node, shape.to_vec())) {
            return known;
        }
        let label = self.unique(&format!("reshape{}", self.shaped.len() + 1));
        let shaped = match shape {
            [_] => self.builder.flatten(&label, node),
            _ => self.builder.reshape(&label, node, shape),
        };
        self.shaped.insert((node, shape.to_vec()), shaped);
        shaped
    }

    /// A view as images `[channels, height, width]`.
    pub(super) fn image(&mut self, view: &View) -> Result<NodeId, Refusal> {
        match view.dims[..] {
            [b, c, h, w] if b == self.batch => Ok(self.shaped(view, &[c, h, w])),
            [b, c, length] if b == self.batch => Ok(self.shaped(view, &[c, 1, length])),
            _ => Err(unsupported(
                format!("a value of shape {:?}", view.dims),
                "only images [batch, channels, height, width] or [batch, channels, length] can be processed here",
            )),
        }
    }

    /// A view as vectors `[length]`.
    pub(super) fn flat(&mut self, view: &View) -> Result<NodeId, Refusal> {
        match view.dims[..] {
            [b, length] if b == self.batch => Ok(self.shaped(view, &[length])),
            _ => Err(unsupported(
                format!("a matrix product with a value of shape {:?}", view.dims),
                "flatten it to [batch, length] before",
            )),
        }
    }

    /// A name that no node has yet.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let count = self.names.entry(wanted.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 {
            return wanted.to_owned();
        }
        loop {
            let next = self.names.get(wanted).copied().unwrap_or(1);
            let candidate = format!("{wanted}#{next}");
            if !self.names.contains_key(&candidate) {
                self.names.insert(candidate.clone(), 1);
                return candidate;
            }
            self.names.insert(wanted.to_owned(), next + 1);
        }
    }
}
