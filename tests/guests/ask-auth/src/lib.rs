//! A guest of the tests: an auth policy that asks for what the gateway does not
//! have yet, and denies with what it was told.

use tidegate_sdk::auth::{Auth, Decision, Denial};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings, counters, crypto, tokens};

/// The policy; it has no settings.
#[derive(Debug)]
struct AskAuth;

impl Auth for AskAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(
        &self,
        _request: Request,
        _so_far: Option<Caller>,
    ) -> Result<Decision, PluginError> {
        let told = format!(
            "token: {:?}, limiter: {}, taken: {:?}, hmac: {:?}",
            tokens::verify("a.b.c", None).map(|verified| verified.issuer),
            counters::known("per-caller"),
            counters::take("per-caller", "ann", 1).map(|verdict| verdict.allowed),
            crypto::hmac_sha256("secret", b"data"),
        );
        Ok(Denial::forbidden("asked", told).into())
    }
}

tidegate_sdk::export!(AskAuth as auth);
