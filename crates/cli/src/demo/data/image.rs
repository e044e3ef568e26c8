//! Image files of one size.

use super::super::DemoError;
use std::io::Cursor;
use std::path::Path;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Largest file that is read.
const MAX_BYTES: u64 = 32 << 20;
/// What files of the two formats begin with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

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
    let size = [columns, rows];
    if bytes.starts_with(PNG) {
        png(bytes, size)
    } else if bytes.starts_with(JPEG) {
        jpeg(bytes, size)
    } else {
        Err("neither a PNG nor a JPEG image".to_owned())
    }
}

/// The size stands at the beginning: nothing large is decoded only to be refused.
fn right_size([width, height]: [usize; 2], expected: [usize; 2]) -> Result<(), String> {
    if [width, height] == expected {
        return Ok(());
    }
    Err(format!("{width} x {height} pixels, expected {} x {}", expected[0], expected[1]))
}

fn damaged(error: impl std::fmt::Display) -> String {
    format!("damaged image: {error}")
}

fn png(bytes: &[u8], size: [usize; 2]) -> Result<Vec<u8>, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    // Palettes become colours, 16 bits become 8.
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(damaged)?;
    right_size([reader.info().width as usize, reader.info().height as usize], size)?;
    let (color, _) = reader.output_color_type();
    let mut pixels = vec![0; reader.output_buffer_size().ok_or_else(|| damaged("its size"))?];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    let channels = color.samples();
    let colour = |pixel: &[u8]| if channels < 3 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] };
    Ok(pixels.chunks_exact(channels).flat_map(colour).collect())
}

fn jpeg(bytes: &[u8], size: [usize; 2]) -> Result<Vec<u8>, String> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| damaged(format!("{e:?}")))?;
    let [width, height] = decoder.dimensions().map_or([0; 2], |(width, height)| [width, height]);
    right_size([width, height], size)?;
    decoder.decode().map_err(|e| damaged(format!("{e:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        color: png::ColorType,
        depth: png::BitDepth,
        palette: Option<Vec<u8>>,
        data: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    }

    #[test]
    fn every_kind_of_png_becomes_colour() {
        use png::{BitDepth, ColorType};
        let read = |bytes: Vec<u8>| decode(&bytes, [1, 2, 3]).unwrap();
        let rgb = [1, 2, 3, 4, 5, 6];
        assert_eq!(read(written(ColorType::Rgb, BitDepth::Eight, None, &rgb)), rgb);
        let rgba = [1, 2, 3, 200, 4, 5, 6, 0];
        assert_eq!(read(written(ColorType::Rgba, BitDepth::Eight, None, &rgba)), rgb);
        assert_eq!(read(written(ColorType::Grayscale, BitDepth::Eight, None, &[7, 9])), [7, 7, 7, 9, 9, 9]);
        let wide = [7, 200, 9, 200];
        assert_eq!(read(written(ColorType::Grayscale, BitDepth::Sixteen, None, &wide)), [7, 7, 7, 9, 9, 9]);
        let both = [7, 200, 9, 0];
        let grey = written(ColorType::GrayscaleAlpha, BitDepth::Eight, None, &both);
        assert_eq!(read(grey), [7, 7, 7, 9, 9, 9]);
        let indexed = written(ColorType::Indexed, BitDepth::One, Some(rgb.to_vec()), &[0b0100_0000]);
        assert_eq!(read(indexed), rgb);
    }

    #[test]
    fn hostile_files_are_refused() {
        let good = written(png::ColorType::Rgb, png::BitDepth::Eight, None, &[0; 6]);
        for end in 0..good.len() - 12 {
            assert!(decode(&good[..end], [1, 2, 3]).is_err(), "{end}");
        }
        // The header claims 2^31 - 1 columns; the checksum over it is the right one.
        let mut huge = good.clone();
        huge[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let error = decode(&huge, [1, 2, 3]).unwrap_err();
        assert!(error.contains("pixels, expected 2 x 1") || error.contains("damaged image"), "{error}");
        assert!(decode(b"\xff\xd8\xff\xe0 and then nothing", [1, 2, 3]).unwrap_err().contains("damaged"));
    }
}
