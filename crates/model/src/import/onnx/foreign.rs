//! Files that are given in place of an ONNX file: what they are, and how their users get to one.

use std::path::Path;

/// What to do about a file that holds no network in this format.
pub(super) const EXPORT: &str = "export the model as ONNX (in PyTorch: torch.onnx.export(model, example, \"model.onnx\"); from \
                                 TensorFlow: tf2onnx)";

const PYTORCH: &str = "a checkpoint of PyTorch: load it there, call model.eval() and torch.onnx.export(model, example, \
                       \"model.onnx\")";
const SAFETENSORS: &str = "a safetensors file, which holds weights but no network: load them into the model in \
                           PyTorch, call model.eval() and torch.onnx.export(model, example, \"model.onnx\"); for \
                           networks trained with this project use `amicus demo --weights`";
const KERAS: &str = "a Keras or HDF5 file: load it in TensorFlow and convert it with tf2onnx \
                     (tf2onnx.convert.from_keras)";
const TFLITE: &str = "a TensorFlow Lite file: convert it with `python -m tf2onnx.convert --tflite MODEL.tflite \
                      --output model.onnx`, from a float32 model";
const NUMPY: &str = "a NumPy file: images belong after --calibrate or --data, and the model first";

/// What some bytes are, with advice, if they begin like something well known that is no ONNX file.
pub(super) fn kind(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at = |place: usize, magic: &[u8]| bytes.get(place..).is_some_and(|b| b.starts_with(magic));
    if starts(b"amc.modl") {
        return Some(
            "a compiled model of this program (.amc): `amicus simulate`, `estimate` and `demo --model` take it; check \
             and compile take the ONNX file it was made from",
        );
    }
    if starts(b"PK\x03\x04") {
        return Some(zip(bytes));
    }
    // A pickle: protocol 2 to 5.
    if matches!(bytes, [0x80, 2..=5, ..]) {
        return Some(PYTORCH);
    }
    let known: [(bool, &str); 14] = [
        (starts(b"\x89HDF\r\n\x1a\n"), KERAS),
        (at(4, b"TFL3"), TFLITE),
        (at(4, b"ORTM"), "a model in ONNX Runtime's own format (.ort): use the .onnx file it was made from"),
        (starts(b"\x93NUMPY"), NUMPY),
        (
            starts(b"GGUF"),
            "a GGUF file, which holds a quantised language model: convolutional networks as ONNX are possible",
        ),
        (
            starts(b"version https://git-lfs"),
            "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
        ),
        (starts(b"\x1f\x8b"), "a gzip archive: unpack it first"),
        (starts(b"7z\xbc\xaf\x27\x1c"), "a 7z archive: unpack it first"),
        (starts(b"BZh") || starts(b"\xfd7zXZ"), "a compressed file: unpack it first"),
        (at(257, b"ustar"), "a tar archive: unpack it first"),
        (starts(b"\x89PNG") || starts(b"\xff\xd8\xff") || starts(b"GIF8"), "an image: the model comes first"),
        (starts(b"%PDF"), "a PDF document"),
        (starts(b"\x7fELF") || starts(b"MZ"), "a program"),
        (is_page(bytes), "a web page: the download was not of the file itself"),
    ];
    if let Some((_, what)) = known.iter().find(|(found, _)| *found) {
        return Some(what);
    }
    if is_safetensors(bytes) {
        return Some(SAFETENSORS);
    }
    let text = bytes.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['));
    (text && std::str::from_utf8(bytes).is_ok()).then_some("a JSON or text file, which is no model")
}

/// What a zip archive holds, from the names of its first files.
fn zip(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(1 << 12)];
    let names = |name: &[u8]| head.windows(name.len()).any(|w| w == name);
    if names(b"data.pkl") || names(b"constants.pkl") || names(b"/version") || names(b".format_version") {
        PYTORCH
    } else if names(b".npy") {
        NUMPY
    } else if names(b"metadata.json") && names(b"config.json") || names(b"model.weights.h5") {
        KERAS
    } else {
        "a zip archive: unpack it first; if PyTorch wrote it, load it there and use torch.onnx.export"
    }
}

/// A length, then a JSON object of at most that length.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.starts_with(b"{\"") && u64::from_le_bytes(*length) <= 100_000_000
}

fn is_page(bytes: &[u8]) -> bool {
    let head: Vec<u8> = bytes.iter().take(64).map(u8::to_ascii_lowercase).collect();
    let head = head.trim_ascii_start();
    head.starts_with(b"<!doctype") || head.starts_with(b"<html") || head.starts_with(b"<?xml")
}

/// What to say of a folder.
pub(super) fn folder(path: &Path) -> Option<&'static str> {
    if !path.is_dir() {
        return None;
    }
    let has = |name: &str| path.join(name).exists();
    Some(if has("saved_model.pb") {
        "a SavedModel folder of TensorFlow: convert it with `python -m tf2onnx.convert --saved-model FOLDER --output \
         model.onnx`"
    } else if has("Data") && has("Manifest.json") {
        "a Core ML package: export the model it was made from as ONNX"
    } else {
        "a folder; give the .onnx file in it"
    })
}
