//! Writing `.npz` files as `numpy.savez` does: members stored, one `.npy` array each, version 1.

use std::io::{self, Write};

/// An array to write, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its sizes, outermost first.
    pub shape: &'a [usize],
    /// Its elements.
    pub values: Values<'a>,
}

/// Elements of an array.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// `float64`.
    Reals(&'a [f64]),
    /// `int64`.
    Integers(&'a [i64]),
    /// Strings, padded to the longest.
    Text(&'a [String]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::Reals(v) => v.len(),
            Values::Integers(v) => v.len(),
            Values::Text(v) => v.len(),
        }
    }

    /// The type as NumPy writes it, and the elements' bytes.
    fn encoded(&self) -> (String, Vec<u8>) {
        match self {
            Values::Reals(v) => ("<f8".to_owned(), v.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Values::Integers(v) => ("<i8".to_owned(), v.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Values::Text(v) => {
                let longest = v.iter().map(|s| s.chars().count()).max().unwrap_or(0).max(1);
                let padded = |s: &String| {
                    let fill = std::iter::repeat_n(0, longest - s.chars().count());
                    s.chars().map(u32::from).chain(fill).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()
                };
                (format!("<U{longest}"), v.iter().flat_map(padded).collect())
            }
        }
    }
}

/// Writes a file with these arrays.
///
/// # Errors
/// When `out` does; elements that are not as many as their shape says, or arrays beyond 4 GiB,
/// which need another format.
pub fn write(out: &mut impl Write, columns: &[Column<'_>]) -> io::Result<()> {
    let (mut at, mut directory) = (0usize, Vec::new());
    for column in columns {
        let array = npy(column)?;
        let name = format!("{}.npy", column.name);
        let mut crc = flate2::Crc::new();
        crc.update(&array);
        let size = word(array.len())?;
        // Version 2.0, no flags, stored, 1 January 1980 at 0:00.
        let mut fields = b"\x14\0\0\0\0\0\0\0\x21\0".to_vec();
        for field in [crc.sum(), size, size] {
            fields.extend(field.to_le_bytes());
        }
        let name_len = u16::try_from(name.len()).map_err(|_| too_large("a name"))?;
        fields.extend(name_len.to_le_bytes());
        let local = [b"PK\x03\x04".as_slice(), &fields, b"\0\0", name.as_bytes()].concat();
        out.write_all(&local)?;
        out.write_all(&array)?;
        directory.extend([b"PK\x01\x02\x14\0".as_slice(), &fields, &[0; 12]].concat());
        directory.extend(word(at)?.to_le_bytes());
        directory.extend(name.as_bytes());
        at += local.len() + array.len();
    }
    out.write_all(&directory)?;
    let count = u16::try_from(columns.len()).map_err(|_| too_large("the number of arrays"))?.to_le_bytes();
    let sizes = [word(directory.len())?.to_le_bytes(), word(at)?.to_le_bytes()].concat();
    out.write_all(&[b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &sizes, b"\0\0"].concat())
}

fn npy(column: &Column<'_>) -> io::Result<Vec<u8>> {
    if column.shape.iter().product::<usize>() != column.values.len() {
        let reason = format!("{} elements for shape {:?}", column.values.len(), column.shape);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let (kind, data) = column.values.encoded();
    // A tuple of one element has a comma.
    let shape: String = column.shape.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| too_large("a shape"))?.to_le_bytes();
    Ok([b"\x93NUMPY\x01\0".as_slice(), &length, header.as_bytes(), &data].concat())
}

fn word(size: usize) -> io::Result<u32> {
    u32::try_from(size).map_err(|_| too_large("an array"))
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} is too large for an .npz file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npz::Npz;

    #[test]
    fn what_is_written_is_read() {
        let (reals, names) = ([0.5, -1.0, 2.0, 3.0, 4.0, 1e-8], ["cat".to_owned(), "Käfer".to_owned()]);
        let columns = [
            Column { name: "logits", shape: &[3, 2], values: Values::Reals(&reals) },
            Column { name: "classes", shape: &[3], values: Values::Integers(&[0, 1, -1]) },
            Column { name: "names", shape: &[2], values: Values::Text(&names) },
        ];
        let mut bytes = Vec::new();
        write(&mut bytes, &columns).unwrap();
        let npz = Npz::parse("a.npz", &bytes).unwrap();
        assert_eq!(npz.names(), ["logits", "classes", "names"]);
        let logits = npz.array("logits").unwrap();
        assert_eq!((logits.shape, logits.values[5]), (vec![3, 2], 1e-8));
        assert_eq!(npz.array("classes").unwrap().values, [0.0, 1.0, -1.0]);
        // Strings are no numbers, but complete: their checksum and length were checked.
        let error = npz.array("names").unwrap_err().to_string();
        assert!(error.contains("of type <U5"), "{error}");
        let wrong = [Column { name: "x", shape: &[4], values: Values::Reals(&reals) }];
        assert!(write(&mut Vec::new(), &wrong).is_err());
    }
}
