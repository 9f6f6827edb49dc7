//! A guest of the tests: an auth policy that fails its own test, so that it is refused.

use tidegate_sdk::auth::{Auth, Decision};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Fails its self-test.
struct FailSelftest;

impl Auth for FailSelftest {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn self_test(&self) -> Result<(), PluginError> {
        Err(PluginError::Internal("failed on purpose".to_owned()))
    }

    fn authenticate(&self, _: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        Ok(Decision::Pass)
    }
}

tidegate_sdk::export!(FailSelftest as auth);
