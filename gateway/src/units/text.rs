//! How quantities stand in files: as text, or as the bare number where that is
//! not ambiguous; and how their JSON schema says so.
//!
//! Never parses by itself. Used by `resource::raw`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::units::{Cpu, Interval, Memory, Percent, Size, UnitError};

/// A quantity that is read from a text or a number.
trait Quantity: Sized {
    /// What stands in a message for a list or a map at its place.
    const WANTED: &'static str;
    fn read(text: &str) -> Result<Self, UnitError>;
}

struct QuantityVisitor<Q>(PhantomData<Q>);

impl<Q: Quantity> Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Q::WANTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Q, E> {
        Q::read(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Q, E> {
        from_number(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Q, E> {
        from_number(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Q, E> {
        // The shortest decimal that is this number, so that 33.33 stays 33.33.
        from_number(&number.to_string())
    }
}

/// Reads a number that stood without quotes, and shows it so.
fn from_number<Q: Quantity, E: Error>(text: &str) -> Result<Q, E> {
    Q::read(text)
        .map_err(|error| E::custom(error.to_string().replacen(&format!("{text:?}"), text, 1)))
}

macro_rules! quantity {
    ($type:ident, $wanted:literal, $schema:tt) => {
        impl Quantity for $type {
            const WANTED: &'static str = $wanted;
            fn read(text: &str) -> Result<Self, UnitError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(QuantityVisitor(PhantomData))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

quantity!(Interval, "a duration, as in 500ms", {
    "type": "string",
    "description": "A duration: a whole number and ms, s, m, h or d.",
    "pattern": "^[0-9]+(ms|s|m|h|d)$",
    "x-unit": "duration"
});
quantity!(Size, "a size, as in 64Ki", {
    "type": ["string", "integer"],
    "description": "A number of bytes, or one with Ki, Mi, Gi or Ti.",
    "pattern": "^[0-9]+([KMGT]i)?$",
    "minimum": 0,
    "x-unit": "size"
});
quantity!(Percent, "a percentage: 0 to 100, with at most two decimals", {
    "type": ["number", "string"],
    "description": "Percent, with at most two decimals.",
    "pattern": "^[0-9]+(\\.[0-9]+)?$",
    "minimum": 0,
    "maximum": 100,
    "x-unit": "percent"
});
quantity!(Cpu, "a quantity, as in 100m or 0.5", {
    "type": ["string", "number"],
    "description": "CPU as a Kubernetes quantity.",
    "pattern": "^[0-9]+(\\.[0-9]*)?([numkMGTPE]|[KMGTPE]i)?$",
    "minimum": 0,
    "x-unit": "cpu"
});
quantity!(Memory, "a quantity, as in 500M or 1Gi", {
    "type": ["string", "number"],
    "description": "Memory as a Kubernetes quantity.",
    "pattern": "^[0-9]+(\\.[0-9]*)?([numkMGTPE]|[KMGTPE]i)?$",
    "minimum": 0,
    "x-unit": "memory"
});
