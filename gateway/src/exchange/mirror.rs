//! Copies of an exchange for other versions, and what they are compared by
//! (SEMANTICS §5).
//!
//! A copy is sent when the head of the original's answer is there, so that it
//! neither delays nor fails it, and takes a slot only where one is free at once.
//! Its answer is counted and dropped, and it tells nothing of its replica. It
//! goes on when its original's caller leaves, to at most `scoringTimeout` after
//! the original's end. Called by `choose`, `forward` and `relay`; the ledger
//! says when the original ended.

use std::cell::Cell;
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use twox_hash::XxHash3_64;

use super::choose::Chosen;
use super::forward;
use super::ledger::Ledger;
use super::{Worker, head, record};
use crate::fleet::Slot;
use crate::metrics::Metrics;
use crate::name::Name;
use crate::table::{Entry, VersionEntry};
use crate::upstream::{Link, Response, Upload, Uploading};

/// Largest request body that is copied: scoring requests are kilobytes, and what
/// is kept of them is kept until they are answered.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What copies of one worker's exchanges may keep at once: 32 of the largest. A
/// greater one only helps where models are slow and bodies large.
const ROOM_BYTES: usize = 32 << 20;
/// What a copy keeps beside its body: head, task, and their parts in buffers.
const COPY_BYTES: usize = 4 << 10;

/// Bytes that copies of one worker's exchanges keep.
#[derive(Debug, Default)]
pub(super) struct Room(Cell<usize>);

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
struct Share(Rc<Room>, usize);

impl Room {
    fn share(self: &Rc<Self>, bytes: usize) -> Option<Share> {
        let used = self.0.get() + bytes;
        (used <= ROOM_BYTES).then(|| {
            self.0.set(used);
            Share(Rc::clone(self), bytes)
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - self.1);
    }
}

/// The versions that get a copy of an exchange with `version`: those that the
/// split policy named, and the configured one for its share of the exchanges.
pub(super) fn choose(
    worker: &Worker,
    entry: &Entry,
    version: &VersionEntry,
    named: &[Name],
) -> Vec<Arc<VersionEntry>> {
    let known = |name: &Name| entry.version(name.as_str()).cloned();
    let mut to: Vec<_> = named.iter().filter_map(known).collect();
    if let Some(mirror) = &entry.spec.mirror
        && mirror.version != version.spec.name
        && !named.contains(&mirror.version)
        && worker.chance.draw() % 10_000 < mirror.percent.hundredths()
    {
        to.extend(known(&mirror.version));
    }
    to
}

/// Copies that will be made of an exchange, once it is answered.
#[derive(Debug)]
pub(super) struct Plan {
    endpoint: Name,
    to: Vec<Arc<VersionEntry>>,
    compare_body: bool,
    /// The head as the original's replica gets it.
    head: Option<Parts>,
    /// Most bytes of the body.
    pub(super) body_bytes: usize,
    share: Share,
}

/// Plans the copies of an exchange that has its slot; none where there are none
/// to be made, and why is counted.
pub(super) fn plan(ledger: &Ledger, chosen: &mut Chosen) -> Option<Box<Plan>> {
    if chosen.mirrors.is_empty() {
        return None;
    }
    let worker = ledger.worker();
    let endpoint = ledger.endpoint()?.clone();
    let metrics = &worker.shared.metrics;
    let mut to = std::mem::take(&mut chosen.mirrors);
    to.retain(|version| {
        let listed = version.paths.allow(chosen.target.path());
        if !listed {
            count(metrics, &endpoint, version, "skipped_path");
        }
        listed
    });
    if to.is_empty() {
        return None;
    }
    let length = chosen.admitted.content_length;
    let body_bytes = match length.map(usize::try_from) {
        Some(length) => length.unwrap_or(usize::MAX),
        None if ledger
            .unread
            .as_ref()
            .is_none_or(|body| body.is_end_stream()) =>
        {
            0
        }
        None => BODY_BYTES_MAX,
    };
    let why = if chosen.admitted.upgrade.is_some() {
        "skipped_upgrade"
    } else if body_bytes > BODY_BYTES_MAX {
        "skipped_body_size"
    } else if let Some(share) = worker.room.share(body_bytes + COPY_BYTES * to.len()) {
        return Some(Box::new(Plan {
            endpoint,
            to,
            compare_body: chosen.compare_body,
            head: None,
            body_bytes,
            share,
        }));
    } else {
        "skipped_room"
    };
    for version in &to {
        count(metrics, &endpoint, version, why);
    }
    None
}

impl Plan {
    /// Keeps the head that the original's replica gets.
    pub(super) fn keep_head(&mut self, head: &Parts) {
        let mut head = head.clone();
        // hyper says how long the copy is; the trailers were not copied.
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER] {
            head.headers.remove(name);
        }
        self.head = Some(head);
    }

    /// Sends the copies: the original is answered with `status`.
    pub(super) fn send(self, ledger: &mut Ledger, uploading: &Uploading, status: StatusCode) {
        let worker = ledger.worker();
        let Some(head) = self.head else { return };
        let skip = |version: &VersionEntry, why: &str| {
            count(&worker.shared.metrics, &self.endpoint, version, why);
        };
        let Some(body) = uploading.whole() else {
            let early = uploading.ended().is_none();
            let why = if early {
                "skipped_early_answer"
            } else {
                "skipped_body_size"
            };
            self.to.iter().for_each(|version| skip(version, why));
            return;
        };
        let seen = Rc::new(Seen {
            status,
            first_byte: record::upstream(ledger).unwrap_or_default(),
            end: Cell::new(None),
            over: Notify::new(),
        });
        let share = Rc::new(self.share);
        let mut sent = false;
        for version in self.to {
            let own = version.spec.default || version.spec.traffic != crate::units::Percent::ZERO;
            let Some(slot) = version.fleet.spare_slot(own) else {
                skip(&version, "skipped_no_slot");
                continue;
            };
            let copy = Copy {
                worker: Rc::clone(&worker),
                endpoint: self.endpoint.clone(),
                version,
                request: Request::from_parts(head.clone(), Upload::copy(body.clone())),
                compare_body: self.compare_body,
            };
            sent = true;
            let (seen, share) = (Rc::clone(&seen), Rc::clone(&share));
            worker.shared.tasks.spawn_local(async move {
                copy.run(slot, &seen).await;
                drop(share);
            });
        }
        if sent {
            let digest = self.compare_body.then(XxHash3_64::new);
            ledger.original = Some(Box::new(Original { seen, digest }));
        }
    }
}

fn count(metrics: &Metrics, endpoint: &Name, version: &VersionEntry, result: &str) {
    let labels = [endpoint.as_str(), version.spec.name.as_str(), result];
    metrics.mirror.with(&labels).inc();
}

/// What its copies are told of an exchange.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    first_byte: Duration,
    end: Cell<Option<End>>,
    over: Notify,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With so many bytes, of this digest where one is wanted.
    Whole(u64, Option<u64>),
    /// Before its end.
    Broken,
}

impl Seen {
    fn tell(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
            self.over.notify_waiters();
        }
    }

    /// Waits for the original's end. Cancel-safe.
    async fn over(&self) -> End {
        loop {
            if let Some(end) = self.end.get() {
                return end;
            }
            self.over.notified().await;
        }
    }
}

/// The original, as its ledger holds it while its answer streams.
pub(super) struct Original {
    seen: Rc<Seen>,
    digest: Option<XxHash3_64>,
}

impl std::fmt::Debug for Original {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Original")
            .field("seen", &self.seen)
            .finish()
    }
}

impl Original {
    /// Takes a piece of the answer's body.
    pub(super) fn take(&mut self, data: &Bytes) {
        if let Some(digest) = &mut self.digest {
            digest.write(data);
        }
    }

    /// It ended, with so many bytes of an answer, which is whole or not.
    pub(super) fn ended(self, bytes: u64, whole: bool) {
        let digest = self.digest.as_ref().map(Hasher::finish);
        self.seen.tell(if whole {
            End::Whole(bytes, digest)
        } else {
            End::Broken
        });
    }
}

/// A copy on its way.
struct Copy {
    worker: Rc<Worker>,
    endpoint: Name,
    version: Arc<VersionEntry>,
    request: Request<Upload>,
    compare_body: bool,
}

/// An answer to a copy.
struct Answer {
    status: StatusCode,
    first_byte: Duration,
    bytes: u64,
    digest: Option<u64>,
}

impl Copy {
    /// Sends it, reads its answer, and compares that once the original has its
    /// own. A gateway that stops waits for neither.
    async fn run(self, slot: Slot, seen: &Seen) {
        let Self {
            worker,
            endpoint,
            version,
            request,
            compare_body,
        } = self;
        let tasks = &worker.shared.tasks;
        let compared = async {
            let answer = exchange(&worker, &version, request, slot, (compare_body, seen)).await;
            (answer, seen.over().await)
        };
        let (answer, end) = tokio::select! {
            biased;
            () = tasks.stopped() => return,
            compared = compared => compared,
        };
        let metrics = &worker.shared.metrics;
        let labels = [endpoint.as_str(), version.spec.name.as_str()];
        if let Some(answer) = &answer {
            let (copy, original) = (answer.first_byte, seen.first_byte);
            if copy >= original {
                let slower = metrics.mirror_slower_seconds.with(&labels);
                slower.observe(copy.saturating_sub(original));
            } else {
                let faster = metrics.mirror_faster_seconds.with(&labels);
                faster.observe(original.saturating_sub(copy));
            }
        }
        count(
            metrics,
            &endpoint,
            &version,
            result(answer.as_ref(), seen.status, end),
        );
    }
}

fn result(answer: Option<&Answer>, status: StatusCode, end: End) -> &'static str {
    let Some(answer) = answer else {
        return "failed";
    };
    match end {
        End::Broken => "uncompared",
        _ if answer.status != status => "status_differs",
        End::Whole(bytes, _) if answer.bytes != bytes => "size_differs",
        End::Whole(_, digest) if answer.digest != digest => "body_differs",
        End::Whole(..) => "same",
    }
}

/// One exchange with the slot's replica; none where it failed.
async fn exchange(
    worker: &Worker,
    version: &VersionEntry,
    request: Request<Upload>,
    slot: Slot,
    (compare_body, seen): (bool, &Seen),
) -> Option<Answer> {
    let spec = &version.spec;
    // Declared after the slot: the connection is closed before that is free.
    let sent = send(worker, &slot, request);
    let (response, first_byte, link) = timeout(spec.scoring_timeout, sent).await.ok()??;
    head::check_answer(response.status(), response.headers(), None).ok()?;
    let mut answer = Answer {
        status: response.status(),
        first_byte,
        bytes: 0,
        digest: None,
    };
    let mut digest = compare_body.then(XxHash3_64::new);
    let mut body = response.into_body();
    let cut = async {
        seen.over().await;
        sleep(spec.scoring_timeout).await;
    };
    let read = async {
        while let Ok(frame) = timeout(spec.stream_idle_timeout, body.frame()).await {
            let Some(frame) = frame else { return true };
            let Ok(frame) = frame else { return false };
            if let Some(data) = frame.data_ref() {
                answer.bytes += data.len() as u64;
                if let Some(digest) = &mut digest {
                    digest.write(data);
                }
            }
        }
        false
    };
    let whole = tokio::select! {
        whole = read => whole,
        () = cut => false,
    };
    drop(body);
    if !whole {
        drop(link);
        return None;
    }
    worker.pool.put(link);
    answer.digest = digest.as_ref().map(Hasher::finish);
    Some(answer)
}

/// Sends on an unused connection, or a new one where there is none or the one
/// there was turns out to be closed; the head of the answer and its time.
async fn send(
    worker: &Worker,
    slot: &Slot,
    mut request: Request<Upload>,
) -> Option<(Response, Duration, Link)> {
    let peer = forward::peer(slot.replica());
    if let Some(mut link) = worker.pool.take(&peer) {
        let began = tokio::time::Instant::now();
        match link.send(request).await {
            Ok(response) => return Some((response, began.elapsed(), link)),
            Err(unsent) => request = *unsent.request?,
        }
    }
    let mut link = worker.pool.connect(&peer).await.ok()?;
    let began = tokio::time::Instant::now();
    let response = link.send(request).await.ok()?;
    Some((response, began.elapsed(), link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_by_status_then_size_then_body() {
        #[track_caller]
        fn check(status: u16, bytes: u64, digest: Option<u64>, expected: &str) {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                first_byte: Duration::ZERO,
                bytes,
                digest,
            };
            let end = End::Whole(5, Some(7));
            assert_eq!(result(Some(&answer), StatusCode::OK, end), expected);
            assert_eq!(
                result(Some(&answer), StatusCode::OK, End::Broken),
                "uncompared"
            );
        }
        check(200, 5, Some(7), "same");
        check(500, 5, Some(7), "status_differs");
        check(500, 4, Some(8), "status_differs");
        check(200, 4, Some(8), "size_differs");
        check(200, 5, Some(8), "body_differs");
        assert_eq!(result(None, StatusCode::OK, End::Broken), "failed");
    }

    #[test]
    fn room_is_bounded_and_given_back() {
        let room = Rc::new(Room::default());
        let all = room.share(ROOM_BYTES).unwrap();
        assert!(room.share(1).is_none());
        drop(all);
        let _half = room.share(ROOM_BYTES / 2).unwrap();
        assert!(room.share(ROOM_BYTES / 2 + 1).is_none());
    }
}
