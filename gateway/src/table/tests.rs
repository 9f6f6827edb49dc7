//! Properties of the table: what readers see is a whole entry, before or after.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::metrics::Metrics;
use crate::resource::Source;

/// A change of one endpoint.
#[derive(Debug, Clone)]
enum Step {
    /// The endpoint is this, with so many versions and these hosts.
    Put {
        name: usize,
        versions: usize,
        hosts: Vec<usize>,
    },
    Remove {
        name: usize,
    },
}

const NAMES: usize = 4;
const HOSTS: usize = 5;

fn name(n: usize) -> String {
    format!("iris-{n}")
}

fn host(n: usize) -> String {
    format!("host-{n}.example")
}

/// An entry whose every part says which one it is.
fn entry(metrics: &Metrics, number: u64, step: &Step) -> Option<Arc<Entry>> {
    let Step::Put {
        name: n,
        versions,
        hosts,
    } = step
    else {
        return None;
    };
    let hosts: Vec<String> = hosts.iter().map(|n| host(*n)).collect();
    let versions: String = (0..*versions)
        .map(|n| {
            let share = if n == 0 { 100 } else { 0 };
            format!("    - {{ name: v{n}-{number}, traffic: {share}, description: '{number}', default: {}, static: {{ addresses: ['127.0.0.1:1'] }} }}\n", n == 0)
        })
        .collect();
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{ name: {}, labels: {{ number: '{number}' }} }}\nspec:\n  hosts: [{}]\n  auth: {{ mode: none }}\n  versions:\n{versions}",
        name(*n),
        hosts.join(", "),
    );
    let source = Source {
        name: String::new(),
        text,
        base: Some("/".into()),
    };
    let spec = resource::check(&[source]).unwrap().endpoints.remove(0);
    let own = Arc::new(ExchangeMetrics::new(
        metrics,
        spec.name.as_str(),
        &number.to_string(),
    ));
    let versions = spec.versions.iter().map(|version| {
        let settings = crate::fleet::FleetSettings::new(
            spec.name.clone(),
            version.name.clone(),
            version.max_concurrent_requests,
            1,
            std::time::Duration::ZERO,
        );
        Arc::new(VersionEntry {
            spec: Arc::new(version.clone()),
            paths: Paths::new(&version.paths),
            fleet: Fleet::new(settings, metrics),
            collect: Arc::from([]),
            metrics: Arc::clone(&own),
        })
    });
    Some(Arc::new(Entry {
        versions: versions.collect(),
        spec: Arc::new(spec.clone()),
        auth: AuthPolicies::Open,
        split: SplitPolicy::Missing(number.to_string()),
        metrics: own,
    }))
}

/// Which entry it is, where all of its parts are of one.
fn number(entry: &Entry) -> u64 {
    let SplitPolicy::Missing(text) = &entry.split else {
        panic!("another split policy");
    };
    let number = text.parse().unwrap();
    let of_spec = entry.spec.versions.iter().map(|one| &one.name);
    let of_entry = entry.versions.iter().map(|one| &one.spec.name);
    assert!(of_spec.eq(of_entry));
    assert_eq!(
        entry.versions.iter().filter(|one| one.spec.default).count(),
        1
    );
    for version in &entry.versions {
        assert_eq!(version.spec.description, *text);
    }
    number
}

fn step() -> impl Strategy<Value = Step> {
    let hosts = proptest::collection::btree_set(0..HOSTS, 0..3);
    prop_oneof![
        4 => (0..NAMES, 1..4_usize, hosts).prop_map(|(name, versions, hosts)| Step::Put {
            name,
            versions,
            hosts: hosts.into_iter().collect(),
        }),
        1 => (0..NAMES).prop_map(|name| Step::Remove { name }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After each step every name and every host leads where the last step that
    /// was about it says; a host goes to who claimed it last, and stays with it
    /// when the one before gives it up.
    #[test]
    fn names_and_hosts_lead_where_the_last_change_says(steps in proptest::collection::vec(step(), 1..24)) {
        let metrics = Metrics::new().unwrap();
        let table = Table::default();
        let mut there: BTreeMap<usize, (u64, Vec<usize>)> = BTreeMap::new();
        let mut claimed: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, step) in (1_u64..).zip(&steps) {
            match step {
                Step::Put { name: n, hosts, .. } => {
                    table.put(entry(&metrics, at, step).unwrap());
                    there.insert(*n, (at, hosts.clone()));
                    claimed.retain(|host, by| by != n || hosts.contains(host));
                    claimed.extend(hosts.iter().map(|host| (*host, *n)));
                }
                Step::Remove { name: n } => {
                    table.remove(&name(*n));
                    there.remove(n);
                    claimed.retain(|_, by| by != n);
                }
            }
            for n in 0..NAMES {
                let found = table.endpoint(&name(n)).map(|entry| number(&entry));
                prop_assert_eq!(found, there.get(&n).map(|one| one.0));
            }
            for n in 0..HOSTS {
                let found = table.host(&host(n)).map(|entry| number(&entry));
                let by = claimed.get(&n).and_then(|by| there.get(by));
                prop_assert_eq!(found, by.map(|one| one.0), "host {}", n);
            }
        }
    }

    /// Readers beside the writer never see half a change, nor an older entry after
    /// a newer one.
    #[test]
    fn readers_never_see_half_a_change(counts in proptest::collection::vec((1..6_usize, 0..HOSTS), 2..40)) {
        let metrics = Metrics::new().unwrap();
        let table = Table::default();
        let entries: Vec<Arc<Entry>> = (1_u64..)
            .zip(&counts)
            .filter_map(|(at, (versions, host))| {
                entry(&metrics, at, &Step::Put { name: 0, versions: *versions, hosts: vec![*host] })
            })
            .collect();
        let (over, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !over.load(Ordering::Acquire) {
                        let by_host = (0..HOSTS).filter_map(|n| Some((n, table.host(&host(n))?)));
                        for (n, entry) in by_host {
                            assert_eq!(entry.spec.hosts, [host(n)]);
                            number(&entry);
                        }
                        let Some(entry) = table.endpoint(&name(0)) else { continue };
                        let found = number(&entry);
                        assert!(found >= last, "{found} after {last}");
                        last = found;
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for entry in entries {
                table.put(entry);
                // Some reader has seen it, or a later one.
                let before = seen.load(Ordering::Relaxed);
                while seen.load(Ordering::Relaxed) == before {
                    std::thread::yield_now();
                }
            }
            over.store(true, Ordering::Release);
        });
    }
}
