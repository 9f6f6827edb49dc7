use std::time::{Duration, Instant};

use crate::resource::load::{Set, check as check_sources};
use crate::resource::problem::Problem;
use crate::resource::text::Source;
use crate::resource::{AuthMode, ListenerTls, PluginSource, Runtime, Scale};
use crate::units::Percent;

const ALL: &str = include_str!("tests/all.yaml");

fn read(text: &str) -> Result<Set, Vec<Problem>> {
    check_sources(&[Source {
        name: "f.yaml".to_owned(),
        text: text.to_owned(),
        base: Some("/base".into()),
    }])
}

fn problems(text: &str) -> Vec<Problem> {
    read(text).err().unwrap_or_default()
}

/// What is told of a whole text, line by line.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let told: Vec<String> = problems(text).iter().map(ToString::to_string).collect();
    assert_eq!(told, expected, "{text}");
}

/// What is told of one `spec` of a resource of `kind`, without the places.
fn told(kind: &str, spec: &str) -> Vec<String> {
    let head = match kind {
        "endpoint" => "kind: Endpoint\nmetadata: {name: iris}",
        "plugin" => "kind: Plugin\nmetadata: {name: mine}",
        _ => "kind: GatewayConfig\nmetadata: {name: default}",
    };
    let text = format!("apiVersion: tidegate.dev/v1alpha1\n{head}\nspec: {spec}\n");
    let rest = |problem: &Problem| {
        let shown = problem.to_string();
        let object = format!("{}: ", problem.object);
        shown
            .split_once(&object)
            .map_or_else(|| shown.clone(), |(_, rest)| rest.to_owned())
    };
    problems(&text).iter().map(rest).collect()
}

/// Cases of a file: `KIND SPEC`, then what is told of it, each line with two
/// blanks before it; `fine` for nothing.
#[track_caller]
fn check_cases(cases: &str) {
    let mut lines = cases.lines().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let Some((kind, spec)) = line.split_once(' ') else {
            continue;
        };
        let mut expected = Vec::new();
        while let Some(text) = lines.peek().and_then(|line| line.strip_prefix("  ")) {
            expected.push(text.to_owned());
            lines.next();
        }
        let mut told = told(kind, spec);
        if told.is_empty() {
            told.push("fine".to_owned());
        }
        assert_eq!(told, expected, "{line}");
        count += 1;
    }
    assert!(count > 0, "no case");
}

#[test]
fn a_key_of_a_later_issue_is_refused_by_name_unless_it_has_its_default() {
    check_cases(include_str!("tests/later.txt"));
}

#[test]
fn a_gateway_that_does_not_fit_is_refused() {
    check_cases(include_str!("tests/gateway.txt"));
}

#[test]
fn a_plugin_that_does_not_fit_is_refused() {
    check_cases(include_str!("tests/plugin.txt"));
}

#[test]
fn an_endpoint_that_does_not_fit_is_refused() {
    check_cases(include_str!("tests/endpoint.txt"));
}

#[test]
fn versions_must_fit_each_other() {
    check_cases(include_str!("tests/together.txt"));
}

#[test]
fn traffic_that_cannot_be_is_refused() {
    check_cases(include_str!("tests/traffic.txt"));
}

#[test]
fn a_version_that_does_not_fit_is_refused() {
    check_cases(include_str!("tests/version.txt"));
}

#[test]
fn replicas_that_cannot_run_are_refused() {
    check_cases(include_str!("tests/replicas.txt"));
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn assert_told(kind: &str, spec: &str, expected: &[&str]) {
    assert_eq!(told(kind, spec), expected);
}

#[test]
fn every_list_has_a_limit() {
    let one = "static: {addresses: ['127.0.0.1:1']}";
    let versions = many(7, |i| format!("{{name: ver-{i}, {one}}}"));
    assert_told(
        "endpoint",
        &format!("{{versions: [{versions}]}}"),
        &["spec.versions: 7 versions; 1 to 6"],
    );
    let with =
        |key: &str, list: &str| format!("{{{key}: {list}, versions: [{{name: blue, {one}}}]}}");
    let policies = many(17, |_| "{plugin: key-auth}".to_owned());
    assert_told(
        "endpoint",
        &with("auth", &format!("{{mode: custom, policies: [{policies}]}}")),
        &["spec.auth.policies: 17 policies; at most 16"],
    );
    let policies = many(17, |_| "{plugin: model-data}".to_owned());
    assert_told(
        "endpoint",
        &with("collect", &format!("[{policies}]")),
        &["spec.collect: 17 policies; at most 16"],
    );
    let paths = many(101, |i| format!("/p{i}"));
    assert_told(
        "endpoint",
        &format!("{{versions: [{{name: blue, {one}, paths: [{paths}]}}]}}"),
        &["spec.versions[0].paths: 101 paths; at most 100"],
    );
    let metrics = many(33, |i| format!("{{name: m{i}, type: counter}}"));
    assert_told(
        "plugin",
        &format!("{{role: auth, source: {{file: a}}, metrics: [{metrics}]}}"),
        &["spec.metrics: 33 metrics; at most 32"],
    );
    let values = many(40, |i| format!("v{i}"));
    assert_told(
        "plugin",
        &format!(
            "{{role: auth, source: {{file: a}}, metrics: [{{name: a, type: counter, labels: {{b: [{values}], c: [{values}]}}}}]}}"
        ),
        &["spec.metrics[0].labels: the labels make 1600 series; at most 1000"],
    );
}

#[test]
fn every_settled_key_stands_at_its_place() {
    let set = read(ALL).unwrap();
    assert_eq!(set.endpoints.len(), 1);
    let names: Vec<&str> = set
        .plugins
        .iter()
        .map(|plugin| plugin.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["tenant-auth", "key-auth", "weighted-split", "model-data"]
    );
    assert_eq!(set.documents.len(), 3);
    assert_eq!(
        set.documents[2].value["spec"]["versions"][1]["name"],
        "green"
    );
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let set = read(ALL).unwrap();
    let ListenerTls::Certificates { certificates, .. } = &set.config.listeners[0].tls else {
        panic!("{:?}", set.config.listeners);
    };
    assert_eq!(
        certificates[0].cert_file.to_str(),
        Some("/base/tls/tls.crt")
    );
    assert_eq!(
        set.plugins[0].source,
        PluginSource::File("/base/tenant_auth.wasm".into())
    );
    let Runtime::Process(process) = &set.endpoints[0].versions[0].runtime else {
        panic!("{:?}", set.endpoints[0].versions[0].runtime);
    };
    assert_eq!(process.dir.to_str(), Some("/base/blue"));
    assert_eq!(
        process.model_dir.as_deref().and_then(|dir| dir.to_str()),
        Some("/base/blue/model")
    );
    let nowhere = Source {
        name: String::new(),
        text: ALL.to_owned(),
        base: None,
    };
    let told = check_sources(&[nowhere]).unwrap_err();
    assert_eq!(
        told[0].to_string(),
        "14:25: gatewayconfig/default: spec.listeners[0].tls.certificates[0].certFile: \"tls/tls.crt\" is relative, and there is no file it could be from; write it absolute"
            .trim_start_matches("14:25: ")
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = "
apiVersion: tidegate.dev/v1alpha1
kind: Endpoint
metadata: { name: iris }
spec: { versions: [{ name: blue, process: { command: [serve] } }, { name: green, static: { addresses: ['a:1', 'b:1'] } }] }
";
    let set = read(text).unwrap();
    assert_eq!(set.config, crate::resource::GatewayConfig::default());
    assert_eq!(set.config.listeners[0].address.to_string(), "0.0.0.0:8443");
    assert_eq!(set.config.listeners[0].tls, ListenerTls::Development);
    assert_eq!(set.config.admin.address.to_string(), "127.0.0.1:9443");
    let iris = &set.endpoints[0];
    assert_eq!(iris.auth.mode, AuthMode::Key);
    assert_eq!(iris.split.policy.plugin.as_str(), "weighted-split");
    assert!(iris.split.pin);
    assert_eq!(iris.max_request_bytes, 100 << 20);
    let [blue, green] = iris.versions.as_slice() else {
        panic!("two versions")
    };
    assert!(blue.default && !green.default, "the first is the default");
    assert_eq!(blue.traffic, Percent::ZERO);
    assert_eq!(blue.max_concurrent_requests.get(), 1);
    assert_eq!(blue.max_queue_wait, Duration::from_millis(500));
    assert_eq!(blue.queue_capacity, 100, "10 for each slot of 10 replicas");
    assert_eq!(green.queue_capacity, 20, "10 for each slot of 2 addresses");
    assert_eq!(blue.scoring_timeout, Duration::from_secs(60));
    assert_eq!(blue.paths, ["/score", "/swagger.json", "/v1/*", "/v2/*"]);
    assert!(
        matches!(&blue.scale, Scale::Auto(auto) if (auto.min_replicas, auto.max_replicas) == (1, 10))
    );
    assert!(matches!(green.scale, Scale::Fixed(2)));
    assert_eq!(blue.resources["requests"]["memory"], "500M");
}

#[test]
fn all_problems_are_told_at_once_each_at_its_place() {
    let text = "\
apiVersion: tidegate.dev/v1alpha1
kind: Endpoint
metadata: { name: iris }
spec:
  hosts: [5, ok.example, OK.example]
  maxRequestByte: 5
  versions:
    - name: blue
      traffic: 101
      process: { command: python }
    - blue
    - name: green
      maxQueueWait: 5
      static: { addresses: [] }
    - name: red
      traffic: 70
      static: { addresses: ['a:1'] }
    - name: re
      traffic: 40.5
---
apiVersion: tidegate.dev/v1
kind: Endpoints
";
    check(
        text,
        &[
            "f.yaml:5:11: endpoint/iris: spec.hosts[0]: 5 is not text; put it in quotes: \"5\"",
            "f.yaml:5:26: endpoint/iris: spec.hosts[2]: ok.example is there twice",
            "f.yaml:6:3: endpoint/iris: spec.maxRequestByte: no such key; did you mean maxRequestBytes?",
            "f.yaml:7:3: endpoint/iris: spec.versions: traffic of 70 and 40.5 adds up to 110.5; at most 100",
            "f.yaml:9:16: endpoint/iris: spec.versions[0].traffic: 101 is not a percentage: 0 to 100, with at most two decimals",
            "f.yaml:10:27: endpoint/iris: spec.versions[0].process.command: \"python\" is not a list",
            "f.yaml:11:7: endpoint/iris: spec.versions[1]: \"blue\" is not a map",
            "f.yaml:13:21: endpoint/iris: spec.versions[2].maxQueueWait: 5 has no unit; write 5s or 5ms",
            "f.yaml:14:17: endpoint/iris: spec.versions[2].static.addresses: 0 addresses; 1 to 10000",
            "f.yaml:18:7: endpoint/iris: spec.versions[4]: neither process nor static; exactly one says where replicas run",
            "f.yaml:18:13: endpoint/iris: spec.versions[4].name: \"re\" has 2 characters; a name has 3 to 32",
            "f.yaml:21:13: apiVersion: \"tidegate.dev/v1\" is not known; write tidegate.dev/v1alpha1",
            "f.yaml:22:7: kind: \"Endpoints\" is not a kind; one of GatewayConfig, Plugin, Endpoint; did you mean Endpoint?",
        ],
    );
}

#[test]
fn what_is_no_resource_is_refused() {
    check("", &[]);
    check("# nothing\n---\n", &[]);
    check(
        "- 1",
        &["f.yaml:1:1: a list is not a resource: a map with apiVersion, kind, metadata and spec"],
    );
    check(
        "a: 1",
        &[
            "f.yaml:1:1: apiVersion is missing; write apiVersion: tidegate.dev/v1alpha1",
            "f.yaml:1:1: kind is missing or no text; one of GatewayConfig, Plugin, Endpoint",
        ],
    );
    check(
        "a: [1\nb: 2",
        &["f.yaml:2:2: illegal placement of ':' indicator"],
    );
    check(
        "a: 1\na: 2",
        &["f.yaml:2:1: duplicate mapping key `a` is not allowed here"],
    );
    check(
        r#"{"a": 1, "a": 2}"#,
        &["f.yaml:1:10: duplicate mapping key `a` is not allowed here"],
    );
    check("a: !foo 1", &["f.yaml:1:9: unsupported tag `!foo`"]);
    check("a: *b", &["f.yaml:1:4: reference to unknown value"]);
    check("? [a]\n: b", &["f.yaml:1:3: expected string scalar"]);
    check(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {name: \"a\\nb\"}\nspec: {\"c\\e[2J\": 1, versions: [{name: blue, static: {addresses: ['a:1']}}]}",
        &[
            r#"f.yaml:3:18: endpoint/a\nb: metadata.name: "a\nb" is not a name: lower-case letters, digits and `-`, a letter first, no `-` last"#,
            r#"f.yaml:4:8: endpoint/a\nb: spec.c\u{1b}[2J: no such key; known here: hosts, maxRequestBytes, modelErrorsAs502, cors, auth, split, mirror, fairness, collect, versions"#,
        ],
    );
    let nameless = "{apiVersion: tidegate.dev/v1alpha1, kind: Endpoint, spec: {versions: [{name: blue, static: {addresses: ['a:1']}}]}}";
    check(
        nameless,
        &["f.yaml:1:1: endpoint: metadata: name is missing"],
    );
}

#[test]
fn json_is_read_like_yaml() {
    let text = r#"{"apiVersion": "tidegate.dev/v1alpha1", "kind": "Endpoint", "metadata": {"name": "iris"},
	"spec": {"versions": [{"name": "blue", "traffic": 33.30, "static": {"addresses": ["a:1"]}}]}}"#;
    assert_eq!(
        read(text).unwrap().endpoints[0].versions[0]
            .traffic
            .to_string(),
        "33.3"
    );
}

#[test]
fn resources_must_fit_each_other() {
    let endpoint = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: {name}}}\nspec: {{versions: [{{name: blue, static: {{addresses: ['a:1']}}}}], {spec}}}\n"
        )
    };
    let plugin = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: Plugin\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    let config = "---\napiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\n";
    check(
        &[config, config].concat(),
        &["f.yaml:6:7: gatewayconfig: kind: a second GatewayConfig; at most one"],
    );
    check(
        &[endpoint("iris", ""), endpoint("iris", "")].concat(),
        &["f.yaml:9:18: endpoint/iris: metadata.name: a second endpoint iris; names are unique"],
    );
    check(
        &[
            endpoint("iris", "hosts: [a.example]"),
            endpoint("rose", "hosts: [A.example]"),
        ]
        .concat(),
        &[
            "f.yaml:10:72: endpoint/rose: spec.hosts[0]: a.example is claimed by endpoint iris already",
        ],
    );
    let mine = plugin("mine", "role: auth, source: {file: a}, headers: [x-a]");
    check(
        &[mine.clone(), mine.clone()].concat(),
        &["f.yaml:9:18: plugin/mine: metadata.name: a second plugin mine; names are unique"],
    );
    // A plugin may stand after the endpoint that binds it.
    let bound = endpoint(
        "iris",
        "auth: {mode: custom, policies: [{plugin: mine, cacheBy: [x-a]}]}",
    );
    check(&[bound, mine.clone()].concat(), &[]);
    let wrong = endpoint(
        "iris",
        "collect: [{plugin: mine}], auth: {mode: custom, policies: [{plugin: mien, cacheBy: [x-b]}]}",
    );
    check(
        &[wrong, mine].concat(),
        &[
            "f.yaml:5:83: endpoint/iris: spec.collect[0].plugin: mine is a plugin for auth, not for collect",
            "f.yaml:5:132: endpoint/iris: spec.auth.policies[0].plugin: no plugin is named \"mien\"; did you mean mine?",
        ],
    );
    // What is wrong with a plugin is told once, not at each binding too.
    let broken = plugin("mine", "role: auth, source: {file: a}, headers: ['a b']");
    let bound = endpoint("iris", "auth: {mode: custom, policies: [{plugin: mine}]}");
    check(
        &[broken, bound].concat(),
        &["f.yaml:5:49: plugin/mine: spec.headers[0]: \"a b\" is not a header's name"],
    );
    // A shipped plugin's resource keeps what it leaves out.
    let shipped = plugin("key-auth", "limits: {instances: 8}");
    let set = read(&shipped).unwrap();
    assert_eq!(set.plugins[0].limits.instances.get(), 8);
    assert_eq!(set.plugins[0].headers, ["authorization"]);
}

#[test]
fn bombs_are_refused_soon_and_in_one_line() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let before = format!("*a{}", i - 1);
        laughs.push_str(&format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", ")));
    }
    let wide = format!("a: [{}]", "1,".repeat(4 << 20));
    let big = "a: b\n".repeat(10 << 20);
    for bomb in [laughs, "[".repeat(10_000), "- ".repeat(10_000), wide, big] {
        let begun = Instant::now();
        let told = problems(&bomb);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].to_string().contains('\n'), "{}", told[0]);
        // Under a second in a release build; this one is not optimised and shares its machine.
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?} for {}",
            begun.elapsed(),
            told[0]
        );
    }
}

#[test]
fn a_file_that_is_wrong_all_through_is_not_told_to_its_end() {
    let keys: String = (0..500).map(|i| format!("  wrong{i}: 1\n")).collect();
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: iris}}\nspec:\n{keys}"
    );
    let told = problems(&text);
    assert_eq!(told.len(), 100, "{:?}", told.last());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_panics_and_every_refusal_has_a_reason(
        at in 0..ALL.len(), cut in 0_usize..20, put in "[-a-z0-9:{}\\[\\],#&*!|>'\"% \n\t\u{0}é]{0,6}",
    ) {
        let front: String = ALL.chars().take(at).collect();
        let back: String = ALL.chars().skip(at + cut).collect();
        match read(&format!("{front}{put}{back}")) {
            Ok(set) => proptest::prop_assert!(!set.plugins.is_empty()),
            Err(problems) => {
                proptest::prop_assert!(!problems.is_empty());
                let lines = problems.iter().all(|problem| !problem.message.is_empty() && !problem.to_string().contains('\n'));
                proptest::prop_assert!(lines, "{problems:?}");
            }
        }
    }
}
