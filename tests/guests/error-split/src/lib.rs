//! A guest of the tests: a split policy that says it cannot decide.

use tidegate_sdk::split::{Candidate, Choice, Split};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Says that it cannot decide.
struct ErrorSplit;

impl Split for ErrorSplit {
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
        Err(PluginError::Unavailable("no opinion".to_owned()))
    }
}

tidegate_sdk::export!(ErrorSplit as split);
