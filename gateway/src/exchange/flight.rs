//! One request on its way to one replica, until the head of the answer.
//!
//! Holds slot and connection together, so that a slot is never free while the
//! replica still computes: when the caller goes away, the rest is left to a
//! task of its own (`callerGone: finish`) or the connection is closed first
//! (`abort`). Used by `forward`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use http::header::{DATE, RETRY_AFTER};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Worker, head};
use crate::fleet::{Outcome, Slot};
use crate::upstream::{Link, Pool, Response, Sending, Unsent, Upload, Uploading};

/// How long an answer that nobody waits for may take to end once it began: a
/// short one lets the connection be used again, a stream is cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What an exchange with a replica waits for, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// For a byte of the caller's body.
    pub(super) body_idle: Duration,
    /// For the answer, from the end of the request.
    pub(super) scoring: Duration,
}

/// Whose time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The caller's.
    Caller,
    /// The replica's.
    Replica,
}

/// Why there is no head of an answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Somebody was late.
    Late(Late),
    /// The connection failed, perhaps before anything was sent.
    Failed(Unsent),
}

impl Patience {
    /// When time is up, and whose, if nothing changes: the caller's while its
    /// body is awaited; else the replica's, from the end of the request or,
    /// where it does not take the body, from what it took last.
    fn end(&self, upload: &Progress) -> (Instant, Late) {
        match (upload.ended, upload.waiting) {
            (Some(ended), _) => (ended + self.scoring, Late::Replica),
            (None, Some(waiting)) => (waiting + self.body_idle, Late::Caller),
            (None, None) => (upload.progress + self.scoring, Late::Replica),
        }
    }
}

/// How far the caller's body is.
#[derive(Debug, Clone, Copy)]
struct Progress {
    ended: Option<Instant>,
    waiting: Option<Instant>,
    progress: Instant,
}

impl Progress {
    fn of(upload: &Uploading) -> Self {
        Self {
            ended: upload.ended(),
            waiting: upload.waiting(),
            progress: upload.progress(),
        }
    }
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Flight {
    held: Option<Held>,
    uploading: Uploading,
    patience: Patience,
    finish: bool,
    worker: Rc<Worker>,
}

struct Held {
    sending: Sending,
    link: Link,
    slot: Slot,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("slot", &self.slot).finish()
    }
}

/// What flights of one worker share.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// Whose connections these are, and who runs the rest of abandoned flights.
    pub(super) worker: &'a Rc<Worker>,
    /// How long to wait.
    pub(super) patience: Patience,
    /// Whether an abandoned flight goes on.
    pub(super) finish: bool,
}

impl Flight {
    /// Sends a request on a connection, with a slot of its replica.
    pub(super) fn begin(
        field: &Field<'_>,
        request: http::Request<Upload>,
        uploading: &Uploading,
        mut link: Link,
        slot: Slot,
    ) -> Self {
        Self {
            held: Some(Held {
                sending: link.send(request),
                link,
                slot,
            }),
            uploading: uploading.clone(),
            patience: field.patience,
            finish: field.finish,
            worker: Rc::clone(field.worker),
        }
    }

    /// Waits for the head of the answer. Dropping this future does not end the
    /// flight; dropping the flight does.
    pub(super) async fn answer(&mut self) -> Result<Response, NoAnswer> {
        let Some(held) = &mut self.held else {
            return std::future::pending().await;
        };
        // One timer, which looks again when it fires: resetting it at every
        // byte of the body would cost more than the bytes.
        let first = self.patience.body_idle.min(self.patience.scoring);
        let mut timer = pin!(sleep_until(Instant::now() + first));
        let (uploading, patience) = (&self.uploading, &self.patience);
        poll_fn(|cx| {
            if let Poll::Ready(result) = held.sending.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(NoAnswer::Failed));
            }
            while timer.as_mut().poll(cx).is_ready() {
                let (end, late) = patience.end(&Progress::of(uploading));
                let now = Instant::now();
                if end <= now {
                    return Poll::Ready(Err(NoAnswer::Late(late)));
                }
                timer.as_mut().reset(end.min(now + first));
            }
            Poll::Pending
        })
        .await
    }

    /// Ends the flight after its answer: connection and slot are the answer's.
    pub(super) fn land(mut self) -> Option<(Link, Slot)> {
        self.held.take().map(|held| (held.link, held.slot))
    }

    /// Ends the flight without an answer: the connection is closed first, and
    /// the slot is for the caller of this to judge and to give back.
    pub(super) fn abort(mut self) -> Option<Slot> {
        self.held.take().map(|held| {
            drop(held.sending);
            drop(held.link);
            held.slot
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        match self.uploading.ended() {
            // The replica has all of the request and computes on.
            Some(ended) if self.finish && !std::thread::panicking() => {
                let deadline = ended + self.patience.scoring;
                let pool = Rc::clone(&self.worker.pool);
                let tasks = &self.worker.shared.tasks;
                tasks.spawn_local(finish(held, pool, deadline));
            }
            _ => {
                let Held {
                    sending,
                    link,
                    slot,
                } = held;
                drop(sending);
                drop(link);
                drop(slot);
            }
        }
    }
}

/// Ends an exchange with a replica that nobody waits for. The slot is given
/// back last.
async fn finish(held: Held, pool: Rc<Pool>, deadline: Instant) {
    let Held {
        sending,
        link,
        slot,
    } = held;
    match timeout_at(deadline, sending).await {
        Ok(Ok(response)) => {
            // A head that is not passed on says nothing certain of its end.
            let fine = head::check_answer(response.status(), response.headers(), None).is_ok();
            // Nobody waited for it, so its time is no figure.
            slot.outcome(if fine {
                Outcome::Answered {
                    status: response.status().as_u16(),
                    retry_after: retry_after(&response),
                }
            } else {
                Outcome::TransportError
            });
            if !fine {
                drop(link);
                return drop(slot);
            }
            match timeout(DRAIN_TIMEOUT, drain(response)).await {
                Ok(true) => {
                    slot.outcome(Outcome::Ended);
                    pool.put(link);
                }
                Ok(false) => {
                    drop(link);
                    slot.outcome(Outcome::TransportError);
                }
                // Cut here, which says nothing of the replica.
                Err(_long) => drop(link),
            }
        }
        Ok(Err(_failed)) => {
            drop(link);
            slot.outcome(Outcome::TransportError);
        }
        Err(_late) => {
            drop(link);
            slot.outcome(Outcome::Timeout);
        }
    }
    drop(slot);
}

/// For how long an answer asks to be left in peace: seconds, or a date.
pub(super) fn retry_after<B>(response: &http::Response<B>) -> Option<Duration> {
    let status = response.status();
    if !matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    pause(value, || response.headers().get(DATE)?.to_str().ok())
}

/// A date counts from the answer's own `Date`, so that nobody's clock matters;
/// without one it says nothing.
fn pause<'a>(value: &str, date: impl FnOnce() -> Option<&'a str>) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let from = httpdate::parse_http_date(date()?).ok()?;
    until.duration_since(from).ok()
}

/// Reads an answer to its end; whether it has one.
async fn drain(response: Response) -> bool {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date_by_the_models_own_clock() {
        #[track_caller]
        fn check(value: &str, date: Option<&str>, expected: Option<u64>) {
            let found = pause(value, || date);
            assert_eq!(found, expected.map(Duration::from_secs), "{value} {date:?}");
        }
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        check("7", None, Some(7));
        check("Sun, 06 Nov 1994 08:49:47 GMT", date, Some(10));
        check("Sun, 06 Nov 1994 08:49:47 GMT", None, None);
        check("Sun, 06 Nov 1994 08:49:07 GMT", date, None);
        check("soon", date, None);
        check("-1", date, None);
    }

    #[test]
    fn time_is_up_for_whoever_is_awaited() {
        let patience = Patience {
            body_idle: Duration::from_secs(30),
            scoring: Duration::from_secs(60),
        };
        let at = Instant::now();
        let second = Duration::from_secs(1);
        let mut upload = Progress {
            ended: None,
            waiting: None,
            progress: at,
        };
        assert_eq!(patience.end(&upload), (at + 60 * second, Late::Replica));
        upload.waiting = Some(at + second);
        assert_eq!(patience.end(&upload), (at + 31 * second, Late::Caller));
        upload.ended = Some(at + 2 * second);
        assert_eq!(patience.end(&upload), (at + 62 * second, Late::Replica));
    }
}
