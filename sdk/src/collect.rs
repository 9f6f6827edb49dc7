//! The role `collect`: what is kept of the exchanges?

pub use crate::bindings::collect::exports::tidegate::policy::collect::{
    Body, Designation, Entry, Exchange, Outcome,
};
use crate::types::find;
pub use crate::{Caller, Request};
use crate::{Header, PluginError, Problems, Settings};

/// A policy that turns exchanges into entries.
pub trait Collect: Sized + 'static {
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

    /// Turns a batch into entries. `entries` is what the policy before this one
    /// made of it (for the first: feedback); the answer is what goes on, so a
    /// policy that only adds must hand `entries` back too.
    ///
    /// # Errors
    ///
    /// Where the policy itself cannot do it; the whole batch is dropped and
    /// counted.
    fn collect(&self, batch: Vec<Exchange>, entries: Vec<Entry>)
    -> Result<Vec<Entry>, PluginError>;
}

impl Exchange {
    /// A header of the request, of those that the Plugin resource lists.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<&[u8]> {
        find(&self.request.headers, name)
    }

    /// A header of the answer, of those that the Plugin resource lists.
    #[must_use]
    pub fn response_header(&self, name: &str) -> Option<&[u8]> {
        find(&self.response_headers, name)
    }

    /// An exchange for a unit test: answered with 200 by `version`, no bodies.
    #[must_use]
    pub fn answered(request: Request, version: &str) -> Self {
        Self {
            request,
            caller: None,
            version: version.to_owned(),
            started_ms: 0,
            first_byte_us: Some(0),
            total_us: 0,
            status: 200,
            outcome: Outcome::Answered,
            fault_code: None,
            request_bytes: 0,
            response_bytes: 0,
            response_headers: Vec::new(),
            request_body: None,
            response_body: None,
            tags: Vec::new(),
        }
    }

    /// The same exchange with a whole request body.
    #[must_use]
    pub fn with_request_body(mut self, data: impl AsRef<[u8]>) -> Self {
        self.request_body = Some(Body::whole(data));
        self
    }

    /// The same exchange with a whole answer, and its content type.
    #[must_use]
    pub fn with_response_body(mut self, content_type: &str, data: impl AsRef<[u8]>) -> Self {
        self.response_headers
            .push(Header::new("content-type", content_type));
        self.response_body = Some(Body::whole(data));
        self
    }
}

impl Body {
    /// A body that was not cut.
    #[must_use]
    pub fn whole(data: impl AsRef<[u8]>) -> Self {
        Self {
            data: data.as_ref().to_vec(),
            complete: true,
        }
    }
}
