//! Bounds on what the gateway's own rule does in the scenarios of the page.

use std::time::Duration;

use crate::page::{Compared, compared};
use crate::rule::Kind;
use crate::scenarios::{Manner, failing};

/// The default `maxQueueWait` is shorter than a start: there some must go.
const IMPATIENT: &str = "step, 500 ms";

fn patient() -> impl Iterator<Item = &'static Compared> {
    compared()
        .iter()
        .filter(|one| one.scenario.name != IMPATIENT)
}

#[test]
fn nobody_is_turned_away_who_waits_for_a_start() {
    for one in patient() {
        let figures = one.under(Kind::Tidegate);
        assert_eq!(
            (figures.refusals(), figures.failed),
            (0, 0),
            "{}",
            one.scenario.name
        );
    }
}

#[test]
fn nothing_flaps() {
    for one in compared() {
        let figures = one.under(Kind::Tidegate);
        assert_eq!(
            figures.flaps, 0,
            "{}: {:?}",
            one.scenario.name, figures.orders
        );
    }
}

#[test]
fn the_longest_wait_is_a_start_and_the_first_backlog() {
    for one in patient() {
        let longest = one.under(Kind::Tidegate).wait(100);
        // A look until the order, the start, a probe until it is seen; and half a
        // second for the others that are served before it.
        let start = Duration::from_millis(1_600) + one.scenario.start;
        assert!(longest < start, "{}: {longest:?}", one.scenario.name);
    }
}

#[test]
fn goodput_is_at_least_that_of_the_other_rules() {
    for one in compared() {
        let ours = one.under(Kind::Tidegate).goodput();
        for other in [Kind::Knative, Kind::Hpa] {
            let theirs = one.under(other).goodput();
            assert!(
                ours >= theirs,
                "{}: {ours}, {} {theirs}",
                one.scenario.name,
                other.name()
            );
        }
    }
}

/// Failed and turned away of about 5,760 requests, and the p99 of the others.
#[track_caller]
fn check(manner: Manner, failed_max: u64, refused_max: u64, p99_max: Duration) {
    let figures = failing(manner, true).run(Kind::Fixed(4));
    assert!(figures.all() > 5_000);
    assert!(figures.failed <= failed_max, "{} failed", figures.failed);
    assert!(
        figures.refusals() <= refused_max,
        "{} turned away",
        figures.refusals()
    );
    assert!(figures.latency(99) <= p99_max, "{:?}", figures.latency(99));
}

#[test]
fn one_of_four_that_hangs() {
    check(Manner::Hangs, 20, 0, Duration::from_secs(3));
}

#[test]
fn one_of_four_that_answers_500() {
    check(Manner::Errors, 30, 0, Duration::from_secs(3));
}

#[test]
fn one_of_four_that_closes_every_connection() {
    check(Manner::Closes, 20, 0, Duration::from_secs(3));
}

#[test]
fn one_of_four_that_is_killed() {
    check(Manner::Killed, 4, 0, Duration::from_secs(3));
}

#[test]
fn one_of_four_that_never_gets_ready() {
    check(Manner::NeverReady, 0, 0, Duration::from_secs(3));
}

#[test]
fn one_of_four_that_is_slow_from_birth() {
    check(Manner::Slow, 0, 0, Duration::from_secs(6));
}

#[test]
fn one_of_four_that_says_it_is_overloaded() {
    check(Manner::Overloads, 600, 0, Duration::from_secs(3));
}
