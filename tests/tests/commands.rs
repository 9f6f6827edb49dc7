//! The command line against a real gateway: what it prints, where, and its exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tidegate_tests::gateway::{Gateway, binary};
use tidegate_tests::guests;
use tidegate_tests::replica::Replica;
use tidegate_tests::yaml;

const PLUGIN: &str = "weighted-split";

fn iris(replica: &Replica) -> String {
    let version = yaml::version("blue", &[replica], "default: true");
    yaml::endpoint("iris", "auth: { mode: key }", &[version])
}

/// Exit code, standard output and standard error.
#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(stdout), "{stdout:?} is not in {out:?}");
    assert!(err.contains(stderr), "{stderr:?} is not in {err:?}");
    // Results and problems never share a stream.
    assert_eq!(out.is_empty(), code != 0, "{out}");
    assert_eq!(err.is_empty(), code == 0, "{err}");
}

/// The binary in a folder, without a gateway.
fn alone(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut line = Command::new(binary());
    line.args(arguments)
        .current_dir(folder)
        .env_remove("TIDEGATE_ADMIN")
        .env_remove("TIDEGATE_ADMIN_TOKEN")
        .stdin(Stdio::null());
    line.output().unwrap()
}

#[test]
fn what_runs_is_shown() {
    let replica = Replica::start("blue");
    let gateway = Gateway::start(&iris(&replica));
    gateway.healthy("iris");
    let lines = gateway.cli_text(&["get", "endpoints"]);
    let mut rows = lines.lines();
    assert!(rows.next().unwrap().starts_with("NAME "), "{lines}");
    let row: Vec<&str> = rows.next().unwrap().split_whitespace().collect();
    assert_eq!(row, ["iris", "Healthy", "blue", "100%", "1/1"]);
    assert_eq!(
        gateway.cli_text(&["get", "endpoint/iris", "-o", "name"]),
        "endpoint/iris\n"
    );
    let json: Value =
        serde_json::from_str(&gateway.cli_text(&["get", "endpoint", "iris", "-o", "json"]))
            .unwrap();
    assert_eq!(json["status"]["state"], "Healthy");
    assert!(
        gateway
            .cli_text(&["get", "endpoint/iris", "-o", "yaml"])
            .starts_with("apiVersion: tidegate.dev/v1alpha1\n")
    );
    let plugins = gateway.cli_text(&["plugin", "list", "-o", "name"]);
    assert_eq!(
        plugins,
        "plugin/key-auth\nplugin/model-data\nplugin/weighted-split\n"
    );
    let status = gateway.cli_text(&["status"]);
    assert!(status.contains("endpoints  1 of 1 ready"), "{status}");
    assert!(status.contains("warning    listener http"), "{status}");
    let key = gateway.cli_text(&["keys", "show", "iris", "-o", "name"]);
    assert_eq!(format!("Bearer {}", key.trim()), gateway.bearer("iris"));
    let both = gateway.cli_text(&["keys", "show", "iris"]);
    let second = gateway.cli_text(&["keys", "show", "iris", "secondary"]);
    assert_eq!(
        both,
        format!("primary    {}\nsecondary  {}\n", key.trim(), second.trim())
    );
}

#[test]
fn what_cannot_be_shown_is_told() {
    let replica = Replica::start("blue");
    let gateway = Gateway::start(&iris(&replica));
    check(
        &gateway.cli(&["get", "endpoint/nobody"]),
        1,
        "",
        "tidegate: no endpoint nobody\n",
    );
    check(
        &gateway.cli(&["get", "pods"]),
        2,
        "",
        "is not a kind; endpoints, versions and plugins are",
    );
    check(
        &gateway.cli(&["keys", "show", "../iris"]),
        2,
        "",
        "is not a name",
    );
    check(
        &gateway.cli(&["logs", "iris", "--version", "green"]),
        1,
        "",
        "no version green of endpoint iris",
    );
    check(
        &gateway.cli(&["logs", "iris", "--since", "5"]),
        2,
        "",
        "has no unit; write 5s or 5ms",
    );
    let token = gateway.folder().join("token");
    std::fs::write(&token, "wrong").unwrap();
    let wrong = gateway.cli(&["status", "--token-file", token.to_str().unwrap()]);
    check(&wrong, 1, "", "not this gateway's token");
}

#[test]
fn a_plugin_is_pushed_swapped_and_rolled_back_by_command() {
    let replica = Replica::start("blue");
    let module = guests::build(PLUGIN, "by-command");
    let module = module.to_str().unwrap();
    let gateway = Gateway::start(&iris(&replica));
    let checked = alone(gateway.folder(), &["plugin", "check", module]);
    check(&checked, 0, ": split plugin sha256:", "");
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    let pushed = gateway.cli_text(&["plugin", "push", module, "--name", PLUGIN, "-o", "name"]);
    let digest = pushed.trim();
    assert!(
        checked.contains(digest),
        "{checked} has another digest than {digest}"
    );
    let swapped = gateway.cli_text(&["plugin", "swap", PLUGIN]);
    assert!(
        swapped.starts_with(&format!(
            "{PLUGIN}: {digest} decides now, in place of sha256:"
        )),
        "{swapped}"
    );
    let list = gateway.cli_text(&["plugin", "list", "-o", "wide"]);
    assert!(list.contains(digest), "{list}");
    let back = gateway.cli_text(&["plugin", "rollback", PLUGIN]);
    assert!(back.contains(&format!("in place of {digest}")), "{back}");
    check(
        &gateway.cli(&["plugin", "swap", PLUGIN, "sha256:00"]),
        1,
        "",
        "tidegate: ",
    );
    check(
        &gateway.cli(&["plugin", "push", "gateway.yaml", "--name", PLUGIN]),
        1,
        "",
        "it is not WebAssembly",
    );
    check(
        &gateway.cli(&["plugin", "push", "missing.wasm", "--name", PLUGIN]),
        1,
        "",
        "No such file",
    );
    check(
        &alone(gateway.folder(), &["plugin", "check", "gateway.yaml"]),
        1,
        "",
        "it is not WebAssembly",
    );
}

#[test]
fn without_a_gateway_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    check(
        &alone(at, &["status", "--state", "none"]),
        3,
        "",
        "no gateway runs in ",
    );
    std::fs::write(at.join("token"), "secret").unwrap();
    let line = ["status", "--admin", "127.0.0.1:1", "--token-file", "token"];
    check(&alone(at, &line), 3, "", "Connection refused");
    let line = [
        "status",
        "--admin",
        "http://10.0.0.1:1",
        "--token-file",
        "token",
    ];
    check(&alone(at, &line), 2, "", "off loopback it is https://");
    check(
        &alone(at, &["frobnicate"]),
        2,
        "",
        "unrecognized subcommand",
    );
    check(&alone(at, &["run"]), 2, "", "--file <PATH>");
}

#[test]
fn files_are_checked_without_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let head =
        "apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: { name: iris }\nspec:\n";
    let good = "  versions: [{ name: blue, static: { addresses: ['127.0.0.1:1'] } }]\n";
    std::fs::create_dir(at.join("good")).unwrap();
    std::fs::write(at.join("good/a.yaml"), format!("{head}{good}")).unwrap();
    std::fs::write(at.join("good/notes.txt"), "not: [read").unwrap();
    check(
        &alone(at, &["check", "-f", "good"]),
        0,
        "checked: 1 endpoints",
        "",
    );
    std::fs::write(
        at.join("bad.yaml"),
        format!("{head}{good}  modelErrorsAs502: yes\n  collct: []\n"),
    )
    .unwrap();
    let both = "bad.yaml:6:21: endpoint/iris: spec.modelErrorsAs502: \"yes\" is not true or false\n\
                bad.yaml:7:3: endpoint/iris: spec.collct: no such key; did you mean collect?\n\
                tidegate: 2 problems\n";
    check(&alone(at, &["check", "-f", "bad.yaml"]), 1, "", both);
    check(
        &alone(at, &["run", "-f", "bad.yaml", "--state", "s"]),
        1,
        "",
        both,
    );
    assert!(
        !at.join("s").exists(),
        "what does not check leaves nothing behind"
    );
    check(
        &alone(at, &["check", "-f", "none.yaml"]),
        1,
        "",
        "none.yaml: cannot be read: No such file",
    );
    std::fs::create_dir(at.join("empty")).unwrap();
    check(
        &alone(at, &["check", "-f", "empty"]),
        1,
        "",
        "empty: the folder has no *.yaml, *.yml or *.json",
    );
    std::fs::write(at.join("latin.yaml"), b"a: \xe4").unwrap();
    check(
        &alone(at, &["check", "-f", "latin.yaml"]),
        1,
        "",
        "latin.yaml: not UTF-8 text: byte 3",
    );
}

#[test]
fn a_port_that_is_taken_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nspec:\n  listeners: [{ name: http, address: '127.0.0.1:0', tls: { mode: none } }]\n  admin: { address: '127.0.0.1:0' }\n";
    std::fs::write(folder.path().join("a.yaml"), text).unwrap();
    let run = |flag: &str| {
        let line = ["run", "-f", "a.yaml", "--state", "s", flag, &address];
        alone(folder.path(), &line)
    };
    for flag in ["--listen", "--admin"] {
        let output = run(flag);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(&address) && errors.contains("Address already in use"),
            "{errors}"
        );
        assert!(
            !folder.path().join("s/run.json").exists(),
            "nobody is to be found there"
        );
    }
}
