//! One instance of a plugin: made, configured, called within limits, and worn
//! out.
//!
//! Never shared: whoever has it owns it. After a trap, or a call that was
//! dropped, it must not be called again; its owner drops it. Used by `pool`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use wasmtime::component::Component;
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::answer::cut;
use super::binding::Loaded;
use super::clock::Hold;
use super::contract::{auth, collect, split, types};
use super::guest::{Guest, Over};
use super::lend::{Lent, Linkers};
use super::pool::Counted;
use super::{FaultKind, PolicyFault, Refusal};
use crate::resource::{PluginLimits, Role};

/// `configure`, and making the instance: start functions count too.
const CONFIGURE_MAX: Duration = Duration::from_secs(2);
/// `self-test`.
const SELF_TEST_MAX: Duration = Duration::from_secs(1);
/// Bytes the host takes out of a guest at once; wasmtime's default is 128 MiB.
const HOST_CALL_BYTES: usize = 1 << 20;
/// The same for collect: each body of the largest batch twice, which is 4 MiB,
/// and what goes with them (decision 0002).
const HOST_CALL_BYTES_COLLECT: usize = 5 << 20;
/// Calls of an instance, ± 20 %, so that not all of them go at once.
const CALLS_MAX: u64 = 100_000;
/// Age of an instance, ± 20 %.
const AGE_SECONDS_MAX: u64 = 600;
/// Memory it may gain after it was made, where doubling is less.
const GROWTH_BYTES: usize = 16 << 20;

/// What instances of one version are made of: linked and type-checked.
pub(super) enum Plan {
    Auth(auth::AuthPolicyPre<Guest>),
    Split(split::SplitPolicyPre<Guest>),
    Collect(collect::CollectPolicyPre<Guest>),
}

impl Plan {
    /// Links a compiled component to what its role may use.
    pub(super) fn new(
        linkers: &Linkers,
        component: &Component,
        role: Role,
    ) -> Result<Self, Refusal> {
        let refused = |error: wasmtime::Error| Refusal::Link(format!("{error:#}"));
        match role {
            Role::Auth => linkers
                .auth
                .instantiate_pre(component)
                .and_then(auth::AuthPolicyPre::new)
                .map(Self::Auth),
            Role::Split => linkers
                .split
                .instantiate_pre(component)
                .and_then(split::SplitPolicyPre::new)
                .map(Self::Split),
            Role::Collect => linkers
                .collect
                .instantiate_pre(component)
                .and_then(collect::CollectPolicyPre::new)
                .map(Self::Collect),
        }
        .map_err(refused)
    }

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Auth(plan) => Exports::Auth(plan.instantiate_async(store).await?),
            Self::Split(plan) => Exports::Split(plan.instantiate_async(store).await?),
            Self::Collect(plan) => Exports::Collect(plan.instantiate_async(store).await?),
        })
    }
}

/// What an instance can be asked.
pub(super) enum Exports {
    Auth(auth::AuthPolicy),
    Split(split::SplitPolicy),
    Collect(collect::CollectPolicy),
}

/// Why no instance could be made.
pub(super) enum NotMade {
    /// It does not start.
    Instance(PolicyFault),
    /// It does not accept its settings.
    Configure(PolicyFault),
}

impl NotMade {
    pub(super) fn fault(self) -> PolicyFault {
        match self {
            Self::Instance(fault) | Self::Configure(fault) => fault,
        }
    }
}

/// One instance.
pub(super) struct Instance {
    pub(super) store: Store<Guest>,
    pub(super) exports: Exports,
    /// When it was last put back.
    pub(super) idle_since: Instant,
    ends: Instant,
    calls_left: u64,
    memory_max: usize,
    _counted: Counted,
    /// Taken in a call.
    hold: Hold,
}

impl Instance {
    /// Instantiates and configures: 12 to 50 µs for a plugin in Rust.
    pub(super) async fn make(
        loaded: &Loaded,
        lent: Arc<Lent>,
        settings: &str,
        counted: Counted,
    ) -> Result<Self, NotMade> {
        let mut hold = Hold::new(&loaded.clock);
        hold.take();
        let guest = Guest::new(lent, loaded.spec().limits.memory);
        let mut store = Store::new(&loaded.engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(match loaded.plan {
            Plan::Auth(_) | Plan::Split(_) => HOST_CALL_BYTES,
            Plan::Collect(_) => HOST_CALL_BYTES_COLLECT,
        });
        store.epoch_deadline_callback(|mut context| {
            Ok(context.data_mut().budget.meet_tick(Instant::now()))
        });
        let now = Instant::now();
        begin(&mut store, CONFIGURE_MAX, now + CONFIGURE_MAX);
        let exports = match loaded.plan.instantiate(&mut store).await {
            Ok(exports) => exports,
            Err(error) => return Err(NotMade::Instance(fault(&error, store.data()))),
        };
        let mut instance = Self {
            store,
            exports,
            idle_since: now,
            ends: now + jittered(AGE_SECONDS_MAX * 1000, Duration::from_millis),
            calls_left: jittered(CALLS_MAX, |calls| calls),
            memory_max: usize::MAX,
            _counted: counted,
            hold,
        };
        let configured = instance.configure(settings).await;
        instance.hold.give();
        instance.settle(configured).map_err(NotMade::Configure)?;
        let used = instance.store.data().memory.used;
        instance.memory_max = used
            .saturating_mul(2)
            .max(used.saturating_add(GROWTH_BYTES));
        Ok(instance)
    }

    async fn configure(
        &mut self,
        settings: &str,
    ) -> wasmtime::Result<Result<(), types::PluginError>> {
        let store = &mut self.store;
        match &self.exports {
            Exports::Auth(it) => {
                it.tidegate_policy_lifecycle()
                    .call_configure(store, settings)
                    .await
            }
            Exports::Split(it) => {
                it.tidegate_policy_lifecycle()
                    .call_configure(store, settings)
                    .await
            }
            Exports::Collect(it) => {
                it.tidegate_policy_lifecycle()
                    .call_configure(store, settings)
                    .await
            }
        }
    }

    /// Runs the plugin's own test.
    pub(super) async fn self_test(&mut self) -> Result<(), PolicyFault> {
        self.hold.take();
        begin(
            &mut self.store,
            SELF_TEST_MAX,
            Instant::now() + SELF_TEST_MAX,
        );
        let store = &mut self.store;
        let tested = match &self.exports {
            Exports::Auth(it) => it.tidegate_policy_lifecycle().call_self_test(store).await,
            Exports::Split(it) => it.tidegate_policy_lifecycle().call_self_test(store).await,
            Exports::Collect(it) => it.tidegate_policy_lifecycle().call_self_test(store).await,
        };
        self.hold.give();
        self.settle(tested)
    }

    /// Before a call.
    pub(super) fn begin(&mut self, limits: &PluginLimits, now: Instant) {
        self.hold.take();
        self.calls_left = self.calls_left.saturating_sub(1);
        begin(&mut self.store, limits.cpu, now + limits.timeout);
    }

    /// After a call.
    pub(super) fn end(&mut self) {
        self.hold.give();
    }

    /// What came of a call, with its failures told apart.
    pub(super) fn settle<T>(
        &self,
        called: wasmtime::Result<Result<T, types::PluginError>>,
    ) -> Result<T, PolicyFault> {
        match called {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(said(error)),
            Err(error) => Err(fault(&error, self.store.data())),
        }
    }

    /// Whether it has served long enough.
    pub(super) fn worn(&self, now: Instant) -> bool {
        self.calls_left == 0 || now >= self.ends || self.store.data().memory.used > self.memory_max
    }
}

fn begin(store: &mut Store<Guest>, cpu: Duration, until: Instant) {
    store.data_mut().begin(cpu, until);
    // Absolute: before every call. The first tick is met within a millisecond.
    store.set_epoch_deadline(1);
}

/// `most` ± 20 %, not the same for two instances in a row.
fn jittered<T>(most: u64, unit: impl Fn(u64) -> T) -> T {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Multiples of the golden ratio spread evenly.
    let number = NUMBER
        .fetch_add(1, Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        >> 32;
    unit(most * 4 / 5 + (((most * 2 / 5) * number) >> 32))
}

/// The plugin says itself that it could not decide.
fn said(error: types::PluginError) -> PolicyFault {
    let (word, text) = match error {
        types::PluginError::Misconfigured(text) => ("misconfigured", text),
        types::PluginError::Unavailable(text) => ("unavailable", text),
        types::PluginError::Internal(text) => ("internal", text),
    };
    PolicyFault {
        kind: FaultKind::Error,
        detail: format!("{word}: {}", cut(&text)),
    }
}

/// Why wasmtime ended a call.
fn fault(error: &wasmtime::Error, guest: &Guest) -> PolicyFault {
    let trap = || {
        let root = error.root_cause().to_string();
        match &guest.last_error {
            Some(said) => format!("{} ({root})", cut(said)),
            None => cut(&root),
        }
    };
    let (kind, detail) = match guest.budget.over {
        Some(Over::Cpu) => (FaultKind::Timeout, "over its CPU time".to_owned()),
        Some(Over::Wall) => (FaultKind::Timeout, "over its wall time".to_owned()),
        None if guest.memory.refused => {
            let limit = guest.memory.limit();
            let detail = format!("refused memory past {limit} bytes: {}", trap());
            (FaultKind::Memory, detail)
        }
        None if error.is::<PoolConcurrencyLimitError>() => {
            (FaultKind::Overload, "no place for an instance".to_owned())
        }
        None => (FaultKind::Trap, trap()),
    };
    // The way there, for the plugin's author: once for each that is unlike the others.
    let Lent {
        plugin, endpoint, ..
    } = &*guest.lent;
    if guest.lent.unlike_before(kind, &detail) {
        // Not `{:?}`: where RUST_BACKTRACE is set that resolves the host's own frames, 80 MB of debug info.
        tracing::warn!(%plugin, %endpoint, kind = kind.as_str(), detail, error = format!("{error:#}"), "a plugin failed");
    } else {
        tracing::debug!(%plugin, %endpoint, kind = kind.as_str(), detail, "a plugin failed as before");
    }
    PolicyFault { kind, detail }
}
