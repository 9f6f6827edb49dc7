//! Where requests go, and what stands in the heads on both sides.

use super::*;

/// A replica that answers with the head it got.
async fn mirror() -> Replica {
    replica(|mut conn| async move {
        while let Some((head, _)) = conn.request().await {
            let fields =
                "connection: keep-alive, x-hop\r\nx-hop: 1\r\nx-request-id: theirs\r\nx-own: 2\r\n";
            let length = head.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n\r\n{head}");
            conn.say(answer).await;
        }
    })
    .await
}

#[test]
fn heads_are_made_of_what_was_parsed() {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        let fields = "x-request-id: mine\r\nx-ms-client-request-id: theirs\r\nauthorization: Bearer x\r\n\
                      x-forwarded-for: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nx-tidegate-caller: root\r\n\
                      upgrade: websocket\r\ncontent-type: a/b\r\n";
        let (status, text) = rig
            .call("POST", &format!("{SCORE}?a=%2F"), fields, "x")
            .await;
        assert_eq!(status, 200, "{text}");
        let (head, seen) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(field(head, "x-request-id"), Some("mine"));
        assert_eq!(field(head, "x-ms-request-id"), Some("mine"));
        assert_eq!(field(head, "x-ms-client-request-id"), Some("theirs"));
        assert_eq!(field(head, "azureml-model-deployment"), Some("blue"));
        assert_eq!(field(head, "x-own"), Some("2"));
        assert_eq!(field(head, "x-hop"), None);
        assert!(seen.starts_with("POST /score?a=%2F HTTP/1.1\r\n"), "{seen}");
        assert_eq!(field(seen, "host"), Some("gate"));
        assert_eq!(field(seen, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(field(seen, "x-forwarded-proto"), Some("http"));
        assert_eq!(field(seen, "x-forwarded-host"), Some("gate"));
        assert_eq!(field(seen, "x-request-id"), Some("mine"));
        assert_eq!(field(seen, "content-type"), Some("a/b"));
        assert_eq!(field(seen, "authorization"), Some("Bearer x"), "mode none");
        for gone in ["x_forwarded_for", "x-tidegate-caller", "upgrade"] {
            assert_eq!(field(seen, gone), None, "{gone}");
        }
    });
}

#[test]
fn a_request_without_an_id_gets_one() {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        let (_, text) = rig.score("x").await;
        let (head, seen) = text.split_once("\r\n\r\n").unwrap();
        let id = field(head, "x-request-id").unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(field(seen, "x-request-id"), Some(id));
        assert_eq!(rig.line().await["requestId"], id);
    });
}

#[track_caller]
fn check(method: &str, path: &str, fields: &str, status: u16) {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        let (found, text) = rig.call(method, path, fields, "").await;
        assert_eq!(found, status, "{method} {path} {fields:?}: {text}");
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(field(head, "x-request-id").is_some(), "{text}");
    });
}

#[test]
fn a_path_reaches_the_version_that_lists_it() {
    check("GET", SCORE, "", 200);
    check("GET", "/api/v1/service/iris/v1/models?x", "", 200);
    check("GET", "/api/v1/service/iris/admin", "", 404);
    check("GET", "/api/v1/service/iris", "", 404);
    check("GET", "/api/v1/service/rose/score", "", 404);
    check("GET", "/score", "", 404);
    check("DELETE", SCORE, "", 200);
    check("TRACE", SCORE, "", 405);
    check("GET", "/api/v1/service/iris/%2e%2e/score", "", 400);
}

#[test]
fn a_pin_names_the_version() {
    check("GET", SCORE, "azureml-model-deployment: blue\r\n", 200);
    check("GET", SCORE, "azureml-model-deployment: green\r\n", 404);
}

#[test]
fn a_pin_is_ignored_where_the_endpoint_lets_nobody_pin() {
    on_a_worker(async {
        let rig = Rig::set_up(&[&mirror().await], |setup| {
            setup.endpoint.split.pin = false;
        })
        .await;
        let pin = "azureml-model-deployment: green\r\n";
        let (status, text) = rig.call("GET", SCORE, pin, "").await;
        assert_eq!(status, 200, "{text}");
    });
}

#[test]
fn a_trace_goes_on() {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let fields = format!("traceparent: {trace}\r\ntracestate: a=b\r\n");
        let (_, text) = rig.call("POST", SCORE, &fields, "x").await;
        let (_, seen) = text.split_once("\r\n\r\n").unwrap();
        let parent = field(seen, "traceparent").unwrap();
        assert_eq!(parent.split('-').nth(1), trace.split('-').nth(1), "{seen}");
        assert_eq!(field(seen, "tracestate"), Some("a=b"));
    });
}

#[test]
fn a_claimed_host_has_the_whole_path() {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        let get = |path| {
            format!("GET {path} HTTP/1.1\r\nhost: IRIS.example:8443\r\nconnection: close\r\n\r\n")
        };
        let text = rig.raw(get("/score?x")).await;
        assert!(text.contains("\r\n\r\nGET /score?x HTTP/1.1\r\n"), "{text}");
        assert!(rig.raw(get(SCORE)).await.starts_with("HTTP/1.1 404"));
    });
}

#[test]
fn a_missing_auth_policy_closes_the_endpoint() {
    on_a_worker(async {
        let keyed = |setup: &mut Setup| setup.endpoint.auth.mode = AuthMode::Key;
        let replica = mirror().await;
        let rig = Rig::set_up(&[&replica], keyed).await;
        let (status, text) = rig.score("x").await;
        assert_eq!(status, 503, "{text}");
        assert!(
            text.contains("policy-failed") && text.contains("retry-after: 1"),
            "{text}"
        );
        assert_eq!(replica.connections.get(), 0);
        assert_eq!(rig.line().await["reason"], "policy failed: no plugin");
    });
}

#[test]
fn a_missing_split_policy_refuses_where_it_is_told_to() {
    on_a_worker(async {
        let refuse = |setup: &mut Setup| setup.endpoint.split.on_failure = OnFailure::Refuse;
        let rig = Rig::set_up(&[&mirror().await], refuse).await;
        assert_eq!(rig.score("x").await.0, 503);
    });
}

#[test]
fn a_version_without_replicas_is_503() {
    on_a_worker(async {
        let rig = Rig::with(&[]).await;
        let (status, text) = rig.score("x").await;
        assert_eq!(status, 503, "{text}");
        assert!(
            text.contains("No ready replicas for service iris"),
            "{text}"
        );
    });
}

/// A rig whose version `green`, which is being started, has all the traffic.
async fn starting(replicas: &[&Replica]) -> (Rig, Arc<Fleet>) {
    let name = |name| Name::parse(name).unwrap();
    let metrics = Metrics::new().unwrap();
    let wait = Duration::from_secs(2);
    let settings = FleetSettings::new(name("iris"), name("green"), NonZeroU32::MIN, 10, wait);
    let green = Fleet::new(settings, &metrics);
    green.set_starting(1);
    let rig = Rig::set_up(replicas, |setup| {
        let mut spec = setup.version().clone();
        spec.name = name("green");
        spec.default = false;
        setup.version().traffic = Percent::ZERO;
        setup.endpoint.versions.push(spec);
        setup.others = vec![Arc::clone(&green)];
    })
    .await;
    (rig, green)
}

#[test]
fn a_version_that_is_only_starting_leaves_its_share_to_one_that_is_ready() {
    on_a_worker(async {
        let replica = mirror().await;
        let (rig, green) = starting(&[&replica]).await;
        let moved = rig
            .worker
            .shared
            .metrics
            .moved_shares
            .with(&["iris", "green"]);
        let (status, text) = rig.score("x").await;
        assert!(status == 200 && text.contains("deployment: blue"), "{text}");
        assert_eq!(moved.value(), 1);
        let id = ReplicaId::new(&Name::parse("green").unwrap(), 1);
        green.add(id.clone(), replica.address);
        green.set_ready(&id, true);
        let (status, text) = rig.score("x").await;
        assert!(
            status == 200 && text.contains("deployment: green"),
            "{text}"
        );
        assert_eq!(moved.value(), 1);
    });
}

#[test]
fn where_all_versions_are_only_starting_a_request_waits_for_its_own() {
    on_a_worker(async {
        let replica = mirror().await;
        let (rig, green) = starting(&[]).await;
        let ((status, text), ()) = futures_util::join!(rig.score("x"), async {
            while green.counts().queued == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            let id = ReplicaId::new(&Name::parse("green").unwrap(), 1);
            green.add(id.clone(), replica.address);
            green.set_ready(&id, true);
        });
        assert!(
            status == 200 && text.contains("deployment: green"),
            "{text}"
        );
    });
}

#[test]
fn a_gateway_that_drains_serves_who_could_not_know() {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        rig.worker.shared.tasks.stop();
        let (status, text) = rig.score("x").await;
        assert!(status == 200, "{text}");
        rig.worker.shared.tasks.send_away();
        let (status, text) = rig.score("x").await;
        assert!(status == 503 && text.contains("draining"), "{text}");
        assert!(text.contains("connection: close"), "{text}");
    });
}

#[test]
fn a_models_500_becomes_502_where_it_is_asked_for() {
    on_a_worker(async {
        let failing = || {
            replica(|mut conn| async move {
                conn.request().await;
                conn.say("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")
                    .await;
            })
        };
        let rig = Rig::with(&[&failing().await]).await;
        let (status, text) = rig.score("x").await;
        assert!(status == 500 && text.ends_with("oops"), "{text}");
        let as_502 = |setup: &mut Setup| setup.endpoint.model_errors_as_502 = true;
        let rig = Rig::set_up(&[&failing().await], as_502).await;
        let (status, text) = rig.score("x").await;
        assert!(status == 502 && text.ends_with("oops"), "{text}");
        assert_eq!(rig.line().await["fault"], serde_json::Value::Null);
    });
}

#[test]
fn the_access_line_has_its_keys() {
    on_a_worker(async {
        let rig = Rig::with(&[&mirror().await]).await;
        let fields = "x-request-id: r-1\r\n";
        rig.call("POST", &format!("{SCORE}?secret=1"), fields, "four")
            .await;
        let line = rig.line().await;
        let expected = [
            ("requestId", serde_json::json!("r-1")),
            ("endpoint", "iris".into()),
            ("version", "blue".into()),
            ("replica", "blue-1".into()),
            ("method", "POST".into()),
            ("path", SCORE.into()),
            ("status", 200.into()),
            ("fault", serde_json::Value::Null),
            ("caller", serde_json::Value::Null),
            ("requestBytes", 4.into()),
            ("policies", serde_json::json!([])),
        ];
        for (key, value) in expected {
            assert_eq!(line[key], value, "{key}");
        }
        for key in ["durationMs", "queueMs", "policyMs", "upstreamMs"] {
            assert!(line[key].is_number(), "{key}: {line}");
        }
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        let requests = &rig.worker.shared.metrics.requests;
        assert_eq!(requests.with(&["iris", "blue", "2xx", ""]).value(), 1);
    });
}

#[test]
fn plain_text_is_the_detail_alone() {
    on_a_worker(async {
        let rig = Rig::with(&[]).await;
        let (_, text) = rig.call("GET", "/x", "accept: text/plain\r\n", "").await;
        assert!(text.ends_with("\r\n\r\nNo such endpoint"), "{text}");
    });
}

#[test]
fn a_panic_ends_in_words_for_the_log() {
    let fault = refuse::panicked(&"index out of bounds");
    assert_eq!(fault.to_string(), "panicked: index out of bounds");
    assert_eq!(fault.detail(), "The gateway failed");
}
