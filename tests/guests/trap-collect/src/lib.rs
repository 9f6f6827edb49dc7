//! A guest of the tests: a collect policy that traps, without a word.

use tidegate_sdk::collect::{Collect, Entry, Exchange};
use tidegate_sdk::{PluginError, Problems, Settings};

/// Traps.
struct TrapCollect;

impl Collect for TrapCollect {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn collect(&self, _: Vec<Exchange>, _: Vec<Entry>) -> Result<Vec<Entry>, PluginError> {
        std::process::abort();
    }
}

tidegate_sdk::export!(TrapCollect as collect);
