//! `run --watch`: files are applied while the gateway serves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::load::Load;
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, until, yaml};

/// Longer than a change takes where the system tells of none.
const SOON: Duration = Duration::from_secs(30);

fn open(name: &str, replica: &Replica, keys: &str) -> String {
    yaml::open(name, &[yaml::version("blue", &[replica], keys)])
}

/// A gateway that watches the folder `endpoints`, with `iris.yaml` in it.
fn watching(iris: &str, more: &[&str]) -> Gateway {
    let words = [&["-f", "endpoints", "--watch"], more].concat();
    let setup = Setup::new("").file("endpoints/iris.yaml", iris);
    let gateway = setup.run(&words).start();
    gateway.healthy("iris");
    gateway
}

fn at(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.folder().join("endpoints").join(name)
}

/// As an editor does it: a file beside it, which takes its place.
fn replace(gateway: &Gateway, name: &str, text: &str) {
    let beside = at(gateway, &format!(".{name}.swp"));
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, at(gateway, name)).unwrap();
}

fn revision(gateway: &Gateway, endpoint: &str) -> Option<u64> {
    let (_, shown) = gateway.admin("GET", &format!("/v1/endpoints/{endpoint}"), b"");
    shown["metadata"]["revision"].as_u64()
}

fn revision_is(gateway: &Gateway, endpoint: &str, expected: Option<u64>) {
    let what = format!("{endpoint} is at {expected:?}\n{}", gateway.log());
    until(&what, SOON, || {
        (revision(gateway, endpoint) == expected).then_some(())
    });
}

fn warnings(gateway: &Gateway) -> String {
    let (_, status) = gateway.admin("GET", "/v1/status", b"");
    status["warnings"].to_string()
}

/// The message of the `count`-th event of a kind.
fn event(gateway: &Gateway, kind: &str, count: usize) -> String {
    until(&format!("{count} {kind}"), SOON, || {
        gateway.events(kind).get(count - 1).cloned()
    })
}

#[test]
fn files_that_come_change_move_and_go_are_applied_under_load() {
    let blue = Replica::start("blue");
    let gateway = watching(
        &open("iris", &blue, "maxConcurrentRequests: 8"),
        &["--prune"],
    );
    let target = "/api/v1/service/iris/score";
    let load = Load::start(gateway.address("http"), 4, target, &[]);
    // A second one comes.
    let rose = open("rose", &blue, "");
    fs::write(at(&gateway, "rose.yaml"), &rose).unwrap();
    revision_is(&gateway, "rose", Some(1));
    gateway.healthy("rose");
    assert_eq!(gateway.score("rose", "", &[]).status, 200);
    // The first is edited: in its place, and by an editor that replaces it.
    let keys = "maxConcurrentRequests: 8\nmaxQueueWait: 4s";
    fs::write(at(&gateway, "iris.yaml"), open("iris", &blue, keys)).unwrap();
    revision_is(&gateway, "iris", Some(2));
    let keys = "maxConcurrentRequests: 8\nmaxQueueWait: 5s";
    replace(&gateway, "iris.yaml", &open("iris", &blue, keys));
    revision_is(&gateway, "iris", Some(3));
    // It gets another name, which is no change of what it says.
    fs::rename(at(&gateway, "iris.yaml"), at(&gateway, "flower.yml")).unwrap();
    // The second goes. What says so was read after the renaming.
    fs::remove_file(at(&gateway, "rose.yaml")).unwrap();
    revision_is(&gateway, "rose", None);
    assert_eq!(gateway.score("rose", "", &[]).status, 404);
    assert_eq!(revision(&gateway, "iris"), Some(3));
    let history = gateway.cli_text(&["history", "endpoint/iris"]);
    assert!(history.contains("applied from its file"), "{history}");
    let seen = load.stop();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["200 blue"]);
}

#[test]
fn what_does_not_check_is_refused_with_its_problems_and_what_ran_stays() {
    let blue = Replica::start("blue");
    let iris = open("iris", &blue, "traffic: 100");
    let gateway = watching(&iris, &["--prune"]);
    let file = at(&gateway, "iris.yaml");
    // Two problems in one file, and a good file beside it: all or nothing.
    fs::write(at(&gateway, "rose.yaml"), open("rose", &blue, "")).unwrap();
    revision_is(&gateway, "rose", Some(1));
    let bad = iris.replace("traffic: 100", "traffic: 101\n      trafic: 1");
    fs::write(
        at(&gateway, "rose.yaml"),
        open("rose", &blue, "maxQueueWait: 9s"),
    )
    .unwrap();
    replace(&gateway, "iris.yaml", &bad);
    let told = event(&gateway, "FilesRefused", 1);
    for part in ["endpoints/iris.yaml:", "101", "trafic", "endpoint/iris"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(warnings(&gateway).contains("are not applied"), "{told}");
    assert!(gateway.log().contains("spec.versions[0].traffic"));
    assert_eq!(
        (revision(&gateway, "iris"), revision(&gateway, "rose")),
        (Some(1), Some(1))
    );
    // Emptied, as by an editor that writes in two steps: nothing is deleted.
    fs::write(&file, "").unwrap();
    let told = event(&gateway, "FilesRefused", 2);
    assert!(told.contains("endpoints/iris.yaml: it is empty"), "{told}");
    // Half of it.
    let half = iris.split_at(iris.len() - 30).0;
    fs::write(&file, half).unwrap();
    let told = event(&gateway, "FilesRefused", 3);
    assert!(told.contains("endpoints/iris.yaml"), "{told}");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    assert_eq!(
        (revision(&gateway, "iris"), revision(&gateway, "rose")),
        (Some(1), Some(1))
    );
    // Whole again: what waited beside it comes with it.
    fs::write(&file, &iris).unwrap();
    revision_is(&gateway, "rose", Some(2));
    assert_eq!(revision(&gateway, "iris"), Some(1));
    let told = gateway.events("FilesApplied");
    assert!(
        told.last().unwrap().contains("resources changed: 1"),
        "{told:?}"
    );
    until("the warning is gone", SOON, || {
        (!warnings(&gateway).contains("are not applied")).then_some(())
    });
}

/// Waits until the gateway has seen for the `count`-th time that this is in no file.
fn seen_missing(gateway: &Gateway, what: &str, count: usize) {
    until(&format!("{what} is missed"), SOON, || {
        let log = gateway.log();
        let missed = log.lines().filter(|line| line.contains("in no file now"));
        let missed = missed.filter(|line| line.split([' ', ',']).any(|word| word == what));
        (missed.count() >= count).then_some(())
    });
}

#[test]
fn what_is_away_while_its_file_is_written_is_not_deleted() {
    let blue = Replica::start("blue");
    let keys = "traffic: 50\nmaxConcurrentRequests: 8";
    let versions = ["blue", "green"].map(|name| yaml::version(name, &[&blue], keys));
    let iris = yaml::open("iris", &versions);
    let (rose, lily) = (open("rose", &blue, ""), open("lily", &blue, ""));
    let garden = format!("{rose}{lily}");
    let gateway = watching(&iris, &["--prune"]);
    fs::write(at(&gateway, "garden.yaml"), &garden).unwrap();
    revision_is(&gateway, "lily", Some(1));
    let load = Load::start(
        gateway.address("http"),
        2,
        "/api/v1/service/rose/score",
        &[],
    );
    // Taken away and put back, as by who replaces it in two steps.
    fs::remove_file(at(&gateway, "garden.yaml")).unwrap();
    seen_missing(&gateway, "endpoint/rose", 1);
    replace(&gateway, "garden.yaml", &garden);
    // Written slowly: a part of it checks by itself.
    fs::write(at(&gateway, "garden.yaml"), &rose).unwrap();
    seen_missing(&gateway, "endpoint/lily", 2);
    fs::write(at(&gateway, "garden.yaml"), &garden).unwrap();
    fs::write(
        at(&gateway, "iris.yaml"),
        yaml::open("iris", &versions[..1]),
    )
    .unwrap();
    seen_missing(&gateway, "endpoint/iris/green", 1);
    fs::write(at(&gateway, "iris.yaml"), &iris).unwrap();
    // Emptied and filled.
    fs::write(at(&gateway, "garden.yaml"), "").unwrap();
    event(&gateway, "FilesRefused", 1);
    fs::write(at(&gateway, "garden.yaml"), &garden).unwrap();
    // A link that leads nowhere for a while.
    let beside = at(&gateway, "garden.away");
    fs::rename(at(&gateway, "garden.yaml"), &beside).unwrap();
    std::os::unix::fs::symlink("nowhere", at(&gateway, "garden.yaml")).unwrap();
    let told = event(&gateway, "FilesRefused", 2);
    assert!(told.contains("garden.yaml: cannot be read"), "{told}");
    fs::rename(&beside, at(&gateway, "garden.yaml")).unwrap();
    // What comes after all that is applied, and nothing was deleted before.
    fs::write(at(&gateway, "fern.yaml"), open("fern", &blue, "")).unwrap();
    revision_is(&gateway, "fern", Some(1));
    for endpoint in ["iris", "rose", "lily"] {
        assert_eq!(revision(&gateway, endpoint), Some(1), "{endpoint}");
    }
    assert!(gateway.events("Deleted").is_empty());
    let seen = load.stop();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["200 blue"]);
    // What stays away is gone.
    fs::write(at(&gateway, "garden.yaml"), &rose).unwrap();
    revision_is(&gateway, "lily", None);
    assert_eq!(revision(&gateway, "rose"), Some(1));
}

#[test]
fn a_start_with_an_empty_file_deletes_nothing_until_the_file_is_gone() {
    let blue = Replica::start("blue");
    let mut gateway = watching(&open("iris", &blue, ""), &["--prune"]);
    fs::write(at(&gateway, "rose.yaml"), open("rose", &blue, "")).unwrap();
    revision_is(&gateway, "rose", Some(1));
    gateway.kill();
    fs::write(at(&gateway, "rose.yaml"), "").unwrap();
    gateway.start_again();
    gateway.healthy("rose");
    let told = event(&gateway, "Files", 1);
    assert!(told.contains("endpoints/rose.yaml"), "{told}");
    assert_eq!(gateway.events("Files").len(), 1);
    // Something else is applied meanwhile, and rose is still there.
    fs::write(at(&gateway, "lily.yaml"), open("lily", &blue, "")).unwrap();
    revision_is(&gateway, "lily", Some(1));
    assert_eq!(gateway.score("rose", "", &[]).status, 200);
    // What was in a file while that one was empty is deleted meanwhile.
    fs::remove_file(at(&gateway, "lily.yaml")).unwrap();
    revision_is(&gateway, "lily", None);
    assert_eq!(revision(&gateway, "rose"), Some(1));
    for file in ["endpoints/rose.yaml", "resources.yaml"] {
        fs::remove_file(gateway.folder().join(file)).unwrap();
    }
    revision_is(&gateway, "rose", None);
    assert_eq!(revision(&gateway, "iris"), Some(1));
}

#[test]
fn without_prune_what_is_in_no_file_stays_and_what_was_shifted_too() {
    let blue = Replica::start("blue");
    let gateway = watching(&open("iris", &blue, "traffic: 10"), &[]);
    fs::write(at(&gateway, "rose.yaml"), open("rose", &blue, "")).unwrap();
    revision_is(&gateway, "rose", Some(1));
    let shares = json!({ "blue": 25 }).to_string();
    let (status, _) = gateway.admin("PUT", "/v1/endpoints/iris/traffic", shares.as_bytes());
    assert_eq!(status, 200);
    fs::remove_file(at(&gateway, "rose.yaml")).unwrap();
    let told = event(&gateway, "Files", 1);
    assert!(told.contains("tidegate delete endpoint/rose"), "{told}");
    assert_eq!(gateway.score("rose", "", &[]).status, 200);
    let (_, shares) = gateway.admin("GET", "/v1/endpoints/iris/traffic", b"");
    assert_eq!(shares, json!({ "blue": 25.0 }));
    // A named file that is away is a problem, as at start.
    fs::remove_file(gateway.folder().join("resources.yaml")).unwrap();
    let told = event(&gateway, "FilesRefused", 1);
    assert!(told.contains("resources.yaml: cannot be read"), "{told}");
}

#[test]
fn other_settings_of_the_gateway_wait_for_a_restart_and_say_so() {
    let blue = Replica::start("blue");
    let mut gateway = watching(&open("iris", &blue, ""), &[]);
    let file = gateway.folder().join("gateway.yaml");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{before}  limits: {{ headFields: 7 }}\n")).unwrap();
    let told = event(&gateway, "RestartNeeded", 1);
    assert!(told.contains("spec.limits changed"), "{told}");
    assert!(warnings(&gateway).contains("spec.limits changed"));
    let headers = [
        ("x-a", ""),
        ("x-b", ""),
        ("x-c", ""),
        ("x-d", ""),
        ("x-e", ""),
        ("x-f", ""),
        ("x-g", ""),
    ];
    assert_eq!(gateway.score("iris", "", &headers).status, 200);
    gateway.terminate();
    gateway.start_again();
    gateway.healthy("iris");
    assert!(!warnings(&gateway).contains("spec.limits"));
    assert_eq!(gateway.score("iris", "", &headers).status, 431);
    // Back again: told, and withdrawn when it is as it runs.
    fs::write(&file, &before).unwrap();
    event(&gateway, "RestartNeeded", 1);
    fs::write(&file, format!("{before}  limits: {{ headFields: 7 }}\n")).unwrap();
    until("nothing waits", SOON, || {
        (!warnings(&gateway).contains("spec.limits")).then_some(())
    });
}

#[test]
fn another_content_of_a_plugin_is_swapped_to_and_a_broken_one_is_refused() {
    let blue = Replica::start("blue");
    let auth = "auth: { mode: custom, policies: [{ plugin: door }] }";
    let iris = yaml::endpoint("iris", auth, &[yaml::version("blue", &[&blue], "")]);
    let first = fs::read(guests::build("echo-auth", "one")).unwrap();
    let second = fs::read(guests::build("trap-auth", "one")).unwrap();
    let plugin = yaml::plugin("door", "auth", "");
    let setup = Setup::new(&format!("{plugin}{iris}")).file("door.wasm", &first);
    let gateway = setup.run(&["--watch"]).start();
    gateway.healthy("iris");
    let active = || {
        let (_, shown) = gateway.admin("GET", "/v1/plugins/door", b"");
        shown["status"]["activeDigest"].as_str().map(str::to_owned)
    };
    let before = active();
    assert!(before.is_some());
    let file = gateway.folder().join("door.wasm");
    fs::write(&file, second.split_at(second.len() / 2).0).unwrap();
    let told = event(&gateway, "FilesRefused", 1);
    assert!(told.contains("door"), "{told}");
    assert_eq!(active(), before);
    fs::write(&file, &second).unwrap();
    until("the second decides", SOON, || {
        (active() != before).then_some(())
    });
    assert_eq!(gateway.score("iris", "", &[]).code(), "policy-failed");
    let history = gateway.cli_text(&["history", "plugin/door"]);
    assert!(history.contains("its source is"), "{history}");
    let (_, status) = gateway.admin("GET", "/v1/status", b"");
    assert!(!matches!(status["warnings"], Value::Null));
}

/// An endpoint with these policies, and a folder with the plugins `door` and `gate`.
fn guarded(blue: &Replica, policies: &str, first: &[u8]) -> Gateway {
    let plugins = ["door", "gate"].map(|name| yaml::plugin(name, "auth", ""));
    let setup = Setup::new(&plugins.concat())
        .file("door.wasm", first)
        .file("gate.wasm", first)
        .file("endpoints/iris.yaml", with_policies(blue, policies));
    let gateway = setup.run(&["-f", "endpoints", "--watch"]).start();
    gateway.healthy("iris");
    gateway
}

fn with_policies(blue: &Replica, policies: &str) -> String {
    let auth = format!("auth: {{ mode: custom, policies: [{policies}] }}");
    yaml::endpoint("iris", &auth, &[yaml::version("blue", &[blue], "")])
}

fn active(gateway: &Gateway, plugin: &str) -> String {
    let (_, shown) = gateway.admin("GET", &format!("/v1/plugins/{plugin}"), b"");
    shown["status"]["activeDigest"].as_str().unwrap().to_owned()
}

#[test]
fn a_plugin_and_the_settings_that_it_needs_change_together() {
    let blue = Replica::start("blue");
    let echo = fs::read(guests::build("echo-auth", "one")).unwrap();
    let lie = fs::read(guests::build("lie-auth", "one")).unwrap();
    let friendly = "{ plugin: door, config: { user: ann } }";
    let gateway = guarded(&blue, friendly, &echo);
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    let before = active(&gateway, "door");
    let change = |content: &[u8], policies: &str| {
        fs::write(gateway.folder().join("door.wasm"), content).unwrap();
        replace(&gateway, "iris.yaml", &with_policies(&blue, policies));
    };
    // Neither takes the settings of the other.
    change(&lie, "{ plugin: door, config: { lie: status } }");
    until("the other decides", SOON, || {
        (active(&gateway, "door") != before).then_some(())
    });
    revision_is(&gateway, "iris", Some(2));
    assert_eq!(gateway.score("iris", "", &[]).code(), "policy-failed");
    // One that takes neither is refused with the place of its settings.
    let refused = gateway.events("FilesRefused").len();
    change(&echo, "{ plugin: door, config: { lie: status } }");
    let told = event(&gateway, "FilesRefused", refused + 1);
    assert!(told.contains("lie"), "{told}");
    change(&echo, friendly);
    revision_is(&gateway, "iris", Some(3));
    assert_eq!(active(&gateway, "door"), before);
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    until("one of each lives", SOON, || {
        let live = gateway.metric("tidegate_plugin_versions_live", &[("plugin", "door")]);
        (live == 1.0).then_some(())
    });
}

#[test]
fn two_plugins_of_one_endpoint_change_together() {
    let blue = Replica::start("blue");
    let one = fs::read(guests::build("echo-auth", "one")).unwrap();
    let two = fs::read(guests::build("echo-auth", "two")).unwrap();
    let gateway = guarded(&blue, "{ plugin: door }, { plugin: gate }", &one);
    assert_eq!(gateway.score("iris", "?pass", &[]).status, 401);
    let before = active(&gateway, "door");
    for plugin in ["door", "gate"] {
        fs::write(gateway.folder().join(format!("{plugin}.wasm")), &two).unwrap();
    }
    until("both are others", SOON, || {
        let both = ["door", "gate"].map(|plugin| active(&gateway, plugin));
        both.iter().all(|digest| *digest != before).then_some(())
    });
    // Both are asked, as they are now.
    assert_eq!(gateway.score("iris", "?pass", &[]).status, 401);
    let lines = gateway.access_lines_at_least(2);
    let policies = lines[1]["policies"].as_array().unwrap().clone();
    let after = active(&gateway, "door");
    let short = |digest: &str| digest.strip_prefix("sha256:").unwrap()[..8].to_owned();
    assert_eq!(policies.len(), 2, "{policies:?}");
    for policy in &policies {
        let digest = policy["digest"].as_str().unwrap();
        assert!(digest.contains(&short(&after)), "{policy} is not {after}");
    }
}

#[test]
fn standard_input_is_not_watched() {
    let gateway = Gateway::start("");
    let output = gateway.cli(&["run", "-f", "-", "--watch"]);
    assert_eq!(output.status.code(), Some(2));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("standard input"), "{why}");
}
