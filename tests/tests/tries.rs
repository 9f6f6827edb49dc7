//! Dry runs: all that a change needs is checked, and nothing is left of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::client::{Client, request};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, until, yaml};

/// A change that is under way is made long before this.
const SOON: Duration = Duration::from_secs(30);

/// Everything below a folder, with its size.
fn below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let meta = entry.metadata().unwrap();
        found.push((entry.path(), if meta.is_dir() { 0 } else { meta.len() }));
        if meta.is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found.sort();
    found
}

fn plugin(file: &Path, role: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": "ours" },
        "spec": { "role": role, "source": { "file": file } },
    })
}

#[test]
fn a_dry_run_of_a_plugin_leaves_nothing_behind() {
    let replica = Replica::start("blue");
    let gateway = Gateway::start(&yaml::open(
        "iris",
        &[yaml::version("blue", &[&replica], "")],
    ));
    let contents = gateway.state().join("plugins");
    let before = below(&contents);
    assert!(!before.is_empty());
    let one = guests::build("weighted-split", "one");
    let put = |query: &str, file: &Path| {
        let body = plugin(file, "split").to_string();
        gateway.admin("PUT", &format!("/v1/plugins/ours{query}"), body.as_bytes())
    };
    // A new one, good and bad.
    let (status, shown) = put("?dryRun=true", &one);
    assert_eq!((status, &shown["metadata"]["name"]), (200, &json!("ours")));
    let (status, why) = put("?dryRun=true", Path::new("/nowhere.wasm"));
    assert_eq!(status, 422, "{why}");
    assert_eq!(below(&contents), before);
    assert_eq!(gateway.admin("GET", "/v1/plugins/ours", b"").0, 404);
    // Another content of one that is there.
    assert_eq!(put("", &one).0, 201);
    let kept = below(&contents);
    let two = guests::build("weighted-split", "two");
    let (status, shown) = put("?dryRun=true", &two);
    assert_eq!(status, 200, "{shown}");
    assert_eq!(below(&contents), kept);
    // Swap and rollback.
    assert_eq!(put("", &two).0, 200);
    let status = || gateway.admin("GET", "/v1/plugins/ours", b"").1;
    let (shown, kept) = (status(), below(&contents));
    let (code, tried) = gateway.admin("POST", "/v1/plugins/ours/rollback?dryRun=true", b"");
    assert_eq!(
        (code, &tried["previousDigest"]),
        (200, &shown["status"]["activeDigest"])
    );
    let first = &shown["status"]["versions"];
    let other = first
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["state"] == "stored");
    let other = &other.unwrap()["digest"];
    assert_eq!(&tried["activeDigest"], other);
    let to = json!({ "to": 1 }).to_string();
    let path = "/v1/plugins/ours/rollback?dryRun=true";
    let (code, tried) = gateway.admin("POST", path, to.as_bytes());
    assert_eq!((code, &tried["activeDigest"]), (200, other));
    assert_eq!(status(), shown);
    assert_eq!(below(&contents), kept);
    // And now in earnest, where nobody changed it meanwhile.
    let revision = shown["metadata"]["revision"].as_u64().unwrap();
    let with = |revision: u64| {
        let tag = format!("\"{revision}\"");
        let headers = [("if-match", tag.as_str())];
        gateway
            .admin_with("POST", "/v1/plugins/ours/rollback", &headers, b"")
            .status
    };
    assert_eq!(with(revision + 1), 412);
    assert_eq!(with(revision), 200);
    assert_eq!(&status()["status"]["activeDigest"], other);
}

/// A new plugin, and an endpoint that binds it and one that is there already.
#[test]
fn a_plugin_and_what_binds_it_are_tried_and_applied_together() {
    let replica = Replica::start("blue");
    let version = yaml::version("blue", &[&replica], "");
    let gateway = Gateway::start(&yaml::open("iris", std::slice::from_ref(&version)));
    let folder = gateway.folder().join("new");
    fs::create_dir(&folder).unwrap();
    fs::copy(
        guests::build("weighted-split", "one"),
        folder.join("ours.wasm"),
    )
    .unwrap();
    let endpoint = || {
        yaml::endpoint(
            "rose",
            "auth: { mode: none }\nsplit: { policy: { plugin: ours } }",
            std::slice::from_ref(&version),
        )
    };
    // The endpoint stands before the plugin.
    fs::write(folder.join("a.yaml"), endpoint()).unwrap();
    fs::write(folder.join("b.yaml"), yaml::plugin("ours", "split", "")).unwrap();
    let tried = gateway.cli_text(&["apply", "-f", "new", "--dry-run"]);
    assert_eq!(
        tried,
        "plugin/ours created (dry run)\nendpoint/rose created (dry run)\n"
    );
    assert_eq!(gateway.admin("GET", "/v1/plugins/ours", b"").0, 404);
    let diff = gateway.cli(&["diff", "-f", "new"]);
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");
    // Nothing is written where one of them is refused: the plugin is not left alone.
    let claims = |name: &str| {
        let spec = "auth: { mode: none }\nhosts: [rose.example]";
        yaml::endpoint(name, spec, std::slice::from_ref(&version))
    };
    fs::write(gateway.folder().join("lily.yaml"), claims("lily")).unwrap();
    let made = gateway.cli_text(&["apply", "-f", "lily.yaml"]);
    assert_eq!(made, "endpoint/lily created\n");
    fs::write(folder.join("c.yaml"), claims("daisy")).unwrap();
    let refused = gateway.cli(&["apply", "-f", "new"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        why.contains("rose.example is claimed by endpoint lily"),
        "{why}"
    );
    assert_eq!(gateway.admin("GET", "/v1/plugins/ours", b"").0, 404);
    fs::remove_file(folder.join("c.yaml")).unwrap();
    let done = gateway.cli_text(&["apply", "-f", "new"]);
    assert_eq!(done, "plugin/ours created\nendpoint/rose created\n");
    gateway.healthy("rose");
    let again = gateway.cli_text(&["apply", "-f", "new"]);
    assert_eq!(again, "plugin/ours unchanged\nendpoint/rose unchanged\n");
    // A name that is in no file is a problem still.
    let wrong = endpoint().replace("plugin: ours", "plugin: hours");
    fs::write(folder.join("a.yaml"), wrong).unwrap();
    let refused = gateway.cli(&["apply", "-f", "new", "--dry-run"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("no plugin is named \"hours\""), "{why}");
}

#[test]
fn settings_that_a_policy_refuses_change_nothing() {
    let replica = Replica::start("blue");
    let version = yaml::version("blue", &[&replica], "");
    let good = yaml::open("iris", std::slice::from_ref(&version));
    let gateway = Gateway::start(&good);
    gateway.healthy("iris");
    let split = json!({ "plugin": "weighted-split", "config": { "no": 1 } });
    let patch = |query: &str, patch: &Value| {
        let kind = "application/merge-patch+json";
        let path = format!("/v1/endpoints/iris{query}");
        let answer = gateway.admin_raw("PATCH", &path, kind, patch.to_string().as_bytes());
        (answer.status, answer.json())
    };
    for query in ["", "?dryRun=true"] {
        let body = json!({ "spec": { "split": { "policy": split }, "collect": [split] } });
        let (status, why) = patch(query, &body);
        assert_eq!(status, 422, "{why}");
        let body = json!({ "spec": { "split": { "policy": split } } });
        let (status, why) = patch(query, &body);
        assert_eq!(status, 422, "{why}");
        assert_eq!(why["problems"][0]["path"], "spec.split.policy", "{why}");
        let message = why["problems"][0]["message"].as_str().unwrap();
        assert!(message.contains("refuses the settings"), "{message}");
    }
    let (_, shown) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    assert_eq!(shown["metadata"]["revision"], 1, "{shown}");
    assert_eq!(shown["status"]["state"], "Healthy", "{shown}");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    // A new endpoint is not made either.
    let mut other = shown;
    other["metadata"] = json!({ "name": "rose" });
    other["spec"]["split"] = json!({ "policy": split });
    let other = other.to_string();
    let (status, why) = gateway.admin("PUT", "/v1/endpoints/rose", other.as_bytes());
    assert_eq!(status, 422, "{why}");
    assert_eq!(gateway.admin("GET", "/v1/endpoints/rose", b"").0, 404);
}

#[test]
fn a_plugin_that_is_made_again_begins_with_its_source() {
    let replica = Replica::start("blue");
    let version = yaml::version("blue", &[&replica], "");
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    let (one, two) = (
        guests::build("weighted-split", "one"),
        guests::build("weighted-split", "two"),
    );
    let body = plugin(&one, "split").to_string();
    let put = || gateway.admin("PUT", "/v1/plugins/ours", body.as_bytes());
    let (status, first) = put();
    assert_eq!(status, 201, "{first}");
    let swapped = gateway.swap("ours", &two);
    assert_ne!(first["status"]["activeDigest"], json!(swapped));
    assert_eq!(gateway.admin("DELETE", "/v1/plugins/ours", b"").0, 204);
    assert_eq!(gateway.admin("GET", "/v1/plugins/ours", b"").0, 404);
    let (status, again) = put();
    assert_eq!(status, 201, "{again}");
    assert_eq!(
        again["status"]["activeDigest"],
        first["status"]["activeDigest"]
    );
}

/// hyper drops a handler whose caller is gone; a change goes on.
#[test]
fn a_change_whose_caller_hangs_up_is_made_whole() {
    let replica = Replica::start("blue");
    let version = yaml::version("blue", &[&replica], "");
    let slow = guests::build("slow-configure", "one");
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    let body = plugin(&slow, "auth").to_string();
    let (status, why) = gateway.admin("PUT", "/v1/plugins/ours", body.as_bytes());
    assert_eq!(status, 201, "{why}");
    let (_, shown) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let bearer = format!("Bearer {}", gateway.token());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let put = |rounds: u64| {
        let mut next = shown.clone();
        next["metadata"] = json!({ "name": "iris" });
        let config = json!({ "rounds": rounds });
        let policy = json!({ "plugin": "ours", "config": config });
        next["spec"]["auth"] = json!({ "mode": "custom", "policies": [policy] });
        let mut client = Client::connect(gateway.admin_address());
        let next = next.to_string();
        let put = request("PUT", "/v1/endpoints/iris", &headers, next.as_bytes());
        client.send(&put).unwrap();
        client
    };
    let revision = || {
        let (_, shown) = gateway.admin("GET", "/v1/endpoints/iris", b"");
        shown["metadata"]["revision"].as_u64().unwrap()
    };
    let answer = put(1).answer().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    // They hang up a little later each time: some before it begins, some after.
    for round in 0..20 {
        let client = put(20_000_000 + round);
        std::thread::sleep(Duration::from_millis(5 * round));
        drop(client);
        // The next change finds what is stored, whatever became of the one before.
        let shares = if round % 2 == 0 { 50 } else { 60 };
        let shares = json!({ "blue": shares }).to_string();
        let (status, why) = gateway.admin("PUT", "/v1/endpoints/iris/traffic", shares.as_bytes());
        assert_eq!(status, 200, "{why}");
    }
    until("what is shown is what is stored", SOON, || {
        let (_, kept) = gateway.admin("GET", "/v1/endpoints/iris/history", b"");
        (kept["items"][0]["revision"] == revision()).then_some(())
    });
}
