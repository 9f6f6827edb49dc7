//! The host of all plugins: one engine, one compiler, and every live instance.
//!
//! Never calls a plugin on an exchange's behalf (`call` does) and never changes
//! what is at work: a refused plugin leaves nothing behind. Made once, by
//! `app`; used by `reconcile` and `admin`.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use wasmtime::Engine;

use super::binding::{Loaded, Parts, Policy};
use super::clock::Clock;
use super::compile::Compiler;
use super::engine::{self, INSTANCES_MAX};
use super::inspect::{Inspection, Refusal, inspected};
use super::instance::{NotMade, Plan};
use super::lend::Linkers;
use super::measure::{CallMetrics, Declared};
use super::pool::{REAP_EVERY, Totals};
use super::{BindingSpec, shipped};
use crate::metrics::{self, Metrics};
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
    #[error("the plugin cache {}: {what}", path.display())]
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

/// The host of all plugins.
pub struct Host {
    engine: Engine,
    clock: Arc<Clock>,
    linkers: Linkers,
    compiler: Arc<Compiler>,
    metrics: Arc<Metrics>,
    declared: Declared,
    totals: Arc<Totals>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("instances", &self.totals.live())
            .finish_non_exhaustive()
    }
}

impl Host {
    /// One engine, its clock and its cache.
    ///
    /// # Errors
    ///
    /// [`HostError`] where the engine, the cache or a thread cannot be made.
    pub fn new(options: HostOptions) -> Result<Arc<Self>, HostError> {
        Self::on(engine::engine()?, options)
    }

    /// The same on an engine that is there.
    pub(super) fn on(engine: Engine, options: HostOptions) -> Result<Arc<Self>, HostError> {
        let linkers =
            Linkers::new(&engine).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let declared = Declared::new(Arc::clone(&options.metrics));
        let host = Self {
            compiler: Compiler::new(&engine, &options.cache_dir)?,
            linkers,
            metrics: options.metrics,
            declared,
            totals: Arc::default(),
            clock: Clock::start(&engine)?,
            engine,
        };
        reap(Arc::downgrade(&host.totals))?;
        Ok(Arc::new(host))
    }

    /// A plugin that is carried in the binary: its default resource and its
    /// component.
    #[must_use]
    pub fn shipped(&self, name: &str) -> Option<(Plugin, Bytes)> {
        shipped::shipped(name)
    }

    /// Names of the plugins that are carried in the binary.
    #[must_use]
    pub fn shipped_names(&self) -> &'static [&'static str] {
        &shipped::NAMES
    }

    /// Instances that are live, over all policies.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.totals.live()
    }

    #[cfg(test)]
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Drops instances that have been idle or alive for too long.
    #[cfg(test)]
    pub(super) fn reap(&self, now: Instant) {
        self.totals.reap(now);
    }

    /// Tells what is in a component without compiling it. Reads all of it: a
    /// tenth of a second for the largest.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where it is no component of the contract, or imports what is
    /// not granted.
    pub fn inspect(&self, component: &[u8]) -> Result<Inspection, Refusal> {
        inspected(component)
    }

    /// Inspects, compiles off the path and links.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the reason; nothing is left behind.
    pub async fn load(
        self: &Arc<Self>,
        spec: &Plugin,
        component: Bytes,
    ) -> Result<Arc<Loaded>, Refusal> {
        let (wanted, role) = (spec.digest.clone(), spec.role);
        let fits = move |found: &Inspection| match wanted {
            Some(wanted) if wanted != found.digest => Err(Refusal::OtherDigest {
                found: found.digest.clone(),
                wanted,
            }),
            _ if role != found.role => Err(Refusal::OtherRole {
                found: found.role,
                wanted: role,
            }),
            _ => Ok(()),
        };
        let (inspection, compiled) = self.compiler.compile(component, fits).await?;
        let plan = Plan::new(&self.linkers, &compiled, role)?;
        let own = self.declared.own(spec)?;
        Ok(Loaded::new(Parts {
            digest: inspection.digest,
            engine: self.engine.clone(),
            clock: Arc::clone(&self.clock),
            plan,
            counted: CallMetrics::new(&self.metrics, &spec.name, role),
            own,
            lines_dropped: self.declared.lines_dropped(&spec.name),
            totals: Arc::clone(&self.totals),
            spec: spec.clone(),
        }))
    }

    /// Configures, self-tests and warms one instance per worker.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the reason; nothing is left behind.
    pub async fn bind(
        self: &Arc<Self>,
        loaded: &Arc<Loaded>,
        spec: BindingSpec,
    ) -> Result<Arc<Policy>, Refusal> {
        let policy = Policy::new(loaded, spec);
        // The rest of the room is for what is really called, and thousands of
        // endpoints have the same settings: what one of them showed is not
        // tried again.
        let half = INSTANCES_MAX / 2;
        if self.totals.live() >= half && loaded.accepts(&policy) {
            return Ok(policy);
        }
        let Some(place) = policy.pool.place() else {
            return Err(Refusal::Gateway(format!(
                "all {INSTANCES_MAX} instances are at work"
            )));
        };
        let refused = |not_made| match not_made {
            NotMade::Instance(fault) => Refusal::Instance(fault),
            NotMade::Configure(fault) => Refusal::Configure(fault),
        };
        let mut first = policy.make(place).await.map_err(refused)?;
        first.self_test().await.map_err(Refusal::SelfTest)?;
        loaded.accepted(&policy);
        // Collect is called on the control runtime, which is worker 0.
        let workers = match loaded.spec().role {
            Role::Auth | Role::Split => 1..metrics::cells(),
            Role::Collect => 0..1,
        };
        let mut warm = Some(first);
        for worker in workers {
            let instance = match warm.take() {
                Some(first) => first,
                None if self.totals.live() >= half => break,
                None => match policy.pool.place() {
                    Some(place) => policy.make(place).await.map_err(refused)?,
                    None => break,
                },
            };
            policy.pool.put(worker, instance);
        }
        Ok(policy)
    }
}

/// Starts the thread that drops idle instances; it ends with the host and all
/// its policies.
fn reap(totals: Weak<Totals>) -> Result<(), HostError> {
    std::thread::Builder::new()
        .name("policy-reaper".to_owned())
        .spawn(move || {
            while let Some(totals) = totals.upgrade() {
                totals.reap(Instant::now());
                drop(totals);
                std::thread::sleep(REAP_EVERY);
            }
        })
        .map(drop)
        .map_err(HostError::Thread)
}
