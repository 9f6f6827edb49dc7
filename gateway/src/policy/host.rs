//! The host of all plugins: one engine, its caches and its live instances.
//!
//! Never calls a plugin on an exchange's behalf (`call` does). Made once, by
//! `app`; used by `reconcile` and `admin`.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

use super::{
    AuthDecision, BindingSpec, Candidate, Choice, CollectedExchange, Entry, FaultKind, PolicyFault,
    RequestFacts,
};
use crate::id::Digest;
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::name::Name;
use crate::resource::{Plugin, Role};

/// What a host is made of.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Where compiled plugins are kept; made 0700 where it is not there.
    pub cache_dir: PathBuf,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
}

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime cannot run here.
    #[error("the plugin engine cannot be made: {0}")]
    Engine(String),
    /// The cache folder cannot be made ours alone.
    #[error("the plugin cache {path}: {what}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A thread cannot be started.
    #[error("a thread of the plugin host cannot be started: {0}")]
    Thread(std::io::Error),
}

/// What is in a component, told without running it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Its content.
    pub digest: Digest,
    /// What it decides.
    pub role: Role,
    /// What it imports, by full name.
    pub imports: Vec<String>,
    /// Its size.
    pub bytes: u64,
}

/// Why a plugin, or a binding of it, was refused. The text is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Not built yet.
    #[error("{0}")]
    Other(String),
}

/// The host of all plugins.
#[derive(Debug)]
pub struct Host(());

impl Host {
    /// One engine, its ticker and its cache.
    ///
    /// # Errors
    ///
    /// [`HostError`] where the engine, the cache or a thread cannot be made.
    pub fn new(_options: HostOptions) -> Result<Arc<Self>, HostError> {
        Ok(Arc::new(Self(())))
    }

    /// A plugin that is carried in the binary: its default resource and its
    /// component.
    #[must_use]
    pub fn shipped(&self, _name: &str) -> Option<(Plugin, Bytes)> {
        None
    }

    /// Names of the plugins that are carried in the binary.
    #[must_use]
    pub fn shipped_names(&self) -> &'static [&'static str] {
        &["key-auth", "weighted-split", "model-data"]
    }

    /// Tells what is in a component without compiling it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where it is no component of the contract, or imports what is
    /// not granted.
    pub fn inspect(&self, _component: &[u8]) -> Result<Inspection, Refusal> {
        Err(Refusal::Other("not built yet".to_owned()))
    }

    /// Inspects, compiles off the path and links.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the reason; nothing is left behind.
    pub async fn load(
        self: &Arc<Self>,
        _spec: &Plugin,
        _component: Bytes,
    ) -> Result<Arc<Loaded>, Refusal> {
        Err(Refusal::Other("not built yet".to_owned()))
    }

    /// Configures, self-tests and warms one instance per worker.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the reason; nothing is left behind.
    pub async fn bind(
        self: &Arc<Self>,
        _loaded: &Arc<Loaded>,
        _spec: BindingSpec,
    ) -> Result<Arc<Policy>, Refusal> {
        Err(Refusal::Other("not built yet".to_owned()))
    }
}

/// One version of a plugin in memory.
#[derive(Debug)]
pub struct Loaded {
    spec: Plugin,
    digest: Digest,
}

impl Loaded {
    /// Its content.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its resource.
    #[must_use]
    pub fn spec(&self) -> &Plugin {
        &self.spec
    }
}

/// A plugin at work in a binding.
#[derive(Debug)]
pub struct Policy {
    loaded: Arc<Loaded>,
    generation: u64,
    cache_by: Vec<HeaderName>,
}

impl Policy {
    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Name {
        &self.loaded.spec.name
    }

    /// What it decides.
    #[must_use]
    pub fn role(&self) -> Role {
        self.loaded.spec.role
    }

    /// The content that decides.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.loaded.digest
    }

    /// Unlike that of every other policy this process made.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The headers that the plugin is shown.
    #[must_use]
    pub fn headers(&self) -> &[HeaderName] {
        &self.loaded.spec.headers
    }

    /// What a grant is remembered by; empty: all that the policy was shown.
    #[must_use]
    pub fn cache_by(&self) -> &[HeaderName] {
        &self.cache_by
    }

    pub(super) fn count_remembered(&self) {}

    /// Asks who is calling. The record is built before this returns; the
    /// future may outlive its caller. About 2 µs.
    pub fn authenticate(
        self: &Arc<Self>,
        _facts: &RequestFacts<'_>,
        _so_far: Option<&Caller>,
    ) -> impl Future<Output = Result<AuthDecision, PolicyFault>> + Send + use<> {
        std::future::ready(Err(unbuilt()))
    }

    /// Asks which version answers; the answer is checked.
    pub fn choose(
        self: &Arc<Self>,
        _facts: &RequestFacts<'_>,
        _caller: Option<&Caller>,
        _draw: u64,
        _candidates: Vec<Candidate>,
    ) -> impl Future<Output = Result<Choice, PolicyFault>> + Send + use<> {
        std::future::ready(Err(unbuilt()))
    }

    /// Asks what is kept of a batch; bodies are copied.
    pub fn collect(
        self: &Arc<Self>,
        _batch: &[CollectedExchange],
        _entries: Vec<Entry>,
    ) -> impl Future<Output = Result<Vec<Entry>, PolicyFault>> + Send + use<> {
        std::future::ready(Err(unbuilt()))
    }
}

fn unbuilt() -> PolicyFault {
    PolicyFault {
        kind: FaultKind::Error,
        detail: "not built yet".to_owned(),
    }
}
