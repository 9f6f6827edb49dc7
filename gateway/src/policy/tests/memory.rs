//! What is remembered of a policy, and what its own metrics count.

use std::time::Instant;

use super::*;
use crate::identity::Caller;
use crate::resource::{PluginMetric, PluginMetricKind};

const SECOND: Duration = Duration::from_secs(1);

async fn policy(fixture: &Fixture, cache_by: &[&'static str]) -> Arc<Policy> {
    let (spec, component) = fixture.host.shipped("key-auth").unwrap();
    let loaded = fixture.host.load(&spec, component).await.unwrap();
    let mut spec = binding(&loaded.spec().name);
    spec.binding.cache_by = cache_by
        .iter()
        .map(|name| http::HeaderName::from_static(name))
        .collect();
    fixture.host.bind(&loaded, spec).await.unwrap()
}

fn grant(cache: Duration) -> Grant {
    let subject = "primary".to_owned();
    let caller = Caller {
        subject,
        ..Caller::default()
    };
    Grant {
        caller: Arc::new(caller),
        cache,
    }
}

#[tokio::test]
async fn a_grant_is_reused_as_long_as_its_policy_says_and_at_most_60_s() {
    let fixture = fixture();
    let policy = policy(&fixture, &[]).await;
    let key = GrantKey::of(&policy, &Asked::new(&[]).facts(), None);
    let now = Instant::now();
    for (cache, lives) in [
        (SECOND, SECOND),
        (SECOND * 3600, SECOND * 60),
        (Duration::ZERO, Duration::ZERO),
    ] {
        let grants = Grants::new();
        grants.put(key, &grant(cache), now);
        assert!(grants.get(&policy, &key, now + lives).is_none());
        if !lives.is_zero() {
            grants.put(key, &grant(cache), now);
            let just_before = now + lives.saturating_sub(Duration::from_millis(1));
            assert!(grants.get(&policy, &key, just_before).is_some());
        }
    }
    let family = &fixture.metrics.policy_decisions;
    assert_eq!(family.with(&["key-auth", "auth", "remembered"]).value(), 2);
}

#[tokio::test]
async fn a_grant_is_found_by_all_that_its_policy_was_shown() {
    let fixture = fixture();
    let policy = policy(&fixture, &[]).await;
    let base = Asked::new(&[("authorization", "Bearer a")]);
    let key = |facts: RequestFacts<'_>| GrantKey::of(&policy, &facts, None);
    let same = key(base.facts());
    // Neither the request's id nor a header that the plugin is not shown.
    assert_eq!(
        same,
        key(RequestFacts {
            id: "other",
            ..base.facts()
        })
    );
    let unseen = Asked::new(&[("authorization", "Bearer a"), ("x-other", "1")]);
    assert_eq!(same, key(unseen.facts()));
    let get = Method::GET;
    let other = Name::parse("other").unwrap();
    let attributes = [("tls.version", "1.3".to_owned())];
    let others = [
        key(Asked::new(&[("authorization", "Bearer b")]).facts()),
        key(Asked::new(&[]).facts()),
        key(Asked::new(&[("authorization", "Bearer "), ("authorization", "a")]).facts()),
        key(RequestFacts {
            method: &get,
            ..base.facts()
        }),
        key(RequestFacts {
            path: "/v1/score",
            ..base.facts()
        }),
        key(RequestFacts {
            query: Some(""),
            ..base.facts()
        }),
        key(RequestFacts {
            authority: "elsewhere",
            ..base.facts()
        }),
        key(RequestFacts {
            client_ip: [127, 0, 0, 2].into(),
            ..base.facts()
        }),
        key(RequestFacts {
            content_length: None,
            ..base.facts()
        }),
        key(RequestFacts {
            endpoint: &other,
            ..base.facts()
        }),
        key(RequestFacts {
            attributes: &attributes,
            ..base.facts()
        }),
        GrantKey::of(&policy, &base.facts(), Some(&Caller::default())),
    ];
    for (number, one) in others.iter().enumerate() {
        assert_ne!(same, *one, "case {number}");
        assert!(!others[..number].contains(one), "case {number}");
    }
}

#[tokio::test]
async fn cache_by_narrows_what_a_grant_is_found_by_and_the_generation_ends_it() {
    let fixture = fixture();
    let first = policy(&fixture, &["authorization"]).await;
    let second = policy(&fixture, &["authorization"]).await;
    let asked = Asked::new(&[("authorization", "Bearer a")]);
    let mut elsewhere = Asked::new(&[("authorization", "Bearer a")]);
    elsewhere.path = "/v1/score";
    let key = GrantKey::of(&first, &asked.facts(), None);
    assert_eq!(key, GrantKey::of(&first, &elsewhere.facts(), None));
    assert_ne!(key, GrantKey::of(&second, &asked.facts(), None));
    let other = Asked::new(&[("authorization", "Bearer b")]);
    assert_ne!(key, GrantKey::of(&first, &other.facts(), None));
}

fn declared(name: &str, kind: PluginMetricKind, values: &[&str]) -> PluginMetric {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    PluginMetric {
        name: name.to_owned(),
        kind,
        labels: [("decision".to_owned(), values)].into(),
    }
}

#[test]
fn what_a_plugin_did_not_declare_is_dropped_and_counted() {
    let metrics = Metrics::new().unwrap();
    let families = measure::Declared::new(Arc::clone(&metrics));
    let mut plugin = Fixture::plugin("tenant-auth", Role::Auth);
    plugin.metrics = vec![
        declared("lookups_total", PluginMetricKind::Counter, &["hit", "miss"]),
        declared(
            "lookup_seconds",
            PluginMetricKind::Histogram,
            &["hit", "miss"],
        ),
    ];
    let label = |value: &str| vec![("decision".to_owned(), value.to_owned())];
    // A plugin is loaded many times; a name is registered once.
    for _ in 0..2 {
        let own = families.own(&plugin).unwrap();
        own.add("lookups_total", 2, &label("miss"));
        own.observe("lookup_seconds", 0.5, &label("hit"));
        own.add("lookups_total", 1, &label("other"));
        own.add("lookups_total", 1, &[]);
        own.add("unknown", 1, &label("hit"));
        own.add("lookup_seconds", 1, &label("hit"));
        own.observe("lookup_seconds", f64::NAN, &label("hit"));
        own.observe("lookup_seconds", -1.0, &label("hit"));
    }
    let text = metrics.text();
    for line in [
        r#"tidegate_plugin_tenant_auth_lookups_total{decision="miss"} 4"#,
        r#"tidegate_plugin_tenant_auth_lookups_total{decision="hit"} 0"#,
        r#"tidegate_plugin_tenant_auth_lookup_seconds_count{decision="hit"} 2"#,
        r#"tidegate_plugin_metrics_dropped_total{plugin="tenant-auth"} 12"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    plugin.metrics = vec![declared(
        "lookups_total",
        PluginMetricKind::Histogram,
        &["hit"],
    )];
    assert!(matches!(families.own(&plugin), Err(Refusal::Metric { .. })));
    plugin.metrics = vec![declared("none_total", PluginMetricKind::Counter, &[])];
    assert!(matches!(families.own(&plugin), Err(Refusal::Metric { .. })));
}
