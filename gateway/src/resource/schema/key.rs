//! The keys of the resources one by one: what each may say and means.
//!
//! Read off the schema, so that it says nothing the schema does not. Used by
//! `explain` and by the test that keeps docs/ current.

use serde_json::{Map, Value};

use crate::resource::load::KINDS;
use crate::resource::schema::{Draft, bare};

/// A key of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `GatewayConfig`, `Plugin` or `Endpoint`.
    pub kind: &'static str,
    /// From the root, as in `spec.versions[].name`. Empty for the resource as a whole.
    pub path: String,
    /// Its type in words: `text`, `duration`, `map`, `list of text`.
    pub type_words: String,
    /// The words it may be, each with its meaning; empty where it is free.
    pub words: Vec<(String, String)>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether only the gateway writes it.
    pub read_only: bool,
    /// What it means that is left out, as YAML or in words.
    pub default: Option<String>,
    /// The default as a value, where it is one.
    pub default_value: Option<Value>,
    /// Least and most, of a number, a quantity or the length of a list.
    pub limits: (Option<String>, Option<String>),
    /// Until a later version it may only have this default.
    pub later: Option<Value>,
    /// What it means; paragraphs with an empty line between.
    pub doc: String,
}

impl Key {
    /// The last step of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        let plain = self.path.trim_end_matches("[]");
        plain.rsplit('.').next().unwrap_or(plain)
    }

    /// Whether it stands right below `parent`.
    #[must_use]
    pub fn is_child_of(&self, parent: &Self) -> bool {
        let inside = if parent.path.is_empty() {
            Some(self.path.as_str())
        } else {
            let below = self.path.strip_prefix(parent.path.as_str());
            below.and_then(|rest| rest.strip_prefix('.'))
        };
        let direct = |rest: &str| !rest.is_empty() && !rest.contains('.');
        self.kind == parent.kind && inside.is_some_and(direct)
    }

    /// Least and most in words.
    #[must_use]
    pub fn limit_words(&self) -> Option<String> {
        match &self.limits {
            (Some(least), Some(most)) => Some(format!("{least} to {most}")),
            (Some(least), None) => Some(format!("at least {least}")),
            (None, Some(most)) => Some(format!("at most {most}")),
            (None, None) => None,
        }
    }
}

/// Every key of every kind, each after what it stands in.
#[must_use]
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for kind in KINDS {
        let schema = bare(kind, Draft::TwentyTwenty).unwrap_or_default();
        collect(kind, String::new(), &schema, true, &mut keys);
    }
    keys
}

fn collect(kind: &'static str, path: String, schema: &Value, required: bool, keys: &mut Vec<Key>) {
    let Some(object) = schema.as_object() else {
        return;
    };
    let list = holds(object, "array");
    let path = if list { format!("{path}[]") } else { path };
    keys.push(read(kind, path.clone(), object, required));
    if object.contains_key("x-later") {
        return;
    }
    let below = if list {
        object.get("items")
    } else {
        Some(schema)
    };
    let Some(below) = below.and_then(Value::as_object) else {
        return;
    };
    let must: Vec<&str> = match below.get("required") {
        Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let Some(Value::Object(properties)) = below.get("properties") else {
        return;
    };
    for (name, property) in properties {
        let inner = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(kind, inner, property, must.contains(&name.as_str()), keys);
    }
}

fn read(kind: &'static str, path: String, object: &Map<String, Value>, required: bool) -> Key {
    let text = |word: &str| object.get(word).and_then(Value::as_str).map(str::to_owned);
    let default_value = object.get("default").cloned();
    let later = object.get("x-later").cloned();
    let default = default_value.as_ref().or(later.as_ref()).map(flow);
    let doc = text("description").unwrap_or_default();
    let each = object
        .get("items")
        .and_then(|items| items.get("description"));
    Key {
        kind,
        path,
        type_words: type_words(object),
        words: words(object),
        required,
        read_only: object.get("readOnly") == Some(&Value::Bool(true)),
        default: text("x-default").or(default),
        limits: limits(object),
        default_value,
        later,
        doc: match each.and_then(Value::as_str) {
            Some(each) => format!("{doc}\n\nEach: {each}"),
            None => doc,
        },
    }
}

/// A value as YAML on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(keys) if keys.is_empty() => "{}".to_owned(),
        Value::Object(keys) => {
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{key}: {}", flow(value)))
                .collect();
            format!("{{ {} }}", keys.join(", "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn holds(object: &Map<String, Value>, wanted: &str) -> bool {
    match object.get("type") {
        Some(Value::String(word)) => word == wanted,
        Some(Value::Array(words)) => words.iter().any(|word| word == wanted),
        _ => false,
    }
}

fn type_words(object: &Map<String, Value>) -> String {
    if let Some(unit) = object.get("x-unit").and_then(Value::as_str) {
        return unit.to_owned();
    }
    if object.contains_key("x-later") {
        return "later".to_owned();
    }
    let word = ["oneOf", "enum", "const"]
        .iter()
        .any(|key| object.contains_key(*key));
    if word {
        return "word".to_owned();
    }
    let plain = [
        ("string", "text"),
        ("boolean", "true or false"),
        ("integer", "whole number"),
    ];
    if let Some((_, words)) = plain.iter().find(|(name, _)| holds(object, name)) {
        return (*words).to_owned();
    }
    let of = |word: &str| {
        let inner = object.get(word).and_then(Value::as_object);
        let inner = inner.map_or_else(String::new, type_words);
        if inner == "map" {
            "maps".to_owned()
        } else {
            inner
        }
    };
    let free = object
        .get("additionalProperties")
        .is_some_and(Value::is_object);
    if holds(object, "array") {
        format!("list of {}", of("items"))
    } else if holds(object, "object") && free {
        format!("map of {}", of("additionalProperties"))
    } else if holds(object, "object") {
        "map".to_owned()
    } else {
        "anything".to_owned()
    }
}

fn words(object: &Map<String, Value>) -> Vec<(String, String)> {
    if object.contains_key("x-later") {
        return Vec::new();
    }
    if let Some(Value::Array(words)) = object.get("enum") {
        let words = words.iter().filter_map(Value::as_str);
        return words.map(|word| (word.to_owned(), String::new())).collect();
    }
    let Some(Value::Array(choices)) = object.get("oneOf") else {
        return Vec::new();
    };
    let text =
        |choice: &Value, key: &str| choice.get(key).and_then(Value::as_str).map(str::to_owned);
    let word = |choice: &Value| {
        let meaning = text(choice, "description").unwrap_or_default();
        Some((text(choice, "const")?, meaning))
    };
    choices.iter().filter_map(word).collect()
}

fn limits(object: &Map<String, Value>) -> (Option<String>, Option<String>) {
    if object.contains_key("x-later") {
        return (None, None);
    }
    let said = |keys: [&str; 3]| {
        let found = keys.iter().find_map(|key| object.get(*key));
        found.map(flow)
    };
    let least = said(["x-minimum", "minimum", "minItems"]);
    let most = said(["x-maximum", "maximum", "maxItems"]);
    // Every number and quantity is at least 0.
    let plain = least.as_deref() == Some("0") && most.is_none();
    (least.filter(|_| !plain), most)
}

/// `Default: 500ms.`, where there is one.
pub(super) fn default_sentence(object: &Map<String, Value>) -> Option<String> {
    let key = read("", String::new(), object, false);
    let default = key.default.filter(|_| key.later.is_none())?;
    Some(format!("Default: {default}."))
}

/// `Limits: 0s to 1d.`, where there are any.
pub(super) fn limit_sentence(object: &Map<String, Value>) -> Option<String> {
    let key = read("", String::new(), object, false);
    Some(format!("Limits: {}.", key.limit_words()?))
}
