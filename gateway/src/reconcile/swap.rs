//! Push, swap and rollback of a plugin.
//!
//! A candidate is inspected, compiled, linked, configured with the settings of
//! every binding, self-tested and warmed before anything changes; then what is
//! active is written to the store as a revision, and each endpoint's entry is replaced. A refused
//! candidate changes nothing and says why. Called by `admin`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::task::block_in_place;

use super::candidate::{Candidate, Content, Trial, Wanted, kept, last_swap};
use super::change::{Manner, PLUGIN};
use super::plugins::PluginFolder;
use super::status::{Pushed, Swapped};
use super::{Control, ControlError, RunningPlugin};
use crate::id::Digest;
use crate::policy::{self, Refusal};
use crate::resource::Plugin;
use crate::store::{Act, Change};

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
        // Megabytes are read through and hashed: probes and scaling go on.
        let (component, found) = block_in_place(|| {
            let component = policy::component(content)
                .map_err(|error| ControlError::Refused(error.to_string()))?;
            let found = self.host.inspect(&component).map_err(refused)?;
            Ok((component, found))
        })?;
        if found.role != plugin.spec.role {
            return Err(ControlError::Refused(format!(
                "it decides {}, but plugin {name} is for {}",
                found.role.as_str(),
                plugin.spec.role.as_str()
            )));
        }
        // It may have been deleted meanwhile.
        let _change = self.change.lock().await;
        let plugin = self.plugin_running(name)?;
        let created = block_in_place(|| plugin.folder.store(&found.digest, &component))
            .map_err(|error| ControlError::Store(error.to_string()))?;
        self.sweep_but(&plugin.spec.name, Some(&found.digest));
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
    /// pinned, 412 where the revision is not the expected one, 422 with the
    /// reason of a refusal.
    pub async fn swap(
        &self,
        name: &str,
        digest: Option<&str>,
        manner: Manner,
    ) -> Result<Swapped, ControlError> {
        let _change = self.change.lock().await;
        let plugin = self.plugin_running(name)?;
        plugin.expect(manner)?;
        let digest = match digest {
            Some(digest) => digest.to_owned(),
            None => {
                let newest = plugin.folder.versions(None, &[]).into_iter().next();
                newest.map(|version| version.digest).ok_or_else(|| {
                    ControlError::NotFound(format!("plugin {name} has no content; push one"))
                })?
            }
        };
        self.swap_to(&plugin, &digest, manner).await
    }

    /// Back to what decided before the active content.
    ///
    /// # Errors
    ///
    /// 404 where there is no such plugin, 409 where nothing decided before or
    /// the digest is pinned, 412 where the revision is not the expected one, 422
    /// with the reason of a refusal.
    pub async fn rollback(&self, name: &str, manner: Manner) -> Result<Swapped, ControlError> {
        let _change = self.change.lock().await;
        let plugin = self.plugin_running(name)?;
        plugin.expect(manner)?;
        let before = plugin.record.previous.first().cloned().ok_or_else(|| {
            ControlError::Conflict(format!("plugin {name} had no other content before"))
        })?;
        self.swap_to(&plugin, &before, manner).await
    }

    async fn swap_to(
        &self,
        plugin: &Arc<RunningPlugin>,
        digest: &str,
        manner: Manner,
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
        plugin
            .folder
            .content(&digest)
            .map_err(|error| ControlError::Store(error.to_string()))?
            .ok_or_else(|| {
                ControlError::NotFound(format!("plugin {name} has no content {digest}; push it"))
            })?;
        let wanted = Wanted {
            spec: plugin.spec.clone(),
            document: plugin.document.clone(),
            content: Content::Digest(digest.clone()),
        };
        let previous_digest = plugin.record.active.clone();
        if plugin.active_digest() == Some(&digest) {
            return Ok(Swapped {
                active_digest: digest.as_str().to_owned(),
                previous_digest,
            });
        }
        match self.try_plugin(wanted, Trial::of(plugin)).await {
            Ok(_) if manner.dry_run => Ok(Swapped {
                active_digest: digest.as_str().to_owned(),
                previous_digest,
            }),
            Err(reason) if manner.dry_run => Err(ControlError::Refused(reason)),
            Ok(mut candidate) => {
                candidate.record.last_swap = Some(last_swap(&digest, "swapped", ""));
                let note = format!("swapped to {digest}");
                let changes = plugin.note(&candidate, note);
                let revision = self.custody.write(&changes)?.last().copied();
                self.take_over(candidate, revision.unwrap_or(plugin.revision));
                Ok(Swapped {
                    active_digest: digest.as_str().to_owned(),
                    previous_digest,
                })
            }
            Err(reason) => {
                self.refuse_swap(plugin, &digest, &reason);
                Err(ControlError::Refused(reason))
            }
        }
    }

    /// Writes down that a content was tried and refused.
    fn refuse_swap(&self, plugin: &RunningPlugin, digest: &Digest, reason: &str) {
        let name = &plugin.spec.name;
        let mut record = plugin.record.clone();
        record.last_swap = Some(last_swap(digest, "refused", reason));
        self.metrics
            .plugin_swaps
            .with(&[name.as_str(), "refused"])
            .inc();
        self.events
            .tell("SwapRefused", &format!("plugin/{name}"), reason);
        if let Err(error) = plugin.folder.keep(&record) {
            tracing::warn!(%error, %name, "the refusal could not be written down");
        }
        self.plugins.write().insert(
            name.clone(),
            Arc::new(RunningPlugin {
                spec: plugin.spec.clone(),
                document: plugin.document.clone(),
                revision: plugin.revision,
                folder: plugin.folder.clone(),
                record,
                active: plugin.active.clone(),
            }),
        );
    }

    /// Puts a candidate to work that is in the store already. Nothing here can
    /// fail.
    pub(super) fn take_over(&self, candidate: Candidate, revision: u64) {
        let name = candidate.wanted.spec.name.clone();
        let object = format!("plugin/{name}");
        // The store has it: at the next start what is missing here is made up.
        if let Err(error) = candidate.folder.keep(&candidate.record) {
            tracing::warn!(%error, %name, "what is active could not be written beside it");
        }
        let digest = candidate.loaded.digest().clone();
        let before = self.plugins.read().get(&name).cloned();
        let before = before.and_then(|plugin| plugin.active_digest().cloned());
        self.plugins.write().insert(
            name.clone(),
            Arc::new(RunningPlugin {
                spec: candidate.wanted.spec,
                document: candidate.wanted.document,
                revision,
                folder: candidate.folder,
                record: candidate.record,
                active: Ok(candidate.loaded),
            }),
        );
        for endpoint in candidate.endpoints {
            drop(self.publish(endpoint));
        }
        if before.is_some_and(|before| before != digest) {
            self.metrics
                .plugin_swaps
                .with(&[name.as_str(), "swapped"])
                .inc();
            self.events
                .tell("Swapped", &object, &format!("{digest} decides now"));
        }
        self.sweep(&name);
    }
}

impl RunningPlugin {
    /// What decides; none where nothing could be loaded.
    pub(super) fn active_digest(&self) -> Option<&Digest> {
        self.active.as_ref().ok().map(|loaded| loaded.digest())
    }

    /// Whether it is this already.
    pub(super) fn runs(&self, spec: &Plugin, digest: &Digest) -> bool {
        self.spec == *spec && self.active_digest() == Some(digest)
    }

    /// What the history is told of a candidate that changes no resource.
    fn note(&self, candidate: &Candidate, change: String) -> Vec<Change> {
        let mut changes = self.first_note();
        changes.push(self.noted(candidate.kept(), "admin", change));
        changes
    }

    /// Before the first revision of a shipped plugin stands what it was, for the
    /// way back.
    pub(super) fn first_note(&self) -> Vec<Change> {
        if self.revision > 0 || self.document.is_some() {
            return Vec::new();
        }
        let before = kept(None, self.active_digest());
        vec![self.noted(before, "gateway", "as it is shipped".to_owned())]
    }

    fn noted(&self, kept: Value, by: &'static str, change: String) -> Change {
        Change {
            kind: PLUGIN,
            name: self.spec.name.to_string(),
            act: Act::Note,
            kept: Some(kept),
            source: None,
            by,
            change,
            expected: None,
        }
    }
}

impl<'a> Trial<'a> {
    /// A trial beside a plugin that runs; all its bindings are tried.
    pub(super) fn of(plugin: &'a Arc<RunningPlugin>) -> Self {
        Self {
            folder: plugin.folder.clone(),
            record: plugin.record.clone(),
            before: Some(plugin),
            keep: true,
            beside: None,
        }
    }

    /// A trial of a plugin that does not run yet.
    ///
    /// # Errors
    ///
    /// Where what the folder says cannot be read.
    pub(super) fn new(folder: PluginFolder) -> std::io::Result<Self> {
        Ok(Self {
            record: folder.record()?,
            folder,
            before: None,
            keep: true,
            beside: None,
        })
    }
}
