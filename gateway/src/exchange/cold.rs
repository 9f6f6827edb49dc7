//! An answer that begins before its replica is there: comments of an event
//! stream while a version starts from zero (`autoscale.coldStartComments`).
//!
//! Only for a caller who takes event streams and waits for over a second; a
//! faster start keeps the model's own status. Once begun, the stream is the
//! model's where that answers 200 with events; anything else is told in an
//! `event: error`, and the stream is broken off after it, never ended cleanly.
//! Called by `exchange` in the place of `forward` and `relay`.

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::body::{Body, BrokenOff};
use super::choose::Chosen;
use super::forward::{self, Answered};
use super::ledger::Ledger;
use super::problem;
use super::refuse::{self, Manner};
use super::relay::{self, EVENT_FLUSH};
use crate::fault::Fault;
use crate::fleet::Slot;
use crate::resource::Scale;

/// Between comments, and before the first: proxies cut what is silent for much
/// longer, and most starts that are quick are quicker.
const EVERY: Duration = Duration::from_secs(1);

/// Whether the answer may begin before the replica is there. Nothing but a look
/// at the version's settings where it has this off.
pub(super) fn wanted(chosen: &Chosen, manner: &Manner) -> bool {
    let Scale::Auto(scale) = &chosen.version.spec.scale else {
        return false;
    };
    let parts = &chosen.admitted.parts;
    scale.cold_start_comments
        && chosen.admitted.upgrade.is_none()
        && parts.method != Method::HEAD
        && parts.version != Version::HTTP_10
        // Who waits for 100 Continue would take the 200 for the end of it.
        && !manner.expects()
        && takes_events(&parts.headers)
        && chosen.version.fleet.look().1.ready == 0
}

/// Whether `Accept` lists event streams.
fn takes_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter();
    let mut ranges = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    ranges.any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        let refused = |part: &[u8]| {
            let text = std::str::from_utf8(part).unwrap_or_default();
            let q = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="));
            q.is_some_and(|q| q.parse::<f32>() == Ok(0.0))
        };
        kind.eq_ignore_ascii_case(b"text/event-stream") && !parts.any(refused)
    })
}

type Waiting = Pin<Box<dyn Future<Output = (Box<Ledger>, Box<Chosen>, Result<Slot, Fault>)>>>;
type Sent = Pin<Box<dyn Future<Output = (Box<Ledger>, Result<Answered, Fault>)>>>;

/// Waits for the replica; the answer is the usual one where that comes soon.
pub(super) async fn serve(
    mut ledger: Box<Ledger>,
    mut chosen: Box<Chosen>,
    manner: Manner,
) -> Response<Body> {
    let opened = Rc::new(Cell::new(false));
    ledger.opened = Some(Rc::clone(&opened));
    // An answer with comments in it is not one to compare others with.
    chosen.mirrors.clear();
    let response = begin(&mut ledger, &chosen);
    let mut waiting: Waiting = Box::pin(wait(ledger, chosen));
    let soon = tokio::select! {
        biased;
        seated = &mut waiting => Some(seated),
        () = sleep(EVERY) => None,
    };
    let Some((ledger, chosen, slot)) = soon else {
        opened.set(true);
        return response.map(|()| Body::cold(Box::new(Cold::new(waiting))));
    };
    let (ledger, result) = match slot {
        Ok(slot) => send(ledger, chosen, slot).await,
        Err(fault) => (ledger, Err(fault)),
    };
    match result {
        Ok(answered) => relay::relay(ledger, answered),
        Err(fault) => refuse::refuse(ledger, &fault, &manner),
    }
}

/// The head of an answer that begins with comments.
fn begin(ledger: &mut Ledger, chosen: &Chosen) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The usual answer wants it too.
    let echoed = ledger.client_request_id.clone();
    relay::stamp(headers, ledger);
    ledger.client_request_id = echoed;
    relay::name_version(headers, &chosen.version);
    let unread = ledger
        .unread
        .as_ref()
        .is_some_and(|body| !body.is_end_stream());
    if unread && !ledger.connection.http2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn wait(
    mut ledger: Box<Ledger>,
    chosen: Box<Chosen>,
) -> (Box<Ledger>, Box<Chosen>, Result<Slot, Fault>) {
    let slot = caught(forward::seat(&mut ledger, &chosen)).await;
    (ledger, chosen, slot)
}

async fn send(
    mut ledger: Box<Ledger>,
    chosen: Box<Chosen>,
    slot: Slot,
) -> (Box<Ledger>, Result<Answered, Fault>) {
    let answered = caught(forward::proceed(&mut ledger, *chosen, slot)).await;
    (ledger, answered)
}

/// A step whose panic is a fault, as that of every other is.
async fn caught<T>(step: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let result = AssertUnwindSafe(step).catch_unwind().await;
    result.unwrap_or_else(|panic| Err(refuse::panicked(&*panic)))
}

/// The body of an answer that began with comments. Dropped before its end, it
/// leaves the queue or the replica, and the exchange is recorded as left.
pub(super) struct Cold {
    state: State,
    timer: Pin<Box<Sleep>>,
}

enum State {
    Waiting(Waiting),
    Sent(Sent),
    /// The model's events.
    Streaming(Body),
    /// The last event was given out; what follows is the break.
    Breaking,
    Ended,
}

impl Cold {
    fn new(waiting: Waiting) -> Self {
        Self {
            state: State::Waiting(waiting),
            // The first comment goes with the head.
            timer: Box::pin(sleep(Duration::ZERO)),
        }
    }

    /// The next frame for the caller.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            match &mut self.state {
                State::Waiting(waiting) => match waiting.as_mut().poll(cx) {
                    Poll::Ready((ledger, chosen, Ok(slot))) => {
                        self.state = State::Sent(Box::pin(send(ledger, chosen, slot)));
                    }
                    Poll::Ready((ledger, _, Err(fault))) => return self.fail(ledger, &fault),
                    Poll::Pending => return self.comment(cx, ": waiting for a replica\n\n"),
                },
                State::Sent(sent) => match sent.as_mut().poll(cx) {
                    Poll::Ready((ledger, Ok(answered))) => {
                        if let Some(event) = self.answered(ledger, answered) {
                            return self.last(event);
                        }
                    }
                    Poll::Ready((ledger, Err(fault))) => return self.fail(ledger, &fault),
                    Poll::Pending => return self.comment(cx, ": waiting for the model\n\n"),
                },
                State::Streaming(body) => return Pin::new(body).poll_frame(cx),
                State::Breaking => {
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(BrokenOff("told in an event"))));
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn comment(
        &mut self,
        cx: &mut Context<'_>,
        text: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer.as_mut().reset(Instant::now() + EVERY);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }

    /// The model answered: its events follow, or an event says what it said.
    fn answered(&mut self, mut ledger: Box<Ledger>, answered: Answered) -> Option<Bytes> {
        let status = answered.response.status();
        let headers = answered.response.headers();
        let plain = !headers.contains_key(CONTENT_ENCODING);
        if status == StatusCode::OK && plain && relay::has_events(headers) {
            let response = relay::relay(ledger, answered);
            self.state = State::Streaming(response.into_body());
            return None;
        }
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or("no content type");
        let detail = format!("The model answered {} ({kind})", status.as_u16());
        // Its status, though the caller saw another: that is how it ended.
        ledger.end.status = match status {
            StatusCode::INTERNAL_SERVER_ERROR if answered.model_errors_as_502 => 502,
            status => status.as_u16(),
        };
        ledger.end.broken_off = true;
        ledger.end.reason = Some("told in an event: the stream had begun with comments".to_owned());
        // The connection, then the slot, then the record.
        drop(answered);
        let event = problem::answer_event(status, &detail, ledger.id_text());
        ledger.response_bytes += event.len() as u64;
        Some(event)
    }

    fn fail(
        &mut self,
        mut ledger: Box<Ledger>,
        fault: &Fault,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        ledger.end.status = StatusCode::OK.as_u16();
        ledger.break_off(fault);
        let event = problem::event(fault, ledger.id_text(), false);
        ledger.response_bytes += event.len() as u64;
        self.last(event)
    }

    fn last(&mut self, event: Bytes) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.state = State::Breaking;
        self.timer = Box::pin(sleep(EVENT_FLUSH));
        Poll::Ready(Some(Ok(Frame::data(event))))
    }

    /// Whether all of it was given out.
    pub(super) fn is_end(&self) -> bool {
        match &self.state {
            State::Streaming(body) => body.is_end_stream(),
            State::Ended => true,
            State::Waiting(_) | State::Sent(_) | State::Breaking => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_streams_are_taken_where_accept_lists_them() {
        #[track_caller]
        fn check(accept: &str, expected: bool) {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(takes_events(&headers), expected, "{accept}");
        }
        check("text/event-stream", true);
        check("application/json, Text/Event-Stream;q=0.5", true);
        check("text/event-stream;q=0, */*", false);
        check("*/*", false);
        check("text/*", false);
        assert!(!takes_events(&HeaderMap::new()));
    }
}
