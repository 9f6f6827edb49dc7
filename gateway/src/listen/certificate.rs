//! What a certificate says of itself, and the development certificate.
//!
//! The development certificate is made once and kept in the state folder, so
//! that a caller who trusts it needs no new one after a restart. Never loads a
//! key for use (`tls` does). Called by `tls` and by `start`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::durable;
use crate::id::wall_clock;
use crate::resource::CertificateFiles;

/// How long a development certificate is valid. Browsers take no more of a
/// certificate that somebody trusts by hand.
const DEVELOPMENT_DAYS: u64 = 397;
/// Made anew when it ends sooner than this.
const DEVELOPMENT_RENEW_DAYS: u64 = 14;
const DAY: Duration = Duration::from_secs(86_400);

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// DNS names and addresses, in lower case, with their `*.`.
    pub(super) names: Vec<String>,
    /// When it ends, in seconds from 1970.
    pub(super) expires: i64,
}

/// Reads a certificate in DER. None where it is none.
pub(super) fn about(der: &[u8]) -> Option<About> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    Some(About {
        names,
        expires: certificate.validity().not_after.timestamp(),
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match *bytes {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(address.to_string())
}

/// Seconds from 1970, now.
pub(super) fn now_seconds() -> i64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A development certificate could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevelopmentError {
    #[error("the development certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{}: {source}", path.display())]
    Keep { path: PathBuf, source: io::Error },
}

/// The development certificate of a state folder; made where there is none
/// that is valid for a while yet.
pub(super) fn development(state: &Path) -> Result<CertificateFiles, DevelopmentError> {
    let folder = state.join("development");
    let files = CertificateFiles {
        cert_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
    };
    if still_good(&files) {
        return Ok(files);
    }
    let keep = |path: &Path, source| DevelopmentError::Keep {
        path: path.to_owned(),
        source,
    };
    durable::private_folder(&folder).map_err(|error| keep(&folder, error))?;
    let (certificate, key) = make()?;
    // The key first: a new key beside an old certificate is found broken, and
    // both are made anew at the next start.
    for (path, pem) in [(&files.key_file, &key), (&files.cert_file, &certificate)] {
        durable::write(path, pem.as_bytes()).map_err(|error| keep(path, error))?;
    }
    Ok(files)
}

fn still_good(files: &CertificateFiles) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_file(&files.cert_file) else {
        return false;
    };
    let key_is_its = fs::read_to_string(&files.key_file)
        .ok()
        .and_then(|pem| KeyPair::from_pem(&pem).ok())
        .is_some_and(|key| public_key(&certificate).is_some_and(|of| of == key.public_key_raw()));
    let renew = i64::try_from(DEVELOPMENT_RENEW_DAYS * DAY.as_secs()).unwrap_or_default();
    key_is_its && about(&certificate).is_some_and(|about| about.expires > now_seconds() + renew)
}

fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

/// A self-signed certificate for this machine, and its key, in PEM.
fn make() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    for address in ["127.0.0.1", "::1"] {
        if let Ok(address) = address.parse() {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
    }
    if let Some(Ok(name)) = host_name().map(TryInto::try_into) {
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params
        .distinguished_name
        .push(DnType::CommonName, "Tidegate development certificate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = wall_clock();
    // A day of grace for machines whose clock is behind ours.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * u32::try_from(DEVELOPMENT_DAYS).unwrap_or(u32::MAX)).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The machine's name, where it is a DNS name.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!name.is_empty() && name != "localhost" && name.bytes().all(plain)).then_some(name)
}

/// What tells that a file may have changed.
pub(super) type Stamp = (SystemTime, u64, u64);

/// The stamp of a file, links followed.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// Whether a file was written so lately that it may have been written once
/// more under the same stamp: the clock of file systems has steps.
pub(super) fn is_fresh(stamp: &Option<Stamp>) -> bool {
    stamp.is_some_and(|(modified, ..)| {
        wall_clock()
            .duration_since(modified)
            .is_ok_and(|age| age < Duration::from_secs(3))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_development_certificate_survives_a_restart_and_its_key_is_private() {
        let state = tempfile::tempdir().unwrap();
        let files = development(state.path()).unwrap();
        let certificate = fs::read(&files.cert_file).unwrap();
        let mode = fs::metadata(&files.key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        development(state.path()).unwrap();
        assert_eq!(fs::read(&files.cert_file).unwrap(), certificate);

        let der = CertificateDer::from_pem_slice(&certificate).unwrap();
        let about = about(&der).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(about.names.iter().any(|found| found == name), "{name}");
        }
        assert!(about.expires > now_seconds() + 390 * 86_400);
    }

    #[test]
    fn a_development_certificate_without_its_key_is_made_anew() {
        let state = tempfile::tempdir().unwrap();
        let files = development(state.path()).unwrap();
        let before = fs::read(&files.cert_file).unwrap();
        fs::write(
            &files.key_file,
            KeyPair::generate().unwrap().serialize_pem(),
        )
        .unwrap();
        development(state.path()).unwrap();
        assert_ne!(fs::read(&files.cert_file).unwrap(), before);
    }
}
