//! Checks a Plugin, and knows the plugins that are there without a resource.
//!
//! Never looks into a component. Called by `load`; `endpoint` asks it what a
//! binding names.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use serde_json::json;

use crate::id::Digest;
use crate::name::Name;
use crate::resource::check::{At, Check, LATER};
use crate::resource::defaults::{CREDENTIAL_HEADERS, SHIPPED};
use crate::resource::node::shown_text;
use crate::resource::raw::plugin as raw;
use crate::resource::suggest::suggestion;
use crate::resource::{Plugin, PluginLimits, PluginMetric, PluginMetricKind, PluginSource, Role};

/// Plugins that a binding may name; the value is none where the resource of
/// that name does not check.
pub(in crate::resource) type Known = BTreeMap<String, Option<Plugin>>;

/// The shipped plugins, as they are without a resource.
pub(in crate::resource) fn shipped() -> Vec<Plugin> {
    let plugin = |(name, role, headers): (&str, Role, &[&'static str])| {
        let name = Name::parse(name).ok()?;
        Some(Plugin {
            source: PluginSource::Shipped(name.clone()),
            name,
            role,
            digest: None,
            headers: headers
                .iter()
                .map(|header| HeaderName::from_static(header))
                .collect(),
            metrics: Vec::new(),
            limits: PluginLimits::of(role),
        })
    };
    SHIPPED.into_iter().filter_map(plugin).collect()
}

/// The plugin of `spec`; meaningless where a problem was told.
pub(in crate::resource) fn plugin(
    check: &mut Check<'_>,
    name: Option<Name>,
    spec: &raw::PluginSpec,
) -> Option<Plugin> {
    let at = At::ROOT.key("spec");
    let base = name
        .as_ref()
        .and_then(|name| shipped().into_iter().find(|p| p.name == *name));
    check.later(&at.key("grants"), &spec.grants, &json!([]));
    let source = source(check, &at, spec, base.as_ref());
    let role = role(check, &at, spec, source.as_ref());
    let digest = spec
        .digest
        .as_ref()
        .and_then(|text| check.parsed(Digest::parse(text), &at.key("digest")));
    let headers_at = at.key("headers");
    let headers = match (&spec.headers, &base) {
        (None, Some(base)) => base.headers.clone(),
        (given, _) => check.headers(given.as_deref(), &headers_at),
    };
    if matches!(role, Some(Role::Split | Role::Collect)) {
        for (i, header) in headers.iter().enumerate() {
            if CREDENTIAL_HEADERS.contains(&header.as_str()) {
                let message =
                    format!("{header} holds credentials, which only auth policies are shown");
                check.tell(&headers_at.index(i), message);
            }
        }
    }
    let metrics = metrics(
        check,
        &at.key("metrics"),
        spec.metrics.as_deref().unwrap_or_default(),
    );
    let limits = limits(
        check,
        &at.key("limits"),
        spec.limits.as_ref(),
        role.unwrap_or(Role::Auth),
    );
    Some(Plugin {
        name: name?,
        role: role?,
        source: source?,
        digest,
        headers,
        metrics,
        limits,
    })
}

fn source(
    check: &mut Check<'_>,
    at: &At<'_>,
    spec: &raw::PluginSpec,
    base: Option<&Plugin>,
) -> Option<PluginSource> {
    let source_at = at.key("source");
    let Some(raw) = &spec.source else {
        if base.is_none() {
            check.missing(
                at,
                &["source"],
                "source is missing: { file: PATH } or { shipped: NAME }",
            );
        }
        return base.map(|base| base.source.clone());
    };
    check.later(&source_at.key("oci"), &raw.oci, &json!(null));
    match (&raw.file, &raw.shipped) {
        (Some(_), Some(_)) => {
            check.tell(&source_at, "both file and shipped; exactly one");
            None
        }
        (Some(file), None) => check
            .path(file, &source_at.key("file"))
            .map(PluginSource::File),
        (None, Some(name)) => {
            let names = SHIPPED.map(|(name, ..)| name);
            if !names.contains(&name.as_str()) {
                let message = format!(
                    "{} is not shipped; {} are",
                    shown_text(name),
                    names.join(", ")
                );
                check.tell_with(&source_at.key("shipped"), message, suggestion(name, &names));
                return None;
            }
            Name::parse(name).ok().map(PluginSource::Shipped)
        }
        (None, None) => {
            if raw.oci.is_none() {
                check.missing(
                    &source_at,
                    &["file", "shipped", "oci"],
                    "neither file nor shipped; exactly one",
                );
            }
            None
        }
    }
}

fn role(
    check: &mut Check<'_>,
    at: &At<'_>,
    spec: &raw::PluginSpec,
    source: Option<&PluginSource>,
) -> Option<Role> {
    let given = spec.role.map(|role| match role {
        raw::Role::Auth => Role::Auth,
        raw::Role::Split => Role::Split,
        raw::Role::Collect => Role::Collect,
    });
    let of_shipped = match source {
        Some(PluginSource::Shipped(name)) => SHIPPED
            .into_iter()
            .find(|(shipped, ..)| *shipped == name.as_str())
            .map(|(_, role, _)| role),
        _ => None,
    };
    match (given, of_shipped) {
        (Some(given), Some(shipped)) if given != shipped => {
            let message = format!(
                "{} is not the role of what is shipped; it is {}",
                given.as_str(),
                shipped.as_str()
            );
            check.tell(&at.key("role"), message);
            None
        }
        (None, None) => {
            check.missing(at, &["role"], "role is missing: auth, split or collect");
            None
        }
        (given, shipped) => given.or(shipped),
    }
}

fn metrics(check: &mut Check<'_>, at: &At<'_>, given: &[raw::Metric]) -> Vec<PluginMetric> {
    let mut metrics: Vec<PluginMetric> = Vec::new();
    if given.len() > 32 {
        check.tell(at, format!("{} metrics; at most 32", given.len()));
    }
    for (i, raw) in given.iter().enumerate() {
        let at = at.index(i);
        let name = check.required(raw.name.as_ref(), &at, "name");
        if let Some(name) = name {
            word(check, &at.key("name"), name);
            if metrics.iter().any(|other| other.name == *name) {
                check.tell(&at.key("name"), format!("{name} is there twice"));
            }
        }
        let kind = check
            .required(raw.kind, &at, "type")
            .map(|kind| match kind {
                raw::MetricKind::Counter => PluginMetricKind::Counter,
                raw::MetricKind::Histogram => PluginMetricKind::Histogram,
            });
        let labels = raw.labels.clone().unwrap_or_default();
        let labels_at = at.key("labels");
        for label in labels.keys() {
            word(check, &labels_at.key(label), label);
        }
        let series = labels
            .values()
            .map(Vec::len)
            .try_fold(1_usize, usize::checked_mul)
            .unwrap_or(usize::MAX);
        if series > 1_000 {
            check.tell(
                &labels_at,
                format!("the labels make {series} series; at most 1000"),
            );
        }
        if let (Some(name), Some(kind)) = (name, kind) {
            metrics.push(PluginMetric {
                name: name.clone(),
                kind,
                labels,
            });
        }
    }
    metrics
}

/// A name as Prometheus has it.
fn word(check: &mut Check<'_>, at: &At<'_>, text: &str) {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let all = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !first || !all || text.len() > 64 {
        let message = format!(
            "{} is not a metric's or label's name: a lower-case letter, then those, digits and `_`, at most 64",
            shown_text(text)
        );
        check.tell(at, message);
    }
}

fn limits(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: Option<&raw::Limits>,
    role: Role,
) -> PluginLimits {
    let default = PluginLimits::of(role);
    let Some(raw) = raw else { return default };
    let bounds = Duration::from_millis(1)..=Duration::from_secs(10);
    let cpu = check.duration(&at.key("cpu"), raw.cpu, default.cpu, &bounds);
    let timeout = check.duration(&at.key("timeout"), raw.timeout, default.timeout, &bounds);
    if timeout < cpu {
        let message =
            format!("timeout of {timeout:?} is below cpu of {cpu:?}, which then has no effect");
        check.tell(at, message);
    }
    let instances = check.number(
        &at.key("instances"),
        raw.instances,
        u64::from(default.instances.get()),
        1..=1024,
    );
    PluginLimits {
        cpu,
        timeout,
        memory: check.size(
            &at.key("memory"),
            raw.memory,
            default.memory,
            64 << 10..=1 << 30,
        ),
        instances: u32::try_from(instances)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN),
    }
}

/// The plugin that a binding names, if it may be bound for `role`.
pub(in crate::resource) fn bound<'k>(
    check: &mut Check<'_>,
    at: &At<'_>,
    name: &str,
    role: Role,
    known: &'k Known,
) -> Option<&'k Plugin> {
    match known.get(name) {
        Some(Some(plugin)) if plugin.role != role => {
            let message = format!(
                "{name} is a plugin for {}, not for {}",
                plugin.role.as_str(),
                role.as_str()
            );
            check.tell(at, message);
            None
        }
        Some(plugin) => plugin.as_ref(),
        None if name == "token-auth" => {
            check.tell(at, format!("token-auth {LATER}"));
            None
        }
        None => {
            let names: Vec<&str> = known
                .iter()
                .filter(|(_, plugin)| plugin.as_ref().is_none_or(|plugin| plugin.role == role))
                .map(|(name, _)| name.as_str())
                .collect();
            let hint = suggestion(name, &names)
                .or_else(|| Some(format!("known for {}: {}", role.as_str(), names.join(", "))));
            check.tell_with(at, format!("no plugin is named {}", shown_text(name)), hint);
            None
        }
    }
}
