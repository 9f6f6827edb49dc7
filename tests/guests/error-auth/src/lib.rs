//! A guest of the tests: an auth policy that says it cannot decide.
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Says that it cannot decide.
struct ErrorAuth;

impl Auth for ErrorAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        Err(PluginError::Unavailable("the directory is away".to_owned()))
    }
}

tidegate_sdk::export!(ErrorAuth as auth);
