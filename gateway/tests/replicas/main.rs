//! Replicas as real processes under the real guard.
//!
//! Nothing here sleeps to decide: every test waits for an event, a line or the
//! end of a process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;
mod fixed;
mod guard;

use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tidegate::breaker::Conduct;
use tidegate::resource::Runtime;
use tidegate::runtime::ReplicaEvent;

use bench::{
    Bench, SERVER, ask, exited, idle, kill, next, probe, process, ready, running, starting, told,
};

#[tokio::test]
async fn a_process_is_started_on_its_port_and_stopped() {
    let bench = Bench::new();
    let server = ["python3", "-c", SERVER, "--port=$(PORT)"];
    let (replicas, mut events) = bench.start(process(bench.folder.path(), &server), 1);
    let (id, address) = ready(&mut events).await;
    assert_eq!(id.as_str(), "blue-1");
    let told = ask(address);
    assert_eq!(
        told["argv"],
        serde_json::json!([format!("--port={}", address.port())])
    );
    assert_eq!(told["cwd"], bench.folder.path().to_str().unwrap());
    assert_eq!(told["group"], told["pid"], "it leads a group of its own");
    replicas.stop(&id).await;
    assert_eq!(next(&mut events).await, ReplicaEvent::Stopped { id });
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_process_gets_the_environment_that_was_said_and_nothing_else() {
    let bench = Bench::new();
    let mut process = process(bench.folder.path(), &["/usr/bin/env"]);
    process
        .env
        .insert("OMP_NUM_THREADS".to_owned(), "1".to_owned());
    process.inherit_env = vec!["CARGO_PKG_NAME".to_owned(), "NOT_THERE".to_owned()];
    process.model_dir = Some("/models/blue".into());
    let (replicas, mut events) = bench.start(process, 1);
    let (_, address) = starting(&mut events).await;
    let mut lines: Vec<String> = exited(&mut events)
        .await
        .lines()
        .map(str::to_owned)
        .collect();
    lines.remove(0);
    lines.sort();
    let port = format!("PORT={}", address.port());
    let expected = [
        "AZUREML_MODEL_DIR=/models/blue",
        "CARGO_PKG_NAME=tidegate",
        "OMP_NUM_THREADS=1",
        &port,
    ];
    assert_eq!(lines, expected);
    replicas.stop_all().await;
}

#[tokio::test]
async fn a_process_runs_as_its_user_or_not_at_all() {
    let bench = Bench::new();
    let mut process = process(Path::new("/"), &["id"]);
    process.user = Some("nobody".to_owned());
    let (replicas, mut events) = bench.start(process, 1);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        starting(&mut events).await;
        let reason = exited(&mut events).await;
        assert!(reason.contains("(nobody) gid="), "{reason}");
        assert!(!reason.contains("root"), "{reason}");
    } else {
        let ReplicaEvent::BackOff { reason, .. } = next(&mut events).await else {
            panic!("it was started");
        };
        assert!(reason.contains("runs as root"), "{reason}");
    }
    replicas.stop_all().await;
}

#[tokio::test]
async fn a_process_that_is_killed_is_started_again() {
    let bench = Bench::new();
    let (replicas, mut events) =
        bench.start(process(bench.folder.path(), &["python3", "-c", SERVER]), 1);
    let (id, address) = ready(&mut events).await;
    kill(&ask(address)["pid"]);
    let ReplicaEvent::Exited { id: exited, reason } = next(&mut events).await else {
        panic!("it did not exit");
    };
    assert_eq!(exited, id);
    assert_eq!(
        reason,
        "was ended by SIGKILL; last lines of its output:\nabout to listen"
    );
    let back_off = next(&mut events).await;
    let wait = Duration::from_millis(100);
    assert_eq!(
        back_off,
        ReplicaEvent::BackOff {
            id: id.clone(),
            reason,
            wait,
            no_room: false,
        }
    );
    let (again, address) = ready(&mut events).await;
    assert_eq!(again, id);
    assert!(ask(address)["pid"].is_number());
    replicas.stop_all().await;
}

#[tokio::test]
async fn a_process_that_keeps_exiting_backs_off_and_says_why() {
    let bench = Bench::new();
    let script =
        "for n in $(seq 30); do echo line $n; done; echo no module named sklearn >&2; exit 3";
    let (replicas, mut events) =
        bench.start(process(bench.folder.path(), &["sh", "-c", script]), 1);
    for wait in [100, 200, 400] {
        starting(&mut events).await;
        let reason = exited(&mut events).await;
        assert!(
            reason.starts_with("exited with status 3 before it was ready;"),
            "{reason}"
        );
        assert!(
            reason.ends_with("line 30\nno module named sklearn"),
            "{reason}"
        );
        assert!(!reason.contains("line 9\n"), "{reason}");
        match next(&mut events).await {
            ReplicaEvent::BackOff { wait: waited, .. } => {
                assert_eq!(waited, Duration::from_millis(wait));
            }
            other => panic!("{other:?} is not a back-off"),
        }
    }
    replicas.stop_all().await;
    bench.line("no module named sklearn").await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let bench = Bench::new();
    let (replicas, mut events) =
        bench.start(process(bench.folder.path(), &["azmlinfsrv-missing"]), 1);
    let ReplicaEvent::BackOff { reason, .. } = next(&mut events).await else {
        panic!("it was started");
    };
    assert!(
        reason.contains("\"azmlinfsrv-missing\" is in no folder of PATH"),
        "{reason}"
    );
    replicas.stop_all().await;
}

#[tokio::test]
async fn more_are_started_when_more_are_wanted_and_numbers_are_used_again() {
    let bench = Bench::new();
    let served = process(bench.folder.path(), &["python3", "-c", SERVER]);
    let (replicas, mut events) = bench.start(served, 1);
    let (first, _) = ready(&mut events).await;
    replicas.want(3);
    assert_eq!(replicas.ids().len(), 3);
    let mut seen = 0;
    while seen < 2 {
        if let ReplicaEvent::Ready { .. } = next(&mut events).await {
            seen += 1;
        }
    }
    replicas.want(1);
    assert_eq!(
        replicas.ids().len(),
        3,
        "fewer: the caller chooses whom to stop"
    );
    replicas.stop(&first).await;
    assert_eq!(
        next(&mut events).await,
        ReplicaEvent::Stopped { id: first.clone() }
    );
    replicas.want(3);
    let (again, _) = ready(&mut events).await;
    assert_eq!(again, first);
    // Another generation of the version, beside the first, has other names.
    let (other, mut others) =
        bench.start(process(bench.folder.path(), &["python3", "-c", SERVER]), 1);
    assert_eq!(starting(&mut others).await.0.as_str(), "blue-4");
    other.stop_all().await;
    replicas.stop_all().await;
}

#[tokio::test]
async fn a_process_that_does_not_get_ready_tells_why() {
    let bench = Bench::new();
    let server = ["python3", "-c", SERVER];
    let served = Runtime::Process(process(bench.folder.path(), &server));
    let (replicas, mut events) = bench.run(served, probe(Some("/missing")), idle(), 1);
    starting(&mut events).await;
    loop {
        match told(&mut events).await {
            // Until it listens.
            ReplicaEvent::NotYet { reason, .. } if reason.contains("no connection") => {}
            ReplicaEvent::NotYet { reason, .. } => {
                assert_eq!(reason, "its probe failed: answered 404 Not Found");
                break;
            }
            other => panic!("{other:?} is not why"),
        }
    }
    replicas.stop_all().await;
}

#[tokio::test]
async fn a_process_that_fails_its_liveness_is_started_again_but_not_while_it_is_busy() {
    let bench = Bench::new();
    let server = process(bench.folder.path(), &["python3", "-c", SERVER]);
    let busy = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(AtomicU32::new(0));
    let (is_busy, count) = (Arc::clone(&busy), Arc::clone(&asked));
    let (replicas, mut events) = bench.start_live(
        server,
        probe(Some("/missing")),
        Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            running(is_busy.load(Ordering::SeqCst))
        }),
    );
    let (id, _) = ready(&mut events).await;
    // Far more looks than either probe's threshold.
    let before = asked.load(Ordering::SeqCst);
    while asked.load(Ordering::SeqCst) < before + 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(events.is_empty());
    busy.store(false, Ordering::SeqCst);
    let why = "failed its liveness probe 3 times: answered 404 Not Found";
    assert_eq!(
        next(&mut events).await,
        ReplicaEvent::NotReady {
            id,
            reason: why.to_owned()
        }
    );
    // Its next life has no initial delay either: let it begin.
    busy.store(true, Ordering::SeqCst);
    let reason = exited(&mut events).await;
    assert!(
        reason.starts_with(&format!("{why}; it was ended by SIGTERM; last lines")),
        "{reason}"
    );
    assert!(matches!(
        next(&mut events).await,
        ReplicaEvent::BackOff { .. }
    ));
    ready(&mut events).await;
    replicas.stop_all().await;
}

#[tokio::test]
async fn a_process_that_answers_none_of_its_requests_is_started_again_while_it_is_busy() {
    let bench = Bench::new();
    let server = process(bench.folder.path(), &["python3", "-c", SERVER]);
    let failing = Arc::new(AtomicBool::new(false));
    let counts = Arc::new(AtomicU32::new(0));
    let (fails, count) = (Arc::clone(&failing), Arc::clone(&counts));
    // Its probes would succeed: they are not asked.
    let (replicas, mut events) = bench.start_live(
        server,
        probe(Some("/")),
        Arc::new(move |_| {
            let looks = count.fetch_add(1, Ordering::SeqCst);
            let fails = fails.load(Ordering::SeqCst);
            Conduct {
                busy: 1,
                unanswered: looks,
                // At every second look one was answered as well.
                answered: if fails { 0 } else { looks / 2 },
                left: 0,
            }
        }),
    );
    let (id, _) = ready(&mut events).await;
    while counts.load(Ordering::SeqCst) < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(events.is_empty(), "a row that is broken is none");
    failing.store(true, Ordering::SeqCst);
    let why = "failed its liveness probe 3 times: it answered none of its requests";
    assert_eq!(
        next(&mut events).await,
        ReplicaEvent::NotReady {
            id,
            reason: why.to_owned()
        }
    );
    replicas.stop_all().await;
}
