//! JSON Schema of the resources, for editors, for `explain` and for the docs.
//!
//! Made from the raw types, so that it knows the same keys as the check. It refuses
//! what is wrong by shape: keys, types, words, counts, what is missing. It is never
//! stricter than the check, which also sees how keys fit each other and has the last
//! word. Used by `cli` and by the test that keeps docs/ current.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::resource::load::{API_VERSION, KINDS};
use crate::resource::raw::Resource;
use crate::resource::raw::endpoint::EndpointSpec;
use crate::resource::raw::gateway::GatewaySpec;
use crate::resource::raw::plugin::PluginSpec;
use crate::units::{Interval, Size};

pub mod key;

/// A version of the JSON Schema language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draft {
    /// Draft 7, which editors read.
    Seven,
    /// 2020-12, the language of OpenAPI 3.1.
    TwentyTwenty,
}

impl Draft {
    /// What stands at `$schema`.
    #[must_use]
    pub const fn language(self) -> &'static str {
        match self {
            Self::Seven => "http://json-schema.org/draft-07/schema#",
            Self::TwentyTwenty => "https://json-schema.org/draft/2020-12/schema",
        }
    }
}

/// What is said of a key or a word that comes with a later version.
const LATER: &str = "omes with a later version";

/// The schema of one kind; none for a kind that is not known.
#[must_use]
pub fn of_kind(kind: &str, draft: Draft) -> Option<Value> {
    let mut schema = bare(kind, draft)?;
    told(&mut schema);
    Some(schema)
}

/// The schema of a resource of any kind. What is wrong is told of the kind that the
/// resource has, not of all.
#[must_use]
pub fn of_all(draft: Draft) -> Value {
    let mut branches = Vec::new();
    for kind in KINDS {
        let mut then = of_kind(kind, draft).unwrap_or_default();
        if let Some(then) = then.as_object_mut() {
            then.remove("$schema");
        }
        branches.push(json!({
            "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
            "then": then,
        }));
    }
    json!({
        "$schema": draft.language(),
        "title": "Tidegate resource",
        "description": "A GatewayConfig, a Plugin or an Endpoint.",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": { "const": API_VERSION, "description": format!("Always `{API_VERSION}`.") },
            "kind": { "enum": KINDS, "description": "What it is." },
        },
        "allOf": branches,
    })
}

/// The schema of one kind, without default and limits in its descriptions.
fn bare(kind: &str, draft: Draft) -> Option<Value> {
    let (mut schema, spec, required): (Value, Value, &[&str]) = match kind {
        "GatewayConfig" => {
            let spec = generate::<GatewaySpec>(draft);
            (generate::<Resource<GatewaySpec>>(draft), spec, &[])
        }
        // A plugin of a shipped one's name needs no `spec`.
        "Plugin" => {
            let spec = generate::<PluginSpec>(draft);
            (generate::<Resource<PluginSpec>>(draft), spec, &["metadata"])
        }
        "Endpoint" => {
            let (spec, required) = (generate::<EndpointSpec>(draft), &["metadata", "spec"]);
            (generate::<Resource<EndpointSpec>>(draft), spec, required)
        }
        _ => return None,
    };
    // What the kind is says more than what every `spec` is.
    if let Some(property) = schema.pointer_mut("/properties/spec")
        && let Some(text) = spec.get("description")
    {
        *property.get_mut("description")? = text.clone();
    }
    tidy(&mut schema);
    let root = schema.as_object_mut()?;
    root.insert("$schema".to_owned(), json!(draft.language()));
    root.insert("title".to_owned(), json!(kind));
    root.insert(
        "description".to_owned(),
        json!(format!("A Tidegate {kind}.")),
    );
    must_be_there(root, required);
    let properties = root.get_mut("properties")?;
    if let Some(Value::Object(metadata)) = properties.get_mut("metadata")
        && required.contains(&"metadata")
    {
        must_be_there(metadata, &["name"]);
    }
    for (key, value) in [("apiVersion", API_VERSION), ("kind", kind)] {
        if let Some(Value::Object(property)) = properties.get_mut(key) {
            property.remove("type");
            property.insert("const".to_owned(), json!(value));
            property.insert(
                "description".to_owned(),
                json!(format!("Always `{value}`.")),
            );
        }
    }
    Some(schema)
}

fn generate<T: JsonSchema>(draft: Draft) -> Value {
    let settings = match draft {
        Draft::Seven => SchemaSettings::draft07(),
        Draft::TwentyTwenty => SchemaSettings::draft2020_12(),
    };
    // Editors of draft 7 ignore what stands beside a reference.
    let inline = settings.with(|settings| settings.inline_subschemas = true);
    inline
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Adds keys to those that must be there, and takes null from them.
fn must_be_there(object: &mut Map<String, Value>, keys: &[&str]) {
    let mut required = match object.remove("required") {
        Some(Value::Array(required)) => required,
        _ => Vec::new(),
    };
    required.extend(keys.iter().map(|key| json!(key)));
    if !required.is_empty() {
        object.insert("required".to_owned(), Value::Array(required));
    }
    for key in keys {
        let property = object
            .get_mut("properties")
            .and_then(|all| all.get_mut(key));
        let Some(Value::Object(property)) = property else {
            continue;
        };
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|word| word != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                property.insert("type".to_owned(), one);
            }
        }
    }
}

/// Makes of what is generated what people and editors want, all the way down.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("format");
    choices(object);
    if let Some(text) = object.get("description").and_then(Value::as_str) {
        let text = text.split("\n\n").map(one_line).collect::<Vec<_>>();
        let text = text.join("\n\n");
        object.insert("description".to_owned(), json!(text));
    }
    if let Some(default) = object.get("x-later").cloned() {
        // What is refused with a later version's words is not offered.
        object.insert("doNotSuggest".to_owned(), json!(true));
        object.extend(or_null(only(&default)));
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for property in properties.values_mut() {
            // A value of any kind is generated as `true`.
            if property.is_boolean() {
                *property = json!({});
            }
            tidy(property);
        }
    }
    for word in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(word) {
            tidy(below);
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One list of words in place of nested choices, without the words that are refused.
fn choices(object: &mut Map<String, Value>) {
    let mut nullable = false;
    if let Some(Value::Array(any)) = object.remove("anyOf") {
        nullable = any.len() > 1;
        let inner = any
            .into_iter()
            .find(|one| one.get("type") != Some(&json!("null")));
        let Some(Value::Object(inner)) = inner else {
            return;
        };
        for (key, value) in inner {
            object.entry(key).or_insert(value);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("oneOf") {
        words.retain(|word| !is_later(word));
        if nullable {
            words.push(json!({ "type": "null" }));
        }
    } else if nullable {
        let plain = std::mem::take(object);
        *object = or_null(plain);
    }
}

fn is_later(schema: &Value) -> bool {
    let said = schema.get("description").and_then(Value::as_str);
    said.is_some_and(|said| said.contains(LATER))
}

/// The same, or null.
fn or_null(mut object: Map<String, Value>) -> Map<String, Value> {
    match object.get_mut("type") {
        Some(Value::String(word)) if word != "null" => {
            let both = json!([word, "null"]);
            object.insert("type".to_owned(), both);
        }
        Some(Value::Array(words)) if !words.contains(&json!("null")) => words.push(json!("null")),
        _ => {}
    }
    object
}

/// What a key of a later version takes until then: its default.
fn only(default: &Value) -> Map<String, Value> {
    let schema = match default {
        Value::Null => json!({ "type": "null" }),
        Value::Bool(flag) => json!({ "type": "boolean", "enum": [flag, null] }),
        Value::Number(number) => json!({ "type": "number", "enum": [number, null] }),
        // `60s` is `1m`; the check compares them as what they are.
        Value::String(text) if Interval::parse(text).is_ok() || Size::parse(text).is_ok() => {
            json!({ "type": "string" })
        }
        Value::String(text) => json!({ "type": "string", "enum": [text, null] }),
        Value::Array(items) => {
            let item = items.first().map(|item| Value::Object(only(item)));
            json!({
                "type": "array", "minItems": items.len(), "maxItems": items.len(),
                "items": item.unwrap_or(json!({})),
            })
        }
        Value::Object(keys) => {
            let properties: Map<String, Value> = keys
                .iter()
                .map(|(key, value)| (key.clone(), Value::Object(only(value))))
                .collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// Puts default and limits into the descriptions, which is what editors show.
fn told(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let more = [key::default_sentence(object), key::limit_sentence(object)];
    let more: Vec<String> = more.into_iter().flatten().collect();
    if !more.is_empty() {
        let text = object.get("description").and_then(Value::as_str);
        let text = text.unwrap_or_default();
        let whole = format!("{text}\n\n{}", more.join(" "));
        object.insert("description".to_owned(), json!(whole.trim_start()));
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(told);
    }
    for word in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(word) {
            told(below);
        }
    }
}

#[cfg(test)]
mod tests;
