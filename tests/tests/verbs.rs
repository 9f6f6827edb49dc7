//! The verbs that change versions and follow what happens, against a real gateway.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tidegate_tests::gateway::{Gateway, binary};
use tidegate_tests::output::check;
use tidegate_tests::replica::Replica;
use tidegate_tests::yaml;

fn iris(replica: &Replica) -> String {
    yaml::open(
        "iris",
        &[yaml::version("blue", &[replica], "default: true")],
    )
}

fn version(gateway: &Gateway, name: &str) -> Value {
    let path = format!("/v1/endpoints/iris/versions/{name}");
    gateway.admin("GET", &path, b"").1
}

/// The command line, left running with its standard output at hand.
fn follow(gateway: &Gateway, arguments: &[&str]) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(binary())
        .args(arguments)
        .arg("--state")
        .arg(gateway.state())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(Result::unwrap))
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_version_is_created_by_command() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = Gateway::start(&iris(&blue));
    let at = format!("static.addresses=[\"{}\"]", green.address);
    let create = ["version", "create", "iris", "green", "--set", &at];
    let dry = gateway.cli(&[&create[..], &["--dry-run"]].concat());
    check(&dry, 0, "version/iris/green created (dry run)\n", "");
    assert_eq!(
        gateway.cli_text(&["get", "versions", "iris", "-o", "name"]),
        "version/iris/blue\n"
    );
    let made = gateway.cli(&[&create[..], &["traffic=12.5", "tags.team=a", "--wait"]].concat());
    check(
        &made,
        0,
        "version/iris/green created\nversion/iris/green is healthy\n",
        "",
    );
    assert_eq!(version(&gateway, "green")["traffic"], 12.5);
    let again = gateway.cli(&create);
    check(
        &again,
        1,
        "",
        "tidegate: version green of endpoint iris is there already\n",
    );
}

#[test]
fn a_version_is_updated_and_deleted_by_command() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let green = yaml::version("green", &[&green], "traffic: 12.5\ntags: { team: a }");
    let blue = yaml::version("blue", &[&blue], "default: true");
    let gateway = Gateway::start(&yaml::open("iris", &[blue, green]));
    let update =
        |words: &[&str]| gateway.cli(&[&["version", "update", "iris", "green"], words].concat());
    check(
        &update(&["--set", "tags.b=c"]),
        0,
        "version/iris/green updated\n",
        "",
    );
    check(
        &update(&["--set", "tags.b=c"]),
        0,
        "version/iris/green unchanged\n",
        "",
    );
    let shown = version(&gateway, "green");
    assert_eq!(shown["tags"], serde_json::json!({ "team": "a", "b": "c" }));
    assert_eq!(shown["traffic"], 12.5, "what is not named stays");
    check(
        &update(&["--set", "tags=null", "-o", "json"]),
        0,
        "\"green\"",
        "",
    );
    assert_eq!(version(&gateway, "green").get("tags"), None);
    check(
        &update(&["--set", "trafic=5"]),
        1,
        "",
        "spec.versions[1].trafic: no such key; did you mean traffic?",
    );
    check(&update(&[]), 2, "", "<--file <FILE>|--set <KEY=VALUE>...>");
    check(&update(&["--set", "traffic"]), 2, "", "is not KEY=VALUE");
    let gren = gateway.cli(&["version", "update", "iris", "gren", "--set", "traffic=1"]);
    check(
        &gren,
        1,
        "",
        "no version gren of endpoint iris; did you mean green?",
    );

    let delete = |words: &[&str]| gateway.cli(&[&["version", "delete", "iris"], words].concat());
    check(
        &delete(&["blue"]),
        1,
        "",
        "blue is the default version of endpoint iris",
    );
    check(
        &delete(&["green", "--dry-run"]),
        0,
        "version/iris/green deleted (dry run)\n",
        "",
    );
    check(&delete(&["green"]), 0, "version/iris/green deleted\n", "");
    check(
        &delete(&["green"]),
        1,
        "",
        "no version green of endpoint iris",
    );
    check(&delete(&["green", "--ignore-not-found"]), 0, "", "");
    assert_eq!(
        gateway.cli_text(&["get", "versions", "iris", "-o", "name"]),
        "version/iris/blue\n"
    );
}

#[test]
fn a_version_comes_of_a_file_and_its_problems_are_told_there() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&iris(&blue));
    let models = gateway.folder().join("models");
    std::fs::create_dir(&models).unwrap();
    let write = |name: &str, text: &str| std::fs::write(models.join(name), text).unwrap();
    let program = yaml::program();
    write(
        "green.yaml",
        &format!("process: {{ command: [\"{program}\"], modelDir: m }}\ntraffic: 10\n"),
    );
    let made = gateway.cli(&[
        "version",
        "create",
        "iris",
        "green",
        "-f",
        "models/green.yaml",
        "--set",
        "traffic=20",
        "-o",
        "name",
    ]);
    check(&made, 0, "version/iris/green\n", "");
    let shown = version(&gateway, "green");
    assert_eq!(shown["traffic"], 20);
    assert_eq!(
        shown["process"]["modelDir"],
        models.join("m").to_str().unwrap()
    );
    assert_eq!(shown["process"]["dir"], models.to_str().unwrap());

    write(
        "bad.yaml",
        "static: { addresses: ['127.0.0.1:1'] }\ntraffic: 140\ntagz: {}\n",
    );
    let bad = gateway.cli(&["version", "create", "iris", "gray", "-f", "models/bad.yaml"]);
    check(
        &bad,
        1,
        "",
        "models/bad.yaml:2:10: endpoint/iris: spec.versions[2].traffic: ",
    );
    check(
        &bad,
        1,
        "",
        "models/bad.yaml:3:1: endpoint/iris: spec.versions[2].tagz: no such key; did you mean tags?",
    );
    check(&bad, 1, "", "tidegate: 2 problems\n");
}

#[test]
fn a_version_comes_of_the_file_of_its_endpoint() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&iris(&blue));
    let write = |name: &str, text: &str| {
        std::fs::write(gateway.folder().join(name), text).unwrap();
    };
    // The version of an endpoint's file; others of it do not matter.
    let whole = yaml::open(
        "iris",
        &[
            yaml::version("blue", &[&blue], "default: true"),
            yaml::version("gray", &[&blue], "traffic: 5"),
        ],
    );
    write("iris.yaml", &whole);
    let made = gateway.cli(&["version", "create", "iris", "gray", "-f", "iris.yaml"]);
    check(&made, 0, "version/iris/gray created\n", "");
    assert_eq!(version(&gateway, "gray")["traffic"], 5);
    let none = gateway.cli(&["version", "update", "iris", "grey", "-f", "iris.yaml"]);
    check(
        &none,
        1,
        "",
        "iris.yaml: endpoint iris has no version grey; did you mean gray?",
    );
    write("list.yaml", "- 1\n");
    let list = gateway.cli(&["version", "update", "iris", "gray", "-f", "list.yaml"]);
    check(&list, 1, "", "list.yaml: is not one version");
}

#[test]
fn changes_are_watched_as_they_come() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&iris(&blue));
    gateway.healthy("iris");
    let (child, mut lines) = follow(&gateway, &["get", "versions", "-w"]);
    assert!(lines.next().unwrap().starts_with("NAME "));
    let first = lines.next().unwrap();
    assert!(first.starts_with("iris/blue  Healthy  100%"), "{first}");
    let green = format!("static.addresses=[\"{}\"]", blue.address);
    let create = [
        "version",
        "create",
        "iris",
        "green",
        "--set",
        &green,
        "traffic=10",
    ];
    check(&gateway.cli(&create), 0, "created", "");
    let next: Vec<String> = lines.by_ref().take(2).collect();
    assert!(
        next.iter()
            .any(|line| line.starts_with("iris/blue") && line.contains("90%")),
        "{next:?}"
    );
    assert!(
        next.iter()
            .any(|line| line.starts_with("iris/green") && line.contains("10%")),
        "{next:?}"
    );
    check(
        &gateway.cli(&["version", "delete", "iris", "green"]),
        0,
        "deleted",
        "",
    );
    let gone = lines
        .by_ref()
        .find(|line| line.contains("Deleted"))
        .unwrap();
    assert!(gone.starts_with("iris/green"), "{gone}");
    end(child);
}

#[test]
fn what_happened_is_shown_and_followed() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&iris(&blue));
    let (child, mut lines) = follow(&gateway, &["events", "-w", "--for", "endpoint/iris"]);
    assert!(lines.next().unwrap().starts_with("TIME "));
    let green = format!("static.addresses=[\"{}\"]", blue.address);
    check(
        &gateway.cli(&["version", "create", "iris", "green", "--set", &green]),
        0,
        "created",
        "",
    );
    let made = lines
        .by_ref()
        .find(|line| line.contains("VersionCreated"))
        .unwrap();
    assert!(made.ends_with("endpoint/iris  version green"), "{made}");
    end(child);

    let shown = gateway.cli_text(&["events", "--since", "10m"]);
    assert!(shown.starts_with("AGE "), "{shown}");
    assert!(shown.contains("VersionCreated"), "{shown}");
    assert_eq!(
        gateway.cli_text(&["events", "--for", "plugin/key-auth", "-o", "name"]),
        ""
    );
    let json: Value = serde_json::from_str(&gateway.cli_text(&["events", "-o", "json"])).unwrap();
    let kinds: Vec<&str> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"VersionCreated"), "{kinds:?}");
    let names = gateway.cli_text(&["events", "-o", "name"]);
    assert_eq!(names.lines().count(), kinds.len(), "{names}");
    check(
        &gateway.cli(&["events", "--for", "iris"]),
        2,
        "",
        "is not a kind",
    );
    check(
        &gateway.cli(&["events", "--for", "version/iris/blue"]),
        2,
        "",
        "events of a version are its endpoint's: tidegate events --for endpoint/iris",
    );
}
