//! Grants that may be reused, one cache per worker (SEMANTICS §8).
//!
//! Remembers grants only, never denials, and keeps no credential: a grant is
//! found by the SHA-256 of everything that its policy was shown. Never reads a
//! clock. `exchange` asks it before it asks a policy.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::{GRANT_SECONDS_MAX, Grant, Policy, RequestFacts};
use crate::identity::Caller;

/// Grants that one worker is made for.
const GRANTS_PER_WORKER: usize = 16 << 10;
/// What their callers may weigh: as many of some 250 bytes, or a few of those
/// that a policy describes at length.
const GRANT_BYTES_PER_WORKER: u64 = 8 << 20;
/// A grant without what its policy said of the caller: keys, places, the
/// caller's own fields.
const GRANT_BYTES: usize = 256;
/// A string beside its bytes.
const STRING_BYTES: usize = 24;

/// What a grant is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantKey([u8; 32]);

impl GrantKey {
    /// Everything that `policy` is shown but the request id, or what the
    /// binding's `cacheBy` narrows it to; the endpoint, the caller so far, and
    /// the binding's generation. About 0.3 µs.
    #[must_use]
    pub fn of(policy: &Policy, facts: &RequestFacts<'_>, so_far: Option<&Caller>) -> Self {
        let mut key = Hasher(Context::new(&SHA256));
        key.number(policy.generation());
        key.part(facts.endpoint.as_str().as_bytes());
        caller(&mut key, so_far);
        let narrowed = policy.cache_by();
        if narrowed.is_empty() {
            key.part(facts.method.as_str().as_bytes());
            key.part(facts.path.as_bytes());
            key.option(facts.query.map(str::as_bytes));
            key.part(facts.authority.as_bytes());
            match facts.client_ip {
                std::net::IpAddr::V4(ip) => key.part(&ip.octets()),
                std::net::IpAddr::V6(ip) => key.part(&ip.octets()),
            }
            key.option(
                facts
                    .content_length
                    .map(u64::to_le_bytes)
                    .as_ref()
                    .map(<[u8; 8]>::as_slice),
            );
            key.number(facts.attributes.len() as u64);
            for (name, value) in facts.attributes {
                key.part(name.as_bytes());
                key.part(value.as_bytes());
            }
        }
        let shown = if narrowed.is_empty() {
            policy.headers()
        } else {
            narrowed
        };
        for name in shown {
            key.part(name.as_str().as_bytes());
            for value in facts.headers.get_all(name) {
                key.part(value.as_bytes());
            }
            // Ends the values of this name: no part has this length.
            key.number(u64::MAX);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(key.0.finish().as_ref());
        Self(digest)
    }
}

/// Every part goes in with its length, so that no two lists of parts are the
/// same bytes.
struct Hasher(Context);

impl Hasher {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.number(part.len() as u64);
        self.0.update(part);
    }

    fn option(&mut self, part: Option<&[u8]>) {
        match part {
            Some(part) => self.part(part),
            None => self.number(u64::MAX),
        }
    }
}

fn caller(key: &mut Hasher, caller: Option<&Caller>) {
    let Some(caller) = caller else {
        return key.number(u64::MAX);
    };
    key.part(caller.subject.as_bytes());
    key.part(caller.tenant.as_bytes());
    key.number(caller.scopes.len() as u64);
    for scope in &caller.scopes {
        key.part(scope.as_bytes());
    }
    key.number(caller.attributes.len() as u64);
    for (name, value) in &caller.attributes {
        key.part(name.as_bytes());
        key.part(value.as_bytes());
    }
}

#[derive(Debug, Clone)]
struct Remembered {
    caller: Arc<Caller>,
    until: Instant,
}

/// What a grant takes of a worker's memory.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<GrantKey, Remembered> for Bytes {
    fn weight(&self, _key: &GrantKey, grant: &Remembered) -> u64 {
        weight(&grant.caller)
    }
}

fn weight(caller: &Caller) -> u64 {
    let text = |text: &String| STRING_BYTES + text.len();
    let pair = |(name, value): &(String, String)| text(name) + text(value);
    let bytes = GRANT_BYTES
        + caller.subject.len()
        + caller.tenant.len()
        + caller.scopes.iter().map(text).sum::<usize>()
        + caller.attributes.iter().map(pair).sum::<usize>();
    bytes as u64
}

/// The grants of one worker. Not shared: each worker has its own.
pub struct Grants(RefCell<Cache<GrantKey, Remembered, Bytes>>);

impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grants")
            .field("grants", &self.0.borrow().len())
            .finish()
    }
}

impl Default for Grants {
    fn default() -> Self {
        let bytes = GRANT_BYTES_PER_WORKER;
        Self(RefCell::new(Cache::with_weighter(
            GRANTS_PER_WORKER,
            bytes,
            Bytes,
        )))
    }
}

impl Grants {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The caller of a grant that still holds at `now`; counted as
    /// `remembered`.
    pub fn get(&self, policy: &Policy, key: &GrantKey, now: Instant) -> Option<Arc<Caller>> {
        let mut cache = self.0.borrow_mut();
        let found = cache.get(key)?;
        if found.until <= now {
            cache.remove(key);
            return None;
        }
        policy.count_remembered();
        Some(Arc::clone(&found.caller))
    }

    /// Remembers a grant that its policy lets be reused.
    pub fn put(&self, key: GrantKey, grant: &Grant, now: Instant) {
        let lives = grant.cache.min(Duration::from_secs(GRANT_SECONDS_MAX));
        if lives.is_zero() {
            return;
        }
        let Some(until) = now.checked_add(lives) else {
            return;
        };
        let caller = Arc::clone(&grant.caller);
        self.0
            .borrow_mut()
            .insert(key, Remembered { caller, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_in_bytes() {
        let grants = Grants::new();
        let now = Instant::now();
        for number in 0..1_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            let caller = Caller {
                subject: "a".repeat(96 << 10),
                ..Caller::default()
            };
            let grant = Grant {
                caller: Arc::new(caller),
                cache: Duration::from_secs(60),
            };
            grants.put(GrantKey(key), &grant, now);
        }
        let cache = grants.0.borrow();
        assert!(cache.weight() <= GRANT_BYTES_PER_WORKER, "{grants:?}");
        assert!((1..100).contains(&cache.len()), "{}", cache.len());
    }
}
