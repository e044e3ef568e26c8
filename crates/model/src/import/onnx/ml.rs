//! Operators of the domain `ai.onnx.ml` that are linear: what scikit-learn's exporter writes.

use super::importer::Importer;
use super::proto::NodeProto;
use super::value::{Refusal, Value, View, unsupported};
use crate::function::{Elementary, Function};
use crate::graph::SecretReals;

impl<'b> Importer<'_, 'b> {
    /// The value of a node of the domain `ai.onnx.ml`.
    pub(super) fn machine_learning(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        match node.op {
            "Scaler" => self.scaler(name, node),
            "LinearClassifier" => self.linear_classifier(name, node),
            "LinearRegressor" => {
                let scores = self.linear_scores(name, node, node.int("targets", 1))?;
                match node.text("post_transform") {
                    "" | "NONE" => Ok(Value::Tensor(scores)),
                    other => Err(unsupported(format!("ends in {other}"), "leave it out")),
                }
            }
            // Labels and names of classes: whoever receives the scores can make them.
            "ArrayFeatureExtractor" => match self.input(node, 1)? {
                Some(value @ Value::Probabilities(..)) => Ok(value),
                _ => Err(unsupported("picks numbers by their places", "use Gather")),
            },
            "ZipMap" | "LabelEncoder" => match self.input(node, 0)? {
                Some(value @ Value::Probabilities(..)) => Ok(value),
                Some(value) if node.op == "ZipMap" => Ok(value),
                _ => Err(unsupported("names classes inside the network", "end the network before")),
            },
            // Probabilities have the sum 1 already; one-against-rest scores would be divided by theirs.
            "Normalizer" => match self.input(node, 0)? {
                Some(value @ Value::Probabilities(..)) => Ok(value),
                _ => Err(unsupported("divides by the sum of secret numbers", "end the network before it")),
            },
            _ => Err(unsupported(
                "an operator that is not linear, of the domain ai.onnx.ml",
                "linear models, scalers and neural networks are possible",
            )),
        }
    }

    /// `(x - offset) scale`, one of each a number or one for all.
    fn scaler(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let view = self.tensor(node, 0)?;
        let input = self.flat(&view)?;
        let length = view.dims[1];
        self.spend(32 * length as u64)?;
        let list = |what: &str, default: f64| match node.attribute(what).map(|a| a.floats.as_slice()) {
            None | Some([]) => Ok(vec![default; length]),
            Some([one]) => Ok(vec![f64::from(*one); length]),
            Some(all) if all.len() == length => Ok(all.iter().map(|&v| f64::from(v)).collect()),
            Some(all) => Err(format!("{} numbers as {what}, expected {length}", all.len())),
        };
        let (offset, scale) = (list("offset", 0.0)?, list("scale", 1.0)?);
        let moved: SecretReals = offset.iter().zip(&scale).map(|(o, s)| -o * s).collect();
        let label = self.unique(name);
        let result = self.builder.affine(&label, input, scale.into_iter().collect(), moved);
        Ok(Value::Tensor(View { node: result, ..view }))
    }

    /// Scores of `rows` linear functions.
    fn linear_scores(&mut self, name: &str, node: &NodeProto<'b>, rows: i64) -> Result<View, Refusal> {
        let view = self.tensor(node, 0)?;
        let input = self.flat(&view)?;
        let list = |what: &str| node.attribute(what).map(|a| a.floats.clone()).unwrap_or_default();
        let (weights, intercepts) = (list("coefficients"), list("intercepts"));
        let rows =
            usize::try_from(rows).ok().filter(|rows| rows.checked_mul(view.dims[1]) == Some(weights.len()));
        let rows =
            rows.ok_or_else(|| format!("{} coefficients for {} numbers", weights.len(), view.dims[1]))?;
        self.spend(4 * (weights.len() + rows) as u64)?;
        let bias = if intercepts.is_empty() { None } else { Some(intercepts) };
        let label = self.unique(name);
        let result = self.builder.linear(&label, input, rows, weights, bias);
        Ok(View::new(result, vec![self.batch, rows]))
    }

    /// Label and scores; the label is what receivers make of the scores.
    fn linear_classifier(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let floats = |what: &str| node.attribute(what).map_or(0, |a| a.floats.len());
        let rows = floats("intercepts").max(1);
        let mut scores = self.linear_scores(name, node, rows as i64)?;
        if rows == 1 {
            // One function tells two classes apart: it speaks for the second, against the first.
            let label = self.unique(&format!("{name}.classes"));
            let both = self.builder.linear(&label, scores.node, 2, vec![-1.0, 1.0], None);
            scores = View::new(both, vec![self.batch, 2]);
        }
        let value = match node.text("post_transform") {
            "" | "NONE" => Value::Tensor(scores.clone()),
            "LOGISTIC" => Value::Scalar(scores.clone(), Function::elementary(Elementary::Sigmoid)),
            "SOFTMAX" => Value::Probabilities(scores.clone(), "Softmax"),
            other => {
                return Err(unsupported(
                    format!("ends in {other}"),
                    "NONE, LOGISTIC and SOFTMAX are possible",
                ));
            }
        };
        if let Some(output) = node.outputs.get(1) {
            self.also(output, value);
        }
        Ok(Value::Probabilities(scores, "ArgMax"))
    }
}
