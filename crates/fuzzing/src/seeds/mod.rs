//! Seeds: small real inputs of every target, from the encoders themselves.

mod command;
mod files;
mod protocol;
mod stores;

/// A seed's name and bytes.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target.
///
/// # Panics
/// When there is no such target, or an encoder fails.
pub fn of(target: &str) -> Vec<Seed> {
    match target {
        "wire" => protocol::wire(),
        "control" => protocol::control(),
        "plan" => protocol::plans(),
        "names" => protocol::names(),
        "messages" => protocol::messages(),
        "states" => protocol::states(),
        "frames" => protocol::frames(),
        "handshake" => protocol::handshake(),
        "store" => stores::logs(),
        "sealed" => stores::sealed(),
        "amc" => files::amc(),
        "onnx" => files::onnx(),
        "npz" => files::npz(),
        "weights" => files::weights(),
        "idx" => files::idx(),
        "cifar10" => files::batches(),
        "gzip" => files::gzipped(),
        "folder" => files::folders(),
        "archive" => files::archives(),
        "picture" => files::pictures(),
        "samples" => command::samples(),
        "rates" => command::rates(),
        "checkpoint" => command::checkpoints(),
        "deployment" => command::deployments(),
        other => panic!("no target {other}"),
    }
}

fn seed(name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    (name.to_owned(), bytes.into())
}
