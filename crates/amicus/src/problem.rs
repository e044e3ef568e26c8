//! Errors in four parts, as nodes answer them over HTTPS: what, where, whose, and what to do next.

use crate::Error;
use amicus_client::https::Problem;
use amicus_model::onnx::OnnxError;
use amicus_node::NodeError;
use amicus_plan::printable::visible;
use std::path::Path;

/// Whoever calls the library.
const YOURS: &str = "yours";
/// Whoever owns the model.
const OWNERS: &str = "the model owner's";
/// Somebody whom the first sentence names.
const NAMED: &str = "as named";

impl Error {
    /// The error in four parts: what went wrong, where, who can put it right, and what to do.
    pub fn problem(&self) -> Problem {
        let said = self.to_string();
        let file = |path: &Path| visible(&path.display().to_string());
        match self {
            Error::Api { problem, .. } => (**problem).clone(),
            Error::File { path, problem } => {
                parts(&problem.to_string(), file(path), YOURS, "give a file that can be used")
            }
            Error::Deployment(error) => {
                let place = error.file.as_deref().map_or_else(|| "the cluster's file".to_owned(), file);
                parts(&said, place, YOURS, "correct the file, or ask whoever wrote it")
            }
            Error::Identity { .. } | Error::OtherSeat { .. } => {
                parts(&said, "the identity", YOURS, "use another key file")
            }
            Error::OtherModel { .. } => parts(&said, "the parties", OWNERS, "ask the model owner"),
            Error::NoFingerprint { .. } => parts(&said, "the fingerprint", YOURS, "ask the model owner"),
            Error::OtherCell { .. } => parts(&said, "the cells", YOURS, "name those of the file"),
            Error::Cells { .. } => {
                parts_as_they_are(&said, "all cells", NAMED, "look at the reason of each cell")
            }
            Error::NoImages => parts(&said, "the images", YOURS, "give at least one"),
            Error::Input(_) => parts(
                &said,
                "the image",
                YOURS,
                "give the numbers that the network takes: its input's shape, every one within its range",
            ),
            Error::Plan(_) => parts(&said, "the plan", OWNERS, "ask the model owner for its plan"),
            Error::Model(_) => parts(&said, "the network", YOURS, "correct what is named"),
            Error::Compiled(_) => {
                parts(&said, "the compiled file", YOURS, "compile the network again, or give another file")
            }
            Error::Onnx(OnnxError::Unsupported { .. }) => parts_as_they_are(
                &said,
                "the ONNX file",
                YOURS,
                "`check` lists every such node with what to do about it",
            ),
            Error::Onnx(_) => parts(&said, "the ONNX file", YOURS, "export the network again"),
            Error::Https { node, reason } => {
                let (place, whose) =
                    (format!("the public port of {node}"), format!("{node}'s operator's, or the network's"));
                let next = "see that the node runs and can be reached from here, then ask again";
                parts(reason, place, &whose, next)
            }
            Error::Node { error, .. } => of_node(&said, error),
        }
    }
}

fn of_node(said: &str, error: &NodeError) -> Problem {
    let (whose, next) = match error {
        _ if error.is_rejection() => {
            (NAMED, "a party cheated, and nothing was released: tell the operators, and begin anew")
        }
        NodeError::Net(_) => (NAMED, "see that the nodes run and can be reached from here, then ask again"),
        NodeError::Store { .. } => (YOURS, "see that the folder can be written"),
        NodeError::Closing | NodeError::Stopped | NodeError::Crowded { .. } => (NAMED, "ask again later"),
        NodeError::Protocol(_) => (NAMED, "correct what is named, or begin anew"),
    };
    parts_as_they_are(said, "the cluster", whose, next)
}

/// Four parts of an error whose sentence says what to do behind its last semicolon, if it does.
fn parts(said: &str, place: impl Into<String>, whose: &str, usual: &str) -> Problem {
    match said.rsplit_once("; ") {
        Some((what, next)) => parts_as_they_are(what, place, whose, next),
        None => parts_as_they_are(said, place, whose, usual),
    }
}

fn parts_as_they_are(what: &str, place: impl Into<String>, whose: &str, next: &str) -> Problem {
    Problem { what: what.to_owned(), place: place.into(), whose: whose.to_owned(), next: next.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Deployment, Parties};
    use amicus_node::Peer;
    use amicus_protocol::{ProtocolError, Step};

    #[test]
    fn every_error_says_what_where_whose_and_what_next() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.plan");
        let rejected = ProtocolError::Rejected { step: Step::Input };
        let party = Peer::Party(Parties::new(2).unwrap().all().next().unwrap());
        let api = Problem {
            what: "the token has run out".into(),
            place: "party 1, POST /v1/inferences".into(),
            whose: "yours".into(),
            next: "ask the operator for a new one".into(),
        };
        let cases: Vec<(Error, [&str; 4])> = vec![
            (
                crate::files::read_plan(&missing).unwrap_err(),
                ["no such file", "none.plan", YOURS, "amicus plan"],
            ),
            (Deployment::read(&missing).unwrap_err(), ["", "none.plan", YOURS, ""]),
            (Error::NoImages, ["there are no images", "the images", YOURS, "give at least one"]),
            (
                Error::Https { node: party.clone(), reason: "connection refused".into() },
                [
                    "connection refused",
                    "public port of party 1",
                    "party 1's operator's",
                    "see that the node runs",
                ],
            ),
            (
                Error::Https { node: Peer::Helper, reason: "the line broke; ask again".into() },
                ["the line broke", "public port of helper", "operator's", "ask again"],
            ),
            (
                Error::Api { node: party, status: 401, problem: Box::new(api.clone()) },
                ["the token has run out", "party 1, POST", "yours", "ask the operator"],
            ),
            (
                NodeError::from(rejected).into(),
                ["nothing was released", "the cluster", NAMED, "a party cheated"],
            ),
            (
                "12".parse::<crate::ModelFingerprint>().unwrap_err(),
                ["no fingerprint of a model", "the fingerprint", YOURS, "ask the model owner"],
            ),
        ];
        for (error, expected) in cases {
            let Problem { what, place, whose, next } = error.problem();
            for (part, words) in [&what, &place, &whose, &next].into_iter().zip(expected) {
                assert!(!part.is_empty() && part.contains(words), "{error}: {part:?}, expected {words:?}");
            }
        }
    }
}
