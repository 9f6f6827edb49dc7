//! What administrators are shown: resources with their status.
//!
//! Reads the running state and changes nothing. Called by `admin`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::status::{
    EndpointCounts, EndpointLoad, GatewayStatus, LoadMinute, PluginStatus, PluginSummary, State,
    VersionLoad,
};
use super::{Control, ControlError, RunningEndpoint, RunningPlugin, RunningVersion};
use crate::identity::KeyPair;
use crate::name::Name;
use crate::resource::{self, Plugin, PluginSource, Scale};
use crate::runtime::{LogLine, LogQuery};
use crate::units::Percent;

/// Between looks whether the last replica of what was deleted has ended.
const LOOK: Duration = Duration::from_millis(100);

/// A resource for a plugin that no file describes.
fn shipped_document(spec: &Plugin) -> Value {
    let source = match &spec.source {
        PluginSource::Shipped(name) => json!({ "shipped": name }),
        PluginSource::File(path) => json!({ "file": path }),
    };
    let headers: Vec<&str> = spec.headers.iter().map(http::HeaderName::as_str).collect();
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": spec.name },
        "spec": { "role": spec.role.as_str(), "source": source, "headers": headers },
    })
}

fn with_status(document: &Value, revision: u64, status: Value) -> Value {
    let mut whole = document.clone();
    if let Some(map) = whole.as_object_mut() {
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("revision".to_owned(), revision.into());
        }
        map.insert("status".to_owned(), status);
    }
    whole
}

impl RunningEndpoint {
    fn shown(&self) -> Value {
        let status = serde_json::to_value(self.status()).unwrap_or_default();
        with_status(&self.document, self.revision, status)
    }
}

impl RunningVersion {
    fn load(&self) -> VersionLoad {
        let target = match &self.spec.scale {
            Scale::Auto(autoscale) => autoscale.target_utilization,
            Scale::Fixed(_) => Percent::ALL,
        };
        let minute = |one: crate::fleet::load::Minute| LoadMinute {
            ago: one.ago,
            requests: one.requests,
            finished: one.finished,
            held_seconds: one.held.as_secs_f64(),
            peak: one.peak,
        };
        VersionLoad {
            name: self.spec.name.clone(),
            max_concurrent_requests: self.spec.max_concurrent_requests.get(),
            target_utilization: f64::from(u32::try_from(target.hundredths()).unwrap_or(0)) / 100.0,
            replicas: self.state.lock().wanted(),
            minutes: self.fleet.load().into_iter().map(minute).collect(),
        }
    }
}

impl Control {
    fn shown_plugin(&self, plugin: &RunningPlugin) -> Value {
        let active = plugin
            .active
            .as_ref()
            .ok()
            .map(|loaded| loaded.digest().to_string());
        let name = plugin.spec.name.as_str();
        let live: Vec<String> = active.iter().cloned().collect();
        let count = self.metrics.plugin_versions_live.with(&[name]).value();
        let status = PluginStatus {
            reason: plugin.active.as_ref().err().cloned().unwrap_or_default(),
            versions: plugin.folder.versions(active.as_deref(), &live),
            active_digest: active,
            last_swap: plugin.record.last_swap.clone(),
            versions_live: u64::try_from(count).unwrap_or(0),
        };
        let shipped = || shipped_document(&plugin.spec);
        with_status(
            &plugin.document.clone().unwrap_or_else(shipped),
            plugin.revision,
            serde_json::to_value(status).unwrap_or_default(),
        )
    }

    /// The gateway.
    #[must_use]
    pub fn status(&self) -> GatewayStatus {
        let endpoints = self.endpoints.read();
        let ready = endpoints
            .values()
            .filter(|one| one.status().state == State::Healthy)
            .count();
        let plugins = self.plugins.read();
        let facts = self.facts.read();
        GatewayStatus {
            version: env!("CARGO_PKG_VERSION"),
            listeners: facts.listeners.clone(),
            endpoints: EndpointCounts {
                ready,
                total: endpoints.len(),
            },
            plugins: plugins
                .values()
                .map(|plugin| PluginSummary {
                    name: plugin.spec.name.clone(),
                    role: plugin.spec.role.as_str(),
                    active_digest: plugin
                        .active
                        .as_ref()
                        .ok()
                        .map(|loaded| loaded.digest().to_string()),
                })
                .collect(),
            warnings: facts
                .warnings
                .iter()
                .chain(&*facts.certificates.lock())
                .chain(&facts.files)
                .chain(&facts.restart)
                .chain(&facts.memory)
                .cloned()
                .chain(self.custody.warning())
                .collect(),
        }
    }

    /// All metrics, as Prometheus reads them.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let ejected = |gauge: &crate::metrics::Gauge| u64::from(gauge.value() > 0);
        if self.metrics.replicas_ejected.total(ejected) > 0 {
            // That one is over is noted by who looks, and nobody may have.
            let endpoints = self.endpoints.read();
            let of = |one: &RunningEndpoint| [one.versions.clone(), one.updates.clone()].concat();
            for version in endpoints.values().flat_map(|one| of(one)) {
                version.fleet.counts();
            }
        }
        self.metrics.text()
    }

    /// Every endpoint with its status, by name.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Value> {
        self.endpoints
            .read()
            .values()
            .map(|endpoint| endpoint.shown())
            .collect()
    }

    /// One endpoint with its status.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn endpoint(&self, name: &str) -> Result<Value, ControlError> {
        Ok(self.endpoint_running(name)?.shown())
    }

    /// The shares of an endpoint's versions as they are configured, in percent,
    /// and its revision.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn traffic(
        &self,
        name: &str,
    ) -> Result<(serde_json::Map<String, Value>, u64), ControlError> {
        let endpoint = self.endpoint_running(name)?;
        let share =
            |percent: Percent| f64::from(u32::try_from(percent.hundredths()).unwrap_or(0)) / 100.0;
        let of = |version: &crate::resource::Version| {
            (version.name.to_string(), json!(share(version.traffic)))
        };
        let shares = endpoint.spec.versions.iter().map(of).collect();
        Ok((shares, endpoint.revision))
    }

    /// The last hour's load of an endpoint, from its fleets.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn load(&self, name: &str) -> Result<EndpointLoad, ControlError> {
        let endpoint = self.endpoint_running(name)?;
        Ok(EndpointLoad {
            versions: endpoint.versions.iter().map(|one| one.load()).collect(),
        })
    }

    /// Every plugin with its status, by name.
    #[must_use]
    pub fn plugins(&self) -> Vec<Value> {
        self.plugins
            .read()
            .values()
            .map(|plugin| self.shown_plugin(plugin))
            .collect()
    }

    /// One plugin with its status.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn plugin(&self, name: &str) -> Result<Value, ControlError> {
        Ok(self.shown_plugin(&*self.plugin_running(name)?))
    }

    /// The keys of an endpoint.
    ///
    /// # Errors
    ///
    /// 404 where there is no such endpoint, 409 where it has no keys.
    pub fn endpoint_keys(&self, name: &str) -> Result<KeyPair, ControlError> {
        self.endpoint_running(name)?;
        self.keys.lock().pair(name).cloned().ok_or_else(|| {
            ControlError::Conflict(format!(
                "endpoint {name} has no keys: its auth mode is none"
            ))
        })
    }

    /// Lines of the replicas' output, oldest first.
    ///
    /// # Errors
    ///
    /// 404 where there is no such endpoint, version or replica.
    pub async fn logs(&self, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, ControlError> {
        let (endpoint, version) = (&query.endpoint, query.version.as_ref());
        self.endpoint_running(endpoint.as_str())?;
        if let Some(version) = version.filter(|one| !self.has(endpoint, Some(one))) {
            return Err(ControlError::NotFound(format!(
                "no version {version} of endpoint {endpoint}"
            )));
        }
        if let Some(replica) = &query.replica {
            let known = self.machine.logged(query.clone()).await;
            if !known.contains(replica) {
                let hint = resource::suggestion(replica, &known).or_else(|| {
                    (!known.is_empty()).then(|| format!("it has {}", known.join(", ")))
                });
                let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
                return Err(ControlError::NotFound(format!(
                    "no replica {replica} of endpoint {endpoint}{hint}"
                )));
            }
        }
        Ok(self.machine.logs(query))
    }

    /// Whether there is such an endpoint, and such a version of it.
    fn has(&self, endpoint: &Name, version: Option<&Name>) -> bool {
        self.endpoint_running(endpoint.as_str())
            .is_ok_and(|running| {
                let mut versions = running.spec.versions.iter();
                version.is_none_or(|version| versions.any(|one| one.name == *version))
            })
    }

    /// Waits until what is followed was deleted and its replicas have ended; or
    /// until there is one of that name again, whose lines are its own. Cancel-safe.
    pub async fn gone(&self, endpoint: &Name, version: Option<&Name>) {
        let mut news = self.events.follow();
        let object = format!("endpoint/{endpoint}");
        let words = version.map(|version| format!("version {version}"));
        while self.has(endpoint, version) {
            match news.recv().await {
                Ok(event) if event.object != object => {}
                Ok(event) if event.kind == "Deleted" => break,
                Ok(event)
                    if event.kind == "VersionDeleted" && words.as_ref() == Some(&event.message) =>
                {
                    break;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
        while !self.has(endpoint, version) && !self.machine.there(endpoint, version).is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
