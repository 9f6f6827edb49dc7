//! The body of an answer to a caller.
//!
//! Either bytes the gateway made itself or the stream of a replica; never
//! buffers a stream. Made by `problem` and `relay`, driven by `listen`'s
//! connections.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::cold::Cold;
use super::relay::Answer;

/// The body of an answer: nothing, whole, or streamed from a replica.
pub struct Body(Kind);

enum Kind {
    Empty,
    Whole(Bytes),
    Relay(Box<Answer>),
    Cold(Box<Cold>),
}

/// Why the stream of an answer ends without its end. hyper breaks the
/// connection (HTTP/1) or resets the stream (HTTP/2) on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct BrokenOff(pub &'static str);

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// These bytes.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self(Kind::Empty)
        } else {
            Self(Kind::Whole(bytes))
        }
    }

    /// Comments while a version starts, then the stream of its replica.
    pub(super) fn cold(cold: Box<Cold>) -> Self {
        Self(Kind::Cold(cold))
    }

    /// The stream of a replica.
    pub(super) fn relay(answer: Box<Answer>) -> Self {
        Self(Kind::Relay(answer))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Empty => "Body(empty)",
            Kind::Whole(_) => "Body(whole)",
            Kind::Relay(_) => "Body(relay)",
            Kind::Cold(_) => "Body(cold)",
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Relay(answer) => answer.poll_frame(cx),
            Kind::Cold(cold) => cold.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Relay(answer) => answer.is_end(),
            Kind::Cold(cold) => cold.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Relay(answer) => answer.size_hint(),
            Kind::Cold(_) => SizeHint::default(),
        }
    }
}
