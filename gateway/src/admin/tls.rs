//! TLS of the admin listener.
//!
//! Not built yet: a configured certificate is refused at start, by name.
//! Called by `admin`.

use tokio::net::TcpStream;

use crate::resource::CertificateFiles;

/// What shakes hands with administrators.
#[derive(Debug)]
pub(super) struct Acceptor;

impl Acceptor {
    /// The acceptor of a certificate; none without one.
    pub(super) fn load(certificate: Option<&CertificateFiles>) -> Result<Option<Self>, String> {
        match certificate {
            None => Ok(None),
            Some(_) => Err("not built".to_owned()),
        }
    }

    /// Shakes hands; none where the other side does not. Cancel-safe.
    pub(super) async fn accept(&self, socket: TcpStream) -> Option<TcpStream> {
        Some(socket)
    }
}
