//! What the tests of replicas share: a machine, versions to run on it, and
//! waiting for what it tells.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tidegate::breaker::Conduct;
use tidegate::id::ReplicaId;
use tidegate::name::Name;
use tidegate::resource::{CallerGone, Probe, Process, Runtime, Scale, Version};
use tidegate::runtime::{ConductOf, LogQuery, Machine, ReplicaEvent, Replicas, ReplicasSpec};
use tidegate::shutdown::Tasks;
use tidegate::units::Percent;
use tokio::sync::mpsc;

pub(crate) const GUARD: &str = env!("CARGO_BIN_EXE_tidegate");
/// Far longer than anything here takes: only a broken test waits for it.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Tells about itself to whoever asks.
pub(crate) const SERVER: &str = r#"
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({
            "pid": os.getpid(), "group": os.getpgid(0), "argv": sys.argv[1:], "cwd": os.getcwd(),
        }).encode()
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
print("about to listen", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

pub(crate) fn version(runtime: Runtime, probe: Probe, liveness: Option<Probe>) -> Arc<Version> {
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
        warm_up: Duration::ZERO,
        liveness,
        readiness: probe,
        resources: serde_json::Value::Null,
    })
}

pub(crate) fn probe(path: Option<&str>) -> Probe {
    Probe {
        path: path.map(str::to_owned),
        period: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        success_threshold: 1,
        failure_threshold: 3,
        initial_delay: Duration::ZERO,
    }
}

pub(crate) fn process(dir: &Path, command: &[&str]) -> Process {
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

/// Of a replica that computes, or does not.
pub(crate) fn running(busy: bool) -> Conduct {
    Conduct {
        busy: busy.into(),
        ..Conduct::default()
    }
}

pub(crate) fn idle() -> ConductOf {
    Arc::new(|_| Conduct::default())
}

/// A machine with its state in a folder of its own.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) machine: Machine,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let machine = Machine::new(state, GUARD.into(), Tasks::new()).unwrap();
        Self { folder, machine }
    }

    pub(crate) fn start(
        &self,
        process: Process,
        wanted: u32,
    ) -> (Replicas, mpsc::Receiver<ReplicaEvent>) {
        self.run(Runtime::Process(process), probe(Some("/")), idle(), wanted)
    }

    pub(crate) fn run(
        &self,
        runtime: Runtime,
        probe: Probe,
        conduct: ConductOf,
        wanted: u32,
    ) -> (Replicas, mpsc::Receiver<ReplicaEvent>) {
        let spec = ReplicasSpec {
            endpoint: Name::parse("iris").unwrap(),
            version: version(runtime, probe, None),
            conduct,
        };
        self.machine.start(spec, wanted)
    }

    /// One process that is always ready, with that liveness.
    pub(crate) fn start_live(
        &self,
        process: Process,
        liveness: Probe,
        conduct: ConductOf,
    ) -> (Replicas, mpsc::Receiver<ReplicaEvent>) {
        let spec = ReplicasSpec {
            endpoint: Name::parse("iris").unwrap(),
            version: version(Runtime::Process(process), probe(Some("/")), Some(liveness)),
            conduct,
        };
        self.machine.start(spec, 1)
    }

    /// Waits for a line of the replicas' output that has `part`.
    pub(crate) async fn line(&self, part: &str) {
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

/// The next event.
pub(crate) async fn told(events: &mut mpsc::Receiver<ReplicaEvent>) -> ReplicaEvent {
    tokio::time::timeout(SOON, events.recv())
        .await
        .unwrap()
        .unwrap()
}

/// The next event but those that only say why a start is not over: how many of
/// them there are is a matter of time.
pub(crate) async fn next(events: &mut mpsc::Receiver<ReplicaEvent>) -> ReplicaEvent {
    loop {
        match told(events).await {
            ReplicaEvent::NotYet { .. } => {}
            other => return other,
        }
    }
}

pub(crate) async fn starting(events: &mut mpsc::Receiver<ReplicaEvent>) -> (ReplicaId, SocketAddr) {
    match next(events).await {
        ReplicaEvent::Starting { id, address, .. } => (id, address),
        other => panic!("{other:?} is not a start"),
    }
}

pub(crate) async fn exited(events: &mut mpsc::Receiver<ReplicaEvent>) -> String {
    match next(events).await {
        ReplicaEvent::Exited { reason, .. } => reason,
        other => panic!("{other:?} is not an exit"),
    }
}

pub(crate) async fn ready(events: &mut mpsc::Receiver<ReplicaEvent>) -> (ReplicaId, SocketAddr) {
    let (id, address) = starting(events).await;
    assert_eq!(next(events).await, ReplicaEvent::Ready { id: id.clone() });
    (id, address)
}

/// What the server tells about itself.
pub(crate) fn ask(address: SocketAddr) -> serde_json::Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

pub(crate) fn kill(pid: &serde_json::Value) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}
