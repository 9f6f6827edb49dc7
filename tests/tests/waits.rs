//! `--wait` of the verbs that change something, against a real gateway.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_tests::client::request;
use tidegate_tests::gateway::{Gateway, Setup, binary};
use tidegate_tests::output::check;
use tidegate_tests::replica::Replica;
use tidegate_tests::{process, until, yaml};

const FAILING: &str = "process.command=[sh, -c, 'echo no model here >&2; exit 3']";

fn iris(replica: &Replica) -> String {
    yaml::open(
        "iris",
        &[yaml::version("blue", &[replica], "default: true")],
    )
}

/// A gateway with the versions `blue` and `green` of one process each.
fn processes() -> Gateway {
    let blue = yaml::process("blue", &["--name", "blue"], "replicas: 1\ndefault: true");
    let green = yaml::process("green", &["--name", "green"], "replicas: 1");
    let gateway = Gateway::start(&yaml::open("iris", &[blue, green]));
    gateway.healthy("iris");
    gateway
}

#[test]
fn waiting_tells_the_reason_and_ends_early_with_the_log() {
    let blue = Replica::start("blue");
    let gateway = Setup::new(&iris(&blue)).start();
    let create = |name: &str, command: &str, words: &[&str]| {
        let set = format!("process.command={command}");
        let line = ["version", "create", "iris", name, "--set", &set];
        gateway.cli(&[&line[..], words].concat())
    };
    let failing = "[sh, -c, 'echo no model here >&2; exit 3']";
    let failed = create("green", failing, &["--wait", "--timeout", "5m"]);
    check(
        &failed,
        1,
        "version/iris/green created\n",
        "tidegate: version/iris/green is Transitioning: ",
    );
    check(&failed, 1, "", "the last lines of version green:\n");
    check(&failed, 1, "", "no model here\n");
    check(
        &failed,
        1,
        "",
        "tidegate: version/iris/green failed: version green: ",
    );
    let waited = gateway.cli(&["wait", "endpoint/iris"]);
    check(&waited, 1, "", "endpoint/iris failed: version green: ");

    let slow = create("gray", "[sleep, '600']", &["--wait", "--timeout", "1s"]);
    check(
        &slow,
        4,
        "",
        "version/iris/gray is not healthy after 1s: it is Transitioning",
    );
    let alone = create("gray2", "[sleep, '600']", &["--timeout", "1s"]);
    check(&alone, 2, "", "--wait");
}

#[test]
fn applying_can_wait_too() {
    let (blue, other) = (Replica::start("blue"), Replica::start("other"));
    let gateway = Gateway::start(&iris(&blue));
    let file = gateway.folder().join("other.yaml");
    let version = yaml::version("one", &[&other], "default: true");
    std::fs::write(&file, yaml::open("other", &[version])).unwrap();
    let applied = gateway.cli(&["apply", "-f", "other.yaml", "--wait"]);
    check(
        &applied,
        0,
        "endpoint/other created\nendpoint/other is healthy\n",
        "",
    );
    let version = yaml::command("one", &["sh", "-c", "exit 1"], "default: true");
    std::fs::write(&file, yaml::open("other", &[version])).unwrap();
    let applied = gateway.cli(&["apply", "-f", "other.yaml", "--wait"]);
    check(
        &applied,
        1,
        "endpoint/other changed\n",
        "endpoint/other failed: version one: ",
    );
}

#[test]
fn a_rollback_waits_for_what_it_brings_back() {
    let gateway = processes();
    let update = ["version", "update", "iris", "green", "--set", FAILING];
    check(&gateway.cli(&update), 0, "updated", "");
    let back = |to: &str, words: &[&str]| {
        let line = ["rollback", "endpoint/iris", "--to", to, "--wait"];
        gateway.cli(&[&line[..], words].concat())
    };
    let said = "endpoint/iris is as it was at revision 1\nendpoint/iris is healthy\n";
    check(&back("1", &[]), 0, said, "");
    let failed = back("2", &["--timeout", "5m"]);
    check(
        &failed,
        1,
        "is as it was at revision 2\n",
        "no model here\n",
    );
    check(&failed, 1, "", "endpoint/iris failed: version green: ");
    check(&back("9", &[]), 1, "", "no revision 9");
    // A swap has happened when its verb ends.
    let plugin = ["rollback", "plugin/key-auth", "--wait"];
    check(&gateway.cli(&plugin), 1, "", "tidegate: ");
}

#[test]
fn shares_wait_for_the_versions_that_get_them() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&iris(&blue));
    let create = |name: &str, set: &str| {
        let line = ["version", "create", "iris", name, "--set", set];
        check(&gateway.cli(&line), 0, "created", "");
    };
    create("green", "static.addresses=[127.0.0.1:1]");
    create("gray", FAILING);
    let set = |shares: &[&str], words: &[&str]| {
        let line = ["traffic", "set", "iris"];
        gateway.cli(&[&line[..], shares, &["--wait"], words].concat())
    };
    // The default gets what is left; the others get nothing and are not waited for.
    let all = set(&["blue=20"], &[]);
    check(&all, 0, "iris blue 100%\niris green 0%\niris gray 0%\n", "");
    check(&all, 0, "\nversion/iris/blue is healthy\n", "");
    let late = set(&["blue=90", "green=10"], &["--timeout", "1s"]);
    check(
        &late,
        4,
        "iris blue 100%\n",
        "version/iris/green is not healthy after 1s",
    );
    let failed = set(&["gray=10"], &["--timeout", "5m"]);
    check(&failed, 1, "iris blue 100%\n", "no model here\n");
    check(&failed, 1, "", "version/iris/gray failed: version gray: ");
    check(
        &gateway.cli(&["traffic", "set", "iris", "blue=1", "--timeout", "1s"]),
        2,
        "",
        "--wait",
    );
}

#[test]
fn a_deletion_waits_until_replicas_have_finished() {
    let gateway = processes();
    let pid = |version: &str| {
        let answer = gateway.score("iris", "", &[("azureml-model-deployment", version)]);
        u32::try_from(answer.json()["pid"].as_u64().unwrap()).unwrap()
    };
    let (blue, green) = (pid("blue"), pid("green"));
    let mut caller = gateway.client();
    let pin = [("azureml-model-deployment", "green")];
    let whole = request("POST", "/api/v1/service/iris/score", &pin, b"{}");
    let (most, last) = whole.split_at(whole.len() - 1);
    caller.send(most).unwrap();
    until("the request is under way", Duration::from_secs(10), || {
        let labels = [("version", "green"), ("state", "busy")];
        (gateway.metric("tidegate_slots", &labels) == 1.0).then_some(())
    });
    let late = [
        "version",
        "delete",
        "iris",
        "green",
        "--wait",
        "--timeout",
        "300ms",
    ];
    check(
        &gateway.cli(&late),
        4,
        "version/iris/green deleted\n",
        "version/iris/green is not gone after 300ms: it is gone, but its replicas are not",
    );
    // Again, with the request still under way: it is answered before it ends.
    let mut again = Command::new(binary())
        .args([
            "version",
            "delete",
            "iris",
            "green",
            "--ignore-not-found",
            "--wait",
        ])
        .arg("--state")
        .arg(gateway.state())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut errors = BufReader::new(again.stderr.take().unwrap());
    errors.read_line(&mut told).unwrap();
    assert!(told.contains("they finish what they have"), "{told}");
    caller.send(last).unwrap();
    let mut answer = caller.head().unwrap();
    caller.body(&mut answer).unwrap();
    assert_eq!(answer.status, 200);
    check(
        &again.wait_with_output().unwrap(),
        0,
        "version/iris/green is gone\n",
        "",
    );
    assert!(!process::lives(green));

    let gone = gateway.cli(&["delete", "endpoint/iris", "--wait"]);
    check(
        &gone,
        0,
        "endpoint/iris deleted\nendpoint/iris is gone\n",
        "",
    );
    assert!(!process::lives(blue));
    let both = gateway.cli(&["delete", "endpoint/iris", "--wait", "--dry-run"]);
    check(&both, 2, "", "cannot be used with");
}
