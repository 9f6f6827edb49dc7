//! The body of a request on its way from the caller to a replica: counted,
//! limited, watched for stalls, and copied up to a limit for collecting and for
//! mirrors.
//!
//! Never holds more of it than one frame (beside the copy) and never reads
//! ahead of the replica. hyper's connection to the replica polls [`Upload`];
//! `exchange` watches it through [`Uploading`].

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

/// Most trailer fields of a request, and their bytes (facts/bad-inputs.md row 14).
const TRAILERS_MAX: usize = 64;
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// Why the caller's body cannot be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// Over the limit.
    #[error("the body is over its limit")]
    TooLarge,
    /// The caller went away.
    #[error("the caller went away")]
    Gone,
    /// The body's framing or its trailers are not HTTP as we accept it.
    #[error("{0}")]
    Malformed(&'static str),
}

/// The body as hyper's connection to the replica polls it.
#[derive(Debug)]
pub struct Upload(Kind);

#[derive(Debug)]
enum Kind {
    /// Of the caller, as it comes.
    Caller(Rc<State>),
    /// A copy of one that came to its end.
    Copy(Bytes),
}

impl Upload {
    /// The copy of a whole body.
    #[must_use]
    pub fn copy(bytes: Bytes) -> Self {
        Self(Kind::Copy(bytes))
    }
}

/// The same body, as `exchange` watches it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Uploading(Rc<State>);

#[derive(Debug)]
struct State {
    incoming: RefCell<Option<Incoming>>,
    limit: u64,
    bytes: Cell<u64>,
    touched: Cell<bool>,
    ended: Cell<Option<Instant>>,
    failed: Cell<Option<UploadFault>>,
    waiting: Cell<Option<Instant>>,
    progress: Cell<Instant>,
    stopped: Cell<bool>,
    copy_max: usize,
    copy: RefCell<Vec<u8>>,
    /// The copy, once it was shared.
    shared: RefCell<Option<Bytes>>,
}

impl Uploading {
    /// Watches `incoming`, of which at most `limit` bytes may come and the
    /// first `copy_max` are kept.
    #[must_use]
    pub fn new(incoming: Incoming, limit: u64, copy_max: usize) -> Self {
        let now = Instant::now();
        let ended = incoming.is_end_stream().then_some(now);
        Self(Rc::new(State {
            incoming: RefCell::new(Some(incoming)),
            limit,
            bytes: Cell::new(0),
            touched: Cell::new(false),
            ended: Cell::new(ended),
            failed: Cell::new(None),
            waiting: Cell::new(None),
            progress: Cell::new(now),
            stopped: Cell::new(false),
            copy_max,
            copy: RefCell::default(),
            shared: RefCell::default(),
        }))
    }

    /// A body for hyper. Only the newest one may be polled.
    #[must_use]
    pub fn body(&self) -> Upload {
        Upload(Kind::Caller(Rc::clone(&self.0)))
    }

    /// Bytes that were read of the caller.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// How many may come.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Whether any of it was read of the caller.
    #[must_use]
    pub fn touched(&self) -> bool {
        self.0.touched.get()
    }

    /// When its end was read, where it was.
    #[must_use]
    pub fn ended(&self) -> Option<Instant> {
        self.0.ended.get()
    }

    /// Why it cannot be sent on, where that is so.
    #[must_use]
    pub fn failed(&self) -> Option<UploadFault> {
        self.0.failed.get()
    }

    /// Counts bytes of the caller that went to the replica beside a body, after
    /// an upgrade.
    pub fn count(&self, bytes: usize) {
        self.0
            .bytes
            .set(self.0.bytes.get().saturating_add(bytes as u64));
    }

    /// Since when the replica wants a byte that the caller does not send; none
    /// once nothing more is read.
    #[must_use]
    pub fn waiting(&self) -> Option<Instant> {
        self.0.waiting.get().filter(|_| !self.0.stopped.get())
    }

    /// When the last byte was taken, or the exchange began to send.
    #[must_use]
    pub fn progress(&self) -> Instant {
        self.0.progress.get()
    }

    /// Reads nothing more of the caller: the replica has answered.
    pub fn stop(&self) {
        self.0.stopped.set(true);
    }

    /// The caller's body, so that what is left of it can be drained.
    #[must_use]
    pub fn take(&self) -> Option<Incoming> {
        self.0.incoming.borrow_mut().take()
    }

    /// The first `most` bytes of the copy that was kept, and whether that is all
    /// of the body. Once.
    #[must_use]
    pub fn copied(&self, most: usize) -> (Bytes, bool) {
        let copy = match self.0.shared.take() {
            Some(shared) if shared.len() <= most => shared,
            // Its own bytes: a part would keep the whole alive.
            Some(shared) => Bytes::copy_from_slice(shared.get(..most).unwrap_or_default()),
            None => {
                let mut copy = self.0.copy.take();
                copy.truncate(most);
                copy.into()
            }
        };
        let complete = self.0.ended.get().is_some() && copy.len() as u64 == self.0.bytes.get();
        (copy, complete)
    }

    /// The whole body, where it came to its end and the copy has all of it.
    #[must_use]
    pub fn whole(&self) -> Option<Bytes> {
        self.0.ended.get()?;
        let mut shared = self.0.shared.borrow_mut();
        let copy = shared.get_or_insert_with(|| self.0.copy.take().into());
        (copy.len() as u64 == self.0.bytes.get()).then(|| copy.clone())
    }
}

impl State {
    fn data(&self, data: &Bytes) -> Result<(), UploadFault> {
        let bytes = self.bytes.get().saturating_add(data.len() as u64);
        if bytes > self.limit {
            return Err(UploadFault::TooLarge);
        }
        self.bytes.set(bytes);
        if self.copy_max > 0 {
            let mut copy = self.copy.borrow_mut();
            let room = self.copy_max.saturating_sub(copy.len()).min(data.len());
            copy.extend_from_slice(data.get(..room).unwrap_or_default());
        }
        Ok(())
    }

    fn frame(&self, frame: &Frame<Bytes>, end: bool) -> Result<(), UploadFault> {
        let now = Instant::now();
        self.touched.set(true);
        self.waiting.set(None);
        self.progress.set(now);
        if let Some(data) = frame.data_ref() {
            self.data(data)?;
        }
        if let Some(trailers) = frame.trailers_ref() {
            check_trailers(trailers).map_err(UploadFault::Malformed)?;
        }
        if end || frame.is_trailers() {
            self.ended.set(Some(now));
        }
        Ok(())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let state = match &mut self.get_mut().0 {
            Kind::Caller(state) => &**state,
            Kind::Copy(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                let some = frame.data_ref().is_some_and(|data| !data.is_empty());
                return Poll::Ready(some.then_some(Ok(frame)));
            }
        };
        if state.stopped.get() {
            return Poll::Pending;
        }
        let mut incoming = state.incoming.borrow_mut();
        let Some(body) = incoming.as_mut() else {
            return Poll::Ready(None);
        };
        let result = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                if state.waiting.get().is_none() {
                    state.waiting.set(Some(Instant::now()));
                }
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(frame))) => {
                let end = body.is_end_stream();
                state.frame(&frame, end).map(|()| Some(frame))
            }
            Poll::Ready(Some(Err(error))) => Err(blame(&error)),
            Poll::Ready(None) => {
                state.ended.set(Some(Instant::now()));
                Ok(None)
            }
        };
        if let Err(fault) = result {
            state.failed.set(Some(fault));
        }
        Poll::Ready(result.transpose())
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Caller(state) => state.ended.get().is_some(),
            Kind::Copy(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Caller(state) => match &*state.incoming.borrow() {
                Some(incoming) => incoming.size_hint(),
                None => SizeHint::with_exact(0),
            },
            Kind::Copy(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Who broke the caller's body: framing that is wrong is malformed, all else
/// is a caller who went away.
fn blame(error: &hyper::Error) -> UploadFault {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    UploadFault::Malformed("the framing of the body is broken")
                }
                _ => UploadFault::Gone,
            };
        }
        source = inner.source();
    }
    if error.is_parse() {
        UploadFault::Malformed("the framing of the body is broken")
    } else {
        UploadFault::Gone
    }
}

/// Whether a trailer field could change what the head said (RFC 9110 §6.5.1).
#[must_use]
pub fn forbidden_in_trailers(name: &HeaderName) -> bool {
    const FORBIDDEN: [HeaderName; 20] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VIA,
        header::WWW_AUTHENTICATE,
    ];
    let text = name.as_str();
    FORBIDDEN.contains(name)
        || text.contains('_')
        || text.starts_with("x-tidegate-")
        || text.starts_with("x-forwarded-")
        || matches!(text, "forwarded" | "keep-alive" | "x-request-id")
}

fn check_trailers(trailers: &HeaderMap) -> Result<(), &'static str> {
    let bytes: usize = trailers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if trailers.len() > TRAILERS_MAX || bytes > TRAILER_BYTES_MAX {
        return Err("too many trailers");
    }
    if trailers.keys().any(forbidden_in_trailers) {
        return Err("a trailer that may stand in the head only");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, ok: bool) {
        let mut trailers = HeaderMap::new();
        trailers.insert(HeaderName::from_static(name), "x".parse().unwrap());
        assert_eq!(check_trailers(&trailers).is_ok(), ok, "{name}");
    }

    #[test]
    fn a_trailer_never_speaks_of_framing_routing_or_who_calls() {
        check("grpc-status", true);
        check("x-checksum", true);
        check("content-length", false);
        check("transfer-encoding", false);
        check("transfer_encoding", false);
        check("host", false);
        check("authorization", false);
        check("x-forwarded-for", false);
        check("x-tidegate-caller", false);
    }

    #[test]
    fn trailers_are_bounded() {
        let mut trailers = HeaderMap::new();
        for n in 0..=TRAILERS_MAX {
            let name = HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
            trailers.insert(name, "x".parse().unwrap());
        }
        assert!(check_trailers(&trailers).is_err());
    }
}
