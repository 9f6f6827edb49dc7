//! What the client shows: lists as tables, resources as JSON or YAML, keys.
//!
//! Tables have no colour and no frame, so that they can be cut and grepped.
//! Called by `cli`.

use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::connect::Gateway;
use super::{Failure, Output, Which, say};
use crate::resource::yaml;

/// A kind that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Endpoints.
    Endpoints,
    /// Plugins.
    Plugins,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Endpoints => "/v1/endpoints",
            Self::Plugins => "/v1/plugins",
        }
    }

    const fn singular(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoint",
            Self::Plugins => "plugin",
        }
    }
}

/// `endpoints`, `endpoint iris` or `endpoint/iris`.
pub(super) fn wanted(kind: &str, name: Option<&str>) -> Result<(Kind, Option<String>), Failure> {
    let (word, inner) = match kind.split_once('/') {
        Some((word, inner)) => (word, Some(inner)),
        None => (kind, None),
    };
    let kind = match word.to_ascii_lowercase().as_str() {
        "endpoint" | "endpoints" => Kind::Endpoints,
        "plugin" | "plugins" => Kind::Plugins,
        _ => {
            return Err(Failure::Usage(format!(
                "{word:?} is not a kind that can be shown; endpoints and plugins are"
            )));
        }
    };
    match (inner, name) {
        (Some(_), Some(name)) => Err(Failure::Usage(format!("two names: in {word}/… and {name}"))),
        (inner, name) => Ok((kind, inner.or(name).map(str::to_owned))),
    }
}

/// A name as a part of a path; nothing else could be one.
pub(super) fn segment(name: &str) -> Result<&str, Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.') {
        Ok(name)
    } else {
        Err(Failure::Usage(format!("{name:?} is not a name")))
    }
}

/// The text at a pointer; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// JSON or YAML.
pub(super) fn structured(value: &Value, output: Output) -> Result<(), Failure> {
    if output == Output::Yaml {
        return say(yaml(value).map_err(Failure::Refused)?.trim_end());
    }
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Refused(error.to_string()))?;
    say(&text)
}

pub(super) async fn list(gateway: &Gateway, kind: Kind, output: Output) -> Result<(), Failure> {
    let items = gateway.items(kind.path()).await?;
    shown(kind, items, output, true)
}

pub(super) async fn one(
    gateway: &Gateway,
    kind: Kind,
    name: &str,
    output: Output,
) -> Result<(), Failure> {
    let item = gateway
        .get(&format!("{}/{}", kind.path(), segment(name)?))
        .await?;
    shown(kind, vec![item], output, false)
}

fn shown(kind: Kind, items: Vec<Value>, output: Output, list: bool) -> Result<(), Failure> {
    match output {
        Output::Json | Output::Yaml => {
            let single = if list { None } else { items.first().cloned() };
            structured(
                &single.unwrap_or_else(|| serde_json::json!({ "items": items })),
                output,
            )
        }
        Output::Name => {
            let names = items
                .iter()
                .map(|item| format!("{}/{}", kind.singular(), text(item, "/metadata/name")));
            say_lines(names.collect())
        }
        Output::Table | Output::Wide => {
            let wide = output == Output::Wide;
            let rows = items.iter().map(|item| match kind {
                Kind::Endpoints => endpoint_row(item, wide),
                Kind::Plugins => plugin_row(item, wide),
            });
            let head: &[&str] = match (kind, wide) {
                (Kind::Endpoints, false) => &["NAME", "STATE", "VERSIONS", "READY"],
                (Kind::Endpoints, true) => {
                    &["NAME", "STATE", "VERSIONS", "READY", "AUTH", "REASON"]
                }
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
            };
            say(&table(head, rows.collect()))
        }
    }
}

fn say_lines(lines: Vec<String>) -> Result<(), Failure> {
    if lines.is_empty() {
        Ok(())
    } else {
        say(&lines.join("\n"))
    }
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn endpoint_row(item: &Value, wide: bool) -> Vec<String> {
    let versions = item.pointer("/status/versions").and_then(Value::as_array);
    let versions: Vec<&Value> = versions.into_iter().flatten().collect();
    let shares = versions.iter().map(|version| {
        let traffic = version
            .get("traffic")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        format!("{} {traffic}%", text(version, "/name"))
    });
    let count = |version: &&&Value, key: &str| {
        version
            .pointer(&format!("/replicas/{key}"))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let ready: u64 = versions
        .iter()
        .map(|version| count(&version, "ready"))
        .sum();
    let wanted: u64 = versions
        .iter()
        .map(|version| count(&version, "wanted"))
        .sum();
    let mut row = vec![
        text(item, "/metadata/name").to_owned(),
        text(item, "/status/state").to_owned(),
        shares.collect::<Vec<_>>().join(", "),
        format!("{ready}/{wanted}"),
    ];
    if wide {
        let mode = text(item, "/spec/auth/mode");
        row.push(if mode.is_empty() { "key" } else { mode }.to_owned());
        row.push(text(item, "/status/reason").to_owned());
    }
    row
}

fn plugin_row(item: &Value, wide: bool) -> Vec<String> {
    let stored = item
        .pointer("/status/versions")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let active = text(item, "/status/activeDigest");
    // Twelve digits tell contents apart; -o wide shows them all.
    let short = active.get(..19).unwrap_or(active);
    let mut row = vec![
        text(item, "/metadata/name").to_owned(),
        text(item, "/spec/role").to_owned(),
        if wide { active } else { short }.to_owned(),
        stored.to_string(),
    ];
    if wide {
        let live = item
            .pointer("/status/versionsLive")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        row.push(live.to_string());
        row.push(text(item, "/status/lastSwap/result").to_owned());
        row.push(text(item, "/status/reason").to_owned());
    }
    row
}

pub(super) async fn keys(
    gateway: &Gateway,
    endpoint: &str,
    which: Option<Which>,
    output: Output,
) -> Result<(), Failure> {
    let keys = gateway
        .get(&format!("/v1/endpoints/{}/keys", segment(endpoint)?))
        .await?;
    let primary = text(&keys, "/primaryKey");
    let secondary = text(&keys, "/secondaryKey");
    match (which, output) {
        (_, Output::Json | Output::Yaml) => structured(&keys, output),
        (Some(Which::Secondary), _) => say(secondary),
        (Some(Which::Primary), _) | (None, Output::Name) => say(primary),
        (None, _) => say(&format!("primary    {primary}\nsecondary  {secondary}")),
    }
}

pub(super) async fn status(gateway: &Gateway, output: Output) -> Result<(), Failure> {
    let status = gateway.get("/v1/status").await?;
    match output {
        Output::Json | Output::Yaml => return structured(&status, output),
        Output::Table | Output::Wide | Output::Name => {}
    }
    let list = |key: &str| {
        status
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let mut lines = vec![format!("version    {}", text(&status, "/version"))];
    for listener in list("listeners") {
        lines.push(format!(
            "listener   {} {}",
            text(&listener, "/name"),
            text(&listener, "/url")
        ));
    }
    lines.push(format!(
        "endpoints  {} of {} ready",
        number("/endpoints/ready"),
        number("/endpoints/total")
    ));
    for plugin in list("plugins") {
        let digest = text(&plugin, "/activeDigest");
        let digest = if digest.is_empty() {
            "nothing loaded"
        } else {
            digest
        };
        lines.push(format!(
            "plugin     {} ({}) {digest}",
            text(&plugin, "/name"),
            text(&plugin, "/role")
        ));
    }
    for warning in list("warnings") {
        lines.push(format!(
            "warning    {}",
            warning.as_str().unwrap_or_default()
        ));
    }
    say_lines(lines)
}
