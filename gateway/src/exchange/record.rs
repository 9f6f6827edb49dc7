//! Step 7 of an exchange, always and once: metrics, the access line, and what
//! is to be collected.
//!
//! Never waits and never fails an exchange; a query is not logged. Called by
//! the ledger's `Drop`.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Worker;
use super::ledger::{Kept, Ledger, Place};
use crate::name::Name;
use crate::outbox::Collected;
use crate::policy::{CollectedBody, CollectedExchange, Outcome};

/// Records the exchange. About a microsecond and a half with an access line.
pub(super) fn record(ledger: &mut Ledger, worker: &Worker) {
    let took = ledger.started.elapsed();
    if let Some(original) = ledger.original.take() {
        original.ended(ledger.response_bytes, ledger.end.fault.is_none());
    }
    let metrics = ledger.metrics();
    metrics.count(ledger.end.status, ledger.end.fault.map(|(_, index)| index));
    metrics.request_seconds.observe(took);
    if let Some(routing) = ledger.routing {
        metrics.routing_seconds.observe(routing);
    }
    if let Some(first_byte) = upstream(ledger) {
        metrics.upstream_first_byte_seconds.observe(first_byte);
    }
    if let Some(access) = &worker.shared.access {
        ledger.id();
        let mut line = worker.line.borrow_mut();
        line.clear();
        write_line(&mut line, ledger, took, crate::id::wall_ms());
        // A line that finds no room is counted there.
        let _room = access.write(line.as_bytes());
    }
    if let Some(kept) = ledger.kept.take() {
        collect(ledger, worker, *kept, took);
    }
}

/// From the end of the request (where that was after its begin) to the head of
/// the answer.
pub(super) fn upstream(ledger: &Ledger) -> Option<Duration> {
    let (sent, answered) = (ledger.sent?, ledger.answered?);
    let uploaded = ledger.uploading.as_ref().and_then(|body| body.ended());
    let from = uploaded.map_or(sent, |uploaded| uploaded.max(sent));
    Some(answered.saturating_duration_since(from))
}

/// One line of JSON, with the keys of SEMANTICS §11 and `reason` where a fault
/// was not the caller's.
fn write_line(line: &mut String, ledger: &Ledger, took: Duration, now_ms: u64) {
    let end = &ledger.end;
    let version = ledger.version().map(|version| &version.spec.name);
    let replica = ledger.replica.as_ref().map(|replica| replica.as_str());
    let caller = ledger.caller.as_ref().map(|caller| caller.subject.as_str());
    let request_bytes = ledger.uploading.as_ref().map_or(0, |body| body.bytes());
    line.push_str("{\"time\":\"");
    let began = crate::id::rfc3339(now_ms.saturating_sub(ms(took)));
    line.push_str(std::str::from_utf8(&began).unwrap_or_default());
    line.push('"');
    field(line, "requestId", Some(ledger.id_text()));
    field(line, "endpoint", ledger.endpoint().map(Name::as_str));
    field(line, "version", version.map(Name::as_str));
    field(line, "replica", replica);
    field(line, "method", Some(ledger.method.as_str()));
    field(line, "path", Some(ledger.uri.path()));
    number(line, "status", u64::from(end.status));
    field(line, "fault", end.fault.map(|(code, _)| code));
    if let Some(reason) = &end.reason {
        field(line, "reason", Some(reason));
    }
    field(line, "caller", caller);
    millis(line, "durationMs", Some(took));
    millis(line, "queueMs", Some(ledger.queued));
    millis(line, "policyMs", Some(ledger.deciding));
    millis(line, "upstreamMs", upstream(ledger));
    number(line, "requestBytes", request_bytes);
    number(line, "responseBytes", ledger.response_bytes);
    line.push_str(",\"policies\":[");
    for (place, decided) in ledger.policies.iter().enumerate() {
        line.push_str(if place == 0 {
            "{\"role\":"
        } else {
            ",{\"role\":"
        });
        text(line, decided.role.as_str());
        field(line, "plugin", Some(decided.plugin.as_str()));
        field(line, "digest", Some(decided.digest.as_str()));
        line.push('}');
    }
    line.push_str("]}");
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn field(line: &mut String, name: &str, value: Option<&str>) {
    key(line, name);
    match value {
        Some(value) => text(line, value),
        None => line.push_str("null"),
    }
}

fn key(line: &mut String, name: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
}

fn number(line: &mut String, name: &str, value: u64) {
    key(line, name);
    // Writing to a String cannot fail.
    let _infallible = write!(line, "{value}");
}

/// Milliseconds with three decimals.
fn millis(line: &mut String, name: &str, value: Option<Duration>) {
    key(line, name);
    match value {
        Some(value) => {
            let us = value.as_micros();
            let _infallible = write!(line, "{}.{:03}", us / 1000, us % 1000);
        }
        None => line.push_str("null"),
    }
}

/// A JSON string.
fn text(line: &mut String, value: &str) {
    line.push('"');
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if value.bytes().all(plain) {
        line.push_str(value);
    } else {
        for one in value.chars() {
            match one {
                '"' | '\\' => {
                    line.push('\\');
                    line.push(one);
                }
                one if u32::from(one) < 0x20 => {
                    let _infallible = write!(line, "\\u{:04x}", u32::from(one));
                }
                one => line.push(one),
            }
        }
    }
    line.push('"');
}

/// Leaves the exchange for the collector.
fn collect(ledger: &mut Ledger, worker: &Worker, kept: Kept, took: Duration) {
    let Place::Version(_, version) = &ledger.place else {
        return;
    };
    let request_bytes = ledger.uploading.as_ref().map_or(0, |body| body.bytes());
    let request_body = ledger.uploading.as_ref().map(|body| {
        let (data, complete) = body.copied(kept.body_bytes);
        CollectedBody { data, complete }
    });
    let whole = kept.response_ended && kept.response.len() as u64 == ledger.response_bytes;
    let response_body = CollectedBody {
        data: Bytes::from(kept.response),
        complete: whole,
    };
    let wanted = kept.body_bytes > 0;
    let from_start = |at: Instant| at.duration_since(ledger.started);
    worker.shared.outbox.offer(Collected {
        collect: version.collect.clone(),
        asked: kept.asked,
        exchange: CollectedExchange {
            request: kept.facts,
            caller: ledger.caller.clone(),
            version: version.spec.name.clone(),
            started_ms: kept.started_ms,
            first_byte_us: ledger.answered.map(from_start).map(us),
            total_us: us(took),
            status: ledger.end.status,
            outcome: outcome(ledger),
            fault_code: ledger.end.fault.map(|(code, _)| code),
            request_bytes,
            response_bytes: ledger.response_bytes,
            response_headers: kept.response_headers,
            request_body: request_body.filter(|_| wanted),
            response_body: (wanted && ledger.answered.is_some()).then_some(response_body),
            tags: kept.tags,
        },
    });
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn outcome(ledger: &Ledger) -> Outcome {
    let end = &ledger.end;
    match end.fault {
        Some(_) if end.broken_off => Outcome::BrokenOff,
        Some(_) => Outcome::Fault,
        None if end.status >= 400 => Outcome::ModelError,
        None => Outcome::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        #[track_caller]
        fn check(value: &str, expected: &str) {
            let mut line = String::new();
            text(&mut line, value);
            assert_eq!(line, expected);
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), value);
        }
        check("plain ä", "\"plain ä\"");
        check("a\"b\\c\n", "\"a\\\"b\\\\c\\u000a\"");
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        let mut line = String::new();
        millis(&mut line, "a", Some(Duration::from_micros(12_034)));
        millis(&mut line, "b", None);
        assert_eq!(line, ",\"a\":12.034,\"b\":null");
    }
}
