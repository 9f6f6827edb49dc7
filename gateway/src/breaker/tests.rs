//! Tests of ejection, back-pressure and the retry budget.

use proptest::prelude::*;

use super::*;

const OK: Outcome = Outcome::Answered {
    status: 200,
    retry_after: None,
};
const ENDED: Outcome = Outcome::Ended;
const SECOND: Duration = Duration::from_secs(1);

fn answered(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        retry_after: None,
    }
}

/// What the last of these outcomes asks of a fresh replica of 8 slots.
#[track_caller]
fn check(outcomes: &[Outcome], expected: Verdict) {
    let now = Instant::now();
    let mut health = Health::default();
    let mut verdict = Verdict::Keep;
    for outcome in outcomes {
        verdict = health.report(now, *outcome, 8, 4);
    }
    assert_eq!(verdict, expected, "{outcomes:?}");
}

#[test]
fn three_transport_errors_or_timeouts_in_a_row_eject() {
    use Outcome::{Timeout, TransportError};
    check(&[TransportError; 2], Verdict::Keep);
    check(&[TransportError; 3], Verdict::Eject);
    check(&[Timeout, TransportError, Timeout], Verdict::Eject);
    check(
        &[TransportError, TransportError, OK, ENDED, TransportError],
        Verdict::Keep,
    );
}

#[test]
fn an_answer_that_breaks_off_after_its_head_is_no_good_answer() {
    use Outcome::{Timeout, TransportError};
    let broken = |head: Outcome| [head, TransportError, head, Timeout, head, TransportError];
    for head in [OK, answered(404), answered(500), answered(503)] {
        check(&broken(head), Verdict::Eject);
        check(&broken(head)[..5], Verdict::Keep);
    }
    // One whose answer came to its end lies between.
    let mut well = broken(OK).to_vec();
    well.splice(2..2, [OK, ENDED]);
    check(&well, Verdict::Keep);
    // A model's 5xx count by their heads, however they end.
    let erring = [answered(500), ENDED].repeat(5);
    check(&erring[..9], Verdict::EjectIfAlone);
}

#[test]
fn one_that_was_taken_back_by_a_head_is_out_again_at_the_first_break() {
    let start = Instant::now();
    let mut health = Health::default();
    health.eject(start);
    assert_eq!(trial(&mut health, start, OK), Verdict::Keep);
    // It has all its slots: a long answer is not waited for.
    let back = start + 2 * SECOND;
    assert_eq!(health.allowed(8, back), 8);
    let mut broken = health.clone();
    let later = back + 60 * SECOND;
    let verdict = broken.report(later, Outcome::Timeout, 8, 1);
    assert_eq!(verdict, Verdict::Eject);
    broken.eject(later);
    assert_eq!(broken.ejected_until(), Some(later + 4 * SECOND));
    // Where its answer ended, it is in good standing.
    assert_eq!(health.report(later, ENDED, 8, 1), Verdict::Keep);
    assert!(!health.attentive());
    let verdict = health.report(later, Outcome::Timeout, 8, 1);
    assert_eq!(verdict, Verdict::Keep);
}

#[test]
fn one_whose_connection_broke_gets_nothing_for_a_moment_or_until_it_answers() {
    let now = Instant::now();
    let mut health = Health::default();
    health.report(now, Outcome::TransportError, 8, 2);
    let over = now + BROKEN_PAUSE;
    assert_eq!(health.allowed(8, over - Duration::from_nanos(1)), 0);
    assert_eq!(health.allowed(8, over), 8);
    assert_eq!(health.due(8, now), Some(over));
    // It is no promise: nobody is told to wait for it.
    assert_eq!(health.held_until(), None);
    for lives in [OK, answered(404), answered(500), ENDED] {
        let mut health = health.clone();
        health.report(now, lives, 8, 1);
        assert_eq!(health.allowed(8, now), 8, "{lives:?}");
    }
    health.report(now, Outcome::Timeout, 8, 1);
    assert_eq!(health.allowed(8, now), 0);
}

#[test]
fn client_errors_never_eject() {
    for status in [400, 401, 404, 413, 422, 499] {
        check(&[answered(status); 50], Verdict::Keep);
    }
}

#[test]
fn server_errors_eject_only_the_one_that_stands_out() {
    check(&[answered(500); 4], Verdict::Keep);
    check(&[answered(500); 5], Verdict::EjectIfAlone);
    assert!(stands_out(3, 1));
    assert!(!stands_out(3, 2));
    assert!(!stands_out(2, 1));
    assert!(!stands_out(0, 0));
}

#[test]
fn back_pressure_never_ejects() {
    check(&[answered(503); 50], Verdict::Keep);
    check(&[answered(429); 50], Verdict::Keep);
}

#[test]
fn never_more_than_half_can_be_spared() {
    let spared = |ready| (0..ready).take_while(|out| can_spare(ready, *out)).count();
    assert_eq!([0, 1, 2, 3, 4, 5, 10].map(spared), [0, 0, 1, 1, 2, 2, 5]);
}

/// Ejects, and brings it back by a trial that ends so.
fn trial(health: &mut Health, now: Instant, outcome: Outcome) -> Verdict {
    let until = health.ejected_until().expect("ejected");
    assert_eq!(health.allowed(8, until - Duration::from_nanos(1)), 0);
    assert_eq!(health.allowed(8, until), 1);
    assert!(until > now);
    health.settle(8, until);
    assert!(!health.ejected());
    health.report(until, outcome, 8, 1)
}

#[test]
fn each_ejection_in_a_row_is_twice_as_long_up_to_a_minute() {
    let mut now = Instant::now();
    let mut health = Health::default();
    let mut lengths = Vec::new();
    health.eject(now);
    for _ in 0..7 {
        let until = health.ejected_until().unwrap();
        lengths.push((until - now).as_secs());
        assert_eq!(trial(&mut health, now, Outcome::Timeout), Verdict::Eject);
        now = until;
        health.eject(now);
    }
    assert_eq!(lengths, [2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_good_trial_takes_it_back_and_a_good_while_forgives() {
    let start = Instant::now();
    let mut health = Health::default();
    health.eject(start);
    assert_eq!(trial(&mut health, start, OK), Verdict::Keep);
    let back = start + 2 * SECOND;
    assert_eq!(health.allowed(8, back), 8);
    health.report(back, ENDED, 8, 1);
    assert!(!health.attentive());
    // At once again: it is not forgiven.
    let mut again = health.clone();
    again.eject(back + SECOND);
    assert_eq!(again.ejected_until(), Some(back + 5 * SECOND));
    // After a longer while than it was out.
    health.eject(back + 3 * SECOND);
    assert_eq!(health.ejected_until(), Some(back + 5 * SECOND));
}

#[test]
fn a_trial_is_failed_by_what_it_was_ejected_for() {
    let now = Instant::now();
    let mut for_errors = Health::default();
    for _ in 0..ERRORS_IN_A_ROW {
        for_errors.report(now, answered(500), 8, 1);
    }
    for_errors.eject(now);
    assert_eq!(trial(&mut for_errors, now, answered(500)), Verdict::Eject);
    // One that did not answer and now answers 500 answers.
    let mut for_silence = Health::default();
    for_silence.report(now, Outcome::Timeout, 8, 1);
    for_silence.eject(now);
    assert_eq!(trial(&mut for_silence, now, answered(500)), Verdict::Keep);
    assert_eq!(for_silence.allowed(8, now + 10 * SECOND), 8);
}

#[test]
fn what_was_asked_before_an_ejection_does_not_end_it() {
    let now = Instant::now();
    let mut health = Health::default();
    health.eject(now);
    health.report(now, OK, 8, 3);
    assert!(health.ejected());
}

#[test]
fn retry_after_is_obeyed_up_to_a_minute() {
    let now = Instant::now();
    let mut health = Health::default();
    let asked = |seconds| Outcome::Answered {
        status: 429,
        retry_after: Some(seconds * SECOND),
    };
    health.report(now, asked(7), 8, 8);
    assert_eq!(
        health.allowed(8, now + 7 * SECOND - Duration::from_nanos(1)),
        0
    );
    assert!(health.allowed(8, now + 7 * SECOND) > 0);
    assert_eq!(health.due(8, now), Some(now + 7 * SECOND));
    health.report(now, asked(86_400), 8, 8);
    assert_eq!(health.paused_until(), Some(now + RETRY_AFTER_MAX));
    // A shorter one does not end a longer one.
    health.report(now, asked(1), 8, 8);
    assert_eq!(health.paused_until(), Some(now + RETRY_AFTER_MAX));
}

#[test]
fn back_pressure_halves_what_runs_and_gives_it_back_in_steps() {
    let now = Instant::now();
    let mut health = Health::default();
    health.report(now, answered(503), 16, 12);
    let allowed = |seconds| health.allowed(16, now + seconds * SECOND);
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 9].map(allowed),
        [6, 8, 10, 12, 14, 16, 16]
    );
    assert_eq!(health.due(16, now), Some(now + SECOND));
    assert_eq!(health.due(16, now + 5 * SECOND), None);
}

#[test]
fn one_that_refuses_with_one_slot_left_is_paused_ever_longer() {
    let mut now = Instant::now();
    let mut health = Health::default();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        health.report(now, answered(503), 1, 1);
        let until = health.paused_until().unwrap();
        pauses.push((until - now).as_millis());
        now = until;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    health.report(now, OK, 1, 1);
    health.report(now, answered(503), 1, 1);
    assert_eq!(health.paused_until(), Some(now + PAUSE_FIRST));
}

#[test]
fn a_tenth_of_the_exchanges_may_be_tried_once_more() {
    let mut budget = RetryBudget::default();
    let spent = |budget: &mut RetryBudget| (0..100).take_while(|_| budget.spend()).count();
    assert_eq!(spent(&mut budget), 3);
    for _ in 0..50 {
        budget.earn();
    }
    assert_eq!(spent(&mut budget), 5);
    for _ in 0..100_000 {
        budget.earn();
    }
    assert_eq!(spent(&mut budget), 10);
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let status = prop::sample::select(vec![200_u16, 404, 429, 500, 502, 503]);
    prop_oneof![
        Just(Outcome::TransportError),
        Just(Outcome::Timeout),
        Just(Outcome::Ended),
        (status, prop::option::of(0_u64..100)).prop_map(|(status, seconds)| Outcome::Answered {
            status,
            retry_after: seconds.map(Duration::from_secs),
        }),
    ]
}

proptest! {
    /// Whatever happened, `due` is the next instant at which more is allowed,
    /// and in the end all is.
    #[test]
    fn every_replica_comes_back_by_itself(
        outcomes in prop::collection::vec((any_outcome(), 0_u64..3_000), 1..60), slots in 1_u32..40,
    ) {
        let mut now = Instant::now();
        let mut health = Health::default();
        for (outcome, later) in outcomes {
            if health.report(now, outcome, slots, slots) != Verdict::Keep {
                health.eject(now);
            }
            prop_assert!(health.allowed(slots, now) <= slots);
            now += Duration::from_millis(later);
            health.settle(slots, now);
        }
        let mut looks = 0;
        while let Some(due) = health.due(slots, now) {
            prop_assert!(due > now);
            let before = health.allowed(slots, now);
            prop_assert_eq!(health.allowed(slots, due - Duration::from_nanos(1)), before);
            now = due;
            health.settle(slots, now);
            looks += 1;
            prop_assert!(looks < 100);
        }
        prop_assert!(health.allowed(slots, now) > 0);
        // A trial, if it is one, ends well.
        health.report(now, OK, slots, 1);
        let much_later = now + Duration::from_secs(200);
        prop_assert_eq!(health.allowed(slots, much_later), slots);
    }

    #[test]
    fn retries_are_at_most_three_and_a_tenth(steps in prop::collection::vec(any::<bool>(), 0..500)) {
        let mut budget = RetryBudget::default();
        let (mut exchanges, mut retries) = (0, 0);
        for retry in steps {
            if retry {
                retries += u32::from(budget.spend());
            } else {
                budget.earn();
                exchanges += 1;
            }
            prop_assert!(retries * 10 <= 30 + exchanges);
        }
    }
}
