//! Tests of the split: golden cases, properties, and the movement of draws.

use proptest::prelude::*;

use super::*;

fn share(percent: u32, is_default: bool, can_answer: bool) -> Share {
    Share {
        weight: Percent::from_percent(percent).unwrap(),
        is_default,
        can_answer,
    }
}

/// `D` marks the default, `-` one that cannot answer.
#[track_caller]
fn check(versions: &[(u32, &str)], expected: &[u32]) {
    let shares: Vec<Share> = versions
        .iter()
        .map(|(percent, marks)| share(*percent, marks.contains('D'), !marks.contains('-')))
        .collect();
    assert_eq!(effective(&shares), expected);
}

#[test]
fn the_golden_cases_of_the_original() {
    check(&[(20, "D")], &[10_000]);
    check(&[(20, "D"), (10, "")], &[9_000, 1_000]);
    check(&[(20, ""), (40, "D")], &[2_000, 8_000]);
    check(&[(10, ""), (30, ""), (0, "D")], &[1_000, 3_000, 6_000]);
    check(&[(80, "D"), (20, "")], &[8_000, 2_000]);
}

#[test]
fn the_share_of_a_version_that_cannot_answer_goes_to_the_default() {
    check(&[(80, "D"), (20, "-")], &[10_000, 0]);
    check(&[(0, "D"), (60, "-"), (40, "")], &[6_000, 0, 4_000]);
}

#[test]
fn without_the_default_it_goes_to_the_others_in_proportion() {
    check(&[(50, "D-"), (30, ""), (20, "")], &[0, 6_000, 4_000]);
    check(
        &[(97, "D-"), (1, ""), (1, ""), (1, "")],
        &[0, 3_334, 3_333, 3_333],
    );
    check(&[(50, "D-"), (30, "-"), (20, "")], &[0, 0, 10_000]);
}

#[test]
fn where_none_can_answer_nothing_moves() {
    check(&[(80, "D-"), (20, "-")], &[8_000, 2_000]);
}

#[test]
fn a_version_without_a_share_is_not_given_one_because_others_fail() {
    check(&[(100, "D-"), (0, "")], &[10_000, 0]);
}

#[test]
fn a_draw_falls_on_nobody_where_no_weight_is_over_zero() {
    assert_eq!(rendezvous(7, &[]), None);
    assert_eq!(rendezvous(7, &[("blue", 0)]), None);
    assert_eq!(rendezvous(7, &[("blue", 0), ("green", 1)]), Some(1));
}

/// Draws that are uniform enough for counting: the odd multiples of 2^64/φ.
fn draws(count: u64) -> impl Iterator<Item = u64> {
    (1..=count).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// The draws of as many callers, named as callers are.
fn callers(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|i| sticky([b"iris".as_slice(), format!("user-{i}").as_bytes()]))
}

#[test]
fn draws_follow_the_weights_by_chi_square() {
    chi_square(draws(100_000));
}

#[test]
fn sticky_callers_follow_the_weights_by_chi_square() {
    chi_square(callers(100_000));
}

/// 100,000 draws.
#[track_caller]
fn chi_square(draws: impl Iterator<Item = u64>) {
    let candidates = [("blue", 8_000), ("green", 1_500), ("red", 500)];
    let mut seen = [0_u32; 3];
    for draw in draws {
        seen[rendezvous(draw, &candidates).unwrap()] += 1;
    }
    let chi: f64 = candidates
        .iter()
        .zip(seen)
        .map(|((_, weight), seen)| {
            let expected = f64::from(*weight) * 10.0;
            (f64::from(seen) - expected).powi(2) / expected
        })
        .sum();
    // 13.8 is the 99.9th percentile with two degrees of freedom.
    assert!(chi < 13.8, "{chi} for {seen:?}");
}

#[test]
fn a_change_of_weights_moves_as_few_draws_as_it_must() {
    let before = [("blue", 8_000), ("green", 2_000)];
    let after = [("blue", 7_000), ("green", 3_000)];
    let mut moved = 0;
    for draw in draws(20_000) {
        let (old, new) = (rendezvous(draw, &before), rendezvous(draw, &after));
        assert!(
            !(old == Some(1) && new == Some(0)),
            "a draw moved against the change"
        );
        moved += u32::from(old != new);
    }
    // A tenth of the traffic moves, and nothing else does.
    assert!((1_800..2_200).contains(&moved), "{moved}");
}

#[test]
fn endpoints_draw_their_callers_apart() {
    let candidates = [("blue", 5_000), ("green", 5_000)];
    let green = |endpoint: &str, i: u32| {
        let draw = sticky([endpoint.as_bytes(), format!("user-{i}").as_bytes()]);
        rendezvous(draw, &candidates) == Some(1)
    };
    let both = (0..10_000)
        .filter(|i| green("iris", *i) && green("rose", *i))
        .count();
    // A quarter, not a half: six standard deviations are 260.
    assert!((2_240..2_760).contains(&both), "{both}");
}

#[test]
fn the_order_of_candidates_does_not_matter() {
    for draw in draws(1_000) {
        let there = rendezvous(draw, &[("a", 1), ("b", 2), ("c", 3)]).unwrap();
        let back = rendezvous(draw, &[("c", 3), ("b", 2), ("a", 1)]).unwrap();
        assert_eq!(there, 2 - back);
    }
}

prop_compose! {
    fn any_shares()(parts in prop::collection::vec((0_u32..=10_000, any::<bool>()), 1..=6),
                    whole in 1_u32..=10_000, default in any::<prop::sample::Index>())
        -> Vec<Share> {
        let sum: u32 = parts.iter().map(|part| part.0).sum::<u32>().max(1);
        let default = default.index(parts.len());
        parts.iter().enumerate().map(|(place, (part, can_answer))| Share {
            weight: Percent::from_hundredths((u64::from(*part) * u64::from(whole) / u64::from(sum)) as u32).unwrap(),
            is_default: place == default,
            can_answer: *can_answer,
        }).collect()
    }
}

proptest! {
    #[test]
    fn shares_always_sum_to_the_whole(shares in any_shares()) {
        prop_assert_eq!(effective(&shares).iter().sum::<u32>(), WHOLE);
    }

    #[test]
    fn nobody_who_can_answer_loses_anything(shares in any_shares()) {
        for (now, share) in effective(&shares).into_iter().zip(&shares) {
            if share.can_answer {
                prop_assert!(now >= hundredths(share.weight));
            }
        }
    }

    #[test]
    fn one_that_cannot_answer_gets_nothing_while_one_with_a_share_can(shares in any_shares()) {
        let now = effective(&shares);
        let somebody = now.iter().zip(&shares).any(|(own, share)| share.can_answer && *own > 0);
        for (own, share) in now.iter().zip(&shares) {
            prop_assert!(share.can_answer || *own == 0 || !somebody);
        }
    }

    #[test]
    fn a_draw_falls_on_a_weight_over_zero(draw: u64, weights in prop::collection::vec(0_u32..=10_000, 0..=6)) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let candidates: Vec<(&str, u32)> = names.into_iter().zip(weights).collect();
        match rendezvous(draw, &candidates) {
            Some(place) => prop_assert!(candidates[place].1 > 0),
            None => prop_assert!(candidates.iter().all(|candidate| candidate.1 == 0)),
        }
    }
}

/// Weights of three versions that sum to the whole.
fn any_weights() -> impl Strategy<Value = [u32; 3]> {
    (0..=WHOLE, 0..=WHOLE).prop_map(|(a, b)| {
        let (low, high) = (a.min(b), a.max(b));
        [low, high - low, WHOLE - high]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A caller moves only to a version whose weight grew more than that of its
    /// own; and at least the weight that went over moves, at most twice that.
    #[test]
    fn a_change_of_weights_moves_no_caller_that_need_not(before in any_weights(), after in any_weights()) {
        const CALLERS: u32 = 4_000;
        let names = ["blue", "green", "red"];
        let of = |weights: [u32; 3]| -> Vec<(&str, u32)> { names.into_iter().zip(weights).collect() };
        let mut moved = 0;
        for draw in callers(u64::from(CALLERS)) {
            let from = rendezvous(draw, &of(before)).unwrap();
            let to = rendezvous(draw, &of(after)).unwrap();
            let grew = |place: usize, other: usize| {
                u64::from(after[place]) * u64::from(before[other]) > u64::from(after[other]) * u64::from(before[place])
            };
            prop_assert!(from == to || grew(to, from), "{draw}: {from} to {to}");
            moved += u32::from(from != to);
        }
        let over: u32 = before.iter().zip(after).map(|(old, new)| new.saturating_sub(*old)).sum();
        // Six standard deviations of 4,000 callers are 4.8 %.
        let (least, most) = (over.saturating_sub(480), over * 2 + 480);
        let moved = u64::from(moved) * u64::from(WHOLE) / u64::from(CALLERS);
        prop_assert!((u64::from(least)..=u64::from(most)).contains(&moved), "{moved} of {over}");
    }
}

/// `wit/split-vectors.json`, which a script wrote that knows neither this module
/// nor the `weighted-split` plugin.
fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../wit/split-vectors.json")).unwrap()
}

#[test]
fn draws_fall_as_the_vectors_say() {
    let vectors = vectors();
    let of = |what: &str| vectors[what].as_array().unwrap().iter();
    assert!(of("cases").len() > 100);
    for case in of("cases").chain(of("sticky")) {
        let draw: u64 = case["draw"].as_str().unwrap().parse().unwrap();
        let listed = case["candidates"].as_array().unwrap();
        let candidates: Vec<(&str, u32)> = listed
            .iter()
            .map(|one| {
                (
                    one["version"].as_str().unwrap(),
                    one["weight"].as_u64().unwrap() as u32,
                )
            })
            .collect();
        let chosen = rendezvous(draw, &candidates).map(|place| candidates[place].0);
        assert_eq!(chosen, case["version"].as_str(), "{case}");
    }
}

#[test]
fn shares_are_as_the_vectors_say() {
    for case in vectors()["shares"].as_array().unwrap() {
        let listed = case["versions"].as_array().unwrap();
        let shares: Vec<Share> = listed
            .iter()
            .map(|one| Share {
                weight: decimal(one["traffic"].as_str().unwrap()),
                is_default: one["default"].as_bool().unwrap(),
                can_answer: one["canAnswer"].as_bool().unwrap(),
            })
            .collect();
        assert_eq!(
            serde_json::json!(effective(&shares)),
            case["effective"],
            "{}",
            case["name"]
        );
    }
}

#[test]
fn sticky_callers_draw_and_fall_as_the_vectors_say() {
    let vectors = vectors();
    let cases = vectors["sticky"].as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let parts = case["parts"].as_array().unwrap();
        let parts = parts.iter().map(|part| part.as_str().unwrap().as_bytes());
        assert_eq!(sticky(parts).to_string(), case["draw"], "{case}");
    }
}

/// A percentage with up to two decimals.
fn decimal(text: &str) -> Percent {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let hundredths = format!("{rest:0<2}").parse::<u32>().unwrap();
    Percent::from_hundredths(whole.parse::<u32>().unwrap() * 100 + hundredths).unwrap()
}
