//! Versions as such: made, changed and taken away without sending the endpoint.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};
use tidegate_tests::client::Answer;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::replica::Replica;
use tidegate_tests::{change, yaml};

const VERSIONS: &str = "/v1/endpoints/iris/versions";

fn gateway(blue: &Replica) -> Gateway {
    let keys = "traffic: 60\ntype: control\nproperties: { run: \"42\" }";
    Gateway::start(&yaml::open("iris", &[yaml::version("blue", &[blue], keys)]))
}

fn change(gateway: &Gateway, method: &str, version: &str, body: &Value) -> Answer {
    change::change(gateway, method, &format!("{VERSIONS}/{version}"), body)
}

fn fixed(replica: &Replica) -> Value {
    json!({ "static": { "addresses": [replica.address.to_string()] } })
}

/// The status and `path: message` of each problem, else the detail.
fn refused(answer: &Answer) -> String {
    let document = answer.json();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let problems: Vec<String> = document["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| format!("{}: {}", text(one, "path"), text(one, "message")))
        .collect();
    if problems.is_empty() {
        return format!("{} {}", answer.status, text(&document, "detail"));
    }
    format!("{} {}", answer.status, problems.join("; "))
}

#[track_caller]
fn check(answer: &Answer, expected: &str) {
    assert_eq!(refused(answer), expected);
}

#[test]
fn a_version_is_made_changed_and_taken_away_as_such() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = gateway(&blue);
    let made = change(&gateway, "PUT", "green", &fixed(&green));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("etag"), Some("\"2\""));
    gateway.healthy("iris");
    let shown = change(&gateway, "GET", "green", &Value::Null);
    let (tag, shown) = (shown.header("etag").map(str::to_owned), shown.json());
    assert_eq!(tag.as_deref(), Some("\"2\""));
    assert_eq!(shown["name"], "green");
    assert_eq!(shown["static"], fixed(&green)["static"]);
    assert_eq!(shown["status"]["state"], "Healthy");
    assert_eq!(shown["status"]["traffic"], 0.0);
    // What is shown can be sent back; it changes nothing.
    let same = change(&gateway, "PUT", "green", &shown);
    assert_eq!(
        (same.status, same.header("etag")),
        (200, Some("\"2\"")),
        "{}",
        same.text()
    );
    // Default and control move in one change.
    let moved = json!({ "traffic": 0.5, "default": true, "type": "control" });
    let patched = change(&gateway, "PATCH", "green", &moved);
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(patched.json()["traffic"], 0.5);
    let (_, whole) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let versions = &whole["spec"]["versions"];
    assert_eq!(versions[0]["type"], "treatment");
    assert_eq!(versions[0].get("default"), None);
    assert_eq!(versions[1]["default"], true);
    assert_eq!(whole["metadata"]["revision"], 3);
    let gone = change(&gateway, "DELETE", "blue", &Value::Null);
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    let history = gateway.cli_text(&["history", "endpoint/iris"]);
    for what in [
        "version green created",
        "version green patched",
        "version blue deleted",
    ] {
        assert!(history.contains(what), "{what}: {history}");
    }
}

#[test]
fn what_may_not_be_is_refused_by_its_place_in_the_endpoint() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = gateway(&blue);
    let only = "409 blue is the only version of endpoint iris; delete the endpoint, or create another version first";
    check(&change(&gateway, "DELETE", "blue", &Value::Null), only);
    let made = change(&gateway, "PUT", "green", &fixed(&green));
    assert_eq!(made.status, 201);
    let default = "409 blue is the default version of endpoint iris; name another default first, by default: true of that version";
    check(&change(&gateway, "DELETE", "blue", &Value::Null), default);
    let patch = |name: &str, body: &Value| change(&gateway, "PATCH", name, body);
    check(
        &patch("green", &json!({ "traffic": 70 })),
        "422 spec.versions: traffic of 60 and 70 adds up to 130; at most 100",
    );
    check(
        &patch(
            "green",
            &json!({ "trafic": 40, "maxConcurrentRequests": 0 }),
        ),
        "422 spec.versions[1].trafic: no such key; spec.versions[1].maxConcurrentRequests: 0 is out of bounds; 1 to 100000",
    );
    check(
        &patch("green", &json!({ "name": "gray" })),
        "422 spec.versions[1].name: \"gray\" is not green, which the address names",
    );
    check(
        &patch("blue", &json!({ "properties": null })),
        "422 spec.versions[0].properties.run: it is \"42\" and would go; properties can only be added, use tags",
    );
    check(
        &patch("gray", &json!({})),
        "404 no version gray of endpoint iris",
    );
    check(
        &change(&gateway, "PUT", "No", &fixed(&green)),
        "422 spec.versions[2].name: \"No\" has 2 characters; a name has 3 to 32",
    );
    for n in 3..=6 {
        let made = change(&gateway, "PUT", &format!("gray-{n}"), &fixed(&green));
        assert_eq!(made.status, 201, "{}", made.text());
    }
    check(
        &change(&gateway, "PUT", "gray-7", &fixed(&green)),
        "422 spec.versions: 7 versions; 1 to 6",
    );
    // Also as a whole an endpoint keeps the properties of its versions.
    let (_, mut whole) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    whole["spec"]["versions"][0]["properties"]["run"] = json!("43");
    let body = whole.to_string();
    let answer = gateway.admin_raw(
        "PUT",
        "/v1/endpoints/iris",
        "application/json",
        body.as_bytes(),
    );
    check(
        &answer,
        "422 spec.versions[0].properties.run: it is \"42\" and would be \"43\"; properties can only be added, use tags",
    );
}

#[test]
fn a_change_of_a_version_can_be_conditional_and_tried_first() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = gateway(&blue);
    let with = |name: &str, value: &str, body: &Value| {
        let (content, path) = (body.to_string(), format!("{VERSIONS}/green"));
        let headers = [("content-type", "application/json"), (name, value)];
        gateway.admin_with("PUT", &path, &headers, content.as_bytes())
    };
    let tried = gateway.admin_raw(
        "PUT",
        &format!("{VERSIONS}/green?dryRun=true"),
        "application/json",
        fixed(&green).to_string().as_bytes(),
    );
    assert_eq!(
        (tried.status, &tried.json()["name"]),
        (200, &json!("green"))
    );
    check(
        &change(&gateway, "GET", "green", &Value::Null),
        "404 no version green of endpoint iris",
    );
    assert_eq!(with("if-match", "\"7\"", &fixed(&green)).status, 412);
    assert_eq!(with("if-none-match", "*", &fixed(&green)).status, 201);
    check(
        &with("if-none-match", "*", &fixed(&green)),
        "412 version green of endpoint iris is there already",
    );
    let mut stale = change(&gateway, "GET", "green", &Value::Null).json();
    assert_eq!(
        with(
            "if-match",
            "\"2\"",
            &json!({ "traffic": 0, "static": stale["static"] })
        )
        .status,
        200
    );
    stale["traffic"] = json!(0);
    check(
        &with("accept", "*/*", &stale),
        "409 metadata.revision of 2 is stale; it is at 3: read it again",
    );
}
