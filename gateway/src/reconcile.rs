//! From resources to a running state: loaded plugins, replicas, the table.
//!
//! The one writer of the table and of every fleet's replicas. A change that
//! fails leaves what ran before. Never on the request path; called by `app` at
//! start and by `admin`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use crate::event::Events;
use crate::fleet::Fleet;
use crate::identity::KeySet;
use crate::metrics::{ExchangeMetrics, Metrics};
use crate::name::Name;
use crate::policy::{Host, HostOptions, Loaded};
use crate::resource::{Endpoint, Plugin, Problem, Runtime, Version};
use crate::runtime::Machine;
use crate::shutdown::Tasks;
use crate::table::Table;

mod bind;
mod candidate;
mod change;
mod condition;
mod custody;
mod keys;
mod orders;
mod plugins;
mod scaling;
mod served;
pub mod status;
mod swap;
mod sweep;
mod update;
mod version;
mod view;

use bind::Bindings;
use candidate::Wanted;
pub use change::{Files, FilesError, Manner, Prune};
use condition::Since;
use custody::Custody;
use keys::Keys;
pub use keys::KeysError;
use orders::Orders;
use plugins::{PluginFolder, Record};
use status::{ListenerStatus, State};
use version::VersionState;

/// How often it is looked whether versions can answer, while callers wait for it.
const SETTLE_LOOK: Duration = Duration::from_millis(20);
/// A start that takes longer is told.
const SETTLE_TOLD: Duration = Duration::from_secs(1);

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
    /// What the files say does not fit what is stored, or the state folder
    /// cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
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
    /// 403: the administrator may be elsewhere.
    #[error(
        "it names a command or a file of the machine; that is taken on loopback only, unless admin.allowLocal"
    )]
    OnlyLocal,
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
    drain: Duration,
    keys: Mutex<Keys>,
    custody: Custody,
    served: served::Ledger,
    /// What files say and could not be written yet.
    waiting: Mutex<Option<Files>>,
    starting: AtomicBool,
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
    /// Why certificates were not read again.
    certificates: Arc<Mutex<Vec<String>>>,
    /// Why the files, as they are now, are not applied.
    files: Option<String>,
    /// What of the files waits for a restart.
    restart: Option<String>,
    /// That no new exchange is taken for want of memory.
    memory: Option<String>,
}

/// A plugin with what is active of it.
#[derive(Debug)]
struct RunningPlugin {
    spec: Plugin,
    /// The resource; none: it is shipped and has none.
    document: Option<Value>,
    /// 0 where it never had one.
    revision: u64,
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

impl RunningVersion {
    /// Whether it can answer, or is known not to: a fixed address that has not
    /// answered is not one that starts.
    fn settled(&self) -> bool {
        let fixed = matches!(self.spec.runtime, Runtime::Static { .. });
        let state = self.state.lock();
        self.fleet.takes_share()
            || state.state().0 != State::Transitioning
            || (fixed && state.has_reason())
    }
}

impl Control {
    /// Loads the plugins, starts the replicas and fills the table. A plugin or
    /// a replica that does not come up stops nothing else: status says why.
    ///
    /// # Errors
    ///
    /// [`StartError`] where nothing could serve at all.
    pub async fn start(options: ControlOptions, files: Files) -> Result<Arc<Self>, StartError> {
        let host = Host::new(HostOptions {
            cache_dir: options.state.join("cache"),
            metrics: Arc::clone(&options.metrics),
        })?;
        let custody = Custody::open(
            &options.state,
            files.set.config.revisions,
            Arc::clone(&options.events),
        );
        let served = custody.store().and_then(|store| {
            let served = store.served();
            served.map_err(|error| custody.failed(error))
        });
        let control = Arc::new(Self {
            served: served::Ledger::of(served.unwrap_or_default()),
            host,
            table: options.table,
            metrics: options.metrics,
            events: Arc::clone(&options.events),
            tasks: options.tasks.clone(),
            keys: Mutex::new(Keys::open(&options.state)?),
            custody,
            waiting: Mutex::default(),
            starting: AtomicBool::new(true),
            machine: Machine::new(options.state.clone(), options.guard, options.tasks.clone())
                .map_err(|cause| StartError::State {
                    path: options.state.join("logs"),
                    cause,
                })?,
            state: options.state,
            drain: files.set.config.limits.drain,
            change: tokio::sync::Mutex::default(),
            plugins: RwLock::default(),
            endpoints: RwLock::default(),
            facts: RwLock::default(),
        });
        let change = control.change.lock().await;
        control.start_with(files).await?;
        control.starting.store(false, Ordering::Release);
        control.forget_served_before();
        control.sweep_all();
        drop(change);
        drop(control.tasks.spawn(Arc::clone(&control).mend()));
        drop(control.tasks.spawn(Arc::clone(&control).write_served()));
        Ok(control)
    }

    /// Tells status where callers connect and what an operator should know, at
    /// the start and, of certificates, from then on.
    pub fn tell_facts(
        &self,
        listeners: Vec<ListenerStatus>,
        warnings: Vec<String>,
        certificates: Arc<Mutex<Vec<String>>>,
    ) {
        let mut facts = self.facts.write();
        facts.listeners = listeners;
        facts.warnings = warnings;
        facts.certificates = certificates;
    }

    /// Tells that no new exchange is taken past the limit in bytes, or that they
    /// are taken again: in the log, as an event, and in status meanwhile.
    pub fn tell_memory(&self, over: bool, limit: u64) {
        let (on, limit) = ("gateway", limit >> 20);
        let what = over.then(|| {
            format!(
                "past limits.memory of {limit} MiB: no new exchange is taken (503 out-of-memory)"
            )
        });
        match &what {
            Some(what) => self.events.warn("MemoryOver", on, what),
            None => {
                let what = "new exchanges are taken again";
                self.events.tell("MemoryRecovered", on, what);
            }
        }
        self.facts.write().memory = what;
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

    /// Waits until every version can answer, or is known not to; says after a
    /// second for which. Of versions that there are when it is asked. Cancel-safe.
    pub async fn settled(&self) {
        let mut left: Vec<Arc<RunningEndpoint>> = self.endpoints.read().values().cloned().collect();
        let begun = Instant::now();
        let mut told = false;
        loop {
            left.retain(|endpoint| !endpoint.versions.iter().all(|one| one.settled()));
            if left.is_empty() {
                return;
            }
            if !told && begun.elapsed() > SETTLE_TOLD {
                told = true;
                let names: Vec<&str> = left.iter().map(|one| one.spec.name.as_str()).collect();
                let names = names.join(", ");
                tracing::info!("versions that start are waited for: {names}");
            }
            tokio::time::sleep(SETTLE_LOOK).await;
        }
    }

    /// Whether the first resources are not in place yet.
    fn starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }

    /// Keeps a plugin that cannot be loaded at start: what binds it says why.
    fn keep_broken(&self, wanted: Wanted, folder: PluginFolder, revision: u64, reason: String) {
        let name = wanted.spec.name.clone();
        self.events
            .tell("Refused", &format!("plugin/{name}"), &reason);
        let record = folder.record().unwrap_or_default();
        let running = RunningPlugin {
            spec: wanted.spec,
            document: wanted.document,
            revision,
            folder,
            record,
            active: Err(reason),
        };
        self.plugins.write().insert(name, Arc::new(running));
    }

    /// Puts an endpoint where administrators and exchanges see it.
    fn publish(&self, running: RunningEndpoint) -> Arc<RunningEndpoint> {
        let running = Arc::new(running);
        let entry = bind::entry(&running);
        let name = running.spec.name.clone();
        self.endpoints.write().insert(name, Arc::clone(&running));
        for version in &running.versions {
            version.is_in(&entry);
        }
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
