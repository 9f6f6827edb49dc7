//! Replicas at fixed addresses.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tidegate::resource::Runtime;
use tidegate::runtime::ReplicaEvent;

use crate::bench::{Bench, idle, next, probe, ready, running};

#[tokio::test]
async fn a_fixed_address_is_ready_while_its_probes_succeed() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let addresses = vec![format!("localhost:{}", address.port())];
    let busy = Arc::new(AtomicBool::new(true));
    let skipped = Arc::new(AtomicU32::new(0));
    let (is_busy, count) = (Arc::clone(&busy), Arc::clone(&skipped));
    let (replicas, mut events) = bench.run(
        Runtime::Static {
            addresses,
            tls: None,
        },
        probe(None),
        Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            running(is_busy.load(Ordering::SeqCst))
        }),
        1,
    );
    let (id, told) = ready(&mut events).await;
    assert_eq!(told.port(), address.port());
    // Busy, it is judged by its request: ten probes are skipped, none fails.
    drop(listener);
    let before = skipped.load(Ordering::SeqCst);
    while skipped.load(Ordering::SeqCst) < before + 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(events.is_empty());
    busy.store(false, Ordering::SeqCst);
    let ReplicaEvent::NotReady { id: gone, reason } = next(&mut events).await else {
        panic!("its probes did not fail");
    };
    assert_eq!(gone, id);
    assert!(
        reason.starts_with("its probe failed: no connection"),
        "{reason}"
    );
    let _listener = TcpListener::bind(address).unwrap();
    assert_eq!(
        next(&mut events).await,
        ReplicaEvent::Ready { id: id.clone() }
    );
    replicas.stop(&id).await;
    assert_eq!(next(&mut events).await, ReplicaEvent::Stopped { id });
}

#[tokio::test]
async fn a_name_that_is_not_found_is_told_and_looked_up_again() {
    let bench = Bench::new();
    let addresses = vec!["no-such-host.invalid:1".to_owned()];
    // A look-up waits at most a period.
    let mut seldom = probe(None);
    seldom.period = Duration::from_secs(10);
    let (replicas, mut events) = bench.run(
        Runtime::Static {
            addresses,
            tls: None,
        },
        seldom,
        idle(),
        1,
    );
    for wait in [100, 200] {
        let ReplicaEvent::BackOff {
            reason,
            wait: waited,
            ..
        } = next(&mut events).await
        else {
            panic!("it was found");
        };
        assert!(reason.contains("no-such-host.invalid"), "{reason}");
        assert_eq!(waited, Duration::from_millis(wait));
    }
    replicas.stop_all().await;
}
