//! Step 6 of an exchange: the answer streams to the caller.
//!
//! Never buffers a stream and never ends a broken one cleanly. Called by
//! `exchange` after `forward`.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::body::BrokenOff;

/// The stream of a replica's answer.
#[derive(Debug)]
pub(super) struct Answer {}

impl Answer {
    /// The next frame for the caller.
    pub(super) fn poll_frame(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Poll::Ready(None)
    }

    /// Whether all of it was given out.
    pub(super) fn is_end(&self) -> bool {
        true
    }

    /// What is left of it, where the replica said so.
    pub(super) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
