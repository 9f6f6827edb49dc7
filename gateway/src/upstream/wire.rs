//! The socket to a replica, with a look at the bytes of each answer's head:
//! what hyper's parser would let pass (a bare LF, interim answers without end)
//! ends the connection here.
//!
//! Never changes a byte and never looks into a body. Used by `pool` alone.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls::TlsStream;
use super::{HEAD_BYTES_MAX, INTERIM_MAX};

/// The transport of a connection to a replica.
#[derive(Debug)]
pub(super) enum Stream {
    /// A bare socket.
    Plain(TcpStream),
    /// TLS over a socket.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The socket beneath.
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// One side for hyper, others for the pool: cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Wire(Rc<State>);

#[derive(Debug)]
struct State {
    stream: RefCell<Stream>,
    scan: Cell<Scan>,
    write_broken: Cell<bool>,
}

/// Where in an answer the scan is.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    /// In a head; else nothing is looked at.
    on: bool,
    /// Bytes of the heads so far.
    bytes: usize,
    /// Bytes of the line so far.
    line: usize,
    /// Lines of this head so far.
    lines: usize,
    /// The last byte.
    last: u8,
    /// The first digit of the status, and whether it is 101.
    status: [u8; 3],
    /// Interim answers so far.
    interim: u8,
}

/// Where the status stands in `HTTP/1.1 200`.
const STATUS_AT: usize = 9;

impl Scan {
    /// Looks at the next bytes of an answer.
    ///
    /// # Errors
    ///
    /// What is wrong with the head.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while self.on && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (line, rest) = match end {
                Some(end) => bytes.split_at(end + 1),
                None => (bytes, &[][..]),
            };
            self.bytes += line.len();
            if self.bytes > HEAD_BYTES_MAX {
                return Err("the head of the answer is over 64 KiB");
            }
            if self.lines == 0 {
                self.keep_status(line);
            }
            if end.is_some() {
                let before = match line.len() {
                    1 => self.last,
                    n => line.get(n - 2).copied().unwrap_or_default(),
                };
                if before != b'\r' {
                    return Err("a bare LF in the head of the answer");
                }
                let length = self.line + line.len();
                self.end_of_line(length)?;
            } else {
                self.line += line.len();
            }
            self.last = line.last().copied().unwrap_or(self.last);
            bytes = rest;
        }
        Ok(())
    }

    fn keep_status(&mut self, line: &[u8]) {
        for (place, slot) in self.status.iter_mut().enumerate() {
            let at = (STATUS_AT + place).checked_sub(self.line);
            if let Some(byte) = at.and_then(|at| line.get(at)) {
                *slot = *byte;
            }
        }
    }

    fn end_of_line(&mut self, length: usize) -> Result<(), &'static str> {
        self.line = 0;
        self.lines += 1;
        if length > 2 || self.lines == 1 {
            return Ok(());
        }
        // The empty line: the head ends. After an interim one comes another.
        if self.status.first() == Some(&b'1') && &self.status != b"101" {
            self.interim += 1;
            self.lines = 0;
            if self.interim > INTERIM_MAX {
                return Err("more than 8 interim answers");
            }
        } else {
            self.on = false;
        }
        Ok(())
    }
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self(Rc::new(State {
            stream: RefCell::new(stream),
            scan: Cell::default(),
            write_broken: Cell::new(false),
        }))
    }

    /// A request is being sent: what comes next is a head.
    pub(super) fn expect_head(&self) {
        self.0.scan.set(Scan {
            on: true,
            ..Scan::default()
        });
    }

    /// Whether an unused connection is still good: nothing has come, not even
    /// its end. One system call.
    pub(super) fn silent(&self) -> bool {
        let Ok(stream) = self.0.stream.try_borrow() else {
            return false;
        };
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match SockRef::from(stream.socket()).peek(&mut byte) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Closes both directions now, whoever else holds the socket.
    pub(super) fn close(&self) {
        if let Ok(stream) = self.0.stream.try_borrow() {
            // An error means that it is closed already.
            let _closed = SockRef::from(stream.socket()).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Writes by `write`. A write that fails does not end the connection: the
    /// replica may have answered before it closed, and the answer is still to
    /// be read. From then on writing waits for ever and reading decides.
    fn write(
        &self,
        write: impl FnOnce(&mut Stream) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.0.write_broken.get() {
            return Poll::Pending;
        }
        let result = write(&mut self.0.stream.borrow_mut());
        if let Poll::Ready(Err(_)) = result {
            self.0.write_broken.set(true);
            return Poll::Pending;
        }
        result
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = match &mut *self.0.stream.borrow_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        let mut scan = self.0.scan.get();
        if scan.on && matches!(result, Poll::Ready(Ok(()))) {
            let new = buf.filled().get(before..).unwrap_or_default();
            if let Err(what) = scan.take(new) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
            self.0.scan.set(scan);
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| match stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| match stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has no buffer of its own.
        let mut stream = self.0.stream.borrow_mut();
        let Stream::Tls(stream) = &mut *stream else {
            return Poll::Ready(Ok(()));
        };
        if self.0.write_broken.get() {
            return Poll::Pending;
        }
        let result = Pin::new(stream.as_mut()).poll_flush(cx);
        if matches!(result, Poll::Ready(Err(_))) {
            self.0.write_broken.set(true);
            return Poll::Pending;
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.stream.borrow_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same outcome however the bytes are cut.
    #[track_caller]
    fn check(answer: &[u8], expected: Result<bool, &'static str>) {
        for size in [1, 2, 3, 7, answer.len()] {
            let mut scan = Scan {
                on: true,
                ..Scan::default()
            };
            let mut result = Ok(());
            for part in answer.chunks(size) {
                result = scan.take(part);
                if result.is_err() {
                    break;
                }
            }
            let text = String::from_utf8_lossy(answer);
            assert_eq!(result.map(|()| !scan.on), expected, "{text:.80?} by {size}");
        }
    }

    #[test]
    fn a_head_is_watched_to_its_end_and_no_further() {
        check(
            b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody\nwith\nlines",
            Ok(true),
        );
        check(b"HTTP/1.1 200 OK\r\na: b\r\n", Ok(false));
        check(b"HTTP/1.1 101 Switching\r\n\r\n\n", Ok(true));
        check(b"HTTP/1.1 100 Continue\r\n\r\n", Ok(false));
        check(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\n",
            Ok(true),
        );
    }

    #[test]
    fn a_bare_lf_in_a_head_is_an_error() {
        let error = Err("a bare LF in the head of the answer");
        check(b"HTTP/1.1 200 OK\na: b\r\n\r\n", error);
        check(b"HTTP/1.1 200 OK\r\na: b\n\r\n", error);
        check(b"HTTP/1.1 200 OK\r\na: b\r\n\n", error);
    }

    #[test]
    fn interim_answers_are_counted() {
        let mut answer = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n".repeat(8);
        check(&answer, Ok(false));
        answer.extend_from_slice(b"HTTP/1.1 102 Processing\r\n\r\n");
        check(&answer, Err("more than 8 interim answers"));
    }

    #[test]
    fn a_head_has_a_largest_size() {
        let mut answer = b"HTTP/1.1 200 OK\r\na: ".to_vec();
        answer.resize(HEAD_BYTES_MAX + 1, b'x');
        check(&answer, Err("the head of the answer is over 64 KiB"));
    }
}
