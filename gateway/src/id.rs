//! Identifiers that are made or checked by the gateway: request ids, content
//! digests, and the wall clock they are stamped with.
//!
//! Never talks to anything. Used by every layer.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;

use crate::name::Name;

/// Longest request id a caller may bring (SEMANTICS §2; the original's limit).
pub const REQUEST_ID_CHARS_MAX: usize = 100;

/// The wall clock. Timers never use it: it may jump.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970, of [`wall_clock`].
#[must_use]
pub fn wall_ms() -> u64 {
    let since = wall_clock()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time in milliseconds since 1970 as RFC 3339 writes it, in UTC with
/// milliseconds: `2026-11-23T14:12:16.789Z`. Right to the year 9999. About 10 ns.
#[must_use]
pub fn rfc3339(wall_ms: u64) -> [u8; 24] {
    let (year, month, day) = date(wall_ms / 86_400_000);
    let (seconds, millis) = (wall_ms / 1000 % 86_400, wall_ms % 1000);
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
    let two = |number: u64| [digit(number / 10), digit(number)];
    let ([y1, y2], [y3, y4]) = (two(year / 100), two(year));
    let ([m1, m2], [d1, d2]) = (two(month), two(day));
    let ([h1, h2], [n1, n2]) = (two(seconds / 3600), two(seconds / 60 % 60));
    let ([s1, s2], [f1, f2]) = (two(seconds % 60), two(millis / 10));
    let f3 = digit(millis);
    [
        y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.',
        f1, f2, f3, b'Z',
    ]
}

/// The date of a day counted from 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// A new request id: a random UUID in its usual form.
#[must_use]
pub fn new_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The SHA-256 of some content, shown as `sha256:` and 64 hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// A text that is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: `sha256:` and 64 lower-case hex digits")]
pub struct DigestError(String);

impl Digest {
    /// The digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, content);
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash.as_ref() {
            text.push(char::from(hex(byte >> 4)));
            text.push(char::from(hex(byte & 15)));
        }
        Self(text.into())
    }

    /// Checks a text.
    ///
    /// # Errors
    ///
    /// [`DigestError`] where it is not `sha256:` and 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let hex_ok = text.strip_prefix("sha256:").is_some_and(|rest| {
            rest.len() == 64
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if hex_ok {
            Ok(Self(text.into()))
        } else {
            Err(DigestError(text.chars().take(80).collect()))
        }
    }

    /// The text, with its `sha256:`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hex digits alone, for file names.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

/// One replica: the version's name and a number, as in `blue-1`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(Arc<str>);

impl ReplicaId {
    /// The replica `number` of `version`.
    #[must_use]
    pub fn new(version: &Name, number: u64) -> Self {
        Self(format!("{version}-{number}").into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        #[track_caller]
        fn check(wall_ms: u64, expected: &str) {
            assert_eq!(std::str::from_utf8(&rfc3339(wall_ms)), Ok(expected));
        }
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_795_443_136_789, "2026-11-23T14:12:16.789Z");
        check(4_107_542_399_999, "2100-02-28T23:59:59.999Z");
    }

    #[test]
    fn a_digest_is_the_sha256_of_its_content() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Digest::parse(digest.as_str()), Ok(digest));
        assert!(Digest::parse("sha256:xyz").is_err());
    }
}
