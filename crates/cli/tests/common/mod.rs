//! What the tests of the command line share.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part; a test that cannot be set up fails

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// The program, in an environment of its own: rates of these tests, no width of this terminal.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amicus"));
    let rates = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rates");
    command.env("XDG_CACHE_HOME", rates).env_remove("COLUMNS");
    command
}

pub(crate) fn amicus(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file of the model crate's test data.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data").join(name)
}

/// A small network, compiled into `folder`.
pub(crate) fn compiled(folder: &Path) -> PathBuf {
    let model = folder.join("lenet.amc");
    let (onnx, npz) = (data("lenet_dynamo.onnx"), data("lenet_dynamo.npz"));
    let made = amicus(&["compile", text(&onnx), "--calibrate", text(&npz), "-o", text(&model)]);
    assert!(made.status.success(), "{made:?}");
    model
}

/// How many files and folders lie in `folder`.
pub(crate) fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// Waits until the program has made its temporary folder beside the `before` others in `folder`:
/// from then on it answers to signals. Sends it this one.
pub(crate) fn signal(child: &mut Child, folder: &Path, before: usize, name: &str) {
    let started = Instant::now();
    while count(folder) <= before {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        assert!(started.elapsed() < Duration::from_secs(300), "it made no folder");
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// JSON in which no object has a key twice.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Strict>()?;
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} twice")));
            }
        }
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }
}

/// Parses exactly one JSON object without a key that stands in it twice, in lines that steer no
/// terminal.
pub(crate) fn strict_json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    serde_json::from_str::<Strict>(text).map_err(|e| e.to_string())?;
    if let Some(c) = text.chars().find(|&c| c.is_control() && c != '\n') {
        return Err(format!("the control character {c:?}"));
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if value.is_object() { Ok(value) } else { Err(format!("no object: {value}")) }
}

/// Lines wider than `columns`, but for those that are one word: paths are never broken.
pub(crate) fn too_wide(output: &str, columns: usize) -> Vec<&str> {
    let wide = |line: &&str| line.chars().count() > columns && line.split_whitespace().count() > 1;
    output.lines().filter(wide).collect()
}
