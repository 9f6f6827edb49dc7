//! A guest of the tests: an auth policy that answers what the contract forbids.
//!
//! The setting `lie` says which: `status` (a denial with status 200, the default),
//! `header-value` and `header-name` (CR LF in a header of a denial), `framing` (a
//! denial that sets `content-length` and `connection`).
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use serde::Deserialize;
use tidegate_sdk::auth::{Auth, Decision, Denial, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// The policy and its settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LieAuth {
    #[serde(default)]
    lie: Lie,
}

/// What to lie about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Lie {
    #[default]
    Status,
    HeaderValue,
    HeaderName,
    Framing,
}

impl Auth for LieAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.parse()
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        let denial = Denial::forbidden("lie", "this answer is a lie");
        Ok(Decision::Deny(match self.lie {
            Lie::Status => Denial {
                status: 200,
                ..denial
            },
            Lie::HeaderValue => denial.with_header("x-note", "fine\r\nx-smuggled: yes"),
            Lie::HeaderName => denial.with_header("x-note: fine\r\nx-smuggled", "yes"),
            Lie::Framing => denial
                .with_header("content-length", "0")
                .with_header("connection", "x-note"),
        }))
    }
}

tidegate_sdk::export!(LieAuth as auth);
