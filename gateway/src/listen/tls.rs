//! The TLS side of a listener: certificates by SNI, read again when their
//! files change. The one place of `listen` that knows rustls.
//!
//! A named certificate that is missing or broken is an error at start; at a
//! reload the old one stays. A connection keeps what it began with. Never
//! takes early data (0-RTT) and never answers plain HTTP. Called by `start`,
//! `connection` and the admin API.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::exchange::TlsFacts;
use crate::id::Digest;
use crate::resource::{CertificateFiles, TlsPolicy};

use super::certificate::{self, Stamp};

/// A connection after its handshake.
pub type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Largest PEM file that is read; a chain has a few KiB.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// rustls refused the configuration.
    #[error("TLS could not be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// One certificate, ready to be shown.
#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    names: Arc<[String]>,
    elsewhere: Arc<[String]>,
    expires: i64,
}

/// The certificates of a listener at one time; the first is the default.
#[derive(Debug)]
struct Certificates(Vec<Certificate>);

impl Certificates {
    /// The certificate for a name; the default where none has it.
    fn pick(&self, name: Option<&str>) -> Option<&Certificate> {
        let named = name.and_then(|name| {
            let exact = |one: &&Certificate| one.names.iter().any(|n| n == name);
            let wild = |one: &&Certificate| one.names.iter().any(|n| covers(n, name));
            self.0
                .iter()
                .find(exact)
                .or_else(|| self.0.iter().find(wild))
        });
        named.or_else(|| self.0.first())
    }
}

/// Whether a certificate's name, with or without `*.`, is that of `host`.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        Some(Arc::clone(&self.pick(name.as_deref())?.key))
    }
}

#[derive(Debug)]
struct Live {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// The TLS side of one listener.
#[derive(Debug)]
pub struct Tls {
    files: Vec<CertificateFiles>,
    policy: TlsPolicy,
    alpn: Vec<Vec<u8>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    live: ArcSwap<Live>,
}

impl Tls {
    /// Loads the certificates. `alpn` are the protocols in order of preference.
    ///
    /// # Errors
    ///
    /// Every certificate that cannot be used.
    pub fn load(
        files: &[CertificateFiles],
        policy: TlsPolicy,
        alpn: &[&str],
    ) -> Result<Self, Vec<CertificateError>> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Tickets keep resumption working over a reload, and cost no memory a
        // caller could fill. Without them every handshake is a full one.
        let tickets = aws_lc_rs::Ticketer::new().ok();
        let live = live(files, policy, &alpn, tickets.as_ref())?;
        Ok(Self {
            files: files.to_vec(),
            policy,
            alpn,
            tickets,
            live: ArcSwap::from_pointee(live),
        })
    }

    /// Loads the files again; connections from now on get what they hold.
    ///
    /// # Errors
    ///
    /// Every certificate that cannot be used; then nothing changes.
    pub fn reload(&self) -> Result<(), Vec<CertificateError>> {
        let live = live(&self.files, self.policy, &self.alpn, self.tickets.as_ref())?;
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// When each certificate ends, in seconds from 1970.
    #[must_use]
    pub fn expiries(&self) -> Vec<i64> {
        let live = self.live.load();
        live.certificates.0.iter().map(|one| one.expires).collect()
    }

    /// Shakes hands. The caller bounds the time. Cancel-safe: dropping it
    /// closes the socket.
    ///
    /// # Errors
    ///
    /// Where the caller speaks no TLS, or none that is taken.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<(TlsStream, TlsFacts)> {
        let live = self.live.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&live.config))
            .accept(socket)
            .await?;
        let (_, session) = stream.get_ref();
        let server_name = session.server_name().map(str::to_ascii_lowercase);
        let shown = live.certificates.pick(server_name.as_deref());
        let facts = TlsFacts {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "1.3",
            },
            shown: shown.map_or_else(|| Arc::from([]), |one| Arc::clone(&one.names)),
            elsewhere: shown.map_or_else(|| Arc::from([]), |one| Arc::clone(&one.elsewhere)),
            server_name,
        };
        Ok((stream, facts))
    }

    /// Keys that others than their owner can read, as warnings.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for files in &self.files {
            let path = &files.key_file;
            let open = fs::metadata(path).is_ok_and(|of| of.permissions().mode() & 0o077 != 0);
            if open {
                warnings.push(format!(
                    "{}: others can read this key; make its mode 0600",
                    path.display()
                ));
            }
        }
        for (files, expires) in self.files.iter().zip(self.expiries()) {
            if expires <= certificate::now_seconds() {
                warnings.push(format!(
                    "{}: this certificate has expired",
                    files.cert_file.display()
                ));
            }
        }
        warnings
    }
}

/// Whether the protocol that was agreed on is HTTP/2.
#[must_use]
pub(super) fn agreed_on_http2(stream: &TlsStream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn live(
    files: &[CertificateFiles],
    policy: TlsPolicy,
    alpn: &[Vec<u8>],
    tickets: Option<&Arc<dyn ProducesTickets>>,
) -> Result<Live, Vec<CertificateError>> {
    let provider = aws_lc_rs::default_provider();
    let mut loaded = Vec::new();
    let mut problems = Vec::new();
    for files in files {
        match load_one(files, &provider) {
            Ok(one) => loaded.push(one),
            Err(error) => problems.push(error),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let all: Vec<Arc<[String]>> = loaded.iter().map(|one| Arc::clone(&one.names)).collect();
    for (place, one) in loaded.iter_mut().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != place);
        one.elsewhere = others
            .flat_map(|(_, names)| names.iter().cloned())
            .collect();
    }
    let certificates = Arc::new(Certificates(loaded));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| vec![error.into()])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::<Certificates>::clone(&certificates));
    config.alpn_protocols = alpn.to_vec();
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    // rustls has only strong suites of 1.2 (ECDHE with an AEAD). What "modern"
    // adds is the extended master secret, which clients before 2016 lack.
    config.require_ems = policy == TlsPolicy::Modern;
    if let Some(tickets) = tickets {
        config.ticketer = Arc::clone(tickets);
    }
    Ok(Live {
        config: Arc::new(config),
        certificates,
    })
}

fn load_one(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Certificate, CertificateError> {
    let content = |path: &Path, why: String| CertificateError::Content {
        path: path.to_owned(),
        why,
    };
    let pem = read(&files.cert_file)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(&files.cert_file, format!("not PEM: {error}")))?;
    let about = chain
        .first()
        .ok_or_else(|| content(&files.cert_file, "holds no certificate".to_owned()))
        .and_then(|first| {
            certificate::about(first)
                .ok_or_else(|| content(&files.cert_file, "not an X.509 certificate".to_owned()))
        })?;
    let pem = read(&files.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| content(&files.key_file, format!("holds no private key: {error}")))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let cert = files.cert_file.display();
        content(&files.key_file, format!("does not go with {cert}: {error}"))
    })?;
    Ok(Certificate {
        key: Arc::new(key),
        names: about.names.into(),
        elsewhere: Arc::from([]),
        expires: about.expires,
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let mut content = Zeroizing::new(Vec::new());
    let read = fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut content));
    match read {
        Ok(bytes) if bytes as u64 > PEM_BYTES_MAX => Err(CertificateError::Content {
            path: path.to_owned(),
            why: format!("over {PEM_BYTES_MAX} bytes"),
        }),
        Ok(_) => Ok(content),
        Err(source) => Err(CertificateError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Watches the files of one listener.
#[derive(Debug)]
pub(super) struct Watcher {
    stamps: Vec<Option<Stamp>>,
    digest: Option<Digest>,
}

impl Watcher {
    /// Begins with what the files hold now.
    pub(super) fn new(tls: &Tls) -> Self {
        Self {
            stamps: stamps(tls),
            digest: digest(tls),
        }
    }

    /// Looks once; blocks on the disk. Some where the content has changed,
    /// with what came of it.
    pub(super) fn look(&mut self, tls: &Tls) -> Option<Result<(), Vec<CertificateError>>> {
        let stamps = stamps(tls);
        if stamps == self.stamps && !stamps.iter().any(certificate::is_fresh) {
            return None;
        }
        self.stamps = stamps;
        let digest = digest(tls);
        if digest.is_some() && digest == self.digest {
            return None;
        }
        self.digest = digest;
        Some(tls.reload())
    }
}

fn stamps(tls: &Tls) -> Vec<Option<Stamp>> {
    let paths = tls
        .files
        .iter()
        .flat_map(|of| [&of.cert_file, &of.key_file]);
    paths.map(|path| certificate::stamp(path)).collect()
}

/// Of all contents together; none where a file cannot be read.
fn digest(tls: &Tls) -> Option<Digest> {
    let mut all = Zeroizing::new(Vec::new());
    for files in &tls.files {
        for path in [&files.cert_file, &files.key_file] {
            let content = read(path).ok()?;
            all.extend_from_slice(&(content.len() as u64).to_be_bytes());
            all.extend_from_slice(&content);
        }
    }
    Some(Digest::of(&all))
}

/// A TLS client for the tests of the listeners: the one other use of rustls.
#[cfg(test)]
pub(super) mod client {
    use std::path::Path;
    use std::sync::Arc;

    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio::net::TcpStream;
    use tokio_rustls::{TlsConnector, client::TlsStream};

    /// Connects, trusting the certificates in `trusted` alone.
    pub(in super::super) async fn connect(
        socket: TcpStream,
        trusted: &[&Path],
        name: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for path in trusted {
            let root = CertificateDer::from_pem_file(path).unwrap();
            roots.add(root).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
    }

    /// What the two sides agreed to speak.
    pub(in super::super) fn agreed(stream: &TlsStream<TcpStream>) -> Option<String> {
        let name = stream.get_ref().1.alpn_protocol()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        assert!(covers("*.a.b", "x.a.b"));
        assert!(!covers("*.a.b", "x.y.a.b"));
        assert!(!covers("*.a.b", "a.b"));
        assert!(covers("a.b", "a.b"));
    }

    #[test]
    fn every_broken_certificate_is_told_at_once() {
        let state = tempfile::tempdir().unwrap();
        let good = certificate::development(state.path()).unwrap();
        let missing = CertificateFiles {
            cert_file: state.path().join("none.crt"),
            key_file: good.key_file.clone(),
        };
        let swapped = CertificateFiles {
            cert_file: good.key_file.clone(),
            key_file: good.cert_file.clone(),
        };
        let files = [good, missing, swapped];
        let problems = Tls::load(&files, TlsPolicy::Modern, &["h2"]).unwrap_err();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("none.crt"), "{texts:?}");
        assert!(texts[1].contains("holds no certificate"), "{texts:?}");
    }
}
