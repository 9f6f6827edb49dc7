//! A guest of the tests: an auth policy that recurses without end.
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Recurses without end.
struct RecurseAuth;

impl Auth for RecurseAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        Err(PluginError::Internal(deeper(1).to_string()))
    }
}

tidegate_sdk::export!(RecurseAuth as auth);

/// Never comes back; the additions after the call keep it from being a loop.
fn deeper(depth: u64) -> u64 {
    if core::hint::black_box(depth) == 0 {
        return 0;
    }
    core::hint::black_box(deeper(depth + 1)) + depth
}
