//! Requests to hosts that the operator allows. Needs the grant `http`.

pub use crate::bindings::host::tidegate::policy::http::{Error, Incoming, Outgoing};

/// Sends a request and waits for its answer, within the call's deadline.
///
/// # Errors
///
/// Where it may not be sent, or no whole answer came.
pub fn send(request: &Outgoing) -> Result<Incoming, Error> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::http::send(request)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| {
            fake.http
                .get(&request.url)
                .cloned()
                .unwrap_or(Err(Error::Denied))
        })
    }
}
