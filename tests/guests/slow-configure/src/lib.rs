//! A guest of the tests: an auth policy whose `configure` never ends.

use tidegate_sdk::auth::{Auth, Decision};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Never ends configuring.
struct SlowConfigure;

impl Auth for SlowConfigure {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        loop {
            core::hint::black_box(settings);
        }
    }

    fn authenticate(&self, _: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        Ok(Decision::Pass)
    }
}

tidegate_sdk::export!(SlowConfigure as auth);
