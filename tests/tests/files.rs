//! Files against a real gateway: what is shown goes back, what is gone is pruned.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::process::{Command, Output, Stdio};

use tidegate_tests::gateway::{Gateway, Setup, binary};
use tidegate_tests::output::check;
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, tool, yaml};

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

/// A gateway with an endpoint `iris` that binds a plugin `tenant-auth`, which no
/// file has that is applied later.
fn bound(replica: &Replica) -> Gateway {
    let module = std::fs::read(guests::build("echo-auth", "one")).unwrap();
    let plugin = yaml::plugin("tenant-auth", "auth", "headers: [x-user]");
    let auth = "auth: { mode: custom, policies: [{ plugin: tenant-auth }] }";
    let iris = yaml::endpoint("iris", auth, &[version(replica)]);
    Setup::new(&format!("{plugin}{iris}"))
        .file("tenant-auth.wasm", module)
        .start()
}

#[test]
fn what_is_shown_can_be_applied_again_whatever_it_binds() {
    let blue = Replica::start("blue");
    let gateway = bound(&blue);
    for (object, verb, expected) in [
        ("endpoint/iris", "apply", "endpoint/iris unchanged\n"),
        (
            "plugin/tenant-auth",
            "apply",
            "plugin/tenant-auth unchanged\n",
        ),
        ("plugin/key-auth", "apply", "plugin/key-auth unchanged\n"),
        ("endpoint/iris", "diff", ""),
    ] {
        let shown = gateway.cli_text(&["get", object, "-o", "yaml"]);
        let back = given(&gateway, &shown, &[verb, "-f", "-"]);
        check(&back, 0, expected, "");
        assert_eq!(back.stdout, expected.as_bytes(), "{object} {verb}");
    }
    // To a file, edited, back.
    let shown = gateway.cli_text(&["get", "endpoint/iris", "-o", "yaml"]);
    let edited = shown.replace("default: true", "scoringTimeout: 7s\n    default: true");
    write(&gateway, "iris.yaml", &edited);
    let differs = gateway.cli(&["diff", "-f", "iris.yaml"]);
    check(&differs, 1, "\n+    scoringTimeout: 7s\n", "");
    let applied = gateway.cli(&["apply", "-f", "iris.yaml"]);
    check(&applied, 0, "endpoint/iris changed\n", "");
    let shown = gateway.cli_text(&["get", "endpoint/iris", "-o", "yaml"]);
    let gone = given(&gateway, &shown, &["delete", "-f", "-"]);
    check(&gone, 0, "endpoint/iris deleted\n", "");
}

/// What files do not have goes where that is asked for, and is shown before.
#[test]
fn what_the_files_do_not_have_is_pruned() {
    let blue = Replica::start("blue");
    let gateway = bound(&blue);
    let put = |name: &str, text: &str| {
        write(&gateway, name, text);
        check(&gateway.cli(&["apply", "-f", name]), 0, "", "");
    };
    let plugin = |name: &str, spec: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Plugin\nmetadata: {{ name: {name} }}\n\
             spec: {{ {spec} }}\n"
        )
    };
    let spare = plugin("spare", "role: auth, source: { file: tenant-auth.wasm }");
    put("spare.yaml", &spare);
    put("rose.yaml", &yaml::open("rose", &[version(&blue)]));
    put(
        "key.yaml",
        &plugin("key-auth", "headers: [authorization, x-more]"),
    );
    let shown = gateway.cli_text(&["get", "endpoint/iris", "-o", "yaml"]);
    write(&gateway, "iris.yaml", &shown);

    let diff = gateway.cli(&["diff", "-f", "iris.yaml", "--prune"]);
    check(&diff, 1, "--- running/endpoint/rose\n+++ /dev/null\n", "");
    let text = String::from_utf8_lossy(&diff.stdout);
    let gone: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("--- "))
        .collect();
    let all = ["endpoint/rose", "plugin/key-auth", "plugin/spare"];
    assert_eq!(gone, all.map(|one| format!("--- running/{one}")));
    check(&gateway.cli(&["diff", "-f", "iris.yaml"]), 0, "", "");

    // The plugin that the file binds stays, and so do the shipped ones.
    let lines = |suffix: &str| {
        let gone = all.map(|one| format!("{one} deleted{suffix}\n")).concat();
        format!("endpoint/iris unchanged{suffix}\n{gone}")
    };
    let prune = ["apply", "-f", "iris.yaml", "--prune"];
    let dry = gateway.cli(&[&prune[..], &["--dry-run"]].concat());
    check(&dry, 0, &lines(" (dry run)"), "");
    check(&gateway.cli(&prune), 0, &lines(""), "");
    assert_eq!(
        gateway.cli_text(&["get", "all", "-o", "name"]),
        "endpoint/iris\nversion/iris/blue\nplugin/key-auth\nplugin/model-data\n\
         plugin/tenant-auth\nplugin/weighted-split\n"
    );
    let diff = gateway.cli(&["diff", "-f", "iris.yaml", "--prune"]);
    check(&diff, 0, "", "");
    assert!(diff.stdout.is_empty(), "{diff:?}");
}

/// A program that failed says nothing; that deletes nothing.
#[test]
fn nothing_is_pruned_for_files_that_say_nothing() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&yaml::open("iris", &[version(&blue)]));
    write(
        &gateway,
        "rose.yaml",
        &yaml::open("rose", &[version(&blue)]),
    );
    write(&gateway, "empty.yaml", "\n");
    let both = ["apply", "-f", "rose.yaml", "empty.yaml", "--prune"];
    check(
        &gateway.cli(&both),
        1,
        "",
        "empty.yaml: it is empty; with --prune ",
    );
    let input = given(&gateway, "", &["apply", "-f", "-", "--prune"]);
    check(&input, 1, "", "<stdin>: it is empty");
    let none = given(&gateway, "# none\n", &["diff", "-f", "-", "--prune"]);
    check(&none, 5, "", "<stdin>: it is empty");
    let none = given(&gateway, "~\n", &["diff", "-f", "-", "--prune"]);
    check(&none, 5, "", "--prune would delete all there are");
    assert_eq!(
        gateway.cli_text(&["get", "endpoints", "-o", "name"]),
        "endpoint/iris\n"
    );
}

#[test]
fn files_without_a_resource_are_refused() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&yaml::open("iris", &[version(&blue)]));
    for (verb, code, what) in [
        ("apply", 1, "to apply"),
        ("delete", 1, "to delete"),
        ("diff", 5, "to compare"),
    ] {
        for input in ["", "# none\n", "---\n---\n"] {
            let none = given(&gateway, input, &[verb, "-f", "-"]);
            let why = format!("tidegate: <stdin> has no resource {what}; nothing was done\n");
            check(&none, code, "", &why);
            assert!(none.stdout.is_empty(), "{none:?}");
        }
    }
    write(&gateway, "one.yaml", "# none\n");
    let two = ["apply", "-f", "one.yaml", "input"];
    check(&gateway.cli(&two), 1, "", "the files have no resource");
    // One that is read at start is a resource.
    let config = "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\n";
    let config = given(&gateway, config, &["apply", "-f", "-"]);
    check(&config, 0, "", "gatewayconfig/ is left as it is");
}

#[test]
fn a_plugin_that_neither_files_nor_gateway_have_is_told_once() {
    let blue = Replica::start("blue");
    let gateway = bound(&blue);
    let bind = |policy: &str, more: &str| {
        let auth = format!("auth: {{ mode: custom, policies: [{{ {policy} }}] }}{more}");
        write(
            &gateway,
            "rose.yaml",
            &yaml::endpoint("rose", &auth, &[version(&blue)]),
        );
    };
    let apply = || gateway.cli(&["apply", "-f", "rose.yaml"]);
    bind("plugin: tenat-auth", "");
    let none = "rose.yaml:6:46: endpoint/rose: spec.auth.policies[0].plugin: \
                no plugin is named \"tenat-auth\"; did you mean tenant-auth?\ntidegate: 1 problem\n";
    let refused = apply();
    check(&refused, 1, "", none);
    assert_eq!(refused.stderr, none.as_bytes());
    check(&gateway.cli(&["diff", "-f", "rose.yaml"]), 5, "", none);

    // What it is at the gateway counts, with all that is wrong in the file.
    bind("plugin: tenant-auth, cacheBy: [x-other]", "\ncollct: []");
    let refused = apply();
    check(
        &refused,
        1,
        "",
        "x-other is not among the headers of plugin tenant-auth",
    );
    check(
        &refused,
        1,
        "",
        "did you mean collect?\ntidegate: 2 problems\n",
    );

    // Without a gateway the file's own problems are told, else that there is none.
    let alone = || gateway.cli(&["apply", "-f", "rose.yaml", "--admin", "127.0.0.1:1"]);
    check(
        &alone(),
        1,
        "",
        "did you mean collect?\ntidegate: 1 problem\n",
    );
    bind("plugin: tenant-auth", "");
    check(&alone(), 3, "", "127.0.0.1:1");
    check(&apply(), 0, "endpoint/rose created\n", "");
}

/// A gateway, a plugin and an endpoint that name files beside theirs.
fn naming() -> String {
    let gateway = "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nspec:\n  listeners:\n    \
                   - name: https\n      address: 127.0.0.1:0\n      tls:\n        mode: certificates\n        \
                   certificates: [{ certFile: ours.pem, keyFile: ours.key }]\n  \
                   admin: { address: '127.0.0.1:0' }\n";
    let plugin = yaml::plugin("tenant-auth", "auth", "");
    let versions = [
        yaml::command("blue", &["./serve"], "default: true"),
        yaml::command("green", &["sh"], "").replace("grace: 2s", "dir: nowhere"),
        yaml::command("gray", &["sh"], "").replace("grace: 2s", "modelDir: model"),
        "    - name: red\n      static: { addresses: ['127.0.0.1:1'], tls: { caFile: ca.pem } }\n"
            .to_owned(),
    ];
    format!("{gateway}{plugin}{}", yaml::open("iris", &versions))
}

/// What the files name is looked for on this machine, unless they are for another.
#[test]
fn a_check_looks_for_what_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let line = |words: &[&str]| {
        let mut cli = Command::new(binary());
        cli.args(words).current_dir(at).stdin(Stdio::null());
        cli.output().unwrap()
    };
    std::fs::write(at.join("all.yaml"), naming()).unwrap();

    let checked = line(&["check", "-f", "all.yaml"]);
    for problem in [
        "all.yaml:9:36: gatewayconfig: spec.listeners[0].tls.certificates[0].certFile: ",
        "ours.pem: No such file or directory (os error 2); the gateway does not start without it\n",
        "all.yaml:17:19: plugin/tenant-auth: spec.source.file: ",
        "tenant-auth.wasm: No such file or directory (os error 2); no endpoint that binds it can serve\n",
        "tidegate: warning: all.yaml:26:18: endpoint/iris: spec.versions[0].process.command: ",
        "/serve is not a program; no replica can be started\n",
        "spec.versions[1].process.dir: ",
        "/nowhere is not a folder; no replica can be started\n",
        "spec.versions[2].process.modelDir: ",
        "/model: No such file or directory (os error 2); the model finds nothing there\n",
        "spec.versions[3].static.tls.caFile: ",
        "/ca.pem: No such file or directory (os error 2); no replica can be reached\n",
        "tidegate: 2 problems\n",
    ] {
        check(&checked, 1, "", problem);
    }
    let lines = String::from_utf8_lossy(&checked.stderr).lines().count();
    assert_eq!(lines, 7, "{checked:?}");
    let elsewhere = line(&["check", "-f", "all.yaml", "--elsewhere"]);
    check(&elsewhere, 0, "checked: 1 endpoints, 4 plugins", "");
    assert!(elsewhere.stderr.is_empty(), "{elsewhere:?}");

    // With what would be refused in place there are warnings, and they fail nothing.
    tool::certificate_for(at, "ours", "localhost");
    std::fs::copy(
        guests::build("echo-auth", "one"),
        at.join("tenant-auth.wasm"),
    )
    .unwrap();
    let warned = line(&["check", "-f", "all.yaml"]);
    check(
        &warned,
        0,
        "checked: 1 endpoints, 4 plugins",
        "spec.versions[3].static.tls.caFile: ",
    );
    std::fs::write(at.join("tenant-auth.wasm"), "no").unwrap();
    std::fs::write(at.join("ours.key"), "no").unwrap();
    let broken = line(&["check", "-f", "all.yaml"]);
    check(&broken, 1, "", "certificates[0].keyFile: ");
    check(&broken, 1, "", "ours.key: holds no private key");
    check(&broken, 1, "", "tenant-auth.wasm: it is not WebAssembly");
    let other = guests::build("trap-split", "one");
    std::fs::copy(other, at.join("tenant-auth.wasm")).unwrap();
    let broken = line(&["check", "-f", "all.yaml"]);
    check(&broken, 1, "", "plugin/tenant-auth: spec.source.file: ");
    check(
        &broken,
        1,
        "",
        "it is a split plugin; the resource says auth",
    );
}

/// What the endpoints of a gateway claim, by name.
fn claims(gateway: &Gateway) -> Vec<(String, serde_json::Value)> {
    let found = gateway.admin("GET", "/v1/endpoints", b"").1;
    let items = found["items"].as_array().unwrap().iter();
    let claim = |one: &serde_json::Value| {
        let name = one["metadata"]["name"].as_str().unwrap().to_owned();
        (name, one["spec"]["hosts"].clone())
    };
    items.map(claim).collect()
}

#[test]
fn a_host_moves_from_endpoint_to_endpoint_in_one_apply() {
    let blue = Replica::start("blue");
    let endpoint = |name: &str, hosts: &str| {
        let more = format!("auth: {{ mode: none }}\nhosts: [{hosts}]");
        yaml::endpoint(name, &more, &[version(&blue)])
    };
    let gateway = Gateway::start(&(endpoint("one", "q.example") + &endpoint("two", "r.example")));
    let apply = |words: &[&str]| gateway.cli(&[&["apply", "-f", "set.yaml"], words].concat());
    let expect = |expected: &[(&str, &[&str])]| {
        let hosts = |hosts: &[&str]| serde_json::json!(hosts);
        let all = expected.iter();
        let all: Vec<_> = all
            .map(|(name, of)| ((*name).to_owned(), hosts(of)))
            .collect();
        assert_eq!(claims(&gateway), all);
    };
    // To the second, in either order, and while each takes the other's.
    for (set, expected) in [
        (
            endpoint("one", "") + &endpoint("two", "q.example, r.example"),
            [("one", &[][..]), ("two", &["q.example", "r.example"])],
        ),
        (
            endpoint("one", "Q.example") + &endpoint("two", "r.example"),
            [("one", &["Q.example"]), ("two", &["r.example"])],
        ),
        (
            endpoint("one", "r.example") + &endpoint("two", "q.example"),
            [("one", &["r.example"]), ("two", &["q.example"])],
        ),
    ] {
        write(&gateway, "set.yaml", &set);
        let both = "endpoint/one changed";
        check(&gateway.cli(&["diff", "-f", "set.yaml"]), 1, "", "");
        check(&apply(&["--dry-run"]), 0, both, "");
        check(&apply(&[]), 0, both, "");
        expect(&expected);
        check(&gateway.cli(&["diff", "-f", "set.yaml"]), 0, "", "");
    }
    // As they are shown, with their revisions, each with the other's.
    let shown = gateway.cli_text(&["get", "endpoints", "-o", "yaml"]);
    let swapped = shown
        .replace("q.example", "@")
        .replace("r.example", "q.example");
    write(&gateway, "set.yaml", &swapped.replace('@', "r.example"));
    check(&apply(&[]), 0, "endpoint/one changed", "");
    expect(&[("one", &["q.example"]), ("two", &["r.example"])]);
    write(
        &gateway,
        "set.yaml",
        &(endpoint("one", "r.example") + &endpoint("two", "q.example")),
    );
    check(&apply(&[]), 0, "endpoint/two changed", "");
    // Renamed, with its host.
    let renamed = endpoint("one", "r.example") + &endpoint("zwei", "q.example");
    write(&gateway, "set.yaml", &renamed);
    check(
        &apply(&["--dry-run"]),
        1,
        "",
        "endpoint/zwei: spec.hosts: q.example is claimed by endpoint two",
    );
    let diff = gateway.cli(&["diff", "-f", "set.yaml", "--prune"]);
    check(&diff, 1, "--- running/endpoint/two\n", "");
    let lines = "endpoint/one unchanged\nendpoint/two deleted\nendpoint/zwei created\n";
    let dry = lines.replace('\n', " (dry run)\n");
    check(&apply(&["--prune", "--dry-run"]), 0, &dry, "");
    check(&apply(&["--prune"]), 0, lines, "");
    expect(&[("one", &["r.example"]), ("zwei", &["q.example"])]);
    // Who keeps it keeps it.
    write(&gateway, "set.yaml", &endpoint("drei", "q.example"));
    let refused = "q.example is claimed by endpoint zwei";
    check(&apply(&[]), 1, "", refused);
}
