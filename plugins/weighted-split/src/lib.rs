//! The split policy `weighted-split`: weighted rendezvous over the draw.
//!
//! Every version gets a score from the draw and its name, and the highest wins; so
//! the shares follow the weights, and a change of weights moves as few draws as
//! possible. Never looks at the request: a sticky endpoint is sticky by its draw.

use tidegate_sdk::split::{Candidate, Choice, Split};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};
use twox_hash::XxHash3_64;

/// The policy; it has no settings.
struct WeightedSplit;

impl Split for WeightedSplit {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn choose(
        &self,
        _: Request,
        _: Option<Caller>,
        draw: u64,
        candidates: Vec<Candidate>,
    ) -> Result<Choice, PluginError> {
        let mut best: Option<(f64, Candidate)> = None;
        for candidate in candidates
            .into_iter()
            .filter(|candidate| candidate.weight > 0)
        {
            let score = score(draw, &candidate);
            let wins = best.as_ref().is_none_or(|(highest, other)| {
                score > *highest || (score == *highest && candidate.version < other.version)
            });
            if wins {
                best = Some((score, candidate));
            }
        }
        match best {
            Some((_, candidate)) => Ok(Choice::of(candidate.version)),
            None => Err(PluginError::Unavailable(
                "no candidate has a weight".to_owned(),
            )),
        }
    }
}

tidegate_sdk::export!(WeightedSplit as split);

/// weight / −ln u, where u in (0, 1) comes from the upper 53 bits of the XXH3-64
/// of the name with the draw as its seed (Thaler and Ravishankar's rendezvous, with
/// the weights of Schindelhauer and Schomaker).
fn score(draw: u64, candidate: &Candidate) -> f64 {
    let hash = XxHash3_64::oneshot_with_seed(draw, candidate.version.as_bytes());
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let u = ((hash >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
    f64::from(candidate.weight) / -u.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(serde::Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
        none: Vec<Case>,
        shares: Vec<Shares>,
        sticky: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Shares {
        name: String,
        versions: Vec<Version>,
        effective: Vec<u32>,
    }

    #[derive(serde::Deserialize)]
    struct Version {
        version: String,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        draw: String,
        candidates: Vec<Weighted>,
        #[serde(default)]
        version: String,
    }

    #[derive(serde::Deserialize)]
    struct Weighted {
        version: String,
        weight: u32,
    }

    fn choose(draw: u64, candidates: &[(&str, u32)]) -> Result<String, PluginError> {
        let candidates = candidates
            .iter()
            .map(|(name, weight)| Candidate::new(name, *weight));
        WeightedSplit
            .choose(Request::to("/score"), None, draw, candidates.collect())
            .map(|choice| choice.version)
    }

    fn ask(case: &Case) -> Result<String, PluginError> {
        let candidates: Vec<(&str, u32)> = case
            .candidates
            .iter()
            .map(|one| (one.version.as_str(), one.weight))
            .collect();
        choose(case.draw.parse().unwrap(), &candidates)
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../../wit/split-vectors.json")).unwrap()
    }

    #[test]
    fn the_vectors_hold() {
        let vectors = vectors();
        assert!(vectors.cases.len() >= 200 && vectors.sticky.len() >= 80);
        for case in vectors.cases.iter().chain(&vectors.sticky) {
            assert_eq!(
                ask(case).as_deref(),
                Ok(case.version.as_str()),
                "draw {}",
                case.draw
            );
        }
    }

    /// The golden cases of the original among them: what is shown as the weights
    /// is what callers see.
    #[test]
    fn the_shares_of_the_vectors_are_kept() {
        const DRAWS: u64 = 20_000;
        for case in &vectors().shares {
            let names = case.versions.iter().map(|one| one.version.as_str());
            let candidates: Vec<(&str, u32)> = names.zip(case.effective.iter().copied()).collect();
            let mut seen = BTreeMap::<String, u64>::new();
            for draw in 0..DRAWS {
                *seen.entry(choose(draw, &candidates).unwrap()).or_default() += 1;
            }
            for (name, weight) in candidates {
                let share = seen.get(name).copied().unwrap_or(0);
                let expected = DRAWS * u64::from(weight) / 10_000;
                // Four standard deviations are at most 283.
                let spread = if weight % 10_000 == 0 { 0 } else { 283 };
                assert!(
                    share.abs_diff(expected) <= spread,
                    "{}: {seen:?}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn where_no_candidate_has_a_weight_the_host_decides() {
        for case in &vectors().none {
            assert!(
                matches!(ask(case), Err(PluginError::Unavailable(_))),
                "draw {}",
                case.draw
            );
        }
    }

    #[test]
    fn the_shares_follow_the_weights() {
        let mut seen = BTreeMap::new();
        for draw in 0..20_000_u64 {
            *seen
                .entry(choose(draw, &[("blue", 8_000), ("green", 2_000)]).unwrap())
                .or_insert(0) += 1;
        }
        // Four standard deviations are 226.
        assert!((15_774..=16_226).contains(&seen["blue"]), "{seen:?}");
    }

    #[test]
    fn a_shift_of_weight_moves_draws_only_towards_the_version_that_gains() {
        for draw in 0..2_000 {
            let before = choose(draw, &[("blue", 8_000), ("green", 2_000)]).unwrap();
            let after = choose(draw, &[("blue", 7_000), ("green", 3_000)]).unwrap();
            assert!(before == after || after == "green", "draw {draw}");
        }
    }

    #[test]
    fn the_order_of_candidates_does_not_matter() {
        for draw in 0..200 {
            let one = choose(draw, &[("a1a", 10), ("b1b", 10), ("c1c", 30)]);
            let other = choose(draw, &[("c1c", 30), ("b1b", 10), ("a1a", 10)]);
            assert_eq!(one, other);
        }
    }

    #[test]
    fn settings_are_an_error() {
        assert!(WeightedSplit::new(Settings::from_json("{}")).is_ok());
        assert!(WeightedSplit::new(Settings::from_json(r#"{"blue":80}"#)).is_err());
    }
}
