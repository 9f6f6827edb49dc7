//! Checks a GatewayConfig.
//!
//! Knows only this one document. Called by `load`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use crate::resource::check::{At, Check, LATER};
use crate::resource::defaults::{
    ADMIN_ADDRESS, LIMITS, LISTENER_ADDRESS, MEMORY_MIN, REVISIONS, REVISIONS_MAX, TIMEOUT, WAIT,
};
use crate::resource::node::shown_text;
use crate::resource::raw::gateway as raw;
use crate::resource::{
    AccessLog, Admin, CertificateFiles, GatewayConfig, Limits, Listener, ListenerTls, TlsPolicy,
};
use crate::units::Size;

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            threads: None,
            listeners: vec![default_listener()],
            admin: Admin {
                address: ADMIN_ADDRESS,
                certificate: None,
                allow_local: false,
            },
            limits: LIMITS,
            trusted_proxies: Vec::new(),
            access_log: AccessLog::Stdout,
            revisions: REVISIONS,
        }
    }
}

fn default_listener() -> Listener {
    Listener {
        name: "https".to_owned(),
        address: LISTENER_ADDRESS,
        tls: ListenerTls::Development,
    }
}

/// The gateway of `spec`; meaningless where a problem was told.
pub(in crate::resource) fn gateway(
    check: &mut Check<'_>,
    spec: &raw::GatewaySpec,
) -> GatewayConfig {
    let at = At::ROOT.key("spec");
    let threads = check.number(&at.key("threads"), spec.threads, 0, 0..=1024);
    later(check, &at, spec);
    GatewayConfig {
        threads: usize::try_from(threads).ok().and_then(NonZeroUsize::new),
        listeners: listeners(check, &at.key("listeners"), spec.listeners.as_deref()),
        admin: admin(check, &at.key("admin"), spec.admin.as_ref()),
        limits: limits(check, &at.key("limits"), spec.limits.as_ref()),
        trusted_proxies: networks(
            check,
            &at.key("trustedProxies"),
            spec.trusted_proxies.as_deref(),
        ),
        access_log: access_log(check, &at.key("accessLog"), spec.access_log.as_ref()),
        revisions: revisions(check, &at.key("store"), spec.store.as_ref()),
    }
}

fn later(check: &mut Check<'_>, at: &At<'_>, spec: &raw::GatewaySpec) {
    check.later(&at.key("secrets"), &spec.secrets, &json!([]));
    check.later(&at.key("limiters"), &spec.limiters, &json!([]));
    check.later(
        &at.key("telemetry"),
        &spec.telemetry,
        &json!({ "otlp": null }),
    );
    if let Some(collect) = &spec.collect {
        let at = at.key("collect");
        let spool = json!({ "bytes": "1Gi", "whenFull": "dropNewest" });
        let sinks = json!([{
            "name": "default", "format": "cloudevents", "url": null,
            "roll": { "every": "1m", "bytes": "64Mi" },
        }]);
        check.later(&at.key("spool"), &collect.spool, &spool);
        check.later(&at.key("sinks"), &collect.sinks, &sinks);
        check.later(&at.key("door"), &collect.door, &json!({ "address": null }));
    }
}

fn listeners(check: &mut Check<'_>, at: &At<'_>, given: Option<&[raw::Listener]>) -> Vec<Listener> {
    let Some(given) = given else {
        return vec![default_listener()];
    };
    if given.is_empty() {
        check.tell(
            at,
            "no listener; at least one, or leave it out for https on 0.0.0.0:8443",
        );
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for (i, raw) in given.iter().enumerate() {
        let at = at.index(i);
        let Some(listener) = listener(check, &at, raw) else {
            continue;
        };
        for other in &listeners {
            if other.name == listener.name {
                check.tell(
                    &at.key("name"),
                    format!("{:?} is the name of two listeners", other.name),
                );
            }
            if other.address == listener.address && other.address.port() != 0 {
                check.tell(
                    &at.key("address"),
                    format!("{} is taken by listener {:?}", other.address, other.name),
                );
            }
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Listener) -> Option<Listener> {
    let name = check.required(raw.name.as_ref(), at, "name").cloned();
    if let Some(name) = &name {
        let fits = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            check.tell(
                &at.key("name"),
                format!(
                    "{} is not a listener's name: 1 to 32 lower-case letters, digits and `-`",
                    shown_text(name)
                ),
            );
        }
    }
    let address = check.required(raw.address.as_ref(), at, "address");
    let address = address.and_then(|text| socket_address(check, &at.key("address"), text));
    check.later(
        &at.key("redirectToHttps"),
        &raw.redirect_to_https,
        &json!(false),
    );
    let tls = match &raw.tls {
        None => ListenerTls::Development,
        Some(tls) => listener_tls(check, &at.key("tls"), tls),
    };
    Some(Listener {
        name: name?,
        address: address?,
        tls,
    })
}

fn socket_address(check: &mut Check<'_>, at: &At<'_>, text: &str) -> Option<SocketAddr> {
    text.parse()
        .map_err(|_| {
            let message = format!(
                "{} is not ADDRESS:PORT, as in 0.0.0.0:8443 or [::1]:8443",
                shown_text(text)
            );
            check.tell(at, message);
        })
        .ok()
}

fn listener_tls(check: &mut Check<'_>, at: &At<'_>, raw: &raw::ListenerTls) -> ListenerTls {
    check.later(
        &at.key("clientAuth"),
        &raw.client_auth,
        &json!({ "mode": "none" }),
    );
    check.later(&at.key("acme"), &raw.acme, &json!(null));
    check.later(&at.key("hsts"), &raw.hsts, &json!(null));
    let given = raw.certificates.as_deref().unwrap_or_default();
    let certificates = certificates(check, &at.key("certificates"), given);
    let mode = raw.mode.unwrap_or(if given.is_empty() {
        raw::TlsMode::Development
    } else {
        raw::TlsMode::Certificates
    });
    let alone = |check: &mut Check<'_>, word: &str| {
        if !given.is_empty() {
            let message = format!("mode {word} uses no certificates; leave one of the two out");
            check.tell(&at.key("certificates"), message);
        }
    };
    match mode {
        raw::TlsMode::None => {
            alone(check, "none");
            ListenerTls::None
        }
        raw::TlsMode::Development => {
            alone(check, "development");
            ListenerTls::Development
        }
        raw::TlsMode::Acme => {
            let hint = Some("until then: certificates, development or none".to_owned());
            check.tell_with(
                &at.key("mode"),
                format!("acme {}", LATER.trim_end_matches("; leave it out")),
                hint,
            );
            ListenerTls::Development
        }
        raw::TlsMode::Certificates => {
            if given.is_empty() {
                check.missing(at, &["certificates"], "mode certificates needs certificates, as in [{ certFile: tls.crt, keyFile: tls.key }]");
            }
            let policy = match raw.policy {
                None | Some(raw::TlsPolicy::Modern) => TlsPolicy::Modern,
                Some(raw::TlsPolicy::Compatible) => TlsPolicy::Compatible,
            };
            ListenerTls::Certificates {
                certificates,
                policy,
            }
        }
    }
}

fn certificates(
    check: &mut Check<'_>,
    at: &At<'_>,
    given: &[raw::CertificateFiles],
) -> Vec<CertificateFiles> {
    let mut certificates = Vec::new();
    for (i, raw) in given.iter().enumerate() {
        let at = at.index(i);
        let cert = check.required(raw.cert_file.as_ref(), &at, "certFile");
        let cert_file = cert.and_then(|text| check.path(text, &at.key("certFile")));
        let key = check.required(raw.key_file.as_ref(), &at, "keyFile");
        let key_file = key.and_then(|text| check.path(text, &at.key("keyFile")));
        if let (Some(cert_file), Some(key_file)) = (cert_file, key_file) {
            certificates.push(CertificateFiles {
                cert_file,
                key_file,
            });
        }
    }
    certificates
}

fn admin(check: &mut Check<'_>, at: &At<'_>, raw: Option<&raw::Admin>) -> Admin {
    let mut admin = Admin {
        address: ADMIN_ADDRESS,
        certificate: None,
        allow_local: false,
    };
    let Some(raw) = raw else { return admin };
    admin.allow_local = raw.allow_local.unwrap_or(false);
    let tls = raw.tls.clone().unwrap_or_default();
    let given = tls.certificates.as_deref().unwrap_or_default();
    let tls_at = at.key("tls");
    let certificates = certificates(check, &tls_at.key("certificates"), given);
    let secured = match tls.mode {
        None | Some(raw::AdminTlsMode::None) => {
            if !given.is_empty() {
                check.tell(
                    &tls_at.key("certificates"),
                    "mode none uses no certificates; write mode: certificates",
                );
            }
            false
        }
        Some(raw::AdminTlsMode::Certificates) => {
            if given.len() != 1 {
                check.missing(
                    &tls_at,
                    &["certificates"],
                    format!(
                        "{} certificates; mode certificates needs exactly one",
                        given.len()
                    ),
                );
            }
            admin.certificate = certificates.into_iter().next();
            true
        }
    };
    if let Some(text) = &raw.address {
        admin.address = socket_address(check, &at.key("address"), text).unwrap_or(ADMIN_ADDRESS);
    }
    if !secured && !admin.address.ip().is_loopback() {
        let message = format!(
            "{} is not loopback; there the admin API needs tls: {{ mode: certificates, certificates: […] }}",
            admin.address
        );
        check.tell(&at.key("address"), message);
    }
    admin
}

fn limits(check: &mut Check<'_>, at: &At<'_>, raw: Option<&raw::Limits>) -> Limits {
    let Some(raw) = raw else { return LIMITS };
    let mut limits = LIMITS;
    limits.memory = raw.memory.map(Size::bytes).filter(|bytes| *bytes != 0);
    if let Some(bytes) = limits.memory.filter(|bytes| *bytes < MEMORY_MIN) {
        let message = format!("{bytes} bytes are too few to run in; at least 64Mi, or 0");
        check.tell(&at.key("memory"), message);
    }
    limit_counts(check, at, raw, &mut limits);
    limit_sizes(check, at, raw, &mut limits);
    limit_times(check, at, raw, &mut limits);
    limits
}

fn limit_counts(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Limits, limits: &mut Limits) {
    let mut count = |key: &str, given, default: usize, bounds| {
        fit(check.number(&at.key(key), given, default as u64, bounds))
    };
    limits.connections = count(
        "connections",
        raw.connections,
        limits.connections,
        1..=10_000_000,
    );
    limits.head_fields = count("headFields", raw.head_fields, limits.head_fields, 1..=1_000);
    let streams = fit(u64::from(limits.streams_per_connection));
    let streams = count(
        "streamsPerConnection",
        raw.streams_per_connection,
        streams,
        1..=10_000,
    );
    limits.streams_per_connection = u32::try_from(streams).unwrap_or(u32::MAX);
}

fn limit_sizes(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Limits, limits: &mut Limits) {
    let mut size = |key: &str, given, default: usize, bounds| {
        fit(check.size(&at.key(key), given, default as u64, bounds))
    };
    let head = size(
        "headBytes",
        raw.head_bytes,
        limits.head_bytes,
        8 << 10..=1 << 20,
    );
    let target = size(
        "targetBytes",
        raw.target_bytes,
        limits.target_bytes,
        256..=64 << 10,
    );
    if target > head {
        let message = format!("{target} bytes of a target do not fit headBytes of {head}");
        check.tell(&at.key("targetBytes"), message);
    }
    (limits.head_bytes, limits.target_bytes) = (head, target);
}

fn limit_times(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Limits, limits: &mut Limits) {
    let mut time = |key: &str, given, value: &mut Duration, bounds: &RangeInclusive<Duration>| {
        *value = check.duration(&at.key(key), given, *value, bounds);
    };
    time(
        "tlsHandshakeTimeout",
        raw.tls_handshake_timeout,
        &mut limits.tls_handshake_timeout,
        &TIMEOUT,
    );
    time(
        "headTimeout",
        raw.head_timeout,
        &mut limits.head_timeout,
        &TIMEOUT,
    );
    time(
        "bodyIdleTimeout",
        raw.body_idle_timeout,
        &mut limits.body_idle_timeout,
        &TIMEOUT,
    );
    time(
        "idleTimeout",
        raw.idle_timeout,
        &mut limits.idle_timeout,
        &TIMEOUT,
    );
    time(
        "upstreamIdle",
        raw.upstream_idle,
        &mut limits.upstream_idle,
        &WAIT,
    );
    time("drain", raw.drain, &mut limits.drain, &WAIT);
}

fn fit(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn networks(check: &mut Check<'_>, at: &At<'_>, given: Option<&[String]>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (i, text) in given.unwrap_or_default().iter().enumerate() {
        match (text.parse::<IpNet>(), text.parse::<std::net::IpAddr>()) {
            (Ok(network), _) => networks.push(network.trunc()),
            (_, Ok(address)) => networks.push(address.into()),
            _ => check.tell(
                &at.index(i),
                format!(
                    "{} is not a network, as in 10.0.0.0/8 or ::1",
                    shown_text(text)
                ),
            ),
        }
    }
    networks
}

fn access_log(check: &mut Check<'_>, at: &At<'_>, raw: Option<&raw::AccessLog>) -> AccessLog {
    let Some(raw) = raw else {
        return AccessLog::Stdout;
    };
    if raw.format == Some(raw::AccessLogFormat::Common) {
        let hint = Some("until then it is json".to_owned());
        check.tell_with(&at.key("format"), format!("common {LATER}"), hint);
    }
    match raw.to.as_deref() {
        None | Some("stdout") => AccessLog::Stdout,
        Some("stderr") => AccessLog::Stderr,
        Some("none") => AccessLog::None,
        Some(path) => check
            .path(path, &at.key("to"))
            .map_or(AccessLog::None, AccessLog::File),
    }
}

fn revisions(check: &mut Check<'_>, at: &At<'_>, raw: Option<&raw::Store>) -> u32 {
    let given = raw.and_then(|raw| raw.revisions);
    let bounds = 1..=u64::from(REVISIONS_MAX);
    let number = check.number(&at.key("revisions"), given, u64::from(REVISIONS), bounds);
    u32::try_from(number).unwrap_or(REVISIONS)
}
