//! A guest of the tests: a split policy that computes without end.

use tidegate_sdk::split::{Candidate, Choice, Split};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Computes without end.
struct SpinSplit;

impl Split for SpinSplit {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn choose(
        &self,
        _: Request,
        _: Option<Caller>,
        draw: u64,
        _: Vec<Candidate>,
    ) -> Result<Choice, PluginError> {
        loop {
            core::hint::black_box(draw);
        }
    }
}

tidegate_sdk::export!(SpinSplit as split);
