//! Who of an endpoint's callers goes where, after its check: what keeps a
//! caller with its version, and which version gets copies.
//!
//! Types only; `check` makes them.

use http::HeaderName;

use crate::name::Name;
use crate::units::Percent;

/// `spec.mirror`: a share of the exchanges is also sent to one more version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The version that gets the copies; one of the endpoint's.
    pub version: Name,
    /// The share of the exchanges that others answer.
    pub percent: Percent,
    /// Whether the bodies of the answers are compared.
    pub compare_body: bool,
}

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
