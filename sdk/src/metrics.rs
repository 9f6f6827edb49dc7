//! The plugin's own metrics. Names, label names and label values are those that
//! the Plugin resource declares; anything else is dropped and counted.

/// Adds to a counter.
pub fn add(name: &str, delta: u64, labels: &[(&str, &str)]) {
    let labels = owned(labels);
    #[cfg(target_arch = "wasm32")]
    crate::bindings::host::tidegate::policy::metrics::add(name, delta, &labels);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| {
        let counter = fake.counters.entry((name.to_owned(), labels)).or_default();
        *counter = counter.saturating_add(delta);
    });
}

/// Adds one to a counter.
pub fn increment(name: &str, labels: &[(&str, &str)]) {
    add(name, 1, labels);
}

/// Puts a value into a histogram.
pub fn observe(name: &str, value: f64, labels: &[(&str, &str)]) {
    let labels = owned(labels);
    #[cfg(target_arch = "wasm32")]
    crate::bindings::host::tidegate::policy::metrics::observe(name, value, &labels);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| {
        fake.observations
            .entry((name.to_owned(), labels))
            .or_default()
            .push(value);
    });
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
