//! The shipped plugins, through the same door as anybody's.

use super::*;
use crate::identity::KeySet;

#[tokio::test]
async fn key_auth_lets_a_key_in_and_passes_without_one() {
    let fixture = fixture();
    let loaded = fixture.shipped("key-auth").await;
    let pair = KeyPair::generate().unwrap();
    let mut spec = binding(&loaded.spec().name);
    spec.keys = Arc::new(KeySet::of(&pair));
    let policy = fixture.host.bind(&loaded, spec).await.unwrap();
    let bearer = format!("Bearer {}", pair.secondary_key.reveal());
    let asked = Asked::new(&[("authorization", &bearer)]);
    let decision = policy.authenticate(&asked.facts(), None).await.unwrap();
    let AuthDecision::Allow(grant) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(grant.caller.subject, "secondary");
    assert_eq!(grant.cache, Duration::from_secs(60));
    for headers in [vec![], vec![("authorization", "Bearer x")]] {
        let asked = Asked::new(&headers);
        let decision = policy.authenticate(&asked.facts(), None).await.unwrap();
        assert!(matches!(decision, AuthDecision::Pass), "{decision:?}");
    }
    let metrics = &fixture.metrics;
    let decisions = |word| {
        let family = &metrics.policy_decisions;
        family.with(&["key-auth", "auth", word]).value()
    };
    assert_eq!((decisions("allow"), decisions("pass")), (1, 2));
    assert_eq!(metrics.plugin_versions_live.with(&["key-auth"]).value(), 1);
    assert_eq!(
        metrics.policy_seconds.with(&["key-auth", "auth"]).count(),
        3
    );
}

#[tokio::test]
async fn weighted_split_chooses_one_of_the_candidates() {
    let fixture = fixture();
    let loaded = fixture.shipped("weighted-split").await;
    let policy = fixture
        .host
        .bind(&loaded, binding(&loaded.spec().name))
        .await
        .unwrap();
    let asked = Asked::new(&[]);
    let candidates = candidates(&[("blue", 8000), ("green", 2000)]);
    let mut blue = 0;
    for number in 0..200_u64 {
        let draw = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let choice = policy.choose(&asked.facts(), None, draw, candidates.clone());
        let choice = choice.await.unwrap();
        assert!(choice.mirrors.is_empty());
        blue += u32::from(choice.version.as_str() == "blue");
    }
    assert!((140..=180).contains(&blue), "{blue} of 200 went to blue");
}

pub(super) fn candidates(weights: &[(&str, u32)]) -> Vec<Candidate> {
    weights
        .iter()
        .map(|(version, weight)| Candidate {
            version: Name::parse(version).unwrap(),
            weight: *weight,
            kind: None,
            is_default: *version == "blue",
            replicas_ready: 1,
            slots_free: 1,
            queued: 0,
            latency_ms_p50: 0,
            errors_per_10k: 0,
        })
        .collect()
}

/// The largest exchange there is, and a batch as full as any, each body kept
/// twice.
#[tokio::test]
async fn model_data_can_keep_all_of_the_largest_batch() {
    let fixture = fixture();
    let loaded = fixture.shipped("model-data").await;
    let mut spec = binding(&loaded.spec().name);
    let all = serde_json::json!(["inputs", "predictions", "request", "response"]);
    spec.binding.config = serde_json::json!({ "designations": all });
    let policy = fixture.host.bind(&loaded, spec).await.unwrap();
    for (exchanges, bytes) in [(1, 1 << 20), (256, 4 << 10)] {
        let body = CollectedBody {
            data: Bytes::from(vec![b'1'; bytes]),
            complete: true,
        };
        let mut one = exchange();
        one.request_body = Some(body.clone());
        one.response_body = Some(body);
        let batch = vec![one; exchanges];
        let kept = policy.collect(&batch, Vec::new()).await.unwrap();
        assert_eq!(kept.len(), 4 * exchanges);
        assert!(kept.iter().all(|entry| entry.data.len() == bytes));
    }
}

#[tokio::test]
async fn model_data_keeps_what_a_model_was_given_and_what_it_answered() {
    let fixture = fixture();
    let loaded = fixture.shipped("model-data").await;
    let spec = binding(&loaded.spec().name);
    let policy = fixture.host.bind(&loaded, spec).await.unwrap();
    let body = |text: &'static str| {
        Some(CollectedBody {
            data: Bytes::from_static(text.as_bytes()),
            complete: true,
        })
    };
    let json = || {
        [(
            http::header::CONTENT_TYPE,
            "application/json".parse().unwrap(),
        )]
    };
    let mut exchange = exchange();
    exchange.request.headers.extend(json());
    exchange.response_headers.extend(json());
    exchange.request_body = body("[[1, 2]]");
    exchange.response_body = body("[0]");
    let kept = policy
        .collect(&[exchange.clone(), exchange], Vec::new())
        .await;
    let kept: Vec<_> = kept
        .unwrap()
        .into_iter()
        .map(|entry| (entry.exchange, entry.designation, entry.data))
        .collect();
    let (given, answered) = (Bytes::from("[[1, 2]]"), Bytes::from("[0]"));
    for exchange in [Some(0), Some(1)] {
        assert!(
            kept.contains(&(exchange, Designation::Inputs, given.clone())),
            "{kept:?}"
        );
        assert!(kept.contains(&(exchange, Designation::Predictions, answered.clone())));
    }
    assert_eq!(kept.len(), 4);
}
