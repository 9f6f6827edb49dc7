//! Lists: `{"items", "continue"}`, in parts where `limit` asks for it.
//!
//! What continues a list is the key of the last item that was given, so that a
//! list that changes meanwhile gives no item twice. Called by `handlers`.

use std::cmp::Reverse;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Refusal, json};
use super::body::Body;
use super::query::Query;
use super::schemas::ITEMS_MAX;
use crate::event::{EVENTS_MAX, Event};
use crate::store::Revision;

/// Items of a list where no `limit` is given.
const ITEMS_DEFAULT: usize = 500;

/// A part of a list: the items after the one that `continue` names. `key` is
/// what names an item, and must order the items as they are.
fn page<K: Ord + ToString + FromStr>(
    mut items: Vec<Value>,
    query: &Query,
    key: impl Fn(&Value) -> K,
    default: usize,
) -> Result<Response<Body>, Refusal> {
    let limit = query.parsed("limit", |text| match text.parse() {
        Ok(limit) if (1..=ITEMS_MAX).contains(&limit) => Ok(limit),
        _ => Err(format!("{text:?} is not a number from 1 to {ITEMS_MAX}")),
    })?;
    let limit = limit.unwrap_or(default);
    let after = query.parsed("continue", |text| {
        text.parse::<K>()
            .map_err(|_| format!("{text:?} is not what an answer gave as continue"))
    })?;
    if let Some(after) = after {
        items.retain(|item| key(item) > after);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|item| key(item).to_string());
    json(StatusCode::OK, &json!({ "items": items, "continue": next }))
}

/// Resources, by name.
pub(super) fn resources(items: Vec<Value>, query: &Query) -> Result<Response<Body>, Refusal> {
    let name = |item: &Value| {
        item.pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    page(items, query, name, ITEMS_DEFAULT)
}

/// Revisions, newest first.
pub(super) fn history(items: &[Revision], query: &Query) -> Result<Response<Body>, Refusal> {
    // From the highest number down.
    let key = |item: &Value| Down(Reverse(number(item, "revision")));
    page(values(items)?, query, key, ITEMS_DEFAULT)
}

/// Events, oldest first.
pub(super) fn events(items: &[Arc<Event>], query: &Query) -> Result<Response<Body>, Refusal> {
    let items: Vec<&Event> = items.iter().map(|event| &**event).collect();
    let key = |item: &Value| number(item, "id");
    page(values(&items)?, query, key, EVENTS_MAX)
}

fn values<T: Serialize>(items: &[T]) -> Result<Vec<Value>, Refusal> {
    let values: Result<_, _> = items.iter().map(serde_json::to_value).collect();
    values.map_err(|_| Refusal::internal())
}

fn number(item: &Value, key: &str) -> u64 {
    item.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A number that comes after the greater ones.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Down(Reverse<u64>);

impl FromStr for Down {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(|number| Self(Reverse(number)))
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}
