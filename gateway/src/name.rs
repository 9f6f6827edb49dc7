//! Names of endpoints, versions and plugins.
//!
//! Checks the one rule all names share (SEMANTICS §2) and never makes a name up.
//! Used by every layer.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Shortest name, in characters (SEMANTICS §2).
pub const NAME_CHARS_MIN: usize = 3;
/// Longest name, in characters (SEMANTICS §2).
pub const NAME_CHARS_MAX: usize = 32;

/// A name that fits `^[a-z]([-a-z0-9]*[a-z0-9])?$` and 3 to 32 characters.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long.
    #[error("{name:?} has {chars} characters; a name has {NAME_CHARS_MIN} to {NAME_CHARS_MAX}")]
    Length {
        /// The text.
        name: String,
        /// Its length.
        chars: usize,
    },
    /// A character that a name cannot have at that place.
    #[error(
        "{name:?} is not a name: lower-case letters, digits and `-`, a letter first, no `-` last"
    )]
    Shape {
        /// The text.
        name: String,
    },
}

impl Name {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// [`NameError`] with the text and the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let chars = text.chars().count();
        if !(NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&chars) {
            return Err(NameError::Length {
                name: text.chars().take(64).collect(),
                chars,
            });
        }
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let last = text.bytes().next_back().is_some_and(|b| b != b'-');
        let all = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if first && last && all {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Shape {
                name: text.to_owned(),
            })
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A name: 3 to 32 lower-case letters, digits and `-`, a letter first, no `-` last.",
            "type": "string",
            "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$",
            "minLength": NAME_CHARS_MIN,
            "maxLength": NAME_CHARS_MAX,
            "examples": ["iris"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ok: bool) {
        assert_eq!(Name::parse(text).is_ok(), ok, "{text:?}");
    }

    #[test]
    fn names_follow_the_rule_of_the_original() {
        check("iris", true);
        check("a-1", true);
        check("abc", true);
        check(&"a".repeat(32), true);
        check("ab", false);
        check(&"a".repeat(33), false);
        check("1ab", false);
        check("-ab", false);
        check("ab-", false);
        check("aBc", false);
        check("a_b", false);
        check("a.b", false);
        check("", false);
        check("äöü", false);
    }
}
