use super::*;

#[test]
fn a_counter_adds_up_over_workers() {
    let counter = Arc::new(Counter::default());
    counter.add(2);
    let other = Arc::clone(&counter);
    std::thread::spawn(move || {
        enter_worker(1);
        other.add(3);
    })
    .join()
    .unwrap();
    assert_eq!(counter.value(), 5);
}

#[test]
fn the_text_has_the_names_people_alert_on() {
    let metrics = Metrics::new().unwrap();
    metrics.requests.with(&["iris", "blue", "2xx", ""]).inc();
    metrics
        .request_seconds
        .with(&["iris", "blue"])
        .observe(Duration::from_millis(3));
    let text = metrics.text();
    assert!(
        text.contains(
            r#"tidegate_requests_total{endpoint="iris",fault="",status="2xx",version="blue"} 1"#
        ) || text.contains(
            r#"tidegate_requests_total{endpoint="iris",version="blue",status="2xx",fault=""} 1"#
        ),
        "{text}"
    );
    assert!(text.contains("tidegate_request_seconds_bucket"), "{text}");
    assert!(text.contains("tidegate_build_info"), "{text}");
}

#[test]
fn a_histogram_counts_each_duration_once() {
    let histogram = Histogram::default();
    for us in [1, 10, 11, 100, 1_000_000, 600_000_000] {
        histogram.observe(Duration::from_micros(us));
    }
    assert_eq!(histogram.count(), 6);
}

#[test]
fn removed_labels_are_gone() {
    let family = Family::<Counter>::new("x_total", "x", &["endpoint", "version"]).unwrap();
    family.with(&["iris", "blue"]).inc();
    family.with(&["rose", "blue"]).inc();
    family.remove(&["iris"]);
    assert_eq!(family.total(Counter::value), 1);
}

/// The lines of a family, without its help.
fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let about = |line: &&str| line.contains(&format!("tidegate_{name}")) && !line.contains("HELP");
    text.lines().filter(about).collect()
}

#[test]
fn a_histogram_is_shown_from_its_first_duration_on_and_its_type_before() {
    let metrics = Metrics::new().unwrap();
    let blue = metrics.request_seconds.with(&["iris", "blue"]);
    let green = metrics.request_seconds.with(&["iris", "green"]);
    let head = "# TYPE tidegate_request_seconds histogram";
    assert_eq!(lines(&metrics.text(), "request_seconds"), [head]);
    blue.observe(Duration::from_millis(3));
    let text = metrics.text();
    let shown = lines(&text, "request_seconds");
    assert_eq!(shown.first(), Some(&head));
    assert_eq!(shown.len(), 1 + BOUNDS_US.len() + 3, "{text}");
    assert!(!text.contains("green"), "{text}");
    green.observe(Duration::from_secs(100));
    assert!(metrics.text().contains("green"));
}

#[test]
fn every_family_has_help_and_type_once_also_without_a_value() {
    let metrics = Metrics::new().unwrap();
    metrics.requests.with(&["iris", "blue", "2xx", ""]).inc();
    let text = metrics.text();
    for Row { name, kind, .. } in metrics.rows() {
        let help = text.matches(&format!("# HELP {name} ")).count();
        let of_kind = text.matches(&format!("# TYPE {name} {kind}\n")).count();
        assert_eq!((help, of_kind), (1, 1), "{name}:\n{text}");
    }
}
