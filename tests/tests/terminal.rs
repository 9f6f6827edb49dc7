//! The command line in a terminal and in a shell: completion, colour, `top`, pipes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tidegate_tests::gateway::{Gateway, binary};
use tidegate_tests::replica::Replica;
use tidegate_tests::yaml;

fn gateway(blue: &Replica) -> Gateway {
    let green = yaml::version("green", &[blue], "traffic: 10");
    let blue = yaml::version("blue", &[blue], "default: true");
    let gateway = Gateway::start(&yaml::open("iris", &[blue, green]));
    gateway.healthy("iris");
    gateway
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a shell is offered for the last of these words; nothing else is said.
#[track_caller]
fn offered(shell: &str, folder: &Path, words: &[&str]) -> Vec<String> {
    let mut line = Command::new(binary());
    line.env("TIDEGATE_COMPLETE", shell)
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
        .arg("--")
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null());
    if shell == "fish" {
        line.env_remove("_CLAP_COMPLETE_INDEX");
    }
    let output = line.output().unwrap();
    assert_eq!(text(&output.stderr), "", "{words:?}");
    assert!(output.status.success(), "{words:?}: {}", output.status);
    let lines = text(&output.stdout);
    let name = |line: &str| line.split(['\t', ':']).next().unwrap().to_owned();
    lines
        .lines()
        .filter(|line| !line.starts_with("-"))
        .map(name)
        .collect()
}

#[test]
fn every_shell_is_offered_the_names_that_are_there() {
    let blue = Replica::start("blue");
    let gateway = gateway(&blue);
    let state = gateway.state();
    let state = state.to_str().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let check = |words: &[&str], expected: &[&str]| {
            // The place of the gateway is said after the verb.
            let verb = match words {
                [_] => 0,
                ["version" | "traffic" | "plugin", ..] => 2,
                _ => 1,
            };
            let (verb, rest) = words.split_at(verb);
            let place = if verb.is_empty() {
                &[][..]
            } else {
                &["--state", state]
            };
            let whole = [&["tidegate"][..], verb, place, rest].concat();
            let found = offered(shell, gateway.folder(), &whole);
            assert_eq!(found, expected, "{shell}: {words:?}");
        };
        check(&["get", "endpoint", ""], &["iris"]);
        check(&["get", "endpoint/"], &["endpoint/iris"]);
        check(&["describe", "version", "iris/g"], &["iris/green"]);
        check(&["version", "update", "iris", ""], &["blue", "green"]);
        check(&["logs", "iris", "--version", "b"], &["blue"]);
        check(&["traffic", "set", "iris", "gr"], &["green="]);
        check(&["plugin", "swap", "we"], &["weighted-split"]);
        check(&["version", "update", "nobody", ""], &[]);
        check(&["versi"], &["version"]);
    }
}

#[test]
fn a_shell_completes_by_the_script_it_was_given() {
    let blue = Replica::start("blue");
    let gateway = gateway(&blue);
    for (shell, part) in [
        ("bash", "complete "),
        ("zsh", "compdef"),
        ("fish", "complete "),
    ] {
        let script = Command::new(binary())
            .args(["completion", shell])
            .output()
            .unwrap();
        assert!(script.status.success());
        assert!(
            text(&script.stdout).contains(part),
            "{}",
            text(&script.stdout)
        );
    }
    let script = "source <(\"$BINARY\" completion bash)\n\
        COMP_WORDS=(tidegate version update iris gr) COMP_CWORD=4 COMP_TYPE=9\n\
        _clap_complete_tidegate tidegate gr iris\n\
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script])
        .env("BINARY", binary())
        .env("TIDEGATE_ADMIN", gateway.admin_url())
        .env(
            "TIDEGATE_ADMIN_TOKEN",
            std::fs::read_to_string(gateway.state().join("admin.token")).unwrap(),
        );
    let output = bash.output().unwrap();
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("green\n".to_owned(), String::new())
    );
}

#[test]
fn without_a_gateway_a_shell_is_offered_nothing_and_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().to_str().unwrap();
    let words = ["tidegate", "get", "endpoint", "--state", none, ""];
    assert_eq!(offered("bash", folder.path(), &words), [""; 0]);
    // One that takes the connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let token = token.to_str().unwrap();
    let words = [
        "tidegate",
        "get",
        "endpoint",
        "--admin",
        &address,
        "--token-file",
        token,
        "",
    ];
    assert_eq!(offered("bash", folder.path(), &words), [""; 0]);
}

/// The command line of this gateway as words for a shell, which it takes the place
/// of: a shell that waits ends by `^C` itself, whatever its command answers.
fn line(gateway: &Gateway, words: &str) -> String {
    format!(
        "exec {} {words} --state {}",
        binary().display(),
        gateway.state().display()
    )
}

/// In a terminal of its own.
fn in_terminal(line: &str) -> Command {
    let mut script = Command::new("script");
    script
        .args(["-qefc", line, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    script
}

#[test]
fn colour_is_for_terminals_and_for_those_who_want_it() {
    let blue = Replica::start("blue");
    let gateway = gateway(&blue);
    for words in [
        "get endpoints",
        "describe endpoint/iris",
        "top --once",
        "get all",
        "status",
        "events",
    ] {
        let piped = gateway.cli(&words.split(' ').collect::<Vec<_>>());
        assert!(piped.status.success(), "{words}");
        assert!(
            !text(&piped.stdout).contains('\x1b'),
            "{words}: {}",
            text(&piped.stdout)
        );
        let line = line(&gateway, words);
        let shown = |output: Output| text(&output.stdout);
        let plain = shown(
            in_terminal(&line)
                .env("NO_COLOR", "1")
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        );
        assert!(!plain.contains('\x1b'), "{words}: {plain}");
        let dumb = shown(
            in_terminal(&line)
                .env("TERM", "dumb")
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        );
        assert!(!dumb.contains('\x1b'), "{words}: {dumb}");
    }
    let output = in_terminal(&line(&gateway, "get endpoints"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains("\x1b[32mHealthy\x1b[0m"), "{shown}");
}

#[test]
fn top_shows_what_came_in_an_interval() {
    let blue = Replica::start("blue");
    let gateway = gateway(&blue);
    let top = Command::new(binary())
        .args(["top", "iris", "--every", "5s", "-o", "json", "--state"])
        .arg(gateway.state())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Requests go on until it ends, so that some are in its interval.
    let mut top = Some(top);
    let mut asked = 0;
    while let Some(mut running) = top.take() {
        if running.try_wait().unwrap().is_none() {
            assert_eq!(gateway.score("iris", "", &[]).status, 200);
            asked += 1;
            top = Some(running);
            continue;
        }
        let output = running.wait_with_output().unwrap();
        assert!(output.status.success());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let items = found["items"].as_array().unwrap();
        let names: Vec<&str> = items
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(names, ["iris", "iris/blue", "iris/green"]);
        let whole = &items[0];
        let rate = whole["requestsPerSecond"].as_f64().unwrap();
        assert!(
            rate > 0.0 && rate * 4.0 < f64::from(asked),
            "{rate} of {asked}: {whole}"
        );
        assert_eq!(whole["errorPercent"], 0.0);
        assert_eq!(whole["ready"], "2/2");
        assert!(whole["p95Seconds"].as_f64().unwrap() > 0.0, "{whole}");
        let parts: f64 = items[1..]
            .iter()
            .filter_map(|one| one["requestsPerSecond"].as_f64())
            .sum();
        assert!((parts - rate).abs() < 0.001, "{parts} {rate}");
    }
    let usage = gateway.cli(&["top", "--every", "1ms"]);
    assert_eq!(usage.status.code(), Some(2));
    let nobody = gateway.cli(&["top", "nobody"]);
    assert_eq!(
        (nobody.status.code(), text(&nobody.stderr)),
        (Some(1), "tidegate: no endpoint nobody\n".to_owned())
    );
}

#[test]
fn top_leaves_the_terminal_as_it_was() {
    let blue = Replica::start("blue");
    let gateway = gateway(&blue);
    let mut child = in_terminal(&line(&gateway, "top --every 500ms"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = String::new();
    let mut piece = [0; 4096];
    // Two pictures, one in the place of the other.
    while seen.matches("iris/green").count() < 2 {
        let read = stdout.read(&mut piece).unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&text(&piece[..read]));
    }
    assert!(seen.contains("\x1b[?1049h"), "{seen}");
    assert_eq!(
        seen.matches("\x1b[HNAME").count() + seen.matches("\x1b[H\x1b[1mNAME").count(),
        seen.matches("NAME").count(),
        "{seen}"
    );
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\x03").unwrap();
    stdin.flush().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.ends_with("\x1b[?7h\x1b[?25h\x1b[?1049l"), "{rest:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_news() {
    let blue = Replica::start("blue");
    let gateway = gateway(&blue);
    for words in [
        &["get", "all"][..],
        &["get", "versions", "-w"],
        &["events", "-f"],
        &["describe", "endpoint/iris"],
        &["status"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(binary())
            .args(words)
            .arg("--state")
            .arg(gateway.state())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(text(&output.stderr), "", "{words:?}");
    }
}
