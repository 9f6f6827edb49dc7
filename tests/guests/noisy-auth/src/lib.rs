//! A guest of the tests: an auth policy that logs 100 lines of 6 KB a call and counts in a
//! metric that nobody declared, and lets everybody in.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};
use tidegate_sdk::{log, metrics};

/// Logs and counts without measure.
struct NoisyAuth;

impl Auth for NoisyAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, _: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        let line = "noise ".repeat(1_000);
        for _ in 0..100 {
            log::info(&line);
        }
        metrics::increment("undeclared", &[("path", "x")]);
        Ok(Grant::of(Caller::named("anybody")).into())
    }
}

tidegate_sdk::export!(NoisyAuth as auth);
