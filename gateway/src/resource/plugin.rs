//! `kind: Plugin` after its check.
//!
//! Only `check` makes these. Used by `policy` and `reconcile`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::id::Digest;
use crate::name::Name;

/// What a plugin decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Who may call.
    Auth,
    /// Which version answers.
    Split,
    /// What is kept.
    Collect,
}

impl Role {
    /// The word in configuration, log and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Split => "split",
            Self::Collect => "collect",
        }
    }
}

/// `kind: Plugin`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// Its name.
    pub name: Name,
    /// What it decides.
    pub role: Role,
    /// Where its first version comes from.
    pub source: PluginSource,
    /// Pinned content; none: any.
    pub digest: Option<Digest>,
    /// The headers it may see, in lower case.
    pub headers: Vec<HeaderName>,
    /// Its own metrics.
    pub metrics: Vec<PluginMetric>,
    /// What it may use.
    pub limits: PluginLimits,
}

/// Where a plugin's first version comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSource {
    /// A file of the machine.
    File(PathBuf),
    /// Carried in the binary.
    Shipped(Name),
}

/// A metric that a plugin declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginMetric {
    /// Its name, without prefix.
    pub name: String,
    /// What it is.
    pub kind: PluginMetricKind,
    /// Each label with the values it may have.
    pub labels: BTreeMap<String, Vec<String>>,
}

/// What a plugin's metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginMetricKind {
    /// Only grows.
    Counter,
    /// Observed values.
    Histogram,
}

/// `spec.limits` of a Plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLimits {
    /// CPU time of a call (collect: of a batch), waits on the host excluded.
    pub cpu: Duration,
    /// Wall time of a call (collect: of a batch).
    pub timeout: Duration,
    /// Bytes of one instance, summed over its memories.
    pub memory: u64,
    /// Instances per binding.
    pub instances: NonZeroU32,
}

impl PluginLimits {
    /// The defaults of a role (DESIGN §6).
    #[must_use]
    pub fn of(role: Role) -> Self {
        let (cpu, timeout) = match role {
            Role::Auth | Role::Split => (5, 50),
            Role::Collect => (50, 1000),
        };
        Self {
            cpu: Duration::from_millis(cpu),
            timeout: Duration::from_millis(timeout),
            memory: 32 << 20,
            instances: NonZeroU32::new(64).unwrap_or(NonZeroU32::MIN),
        }
    }
}
