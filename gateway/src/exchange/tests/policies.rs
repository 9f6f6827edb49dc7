//! Exchanges with the shipped policies, and what is collected of them.
use super::*;
use crate::identity::{KeyPair, KeySet};
use crate::policy::{BindingSpec, Host, HostOptions, Outcome as Ended};

/// A shipped plugin at work.
async fn shipped(name: &str, keys: &KeyPair) -> Arc<Policy> {
    let dir = tempfile::tempdir().unwrap();
    let options = HostOptions {
        cache_dir: dir.path().join("cache"),
        metrics: Metrics::new().unwrap(),
    };
    let host = Host::new(options).unwrap();
    let (spec, component) = host.shipped(name).unwrap();
    let loaded = host.load(&spec, component).await.unwrap();
    let spec = BindingSpec {
        endpoint: Name::parse("iris").unwrap(),
        binding: Binding {
            plugin: spec.name.clone(),
            config: serde_json::json!({}),
            cache_by: Vec::new(),
        },
        keys: Arc::new(KeySet::of(keys)),
    };
    host.bind(&loaded, spec).await.unwrap()
}

#[test]
fn a_key_opens_the_endpoint_and_the_line_names_who_decided() {
    on_a_worker(async {
        let keys = KeyPair::generate().unwrap();
        let auth = shipped("key-auth", &keys).await;
        let split = shipped("weighted-split", &keys).await;
        let replica = replica(|mut conn| async move {
            while let Some((head, _)) = conn.request().await {
                let length = head.len();
                conn.say(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}"
                ))
                .await;
            }
        })
        .await;
        let rig = Rig::set_up(&[&replica], |setup| {
            setup.endpoint.auth.mode = AuthMode::Key;
            setup.auth = vec![Arc::clone(&auth)];
            setup.split = Some(Arc::clone(&split));
        })
        .await;
        let (status, text) = rig.score("x").await;
        assert_eq!(status, 401, "{text}");
        assert!(text.contains("www-authenticate: Bearer"), "{text}");
        let wrong = "authorization: Bearer wrong\r\n";
        assert_eq!(rig.call("POST", SCORE, wrong, "x").await.0, 401);
        assert_eq!(replica.connections.get(), 0);
        let right = format!("authorization: Bearer {}\r\n", keys.primary_key.reveal());
        for _ in 0..2 {
            let (status, text) = rig.call("POST", SCORE, &right, "x").await;
            assert_eq!(status, 200, "{text}");
            let seen = text.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(
                field(seen, "authorization"),
                None,
                "the credential stays here"
            );
        }
        let line = rig.lines(4).await.pop().unwrap();
        assert_eq!(line["caller"], "primary");
        let expected = serde_json::json!([
            {"role": "auth", "plugin": "key-auth", "digest": auth.digest().as_str()},
            {"role": "split", "plugin": "weighted-split", "digest": split.digest().as_str()},
        ]);
        assert_eq!(line["policies"], expected);
    });
}

fn collecting(body_bytes: usize) -> CollectEntry {
    CollectEntry {
        policy: None,
        body_bytes,
        sample: 10_000,
    }
}

#[test]
fn exchanges_are_left_for_the_collector_with_their_bodies_up_to_a_limit() {
    on_a_worker(async {
        let replica = echo().await;
        let rig = Rig::set_up(&[&replica], |setup| setup.collect = vec![collecting(5)]).await;
        assert_eq!(rig.score("1234").await.0, 200);
        assert_eq!(rig.score("123456").await.0, 200);
        let mut inbox = rig.inbox.take().unwrap();
        let whole = inbox.next().await.unwrap().exchange;
        let request = whole.request_body.unwrap();
        assert_eq!((&request.data[..], request.complete), (&b"1234"[..], true));
        let response = whole.response_body.unwrap();
        assert_eq!(
            (&response.data[..], response.complete),
            (&b"1234"[..], true)
        );
        assert_eq!(whole.request.path, "/score");
        assert_eq!((whole.status, whole.outcome), (200, Ended::Answered));
        assert!(whole.first_byte_us.is_some() && whole.total_us > 0);
        let cut = inbox.next().await.unwrap().exchange;
        let request = cut.request_body.unwrap();
        assert_eq!(
            (&request.data[..], request.complete),
            (&b"12345"[..], false)
        );
        let response = cut.response_body.unwrap();
        assert_eq!(
            (&response.data[..], response.complete),
            (&b"12345"[..], false)
        );
        assert_eq!((cut.request_bytes, cut.response_bytes), (6, 6));
    });
}

#[test]
fn failed_exchanges_are_left_for_the_collector_and_marked() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            let number = conn.number;
            conn.request().await;
            if number == 1 {
                conn.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                    .await;
            }
        })
        .await;
        let rig = Rig::set_up(&[&replica], |setup| setup.collect = vec![collecting(64)]).await;
        rig.score("x").await;
        rig.score("x").await;
        let mut inbox = rig.inbox.take().unwrap();
        let cut = inbox.next().await.unwrap().exchange;
        assert_eq!((cut.outcome, cut.status), (Ended::BrokenOff, 200));
        assert!(!cut.response_body.unwrap().complete);
        let fault = inbox.next().await.unwrap().exchange;
        assert_eq!((fault.outcome, fault.status), (Ended::Fault, 502));
        assert_eq!(fault.fault_code, Some("replica-failed"));
    });
}

#[test]
fn what_no_sample_keeps_is_not_collected() {
    on_a_worker(async {
        let replica = echo().await;
        let none = CollectEntry {
            sample: 0,
            ..collecting(64)
        };
        let rig = Rig::set_up(&[&replica], |setup| setup.collect = vec![none]).await;
        rig.score("x").await;
        let mut inbox = rig.inbox.take().unwrap();
        let nothing = timeout(Duration::from_millis(20), inbox.next());
        assert!(nothing.await.is_err());
    });
}
