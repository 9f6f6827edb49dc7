//! Tells whoever started the process how it goes, as `sd_notify(3)` says:
//! systemd's `Type=notify` and others that set `NOTIFY_SOCKET`.
//!
//! Nobody has to listen: what cannot be told is logged and changes nothing.
//! Used by `app`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where it is told.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How it goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// Versions can answer, or are known not to.
    Ready,
    /// It drains.
    Stopping,
}

/// Tells it, where somebody wants to know. Never waits.
pub(super) fn tell(stage: Stage) {
    let Some(socket) = env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return;
    };
    let words: &[u8] = match stage {
        Stage::Ready => b"READY=1",
        Stage::Stopping => b"STOPPING=1",
    };
    if let Err(error) = send(&socket, words) {
        let socket = socket.display();
        tracing::warn!("{stage:?} cannot be told to NOTIFY_SOCKET {socket}: {error}");
    }
}

fn send(socket: &OsStr, words: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(words, &address).map(drop)
}
