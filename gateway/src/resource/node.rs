//! A document as a tree that knows where each value stands.
//!
//! YAML (and so JSON) becomes `Node`s here, within a budget against bombs; what
//! keys and values mean is `raw`'s and `check`'s. Used by `load`, `read` and
//! `cli`, which reads the files of others.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Spanned};

use crate::resource::problem::Problem;

/// Largest text. Ten thousand endpoints need about 10 MB.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting; the resources themselves need 8, a plugin's settings some
/// more, and an unoptimised build takes 60 KB of stack a level.
const DEPTH_MAX: usize = 24;
/// Most values in one text: some five thousand endpoints. 16 MB of `[,,,]`
/// would otherwise take seconds.
const NODES_MAX: usize = 250_000;
/// Most values that aliases may repeat; a bomb needs millions, people a few.
const REPLAYED_MAX: usize = 20_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its number in the document; 0 is the root.
    pub id: u32,
    /// Line and column, from 1.
    pub place: (u64, u64),
    /// What it is.
    pub value: Value,
}

/// What stands at a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Whole(u64),
    /// A negative whole number.
    Negative(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text.
    Map(Vec<(Key, Node)>),
    /// What was wrong and has been told; treated as if it were not there.
    Told,
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Line and column, from 1.
    pub place: (u64, u64),
}

impl Node {
    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Its text, where it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As it is named in a message: short values themselves, long ones by kind.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Whole(value) => value.to_string(),
            Value::Negative(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => shown_text(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Told => "what was told".to_owned(),
        }
    }

    /// The same as JSON; what has been told is left out.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null | Value::Told => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Whole(value) => Json::from(*value),
            Value::Negative(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Map(entries) => entries
                .iter()
                .filter(|(_, node)| node.value != Value::Told)
                .map(|(key, node)| (key.text.clone(), node.json()))
                .collect(),
        }
    }

    pub(super) fn number(&mut self, next: &mut u32) {
        self.id = *next;
        *next += 1;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.number(next)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, item)| item.number(next)),
            _ => {}
        }
    }
}

/// A text in quotes, cut where it is long.
pub fn shown_text(text: &str) -> String {
    if text.chars().count() <= 80 {
        format!("{text:?}")
    } else {
        format!("{:?}…", text.chars().take(80).collect::<String>())
    }
}

/// The documents of a text; empty ones are left out.
///
/// # Errors
///
/// The first place where the text is not YAML, or past the budget.
pub fn documents(file: &str, text: &str) -> Result<Vec<Node>, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!(
            "the text has {} bytes; at most {TEXT_BYTES_MAX}, so split it into several files",
            text.len()
        );
        return Err(Problem::of_file(file, message));
    }
    let parsed: Result<Vec<Spanned<Parsed>>, _> =
        serde_saphyr::from_multiple_with_options(text, options());
    let parsed = parsed.map_err(|error| not_yaml(file, &error))?;
    let mut documents: Vec<Node> = parsed.into_iter().map(node).collect();
    documents.retain(|document| document.value != Value::Null);
    for document in &mut documents {
        document.number(&mut 0);
    }
    Ok(documents)
}

/// A document that is JSON already, within the same budget. Its values have no
/// place.
///
/// # Errors
///
/// Where it is past the budget.
pub(super) fn of_json(value: &serde_json::Value) -> Result<Node, Problem> {
    let mut room = NODES_MAX;
    let mut document = json_node(value, 0, &mut room)?;
    document.number(&mut 0);
    Ok(document)
}

fn json_node(value: &serde_json::Value, depth: usize, room: &mut usize) -> Result<Node, Problem> {
    use serde_json::Value as Json;
    if depth > DEPTH_MAX {
        let message = format!("values are nested deeper than {DEPTH_MAX}");
        return Err(Problem::of_file("", message));
    }
    *room = room.checked_sub(1).ok_or_else(|| {
        Problem::of_file("", format!("more than {NODES_MAX} values in one resource"))
    })?;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => Value::Whole(whole),
            (_, Some(negative)) => Value::Negative(negative),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(
            items
                .iter()
                .map(|item| json_node(item, depth + 1, room))
                .collect::<Result<_, _>>()?,
        ),
        Json::Object(entries) => {
            let mut map = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = Key {
                    text: key.clone(),
                    place: (0, 0),
                };
                map.push((key, json_node(value, depth + 1, room)?));
            }
            Value::Map(map)
        }
    };
    Ok(Node {
        id: 0,
        place: (0, 0),
        value,
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_total_scalar_bytes: TEXT_BYTES_MAX,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: REPLAYED_MAX,
            max_recorded_anchor_bytes: 1 << 20,
            max_documents: 20_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_MAX,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        // Told by whoever reads it, together with all else that is wrong.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn not_yaml(file: &str, error: &serde_saphyr::Error) -> Problem {
    let formatter = serde_saphyr::UserMessageFormatter;
    let whole = serde_saphyr::MessageFormatter::format_message(&formatter, error.without_snippet());
    let mut problem = Problem::of_file(file, whole.replace('\n', " ").trim_end_matches('.'));
    if let Some(location) = error.location() {
        (problem.line, problem.column) = place(&location);
    }
    problem
}

fn place(location: &Location) -> (u64, u64) {
    (location.line(), location.column())
}

/// A value as the parser hands it over.
enum Parsed {
    Scalar(Value),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<ParsedKey>, Spanned<Parsed>)>),
}

struct ParsedKey(String);

fn node(parsed: Spanned<Parsed>) -> Node {
    let value = match parsed.value {
        Parsed::Scalar(value) => value,
        Parsed::List(items) => Value::List(items.into_iter().map(node).collect()),
        Parsed::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let place = place(&key.referenced);
                    let text = key.value.0;
                    (Key { text, place }, node(value))
                })
                .collect(),
        ),
    };
    Node {
        id: 0,
        place: place(&parsed.referenced),
        value,
    }
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Whole(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        let value = u64::try_from(value).map_or(Value::Negative(value), Value::Whole);
        Ok(Parsed::Scalar(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parsed, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Parsed::Map(map))
    }
}

impl<'de> Deserialize<'de> for ParsedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
