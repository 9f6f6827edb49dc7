//! Misbehaving guests: each has a test that begins with its name.
//!
//! Auth fails closed, split falls back to weights, collect drops and counts;
//! another endpoint is served all the while.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::client::request;
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, until, yaml};

/// A gateway with the guest at `iris` in its role, and an endpoint `other`
/// without it.
fn with_guest(guest: &str, role: &str, config: &str, replica: &Replica) -> Gateway {
    let binding = format!("{{ plugin: {guest}, config: {config} }}");
    let spec = match role {
        "auth" => format!("auth: {{ mode: custom, policies: [{binding}] }}"),
        "split" => format!("auth: {{ mode: none }}\nsplit: {{ policy: {binding} }}"),
        _ => format!("auth: {{ mode: none }}\ncollect: [{binding}]"),
    };
    let versions = |_| {
        vec![
            yaml::version("blue", &[replica], "traffic: 50\nmaxConcurrentRequests: 8"),
            yaml::version("green", &[replica], "traffic: 50\nmaxConcurrentRequests: 8"),
        ]
    };
    let resources = [
        yaml::plugin(guest, role, "headers: [x-user, x-tenant]"),
        yaml::endpoint("iris", &spec, &versions(0)),
        yaml::open("other", &versions(1)),
    ];
    let module = std::fs::read(guests::build(guest, "one")).unwrap();
    let gateway = Setup::new(&resources.concat())
        .file(&format!("{guest}.wasm"), module)
        .start();
    gateway.healthy("other");
    gateway
}

fn faults(gateway: &Gateway, guest: &str, kind: &str) -> f64 {
    gateway.metric(
        "tidegate_policy_faults_total",
        &[("plugin", guest), ("kind", kind)],
    )
}

/// Every answer is 503 with `policy-failed`, the fault is counted as `kind`,
/// and the other endpoint answers.
#[track_caller]
fn fails_closed(guest: &str, config: &str, kind: &str) -> (Gateway, Replica) {
    let replica = Replica::start("blue");
    let gateway = with_guest(guest, "auth", config, &replica);
    for _ in 0..3 {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "policy-failed")
        );
        assert!(answer.header("retry-after").is_some());
        assert_eq!(gateway.score("other", "", &[]).status, 200);
    }
    assert!(
        faults(&gateway, guest, kind) >= 1.0,
        "no fault of kind {kind} is counted"
    );
    assert_eq!(
        replica.served(),
        3,
        "only the other endpoint's requests reach a replica"
    );
    (gateway, replica)
}

/// As [`fails_closed`]; and a request that the guest lets in passes: one bad
/// call is not a dead plugin.
#[track_caller]
fn fails_closed_and_lives_on(guest: &str, config: &str, kind: &str) {
    let (gateway, _replica) = fails_closed(guest, config, kind);
    until("the guest answers again", Duration::from_secs(20), || {
        (gateway.score("iris", "?calm", &[]).status == 200).then_some(())
    });
}

/// Every request is answered by a version, the fault is counted.
#[track_caller]
fn falls_back_to_weights(guest: &str, config: &str, kind: &str) {
    let replica = Replica::start("blue");
    let gateway = with_guest(guest, "split", config, &replica);
    gateway.healthy("iris");
    let mut versions = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        versions.extend(answer.header("azureml-model-deployment").map(str::to_owned));
    }
    assert_eq!(versions.len(), 2, "by weights of 50 and 50: {versions:?}");
    assert!(
        faults(&gateway, guest, kind) >= 1.0,
        "no fault of kind {kind} is counted"
    );
}

/// Every request is answered; nothing is collected, and that is counted.
#[track_caller]
fn drops_and_counts(guest: &str, kind: &str) {
    let replica = Replica::start("blue");
    let gateway = with_guest(guest, "collect", "{}", &replica);
    gateway.healthy("iris");
    for _ in 0..20 {
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
    }
    until("the fault is counted", Duration::from_secs(20), || {
        (faults(&gateway, guest, kind) >= 1.0).then_some(())
    });
    until("the drops are counted", Duration::from_secs(20), || {
        let labels = [("endpoint", "iris")];
        (gateway.metric("tidegate_collect_entries_total", &labels) >= 20.0).then_some(())
    });
    let taken = [("endpoint", "iris"), ("result", "taken")];
    assert!(gateway.metric("tidegate_collect_entries_total", &taken) == 0.0);
}

/// Waits until the endpoint's status says why its plugin is not at work.
#[track_caller]
fn says_why(gateway: &Gateway, reason: &str) {
    until("the reason is shown", Duration::from_secs(20), || {
        let (_, endpoint) = gateway.admin("GET", "/v1/endpoints/iris", b"");
        endpoint
            .pointer("/status")?
            .to_string()
            .contains(reason)
            .then_some(())
    });
}

/// The endpoint is not ready and says why; it answers 503, the other 200.
#[track_caller]
fn refused_at_start(guest: &str, reason: &str) {
    let replica = Replica::start("blue");
    let gateway = with_guest(guest, "auth", "{}", &replica);
    says_why(&gateway, reason);
    let answer = gateway.score("iris", "", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "policy-failed")
    );
    assert_eq!(gateway.score("other", "", &[]).status, 200);
}

#[test]
fn trap_auth_fails_closed() {
    fails_closed_and_lives_on("trap-auth", "{}", "trap");
}

#[test]
fn panic_auth_fails_closed_and_its_message_is_in_the_log() {
    let (gateway, _replica) = fails_closed("panic-auth", "{}", "trap");
    assert!(gateway.log().contains("panic"), "{}", gateway.log());
}

#[test]
fn spin_auth_is_cut_at_its_deadline() {
    fails_closed_and_lives_on("spin-auth", "{}", "timeout");
}

#[test]
fn alloc_auth_is_cut_at_its_memory() {
    fails_closed_and_lives_on("alloc-auth", "{}", "memory");
}

#[test]
fn recurse_auth_traps() {
    fails_closed_and_lives_on("recurse-auth", "{}", "trap");
}

#[test]
fn huge_auth_costs_no_memory() {
    let replica = Replica::start("blue");
    let gateway = with_guest("huge-auth", "auth", "{}", &replica);
    let watch = tidegate_tests::process::MemoryWatch::start(gateway.pid());
    for _ in 0..5 {
        assert_eq!(gateway.score("iris", "", &[]).status, 503);
        assert_eq!(gateway.score("other", "", &[]).status, 200);
    }
    let grown = watch.grown_kib();
    assert!(grown < 64 * 1024, "{grown} KiB for answers of 128 MiB");
}

#[test]
fn error_auth_fails_closed() {
    fails_closed_and_lives_on("error-auth", "{}", "error");
}

#[test]
fn lie_auth_with_status_200_as_a_denial_fails_closed() {
    fails_closed_and_lives_on("lie-auth", "{}", "lie");
}

#[test]
fn lie_auth_with_cr_lf_in_a_header_fails_closed() {
    fails_closed_and_lives_on("lie-auth", "{ lie: header-value }", "lie");
    fails_closed_and_lives_on("lie-auth", "{ lie: header-name }", "lie");
}

#[test]
fn lie_auth_cannot_set_framing_headers() {
    let replica = Replica::start("blue");
    let gateway = with_guest("lie-auth", "auth", "{ lie: framing }", &replica);
    let answer = gateway.score("iris", "", &[]);
    // A denial passes without them, or it is a lie; never with them.
    assert!(
        matches!(answer.status, 401 | 403 | 429 | 503),
        "{}",
        answer.status
    );
    let lengths = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "content-length")
        .count();
    assert_eq!(lengths, 1);
    assert!(!answer.body.is_empty());
}

#[test]
fn leak_auth_is_recycled() {
    let replica = Replica::start("blue");
    let gateway = with_guest("leak-auth", "auth", "{}", &replica);
    let mut client = gateway.client();
    for _ in 0..200 {
        let answer = client
            .request("POST", "/api/v1/service/iris/score", &[], b"{}")
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn noisy_auth_is_bounded() {
    let replica = Replica::start("blue");
    let gateway = with_guest("noisy-auth", "auth", "{}", &replica);
    for _ in 0..20 {
        let _ = gateway.score("iris", "", &[]);
        assert_eq!(gateway.score("other", "", &[]).status, 200);
    }
    let log = gateway.log().len();
    assert!(log < 8 * 1024 * 1024, "{log} bytes of log from 20 calls");
    assert!(gateway.stop().success());
}

#[test]
fn echo_auth_names_the_caller_and_may_deny() {
    let replica = Replica::start("blue");
    let gateway = with_guest("echo-auth", "auth", "{}", &replica);
    assert_eq!(gateway.score("iris", "", &[("x-user", "ann")]).status, 200);
    let denied = gateway.score("iris", "?deny", &[]);
    assert_eq!((denied.status, denied.code().as_str()), (403, "forbidden"));
    assert!(denied.header("x-denied").is_some());
    assert_eq!(gateway.score("iris", "?slow-down", &[]).status, 429);
    assert_eq!(gateway.score("iris", "?pass", &[]).status, 401);
    let lines = gateway.access_lines_at_least(4);
    assert!(
        lines
            .iter()
            .any(|line| line.get("caller").is_some_and(|caller| caller == "ann"))
    );
}

#[test]
fn fail_selftest_is_refused() {
    refused_at_start("fail-selftest", "self-test");
}

#[test]
fn slow_configure_is_refused() {
    refused_at_start("slow-configure", "configure");
}

#[test]
fn import_auth_is_refused_by_the_name_of_its_import() {
    refused_at_start("import-auth", "tidegate:policy/http");
}

#[test]
fn a_call_whose_caller_leaves_ends_and_keeps_its_instance() {
    let replica = Replica::start("blue");
    let policy = "auth: { mode: custom, policies: [{ plugin: echo-auth, config: { work: 300 } }] }";
    let version = yaml::version("blue", &[&replica], "traffic: 100");
    let resources = [
        yaml::plugin("echo-auth", "auth", "limits: { cpu: 9s, timeout: 10s }"),
        yaml::endpoint("iris", policy, &[version]),
    ];
    let module = std::fs::read(guests::build("echo-auth", "one")).unwrap();
    let gateway = Setup::new(&resources.concat())
        .file("echo-auth.wasm", module)
        .start();
    gateway.healthy("iris");
    let of = |name: &str, labels: &[(&str, &str)]| {
        let labels = [labels, &[("plugin", "echo-auth")]].concat();
        gateway.metric(name, &labels)
    };
    let allowed = || of("tidegate_policy_decisions_total", &[("decision", "allow")]);
    let instances = of("tidegate_plugin_instances", &[]);
    let bytes = request("POST", "/api/v1/service/iris/score", &[], b"{}");
    // Until one left while the call was under way, not before and not after.
    let left = until("a caller leaves", Duration::from_secs(60), || {
        let mut client = gateway.client();
        client.send(&bytes).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
        std::thread::sleep(Duration::from_millis(50));
        let lines = gateway.access_lines();
        (!lines.is_empty()).then_some(lines)
    });
    for line in &left {
        assert_eq!(line["fault"], "caller-gone", "{line}");
        assert_eq!(line["replica"], Value::Null, "{line}");
        assert_eq!(line["policies"][0]["plugin"], "echo-auth", "{line}");
    }
    until("the call ends", Duration::from_secs(60), || {
        (allowed() >= 1.0).then_some(())
    });
    assert_eq!(of("tidegate_plugin_instances", &[]), instances);
    assert_eq!(replica.served(), 0, "nobody is there for its answer");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    assert_eq!(of("tidegate_plugin_instances", &[]), instances);
    let faults = of("tidegate_policy_faults_total", &[]);
    assert_eq!(faults, 0.0);
}

/// A guest of another role than its resource says is refused at the start.
const MISFIT: &str = "the resource says";

#[test]
fn a_split_plugin_that_is_refused_leaves_the_weights() {
    let replica = Replica::start("blue");
    let gateway = with_guest("trap-auth", "split", "{}", &replica);
    says_why(&gateway, MISFIT);
    let mut versions = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        versions.extend(answer.header("azureml-model-deployment").map(str::to_owned));
    }
    assert_eq!(versions.len(), 2, "by weights of 50 and 50: {versions:?}");
}

#[test]
fn a_collect_plugin_that_is_refused_is_told_and_what_it_misses_is_counted() {
    let replica = Replica::start("blue");
    let gateway = with_guest("trap-auth", "collect", "{}", &replica);
    says_why(&gateway, MISFIT);
    for _ in 0..20 {
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
    }
    until("the drops are counted", Duration::from_secs(20), || {
        let labels = [("endpoint", "iris"), ("result", "dropped_policy")];
        (gateway.metric("tidegate_collect_entries_total", &labels) == 20.0).then_some(())
    });
}

#[test]
fn a_split_plugin_that_fails_refuses_where_it_is_told_to() {
    let replica = Replica::start("blue");
    let split =
        "auth: { mode: none }\nsplit: { policy: { plugin: trap-split }, onFailure: refuse }";
    let version = yaml::version("blue", &[&replica], "traffic: 100");
    let resources = [
        yaml::plugin("trap-split", "split", ""),
        yaml::endpoint("iris", split, &[version]),
    ];
    let module = std::fs::read(guests::build("trap-split", "one")).unwrap();
    let gateway = Setup::new(&resources.concat())
        .file("trap-split.wasm", module)
        .start();
    gateway.healthy("iris");
    let answer = gateway.score("iris", "", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "policy-failed")
    );
    assert!(answer.header("retry-after").is_some());
    // A pin skips the policy, and so its failure.
    let pin = [("azureml-model-deployment", "blue")];
    assert_eq!(gateway.score("iris", "", &pin).status, 200);
    assert_eq!(replica.served(), 1);
}

#[test]
fn ask_auth_is_told_that_there_is_nothing_and_the_log_says_so_once() {
    let replica = Replica::start("blue");
    let gateway = with_guest("ask-auth", "auth", "{}", &replica);
    gateway.healthy("iris");
    for _ in 0..5 {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"));
        let text = answer.text();
        assert!(
            text.contains("limiter: false, taken: None, hmac: None"),
            "{text}"
        );
    }
    let last = "which this gateway does not have yet";
    until("the log is written", Duration::from_secs(20), || {
        (gateway.log().matches(last).count() >= 3).then_some(())
    });
    let log = gateway.log();
    for what in ["`tokens`", "`counters`", "`crypto.hmac-sha256`"] {
        let warned = format!("the plugin uses {what}, which this gateway does not have yet");
        assert_eq!(log.matches(&warned).count(), 1, "{log}");
    }
}

#[test]
fn trap_split_falls_back_to_weights() {
    falls_back_to_weights("trap-split", "{}", "trap");
}

#[test]
fn spin_split_falls_back_to_weights() {
    falls_back_to_weights("spin-split", "{}", "timeout");
}

#[test]
fn error_split_falls_back_to_weights() {
    falls_back_to_weights("error-split", "{}", "error");
}

#[test]
fn lie_split_falls_back_to_weights() {
    falls_back_to_weights("lie-split", "{}", "lie");
    falls_back_to_weights("lie-split", "{ lie: mirror }", "lie");
    falls_back_to_weights("lie-split", "{ lie: twice }", "lie");
}

/// Copies for versions without a share, and only for those it names; its
/// endpoint has no `mirror`.
#[test]
fn mirror_split_names_versions_that_get_copies() {
    let replicas = ["blue", "green", "gray"].map(Replica::start);
    let version = |one: &Replica, name| yaml::version(name, &[one], "maxConcurrentRequests: 8");
    let [blue, green, gray] = &replicas;
    let resources = [
        yaml::plugin("mirror-split", "split", ""),
        yaml::endpoint(
            "iris",
            "auth: { mode: none }\nsplit: { policy: { plugin: mirror-split } }",
            &[
                version(blue, "blue"),
                version(green, "green"),
                version(gray, "gray"),
            ],
        ),
    ];
    let module = std::fs::read(guests::build("mirror-split", "one")).unwrap();
    let gateway = Setup::new(&resources.concat())
        .file("mirror-split.wasm", module)
        .start();
    gateway.healthy("iris");
    // One fails and one hangs: callers see neither.
    green.behave("status=500");
    gray.behave("hang");
    for _ in 0..20 {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!(
            (answer.status, answer.header("azureml-model-deployment")),
            (200, Some("blue"))
        );
    }
    assert_eq!(blue.served(), 20);
    let copies = |version| gateway.metric("tidegate_mirror_total", &[("version", version)]);
    until("every exchange was copied", Duration::from_secs(20), || {
        (copies("green") == 20.0 && gray.served() == 8).then_some(())
    });
    // A pin is for one version alone.
    let pin = [("azureml-model-deployment", "green")];
    green.behave("");
    assert_eq!(gateway.score("iris", "", &pin).status, 200);
    assert_eq!((blue.served(), green.served()), (20, 21));
}

#[test]
fn trap_collect_drops_and_counts() {
    drops_and_counts("trap-collect", "trap");
}

#[test]
fn lie_collect_drops_and_counts() {
    drops_and_counts("lie-collect", "lie");
}
