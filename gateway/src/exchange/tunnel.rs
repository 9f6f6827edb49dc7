//! Another protocol between caller and replica (WebSocket and other), after the
//! replica's 101 (SEMANTICS §2).
//!
//! Copies bytes both ways on the worker and never looks at them. Holds no more
//! than a stream does: the slot, the version, the ledger. Ends when both sides
//! have, when no byte passed for `streamIdleTimeout`, or when the gateway stops
//! waiting for it (`limits.drain`). Called by `relay`.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until};

use super::body::Body;
use super::forward::Answered;
use super::head;
use super::ledger::Ledger;
use super::relay;
use crate::fault::Fault;
use crate::fleet::Slot;
use crate::upstream::{Link, Raw, Uploading};

/// Longest name of a protocol; `websocket` has 9 characters.
const PROTOCOL_CHARS_MAX: usize = 64;

/// The other protocol that a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    protocol: HeaderValue,
    caller: OnUpgrade,
}

impl Asked {
    /// What the request asks for, where it is one that is passed on: HTTP/1.1,
    /// one protocol, no body. All others are answered as if they had not asked,
    /// as RFC 9110 §7.8 allows, and `h2c` is always.
    pub(super) fn take(parts: &mut Parts, bodiless: bool) -> Option<Self> {
        let protocol = asked_for(parts.version, &parts.headers)?.clone();
        let caller = parts.extensions.remove::<OnUpgrade>()?;
        bodiless.then_some(Self { protocol, caller })
    }

    /// Its name, perhaps with a version.
    pub(super) fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }
}

fn asked_for(version: Version, headers: &HeaderMap) -> Option<&HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    if version != Version::HTTP_11 || headers.get_all(UPGRADE).iter().nth(1).is_some() {
        return None;
    }
    let bytes = protocol.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/+".contains(byte);
    if bytes.is_empty() || bytes.len() > PROTOCOL_CHARS_MAX || !bytes.iter().all(plain) {
        return None;
    }
    let mut named = headers.get_all(CONNECTION).iter().flat_map(|value| {
        let tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.map(<[u8]>::trim_ascii)
    });
    let named = named.any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    (named && !bytes.eq_ignore_ascii_case(b"h2c")).then_some(protocol)
}

/// Makes the 101 for the caller of the replica's, and copies from then on.
pub(super) fn switch(mut ledger: Box<Ledger>, answered: Answered, asked: Asked) -> Response<Body> {
    let mut headers = answered.response.headers().clone();
    head::strip_answer(&mut headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, asked.protocol);
    relay::stamp(&mut headers, &mut ledger);
    relay::name_version(&mut headers, &answered.version);
    relay::keep_head(&mut ledger, &headers);
    let status = StatusCode::SWITCHING_PROTOCOLS;
    ledger.end.status = status.as_u16();
    let tasks = ledger.worker().shared.tasks.clone();
    let idle = answered.version.spec.stream_idle_timeout;
    let tunnel = Tunnel {
        slot: Some(answered.slot),
        flow: Rc::new(Flow::new(answered.uploading)),
        ledger: Some(ledger),
    };
    tasks.spawn_local(run(tunnel, answered.link, asked.caller, idle));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What is held to the end. Dropped before it, the gateway did not wait.
#[derive(Debug)]
struct Tunnel {
    slot: Option<Slot>,
    flow: Rc<Flow>,
    ledger: Option<Box<Ledger>>,
}

impl Tunnel {
    fn end(mut self, fault: Option<&Fault>) {
        self.record(fault);
    }

    /// The slot first, then the record.
    fn record(&mut self, fault: Option<&Fault>) {
        drop(self.slot.take());
        if let Some(mut ledger) = self.ledger.take() {
            ledger.response_bytes = self.flow.answered.get();
            if let Some(fault) = fault {
                ledger.break_off(fault);
            }
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.record(Some(&Fault::Draining));
    }
}

async fn run(tunnel: Tunnel, link: Link, caller: OnUpgrade, idle: Duration) {
    let Ok(caller) = caller.await else {
        drop(link);
        return tunnel.end(Some(&Fault::CallerGone));
    };
    let Some(replica) = link.into_raw().await else {
        let fault = Fault::ReplicaFailed("it left with its 101".to_owned());
        return tunnel.end(Some(&fault));
    };
    let fault = copy(caller, replica, &tunnel.flow, idle).await;
    tunnel.end(fault.as_ref());
}

/// Copies until both sides have ended or nothing passed for `idle`. Both are
/// closed at the end.
async fn copy(caller: Upgraded, replica: Raw, flow: &Rc<Flow>, idle: Duration) -> Option<Fault> {
    let mut caller = Counted {
        io: TokioIo::new(caller),
        flow: Rc::clone(flow),
        side: Side::Caller,
    };
    let mut replica = Counted {
        io: replica,
        flow: Rc::clone(flow),
        side: Side::Replica,
    };
    let silence = async {
        loop {
            let end = flow.passed.get() + idle;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    };
    tokio::select! {
        result = copy_bidirectional(&mut caller, &mut replica) => match (result, flow.broken.get()) {
            (Ok(_), _) => None,
            (Err(error), Some(Side::Replica)) => Some(Fault::ReplicaFailed(error.to_string())),
            (Err(_), _) => Some(Fault::CallerGone),
        },
        // Not the replica's fault, and no reason to alarm anybody.
        () = silence => None,
    }
}

/// What passed between the two.
#[derive(Debug)]
struct Flow {
    /// When a byte passed last.
    passed: Cell<Instant>,
    /// Bytes to the caller.
    answered: Cell<u64>,
    /// Bytes to the replica are counted there.
    uploading: Uploading,
    /// Whose side broke.
    broken: Cell<Option<Side>>,
}

impl Flow {
    fn new(uploading: Uploading) -> Self {
        Self {
            passed: Cell::new(Instant::now()),
            answered: Cell::new(0),
            uploading,
            broken: Cell::new(None),
        }
    }

    fn wrote(&self, to: Side, bytes: usize) {
        self.passed.set(Instant::now());
        match to {
            Side::Caller => self.answered.set(self.answered.get() + bytes as u64),
            Side::Replica => self.uploading.count(bytes),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Caller,
    Replica,
}

/// One side; counts what is written to it.
#[derive(Debug)]
struct Counted<T> {
    io: T,
    flow: Rc<Flow>,
    side: Side,
}

impl<T> Counted<T> {
    fn note<R>(&self, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if matches!(poll, Poll::Ready(Err(_))) {
            self.flow.broken.set(Some(self.side));
        }
        poll
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(poll)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = poll {
            self.flow.wrote(self.side, written);
        }
        self.note(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.note(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_shutdown(cx);
        self.note(poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: Version, fields: &[(&'static str, &str)], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let found = asked_for(version, &headers).map(|value| value.to_str().unwrap());
        assert_eq!(found, expected, "{fields:?}");
    }

    #[test]
    fn one_protocol_that_connection_names_is_passed_on() {
        let named = ("connection", "keep-alive, Upgrade");
        let one = Version::HTTP_11;
        check(one, &[named, ("upgrade", "WebSocket")], Some("WebSocket"));
        check(one, &[named, ("upgrade", "tls/1.0")], Some("tls/1.0"));
        check(one, &[named, ("upgrade", "H2C")], None);
        check(one, &[named, ("upgrade", "websocket, h2c")], None);
        check(one, &[named, ("upgrade", "a"), ("upgrade", "b")], None);
        check(one, &[named, ("upgrade", "")], None);
        check(one, &[("upgrade", "websocket")], None);
        check(one, &[named], None);
        check(Version::HTTP_10, &[named, ("upgrade", "websocket")], None);
        check(Version::HTTP_2, &[named, ("upgrade", "websocket")], None);
    }
}
