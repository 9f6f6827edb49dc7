//! What `get` shows goes back: lists of resources, and versions; what files have
//! together is tried together.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::process::{Command, Output};

use serde_json::Value;
use tidegate_tests::gateway::{Gateway, Setup, binary};
use tidegate_tests::output::check;
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, yaml};

fn write(gateway: &Gateway, name: &str, text: &str) {
    std::fs::write(gateway.folder().join(name), text).unwrap();
}

/// The command line, with a text on its standard input.
fn given(gateway: &Gateway, input: &str, words: &[&str]) -> Output {
    write(gateway, "input", input);
    let mut cli = Command::new(binary());
    cli.args(words).arg("--state").arg(gateway.state());
    cli.stdin(File::open(gateway.folder().join("input")).unwrap());
    cli.current_dir(gateway.folder()).output().unwrap()
}

fn version(replica: &Replica) -> String {
    yaml::version("blue", &[replica], "default: true")
}

/// The files of a gateway with the endpoints `iris`, which binds the plugin
/// `tenant-auth`, and `rose`.
fn garden(replica: &Replica) -> (Gateway, String) {
    let module = std::fs::read(guests::build("echo-auth", "one")).unwrap();
    let plugin = yaml::plugin("tenant-auth", "auth", "headers: [x-user]");
    let auth = "auth: { mode: custom, policies: [{ plugin: tenant-auth }] }";
    let iris = yaml::endpoint("iris", auth, &[version(replica)]);
    let rose = yaml::open("rose", &[version(replica)]);
    let files = format!("{plugin}{iris}{rose}");
    let setup = Setup::new(&files).file("tenant-auth.wasm", module);
    (setup.start(), files)
}

#[test]
fn a_list_that_is_shown_can_be_applied_again() {
    let blue = Replica::start("blue");
    let (gateway, _) = garden(&blue);
    for (kind, expected) in [
        (
            "endpoints",
            "endpoint/iris unchanged\nendpoint/rose unchanged\n",
        ),
        (
            "plugins",
            "plugin/key-auth unchanged\nplugin/model-data unchanged\n\
             plugin/tenant-auth unchanged\nplugin/weighted-split unchanged\n",
        ),
    ] {
        for output in ["yaml", "json"] {
            let shown = gateway.cli_text(&["get", kind, "-o", output]);
            let back = given(&gateway, &shown, &["apply", "-f", "-"]);
            check(&back, 0, expected, "");
            assert_eq!(back.stdout, expected.as_bytes(), "{shown}");
        }
    }
    let all = gateway.cli_text(&["get", "all", "-o", "yaml"]);
    assert!(all.starts_with("apiVersion: tidegate.dev/v1alpha1\nitems:\n"));
    assert!(all.ends_with("\nkind: List\n"), "{all}");
    let same = given(&gateway, &all, &["diff", "-f", "-", "--prune"]);
    check(&same, 0, "", "");
    assert!(same.stdout.is_empty(), "{same:?}");
    let checked = given(&gateway, &all, &["check", "-f", "-"]);
    check(&checked, 0, "checked: 2 endpoints, 4 plugins", "");

    // What is wrong in it is told at its place, also by the gateway.
    let wrong = all.replace("default: true", "defalt: true");
    let line = 1 + wrong
        .lines()
        .position(|line| line.contains("defalt"))
        .unwrap();
    let wrong = given(&gateway, &wrong, &["apply", "-f", "-"]);
    check(&wrong, 1, "", &format!("<stdin>:{line}:"));
    check(&wrong, 1, "", "endpoint/iris: spec.versions[0].defalt: ");
    let stale = all.replacen("revision: 1", "revision: 7", 1);
    let stale = given(&gateway, &stale, &["apply", "-f", "-"]);
    check(&stale, 1, "", "metadata.revision of 7 is stale");
    let bare = "apiVersion: tidegate.dev/v1alpha1\nkind: List\n";
    let bare = given(&gateway, bare, &["apply", "-f", "-"]);
    check(
        &bare,
        1,
        "",
        "<stdin>:2:7: kind: a List has apiVersion and items",
    );

    let both = "endpoint/iris deleted\nendpoint/rose deleted\n";
    let shown = gateway.cli_text(&["get", "endpoints", "-o", "yaml"]);
    check(
        &given(&gateway, &shown, &["delete", "-f", "-"]),
        0,
        both,
        "",
    );
    let none = gateway.cli_text(&["get", "endpoints", "-o", "yaml"]);
    let none = given(&gateway, &none, &["apply", "-f", "-"]);
    check(&none, 1, "", "<stdin> has no resource to apply");
}

/// As `get` shows it and as the API does: one form.
#[test]
fn a_version_that_is_shown_can_be_given_back() {
    let blue = Replica::start("blue");
    let (gateway, _) = garden(&blue);
    gateway.healthy("rose");
    let words = ["get", "version/rose/blue", "-o", "json"];
    let shown: Value = serde_json::from_str(&gateway.cli_text(&words)).unwrap();
    let path = "/v1/endpoints/rose/versions/blue";
    assert_eq!(shown, gateway.admin("GET", path, b"").1);
    let list = gateway.cli_text(&["get", "versions", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let mut second = list["items"][1].clone();
    let metadata = second["metadata"].as_object_mut().unwrap();
    assert_eq!(metadata.remove("endpoint"), Some("rose".into()));
    assert_eq!(second, shown);

    let shown = gateway.cli_text(&["get", "version/rose/blue", "-o", "yaml"]);
    let update = ["version", "update", "rose", "blue", "-f", "-"];
    let same = given(&gateway, &shown, &update);
    check(&same, 0, "version/rose/blue unchanged\n", "");
    let edited = format!("tags: {{ team: a }}\n{shown}");
    let changed = given(&gateway, &edited, &update);
    check(&changed, 0, "version/rose/blue updated\n", "");
    let stale = given(&gateway, &edited, &update);
    check(&stale, 1, "", "metadata.revision of 1 is stale");
    // One of a List is taken out of it.
    let list = gateway.cli_text(&["get", "endpoints", "-o", "yaml"]);
    let out = given(&gateway, &list, &update);
    check(&out, 0, "version/rose/blue unchanged\n", "");
    let none = gateway.cli(&["get", "version/rose/bleu", "-o", "yaml"]);
    check(&none, 1, "", "no version bleu; did you mean blue?");
}

#[test]
fn a_plugin_and_what_binds_it_are_tried_together() {
    let blue = Replica::start("blue");
    let (gateway, files) = garden(&blue);
    write(&gateway, "all.yaml", &files);
    let delete = |words: &[&str]| gateway.cli(&[&["delete", "-f"], words].concat());
    let lines = "endpoint/iris deleted\nendpoint/rose deleted\nplugin/tenant-auth deleted\n";
    let dry = lines.replace('\n', " (dry run)\n");
    check(&delete(&["all.yaml", "--dry-run"]), 0, &dry, "");
    // What binds it has to be among them.
    let plugin = files.split("---").nth(1).unwrap();
    write(&gateway, "plugin.yaml", plugin);
    for words in [&["plugin.yaml", "--dry-run"][..], &["plugin.yaml"]] {
        check(&delete(words), 1, "", "iris");
    }
    check(&delete(&["all.yaml"]), 0, lines, "");
}
