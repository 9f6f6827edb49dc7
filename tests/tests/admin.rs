//! The admin API where it can be reached from other machines.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};
use tidegate_tests::replica::Replica;
use tidegate_tests::secured::Secured;
use tidegate_tests::{guests, yaml};

/// The status of an answer, its `detail`, and the revision of a resource.
fn ask(gateway: &Secured, method: &str, path: &str, body: &Value) -> (u16, String, Value) {
    let body = body.to_string();
    let words = [
        "--request",
        method,
        "--data",
        &body,
        "--write-out",
        "\n%{http_code}",
    ];
    let kind = ["--header", "content-type: application/json"];
    let words = [words.as_slice(), &kind].concat();
    let text = gateway.curl("/admin", path, "one", &words).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    let detail = answer["detail"].as_str().unwrap_or_default().to_owned();
    let revision = answer["metadata"]["revision"].clone();
    (status.parse().unwrap(), detail, revision)
}

#[test]
fn off_loopback_no_command_or_file_of_the_machine_is_brought_in_or_back() {
    let blue = Replica::start("blue");
    let resources = [
        yaml::open("iris", &[yaml::process("blue", &[], "replicas: 1")]),
        yaml::plugin("door", "auth", ""),
    ];
    let module = guests::build("echo-auth", "one");
    let resources = resources
        .concat()
        .replace("door.wasm", module.to_str().unwrap());
    let gateway = Secured::start("0.0.0.0:0", &resources);
    let endpoint = |version: Value| {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Endpoint",
            "metadata": { "name": "iris" },
            "spec": { "auth": { "mode": "none" }, "versions": [version] },
        })
    };
    let fixed = json!({ "name": "blue", "static": { "addresses": [blue.address.to_string()] } });
    let (status, detail, revision) = ask(&gateway, "PUT", "/v1/endpoints/iris", &endpoint(fixed));
    assert_eq!((status, revision), (200, json!(2)), "{detail}");
    let only = "it names a command or a file of the machine; that is taken on loopback only, unless admin.allowLocal";
    let refused = (403, only.to_owned(), Value::Null);
    // A put, and the same by a rollback.
    let process = json!({ "name": "blue", "process": { "command": ["/bin/true"], "dir": "/" } });
    let put = endpoint(process);
    assert_eq!(ask(&gateway, "PUT", "/v1/endpoints/iris", &put), refused);
    let back = json!({ "to": 1 });
    let rollback = "/v1/endpoints/iris/rollback";
    assert_eq!(ask(&gateway, "POST", rollback, &back), refused);
    let dry = format!("{rollback}?dryRun=true");
    assert_eq!(ask(&gateway, "POST", &dry, &back), refused);
    // Back to what names nothing of the machine goes.
    let (status, detail, revision) = ask(&gateway, "POST", rollback, &json!({ "to": 2 }));
    assert_eq!((status, revision), (200, json!(2)), "{detail}");
    // A plugin's file.
    let rollback = "/v1/plugins/door/rollback";
    assert_eq!(ask(&gateway, "POST", rollback, &back), refused);
}
