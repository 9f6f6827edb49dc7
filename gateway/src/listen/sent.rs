//! An answer on its way to the caller: its body, and its stream's timer.
//!
//! The wrapper tells `pulse` when the exchange has ended. On HTTP/2 it hands
//! the body over in pieces and knows when the caller has not taken the last
//! one, because flow control is beneath hyper and out of sight: a stream whose
//! caller takes nothing for `bodyIdleTimeout` is reset, others go on. Never
//! buffers more than the piece it was given. Made by `serve`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::shutdown::Tasks;

use super::pulse::Pulse;

/// Bytes handed to h2 at once: its largest frame. Smaller pieces cost more
/// turns, larger ones make a slow reader look like one who takes nothing.
const PIECE_BYTES: usize = 16 << 10;

/// Marks an exchange for as long as it lives.
#[derive(Debug)]
pub(super) struct Underway(Arc<Pulse>);

impl Underway {
    /// An exchange begins.
    pub(super) fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.exchange_begins();
        Self(Arc::clone(pulse))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.exchange_ends();
    }
}

/// What is known of the flow of one HTTP/2 stream's answer.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// A piece was handed over and no other was asked for since.
    handed: Cell<bool>,
    /// Pieces handed over.
    pieces: Cell<u64>,
}

/// The body of an answer on its way to the caller.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: B,
    /// What is left of a frame that was larger than a piece.
    rest: Bytes,
    /// Only on HTTP/2.
    flow: Option<Rc<Flow>>,
    underway: Underway,
}

impl<B> Sent<B> {
    /// Sends `body`.
    pub(super) fn new(body: B, flow: Option<Rc<Flow>>, underway: Underway) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            flow,
            underway,
        }
    }
}

impl<B: Body> Sent<B> {
    /// Sends `body` over HTTP/1. To a caller of 1.0 (`old`) one without a length
    /// ends where the connection does.
    pub(super) fn http1(body: B, underway: Underway, old: bool) -> Self {
        let open = old && !body.is_end_stream() && body.size_hint().exact().is_none();
        underway.0.ends_with_the_connection(open);
        Self::new(body, None, underway)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(flow) = &this.flow else {
            let poll = Pin::new(&mut this.body).poll_frame(cx);
            let pulse = &this.underway.0;
            if pulse.is_open_ended() {
                let whole = matches!(poll, Poll::Ready(None)) || this.body.is_end_stream();
                let broken = matches!(poll, Poll::Ready(Some(Err(_))));
                pulse.ends_with_the_connection(broken || !whole);
            }
            return poll;
        };
        let data = if this.rest.is_empty() {
            flow.handed.set(false);
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        } else {
            std::mem::take(&mut this.rest)
        };
        this.rest = data;
        let piece = this.rest.split_to(PIECE_BYTES.min(this.rest.len()));
        flow.handed.set(true);
        flow.pieces.set(flow.pieces.get() + 1);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if rest > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + rest);
            }
            hint.set_lower(hint.lower() + rest);
        }
        hint
    }
}

/// Spawns the streams of one HTTP/2 connection, each with its timer.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    tasks: Tasks,
    idle: Duration,
    /// The flow of the stream that is being made: hyper asks for the answer
    /// and spawns it in one step.
    next: Rc<RefCell<Option<Rc<Flow>>>>,
}

impl Streams {
    /// For one connection; `idle` is `limits.bodyIdleTimeout`.
    pub(super) fn new(tasks: Tasks, idle: Duration) -> Self {
        Self {
            tasks,
            idle,
            next: Rc::default(),
        }
    }

    /// The flow of the stream that hyper is about to spawn.
    pub(super) fn flow(&self) -> Rc<Flow> {
        let flow = Rc::<Flow>::default();
        self.next.replace(Some(Rc::clone(&flow)));
        flow
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let idle = self.idle;
        match self.next.take() {
            Some(flow) => drop(self.tasks.spawn_local(watch(stream, flow, idle))),
            None => drop(self.tasks.spawn_local(async move {
                stream.await;
            })),
        }
    }
}

/// Runs a stream to its end, or until its caller took nothing for `idle`: then
/// it is dropped, which resets it and gives its slot back.
async fn watch<F: Future>(stream: F, flow: Rc<Flow>, idle: Duration) {
    let mut stream = pin!(stream);
    let mut timer: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !flow.handed.get() {
            return Poll::Pending;
        }
        let pieces = flow.pieces.get();
        let (armed_at, sleep) = timer.get_or_insert_with(|| (pieces, Box::pin(sleep(idle))));
        if *armed_at != pieces {
            *armed_at = pieces;
            sleep.as_mut().reset(Instant::now() + idle);
        }
        sleep.as_mut().poll(cx)
    })
    .await;
}
