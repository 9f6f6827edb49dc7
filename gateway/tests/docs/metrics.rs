//! `docs/METRICS.md`: every metric at the admin port.

use std::fmt::Write as _;

use tidegate::metrics::Metrics;

const HEAD: &str = "# Every metric

Made of the code by `cargo xtask docs`; do not edit. They stand at `GET /metrics` of the
admin address in Prometheus' text format, without the token. Values of labels come only
from configuration (of a plugin's own metrics: from its Plugin resource), never from a
request; `endpoint` and `version` are empty for exchanges that reached none. `HELP` and
`TYPE` of each are always there; a gauge is from the start of what it is about unless it
says otherwise, a histogram from its first duration on, a counter from the first time it
counts. Durations are in seconds, sizes in bytes.

| Name | Type | Labels | Means |
| --- | --- | --- | --- |
";

const END: &str = "
The metrics that a plugin declares (`spec.metrics` of its resource) stand beside them as
`tidegate_plugin_NAME`, with the labels it declares.

Buckets of the histograms, in seconds: ";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    let metrics = Metrics::new().unwrap();
    for row in metrics.rows() {
        let labels: Vec<String> = row
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            row.name,
            row.kind,
            labels.join(", "),
            row.help
        );
    }
    page.push_str(END);
    let buckets: Vec<String> = Metrics::buckets().iter().map(f64::to_string).collect();
    let _ = writeln!(page, "{}.", buckets.join(", "));
    page
}
