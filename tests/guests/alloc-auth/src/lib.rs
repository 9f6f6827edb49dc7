//! A guest of the tests: an auth policy that allocates without end.
//!
//! It touches little of what it gets, so that memory ends before its CPU time.
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Allocates without end.
struct AllocAuth;

impl Auth for AllocAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        let mut hoard = Vec::new();
        loop {
            hoard.push(Vec::<u8>::with_capacity(1 << 20));
            core::hint::black_box(&hoard);
        }
    }
}

tidegate_sdk::export!(AllocAuth as auth);
