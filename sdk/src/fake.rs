//! The gateway, for a plugin's unit tests: what the host modules say natively.
//!
//! Every test thread has a world of its own, empty at first: no keys, no
//! limiters, the clock at zero. A test sets what it needs and reads back what
//! the policy logged and counted.
//!
//! ```
//! use tidegate_sdk::{fake, keys};
//!
//! fake::key("primary", b"secret");
//! assert_eq!(keys::match_key(b"secret").map(|found| found.name).as_deref(), Some("primary"));
//! assert!(keys::match_key(b"guess").is_none());
//! ```

use core::cell::RefCell;
use std::collections::BTreeMap;

use crate::keys::KeyMatch;
use crate::log::Level;
use crate::{http, tokens};

pub(crate) mod sha256;

/// A line that the policy logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// How loud.
    pub level: Level,
    /// The text.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// A metric's name and labels.
type Series = (String, Vec<(String, String)>);

/// What this thread's gateway knows and was told.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) lines: Vec<Line>,
    pub(crate) counters: BTreeMap<Series, u64>,
    pub(crate) observations: BTreeMap<Series, Vec<f64>>,
    pub(crate) now_ms: u64,
    pub(crate) random: u64,
    pub(crate) keys: Vec<(Vec<u8>, KeyMatch)>,
    pub(crate) tokens: BTreeMap<String, Result<tokens::Verified, tokens::Error>>,
    pub(crate) secrets: BTreeMap<String, Vec<u8>>,
    pub(crate) limiters: BTreeMap<String, u64>,
    pub(crate) taken: BTreeMap<(String, String), u64>,
    pub(crate) kv: BTreeMap<String, Vec<u8>>,
    pub(crate) http: BTreeMap<String, Result<http::Incoming, http::Error>>,
}

impl Fake {
    /// Bytes of splitmix64: the same in every run.
    pub(crate) fn next_random(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()[0]
    }
}

std::thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

/// Acts on this thread's fake.
pub(crate) fn with<R>(act: impl FnOnce(&mut Fake) -> R) -> R {
    FAKE.with_borrow_mut(act)
}

/// Back to an empty world.
pub fn reset() {
    with(|fake| *fake = Fake::default());
}

/// Sets the clock.
pub fn now_ms(now_ms: u64) {
    with(|fake| fake.now_ms = now_ms);
}

/// Starts the random bytes anew from a seed.
pub fn random_seed(seed: u64) {
    with(|fake| fake.random = seed);
}

/// Gives the endpoint a key, without scopes and end.
pub fn key(name: &str, key: &[u8]) {
    key_with(
        key,
        KeyMatch {
            name: name.to_owned(),
            scopes: Vec::new(),
            expires_ms: None,
        },
    );
}

/// Gives the endpoint a key, and says what `match_key` tells of it.
pub fn key_with(key: &[u8], found: KeyMatch) {
    with(|fake| fake.keys.push((key.to_vec(), found)));
}

/// Says what `tokens::verify` answers for this token; any other one has a bad
/// signature.
pub fn token(token: &str, answer: Result<tokens::Verified, tokens::Error>) {
    with(|fake| fake.tokens.insert(token.to_owned(), answer));
}

/// Gives the operator a secret.
pub fn secret(name: &str, value: &[u8]) {
    with(|fake| fake.secrets.insert(name.to_owned(), value.to_vec()));
}

/// Gives the operator a limiter that lets `capacity` through for each key, and
/// never refills.
pub fn limiter(name: &str, capacity: u64) {
    with(|fake| fake.limiters.insert(name.to_owned(), capacity));
}

/// Says what `http::send` answers for this address; any other one is denied.
pub fn http(url: &str, answer: Result<http::Incoming, http::Error>) {
    with(|fake| fake.http.insert(url.to_owned(), answer));
}

/// What was logged so far.
#[must_use]
pub fn lines() -> Vec<Line> {
    with(|fake| fake.lines.clone())
}

/// What a counter stands at.
#[must_use]
pub fn counter(name: &str, labels: &[(&str, &str)]) -> u64 {
    with(|fake| {
        fake.counters
            .get(&series(name, labels))
            .copied()
            .unwrap_or(0)
    })
}

/// What a histogram was given.
#[must_use]
pub fn observations(name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
    with(|fake| {
        fake.observations
            .get(&series(name, labels))
            .cloned()
            .unwrap_or_default()
    })
}

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    let labels = labels
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect();
    (name.to_owned(), labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, counters, kv, log, metrics, random};

    #[test]
    fn what_a_policy_logs_and_counts_can_be_read_back() {
        log::emit(Level::Warn, "odd", &[("a", "1")]);
        metrics::increment("hits", &[("decision", "hit")]);
        metrics::add("hits", 2, &[("decision", "hit")]);
        metrics::observe("size", 1.5, &[]);
        let line = &lines()[0];
        assert_eq!((line.message.as_str(), line.fields.len()), ("odd", 1));
        assert_eq!(counter("hits", &[("decision", "hit")]), 3);
        assert_eq!(counter("hits", &[]), 0);
        assert_eq!(observations("size", &[]), [1.5]);
        reset();
        assert!(lines().is_empty());
    }

    #[test]
    fn a_limiter_lets_its_capacity_through_for_each_key() {
        assert!(!counters::known("burst"));
        assert!(counters::take("burst", "a", 1).is_none());
        limiter("burst", 2);
        assert!(counters::take("burst", "a", 2).unwrap().allowed);
        assert!(!counters::take("burst", "a", 1).unwrap().allowed);
        assert!(counters::take("burst", "b", 1).unwrap().allowed);
    }

    #[test]
    fn clock_random_and_kv_answer() {
        now_ms(5);
        assert_eq!(clock::now_ms(), 5);
        assert_eq!(random::bytes(2000).len(), 1024);
        random_seed(1);
        let first = random::bytes(8);
        random_seed(1);
        assert_eq!(random::bytes(8), first);
        kv::set("a", b"1", None).unwrap();
        assert_eq!(kv::get("a").unwrap().as_deref(), Some(&b"1"[..]));
        kv::delete("a").unwrap();
        assert_eq!(kv::get("a").unwrap(), None);
    }
}
