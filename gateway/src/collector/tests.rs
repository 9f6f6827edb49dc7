use bytes::Bytes;

use super::*;
use crate::policy::tests::exchange;
use crate::policy::{CollectedBody, Designation};

/// One exchange, and an entry of each of these exchanges.
fn kept(of: &[Option<usize>]) -> Kept {
    let entry = |exchange: &Option<usize>| Entry {
        exchange: *exchange,
        designation: Designation::Inputs,
        content_type: "application/json".to_owned(),
        data: Bytes::from_static(b"[1]"),
    };
    Kept {
        exchanges: vec![exchange()],
        entries: of.iter().map(entry).collect(),
    }
}

#[track_caller]
fn check(metrics: &Metrics, expected: &[(&str, u64)]) {
    let count = |result: &str| {
        let labels = ["iris", "blue", result];
        metrics.collect_entries.with(&labels).value()
    };
    let found: Vec<(&str, u64)> = expected.iter().map(|one| (one.0, count(one.0))).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_taken_is_delivered_once_its_file_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let mut journal = Journal::open(folder.path(), "g").unwrap();
    // One was never shown, and one is of no exchange at all.
    let kept = kept(&[Some(0), Some(1), Some(0), None]);
    count_kept(&kept, &metrics);
    check(&metrics, &[("taken", 2), ("delivered", 0)]);
    append(&mut journal, &kept, &metrics, Instant::now());
    check(
        &metrics,
        &[
            ("taken", 2),
            ("delivered", 2),
            ("dropped_exchange", 2),
            ("dropped_disk", 0),
        ],
    );
}

#[test]
fn what_is_taken_and_cannot_be_written_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let mut journal = Journal::open(folder.path(), "g").unwrap();
    // A file stands where the endpoint's folder would.
    std::fs::write(folder.path().join("iris"), "").unwrap();
    let kept = kept(&[Some(0)]);
    count_kept(&kept, &metrics);
    append(&mut journal, &kept, &metrics, Instant::now());
    check(
        &metrics,
        &[("taken", 1), ("delivered", 0), ("dropped_disk", 1)],
    );
}

/// Exchanges with a body of so many KiB each: those of every batch that was
/// ended, and of the one that was begun last.
#[track_caller]
fn batched(bodies: &[usize], expected: &[&[usize]]) {
    let collect: Arc<[CollectEntry]> = Arc::new([]);
    let (mut batches, mut ended) = (Vec::new(), Vec::new());
    for kib in bodies {
        let body = CollectedBody {
            data: Bytes::from(vec![0; kib << 10]),
            complete: true,
        };
        let collected = Collected {
            collect: Arc::clone(&collect),
            asked: 1,
            exchange: CollectedExchange {
                request_body: Some(body),
                ..exchange()
            },
        };
        ended.extend(add(&mut batches, collected));
    }
    ended.append(&mut batches);
    let kib = |batch: &Batch| {
        let bodies = batch.exchanges.iter().map(body_bytes);
        assert_eq!(batch.bytes, bodies.clone().sum::<usize>());
        bodies.map(|bytes| bytes >> 10).collect::<Vec<_>>()
    };
    let found: Vec<_> = ended.iter().map(kib).collect();
    assert_eq!(found, expected);
}

#[test]
fn no_exchange_carries_a_batch_past_its_bytes() {
    batched(&[1, 1, 2046], &[&[1, 1, 2046]]);
    batched(&[1, 2048], &[&[1], &[2048]]);
    batched(&[2047, 2048, 1, 1], &[&[2047], &[2048], &[1, 1]]);
}
