//! From resources to a running state: loaded plugins, replicas, the table.
//!
//! The one writer of the table and of every fleet's replicas. A change that
//! fails leaves what ran before. Never on the request path; called by `app` at
//! start and by `admin`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use crate::event::Events;
use crate::fleet::Fleet;
use crate::id::Digest;
use crate::identity::KeySet;
use crate::metrics::{ExchangeMetrics, Metrics};
use crate::name::Name;
use crate::policy::{self, Host, HostOptions, Loaded};
use crate::resource::{Endpoint, Plugin, PluginSource, Problem, Set, Version};
use crate::runtime::Machine;
use crate::shutdown::Tasks;
use crate::store::FileStore;
use crate::table::Table;

mod bind;
mod change;
mod condition;
mod keys;
mod plugins;
mod scaling;
pub mod status;
mod swap;
mod update;
mod version;
mod view;

use bind::Bindings;
pub use change::Manner;
use condition::Since;
use keys::Keys;
pub use keys::KeysError;
use plugins::{PluginFolder, Record};
use scaling::Orders;
use status::ListenerStatus;
use version::VersionState;

/// What a running state is made of.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// The state folder; there and locked.
    pub state: PathBuf,
    /// Our own binary, for `replica-guard`.
    pub guard: PathBuf,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// What exchanges look up.
    pub table: Arc<Table>,
    /// Tasks of the control runtime.
    pub tasks: Tasks,
    /// Where what happens is told.
    pub events: Arc<Events>,
}

/// Why there is no running state.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys could not be read or made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store cannot be read or written.
    #[error("{0}")]
    Store(String),
    /// What is stored does not check, by itself or beside the files.
    #[error("what is stored does not check: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Stored(Vec<Problem>),
    /// The plugin engine cannot run here.
    #[error(transparent)]
    Host(#[from] crate::policy::HostError),
    /// The state folder cannot be written.
    #[error("{path}: {cause}")]
    State {
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// Why a request of an administrator was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// 404: there is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// 409: it is not to be changed so.
    #[error("{0}")]
    Conflict(String),
    /// 412: it is not at the revision that was expected.
    #[error("{0}")]
    Stale(String),
    /// 422: the resource does not check; all its problems.
    #[error("the resource does not check")]
    Problems(Vec<Problem>),
    /// 422: it was tried and refused; what ran before runs.
    #[error("{0}")]
    Refused(String),
    /// 503: the state folder cannot be written; what ran before runs.
    #[error("{0}")]
    Store(String),
}

/// The running state of one gateway.
#[derive(Debug)]
pub struct Control {
    host: Arc<Host>,
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    events: Arc<Events>,
    tasks: Tasks,
    state: PathBuf,
    machine: Machine,
    drain: std::time::Duration,
    keys: Mutex<Keys>,
    /// The store, or why there is none: then the files are all there is.
    store: Result<FileStore, String>,
    // Taken by whoever changes something, for as long as that takes.
    change: tokio::sync::Mutex<()>,
    plugins: RwLock<BTreeMap<Name, Arc<RunningPlugin>>>,
    endpoints: RwLock<BTreeMap<Name, Arc<RunningEndpoint>>>,
    facts: RwLock<Facts>,
}

/// What `app` knows and status shows.
#[derive(Debug, Default)]
struct Facts {
    draining: bool,
    listeners: Vec<ListenerStatus>,
    warnings: Vec<String>,
}

/// A plugin with what is active of it.
#[derive(Debug)]
struct RunningPlugin {
    spec: Plugin,
    document: Value,
    folder: PluginFolder,
    record: Record,
    active: Result<Arc<Loaded>, String>,
}

/// An endpoint with its policies and versions.
#[derive(Debug)]
struct RunningEndpoint {
    spec: Arc<Endpoint>,
    document: Value,
    revision: u64,
    since: Arc<Since>,
    keys: Arc<KeySet>,
    bindings: Bindings,
    versions: Vec<Arc<RunningVersion>>,
    /// New replicas of some of the versions, which take over when they are ready.
    updates: Vec<Arc<RunningVersion>>,
    metrics: Arc<ExchangeMetrics>,
}

/// A version with its fleet.
#[derive(Debug)]
struct RunningVersion {
    /// What it goes by now.
    spec: Arc<Version>,
    /// What its replicas were started with.
    started: Arc<Version>,
    fleet: Arc<Fleet>,
    metrics: Arc<ExchangeMetrics>,
    state: Arc<Mutex<VersionState>>,
    orders: Arc<Orders>,
}

impl Control {
    /// Loads the plugins, starts the replicas and fills the table. A plugin or
    /// a replica that does not come up stops nothing else: status says why.
    ///
    /// # Errors
    ///
    /// [`StartError`] where nothing could serve at all.
    pub async fn start(options: ControlOptions, set: Set) -> Result<Arc<Self>, StartError> {
        let host = Host::new(HostOptions {
            cache_dir: options.state.join("cache"),
            metrics: Arc::clone(&options.metrics),
        })?;
        let control = Arc::new(Self {
            host,
            table: options.table,
            metrics: options.metrics,
            events: options.events,
            tasks: options.tasks.clone(),
            keys: Mutex::new(Keys::open(&options.state)?),
            store: FileStore::open(&options.state).map_err(|error| error.to_string()),
            machine: Machine::new(options.state.clone(), options.guard, options.tasks.clone())
                .map_err(|cause| StartError::State {
                    path: options.state.join("logs"),
                    cause,
                })?,
            state: options.state,
            drain: set.config.limits.drain,
            change: tokio::sync::Mutex::default(),
            plugins: RwLock::default(),
            endpoints: RwLock::default(),
            facts: RwLock::default(),
        });
        let _change = control.change.lock().await;
        if let Err(reason) = &control.store {
            let what = format!("{reason}; only the files are served, and nothing can be changed");
            control.events.tell("StoreFailed", "gateway", &what);
        }
        let settled = control.settle(set)?;
        let set = &settled.set;
        for plugin in &set.plugins {
            let document = set.document("Plugin", plugin.name.as_str());
            let running = control.start_plugin(plugin.clone(), document).await?;
            control
                .plugins
                .write()
                .insert(plugin.name.clone(), Arc::new(running));
        }
        for endpoint in &set.endpoints {
            let document = set.document("Endpoint", endpoint.name.as_str());
            let revision = settled.revision(endpoint.name.as_str());
            control
                .apply_endpoint(endpoint.clone(), document.unwrap_or_default(), revision)
                .await?;
            let object = format!("endpoint/{}", endpoint.name);
            control
                .events
                .tell("Deployed", &object, "its resource was applied");
        }
        Ok(Arc::clone(&control))
    }

    /// Tells status where callers connect and what an operator should know.
    pub fn tell_facts(&self, listeners: Vec<ListenerStatus>, warnings: Vec<String>) {
        let mut facts = self.facts.write();
        facts.listeners = listeners;
        facts.warnings = warnings;
    }

    /// What happened.
    #[must_use]
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// The metrics of the process.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Tasks of the control runtime.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Tells status that callers are sent away: shutdown has begun.
    pub fn tell_draining(&self) {
        self.facts.write().draining = true;
    }

    /// Whether callers can be served: listeners are up, nothing drains.
    #[must_use]
    pub fn ready(&self) -> bool {
        let facts = self.facts.read();
        !facts.draining && !facts.listeners.is_empty() && !self.tasks.stopping()
    }

    async fn start_plugin(
        &self,
        spec: Plugin,
        document: Option<Value>,
    ) -> Result<RunningPlugin, StartError> {
        let folder_error = |cause| StartError::State {
            path: self.state.join("plugins"),
            cause,
        };
        let folder = PluginFolder::open(&self.state, &spec.name).map_err(folder_error)?;
        let mut record = folder.record().map_err(folder_error)?;
        let active = match self.choose_content(&spec, &folder, &mut record) {
            Ok(content) => self
                .host
                .load(&spec, content)
                .await
                .map_err(|refusal| refusal.to_string()),
            Err(reason) => Err(reason),
        };
        match &active {
            Ok(loaded) => {
                record.activate(loaded.digest());
                folder.keep(&record).map_err(folder_error)?;
            }
            Err(reason) => {
                self.events
                    .tell("Refused", &format!("plugin/{}", spec.name), reason);
            }
        }
        let document = document.unwrap_or_else(|| view::shipped_document(&spec));
        Ok(RunningPlugin {
            spec,
            document,
            folder,
            record,
            active,
        })
    }

    /// Which content is to be active at start: the source's where it changed
    /// since it was last applied, else what was active (SEMANTICS §12).
    fn choose_content(
        &self,
        spec: &Plugin,
        folder: &PluginFolder,
        record: &mut Record,
    ) -> Result<bytes::Bytes, String> {
        let source = match &spec.source {
            PluginSource::File(path) => std::fs::read(path)
                .map(bytes::Bytes::from)
                .map_err(|error| format!("{}: {error}", path.display())),
            PluginSource::Shipped(name) => self
                .host
                .shipped(name.as_str())
                .map(|(_, content)| content)
                .ok_or_else(|| format!("no plugin {name} is carried in this binary")),
        };
        let source = source
            .and_then(|content| policy::component(content).map_err(|error| error.to_string()));
        let last = record
            .active
            .as_deref()
            .and_then(|active| Digest::parse(active).ok());
        let stored = last.and_then(|digest| folder.content(&digest).ok().flatten());
        let (content, digest) = match (source, stored) {
            (Ok(content), stored) => {
                let digest = Digest::of(&content);
                let unchanged = record.source.as_deref() == Some(digest.as_str());
                folder
                    .store(&digest, &content)
                    .map_err(|error| error.to_string())?;
                record.source = Some(digest.as_str().to_owned());
                match stored {
                    Some(stored) if unchanged => {
                        let digest = Digest::of(&stored);
                        (stored, digest)
                    }
                    _ => (content, digest),
                }
            }
            // The source is away: what was active goes on, as a bad update would.
            (Err(reason), Some(stored)) => {
                self.events
                    .tell("SourceMissing", &format!("plugin/{}", spec.name), &reason);
                let digest = Digest::of(&stored);
                (stored, digest)
            }
            (Err(reason), None) => return Err(reason),
        };
        match &spec.digest {
            Some(pinned) if *pinned != digest => Err(format!(
                "spec.digest: the content is {digest}, pinned is {pinned}; change one of them"
            )),
            _ => Ok(content),
        }
    }

    /// Puts an endpoint where administrators and exchanges see it.
    fn publish(&self, running: RunningEndpoint) -> Arc<RunningEndpoint> {
        let running = Arc::new(running);
        let entry = bind::entry(&running);
        let name = running.spec.name.clone();
        self.endpoints.write().insert(name, Arc::clone(&running));
        self.table.put(entry);
        running.since.keep(&running.names());
        drop(running.status());
        running
    }

    fn loaded(&self) -> BTreeMap<Name, Result<Arc<Loaded>, String>> {
        let plugins = self.plugins.read();
        plugins
            .iter()
            .map(|(name, plugin)| (name.clone(), plugin.active.clone()))
            .collect()
    }

    fn plugin_running(&self, name: &str) -> Result<Arc<RunningPlugin>, ControlError> {
        self.plugins
            .read()
            .get(name)
            .cloned()
            .ok_or_else(|| ControlError::NotFound(format!("no plugin {name}")))
    }

    fn endpoint_running(&self, name: &str) -> Result<Arc<RunningEndpoint>, ControlError> {
        self.endpoints
            .read()
            .get(name)
            .cloned()
            .ok_or_else(|| ControlError::NotFound(format!("no endpoint {name}")))
    }

    /// Stops every replica; ends when none is left. After the listeners have
    /// drained.
    pub async fn stop(&self) {
        self.tasks.stop();
        self.tasks.finish().await;
    }
}

impl Set {
    fn document(&self, kind: &str, name: &str) -> Option<Value> {
        self.documents
            .iter()
            .find(|document| document.kind == kind && document.name == name)
            .map(|document| document.value.clone())
    }
}
