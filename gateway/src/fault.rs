//! Why an exchange got no answer from a model: every fault with its code,
//! status, title and what the caller is told, in one table (SEMANTICS §3).
//!
//! Never formats an HTTP answer (`exchange` does) and never tells a caller an
//! address, a path, a secret or a stack. Used by every layer of an exchange.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::name::Name;

mod advice;

pub use advice::{ADVICE, Advice, advice};

/// What a policy said to a caller it turned away.
#[derive(Debug, Clone, Default)]
pub struct Denial {
    /// The plugin's own code, shown as `policyCode`.
    pub code: Option<String>,
    /// Shown to the caller.
    pub detail: Option<String>,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Headers of the denial that may pass.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Everything that ends an exchange without the model's answer.
///
/// The text of `Display` is for the log; [`Fault::detail`] is for the caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// Not HTTP as we accept it. The text is shown to the caller.
    #[error("{0}")]
    Malformed(&'static str),
    /// No or wrong credential.
    #[error("no policy granted the request")]
    Unauthenticated(Box<Denial>),
    /// A known caller that is not allowed.
    #[error("the caller is not allowed")]
    Forbidden(Box<Denial>),
    /// An auth policy says the caller is over its rate.
    #[error("the caller is over its rate")]
    RateLimited(Box<Denial>),
    /// No such endpoint, pinned version or listed path. The text says which.
    #[error("{0}")]
    NotFound(String),
    /// CONNECT or TRACE.
    #[error("method {0} is not forwarded")]
    MethodNotAllowed(String),
    /// The caller sent no awaited byte of its body for this long.
    #[error("no byte of the body for {0:?}")]
    CallerTimeout(Duration),
    /// The body is over `maxRequestBytes`, which this is.
    #[error("the body is over {0} bytes")]
    BodyTooLarge(u64),
    /// The target is over `limits.targetBytes`, which this is.
    #[error("the target is over {0} bytes")]
    TargetTooLong(u64),
    /// The host belongs to a certificate this connection did not show.
    #[error("the host belongs to another certificate")]
    Misdirected,
    /// The head is over a limit; the text says which.
    #[error("{0}")]
    HeadTooLarge(&'static str),
    /// The caller went away. Log and metrics only.
    #[error("the caller went away")]
    CallerGone,
    /// The gateway's own fault. The text is for the log.
    #[error("{0}")]
    Internal(String),
    /// The replica closed, reset or answered nonsense. The text is for the log.
    #[error("replica failed: {0}")]
    ReplicaFailed(String),
    /// No slot came free in time, or the queue is full.
    #[error("no slot within {waited:?}; {queued} were waiting")]
    Overloaded {
        /// The endpoint.
        endpoint: Name,
        /// How long this one waited.
        waited: Duration,
        /// How many were waiting.
        queued: usize,
        /// When trying again may help, where something knows.
        retry_after: Option<Duration>,
    },
    /// No replica is ready, and none is being started.
    #[error("no ready replica: {reason}")]
    NoReplica {
        /// The endpoint.
        endpoint: Name,
        /// Why, for the log.
        reason: String,
        /// When trying again may help, where something knows.
        retry_after: Option<Duration>,
    },
    /// A policy failed. The text is for the log.
    #[error("policy failed: {0}")]
    PolicyFailed(String),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Draining,
    /// The gateway is at its memory limit.
    #[error("the gateway is at its memory limit")]
    OutOfMemory,
    /// The model did not answer within `scoringTimeout`, which this is.
    #[error("no answer within {0:?}")]
    ScoringTimeout(Duration),
}

/// Who could have prevented a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller.
    Caller,
    /// The replica or its version's configuration.
    Replica,
    /// A policy.
    Policy,
    /// The gateway or its operator.
    Gateway,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The word in answers, log and metrics.
    pub code: &'static str,
    /// The status (499 is never sent).
    pub status: u16,
    /// The title of the problem document.
    pub title: &'static str,
    /// Who could have prevented it.
    pub blame: Blame,
}

/// Every fault's code, in the order of the table; [`Fault::index`] points here.
pub const CODES: [&str; 20] = [
    "malformed",
    "unauthenticated",
    "forbidden",
    "not-found",
    "method-not-allowed",
    "caller-timeout",
    "body-too-large",
    "target-too-long",
    "misdirected",
    "rate-limited",
    "head-too-large",
    "caller-gone",
    "internal",
    "replica-failed",
    "overloaded",
    "no-replica",
    "policy-failed",
    "draining",
    "out-of-memory",
    "scoring-timeout",
];

/// `Retry-After` of a 503 where nothing knows better (SEMANTICS §3).
pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

const fn row(code: &'static str, status: u16, title: &'static str, blame: Blame) -> Row {
    Row {
        code,
        status,
        title,
        blame,
    }
}

impl Fault {
    /// The fault's row. The one table; a new fault does not compile without a row.
    #[must_use]
    pub const fn row(&self) -> Row {
        use Blame::{Caller, Gateway, Policy, Replica};
        match self {
            Self::Malformed(_) => row("malformed", 400, "Malformed request", Caller),
            Self::Unauthenticated(_) => row("unauthenticated", 401, "Unauthenticated", Caller),
            Self::Forbidden(_) => row("forbidden", 403, "Forbidden", Caller),
            Self::NotFound(_) => row("not-found", 404, "Not found", Caller),
            Self::MethodNotAllowed(_) => {
                row("method-not-allowed", 405, "Method not allowed", Caller)
            }
            Self::CallerTimeout(_) => row("caller-timeout", 408, "Request timeout", Caller),
            Self::BodyTooLarge(_) => row("body-too-large", 413, "Body too large", Caller),
            Self::TargetTooLong(_) => row("target-too-long", 414, "Target too long", Caller),
            Self::Misdirected => row("misdirected", 421, "Misdirected request", Caller),
            Self::RateLimited(_) => row("rate-limited", 429, "Too many requests", Caller),
            Self::HeadTooLarge(_) => row("head-too-large", 431, "Head too large", Caller),
            Self::CallerGone => row("caller-gone", 499, "Caller gone", Caller),
            Self::Internal(_) => row("internal", 500, "Internal error", Gateway),
            Self::ReplicaFailed(_) => row("replica-failed", 502, "Replica failed", Replica),
            Self::Overloaded { .. } => row("overloaded", 503, "Overloaded", Replica),
            Self::NoReplica { .. } => row("no-replica", 503, "No ready replica", Replica),
            Self::PolicyFailed(_) => row("policy-failed", 503, "Policy failed", Policy),
            Self::Draining => row("draining", 503, "Draining", Gateway),
            Self::OutOfMemory => row("out-of-memory", 503, "Out of memory", Gateway),
            Self::ScoringTimeout(_) => row("scoring-timeout", 504, "Scoring timeout", Replica),
        }
    }

    /// The word in answers, log and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.row().code
    }

    /// Where the fault stands in [`CODES`].
    #[must_use]
    pub fn index(&self) -> usize {
        let code = self.code();
        CODES
            .iter()
            .position(|known| *known == code)
            .unwrap_or(CODES.len())
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What the caller is told: only what the caller can fix or needs to know.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(what) | Self::HeadTooLarge(what) => (*what).to_owned(),
            Self::Unauthenticated(denial) => said(denial, "No valid credential was presented"),
            Self::Forbidden(denial) => said(denial, "The caller may not do this"),
            Self::RateLimited(denial) => said(denial, "The caller is over its rate"),
            Self::NotFound(what) => what.clone(),
            Self::MethodNotAllowed(method) => format!("Method {method} is not forwarded"),
            Self::CallerTimeout(limit) => {
                format!("No byte of the body came for {} s", limit.as_secs_f64())
            }
            Self::BodyTooLarge(limit) => format!("The body is over {limit} bytes"),
            Self::TargetTooLong(limit) => format!("The target is over {limit} bytes"),
            Self::Misdirected => "The host is not served on this connection".to_owned(),
            Self::CallerGone => "The caller went away".to_owned(),
            Self::Internal(_) => "The gateway failed".to_owned(),
            // The original's words, which clients look for (facts/azure-ml.md §1.4).
            Self::ReplicaFailed(_) => "Replica closed connection before replying".to_owned(),
            Self::Overloaded { endpoint, .. } => {
                format!("Too many requests for service {endpoint} (overloaded)")
            }
            Self::NoReplica { endpoint, .. } => format!("No ready replicas for service {endpoint}"),
            Self::PolicyFailed(_) => "A policy of the endpoint failed".to_owned(),
            Self::Draining => "The gateway is shutting down".to_owned(),
            Self::OutOfMemory => "The gateway is at its memory limit".to_owned(),
            Self::ScoringTimeout(limit) => {
                format!("The model did not answer within {} s", limit.as_secs_f64())
            }
        }
    }

    /// What a policy said, where one did.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Unauthenticated(denial) | Self::Forbidden(denial) | Self::RateLimited(denial) => {
                Some(denial)
            }
            _ => None,
        }
    }

    /// For `Retry-After`: every 503 has one, others where a policy said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } | Self::NoReplica { retry_after, .. } => {
                Some(retry_after.unwrap_or(RETRY_AFTER_DEFAULT))
            }
            Self::RateLimited(denial) => Some(denial.retry_after.unwrap_or(RETRY_AFTER_DEFAULT)),
            _ if self.row().status == 503 => Some(RETRY_AFTER_DEFAULT),
            _ => self.denial().and_then(|denial| denial.retry_after),
        }
    }
}

fn said(denial: &Denial, otherwise: &str) -> String {
    denial
        .detail
        .clone()
        .unwrap_or_else(|| otherwise.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Fault> {
        let iris = Name::parse("iris").unwrap();
        let second = Duration::from_secs(1);
        vec![
            Fault::Malformed("bad"),
            Fault::Unauthenticated(Box::default()),
            Fault::Forbidden(Box::default()),
            Fault::NotFound("no such endpoint".to_owned()),
            Fault::MethodNotAllowed("TRACE".to_owned()),
            Fault::CallerTimeout(second),
            Fault::BodyTooLarge(1),
            Fault::TargetTooLong(1),
            Fault::Misdirected,
            Fault::RateLimited(Box::default()),
            Fault::HeadTooLarge("too many fields"),
            Fault::CallerGone,
            Fault::Internal("x".to_owned()),
            Fault::ReplicaFailed("10.0.0.1 reset".to_owned()),
            Fault::Overloaded {
                endpoint: iris.clone(),
                waited: second,
                queued: 3,
                retry_after: None,
            },
            Fault::NoReplica {
                endpoint: iris,
                reason: "all in back-off".to_owned(),
                retry_after: None,
            },
            Fault::PolicyFailed("trap".to_owned()),
            Fault::Draining,
            Fault::OutOfMemory,
            Fault::ScoringTimeout(second),
        ]
    }

    #[test]
    fn every_fault_stands_in_the_list_of_codes_once_and_in_order() {
        let codes: Vec<_> = one_of_each().iter().map(Fault::code).collect();
        assert_eq!(codes, CODES);
        for (place, fault) in one_of_each().iter().enumerate() {
            assert_eq!(fault.index(), place);
        }
    }

    #[test]
    fn every_fault_is_explained_as_what_it_is() {
        for (fault, advice) in one_of_each().iter().zip(ADVICE) {
            let row = fault.row();
            let said = (advice.code, advice.status, advice.title);
            assert_eq!(said, (row.code, row.status, row.title));
            assert!(advice.when.ends_with('.'), "{}", advice.code);
            let help = [advice.caller, advice.operator].concat();
            assert!(help.ends_with('.'), "{}: nothing to do", advice.code);
        }
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        for fault in one_of_each() {
            if fault.status() == StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(
                    fault.retry_after(),
                    Some(RETRY_AFTER_DEFAULT),
                    "{}",
                    fault.code()
                );
            }
        }
    }

    #[test]
    fn the_caller_never_reads_what_is_for_the_log() {
        assert!(
            !Fault::ReplicaFailed("10.0.0.1".to_owned())
                .detail()
                .contains("10.0")
        );
        assert!(
            !Fault::Internal("/srv/x".to_owned())
                .detail()
                .contains("/srv")
        );
        assert!(
            !Fault::PolicyFailed("wasm trap".to_owned())
                .detail()
                .contains("trap")
        );
    }

    #[test]
    fn the_words_of_the_original_are_kept() {
        let details: Vec<_> = one_of_each().iter().map(Fault::detail).collect();
        assert!(details.contains(&"Too many requests for service iris (overloaded)".to_owned()));
        assert!(details.contains(&"No ready replicas for service iris".to_owned()));
        assert!(details.contains(&"Replica closed connection before replying".to_owned()));
    }
}
