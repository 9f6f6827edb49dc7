//! Tests of the queue and of the bound on waits.

use proptest::prelude::*;

use super::*;

#[test]
fn a_full_queue_takes_nobody() {
    let now = Instant::now();
    let mut queue = Queue::default();
    assert!(queue.join(1, now, now, 'a').is_ok());
    assert_eq!(queue.join(1, now, now, 'b'), Err(Full));
    assert_eq!(Queue::default().join(0, now, now, 'c'), Err(Full));
}

#[test]
fn one_who_left_cannot_leave_again() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let ticket = queue.join(9, now, now, 'a').unwrap();
    assert_eq!(queue.leave(ticket).map(|waiting| waiting.who), Some('a'));
    assert!(queue.leave(ticket).is_none());
}

#[track_caller]
fn check_least(ahead: usize, slots: u64, fast_ms: Option<u64>, expected_ms: u64) {
    let least = wait_at_least(ahead, slots, fast_ms.map(Duration::from_millis));
    assert_eq!(least, Duration::from_millis(expected_ms));
}

#[test]
fn the_bound_on_a_wait_counts_whole_rounds() {
    check_least(0, 4, Some(100), 0);
    check_least(3, 4, Some(100), 0);
    check_least(4, 4, Some(100), 100);
    check_least(12, 4, Some(100), 300);
}

#[test]
fn nothing_known_is_no_wait() {
    check_least(1_000, 4, None, 0);
    check_least(1_000, 0, Some(100), 0);
}

#[test]
fn the_pace_says_nothing_before_it_knows_enough() {
    let mut pace = Pace::default();
    for _ in 0..ENOUGH - 1 {
        pace.take(Duration::from_millis(10));
    }
    assert_eq!(pace.fast(), None);
    pace.take(Duration::from_millis(10));
    // The lower edge of the bucket of 10 ms.
    assert_eq!(pace.fast(), Some(Duration::from_micros(8_192)));
}

#[test]
fn the_pace_follows_a_model_that_became_faster() {
    let mut pace = Pace::default();
    for _ in 0..2_000 {
        pace.take(Duration::from_secs(1));
    }
    for _ in 0..100 {
        pace.take(Duration::from_millis(1));
    }
    assert!(pace.fast().unwrap() < Duration::from_millis(2));
}

#[test]
fn the_pace_follows_a_model_that_became_slower() {
    let mut pace = Pace::default();
    for _ in 0..2_000 {
        pace.take(Duration::from_millis(1));
    }
    for _ in 0..1_500 {
        pace.take(Duration::from_secs(1));
    }
    assert!(pace.fast().unwrap() > Duration::from_millis(500));
    assert!(pace.quantile(50).unwrap() > Duration::from_millis(500));
}

#[derive(Debug, Clone)]
enum Step {
    Join,
    TakeFirst,
    TakeAt(prop::sample::Index),
    Leave(prop::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Join),
        1 => Just(Step::TakeFirst),
        1 => any::<prop::sample::Index>().prop_map(Step::TakeAt),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
    ]
}

proptest! {
    /// Against a plain list of numbers.
    #[test]
    fn order_is_arrival_order_whoever_leaves(steps in prop::collection::vec(any_step(), 1..200)) {
        let now = Instant::now();
        let mut queue = Queue::default();
        let mut plain: Vec<(Ticket, usize)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Join => match queue.join(20, now, now, number) {
                    Ok(ticket) => plain.push((ticket, number)),
                    Err(Full) => prop_assert_eq!(plain.len(), 20),
                },
                Step::TakeFirst => {
                    let first = (!plain.is_empty()).then(|| plain.remove(0).1);
                    prop_assert_eq!(queue.take(0).map(|waiting| waiting.who), first);
                }
                Step::TakeAt(place) if !plain.is_empty() => {
                    let place = place.index(plain.len());
                    prop_assert_eq!(queue.take(place).unwrap().who, plain.remove(place).1);
                }
                Step::Leave(place) if !plain.is_empty() => {
                    let (ticket, who) = plain.remove(place.index(plain.len()));
                    prop_assert_eq!(queue.leave(ticket).unwrap().who, who);
                }
                Step::TakeAt(_) | Step::Leave(_) => {}
            }
            prop_assert_eq!(queue.len(), plain.len());
            prop_assert!(queue.len() <= 20);
        }
    }

    /// No schedule can serve one sooner than the bound, however the slots come back.
    #[test]
    fn the_bound_is_never_over_the_real_wait(
        residual in prop::collection::vec(0_u64..1_000, 1..6),
        service in prop::collection::vec(100_u64..2_000, 1..40),
    ) {
        // `residual` is what is left of the running requests, one per slot; those
        // ahead take `service` each, at least 100 ms.
        let mut free: Vec<u64> = residual.clone();
        for each in &service {
            free.sort_unstable();
            free[0] += each;
        }
        let real = *free.iter().min().unwrap();
        let fast = Some(Duration::from_millis(100));
        let least = wait_at_least(service.len(), residual.len() as u64, fast);
        prop_assert!(least <= Duration::from_millis(real));
    }
}
