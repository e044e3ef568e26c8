//! PNG and JPEG files of one size.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::DataError;

/// Largest file that is read.
const MAX_BYTES: u64 = 32 << 20;
/// What files of the two formats begin with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// A PNG or JPEG file of `[rows, columns]` as red, green and blue of every pixel; grey ones become
/// colour, transparency is left out.
///
/// # Errors
/// A file that cannot be read, is larger than 32 MiB, damaged, or of another size.
pub fn read(path: &Path, size: [usize; 2]) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| DataError::reading(path, e))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| DataError::reading(path, e))?;
    let name = path.display().to_string();
    if bytes.len() as u64 > MAX_BYTES {
        return Err(DataError::format(name, format!("more than {MAX_BYTES} bytes, which is no image")));
    }
    decode(&name, &bytes, size)
}

/// Decodes a file's bytes; `name` is for messages.
///
/// # Errors
/// What [`read`] refuses in a file.
pub fn decode(name: &str, bytes: &[u8], [rows, columns]: [usize; 2]) -> Result<Vec<u8>, DataError> {
    let size = [columns, rows];
    let pixels = if bytes.starts_with(PNG) {
        png(bytes, size)
    } else if bytes.starts_with(JPEG) {
        jpeg(bytes, size)
    } else {
        Err("neither a PNG nor a JPEG image".to_owned())
    };
    let expected = 3 * rows * columns;
    match pixels {
        Ok(pixels) if pixels.len() == expected => Ok(pixels),
        Ok(pixels) => Err(DataError::format(name, damaged(format!("{} of {expected} bytes", pixels.len())))),
        Err(problem) => Err(DataError::format(name, problem)),
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
    // Packed profiles and texts can be far larger than any image.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    // Palettes become colours, 16 bits become 8.
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(damaged)?;
    right_size([reader.info().width as usize, reader.info().height as usize], size)?;
    let (color, _) = reader.output_color_type();
    let mut pixels = vec![0; reader.output_buffer_size().ok_or_else(|| damaged("its size"))?];
    let frame = reader.next_frame(&mut pixels).map_err(damaged)?;
    // An animation's first frame may be smaller.
    right_size([frame.width as usize, frame.height as usize], size)?;
    reader.finish().map_err(damaged)?;
    let channels = color.samples();
    let colour = |pixel: &[u8]| if channels < 3 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] };
    Ok(pixels.chunks_exact(channels).flat_map(colour).collect())
}

fn jpeg(bytes: &[u8], size: [usize; 2]) -> Result<Vec<u8>, String> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB).set_strict_mode(true);
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
        let read = |bytes: Vec<u8>| decode("a", &bytes, [1, 2]).unwrap();
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

    /// What is said of bytes that should be 2 x 1 pixels.
    fn refused(bytes: &[u8]) -> String {
        decode("a", bytes, [1, 2]).unwrap_err().to_string()
    }

    /// The checksum of a chunk at `at` put right.
    fn checked(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[at + 4..at + 8 + length]);
        bytes[at + 8 + length..at + 12 + length].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    }

    #[test]
    fn files_that_are_cut_off_or_lie_are_refused() {
        let good = written(png::ColorType::Rgb, png::BitDepth::Eight, None, &[0; 6]);
        for end in 0..good.len() - 12 {
            assert!(decode("a", &good[..end], [1, 2]).is_err(), "{end}");
        }
        // The header claims 2^31 - 1 columns, one column more, and a row more.
        for (at, value) in [(16, 0x7fff_ffffu32), (16, 3), (20, 2)] {
            let mut other = good.clone();
            other[at..at + 4].copy_from_slice(&value.to_be_bytes());
            let error = refused(&checked(other, 8));
            assert!(error.contains("pixels, expected 2 x 1") || error.contains("damaged"), "{error}");
        }
        // The size is right, the pixels are too few.
        let few = written(png::ColorType::Grayscale, png::BitDepth::Eight, None, &[1, 2]);
        let mut lying = few.clone();
        lying[25] = 2; // three channels
        assert!(refused(&checked(lying, 8)).contains("a: damaged image"));
        assert!(refused(b"\xff\xd8\xff\xe0 and then nothing").contains("damaged"));
        assert!(refused(b"GIF89a").contains("neither a PNG nor a JPEG"));
    }

    /// A text chunk that unpacks to 64 MiB is not unpacked.
    #[test]
    fn packed_texts_and_profiles_are_passed_over() {
        let good = written(png::ColorType::Rgb, png::BitDepth::Eight, None, &[1, 2, 3, 4, 5, 6]);
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packer, &vec![0; 64 << 20]).unwrap();
        let bomb = packer.finish().unwrap();
        for kind in [b"zTXt", b"iCCP"] {
            let data = [b"a\0\0".as_slice(), &bomb].concat();
            let chunk = [&(data.len() as u32).to_be_bytes()[..], kind, &data, &[0; 4]].concat();
            let bytes = checked([&good[..33], &chunk, &good[33..]].concat(), 33);
            assert_eq!(decode("a", &bytes, [1, 2]).unwrap(), [1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn jpeg_files_that_are_cut_off_or_of_another_size_are_refused() {
        let grey = image::GrayImage::from_pixel(8, 8, image::Luma([77]));
        let mut bytes = Cursor::new(Vec::new());
        grey.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        let bytes = bytes.into_inner();
        let pixels = decode("a", &bytes, [8, 8]).unwrap();
        assert!(pixels.len() == 192 && pixels.iter().all(|p| p.abs_diff(77) <= 2));
        for end in 3..bytes.len() - 2 {
            assert!(decode("a", &bytes[..end], [8, 8]).is_err(), "{end} of {}", bytes.len());
        }
        let size = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap() + 5;
        let mut huge = bytes.clone();
        huge[size..size + 4].fill(0xff);
        assert!(decode("a", &huge, [8, 8]).is_err());
        assert!(
            decode("a", &bytes, [8, 9]).unwrap_err().to_string().contains("8 x 8 pixels, expected 9 x 8")
        );
    }
}
