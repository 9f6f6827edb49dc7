//! What callers do in a scenario: how many come when, and how long each takes.
//!
//! Chance comes from one seeded counter, so that a scenario is the same on
//! every run and for every rule.

use std::time::Duration;

/// A seeded source of chance (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A uniform number over 0 and under 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::MIN_POSITIVE
    }

    /// An exponential number of mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// The time one request takes: half of the mean at least, the rest random.
    pub(crate) fn service(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + 0.5 * self.exponential())
    }
}

/// How requests come.
#[derive(Debug, Clone)]
pub(crate) enum Traffic {
    /// Open: as many per second as the line through these points says
    /// (second, rate), at random moments. The rate after the last point is its.
    Rate(Vec<(f64, f64)>),
    /// Closed: so many callers, each sending its next request when it has its
    /// answer, from the first second to the second.
    Callers { count: u32, from: f64, to: f64 },
    /// So many at once, at each of these seconds.
    Bursts { count: u32, at: Vec<f64> },
}

impl Traffic {
    /// Requests per second at `second`; open traffic only.
    fn rate(points: &[(f64, f64)], second: f64) -> f64 {
        let after = points.partition_point(|(at, _)| *at <= second);
        let Some(before) = after.checked_sub(1).map(|place| points[place]) else {
            return points.first().map_or(0.0, |point| point.1);
        };
        let Some(next) = points.get(after) else {
            return before.1;
        };
        before.1 + (next.1 - before.1) * (second - before.0) / (next.0 - before.0)
    }

    /// The moments at which requests come by themselves, in seconds.
    pub(crate) fn arrivals(&self, length: f64, chance: &mut Chance) -> Vec<f64> {
        match self {
            Self::Rate(points) => {
                // Thinned from the highest rate, which is exact for any line.
                let most = points
                    .iter()
                    .map(|point| point.1)
                    .fold(0.0, f64::max)
                    .max(1e-9);
                let mut moments = Vec::new();
                let mut at = chance.exponential() / most;
                while at < length {
                    if chance.uniform() * most < Self::rate(points, at) {
                        moments.push(at);
                    }
                    at += chance.exponential() / most;
                }
                moments
            }
            Self::Callers { count, from, .. } => vec![*from; *count as usize],
            Self::Bursts { count, at } => at
                .iter()
                .flat_map(|at| std::iter::repeat_n(*at, *count as usize))
                .collect(),
        }
    }

    /// Until when a caller that has its answer asks again; none: it does not.
    pub(crate) fn asks_again_until(&self) -> Option<f64> {
        match self {
            Self::Callers { to, .. } => Some(*to),
            Self::Rate(_) | Self::Bursts { .. } => None,
        }
    }
}
