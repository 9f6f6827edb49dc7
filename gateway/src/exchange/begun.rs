//! The body of a replica's answer, looked at once before its head is passed on:
//! one that is known to be broken by then is no answer.
//!
//! Never waits and never holds more than the one piece that was there. Made by
//! `forward`, read by `relay`.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// See the module.
#[derive(Debug)]
pub(super) struct Begun {
    incoming: Incoming,
    first: Option<Frame<Bytes>>,
    ended: bool,
}

impl Begun {
    /// Looks at what has come of a body.
    ///
    /// # Errors
    ///
    /// Where it is broken already, with nothing before the break.
    pub(super) async fn look(incoming: Incoming) -> Result<Self, hyper::Error> {
        let mut begun = Self {
            incoming,
            first: None,
            ended: false,
        };
        if begun.incoming.is_end_stream() {
            return Ok(begun);
        }
        // Who reads on is woken by the next poll.
        let look = |cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut begun.incoming).poll_frame(cx));
        match poll_fn(look).await {
            Poll::Pending => {}
            Poll::Ready(None) => begun.ended = true,
            Poll::Ready(Some(frame)) => begun.first = Some(frame?),
        }
        Ok(begun)
    }

    /// The next frame.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    /// Whether nothing follows.
    pub(super) fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.incoming.is_end_stream())
    }

    /// What is left of it, where the replica said so.
    pub(super) fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        let first = self.first.as_ref().and_then(Frame::data_ref);
        let first = first.map_or(0, |data| data.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + first);
        }
        hint.set_lower(hint.lower() + first);
        hint
    }
}
