//! A client: has images classified that nobody else sees.
//!
//!     client DEPLOYMENT.toml IDENTITY.pem MODEL.plan FINGERPRINT IMAGE...
//!
//! FINGERPRINT is what the model owner got. An IMAGE is a file of numbers as the network takes them:
//! float32, little-endian.

use amicus::{Client, Deployment, Error, Expected, files};
use std::path::Path;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, deployment, identity, plan, fingerprint, images @ ..] = &arguments[..] else {
        eprintln!("usage: client DEPLOYMENT.toml IDENTITY.pem MODEL.plan FINGERPRINT IMAGE...");
        std::process::exit(2);
    };
    let deployment = Deployment::read(Path::new(deployment))?;
    let identity = files::read_identity(Path::new(identity))?;
    let plan = files::read_plan(Path::new(plan))?;
    let read = images.iter().map(|image| files::read_image(Path::new(image), &plan));
    let numbers = read.collect::<Result<Vec<_>, _>>()?;
    let mut client = Client::connect(&deployment, identity, plan, Expected::Model(fingerprint.parse()?))?;
    for (image, numbers) in images.iter().zip(&numbers) {
        println!("{image}: class {}", client.infer(numbers)?.class());
    }
    Ok(())
}
