//! The socket of a caller, plain or TLS, as hyper reads and writes it.
//!
//! Looks at what is read, by `framing` (HTTP/1) or `frames` (HTTP/2), and tells
//! `pulse` of open heads and of writes that wait. What is refused never reaches
//! hyper whole: in a head, bytes follow that its parser refuses with a 400,
//! after the answers that are under way; in a body, the read fails, so that the
//! exchange ends as malformed. What comes behind a head that asks for another
//! protocol is held until that is answered. Never answers by itself. Made by
//! `connection`.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::ReusableBoxFuture;

use super::accept::Seat;
use super::frames::Frames;
use super::framing::Framing;
use super::pulse::Pulse;
use super::tls::TlsStream;
use crate::memory::Memory;

/// Ends a head wherever it stands in a way no parser of HTTP/1 takes: NUL is
/// allowed nowhere in it, and the empty line makes hyper look at once.
const POISON: &[u8] = b"\0\r\n\r\n";

/// What a caller may send before its upgrade is answered; the rest waits in the
/// socket.
const HELD_BYTES_MAX: usize = 16 << 10;

const NO_MEMORY: &str = "a head that did not come whole, at the memory limit";

const FLOOD: &str = "a flood of SETTINGS, PING or PRIORITY frames";

/// The transport of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// A bare socket.
    Plain(TcpStream),
    /// TLS over a socket.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The socket beneath.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// What is looked at.
#[derive(Debug)]
pub(super) enum Watch {
    /// Messages of HTTP/1.
    Http1(Framing),
    /// Frames of HTTP/2; with the largest head, for the answer to a flood.
    Http2(Frames, usize),
}

/// A connection's bytes, looked at. See the module.
#[derive(Debug)]
pub(super) struct Guard {
    stream: Stream,
    watch: Watch,
    pulse: Arc<Pulse>,
    /// Bytes that were read and not handed on: to tell the protocols apart, or
    /// behind a head that asks for another one.
    ahead: BytesMut,
    /// Bytes to hand to hyper before the end, once something was refused.
    poison: Option<Bytes>,
    /// What was refused.
    refused: Option<&'static str>,
    /// Whether the next read fails.
    failing: bool,
    ended: bool,
    /// The place among the connections, also of one that was upgraded.
    _seat: Option<Seat>,
    memory: Option<Arc<Memory>>,
    /// Tells when the caller closes, where nobody reads.
    leaving: Option<ReusableBoxFuture<'static, ()>>,
}

impl Guard {
    /// Guards `stream`, of which `ahead` was read already.
    pub(super) fn new(stream: Stream, ahead: Bytes, watch: Watch, pulse: Arc<Pulse>) -> Self {
        Self {
            stream,
            watch,
            pulse,
            ahead: BytesMut::from(ahead.as_ref()),
            poison: None,
            refused: None,
            failing: false,
            ended: false,
            _seat: None,
            memory: None,
            leaving: None,
        }
    }

    /// Keeps the seat for as long as there is the connection, and lets no head
    /// grow where the process is past its memory.
    pub(super) fn keep(mut self, seat: Seat, memory: Arc<Memory>) -> Self {
        self._seat = Some(seat);
        self.memory = Some(memory);
        self
    }

    /// Whether bytes of the caller may be on their way that nobody will read:
    /// to close then would reset the connection and could lose the answer.
    pub(super) fn unread(&self) -> bool {
        let between = match &self.watch {
            Watch::Http1(framing) => framing.between_messages(),
            Watch::Http2(..) => true,
        };
        !self.ended && (self.refused.is_some() || !between)
    }

    /// The transport, to end it.
    pub(super) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let bytes = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }

    /// Looks at what was read after `before`; takes back what is refused.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            self.ended = true;
            return;
        }
        if self.pulse.is_raw() {
            return;
        }
        let passed = match &mut self.watch {
            Watch::Http1(framing) => match framing.feed(read) {
                Ok(passed) => {
                    self.pulse.head_is_open(framing.in_head());
                    if framing.held() {
                        self.pulse.upgrade_asked();
                    }
                    if let Some(held) = read.get(passed..).filter(|held| !held.is_empty()) {
                        // They may have come from there, before others.
                        let later = self.ahead.split();
                        self.ahead.extend_from_slice(held);
                        self.ahead.extend_from_slice(&later);
                        self.pulse.hold();
                    }
                    passed
                }
                Err(violation) => {
                    self.refused = Some(violation.why);
                    self.pulse.refuse(violation.why);
                    if violation.in_head {
                        self.poison = Some(Bytes::from_static(POISON));
                    } else {
                        self.failing = true;
                    }
                    violation.at
                }
            },
            Watch::Http2(frames, head_bytes) => match frames.feed(read, || self.pulse.age()) {
                Ok(()) => {
                    self.pulse.head_is_open(frames.unfinished());
                    return;
                }
                Err(at) => {
                    self.refused = Some(FLOOD);
                    self.pulse.refuse(FLOOD);
                    self.poison = Some(Frames::flood_answer(*head_bytes).into());
                    at
                }
            },
        };
        buf.set_filled(before + passed);
    }

    /// Heads that do not end are memory without an exchange, which nobody could
    /// refuse otherwise. One that comes whole gets its answer.
    fn end_without_memory(&mut self) {
        let grows = match &self.watch {
            Watch::Http1(framing) => framing.in_head(),
            Watch::Http2(frames, _) => frames.unfinished(),
        };
        let over = |memory: &Arc<Memory>| memory.over();
        if grows
            && self.refused.is_none()
            && !self.pulse.is_raw()
            && self.memory.as_ref().is_some_and(over)
        {
            self.refused = Some(NO_MEMORY);
            self.pulse.refuse(NO_MEMORY);
            self.failing = true;
        }
    }

    /// Whether what comes next is held; a no to the upgrade ends that.
    fn holds(&mut self) -> bool {
        let Watch::Http1(framing) = &mut self.watch else {
            return false;
        };
        if !framing.held() || self.pulse.is_raw() {
            return false;
        }
        if !self.pulse.is_upgrade_asked() {
            framing.resume();
        }
        framing.held()
    }

    /// Reads on without handing anything on, but for the end of a caller who
    /// said nothing more.
    fn hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut part = [0; 2048];
        while self.ahead.len() < HELD_BYTES_MAX {
            let mut read = ReadBuf::new(&mut part);
            let poll = match &mut self.stream {
                Stream::Plain(socket) => Pin::new(socket).poll_read(cx, &mut read),
                Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut read),
            };
            match poll {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.ahead.extend_from_slice(read.filled());
                    self.pulse.hold();
                }
                Poll::Ready(Ok(())) if !self.ahead.is_empty() => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                other => return other,
            }
        }
        Poll::Pending
    }

    /// Whether the caller has closed its side. While its exchange waits in a
    /// queue hyper does not read the rest of the body, so that no read tells.
    /// On a second descriptor, because this one wakes only who reads; where
    /// there is none to have, the end of the wait tells.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        if self.leaving.is_none() {
            self.leaving = self
                .stream
                .socket()
                .as_fd()
                .try_clone_to_owned()
                .ok()
                .map(leaving);
        }
        let leaving = self.leaving.as_mut();
        leaving.is_some_and(|leaving| leaving.poll(cx).is_ready())
    }

    /// What a read gives after something was refused: what makes hyper refuse
    /// it too, then the end.
    fn after_refusal(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        if let Some(poison) = &mut self.poison {
            let bytes = poison.remaining().min(buf.remaining());
            buf.put_slice(&poison.split_to(bytes));
        }
        if self.failing {
            let why = self.refused.unwrap_or("malformed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(())
    }
}

/// Ends when the other side of a socket has closed its own; never where it
/// cannot be watched. `PRIORITY` is what wakes for that and not for bytes.
fn leaving(socket: OwnedFd) -> ReusableBoxFuture<'static, ()> {
    let socket = TcpStream::from_std(std::net::TcpStream::from(socket));
    ReusableBoxFuture::new(async move {
        if let Ok(socket) = socket
            && socket.ready(Interest::PRIORITY).await.is_ok()
        {
            return;
        }
        pending().await
    })
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refused.is_some() {
            return Poll::Ready(this.after_refusal(buf));
        }
        if this.holds() {
            return this.hold(cx);
        }
        let before = buf.filled().len();
        // What was read to tell the protocols apart is the start of a head.
        let fresh = this.ahead.is_empty();
        match this.poll_stream(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.look(buf, before);
                if fresh {
                    this.end_without_memory();
                }
                if this.refused.is_some() && buf.filled().len() == before {
                    return Poll::Ready(this.after_refusal(buf));
                }
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl Drop for Guard {
    /// An answer to HTTP/1.0 without a length that did not come to its end is
    /// reset, however its connection ends: a close would say that it is whole.
    fn drop(&mut self) {
        if self.pulse.is_open_ended() {
            let socket = SockRef::from(self.stream.socket());
            // An error means that it is closed already.
            let _closed = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

impl Guard {
    fn note<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &poll {
            Poll::Pending => self.pulse.write_waits(),
            Poll::Ready(_) => self.pulse.write_went(),
        }
        poll
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = match &mut this.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        };
        this.note(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = match &mut this.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        };
        this.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(socket) => socket.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes at each turn of the connection.
        if !this.pulse.is_waiting() {
            this.leaving = None;
        } else if this.has_left(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match &mut this.stream {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => {
                let poll = Pin::new(stream.as_mut()).poll_flush(cx);
                this.note(poll)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = match &mut this.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        };
        this.note(poll)
    }
}
