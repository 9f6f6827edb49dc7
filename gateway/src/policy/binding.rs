//! A version of a plugin in memory, and a plugin at work in a binding.
//!
//! Neither is ever referred to by what it owns, so that the last call of an old
//! version frees it: `tidegate_plugin_versions_live` counts them. Made by
//! `host`; held by the table and by calls.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use http::HeaderName;
use parking_lot::Mutex;
use wasmtime::Engine;

use super::BindingSpec;
use super::clock::Clock;
use super::gate::Gate;
use super::instance::Plan;
use super::lend::{Lent, Warned};
use super::measure::{CallMetrics, OwnMetrics};
use super::pool::{Pool, Totals};
use crate::id::Digest;
use crate::metrics::{self, Counter};
use crate::name::Name;
use crate::resource::{Plugin, Role};

/// Calls of one plugin that compute at once on a worker (DESIGN §6): a plugin
/// that spins takes turns of a millisecond from everything on it.
const COMPUTING_MAX: usize = 2;

/// Different settings of a plugin that are remembered as accepted; those past
/// them are tried in each binding.
const ACCEPTED_MAX: usize = 256;

/// One version of a plugin in memory.
pub struct Loaded {
    spec: Plugin,
    digest: Digest,
    pub(super) engine: Engine,
    pub(super) clock: Arc<Clock>,
    pub(super) plan: Plan,
    pub(super) counted: CallMetrics,
    turns: Box<[Gate]>,
    own: Arc<OwnMetrics>,
    lines_dropped: Arc<Counter>,
    warned: Arc<Warned>,
    totals: Arc<Totals>,
    /// Settings that it took.
    accepted: Mutex<HashSet<String>>,
}

/// What [`Loaded::new`] is made of.
pub(super) struct Parts {
    pub(super) spec: Plugin,
    pub(super) digest: Digest,
    pub(super) engine: Engine,
    pub(super) clock: Arc<Clock>,
    pub(super) plan: Plan,
    pub(super) counted: CallMetrics,
    pub(super) own: OwnMetrics,
    pub(super) lines_dropped: Arc<Counter>,
    pub(super) totals: Arc<Totals>,
}

impl Loaded {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        parts.counted.versions.add(1);
        Arc::new(Self {
            spec: parts.spec,
            digest: parts.digest,
            engine: parts.engine,
            clock: parts.clock,
            plan: parts.plan,
            counted: parts.counted,
            turns: (0..metrics::cells())
                .map(|_| Gate::new(COMPUTING_MAX))
                .collect(),
            own: Arc::new(parts.own),
            lines_dropped: parts.lines_dropped,
            warned: Arc::default(),
            totals: parts.totals,
            accepted: Mutex::default(),
        })
    }

    /// Whether it was configured with the settings of `policy` before.
    pub(super) fn accepts(&self, policy: &Policy) -> bool {
        self.accepted.lock().contains(&policy.settings)
    }

    /// It was configured with the settings of `policy`.
    pub(super) fn accepted(&self, policy: &Policy) {
        let mut accepted = self.accepted.lock();
        if accepted.len() < ACCEPTED_MAX {
            accepted.insert(policy.settings.clone());
        }
    }

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

    /// The turns of one worker.
    pub(super) fn turns(&self, worker: usize) -> &Gate {
        static NONE: std::sync::LazyLock<Gate> = std::sync::LazyLock::new(|| Gate::new(0));
        self.turns
            .get(worker)
            .or_else(|| self.turns.first())
            .unwrap_or(&NONE)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.counted.versions.add(-1);
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({} {})", self.spec.name, self.digest)
    }
}

/// A plugin at work in a binding.
pub struct Policy {
    pub(super) loaded: Arc<Loaded>,
    pub(super) lent: Arc<Lent>,
    pub(super) pool: Pool,
    /// The binding's `config`, as JSON.
    pub(super) settings: String,
    generation: u64,
    cache_by: Vec<HeaderName>,
}

impl Policy {
    pub(super) fn new(loaded: &Arc<Loaded>, spec: BindingSpec) -> Arc<Self> {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let settings = match spec.binding.config {
            serde_json::Value::Null => "{}".to_owned(),
            config => config.to_string(),
        };
        let lent = Lent {
            plugin: loaded.spec.name.clone(),
            endpoint: spec.endpoint,
            keys: spec.keys,
            own: Arc::clone(&loaded.own),
            lines_dropped: Arc::clone(&loaded.lines_dropped),
            warned: Arc::clone(&loaded.warned),
            told: Mutex::default(),
        };
        let instances = usize::try_from(loaded.spec.limits.instances.get()).unwrap_or(usize::MAX);
        let gauge = Arc::clone(&loaded.counted.instances);
        Arc::new_cyclic(|policy| Self {
            loaded: Arc::clone(loaded),
            lent: Arc::new(lent),
            pool: Pool::new(
                instances,
                gauge,
                Arc::clone(&loaded.totals),
                Weak::clone(policy),
            ),
            settings,
            generation: GENERATION.fetch_add(1, Relaxed),
            cache_by: spec.binding.cache_by,
        })
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Name {
        &self.loaded.spec.name
    }

    /// What it is made of; the same for as long as nothing of the plugin changed.
    #[must_use]
    pub fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// The endpoint it decides for.
    #[must_use]
    pub fn endpoint(&self) -> &Name {
        &self.lent.endpoint
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

    /// Unlike that of every other policy this process made, so that whatever is
    /// remembered of a policy ends with it.
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

    pub(super) fn count_remembered(&self) {
        self.loaded.counted.remembered.inc();
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Policy({} in {}, {})",
            self.lent.plugin, self.lent.endpoint, self.loaded.digest
        )
    }
}
