//! Checks an Endpoint: hosts, policies, what its versions add up to.
//!
//! Each version for itself is `version`'s. Called by `load`, after all plugins.

use http::HeaderName;
use serde_json::json;

use crate::name::Name;
use crate::resource::check::plugin::{Known, bound};
use crate::resource::check::traffic;
use crate::resource::check::version::version;
use crate::resource::check::{At, Check, LATER};
use crate::resource::defaults::{
    COLLECT_BODY_BYTES, COLLECT_BODY_BYTES_MAX, POLICIES_MAX, REQUEST_BYTES_MAX, VERSIONS_MAX,
};
use crate::resource::node::shown_text;
use crate::resource::raw::Metadata;
use crate::resource::raw::endpoint as raw;
use crate::resource::suggest::suggestion;
use crate::resource::{
    Auth, AuthMode, Binding, CollectBinding, Endpoint, OnFailure, Role, Split, Version,
};
use crate::units::Percent;

/// The endpoint of `spec`; meaningless where a problem was told.
pub(in crate::resource) fn endpoint(
    check: &mut Check<'_>,
    metadata: &Metadata,
    name: Option<Name>,
    spec: &raw::EndpointSpec,
    known: &Known,
) -> Option<Endpoint> {
    let at = At::ROOT.key("spec");
    check.later(&at.key("cors"), &spec.cors, &json!(null));
    check.later(&at.key("fairness"), &spec.fairness, &json!(null));
    let hosts = hosts(
        check,
        &at.key("hosts"),
        spec.hosts.as_deref().unwrap_or_default(),
    );
    let bounds = 0..=1 << 40;
    let max = check.size(
        &at.key("maxRequestBytes"),
        spec.max_request_bytes,
        REQUEST_BYTES_MAX,
        bounds,
    );
    let auth = auth(check, &at.key("auth"), spec.auth.as_ref(), known);
    let mode = spec.auth.as_ref().and_then(|auth| auth.mode);
    let open = mode == Some(raw::AuthMode::None);
    let split = split(check, &at.key("split"), spec.split.as_ref(), open, known);
    let versions = versions(check, &at, spec.versions.as_deref());
    let mirror = traffic::mirror(check, &at.key("mirror"), spec);
    let collect = collect(check, &at.key("collect"), spec, known);
    Some(Endpoint {
        name: name?,
        labels: metadata.labels.clone().unwrap_or_default(),
        hosts,
        max_request_bytes: max,
        model_errors_as_502: spec.model_errors_as_502.unwrap_or(false),
        auth: auth?,
        split: split?,
        mirror,
        collect,
        versions,
    })
}

fn hosts(check: &mut Check<'_>, at: &At<'_>, given: &[String]) -> Vec<String> {
    let mut hosts = Vec::new();
    for (i, text) in given.iter().enumerate() {
        let host = text.to_ascii_lowercase();
        if !is_host(&host) {
            let message = format!(
                "{} is not a host name: letters, digits and `-` between dots, without a port or `*`",
                shown_text(text)
            );
            check.tell(&at.index(i), message);
        } else if hosts.contains(&host) {
            check.tell(&at.index(i), format!("{host} is there twice"));
        } else {
            hosts.push(host);
        }
    }
    hosts
}

/// Whether a text is a DNS name or an IPv4 address.
pub(in crate::resource) fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn auth(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: Option<&raw::Auth>,
    known: &Known,
) -> Option<Auth> {
    let Some(raw) = raw else {
        return Some(Auth {
            mode: AuthMode::Key,
            forward_credential: false,
        });
    };
    check.later(&at.key("issuers"), &raw.issuers, &json!([]));
    let policies_at = at.key("policies");
    let given = raw.policies.as_deref().unwrap_or_default();
    let mode = raw.mode.unwrap_or(raw::AuthMode::Key);
    let word = match mode {
        raw::AuthMode::Key => "key",
        raw::AuthMode::Token => "token",
        raw::AuthMode::None => "none",
        raw::AuthMode::Custom => "custom",
    };
    if mode != raw::AuthMode::Custom && !given.is_empty() {
        let message = format!("policies beside mode {word}; write mode: custom to have them asked");
        check.missing(&policies_at, &["mode"], message);
    }
    let mode = match mode {
        raw::AuthMode::Key => AuthMode::Key,
        raw::AuthMode::None => AuthMode::None,
        raw::AuthMode::Token => {
            let hint = Some("until then: key, none or custom".to_owned());
            check.tell_with(&at.key("mode"), format!("token {LATER}"), hint);
            AuthMode::Key
        }
        raw::AuthMode::Custom => {
            if given.is_empty() {
                check.missing(
                    at,
                    &["policies"],
                    "mode custom needs policies, at least one",
                );
            }
            too_many(check, &policies_at, given.len());
            let mut policies = Vec::new();
            for (i, raw) in given.iter().enumerate() {
                policies.extend(binding(
                    check,
                    &policies_at.index(i),
                    raw,
                    Role::Auth,
                    known,
                ));
            }
            AuthMode::Custom(policies)
        }
    };
    let forward_credential = raw.forward_credential.unwrap_or(false);
    Some(Auth {
        mode,
        forward_credential,
    })
}

fn too_many(check: &mut Check<'_>, at: &At<'_>, count: usize) {
    if count > POLICIES_MAX {
        check.tell(at, format!("{count} policies; at most {POLICIES_MAX}"));
    }
}

fn binding(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: &raw::Binding,
    role: Role,
    known: &Known,
) -> Option<Binding> {
    check.later(&at.key("isolation"), &raw.isolation, &json!("reuse"));
    let cache_at = at.key("cacheBy");
    let mut cache_by = check.headers(raw.cache_by.as_deref(), &cache_at);
    if role != Role::Auth && raw.cache_by.is_some() {
        check.tell(
            &cache_at,
            "only grants of auth policies are remembered; leave it out",
        );
    }
    let name = check.name(raw.plugin.as_ref(), at, "plugin")?;
    let plugin = bound(check, &at.key("plugin"), name.as_str(), role, known)?;
    if role == Role::Auth {
        for (i, header) in cache_by.iter().enumerate() {
            if !plugin.headers.contains(header) {
                let message = format!("{header} is not among the headers of plugin {name}");
                check.tell(&cache_at.index(i), message);
            }
        }
        if raw.cache_by.is_none() && name.as_str() == "key-auth" {
            cache_by.push(HeaderName::from_static("authorization"));
        }
    }
    let config = raw.config.clone().unwrap_or_else(|| json!({}));
    Some(Binding {
        plugin: name,
        config,
        cache_by,
    })
}

fn split(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: Option<&raw::Split>,
    open: bool,
    known: &Known,
) -> Option<Split> {
    let raw = raw.cloned().unwrap_or_default();
    let sticky = raw.sticky.as_ref();
    let sticky = sticky.and_then(|raw| traffic::sticky(check, &at.key("sticky"), raw, open));
    let policy = raw.policy.unwrap_or_else(|| raw::Binding {
        plugin: Some("weighted-split".to_owned()),
        ..raw::Binding::default()
    });
    let policy = binding(check, &at.key("policy"), &policy, Role::Split, known)?;
    let on_failure = match raw.on_failure {
        None | Some(raw::OnFailure::Weights) => OnFailure::Weights,
        Some(raw::OnFailure::Refuse) => OnFailure::Refuse,
    };
    Some(Split {
        policy,
        on_failure,
        sticky,
        pin: raw.pin.unwrap_or(true),
    })
}

fn collect(
    check: &mut Check<'_>,
    at: &At<'_>,
    spec: &raw::EndpointSpec,
    known: &Known,
) -> Vec<CollectBinding> {
    let given = spec.collect.as_deref().unwrap_or_default();
    let versions: Vec<&str> = spec
        .versions
        .iter()
        .flatten()
        .filter_map(|version| version.name.as_deref())
        .collect();
    too_many(check, at, given.len());
    let mut bindings = Vec::new();
    for (i, raw) in given.iter().enumerate() {
        let at = at.index(i);
        check.later(&at.key("sink"), &raw.sink, &json!("default"));
        let sample = collect_when(check, &at.key("when"), raw.when.as_ref());
        let bounds = 0..=COLLECT_BODY_BYTES_MAX;
        let body_bytes = check.size(
            &at.key("bodyBytes"),
            raw.body_bytes,
            COLLECT_BODY_BYTES,
            bounds,
        );
        let names = collect_versions(
            check,
            &at.key("versions"),
            raw.versions.as_deref(),
            &versions,
        );
        let policy = raw::Binding {
            plugin: raw.plugin.clone(),
            config: raw.config.clone(),
            cache_by: None,
            isolation: raw.isolation.clone(),
        };
        if let Some(binding) = binding(check, &at, &policy, Role::Collect, known) {
            bindings.push(CollectBinding {
                binding,
                body_bytes,
                sample,
                versions: names,
            });
        }
    }
    bindings
}

fn collect_when(check: &mut Check<'_>, at: &At<'_>, raw: Option<&raw::When>) -> Percent {
    let Some(raw) = raw else { return Percent::ALL };
    check.later(&at.key("failures"), &raw.failures, &json!(null));
    check.later(&at.key("callers"), &raw.callers, &json!([]));
    raw.sample.unwrap_or(Percent::ALL)
}

fn collect_versions(
    check: &mut Check<'_>,
    at: &At<'_>,
    given: Option<&[String]>,
    known: &[&str],
) -> Vec<Name> {
    let mut names = Vec::new();
    for (i, text) in given.unwrap_or_default().iter().enumerate() {
        if !known.contains(&text.as_str()) {
            let message = format!("no version is named {}", shown_text(text));
            check.tell_with(&at.index(i), message, suggestion(text, known));
        } else if let Ok(name) = Name::parse(text) {
            names.push(name);
        }
    }
    names
}

fn versions(
    check: &mut Check<'_>,
    spec_at: &At<'_>,
    given: Option<&[raw::Version]>,
) -> Vec<Version> {
    let Some(given) = check.required(given, spec_at, "versions") else {
        return Vec::new();
    };
    let at = spec_at.key("versions");
    if given.is_empty() || given.len() > VERSIONS_MAX {
        check.tell(
            &at,
            format!("{} versions; 1 to {VERSIONS_MAX}", given.len()),
        );
    }
    unique(check, &at, given);
    traffic(check, &at, given);
    let marked = |f: fn(&raw::Version) -> bool| {
        let marked = given.iter().enumerate().filter(|(_, version)| f(version));
        marked
            .map(|(i, version)| (i, shown_name(version, i)))
            .collect::<Vec<_>>()
    };
    let defaults = marked(|version| version.default == Some(true));
    if defaults.len() > 1 {
        let message = format!("{} are default; exactly one can be", listed(&defaults));
        check.tell(&at, message);
    } else if defaults.is_empty()
        && given.iter().all(|version| version.default == Some(false))
        && !given.is_empty()
    {
        check.tell(
            &at,
            "every version says default: false; exactly one is the default",
        );
    }
    let controls = marked(|version| version.kind == Some(raw::VersionType::Control));
    if controls.len() > 1 {
        check.tell(
            &at,
            format!("{} are control; at most one can be", listed(&controls)),
        );
    }
    // The first that does not say no, so that one always is.
    let default = defaults.first().map(|(i, _)| *i).or_else(|| {
        given
            .iter()
            .position(|version| version.default != Some(false))
    });
    let mut versions = Vec::new();
    for (i, raw) in given.iter().enumerate() {
        versions.extend(version(check, &at.index(i), raw, default == Some(i)));
    }
    versions
}

fn unique(check: &mut Check<'_>, at: &At<'_>, given: &[raw::Version]) {
    for (i, version) in given.iter().enumerate() {
        let before = given.get(..i).unwrap_or_default();
        if version.name.is_some() && before.iter().any(|other| other.name == version.name) {
            let message = format!("{} is the name of two versions", shown_name(version, i));
            check.tell(&at.index(i).key("name"), message);
        }
    }
}

fn traffic(check: &mut Check<'_>, at: &At<'_>, given: &[raw::Version]) {
    let shares: Vec<Percent> = given
        .iter()
        .filter_map(|version| version.traffic)
        .filter(|share| *share != Percent::ZERO)
        .collect();
    let sum: u64 = shares.iter().map(|share| share.hundredths()).sum();
    if sum > Percent::ALL.hundredths() {
        let shown = |hundredths: u64| match (hundredths / 100, hundredths % 100) {
            (whole, 0) => whole.to_string(),
            (whole, rest) => format!("{whole}.{rest:02}")
                .trim_end_matches('0')
                .to_owned(),
        };
        let shares: Vec<String> = shares.iter().map(Percent::to_string).collect();
        let (last, front) = shares
            .split_last()
            .map_or(("", &[][..]), |(l, f)| (l.as_str(), f));
        let message = format!(
            "traffic of {} and {last} adds up to {}; at most 100",
            front.join(", "),
            shown(sum)
        );
        check.tell(at, message);
    }
}

fn shown_name(version: &raw::Version, index: usize) -> String {
    version.name.clone().unwrap_or_else(|| format!("[{index}]"))
}

fn listed(names: &[(usize, String)]) -> String {
    names
        .iter()
        .map(|(_, name)| name.as_str())
        .collect::<Vec<_>>()
        .join(" and ")
}
