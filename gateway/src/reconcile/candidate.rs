//! What a plugin is to be: its resource, its content and its bindings, made and
//! tried before anything changes.
//!
//! Everything that can fail is here: the content is found, inspected, compiled,
//! linked, configured with the settings of every binding, self-tested and
//! warmed. Nothing here changes what runs. Used by `swap` and `change`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::bind::{Binder, Bindings};
use super::plugins::{PluginFolder, Record, now_text};
use super::status::LastSwap;
use super::{Control, RunningEndpoint, RunningPlugin};
use crate::id::Digest;
use crate::name::Name;
use crate::policy::{self, Loaded};
use crate::resource::{Plugin, PluginSource};

/// Which content is to decide.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// The source's where it changed since it was last applied, else what is
    /// active (SEMANTICS §12).
    Source,
    /// What is active, as long as there is one: the resource is not applied yet.
    Active,
    /// This one.
    Digest(Digest),
}

/// What a plugin is to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) spec: Plugin,
    /// The resource; none: it is shipped and has none.
    pub(super) document: Option<Value>,
    pub(super) content: Content,
}

/// A plugin that could take over.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) wanted: Wanted,
    pub(super) folder: PluginFolder,
    /// What is written down when it takes over.
    pub(super) record: Record,
    pub(super) loaded: Arc<Loaded>,
    /// The endpoints that bind it, with it in its places.
    pub(super) endpoints: Vec<RunningEndpoint>,
}

/// Where the parts of a candidate are and what it replaces.
pub(super) struct Trial<'a> {
    pub(super) folder: PluginFolder,
    pub(super) record: Record,
    pub(super) before: Option<&'a Arc<RunningPlugin>>,
    /// Whether a content that is new is kept, as all must be that takes over; a
    /// dry run leaves nothing behind.
    pub(super) keep: bool,
    /// What else changes with it.
    pub(super) beside: Option<&'a Beside>,
}

/// What changes together with a plugin, so that it is tried as all will be.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Endpoints that get other policies, or go: what they are now is not tried.
    pub(super) apart: BTreeSet<Name>,
    /// Bindings of the others, with the candidates before this one.
    pub(super) bindings: BTreeMap<Name, Bindings>,
}

impl Candidate {
    /// What the history keeps of it: the resource, and what decides.
    pub(super) fn kept(&self) -> Value {
        kept(self.wanted.document.as_ref(), Some(self.loaded.digest()))
    }
}

/// What the history keeps of a plugin: the resource, where it has one, and what
/// decides.
pub(super) fn kept(document: Option<&Value>, active: Option<&Digest>) -> Value {
    let mut kept = document.cloned().unwrap_or_else(|| json!({}));
    if let (Some(map), Some(active)) = (kept.as_object_mut(), active) {
        let status = json!({ "activeDigest": active.as_str() });
        map.insert("status".to_owned(), status);
    }
    kept
}

/// The resource and the content of what the history kept.
pub(super) fn unkept(mut kept: Value) -> (Option<Value>, Option<Digest>) {
    let status = kept.as_object_mut().and_then(|map| map.remove("status"));
    let active = status
        .as_ref()
        .and_then(|status| status.get("activeDigest"))
        .and_then(Value::as_str)
        .and_then(|text| Digest::parse(text).ok());
    (kept.get("kind").is_some().then_some(kept), active)
}

/// A record of a swap, done or refused.
pub(super) fn last_swap(digest: &Digest, result: &str, reason: &str) -> LastSwap {
    LastSwap {
        time: now_text(),
        digest: digest.as_str().to_owned(),
        result: result.to_owned(),
        reason: reason.to_owned(),
    }
}

impl Control {
    /// Makes and tries a candidate.
    ///
    /// # Errors
    ///
    /// Why it is refused; nothing is left behind but its content in the state
    /// folder.
    pub(super) async fn try_plugin(
        &self,
        wanted: Wanted,
        trial: Trial<'_>,
    ) -> Result<Candidate, String> {
        let Trial {
            folder,
            mut record,
            before,
            keep,
            beside,
        } = trial;
        let (content, digest) = tokio::task::block_in_place(|| {
            let kept = keep.then_some(&folder);
            self.content(&wanted, &folder, &mut record, kept)
        })?;
        let loaded = match before {
            // Only words about it changed.
            Some(before) if before.runs(&wanted.spec, &digest) => before.active.clone()?,
            _ => self
                .host
                .load(&wanted.spec, content)
                .await
                .map_err(|refusal| refusal.to_string())?,
        };
        let endpoints = self.rebound(&wanted.spec.name, &loaded, beside).await?;
        if before.is_some() && record.active.as_deref() != Some(digest.as_str()) {
            record.last_swap = Some(last_swap(&digest, "swapped", ""));
        }
        record.activate(&digest);
        Ok(Candidate {
            wanted,
            folder,
            record,
            loaded,
            endpoints,
        })
    }

    /// The endpoints that bind a plugin, with the candidate in its places.
    async fn rebound(
        &self,
        name: &Name,
        loaded: &Arc<Loaded>,
        beside: Option<&Beside>,
    ) -> Result<Vec<RunningEndpoint>, String> {
        let plugins = self.loaded();
        let mut changed = Vec::new();
        for running in self.endpoints_naming(name) {
            let endpoint = &running.spec.name;
            if beside.is_some_and(|beside| beside.apart.contains(endpoint)) {
                continue;
            }
            let before = beside.and_then(|beside| beside.bindings.get(endpoint));
            let before = before.unwrap_or(&running.bindings);
            if before.has(loaded) {
                continue;
            }
            let binder = Binder {
                host: &self.host,
                loaded: &plugins,
                endpoint: running.spec.name.clone(),
                keys: Arc::clone(&running.keys),
            };
            let bindings = binder
                .rebind(before, name, loaded)
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
        Ok(changed)
    }

    /// The content that is to decide; the record learns of the source's.
    fn content(
        &self,
        wanted: &Wanted,
        folder: &PluginFolder,
        record: &mut Record,
        kept: Option<&PluginFolder>,
    ) -> Result<(Bytes, Digest), String> {
        let chosen = match &wanted.content {
            Content::Digest(digest) => of_folder(folder, digest)
                .ok_or_else(|| format!("there is no content {digest}; push it"))?,
            Content::Active => match active(folder, record) {
                Some(active) => active,
                None => self.of_source(&wanted.spec, active(folder, record), record, kept)?,
            },
            Content::Source => {
                self.of_source(&wanted.spec, active(folder, record), record, kept)?
            }
        };
        match &wanted.spec.digest {
            // What was pushed can be pinned before it was swapped to.
            Some(pinned) if *pinned != chosen.1 => of_folder(folder, pinned).ok_or_else(|| {
                let found = &chosen.1;
                format!(
                    "spec.digest: the content is {found}, pinned is {pinned}; change one of them"
                )
            }),
            _ => Ok(chosen),
        }
    }

    /// The source's content where it changed since it was last applied, else
    /// what is active. Kept where a folder is given.
    fn of_source(
        &self,
        spec: &Plugin,
        active: Option<(Bytes, Digest)>,
        record: &mut Record,
        kept: Option<&PluginFolder>,
    ) -> Result<(Bytes, Digest), String> {
        let (content, active) = match (self.source(spec), active) {
            (Ok(content), active) => (content, active),
            // The source is away, or broken at start: what was active goes on, as
            // after a bad update.
            (Err(reason), Some(active)) if self.starting() || self.written(spec).is_err() => {
                if kept.is_some() {
                    let object = format!("plugin/{}", spec.name);
                    self.events.tell("SourceMissing", &object, &reason);
                }
                return Ok(active);
            }
            (Err(reason), _) => return Err(reason),
        };
        let digest = Digest::of(&content);
        let unchanged = record.source.as_deref() == Some(digest.as_str());
        // At each start it would count as pushed anew.
        let there = |folder: &PluginFolder| unchanged && of_folder(folder, &digest).is_some();
        if let Some(folder) = kept.filter(|folder| !there(folder)) {
            let stored = folder.store(&digest, &content);
            stored.map_err(|error| error.to_string())?;
        }
        record.source = Some(digest.as_str().to_owned());
        match active {
            Some(active) if unchanged => Ok(active),
            _ => Ok((content, digest)),
        }
    }

    fn source(&self, spec: &Plugin) -> Result<Bytes, String> {
        policy::component(self.written(spec)?).map_err(|error| error.to_string())
    }

    /// The content of a plugin's source, whatever it is.
    fn written(&self, spec: &Plugin) -> Result<Bytes, String> {
        match &spec.source {
            PluginSource::File(path) => std::fs::read(path)
                .map(Bytes::from)
                .map_err(|error| format!("{}: {error}", path.display())),
            PluginSource::Shipped(name) => self
                .host
                .shipped(name.as_str())
                .map(|(_, content)| content)
                .ok_or_else(|| format!("no plugin {name} is carried in this binary")),
        }
    }

    /// Whether a plugin's source has another content than was last applied, be it
    /// one that will be refused. One that is away is no other.
    pub(super) fn source_changed(&self, spec: &Plugin, record: &Record) -> bool {
        let Ok(written) = tokio::task::block_in_place(|| self.written(spec)) else {
            return false;
        };
        policy::component(written).map_or(true, |content| {
            record.source.as_deref() != Some(Digest::of(&content).as_str())
        })
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

fn of_folder(folder: &PluginFolder, digest: &Digest) -> Option<(Bytes, Digest)> {
    let content = folder.content(digest).ok().flatten()?;
    Some((content, digest.clone()))
}

fn active(folder: &PluginFolder, record: &Record) -> Option<(Bytes, Digest)> {
    let digest = Digest::parse(record.active.as_deref()?).ok()?;
    of_folder(folder, &digest)
}
