//! TLS of the admin listener, where a certificate is configured.
//!
//! The same TLS as callers get (`listen`), with HTTP/1.1 alone. Called by `admin`.

use tokio::net::TcpStream;

use crate::listen::{CertificateError, Tls, TlsStream};
use crate::resource::{CertificateFiles, TlsPolicy};

/// What shakes hands with administrators.
#[derive(Debug)]
pub(super) struct Acceptor(Tls);

impl Acceptor {
    /// The acceptor of a certificate; none without one.
    ///
    /// # Errors
    ///
    /// What is wrong with the certificate, in words.
    pub(super) fn load(certificate: Option<&CertificateFiles>) -> Result<Option<Self>, String> {
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let files = std::slice::from_ref(certificate);
        let shown = |errors: Vec<CertificateError>| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        };
        Tls::load(files, TlsPolicy::Modern, &["http/1.1"])
            .map(|tls| Some(Self(tls)))
            .map_err(shown)
    }

    /// Shakes hands; none where the other side does not. The caller bounds the
    /// time. Cancel-safe.
    pub(super) async fn accept(&self, socket: TcpStream) -> Option<TlsStream> {
        self.0.accept(socket).await.ok().map(|(stream, _)| stream)
    }
}
