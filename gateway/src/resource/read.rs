//! From a tree of nodes to a raw type, with every wrong key and type told.
//!
//! serde stops at the first error; here the wrong node is told, marked and left
//! out, and the reading starts again, until nothing is wrong. Knows no resource.
//! Used by `check`.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::resource::node::{Key, Node, Value, shown_text};
use crate::resource::problem::PROBLEMS_MAX;
use crate::resource::suggest::suggestion;

/// What is wrong at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The node; none until the innermost reader has named it.
    node: Option<u32>,
    /// Whether the key is wrong, not its value.
    pub(super) at_key: bool,
    /// The message.
    pub(super) message: String,
    /// What was probably meant.
    pub(super) hint: Option<String>,
}

/// Reads `root` as a `T`, leaving out what is wrong. Each wrong node is marked
/// in `root` and handed to `tell` first, with the way to it.
///
/// None where `root` as a whole is wrong.
pub(super) fn read<T: for<'de> Deserialize<'de>>(
    root: &mut Node,
    mut tell: impl FnMut(&Node, u32, Wrong),
) -> Option<T> {
    for _ in 0..PROBLEMS_MAX {
        let wrong = match T::deserialize(Reader(root)) {
            Ok(read) => return Some(read),
            Err(wrong) => wrong,
        };
        let id = wrong.node.unwrap_or(0);
        tell(root, id, wrong);
        if id == 0 {
            return None;
        }
        mark(root, id);
    }
    None
}

fn mark(node: &mut Node, id: u32) -> bool {
    if node.id == id {
        node.value = Value::Told;
        return true;
    }
    match &mut node.value {
        Value::List(items) => items.iter_mut().any(|item| mark(item, id)),
        Value::Map(entries) => entries.iter_mut().any(|(_, item)| mark(item, id)),
        _ => false,
    }
}

impl Wrong {
    fn at(mut self, node: &Node) -> Self {
        self.node.get_or_insert(node.id);
        self
    }

    fn said(message: String) -> Self {
        Self {
            node: None,
            at_key: false,
            message,
            hint: None,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::said(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let mut wrong = Self::said(format!("{} is not {}", shown(&found), wanted(&expected)));
        if expected == "a string" {
            wrong.hint = match found {
                Unexpected::Bool(_)
                | Unexpected::Unsigned(_)
                | Unexpected::Signed(_)
                | Unexpected::Float(_) => Some(format!("put it in quotes: \"{}\"", shown(&found))),
                _ => None,
            };
        }
        wrong
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let mut wrong = Self::said(format!(
            "{} is not one of {}",
            shown_text(word),
            known.join(", ")
        ));
        wrong.hint = suggestion(word, known);
        wrong
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        let mut wrong = Self::said(if known.is_empty() {
            "no such key; none is known here".to_owned()
        } else {
            "no such key".to_owned()
        });
        wrong.at_key = true;
        wrong.hint = suggestion(key, known)
            .or_else(|| (!known.is_empty()).then(|| format!("known here: {}", known.join(", "))));
        wrong
    }
}

fn shown(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => shown_text(text),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// serde's word for a type in ours.
fn wanted(expected: &str) -> String {
    let whole = |most: &str| format!("a whole number from 0 to {most}");
    match expected {
        "a string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "u16" => whole("65535"),
        "u32" => whole("4294967295"),
        "u64" | "usize" => "a whole number from 0 up".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        other => other.to_owned(),
    }
}

/// A node that is being read.
#[derive(Clone, Copy)]
struct Reader<'n>(&'n Node);

impl Reader<'_> {
    fn not(self, expected: &'static str) -> Wrong {
        Wrong::said(format!("{} is not {expected}", self.0.shown())).at(self.0)
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.0.value {
            Value::Null | Value::Told => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Whole(value) => visitor.visit_u64(*value),
            Value::Negative(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
            }),
        }
        .map_err(|wrong| wrong.at(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.0.value {
            Value::Null | Value::Told => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|wrong| wrong.at(self.0))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.0.value {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => Err(self.not("a map")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor
            .visit_newtype_struct(self)
            .map_err(|wrong| wrong.at(self.0))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let Some(text) = self.0.text() else {
            let message = format!("{} is not one of {}", self.0.shown(), variants.join(", "));
            return Err(Wrong::custom(message).at(self.0));
        };
        let word: StrDeserializer<'_, Wrong> = text.into_deserializer();
        visitor.visit_enum(word).map_err(|wrong| wrong.at(self.0))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'n>(std::slice::Iter<'n, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        match self.0.find(|item| item.value != Value::Told) {
            Some(item) => seed.deserialize(Reader(item)).map(Some),
            None => Ok(None),
        }
    }
}

struct Entries<'n> {
    entries: std::slice::Iter<'n, (Key, Node)>,
    value: Option<&'n Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Some((key, value)) = self.entries.find(|(_, item)| item.value != Value::Told) else {
            return Ok(None);
        };
        self.value = Some(value);
        let text: StrDeserializer<'_, Wrong> = key.text.as_str().into_deserializer();
        seed.deserialize(text)
            .map(Some)
            .map_err(|wrong| wrong.at(value))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        match self.value.take() {
            Some(value) => seed.deserialize(Reader(value)),
            None => Err(Wrong::custom("a value without its key")),
        }
    }
}
