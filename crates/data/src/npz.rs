//! NumPy's `.npz` files: arrays by name.
//!
//! What this is: the zip container as far as `numpy.savez` and `numpy.savez_compressed` write it
//! (stored or deflated members, ZIP64 fields where sizes need them), and the `.npy` format inside,
//! versions 1 to 3, C order, real numbers and integers. Files may be cut off or hostile: sizes are
//! compared with each other before anything is allocated, and a member never unpacks to more than
//! its shape needs.
//!
//! Sources: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3; NumPy,
//! `numpy.lib.format`.

mod write;

pub use write::{Column, Values, write};

use std::io::Read;

use amicus_model::networks::half_precision;
use flate2::read::DeflateDecoder;

use crate::DataError;

/// Largest array that is unpacked, in bytes.
const MAX_BYTES: usize = 8 << 30;
/// Most members of a file.
const MAX_MEMBERS: usize = 1000;

/// One array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The numbers, in single precision.
    pub values: Vec<f32>,
}

impl Array {
    /// The array cut along its first axis.
    pub fn rows(&self) -> Vec<Vec<f32>> {
        let count = self.shape.first().copied().unwrap_or(1);
        let each = self.values.len().checked_div(count).unwrap_or(0).max(1);
        self.values.chunks(each).map(<[f32]>::to_vec).collect()
    }
}

/// The members of an `.npz` file, unpacked when asked for. `Debug` shows names only.
pub struct Npz<'b> {
    file: String,
    bytes: &'b [u8],
    members: Vec<Member>,
}

impl std::fmt::Debug for Npz<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Npz({})", self.names().join(", "))
    }
}

/// An entry of the central directory.
struct Member {
    name: String,
    deflated: bool,
    packed: u64,
    unpacked: u64,
    crc: u32,
    offset: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'b> Npz<'b> {
    /// Reads the directory of a file; `file` is its name in messages.
    ///
    /// # Errors
    /// Bytes that are no zip file, one that is cut off, or members packed by other methods.
    pub fn parse(file: &str, bytes: &'b [u8]) -> Result<Self, DataError> {
        let members = directory(bytes).map_err(|reason| {
            DataError::format(file, format!("not a complete .npz file ({} bytes): {reason}", bytes.len()))
        })?;
        Ok(Npz { file: file.to_owned(), bytes, members })
    }

    /// Names of the arrays, without `.npy`.
    pub fn names(&self) -> Vec<&str> {
        self.members.iter().map(|m| m.name.as_str()).collect()
    }

    /// An array, if there is one of that name.
    ///
    /// # Errors
    /// A member that is no array of numbers, damaged, or not as long as its shape says.
    pub fn find(&self, name: &str) -> Result<Option<Array>, DataError> {
        let Some(member) = self.members.iter().find(|m| m.name == name) else { return Ok(None) };
        let array = self.unpack(member).and_then(|bytes| array(&bytes));
        array.map(Some).map_err(|reason| DataError::format(format!("{}, array {name}", self.file), reason))
    }

    /// An array.
    ///
    /// # Errors
    /// What [`Npz::find`] refuses, and a name that is not there.
    pub fn array(&self, name: &str) -> Result<Array, DataError> {
        let missing = || {
            let names = self.names();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            DataError::format(&self.file, format!("no array `{name}`; there are: {there}"))
        };
        self.find(name)?.ok_or_else(missing)
    }

    fn unpack(&self, member: &Member) -> Result<Vec<u8>, String> {
        let cut = || "it is cut off".to_owned();
        let at = usize::try_from(member.offset).map_err(|_| cut())?;
        let header = self.bytes.get(at..).ok_or_else(cut)?;
        if u32_at(header, 0) != Some(0x0403_4b50) {
            return Err("its entry is damaged".to_owned());
        }
        let names = usize::from(u16_at(header, 26).ok_or_else(cut)?);
        let extra = usize::from(u16_at(header, 28).ok_or_else(cut)?);
        let packed = usize::try_from(member.packed).map_err(|_| cut())?;
        let data = header.get(30 + names + extra..).and_then(|d| d.get(..packed)).ok_or_else(cut)?;
        let size = usize::try_from(member.unpacked).ok().filter(|&s| s <= MAX_BYTES);
        let size = size.ok_or_else(|| format!("{} bytes, at most {MAX_BYTES} are read", member.unpacked))?;
        let mut out = Vec::new();
        if member.deflated {
            // One byte more than expected, to notice data that does not end.
            let mut reader = DeflateDecoder::new(data).take(size as u64 + 1);
            reader.read_to_end(&mut out).map_err(|e| format!("it cannot be unpacked: {e}"))?;
        } else {
            out.extend_from_slice(data);
        }
        if out.len() != size {
            return Err(format!("{} bytes or more, the directory says {size}", out.len()));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&out);
        if crc.sum() == member.crc { Ok(out) } else { Err("its checksum does not match".to_owned()) }
    }
}

/// The central directory.
fn directory(bytes: &[u8]) -> Result<Vec<Member>, String> {
    // The end record is 22 bytes plus a comment of at most 65,535.
    let first = bytes.len().saturating_sub(22 + 65_535);
    let last = bytes.len().checked_sub(22).ok_or("too short")?;
    let end = (first..=last).rev().find(|&at| u32_at(bytes, at) == Some(0x0605_4b50));
    let end = end.ok_or("it has no directory (cut off?)")?;
    let cut = "its directory is damaged";
    let mut count = u64::from(u16_at(bytes, end + 10).ok_or(cut)?);
    let mut at = u64::from(u32_at(bytes, end + 16).ok_or(cut)?);
    let locator = end.checked_sub(20).filter(|&l| u32_at(bytes, l) == Some(0x0706_4b50));
    if let Some(locator) = locator {
        let record = u64_at(bytes, locator + 8).and_then(|r| usize::try_from(r).ok()).ok_or(cut)?;
        if u32_at(bytes, record) != Some(0x0606_4b50) {
            return Err(cut.to_owned());
        }
        count = u64_at(bytes, record + 32).ok_or(cut)?;
        at = u64_at(bytes, record + 48).ok_or(cut)?;
    }
    if count > MAX_MEMBERS as u64 {
        return Err(format!("{count} members, at most {MAX_MEMBERS}"));
    }
    let mut rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).ok_or(cut)?;
    let mut members = Vec::new();
    for _ in 0..count {
        let (member, len) = entry(rest).ok_or(cut)??;
        members.push(member);
        rest = rest.get(len..).ok_or(cut)?;
    }
    Ok(members)
}

/// One entry of the directory and its length; `None` when it is cut off.
fn entry(bytes: &[u8]) -> Option<Result<(Member, usize), String>> {
    if u32_at(bytes, 0)? != 0x0201_4b50 {
        return None;
    }
    let (flags, method) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?);
    let [name_len, extra_len, comment_len] = [28, 30, 32].map(|at| u16_at(bytes, at).map(usize::from));
    let (name_len, extra_len, comment_len) = (name_len?, extra_len?, comment_len?);
    let mut member = Member {
        name: String::from_utf8_lossy(bytes.get(46..46 + name_len)?).trim_end_matches(".npy").to_owned(),
        deflated: method == 8,
        crc: u32_at(bytes, 16)?,
        packed: u64::from(u32_at(bytes, 20)?),
        unpacked: u64::from(u32_at(bytes, 24)?),
        offset: u64::from(u32_at(bytes, 42)?),
    };
    if !matches!(method, 0 | 8) || flags & 1 != 0 {
        return Some(Err(format!("{} is packed by method {method} or encrypted", member.name)));
    }
    let mut extra = bytes.get(46 + name_len..46 + name_len + extra_len)?;
    while extra.len() >= 4 {
        let (kind, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let field = extra.get(4..4 + len)?;
        if kind == 1 {
            // 64-bit values for those fields that are all ones, in this order.
            let mut at = 0;
            for value in [&mut member.unpacked, &mut member.packed, &mut member.offset] {
                if *value == u64::from(u32::MAX) {
                    *value = u64_at(field, at)?;
                    at += 8;
                }
            }
        }
        extra = extra.get(4 + len..)?;
    }
    Some(Ok((member, 46 + name_len + extra_len + comment_len)))
}

/// A `.npy` file.
fn array(bytes: &[u8]) -> Result<Array, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("no NumPy array")?;
    let major = *rest.first().ok_or("it is cut off")?;
    let (len, start) = match major {
        1 => (u16_at(rest, 2).map(usize::from), 4),
        2 | 3 => (u32_at(rest, 2).map(|l| l as usize), 6),
        other => return Err(format!(".npy format version {other}, versions 1 to 3 are read")),
    };
    let len = len.ok_or("it is cut off")?;
    let header = rest.get(start..).and_then(|r| r.get(..len)).ok_or("it is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let data = &rest[start + len..];
    let after = |key: &str| {
        let at = header.find(key).map(|at| &header[at + key.len()..]);
        at.map(str::trim_start).ok_or_else(|| format!("its header has no {key}"))
    };
    let kind = after("'descr':")?;
    let kind = kind.strip_prefix('\'').and_then(|k| k.split_once('\'')).map(|(k, _)| k);
    let kind = kind.ok_or("it holds records; store one array of numbers")?;
    if !after("'fortran_order':")?.starts_with("False") {
        return Err("it is stored in Fortran order; use numpy.ascontiguousarray".to_owned());
    }
    let shape = after("'shape':")?;
    let shape =
        shape.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(s, _)| s).ok_or("it has no shape")?;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape =
        sizes.map(str::parse).collect::<Result<Vec<usize>, _>>().map_err(|_| format!("shape ({shape})"))?;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let width = kind.get(2..).and_then(|w| w.parse::<usize>().ok()).unwrap_or(0);
    if count.and_then(|n| n.checked_mul(width)) != Some(data.len()) {
        return Err(format!("{} bytes of numbers, shape {shape:?} of type {kind} needs others", data.len()));
    }
    Ok(Array { shape, values: numbers(kind, data)? })
}

fn numbers(kind: &str, data: &[u8]) -> Result<Vec<f32>, String> {
    fn each<const N: usize>(data: &[u8], f: fn([u8; N]) -> f32) -> Vec<f32> {
        data.as_chunks::<N>().0.iter().map(|&b| f(b)).collect()
    }
    Ok(match kind {
        "<f4" => each(data, f32::from_le_bytes),
        "<f8" => each(data, |b| f64::from_le_bytes(b) as f32),
        "<f2" => each(data, |b| half_precision(u16::from_le_bytes(b))),
        "<i8" => each(data, |b| i64::from_le_bytes(b) as f32),
        "<i4" => each(data, |b| i32::from_le_bytes(b) as f32),
        "<i2" => each(data, |b| f32::from(i16::from_le_bytes(b))),
        "<u8" => each(data, |b| u64::from_le_bytes(b) as f32),
        "<u4" => each(data, |b| u32::from_le_bytes(b) as f32),
        "<u2" => each(data, |b| f32::from(u16::from_le_bytes(b))),
        "|i1" => each(data, |b: [u8; 1]| f32::from(b[0] as i8)),
        "|u1" | "|b1" => each(data, |b: [u8; 1]| f32::from(b[0])),
        other => return Err(format!("numbers of type {other}; store them as float32")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `numpy.savez(x=..)` and `numpy.savez_compressed(x=..)` of
    /// `np.arange(6, dtype=...).reshape(2, 3)`.
    fn file(deflated: bool, kind: &str, numbers: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 3), }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let length = (header.len() as u16).to_le_bytes();
        let array = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), numbers].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&array);
        let packed = if deflated {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, &array).unwrap();
            encoder.finish().unwrap()
        } else {
            array.clone()
        };
        let words = |list: &[u32]| list.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let method = [if deflated { 8u8 } else { 0 }, 0];
        let sizes = words(&[crc.sum(), packed.len() as u32, array.len() as u32]);
        let local =
            [b"PK\x03\x04\x14\0\0\0".as_slice(), &method, &[0; 4], &sizes, b"\x05\0\0\0x.npy", &packed]
                .concat();
        let entry = [
            b"PK\x01\x02\x14\0\x14\0\0\0".as_slice(),
            &method,
            &[0; 4],
            &sizes,
            b"\x05\0",
            &[0; 12],
            &words(&[0]),
            b"x.npy",
        ]
        .concat();
        let end = words(&[entry.len() as u32, local.len() as u32]);
        let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &end, &[0, 0]].concat();
        [local, entry, end].concat()
    }

    fn floats() -> Vec<u8> {
        (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
    }

    #[test]
    fn reads_arrays() {
        for deflated in [false, true] {
            let bytes = file(deflated, "<f4", &floats());
            let npz = Npz::parse("d.npz", &bytes).unwrap();
            assert_eq!(npz.names(), ["x"]);
            let x = npz.array("x").unwrap();
            assert_eq!(
                (x.shape.as_slice(), x.rows()),
                (&[2, 3][..], vec![vec![0.0, 1.0, 2.0], vec![3.0, 4.0, 5.0]])
            );
            assert!(npz.find("y").unwrap().is_none());
            assert_eq!(npz.array("y").unwrap_err().to_string(), "d.npz: no array `y`; there are: x");
        }
        let bytes = file(false, "|u1", &[0, 1, 2, 253, 254, 255]);
        assert_eq!(Npz::parse("d", &bytes).unwrap().array("x").unwrap().values[5], 255.0);
    }

    #[test]
    fn refuses_other_files() {
        let error = |bytes: &[u8]| match Npz::parse("d", bytes) {
            Ok(npz) => npz.array("x").map(|_| ()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error(b"").contains("not a complete .npz file (0 bytes): too short"));
        let good = file(true, "<f4", &floats());
        assert!(error(&good[..good.len() - 1]).contains("it has no directory (cut off?)"));
        assert!(
            error(&file(false, "<f8", &floats())).contains("24 bytes of numbers, shape [2, 3] of type <f8")
        );
        assert!(error(&file(false, "<c8", &[0; 48])).contains("numbers of type <c8; store them as float32"));
        let mut damaged = file(false, "<f4", &floats());
        let at = damaged.windows(4).position(|w| w == 5f32.to_le_bytes()).unwrap();
        damaged[at] ^= 1;
        assert!(error(&damaged).contains("checksum does not match"));
    }

    proptest! {
        #[test]
        fn changed_files_never_panic(
            deflated: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = file(deflated, "<f4", &floats());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(npz) = Npz::parse("d", &bytes) {
                for name in npz.names() {
                    let _ = npz.find(name);
                }
            }
        }
    }
}
