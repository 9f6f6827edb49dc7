//! One connection of a caller, from the accepted socket to its close.
//!
//! Shakes hands, tells HTTP/1 from HTTP/2, serves, closes so that the last
//! answer is not lost, and says in the log why where something was refused.
//! Never knows what an exchange is. Spawned by `worker`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::exchange::{Connection, TlsFacts};

use super::accept::{Arrival, Door, Seat};
use super::frames::Frames;
use super::framing::Framing;
use super::guard::{Guard, Stream, Watch};
use super::pulse::{Expired, KEPT, Pulse};
use super::serve::{self, Answer, Ended, Site};
use super::tls;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a closed connection is read on, so that the last answer is not
/// lost in a reset: a caller that is still sending looks up within that time.
/// nginx waits as long.
const LINGER: Duration = Duration::from_secs(5);
/// How much is read and thrown away meanwhile. With 1 MiB one of some hundred
/// uploads of 8 MB by a busy curl lost its 401: what had been sent by the time
/// it looked up was more. Throwing this away takes 20 ms of one core.
const LINGER_BYTES_MAX: usize = 64 << 20;
/// Of it, in one read.
const SCRAP_BYTES: usize = 16 << 10;

/// A connection whose protocol is known.
struct Opened {
    stream: Stream,
    ahead: Bytes,
    tls: Option<TlsFacts>,
    http2: bool,
}

/// Serves one connection to its end.
pub(super) async fn run<A: Answer>(site: Rc<Site<A>>, arrival: Arrival) {
    let Arrival {
        socket,
        peer,
        door,
        seat,
    } = arrival;
    let opened = async {
        let socket = TcpStream::from_std(socket)?;
        let local = socket.local_addr()?;
        Ok::<_, io::Error>((open(&site, &door, socket).await?, local))
    };
    // The first request may be on its way when the drain begins, as any other.
    let over = async {
        site.tasks.stopped().await;
        sleep(KEPT).await;
    };
    let opened = tokio::select! {
        opened = opened => opened,
        () = over => return,
    };
    match opened {
        Ok((opened, local)) => serve_opened(&site, &door, opened, (peer, local), seat).await,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(listener = %door.name, %peer, "left before a request");
        }
        Err(error) => {
            tracing::info!(listener = %door.name, %peer, "connection refused: {error}");
        }
    }
}

async fn open<A>(site: &Site<A>, door: &Door, mut socket: TcpStream) -> io::Result<Opened> {
    let limits = &site.limits;
    if let Some(tls) = &door.tls {
        let shaking = tls.accept(socket);
        let (stream, facts) =
            within(limits.tls_handshake_timeout, "TLS handshake", shaking).await?;
        return Ok(Opened {
            http2: tls::agreed_on_http2(&stream),
            stream: Stream::Tls(Box::new(stream)),
            ahead: Bytes::new(),
            tls: Some(facts),
        });
    }
    // Without ALPN the first bytes tell. None of HTTP/1's methods begins so.
    let mut ahead = [0; PREFACE.len()];
    let first = within(limits.idle_timeout, "first byte", socket.read(&mut ahead)).await;
    let first = first.unwrap_or_default();
    if first == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let telling = async {
        let mut have = first;
        while have < PREFACE.len() && PREFACE.starts_with(ahead.get(..have).unwrap_or_default()) {
            match socket
                .read(ahead.get_mut(have..).unwrap_or_default())
                .await?
            {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => have += more,
            }
        }
        Ok(have)
    };
    let have = within(limits.head_timeout, "head", telling).await?;
    let ahead = ahead.get(..have).unwrap_or_default();
    Ok(Opened {
        http2: ahead == PREFACE,
        ahead: Bytes::copy_from_slice(ahead),
        stream: Stream::Plain(socket),
        tls: None,
    })
}

async fn within<T>(
    limit: Duration,
    what: &str,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, step).await.unwrap_or_else(|_| {
        let text = format!("no {what} within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

async fn serve_opened<A: Answer>(
    site: &Site<A>,
    door: &Door,
    opened: Opened,
    (peer, local): (SocketAddr, SocketAddr),
    seat: Seat,
) {
    let http2 = opened.http2;
    let pulse = Arc::new(Pulse::new(http2));
    let facts = Rc::new(Connection::new(peer, local, opened.tls, http2));
    let watch = if http2 {
        Watch::Http2(Frames::default(), site.limits.head_bytes)
    } else {
        Watch::Http1(Framing::default())
    };
    let guard = Guard::new(opened.stream, opened.ahead, watch, Arc::clone(&pulse));
    let guard = guard.keep(seat, Arc::clone(&site.memory));
    if http2 {
        let ended = serve::http2(site, facts, guard, &pulse).await;
        tell(door, peer, &ended, pulse.refused());
        return;
    }
    let (ended, guard) = serve::http1(site, facts, guard, &pulse).await;
    tell(door, peer, &ended, pulse.refused());
    if let (Ended::Done(_), Some(guard)) = (&ended, guard)
        && !pulse.is_open_ended()
    {
        close_gently(guard).await;
    }
}

/// A line in the log where a connection did not just end.
fn tell(door: &Door, peer: SocketAddr, ended: &Ended, refused: Option<&'static str>) {
    let listener = &door.name;
    match (refused, ended) {
        (Some(why), _) => tracing::info!(%listener, %peer, "refused: {why}"),
        (None, Ended::Done(Err(error))) if error.is_parse() => {
            tracing::info!(%listener, %peer, "refused: {error}");
        }
        (None, Ended::Expired(Expired::Head)) => {
            tracing::info!(%listener, %peer, "closed: the head took too long");
        }
        (None, Ended::Expired(Expired::Stalled)) => {
            tracing::info!(%listener, %peer, "closed: the caller takes nothing");
        }
        (None, Ended::Done(Err(error))) => {
            tracing::debug!(%listener, %peer, "connection ended: {error}");
        }
        (None, Ended::Done(Ok(())) | Ended::Expired(Expired::Idle)) => {}
    }
}

/// Closes our side, then reads on for a while where the caller is sending: a
/// close with bytes unread is a reset, which can overtake the answer.
async fn close_gently(mut guard: Guard) {
    if !guard.unread() {
        match guard.stream_mut().socket().try_read(&mut [0; 512]) {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
    }
    let mut scrap = vec![0; SCRAP_BYTES];
    let lingering = async {
        match guard.stream_mut() {
            Stream::Plain(socket) => socket.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        }
        .ok();
        let socket = guard.stream_mut().socket();
        let mut left = LINGER_BYTES_MAX;
        while left > 0 && socket.readable().await.is_ok() {
            match socket.try_read(&mut scrap) {
                Ok(0) => break,
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    drop(timeout(LINGER, lingering).await);
}
