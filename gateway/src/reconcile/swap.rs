//! Push, swap and rollback of a plugin.
//!
//! A candidate is inspected, compiled, linked, configured with the settings of
//! every binding, self-tested and warmed before anything changes; then what is
//! active is written down, and each endpoint's entry is replaced. A refused
//! candidate changes nothing and says why. Called by `admin`.

use std::sync::Arc;

use bytes::Bytes;

use super::bind::Binder;
use super::plugins::{Record, now_text};
use super::status::{LastSwap, Pushed, Swapped};
use super::{Control, ControlError, RunningEndpoint, RunningPlugin};
use crate::id::Digest;
use crate::name::Name;
use crate::policy::{self, Loaded, Refusal};

impl Control {
    /// Checks and stores a component (or a core module that carries its world,
    /// as the SDK makes it) for a plugin.
    ///
    /// # Errors
    ///
    /// 404 for an unknown plugin, 422 with the reason, 503 where the disk
    /// refuses.
    pub async fn push(&self, name: &str, content: Bytes) -> Result<Pushed, ControlError> {
        let plugin = self.plugin_running(name)?;
        let refused = |refusal: Refusal| ControlError::Refused(refusal.to_string());
        let component =
            policy::component(content).map_err(|error| ControlError::Refused(error.to_string()))?;
        let found = self.host.inspect(&component).map_err(refused)?;
        if found.role != plugin.spec.role {
            return Err(ControlError::Refused(format!(
                "it decides {}, but plugin {name} is for {}",
                found.role.as_str(),
                plugin.spec.role.as_str()
            )));
        }
        let created = plugin
            .folder
            .store(&found.digest, &component)
            .map_err(|error| ControlError::Store(error.to_string()))?;
        Ok(Pushed {
            digest: found.digest.as_str().to_owned(),
            role: found.role.as_str(),
            imports: found.imports,
            bytes: component.len(),
            created,
        })
    }

    /// Lets another content of a plugin take over in all its bindings. Ends
    /// when it decides, or was refused. None: the newest that was pushed.
    ///
    /// # Errors
    ///
    /// 404 where there is no such plugin or content, 409 where the digest is
    /// pinned, 422 with the reason of a refusal.
    pub async fn swap(&self, name: &str, digest: Option<&str>) -> Result<Swapped, ControlError> {
        let _change = self.change.lock().await;
        let plugin = self.plugin_running(name)?;
        let digest = match digest {
            Some(digest) => digest.to_owned(),
            None => {
                let newest = plugin.folder.versions(None, &[]).into_iter().next();
                newest.map(|version| version.digest).ok_or_else(|| {
                    ControlError::NotFound(format!("plugin {name} has no content; push one"))
                })?
            }
        };
        self.swap_to(&plugin, &digest).await
    }

    /// Back to what decided before the active content.
    ///
    /// # Errors
    ///
    /// 404 where there is no such plugin, 409 where nothing decided before or
    /// the digest is pinned, 422 with the reason of a refusal.
    pub async fn rollback(&self, name: &str) -> Result<Swapped, ControlError> {
        let _change = self.change.lock().await;
        let plugin = self.plugin_running(name)?;
        let before = plugin.record.previous.first().cloned().ok_or_else(|| {
            ControlError::Conflict(format!("plugin {name} had no other content before"))
        })?;
        self.swap_to(&plugin, &before).await
    }

    async fn swap_to(
        &self,
        plugin: &Arc<RunningPlugin>,
        digest: &str,
    ) -> Result<Swapped, ControlError> {
        let name = &plugin.spec.name;
        let digest =
            Digest::parse(digest).map_err(|error| ControlError::NotFound(error.to_string()))?;
        if let Some(pinned) = plugin
            .spec
            .digest
            .as_ref()
            .filter(|pinned| **pinned != digest)
        {
            return Err(ControlError::Conflict(format!(
                "spec.digest pins plugin {name} to {pinned}; change the resource to swap"
            )));
        }
        let content = plugin
            .folder
            .content(&digest)
            .map_err(|error| ControlError::Store(error.to_string()))?
            .ok_or_else(|| {
                ControlError::NotFound(format!("plugin {name} has no content {digest}; push it"))
            })?;
        let tried = self.candidate(plugin, content).await;
        let (record, outcome) = match tried {
            Ok((loaded, endpoints)) => {
                let mut record = plugin.record.clone();
                record.activate(&digest);
                record.last_swap = Some(last_swap(&digest, "swapped", ""));
                plugin
                    .folder
                    .keep(&record)
                    .map_err(|error| ControlError::Store(error.to_string()))?;
                self.metrics
                    .plugin_swaps
                    .with(&[name.as_str(), "swapped"])
                    .inc();
                self.take_over(plugin, record, loaded, endpoints);
                let message = format!("{digest} decides now");
                self.events
                    .tell("Swapped", &format!("plugin/{name}"), &message);
                return Ok(Swapped {
                    active_digest: digest.as_str().to_owned(),
                    previous_digest: plugin.record.active.clone(),
                });
            }
            Err(reason) => {
                let mut record = plugin.record.clone();
                record.last_swap = Some(last_swap(&digest, "refused", &reason));
                (record, reason)
            }
        };
        self.metrics
            .plugin_swaps
            .with(&[name.as_str(), "refused"])
            .inc();
        self.events
            .tell("SwapRefused", &format!("plugin/{name}"), &outcome);
        if let Err(error) = plugin.folder.keep(&record) {
            tracing::warn!(%error, %name, "the refusal could not be written down");
        }
        self.replace_plugin(plugin, record, plugin.active.clone());
        Err(ControlError::Refused(outcome))
    }

    /// Everything that can fail: compile, link, configure, self-test, warm.
    async fn candidate(
        &self,
        plugin: &RunningPlugin,
        content: Bytes,
    ) -> Result<(Arc<Loaded>, Vec<RunningEndpoint>), String> {
        let name = &plugin.spec.name;
        let loaded = self
            .host
            .load(&plugin.spec, content)
            .await
            .map_err(|refusal| refusal.to_string())?;
        let mut changed = Vec::new();
        for running in self.endpoints_naming(name) {
            let plugins = self.loaded();
            let binder = Binder {
                host: &self.host,
                loaded: &plugins,
                endpoint: running.spec.name.clone(),
                keys: Arc::clone(&running.keys),
            };
            let bindings = binder
                .rebind(&running.bindings, name, &loaded)
                .await
                .map_err(|refusal| format!("endpoint {}: {refusal}", running.spec.name))?;
            changed.push(RunningEndpoint {
                spec: Arc::clone(&running.spec),
                document: running.document.clone(),
                revision: running.revision,
                since: Arc::clone(&running.since),
                keys: Arc::clone(&running.keys),
                bindings,
                versions: running.versions.clone(),
                updates: running.updates.clone(),
                metrics: Arc::clone(&running.metrics),
            });
        }
        Ok((loaded, changed))
    }

    /// Nothing here can fail.
    fn take_over(
        &self,
        plugin: &RunningPlugin,
        record: Record,
        loaded: Arc<Loaded>,
        endpoints: Vec<RunningEndpoint>,
    ) {
        self.replace_plugin(plugin, record, Ok(loaded));
        for endpoint in endpoints {
            drop(self.publish(endpoint));
        }
    }

    fn replace_plugin(
        &self,
        plugin: &RunningPlugin,
        record: Record,
        active: Result<Arc<Loaded>, String>,
    ) {
        let next = RunningPlugin {
            spec: plugin.spec.clone(),
            document: plugin.document.clone(),
            folder: plugin.folder.clone(),
            record,
            active,
        };
        self.plugins
            .write()
            .insert(plugin.spec.name.clone(), Arc::new(next));
    }

    fn endpoints_naming(&self, plugin: &Name) -> Vec<Arc<RunningEndpoint>> {
        let endpoints = self.endpoints.read();
        endpoints
            .values()
            .filter(|one| one.bindings.names(plugin))
            .cloned()
            .collect()
    }
}

fn last_swap(digest: &Digest, result: &str, reason: &str) -> LastSwap {
    LastSwap {
        time: now_text(),
        digest: digest.as_str().to_owned(),
        result: result.to_owned(),
        reason: reason.to_owned(),
    }
}
