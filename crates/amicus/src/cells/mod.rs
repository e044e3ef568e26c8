//! Cells: clusters that share nothing, of which a client uses the one that is there (`cells.toml`).
//!
//! ```toml
//! name = "hospital"
//!
//! [[cell]]
//! name = "north"
//! cluster = "north/cluster.toml"      # from the folder of this file
//! digest = "1f2e3d4c-..."             # of that file, as `amicus cluster digest` prints it
//!
//! [[cell]]
//! name = "south"
//! cluster = "south/cluster.toml"
//! digest = "..."
//! ```
//!
//! Whoever writes the file decides whose nodes see masked images, so a client pins its digest
//! ([`Cells::pinned`]), as it pins certificates. A helper's operator runs no party in any cell: a
//! certificate of both roles is refused, and that it is not one operator with two certificates only
//! people can see. Folders are never copied from cell to cell, and a model is loaded into each with a
//! nonce of its own.

mod client;
mod rendezvous;

pub use client::{CellAnswers, CellsClient, Expectations};

use crate::deployment::{DeploymentDigest, DeploymentError, DeploymentProblem, text};
use crate::{Deployment, Error};
use amicus_net::Fingerprint;
use amicus_plan::Printable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Most cells of a file.
const MAX_CELLS: usize = 64;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Cells whose files are read and are those that the file names.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    /// The name of all of them together.
    pub name: String,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub deployment: Deployment,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CellsFile {
    name: String,
    #[serde(rename = "cell")]
    cells: Vec<CellEntry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CellEntry {
    name: String,
    cluster: PathBuf,
    digest: DeploymentDigest,
}

fn wrong(table: &str, name: &str, words: impl AsRef<str>) -> DeploymentError {
    DeploymentError::of(table, name, DeploymentProblem::Text(words.as_ref().into()))
}

fn check_name(table: &str, name: &str) -> Result<(), DeploymentError> {
    match name.is_empty() || name.len() > MAX_NAME || !Printable::is(name) {
        true => Err(DeploymentError::of(table, "name", DeploymentProblem::Name)),
        false => Ok(()),
    }
}

impl CellsFile {
    fn check(&self) -> Result<(), DeploymentError> {
        check_name("", &self.name)?;
        if self.cells.is_empty() || self.cells.len() > MAX_CELLS {
            return Err(wrong(
                "",
                "cell",
                format!("there are {}, 1 to {MAX_CELLS} can be", self.cells.len()),
            ));
        }
        for (at, cell) in self.cells.iter().enumerate() {
            let table = format!("cell {}", at + 1);
            check_name(&table, &cell.name)?;
            if self.cells[..at].iter().any(|other| other.name == cell.name) {
                return Err(wrong(&table, "name", "another cell has it; give every cell its own"));
            }
        }
        Ok(())
    }
}

impl Cells {
    /// Reads a file of cells, and the clusters' files that it names.
    ///
    /// # Errors
    /// A file that cannot be read or is none; a cluster's file that is not the one whose digest is
    /// named; cells that share a certificate between helper and party, or are one cluster.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file: CellsFile = text::read(path, CellsFile::check)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let located = |mut error: DeploymentError| {
            error.file = Some(path.to_owned());
            Error::from(error)
        };
        let mut cells = Vec::new();
        for (number, CellEntry { name, cluster, digest }) in (1..).zip(file.cells) {
            let deployment = Deployment::read(&folder.join(cluster))?;
            let found = deployment.digest()?;
            if found != digest {
                let words = format!("its cluster's file has digest {found}; find out which one is right");
                return Err(located(wrong(&format!("cell {number}"), "digest", words)));
            }
            cells.push(Cell { name, deployment });
        }
        let cells = Cells { name: file.name, cells };
        cells.check().map_err(located)?;
        Ok(cells)
    }

    /// Reads a file of cells whose digest is known from elsewhere.
    ///
    /// # Errors
    /// Those of [`Cells::read`]; another digest.
    pub fn pinned(path: &Path, digest: DeploymentDigest) -> Result<Self, Error> {
        let cells = Cells::read(path)?;
        let found = cells.digest()?;
        if found != digest {
            let words =
                format!("the cells have digest {found}, pinned is {digest}; compare with whoever lists them");
            let mut error = wrong("", "cell", words);
            error.file = Some(path.to_owned());
            return Err(error.into());
        }
        Ok(cells)
    }

    fn check(&self) -> Result<(), DeploymentError> {
        let (mut helpers, mut parties) = (BTreeSet::<Fingerprint>::new(), BTreeSet::<Fingerprint>::new());
        for (number, Cell { deployment, .. }) in (1..).zip(&self.cells) {
            let table = format!("cell {number}");
            if self.cells[..number - 1].iter().any(|cell| {
                let other = &cell.deployment;
                (&other.cluster, other.id) == (&deployment.cluster, deployment.id)
            }) {
                return Err(wrong(&table, "cluster", "another cell is the same cluster"));
            }
            helpers.extend(deployment.helper.certificate.all());
            parties.extend(deployment.parties.iter().flat_map(|party| party.certificate.all()));
            let both = helpers.intersection(&parties).next();
            if let Some(both) = both {
                let words = format!("{both} is a helper's and a party's; a helper's operator runs no party");
                return Err(wrong(&table, "cluster", words));
            }
        }
        Ok(())
    }

    /// The digest that clients pin: of the names and clusters of all cells, in their order.
    ///
    /// # Errors
    /// A deployment that is none.
    pub fn digest(&self) -> Result<DeploymentDigest, Error> {
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 cells");
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        add(self.name.as_bytes());
        for Cell { name, deployment } in &self.cells {
            add(name.as_bytes());
            add(&deployment.digest()?.0);
        }
        Ok(DeploymentDigest(*hasher.finalize().as_bytes()))
    }

    /// These cells alone, which a client approved by name.
    ///
    /// # Errors
    /// A name of no cell, or no name.
    pub fn approved(mut self, names: &[String]) -> Result<Self, Error> {
        if let Some(unknown) = names.iter().find(|name| !self.cells.iter().any(|cell| cell.name == **name)) {
            let known: Vec<&str> = self.cells.iter().map(|cell| cell.name.as_str()).collect();
            let words = format!("{unknown} is none of {}", known.join(", "));
            return Err(wrong("", "cell", words).into());
        }
        self.cells.retain(|cell| names.contains(&cell.name));
        match self.cells.is_empty() {
            true => Err(wrong("", "cell", "none is approved").into()),
            false => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests;
