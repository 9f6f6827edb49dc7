//! The query of an admin request: known names, each once.
//!
//! Never guesses: an unknown name is refused, with those that are known. Used
//! by `admin` and its handlers.

use std::collections::BTreeMap;

use super::answer::Refusal;
use super::row::Param;
use crate::name::Name;

/// A parsed query.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads `a=b&c=d`, percent-decoded.
    pub(super) fn parse(text: Option<&str>, known: &[Param]) -> Result<Self, Refusal> {
        let mut pairs = BTreeMap::new();
        for pair in text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let broken =
                || Refusal::malformed(format!("the query has a broken escape in {pair:?}"));
            let name = decode(name).ok_or_else(broken)?;
            let value = decode(value).ok_or_else(broken)?;
            if !known.iter().any(|param| param.name == name) {
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known
                        .iter()
                        .map(|param| param.name)
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                return Err(Refusal::malformed(format!(
                    "the query {name:?} is not known here; known: {known}"
                )));
            }
            if pairs.insert(name.clone(), value).is_some() {
                return Err(Refusal::malformed(format!("the query has {name} twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// The text of a name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What a parser makes of the text of a name.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refusal> {
        self.text(name)
            .map(|text| parse(text).map_err(|error| Refusal::malformed(format!("{name}: {error}"))))
            .transpose()
    }

    /// A name of a resource.
    pub(super) fn name(&self, name: &str) -> Result<Option<Name>, Refusal> {
        self.parsed(name, Name::parse)
    }

    /// `true` or `false`; false where it is left out.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refusal::malformed(format!(
                "{name}: {other:?} is not true or false"
            ))),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                bytes.push(u8::try_from(value).ok()?);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::row::EVENTS;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let query = Query::parse(Some(text), EVENTS).ok();
        let found = query.as_ref().and_then(|query| query.text("since"));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_query_is_decoded_or_refused() {
        check("since=5m", Some("5m"));
        check("since=a%20b+c&follow=true", Some("a b c"));
        check("", None);
        check("since", Some(""));
        for wrong in [
            "since=%2",
            "since=%zz",
            "since=%ff",
            "other=1&since=1",
            "since=1&since=2",
        ] {
            assert!(Query::parse(Some(wrong), EVENTS).is_err(), "{wrong}");
        }
    }
}
