//! Changes an endpoint while it serves.
//!
//! A version whose replicas would be other ones gets new replicas, which take
//! over when they are ready; until then, and where they never are, the old ones
//! serve (SEMANTICS §12). All else of a change is one new entry in the table.
//! Used by `reconcile`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::bind::{Binder, Bindings};
use super::status::State;
use super::{Control, KeysError, RunningEndpoint, RunningVersion};
use crate::identity::KeySet;
use crate::metrics::ExchangeMetrics;
use crate::name::Name;
use crate::policy::Loaded;
use crate::resource::{AuthMode, Endpoint, Problem, Runtime, Scale, Version};

/// What an endpoint needs beside its versions.
#[derive(Debug)]
pub(super) struct Prepared {
    keys: Arc<KeySet>,
    bindings: Bindings,
}

/// Whether replicas of the one can serve as replicas of the other.
pub(super) fn same_replicas(a: &Version, b: &Version) -> bool {
    a.runtime == b.runtime
        && a.readiness == b.readiness
        && a.liveness == b.liveness
        && a.resources == b.resources
        && a.max_concurrent_requests == b.max_concurrent_requests
}

/// What a version goes by while replicas of another kind still serve for it:
/// they have the slots they were started with, and are as many as they were
/// where the new ones are counted otherwise.
fn until_then(version: &Version, started: &Version, scale: &Scale) -> Version {
    let counted_alike = matches!(
        (&version.runtime, &started.runtime),
        (Runtime::Process(_), Runtime::Process(_))
    );
    let scale = if counted_alike { &version.scale } else { scale };
    Version {
        scale: scale.clone(),
        runtime: started.runtime.clone(),
        readiness: started.readiness.clone(),
        liveness: started.liveness.clone(),
        resources: started.resources.clone(),
        max_concurrent_requests: started.max_concurrent_requests,
        ..version.clone()
    }
}

impl Control {
    /// Makes an endpoint, or changes the one that is there. Ends when the change
    /// is in the table; new replicas take over later, when they are ready.
    pub(super) fn apply_endpoint(
        self: &Arc<Self>,
        spec: Endpoint,
        document: Value,
        revision: u64,
        prepared: Prepared,
    ) {
        let name = spec.name.clone();
        let before = self.endpoints.read().get(&name).cloned();
        let Prepared { keys, bindings } = prepared;
        let mut versions = Vec::new();
        let mut updates = Vec::new();
        for version in &spec.versions {
            let old = before
                .as_deref()
                .and_then(|before| before.version(&version.name));
            let update = before
                .as_deref()
                .and_then(|before| before.update_of(&version.name))
                .cloned();
            match old {
                None => {
                    let (serving, update) = self.start_as_before(&name, version);
                    versions.push(serving);
                    updates.extend(update);
                }
                Some(old) if same_replicas(&old.started, version) => {
                    versions.push(old.carried(version));
                }
                Some(old) => {
                    versions.push(old.carried(&until_then(version, &old.started, &old.spec.scale)));
                    match update.filter(|update| same_replicas(&update.started, version)) {
                        Some(update) => updates.push(update.carried(version)),
                        None => updates.push(self.start_version(&name, version, Some(old))),
                    }
                }
            }
        }
        let metrics = before.as_deref().map_or_else(
            || Arc::new(ExchangeMetrics::new(&self.metrics, name.as_str(), "")),
            |before| Arc::clone(&before.metrics),
        );
        let running = RunningEndpoint {
            spec: Arc::new(spec),
            document,
            revision,
            since: before
                .as_deref()
                .map_or_else(Arc::default, |before| Arc::clone(&before.since)),
            keys,
            bindings,
            versions,
            updates,
            metrics,
        };
        let running = self.publish(running);
        let known = |update: &RunningVersion| {
            let mut updates = before.iter().flat_map(|before| &before.updates);
            updates.any(|one| one.same_fleet(update))
        };
        for update in running.updates.iter().filter(|update| !known(update)) {
            self.watch_update(&name, update);
        }
        if let Some(before) = before {
            before.retire_what_is_not_in(&running);
            self.tell_versions(&before, &running);
        }
    }

    /// What an endpoint needs beside its versions: all that can fail or wait.
    ///
    /// # Errors
    ///
    /// Where its keys cannot be read or made.
    pub(super) async fn prepare(
        &self,
        spec: &Endpoint,
        before: Option<&RunningEndpoint>,
    ) -> Result<Prepared, KeysError> {
        let keys = if matches!(spec.auth.mode, AuthMode::None) {
            Arc::new(KeySet::default())
        } else {
            self.keys.lock().of(&spec.name)?
        };
        let loaded = self.loaded();
        let bindings = self.bindings(spec, &keys, before, &loaded).await;
        Ok(Prepared { keys, bindings })
    }

    /// Whether an endpoint's policies take what it says, with these plugins; all
    /// that does not, but for what did not before. Nothing is made.
    pub(super) async fn try_policies(
        &self,
        spec: &Endpoint,
        loaded: &BTreeMap<Name, Result<Arc<Loaded>, String>>,
    ) -> Vec<Problem> {
        let before = self.endpoints.read().get(&spec.name).cloned();
        let keys = self.keys.lock().pair(spec.name.as_str()).map(KeySet::of);
        let keys = Arc::new(keys.unwrap_or_default());
        let found = self.bindings(spec, &keys, before.as_deref(), loaded).await;
        found.refused(
            &spec.auth.mode,
            before.as_deref().map(|before| &before.bindings),
        )
    }

    /// A version that does not run. Where other replicas served for it when the
    /// gateway ended, its update goes on: those serve until the new ones do.
    fn start_as_before(
        self: &Arc<Self>,
        endpoint: &Name,
        version: &Version,
    ) -> (Arc<RunningVersion>, Option<Arc<RunningVersion>>) {
        let Some(before) = self.served_before(endpoint, version) else {
            return (self.start_version(endpoint, version, None), None);
        };
        let before = until_then(version, &before, &before.scale);
        let serving = self.start_version(endpoint, &before, None);
        let update = self.start_version(endpoint, version, Some(&serving));
        let message = format!(
            "version {}: the replicas of its update had not come up when the gateway ended; those before it serve until they do",
            version.name
        );
        let object = format!("endpoint/{endpoint}");
        self.events.tell("UpdateResumed", &object, &message);
        (serving, Some(update))
    }

    /// Tells which versions came and went, and which are being updated.
    fn tell_versions(&self, before: &RunningEndpoint, after: &RunningEndpoint) {
        let object = format!("endpoint/{}", after.spec.name);
        let tell = |kind, message: &str| self.events.tell(kind, &object, message);
        for name in after.names() {
            if !before.names().contains(&name) {
                tell("VersionCreated", &format!("version {name}"));
            }
        }
        for name in before.names() {
            if !after.names().contains(&name) {
                tell("VersionDeleted", &format!("version {name}"));
            }
        }
        let has = |all: &[Arc<RunningVersion>], one: &RunningVersion| {
            all.iter().any(|other| other.same_fleet(one))
        };
        for update in before
            .updates
            .iter()
            .filter(|one| !has(&after.updates, one))
        {
            let message = format!("version {}: its update was given up", update.spec.name);
            tell("UpdateDropped", &message);
        }
        for update in after
            .updates
            .iter()
            .filter(|one| !has(&before.updates, one))
        {
            let message = format!(
                "version {}: new replicas are being started; those before serve until they are ready",
                update.spec.name
            );
            tell("UpdateBegan", &message);
        }
    }

    /// Takes an endpoint out. Exchanges under way are finished.
    pub(super) fn remove_endpoint(&self, name: &str) {
        let Some(before) = self.endpoints.write().remove(name) else {
            return;
        };
        self.table.remove(name);
        for version in before.versions.iter().chain(&before.updates) {
            version.retire();
        }
        let metrics = &self.metrics;
        for family in [
            &metrics.requests,
            &metrics.moved_shares,
            &metrics.mirror,
            &metrics.replica_ejections,
        ] {
            family.remove(&[name]);
        }
    }

    /// The policies of the one before where the binding, the keys and the plugin
    /// are the same; else new ones.
    async fn bindings(
        &self,
        spec: &Endpoint,
        keys: &Arc<KeySet>,
        before: Option<&RunningEndpoint>,
        loaded: &BTreeMap<Name, Result<Arc<Loaded>, String>>,
    ) -> Bindings {
        let binder = Binder {
            host: &self.host,
            loaded,
            endpoint: spec.name.clone(),
            keys: Arc::clone(keys),
        };
        match before {
            Some(before) if before.same_policies(spec) => before.bindings.clone(),
            _ => binder.bind_all(spec).await,
        }
    }

    /// Lets an update take over as soon as it is healthy.
    fn watch_update(self: &Arc<Self>, endpoint: &Name, update: &Arc<RunningVersion>) {
        let mut healthy = update.state.lock().watch();
        let control = Arc::clone(self);
        let (endpoint, update) = (endpoint.clone(), Arc::clone(update));
        drop(self.tasks.spawn(async move {
            loop {
                let ready = healthy.wait_for(|state| *state == State::Healthy);
                tokio::select! {
                    ready = ready => if ready.is_err() { return },
                    () = update.retired() => return,
                    () = control.tasks.stopped() => return,
                }
                let _change = control.change.lock().await;
                // It may have died while another change was made.
                if *healthy.borrow() == State::Healthy {
                    control.take_over_version(&endpoint, &update);
                    return;
                }
            }
        }));
    }

    /// Puts an update in the place of the version it updates.
    fn take_over_version(&self, endpoint: &Name, update: &Arc<RunningVersion>) {
        let Some(before) = self.endpoints.read().get(endpoint).cloned() else {
            return;
        };
        let name = &update.spec.name;
        // It may have been replaced by another update meanwhile.
        let Some(current) = before.update_of(name).filter(|one| one.same_fleet(update)) else {
            return;
        };
        let versions = before
            .versions
            .iter()
            .map(|version| {
                Arc::clone(if version.spec.name == *name {
                    current
                } else {
                    version
                })
            })
            .collect();
        let updates = before
            .updates
            .iter()
            .filter(|one| !one.same_fleet(update))
            .cloned()
            .collect();
        let running = self.publish(RunningEndpoint {
            spec: Arc::clone(&before.spec),
            document: before.document.clone(),
            revision: before.revision,
            since: Arc::clone(&before.since),
            keys: Arc::clone(&before.keys),
            bindings: before.bindings.clone(),
            versions,
            updates,
            metrics: Arc::clone(&before.metrics),
        });
        update.serve();
        before.retire_what_is_not_in(&running);
        let message = format!("the new replicas of {name} serve");
        self.events
            .tell("Updated", &format!("endpoint/{endpoint}"), &message);
    }
}

impl RunningVersion {
    /// Whether both stand for the same replicas.
    fn same_fleet(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fleet, &other.fleet)
    }
}

impl RunningEndpoint {
    /// The names of its versions.
    pub(super) fn names(&self) -> Vec<&str> {
        let versions = self.versions.iter();
        versions.map(|version| version.spec.name.as_str()).collect()
    }

    /// The version of that name that serves.
    fn version(&self, name: &Name) -> Option<&Arc<RunningVersion>> {
        self.versions
            .iter()
            .find(|version| version.spec.name == *name)
    }

    /// The update of that version that is on its way.
    pub(super) fn update_of(&self, name: &Name) -> Option<&Arc<RunningVersion>> {
        self.updates
            .iter()
            .find(|version| version.spec.name == *name)
    }

    /// Whether all policies of `spec` are at work here already.
    pub(super) fn same_policies(&self, spec: &Endpoint) -> bool {
        self.spec.auth.mode == spec.auth.mode
            && self.spec.split.policy == spec.split.policy
            && self.spec.collect.len() == spec.collect.len()
            && self
                .spec
                .collect
                .iter()
                .zip(&spec.collect)
                .all(|(a, b)| a.binding == b.binding)
            && self.bindings.problem().is_none()
    }

    /// Retires replicas that `after` does not have.
    fn retire_what_is_not_in(&self, after: &Self) {
        for version in self.versions.iter().chain(&self.updates) {
            let kept = after
                .versions
                .iter()
                .chain(&after.updates)
                .any(|one| one.same_fleet(version));
            if !kept {
                version.retire();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Source;

    fn version(yaml: &str) -> Version {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{ name: iris }}\nspec:\n  versions:\n    - {yaml}\n"
        );
        let source = Source {
            name: String::new(),
            text,
            base: Some("/".into()),
        };
        let set = crate::resource::check(&[source]).unwrap();
        set.endpoints[0].versions[0].clone()
    }

    #[test]
    fn replicas_that_are_replaced_keep_their_slots_until_then() {
        let old = version("{ name: blue, process: { command: [a], dir: / } }");
        let new = version(
            "{ name: blue, traffic: 7, maxConcurrentRequests: 8, process: { command: [b], dir: / } }",
        );
        let carried = until_then(&new, &old, &old.scale);
        assert_eq!(carried.max_concurrent_requests.get(), 1);
        assert_eq!(carried.traffic, new.traffic);
        assert!(same_replicas(&carried, &old));
    }

    #[test]
    fn replicas_that_are_counted_otherwise_stay_as_many_until_then() {
        let fixed =
            version("{ name: blue, static: { addresses: ['127.0.0.1:1', '127.0.0.1:2'] } }");
        let fewer = version("{ name: blue, static: { addresses: ['127.0.0.1:3'] } }");
        let process = version("{ name: blue, replicas: 7, process: { command: [a], dir: / } }");
        let more = version("{ name: blue, replicas: 9, process: { command: [b], dir: / } }");
        let scale = |new: &Version, old: &Version| until_then(new, old, &old.scale).scale;
        assert_eq!(scale(&process, &fixed), Scale::Fixed(2));
        assert_eq!(scale(&fixed, &process), Scale::Fixed(7));
        assert_eq!(scale(&fewer, &fixed), Scale::Fixed(2));
        assert_eq!(scale(&more, &process), Scale::Fixed(9));
    }

    #[track_caller]
    fn check(a: &str, b: &str, same: bool) {
        assert_eq!(same_replicas(&version(a), &version(b)), same, "{a} and {b}");
    }

    #[test]
    fn only_what_a_replica_is_started_with_makes_other_replicas() {
        let blue = "{ name: blue, process: { command: [a], dir: / } }";
        check(blue, blue, true);
        check(
            blue,
            "{ name: blue, traffic: 5, maxQueueWait: 9s, process: { command: [a], dir: / } }",
            true,
        );
        check(
            blue,
            "{ name: blue, process: { command: [b], dir: / } }",
            false,
        );
        check(
            blue,
            "{ name: blue, process: { command: [a], dir: /, env: { A: \"1\" } } }",
            false,
        );
        check(
            blue,
            "{ name: blue, process: { command: [a], dir: /, modelDir: /m } }",
            false,
        );
        check(
            blue,
            "{ name: blue, maxConcurrentRequests: 2, process: { command: [a], dir: / } }",
            false,
        );
        check(
            blue,
            "{ name: blue, static: { addresses: ['127.0.0.1:1'] } }",
            false,
        );
    }
}
