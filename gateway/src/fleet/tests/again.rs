//! Trying once more on another replica.

use super::*;

#[tokio::test(start_paused = true)]
async fn once_more_takes_another_replica_or_none() {
    let (fleet, _) = fleet_of(settings(4, 10, 500), 2);
    for _ in 0..3 {
        let slot = fleet.slot(again(&id(1))).now_or_never().unwrap().unwrap();
        assert_eq!(slot.replica().id, id(2));
    }
    // Three is what a fresh version may spend.
    assert!(matches!(
        fleet.slot(again(&id(1))).now_or_never(),
        Some(Err(Fault::NoReplica { .. }))
    ));
    for _ in 0..10 {
        drop(take(&fleet));
    }
    assert!(matches!(
        fleet.slot(again(&id(1))).now_or_never(),
        Some(Ok(_))
    ));
    fleet.set_ready(&id(2), false);
    for _ in 0..10 {
        drop(take(&fleet));
    }
    let alone = fleet.slot(again(&id(1))).now_or_never();
    assert!(matches!(alone, Some(Err(Fault::NoReplica { .. }))));
}

#[tokio::test(start_paused = true)]
async fn trying_once_more_waits_for_what_is_left_of_one_wait() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 2);
    let _held = (take(&fleet), take(&fleet));
    let first = id(1);
    let after = |waited| Again::after(&first, Duration::from_millis(waited));
    for (waited, left) in [(0, 500), (350, 150), (500, 0), (900, 0)] {
        let begun = tokio::time::Instant::now();
        let slot = fleet.slot(Some(after(waited))).await;
        assert_overloaded(slot, Duration::from_millis(left));
        assert_eq!(begun.elapsed(), Duration::from_millis(left), "{waited}");
        // Tries are charged to what others earn.
        for _ in 0..10 {
            assert!(fleet.slot(None).now_or_never().is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_must_not_have_the_free_replica_does_not_hold_up_others() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 2);
    let (one, two) = (take(&fleet), take(&fleet));
    let (first, second) = (one.replica().id.clone(), two.replica().id.clone());
    let mut picky = std::pin::pin!(fleet.slot(again(&first)));
    assert!(picky.as_mut().now_or_never().is_none());
    let mut easy = std::pin::pin!(fleet.slot(None));
    assert!(easy.as_mut().now_or_never().is_none());
    drop(one);
    assert_eq!(easy.now_or_never().unwrap().unwrap().replica().id, first);
    drop(two);
    assert_eq!(picky.now_or_never().unwrap().unwrap().replica().id, second);
}

#[tokio::test(start_paused = true)]
async fn trying_once_more_is_charged_though_the_first_replica_is_gone() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 1);
    let again = || fleet.slot(again(&id(7))).now_or_never().unwrap();
    let served = (0..100).filter(|_| again().is_ok()).count();
    assert!((1..10).contains(&served), "{served}");
}
