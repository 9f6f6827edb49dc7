//! A guest of the tests: an auth policy that keeps 1 MiB of every call, and lets everybody
//! in; its instances must be replaced before they reach their limit.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// Keeps 1 MiB of every call.
struct LeakAuth;

impl Auth for LeakAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, _: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        let kept = vec![1_u8; 1 << 20].leak();
        Ok(Grant::of(Caller::named(format!("caller-{}", kept.len()))).into())
    }
}

tidegate_sdk::export!(LeakAuth as auth);
