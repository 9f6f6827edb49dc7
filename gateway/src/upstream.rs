//! One HTTP/1.1 exchange with one replica, and the connections to replicas
//! that one worker keeps.
//!
//! Never chooses a replica, never repeats an exchange, and uses a connection
//! again only when both sides ended the message for certain. Called by
//! `exchange` (and `runtime` for probes).

use std::io;

use rustix::io::Errno;

mod pool;
mod probe;
mod raw;
mod tls;
mod upload;
mod wire;

pub use pool::{Link, Peer, Pool, Response, Sending, Unsent};
pub use probe::{ProbeError, probe};
pub use raw::Raw;
pub use tls::{Secure, TlsError};
pub use upload::{Upload, UploadFault, Uploading, forbidden_in_trailers};

/// Largest head of an answer, interim answers included (facts/bad-inputs.md
/// row 76). At another value the gateway's memory per exchange changes with it.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Fields of an answer's head. hyper's parser keeps them on the stack up to 100.
pub const HEAD_FIELDS_MAX: usize = 100;
/// Interim answers (1xx) before the answer (row 72).
pub const INTERIM_MAX: u8 = 8;
/// Longest time a connect may take: a replica is near, and one that takes
/// longer would be chosen again before it is known to be gone.
pub const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Whether a connect failed for want of descriptors, ports or memory of our
/// own: that says nothing of the replica.
fn is_ours(error: &io::Error) -> bool {
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ADDRNOTAVAIL,
        Errno::NOBUFS,
        Errno::NOMEM,
    ];
    Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
}

/// Why an exchange with a replica failed. For the log; a caller sees none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error("connect: {0}")]
    Connect(String),
    /// No connection, for want of descriptors, ports or memory of our own: it
    /// says nothing of the replica.
    #[error("the gateway cannot open a connection: {0}")]
    Ours(String),
    /// The connection ended, or what came is not HTTP as we accept it.
    #[error("{0}")]
    Answer(String),
}
