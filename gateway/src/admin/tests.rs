mod bodies;
mod secure;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Running, start};
use crate::listen::Reload;
use crate::metrics::Metrics;
use crate::reconcile::status::ListenerStatus;
use crate::reconcile::{Control, ControlOptions};
use crate::resource::{Source, check as check_resources};
use crate::shutdown::Tasks;
use crate::table::Table;

const RESOURCES: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: GatewayConfig
spec: { admin: { address: 127.0.0.1:0 } }
---
apiVersion: tidegate.dev/v1alpha1
kind: Endpoint
metadata: { name: iris }
spec:
  versions: [{ name: blue, static: { addresses: ['127.0.0.1:1'] } }]
---
apiVersion: tidegate.dev/v1alpha1
kind: Endpoint
metadata: { name: open }
spec:
  auth: { mode: none }
  versions: [{ name: blue, static: { addresses: ['127.0.0.1:1'] } }]
";

struct Admin {
    config: crate::resource::Admin,
    running: Running,
    control: Arc<Control>,
    _state: TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

async fn admin() -> Admin {
    let source = Source {
        name: String::new(),
        text: RESOURCES.to_owned(),
        base: Some("/".into()),
    };
    let set = check_resources(&[source]).unwrap();
    let config = set.config.admin.clone();
    let state = tempfile::tempdir().unwrap();
    let options = ControlOptions {
        state: state.path().to_owned(),
        guard: "/nowhere".into(),
        metrics: Metrics::new().unwrap(),
        table: Arc::new(Table::default()),
        tasks: Tasks::new(),
        events: std::sync::Arc::default(),
    };
    let prune = crate::reconcile::Prune::Nothing;
    let control = Control::start(options, crate::reconcile::Files { set, prune })
        .await
        .unwrap();
    let token = Zeroizing::new("secret".to_owned());
    let reload = reload(&control);
    let running = start(&config, token, Arc::clone(&control), &reload).await;
    let running = running.unwrap();
    Admin {
        config,
        running,
        control,
        _state: state,
    }
}

fn reload(control: &Control) -> Reload {
    let (metrics, events) = (control.metrics(), control.events());
    Reload::new(
        Arc::clone(metrics),
        Arc::clone(events),
        control.tasks().clone(),
    )
}

impl Admin {
    fn address(&self) -> &str {
        self.running.url().strip_prefix("http://").unwrap()
    }

    /// Sends a text as it stands, and reads to the end.
    async fn raw(&self, text: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        // The other side may answer and close before it has taken all.
        let _ = socket.write_all(text).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        Answer {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn send(&self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.raw(&[text.as_bytes(), body].concat()).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.send(
            &format!("GET {target}"),
            &["authorization: Bearer secret"],
            b"",
        )
        .await
    }

    async fn post(&self, target: &str, kind: &str, body: &[u8]) -> Answer {
        let kind = format!("content-type: {kind}");
        self.send(
            &format!("POST {target}"),
            &["authorization: Bearer secret", &kind],
            body,
        )
        .await
    }
}

/// Status and code of a refusal, in one text.
fn refused(answer: &Answer) -> String {
    let json = answer.json();
    let text = |key: &str| {
        json.get(key)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    assert!(
        answer.head.contains("application/problem+json"),
        "{}",
        answer.head
    );
    assert_eq!(
        json.get("status").and_then(Value::as_u64),
        Some(u64::from(answer.status))
    );
    assert!(!text("requestId").is_empty());
    format!("{} {}: {}", answer.status, text("code"), text("detail"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_answers() {
    let admin = admin().await;
    let health = admin.send("GET /healthz", &[], b"").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert_eq!(
        admin.send("GET /readyz", &[], b"").await.status,
        503,
        "no listener is up"
    );
    let listener = ListenerStatus {
        name: "http".to_owned(),
        url: "http://127.0.0.1:1".to_owned(),
    };
    admin
        .control
        .tell_facts(vec![listener], vec!["plain".to_owned()], Arc::default());
    assert_eq!(admin.send("GET /readyz", &[], b"").await.status, 200);
    let metrics = admin.send("GET /metrics", &[], b"").await;
    assert!(metrics.body.contains("tidegate_"), "{}", metrics.body);
    assert!(metrics.head.contains("text/plain; version=0.0.4"));

    let status = admin.get("/v1/status").await.json();
    assert_eq!(status["endpoints"]["total"], 2);
    assert_eq!(status["warnings"][0], "plain");
    let endpoints = admin.get("/v1/endpoints").await.json();
    assert_eq!(endpoints["items"][0]["metadata"]["name"], "iris");
    assert_eq!(endpoints["items"][1]["metadata"]["name"], "open");
    assert_eq!(endpoints["continue"], Value::Null);
    let iris = admin.get("/v1/endpoints/iris").await;
    assert_eq!(iris.json()["status"]["versions"][0]["name"], "blue");
    assert!(iris.head.contains("etag: \"1\""), "{}", iris.head);
    let keys = admin.get("/v1/endpoints/iris/keys").await.json();
    assert!(keys["primaryKey"].as_str().unwrap().len() >= 43, "256 bits");
    assert_ne!(keys["primaryKey"], keys["secondaryKey"]);
    let logs = admin
        .get("/v1/endpoints/iris/logs?version=blue&since=5m")
        .await;
    assert_eq!(
        (logs.status, logs.body.trim()),
        (200, "0"),
        "an empty chunked body"
    );
    let plugins = admin.get("/v1/plugins").await.json();
    assert_eq!(plugins["items"][0]["metadata"]["name"], "key-auth");
    assert_eq!(
        admin.get("/v1/plugins/key-auth").await.json()["spec"]["role"],
        "auth"
    );
    let events = admin.get("/v1/events").await.json();
    let first = events["items"][0]["id"].as_u64().unwrap();
    let rest = admin.get(&format!("/v1/events?since={first}")).await.json();
    assert_eq!(
        rest["items"].as_array().unwrap().len() + 1,
        events["items"].as_array().unwrap().len()
    );
    let head = admin
        .send("HEAD /v1/status", &["authorization: Bearer secret"], b"")
        .await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    admin.running.stop().await;
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_pushed_and_swapped_only_where_it_fits() {
    let admin = admin().await;
    let push = "/v1/plugins/key-auth/versions";
    let refusals = [
        (
            admin.post(push, "application/wasm", b"nonsense").await,
            "422 refused",
        ),
        (
            admin.post(push, "application/json", b"nonsense").await,
            "415 wrong-content-type",
        ),
        (
            admin.post(push, "application/wasm", b"").await,
            "400 malformed",
        ),
        (
            admin
                .post("/v1/plugins/nobody/versions", "application/wasm", b"x")
                .await,
            "404 not-found",
        ),
        (
            admin
                .post("/v1/plugins/nobody/swap", "application/json", b"{}")
                .await,
            "404 not-found",
        ),
        (
            admin
                .post("/v1/plugins/nobody/rollback", "application/json", b"")
                .await,
            "404 not-found",
        ),
        (
            admin
                .post("/v1/plugins/key-auth/rollback", "application/json", b"")
                .await,
            "409 conflict",
        ),
        (
            admin
                .post(
                    "/v1/plugins/key-auth/swap",
                    "application/json",
                    b"{\"digst\": 1}",
                )
                .await,
            "400 malformed",
        ),
        (
            admin
                .post("/v1/plugins/key-auth/swap", "application/json", b"[")
                .await,
            "400 malformed",
        ),
        (
            admin
                .post("/v1/plugins/key-auth/swap", "text/plain", b"{}")
                .await,
            "415 wrong-content-type",
        ),
    ];
    for (answer, expected) in &refusals {
        let shown = refused(answer);
        assert!(shown.starts_with(expected), "{shown}, not {expected}");
    }
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_with_its_reason() {
    let admin = admin().await;
    let token = "authorization: Bearer secret";
    let cases: Vec<(Answer, &str)> = vec![
        (admin.send("GET /v1/status", &[], b"").await, "401 unauthenticated: no token; send `Authorization: Bearer` with that of the state folder's admin.token"),
        (admin.send("GET /v1/status", &["authorization: Bearer other"], b"").await, "401 unauthenticated: not this gateway's token; it is in the state folder's admin.token"),
        (admin.send("GET /v1/status", &["authorization: Basic secret"], b"").await, "401 unauthenticated: not this gateway's token; it is in the state folder's admin.token"),
        (admin.send("GET /v1/status", &[token, token], b"").await, "400 malformed: authorization is there twice"),
        (admin.send("GET /nowhere", &[], b"").await, "401 unauthenticated: no token; send `Authorization: Bearer` with that of the state folder's admin.token"),
        (admin.send("GET /healthz/", &[], b"").await, "401 unauthenticated: no token; send `Authorization: Bearer` with that of the state folder's admin.token"),
        (admin.send("POST /healthz", &[], b"").await, "401 unauthenticated: no token; send `Authorization: Bearer` with that of the state folder's admin.token"),
        (admin.get("/nowhere").await, "404 not-found: no row at /nowhere"),
        (admin.get("/v1/endpoints/nobody").await, "404 not-found: no endpoint nobody"),
        (admin.get("/v1/endpoints/nobody/logs").await, "404 not-found: no endpoint nobody"),
        (admin.get("/v1/endpoints/%2e%2e/logs").await, "404 not-found: no endpoint %2e%2e"),
        (admin.get("/v1/endpoints/iris/logs?version=green").await, "404 not-found: no version green of endpoint iris"),
        (admin.get("/v1/endpoints/iris/logs?since=5").await, "400 malformed: since: \"5\" has no unit; write 5s or 5ms"),
        (admin.get("/v1/endpoints/iris/logs?follow=yes").await, "400 malformed: follow: \"yes\" is not true or false"),
        (admin.get("/v1/endpoints/iris/logs?sinc=5m").await, "400 malformed: the query \"sinc\" is not known here; known: version, replica, since, follow"),
        (admin.get("/v1/endpoints?limit=0").await, "400 malformed: limit: \"0\" is not a number from 1 to 1000"),
        (admin.get("/v1/status?a=b").await, "400 malformed: the query \"a\" is not known here; known: none"),
        (admin.get("/v1/events?since=x").await, "400 malformed: since: \"x\" is not the id of an event"),
        (admin.get("/v1/endpoints/open/keys").await, "409 conflict: endpoint open has no keys: its auth mode is none"),
        (admin.get("/v1/plugins/nobody").await, "404 not-found: no plugin nobody"),
        (admin.send("GET /v1/status", &[token], b"x").await, "413 body-too-large: the body is larger than 0 bytes, which is the most this row takes"),
        (admin.raw(b"GET /v1/status HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\nauthorization: Bearer secret\r\n\r\n").await, "403 forbidden: the host evil.example is not this API's; use its address, or localhost"),
        (admin.raw(b"GET /v1/status HTTP/1.1\r\nconnection: close\r\nauthorization: Bearer secret\r\n\r\n").await, "400 malformed: no Host header"),
        (admin.send("GET /v1/status", &[token, "origin: http://evil.example"], b"").await, "403 forbidden: the origin http://evil.example is not this API's own page"),
    ];
    for (answer, expected) in &cases {
        assert_eq!(refused(answer), *expected);
    }
    let wrong_method = admin.post("/v1/status", "application/json", b"").await;
    assert_eq!(
        refused(&wrong_method),
        "405 method-not-allowed: POST is not done at /v1/status; GET is"
    );
    assert!(
        wrong_method.head.contains("allow: get"),
        "{}",
        wrong_method.head
    );
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_heads_have_a_limit() {
    let admin = admin().await;
    let declared = format!(
        "POST /v1/plugins/key-auth/versions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer secret\r\ncontent-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
        (32 << 20) + 1
    );
    assert_eq!(admin.raw(declared.as_bytes()).await.status, 413);
    let json = vec![b' '; (1 << 20) + 1];
    assert_eq!(
        admin
            .post("/v1/plugins/key-auth/swap", "application/json", &json)
            .await
            .status,
        413
    );
    let head = format!("x-long: {}", "a".repeat(64 << 10));
    assert_eq!(admin.send("GET /healthz", &[&head], b"").await.status, 431);
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_comes_in_parts() {
    let admin = admin().await;
    let first = admin.get("/v1/endpoints?limit=1").await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 1);
    assert_eq!(first["continue"], "iris");
    let second = admin
        .get("/v1/endpoints?limit=1&continue=iris")
        .await
        .json();
    assert_eq!(second["items"][0]["metadata"]["name"], "open");
    assert_eq!(second["continue"], Value::Null);
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followed_events_come_as_they_happen_and_end_with_the_gateway() {
    let admin = admin().await;
    let mut socket = TcpStream::connect(admin.address()).await.unwrap();
    let request = "GET /v1/events?follow=true HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    admin
        .control
        .events()
        .tell("Test", "endpoint/iris", "it happened");
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let until = async {
        while !text.contains("it happened") {
            let n = socket.read(&mut buffer).await.unwrap();
            assert!(n > 0, "it ended early: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until)
        .await
        .unwrap();
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(text.contains("event: Test\ndata: {"), "{text}");
    admin.running.stop().await;
    let ended = async { while socket.read(&mut buffer).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
    admin.control.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_drains_is_not_ready() {
    let admin = admin().await;
    let listener = ListenerStatus {
        name: "http".to_owned(),
        url: "http://127.0.0.1:1".to_owned(),
    };
    admin
        .control
        .tell_facts(vec![listener], Vec::new(), Arc::default());
    assert_eq!(admin.send("GET /readyz", &[], b"").await.status, 200);
    admin.control.tell_draining();
    assert_eq!(admin.send("GET /readyz", &[], b"").await.status, 503);
    assert_eq!(admin.send("GET /healthz", &[], b"").await.status, 200);
    admin.control.stop().await;
}
