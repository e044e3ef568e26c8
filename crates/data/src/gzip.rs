//! Files that may be gzipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::DataError;

/// No file is read or unpacked beyond this many bytes: a small packed file can claim to be endless.
pub const MAX_BYTES: u64 = 1 << 30;
/// First bytes of gzipped data.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a file, unpacked if it is gzipped (told by its first bytes, not by its name), at
/// most [`MAX_BYTES`].
///
/// # Errors
/// A file that cannot be read, is damaged or cut off, or holds more.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(|e| DataError::reading(path, e))?;
    unpack(&path.display().to_string(), BufReader::new(file), MAX_BYTES)
}

/// The bytes of `input`, unpacked if they are gzipped, at most `limit`; `name` is for messages.
///
/// # Errors
/// What [`read`] refuses in a file.
pub fn unpack(name: &str, input: impl BufRead, limit: u64) -> Result<Vec<u8>, DataError> {
    let unreadable = |e: std::io::Error| DataError::format(name, e.to_string());
    let (packed, mut reader) = opened(input).map_err(unreadable)?;
    let mut bytes = Vec::new();
    reader.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| {
        if packed {
            DataError::format(name, format!("gzip data is damaged or cut off: {e}"))
        } else {
            unreadable(e)
        }
    })?;
    if bytes.len() as u64 > limit {
        let verb = if packed { "unpacks to" } else { "holds" };
        return Err(DataError::format(name, format!("{verb} more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Whether bytes are gzipped, and a reader of what they hold.
pub(crate) fn opened<'a>(mut input: impl BufRead + 'a) -> std::io::Result<(bool, Box<dyn Read + 'a>)> {
    let packed = input.fill_buf()?.starts_with(&MAGIC);
    Ok(if packed { (true, Box::new(MultiGzDecoder::new(input))) } else { (false, Box::new(input)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_all(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        unpack("f", bytes, limit).map_err(|e| e.to_string())
    }

    #[test]
    fn packed_or_not_in_one_part_or_several() {
        let text = b"some bytes".to_vec();
        assert_eq!(read_all(&text, 10), Ok(text.clone()));
        assert_eq!(read_all(&gzip(&text), 10), Ok(text.clone()));
        assert_eq!(read_all(&[gzip(&text), gzip(&text)].concat(), 20), Ok(text.repeat(2)));
        assert_eq!(read_all(b"", 0), Ok(Vec::new()));
    }

    #[test]
    fn every_cut_and_whatever_follows_is_refused() {
        let packed = gzip(b"some bytes");
        for end in MAGIC.len()..packed.len() {
            let error = read_all(&packed[..end], 100).unwrap_err();
            assert!(error.contains("f: gzip data is damaged or cut off"), "{end}: {error}");
        }
        let error = read_all(&[&packed[..], b"more"].concat(), 100).unwrap_err();
        assert!(error.contains("gzip data is damaged"), "{error}");
        let mut lying = packed.clone();
        let length = lying.len() - 4; // what the trailer says of the size
        lying[length] ^= 1;
        assert!(read_all(&lying, 100).unwrap_err().contains("gzip data is damaged"));
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2000);
        assert_eq!(read_all(&bomb, 4096).unwrap_err(), "f: unpacks to more than 4096 bytes");
        assert_eq!(read_all(&[7; 11], 10).unwrap_err(), "f: holds more than 10 bytes");
        // An endless file, too.
        let endless = unpack("f", BufReader::new(std::io::repeat(7)), 1 << 16).unwrap_err();
        assert_eq!(endless.to_string(), "f: holds more than 65536 bytes");
    }
}
