//! Replicas as real processes under the real guard.
//!
//! Nothing here sleeps to decide: every test waits for an event, a line or the
//! end of a process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidegate::id::ReplicaId;
use tidegate::name::Name;
use tidegate::resource::{CallerGone, Probe, Process, Runtime, Scale, Version};
use tidegate::runtime::{Busy, LogQuery, Machine, ReplicaEvent, Replicas, ReplicasSpec};
use tidegate::shutdown::Tasks;
use tidegate::units::Percent;
use tokio::sync::mpsc;

const GUARD: &str = env!("CARGO_BIN_EXE_tidegate");
/// Far longer than anything here takes: only a broken test waits for it.
const SOON: Duration = Duration::from_secs(60);

/// Tells about itself to whoever asks.
const SERVER: &str = r#"
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({
            "pid": os.getpid(), "group": os.getpgid(0), "argv": sys.argv[1:], "cwd": os.getcwd(),
        }).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
print("about to listen", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Leaves its group, its session and its parent in every way, and ignores SIGTERM.
const FORKS: &str = r#"
trap '' TERM
sleep 1000 &
setsid sleep 1000 &
(setsid sh -c 'sleep 1000 & echo forked; wait' &)
sleep 1000
"#;

fn version(runtime: Runtime, probe: Probe) -> Arc<Version> {
    Arc::new(Version {
        name: Name::parse("blue").unwrap(),
        traffic: Percent::ALL,
        default: true,
        kind: None,
        description: String::new(),
        tags: BTreeMap::new(),
        properties: BTreeMap::new(),
        runtime,
        paths: vec!["/score".to_owned()],
        max_concurrent_requests: NonZeroU32::MIN,
        max_queue_wait: Duration::ZERO,
        queue_capacity: 0,
        scoring_timeout: SOON,
        stream_idle_timeout: SOON,
        caller_gone: CallerGone::Finish,
        scale: Scale::Fixed(1),
        readiness: probe,
        resources: serde_json::Value::Null,
    })
}

fn probe(path: Option<&str>) -> Probe {
    Probe {
        path: path.map(str::to_owned),
        period: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        success_threshold: 1,
        failure_threshold: 3,
        initial_delay: Duration::ZERO,
    }
}

fn process(dir: &Path, command: &[&str]) -> Process {
    Process {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        dir: dir.to_owned(),
        env: BTreeMap::new(),
        inherit_env: vec!["PATH".to_owned()],
        model_dir: None,
        user: None,
        grace: Duration::from_millis(300),
    }
}

fn idle() -> Busy {
    Arc::new(|_| false)
}

/// A machine with its state in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    machine: Machine,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let machine = Machine::new(state, GUARD.into(), Tasks::new()).unwrap();
        Self { folder, machine }
    }

    fn start(&self, process: Process, wanted: u32) -> (Replicas, mpsc::Receiver<ReplicaEvent>) {
        self.run(Runtime::Process(process), probe(Some("/")), idle(), wanted)
    }

    fn run(
        &self,
        runtime: Runtime,
        probe: Probe,
        busy: Busy,
        wanted: u32,
    ) -> (Replicas, mpsc::Receiver<ReplicaEvent>) {
        let spec = ReplicasSpec {
            endpoint: Name::parse("iris").unwrap(),
            version: version(runtime, probe),
            busy,
        };
        self.machine.start(spec, wanted)
    }

    /// Waits for a line of the replicas' output that has `part`.
    async fn line(&self, part: &str) {
        let mut lines = self.machine.logs(LogQuery {
            endpoint: Name::parse("iris").unwrap(),
            version: None,
            replica: None,
            since: None,
            follow: true,
        });
        let found = async {
            while let Some(line) = lines.recv().await {
                if line.text.contains(part) {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, found).await.unwrap();
    }
}

async fn next(events: &mut mpsc::Receiver<ReplicaEvent>) -> ReplicaEvent {
    tokio::time::timeout(SOON, events.recv())
        .await
        .unwrap()
        .unwrap()
}

async fn starting(events: &mut mpsc::Receiver<ReplicaEvent>) -> (ReplicaId, SocketAddr) {
    match next(events).await {
        ReplicaEvent::Starting { id, address } => (id, address),
        other => panic!("{other:?} is not a start"),
    }
}

async fn exited(events: &mut mpsc::Receiver<ReplicaEvent>) -> String {
    match next(events).await {
        ReplicaEvent::Exited { reason, .. } => reason,
        other => panic!("{other:?} is not an exit"),
    }
}

async fn ready(events: &mut mpsc::Receiver<ReplicaEvent>) -> (ReplicaId, SocketAddr) {
    let (id, address) = starting(events).await;
    assert_eq!(next(events).await, ReplicaEvent::Ready { id: id.clone() });
    (id, address)
}

/// What the server tells about itself.
fn ask(address: SocketAddr) -> serde_json::Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A word that only the processes of one test have in their environment or arguments.
fn mark() -> String {
    format!("mark-{}", tidegate::id::new_request_id())
}

/// Processes with that mark.
fn marked(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let has = |file| {
            std::fs::read(entry.path().join(file))
                .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(mark))
        };
        if has("environ") || has("cmdline") {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

fn kill(pid: &serde_json::Value) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

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
            wait
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
async fn nothing_is_left_of_a_replica_that_forks_and_ignores_sigterm() {
    let bench = Bench::new();
    let mark = mark();
    let mut process = process(bench.folder.path(), &["sh", "-c", FORKS]);
    process.env.insert("MARK".to_owned(), mark.clone());
    let (replicas, mut events) = bench.start(process, 1);
    let (id, _) = starting(&mut events).await;
    bench.line("forked").await;
    assert!(marked(&mark).len() >= 5, "{:?}", marked(&mark));
    replicas.stop(&id).await;
    assert_eq!(marked(&mark), [""; 0]);
}

#[tokio::test]
async fn nothing_is_left_behind_when_the_command_ends_before_its_children() {
    let bench = Bench::new();
    let mark = mark();
    let script = "(setsid sleep 1000 &); (setsid sleep 1000 &); exit 0";
    let mut process = process(bench.folder.path(), &["sh", "-c", script]);
    process.env.insert("MARK".to_owned(), mark.clone());
    let (replicas, mut events) = bench.start(process, 1);
    starting(&mut events).await;
    let reason = exited(&mut events).await;
    assert!(
        reason.starts_with("exited with status 0 before it was ready"),
        "{reason}"
    );
    replicas.stop_all().await;
    assert_eq!(marked(&mark), [""; 0]);
}

/// The guard alone, its pipe held by a process that is killed: what the gateway's
/// own end by SIGKILL looks like to it.
#[test]
fn a_guard_ends_everything_when_the_holder_of_its_pipe_is_killed() {
    let mark = mark();
    let path = std::env::var("PATH").unwrap();
    let hand_over = format!("printf 'PATH={path}\\0MARK={mark}\\0\\0'; exec sleep 1000");
    let mut holder = Command::new("sh")
        .args(["-c", &hand_over])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut guard = Command::new(GUARD)
        .args([
            "replica-guard",
            "--grace-ms",
            "500",
            "--",
            "/bin/sh",
            "-c",
            FORKS,
        ])
        .stdin(holder.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = guard.stdout.take().unwrap();
    let mut seen = [0; 7];
    output.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"forked\n");
    assert!(marked(&mark).len() >= 5, "{:?}", marked(&mark));
    holder.kill().unwrap();
    let killed = Instant::now();
    holder.wait().unwrap();
    guard.wait().unwrap();
    assert_eq!(marked(&mark), [""; 0]);
    assert!(
        killed.elapsed() < Duration::from_millis(500 + 2000),
        "{:?}",
        killed.elapsed()
    );
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
async fn a_fixed_address_is_ready_while_its_probes_succeed() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let addresses = vec![format!("localhost:{}", address.port())];
    let busy = Arc::new(AtomicBool::new(true));
    let skipped = Arc::new(AtomicU32::new(0));
    let (is_busy, count) = (Arc::clone(&busy), Arc::clone(&skipped));
    let (replicas, mut events) = bench.run(
        Runtime::Static { addresses },
        probe(None),
        Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            is_busy.load(Ordering::SeqCst)
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
    let (replicas, mut events) = bench.run(Runtime::Static { addresses }, probe(None), idle(), 1);
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
