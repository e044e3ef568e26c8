//! The messages of `onnx.proto` that a network needs, borrowed from the file.
//!
//! Fields that are not listed are skipped; subgraphs (of `If`, `Loop`, `Scan`) are noticed, not
//! read: their nodes are refused by name anyway. Source:
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use super::wire::Message;

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct ModelProto<'b> {
    pub(super) producer: &'b str,
    pub(super) producer_version: &'b str,
    /// (domain, version).
    pub(super) opsets: Vec<(&'b str, i64)>,
    pub(super) graph: Option<GraphProto<'b>>,
    pub(super) functions: usize,
}

/// The network.
#[derive(Debug, Default)]
pub(super) struct GraphProto<'b> {
    pub(super) name: &'b str,
    pub(super) nodes: Vec<NodeProto<'b>>,
    pub(super) initializers: Vec<TensorProto<'b>>,
    pub(super) sparse_initializers: usize,
    pub(super) inputs: Vec<ValueInfo<'b>>,
    pub(super) outputs: Vec<ValueInfo<'b>>,
}

/// One operation.
#[derive(Debug, Default)]
pub(super) struct NodeProto<'b> {
    pub(super) name: &'b str,
    pub(super) op: &'b str,
    pub(super) domain: &'b str,
    pub(super) inputs: Vec<&'b str>,
    pub(super) outputs: Vec<&'b str>,
    pub(super) attributes: Vec<Attribute<'b>>,
}

/// A parameter of an operation.
#[derive(Debug, Default)]
pub(super) struct Attribute<'b> {
    pub(super) name: &'b str,
    pub(super) float: Option<f32>,
    pub(super) int: Option<i64>,
    pub(super) text: Option<&'b [u8]>,
    pub(super) tensor: Option<Box<TensorProto<'b>>>,
    pub(super) floats: Vec<f32>,
    pub(super) ints: Vec<i64>,
}

/// Numbers with a shape.
#[derive(Default)]
pub(super) struct TensorProto<'b> {
    pub(super) name: &'b str,
    pub(super) dims: Vec<i64>,
    pub(super) data_type: i64,
    pub(super) raw: Option<&'b [u8]>,
    pub(super) floats: Vec<f32>,
    pub(super) ints: Vec<i64>,
    pub(super) doubles: Vec<f64>,
    pub(super) external: bool,
    /// (key, value): location, offset, length.
    pub(super) external_data: Vec<(&'b str, &'b str)>,
}

impl std::fmt::Debug for TensorProto<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorProto({}, {:?})", self.name, self.dims)
    }
}

/// Name, type and shape of an input or output.
#[derive(Debug, Default)]
pub(super) struct ValueInfo<'b> {
    pub(super) name: &'b str,
    pub(super) element_type: i64,
    /// `None` where the size is not fixed; no shape at all when the list is `None`.
    pub(super) shape: Option<Vec<Option<i64>>>,
}

/// Most nodes, initializers, inputs or outputs of a graph: an empty message takes two bytes of the
/// file, but hundreds of memory.
const MAX_MESSAGES: usize = 10_000;
/// Most attributes of a node, or entries of an attribute's or tensor's lists of messages.
const MAX_ENTRIES: usize = 64;

/// Appends, up to a limit.
fn push<T>(list: &mut Vec<T>, item: T, limit: usize, what: &str) -> Result<(), String> {
    if list.len() == limit {
        return Err(format!("more than {limit} {what}"));
    }
    list.push(item);
    Ok(())
}

/// Calls `each` for every field, adding the message's name to errors.
fn fields<'b>(
    what: &str,
    bytes: &'b [u8],
    mut each: impl FnMut(u64, super::wire::Wire<'b>) -> Result<(), String>,
) -> Result<(), String> {
    let mut message = Message::new(bytes);
    loop {
        match message.next() {
            Ok(None) => return Ok(()),
            Ok(Some(field)) => each(field.number, field.value).map_err(|e| {
                if e.contains(": ") { e } else { format!("in {what} (field {}): {e}", field.number) }
            })?,
            Err(e) => return Err(format!("in {what}: {e}")),
        }
    }
}

impl<'b> ModelProto<'b> {
    /// Reads a file's bytes.
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let mut model = ModelProto::default();
        fields("the model", bytes, |number, value| {
            match number {
                2 => model.producer = value.text()?,
                3 => model.producer_version = value.text()?,
                7 if model.graph.is_some() => return Err("a second graph".to_owned()),
                7 => model.graph = Some(GraphProto::parse(value.bytes()?)?),
                8 => {
                    let mut opset = ("", 0);
                    fields("an operator set", value.bytes()?, |number, value| {
                        match number {
                            1 => opset.0 = value.text()?,
                            2 => opset.1 = value.int()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    push(&mut model.opsets, opset, MAX_ENTRIES, "operator sets")?;
                }
                25 => model.functions += 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }
}

impl<'b> GraphProto<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let mut graph = GraphProto::default();
        fields("the graph", bytes, |number, value| {
            match number {
                1 => push(&mut graph.nodes, NodeProto::parse(value.bytes()?)?, MAX_MESSAGES, "nodes")?,
                2 => graph.name = value.text()?,
                5 => push(
                    &mut graph.initializers,
                    TensorProto::parse(value.bytes()?)?,
                    MAX_MESSAGES,
                    "initializers",
                )?,
                11 => push(&mut graph.inputs, ValueInfo::parse(value.bytes()?)?, MAX_MESSAGES, "inputs")?,
                12 => push(&mut graph.outputs, ValueInfo::parse(value.bytes()?)?, MAX_MESSAGES, "outputs")?,
                15 => graph.sparse_initializers += 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(graph)
    }
}

impl<'b> NodeProto<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let mut node = NodeProto::default();
        fields("a node", bytes, |number, value| {
            match number {
                1 => node.inputs.push(value.text()?),
                2 => node.outputs.push(value.text()?),
                3 => node.name = value.text()?,
                4 => node.op = value.text()?,
                5 => {
                    push(&mut node.attributes, Attribute::parse(value.bytes()?)?, MAX_ENTRIES, "attributes")?
                }
                7 => node.domain = value.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(node)
    }

    /// The attribute of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'b>> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// An integer attribute, or its default.
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.int).unwrap_or(default)
    }

    /// A real attribute, or its default.
    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.float).unwrap_or(default)
    }

    /// A list attribute.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A text attribute; empty when it is missing.
    pub(super) fn text(&self, name: &str) -> &'b str {
        self.attribute(name).and_then(|a| a.text).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or("")
    }
}

impl<'b> Attribute<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let mut attribute = Attribute::default();
        fields("an attribute", bytes, |number, value| {
            match number {
                1 => attribute.name = value.text()?,
                2 => attribute.float = Some(value.float()?),
                3 => attribute.int = Some(value.int()?),
                4 => attribute.text = Some(value.bytes()?),
                5 => attribute.tensor = Some(Box::new(TensorProto::parse(value.bytes()?)?)),
                7 => value.floats(&mut attribute.floats)?,
                8 => value.ints(&mut attribute.ints)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(attribute)
    }
}

impl<'b> TensorProto<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let mut tensor = TensorProto::default();
        fields("a tensor", bytes, |number, value| {
            match number {
                1 => value.ints(&mut tensor.dims)?,
                2 => tensor.data_type = value.int()?,
                4 => value.floats(&mut tensor.floats)?,
                5 | 7 => value.ints(&mut tensor.ints)?,
                8 => tensor.name = value.text()?,
                9 => tensor.raw = Some(value.bytes()?),
                10 => value.doubles(&mut tensor.doubles)?,
                13 => {
                    let mut entry = ("", "");
                    fields("external data", value.bytes()?, |number, value| {
                        match number {
                            1 => entry.0 = value.text()?,
                            2 => entry.1 = value.text()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    push(&mut tensor.external_data, entry, MAX_ENTRIES, "entries")?;
                }
                14 => tensor.external = value.int()? == 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(tensor)
    }
}

impl<'b> ValueInfo<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let mut info = ValueInfo::default();
        fields("an input or output", bytes, |number, value| {
            match number {
                1 => info.name = value.text()?,
                2 => fields("a type", value.bytes()?, |number, value| {
                    if number == 1 { tensor_type(value.bytes()?, &mut info) } else { Ok(()) }
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(info)
    }
}

fn tensor_type<'b>(bytes: &'b [u8], info: &mut ValueInfo<'b>) -> Result<(), String> {
    fields("a tensor type", bytes, |number, value| {
        match number {
            1 => info.element_type = value.int()?,
            2 => {
                let mut shape = Vec::new();
                fields("a shape", value.bytes()?, |number, value| {
                    if number == 1 {
                        let mut size = None;
                        fields("a dimension", value.bytes()?, |number, value| {
                            if number == 1 {
                                size = Some(value.int()?);
                            }
                            Ok(())
                        })?;
                        shape.push(size);
                    }
                    Ok(())
                })?;
                info.shape = Some(shape);
            }
            _ => {}
        }
        Ok(())
    })
}
