//! The helper.
//!
//!     helper DEPLOYMENT.toml IDENTITY.pem MODEL.plan FOLDER
//!
//! FOLDER holds what must survive it. Its operator runs no party.

use amicus::{Deployment, Error, Helper, files};
use std::path::Path;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, deployment, identity, plan, folder] = &arguments[..] else {
        eprintln!("usage: helper DEPLOYMENT.toml IDENTITY.pem MODEL.plan FOLDER");
        std::process::exit(2);
    };
    let deployment = Deployment::read(Path::new(deployment))?;
    let identity = files::read_identity(Path::new(identity))?;
    let plan = files::read_plan(Path::new(plan))?;
    let helper = Helper::start(&deployment, identity, plan, folder)?;
    println!("helper listens at {}", helper.address());
    Err(helper.run(|notice| println!("{notice}")))
}
