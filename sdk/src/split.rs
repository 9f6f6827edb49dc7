//! The role `split`: which version answers?

pub use crate::bindings::split::exports::tidegate::policy::split::{Candidate, Choice, Role};
pub use crate::{Caller, Request};
use crate::{PluginError, Problems, Settings};

/// A policy that picks the version.
pub trait Split: Sized + 'static {
    /// Makes the policy from the binding's `config`; once per instance.
    ///
    /// # Errors
    ///
    /// Every problem of the settings; the gateway then does not use the policy.
    fn new(settings: Settings<'_>) -> Result<Self, Problems>;

    /// Asked once of a candidate, after `new`, before it may serve.
    ///
    /// # Errors
    ///
    /// Whatever makes it unfit; the candidate is refused with this text.
    fn self_test(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Picks one of `candidates`. `draw` is uniform over all numbers and the only
    /// source of chance, so that a decision can be replayed.
    ///
    /// # Errors
    ///
    /// Where the policy itself cannot decide; the configured weights do then.
    fn choose(
        &self,
        request: Request,
        caller: Option<Caller>,
        draw: u64,
        candidates: Vec<Candidate>,
    ) -> Result<Choice, PluginError>;
}

impl Choice {
    /// This version, no mirrors, no tags.
    #[must_use]
    pub fn of(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            mirrors: Vec::new(),
            tags: Vec::new(),
        }
    }

    /// The same choice with a tag for the log and the collected records.
    #[must_use]
    pub fn with_tag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.tags.push((name.to_owned(), value.into()));
        self
    }
}

impl Candidate {
    /// A candidate for a unit test: a version with a weight in hundredths of a
    /// percent, and one ready replica with one free slot.
    #[must_use]
    pub fn new(version: &str, weight: u32) -> Self {
        Self {
            version: version.to_owned(),
            weight,
            role: Role::None,
            is_default: false,
            replicas_ready: 1,
            slots_free: 1,
            queued: 0,
            latency_ms_p50: 0,
            errors_per_10k: 0,
        }
    }
}
