//! Changes over the admin API, with JSON as their body.
//!
//! Used by the tests that change endpoints and versions while they serve.

use serde_json::Value;

use crate::client::Answer;
use crate::gateway::Gateway;

/// Sends one; `PATCH` is a merge patch, and null is no body.
///
/// # Panics
///
/// Where there is no whole answer.
#[must_use]
pub fn change(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Answer {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let content = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    gateway.admin_raw(method, path, kind, content.as_bytes())
}
