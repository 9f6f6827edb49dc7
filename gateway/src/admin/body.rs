//! Bodies of the admin API: what is read of a request, within limits, and what
//! an answer is made of.
//!
//! Never holds more of a request than its row takes. Used by the whole of `admin`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::answer::Refusal;
use super::row::Takes;
use crate::resource;

/// Largest JSON body: six versions with a thousand models each are 600 KB.
const JSON_BYTES_MAX: usize = 1 << 20;
/// Largest component (DESIGN §6).
const WASM_BYTES_MAX: usize = 32 << 20;
/// Between two pieces of a body.
const IDLE: Duration = Duration::from_secs(30);
/// For a whole body: 32 MiB at 1 Mbit/s.
const TOTAL: Duration = Duration::from_secs(300);

/// The body of an answer.
pub(super) enum Body {
    /// In one piece, until it is taken.
    Whole(Option<Bytes>),
    /// As it comes.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body {
    pub(super) fn whole(content: Bytes) -> Self {
        Self::Whole(Some(content).filter(|content| !content.is_empty()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(content) => Poll::Ready(content.take().map(|piece| Ok(Frame::data(piece)))),
            Self::Stream(pieces) => pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(content) => {
                http_body::SizeHint::with_exact(content.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

/// Reads what a row takes.
pub(super) async fn read(
    headers: &HeaderMap,
    incoming: Incoming,
    takes: Takes,
) -> Result<Bytes, Refusal> {
    let limit = match takes {
        Takes::Nothing => 0,
        Takes::Json | Takes::MergePatch => JSON_BYTES_MAX,
        Takes::Wasm => WASM_BYTES_MAX,
    };
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large(limit));
    }
    let collected = tokio::time::timeout(TOTAL, collect(incoming, limit)).await;
    let content = collected.unwrap_or_else(|_| Err(too_slow()))?;
    if let (Some(wanted), false) = (takes.media_type(), content.is_empty()) {
        check_type(headers, wanted)?;
    }
    Ok(content)
}

/// A body as JSON; where it is none, or has a key twice, every place of it.
pub(super) fn json<T: DeserializeOwned>(content: &[u8]) -> Result<T, Refusal> {
    if let Err(problems) = resource::json::strict(content) {
        let first = problems.first().map(|one| {
            let at = if one.path.is_empty() { "" } else { ": " };
            let (path, message) = (&one.path, &one.message);
            let place = format!("line {}, column {}", one.line, one.column);
            format!("the body: {path}{at}{message}, at {place}")
        });
        return Err(Refusal::malformed(first.unwrap_or_default()).of(problems));
    }
    serde_json::from_slice(content)
        .map_err(|error| Refusal::malformed(format!("the body: {error}")))
}

/// [`json`] where no body is the default.
pub(super) fn json_or_default<T: Default + DeserializeOwned>(content: &[u8]) -> Result<T, Refusal> {
    if content.is_empty() {
        return Ok(T::default());
    }
    json(content)
}

async fn collect(mut incoming: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let mut content = BytesMut::new();
    loop {
        let next = tokio::time::timeout(IDLE, incoming.frame()).await;
        let frame = match next.map_err(|_| too_slow())? {
            None => return Ok(content.freeze()),
            Some(Err(error)) => {
                return Err(Refusal::malformed(format!("the body broke off: {error}")));
            }
            Some(Ok(frame)) => frame,
        };
        if let Ok(piece) = frame.into_data() {
            if content.len() + piece.len() > limit {
                return Err(too_large(limit));
            }
            content.extend_from_slice(&piece);
        }
    }
}

/// A form on some page can send only types that are not these.
fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("none");
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let detail = format!("content-type is {given}; this row takes {wanted}");
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "wrong-content-type",
        detail,
    ))
}

fn too_large(limit: usize) -> Refusal {
    let detail = format!("the body is larger than {limit} bytes, which is the most this row takes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

fn too_slow() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "caller-timeout",
        "the body came too slowly",
    )
}
