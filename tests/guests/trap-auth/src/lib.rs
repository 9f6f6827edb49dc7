//! A guest of the tests: an auth policy that traps, without a word.
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Traps.
struct TrapAuth;

impl Auth for TrapAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        std::process::abort();
    }
}

tidegate_sdk::export!(TrapAuth as auth);
