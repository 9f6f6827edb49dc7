//! Tests of the fleet as its users see it; time is paused.

use std::sync::atomic::AtomicU64;

use futures_util::FutureExt;
use tokio::time::{advance, sleep};

use super::*;
use crate::breaker;

mod again;
mod broken;
mod figures;
mod spare;
mod stress;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn settings(slots: u32, capacity: usize, wait_ms: u64) -> FleetSettings {
    let slots = NonZeroU32::new(slots).unwrap();
    FleetSettings::new(
        name("iris"),
        name("blue"),
        slots,
        capacity,
        Duration::from_millis(wait_ms),
    )
}

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(&name("blue"), number)
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A fleet with `replicas` ready ones.
fn fleet_of(settings: FleetSettings, replicas: u64) -> (Arc<Fleet>, Arc<Metrics>) {
    let metrics = Metrics::new().unwrap();
    let fleet = Fleet::new(settings, &metrics);
    for number in 1..=replicas {
        fleet.add(id(number), address());
        fleet.set_ready(&id(number), true);
    }
    (fleet, metrics)
}

fn take(fleet: &Arc<Fleet>) -> Slot {
    fleet
        .slot(None)
        .now_or_never()
        .expect("no wait")
        .expect("a slot")
}

/// After a try that had its slot at once.
fn again(not: &ReplicaId) -> Option<Again<&ReplicaId>> {
    Some(Again::after(not, Duration::ZERO))
}

#[track_caller]
fn assert_overloaded(result: Result<Slot, Fault>, expected: Duration) {
    match result {
        Err(Fault::Overloaded { waited, .. }) => assert_eq!(waited, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_taken_without_a_wait() {
    let (fleet, metrics) = fleet_of(settings(2, 10, 500), 1);
    let (first, second) = (take(&fleet), take(&fleet));
    assert_eq!(first.replica().id, id(1));
    assert_eq!(first.waited(), Duration::ZERO);
    assert_eq!(fleet.counts().busy, 2);
    assert_eq!(fleet.counts().free, 0);
    drop((first, second));
    assert_eq!(fleet.counts().free, 2);
    assert_eq!(
        metrics
            .queue_wait_seconds
            .total(crate::metrics::Histogram::count),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_longest_is_served_first() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 1);
    let held = take(&fleet);
    let order = Arc::new(Mutex::new(Vec::new()));
    let waits = (0..5).map(|i| {
        let (fleet, order) = (Arc::clone(&fleet), Arc::clone(&order));
        async move {
            sleep(Duration::from_millis(5 - i)).await;
            let slot = fleet.slot(None).await.unwrap();
            order.lock().push((i, slot.waited()));
            sleep(Duration::from_millis(10)).await;
        }
    });
    let all = futures_util::future::join_all(waits);
    let ((), _) = tokio::join!(
        async {
            sleep(Duration::from_millis(20)).await;
            drop(held);
        },
        all
    );
    let order: Vec<u64> = order.lock().iter().map(|(i, _)| *i).collect();
    assert_eq!(order, [4, 3, 2, 1, 0]);
    assert_eq!(fleet.counts().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_over_the_limit_is_told_how_long_it_was() {
    let (fleet, metrics) = fleet_of(settings(1, 10, 500), 1);
    let _held = take(&fleet);
    assert_overloaded(fleet.slot(None).await, Duration::from_millis(500));
    assert_eq!(fleet.counts().queued, 0);
    assert_eq!(
        metrics
            .queue_wait_seconds
            .total(crate::metrics::Histogram::count),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let (fleet, _) = fleet_of(settings(1, 1, 500), 1);
    let _held = take(&fleet);
    let mut waits = std::pin::pin!(fleet.slot(None));
    assert!(waits.as_mut().now_or_never().is_none());
    assert_overloaded(fleet.slot(None).now_or_never().unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_or_a_wait_of_zero_never_queues() {
    for settings in [settings(1, 0, 500), settings(1, 10, 0)] {
        let (fleet, _) = fleet_of(settings, 1);
        let held = take(&fleet);
        assert_overloaded(fleet.slot(None).now_or_never().unwrap(), Duration::ZERO);
        drop(held);
        drop(take(&fleet));
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_goes_away_leaves_the_queue_at_once() {
    let (fleet, metrics) = fleet_of(settings(1, 10, 500), 1);
    let held = take(&fleet);
    {
        let mut waits = std::pin::pin!(fleet.slot(None));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(fleet.counts().queued, 1);
    }
    assert_eq!(fleet.counts().queued, 0);
    drop(held);
    assert_eq!(fleet.counts().free, 1);
    assert!(
        metrics
            .text()
            .contains("tidegate_queue_depth{endpoint=\"iris\",version=\"blue\"} 0")
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_handed_to_one_who_went_away_goes_to_the_next() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 1);
    let held = take(&fleet);
    let mut next = Box::pin(fleet.slot(None));
    {
        let mut gone = std::pin::pin!(fleet.slot(None));
        // The one that goes is first in line.
        assert!(gone.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        drop(held);
        // Handed over, but never looked at.
        assert_eq!(fleet.counts().busy, 1);
        assert_eq!(fleet.counts().queued, 1);
    }
    let slot = next.now_or_never().expect("handed on").expect("a slot");
    assert_eq!(fleet.counts().busy, 1);
    drop(slot);
    assert_eq!(fleet.counts().free, 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_becomes_ready_serves_who_waits_at_once() {
    let (fleet, _) = fleet_of(settings(2, 10, 500), 0);
    fleet.set_starting(1);
    let mut waits: Vec<_> = (0..3).map(|_| Box::pin(fleet.slot(None))).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().now_or_never().is_none());
    }
    fleet.add(id(1), address());
    fleet.set_ready(&id(1), true);
    fleet.set_starting(0);
    let mut third = waits.pop().unwrap();
    let slots: Vec<Slot> = waits
        .into_iter()
        .map(|wait| wait.now_or_never().unwrap().unwrap())
        .collect();
    assert!(third.as_mut().now_or_never().is_none());
    drop(slots);
    drop(third.now_or_never().unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn with_none_ready_and_none_starting_there_is_no_replica_for_new_and_waiting() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 0);
    assert!(!fleet.takes_share());
    let at_once = fleet.slot(None).now_or_never().unwrap();
    assert!(matches!(at_once, Err(Fault::NoReplica { .. })));
    fleet.set_starting(1);
    let mut waits = std::pin::pin!(fleet.slot(None));
    assert!(waits.as_mut().now_or_never().is_none());
    fleet.set_reason("exited with 1".to_owned());
    fleet.set_starting(0);
    match waits.now_or_never().unwrap() {
        Err(Fault::NoReplica { reason, .. }) => assert_eq!(reason, "exited with 1"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_start_that_does_not_end_is_no_replica() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 0);
    fleet.set_starting(1);
    assert!(matches!(
        fleet.slot(None).await,
        Err(Fault::NoReplica { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_ready_gets_nothing_new_and_finishes_what_it_has() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 2);
    let (one, two) = (take(&fleet), take(&fleet));
    fleet.set_ready(&one.replica().id, false);
    let first = one.replica().id.clone();
    drop(one);
    assert!(fleet.slot(None).now_or_never().is_none());
    drop(two);
    let next = take(&fleet);
    assert_ne!(next.replica().id, first);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_the_slots_are_back() {
    let (fleet, _) = fleet_of(settings(2, 10, 500), 1);
    let (one, two) = (take(&fleet), take(&fleet));
    let mut drain = Box::pin({
        let fleet = Arc::clone(&fleet);
        async move { fleet.drain(&id(1)).await }
    });
    assert!(drain.as_mut().now_or_never().is_none());
    assert_eq!(
        (
            fleet.counts().draining,
            fleet.counts().ready,
            fleet.counts().busy
        ),
        (1, 0, 0)
    );
    drop(one);
    assert!(drain.as_mut().now_or_never().is_none());
    drop(two);
    drain.now_or_never().expect("over");
    fleet.remove(&id(1));
    assert_eq!(fleet.counts().draining, 0);
    fleet
        .drain(&id(9))
        .now_or_never()
        .expect("unknown: at once");
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_replica_that_was_removed_are_worth_nothing() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 1);
    let old = take(&fleet);
    fleet.remove(&id(1));
    // The same key is used again, for another replica.
    fleet.add(id(2), address());
    fleet.set_ready(&id(2), true);
    let new = take(&fleet);
    drop(old);
    assert_eq!((fleet.counts().busy, fleet.counts().free), (1, 0));
    drop(new);
    assert_eq!((fleet.counts().busy, fleet.counts().free), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_only_starting_has_no_share_but_can_be_waited_for() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 0);
    fleet.set_starting(1);
    assert!(!fleet.takes_share());
    assert!(fleet.slot(None).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_of_an_empty_version_wake_it_once() {
    let mut settings = settings(1, 1_000, 500);
    settings.cold_start_wait = Some(Duration::from_secs(60));
    let (fleet, _) = fleet_of(settings, 0);
    assert!(fleet.takes_share());
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(fleet.slot(None))).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().now_or_never().is_none());
    }
    fleet.woken().now_or_never().expect("woken");
    assert!(fleet.woken().now_or_never().is_none());
    fleet.set_starting(1);
    // Longer than `maxQueueWait`, which does not count for them.
    advance(Duration::from_secs(30)).await;
    fleet.add(id(1), address());
    fleet.set_ready(&id(1), true);
    fleet.set_starting(0);
    for wait in waits {
        drop(wait.await.expect("served in turn"));
    }
    // Once all starts fail, no request waits for one.
    fleet.remove(&id(1));
    fleet.set_cold(false);
    assert!(matches!(
        fleet.slot(None).now_or_never(),
        Some(Err(Fault::NoReplica { .. }))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_failing_replica_is_ejected_and_tried_again_later() {
    let (fleet, _) = fleet_of(settings(8, 10, 500), 2);
    for _ in 0..3 {
        let slot = fleet.slot(again(&id(2))).now_or_never().unwrap().unwrap();
        slot.outcome(Outcome::TransportError);
        advance(breaker::BROKEN_PAUSE).await;
    }
    assert_eq!(fleet.counts().ejected, 1);
    for _ in 0..20 {
        assert_eq!(take(&fleet).replica().id, id(2));
    }
    advance(breaker::EJECTION_FIRST).await;
    let slots: Vec<Slot> = (0..9).map(|_| take(&fleet)).collect();
    let trial = slots
        .iter()
        .find(|slot| slot.replica().id == id(1))
        .expect("one on trial");
    assert_eq!(
        slots
            .iter()
            .filter(|slot| slot.replica().id == id(1))
            .count(),
        1
    );
    trial.outcome(Outcome::Answered {
        status: 200,
        retry_after: None,
    });
    let more: Vec<Slot> = (0..7).map(|_| take(&fleet)).collect();
    assert!(more.iter().all(|slot| slot.replica().id == id(1)));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_breaks_every_answer_off_after_its_head_is_ejected() {
    let (fleet, _) = fleet_of(settings(8, 10, 500), 2);
    let answered = |slot: &Slot| slot.answered(now(), 200, None);
    for _ in 0..3 {
        assert_eq!(fleet.counts().ejected, 0);
        let slot = fleet.slot(again(&id(2))).now_or_never().unwrap().unwrap();
        answered(&slot);
        slot.outcome(Outcome::Timeout);
    }
    assert_eq!(fleet.counts().ejected, 1);
    // One that ends an answer between them is not.
    for _ in 0..20 {
        let slot = take(&fleet);
        assert_eq!(slot.replica().id, id(2));
        answered(&slot);
        slot.outcome(Outcome::Ended);
        drop(slot);
        let slot = take(&fleet);
        answered(&slot);
        slot.outcome(Outcome::Timeout);
    }
    fleet.remove(&id(1));
    fleet.add(id(3), address());
    fleet.set_ready(&id(3), true);
    assert_eq!(fleet.counts().ejected, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_a_models_pause_is_over() {
    let (fleet, _) = fleet_of(settings(1, 10, 5_000), 1);
    let slot = take(&fleet);
    slot.outcome(Outcome::Answered {
        status: 503,
        retry_after: Some(Duration::from_secs(2)),
    });
    drop(slot);
    let slot = fleet.slot(None).await.expect("after the pause");
    assert_eq!(slot.waited(), Duration::from_secs(2));
    slot.outcome(Outcome::Answered {
        status: 429,
        retry_after: Some(Duration::from_secs(30)),
    });
    drop(slot);
    match fleet.slot(None).await {
        Err(Fault::Overloaded { retry_after, .. }) => {
            assert_eq!(retry_after, Some(Duration::from_secs(25)))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_early() {
    let mut settings = settings(1, 1_000, 500);
    settings.replicas_max = 1;
    let (fleet, _) = fleet_of(settings.clone(), 1);
    for _ in 0..50 {
        let slot = take(&fleet);
        advance(Duration::from_millis(100)).await;
        drop(slot);
    }
    let _held = take(&fleet);
    let mut waits: Vec<_> = (0..10).map(|_| Box::pin(fleet.slot(None))).collect();
    let told = waits
        .iter_mut()
        .filter_map(|wait| wait.as_mut().now_or_never())
        .count();
    // 100 ms each: the seventh would wait 600 ms at the least.
    assert_eq!((told, fleet.counts().queued), (4, 6));
    // Where more replicas may come, nobody is.
    settings.replicas_max = 2;
    fleet.update(settings);
    assert!(fleet.slot(None).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn gauges_follow_every_change_and_end_with_the_fleet() {
    let (fleet, metrics) = fleet_of(settings(4, 10, 500), 2);
    fleet.set_wanted(3);
    fleet.set_starting(1);
    let held = take(&fleet);
    let text = metrics.text();
    for line in [
        "slots{endpoint=\"iris\",state=\"busy\",version=\"blue\"} 1",
        "slots{endpoint=\"iris\",state=\"free\",version=\"blue\"} 7",
        "replicas{endpoint=\"iris\",state=\"wanted\",version=\"blue\"} 3",
        "replicas{endpoint=\"iris\",state=\"ready\",version=\"blue\"} 2",
        "replicas{endpoint=\"iris\",state=\"starting\",version=\"blue\"} 1",
    ] {
        assert!(same_labels(&text, line), "{line} in {text}");
    }
    drop(held);
    drop(fleet);
    let slots = |state| metrics.slots.with(&["iris", "blue", state]).value();
    assert_eq!((slots("busy"), slots("free")), (0, 0));
}

/// Whether `text` has a line of this name, value and labels, in any order.
fn same_labels(text: &str, line: &str) -> bool {
    let parts = |line: &str| {
        let mut parts: Vec<String> = line
            .split(['{', '}', ',', ' '])
            .map(str::to_owned)
            .collect();
        parts.sort();
        parts
    };
    let wanted = parts(&format!("tidegate_{line}"));
    text.lines().any(|line| parts(line) == wanted)
}
