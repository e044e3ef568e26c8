//! The first message on a link, and what of it every version can read (docs/protocol.md, section
//! 7.5).
//!
//! Of a greeting three things stay as they are for ever, so that programs of different versions can
//! name each other: its first byte is the version of the wire format, its second byte the kind, and
//! behind everything else stand the version of the program, as text, and the length of that text, a
//! byte.

use crate::control::{self, Hello};
use crate::wire::{Header, Kind, VERSION};
use crate::{Fault, Printable, ProtocolError, Scope};

/// The version of this program.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");
/// Longest version of a program that is read.
const MAX_PROGRAM: usize = 32;

/// The greeting of a program of this version.
///
/// # Errors
/// When serialisation fails (out of memory).
pub fn encode(hello: &Hello) -> Result<Vec<u8>, ProtocolError> {
    encode_as(hello, VERSION, PROGRAM)
}

/// The greeting of a program of any version, for tests of those that meet it.
///
/// # Errors
/// A version that is too long to be one.
pub fn encode_as(hello: &Hello, wire: u8, program: &str) -> Result<Vec<u8>, ProtocolError> {
    let length = u8::try_from(program.len()).ok().filter(|length| usize::from(*length) <= MAX_PROGRAM);
    let length = length.ok_or_else(|| ProtocolError::Misuse(format!("{program:?} is no version")))?;
    let mut header = Header::new(Kind::Hello, Scope::NONE, 0).encode();
    header[0] = wire;
    Ok([&header[..], &control::encode(hello)?, program.as_bytes(), &[length]].concat())
}

/// The header of a first message and what follows it.
///
/// # Errors
/// Those of [`Header::decode`]; a greeting of another version of the wire format is refused with
/// both programs' versions.
pub fn header(frame: &[u8]) -> Result<(Header, &[u8]), Fault> {
    match frame {
        [wire, kind, rest @ ..] if *wire != VERSION && *kind == Kind::Hello as u8 => {
            let (_, program) = split(rest).unwrap_or_default();
            let known = if program.is_empty() { String::new() } else { format!("amicus {program}, ") };
            Err(Fault::Version(format!(
                "it runs {known}wire version {wire}, we run amicus {PROGRAM}, wire version {VERSION}"
            )))
        }
        _ => Header::decode(frame),
    }
}

/// What a greeting says, and the version of the program that says it.
///
/// # Errors
/// A body that is no greeting.
pub fn decode(body: &[u8]) -> Result<(Hello, Printable), Fault> {
    let none = || Fault::Encoding("a greeting without the version of its program".into());
    let (hello, program) = split(body).ok_or_else(none)?;
    Ok((control::decode(hello)?, program.into()))
}

/// Splits the program's version off the end.
fn split(body: &[u8]) -> Option<(&[u8], &str)> {
    let (length, body) = body.split_last()?;
    let length = usize::from(*length);
    let at = body.len().checked_sub(length).filter(|_| length <= MAX_PROGRAM)?;
    let (hello, program) = body.split_at(at);
    let program = std::str::from_utf8(program).ok().filter(|text| Printable::is(text))?;
    Some((hello, program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Channel;

    const HELLO: Hello = Hello { channel: Channel::Dealing, cluster: [7; 32], parties: 3 };

    fn read(frame: &[u8]) -> Result<(Hello, Printable), Fault> {
        let (header, body) = header(frame)?;
        assert_eq!(header.kind, Kind::Hello);
        decode(body)
    }

    #[test]
    fn a_greeting_names_the_program() {
        assert_eq!(read(&encode(&HELLO).unwrap()), Ok((HELLO, PROGRAM.into())));
        assert_eq!(read(&encode_as(&HELLO, VERSION, "9.1.0-rc").unwrap()), Ok((HELLO, "9.1.0-rc".into())));
        assert!(encode_as(&HELLO, VERSION, &"9".repeat(33)).is_err());
    }

    #[test]
    fn another_version_is_named_whatever_lies_between() {
        for (wire, program) in [(1, "0.0.9"), (VERSION + 1, "7.0.0"), (255, "")] {
            let greeting = encode_as(&HELLO, wire, program).unwrap();
            // Its header may be longer or shorter, its body another.
            for middle in [&greeting[2..greeting.len() - program.len() - 1], b"", &[0xff; 500]] {
                let tail = &greeting[greeting.len() - program.len() - 1..];
                let frame = [&greeting[..2], middle, tail].concat();
                let Err(Fault::Version(text)) = read(&frame) else { panic!("{frame:?}") };
                for words in [
                    program,
                    PROGRAM,
                    &format!("wire version {wire}, we"),
                    &format!("wire version {VERSION}"),
                ] {
                    assert!(text.contains(words), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        let good = encode(&HELLO).unwrap();
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        for (at, byte) in [(good.len() - 1, 200), (good.len() - 1, 0), (good.len() - 2, 0x1b)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(read(&bad).is_err(), "{at}");
        }
        // Old programs greeted without a version of their own.
        assert!(matches!(read(&[2, Kind::Hello as u8]), Err(Fault::Version(_))));
    }
}
