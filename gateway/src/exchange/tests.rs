//! Exchanges through hyper's server with replicas that speak scripted bytes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::fleet::{Fleet, FleetSettings};
use crate::id::ReplicaId;
use crate::log::{Rotation, Target};
use crate::name::Name;
use crate::policy::Policy;
use crate::resource::{
    Auth, AuthMode, Binding, CallerGone, Endpoint, OnFailure, Probe, Runtime, Scale, Split, Version,
};
use crate::table::{AuthPolicies, CollectEntry, Entry, Paths, SplitPolicy, VersionEntry};
use crate::units::Percent;

mod broken;
mod callers;
mod cold;
mod heads;
mod http2;
mod mirrors;
mod policies;
mod replicas;
mod upgrades;

/// Long enough for anything on loopback, short enough to fail soon.
const SOON: Duration = Duration::from_secs(5);

/// Runs a test on one thread, as a worker does.
fn on_a_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        timeout(Duration::from_secs(20), test).await.unwrap();
    }));
}

/// One connection of a scripted replica.
struct Conn {
    stream: TcpStream,
    read: Vec<u8>,
    /// Which connection of the replica this is, from 1.
    number: usize,
}

impl Conn {
    /// The next request's head; none at the end.
    async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut part = vec![0; 16 << 10];
        match self.stream.read(&mut part).await {
            Ok(n) if n > 0 => {
                self.read.extend_from_slice(&part[..n]);
                true
            }
            _ => false,
        }
    }

    /// The next request whole: its head and its body.
    async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head().await?;
        let length = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
        while self.read.len() < length {
            if !self.more().await {
                return None;
            }
        }
        if field(&head, "transfer-encoding").is_some() {
            while !self.read.ends_with(b"\r\n\r\n") {
                if !self.more().await {
                    return None;
                }
            }
            return Some((head, std::mem::take(&mut self.read)));
        }
        Some((head, self.read.drain(..length).collect()))
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _gone = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Waits until the gateway closes.
    async fn closed(&mut self) {
        while self.more().await {}
    }

    /// Closes with a reset.
    fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A field of a head, in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A replica: where it listens, and how many connections it had.
#[derive(Clone)]
struct Replica {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
}

/// Starts a replica that runs `script` on each connection.
async fn replica<F, Fut>(script: F) -> Replica
where
    F: Fn(Conn) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Rc::new(Cell::new(0));
    let counted = Rc::clone(&connections);
    let script = Rc::new(script);
    Tasks::new().spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.set(counted.get() + 1);
            let conn = Conn {
                stream,
                read: Vec::new(),
                number: counted.get(),
            };
            let script = Rc::clone(&script);
            Tasks::new().spawn_local(async move { script(conn).await });
        }
    });
    Replica {
        address,
        connections,
    }
}

/// A replica that answers each request with its body.
async fn echo() -> Replica {
    replica(|mut conn| async move {
        while let Some((_, body)) = conn.request().await {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            conn.say([head.as_bytes(), &body].concat()).await;
        }
    })
    .await
}

/// What a test may change before the gateway starts.
struct Setup {
    endpoint: Endpoint,
    limits: Limits,
    slots: u32,
    auth: Vec<Arc<Policy>>,
    split: Option<Arc<Policy>>,
    collect: Vec<CollectEntry>,
    /// The fleets of versions beside `blue`.
    others: Vec<Arc<Fleet>>,
    http2: bool,
}

impl Setup {
    fn version(&mut self) -> &mut Version {
        &mut self.endpoint.versions[0]
    }
}

/// A gateway with the endpoint `iris` and its version `blue`.
struct Rig {
    address: SocketAddr,
    fleet: Arc<Fleet>,
    worker: Rc<Worker>,
    inbox: Cell<Option<crate::outbox::Inbox>>,
    log: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// A gateway with one slot on each replica.
    async fn with(replicas: &[&Replica]) -> Self {
        Self::set_up(replicas, |_| {}).await
    }

    async fn set_up(replicas: &[&Replica], change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            endpoint: endpoint(),
            limits: limits(),
            slots: 1,
            auth: Vec::new(),
            split: None,
            collect: Vec::new(),
            others: Vec::new(),
            http2: false,
        };
        change(&mut setup);
        let metrics = Metrics::new().unwrap();
        let fleet = fleet(&setup, &metrics, replicas);
        let table = Arc::new(Table::default());
        table.put(entry(&setup, &fleet, &metrics));
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let access = Lines::open(Target::File(log.clone()), Rotation::default()).unwrap();
        let (outbox, inbox) = crate::outbox::outbox(&metrics);
        let worker = Worker::new(Arc::new(Shared {
            table,
            metrics,
            outbox,
            access: Some(access),
            limits: Arc::new(setup.limits),
            memory: Arc::new(crate::memory::Memory::new(None)),
            trusted_proxies: Vec::new(),
            tasks: Tasks::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Tasks::new().spawn_local(accept(listener, Rc::clone(&worker), setup.http2));
        Self {
            address,
            fleet,
            worker,
            inbox: Cell::new(Some(inbox)),
            log,
            _dir: dir,
        }
    }

    /// A connection on which these bytes were sent.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }

    /// What comes back for these bytes, to the end of the connection.
    async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.send(bytes).await;
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
        let _reset = read.expect("the connection stays open");
        String::from_utf8(answer).unwrap()
    }

    /// The answer to a request on a connection of its own.
    async fn call(&self, method: &str, path: &str, fields: &str, body: &str) -> (u16, String) {
        let request = request(method, path, fields, body);
        let answer = self.raw(request).await;
        let status = answer.split(' ').nth(1).map_or(0, |s| s.parse().unwrap());
        (status, answer)
    }

    /// `POST /score` of the endpoint.
    async fn score(&self, body: &str) -> (u16, String) {
        self.call("POST", SCORE, "", body).await
    }

    /// The access lines so far; waits until there are `n`.
    async fn lines(&self, n: usize) -> Vec<serde_json::Value> {
        for _ in 0..500 {
            self.worker.shared.access.as_ref().unwrap().flush(SOON);
            let text = std::fs::read_to_string(&self.log).unwrap();
            if text.lines().count() >= n {
                let parse = |line| serde_json::from_str(line).unwrap();
                return text.lines().map(parse).collect();
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no {n} lines");
    }

    async fn line(&self) -> serde_json::Value {
        self.lines(1).await.pop().unwrap()
    }

    /// Waits until that many slots are busy.
    async fn busy(&self, n: u32) {
        for _ in 0..500 {
            if self.fleet.counts().busy == n {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}, not {n} busy", self.fleet.counts());
    }
}

const SCORE: &str = "/api/v1/service/iris/score";

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = match body.len() {
        0 => String::new(),
        n => format!("content-length: {n}\r\n"),
    };
    let rest = format!("host: gate\r\nconnection: close\r\n{fields}{length}\r\n{body}");
    format!("{method} {path} HTTP/1.1\r\n{rest}")
}

async fn accept(listener: TcpListener, worker: Rc<Worker>, http2: bool) {
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let local = stream.local_addr().unwrap();
        let connection = Rc::new(Connection::new(peer, local, None, http2));
        let worker = Rc::clone(&worker);
        Tasks::new().spawn_local(async move {
            let service = service_fn(move |request| {
                let answer = serve(Rc::clone(&worker), Rc::clone(&connection), request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let io = TokioIo::new(stream);
            let _broken = if http2 {
                let builder = hyper::server::conn::http2::Builder::new(OnWorker);
                builder.serve_connection(io, service).await
            } else {
                let serving = http1::Builder::new().serve_connection(io, service);
                serving.with_upgrades().await
            };
        });
    }
}

/// Runs what hyper spawns on this thread.
#[derive(Clone)]
struct OnWorker;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnWorker {
    fn execute(&self, future: F) {
        Tasks::new().spawn_local(async move {
            future.await;
        });
    }
}

fn limits() -> Limits {
    let long = Duration::from_secs(60);
    Limits {
        connections: 100,
        tls_handshake_timeout: long,
        head_timeout: long,
        head_bytes: 16 << 10,
        head_fields: 100,
        target_bytes: 8 << 10,
        body_idle_timeout: long,
        idle_timeout: long,
        streams_per_connection: 100,
        upstream_idle: Duration::from_secs(1),
        memory: None,
        drain: long,
    }
}

fn endpoint() -> Endpoint {
    let name = |name| Name::parse(name).unwrap();
    let long = Duration::from_secs(60);
    let version = Version {
        name: name("blue"),
        traffic: Percent::ALL,
        default: true,
        kind: None,
        description: String::new(),
        tags: Default::default(),
        properties: Default::default(),
        runtime: Runtime::Static {
            addresses: Vec::new(),
            tls: None,
        },
        paths: ["/score", "/v1/*"].map(str::to_owned).to_vec(),
        max_concurrent_requests: NonZeroU32::MIN,
        max_queue_wait: Duration::from_secs(2),
        queue_capacity: 10,
        scoring_timeout: long,
        stream_idle_timeout: long,
        caller_gone: CallerGone::Finish,
        scale: Scale::Fixed(1),
        readiness: Probe {
            path: None,
            period: long,
            timeout: long,
            success_threshold: 1,
            failure_threshold: 1,
            initial_delay: long,
        },
        liveness: None,
        warm_up: Duration::ZERO,
        resources: serde_json::Value::Null,
    };
    Endpoint {
        name: name("iris"),
        labels: Default::default(),
        hosts: vec!["iris.example".to_owned()],
        max_request_bytes: 1 << 20,
        model_errors_as_502: false,
        auth: Auth {
            mode: AuthMode::None,
            forward_credential: false,
        },
        split: Split {
            policy: Binding {
                plugin: name("weighted-split"),
                config: serde_json::Value::Null,
                cache_by: Vec::new(),
            },
            on_failure: OnFailure::Weights,
            sticky: None,
            pin: true,
        },
        mirror: None,
        collect: Vec::new(),
        versions: vec![version],
    }
}

fn fleet(setup: &Setup, metrics: &Metrics, replicas: &[&Replica]) -> Arc<Fleet> {
    let version = &setup.endpoint.versions[0];
    let settings = FleetSettings::new(
        setup.endpoint.name.clone(),
        version.name.clone(),
        NonZeroU32::new(setup.slots).unwrap(),
        version.queue_capacity,
        version.max_queue_wait,
    );
    let fleet = Fleet::new(settings, metrics);
    for (place, replica) in replicas.iter().enumerate() {
        let id = ReplicaId::new(&version.name, place as u64 + 1);
        fleet.add(id.clone(), replica.address);
        fleet.set_ready(&id, true);
    }
    fleet
}

fn entry(setup: &Setup, fleet: &Arc<Fleet>, metrics: &Metrics) -> Arc<Entry> {
    let endpoint = &setup.endpoint;
    let fleets = std::iter::once(fleet).chain(&setup.others);
    let version = |(spec, fleet): (&Version, &Arc<Fleet>)| {
        Arc::new(VersionEntry {
            spec: Arc::new(spec.clone()),
            paths: Paths::new(&spec.paths),
            fleet: Arc::clone(fleet),
            collect: setup.collect.clone().into(),
            metrics: Arc::new(ExchangeMetrics::new(metrics, "iris", spec.name.as_str())),
        })
    };
    let missing = || "no plugin".to_owned();
    Arc::new(Entry {
        auth: match endpoint.auth.mode {
            AuthMode::None => AuthPolicies::Open,
            _ if setup.auth.is_empty() => AuthPolicies::Closed(missing()),
            _ => AuthPolicies::Ask(setup.auth.clone()),
        },
        split: match &setup.split {
            Some(policy) => SplitPolicy::Ask(Arc::clone(policy)),
            None => SplitPolicy::Missing(missing()),
        },
        versions: endpoint.versions.iter().zip(fleets).map(version).collect(),
        metrics: Arc::new(ExchangeMetrics::new(metrics, "iris", "")),
        spec: Arc::new(endpoint.clone()),
    })
}
