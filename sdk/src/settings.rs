//! What the operator wrote under a binding's `config`, and what is wrong with it.
//!
//! Called by a policy's `new`; never reads anything but the text it was given.

use serde::de::DeserializeOwned;

/// A binding's `config`, as the JSON that the gateway hands to every instance.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    json: &'a str,
}

impl<'a> Settings<'a> {
    /// Settings from JSON text; for unit tests. Empty text means none.
    #[must_use]
    pub fn from_json(json: &'a str) -> Self {
        Self { json: json.trim() }
    }

    /// The text itself.
    #[must_use]
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// For a policy that has no settings.
    ///
    /// # Errors
    ///
    /// Where there are some, because a setting that does nothing misleads.
    pub fn none(&self) -> Result<(), Problems> {
        let inside = self
            .json
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match (self.json, inside) {
            ("" | "null", _) => Ok(()),
            (_, Some(inside)) if inside.trim().is_empty() => Ok(()),
            _ => Err(Problems::at("config", "this policy has no settings")),
        }
    }

    /// Reads the settings into a type. Give it `#[serde(deny_unknown_fields)]`,
    /// so that a misspelt key is an error, and `#[serde(default)]`.
    ///
    /// # Errors
    ///
    /// The first value that does not fit, by its key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problems> {
        let text = match self.json {
            "" | "null" => "{}",
            text => text,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let key = match error.path().to_string() {
                path if path == "." => "config".to_owned(),
                path => path,
            };
            Problems::at(key, error.inner().to_string())
        })
    }
}

/// What is wrong with the settings, each with the key it is about. The operator
/// sees all of them at once, and the policy does not start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    lines: Vec<String>,
}

impl Problems {
    /// No problem yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One problem with the key `key`.
    #[must_use]
    pub fn at(key: impl Into<String>, what: impl AsRef<str>) -> Self {
        let mut problems = Self::new();
        problems.add(key, what);
        problems
    }

    /// Adds a problem: a key, as in `rates[0].per`, and what is wrong with it.
    pub fn add(&mut self, key: impl Into<String>, what: impl AsRef<str>) {
        let mut line: String = key.into();
        line.push_str(": ");
        line.push_str(what.as_ref());
        self.lines.push(line.replace(['\r', '\n'], " "));
    }

    /// The problems, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// `value` where there was no problem.
    ///
    /// # Errors
    ///
    /// These problems, where there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.lines.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rate {
        per: Vec<u32>,
    }

    #[test]
    fn no_settings_may_be_written_in_three_ways() {
        for text in ["", " null ", "{}", "{ \n }"] {
            assert_eq!(Settings::from_json(text).none(), Ok(()), "{text:?}");
        }
        for text in [r#"{"a":1}"#, "[]", "1"] {
            assert!(Settings::from_json(text).none().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_by_its_key() {
        let problems = Settings::from_json(r#"{"per":[1,"x"]}"#)
            .parse::<Rate>()
            .unwrap_err();
        assert!(
            problems.text().starts_with("per[1]: invalid type"),
            "{}",
            problems.text()
        );
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        let problems = Settings::from_json(r#"{"pre":[1]}"#)
            .parse::<Rate>()
            .unwrap_err();
        assert!(
            problems.text().contains("unknown field `pre`"),
            "{}",
            problems.text()
        );
    }

    #[test]
    fn all_problems_are_told_one_a_line() {
        let mut problems = Problems::at("a", "too\nlong");
        problems.add("b", "missing");
        assert_eq!(problems.text(), "a: too long\nb: missing");
        assert_eq!(problems.clone().or(1), Err(problems));
        assert_eq!(Problems::new().or(1), Ok(1));
    }
}
