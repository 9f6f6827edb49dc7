//! What served before the gateway ended, so that an update that never came up
//! leaves the old replicas serving over a restart, too (SEMANTICS §12).
//!
//! Kept a moment after replicas became healthy, and never in the way of that: a
//! version whose settings could not be kept starts with the new ones alone. Used
//! by `reconcile`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::update::same_replicas;
use super::{Control, RunningVersion};
use crate::id::Digest;
use crate::name::Name;
use crate::resource::{self, Checked, Version};
use crate::store::Served;

/// The keys of a version that say which replicas it has and how many, and its
/// name.
const KEYS: [&str; 9] = [
    "name",
    "process",
    "static",
    "readiness",
    "liveness",
    "resources",
    "maxConcurrentRequests",
    "replicas",
    "autoscale",
];

/// Those that become healthy within this time are written at once: thousands do
/// at a start.
const GATHER: Duration = Duration::from_millis(200);

type Key = (String, String);

/// What served, as it is kept.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// From the store; there while the gateway starts.
    before: Mutex<BTreeMap<Key, Value>>,
    /// What the store has.
    kept: Mutex<BTreeMap<Key, Digest>>,
    waiting: Mutex<BTreeMap<Key, Value>>,
    wake: Notify,
}

impl Ledger {
    /// Of what the store has.
    pub(super) fn of(before: BTreeMap<Key, Value>) -> Self {
        let digest = |(key, settings): (&Key, &Value)| (key.clone(), digest(settings));
        Self {
            kept: Mutex::new(before.iter().map(digest).collect()),
            before: Mutex::new(before),
            ..Self::default()
        }
    }
}

fn digest(settings: &Value) -> Digest {
    Digest::of(settings.to_string().as_bytes())
}

/// The settings of a version, of the endpoint's resource.
fn settings(document: &Value, version: &Name) -> Option<Value> {
    let versions = document.pointer("/spec/versions")?.as_array()?;
    let name = |one: &&Value| one.get("name").and_then(Value::as_str) == Some(version.as_str());
    let version = versions.iter().find(name)?.as_object()?;
    let kept = KEYS.iter().filter_map(|key| {
        let value = version.get(*key)?;
        Some(((*key).to_owned(), value.clone()))
    });
    Some(Value::Object(kept.collect::<Map<_, _>>()))
}

/// A version of these settings; none where they do not check any more.
fn version(endpoint: &Name, settings: &Value) -> Option<Version> {
    let document = json!({
        "apiVersion": resource::load::API_VERSION,
        "kind": "Endpoint",
        "metadata": { "name": endpoint },
        "spec": { "auth": { "mode": "none" }, "versions": [settings] },
    });
    match resource::check_one(&document, resource::shipped()).ok()? {
        Checked::Endpoint(spec) => spec.versions.into_iter().next(),
        _ => None,
    }
}

impl Control {
    /// What served for a version when the gateway ended, where that was other
    /// replicas than it is to have; only while the gateway starts.
    pub(super) fn served_before(&self, endpoint: &Name, wanted: &Version) -> Option<Version> {
        let key = (endpoint.to_string(), wanted.name.to_string());
        let settings = self.served.before.lock().remove(&key)?;
        version(endpoint, &settings).filter(|before| !same_replicas(before, wanted))
    }

    /// The gateway is up: what comes from now on is no restart.
    pub(super) fn forget_served_before(&self) {
        self.served.before.lock().clear();
    }

    /// Keeps that these replicas served, a moment later; whether there is no more
    /// to do.
    pub(super) fn keep_served(&self, endpoint: &Name, version: &RunningVersion) -> bool {
        let running = self.endpoints.read().get(endpoint).cloned();
        let Some(running) = running else {
            return false;
        };
        let name = &version.spec.name;
        // The resource may be about others already.
        let spec = running.spec.versions.iter().find(|one| one.name == *name);
        if !spec.is_some_and(|spec| same_replicas(spec, &version.started)) {
            return true;
        }
        let Some(settings) = settings(&running.document, name) else {
            return true;
        };
        let key = (endpoint.to_string(), name.to_string());
        if self.served.kept.lock().get(&key) != Some(&digest(&settings)) {
            self.served.waiting.lock().insert(key, settings);
            self.served.wake.notify_one();
        }
        true
    }

    /// Writes what served until the gateway stops.
    pub(super) async fn write_served(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.served.wake.notified() => sleep(GATHER).await,
                () = self.tasks.stopped() => return self.write_waiting(),
            }
            self.write_waiting();
        }
    }

    fn write_waiting(&self) {
        let waiting = std::mem::take(&mut *self.served.waiting.lock());
        let all: Vec<Served> = waiting
            .into_iter()
            .map(|((endpoint, version), settings)| Served {
                endpoint,
                version,
                settings,
            })
            .collect();
        if all.is_empty() {
            return;
        }
        // A store that fails is told of where changes are refused.
        let Ok(store) = self.custody.store() else {
            return;
        };
        match tokio::task::block_in_place(|| store.keep_served(&all)) {
            Ok(()) => {
                let mut kept = self.served.kept.lock();
                kept.extend(all.into_iter().map(|one| {
                    let digest = digest(&one.settings);
                    ((one.endpoint, one.version), digest)
                }));
            }
            Err(error) => tracing::warn!("what served could not be kept: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_served_is_a_version_again() {
        let document = json!({ "spec": { "versions": [
            { "name": "blue", "traffic": 90, "type": "control", "maxConcurrentRequests": 3,
              "process": { "command": ["a"], "dir": "/" } },
            { "name": "green", "traffic": 10, "static": { "addresses": ["127.0.0.1:1"] } },
        ] } });
        let iris = Name::parse("iris").unwrap();
        let blue = settings(&document, &Name::parse("blue").unwrap()).unwrap();
        assert_eq!(blue.get("traffic"), None);
        let version = version(&iris, &blue).unwrap();
        assert_eq!(version.max_concurrent_requests.get(), 3);
        assert_eq!(settings(&document, &Name::parse("gray").unwrap()), None);
        assert!(super::version(&iris, &json!({ "name": "blue" })).is_none());
    }
}
