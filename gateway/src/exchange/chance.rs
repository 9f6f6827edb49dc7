//! Chance for one worker: request ids and draws.
//!
//! Seeded from the system's randomness, but never a source of secrets: who
//! sees ids could tell the next ones. A system call for each would cost more
//! than the rest of `admit`. Used by `ledger`, `draw` and `choose`.

use std::cell::Cell;

use aws_lc_rs::rand;
use http::header::HeaderValue;

/// A generator (SplitMix64: Steele, Lea, Flood 2014; passes BigCrush).
#[derive(Debug)]
pub(super) struct Chance(Cell<u64>, Cell<u64>);

impl Chance {
    /// A generator with a seed of its own.
    pub(super) fn new() -> Self {
        let mut seed = [0_u8; 16];
        if rand::fill(&mut seed).is_err() {
            // Without randomness, ids are at least told apart by time.
            seed[..8].copy_from_slice(&crate::id::wall_ms().to_le_bytes());
        }
        let (a, b) = seed.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, b| (sum << 8) | u64::from(*b));
        Self(Cell::new(number(a)), Cell::new(number(b)))
    }

    fn next(cell: &Cell<u64>) -> u64 {
        let state = cell.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        cell.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A draw, uniform over all numbers.
    pub(super) fn draw(&self) -> u64 {
        Self::next(&self.0)
    }

    /// A new request id: a UUID of version 4.
    pub(super) fn request_id(&self) -> HeaderValue {
        // Two streams with seeds of their own: one alone repeats after 2^64
        // draws and would give only 64 bits of difference between workers.
        let (high, low) = (Self::next(&self.0), Self::next(&self.1));
        let bytes = ((u128::from(high) << 64) | u128::from(low)).to_le_bytes();
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let mut text = [0_u8; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let chance = Chance::new();
        let (a, b) = (chance.request_id(), chance.request_id());
        assert_ne!(a, b);
        let id = uuid::Uuid::parse_str(a.to_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 4);
        assert_ne!(Chance::new().draw(), Chance::new().draw());
    }
}
