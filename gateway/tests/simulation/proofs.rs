//! What issue 4 asks to be shown in virtual time.

use std::time::Duration;

use crate::rule::Kind;
use crate::scenarios::Scenario;
use crate::traffic::Traffic;
use crate::world::PROBE;

/// Eight callers at once on a model of 1 s, from second 10.3 to second 60.3.
fn eight_callers() -> Scenario {
    let traffic = Traffic::Callers {
        count: 8,
        from: 10.3,
        to: 60.3,
    };
    let mut scenario = Scenario::new("eight callers", "", 200.0, traffic);
    scenario.service = Duration::from_secs(1);
    scenario.max = 4;
    scenario
}

#[test]
fn a_load_orders_replicas_at_the_first_refresh_and_gives_them_up_after_the_delay() {
    let figures = eight_callers().run(Kind::Tidegate);
    let (up, from, to) = figures.orders[0];
    assert_eq!(
        (up, from, to),
        (Duration::from_secs(11), 1, 4),
        "the first refresh after the load"
    );
    // The last requests end some seconds after 60.3; the need then falls, and
    // stays down for the whole delay.
    let (down, _, last) = *figures.orders.last().unwrap();
    let quiet = figures
        .seconds
        .iter()
        .rposition(|second| second.need > 0.0)
        .unwrap() as u64
        + 1;
    let after = down - Duration::from_secs(quiet);
    assert!(
        (58..=62).contains(&after.as_secs()),
        "{after:?} after second {quiet}"
    );
    assert_eq!(last, 1);
    assert!(
        figures.orders[1..].iter().all(|(_, from, to)| to < from),
        "{:?}",
        figures.orders
    );
    assert_eq!((figures.failed, figures.refusals()), (0, 0));
    assert_eq!(figures.starts, 3);
}

/// So many callers of a version that has no replica.
fn from_zero(callers: u32, start: Duration) -> Scenario {
    let traffic = Traffic::Bursts {
        count: callers,
        at: vec![5.55],
    };
    let mut scenario = Scenario::new("from zero", "", 60.0, traffic);
    scenario.min = 0;
    scenario.max = 10;
    scenario.start = start;
    scenario.service = Duration::from_millis(10);
    scenario.max_queue_wait = Duration::from_millis(500);
    scenario.cold_start_wait = Some(Duration::from_secs(60));
    scenario
}

#[test]
fn from_zero_the_first_answer_is_at_most_a_probe_after_readiness() {
    for start_ms in [1, 99, 100, 101, 2_345, 20_000] {
        let start = Duration::from_millis(start_ms);
        let figures = from_zero(1, start).run(Kind::Tidegate);
        let first = figures.first_answer.expect("answered");
        // The order is at once, not at the next refresh; the answer takes up to
        // a few times its 10 ms.
        let service = Duration::from_millis(60);
        assert!(
            first <= start + PROBE + service,
            "{first:?} with a start of {start:?}"
        );
        assert_eq!(figures.served, 1);
    }
}

#[test]
fn a_hundred_callers_at_once_cause_one_start() {
    let figures = from_zero(100, Duration::from_secs(8)).run(Kind::Tidegate);
    assert_eq!(
        figures.orders.first().map(|(_, from, to)| (*from, *to)),
        Some((0, 1))
    );
    let second = figures.orders.get(1).map_or(Duration::MAX, |(at, ..)| *at);
    assert!(
        second >= Duration::from_millis(13_550),
        "more before the first was ready: {:?}",
        figures.orders
    );
    assert_eq!(
        (figures.served, figures.failed, figures.refusals()),
        (100, 0, 0)
    );
}

#[test]
fn zero_comes_after_its_time_without_traffic_and_not_before() {
    let traffic = Traffic::Bursts {
        count: 1,
        at: vec![5.5, 290.5],
    };
    let mut scenario = from_zero(1, Duration::from_secs(2));
    scenario.traffic = traffic;
    scenario.length = 700.0;
    let figures = scenario.run(Kind::Tidegate);
    let zero = figures
        .orders
        .iter()
        .find(|(_, _, to)| *to == 0)
        .expect("to zero")
        .0;
    assert!((590..=592).contains(&zero.as_secs()), "{zero:?}");
    assert_eq!(
        (figures.served, figures.starts),
        (2, 1),
        "{:?}",
        figures.orders
    );
}
