//! HTTP on one connection: hyper with every limit set, and the one timer.
//!
//! Nothing is left to a default of hyper, because defaults that hold for most
//! are how 42 KB of HTTP/2 held 5.7 MB (DESIGN §7, rule 3). Never looks at a
//! request but for its version. Called by `connection`.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::exchange::Connection;
use crate::memory::Memory;
use crate::resource::Limits;
use crate::shutdown::Tasks;

use super::guard::Guard;
use super::pulse::{Expired, Pulse};
use super::sent::{Sent, Streams, Underway};

/// hyper takes no smaller buffer.
const BUFFER_BYTES_MIN: usize = 8192;
/// What a caller may send on one stream before somebody reads it: an upload
/// at 1 ms round trip still runs at 128 MB/s.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// The same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// What h2 keeps of one answer that the caller has not taken.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// The smallest frame size that HTTP/2 allows to announce.
const FRAME_BYTES: u32 = 16 << 10;
/// The compression table, HTTP/2's default.
const HEADER_TABLE_BYTES: u32 = 4096;
/// Streams that the caller reset before we looked at them (rapid reset).
const RESET_STREAMS_MAX: usize = 20;
/// Streams that h2 reset for the caller's errors (MadeYouReset).
const ERROR_STREAMS_MAX: usize = 64;
/// How long a connection that was told to end may take over its farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// What answers requests. `exchange` does; tests have their own.
pub(super) trait Answer: 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Unpin
        + 'static;

    /// Answers one request. Dropped where the caller goes away.
    fn answer(
        &self,
        connection: Rc<Connection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}

/// What the connections of one worker have in common.
#[derive(Debug)]
pub(super) struct Site<A> {
    /// Answers requests.
    pub(super) answer: A,
    /// What they are spawned through; stopping means draining.
    pub(super) tasks: Tasks,
    /// The limits of callers.
    pub(super) limits: Arc<Limits>,
    /// Whether the process is past its memory limit.
    pub(super) memory: Arc<Memory>,
    /// Since when the worker drains. Connections look at this and not at `tasks`,
    /// whose token is a lock that all workers share.
    pub(super) draining: Cell<Option<Instant>>,
    /// Rung when it begins to.
    pub(super) bell: Notify,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Done(hyper::Result<()>),
    /// By its timer.
    Expired(Expired),
}

/// Serves HTTP/1 to the end of the connection. Gives the guard back, so that
/// the socket can be closed gently; none where it was upgraded. hyper lets go
/// of a connection by its upgrade once one was asked for, so that of one that
/// was refused is kept to the end.
pub(super) async fn http1<A: Answer>(
    site: &Site<A>,
    facts: Rc<Connection>,
    guard: Guard,
    pulse: &Arc<Pulse>,
) -> (Ended, Option<Guard>) {
    let limits = &site.limits;
    let refused = Rc::<Cell<Option<OnUpgrade>>>::default();
    let service = service_fn(|request: Request<Incoming>| {
        let underway = Underway::begin(pulse);
        let pulse = Arc::clone(pulse);
        let refused = Rc::clone(&refused);
        let upgrade = request.extensions().get::<OnUpgrade>().cloned();
        let last = is_last(&request);
        let old = request.version() == Version::HTTP_10;
        let asks = asks_for_upgrade(&request);
        let unread = !request.body().is_end_stream();
        let facts = Rc::clone(&facts);
        async move {
            // Made here: a future that is handed in would be in this one twice.
            let mut answer = pin!(site.answer.answer(Rc::clone(&facts), request));
            let mut response = poll_fn(|cx| {
                let poll = answer.as_mut().poll(cx);
                pulse.waits(unread && poll.is_pending() && facts.waits());
                poll
            })
            .await;
            let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            // What came behind the request was not said to a server of HTTP.
            let astray = asks && !upgraded && pulse.upgrade_refused();
            let draining = site.draining.get().is_some() && !upgraded;
            if last || astray || draining {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            if upgraded {
                pulse.make_raw();
            } else if upgrade.is_some() {
                refused.set(upgrade);
            }
            Ok::<_, Infallible>(response.map(|body| Sent::http1(body, underway, old)))
        }
    });
    let mut connection = http1::Builder::new()
        .keep_alive(true)
        // A caller who closes its side is gone: its place in the queue is
        // another's at once. nginx reads a half-close so, too.
        .half_close(false)
        .max_headers(limits.head_fields)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(BUFFER_BYTES_MIN))
        .ignore_invalid_headers(false)
        .allow_multiple_spaces_in_request_line_delimiters(false)
        .pipeline_flush(false)
        .auto_date_header(true)
        // `drive` times heads, without a timer per request.
        .header_read_timeout(None)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    let ended = drive(
        Pin::new(&mut connection),
        Goodbye {
            say: |connection| connection.graceful_shutdown(),
            early: false,
        },
        pulse,
        site,
    )
    .await;
    let guard = match connection.into_parts() {
        Some(parts) => Some(parts.io.into_inner()),
        None => given_back(refused.take()).await,
    };
    (ended, guard)
}

/// The guard of a connection that ended after an upgrade that was refused.
async fn given_back(refused: Option<OnUpgrade>) -> Option<Guard> {
    let parts = refused?.await.ok()?.downcast::<TokioIo<Guard>>().ok()?;
    Some(parts.io.into_inner())
}

/// Serves HTTP/2 to the end of the connection.
pub(super) async fn http2<A: Answer>(
    site: &Site<A>,
    facts: Rc<Connection>,
    guard: Guard,
    pulse: &Arc<Pulse>,
) -> Ended {
    let limits = &site.limits;
    let streams = Streams::new(site.tasks.clone(), limits.body_idle_timeout);
    let service = service_fn(|request: Request<Incoming>| {
        let underway = Underway::begin(pulse);
        let flow = streams.flow();
        let answer = site.answer.answer(Rc::clone(&facts), request);
        async move {
            let response = answer.await;
            Ok::<_, Infallible>(response.map(|body| Sent::new(body, Some(flow), underway)))
        }
    });
    let connection = http2::Builder::new(streams.clone())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(ERROR_STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .adaptive_window(false)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .header_table_size(HEADER_TABLE_BYTES)
        // A caller that vanished without a word holds slots no longer than one
        // that takes nothing.
        .keep_alive_interval(limits.body_idle_timeout)
        .keep_alive_timeout(limits.body_idle_timeout)
        .auto_date_header(true)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(guard), service);
    let connection = pin!(connection);
    drive(
        connection,
        Goodbye {
            say: |connection| connection.graceful_shutdown(),
            early: true,
        },
        pulse,
        site,
    )
    .await
}

/// Whether a request is the last of its connection whatever it says: with
/// HTTP/1.0 a body without a length ends where its connection does, so that
/// what follows a request that may have had one cannot be told from it.
fn is_last(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_10
        && !matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.headers().contains_key(CONTENT_LENGTH)
}

/// Whether `framing` holds what comes behind the request.
fn asks_for_upgrade(request: &Request<Incoming>) -> bool {
    let asked = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"h2c");
    let headers = request.headers();
    headers.contains_key(UPGRADE)
        && headers.get_all(UPGRADE).iter().any(asked)
        && request.body().is_end_stream()
}

/// How a connection is told to end.
struct Goodbye<C> {
    say: fn(Pin<&mut C>),
    /// Whether its caller may hear it with requests on their way: HTTP/2 tells
    /// which ones are answered (RFC 9113 §6.8), HTTP/1 tells in an answer only.
    early: bool,
}

/// Drives a connection to its end: hyper, the drain, and the one timer.
async fn drive<A, C>(
    mut connection: Pin<&mut C>,
    goodbye: Goodbye<C>,
    pulse: &Pulse,
    site: &Site<A>,
) -> Ended
where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = &*site.limits;
    let mut bell = pin!(site.bell.notified());
    bell.as_mut().enable();
    // Registers this task, once: it is polled for the bell, not the bell.
    let mut listening = false;
    let mut told = false;
    let mut farewell: Option<Instant> = None;
    let mut armed = Instant::now() + limits.idle_timeout;
    let mut timer = pin!(sleep_until(armed));
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ended::Done(done));
            }
            if !listening {
                listening = true;
                let _ = bell.as_mut().poll(cx);
            }
            let draining = site.draining.get();
            if goodbye.early && !told && draining.is_some() {
                told = true;
                (goodbye.say)(connection.as_mut());
                continue;
            }
            let due = match farewell {
                // A request may still have come while we said goodbye.
                Some(_) if pulse.busy() => None,
                Some(by) => Some((by, Expired::Idle)),
                None => pulse.deadline(limits, draining),
            };
            if let Some((at, _)) = due.filter(|(at, _)| *at < armed) {
                armed = at;
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            armed = match due {
                Some((at, Expired::Idle)) if at <= now && farewell.is_none() => {
                    (goodbye.say)(connection.as_mut());
                    *farewell.insert(now + FAREWELL)
                }
                Some((at, why)) if at <= now => return Poll::Ready(Ended::Expired(why)),
                Some((at, _)) => at,
                // Busy: look again when it could be over at the earliest.
                None => now + limits.idle_timeout.min(limits.body_idle_timeout),
            };
            timer.as_mut().reset(armed);
        }
    })
    .await
}
