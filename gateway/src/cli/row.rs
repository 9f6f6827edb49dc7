//! What a table shows of an endpoint, a version and a plugin.
//!
//! Reads the API's JSON as it is; what it does not have is left empty. Used by
//! `get`, `describe` and `top`.

use serde_json::{Value, json};

use super::kind::Kind;
use super::table::Cell;

/// Digits of a digest that tell contents apart; `-o wide` shows them all.
const DIGEST_SHOWN: usize = "sha256:".len() + 12;

/// The text at a pointer; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The whole number at a pointer; 0 where there is none.
pub(super) fn whole(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// The items of a list at a pointer.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A percentage, as `12.5%`.
pub(super) fn percent(value: &Value, pointer: &str) -> String {
    let share = value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    format!("{share}%")
}

/// A digest, short enough for a table.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..DIGEST_SHOWN).unwrap_or(digest)
}

/// The columns of a kind.
pub(super) const fn head(kind: Kind, wide: bool) -> &'static [&'static str] {
    match (kind, wide) {
        (Kind::Endpoints, false) => &["NAME", "STATE", "VERSIONS", "READY"],
        (Kind::Endpoints, true) => &[
            "NAME", "STATE", "VERSIONS", "READY", "AUTH", "HOSTS", "REVISION", "REASON",
        ],
        (Kind::Versions, false) => &["NAME", "STATE", "TRAFFIC", "READY", "DEFAULT"],
        (Kind::Versions, true) => &[
            "NAME", "STATE", "TRAFFIC", "READY", "DEFAULT", "TYPE", "RUNTIME", "SLOTS", "REASON",
        ],
        (Kind::Plugins, false) => &["NAME", "ROLE", "ACTIVE", "STORED"],
        (Kind::Plugins, true) => &[
            "NAME",
            "ROLE",
            "ACTIVE",
            "STORED",
            "LIVE",
            "LAST SWAP",
            "REASON",
        ],
    }
}

/// The row of an item of a kind.
pub(super) fn row(kind: Kind, item: &Value, wide: bool) -> Vec<Cell> {
    match kind {
        Kind::Endpoints => endpoint(item, wide),
        Kind::Versions => version(item, wide),
        Kind::Plugins => plugin(item, wide),
    }
}

/// The name of an item of a kind, as `endpoint/iris`.
pub(super) fn name(kind: Kind, item: &Value) -> String {
    let name = text(item, "/metadata/name");
    match kind {
        Kind::Versions => format!("version/{}/{name}", text(item, "/metadata/endpoint")),
        other => format!("{}/{name}", other.singular()),
    }
}

/// The versions of an endpoint, each with its part of the status. `metadata`
/// names the endpoint and the version.
pub(super) fn versions(endpoint: &Value) -> Vec<Value> {
    let status = list(endpoint, "/status/versions");
    let specs = list(endpoint, "/spec/versions");
    let is_default = |spec: &Value| spec.get("default") == Some(&Value::Bool(true));
    // Until another is named the first is it (SEMANTICS §4).
    let named = specs.iter().any(is_default);
    let of = |(place, spec): (usize, &Value)| {
        let mut spec = spec.clone();
        if let Some(spec) = spec.as_object_mut().filter(|_| place == 0 && !named) {
            spec.insert("default".to_owned(), Value::Bool(true));
        }
        let name = text(&spec, "/name").to_owned();
        let status = status.iter().find(|one| text(one, "/name") == name);
        json!({
            "metadata": {
                "endpoint": text(endpoint, "/metadata/name"),
                "name": name,
                "revision": endpoint.pointer("/metadata/revision"),
            },
            "spec": spec,
            "status": status,
        })
    };
    specs.iter().enumerate().map(of).collect()
}

/// One of [`versions`] as the admin API has a version: the keys of an item of
/// `spec.versions`, with `metadata` and `status`. `metadata` also names the endpoint.
pub(super) fn flat(version: &Value) -> Value {
    let mut flat = version.get("spec").cloned().unwrap_or_default();
    if let Some(flat) = flat.as_object_mut() {
        let of = text(version, "/metadata/endpoint");
        let revision = version.pointer("/metadata/revision");
        let metadata = json!({ "endpoint": of, "revision": revision });
        flat.insert("metadata".to_owned(), metadata);
        let status = version.get("status").cloned();
        flat.insert("status".to_owned(), status.unwrap_or_default());
    }
    flat
}

/// What the replicas of a version are.
pub(super) fn runtime(spec: &Value) -> &'static str {
    ["process", "static", "kubernetes"]
        .into_iter()
        .find(|runtime| spec.get(runtime).is_some_and(|value| !value.is_null()))
        .unwrap_or_default()
}

fn endpoint(item: &Value, wide: bool) -> Vec<Cell> {
    let versions = list(item, "/status/versions");
    let shares = versions.iter().map(|version| {
        format!(
            "{} {}",
            text(version, "/name"),
            percent(version, "/traffic")
        )
    });
    let sum = |key: &str| -> u64 { versions.iter().map(|version| whole(version, key)).sum() };
    let mut row = vec![
        text(item, "/metadata/name").into(),
        Cell::state(text(item, "/status/state")),
        shares.collect::<Vec<_>>().join(", ").into(),
        format!("{}/{}", sum("/replicas/ready"), sum("/replicas/wanted")).into(),
    ];
    if wide {
        let hosts = list(item, "/spec/hosts").iter().filter_map(Value::as_str);
        row.push(auth(item).into());
        row.push(or_dash(&hosts.collect::<Vec<_>>().join(",")).into());
        row.push(whole(item, "/metadata/revision").to_string().into());
        row.push(text(item, "/status/reason").into());
    }
    row
}

/// The auth mode of an endpoint.
pub(super) fn auth(item: &Value) -> &str {
    match text(item, "/spec/auth/mode") {
        "" => "key",
        mode => mode,
    }
}

/// The text, or a dash, so that no column of a table is empty.
pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn version(item: &Value, wide: bool) -> Vec<Cell> {
    let spec = item.get("spec").unwrap_or(&Value::Null);
    let default = spec.get("default").and_then(Value::as_bool) == Some(true);
    let mut row = vec![
        format!(
            "{}/{}",
            text(item, "/metadata/endpoint"),
            text(item, "/metadata/name")
        )
        .into(),
        Cell::state(text(item, "/status/state")),
        percent(item, "/status/traffic").into(),
        ready(item, "/status/replicas").into(),
        if default { "yes" } else { "-" }.into(),
    ];
    if wide {
        let slots = whole(spec, "/maxConcurrentRequests").max(1);
        row.push(or_dash(text(spec, "/type")).into());
        row.push(runtime(spec).into());
        row.push(slots.to_string().into());
        row.push(text(item, "/status/reason").into());
    }
    row
}

/// Ready and wanted replicas, as `1/2`.
pub(super) fn ready(item: &Value, replicas: &str) -> String {
    let number = |key: &str| whole(item, &format!("{replicas}/{key}"));
    format!("{}/{}", number("ready"), number("wanted"))
}

fn plugin(item: &Value, wide: bool) -> Vec<Cell> {
    let active = text(item, "/status/activeDigest");
    let active = if wide { active } else { short(active) };
    let mut row = vec![
        text(item, "/metadata/name").into(),
        text(item, "/spec/role").into(),
        or_dash(active).into(),
        list(item, "/status/versions").len().to_string().into(),
    ];
    if wide {
        row.push(whole(item, "/status/versionsLive").to_string().into());
        row.push(or_dash(text(item, "/status/lastSwap/result")).into());
        row.push(text(item, "/status/reason").into());
    }
    row
}
