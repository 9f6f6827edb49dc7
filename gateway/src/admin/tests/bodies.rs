//! Bodies that are no JSON as it is taken here, and where problems stand in them.

use super::*;

const MERGE: &str = "application/merge-patch+json";

/// `LINE:COLUMN PATH: MESSAGE` of each problem, after the status.
fn problems(answer: &Answer) -> Vec<String> {
    let document = answer.json();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| {
        let (path, message) = (text(one, "path"), text(one, "message"));
        format!("{}:{} {path}: {message}", one["line"], one["column"])
    };
    let all = document["problems"].as_array().into_iter().flatten();
    std::iter::once(answer.status.to_string())
        .chain(all.map(one))
        .collect()
}

async fn send(admin: &Admin, line: &str, body: &str) -> Answer {
    let kind = match line.split(' ').next() {
        Some("PATCH") => MERGE,
        _ => "application/json",
    };
    let kind = format!("content-type: {kind}");
    let headers = ["authorization: Bearer secret", kind.as_str()];
    admin.send(line, &headers, body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_stands_twice_is_refused_at_every_row() {
    let admin = admin().await;
    for line in [
        "PUT /v1/endpoints/iris",
        "PATCH /v1/endpoints/iris",
        "PUT /v1/endpoints/iris/versions/blue",
        "PATCH /v1/endpoints/iris/versions/blue",
        "PUT /v1/endpoints/iris/traffic",
        "POST /v1/endpoints/iris/rollback",
        "PUT /v1/plugins/key-auth",
        "POST /v1/plugins/key-auth/swap",
        "POST /v1/plugins/key-auth/rollback",
    ] {
        let answer = send(&admin, line, "{\n \"to\": {\"a\": 1,\n  \"a\": 1}}").await;
        let twice = "3:3 to.a: the key stands twice, first at line 2, column 9; keep one of them";
        assert_eq!(problems(&answer), ["400", twice], "{line}");
        let detail = "400 malformed: the body: to.a: the key stands twice, first at line 2, column 9; keep one of them, at line 3, column 3";
        assert_eq!(refused(&answer), detail, "{line}");
        let answer = send(&admin, line, "{\"to\" 1}").await;
        assert_eq!(problems(&answer), ["400", "1:7 : expected `:`"], "{line}");
    }
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_stands_where_the_caller_wrote_it() {
    let admin = admin().await;
    let whole = r#"{
  "metadata": {"name": "iris"}, "kind": "Endpoint", "apiVersion": "tidegate.dev/v1alpha1",
  "spec": {"versions": [
    {"static": {"addresses": ["127.0.0.1:1"]}, "trafic": 5, "name": "blue"}
  ]}}"#;
    let cases = [
        (
            "PUT /v1/endpoints/iris",
            whole,
            "4:58 spec.versions[0].trafic: no such key",
        ),
        (
            "PATCH /v1/endpoints/iris",
            "{\"spec\":\n {\"mirror\": {\"version\": \"gren\"}}}",
            "2:25 spec.mirror.version: no version is named \"gren\"",
        ),
        (
            "PUT /v1/endpoints/iris/versions/green",
            "{\n\"static\": {\"addresses\": [\"127.0.0.1:1\"]},\n\"traffic\": 140}",
            "3:12 spec.versions[1].traffic: 140 is not a percentage",
        ),
        (
            "PATCH /v1/endpoints/iris/versions/blue",
            "{\"maxConcurrentRequests\":\n0}",
            "2:1 spec.versions[0].maxConcurrentRequests: 0 is out of bounds; 1 to 100000",
        ),
        (
            "PUT /v1/endpoints/iris/traffic",
            "{\n  \"blue\": 140}",
            "2:11 spec.versions[0].traffic: 140 is not a percentage",
        ),
        (
            "PUT /v1/plugins/key-auth",
            "{\"apiVersion\": \"tidegate.dev/v1alpha1\", \"kind\": \"Plugin\",\n\"metadata\": {\"name\": \"key-auth\"}, \"spec\": {\"rle\": \"auth\"}}",
            "2:51 spec.rle: no such key",
        ),
    ];
    for (line, body, expected) in cases {
        let answer = send(&admin, line, body).await;
        let found = problems(&answer);
        assert_eq!(found[0], "422", "{line}: {}", answer.body);
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{line}: {found:?}"
        );
    }
    // What is not in the body stands nowhere in it.
    let sum = "{\"static\": {\"addresses\": [\"127.0.0.1:1\"]}, \"traffic\": 60}";
    let made = send(&admin, "PUT /v1/endpoints/iris/versions/green", sum).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let patch = "{\"traffic\": 60}";
    let answer = send(&admin, "PATCH /v1/endpoints/iris/versions/blue", patch).await;
    let expected = "0:0 spec.versions: traffic of 60 and 60 adds up to 120; at most 100";
    assert_eq!(problems(&answer), ["422", expected]);
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_and_a_rollback_can_be_conditional() {
    let admin = admin().await;
    let digest = admin.get("/v1/plugins/key-auth").await.json()["status"]["activeDigest"].clone();
    let swap = format!("{{\"digest\": {digest}}}");
    for (line, body) in [
        ("POST /v1/plugins/key-auth/rollback", ""),
        ("POST /v1/plugins/key-auth/swap", swap.as_str()),
    ] {
        let headers = [
            "authorization: Bearer secret",
            "content-type: application/json",
            "if-match: \"7\"",
        ];
        let answer = admin.send(line, &headers, body.as_bytes()).await;
        let stale = "412 stale: revision 7 is not the current one, which is 0";
        assert_eq!(refused(&answer), stale, "{line}");
    }
    let tried = send(&admin, "POST /v1/plugins/key-auth/swap?dryRun=true", &swap).await;
    assert_eq!(tried.status, 200, "{}", tried.body);
    let history = admin.get("/v1/plugins/key-auth/history").await.json();
    assert_eq!(history["items"], serde_json::json!([]));
    admin.control.stop().await;
}
