//! A network that ships as a compiled file, with its images as numbers: what roles in processes of
//! their own are tried with.

use super::data::Data;
use super::models::Model;
use super::{DemoError, DemoOptions, MODELS};
use amicus_model::amc::{About, ModelFile};
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::quality::{Quality, Targets};
use amicus_model::{CompileOptions, ModelError};
use amicus_net::shaper::Shape;

/// Images on which errors are measured, at most.
const MEASURED: usize = 20;

/// A network that ships.
#[derive(Debug)]
pub struct Shipped {
    /// Plan and weights.
    pub file: ModelFile,
    /// The images that ship, as the network takes them, with their classes; the first few show
    /// every class.
    pub images: Vec<(Option<usize>, Vec<f32>)>,
}

/// The network of this name, one of [`MODELS`], with its plan for roles over `net` and
/// batches of `batch` images.
///
/// # Errors
/// A name that is none of them.
pub fn shipped(name: &str, net: Shape, batch: usize) -> Result<Shipped, DemoError> {
    if !MODELS.contains(&name) {
        return Err(DemoError::UnknownModel { model: name.to_owned(), known: MODELS.join(", ") });
    }
    let options = DemoOptions { model: Some(name.to_owned()), net, batch, ..DemoOptions::default() };
    let model = Model::find(&options)?;
    let data = Data::open(&options, &model)?;
    let samples = (0..data.len()).map(|index| data.sample(index));
    let images: Vec<_> = samples.map(|s| s.map(|s| (s.label, s.input))).collect::<Result<_, _>>()?;
    let Model { graph, compiled, .. } = model;
    let (plan, weights, factors) =
        compiled.ok_or_else(|| ModelError::Data { what: name.to_owned(), reason: "has no plan".into() })?;
    let measured: Vec<_> = images.iter().take(MEASURED).map(|(_, image)| image.clone()).collect();
    let fixed = FixedPoint { plan: &plan, weights: &weights, factors: &factors };
    let networks = Networks { original: &graph, polynomial: &graph, fixed: Some(fixed) };
    let comparison = compare(networks, &measured, None, &mut |_| ())?;
    let targets = Targets { fixed_point: CompileOptions::default().max_error, total: None };
    let quality = Quality::measured(&comparison, targets);
    let about = About {
        source: format!("{name}, which ships"),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        notes: Vec::new(),
        report: String::new(),
    };
    let file =
        ModelFile { plan, weights, factors, original: graph, approximations: Vec::new(), quality, about };
    Ok(Shipped { file, images })
}
