//! Checks one version of an endpoint.
//!
//! What versions add up to is `endpoint`'s. Called by it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::resource::check::endpoint::is_host;
use crate::resource::check::scale::{liveness, probe, scale};
use crate::resource::check::{At, Check, LATER};
use crate::resource::defaults::{
    CONCURRENT_REQUESTS, GPU_NAME, GRACE, INHERIT_ENV, PATHS, QUEUE_PER_SLOT, QUEUE_WAIT,
    REPLICAS_MAX, REQUESTS, SCORING_TIMEOUT, STREAM_IDLE_TIMEOUT, TIMEOUT, WAIT,
};
use crate::resource::node::shown_text;
use crate::resource::raw::endpoint as raw;
use crate::resource::{CallerGone, Process, Runtime, Scale, UpstreamTls, Version, VersionType};
use crate::units::{Cpu, Memory, Percent};

/// The version of `raw`; meaningless where a problem was told.
pub(super) fn version(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: &raw::Version,
    default: bool,
) -> Option<Version> {
    let name = check.name(raw.name.as_ref(), at, "name");
    let runtime = runtime(check, at, raw);
    let scale = scale(check, at, raw);
    let slots = check.number(
        &at.key("maxConcurrentRequests"),
        raw.max_concurrent_requests,
        CONCURRENT_REQUESTS,
        1..=100_000,
    );
    let queue = queue_capacity(check, at, raw, slots, &scale);
    Some(Version {
        traffic: raw.traffic.unwrap_or(Percent::ZERO),
        default,
        kind: raw.kind.map(|kind| match kind {
            raw::VersionType::Control => VersionType::Control,
            raw::VersionType::Treatment => VersionType::Treatment,
        }),
        description: raw.description.clone().unwrap_or_default(),
        tags: raw.tags.clone().unwrap_or_default(),
        properties: raw.properties.clone().unwrap_or_default(),
        paths: paths(check, &at.key("paths"), raw.paths.as_deref()),
        max_concurrent_requests: u32::try_from(slots)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN),
        max_queue_wait: check.duration(
            &at.key("maxQueueWait"),
            raw.max_queue_wait,
            QUEUE_WAIT,
            &WAIT,
        ),
        queue_capacity: usize::try_from(queue).unwrap_or(usize::MAX),
        scoring_timeout: check.duration(
            &at.key("scoringTimeout"),
            raw.scoring_timeout,
            SCORING_TIMEOUT,
            &TIMEOUT,
        ),
        stream_idle_timeout: check.duration(
            &at.key("streamIdleTimeout"),
            raw.stream_idle_timeout,
            STREAM_IDLE_TIMEOUT,
            &TIMEOUT,
        ),
        caller_gone: match raw.caller_gone {
            None | Some(raw::CallerGone::Finish) => CallerGone::Finish,
            Some(raw::CallerGone::Abort) => CallerGone::Abort,
        },
        scale,
        warm_up: check.duration(&at.key("warmUp"), raw.warm_up, Duration::ZERO, &WAIT),
        readiness: probe(
            check,
            &at.key("readiness"),
            raw.readiness.as_ref(),
            Duration::ZERO,
        ),
        liveness: liveness(check, &at.key("liveness"), raw.liveness.as_ref()),
        resources: resources(check, &at.key("resources"), raw.resources.as_ref()),
        name: name?,
        runtime: runtime?,
    })
}

/// Room for waiting requests; by default some for each slot there may be.
fn queue_capacity(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: &raw::Version,
    slots: u64,
    scale: &Scale,
) -> u64 {
    let most = match scale {
        Scale::Fixed(count) => *count,
        Scale::Auto(autoscale) => autoscale.max_replicas,
    };
    let room = slots
        .saturating_mul(u64::from(most))
        .saturating_mul(QUEUE_PER_SLOT);
    match raw.queue_capacity {
        None => room.min(1_000_000),
        given => check.number(&at.key("queueCapacity"), given, room, 0..=1_000_000),
    }
}

fn runtime(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Version) -> Option<Runtime> {
    if raw.kubernetes.is_some() {
        let hint = Some("until then: process or static".to_owned());
        check.tell_with(&at.key("kubernetes"), LATER, hint);
        return None;
    }
    match (&raw.process, &raw.fixed) {
        (Some(_), Some(_)) => {
            check.tell(
                at,
                "both process and static; exactly one says where replicas run",
            );
            None
        }
        (Some(process_raw), None) => {
            process(check, &at.key("process"), process_raw).map(Runtime::Process)
        }
        (None, Some(fixed)) => addresses(check, &at.key("static"), fixed),
        (None, None) => {
            check.missing(
                at,
                &["process", "static", "kubernetes"],
                "neither process nor static; exactly one says where replicas run",
            );
            None
        }
    }
}

fn process(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Process) -> Option<Process> {
    let command = check.required(raw.command.clone(), at, "command");
    let command_at = at.key("command");
    if let Some(command) = &command {
        if command.first().is_none_or(String::is_empty) {
            check.tell(&command_at, "no program; write [PROGRAM, ARGUMENT…]");
        }
        for (i, part) in command
            .iter()
            .enumerate()
            .filter(|(_, part)| part.contains('\0'))
        {
            check.tell(
                &command_at.index(i),
                format!("{} has a NUL character", shown_text(part)),
            );
        }
    }
    let env = raw.env.clone().unwrap_or_default();
    environment(check, &at.key("env"), &env);
    let inherit = raw
        .inherit_env
        .clone()
        .unwrap_or_else(|| INHERIT_ENV.map(str::to_owned).to_vec());
    for (i, name) in inherit.iter().enumerate() {
        variable(check, &at.key("inheritEnv").index(i), name);
    }
    let dir = raw.dir.as_deref().unwrap_or(".");
    let dir = match (dir, check.base) {
        (".", Some(base)) => Some(base.to_owned()),
        _ => check.path(dir, &at.key("dir")),
    };
    let model_dir: Option<PathBuf> = raw
        .model_dir
        .as_deref()
        .and_then(|text| check.path(text, &at.key("modelDir")));
    if let Some(user) = &raw.user
        && (user.is_empty() || user.contains([':', '\0', '/']))
    {
        check.tell(
            &at.key("user"),
            format!("{} is not a user's name", shown_text(user)),
        );
    }
    let grace = check.duration(
        &at.key("grace"),
        raw.grace,
        GRACE,
        &(Duration::ZERO..=Duration::from_secs(3_600)),
    );
    Some(Process {
        command: command?,
        dir: dir?,
        env,
        inherit_env: inherit,
        model_dir,
        user: raw.user.clone(),
        grace,
    })
}

fn environment(check: &mut Check<'_>, at: &At<'_>, env: &BTreeMap<String, String>) {
    for (name, value) in env {
        let at = at.key(name);
        variable(check, &at, name);
        match name.as_str() {
            "PORT" => check.tell(&at, "PORT is set by the gateway; leave it out"),
            "AZUREML_MODEL_DIR" => {
                check.tell(
                    &at,
                    "AZUREML_MODEL_DIR is set by the gateway; write modelDir",
                );
            }
            _ if value.contains('\0') => check.tell(&at, "the value has a NUL character"),
            _ => {}
        }
    }
}

fn variable(check: &mut Check<'_>, at: &At<'_>, name: &str) {
    if name.is_empty() || name.contains(['=', '\0']) {
        let message = format!(
            "{} is not the name of an environment variable",
            shown_text(name)
        );
        check.tell(at, message);
    }
}

fn addresses(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Static) -> Option<Runtime> {
    let tls = raw
        .tls
        .as_ref()
        .map(|tls| upstream_tls(check, &at.key("tls"), tls));
    let given = check.required(raw.addresses.as_ref(), at, "addresses")?;
    let at = at.key("addresses");
    if given.is_empty() || given.len() as u64 > REPLICAS_MAX {
        check.tell(
            &at,
            format!("{} addresses; 1 to {REPLICAS_MAX}", given.len()),
        );
    }
    let mut addresses: Vec<String> = Vec::new();
    for (i, text) in given.iter().enumerate() {
        if !is_address(text) {
            let message = format!(
                "{} is not HOST:PORT, as in 127.0.0.1:9001",
                shown_text(text)
            );
            check.tell(&at.index(i), message);
        } else if addresses.iter().any(|one| same_address(one, text)) {
            check.tell(
                &at.index(i),
                format!("{text} is there twice, so that its slots would count twice"),
            );
        } else {
            addresses.push(text.clone());
        }
    }
    Some(Runtime::Static { addresses, tls })
}

fn upstream_tls(check: &mut Check<'_>, at: &At<'_>, raw: &raw::StaticTls) -> UpstreamTls {
    if let Some(name) = raw.server_name.as_ref().filter(|name| !is_host(name)) {
        let message = format!("{} is not a host name", shown_text(name));
        check.tell(&at.key("serverName"), message);
    }
    UpstreamTls {
        ca_file: raw
            .ca_file
            .as_ref()
            .and_then(|file| check.path(file, &at.key("caFile"))),
        server_name: raw.server_name.clone(),
    }
}

/// Whether two are one but for the spelling.
fn same_address(one: &str, other: &str) -> bool {
    let parsed = |text: &str| text.parse::<std::net::SocketAddr>().ok();
    match (parsed(one), parsed(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    // 0 is no port, and 080 another spelling of 80.
    if port.starts_with('0') {
        return false;
    }
    text.parse::<std::net::SocketAddr>().is_ok()
        || is_host(host)
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
            // `300.1.1.1` is a broken address, never a name.
            && !host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

fn paths(check: &mut Check<'_>, at: &At<'_>, given: Option<&[String]>) -> Vec<String> {
    let Some(given) = given else {
        return PATHS.map(str::to_owned).to_vec();
    };
    if given.is_empty() {
        check.tell(
            at,
            "no path, so that no request could reach the model; write /* for all",
        );
    }
    if given.len() > 100 {
        check.tell(at, format!("{} paths; at most 100", given.len()));
    }
    for (i, path) in given.iter().enumerate() {
        let plain = path.strip_suffix("/*").unwrap_or(path);
        let starts = path.starts_with('/');
        let visible = plain
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"*?#\\%".contains(&b));
        let dots = plain
            .split('/')
            .any(|segment| segment == "." || segment == "..");
        if !starts || !visible || dots {
            let message = format!(
                "{} is not a path: it starts with /, has no *, ?, #, %, \\ or dot segment, and may end in /*",
                shown_text(path)
            );
            check.tell(&at.index(i), message);
        }
    }
    given.to_vec()
}

fn resources(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: Option<&raw::Resources>,
) -> serde_json::Value {
    let raw = raw.cloned().unwrap_or_default();
    let requests = raw.requests.unwrap_or_default();
    let limits = raw.limits.unwrap_or_default();
    let cpu = requests.cpu.or_else(|| Cpu::parse(REQUESTS.0).ok());
    let memory = requests.memory.or_else(|| Memory::parse(REQUESTS.1).ok());
    let limits_at = at.key("limits");
    if let (Some(request), Some(limit)) = (cpu, limits.cpu)
        && limit < request
    {
        check.tell(
            &limits_at.key("cpu"),
            format!("{limit} is below the request of {request}"),
        );
    }
    if let (Some(request), Some(limit)) = (memory, limits.memory)
        && limit < request
    {
        check.tell(
            &limits_at.key("memory"),
            format!("{limit} is below the request of {request}"),
        );
    }
    let gpu = raw.gpu.unwrap_or_default();
    let count = check.number(&at.key("gpu").key("count"), gpu.count, 0, 0..=1_024);
    let text =
        |value: Option<String>| value.map_or(serde_json::Value::Null, serde_json::Value::String);
    let mut shown = json!({
        "requests": { "cpu": text(cpu.map(|v| v.to_string())), "memory": text(memory.map(|v| v.to_string())) },
        "gpu": { "count": count, "name": gpu.name.unwrap_or_else(|| GPU_NAME.to_owned()) },
    });
    let mut limit = serde_json::Map::new();
    limit.extend(limits.cpu.map(|v| ("cpu".to_owned(), json!(v.to_string()))));
    limit.extend(
        limits
            .memory
            .map(|v| ("memory".to_owned(), json!(v.to_string()))),
    );
    if let (false, Some(shown)) = (limit.is_empty(), shown.as_object_mut()) {
        shown.insert("limits".to_owned(), limit.into());
    }
    shown
}
