//! `tidegate describe`: all there is to know of one resource, for people.
//!
//! Gathers the resource, its status, its plugins and its events; what one of
//! them does not have is left out. Changes nothing. Called by `cli`.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::age::{age, now};
use super::connect::Gateway;
use super::kind::{Named, Object};
use super::row::{self, auth, list, or_dash, percent, ready, runtime, short, text, whole};
use super::table::{Cell, Table};
use super::tone::{Tone, colour, plain};
use super::{Failure, get, say};

/// Events that are shown, the newest last.
const EVENTS: usize = 10;
/// Width of the names on the left.
const LEFT: usize = 12;

/// `tidegate describe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate describe endpoint iris
  tidegate describe version/iris/blue
  tidegate describe plugin/weighted-split")]
pub struct Describe {
    #[command(flatten)]
    object: Object,
}

impl Describe {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let named = self.object.named()?;
        let gateway = Gateway::find(&self.object.to)?;
        let page = match &named {
            Named::Endpoint(name) => endpoint(&gateway, name).await?,
            Named::Version(of, name) => version(&gateway, of, name).await?,
            Named::Plugin(name) => plugin(&gateway, name).await?,
        };
        say(page.0.join("\n").trim_end())
    }
}

/// Lines for people.
struct Page(Vec<String>);

impl Page {
    fn fact(&mut self, name: &str, value: impl AsRef<str>) {
        self.tinted(name, value.as_ref(), Tone::Plain);
    }

    fn tinted(&mut self, name: &str, value: &str, tone: Tone) {
        if !value.is_empty() {
            let value = tone.paint(&plain(value), colour());
            self.0
                .push(format!("{:<LEFT$} {value}", format!("{name}:")));
        }
    }

    /// A table below a heading; nothing where it has no rows.
    fn section(&mut self, name: &str, head: &[&str], rows: Vec<Vec<Cell>>) {
        if rows.is_empty() {
            return;
        }
        let mut table = Table::new(head);
        for row in rows {
            table.add(row);
        }
        self.0.push(format!("{name}:"));
        let lines = table.take(colour());
        self.0.extend(lines.iter().map(|line| format!("  {line}")));
    }
}

async fn endpoint(gateway: &Gateway, name: &str) -> Result<Page, Failure> {
    let whole_one = gateway.get(&format!("/v1/endpoints/{name}")).await?;
    let status = gateway.get("/v1/status").await?;
    let plugins = gateway.items("/v1/plugins").await?;
    let now = now();
    let mut page = Page(Vec::new());
    page.fact("Name", name);
    page.fact("Labels", pairs(whole_one.pointer("/metadata/labels")));
    let state = text(&whole_one, "/status/state");
    page.tinted("State", state, Tone::of_state(state));
    page.fact("Reason", text(&whole_one, "/status/reason"));
    page.fact(
        "Revision",
        whole(&whole_one, "/metadata/revision").to_string(),
    );
    let hosts: Vec<&str> = list(&whole_one, "/spec/hosts")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    page.fact("Hosts", hosts.join(", "));
    for listener in list(&status, "/listeners") {
        let url = text(listener, "/url").trim_end_matches('/');
        page.fact("Address", format!("{url}/api/v1/service/{name}/score"));
    }
    page.fact("Auth", auth(&whole_one));
    page.fact("Split", split(&whole_one));
    let mirror = whole_one.pointer("/spec/mirror").unwrap_or(&Value::Null);
    if !mirror.is_null() {
        let share = percent(mirror, "/percent");
        page.fact("Mirror", format!("{share} to {}", text(mirror, "/version")));
    }
    let versions = row::versions(&whole_one);
    let rows = versions.iter().map(version_row).collect();
    page.section("Versions", VERSION, rows);
    page.section("Policies", POLICY, policies(&whole_one, &plugins));
    page.section("Conditions", CONDITION, conditions(&whole_one, now));
    for version in &versions {
        settings(&mut page, version);
    }
    events(&mut page, gateway, &format!("endpoint/{name}"), now).await?;
    Ok(page)
}

const VERSION: &[&str] = &[
    "NAME", "STATE", "TRAFFIC", "READY", "STARTING", "DRAINING", "EJECTED", "DEFAULT", "TYPE",
    "RUNTIME", "REASON",
];

fn version_row(version: &Value) -> Vec<Cell> {
    let spec = version.get("spec").unwrap_or(&Value::Null);
    let default = spec.get("default").and_then(Value::as_bool) == Some(true);
    let count = |pointer: &str| whole(version, pointer).to_string();
    vec![
        text(version, "/metadata/name").into(),
        Cell::state(text(version, "/status/state")),
        percent(version, "/status/traffic").into(),
        ready(version, "/status/replicas").into(),
        count("/status/replicas/starting").into(),
        count("/status/replicas/draining").into(),
        count("/status/replicas/ejected").into(),
        if default { "yes" } else { "-" }.into(),
        or_dash(text(spec, "/type")).into(),
        runtime(spec).into(),
        text(version, "/status/reason").into(),
    ]
}

fn split(endpoint: &Value) -> String {
    let given = |pointer: &str, default: &'static str| match text(endpoint, pointer) {
        "" => default.to_owned(),
        given => given.to_owned(),
    };
    let pin = endpoint.pointer("/spec/split/pin").and_then(Value::as_bool);
    let mut words = format!(
        "{}; where it fails: {}; pins {}",
        given("/spec/split/policy/plugin", "weighted-split"),
        given("/spec/split/onFailure", "weights"),
        if pin == Some(false) {
            "ignored"
        } else {
            "taken"
        }
    );
    if let Some(sticky) = endpoint
        .pointer("/spec/split/sticky")
        .filter(|v| !v.is_null())
    {
        words.push_str(&format!("; sticky by {}", text(sticky, "/by")));
        if let Some(name) = sticky.get("name").and_then(Value::as_str) {
            words.push_str(&format!(" {name}"));
        }
    }
    words
}

const POLICY: &[&str] = &["ROLE", "PLUGIN", "ACTIVE"];

/// The plugins an endpoint is bound to, in the order in which they are asked.
fn policies(endpoint: &Value, plugins: &[Value]) -> Vec<Vec<Cell>> {
    let mut bound: Vec<(&str, &str)> = Vec::new();
    match auth(endpoint) {
        "key" => bound.push(("auth", "key-auth")),
        "token" => bound.push(("auth", "token-auth")),
        _ => {
            let asked = list(endpoint, "/spec/auth/policies").iter();
            bound.extend(asked.map(|one| ("auth", text(one, "/plugin"))));
        }
    }
    bound.push(match text(endpoint, "/spec/split/policy/plugin") {
        "" => ("split", "weighted-split"),
        plugin => ("split", plugin),
    });
    let kept = list(endpoint, "/spec/collect").iter();
    bound.extend(kept.map(|one| ("collect", text(one, "/plugin"))));
    let digest = |name: &str| {
        plugins
            .iter()
            .find(|plugin| text(plugin, "/metadata/name") == name)
            .map_or("", |plugin| text(plugin, "/status/activeDigest"))
    };
    bound
        .into_iter()
        .map(|(role, name)| {
            vec![
                role.into(),
                name.into(),
                or_dash(short(digest(name))).into(),
            ]
        })
        .collect()
}

const CONDITION: &[&str] = &["TYPE", "STATUS", "AGE", "REASON"];

fn conditions(shown: &Value, now: Timestamp) -> Vec<Vec<Cell>> {
    let row = |condition: &Value| {
        let status = match condition.get("status") {
            Some(Value::Bool(status)) => if *status { "True" } else { "False" }.to_owned(),
            Some(Value::String(status)) => status.clone(),
            _ => "Unknown".to_owned(),
        };
        let since = match text(condition, "/since") {
            "" => text(condition, "/lastTransitionTime"),
            since => since,
        };
        vec![
            text(condition, "/type").into(),
            status.into(),
            or_dash(&age(since, now)).into(),
            text(condition, "/reason").into(),
        ]
    };
    list(shown, "/status/conditions").iter().map(row).collect()
}

/// What a version's resource says, key by key.
fn settings(page: &mut Page, version: &Value) {
    let name = text(version, "/metadata/name");
    let mut rows = Vec::new();
    for (key, value) in version
        .get("spec")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        match value {
            Value::Object(inner) if ["process", "static", "autoscale"].contains(&key.as_str()) => {
                for (inner, value) in inner {
                    rows.push(vec![
                        format!("{key}.{inner}").into(),
                        one_line(value).into(),
                    ]);
                }
            }
            _ if key == "name" => {}
            _ => rows.push(vec![key.into(), one_line(value).into()]),
        }
    }
    page.section(&format!("Version {name}"), &["KEY", "VALUE"], rows);
}

fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(" ")
        }
        Value::Object(_) => pairs(Some(value)),
        other => other.to_string(),
    }
}

/// `a=b, c=d`
fn pairs(map: Option<&Value>) -> String {
    let map = map.and_then(Value::as_object);
    let pair = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    map.into_iter()
        .flatten()
        .map(pair)
        .collect::<Vec<_>>()
        .join(", ")
}

async fn version(gateway: &Gateway, of: &str, name: &str) -> Result<Page, Failure> {
    let whole_one = gateway.get(&format!("/v1/endpoints/{of}")).await?;
    let versions = row::versions(&whole_one);
    let found = versions
        .iter()
        .find(|one| text(one, "/metadata/name") == name);
    let Some(found) = found else {
        return Err(get::no_version(of, name, &whole_one));
    };
    let now = now();
    let mut page = Page(Vec::new());
    page.fact("Name", name);
    page.fact("Endpoint", of);
    page.fact("Description", text(found, "/spec/description"));
    page.fact("Tags", pairs(found.pointer("/spec/tags")));
    page.fact("Properties", pairs(found.pointer("/spec/properties")));
    let state = text(found, "/status/state");
    page.tinted("State", state, Tone::of_state(state));
    page.fact("Reason", text(found, "/status/reason"));
    page.fact("Traffic", percent(found, "/status/traffic"));
    page.fact(
        "Replicas",
        format!(
            "{} ready, {} starting, {} draining, {} ejected",
            ready(found, "/status/replicas"),
            whole(found, "/status/replicas/starting"),
            whole(found, "/status/replicas/draining"),
            whole(found, "/status/replicas/ejected")
        ),
    );
    let ejected = list(found, "/status/ejected").iter();
    let ejected: Vec<&str> = ejected.filter_map(Value::as_str).collect();
    page.tinted("Ejected", &ejected.join(", "), Tone::Bad);
    page.section("Conditions", CONDITION, conditions(found, now));
    settings(&mut page, found);
    let object = format!("endpoint/{of}");
    events(&mut page, gateway, &object, now).await?;
    Ok(page)
}

async fn plugin(gateway: &Gateway, name: &str) -> Result<Page, Failure> {
    let plugin = gateway.get(&format!("/v1/plugins/{name}")).await?;
    let endpoints = gateway.items("/v1/endpoints").await?;
    let now = now();
    let mut page = Page(Vec::new());
    page.fact("Name", name);
    page.fact("Role", text(&plugin, "/spec/role"));
    page.fact("Source", pairs(plugin.pointer("/spec/source")));
    page.fact("Pinned", text(&plugin, "/spec/digest"));
    let headers: Vec<&str> = list(&plugin, "/spec/headers")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    page.fact("Headers", headers.join(", "));
    page.fact("Limits", pairs(plugin.pointer("/spec/limits")));
    let active = text(&plugin, "/status/activeDigest");
    page.tinted(
        "Active",
        or_dash(active),
        if active.is_empty() {
            Tone::Bad
        } else {
            Tone::Plain
        },
    );
    page.fact("Reason", text(&plugin, "/status/reason"));
    if let Some(swap) = plugin.pointer("/status/lastSwap").filter(|v| !v.is_null()) {
        let mut words = format!(
            "{} {}, {} ago",
            text(swap, "/result"),
            short(text(swap, "/digest")),
            age(text(swap, "/time"), now)
        );
        if !text(swap, "/reason").is_empty() {
            words.push_str(&format!(": {}", text(swap, "/reason")));
        }
        page.fact("Last swap", words);
    }
    let users = endpoints.iter().filter(|endpoint| {
        let bound = policies(endpoint, &[]);
        bound.iter().any(|row| row.get(1) == Some(&name.into()))
    });
    let users: Vec<&str> = users.map(|one| text(one, "/metadata/name")).collect();
    page.fact("Bound by", users.join(", "));
    let row = |version: &Value| {
        let live = version.get("live").and_then(Value::as_bool) == Some(true);
        vec![
            text(version, "/digest").into(),
            text(version, "/state").into(),
            if live { "yes" } else { "-" }.into(),
            or_dash(&age(text(version, "/pushed"), now)).into(),
        ]
    };
    let rows = list(&plugin, "/status/versions").iter().map(row).collect();
    page.section("Contents", &["DIGEST", "STATE", "LIVE", "AGE"], rows);
    page.section("Conditions", CONDITION, conditions(&plugin, now));
    events(&mut page, gateway, &format!("plugin/{name}"), now).await?;
    Ok(page)
}

async fn events(
    page: &mut Page,
    gateway: &Gateway,
    object: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let all = gateway.get("/v1/events").await?;
    let below = format!("{object}/");
    let about: Vec<&Value> = list(&all, "/items")
        .iter()
        .filter(|event| {
            let of = text(event, "/object");
            of == object || of.starts_with(&below)
        })
        .collect();
    let rows = about
        .iter()
        .skip(about.len().saturating_sub(EVENTS))
        .map(|event| {
            vec![
                age(text(event, "/time"), now).into(),
                text(event, "/kind").into(),
                text(event, "/message").into(),
            ]
        })
        .collect();
    page.section("Events", &["AGE", "KIND", "MESSAGE"], rows);
    Ok(())
}
