//! How fast this machine computes, measured here; `amicus::rates` keeps and reads it.

mod measure;

pub use amicus::rates::{MachineRates, RatesError, link, load, machine, path, save};
pub use measure::measure;
