//! A replica whose connection broke, and waits that would be in vain.

use std::collections::VecDeque;
use std::pin::Pin;

use breaker::BROKEN_PAUSE;

use super::*;

/// A request that breaks.
fn breaks(slot: Slot) {
    slot.outcome(Outcome::TransportError);
    drop(slot);
}

/// Waits in the queue.
fn waits(fleet: &Arc<Fleet>) -> Pin<Box<impl Future<Output = Result<Slot, Fault>>>> {
    let fleet = Arc::clone(fleet);
    let mut wait = Box::pin(async move { fleet.slot(None).await });
    assert!(wait.as_mut().now_or_never().is_none());
    wait
}

#[tokio::test(start_paused = true)]
async fn one_whose_connection_broke_gets_nothing_of_the_queue() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 2);
    let (one, two) = (take(&fleet), take(&fleet));
    let (gone, other) = (one.replica().id.clone(), two.replica().id.clone());
    let mut queue: VecDeque<_> = (0..3).map(|_| waits(&fleet)).collect();
    breaks(one);
    assert_eq!(fleet.counts().queued, 3);
    drop(two);
    let second = queue.pop_front().unwrap().now_or_never().unwrap().unwrap();
    assert_eq!(second.replica().id, other);
    // A moment later it may have one, which shows whether it lives.
    advance(BROKEN_PAUSE).await;
    assert_eq!(fleet.counts().queued, 1);
    let third = queue.pop_front().unwrap().now_or_never().unwrap().unwrap();
    assert_eq!(third.replica().id, gone);
    breaks(third);
    // One that leaves meanwhile for good changes nothing for the others.
    fleet.remove(&gone);
    drop(second);
    let last = queue.pop_front().unwrap().now_or_never().unwrap().unwrap();
    assert_eq!(last.replica().id, other);
}

#[tokio::test(start_paused = true)]
async fn with_the_only_one_broken_the_queue_waits_and_nobody_is_refused_for_it() {
    let (fleet, _) = fleet_of(settings(2, 10, 500), 1);
    let (one, two) = (take(&fleet), take(&fleet));
    let wait = waits(&fleet);
    breaks(one);
    let begun = now();
    let later = waits(&fleet);
    let first = wait.await.unwrap();
    assert!(now() - begun <= 3 * BROKEN_PAUSE);
    drop(first);
    drop(later.await.unwrap());
    // An answer shows that it lives.
    breaks(take(&fleet));
    let wait = waits(&fleet);
    two.answered(now(), 200, None);
    drop(wait.now_or_never().unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_for_the_only_one_is_not_refused_for_its_break() {
    for (capacity, wait_ms) in [(0, 500), (10, 0), (10, 50)] {
        let (fleet, _) = fleet_of(settings(1, capacity, wait_ms), 1);
        breaks(take(&fleet));
        drop(take(&fleet));
    }
    // A full queue goes first.
    let (fleet, _) = fleet_of(settings(1, 1, 500), 1);
    breaks(take(&fleet));
    let first = waits(&fleet);
    let second = waits(&fleet);
    drop(first.now_or_never().unwrap().unwrap());
    drop(second.now_or_never().unwrap().unwrap());
    // Where another lives, it is that one's queue.
    let (fleet, _) = fleet_of(settings(1, 0, 500), 2);
    let (one, _two) = (take(&fleet), take(&fleet));
    breaks(one);
    assert_overloaded(fleet.slot(None).now_or_never().unwrap(), Duration::ZERO);
}

/// What one is told who asks, and the wait until then.
async fn told(fleet: &Arc<Fleet>) -> (Duration, Option<Duration>) {
    let begun = now();
    match fleet.slot(None).await {
        Err(Fault::Overloaded { retry_after, .. }) => (now() - begun, retry_after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_in_vain_for_a_pause_is_told_at_once() {
    let seconds = Duration::from_secs;
    let mut settings = settings(1, 10, 5_000);
    settings.replicas_max = 1;
    let (fleet, _) = fleet_of(settings.clone(), 1);
    let slot = take(&fleet);
    let waiting = waits(&fleet);
    slot.outcome(Outcome::Answered {
        status: 429,
        retry_after: Some(seconds(30)),
    });
    drop(slot);
    // Who waits already is told as well.
    assert_overloaded(waiting.now_or_never().unwrap(), Duration::ZERO);
    let at_once = (Duration::ZERO, Some(seconds(30)));
    assert_eq!(told(&fleet).await, at_once);
    // Near its end they wait.
    advance(seconds(26)).await;
    assert_eq!(fleet.slot(None).await.unwrap().waited(), seconds(4));
    // Where more replicas may come, nobody is told early.
    settings.replicas_max = 2;
    fleet.update(settings);
    let slot = take(&fleet);
    slot.outcome(Outcome::Answered {
        status: 503,
        retry_after: Some(seconds(30)),
    });
    drop(slot);
    assert_eq!(told(&fleet).await, (seconds(5), Some(seconds(25))));
}

#[tokio::test(start_paused = true)]
async fn an_ejection_beside_a_pause_is_in_vain_too() {
    let seconds = Duration::from_secs;
    let mut settings = settings(8, 10, 500);
    settings.replicas_max = 2;
    let (fleet, _) = fleet_of(settings, 2);
    for _ in 0..3 {
        let slot = fleet.slot(again(&id(2))).await.unwrap();
        slot.outcome(Outcome::Timeout);
    }
    assert_eq!(fleet.counts().ejected, 1);
    let slot = take(&fleet);
    slot.outcome(Outcome::Answered {
        status: 503,
        retry_after: Some(seconds(30)),
    });
    let until = breaker::EJECTION_FIRST;
    assert_eq!(told(&fleet).await, (Duration::ZERO, Some(until)));
}

#[tokio::test(start_paused = true)]
async fn no_replica_says_when_the_next_start_is() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 0);
    let told = |fleet: &Arc<Fleet>| match fleet.slot(None).now_or_never().unwrap() {
        Err(Fault::NoReplica { retry_after, .. }) => retry_after,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&fleet), None);
    let seconds = Duration::from_secs;
    fleet.backs_off(seconds(12));
    fleet.backs_off(seconds(7));
    fleet.backs_off(seconds(25));
    assert_eq!(told(&fleet), Some(seconds(7)));
    advance(seconds(3)).await;
    assert_eq!(told(&fleet), Some(seconds(4)));
    advance(seconds(4)).await;
    assert_eq!(told(&fleet), None);
    fleet.backs_off(seconds(30));
    assert_eq!(told(&fleet), Some(seconds(30)));
}
