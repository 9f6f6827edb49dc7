//! Verbs that follow: how they end when what they follow does, and the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tidegate_tests::gateway::{Gateway, binary};
use tidegate_tests::output::check;
use tidegate_tests::replica::Replica;
use tidegate_tests::yaml;

/// A command line that goes on, and its lines so far.
struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Follower {
    /// Begun, and come to a line with this.
    fn start(gateway: &Gateway, words: &[&str], line: &str) -> Self {
        let mut child = Command::new(binary())
            .args(words)
            .arg("--state")
            .arg(gateway.state())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut follower = Self {
            child,
            lines,
            seen: String::new(),
        };
        follower.comes_to(line);
        follower
    }

    fn comes_to(&mut self, line: &str) {
        let before = self.seen.len();
        while !self.seen[before..].contains(line) {
            let read = self.lines.read_line(&mut self.seen).unwrap();
            assert!(read > 0, "no {line:?} in {:?}", self.seen);
        }
    }

    /// All it wrote, when it has ended.
    fn ended(mut self) -> Output {
        self.lines.read_to_string(&mut self.seen).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Output {
            stdout: self.seen.into_bytes(),
            ..output
        }
    }
}

/// A version that says hello and farewell, with the file that holds its words.
fn talking(name: &str) -> String {
    let script = "trap 'echo farewell; exit' TERM; echo hello; while :; do sleep 0.1; done";
    yaml::command(name, &["sh", "-c", script], "")
}

fn garden(replica: &Replica) -> Gateway {
    let red = yaml::version("red", &[replica], "default: true");
    Gateway::start(&yaml::open("iris", &[red, talking("blue")]))
}

#[test]
fn what_follows_tells_that_the_gateway_ended() {
    let red = Replica::start("red");
    for signal in ["TERM", "KILL"] {
        let mut gateway = garden(&red);
        let follow = |words: &[&str], line: &str| Follower::start(&gateway, words, line);
        let all = [
            follow(&["events", "-f"], "endpoint/iris"),
            follow(&["logs", "iris", "-f"], "hello"),
            follow(&["logs", "iris", "--version", "blue", "-f"], "hello"),
            follow(&["get", "endpoints", "-w"], "iris"),
        ];
        if signal == "TERM" {
            gateway.terminate();
        } else {
            gateway.kill();
        }
        for follower in all {
            let output = follower.ended();
            check(&output, 3, "", "tidegate: http://127.0.0.1:");
            check(&output, 3, "", "run.json names it");
        }
    }
}

#[test]
fn logs_end_with_what_they_follow() {
    let red = Replica::start("red");
    let gateway = garden(&red);
    let logs = ["logs", "iris", "--version", "blue", "-f"];
    let version = Follower::start(&gateway, &logs, "hello");
    let endpoint = Follower::start(&gateway, &["logs", "iris", "-f"], "hello");
    let delete = gateway.cli(&["delete", "version/iris/blue"]);
    check(&delete, 0, "version/iris/blue deleted\n", "");
    let ended = version.ended();
    let why = "tidegate: version/iris/blue was deleted\n";
    check(&ended, 0, "blue-1 farewell\n", why);
    assert_eq!(ended.stderr, why.as_bytes());

    // A version of the same name is another one.
    let blue = "process.command=[sh, -c, 'echo again; exec sleep 60']";
    let create = ["version", "create", "iris", "blue", "--set", blue];
    check(&gateway.cli(&create), 0, "created", "");
    let mut endpoint = endpoint;
    endpoint.comes_to("again");
    let version = Follower::start(&gateway, &logs, "again");
    check(&gateway.cli(&["delete", "endpoint/iris"]), 0, "deleted", "");
    check(
        &endpoint.ended(),
        0,
        "",
        "tidegate: endpoint/iris was deleted\n",
    );
    check(
        &version.ended(),
        0,
        "",
        "tidegate: version/iris/blue was deleted\n",
    );
}

#[test]
fn logs_of_a_replica_that_is_not_there_are_refused() {
    let red = Replica::start("red");
    let gateway = garden(&red);
    let one = ["logs", "iris", "--replica", "blue-1", "-f"];
    drop(Follower::start(&gateway, &one, "hello").child.kill());
    for (words, why) in [
        (
            &["--replica", "blue-2"][..],
            "tidegate: no replica blue-2 of endpoint iris; did you mean blue-1?\n",
        ),
        (
            &["--replica", "x", "--version", "blue"],
            "tidegate: no replica x of endpoint iris; it has blue-1\n",
        ),
        (
            &["--replica", "x", "-f"],
            "tidegate: no replica x of endpoint iris; it has blue-1, red-1\n",
        ),
    ] {
        let refused = gateway.cli(&[&["logs", "iris"], words].concat());
        check(&refused, 1, "", why);
        assert_eq!(refused.stderr, why.as_bytes());
    }
}
