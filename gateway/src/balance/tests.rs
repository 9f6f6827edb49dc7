//! Tests of the choice among replicas with room.

use proptest::prelude::*;

use super::*;

/// A balance of replicas that run so many each; none: no room.
fn of(slots: u32, busy: &[Option<u32>]) -> Balance {
    let mut balance = Balance::new(slots);
    for (key, busy) in (0..).zip(busy) {
        balance.set(key, *busy);
    }
    balance
}

fn draw(i: u64) -> u64 {
    let mut z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

/// How often each of the replicas is chosen in a thousand draws.
fn counted(balance: &Balance, not: Option<u32>, weight: impl Fn(u32) -> u32) -> Vec<u32> {
    let mut counts = vec![0; balance.places.len()];
    for i in 0..1_000 {
        if let Some(key) = balance.pick(draw(i), not, &weight) {
            counts[key as usize] += 1;
        }
    }
    counts
}

#[test]
fn with_few_slots_an_idle_one_is_always_taken() {
    let counts = counted(&of(4, &[Some(1), Some(0), Some(3), None]), None, |_| WARM);
    assert_eq!(counts, [0, 1_000, 0, 0]);
}

#[test]
fn equally_busy_ones_share_evenly() {
    let counts = counted(&of(1, &[Some(0); 4]), None, |_| WARM);
    assert!(
        counts.iter().all(|count| (200..300).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn with_many_slots_the_less_busy_of_two_is_taken() {
    let counts = counted(&of(100, &[Some(0), Some(50), Some(90)]), None, |_| WARM);
    // The busiest is never the less busy of two; the middle one is in a third.
    assert_eq!(counts[2], 0);
    assert!((600..730).contains(&counts[0]), "{counts:?}");
}

#[test]
fn the_excluded_one_is_never_taken() {
    for slots in [1, 100] {
        let counts = counted(&of(slots, &[Some(0), Some(0), Some(0)]), Some(1), |_| WARM);
        assert_eq!(counts[1], 0);
        assert!(counts[0] > 300 && counts[2] > 300, "{counts:?}");
        assert_eq!(of(slots, &[Some(0)]).pick(5, Some(0), |_| WARM), None);
    }
    // Not even where the others are busier.
    assert_eq!(
        of(4, &[Some(0), Some(2)]).pick(5, Some(0), |_| WARM),
        Some(1)
    );
}

#[test]
fn a_cold_one_gets_less_but_is_taken_where_it_is_the_only_one() {
    let weight = |key| if key == 0 { WARM / 10 } else { WARM };
    for slots in [1, 100] {
        let counts = counted(&of(slots, &[Some(0), Some(0)]), None, weight);
        assert!(counts[0] < 150, "{slots}: {counts:?}");
        assert_eq!(of(slots, &[Some(0)]).pick(5, None, |_| 0), Some(0));
    }
}

#[test]
fn with_many_slots_a_cold_one_is_filled_in_proportion() {
    // Half warm: equal at half the load.
    let weight = |key| if key == 0 { WARM / 2 } else { WARM };
    let counts = counted(&of(100, &[Some(20), Some(45)]), None, weight);
    assert_eq!(counts, [1_000, 0]);
    let counts = counted(&of(100, &[Some(25), Some(45)]), None, weight);
    assert_eq!(counts, [0, 1_000]);
}

#[test]
fn nobody_is_taken_where_none_has_room() {
    assert_eq!(of(1, &[]).pick(1, None, |_| WARM), None);
    assert_eq!(of(1, &[None, None]).pick(1, None, |_| WARM), None);
}

proptest! {
    /// Against a plain list: the chosen one has room, is not the excluded one,
    /// and with few slots is one of the least busy.
    #[test]
    fn the_choice_is_one_the_plain_rule_allows(
        slots in prop::sample::select(vec![1_u32, 2, 8, 9, 64]),
        changes in prop::collection::vec((0_u32..12, prop::option::of(0_u32..64)), 1..80),
        draws in prop::collection::vec(any::<u64>(), 8),
        not in prop::option::of(0_u32..12),
    ) {
        let mut balance = Balance::new(slots);
        let mut plain = [None; 12];
        for (key, busy) in changes {
            let busy = busy.map(|busy| busy % slots);
            balance.set(key, busy);
            plain[key as usize] = busy;
        }
        prop_assert_eq!(balance.open(), plain.iter().flatten().count());
        let allowed = |key: u32| Some(key) != not && plain[key as usize].is_some();
        let least = (0..12).filter(|key| allowed(*key)).map(|key| plain[key as usize].unwrap()).min();
        for draw in draws {
            match balance.pick(draw, not, |_| WARM) {
                None => prop_assert_eq!(least, None),
                Some(key) => {
                    prop_assert!(allowed(key));
                    prop_assert!(slots > FEW || plain[key as usize] == least);
                }
            }
        }
    }
}
