//! What is taken out of the metrics: Prometheus' text, by endpoint and version.
//!
//! Leaves out what it does not know. Used by `top` and `wait`.

use std::collections::BTreeMap;

use super::top::Numbers;

/// One reading of the metrics, or the difference of two.
#[derive(Default)]
pub(super) struct Sample(BTreeMap<(String, String), Numbers>);

impl Sample {
    /// Reads metrics, of one endpoint or of all.
    pub(super) fn parse(text: &str, endpoint: Option<&str>) -> Self {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = parts(line) {
                let of = label(labels, "endpoint").unwrap_or_default();
                if endpoint.is_none_or(|endpoint| endpoint == of) {
                    all.take(name, of, labels, value);
                }
            }
        }
        all
    }

    fn take(&mut self, name: &str, endpoint: &str, labels: &str, value: f64) {
        let version = label(labels, "version").unwrap_or_default();
        let at = || (endpoint.to_owned(), version.to_owned());
        match name {
            "tidegate_requests_total" => {
                let numbers = self.0.entry(at()).or_default();
                numbers.requests += value;
                if label(labels, "status") == Some("5xx") {
                    numbers.errors += value;
                }
            }
            "tidegate_slots" => {
                let numbers = self.0.entry(at()).or_default();
                match label(labels, "state") {
                    Some("busy") => numbers.busy = value,
                    Some("free") => numbers.free = value,
                    _ => {}
                }
            }
            "tidegate_queue_depth" => self.0.entry(at()).or_default().queue = value,
            "tidegate_request_seconds_bucket" => {
                if let Some(bound) = label(labels, "le").and_then(micros) {
                    let numbers = self.0.entry(at()).or_default();
                    numbers.durations.insert(bound, value);
                }
            }
            _ => {}
        }
    }

    /// What came after another reading; slots and queues as they are now. A
    /// gateway that was started again counts from nothing.
    pub(super) fn since(&self, before: &Self) -> Self {
        let grown = |now: f64, then: f64| if now < then { now } else { now - then };
        let of = |(key, now): (&(String, String), &Numbers)| {
            let then = before.0.get(key).cloned().unwrap_or_default();
            let durations = now.durations.iter().map(|(bound, count)| {
                let then = then.durations.get(bound).copied().unwrap_or(0.0);
                (*bound, grown(*count, then))
            });
            let numbers = Numbers {
                requests: grown(now.requests, then.requests),
                errors: grown(now.errors, then.errors),
                durations: durations.collect(),
                ..now.clone()
            };
            (key.clone(), numbers)
        };
        Self(self.0.iter().map(of).collect())
    }

    /// The numbers of a version; of exchanges that reached none where it is empty.
    pub(super) fn of(&self, endpoint: &str, version: &str) -> Numbers {
        let key = (endpoint.to_owned(), version.to_owned());
        self.0.get(&key).cloned().unwrap_or_default()
    }
}

/// Seconds as `le` has them, in microseconds; infinity is the largest number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bound of a bucket: positive, and a cast past the largest number stops there"
)]
fn micros(text: &str) -> Option<u64> {
    let seconds: f64 = match text {
        "+Inf" => f64::INFINITY,
        text => text.parse().ok()?,
    };
    Some((seconds * 1e6).round() as u64)
}

/// Whether metrics tell of replicas of an endpoint, or of one of its versions,
/// in any state.
pub(super) fn replicas(text: &str, endpoint: &str, version: Option<&str>) -> bool {
    text.lines().filter_map(parts).any(|(name, labels, value)| {
        name == "tidegate_replicas"
            && value > 0.0
            && label(labels, "endpoint") == Some(endpoint)
            && (version.is_none() || label(labels, "version") == version)
    })
}

/// Name, labels and value of a line of metrics.
fn parts(line: &str) -> Option<(&str, &str, f64)> {
    let (sample, value) = line.rsplit_once(' ')?;
    let (name, labels) = sample.split_once('{')?;
    Some((name, labels.strip_suffix('}')?, value.parse().ok()?))
}

/// The value of a label; names of resources need no escapes.
fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let mut rest = labels;
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        if key == name {
            return Some(value);
        }
        rest = next.strip_prefix(',').unwrap_or(next);
    }
    None
}

/// The duration in seconds that this share of the exchanges did not exceed, as
/// Prometheus' `histogram_quantile` estimates it; none where there were none.
pub(super) fn latency(durations: &BTreeMap<u64, f64>, share: f64) -> Option<f64> {
    let all = durations.last_key_value().map(|(_, count)| *count)?;
    if all <= 0.0 {
        return None;
    }
    let wanted = all * share;
    let (mut lower, mut below) = (0_u64, 0.0);
    for (bound, count) in durations {
        if *count >= wanted {
            // Beyond the last bound nothing is known but that.
            if *bound == u64::MAX {
                return Some(seconds(lower));
            }
            let inside = (wanted - below) / (count - below).max(f64::MIN_POSITIVE);
            let width = seconds(bound.saturating_sub(lower));
            return Some(width.mul_add(inside, seconds(lower)));
        }
        (lower, below) = (*bound, *count);
    }
    None
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bounds of buckets are far below 2^53 microseconds"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# TYPE tidegate_requests_total counter\n\
        tidegate_requests_total{endpoint=\"iris\",fault=\"\",status=\"2xx\",version=\"blue\"} 10\n\
        tidegate_request_seconds_bucket{endpoint=\"iris\",version=\"blue\",le=\"0.1\"} 10\n\
        tidegate_request_seconds_bucket{endpoint=\"iris\",version=\"blue\",le=\"+Inf\"} 10\n";
    const AFTER: &str = "tidegate_requests_total{endpoint=\"iris\",fault=\"\",status=\"2xx\",version=\"blue\"} 16\n\
        tidegate_requests_total{endpoint=\"iris\",fault=\"timeout\",status=\"5xx\",version=\"blue\"} 2\n\
        tidegate_requests_total{endpoint=\"rose\",fault=\"\",status=\"2xx\",version=\"blue\"} 9\n\
        tidegate_slots{endpoint=\"iris\",state=\"busy\",version=\"blue\"} 3\n\
        tidegate_slots{endpoint=\"iris\",state=\"free\",version=\"blue\"} 1\n\
        tidegate_queue_depth{endpoint=\"iris\",version=\"blue\"} 7\n\
        tidegate_request_seconds_bucket{endpoint=\"iris\",version=\"blue\",le=\"0.1\"} 14\n\
        tidegate_request_seconds_bucket{endpoint=\"iris\",version=\"blue\",le=\"0.2\"} 18\n\
        tidegate_request_seconds_bucket{endpoint=\"iris\",version=\"blue\",le=\"+Inf\"} 18\n\
        tidegate_connections 5\nnonsense\n";

    #[test]
    fn numbers_are_of_what_came_between() {
        let before = Sample::parse(BEFORE, Some("iris"));
        let between = Sample::parse(AFTER, Some("iris")).since(&before);
        let blue = between.of("iris", "blue");
        assert_eq!((blue.requests, blue.errors), (8.0, 2.0));
        assert_eq!((blue.busy, blue.free, blue.queue), (3.0, 1.0, 7.0));
        assert_eq!(latency(&blue.durations, 0.5), Some(0.1));
        assert_eq!(between.of("rose", "blue").requests, 0.0);
    }

    #[test]
    fn a_gateway_that_began_again_counts_from_nothing() {
        let after = Sample::parse(AFTER, None);
        let again = Sample::parse(BEFORE, None).since(&after);
        assert_eq!(again.of("iris", "blue").requests, 10.0);
    }

    #[test]
    fn replicas_are_there_in_any_state() {
        let text = "# TYPE tidegate_replicas gauge\n\
            tidegate_replicas{endpoint=\"iris\",state=\"ready\",version=\"blue\"} 0\n\
            tidegate_replicas{endpoint=\"iris\",state=\"wanted\",version=\"blue\"} 0\n\
            tidegate_replicas{endpoint=\"iris\",state=\"draining\",version=\"green\"} 2\n";
        assert!(replicas(text, "iris", None));
        assert!(replicas(text, "iris", Some("green")));
        assert!(!replicas(text, "iris", Some("blue")));
        assert!(!replicas(text, "rose", None));
    }

    #[track_caller]
    fn check(durations: &[(u64, f64)], share: f64, expected: Option<f64>) {
        let found = latency(&durations.iter().copied().collect(), share);
        // Fractions of a second are not whole in binary.
        let near = |(a, b): (f64, f64)| (a - b).abs() < 1e-9;
        let same = found.zip(expected).map_or(found == expected, near);
        assert!(same, "{durations:?}, {share}: {found:?}, not {expected:?}");
    }

    #[test]
    fn latencies_are_those_of_prometheus() {
        let durations = [(100_000, 50.0), (200_000, 100.0), (u64::MAX, 100.0)];
        check(&durations, 0.25, Some(0.05));
        check(&durations, 0.75, Some(0.15));
        check(&[(100_000, 0.0), (u64::MAX, 1.0)], 0.5, Some(0.1));
        check(&[(u64::MAX, 0.0)], 0.5, None);
        check(&[], 0.5, None);
    }
}
