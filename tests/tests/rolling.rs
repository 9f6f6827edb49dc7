//! A rollout by the rows of versions, under load, with processes as replicas:
//! whatever is created, moved, updated or taken away, no request fails.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::client::Client;
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::load::Load;
use tidegate_tests::{change, guests, process, until, yaml};

const ENDPOINT: &str = "/v1/endpoints/iris";
const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(30);

/// A gateway whose endpoint `iris` has the version `blue`, one process.
fn blue_alone(spec: &str) -> Gateway {
    started(Setup::new(&blue(spec)))
}

fn started(setup: Setup) -> Gateway {
    let gateway = setup.start();
    gateway.healthy("iris");
    gateway
}

fn blue(spec: &str) -> String {
    let keys = "maxConcurrentRequests: 32\nmaxQueueWait: 5s\ntraffic: 100\nreplicas: 1";
    let blue = yaml::process("blue", &["--name", "blue"], keys);
    yaml::endpoint("iris", spec, &[blue])
}

const OPEN: &str = "auth: { mode: none }";

/// A version of one process that calls itself `name`; it listens when there is
/// a file `gate`, where one is named.
fn version(name: &str, gate: Option<&Path>) -> Value {
    let mut command = vec![yaml::program(), "--name".to_owned(), name.to_owned()];
    if let Some(gate) = gate {
        command.extend(["--until".to_owned(), gate.display().to_string()]);
    }
    json!({
        "maxConcurrentRequests": 32,
        "replicas": 1,
        "process": { "command": command, "dir": "/", "grace": "2s" },
    })
}

#[track_caller]
fn change(gateway: &Gateway, method: &str, path: &str, body: &Value) {
    let answer = change::change(gateway, method, &format!("{ENDPOINT}{path}"), body);
    let text = answer.text();
    assert!((200..=204).contains(&answer.status), "{method}: {text}");
}

/// Waits until callers were answered as often again.
#[track_caller]
fn more(load: &Load, count: u32) {
    let before = load.answered();
    until("more answers", LIMIT, || {
        (load.answered() >= before + count).then_some(())
    });
}

/// Waits for an event of that kind whose message has that word.
#[track_caller]
fn told(gateway: &Gateway, kind: &str, word: &str) {
    until(&format!("{kind} of {word}"), LIMIT, || {
        let (_, events) = gateway.admin("GET", "/v1/events", b"");
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let found = items.iter().any(|event| {
            event["kind"] == kind && event["message"].as_str().unwrap().contains(word)
        });
        found.then_some(())
    });
}

/// What the replica that answers for a version calls itself, and its process.
#[track_caller]
fn who(gateway: &Gateway, version: &str) -> (String, u32) {
    let answer = gateway.score("iris", "", &[("azureml-model-deployment", version)]);
    let said = answer.json();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let pid = said["pid"].as_u64().unwrap().try_into().unwrap();
    (said["replica"].as_str().unwrap().to_owned(), pid)
}

/// Every answer was 200, and the versions in it are these.
#[track_caller]
fn all_answered(load: Load, versions: &[&str]) {
    let seen = load.stop();
    let expected: Vec<String> = versions.iter().map(|one| format!("200 {one}")).collect();
    let found: Vec<&String> = seen.keys().collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{seen:?}");
}

/// Waits until a process has ended.
#[track_caller]
fn ends(pid: u32) {
    until("the replica has ended", LIMIT, || {
        (!process::lives(pid)).then_some(())
    });
}

fn gate(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.folder().join(name)
}

fn open(gate: &Path) {
    std::fs::write(gate, "").unwrap();
}

fn own_status(gateway: &Gateway, version: &str) -> Value {
    let path = format!("{ENDPOINT}/versions/{version}");
    gateway.admin("GET", &path, b"").1["status"].clone()
}

#[test]
fn a_rollout_by_the_rows_of_versions_fails_no_request() {
    let gateway = blue_alone(OPEN);
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    more(&load, 50);
    change(
        &gateway,
        "PUT",
        "/versions/green",
        &version("green-1", None),
    );
    more(&load, 50);
    gateway.healthy("iris");
    // Copies first, then a share, then a larger one.
    let mirror = json!({ "version": "green", "percent": 50, "compareBody": true });
    change(
        &gateway,
        "PATCH",
        "",
        &json!({ "spec": { "mirror": mirror } }),
    );
    until("copies", LIMIT, || {
        (gateway.metric("tidegate_mirror_total", &[("version", "green")]) > 20.0).then_some(())
    });
    for share in [0.5, 10.0, 50.0] {
        let shares = json!({ "blue": 100.0 - share, "green": share });
        change(&gateway, "PUT", "/traffic", &shares);
        more(&load, 50);
    }
    change(
        &gateway,
        "PATCH",
        "",
        &json!({ "spec": { "mirror": null } }),
    );
    more(&load, 50);
    // Both have callers while their replicas are replaced.
    for name in ["blue", "green"] {
        let before = who(&gateway, name).1;
        let patch = json!({ "process": { "env": { "BUILD": "2" } } });
        change(&gateway, "PATCH", &format!("/versions/{name}"), &patch);
        told(
            &gateway,
            "Updated",
            &format!("the new replicas of {name} serve"),
        );
        more(&load, 50);
        assert_ne!(who(&gateway, name).1, before, "another process answers");
        ends(before);
    }
    // The default moves; then the one before goes.
    change(&gateway, "PUT", "/traffic", &json!({ "green": 100 }));
    let promote = json!({ "default": true });
    change(&gateway, "PATCH", "/versions/green", &promote);
    more(&load, 50);
    let before = who(&gateway, "blue").1;
    change(&gateway, "DELETE", "/versions/blue", &Value::Null);
    more(&load, 50);
    ends(before);
    all_answered(load, &["blue", "green"]);
    let (_, left) = gateway.admin("GET", &format!("{ENDPOINT}/traffic"), b"");
    assert_eq!(left, json!({ "green": 100.0 }));
}

/// Where one request went there it would be refused at once: nothing waits for
/// a slot of that version.
#[test]
fn a_new_version_with_traffic_gets_none_before_it_is_ready() {
    let gateway = blue_alone(OPEN);
    let gate = gate(&gateway, "gate");
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    let mut green = version("green", Some(&gate));
    green["traffic"] = json!(50);
    green["maxQueueWait"] = json!("0s");
    green["queueCapacity"] = json!(0);
    change(&gateway, "PUT", "/traffic", &json!({ "blue": 50 }));
    change(&gateway, "PUT", "/versions/green", &green);
    more(&load, 300);
    let status = own_status(&gateway, "green");
    assert_eq!(
        (&status["state"], &status["traffic"]),
        (&json!("Transitioning"), &json!(0.0))
    );
    assert_eq!(own_status(&gateway, "blue")["traffic"], json!(100.0));
    let answered = [("version", "green")];
    assert_eq!(gateway.metric("tidegate_requests_total", &answered), 0.0);
    open(&gate);
    gateway.healthy("iris");
    assert_eq!(own_status(&gateway, "green")["traffic"], json!(50.0));
    more(&load, 100);
    all_answered(load, &["blue", "green"]);
}

#[test]
fn the_later_of_two_changes_of_a_version_serves() {
    let gateway = blue_alone(OPEN);
    let (first, second) = (gate(&gateway, "first"), gate(&gateway, "second"));
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    let change_to = |name: &str, gate: &Path| {
        let mut body = version(name, Some(gate));
        body["traffic"] = json!(100);
        change(&gateway, "PUT", "/versions/blue", &body);
    };
    change_to("blue-2", &first);
    change_to("blue-3", &second);
    told(&gateway, "UpdateDropped", "blue");
    // The one that was given up comes up all the same: too late.
    open(&first);
    more(&load, 100);
    assert_eq!(who(&gateway, "blue").0, "blue");
    open(&second);
    told(&gateway, "Updated", "blue");
    assert_eq!(who(&gateway, "blue").0, "blue-3");
    // Ready one after the other, the earlier one takes over and is replaced.
    let (third, fourth) = (gate(&gateway, "third"), gate(&gateway, "fourth"));
    change_to("blue-4", &third);
    open(&third);
    change_to("blue-5", &fourth);
    open(&fourth);
    until("the last serves", LIMIT, || {
        (who(&gateway, "blue").0 == "blue-5").then_some(())
    });
    gateway.healthy("iris");
    more(&load, 50);
    all_answered(load, &["blue"]);
    one_replica_is_left(&gateway);
}

#[test]
fn a_version_deleted_during_its_update_leaves_nothing_behind() {
    let gateway = blue_alone(OPEN);
    let gate = gate(&gateway, "gate");
    change(
        &gateway,
        "PUT",
        "/versions/green",
        &version("green-1", None),
    );
    gateway.healthy("iris");
    change(
        &gateway,
        "PUT",
        "/traffic",
        &json!({ "blue": 50, "green": 50 }),
    );
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    more(&load, 50);
    let mut next = version("green-2", Some(&gate));
    next["traffic"] = json!(50);
    change(&gateway, "PUT", "/versions/green", &next);
    told(&gateway, "UpdateBegan", "green");
    change(&gateway, "DELETE", "/versions/green", &Value::Null);
    // Its update could be ready now; nothing brings it back.
    open(&gate);
    one_replica_is_left(&gateway);
    more(&load, 50);
    all_answered(load, &["blue", "green"]);
    let gone = gateway.admin("GET", &format!("{ENDPOINT}/versions/green"), b"");
    assert_eq!(gone.0, 404, "{}", gone.1);
}

#[test]
fn a_rollback_during_an_update_keeps_the_replicas_that_serve() {
    let gateway = blue_alone(OPEN);
    let gate = gate(&gateway, "gate");
    let before = who(&gateway, "blue");
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    let mut next = version("blue-2", Some(&gate));
    next["traffic"] = json!(100);
    change(&gateway, "PUT", "/versions/blue", &next);
    told(&gateway, "UpdateBegan", "blue");
    assert_eq!(own_status(&gateway, "blue")["state"], "Transitioning");
    change(&gateway, "POST", "/rollback", &json!({ "to": 1 }));
    told(&gateway, "UpdateDropped", "blue");
    open(&gate);
    gateway.healthy("iris");
    more(&load, 100);
    assert_eq!(who(&gateway, "blue"), before);
    all_answered(load, &["blue"]);
    one_replica_is_left(&gateway);
}

/// A replica is two processes: its guard and itself.
#[track_caller]
fn one_replica_is_left(gateway: &Gateway) {
    until("one replica is left", LIMIT, || {
        (process::descendants(gateway.pid()).len() == 2).then_some(())
    });
}

/// Callers of one name each, and where each of them was answered: the versions
/// in their order, each once in a row.
fn journeys(gateway: &Gateway, by: &str, count: u32, requests: u32) -> BTreeMap<u32, Vec<String>> {
    let mut client = Client::connect(gateway.address("http"));
    let mut seen: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for _ in 0..requests {
        for caller in 0..count {
            let header = match by {
                "cookie" => ("cookie", format!("theme=dark; x-user=u{caller}")),
                _ => ("x-user", format!("u{caller}")),
            };
            let headers = [(header.0, header.1.as_str())];
            let answer = client.request("POST", TARGET, &headers, b"{}").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let version = answer.header("azureml-model-deployment").unwrap();
            let journey = seen.entry(caller).or_default();
            if journey.last().is_none_or(|last| last != version) {
                journey.push(version.to_owned());
            }
        }
    }
    seen
}

#[track_caller]
fn stay(by: &str) {
    let gateway = blue_alone(&format!(
        "{OPEN}\nsplit: {{ sticky: {{ by: {by}, name: x-user }} }}"
    ));
    stay_at(&gateway, by);
}

#[track_caller]
fn stay_at(gateway: &Gateway, by: &str) {
    change(gateway, "PUT", "/versions/green", &version("green", None));
    gateway.healthy("iris");
    let load = Load::start(gateway.address("http"), 4, TARGET, &[]);
    let mut whole: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut on_green = 0;
    for share in [10, 30, 60, 100] {
        let shares = json!({ "blue": 100 - share, "green": share });
        change(gateway, "PUT", "/traffic", &shares);
        let seen = journeys(gateway, by, 200, 3);
        // While the shares stay, so does everybody.
        assert!(seen.values().all(|journey| journey.len() == 1), "{seen:?}");
        let now = seen.values().filter(|one| one[0] == "green").count();
        // Five standard deviations of 200 draws are below 18 %.
        let expected = 2.0 * f64::from(share);
        assert!((now as f64 - expected).abs() < 36.0, "{share} %: {now}");
        assert!(now >= on_green, "{share} %: {now} after {on_green}");
        on_green = now;
        for (caller, journey) in seen {
            let all = whole.entry(caller).or_default();
            if all.last() != journey.last() {
                all.extend(journey);
            }
        }
    }
    // Nobody goes back while green's share only grows.
    for (caller, journey) in &whole {
        let forward = journey == &["blue", "green"] || journey == &["green"];
        assert!(forward, "{caller}: {journey:?}");
    }
    assert!(load.stop().keys().all(|what| what.starts_with("200 ")));
}

#[test]
fn callers_that_are_sticky_by_a_header_move_once_at_most() {
    stay("header");
}

#[test]
fn callers_that_are_sticky_by_a_cookie_move_once_at_most() {
    stay("cookie");
}

/// Who the caller is, an auth policy says: here one that believes everybody.
#[test]
fn callers_that_are_sticky_by_their_name_move_once_at_most() {
    let auth = "auth: { mode: custom, policies: [{ plugin: echo-auth }] }";
    let iris = blue(&format!("{auth}\nsplit: {{ sticky: {{ by: caller }} }}"));
    let module = std::fs::read(guests::build("echo-auth", "one")).unwrap();
    let setup = Setup::new(&(yaml::plugin("echo-auth", "auth", "headers: [x-user]") + &iris));
    stay_at(&started(setup.file("echo-auth.wasm", module)), "caller");
}
