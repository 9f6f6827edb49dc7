//! `--set KEY=VALUE`: keys of a resource, said on the command line.
//!
//! Knows no resource: the gateway judges what comes out. Used by `version`.

use serde_json::{Map, Value};

use crate::resource::node::documents;

/// One `--set`.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    keys: Vec<String>,
    value: Value,
}

impl Set {
    /// Reads `KEY=VALUE`. A key leads inside with dots, as `process.env.SIZE`; a
    /// dot of its own is written `\.`. A value is a number, `true`, `false`,
    /// `null`, a `"quoted text"`, a `[list]` or `{map}` as YAML writes them; all
    /// else is text.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not KEY=VALUE, as in traffic=10"))?;
        if key.contains('[') {
            return Err(format!(
                "{key:?} names an item of a list; a list is set whole, as in KEY=[a,b]"
            ));
        }
        Ok(Self {
            keys: keys(key)?,
            value: self::value(value)?,
        })
    }

    /// Puts the value where the key leads, through maps that it makes where
    /// there are none.
    pub fn put(&self, mut at: &mut Value) {
        for key in &self.keys {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(map) = at else { return };
            at = map.entry(key.clone()).or_insert(Value::Null);
        }
        *at = self.value.clone();
    }
}

/// The parts of a key, from the outermost.
fn keys(text: &str) -> Result<Vec<String>, String> {
    let mut keys = vec![String::new()];
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            ('\\', Some(last)) => last.extend(rest.next()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err(format!(
            "{text:?} is not a key; write traffic, or process.env.SIZE"
        ));
    }
    Ok(keys)
}

fn value(text: &str) -> Result<Value, String> {
    if let Ok(json) = serde_json::from_str(text) {
        return Ok(json);
    }
    if !text.starts_with(['[', '{']) {
        return Ok(Value::String(text.to_owned()));
    }
    let wrong = |why: &str| format!("{text:?} is neither JSON nor YAML: {why}; quote it for text");
    let found = documents("", text).map_err(|problem| wrong(&problem.message))?;
    match found.as_slice() {
        [one] => Ok(one.json()),
        _ => Err(wrong("one value is needed")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(sets: &[&str], expected: &Value) {
        let mut found = json!({ "traffic": 5, "tags": { "a": "b" } });
        for set in sets {
            Set::parse(set).unwrap().put(&mut found);
        }
        assert_eq!(found, *expected, "{sets:?}");
    }

    #[test]
    fn a_key_leads_to_its_place_and_a_value_has_its_type() {
        check(
            &["traffic=12.5", "default=true"],
            &json!({ "traffic": 12.5, "default": true, "tags": { "a": "b" } }),
        );
        check(
            &["tags.c=d=e", r"tags.x\.y=1s"],
            &json!({ "traffic": 5, "tags": { "a": "b", "c": "d=e", "x.y": "1s" } }),
        );
        check(
            &["process.command=[python, score.py]", "tags=null"],
            &json!({ "traffic": 5, "tags": null, "process": { "command": ["python", "score.py"] } }),
        );
        check(
            &[
                "traffic.deep=1",
                "tags={a: 1}",
                "description=",
                "type=\"1\"",
            ],
            &json!({ "traffic": { "deep": 1 }, "tags": { "a": 1 }, "description": "", "type": "1" }),
        );
    }

    #[test]
    fn what_is_no_key_and_value_is_told() {
        for (wrong, part) in [
            ("traffic", "is not KEY=VALUE"),
            ("=1", "is not a key"),
            ("process..dir=x", "is not a key"),
            ("paths[0]=/score", "a list is set whole"),
            ("tags={a: [}", "neither JSON nor YAML"),
        ] {
            let why = Set::parse(wrong).unwrap_err();
            assert!(why.contains(part), "{wrong}: {why}");
        }
    }
}
