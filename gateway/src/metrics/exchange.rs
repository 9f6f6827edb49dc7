//! The metrics of one version's exchanges, as handles that cost nothing to find.
//!
//! Made once per version by `reconcile`; counted by the ledger when an exchange
//! ends.

use std::sync::{Arc, OnceLock};

use super::{Counter, Family, Histogram, Metrics};
use crate::fault::CODES;

/// Status classes, `1xx` to `5xx`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics of exchanges with one endpoint and version.
#[derive(Debug)]
pub struct ExchangeMetrics {
    family: Arc<Family<Counter>>,
    endpoint: String,
    version: String,
    // A counter per class and fault, made when it is first needed: most never are,
    // and the row of them of a version that has no exchange is not either.
    requests: OnceLock<Box<[OnceLock<Arc<Counter>>]>>,
    /// From the head's first byte to the answer's last.
    pub request_seconds: Arc<Histogram>,
    /// From the end of the head to the first byte to the replica, without the queue.
    pub routing_seconds: Arc<Histogram>,
    /// From the end of the request to the first byte of the answer.
    pub upstream_first_byte_seconds: Arc<Histogram>,
}

impl ExchangeMetrics {
    /// Those of a version; both empty for exchanges that reached no endpoint.
    #[must_use]
    pub fn new(metrics: &Metrics, endpoint: &str, version: &str) -> Self {
        let labels = [endpoint, version];
        Self {
            family: Arc::clone(&metrics.requests),
            endpoint: endpoint.to_owned(),
            version: version.to_owned(),
            requests: OnceLock::new(),
            request_seconds: metrics.request_seconds.with(&labels),
            routing_seconds: metrics.routing_seconds.with(&labels),
            upstream_first_byte_seconds: metrics.upstream_first_byte_seconds.with(&labels),
        }
    }

    /// Counts one exchange by its status and the index of its fault in
    /// [`CODES`], where it had one.
    pub fn count(&self, status: u16, fault: Option<usize>) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        let column = fault.map_or(0, |index| index.min(CODES.len() - 1) + 1);
        let cells = self.requests.get_or_init(|| {
            let all = CLASSES.len() * (CODES.len() + 1);
            (0..all).map(|_| OnceLock::new()).collect()
        });
        let Some(cell) = cells.get(class * (CODES.len() + 1) + column) else {
            return;
        };
        cell.get_or_init(|| {
            let class = CLASSES.get(class).copied().unwrap_or_default();
            let code = fault
                .and_then(|index| CODES.get(index))
                .copied()
                .unwrap_or_default();
            self.family
                .with(&[&self.endpoint, &self.version, class, code])
        })
        .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_counted_by_class_and_fault() {
        let metrics = Metrics::new().unwrap();
        let iris = ExchangeMetrics::new(&metrics, "iris", "blue");
        iris.count(200, None);
        iris.count(200, None);
        iris.count(503, CODES.iter().position(|code| *code == "overloaded"));
        let value = |labels: &[&str]| metrics.requests.with(labels).value();
        assert_eq!(value(&["iris", "blue", "2xx", ""]), 2);
        assert_eq!(value(&["iris", "blue", "5xx", "overloaded"]), 1);
    }
}
