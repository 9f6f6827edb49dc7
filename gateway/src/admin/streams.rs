//! Answers that go on: log lines as text, and logs and events as server-sent
//! events.
//!
//! Each has a task that ends with the stream, its reader or the gateway. Never
//! buffers more than a few pieces. Called by `handlers`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Api;
use super::answer::{Refusal, stream};
use super::body::Body;
use super::handlers::KEEP_ALIVE;
use crate::event::Event;
use crate::runtime::{LogLine, LogQuery};

/// Pieces that may wait for a slow reader; after that the source waits.
const PIECES: usize = 64;
/// For the last lines of what was deleted to be read and sent: the reader of logs
/// looks five times a second.
const LAST_LINES: Duration = Duration::from_millis(600);
const SSE: &str = "text/event-stream";

fn shown(line: &LogLine) -> String {
    // A carriage return would end a line of SSE, and jump in a terminal.
    let text = line.text.trim_end_matches('\r').replace('\r', "\\r");
    format!("{} {} {text}", line.time, line.replica)
}

/// Log lines as text, to their end.
pub(super) fn lines(api: &Api, mut lines: mpsc::Receiver<LogLine>) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(PIECES);
    api.tasks.spawn(async move {
        while let Some(line) = lines.recv().await {
            let mut piece = shown(&line);
            piece.push('\n');
            if sender.send(piece.into()).await.is_err() {
                return;
            }
        }
    });
    stream("text/plain; charset=utf-8", Body::Stream(receiver))
}

/// Log lines as server-sent events, as they come. What is followed may be deleted:
/// after its last lines comes an event `end`, which says so.
pub(super) fn follow_lines(
    api: &Api,
    mut lines: mpsc::Receiver<LogLine>,
    query: LogQuery,
) -> Result<Response<Body>, Refusal> {
    let place = place(api)?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let (tasks, control) = (api.tasks.clone(), Arc::clone(&api.control));
    api.tasks.spawn(async move {
        let _place = place;
        let gone = async {
            control.gone(&query.endpoint, query.version.as_ref()).await;
            tokio::time::sleep(LAST_LINES).await;
        };
        tokio::pin!(gone);
        loop {
            let piece: Bytes = tokio::select! {
                () = tasks.stopped() => return,
                () = sender.closed() => return,
                () = &mut gone => break,
                () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(b":\n\n"),
                line = lines.recv() => match line {
                    Some(line) => format!("data: {}\n\n", shown(&line)).into(),
                    None => return,
                },
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
        let object = match &query.version {
            Some(version) => format!("version/{}/{version}", query.endpoint),
            None => format!("endpoint/{}", query.endpoint),
        };
        let end = format!("event: end\ndata: {object} was deleted\n\n");
        // Whoever has gone needs no end.
        let _ = sender.send(end.into()).await;
    });
    Ok(stream(SSE, Body::Stream(receiver)))
}

/// Events as server-sent events: those after `since` that are kept, then new ones.
pub(super) fn follow_events(api: &Api, since: u64) -> Result<Response<Body>, Refusal> {
    let place = place(api)?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let (tasks, control) = (api.tasks.clone(), Arc::clone(&api.control));
    api.tasks.spawn(async move {
        let _place = place;
        let mut live = control.events().follow();
        let mut last = since;
        loop {
            // What is kept covers also what a slow reader missed.
            for event in control.events().since(last) {
                last = event.id;
                if sender.send(shown_event(&event)).await.is_err() {
                    return;
                }
            }
            let piece = tokio::select! {
                () = tasks.stopped() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(KEEP_ALIVE) => Some(Bytes::from_static(b":\n\n")),
                event = live.recv() => match event {
                    Ok(_) | Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return,
                },
            };
            if let Some(piece) = piece
                && sender.send(piece).await.is_err()
            {
                return;
            }
        }
    });
    Ok(stream(SSE, Body::Stream(receiver)))
}

fn shown_event(event: &Event) -> Bytes {
    let mut piece = format!("id: {}\nevent: {}\n", event.id, event.kind);
    // JSON has no bare line ends.
    let _ = write!(
        piece,
        "data: {}\n\n",
        serde_json::to_string(event).unwrap_or_default()
    );
    piece.into()
}

fn place(api: &Api) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
        let detail = "too many followed logs and events; end one";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).with("retry-after", "1")
    })
}
