//! The main job with a real model server: the example, as it stands.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::{root, tool, until};

const FLOWERS: &[u8] = br#"{"data": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]}"#;

/// The example with the absolute paths of this machine, and the models trained.
fn example() -> Gateway {
    let venv = tool::venv("iris");
    let models = tidegate_tests::target().join("test-iris-model");
    let mut train = Command::new(venv.join("python"));
    train
        .arg(root().join("examples/iris/train.py"))
        .arg(&models);
    assert!(
        train.status().unwrap().success(),
        "the models are not trained"
    );
    let server = venv.join("azmlinfsrv");
    let example = root().join("examples/iris");
    let text = fs::read_to_string(example.join("endpoint.yaml")).unwrap();
    let text = text
        .replace("[azmlinfsrv,", &format!("[\"{}\",", server.display()))
        .replace("../../target/iris/model", models.to_str().unwrap())
        .replace(
            "dir: blue",
            &format!("dir: {}", example.join("blue").display()),
        )
        .replace(
            "dir: green",
            &format!("dir: {}", example.join("green").display()),
        );
    let gateway = Setup::new(&text).start();
    gateway.healthy("iris");
    gateway
}

#[test]
fn the_example_gives_classes_wants_a_key_splits_and_collects() {
    let gateway = example();
    let target = "/api/v1/service/iris/score";
    let bearer = gateway.bearer("iris");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let mut client = gateway.client();
    let mut blue = 0;
    for _ in 0..100 {
        let answer = client.request("POST", target, &headers, FLOWERS).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.json()["class"],
            serde_json::json!(["setosa", "virginica"])
        );
        match answer.header("azureml-model-deployment") {
            Some("blue") => blue += 1,
            other => assert_eq!(other, Some("green")),
        }
    }
    // 80 of 100, standard deviation 4.
    assert!((55..=98).contains(&blue), "{blue} of 100 went to blue");
    let denied = client
        .request("POST", target, &headers[1..], FLOWERS)
        .unwrap();
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (401, "unauthenticated")
    );
    assert_eq!(denied.header("www-authenticate"), Some("Bearer"));
    let shown = gateway.cli_text(&["keys", "show", "iris"]);
    assert!(
        shown.contains(bearer.trim_start_matches("Bearer ")),
        "the key is shown"
    );
    let pinned = [
        headers[0],
        headers[1],
        ("azureml-model-deployment", "green"),
    ];
    for _ in 0..5 {
        let answer = client.request("POST", target, &pinned, FLOWERS).unwrap();
        assert_eq!(answer.header("azureml-model-deployment"), Some("green"));
    }
    let swagger = client.request("GET", "/api/v1/service/iris/swagger.json", &headers, b"");
    assert_eq!(swagger.unwrap().status, 200);
    collected(&gateway.state().join("modeldata/iris"));
    let logs = gateway.cli_text(&["logs", "iris", "--version", "blue"]);
    assert!(!logs.is_empty());
    assert!(gateway.stop().success());
}

/// Inputs and predictions of both versions are there, and no key is.
fn collected(folder: &Path) {
    until(
        "both versions are collected",
        Duration::from_secs(90),
        || {
            let text = text_below(folder);
            let types = ["azureml.inference.inputs", "azureml.inference.predictions"];
            let versions = [
                "/endpoints/iris/versions/blue",
                "/endpoints/iris/versions/green",
            ];
            let all = types
                .iter()
                .chain(&versions)
                .all(|word| text.contains(word));
            assert!(!text.contains("Bearer"), "a credential was collected");
            (all && text.contains("virginica")).then_some(())
        },
    );
}

fn text_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&text_below(&path));
        } else {
            text.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
    text
}
