//! Who of an endpoint's callers goes where, after its check: what keeps a
//! caller with its version.
//!
//! Types only; `check` makes them.

use http::HeaderName;

/// `spec.split.sticky`: whose draw is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// Requests with the same values of this header.
    Header(HeaderName),
    /// Requests with the same value of this cookie.
    Cookie(String),
    /// Requests of the same caller, as the auth policies named it.
    Caller,
}
