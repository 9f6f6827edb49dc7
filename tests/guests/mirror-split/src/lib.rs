//! A guest of the tests: a split policy that names mirrors.
//!
//! The first candidate answers; every other one gets a copy. It does nothing that
//! the contract forbids, which is why the copies must be made.

use tidegate_sdk::split::{Candidate, Choice, Split};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// The policy.
struct MirrorSplit;

impl Split for MirrorSplit {
    fn new(_: Settings<'_>) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn choose(
        &self,
        _: Request,
        _: Option<Caller>,
        _: u64,
        candidates: Vec<Candidate>,
    ) -> Result<Choice, PluginError> {
        let mut names = candidates.into_iter().map(|one| one.version);
        let version = names.next().unwrap_or_default();
        Ok(Choice {
            mirrors: names.collect(),
            ..Choice::of(version)
        })
    }
}

tidegate_sdk::export!(MirrorSplit as split);
