//! Who callers are, and the keys of endpoints.
//!
//! Compares keys in constant time and never does I/O: `reconcile` reads and
//! writes the file they are kept in. A plugin never sees a key, only the name
//! of the one that matched (SEMANTICS §8). Used by `policy` and `reconcile`.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Who sent a request, as the auth policies proved it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Caller {
    /// The key's name or the token's subject.
    pub subject: String,
    /// Where a policy names one.
    pub tenant: String,
    /// What the caller may do, in the policy's words.
    pub scopes: Vec<String>,
    /// More, in the policy's words.
    pub attributes: Vec<(String, String)>,
}

/// Which key of an endpoint was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMatch {
    /// `primary` or `secondary`.
    pub name: &'static str,
    /// Scopes of the key; none for the two keys of an endpoint.
    pub scopes: Vec<String>,
    /// When the key ends, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// Bytes of a generated key: 256 bits (SEMANTICS §8).
const KEY_BYTES: usize = 32;

/// Longest key that is compared; a longer one is told no at the same cost.
pub const PRESENTED_BYTES_MAX: usize = 8 << 10;

/// One key, wiped when dropped and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Key(Zeroizing<String>);

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Key {
    /// A new random key: 64 hex digits, so that it needs no quoting anywhere.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(bytes.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES * 2));
        for byte in bytes.iter() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Ok(Self(text))
    }

    /// The key itself, for an administrator.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system has no randomness.
    #[error("the system gave no random bytes for a key")]
    NoRandomness,
}

/// The two keys of an endpoint, as they are kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyPair {
    /// The first.
    pub primary_key: Key,
    /// The second; either is accepted.
    pub secondary_key: Key,
}

impl KeyPair {
    /// Two new keys.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self {
            primary_key: Key::generate()?,
            secondary_key: Key::generate()?,
        })
    }
}

/// What an endpoint's keys are compared by: their hashes.
///
/// The presented key is hashed once and compared with each in constant time,
/// so that neither a prefix nor a length shows.
#[derive(Clone, Default)]
pub struct KeySet {
    hashes: Vec<(&'static str, [u8; 32])>,
}

impl KeySet {
    /// The set of a pair.
    #[must_use]
    pub fn of(pair: &KeyPair) -> Self {
        Self {
            hashes: vec![
                ("primary", sha256(pair.primary_key.reveal().as_bytes())),
                ("secondary", sha256(pair.secondary_key.reveal().as_bytes())),
            ],
        }
    }

    /// Which of the keys this is. About 1 µs; every key is compared.
    #[must_use]
    pub fn match_key(&self, presented: &[u8]) -> Option<KeyMatch> {
        let cut = presented.get(..PRESENTED_BYTES_MAX).unwrap_or(presented);
        let hash = sha256(cut);
        let mut found = None;
        for (name, known) in &self.hashes {
            if verify_slices_are_equal(known, &hash).is_ok() {
                found = Some(*name);
            }
        }
        let name = found?;
        Some(KeyMatch {
            name,
            scopes: Vec::new(),
            expires_ms: None,
        })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("keys", &self.hashes.len())
            .finish()
    }
}

/// The SHA-256 of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, data).as_ref());
    out
}

/// Whether two byte strings are the same, in time that depends on their lengths only.
#[must_use]
pub fn constant_time_equal(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_key_matches_by_its_name_and_nothing_else_does() {
        let pair = KeyPair::generate().unwrap();
        let set = KeySet::of(&pair);
        let name = |key: &str| set.match_key(key.as_bytes()).map(|found| found.name);
        assert_eq!(name(pair.primary_key.reveal()), Some("primary"));
        assert_eq!(name(pair.secondary_key.reveal()), Some("secondary"));
        assert_eq!(name(""), None);
        assert_eq!(name("'"), None);
        assert_eq!(name(&pair.primary_key.reveal()[1..]), None);
        assert_eq!(name(&"x".repeat(PRESENTED_BYTES_MAX * 2)), None);
    }

    #[test]
    fn a_key_has_256_bits_and_is_never_shown_by_debug() {
        let pair = KeyPair::generate().unwrap();
        assert_eq!(pair.primary_key.reveal().len(), 64);
        assert_ne!(pair.primary_key.reveal(), pair.secondary_key.reveal());
        assert!(!format!("{pair:?}").contains(pair.primary_key.reveal()));
    }

    #[test]
    fn no_keys_match_nothing() {
        assert_eq!(KeySet::default().match_key(b"x"), None);
    }
}
