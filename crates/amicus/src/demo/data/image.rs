//! Image files of one size.

use super::super::DemoError;
use image::{GenericImageView, ImageFormat};
use std::path::Path;

/// Largest file that is read.
const MAX_BYTES: u64 = 32 << 20;

/// Reads a PNG or JPEG file of `[rows, columns, 3]` (or grey, made to colour).
pub(super) fn read(path: &Path, shape: [usize; 3]) -> Result<Vec<u8>, DemoError> {
    let file = |reason: String| DemoError::File { path: path.display().to_string(), reason };
    let size = std::fs::metadata(path).map_err(|e| file(e.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(file(format!("{size} bytes, at most {MAX_BYTES} are read")));
    }
    let bytes = std::fs::read(path).map_err(|e| file(e.to_string()))?;
    decode(&bytes, shape).map_err(file)
}

/// Decodes the bytes of such a file.
pub(super) fn decode(bytes: &[u8], [rows, columns, _]: [usize; 3]) -> Result<Vec<u8>, String> {
    let format = image::guess_format(bytes).ok();
    let Some(format) = format.filter(|f| matches!(f, ImageFormat::Png | ImageFormat::Jpeg)) else {
        return Err("neither a PNG nor a JPEG image".to_owned());
    };
    // The size stands at the beginning: nothing large is decoded only to be refused.
    let reader = || image::ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let damaged = |e: image::ImageError| format!("damaged image: {e}");
    let (width, height) = reader().into_dimensions().map_err(damaged)?;
    if (height as usize, width as usize) != (rows, columns) {
        return Err(format!("{width} x {height} pixels, expected {columns} x {rows}"));
    }
    let image = reader().decode().map_err(damaged)?;
    debug_assert_eq!(image.dimensions(), (width, height));
    Ok(image.into_rgb8().into_raw())
}
