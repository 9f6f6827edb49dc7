//! What is seen of exchanges from outside: the names people build alerts on, and
//! the access line.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, root, until, yaml};

/// Name, type, labels in alphabetical order: SEMANTICS §11.
const METRICS: &[(&str, &str, &str)] = &[
    ("requests_total", "counter", "endpoint fault status version"),
    ("request_seconds", "histogram", "endpoint version"),
    ("routing_seconds", "histogram", "endpoint version"),
    ("queue_wait_seconds", "histogram", "endpoint version"),
    (
        "upstream_first_byte_seconds",
        "histogram",
        "endpoint version",
    ),
    ("slots", "gauge", "endpoint state version"),
    ("queue_depth", "gauge", "endpoint version"),
    ("replicas", "gauge", "endpoint state version"),
    ("policy_seconds", "histogram", "plugin role"),
    ("policy_faults_total", "counter", "kind plugin role"),
    ("policy_decisions_total", "counter", "decision plugin role"),
    ("plugin_instances", "gauge", "plugin"),
    ("plugin_versions_live", "gauge", "plugin"),
    ("plugin_swaps_total", "counter", "plugin result"),
    (
        "collect_entries_total",
        "counter",
        "endpoint result version",
    ),
    ("certificate_expiry_seconds", "gauge", "name"),
    ("build_info", "gauge", "version"),
];

/// What `docs/METRICS.md` says of each family: its type, and its labels as above.
fn documented() -> BTreeMap<String, (String, String)> {
    let page = std::fs::read_to_string(root().join("docs/METRICS.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.replace('`', "")).collect();
        let [_, name, kind, labels, ..] = cells.as_slice() else {
            return None;
        };
        let name = name.trim().strip_prefix("tidegate_")?;
        let mut labels: Vec<&str> = labels.split(',').map(str::trim).collect();
        labels.sort_unstable();
        Some((name.to_owned(), (kind.trim().to_owned(), labels.join(" "))))
    };
    page.lines().filter_map(row).collect()
}

/// The families of a gateway whose plugins have no metrics of their own, with
/// their types.
fn families(text: &str) -> BTreeMap<String, String> {
    let of = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        // Every name has the prefix: one without it shows as it is.
        let name = name.strip_prefix("tidegate_").unwrap_or(name);
        Some((name.to_owned(), kind.to_owned()))
    };
    text.lines().filter_map(of).collect()
}

/// Neither the page nor the gateway has one that the other has not.
#[track_caller]
fn are_those_of_the_docs(text: &str) {
    let documented = documented();
    let kinds = documented
        .iter()
        .map(|(name, (kind, _))| (name.clone(), kind.clone()));
    assert_eq!(families(text), kinds.collect());
    let mut wrong = Vec::new();
    for (name, (_, labels)) in &documented {
        let of = samples(text, name);
        wrong.extend(of.into_iter().filter(|one| keys(one) != *labels));
    }
    assert!(wrong.is_empty(), "{}\n{text}", wrong.join("\n"));
}

/// Sets of label values that stand in samples of a family, as `a=b c=d`.
fn samples(text: &str, name: &str) -> BTreeSet<String> {
    let pattern = format!("tidegate_{name}");
    let of_family = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(&pattern)?;
        let rest = rest.strip_prefix("_count").unwrap_or(rest);
        let labels = rest.strip_prefix('{')?.split_once('}')?.0;
        let mut pairs: Vec<String> = labels
            .split(',')
            .map(|pair| pair.replace('"', ""))
            .collect();
        pairs.sort();
        Some(pairs.join(" "))
    });
    of_family.collect()
}

fn keys(sample: &str) -> String {
    let keys: Vec<&str> = sample
        .split(' ')
        .filter_map(|pair| pair.split('=').next())
        .collect();
    keys.join(" ")
}

fn start(replica: &Replica) -> Gateway {
    let spec = "auth: { mode: key }\ncollect: [{ plugin: model-data }]";
    let keys = "maxConcurrentRequests: 4\nscoringTimeout: 1s";
    let blue = yaml::version("blue", &[replica], &format!("traffic: 50\n{keys}"));
    let green = yaml::version("green", &[replica], &format!("traffic: 50\n{keys}"));
    let failing = "auth: { mode: custom, policies: [{ plugin: trap-auth }] }";
    let resources = [
        yaml::plugin("trap-auth", "auth", ""),
        yaml::endpoint("iris", spec, &[blue, green]),
        yaml::endpoint(
            "rose",
            failing,
            &[yaml::version("red", &[replica], "traffic: 100")],
        ),
    ];
    let module = std::fs::read(guests::build("trap-auth", "one")).unwrap();
    let gateway = tidegate_tests::gateway::Setup::new(&resources.concat())
        .file("trap-auth.wasm", module)
        .start();
    gateway.healthy("iris");
    gateway.healthy("rose");
    gateway
}

/// What a caller may say that must stand in no label.
const FOREIGN: &str = "no-such-name";

/// One exchange of every kind; what each access line must say of it.
fn exchanges(gateway: &Gateway) -> Vec<(&'static str, Value)> {
    let bearer = gateway.bearer("iris");
    let key = ("authorization", bearer.as_str());
    let blue = ("azureml-model-deployment", "blue");
    let mut seen = Vec::new();
    let mut send = |what, endpoint: &str, query: &str, headers: &[(&str, &str)]| {
        let id = format!("id-{what}");
        let mut headers = headers.to_vec();
        headers.push(("x-request-id", &id));
        let answer = gateway.score(endpoint, query, &headers);
        seen.push((what, Value::from(answer.status)));
    };
    send("good", "iris", "?secret=1", &[key]);
    send("pinned", "iris", "", &[key, blue]);
    send(
        "bad-pin",
        "iris",
        "",
        &[key, ("azureml-model-deployment", FOREIGN)],
    );
    send("no-key", "iris", "", &[]);
    send(
        "wrong-key",
        "iris",
        "",
        &[("authorization", "Bearer no-such-name")],
    );
    send("nowhere", FOREIGN, "", &[]);
    send("policy", "rose", "", &[]);
    send("late", "iris", "?hang", &[key]);
    send("vanished", "iris", "?vanish", &[key]);
    send("model-error", "iris", "?status=500", &[key]);
    seen
}

/// Waits until entries were taken and all of them were delivered; the files
/// have as many lines then.
#[track_caller]
fn every_entry_is_delivered(gateway: &Gateway) {
    let collected = |result: &str| {
        let labels = [("endpoint", "iris"), ("result", result)];
        gateway.metric("tidegate_collect_entries_total", &labels)
    };
    until("as many lines as entries", Duration::from_secs(20), || {
        let delivered = collected("delivered");
        let folder = gateway.state().join("modeldata/iris");
        let lines = f64::from(lines_below(&folder));
        assert!(lines >= delivered, "{delivered} delivered, {lines} written");
        (delivered >= 2.0 && delivered == collected("taken") && delivered == lines).then_some(())
    });
}

/// Lines of all files below a folder.
fn lines_below(folder: &Path) -> u32 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let lines = |path: PathBuf| {
        if path.is_dir() {
            return lines_below(&path);
        }
        let text = std::fs::read(path).unwrap_or_default();
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        u32::try_from(lines).unwrap()
    };
    entries.map(|entry| lines(entry.path())).sum()
}

#[test]
fn before_the_first_exchange_every_metric_has_its_type_and_no_histogram_a_sample() {
    let replica = Replica::start("a");
    let gateway = Gateway::start(&yaml::open(
        "iris",
        &[yaml::version("blue", &[&replica], "")],
    ));
    let text = gateway.metrics();
    for (name, kind, _) in METRICS {
        let head = format!("# TYPE tidegate_{name} {kind}\n");
        assert!(text.contains(&head), "{name}:\n{text}");
    }
    assert!(samples(&text, "request_seconds").is_empty(), "{text}");
    are_those_of_the_docs(&text);
    gateway.healthy("iris");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    until("the exchange is seen", Duration::from_secs(20), || {
        let seen = samples(&gateway.metrics(), "request_seconds");
        seen.contains("endpoint=iris version=blue").then_some(())
    });
}

#[test]
fn every_metric_has_its_name_type_and_labels_and_none_is_from_a_request() {
    let replica = Replica::start("a");
    let gateway = start(&replica);
    exchanges(&gateway);
    gateway.swap("weighted-split", &guests::build("weighted-split", "one"));
    every_entry_is_delivered(&gateway);
    let text = gateway.metrics();
    let mut wrong = Vec::new();
    for (name, kind, labels) in METRICS {
        if !text.contains(&format!("# TYPE tidegate_{name} {kind}\n")) {
            wrong.push(format!("{name} is no {kind}"));
        }
        let samples = samples(&text, name);
        if samples.is_empty() {
            wrong.push(format!("{name} has no sample"));
        }
        wrong.extend(samples.iter().filter(|one| keys(one) != *labels).cloned());
    }
    assert!(wrong.is_empty(), "{}\n{text}", wrong.join("\n"));
    assert!(!text.contains(FOREIGN), "{text}");
    are_those_of_the_docs(&text);
    let has = |name: &str, sample: &str| {
        assert!(
            samples(&text, name).contains(sample),
            "{name} {sample}:\n{text}"
        );
    };
    for (endpoint, fault, status, version) in [
        ("iris", "", "2xx", "blue"),
        ("iris", "", "5xx", "blue"),
        ("iris", "unauthenticated", "4xx", ""),
        ("iris", "not-found", "4xx", ""),
        ("", "not-found", "4xx", ""),
        ("rose", "policy-failed", "5xx", ""),
    ] {
        // The version of what was not pinned is a matter of chance.
        let of = |version| {
            format!("endpoint={endpoint} fault={fault} status={status} version={version}")
        };
        let found = samples(&text, "requests_total");
        let either = version == "blue" && found.contains(&of("green"));
        assert!(
            either || found.contains(&of(version)),
            "{}:\n{text}",
            of(version)
        );
    }
    for state in ["busy", "free"] {
        has(
            "slots",
            &format!("endpoint=iris state={state} version=blue"),
        );
    }
    for state in ["wanted", "ready", "starting", "draining"] {
        has(
            "replicas",
            &format!("endpoint=iris state={state} version=blue"),
        );
    }
    has(
        "policy_faults_total",
        "kind=trap plugin=trap-auth role=auth",
    );
    for decision in ["allow", "pass", "remembered"] {
        has(
            "policy_decisions_total",
            &format!("decision={decision} plugin=key-auth role=auth"),
        );
    }
    has("certificate_expiry_seconds", "name=https");
}

/// The keys of a line, in the order of SEMANTICS §11.
const KEYS: [&str; 17] = [
    "time",
    "requestId",
    "endpoint",
    "version",
    "replica",
    "method",
    "path",
    "status",
    "fault",
    "caller",
    "durationMs",
    "queueMs",
    "policyMs",
    "upstreamMs",
    "requestBytes",
    "responseBytes",
    "policies",
];

#[test]
fn every_exchange_has_one_line_with_its_keys() {
    let replica = Replica::start("a");
    let gateway = start(&replica);
    let sent = exchanges(&gateway);
    let lines = gateway.access_lines_at_least(sent.len());
    let mut by_id: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for line in &lines {
        let id = line["requestId"].as_str().unwrap().to_owned();
        by_id.entry(id).or_default().push(line);
        for key in KEYS {
            assert!(line.get(key).is_some(), "no {key} in {line}");
        }
        assert!(!line.to_string().contains("secret"), "{line}");
    }
    let roles = |line: &Value| -> Vec<String> {
        let policies = line["policies"].as_array().unwrap();
        let role = |one: &Value| one["role"].as_str().unwrap().to_owned();
        policies.iter().map(role).collect()
    };
    for (what, status) in sent {
        let of = &by_id[&format!("id-{what}")];
        assert_eq!(of.len(), 1, "{of:?}");
        let line = of[0];
        assert_eq!(line["status"], status, "{what}: {line}");
        let (fault, decided): (Value, &[&str]) = match what {
            "good" | "model-error" => (Value::Null, &["auth", "split"]),
            // A pin skips the split policy.
            "pinned" => (Value::Null, &["auth"]),
            "bad-pin" => ("not-found".into(), &["auth"]),
            "no-key" | "wrong-key" => ("unauthenticated".into(), &["auth"]),
            "nowhere" => ("not-found".into(), &[]),
            "policy" => ("policy-failed".into(), &["auth"]),
            "late" => ("scoring-timeout".into(), &["auth", "split"]),
            _ => ("replica-failed".into(), &["auth", "split"]),
        };
        assert_eq!(line["fault"], fault, "{what}: {line}");
        assert_eq!(roles(line), decided, "{what}: {line}");
        let known = what != "nowhere" && what != "policy" && !what.ends_with("key");
        let caller = if known { "primary".into() } else { Value::Null };
        assert_eq!(line["caller"], caller, "{what}: {line}");
    }
}
