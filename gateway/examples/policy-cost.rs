//! What a call of each shipped policy costs, in CPU time of one thread.
//!
//! `cargo run --release --example policy-cost`. Prints nanoseconds; asserts nothing.

#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use http::{HeaderMap, HeaderValue, Method};
use tidegate::identity::{KeyPair, KeySet};
use tidegate::metrics::Metrics;
use tidegate::name::Name;
use tidegate::policy::{
    BindingSpec, Candidate, GrantKey, Grants, Host, HostOptions, Policy, RequestFacts,
};
use tidegate::resource::Binding;

const CALLS: u32 = 20_000;
const BATCHES: usize = 15;

/// CPU time of this thread; Linux only.
fn cpu_ns() -> i64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// The median over the batches of CPU and wall time of one call.
macro_rules! measure {
    ($name:literal, $call:expr) => {{
        let mut costs = Vec::new();
        for _ in 0..BATCHES {
            let (cpu, wall) = (cpu_ns(), Instant::now());
            for _ in 0..CALLS {
                let _ = black_box($call);
            }
            let wall = wall.elapsed().as_nanos() / u128::from(CALLS);
            costs.push(((cpu_ns() - cpu) / i64::from(CALLS), wall));
        }
        costs.sort_unstable();
        let (cpu, wall) = costs.get(BATCHES / 2).copied().unwrap_or_default();
        println!("{:<36} {cpu:>6} ns of CPU, {wall:>6} ns", $name);
    }};
}

async fn bound(host: &Arc<Host>, name: &str, keys: KeySet) -> anyhow::Result<Arc<Policy>> {
    let (plugin, component) = host.shipped(name).context("not shipped")?;
    let loaded = host.load(&plugin, component).await?;
    let binding = Binding {
        plugin: plugin.name,
        config: serde_json::Value::Null,
        cache_by: vec![http::header::AUTHORIZATION],
    };
    let spec = BindingSpec {
        endpoint: Name::parse("iris")?,
        binding,
        keys: Arc::new(keys),
    };
    Ok(host.bind(&loaded, spec).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tidegate::metrics::set_workers(1);
    tidegate::metrics::enter_worker(1);
    let cache_dir = std::env::temp_dir().join(format!("policy-cost-{}", std::process::id()));
    let options = HostOptions {
        cache_dir: cache_dir.clone(),
        metrics: Metrics::new()?,
    };
    let host = Host::new(options)?;
    let pair = KeyPair::generate()?;
    let auth = bound(&host, "key-auth", KeySet::of(&pair)).await?;
    let split = bound(&host, "weighted-split", KeySet::default()).await?;
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", pair.primary_key.reveal());
    headers.insert("authorization", HeaderValue::from_str(&bearer)?);
    for name in ["user-agent", "accept", "content-type", "x-request-id"] {
        headers.insert(name, HeaderValue::from_static("something of some length"));
    }
    let endpoint = Name::parse("iris")?;
    let facts = RequestFacts {
        id: "8b1f6dd0-3c0e-4a55-9d3b-0e6a7c1f2a34",
        method: &Method::POST,
        path: "/score",
        query: None,
        authority: "localhost:8443",
        client_ip: [127, 0, 0, 1].into(),
        endpoint: &endpoint,
        content_length: Some(1024),
        headers: &headers,
        attributes: &[("http.version", String::new())],
    };
    let candidates = ["blue", "green"]
        .map(|version| {
            Ok(Candidate {
                version: Name::parse(version)?,
                weight: 5000,
                kind: None,
                is_default: version == "blue",
                replicas_ready: 1,
                slots_free: 1,
                queued: 0,
                latency_ms_p50: 1,
                errors_per_10k: 0,
            })
        })
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    let grants = Grants::new();
    let key = GrantKey::of(&auth, &facts, None);
    let granted = auth.authenticate(&facts, None).await?;
    if let tidegate::policy::AuthDecision::Allow(grant) = granted {
        grants.put(key, &grant, Instant::now());
    }

    measure!("key-auth, a call", auth.authenticate(&facts, None).await?);
    measure!(
        "weighted-split, a call",
        split.choose(&facts, None, 7, candidates.clone()).await?
    );
    measure!("a grant that is remembered", {
        let key = GrantKey::of(&auth, &facts, None);
        grants.get(&auth, &key, Instant::now())
    });
    std::fs::remove_dir_all(cache_dir)?;
    Ok(())
}
