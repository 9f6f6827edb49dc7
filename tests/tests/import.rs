//! A deployment of Azure ML v1, imported and run with its own model server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_tests::gateway::{Setup, binary};
use tidegate_tests::{root, tool};

const DEPLOYMENT: &str = r#"{
  "computeType": "aks",
  "numReplicas": 1,
  "authEnabled": true,
  "containerResourceRequirements": { "cpu": 0.5, "memoryInGB": 1.0 },
  "scoringTimeoutMs": 30000,
  "maxConcurrentRequestsPerContainer": 1,
  "maxQueueWaitMs": 5000,
  "dataCollection": { "storageEnabled": true },
  "kvTags": { "team": "garden" },
  "namespace": "ml-team"
}"#;

const INFERENCE: &str = r#"{
  "entryScript": "score.py",
  "sourceDirectory": "source",
  "environment": {
    "name": "iris-env",
    "environmentVariables": { "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GREETING": "$(HOME) & co" },
    "python": { "condaDependenciesFile": "conda.yml" },
    "docker": { "baseImage": "registry.example/base:1" }
  }
}"#;

/// As blue of the example, and what its environment says.
fn script() -> String {
    let blue = fs::read_to_string(root().join("examples/iris/blue/score.py")).unwrap();
    blue.replace(
        "    return {",
        "    return {\"greeting\": os.environ[\"GREETING\"], ",
    )
}

/// The folder of the trained models.
fn models(bin: &Path) -> PathBuf {
    let models = tidegate_tests::target().join("test-import-model");
    let mut train = Command::new(bin.join("python"));
    train
        .arg(root().join("examples/iris/train.py"))
        .arg(&models);
    assert!(train.status().unwrap().success(), "the models are trained");
    models
}

/// What is written of the original's files.
fn imported() -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("source")).unwrap();
    for (name, content) in [
        ("deploymentconfig.json", DEPLOYMENT),
        ("inferenceconfig.json", INFERENCE),
        ("source/score.py", &script()),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let line = "import --deploymentconfig deploymentconfig.json --inferenceconfig inferenceconfig.json --name iris -o iris.yaml";
    let mut import = Command::new(binary());
    import
        .current_dir(folder.path())
        .args(line.split_whitespace());
    let output = import.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    fs::read_to_string(folder.path().join("iris.yaml")).unwrap()
}

#[test]
fn a_deployment_of_aks_is_imported_and_answers() {
    let bin = tool::venv("iris");
    let models = models(&bin);
    let text = imported();
    for said in [
        "- namespace: \"ml-team\"",
        "conda env create --file conda.yml",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // The one thing that the files do not have, as its comment asks for it.
    let asked = "# modelDir: model\n";
    assert!(text.contains(asked), "{text}");
    let folder_of_model = format!("modelDir: {}\n", models.join("blue").display());
    let text = text.replace(asked, &folder_of_model);
    // The model's environment on the PATH, as its comment asks for it.
    let path = format!("PATH={}:/usr/bin:/bin", bin.display());
    let gateway = Setup::new(&text)
        .file("source/score.py", script())
        .under(&["env", &path])
        .start();
    gateway.healthy("iris");
    let bearer = gateway.bearer("iris");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let score = |body: &[u8]| {
        let target = "/api/v1/service/iris/score";
        let answer = gateway.client().request("POST", target, &headers, body);
        answer.unwrap()
    };
    let answer = score(br#"{"data": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json();
    assert_eq!(said["class"], serde_json::json!(["setosa", "virginica"]));
    assert_eq!(said["greeting"], "$(HOME) & co");
    assert_eq!(answer.header("azureml-model-deployment"), Some("blue"));
    // A script that raises is 500 of the server, and was 502 of the router.
    let failed = score(b"{}");
    assert_eq!(failed.status, 502, "{}", failed.text());
    assert_eq!(failed.header("x-ms-run-function-failed"), Some("True"));
    // Without its key nobody gets in, as before.
    let denied = gateway.score("iris", "", &[]);
    assert_eq!(denied.status, 401);
    let version = gateway
        .admin("GET", "/v1/endpoints/iris/versions/blue", b"")
        .1;
    assert_eq!(version["scoringTimeout"], "30s");
    assert_eq!(version["tags"]["team"], "garden");
    assert!(gateway.stop().success());
}
