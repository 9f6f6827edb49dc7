//! The end of an exchange that has no answer of a model.
//!
//! Answers the fault, and sees to it that the rest of the caller's body is not
//! read as the next request: a short one is read off, else the connection is
//! closed. Called by `exchange`.

use std::any::Any;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::body::Body;
use super::ledger::Ledger;
use super::{problem, relay};
use crate::fault::Fault;

/// Of a body that nobody wants, what is read off so that the connection can be
/// used again; more costs more than a new connection.
const DRAIN_BYTES_MAX: u64 = 64 << 10;
/// Of a longer one, what is read off before the connection is closed: without
/// it the caller's system drops the answer when it learns of the close.
const LINGER_BYTES_MAX: u64 = 1 << 20;
/// How long either may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What must be known of a request to answer it, whatever became of it.
#[derive(Debug)]
pub(super) struct Manner {
    plain: bool,
    expects: bool,
}

impl Manner {
    /// That of a request.
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            plain: problem::wants_plain(&parts.headers),
            expects: parts.headers.contains_key(EXPECT),
        }
    }

    /// Whether the caller waits for 100 Continue.
    pub(super) fn expects(&self) -> bool {
        self.expects
    }
}

/// Answers a fault. The exchange is recorded when this returns.
pub(super) fn refuse(mut ledger: Box<Ledger>, fault: &Fault, manner: &Manner) -> Response<Body> {
    ledger.fault(fault);
    ledger.id();
    let mut response = problem::answer(fault, ledger.id_text(), manner.plain);
    relay::stamp(response.headers_mut(), &mut ledger);
    if matches!(fault, Fault::CallerGone) {
        // 499 is for the log; who is still there only closed its side early.
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let clean = rest_is_read(&mut ledger, manner);
    // At the memory limit a connection is worth more closed.
    let ends = matches!(
        fault,
        Fault::Malformed(_) | Fault::Draining | Fault::OutOfMemory
    );
    let must_close = ends || !clean;
    if must_close && !ledger.connection.http2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Whether nothing of the body is left, or what is left will be read off.
fn rest_is_read(ledger: &mut Ledger, manner: &Manner) -> bool {
    let from_upload = || ledger.uploading.as_ref().and_then(|body| body.take());
    let Some(body) = ledger.unread.take().or_else(from_upload) else {
        return true;
    };
    if body.is_end_stream() {
        return true;
    }
    if manner.expects {
        // Who waits for 100 Continue sends no body after this answer, or does:
        // only the end of the connection tells; over HTTP/2 a reset does.
        return ledger.connection.http2;
    }
    // Over HTTP/2 too: dropped, it is reset with NO_ERROR after the answer, as
    // RFC 9113 §8.1 has it, and curl 7.88 (Debian 12) loses the answer by that.
    let short = body
        .size_hint()
        .upper()
        .is_some_and(|n| n <= DRAIN_BYTES_MAX);
    let http2 = ledger.connection.http2;
    let worker = ledger.worker();
    worker.shared.tasks.spawn_local(async move {
        let _too_slow = tokio::time::timeout(DRAIN_TIMEOUT, drain(body)).await;
    });
    short || http2
}

/// Reads a body off. Dropping it before its end makes hyper close the connection.
async fn drain(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > LINGER_BYTES_MAX {
            return;
        }
    }
}

/// The fault of a panic, with what it said, for the log.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let said = said.unwrap_or("without words");
    tracing::error!(said, "an exchange panicked");
    Fault::Internal(format!("panicked: {said}"))
}
