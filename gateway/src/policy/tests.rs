//! The plugin host with real components: the shipped plugins, and guests that
//! misbehave.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::*;
use crate::identity::KeyPair;
use crate::metrics::Metrics;
use crate::resource::{Plugin, PluginLimits, PluginSource, Role};

mod calls;
mod failures;
mod guests;
mod memory;
mod pools;
mod refusals;
mod wasm;

/// An exchange as a collect policy is shown it: a POST without bodies of `blue`
/// of `iris`, answered at once.
pub(crate) fn exchange() -> CollectedExchange {
    CollectedExchange {
        request: KeptFacts {
            id: "request-1".to_owned(),
            method: Method::POST,
            path: "/score".to_owned(),
            query: None,
            authority: "localhost".to_owned(),
            client_ip: [127, 0, 0, 1].into(),
            endpoint: Name::parse("iris").unwrap(),
            content_length: None,
            headers: HeaderMap::new(),
            attributes: Vec::new(),
        },
        caller: None,
        version: Name::parse("blue").unwrap(),
        started_ms: 1,
        first_byte_us: None,
        total_us: 1,
        status: 200,
        outcome: Outcome::Answered,
        fault_code: None,
        request_bytes: 2,
        response_bytes: 2,
        response_headers: HeaderMap::new(),
        request_body: None,
        response_body: None,
        tags: Vec::new(),
    }
}

/// One request, with what a test changes of it.
struct Asked {
    endpoint: Name,
    headers: HeaderMap,
    path: &'static str,
}

impl Asked {
    fn new(headers: &[(&'static str, &str)]) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Self {
            endpoint: Name::parse("iris").unwrap(),
            headers,
            path: "/score",
        }
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            id: "request-1",
            method: &Method::POST,
            path: self.path,
            query: None,
            authority: "localhost:8443",
            client_ip: [127, 0, 0, 1].into(),
            endpoint: &self.endpoint,
            content_length: Some(2),
            headers: &self.headers,
            attributes: &[],
        }
    }
}

fn binding(plugin: &Name) -> BindingSpec {
    BindingSpec {
        endpoint: Name::parse("iris").unwrap(),
        binding: Binding {
            plugin: plugin.clone(),
            config: serde_json::Value::Null,
            cache_by: Vec::new(),
        },
        keys: Arc::default(),
    }
}

struct Fixture {
    host: Arc<Host>,
    metrics: Arc<Metrics>,
    _cache: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let cache = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let host = Host::new(HostOptions {
        cache_dir: cache.path().join("cache"),
        metrics: Arc::clone(&metrics),
    })
    .unwrap();
    Fixture {
        host,
        metrics,
        _cache: cache,
    }
}

impl Fixture {
    /// The resource of a guest.
    fn plugin(name: &str, role: Role) -> Plugin {
        let name = Name::parse(name).unwrap();
        Plugin {
            source: PluginSource::Shipped(name.clone()),
            name,
            role,
            digest: None,
            headers: Vec::new(),
            metrics: Vec::new(),
            // Wide enough for a machine that has much else to do.
            limits: PluginLimits {
                cpu: Duration::from_millis(50),
                timeout: Duration::from_secs(20),
                ..PluginLimits::of(role)
            },
        }
    }

    /// A guest at work.
    async fn bound(&self, plugin: &Plugin, guest: &wasm::Guest<'_>) -> Arc<Policy> {
        let loaded = self.host.load(plugin, guest.component()).await.unwrap();
        let spec = binding(&plugin.name);
        self.host.bind(&loaded, spec).await.unwrap()
    }

    async fn shipped(&self, name: &str) -> Arc<Loaded> {
        let (spec, component) = self.host.shipped(name).unwrap();
        self.host.load(&spec, component).await.unwrap()
    }
}
