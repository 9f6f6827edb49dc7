//! The command line against a real gateway: what it prints, where, and its exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::gateway::{Gateway, binary};
use tidegate_tests::guests;
use tidegate_tests::output::check_whole as check;
use tidegate_tests::replica::Replica;
use tidegate_tests::{output, tool, until, yaml};

const PLUGIN: &str = "weighted-split";

fn iris(replica: &Replica) -> String {
    let version = yaml::version("blue", &[replica], "default: true");
    yaml::endpoint("iris", "auth: { mode: key }", &[version])
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
    // As `plugin list` shows it, and shorter.
    let hex = digest.trim_start_matches("sha256:");
    for short in [&digest[..19], &hex[..8], &hex[..8].to_uppercase()] {
        let swapped = gateway.cli_text(&["plugin", "swap", PLUGIN, short]);
        let expected = format!("{PLUGIN}: {digest} decides");
        assert!(swapped.starts_with(&expected), "{short}: {swapped}");
    }
    for (wrong, code, why) in [
        ("sha256:00", 2, "8 to 64 hex digits"),
        (
            "00000000",
            1,
            "has no content sha256:00000000; it has sha256:",
        ),
    ] {
        check(
            &gateway.cli(&["plugin", "swap", PLUGIN, wrong]),
            code,
            "",
            why,
        );
    }
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

/// `diff` shows and fails at once where files and gateway differ.
#[test]
fn diff_tells_by_its_exit_code_what_apply_would_do() {
    let replica = Replica::start("blue");
    let gateway = Gateway::start(&iris(&replica));
    let file = gateway.folder().join("iris.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let diff = || gateway.cli(&["diff", "-f", "iris.yaml"]);
    write(&iris(&replica));
    let same = diff();
    output::check(&same, 0, "", "");
    assert!(same.stdout.is_empty() && same.stderr.is_empty(), "{same:?}");

    let changed =
        iris(&replica).replace("default: true", "default: true\n      scoringTimeout: 7s");
    write(&changed);
    let differs = diff();
    output::check(&differs, 1, "--- running/endpoint/iris\n", "");
    output::check(&differs, 1, "\n+    scoringTimeout: 7s\n", "");
    assert!(differs.stderr.is_empty(), "{differs:?}");
    let (_, running) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    assert_eq!(running["status"]["observedRevision"], 1, "{running}");
    let new = changed.replace("name: iris", "name: rose");
    write(&new);
    output::check(&diff(), 1, "--- /dev/null\n+++ files/endpoint/rose\n", "");

    // What the file alone shows to be wrong, what only the gateway knows, and
    // what is not there.
    write(&changed.replace("7s", "7"));
    check(&diff(), 5, "", "iris.yaml:");
    write(&changed.replace("auth: { mode: key }", "collect: [{ plugin: nobody }]"));
    check(&diff(), 5, "", "nobody");
    check(
        &gateway.cli(&["diff", "-f", "none.yaml"]),
        5,
        "",
        "none.yaml: cannot be read: No such file",
    );
    check(&gateway.cli(&["diff"]), 2, "", "--file <PATH>");
    let none = ["diff", "-f", "resources.yaml", "--state", "none"];
    check(
        &alone(gateway.folder(), &none),
        3,
        "",
        "no gateway runs in ",
    );
}

/// A gateway whose admin API has a certificate for localhost.
struct Secured {
    child: Child,
    folder: TempDir,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Secured {
    fn start() -> Self {
        let folder = TempDir::with_prefix("tidegate-").unwrap();
        let at = folder.path();
        tool::certificate_for(at, "ours", "localhost");
        tool::certificate_for(at, "theirs", "localhost");
        let tls =
            "{ mode: certificates, certificates: [{ certFile: ours.pem, keyFile: ours.key }] }";
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nspec:\n  \
             listeners: [{{ name: http, address: '127.0.0.1:0', tls: {{ mode: none }} }}]\n  \
             admin: {{ address: '127.0.0.1:0', tls: {tls} }}\n"
        );
        std::fs::write(at.join("gateway.yaml"), text).unwrap();
        let mut run = Command::new(binary());
        run.args(["run", "-f", "gateway.yaml", "--state", "state"]);
        run.current_dir(at).stdin(Stdio::null());
        run.stdout(Stdio::null()).stderr(Stdio::null());
        Self {
            child: run.spawn().unwrap(),
            folder,
        }
    }

    /// Its address, by the name in its certificate.
    fn admin(&self) -> String {
        let run = self.folder.path().join("state/run.json");
        until("run.json", Duration::from_secs(60), || {
            let run: Value = serde_json::from_slice(&std::fs::read(&run).ok()?).ok()?;
            let port = run["admin"]
                .as_str()?
                .trim_end_matches('/')
                .rsplit_once(':')?
                .1;
            Some(format!("https://localhost:{port}"))
        })
    }

    /// `tidegate status`, with these words and this `TIDEGATE_ADMIN_CA`.
    fn status(&self, words: &[&str], ca: Option<&str>) -> Output {
        let mut line = Command::new(binary());
        line.args(["status", "--admin", &self.admin()]);
        line.args(["--token-file", "state/admin.token"]).args(words);
        line.current_dir(self.folder.path()).stdin(Stdio::null());
        line.env_remove("TIDEGATE_ADMIN_CA");
        line.envs(ca.map(|file| ("TIDEGATE_ADMIN_CA", file)));
        line.output().unwrap()
    }
}

#[test]
fn an_admin_api_with_tls_is_believed_by_its_roots_alone() {
    let gateway = Secured::start();
    let ours = ["--ca-file", "ours-ca.pem"];
    until("it answers", Duration::from_secs(60), || {
        gateway.status(&ours, None).status.success().then_some(())
    });
    check(&gateway.status(&ours, None), 0, "endpoints ", "");
    check(
        &gateway.status(&[], Some("ours-ca.pem")),
        0,
        "endpoints ",
        "",
    );
    // The flag wins over the variable.
    check(
        &gateway.status(&ours, Some("theirs-ca.pem")),
        0,
        "endpoints ",
        "",
    );
    let unknown = "invalid peer certificate: UnknownIssuer";
    let theirs = ["--ca-file", "theirs-ca.pem"];
    check(&gateway.status(&theirs, None), 3, "", unknown);
    check(&gateway.status(&theirs, None), 3, "", &gateway.admin());
    check(&gateway.status(&[], Some("theirs-ca.pem")), 3, "", unknown);
    // The machine's own roots do not know it either.
    check(&gateway.status(&[], None), 3, "", unknown);
    let none = ["--ca-file", "none.pem"];
    check(
        &gateway.status(&none, None),
        1,
        "",
        "none.pem: No such file",
    );
}
