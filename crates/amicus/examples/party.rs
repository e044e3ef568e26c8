//! A compute party.
//!
//!     party DEPLOYMENT.toml IDENTITY.pem FOLDER MODEL.plan...
//!
//! Which party it is, the deployment knows by the identity. FOLDER holds what must survive it.

use amicus::{Deployment, Error, Party, files};
use std::path::Path;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, deployment, identity, folder, plans @ ..] = &arguments[..] else {
        eprintln!("usage: party DEPLOYMENT.toml IDENTITY.pem FOLDER MODEL.plan...");
        std::process::exit(2);
    };
    let deployment = Deployment::read(Path::new(deployment))?;
    let identity = files::read_identity(Path::new(identity))?;
    let plans = plans.iter().map(|plan| files::read_plan(Path::new(plan))).collect::<Result<Vec<_>, _>>()?;
    let party = Party::start(&deployment, identity, plans, folder)?;
    println!("{} listens at {}", party.number(), party.address());
    Err(party.run(|notice| println!("{notice}")))
}
