//! Figures of a fleet whose slots are held and given back.

use super::*;
use crate::fleet::Figures;

async fn answer(fleet: &Arc<Fleet>, after_ms: u64, status: u16) {
    let slot = take(fleet);
    advance(Duration::from_millis(after_ms)).await;
    slot.answered(now(), status, None);
    // The rest of the body takes as long as its reader does.
    advance(Duration::from_secs(1)).await;
}

fn figures(fleet: &Fleet) -> (u32, u32) {
    let (_, _, figures) = fleet.look();
    (figures.latency_ms_p50, figures.errors_per_10k)
}

#[tokio::test(start_paused = true)]
async fn candidates_are_shown_what_their_replicas_did_lately() {
    let (fleet, _) = fleet_of(settings(8, 10, 500), 4);
    assert_eq!(fleet.look().2, Figures::default());
    for _ in 0..3 {
        answer(&fleet, 20, 200).await;
    }
    assert_eq!(figures(&fleet), (20, 0));
    answer(&fleet, 1, 500).await;
    assert_eq!(figures(&fleet), (20, 2_500), "an error is not quick");
    answer(&fleet, 20, 404).await;
    answer(&fleet, 20, 429).await;
    answer(&fleet, 20, 200).await;
    assert_eq!(
        figures(&fleet),
        (20, 1_428),
        "a caller's errors are not its"
    );
    take(&fleet).outcome(Outcome::Timeout);
    let cut = take(&fleet);
    cut.answered(now(), 200, None);
    cut.outcome(Outcome::TransportError);
    drop(cut);
    assert_eq!(figures(&fleet), (20, 3_333), "once each");
}

#[tokio::test(start_paused = true)]
async fn who_left_and_who_switched_protocols_say_nothing() {
    let (fleet, _) = fleet_of(settings(8, 10, 500), 1);
    drop(take(&fleet));
    answer(&fleet, 5, 101).await;
    assert_eq!(fleet.look().2, Figures::default());
}

#[tokio::test(start_paused = true)]
async fn a_version_without_requests_is_unknown_after_a_while() {
    let (fleet, _) = fleet_of(settings(8, 10, 500), 1);
    answer(&fleet, 20, 200).await;
    advance(Duration::from_secs(290)).await;
    fleet.counts();
    assert_eq!(figures(&fleet), (20, 0));
    advance(Duration::from_secs(20)).await;
    fleet.counts();
    assert_eq!(figures(&fleet), (0, 0));
}
