//! A guest of the tests: an auth policy that lets everybody in.
//!
//! The caller is named by the header `x-user`, else by the setting `user`, else
//! by the caller so far, else `anybody`; the tenant is the header `x-tenant`. The
//! setting `cacheMs` says how long it may be remembered, the setting `work` how
//! many million additions it does first. A request with the query `deny` gets 403 with the header `x-denied`, one with `slow-down` gets 429, one
//! with `pass` is passed on.

use serde::Deserialize;
use tidegate_sdk::auth::{Auth, Decision, Denial, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// The policy and its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct EchoAuth {
    user: Option<String>,
    cache_ms: u32,
    work: u64,
}

impl Auth for EchoAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.parse()
    }

    fn authenticate(
        &self,
        request: Request,
        so_far: Option<Caller>,
    ) -> Result<Decision, PluginError> {
        for number in 0..self.work * 1_000_000 {
            core::hint::black_box(number);
        }
        match request.query.as_deref() {
            Some("pass") => return Ok(Decision::Pass),
            Some("deny") => {
                let denial = Denial::forbidden("echo-denied", "denied on request");
                return Ok(denial.with_header("x-denied", "yes").into());
            }
            Some("slow-down") => {
                return Ok(Denial::rate_limited("echo-rate", "too fast", 1_500).into());
            }
            _ => {}
        }
        let subject = request
            .header_str("x-user")
            .map(str::to_owned)
            .or_else(|| self.user.clone())
            .or_else(|| so_far.map(|caller| caller.subject))
            .unwrap_or_else(|| "anybody".to_owned());
        let tenant = request
            .header_str("x-tenant")
            .unwrap_or_default()
            .to_owned();
        let caller = Caller {
            tenant,
            ..Caller::named(subject)
        };
        Ok(Grant::of(caller).remembered(self.cache_ms).into())
    }
}

tidegate_sdk::export!(EchoAuth as auth);
