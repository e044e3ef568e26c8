//! Weights in files beside the model (`model.onnx.data`).
//!
//! The model file names them, so a name may be hostile: only plain relative paths are followed, and
//! only to files that really lie in the model's folder, symbolic links resolved. Only the bytes a
//! tensor needs are read, after its range was compared with the file's size.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::proto::TensorProto;

/// The external files of one model, opened when first needed.
#[derive(Debug)]
pub(super) struct Externals<'f> {
    /// Folder of the model; `None` when it did not come from a file.
    folder: Option<&'f Path>,
    open: HashMap<PathBuf, (File, u64)>,
    /// Bytes of all files opened.
    pub(super) bytes: u64,
}

impl<'f> Externals<'f> {
    pub(super) fn new(folder: Option<&'f Path>) -> Self {
        Externals { folder, open: HashMap::new(), bytes: 0 }
    }

    /// The files opened so far.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.open.keys().cloned().collect()
    }

    /// The `expected` bytes of a tensor.
    pub(super) fn read(&mut self, tensor: &TensorProto<'_>, expected: usize) -> Result<Vec<u8>, String> {
        let entry = |key: &str| tensor.external_data.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => {
                text.parse::<u64>().map(Some).map_err(|_| format!("external data with {key} `{text}`"))
            }
        };
        let location =
            entry("location").filter(|l| !l.is_empty()).ok_or("external data without a location")?;
        let offset = number("offset")?.unwrap_or(0);
        // Some programs write a length of 0 for "all that the shape needs".
        if let Some(length) = number("length")?.filter(|&length| length != 0)
            && length != expected as u64
        {
            return Err(format!("external data of {length} bytes, shape {:?} needs {expected}", tensor.dims));
        }
        let (file, size) = self.file(location)?;
        if offset.checked_add(expected as u64).is_none_or(|end| end > *size) {
            return Err(format!(
                "external data file {location} has {size} bytes, needed are {expected} from byte {offset}: it is cut \
                 off or belongs to another model"
            ));
        }
        let mut bytes = vec![0; expected];
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| format!("external data file {location}: {e}"))?;
        Ok(bytes)
    }

    fn file(&mut self, location: &str) -> Result<&mut (File, u64), String> {
        let relative = Path::new(location);
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        if !relative.components().all(plain) {
            return Err(format!("external data file {location} is not in the model's folder"));
        }
        let Some(folder) = self.folder else {
            return Err(format!(
                "external data file {location} is needed, but the model was not read from a file"
            ));
        };
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let folder = folder.display();
                format!("external data file {location} is missing; put it beside the model, in {folder}")
            }
            _ => format!("external data file {location}: {e}"),
        };
        let path = folder.join(relative).canonicalize().map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        if !path.starts_with(&folder) {
            return Err(format!("external data file {location} leads out of the model's folder"));
        }
        match self.open.entry(path) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let metadata = std::fs::metadata(entry.key()).map_err(failed)?;
                if !metadata.is_file() {
                    return Err(format!("external data file {location} is not a file"));
                }
                let file = File::open(entry.key()).map_err(failed)?;
                self.bytes += metadata.len();
                Ok(entry.insert((file, metadata.len())))
            }
        }
    }
}
