//! The role `auth`: who is calling, and may they?

pub use crate::bindings::auth::exports::tidegate::policy::auth::{Decision, Denial, Grant};
pub use crate::{Caller, Request};
use crate::{Header, PluginError, Problems, Settings};

/// A policy that says who is calling.
pub trait Auth: Sized + 'static {
    /// Makes the policy from the binding's `config`; once per instance.
    ///
    /// # Errors
    ///
    /// Every problem of the settings; the gateway then does not use the policy.
    fn new(settings: Settings<'_>) -> Result<Self, Problems>;

    /// Asked once of a candidate, after `new`, before it may serve.
    ///
    /// # Errors
    ///
    /// Whatever makes it unfit; the candidate is refused with this text.
    fn self_test(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Decides about one request. `so_far` is the caller that the policy before
    /// this one named.
    ///
    /// # Errors
    ///
    /// Where the policy itself cannot decide; the caller gets 503, never 401.
    fn authenticate(
        &self,
        request: Request,
        so_far: Option<Caller>,
    ) -> Result<Decision, PluginError>;
}

impl Grant {
    /// Lets this caller in, and is asked again the next time.
    #[must_use]
    pub fn of(caller: Caller) -> Self {
        Self {
            caller,
            cache_ms: 0,
        }
    }

    /// The same, and the gateway may remember it for so long (at most 60 s).
    #[must_use]
    pub fn remembered(mut self, milliseconds: u32) -> Self {
        self.cache_ms = milliseconds;
        self
    }
}

impl Denial {
    /// 401: no credential, or a wrong one. `code` is for programs, `detail` is
    /// shown to the caller.
    #[must_use]
    pub fn unauthenticated(code: &str, detail: impl Into<String>) -> Self {
        Self::new(401, code, detail.into())
    }

    /// 403: known, but not allowed.
    #[must_use]
    pub fn forbidden(code: &str, detail: impl Into<String>) -> Self {
        Self::new(403, code, detail.into())
    }

    /// 429: over its rate; the answer's `Retry-After` is this wait.
    #[must_use]
    pub fn rate_limited(code: &str, detail: impl Into<String>, retry_after_ms: u32) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(429, code, detail.into())
        }
    }

    /// The same denial with one header more on its answer.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    fn new(status: u16, code: &str, detail: String) -> Self {
        Self {
            status,
            code: code.to_owned(),
            detail,
            retry_after_ms: None,
            headers: Vec::new(),
        }
    }
}

impl From<Grant> for Decision {
    fn from(grant: Grant) -> Self {
        Self::Allow(grant)
    }
}

impl From<Denial> for Decision {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}
