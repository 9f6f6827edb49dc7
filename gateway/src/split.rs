//! Which share of an endpoint's exchanges a version gets, and which version a
//! draw falls on (SEMANTICS §5).
//!
//! Pure: no clock, no I/O, no randomness of its own; the draw is an argument, and
//! that of a sticky caller is a hash.
//! Never gives a version more than its share while the one that owns the share
//! can answer. Called by `exchange` (the host's own draw and the candidates it
//! shows to a split policy) and by the admin API (what is shown as traffic).

use twox_hash::XxHash3_64;

use crate::units::Percent;

/// All of an endpoint's exchanges, in hundredths of a percent.
pub const WHOLE: u32 = 10_000;

/// What one version brings to the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Its own `traffic`.
    pub weight: Percent,
    /// Whether it gets what the percentages leave over.
    pub is_default: bool,
    /// Whether a replica of it is ready, or may be started by a request.
    pub can_answer: bool,
}

/// The effective shares, in hundredths of a percent, in the order given.
///
/// What the percentages leave over goes to the default, on top of its own. The
/// share of a version that cannot answer goes to the default, else to those
/// that can in proportion to theirs (largest remainder, so that the sum stays
/// whole). Where no version with a share can answer, nothing moves: a version
/// with none is never given callers it was not meant to have.
///
/// The sum is [`WHOLE`] wherever one version is the default.
#[must_use]
pub fn effective(shares: &[Share]) -> Vec<u32> {
    let mut effective: Vec<u32> = shares
        .iter()
        .map(|share| hundredths(share.weight))
        .collect();
    let given: u32 = effective
        .iter()
        .fold(0, |sum, one| sum.saturating_add(*one));
    for (own, share) in effective.iter_mut().zip(shares) {
        if share.is_default {
            *own += WHOLE.saturating_sub(given);
            break;
        }
    }
    move_shares(shares, &mut effective);
    effective
}

fn hundredths(weight: Percent) -> u32 {
    u32::try_from(weight.hundredths()).unwrap_or(WHOLE)
}

/// Moves the shares of versions that cannot answer.
fn move_shares(shares: &[Share], effective: &mut [u32]) {
    let mut lost = 0;
    let mut kept = 0;
    for (own, share) in effective.iter().zip(shares) {
        *(if share.can_answer {
            &mut kept
        } else {
            &mut lost
        }) += own;
    }
    let default = shares
        .iter()
        .position(|share| share.is_default && share.can_answer);
    if lost == 0 || (kept == 0 && default.is_none()) {
        return;
    }
    for (own, share) in effective.iter_mut().zip(shares) {
        if !share.can_answer {
            *own = 0;
        }
    }
    if let Some(own) = default.and_then(|place| effective.get_mut(place)) {
        *own += lost;
        return;
    }
    // In proportion; each rounded down, then the largest remainders get one more.
    let mut remainders = Vec::with_capacity(effective.len());
    let mut left = lost;
    for (place, own) in effective.iter_mut().enumerate() {
        let exact = u64::from(lost) * u64::from(*own);
        let part = u32::try_from(exact / u64::from(kept)).unwrap_or(0);
        remainders.push((exact % u64::from(kept), place));
        *own += part;
        left -= part;
    }
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, place) in remainders.into_iter().take(left as usize) {
        if let Some(own) = effective.get_mut(place) {
            *own += 1;
        }
    }
}

/// The candidate that a draw falls on: its place, or none where no weight is
/// over zero.
///
/// Weighted rendezvous: h = XXH3-64 of the name with the draw as seed,
/// u = ((h >> 11) + 0.5) / 2^53, score = weight / −ln u; the highest score
/// wins, a tie goes to the smaller name. So a change of weights moves as few
/// draws as possible. About 30 ns a candidate.
#[must_use]
pub fn rendezvous(draw: u64, candidates: &[(&str, u32)]) -> Option<usize> {
    let mut best: Option<(f64, &str, usize)> = None;
    for (place, (name, weight)) in candidates.iter().enumerate() {
        if *weight == 0 {
            continue;
        }
        let score = score(draw, name, *weight);
        let wins = match best {
            None => true,
            Some((highest, of, _)) => score > highest || (score == highest && *name < of),
        };
        if wins {
            best = Some((score, name, place));
        }
    }
    best.map(|(_, _, place)| place)
}

/// The draw of a sticky caller: the XXH3-64 of each part with the hash of the
/// parts before it as the seed, the first with 0. The parts are the endpoint's
/// name and what names the caller. The same on every machine, for ever.
#[must_use]
pub fn sticky<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let hash = |seed, part| XxHash3_64::oneshot_with_seed(seed, part);
    parts.into_iter().fold(0, hash)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits fit a double exactly; that is why the hash is shifted"
)]
fn score(draw: u64, name: &str, weight: u32) -> f64 {
    let hash = XxHash3_64::oneshot_with_seed(draw, name.as_bytes());
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}

#[cfg(test)]
mod tests;
