//! A guest of the tests: an auth policy that panics; the message must reach the log.
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Panics.
struct PanicAuth;

impl Auth for PanicAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        #[expect(clippy::panic, reason = "what this guest is for")]
        {
            panic!("panicked on purpose at {}", request.path);
        }
    }
}

tidegate_sdk::export!(PanicAuth as auth);
