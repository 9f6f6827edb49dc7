//! Quantities as people write them: durations, sizes, percentages, and the
//! CPU and memory of Kubernetes.
//!
//! Never rounds silently. Used by `resource` and the command line.

use std::fmt;
use std::time::Duration;

mod text;

/// Longest duration, a hundred years: timers add it to a clock, and far larger
/// ones overflow there.
const DURATION_MAX_MS: u64 = 36_500 * 86_400_000;

/// Units of a duration, largest first, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a size, largest first, in bytes.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
];

/// Why a text is not the quantity it should be. The message shows the value and
/// what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not of the shape.
    #[error("{text:?} is not {expected}")]
    Shape {
        /// The text.
        text: String,
        /// What it should be, with an example.
        expected: &'static str,
    },
    /// A number without its unit.
    #[error("{text:?} has no unit; write {text}s or {text}ms")]
    NoUnit {
        /// The text.
        text: String,
    },
    /// More than fits.
    #[error("{text:?} is too much; at most {limit}")]
    TooMuch {
        /// The text.
        text: String,
        /// The limit.
        limit: &'static str,
    },
    /// More exact than can be kept.
    #[error("{text:?} is more exact than {step}")]
    TooExact {
        /// The text.
        text: String,
        /// The smallest step.
        step: &'static str,
    },
}

fn shape(text: &str, expected: &'static str) -> UnitError {
    UnitError::Shape {
        text: text.chars().take(64).collect(),
        expected,
    }
}

/// A whole number of decimal digits, without sign; none past `u64`.
fn whole(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if all { digits.parse().ok() } else { None }
}

/// Digits in front and the rest behind.
fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A duration of whole milliseconds, as in `500ms`, `60s`, `5m`, `12h`, `180d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Interval {
    ms: u64,
}

impl Interval {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// [`UnitError`] for a sign, a fraction, no or another unit, or more than a
    /// hundred years.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str = "a duration: a whole number and ms, s, m, h or d, as in 500ms";
        let (digits, unit) = split_digits(text);
        if digits.is_empty() {
            return Err(shape(text, EXPECTED));
        }
        if unit.is_empty() {
            return Err(UnitError::NoUnit {
                text: digits.chars().take(20).collect(),
            });
        }
        let Some((_, ms)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(shape(text, EXPECTED));
        };
        let total = whole(digits).and_then(|n| n.checked_mul(*ms));
        match total {
            Some(ms) if ms <= DURATION_MAX_MS => Ok(Self { ms }),
            _ => Err(UnitError::TooMuch {
                text: text.chars().take(64).collect(),
                limit: "36500d",
            }),
        }
    }

    /// Of whole milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self { ms }
    }

    /// The exact same as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ms) in DURATION_UNITS {
            if self.ms.is_multiple_of(ms) && self.ms >= ms {
                return write!(f, "{}{name}", self.ms / ms);
            }
        }
        f.write_str("0s")
    }
}

/// A number of bytes, as in `512`, `64Ki`, `100Mi`, `2Gi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

impl Size {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// [`UnitError`] for a sign, a fraction, another unit or more than fits.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str =
            "a size: a whole number of bytes, or one with Ki, Mi, Gi or Ti, as in 64Ki";
        let (digits, unit) = split_digits(text);
        if digits.is_empty() {
            return Err(shape(text, EXPECTED));
        }
        let factor = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => return Err(shape(text, EXPECTED)),
        };
        whole(digits)
            .and_then(|n| n.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| UnitError::TooMuch {
                text: text.chars().take(64).collect(),
                limit: "16777215Ti",
            })
    }

    /// Of bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, bytes) in SIZE_UNITS {
            if self.0.is_multiple_of(bytes) && self.0 >= bytes {
                return write!(f, "{}{name}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// CPU as Kubernetes writes it: `100m`, `0.5`, `2`. Thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpu {
    millis: u64,
}

impl Cpu {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// [`UnitError`] for what is no quantity, or is not whole thousandths.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let millis = quantity(text, 3, "a thousandth of a core (1m)")?;
        Ok(Self { millis })
    }

    /// Thousandths of a core.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.millis
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1000) {
            write!(f, "{}", self.millis / 1000)
        } else {
            write!(f, "{}m", self.millis)
        }
    }
}

/// Memory as Kubernetes writes it: `500M`, `1Gi`, `1.5Gi`, `128974848`. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Memory(u64);

impl Memory {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// [`UnitError`] for what is no quantity, or is not whole bytes (`500m` is
    /// half a byte).
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        quantity(text, 0, "a byte (for millions of bytes write M)").map(Self)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, bytes) in SIZE_UNITS {
            if self.0.is_multiple_of(bytes) && self.0 >= bytes {
                return write!(f, "{}{name}", self.0 / bytes);
            }
        }
        for (name, bytes) in [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)] {
            if self.0.is_multiple_of(bytes) && self.0 >= bytes {
                return write!(f, "{}{name}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A Kubernetes quantity times 10^`scale`, which must be whole.
fn quantity(text: &str, scale: u32, step: &'static str) -> Result<u64, UnitError> {
    const EXPECTED: &str = "a quantity, as in 100m, 0.5, 2, 500M or 1Gi";
    let (front, rest) = split_digits(text);
    let (fraction, unit) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if front.is_empty() || front.len() + fraction.len() > 24 {
        return Err(shape(text, EXPECTED));
    }
    let (ten, two) = suffix(unit).ok_or_else(|| shape(text, EXPECTED))?;
    let digits: u128 = format!("{front}{fraction}")
        .parse()
        .map_err(|_| shape(text, EXPECTED))?;
    let ten = ten + i32::try_from(scale).unwrap_or(0) - i32::try_from(fraction.len()).unwrap_or(0);
    let too_much = || UnitError::TooMuch {
        text: text.to_owned(),
        limit: "8Ei",
    };
    let value = digits.checked_mul(1 << two).ok_or_else(too_much)?;
    let power = 10_u128
        .checked_pow(ten.unsigned_abs())
        .ok_or_else(too_much)?;
    let value = if ten >= 0 {
        value.checked_mul(power).ok_or_else(too_much)?
    } else if value.is_multiple_of(power) {
        value / power
    } else {
        return Err(UnitError::TooExact {
            text: text.to_owned(),
            step,
        });
    };
    u64::try_from(value)
        .ok()
        .filter(|v| *v <= 1 << 63)
        .ok_or_else(too_much)
}

/// Powers of ten and of two that a suffix means.
fn suffix(unit: &str) -> Option<(i32, u32)> {
    let decimal = |power| Some((power, 0));
    match unit {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some((0, 10)),
        "Mi" => Some((0, 20)),
        "Gi" => Some((0, 30)),
        "Ti" => Some((0, 40)),
        "Pi" => Some((0, 50)),
        "Ei" => Some((0, 60)),
        _ => None,
    }
}

/// A percentage in hundredths of a percent, 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

impl Percent {
    /// 100 %.
    pub const ALL: Self = Self(10_000);
    /// 0 %.
    pub const ZERO: Self = Self(0);

    /// From hundredths of a percent; none above 10,000.
    #[must_use]
    pub const fn from_hundredths(hundredths: u32) -> Option<Self> {
        if hundredths <= 10_000 {
            Some(Self(hundredths))
        } else {
            None
        }
    }

    /// From whole percents; none above 100.
    #[must_use]
    pub const fn from_percent(percent: u32) -> Option<Self> {
        if percent <= 100 {
            Some(Self(percent * 100))
        } else {
            None
        }
    }

    /// Reads a decimal number of percents, `33.33`, without a sign for `%`.
    ///
    /// # Errors
    ///
    /// [`UnitError`] outside 0 to 100, or with more than two decimals.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str = "a percentage: 0 to 100, with at most two decimals";
        let (front, rest) = split_digits(text);
        let fraction = match rest.strip_prefix('.') {
            Some(fraction) if !fraction.is_empty() => fraction,
            None if rest.is_empty() => "0",
            _ => return Err(shape(text, EXPECTED)),
        };
        if front.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(shape(text, EXPECTED));
        }
        let kept = fraction.trim_end_matches('0');
        if kept.len() > 2 {
            return Err(UnitError::TooExact {
                text: text.chars().take(64).collect(),
                step: "0.01 percent",
            });
        }
        whole(front)
            .zip(whole(&format!("{kept:0<2}")))
            .and_then(|(front, rest)| {
                u32::try_from(front.checked_mul(100)?.checked_add(rest)?).ok()
            })
            .and_then(Self::from_hundredths)
            .ok_or_else(|| shape(text, EXPECTED))
    }

    /// Hundredths of a percent.
    #[must_use]
    pub const fn hundredths(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}"),
            _ if rest.is_multiple_of(10) => write!(f, "{whole}.{}", rest / 10),
            _ => write!(f, "{whole}.{rest:02}"),
        }
    }
}

#[cfg(test)]
mod tests;
