//! A guest of the tests: an auth policy whose `configure` never ends, or takes as
//! many rounds as its settings say.

use tidegate_sdk::auth::{Auth, Decision};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Never ends configuring.
struct SlowConfigure;

impl Auth for SlowConfigure {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        let digits: String = settings
            .json()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let rounds = digits.parse().unwrap_or(u64::MAX);
        for round in 0..rounds {
            core::hint::black_box(round);
        }
        Ok(Self)
    }

    fn authenticate(&self, _: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        Ok(Decision::Pass)
    }
}

tidegate_sdk::export!(SlowConfigure as auth);
