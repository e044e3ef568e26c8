//! The helper.
//!
//!     helper DEPLOYMENT.toml IDENTITY.pem FOLDER MODEL.plan...
//!
//! FOLDER holds what must survive it. Its operator runs no party.

use amicus::{Deployment, Error, Helper, files};
use std::path::Path;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, deployment, identity, folder, plans @ ..] = &arguments[..] else {
        eprintln!("usage: helper DEPLOYMENT.toml IDENTITY.pem FOLDER MODEL.plan...");
        std::process::exit(2);
    };
    let deployment = Deployment::read(Path::new(deployment))?;
    let identity = files::read_identity(Path::new(identity))?;
    let plans = plans.iter().map(|plan| files::read_plan(Path::new(plan))).collect::<Result<Vec<_>, _>>()?;
    let helper = Helper::start(&deployment, identity, plans, folder)?;
    println!("helper listens at {}", helper.address());
    Err(helper.run(|notice| println!("{notice}")))
}
