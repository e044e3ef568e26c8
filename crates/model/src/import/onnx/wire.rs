//! The wire format of Protocol Buffers, read in place.
//!
//! Why not a crate: parsers made for trusted files allocate what a length field says before they
//! look at how much file is left, and recurse as deep as the file nests. Here every length is
//! compared with the bytes that are there, byte fields are slices of the file, and nothing
//! recurses: the caller decides which messages to enter. Source:
//! <https://protobuf.dev/programming-guides/encoding/>.

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Field<'b> {
    /// Field number of the schema.
    pub(super) number: u64,
    /// What it holds.
    pub(super) value: Wire<'b>,
}

/// A value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'b> {
    /// An integer of up to 64 bits.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// A string, bytes, a message or packed numbers.
    Bytes(&'b [u8]),
    /// Four bytes.
    Fixed32([u8; 4]),
}

/// Reads the fields of one message from front to back.
#[derive(Clone, Debug)]
pub(super) struct Message<'b> {
    rest: &'b [u8],
}

impl<'b> Message<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Message { rest: bytes }
    }

    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// Bytes that are no field, or a field that is longer than the message.
    pub(super) fn next(&mut self) -> Result<Option<Field<'b>>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.array()?),
            2 => {
                let len = self.varint()?;
                Wire::Bytes(self.take(len)?)
            }
            5 => Wire::Fixed32(self.array()?),
            other => return Err(format!("wire type {other} is not used by ONNX")),
        };
        Ok(Some(Field { number: key >> 3, value }))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let (value, len) = varint(self.rest)?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    fn take(&mut self, len: u64) -> Result<&'b [u8], String> {
        let there = self.rest.len();
        let len = usize::try_from(len).ok().filter(|&len| len <= there);
        let Some(len) = len else {
            return Err(format!(
                "a field is longer than the {there} bytes that are left: the file is cut off"
            ));
        };
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or("ends inside a number: the file is cut off")?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// The integer at the start of some bytes and how many of them it takes.
fn varint(bytes: &[u8]) -> Result<(u64, usize), String> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 127) << (7 * i);
        if byte < 128 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 10 {
        "ends inside a number: the file is cut off".to_owned()
    } else {
        "a number of more than 10 bytes".to_owned()
    })
}

impl<'b> Wire<'b> {
    /// A string, bytes or a message.
    pub(super) fn bytes(self) -> Result<&'b [u8], String> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err("a number where a text or message belongs".to_owned()),
        }
    }

    /// A string.
    pub(super) fn text(self) -> Result<&'b str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    /// An integer.
    pub(super) fn int(self) -> Result<i64, String> {
        match self {
            Wire::Varint(v) => Ok(v as i64),
            _ => Err("an integer is stored in another form".to_owned()),
        }
    }

    /// A single-precision number.
    pub(super) fn float(self) -> Result<f32, String> {
        match self {
            Wire::Fixed32(b) => Ok(f32::from_le_bytes(b)),
            _ => Err("a number is stored in another form".to_owned()),
        }
    }

    /// One integer, or many packed ones, appended.
    pub(super) fn ints(self, to: &mut Vec<i64>) -> Result<(), String> {
        match self {
            Wire::Bytes(mut rest) => {
                while !rest.is_empty() {
                    let (value, len) = varint(rest)?;
                    to.push(value as i64);
                    rest = &rest[len..];
                }
                Ok(())
            }
            other => other.int().map(|v| to.push(v)),
        }
    }

    /// One number, or many packed ones, appended.
    pub(super) fn floats(self, to: &mut Vec<f32>) -> Result<(), String> {
        match self {
            Wire::Bytes(bytes) => {
                let (words, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(format!("{} bytes of packed 4-byte numbers", bytes.len()));
                }
                to.extend(words.iter().map(|&w| f32::from_le_bytes(w)));
                Ok(())
            }
            other => other.float().map(|v| to.push(v)),
        }
    }

    /// One double-precision number, or many packed ones, appended.
    pub(super) fn doubles(self, to: &mut Vec<f64>) -> Result<(), String> {
        match self {
            Wire::Bytes(bytes) => {
                let (words, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(format!("{} bytes of packed 8-byte numbers", bytes.len()));
                }
                to.extend(words.iter().map(|&w| f64::from_le_bytes(w)));
                Ok(())
            }
            Wire::Fixed64(b) => {
                to.push(f64::from_le_bytes(b));
                Ok(())
            }
            _ => Err("a number is stored in another form".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields() {
        // The examples of the encoding guide, then packed integers.
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1a, 0x03, 0x03, 0x8e, 0x02];
        let mut message = Message::new(&bytes);
        let mut next = || message.next().unwrap().unwrap();
        assert_eq!(next(), Field { number: 1, value: Wire::Varint(150) });
        assert_eq!(next().value.text().unwrap(), "hi");
        let mut ints = Vec::new();
        next().value.ints(&mut ints).unwrap();
        assert_eq!(ints, [3, 270]);
        assert_eq!(message.next().unwrap(), None);
    }

    #[test]
    fn refuses_what_is_cut_off_or_malformed() {
        for bytes in [
            &[0x12, 0x05, b'h'][..],
            &[0x08],
            &[0x08, 0x80],
            &[0x0d, 1, 2],
            &[0x13],
            &[0xff; 12],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(Message::new(bytes).next().is_err(), "{bytes:?}");
        }
    }
}
