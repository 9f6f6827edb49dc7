//! Hot swap of plugins: under load, refused, back, and after a restart.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, rounds, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";

fn two_versions(blue: &Replica, green: &Replica) -> String {
    yaml::endpoint(
        "iris",
        "auth: { mode: key }",
        &[
            yaml::version(
                "blue",
                &[blue],
                "traffic: 80\ndefault: true\nmaxConcurrentRequests: 32",
            ),
            yaml::version("green", &[green], "traffic: 20\nmaxConcurrentRequests: 32"),
        ],
    )
}

/// The digests that decided in a role, one of each line.
fn digests(lines: &[Value], role: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in lines {
        let policies = line["policies"].as_array().unwrap();
        let of_role: Vec<&Value> = policies
            .iter()
            .filter(|policy| policy["role"] == role)
            .collect();
        assert_eq!(of_role.len(), 1, "one digest for {role} in {line}");
        found.insert(of_role[0]["digest"].as_str().unwrap().to_owned());
    }
    found
}

#[test]
fn fifty_swaps_under_load_fail_no_request() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let builds = |plugin| [guests::build(plugin, "one"), guests::build(plugin, "two")];
    let (split, auth) = (builds("weighted-split"), builds("key-auth"));
    let gateway = Gateway::start(&two_versions(&blue, &green));
    gateway.healthy("iris");
    gateway.swap("weighted-split", &split[0]);
    gateway.swap("key-auth", &auth[0]);
    let before = gateway.access_lines().len();
    let bearer = gateway.bearer("iris");
    let headers = [("authorization", bearer.as_str())];
    let load = Load::start(gateway.address("http"), 16, TARGET, &headers);
    let mut active = (BTreeSet::new(), BTreeSet::new());
    for round in 1..=rounds(50) {
        let seen = load.answered();
        until("requests between swaps", Duration::from_secs(10), || {
            (load.answered() > seen + 50).then_some(())
        });
        let build = usize::try_from(round % 2).unwrap();
        active
            .0
            .insert(gateway.swap("weighted-split", &split[build]));
        active.1.insert(gateway.swap("key-auth", &auth[build]));
    }
    let seen = load.stop();
    let all: u32 = seen.values().sum();
    let good: u32 = seen
        .iter()
        .filter(|(what, _)| what.starts_with("200 "))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(all, good, "{seen:?}");
    let lines = gateway.access_lines_at_least(before + usize::try_from(all).unwrap());
    let lines = &lines[before..];
    assert_eq!(
        (digests(lines, "split").len(), digests(lines, "auth").len()),
        (2, 2)
    );
    assert!(active.0.is_subset(&digests(lines, "split")), "{active:?}");
    assert!(active.1.is_subset(&digests(lines, "auth")), "{active:?}");
    for plugin in ["weighted-split", "key-auth"] {
        until("one version lives", Duration::from_secs(30), || {
            let live = gateway.metric("tidegate_plugin_versions_live", &[("plugin", plugin)]);
            (live == 1.0).then_some(())
        });
    }
    assert!(gateway.stop().success());
}

#[track_caller]
fn serves_who_has_the_key(gateway: &Gateway) {
    let bearer = gateway.bearer("iris");
    gateway.healthy("iris");
    let answer = gateway.score("iris", "", &[("authorization", &bearer)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn what_is_active_survives_a_restart() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let mut gateway = Gateway::start(&two_versions(&blue, &green));
    let digest = gateway.swap("key-auth", &guests::build("key-auth", "one"));
    gateway.kill();
    gateway.start_again();
    let (_, plugin) = gateway.admin("GET", "/v1/plugins/key-auth", b"");
    assert_eq!(plugin["status"]["activeDigest"], digest.as_str());
    serves_who_has_the_key(&gateway);
}

#[test]
fn a_refused_candidate_changes_nothing_and_says_why() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = Gateway::start(&two_versions(&blue, &green));
    let (_, before) = gateway.admin("GET", "/v1/plugins/key-auth", b"");
    let push = "/v1/plugins/key-auth/versions";
    for (package, word) in [("import-auth", "http"), ("trap-split", "split")] {
        let module = std::fs::read(guests::build(package, "one")).unwrap();
        let refused = gateway.admin_raw("POST", push, "application/wasm", &module);
        assert_eq!(refused.status, 422, "{package}: {}", refused.text());
        assert!(
            refused.text().contains(word),
            "{package}: {}",
            refused.text()
        );
    }
    let failing = std::fs::read(guests::build("fail-selftest", "one")).unwrap();
    let pushed = gateway.admin_raw("POST", push, "application/wasm", &failing);
    let order = serde_json::json!({ "digest": pushed.json()["digest"] }).to_string();
    let (status, why) = gateway.admin("POST", "/v1/plugins/key-auth/swap", order.as_bytes());
    assert_eq!(status, 422, "{why}");
    let (_, after) = gateway.admin("GET", "/v1/plugins/key-auth", b"");
    assert_eq!(
        before["status"]["activeDigest"],
        after["status"]["activeDigest"]
    );
    serves_who_has_the_key(&gateway);
}

#[test]
fn the_command_line_pushes_swaps_lists_and_rolls_back() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = Gateway::start(&two_versions(&blue, &green));
    let active = || {
        let (_, plugin) = gateway.admin("GET", "/v1/plugins/weighted-split", b"");
        plugin["status"]["activeDigest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let shipped = active();
    let module = guests::build("weighted-split", "one");
    let file = module.to_str().unwrap();
    let pushed = gateway.cli_text(&["plugin", "push", file, "--name", "weighted-split"]);
    assert!(pushed.contains("sha256:"), "{pushed}");
    let _ = gateway.cli_text(&["plugin", "swap", "weighted-split"]);
    assert_ne!(active(), shipped);
    assert!(
        gateway
            .cli_text(&["plugin", "list"])
            .contains("weighted-split")
    );
    let _ = gateway.cli_text(&["plugin", "rollback", "weighted-split"]);
    assert_eq!(active(), shipped);
}

#[test]
fn what_decides_already_is_no_swap_and_no_rollback_takes_a_pin_off() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = Gateway::start(&two_versions(&blue, &green));
    let digest = gateway.swap("key-auth", &guests::build("key-auth", "one"));
    let path = "/v1/plugins/key-auth";
    let revision = || gateway.admin("GET", path, b"").1["metadata"]["revision"].clone();
    let before = revision();
    let order = serde_json::json!({ "digest": digest }).to_string();
    let swap = format!("{path}/swap");
    let (status, said) = gateway.admin("POST", &swap, order.as_bytes());
    assert_eq!(
        (status, &said["activeDigest"]),
        (200, &digest.clone().into())
    );
    assert_eq!(revision(), before);
    // Pinned to it, what was before decides again only once the pin is off.
    let pin = serde_json::json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": "key-auth" },
        "spec": { "digest": digest }
    });
    let (status, said) = gateway.admin("PUT", path, pin.to_string().as_bytes());
    assert!(status < 300, "{said}");
    let back = serde_json::json!({ "to": before }).to_string();
    let (status, said) = gateway.admin("POST", &format!("{path}/rollback"), back.as_bytes());
    assert_eq!(status, 409, "{said}");
    assert!(
        said["detail"].as_str().unwrap().contains("pins nothing"),
        "{said}"
    );
    let (_, plugin) = gateway.admin("GET", path, b"");
    assert_eq!(plugin["spec"]["digest"], digest.as_str());
}
