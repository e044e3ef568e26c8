//! Asks a cluster over HTTPS again and again, and says how long that takes: what the Python package
//! is held to (`python/amicus/bench/beside_rust.py`).
//!
//! ```text
//! asks CLUSTER.toml TOKENS.toml MODEL IMAGE one TIMES        # milliseconds, a line each
//! asks CLUSTER.toml TOKENS.toml MODEL IMAGE many TIMES AT_A_TIME      # inferences a second
//! ```

use amicus::https::{HttpsClient, Tokens, fetch_plan};
use amicus::{Deployment, Expected, files};
use anyhow::{Context, bail};
use std::path::Path;
use std::time::Instant;

/// Inferences before any that counts.
const WARM: usize = 5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, cluster, tokens, model, image, how, times, rest @ ..] = &arguments[..] else {
        bail!("usage: asks CLUSTER.toml TOKENS.toml MODEL IMAGE one|many TIMES [AT_A_TIME]");
    };
    let times: usize = times.parse()?;
    let deployment = Deployment::read(Path::new(cluster))?;
    let tokens = Tokens::read(Path::new(tokens), &deployment)?;
    let plan = fetch_plan(&deployment, &tokens, model)?;
    let image = files::read_image(Path::new(image), &plan)?;
    let mut client = HttpsClient::connect(&deployment, &tokens, plan, Expected::Any)?;
    for _ in 0..WARM {
        client.infer(&image)?;
    }
    match how.as_str() {
        "one" => {
            for _ in 0..times {
                let start = Instant::now();
                client.infer(&image)?;
                println!("{}", start.elapsed().as_secs_f64() * 1e3);
            }
        }
        "many" => {
            let at_a_time = rest.first().context("how many at a time?")?.parse()?;
            let images = vec![&image[..]; times];
            let start = Instant::now();
            client.infer_all(&images, at_a_time, |_, _| ())?;
            println!("{}", times as f64 / start.elapsed().as_secs_f64());
        }
        other => bail!("{other}: one or many"),
    }
    Ok(())
}
