//! A guest of the tests: an auth policy that imports `tidegate:policy/http`, which needs a
//! grant; without it the gateway must refuse it by the import's name.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::http::{self, Outgoing};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Imports what is not granted.
struct ImportAuth;

impl Auth for ImportAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        let outgoing = Outgoing {
            method: "GET".to_owned(),
            url: format!("http://localhost{}", request.path),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: 100,
        };
        match http::send(&outgoing) {
            Ok(_) => Ok(Grant::of(Caller::named("anybody")).into()),
            Err(error) => Err(PluginError::Unavailable(error.to_string())),
        }
    }
}

tidegate_sdk::export!(ImportAuth as auth);
