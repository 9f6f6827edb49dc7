//! Step 6 of an exchange: the answer streams to the caller.
//!
//! Never buffers a stream and never ends a broken one cleanly: a late fault
//! breaks it off as its protocol allows (SEMANTICS §3). Called by `exchange`
//! after `forward`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::begun::Begun;
use super::body::{Body, BrokenOff};
use super::choose;
use super::flight::Late;
use super::forward::{self, Answered};
use super::head::{self, DEPLOYMENT, X_MS_CLIENT_REQUEST_ID, X_MS_REQUEST_ID, X_REQUEST_ID};
use super::ledger::Ledger;
use super::problem;
use super::tunnel;
use crate::fault::Fault;
use crate::fleet::{Outcome, Slot};
use crate::table::VersionEntry;
use crate::upstream::{Link, Pool, Uploading, forbidden_in_trailers};

/// Between the last piece of a broken stream and the break: both protocols
/// throw away what is not written yet when a stream is broken off.
pub(super) const EVENT_FLUSH: Duration = Duration::from_millis(20);

/// Makes the answer for the caller of the replica's. The ledger goes with the
/// body and is recorded when that ends, however it does.
pub(super) fn relay(mut ledger: Box<Ledger>, mut answered: Answered) -> Response<Body> {
    if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(asked) = answered.upgrade.take()
    {
        return tunnel::switch(ledger, answered, asked);
    }
    let (mut parts, incoming) = answered.response.into_parts();
    let early = answered.uploading.ended().is_none();
    if parts.status == StatusCode::INTERNAL_SERVER_ERROR && answered.model_errors_as_502 {
        parts.status = StatusCode::BAD_GATEWAY;
    }
    ledger.end.status = parts.status.as_u16();
    head::strip_answer(&mut parts.headers);
    stamp(&mut parts.headers, &mut ledger);
    name_version(&mut parts.headers, &answered.version);
    if early && !ledger.connection.http2 {
        // The rest of the caller's body is not read, so nothing can follow.
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    keep_head(&mut ledger, &parts.headers);
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let mut answer = Box::new(Answer {
        ends_in_events: is_event_stream(&parts.headers),
        mid_line: false,
        unsent: true,
        state: State::Streaming,
        idle: None,
        idle_timeout: answered.version.spec.stream_idle_timeout,
        body_idle: ledger.worker().shared.limits.body_idle_timeout,
        silent: Instant::now(),
        held: Some(Held {
            incoming,
            link: answered.link,
            slot: answered.slot,
        }),
        pool: answered.pool,
        uploading: answered.uploading,
        ledger: Some(ledger),
    });
    answer.end_if_complete();
    Response::from_parts(parts, Body::relay(answer))
}

/// Sets the ids of the request on an answer.
pub(super) fn stamp(headers: &mut HeaderMap, ledger: &mut Ledger) {
    let id = ledger.id().clone();
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(X_MS_REQUEST_ID, id);
    if let Some(id) = ledger.client_request_id.take() {
        headers.insert(X_MS_CLIENT_REQUEST_ID, id);
    }
}

/// Says which version answers.
pub(super) fn name_version(headers: &mut HeaderMap, version: &VersionEntry) {
    if let Ok(name) = HeaderValue::from_str(version.spec.name.as_str()) {
        headers.insert(DEPLOYMENT, name);
    }
}

pub(super) fn keep_head(ledger: &mut Ledger, headers: &HeaderMap) {
    let Some(version) = ledger.version().cloned() else {
        return;
    };
    let Some(kept) = &mut ledger.kept else {
        return;
    };
    let policies = version.collect.iter().filter_map(|one| one.policy.as_ref());
    for name in policies.flat_map(|policy| policy.headers()) {
        choose::copy(headers, &mut kept.response_headers, name);
    }
}

/// Whether a fault can still be told as an event: an event stream without a
/// length and without an encoding.
fn is_event_stream(headers: &HeaderMap) -> bool {
    has_events(headers)
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(CONTENT_ENCODING)
}

/// Whether the body is an event stream.
pub(super) fn has_events(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/event-stream")
    })
}

/// How far the stream is.
#[derive(Debug, Clone, Copy)]
enum State {
    Streaming,
    /// All was given out; what follows is the break.
    Breaking(&'static str),
    Ended,
}

/// The stream of a replica's answer. Dropped before its end, it closes the
/// connection to the replica, gives the slot back, and the exchange is
/// recorded as left by its caller.
#[derive(Debug)]
pub(super) struct Answer {
    ends_in_events: bool,
    /// Whether the last byte given out was no end of a line.
    mid_line: bool,
    /// Whether what was given out, the head at first, may not be sent yet.
    unsent: bool,
    state: State,
    /// Made when the replica first lets us wait: most answers never do.
    idle: Option<Pin<Box<Sleep>>>,
    idle_timeout: Duration,
    /// For a byte of the caller's body, where that goes on.
    body_idle: Duration,
    /// Since when nothing comes, while `idle` runs.
    silent: Instant,
    held: Option<Held>,
    pool: Rc<Pool>,
    uploading: Uploading,
    ledger: Option<Box<Ledger>>,
}

// In the order in which they go when the stream is cut: the connection is
// closed before the slot is free.
#[derive(Debug)]
struct Held {
    incoming: Begun,
    link: Link,
    slot: Slot,
}

impl Answer {
    /// The next frame for the caller.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.state {
            State::Ended => return Poll::Ready(None),
            State::Breaking(why) => return self.break_now(cx, why),
            State::Streaming => {}
        }
        let Some(held) = &mut self.held else {
            self.state = State::Ended;
            return Poll::Ready(None);
        };
        match held.incoming.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle = None;
                self.unsent = true;
                Poll::Ready(Some(Ok(self.pass(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                // Both directions end where one breaks: who broke it?
                if let Some(fault) = self.uploading.failed() {
                    let fault = forward::blame_caller(fault, self.uploading.limit());
                    return self.break_off(cx, &fault, None, "the caller's body failed");
                }
                let fault = Fault::ReplicaFailed(error.to_string());
                let broke = Some(Outcome::TransportError);
                self.break_off(cx, &fault, broke, "the replica failed")
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                // Whoever is told to wait sends what he has.
                self.unsent = false;
                self.wait(cx)
            }
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let frame = match frame.into_data() {
            Ok(data) => {
                self.count(&data);
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    // Nothing follows them, and hyper does not ask again.
                    self.end();
                    return Frame::trailers(allowed(trailers));
                }
                Err(frame) => frame,
            },
        };
        self.end_if_complete();
        frame
    }

    fn count(&mut self, data: &Bytes) {
        self.mid_line = data.last().is_some_and(|byte| *byte != b'\n');
        if let Some(ledger) = &mut self.ledger {
            ledger.response_bytes += data.len() as u64;
            if let Some(original) = &mut ledger.original {
                original.take(data);
            }
            if let Some(kept) = &mut ledger.kept {
                let room = kept.body_bytes.saturating_sub(kept.response.len());
                let part = data.get(..room.min(data.len())).unwrap_or_default();
                kept.response.extend_from_slice(part);
            }
        }
    }

    /// Nothing comes at the moment: is it too long?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        // One timer, which looks again when it fires (as that of a flight does).
        let first = self.idle_timeout.min(self.body_idle);
        if self.idle.is_none() {
            self.silent = Instant::now();
        }
        let (end, late) = self.late();
        let (silent, idle) = (self.silent, &mut self.idle);
        let idle = idle.get_or_insert_with(|| Box::pin(sleep_until(end.min(silent + first))));
        while idle.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if end <= now {
                return self.too_late(cx, late);
            }
            idle.as_mut().reset(end.min(now + first));
        }
        Poll::Pending
    }

    /// When time is up, and whose: the caller's while its body goes on and the
    /// replica waits for it (an answer of 2xx may begin before), else the
    /// replica's, from what it gave or took last.
    fn late(&self) -> (Instant, Late) {
        let replica = |from: Instant| (from.max(self.silent) + self.idle_timeout, Late::Replica);
        match (self.uploading.ended(), self.uploading.waiting()) {
            (Some(ended), _) => replica(ended),
            (None, Some(waiting)) => (waiting + self.body_idle, Late::Caller),
            (None, None) => replica(self.uploading.progress()),
        }
    }

    fn too_late(
        &mut self,
        cx: &mut Context<'_>,
        late: Late,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match late {
            Late::Caller => {
                let fault = Fault::CallerTimeout(self.body_idle);
                self.break_off(cx, &fault, None, "the caller fell silent")
            }
            Late::Replica => {
                let fault = Fault::ScoringTimeout(self.idle_timeout);
                let late = Some(Outcome::Timeout);
                self.break_off(cx, &fault, late, "the replica fell silent")
            }
        }
    }

    /// Breaks the stream off: connection first, then the slot, then the record.
    /// What was given out before gets time to be sent, or the caller would see
    /// less than was recorded, perhaps no head at all.
    fn break_off(
        &mut self,
        cx: &mut Context<'_>,
        fault: &Fault,
        outcome: Option<Outcome>,
        why: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(held) = self.held.take() {
            let Held {
                incoming,
                link,
                slot,
            } = held;
            drop(incoming);
            drop(link);
            if let Some(outcome) = outcome {
                slot.outcome(outcome);
            }
            drop(slot);
        }
        let mut event = None;
        if let Some(mut ledger) = self.ledger.take() {
            ledger.break_off(fault);
            if self.ends_in_events {
                let text = problem::event(fault, ledger.id_text(), self.mid_line);
                ledger.response_bytes += text.len() as u64;
                event = Some(text);
            }
        }
        self.state = State::Breaking(why);
        self.idle = None;
        if self.unsent || event.is_some() {
            self.idle = Some(Box::pin(tokio::time::sleep(EVENT_FLUSH)));
        }
        match event {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None => self.break_now(cx, why),
        }
    }

    /// The break, once what was given out last had time to get out.
    fn break_now(
        &mut self,
        cx: &mut Context<'_>,
        why: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(flushing) = &mut self.idle
            && flushing.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.state = State::Ended;
        Poll::Ready(Some(Err(BrokenOff(why))))
    }

    fn end_if_complete(&mut self) {
        let complete = |held: &Held| held.incoming.is_end_stream();
        if self.held.as_ref().is_some_and(complete) {
            self.end();
        }
    }

    /// The replica's side of the answer is complete.
    fn end(&mut self) {
        self.state = State::Ended;
        self.idle = None;
        if let Some(held) = self.held.take() {
            let Held {
                incoming,
                link,
                slot,
            } = held;
            drop(incoming);
            slot.outcome(Outcome::Ended);
            if self.uploading.ended().is_some() {
                self.pool.put(link);
            } else {
                self.uploading.stop();
                drop(link);
            }
            drop(slot);
        }
        if let Some(mut ledger) = self.ledger.take()
            && let Some(kept) = &mut ledger.kept
        {
            kept.response_ended = true;
        }
    }

    /// Whether all of it was given out.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What is left of it, where the replica said so.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.held {
            Some(held) => held.incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Field by field, so that the order does not hang on their declaration.
        if let Some(held) = self.held.take() {
            drop(held.incoming);
            drop(held.link);
            drop(held.slot);
        }
        if let Some(mut ledger) = self.ledger.take() {
            let fault = ledger.abandoned();
            ledger.break_off(&fault);
        }
    }
}

/// Trailers without those that may stand in a head only.
fn allowed(mut trailers: HeaderMap) -> HeaderMap {
    let names: Vec<_> = trailers
        .keys()
        .filter(|name| forbidden_in_trailers(name))
        .cloned()
        .collect();
    for name in names {
        trailers.remove(name);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        assert_eq!(is_event_stream(&headers), expected, "{fields:?}");
    }

    #[test]
    fn an_event_can_be_added_to_an_open_event_stream_only() {
        let events = ("content-type", "text/event-stream; charset=utf-8");
        check(&[events], true);
        check(&[events, ("content-length", "9")], false);
        check(&[events, ("content-encoding", "gzip")], false);
        check(&[("content-type", "application/json")], false);
        check(&[], false);
    }

    #[test]
    fn trailers_of_a_replica_lose_what_a_head_decides() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("content-length", "9".parse().unwrap());
        let left = allowed(trailers);
        assert_eq!(left.len(), 1);
        assert!(left.contains_key("grpc-status"));
    }
}
