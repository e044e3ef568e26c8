//! The model owner: gives a compiled model to the parties, masked.
//!
//!     owner DEPLOYMENT.toml IDENTITY.pem MODEL.amc
//!
//! It prints the fingerprint that clients are to be told.

use amicus::{Deployment, Error, ModelFile, Owner, files};
use std::path::Path;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, deployment, identity, model] = &arguments[..] else {
        eprintln!("usage: owner DEPLOYMENT.toml IDENTITY.pem MODEL.amc");
        std::process::exit(2);
    };
    let deployment = Deployment::read(Path::new(deployment))?;
    let identity = files::read_identity(Path::new(identity))?;
    let ModelFile { plan, weights, .. } = ModelFile::load(Path::new(model))?;
    let mut owner = Owner::connect(&deployment, identity, plan)?;
    let model = owner.load(&weights)?;
    println!("loaded as {}, fingerprint {}", model.epoch, model.fingerprint);
    Ok(())
}
