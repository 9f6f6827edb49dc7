//! A guest of the tests: a split policy that traps, without a word.

use tidegate_sdk::split::{Candidate, Choice, Split};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Traps.
struct TrapSplit;

impl Split for TrapSplit {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn choose(
        &self,
        _: Request,
        _: Option<Caller>,
        _: u64,
        _: Vec<Candidate>,
    ) -> Result<Choice, PluginError> {
        std::process::abort();
    }
}

tidegate_sdk::export!(TrapSplit as split);
