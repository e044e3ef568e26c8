//! `--output` and `--classes`: what a command answers, in a file, with names of classes.
//!
//! A `.npz` file has arrays `outputs` (`[samples, ..]`), where outputs are classes `classes`,
//! `labels` (-1 where there is none) and `names`; a `.json` file one object with the same. Answers
//! are the client's secret, so the file is private.

use super::files::destination;
use amicus_data::npz::{self, Column, Values};
use amicus_model::Graph;
use amicus_model::argmax;
use amicus_model::compare::tells_classes;
use amicus_model::graph::OutputPart;
use amicus_model::private_file::{self, Existing};
use amicus_plan::{Choice, Plan, PlanError};
use anyhow::{Context, bail};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Longest file of names that is read.
const MAX_NAMES: u64 = 16 << 20;

#[derive(clap::Args)]
pub(super) struct AnswerArgs {
    /// Write outputs and classes of every input to this file, .npz or .json.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace that file if it is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// Names of the classes, one a line.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Format {
    Npz,
    Json,
}

/// Where answers go, checked before anything is computed.
pub(super) struct Sink {
    file: Option<(PathBuf, Existing, Format)>,
    /// Names of the classes, if the user gave them.
    pub(super) names: Option<Vec<String>>,
    shape: Vec<usize>,
    /// Outputs that lie one behind the other.
    parts: Vec<OutputPart>,
    /// How many classes outputs tell apart, if they do.
    classes: Option<usize>,
    /// Outputs are labels, the best first.
    labels: bool,
}

/// What outputs are.
pub(super) struct Meaning {
    shape: Vec<usize>,
    parts: Vec<OutputPart>,
    classes: Option<usize>,
    labels: bool,
}

impl Meaning {
    /// Those of a user's network, as this plan reveals them.
    pub(super) fn of(network: &Graph, plan: Option<&Plan>) -> Self {
        if let Some(meaning) = plan.and_then(Meaning::labels) {
            return meaning;
        }
        let shape = network.node(network.output()).shape.clone();
        let classes = tells_classes(network).then(|| shape.iter().product());
        Meaning { shape, parts: network.outputs().to_vec(), classes, labels: false }
    }

    /// What outputs mean as far as a plan tells, which is little: several are taken for classes.
    pub(super) fn planned(plan: &Plan) -> Result<Self, PlanError> {
        if let Some(meaning) = Meaning::labels(plan) {
            return Ok(meaning);
        }
        let count = plan.outputs()?;
        let classes = (count > 1).then_some(count);
        Ok(Meaning { shape: vec![count], parts: Vec::new(), classes, labels: false })
    }

    /// Labels, where a plan reveals them; of an input as a whole they are classes.
    fn labels(plan: &Plan) -> Option<Self> {
        let reveal = plan.output.reveal.as_ref()?;
        let classes = match reveal.choices[..] {
            [Choice { classes, places: 1 }] => Some(classes as usize),
            _ => None,
        };
        Some(Meaning { shape: vec![reveal.len()], parts: Vec::new(), classes, labels: true })
    }

    /// Whether outputs are classes of an input.
    pub(super) fn classes(&self) -> bool {
        self.classes.is_some()
    }
}

/// One object of a JSON file.
#[derive(Serialize)]
struct Answer<'a> {
    outputs: &'a [f64],
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<usize>,
}

#[derive(Serialize)]
struct Answers<'a> {
    shape: &'a [usize],
    /// Names and shapes of the outputs, one behind the other, where there are several.
    #[serde(skip_serializing_if = "<[OutputPart]>::is_empty")]
    parts: &'a [OutputPart],
    names: Option<&'a [String]>,
    answers: Vec<Answer<'a>>,
    version: &'static str,
}

impl AnswerArgs {
    /// Whether the user asked for anything of this.
    pub(super) fn wanted(&self) -> bool {
        self.output.is_some() || self.classes.is_some()
    }

    /// Reads names and checks where answers go; `inputs` are files that must not be written.
    pub(super) fn open(&self, meaning: Meaning, inputs: &[&Path]) -> anyhow::Result<Sink> {
        let Meaning { shape, parts, classes, labels } = meaning;
        let names = self.classes.as_deref().map(|path| class_names(path, &shape, classes)).transpose()?;
        let own = inputs.iter().copied().chain(self.classes.as_deref()).collect::<Vec<_>>();
        let file = match &self.output {
            None => None,
            Some(path) => {
                let format = match path.extension().and_then(|e| e.to_str()) {
                    Some("npz") => Format::Npz,
                    Some("json") => Format::Json,
                    _ => {
                        bail!("--output {}: give the file a name that ends in .npz or .json", path.display())
                    }
                };
                Some((path.clone(), destination(path, self.force, &own)?, format))
            }
        };
        Ok(Sink { file, names, shape, parts, classes, labels })
    }
}

impl Sink {
    /// The class that outputs name.
    fn class(&self, outputs: &[f64]) -> usize {
        if self.labels { outputs.first().map_or(0, |&label| label as usize) } else { argmax(outputs) }
    }

    /// Writes the file, if one is wanted. `labels` are as many as `outputs`.
    pub(super) fn write(&self, outputs: &[Vec<f64>], labels: &[Option<usize>]) -> anyhow::Result<()> {
        let Some((path, existing, format)) = &self.file else { return Ok(()) };
        let written = private_file::write(path, *existing, |file| {
            let mut out = std::io::BufWriter::new(file);
            match format {
                Format::Npz => self.npz(&mut out, outputs, labels)?,
                Format::Json => serde_json::to_writer(&mut out, &self.json(outputs, labels))?,
            }
            out.flush()
        });
        written.with_context(|| path.display().to_string())
    }

    fn npz(
        &self,
        out: &mut impl Write,
        outputs: &[Vec<f64>],
        labels: &[Option<usize>],
    ) -> std::io::Result<()> {
        let shape = [&[outputs.len()], self.shape.as_slice()].concat();
        let all = outputs.concat();
        let classes: Vec<i64> = outputs.iter().map(|o| self.class(o) as i64).collect();
        let known: Vec<i64> = labels.iter().map(|l| l.map_or(-1, |l| l as i64)).collect();
        let count = [outputs.len()];
        let names = [self.names.as_ref().map_or(0, Vec::len)];
        let mut columns = vec![Column { name: "outputs", shape: &shape, values: Values::Reals(&all) }];
        let parts = self.arrays(outputs);
        columns.extend(parts.iter().map(|(name, shape, all)| Column {
            name,
            shape,
            values: Values::Reals(all),
        }));
        if self.classes.is_some() {
            columns.push(Column { name: "classes", shape: &count, values: Values::Integers(&classes) });
            if labels.iter().any(Option::is_some) {
                columns.push(Column { name: "labels", shape: &count, values: Values::Integers(&known) });
            }
        }
        if let Some(list) = &self.names {
            columns.push(Column { name: "names", shape: &names, values: Values::Text(list) });
        }
        npz::write(out, &columns)
    }

    /// An array for each of several outputs: name, shape and numbers. Names are those of the file,
    /// with an underscore for what is no letter or digit, and a number where two are alike.
    fn arrays(&self, outputs: &[Vec<f64>]) -> Vec<(String, Vec<usize>, Vec<f64>)> {
        let mut arrays: Vec<(String, Vec<usize>, Vec<f64>)> = Vec::with_capacity(self.parts.len());
        let mut first = 0;
        for (number, part) in self.parts.iter().enumerate() {
            let end = first + part.shape.iter().product::<usize>();
            let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let mut name: String = part.name.chars().map(letter).collect();
            let taken = ["outputs", "classes", "labels", "names"];
            if taken.contains(&name.as_str()) || arrays.iter().any(|(known, ..)| *known == name) {
                name = format!("{name}_{number}");
            }
            let shape = [&[outputs.len()], part.shape.as_slice()].concat();
            arrays.push((name, shape, outputs.iter().flat_map(|o| &o[first..end]).copied().collect()));
            first = end;
        }
        arrays
    }

    fn json<'a>(&'a self, outputs: &'a [Vec<f64>], labels: &[Option<usize>]) -> Answers<'a> {
        let answer = |(outputs, label): (&'a Vec<f64>, &Option<usize>)| {
            let class = self.classes.map(|_| self.class(outputs));
            let name = class.and_then(|c| self.names.as_ref()?.get(c)).map(String::as_str);
            Answer { outputs, class, name, label: label.filter(|_| self.classes.is_some()) }
        };
        Answers {
            shape: &self.shape,
            parts: &self.parts,
            names: self.names.as_deref(),
            answers: outputs.iter().zip(labels).map(answer).collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// One name a line, as many as there are classes.
fn class_names(path: &Path, shape: &[usize], classes: Option<usize>) -> anyhow::Result<Vec<String>> {
    let file = path.display();
    let Some(wanted) = classes else {
        bail!("--classes {file}: the network's outputs, of shape {shape:?}, are no classes");
    };
    let size = std::fs::metadata(path).with_context(|| file.to_string())?.len();
    if size > MAX_NAMES {
        bail!("--classes {file}: {size} bytes, at most {MAX_NAMES} are read");
    }
    let text = std::fs::read_to_string(path).with_context(|| file.to_string())?;
    let names: Vec<String> = text.lines().map(|l| l.trim().to_owned()).collect();
    if names.len() != wanted {
        bail!("--classes {file}: {} lines, the network tells {wanted} classes apart", names.len());
    }
    match names.iter().position(|n| n.is_empty() || n.chars().any(char::is_control)) {
        Some(at) => bail!("--classes {file}: line {} is no name", at + 1),
        None => Ok(names),
    }
}
