//! TLS of the admin listener, where a certificate is configured.
//!
//! The same TLS as callers get (`listen`), with HTTP/1.1 alone, and read again as
//! theirs is. Called by `admin`.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::listen::{CertificateError, Place, Reload, Tls, TlsStream};
use crate::resource::{CertificateFiles, TlsPolicy};
use crate::shutdown::Tasks;

/// What shakes hands with administrators.
#[derive(Debug)]
pub(super) struct Acceptor(Arc<Tls>);

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
            .map(|tls| Some(Self(Arc::new(tls))))
            .map_err(shown)
    }

    /// Reads the certificate again when its files change, until `stop`.
    pub(super) fn watch(&self, reload: &Reload, stop: Tasks) {
        let place = Place {
            // No listener has such a name.
            label: "spec.admin".to_owned(),
            object: "admin".to_owned(),
            words: "admin".to_owned(),
        };
        reload.watch(place, &self.0, stop);
    }

    /// What an operator should know of the certificate.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.0.warnings().into_iter();
        warnings.map(|text| format!("admin: {text}")).collect()
    }

    /// Shakes hands; none where the other side does not. The caller bounds the
    /// time. Cancel-safe.
    pub(super) async fn accept(&self, socket: TcpStream) -> Option<TlsStream> {
        self.0.accept(socket).await.ok().map(|(stream, _)| stream)
    }
}
