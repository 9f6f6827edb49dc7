//! TLS to replicas: whom to believe, and under which name.
//!
//! Roots are a file's or the machine's, read when a replica is begun with; the
//! name is the one the resource tells or the host of the replica's address.
//! Never speaks HTTP/2 and never skips a check. Made by `runtime`, used by
//! `pool` and `probe`. The one place of `upstream` that knows rustls.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::resource::UpstreamTls;

/// A connection to a replica after its handshake.
pub(super) type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Largest file of roots that is read; all roots of a browser are 250 KiB.
const ROOTS_BYTES_MAX: u64 = 1 << 20;

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of the roots cannot be read.
    #[error("caFile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no roots.
    #[error("caFile {}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The replica has no name that a certificate could be for.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// rustls or the machine's roots.
    #[error("TLS could not be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// How one replica is spoken to over TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl PartialEq for Secure {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Secure {}

impl Secure {
    /// For the replica at `address` (`host:port`). Reads the roots: it blocks.
    ///
    /// # Errors
    ///
    /// [`TlsError`], in words for the version's state.
    pub fn new(tls: &UpstreamTls, address: &str) -> Result<Self, TlsError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = tls.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_no_name| TlsError::Name(name.to_owned()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &tls.ca_file {
            Some(file) => builder.with_root_certificates(roots(file)?),
            None => builder.with_platform_verifier()?,
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Shakes hands. Cancel-safe: dropped, the connection is closed.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream> {
        TlsConnector::from(Arc::clone(&self.config))
            .connect(self.name.clone(), stream)
            .await
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let read = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let content = |why: String| TlsError::Content {
        path: path.to_owned(),
        why,
    };
    let mut pem = Vec::new();
    let mut file = fs::File::open(path)
        .map_err(read)?
        .take(ROOTS_BYTES_MAX + 1);
    file.read_to_end(&mut pem).map_err(read)?;
    if pem.len() as u64 > ROOTS_BYTES_MAX {
        return Err(content(format!("over {ROOTS_BYTES_MAX} bytes")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| content(format!("no PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| content(format!("no certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(content("no certificate in it".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(content: Option<&str>, server_name: Option<&str>, address: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let tls = UpstreamTls {
            ca_file: Some(file),
            server_name: server_name.map(str::to_owned),
        };
        let error = Secure::new(&tls, address).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const CUT: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n";

    #[test]
    fn roots_that_are_none_are_told() {
        refused(None, None, "127.0.0.1:1", "No such file");
        refused(Some(""), None, "127.0.0.1:1", "no certificate in it");
        refused(Some(BROKEN), None, "127.0.0.1:1", "no certificate: ");
        refused(Some(CUT), None, "127.0.0.1:1", "no PEM: ");
        refused(None, Some("a b"), "127.0.0.1:1", "\"a b\" is no name");
    }

    #[test]
    fn the_name_is_the_resources_or_the_addresss_host() {
        let check = |server_name: Option<&str>, address: &str, expected: &str| {
            let tls = UpstreamTls {
                ca_file: None,
                server_name: server_name.map(str::to_owned),
            };
            // A machine without roots has none to believe.
            if let Ok(secure) = Secure::new(&tls, address) {
                assert_eq!(secure.name.to_str(), expected);
            }
        };
        check(None, "model.example:443", "model.example");
        check(None, "[::1]:443", "::1");
        check(Some("other.example"), "127.0.0.1:443", "other.example");
    }
}
