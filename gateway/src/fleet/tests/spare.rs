//! Slots that copies of exchanges take.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_copy_takes_what_is_free_where_the_version_has_no_traffic() {
    let (fleet, _) = fleet_of(settings(2, 10, 500), 1);
    let first = fleet.spare_slot(false).unwrap();
    let _second = fleet.spare_slot(false).unwrap();
    assert!(fleet.spare_slot(false).is_none());
    assert_eq!((fleet.counts().busy, fleet.counts().arrived), (2, 0));
    drop(first);
    assert!(fleet.spare_slot(false).is_some());
}

#[tokio::test(start_paused = true)]
async fn copies_leave_room_for_a_versions_own_requests() {
    let (fleet, _) = fleet_of(settings(4, 10, 500), 1);
    let copies = [
        fleet.spare_slot(true).unwrap(),
        fleet.spare_slot(true).unwrap(),
    ];
    assert!(fleet.spare_slot(true).is_none(), "half of the slots");
    let own = [take(&fleet), take(&fleet)];
    drop(copies);
    let _third = take(&fleet);
    assert!(fleet.spare_slot(true).is_none(), "the last one");
    drop(own);
    assert!(fleet.spare_slot(true).is_some());
    let (alone, _) = fleet_of(settings(1, 10, 500), 1);
    assert!(alone.spare_slot(true).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_copy_never_overtakes_one_who_waits_and_hands_its_slot_on() {
    let (fleet, _) = fleet_of(settings(1, 10, 500), 1);
    let copy = fleet.spare_slot(false).unwrap();
    let mut waits = Box::pin(fleet.slot(None));
    assert!(waits.as_mut().now_or_never().is_none());
    assert!(fleet.spare_slot(false).is_none());
    drop(copy);
    assert!(waits.await.is_ok());
    let (none, _) = fleet_of(settings(1, 10, 500), 0);
    assert!(none.spare_slot(false).is_none());
    assert_eq!(none.counts().queued, 0);
}
