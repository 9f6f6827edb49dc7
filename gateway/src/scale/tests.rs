//! Tests of the scaler: golden numbers, traces, properties.

use proptest::prelude::*;

use super::*;

fn slots(slots: u32) -> NonZeroU32 {
    NonZeroU32::new(slots).unwrap()
}

fn percent(percent: u32) -> Percent {
    Percent::from_percent(percent).unwrap()
}

#[track_caller]
fn check(busy: u32, queued: u32, per_replica: u32, target: u32, expected: u64) {
    assert_eq!(
        replicas_needed(busy, queued, slots(per_replica), percent(target)),
        expected
    );
}

#[test]
fn the_planning_formula_of_the_manual_gives_286() {
    check(200, 0, 1, 70, 286);
    assert_eq!(
        planned(20_000, Duration::from_secs(10), percent(70), slots(1)),
        286
    );
}

#[test]
fn planning_takes_parts_of_requests_and_seconds() {
    assert_eq!(
        planned(500, Duration::from_secs(1), percent(50), slots(1)),
        1
    );
    assert_eq!(
        planned(500, Duration::from_millis(2_001), percent(100), slots(1)),
        2
    );
    assert_eq!(
        planned(21_000, Duration::from_secs(1), percent(70), slots(1)),
        30
    );
    assert_eq!(
        planned(20_000, Duration::from_secs(10), percent(70), slots(8)),
        36
    );
    assert_eq!(planned(0, Duration::from_secs(1), percent(70), slots(1)), 0);
    assert_eq!(
        planned(u64::MAX, Duration::MAX, percent(1), slots(1)),
        u64::MAX
    );
}

#[test]
fn a_load_that_fits_exactly_needs_no_spare_replica() {
    check(21, 0, 1, 70, 30);
    check(7, 0, 10, 70, 1);
}

#[test]
fn waiting_requests_count_like_running_ones() {
    check(4, 4, 1, 70, 12);
    check(0, 8, 1, 70, 12);
    check(0, 0, 1, 70, 0);
}

#[test]
fn the_largest_load_does_not_overflow() {
    check(u32::MAX, u32::MAX, 1, 1, 858_993_459_000);
}

fn bounds(min: u32, max: u32) -> Bounds {
    Bounds {
        min,
        max,
        slots: slots(1),
        target: percent(70),
        scale_down_delay: Duration::from_secs(60),
        scale_to_zero_after: Duration::from_secs(300),
    }
}

fn load(busy: u32, queued: u32, ready: u32) -> Load {
    Load {
        busy,
        queued,
        ready,
        arrived: u64::from(busy + queued),
        ..Load::default()
    }
}

/// Feeds `(second, load)` and compares what is wanted after each.
#[track_caller]
fn trace(bounds: Bounds, wanted: u32, looks: &[(u64, Load, u32)]) {
    let start = Instant::now();
    let mut scaler = Scaler::new(bounds, start, wanted);
    for (second, load, expected) in looks {
        let now = start + Duration::from_secs(*second);
        assert_eq!(scaler.look(now, load), *expected, "at second {second}");
    }
}

#[test]
fn up_at_the_first_look_and_down_after_the_whole_delay() {
    let busy = load(1, 7, 1);
    let idle = load(0, 0, 4);
    trace(
        bounds(1, 4),
        1,
        &[
            (1, busy, 4),
            (10, idle, 4),
            (60, idle, 4),
            (61, idle, 1),
            (62, busy, 4),
        ],
    );
}

#[test]
fn down_only_to_the_largest_need_of_the_delay() {
    trace(
        bounds(1, 100),
        1,
        &[
            (1, load(14, 0, 1), 20),
            (30, load(7, 0, 20), 20),
            (60, load(2, 0, 20), 20),
            (61, load(2, 0, 20), 10),
            (89, load(2, 0, 10), 10),
            (90, load(2, 0, 10), 3),
        ],
    );
}

#[test]
fn a_need_that_comes_back_within_the_delay_starts_it_afresh() {
    trace(
        bounds(1, 100),
        1,
        &[
            (1, load(7, 0, 1), 10),
            (50, load(1, 0, 10), 10),
            (60, load(7, 0, 10), 10),
            (61, load(1, 0, 10), 10),
            (119, load(1, 0, 10), 10),
            (120, load(1, 0, 10), 2),
        ],
    );
}

#[test]
fn bounds_hold_whatever_the_load() {
    trace(
        bounds(3, 5),
        3,
        &[
            (1, load(0, 0, 3), 3),
            (2, load(90, 90, 3), 5),
            (90, load(0, 0, 5), 3),
        ],
    );
}

#[test]
fn to_none_after_the_time_without_traffic_and_from_none_to_one() {
    let used = |busy, queued, ready| Load {
        busy,
        queued,
        ready,
        arrived: 1,
        ..Load::default()
    };
    let hundred = |busy, ready, starting| Load {
        starting,
        arrived: 101,
        ..used(busy, 100 - busy, ready)
    };
    trace(
        bounds(0, 10),
        1,
        &[
            (1, used(1, 0, 1), 2),
            (61, used(0, 0, 2), 1),
            (300, used(0, 0, 1), 1),
            (301, used(0, 0, 1), 0),
            (302, used(0, 0, 0), 0),
            (303, hundred(0, 0, 0), 1),
            (304, hundred(0, 0, 1), 1),
            (305, hundred(1, 1, 0), 10),
        ],
    );
}

#[test]
fn a_request_between_two_looks_keeps_the_last_replica() {
    let quiet = |arrived| Load {
        ready: 1,
        arrived,
        ..Load::default()
    };
    trace(
        bounds(0, 10),
        1,
        &[
            (1, quiet(0), 1),
            (299, quiet(1), 1),
            (300, quiet(1), 1),
            (598, quiet(1), 1),
            (599, quiet(1), 0),
        ],
    );
}

#[test]
fn while_a_start_fails_no_more_are_ordered() {
    let failing = Load {
        failing: 1,
        ..load(1, 50, 1)
    };
    trace(
        bounds(1, 40),
        2,
        &[(1, failing, 2), (2, failing, 2), (3, load(1, 50, 2), 40)],
    );
}

#[test]
fn other_bounds_hold_at_the_next_look() {
    let start = Instant::now();
    let mut scaler = Scaler::new(bounds(1, 10), start, 1);
    assert_eq!(scaler.look(start, &load(7, 0, 1)), 10);
    scaler.update(bounds(1, 4));
    assert_eq!(scaler.look(start, &load(7, 0, 10)), 4);
    scaler.update(bounds(6, 8));
    assert_eq!(
        scaler.look(start + Duration::from_secs(1), &load(0, 0, 4)),
        8
    );
}

proptest! {
    /// Against the plain reading of the rule: the largest need of the window.
    #[test]
    fn the_window_is_the_largest_need_of_the_delay(
        looks in prop::collection::vec((1_u64..20, 0_u32..60), 1..200),
        min in 1_u32..4, more in 0_u32..60,
    ) {
        let bounds = bounds(min, min + more);
        let start = Instant::now();
        let mut scaler = Scaler::new(bounds.clone(), start, min);
        let mut seen = vec![(0, min)];
        let mut second = 0;
        for (step, busy) in looks {
            second += step;
            let wanted = scaler.look(start + Duration::from_secs(second), &load(busy, 0, 1));
            let need = replicas_needed(busy, 0, bounds.slots, bounds.target) as u32;
            seen.push((second, need.clamp(bounds.min, bounds.max)));
            let largest = seen.iter().filter(|(at, _)| second - at < 60).map(|(_, need)| *need).max();
            prop_assert_eq!(Some(wanted), largest);
        }
    }

    #[test]
    fn wanted_is_never_out_of_bounds(
        looks in prop::collection::vec((0_u64..400, 0_u32..1_000, 0_u32..1_000, 0_u32..9, 0_u32..3), 1..100),
        min in 0_u32..5, more in 0_u32..50,
    ) {
        let bounds = bounds(min, (min + more).max(1));
        let start = Instant::now();
        let mut scaler = Scaler::new(bounds.clone(), start, min);
        let mut second = 0;
        for (step, busy, queued, ready, failing) in looks {
            second += step;
            let load = Load { failing, ..load(busy, queued, ready) };
            let wanted = scaler.look(start + Duration::from_secs(second), &load);
            prop_assert!((bounds.min..=bounds.max).contains(&wanted), "{wanted}");
            prop_assert!(wanted > 0 || busy + queued == 0 || queued == 0);
        }
    }

    #[test]
    fn one_more_request_never_needs_fewer_replicas(busy in 0_u32..100_000, queued in 0_u32..100_000,
                                                   per_replica in 1_u32..100, target in 1_u32..=100) {
        let need = replicas_needed(busy, queued, slots(per_replica), percent(target));
        prop_assert!(replicas_needed(busy + 1, queued, slots(per_replica), percent(target)) >= need);
        // Enough: at `need` replicas utilization is at most the target; with one fewer it is over.
        let utilization_over = |replicas: u64| {
            (u64::from(busy) + u64::from(queued)) * 100 > replicas * u64::from(per_replica) * u64::from(target)
        };
        prop_assert!(!utilization_over(need));
        prop_assert!(need == 0 || utilization_over(need - 1));
    }
}
