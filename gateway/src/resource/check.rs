//! From raw to checked: all problems at once, each with its place.
//!
//! Only what is here and below makes the checked types, so that nothing past it
//! checks again. Never reads a file. Called by `load` with whole documents.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value as Json;

use crate::name::Name;
use crate::resource::node::{Node, Value, shown_text};
use crate::resource::problem::Problem;
use crate::resource::raw::{Later, Resource};
use crate::resource::read::{Wrong, read};
use crate::units::{Interval, Size};

pub(super) mod endpoint;
pub(super) mod gateway;
pub(super) mod plugin;
pub(super) mod scale;
pub(super) mod traffic;
pub(super) mod version;

/// A way from the root of a document to a value.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl At<'_> {
    /// The document itself.
    pub(super) const ROOT: At<'static> = At {
        parent: None,
        step: Step::Root,
    };
}

impl<'a> At<'a> {
    /// One key further.
    pub(super) const fn key(&'a self, key: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// One element further.
    pub(super) const fn index(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

/// Where an [`At`] leads in a document.
struct Found {
    path: String,
    place: (u64, u64),
    told: bool,
}

/// One document that is being checked, and what was wrong with it so far.
pub(super) struct Check<'n> {
    pub(super) file: Arc<str>,
    pub(super) object: Arc<str>,
    pub(super) root: &'n Node,
    /// Where relative paths start.
    pub(super) base: Option<&'n Path>,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    /// Tells a problem, with its place and a hint.
    pub(super) fn tell_with(
        &mut self,
        at: &At<'_>,
        message: impl fmt::Display,
        hint: Option<String>,
    ) {
        let found = find(self.root, at);
        if found.told {
            return;
        }
        self.problems.push(Problem {
            file: Arc::clone(&self.file),
            line: found.place.0,
            column: found.place.1,
            object: Arc::clone(&self.object),
            path: found.path,
            message: message.to_string(),
            hint,
        });
    }

    /// Tells a problem.
    pub(super) fn tell(&mut self, at: &At<'_>, message: impl fmt::Display) {
        self.tell_with(at, message, None);
    }

    /// Tells that one of some keys should be there, unless what stood at one has been told.
    pub(super) fn missing(&mut self, at: &At<'_>, keys: &[&str], message: impl fmt::Display) {
        if !keys.iter().any(|key| find(self.root, &at.key(key)).told) {
            self.tell(at, message);
        }
    }

    /// A value that must be there.
    pub(super) fn required<T>(&mut self, value: Option<T>, at: &At<'_>, key: &str) -> Option<T> {
        if value.is_none() {
            self.missing(at, &[key], format_args!("{key} is missing"));
        }
        value
    }

    /// Refuses a key of a later issue, unless it has its default.
    pub(super) fn later(&mut self, at: &At<'_>, given: &Later, default: &Json) {
        if let Some(given) = given
            && !covers(default, given)
        {
            let alone = default.is_null() || default == &Json::Array(Vec::new());
            let hint = (!alone).then(|| format!("until then it is {default}"));
            self.tell_with(at, LATER, hint);
        }
    }

    /// A number within bounds, or its default.
    pub(super) fn number(
        &mut self,
        at: &At<'_>,
        given: Option<u64>,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> u64 {
        let value = given.unwrap_or(default);
        if !bounds.contains(&value) {
            let message = format!(
                "{value} is out of bounds; {} to {}",
                bounds.start(),
                bounds.end()
            );
            self.tell(at, message);
        }
        value
    }

    /// A duration within bounds, or its default.
    pub(super) fn duration(
        &mut self,
        at: &At<'_>,
        given: Option<Interval>,
        default: Duration,
        bounds: &RangeInclusive<Duration>,
    ) -> Duration {
        let Some(given) = given else { return default };
        let value = given.duration();
        if !bounds.contains(&value) {
            let message = format!(
                "{given} is out of bounds; {} to {}",
                shown(*bounds.start()),
                shown(*bounds.end())
            );
            self.tell(at, message);
        }
        value
    }

    /// A size within bounds, or its default.
    pub(super) fn size(
        &mut self,
        at: &At<'_>,
        given: Option<Size>,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> u64 {
        let Some(given) = given else { return default };
        if !bounds.contains(&given.bytes()) {
            let [least, most] = [*bounds.start(), *bounds.end()].map(Size::from_bytes);
            self.tell(at, format!("{given} is out of bounds; {least} to {most}"));
        }
        given.bytes()
    }

    /// A name that must be there.
    pub(super) fn name(&mut self, given: Option<&String>, at: &At<'_>, key: &str) -> Option<Name> {
        let text = self.required(given, at, key)?;
        self.parsed(Name::parse(text), &at.key(key))
    }

    /// What a parser made, or its error told.
    pub(super) fn parsed<T, E: fmt::Display>(
        &mut self,
        read: Result<T, E>,
        at: &At<'_>,
    ) -> Option<T> {
        read.map_err(|error| self.tell(at, error)).ok()
    }

    /// Header names, each once, in lower case.
    pub(super) fn headers(&mut self, given: Option<&[String]>, at: &At<'_>) -> Vec<HeaderName> {
        let mut headers = Vec::new();
        for (i, text) in given.unwrap_or_default().iter().enumerate() {
            match HeaderName::from_bytes(text.as_bytes()) {
                Ok(name) if headers.contains(&name) => {
                    self.tell(&at.index(i), format!("{name} is there twice"));
                }
                Ok(name) => headers.push(name),
                Err(_) => self.tell(
                    &at.index(i),
                    format!("{} is not a header's name", shown_text(text)),
                ),
            }
        }
        headers
    }

    /// An absolute path; a relative one starts at the file's folder.
    pub(super) fn path(&mut self, text: &str, at: &At<'_>) -> Option<PathBuf> {
        let path = Path::new(text);
        if text.is_empty() || text.contains('\0') {
            self.tell(at, format!("{} is not a path", shown_text(text)));
            return None;
        }
        match self.base {
            _ if path.is_absolute() => Some(path.to_owned()),
            Some(base) => Some(base.join(path)),
            None => {
                let message = format!(
                    "{} is relative, and there is no file it could be from; write it absolute",
                    shown_text(text)
                );
                self.tell(at, message);
                None
            }
        }
    }
}

/// What every refusal of a later key says.
pub(super) const LATER: &str = "comes with a later version of Tidegate; leave it out";

fn shown(duration: Duration) -> Interval {
    Interval::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Whether all that is given is what the default says.
fn covers(default: &Json, given: &Json) -> bool {
    match (default, given) {
        (Json::Object(default), Json::Object(given)) => given.iter().all(|(key, value)| {
            default
                .get(key)
                .is_some_and(|default| covers(default, value))
        }),
        (Json::Array(default), Json::Array(given)) => {
            default.len() == given.len()
                && default
                    .iter()
                    .zip(given)
                    .all(|(default, given)| covers(default, given))
        }
        (Json::String(default), Json::String(given)) => {
            let same_duration =
                || Interval::parse(default).is_ok_and(|d| Interval::parse(given) == Ok(d));
            let same_size = || Size::parse(default).is_ok_and(|d| Size::parse(given) == Ok(d));
            default == given || same_duration() || same_size()
        }
        (default, given) => default == given,
    }
}

/// Follows a way; where it ends early, the place is that of the last value there.
fn find(root: &Node, at: &At<'_>) -> Found {
    let mut steps = Vec::new();
    let mut next = Some(at);
    while let Some(at) = next {
        steps.push(at.step);
        next = at.parent;
    }
    let mut found = Found {
        path: String::new(),
        place: root.place,
        told: false,
    };
    let mut node = Some(root);
    for step in steps.into_iter().rev() {
        node = follow(node, step, &mut found);
    }
    found.told = node.is_some_and(|node| node.value == Value::Told);
    found
}

fn follow<'n>(node: Option<&'n Node>, step: Step<'_>, found: &mut Found) -> Option<&'n Node> {
    match step {
        Step::Root => node,
        Step::Key(key) => {
            if !found.path.is_empty() {
                found.path.push('.');
            }
            found.path.push_str(key);
            let Value::Map(entries) = &node?.value else {
                return None;
            };
            let (key, value) = entries.iter().find(|(k, _)| k.text == key)?;
            let inside = matches!(value.value, Value::Map(_) | Value::List(_));
            found.place = if inside { key.place } else { value.place };
            Some(value)
        }
        // `index` counts what is left; the file also has what has been told.
        Step::Index(index) => {
            let items = match node.map(|node| &node.value) {
                Some(Value::List(items)) => items.as_slice(),
                _ => &[],
            };
            let real = items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.value != Value::Told)
                .nth(index);
            found
                .path
                .push_str(&format!("[{}]", real.map_or(index, |(real, _)| real)));
            let (_, item) = real?;
            found.place = item.place;
            Some(item)
        }
    }
}

/// The way to a node by its number, and the place of its key where it has one.
fn way_to(node: &Node, id: u32, path: &mut String) -> Option<(u64, u64)> {
    if node.id == id {
        return Some(node.place);
    }
    let length = path.len();
    match &node.value {
        Value::List(items) => items.iter().enumerate().find_map(|(i, item)| {
            path.truncate(length);
            path.push_str(&format!("[{i}]"));
            way_to(item, id, path)
        }),
        Value::Map(entries) => entries.iter().find_map(|(key, item)| {
            path.truncate(length);
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&key.text);
            let inside = way_to(item, id, path)?;
            let whole = matches!(item.value, Value::Map(_) | Value::List(_));
            Some(if item.id == id && whole {
                key.place
            } else {
                inside
            })
        }),
        _ => None,
    }
}

fn key_place(node: &Node, id: u32) -> Option<(u64, u64)> {
    match &node.value {
        Value::List(items) => items.iter().find_map(|item| key_place(item, id)),
        Value::Map(entries) => entries.iter().find_map(|(key, item)| {
            if item.id == id {
                Some(key.place)
            } else {
                key_place(item, id)
            }
        }),
        _ => None,
    }
}

/// Reads a document as a resource; wrong keys and types are told and left out.
pub(super) fn read_resource<S>(
    root: &mut Node,
    file: &Arc<str>,
    object: &Arc<str>,
    problems: &mut Vec<Problem>,
) -> Option<Resource<S>>
where
    Resource<S>: for<'de> serde::Deserialize<'de>,
{
    read(root, |root: &Node, id: u32, wrong: Wrong| {
        let mut path = String::new();
        let place = way_to(root, id, &mut path).unwrap_or(root.place);
        let place = if wrong.at_key {
            key_place(root, id).unwrap_or(place)
        } else {
            place
        };
        problems.push(Problem {
            file: Arc::clone(file),
            line: place.0,
            column: place.1,
            object: Arc::clone(object),
            path,
            message: wrong.message,
            hint: wrong.hint,
        });
    })
}

#[cfg(test)]
mod tests;
