use clap::Parser as _;

use super::*;
use crate::resource::Problem;
use crate::resource::{AuthMode, Endpoint, ListenerTls, Runtime, Scale, Set};

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    import: Import,
}

const FOLDER: &str = "src/cli/import/tests";

/// Imports files of the folder beside this one; `line` has `dc`, `ic` and options.
fn run(line: &str) -> Result<String, Failure> {
    let words = line.split_whitespace().map(|word| match word {
        file if file.ends_with(".json") || file.ends_with(".yml") => format!("{FOLDER}/{file}"),
        word => word.to_owned(),
    });
    let line = Line::try_parse_from(std::iter::once("import".to_owned()).chain(words)).unwrap();
    text(&line.import, None)
}

/// Compares with a file; `TIDEGATE_WRITE_GOLDEN=1` writes it.
#[track_caller]
fn golden(name: &str, line: &str) -> (Set, String) {
    let text = run(line).unwrap();
    let path = format!("{FOLDER}/{name}.yaml");
    if std::env::var_os("TIDEGATE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
    let set = crate::resource::load(&[PathBuf::from(path)]).unwrap();
    (set, text)
}

fn only(set: &Set) -> &Endpoint {
    assert_eq!(set.endpoints.len(), 1);
    &set.endpoints[0]
}

#[test]
fn a_service_of_aks_with_every_setting() {
    let (set, text) = golden("aks", "--dc aks.json --ic inference.json --name iris");
    let endpoint = only(&set);
    assert!(endpoint.model_errors_as_502);
    assert_eq!(endpoint.auth.mode, AuthMode::Key);
    assert_eq!(endpoint.collect.len(), 1);
    let version = &endpoint.versions[0];
    assert_eq!(version.description, "iris: a \"classifier\" # of flowers");
    assert_eq!(version.tags["note"], "line one\nkind: Plugin");
    assert_eq!(version.max_concurrent_requests.get(), 2);
    let Scale::Auto(autoscale) = &version.scale else {
        panic!("{:?}", version.scale)
    };
    assert_eq!((autoscale.min_replicas, autoscale.max_replicas), (2, 6));
    let liveness = version.liveness.as_ref().unwrap();
    assert_eq!(liveness.initial_delay.as_secs(), 120);
    assert_eq!(version.resources["requests"]["memory"], "1500M");
    let Runtime::Process(process) = &version.runtime else {
        panic!("{:?}", version.runtime)
    };
    assert!(process.dir.ends_with("tests/model-code"));
    // The gateway replaces $(NAME), the original does not.
    assert_eq!(process.env["GREETING"], "a: b # $$(HOME) \"quoted\"");
    for secret in ["s3cret", "hunter2"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_version_of_an_endpoint() {
    let (set, _) = golden(
        "endpoint",
        "--dc endpoint.json --ic legacy.json --name iris",
    );
    let version = &only(&set).versions[0];
    assert_eq!(version.name.as_str(), "version-a");
    assert_eq!(version.traffic.to_string(), "20.5");
    assert_eq!(version.scale, Scale::Fixed(3));
    assert!(version.default && version.kind.is_some());
}

#[test]
fn a_container_with_a_certificate() {
    let (set, _) = golden("aci", "--dc aci.json --ic legacy.json --name iris");
    assert_eq!(only(&set).hosts, ["iris.example.org"]);
    assert_eq!(only(&set).auth.mode, AuthMode::None);
    assert_eq!(only(&set).versions[0].scale, Scale::Fixed(1));
    let tls = &set.config.listeners[0].tls;
    assert!(
        matches!(tls, ListenerTls::Certificates { certificates, .. } if certificates[0].cert_file.ends_with("tests/tls/cert.pem"))
    );
}

#[test]
fn a_container_of_this_machine() {
    let (set, _) = golden("local", "--dc local.yml --ic legacy.json --name iris");
    assert_eq!(
        set.config.listeners[0].address.to_string(),
        "127.0.0.1:6789"
    );
}

#[test]
fn little_is_enough() {
    let (set, _) = golden("minimal", "--dc minimal.json");
    assert_eq!(only(&set).name.as_str(), "tests");
    let (set, _) = golden(
        "inference-alone",
        "--ic legacy.json --name iris --version v-1",
    );
    assert_eq!(only(&set).versions[0].name.as_str(), "v-1");
    assert!(Line::try_parse_from(["import"]).is_err());
    assert!(Line::try_parse_from(["import", "--dc", "a", "--name", "No"]).is_err());
}

#[track_caller]
fn check(problems: &[Problem], expected: &[&str]) {
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

fn source(name: &str) -> Source {
    let mut source = crate::resource::source_of(Path::new(&format!("{FOLDER}/{name}"))).unwrap();
    source.name = name.to_owned();
    source
}

#[test]
fn all_problems_of_a_file_are_told_by_key_path() {
    let read = Deployment::read(&source("broken.json")).settings;
    check(
        &read.problems,
        &[
            "broken.json:3:60: autoScaler.minReplicas: minReplicas of 20 is above maxReplicas of 10",
            "broken.json:3:85: autoScaler.targetUtilization: 150 is not a percentage from 1 to 100",
            "broken.json:4:18: numReplicas: autoscale enabled and numReplicas provided; leave one of the two out",
            "broken.json:6:23: tokenAuthEnabled: authEnabled and tokenAuthEnabled cannot both be true; one of the two says how callers are known",
            "broken.json:7:60: containerResourceRequirements.cpuLimit: a limit of 1 is below the request of 2",
            "broken.json:7:77: containerResourceRequirements.memoryInGB: -1 is not a number above 0",
            "broken.json:8:23: scoringTimeoutMs: 0 is not a whole number from 1 to 86400000",
            "broken.json:9:21: maxQueueWaitMs: \"500\" is not a whole number from 1 to 86400000",
            "broken.json:10:15: gpuCores: -1 is not a whole number from 0 to 1024",
            "broken.json:11:27: keys.primaryKey: not text",
            "broken.json:12:32: livenessProbeRequirements: a list is not a map",
            "broken.json:13:16: namespace: \"ML_Team\" is no namespace: 1 to 63 lower-case letters, digits and `-`, none of these first or last",
        ],
    );
    check(
        &read.warnings,
        &[
            "broken.json:14:3: autoScalar: no such setting; it is left out; did you mean autoScaler?",
        ],
    );
    let read = Inference::read(&source("broken-inference.json")).settings;
    check(
        &read.problems,
        &[
            "broken-inference.json:2:18: entryScript: \"my-score\" cannot be imported: letters, digits and _, no digit first",
            "broken-inference.json:3:14: runtime: environment and runtime exclude each other; leave runtime out",
            "broken-inference.json:3:14: runtime: \"ruby\" is neither python nor spark-py",
            "broken-inference.json:4:16: baseImage: environment and baseImage exclude each other; leave baseImage out",
            "broken-inference.json:6:29: environment.environmentVariables: \"A=B\" is not the name of an environment variable",
            "broken-inference.json:6:51: environment.environmentVariables.LIST: a list is not text",
            "broken-inference.json:7:56: environment.docker.baseDockerfile: baseImage and baseDockerfile exclude each other; leave one of the two out",
            "broken-inference.json:7:105: environment.docker.baseImageRegistry.password: not text",
        ],
    );
    check(
        &read.warnings,
        &[
            "broken-inference.json:8:5: environment.pyhton: no such setting; it is left out; did you mean python?",
        ],
    );
    assert!(run("--dc broken.json --ic broken-inference.json").is_err());
}

#[test]
fn every_setting_of_a_file_is_kept_or_said() {
    let (dc, ic) = (source("aks.json"), source("inference.json"));
    let text = run("--dc aks.json --ic inference.json --name iris").unwrap();
    // What stands under another name in what is written.
    let renamed = [
        ("computeType", "azureml-fe"),
        ("autoscaleEnabled", "autoscale:"),
        ("refreshPeriodInSeconds", "refresh: 2s"),
        ("storageEnabled", "plugin: model-data"),
        ("authEnabled", "mode: key"),
        ("tokenAuthEnabled", "mode: key"),
        ("cpu", "cpu: \"500m\""),
        ("cpuLimit", "cpu: \"1\""),
        ("memoryInGB", "memory: \"1500M\""),
        ("memoryInGBLimit", "memory: \"2G\""),
        ("scoringTimeoutMs", "scoringTimeout: 90s"),
        (
            "maxConcurrentRequestsPerContainer",
            "maxConcurrentRequests: 2",
        ),
        ("maxQueueWaitMs", "maxQueueWait: 1500ms"),
        ("gpuCores", "count: 1"),
        ("periodSeconds", "period: 15s"),
        ("initialDelaySeconds", "initialDelay: 2m"),
        ("timeoutSeconds", "timeout: 3s"),
        ("kvTags", "tags:"),
        ("entryScript", "--entry_script, src/score.py"),
        ("sourceDirectory", "dir: src/cli/import/tests/model-code"),
        ("environmentVariables", "env:"),
        ("interpreterPath", "azmlinfsrv"),
        (
            "condaDependenciesFile",
            "conda env create --file src/cli/import/tests/conda.yml",
        ),
    ];
    for source in [dc, ic] {
        let whole: serde_json::Value = serde_json::from_str(&source.text).unwrap();
        let mut names = Vec::new();
        leaves(&whole, &mut names);
        assert!(names.len() > 10);
        for name in names {
            let said = renamed.iter().find(|(from, _)| *from == name);
            let said = said.map_or(name.as_str(), |(_, to)| to);
            assert!(text.contains(said), "{name}: {said} is not in\n{text}");
        }
    }
}

/// What is written of two files of a new folder.
fn written_of(deployment: &serde_json::Value, inference: &serde_json::Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &serde_json::Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    };
    let (dc, ic) = (file("dc.json", deployment), file("ic.json", inference));
    let source = |path: &str| crate::resource::source_of(Path::new(path)).unwrap();
    let read = [
        Deployment::read(&source(&dc)).settings,
        Inference::read(&source(&ic)).settings,
    ];
    for settings in read {
        assert_eq!((settings.problems, settings.warnings), (vec![], vec![]));
    }
    let line = ["import", "--dc", &dc, "--ic", &ic, "--name", "iris"];
    let text = text(&Line::try_parse_from(line).unwrap().import, None).unwrap();
    named(&text, folder.path())
}

/// `FOLDER` in the place of a folder, which is named from where the test runs
/// where both lie below one other.
fn named(text: &str, folder: &Path) -> String {
    let whole = folder.display().to_string();
    let mut text = text.replace(&whole, "FOLDER");
    let parts: Vec<&str> = whole.split('/').collect();
    for from in 1..parts.len() {
        for up in (1..16).rev() {
            let relative = "../".repeat(up) + &parts[from..].join("/");
            text = text.replace(&relative, "FOLDER");
        }
    }
    // One that begins with a dot is quoted.
    while let Some((before, rest)) = text.split_once("\"FOLDER") {
        text = format!("{before}FOLDER{}", rest.replacen('"', "", 1));
    }
    text
}

/// Each alone, as its equal or by its name in a comment.
#[test]
fn every_setting_that_there_is_makes_a_difference() {
    let cases = include_str!("tests/settings.txt").lines();
    let cases = cases.filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in cases {
        let (file, rest) = line.split_once(' ').unwrap();
        let (setting, expected) = rest.split_once(" => ").unwrap();
        let (setting, expected) = (setting.trim(), expected.replace("\\n", "\n"));
        let more: serde_json::Value = serde_json::from_str(setting).unwrap();
        let compute = if file == "inference" { "aks" } else { file };
        let base = [
            serde_json::json!({ "computeType": compute }),
            serde_json::json!({ "entryScript": "score.py" }),
        ];
        let mut whole = base.clone();
        for (key, value) in more.as_object().unwrap() {
            whole[usize::from(file == "inference")][key] = value.clone();
        }
        let without = written_of(&base[0], &base[1]);
        assert!(
            !without.contains(&expected),
            "{line}: it is there without it"
        );
        let with = written_of(&whole[0], &whole[1]);
        assert!(with.contains(&expected), "{line}: it is not in\n{with}");
        count += 1;
    }
    assert!(count >= 70, "only {count} settings");
}

/// The names of all settings that are set.
fn leaves(value: &serde_json::Value, names: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::Object(_) if !name.ends_with("Tags") => leaves(value, names),
            _ => names.push(name.clone()),
        }
    }
}

#[test]
fn paths_are_said_from_where_they_are_written() {
    let said = |path: &str, base: &str| relative(&plain(Path::new(path)), Path::new(base));
    assert_eq!(said("/a/b/c", "/a/b"), "c");
    assert_eq!(said("/a/b/../c/./d", "/a/b"), "../c/d");
    assert_eq!(said("/a/b", "/a/b"), ".");
    assert_eq!(said("/x/y", "/a/b"), "/x/y");
    assert_eq!(said("/../x", "/a"), "/../x");
}
