//! Layers exported in their training form, which compute something else than in use.

use super::importer::Importer;
use super::proto::NodeProto;
use super::value::{Refusal, unsupported};

const EVAL: &str = "call model.eval() before exporting, and export with training=TrainingMode.EVAL";

/// Refuses a node in training form.
pub(super) fn refuse<'b>(importer: &mut Importer<'_, 'b>, node: &NodeProto<'b>) -> Result<(), Refusal> {
    match node.op {
        "BatchNormalization" => {
            // Before operator set 14 the number of outputs told.
            let statistics = node.outputs.iter().skip(1).any(|name| !name.is_empty());
            if statistics || node.int("training_mode", 0) != 0 {
                return Err(unsupported(
                    "BatchNorm in its training form, which takes mean and variance from the images of a batch",
                    EVAL,
                ));
            }
        }
        "Dropout" => {
            let training = importer.constant(node, 2, "training mode")?.and_then(|c| c.scalar());
            // A ratio of 0 drops nothing either way.
            let ratio = match importer.constant(node, 1, "ratio")? {
                Some(ratio) => ratio.scalar().unwrap_or(1.0),
                None => f64::from(node.float("ratio", 0.5)),
            };
            if training.is_some_and(|t| t != 0.0) && ratio != 0.0 {
                return Err(unsupported("Dropout in its training form, which drops numbers at random", EVAL));
            }
        }
        _ => {}
    }
    Ok(())
}
