//! Signed tokens, verified by the gateway. Role `auth` only.

pub use crate::bindings::host::tidegate::policy::tokens::{Error, Verified};

/// Verifies a token against the issuers of the endpoint, or the one named.
///
/// # Errors
///
/// Why it does not hold; a malformed claim is never taken for an absent one.
pub fn verify(token: &str, issuer: Option<&str>) -> Result<Verified, Error> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::tokens::verify(token, issuer)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| {
            let known = fake
                .tokens
                .get(token)
                .cloned()
                .unwrap_or(Err(Error::BadSignature))?;
            match issuer {
                Some(issuer) if issuer != known.issuer => Err(Error::UnknownIssuer),
                _ => Ok(known),
            }
        })
    }
}
