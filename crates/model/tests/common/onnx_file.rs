//! A writer of ONNX files: nodes, attributes and tensors, in the wire format of Protocol Buffers.
#![allow(dead_code)] // each test file uses its own part

/// A message of the wire format.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 128 {
            self.0.push(v as u8 | 128);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    pub(crate) fn int(mut self, field: u64, v: i64) -> Self {
        self.varint(field << 3);
        self.varint(v as u64);
        self
    }

    pub(crate) fn float(mut self, field: u64, v: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: &'static str,
    pub(crate) name: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: Vec<(&'static str, Attribute)>,
}

impl Node {
    /// A node with one output, named after it.
    pub(crate) fn new(op: &'static str, inputs: &[&str], output: &str) -> Self {
        Node {
            op,
            name: format!("{output} node"),
            inputs: inputs.iter().map(|i| (*i).to_owned()).collect(),
            outputs: vec![output.to_owned()],
            attributes: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, attribute: Attribute) -> Self {
        self.attributes.push((name, attribute));
        self
    }

    pub(crate) fn ints(self, name: &'static str, values: &[i64]) -> Self {
        self.with(name, Attribute::Ints(values.to_vec()))
    }

    pub(crate) fn int(self, name: &'static str, value: i64) -> Self {
        self.with(name, Attribute::Int(value))
    }

    pub(crate) fn float(self, name: &'static str, value: f32) -> Self {
        self.with(name, Attribute::Float(value))
    }

    fn message(&self) -> Message {
        let m = self.inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
        let m = self.outputs.iter().fold(m, |m, o| m.text(2, o)).text(3, &self.name).text(4, self.op);
        self.attributes.iter().fold(m, |m, (name, attribute)| {
            let a = Message::default().text(1, name);
            // The last field is the kind of attribute.
            m.message(
                5,
                match attribute {
                    Attribute::Float(v) => a.float(2, *v).int(20, 1),
                    Attribute::Int(v) => a.int(3, *v).int(20, 2),
                    Attribute::Text(v) => a.text(4, v).int(20, 3),
                    Attribute::Ints(v) => v.iter().fold(a, |a, &i| a.int(8, i)).int(20, 7),
                },
            )
        })
    }
}

/// The numbers of a tensor.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// Truth values.
    Flags(Vec<bool>),
}

/// A whole file with one input, `x`.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) opset: i64,
    pub(crate) input: Vec<i64>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tensors: Vec<(String, Vec<i64>, Numbers)>,
    pub(crate) output: String,
}

impl File {
    /// A file whose result is `y`.
    pub(crate) fn new(opset: i64, input: &[i64]) -> Self {
        File { opset, input: input.to_vec(), nodes: Vec::new(), tensors: Vec::new(), output: "y".to_owned() }
    }

    pub(crate) fn node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }

    pub(crate) fn floats(mut self, name: &str, dims: &[i64], values: Vec<f32>) -> Self {
        self.tensors.push((name.to_owned(), dims.to_vec(), Numbers::Floats(values)));
        self
    }

    pub(crate) fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.tensors.push((name.to_owned(), vec![values.len() as i64], Numbers::Ints(values.to_vec())));
        self
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut graph = Message::default().text(2, "g");
        graph = self.nodes.iter().fold(graph, |g, n| g.message(1, n.message()));
        graph = self.tensors.iter().fold(graph, |g, (name, dims, numbers)| {
            let m = dims.iter().fold(Message::default(), |m, &d| m.int(1, d));
            let (kind, raw): (i64, Vec<u8>) = match numbers {
                Numbers::Floats(v) => (1, v.iter().flat_map(|f| f.to_le_bytes()).collect()),
                Numbers::Ints(v) => (7, v.iter().flat_map(|f| f.to_le_bytes()).collect()),
                Numbers::Flags(v) => (9, v.iter().map(|&f| u8::from(f)).collect()),
            };
            g.message(5, m.int(2, kind).text(8, name).bytes(9, &raw))
        });
        graph = graph.message(11, info("x", Some(&self.input))).message(12, info(&self.output, None));
        let opset = Message::default().text(1, "").int(2, self.opset);
        Message::default().int(1, 8).message(7, graph).message(8, opset).0
    }
}

/// Name, element type and perhaps shape of an input or output.
pub(crate) fn info(name: &str, dims: Option<&[i64]>) -> Message {
    let mut kind = Message::default().int(1, 1);
    if let Some(dims) = dims {
        let size = |m: Message, &d: &i64| m.message(1, Message::default().int(1, d));
        kind = kind.message(2, dims.iter().fold(Message::default(), size));
    }
    Message::default().text(1, name).message(2, Message::default().message(1, kind))
}
