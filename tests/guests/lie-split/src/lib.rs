//! A guest of the tests: a split policy that answers what the contract forbids.
//!
//! The setting `lie` says which: `version` (one that is no candidate, the default),
//! `mirror` (a mirror that is no version), `twice` (the version as its own mirror).

use serde::Deserialize;
use tidegate_sdk::split::{Candidate, Choice, Split};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// The policy and its settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LieSplit {
    #[serde(default)]
    lie: Lie,
}

/// What to lie about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Lie {
    #[default]
    Version,
    Mirror,
    Twice,
}

impl Split for LieSplit {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.parse()
    }

    fn choose(
        &self,
        _: Request,
        _: Option<Caller>,
        _: u64,
        candidates: Vec<Candidate>,
    ) -> Result<Choice, PluginError> {
        let first = candidates
            .into_iter()
            .next()
            .map(|one| one.version)
            .unwrap_or_default();
        Ok(match self.lie {
            Lie::Version => Choice::of("not-there"),
            Lie::Mirror => Choice {
                mirrors: vec!["not-there".to_owned()],
                ..Choice::of(first)
            },
            Lie::Twice => Choice {
                mirrors: vec![first.clone()],
                ..Choice::of(first)
            },
        })
    }
}

tidegate_sdk::export!(LieSplit as split);
