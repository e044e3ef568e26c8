//! What a line is like, and how people write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Delay and rate of a line, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Time from leaving one end to arriving at the other: half the round-trip time.
    pub one_way: Duration,
    /// Rate in each direction; `None` is unlimited.
    pub bits_per_second: Option<u64>,
}

impl Shape {
    /// No delay and no limit: what a proxy is not needed for.
    pub const fn local() -> Self {
        Self { one_way: Duration::ZERO, bits_per_second: None }
    }

    /// 1 Gbit/s, round-trip time 0.5 ms.
    pub const fn lan() -> Self {
        Self { one_way: Duration::from_micros(250), bits_per_second: Some(1_000_000_000) }
    }

    /// 100 Mbit/s, round-trip time 40 ms.
    pub const fn wan() -> Self {
        Self { one_way: Duration::from_millis(20), bits_per_second: Some(100_000_000) }
    }

    /// Whether this is [`Shape::local`].
    pub fn is_local(&self) -> bool {
        *self == Self::local()
    }

    /// How long `bytes` occupy the line.
    pub fn line_time(&self, bytes: u64) -> Duration {
        match self.bits_per_second {
            Some(rate) => {
                let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
            None => Duration::ZERO,
        }
    }
}

/// A description of a line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong:?} in {text:?}: {expected}")]
pub struct ShapeError {
    text: String,
    wrong: String,
    expected: &'static str,
}

const FORM: &str = "expected local, lan, wan, or rtt=.. and bw=.. such as rtt=40ms,bw=100mbit";
const RTT: &str = "expected a round-trip time such as 40ms, 0.5ms, 250us or 1s (at most an hour)";
const BW: &str = "expected a rate such as 100mbit, 2.5gbit, 500kbit, 64bit (a second) or unlimited";

const TIMES: [(&str, f64); 3] = [("ms", 1e6), ("us", 1e3), ("s", 1e9)];
const RATES: [(&str, f64); 4] = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];

impl FromStr for Shape {
    type Err = ShapeError;

    /// `local`, `lan`, `wan`, or `rtt=40ms,bw=100mbit`; either part may be left out.
    fn from_str(text: &str) -> Result<Self, ShapeError> {
        match text {
            "local" => return Ok(Self::local()),
            "lan" => return Ok(Self::lan()),
            "wan" => return Ok(Self::wan()),
            _ => {}
        }
        let error = |wrong: &str, expected| ShapeError { text: text.into(), wrong: wrong.into(), expected };
        let mut shape = Self::local();
        let (mut seen_rtt, mut seen_bw) = (false, false);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("rtt", value)) if !seen_rtt => {
                    let nanos = quantity(value, &TIMES).filter(|&nanos| nanos <= 3600e9);
                    shape.one_way = Duration::from_nanos(nanos.ok_or_else(|| error(part, RTT))? as u64 / 2);
                    seen_rtt = true;
                }
                Some(("bw", "unlimited")) if !seen_bw => seen_bw = true,
                Some(("bw", value)) if !seen_bw => {
                    let rate = quantity(value, &RATES).filter(|rate| (1.0..=1e15).contains(rate));
                    shape.bits_per_second = Some(rate.ok_or_else(|| error(part, BW))? as u64);
                    seen_bw = true;
                }
                _ => return Err(error(part, FORM)),
            }
        }
        Ok(shape)
    }
}

/// A non-negative number with a unit, in the smallest unit.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) =
        units.iter().find_map(|&(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    // Rust also reads "inf", "nan" and "1e5" as numbers.
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    Some((number.parse::<f64>().ok()? * factor).round())
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shape) in [("local", Self::local()), ("lan", Self::lan()), ("wan", Self::wan())] {
            if *self == shape {
                return f.write_str(name);
            }
        }
        let micros = self.one_way.as_nanos() as f64 * 2.0 / 1e3;
        if micros >= 1e3 {
            write!(f, "rtt={}ms", micros / 1e3)?
        } else {
            write!(f, "rtt={micros}us")?
        }
        match self.bits_per_second {
            Some(rate) => {
                let (unit, factor) =
                    RATES.iter().find(|(_, factor)| rate as f64 >= *factor).copied().unwrap_or(RATES[3]);
                write!(f, ",bw={}{unit}", rate as f64 / factor)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_shapes_are_what_they_say() {
        assert_eq!("lan".parse(), Ok(Shape::lan()));
        assert_eq!("rtt=0.5ms,bw=1gbit".parse(), Ok(Shape::lan()));
        assert_eq!("wan".parse(), Ok(Shape::wan()));
        assert_eq!("bw=100mbit,rtt=40ms".parse(), Ok(Shape::wan()));
        assert_eq!("local".parse(), Ok(Shape::local()));
        assert_eq!("rtt=0ms,bw=unlimited".parse(), Ok(Shape::local()));
        assert_eq!(Shape::wan().line_time(2_000_000), Duration::from_millis(160));
    }

    #[test]
    fn shapes_are_read_back_as_shown() {
        for text in ["local", "lan", "wan", "rtt=250us", "rtt=80ms,bw=2.5gbit", "rtt=0us,bw=9600bit"] {
            let shape: Shape = text.parse().unwrap();
            assert_eq!(shape.to_string().parse(), Ok(shape), "{text}");
        }
        assert_eq!("rtt=80ms,bw=500kbit".parse::<Shape>().unwrap().to_string(), "rtt=80ms,bw=500kbit");
    }

    #[test]
    fn wrong_shapes_are_explained() {
        for (text, wrong) in [
            ("mars", "mars"),
            ("", ""),
            ("rtt=40", "rtt=40"),
            ("rtt=-1ms", "rtt=-1ms"),
            ("rtt=infs", "rtt=infs"),
            ("rtt=40ms,bw=0bit", "bw=0bit"),
            ("rtt=40ms,rtt=50ms", "rtt=50ms"),
            ("rtt=40ms, bw=1gbit", " bw=1gbit"),
        ] {
            let error = text.parse::<Shape>().unwrap_err();
            assert_eq!(error.wrong, wrong);
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
