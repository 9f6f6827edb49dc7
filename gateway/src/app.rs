//! `tidegate run`: composes everything, in order, and takes it down in order.
//!
//! Holds no rule of its own. Up: resources, state folder, plugins and replicas,
//! listeners, admin. Down: listeners drain, then replicas stop, then what was
//! collected is written. Called by `main`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::collector;
use crate::descriptors;
use crate::event::Events;
use crate::exchange::Shared;
use crate::id::wall_clock;
use crate::identity::Key;
use crate::listen::{self, Inherited};
use crate::log::{Lines, Rotation, Target};
use crate::memory::{self, Memory};
use crate::metrics::{self, Metrics};
use crate::outbox::{self, Outbox};
use crate::reconcile::status::ListenerStatus;
use crate::reconcile::{Control, ControlOptions, Files, Prune};
use crate::resource::{AccessLog, AuthMode, Endpoint, GatewayConfig, Set};
use crate::shutdown::Tasks;
use crate::state::{RunFile, StateFolder};
use crate::table::Table;

mod bell;
mod look;
mod supervisor;
mod watch;

pub use look::wait_for_rest;
use supervisor::Stage;
use watch::Watch;
pub use watch::Watched;

/// Threads of the control runtime: one that may be busy with a plugin's
/// settings, and one that answers probes meanwhile.
const CONTROL_THREADS: usize = 2;
/// After the drain: what was collected is written, logs are flushed.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// The last access lines.
const LINES_MAX: Duration = Duration::from_secs(2);

/// What `tidegate run` was told.
#[derive(Debug)]
pub struct RunOptions {
    /// The checked resources.
    pub set: Set,
    /// Whether resources whose file is gone are deleted.
    pub prune: bool,
    /// The names of files that are empty.
    pub empty: BTreeSet<String>,
    /// Files that are applied again when they change; none: they are read once.
    pub watch: Option<Watched>,
    /// The state folder.
    pub state: StateFolder,
    /// Our own binary, for `replica-guard`.
    pub guard: PathBuf,
    /// Sockets that were handed over.
    pub inherited: Inherited,
}

/// Runs a gateway until it is told to stop. `say` prints for a person.
///
/// # Errors
///
/// Where it cannot serve at all: the state folder is taken, a port is taken, a
/// certificate is missing. Nothing is left running.
pub fn run(options: RunOptions, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    metrics::set_workers(listen::workers(&options.set.config));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(options, say));
    runtime.shutdown_timeout(FINISH_MAX);
    result
}

async fn serve(options: RunOptions, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let RunOptions {
        set,
        prune,
        empty,
        watch,
        state,
        guard,
        inherited,
    } = options;
    let _lock = state.lock()?;
    keep_to_ourselves();
    let metrics = Metrics::new()?;
    let tasks = Tasks::new();
    let table = Arc::new(Table::default());
    let mut config = set.config.clone();
    let few_files = fit_connections(&mut config);
    let token = state.token(|| Key::generate().ok().map(|key| key.reveal().to_owned()))?;
    let mut signals = Signals::new()?;
    let events = Arc::new(Events::starting(wall_clock()));

    // What can fail without a replica comes before the first replica.
    let access = access_log(&config)?;
    let access_lines = access.clone();
    let (outbox, collecting) = collect(&state, &metrics)?;
    // What was read is not kept but for what is shown of it, and to see what
    // changes: of ten thousand endpoints it is a hundred megabytes.
    let first = set.endpoints.first().cloned();
    let watch = watch.map(|watched| (watched, set.clone()));
    let pruned = prune;
    let prune = Prune::of(prune, &empty, &Set::default());
    let files = Files { set, prune };
    let control = Control::start(
        ControlOptions {
            state: state.path().to_owned(),
            guard,
            metrics: Arc::clone(&metrics),
            table: Arc::clone(&table),
            tasks: tasks.clone(),
            events: Arc::clone(&events),
        },
        files,
    )
    .await?;
    let up = Up {
        first: first.as_ref(),
        config: &config,
        state: &state,
        control: &control,
        warnings: few_files.into_iter().collect(),
    };
    let shared = shared(&config, table, metrics, outbox, access);
    watch_memory(&shared.memory, &control, &tasks);
    if let Some((watched, set)) = watch {
        let watch = Watch::new(watched, set, empty, pruned, Arc::clone(&control));
        drop(tasks.spawn(watch.run(shared.tasks.clone())));
    }
    let result = up.serve(&shared, inherited, token, &mut signals, say).await;
    // Replicas go last, however it ended; their guards end them where we do not.
    let hurried = matches!(result, Ok(Ended::AtOnce));
    tokio::select! {
        () = control.stop(), if !hurried => {}
        () = signals.stop(), if !hurried => tracing::warn!("ended before the replicas were"),
        else => {}
    }
    state.clear_run();
    drop(shared);
    drop(control);
    finish(&collecting).await;
    if let Some(lines) = access_lines {
        lines.flush(LINES_MAX);
    }
    result.map(drop)
}

/// How a gateway that came up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// By its drain.
    Gently,
    /// By a second signal.
    AtOnce,
}

/// What workers share.
fn shared(
    config: &GatewayConfig,
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    outbox: Arc<Outbox>,
    access: Option<Lines>,
) -> Arc<Shared> {
    Arc::new(Shared {
        table,
        metrics,
        outbox,
        access,
        limits: Arc::new(config.limits.clone()),
        memory: Arc::new(Memory::new(config.limits.memory)),
        trusted_proxies: config.trusted_proxies.clone(),
        tasks: Tasks::new(),
    })
}

/// What was collected is written, or that it could not be is said.
async fn finish(collecting: &Tasks) {
    let finished = tokio::time::timeout(FINISH_MAX, collecting.finish()).await;
    if finished.is_err() {
        tracing::warn!("what was collected could not all be written in {FINISH_MAX:?}");
    }
}

/// Starts collecting: where exchanges leave what is to be kept, and the tasks
/// that write it down.
fn collect(state: &StateFolder, metrics: &Arc<Metrics>) -> std::io::Result<(Arc<Outbox>, Tasks)> {
    let collecting = Tasks::new();
    let (outbox, inbox) = outbox::outbox(metrics);
    collector::start(inbox, state.path(), &gateway_name(), metrics, &collecting)?;
    Ok((outbox, collecting))
}

/// What is needed to come up, once replicas start.
struct Up<'a> {
    /// The first endpoint of the files.
    first: Option<&'a Endpoint>,
    config: &'a GatewayConfig,
    state: &'a StateFolder,
    control: &'a Arc<Control>,
    /// What an operator should know beside what listeners say.
    warnings: Vec<String>,
}

impl Up<'_> {
    async fn serve(
        &self,
        shared: &Arc<Shared>,
        inherited: Inherited,
        token: zeroize::Zeroizing<String>,
        signals: &mut Signals,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Ended> {
        let state = self.state.path();
        let listening = listen::start(self.config, inherited, state, shared, self.control)?;
        let (control, reload) = (Arc::clone(self.control), listening.reload());
        let admin = admin::start(&self.config.admin, token, control, reload).await?;
        let listeners: Vec<ListenerStatus> = listening
            .addresses()
            .iter()
            .map(|one| ListenerStatus {
                name: one.name.clone(),
                url: one.url.clone(),
            })
            .collect();
        let warnings = [
            self.warnings.clone(),
            listening.warnings(),
            admin.warnings().to_owned(),
        ];
        self.control
            .tell_facts(listeners.clone(), warnings.concat(), reload.problems());
        self.state.write_run(&RunFile {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            admin: admin.url().to_owned(),
            listeners: listeners
                .iter()
                .map(|one| (one.name.clone(), one.url.clone()))
                .collect(),
        })?;
        say(&self.greeting(&listeners, admin.url()));
        let control = Arc::clone(self.control);
        let opened = listening.open_when(async move { control.settled().await });
        let ready = async move {
            if opened.await.unwrap_or(false) {
                supervisor::tell(Stage::Ready);
            }
        };
        drop(self.control.tasks().spawn(ready));
        signals.stop().await;
        tracing::info!("draining; a second signal ends it at once");
        self.control.tell_draining();
        supervisor::tell(Stage::Stopping);
        shared.tasks.stop();
        tokio::select! {
            () = listening.drain() => {}
            () = signals.stop() => {
                tracing::warn!("ended before the drain was over");
                return Ok(Ended::AtOnce);
            }
        }
        admin.stop().await;
        Ok(Ended::Gently)
    }

    /// What a person needs to try it: addresses, where the key is, a `curl`.
    fn greeting(&self, listeners: &[ListenerStatus], admin: &str) -> String {
        let mut text = format!("tidegate {} is up\n", env!("CARGO_PKG_VERSION"));
        for listener in listeners {
            let _ = writeln!(text, "  {:<10} {}", listener.name, listener.url);
        }
        let state = self.state.path().display();
        let _ = writeln!(
            text,
            "  {:<10} {admin} (token in {state}/admin.token)",
            "admin"
        );
        if let (Some(endpoint), Some(listener)) = (self.first, listeners.first()) {
            let name = &endpoint.name;
            let url = reachable(&listener.url);
            let insecure = if url.starts_with("https") { " -k" } else { "" };
            let _ = writeln!(text, "\nTry it:");
            let credential = if matches!(endpoint.auth.mode, AuthMode::None) {
                ""
            } else {
                let _ = writeln!(
                    text,
                    "  KEY=$(tidegate keys show {name} -o name --state {state})   # keys are in {state}/keys.json"
                );
                " -H \"Authorization: Bearer $KEY\""
            };
            let _ = writeln!(
                text,
                "  curl{insecure} {url}/api/v1/service/{name}/score{credential} -H 'Content-Type: application/json' -d '{{\"data\": [[5.1, 3.5, 1.4, 0.2]]}}'"
            );
        }
        text
    }
}

fn access_log(config: &GatewayConfig) -> anyhow::Result<Option<Lines>> {
    let target = match &config.access_log {
        AccessLog::None => return Ok(None),
        AccessLog::Stdout => Target::Stdout,
        AccessLog::Stderr => Target::Stderr,
        AccessLog::File(path) => Target::File(path.clone()),
    };
    Ok(Some(Lines::open(target, Rotation::default())?))
}

/// Takes no more callers than the system lets us have; says so.
fn fit_connections(config: &mut GatewayConfig) -> Option<String> {
    let open = descriptors::raise();
    let wanted = config.limits.connections;
    config.limits.connections = descriptors::connections(wanted, open);
    let (fit, open) = (config.limits.connections, open?);
    (fit < wanted).then(|| {
        let text = format!(
            "limits.connections of {wanted} does not fit into {open} open files: {fit} are accepted; raise the limit (ulimit -Hn, LimitNOFILE)"
        );
        tracing::warn!("{text}");
        text
    })
}

/// Tells the files of several gateways apart.
fn gateway_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "gateway" } else { host };
    format!("{host}-{}", std::process::id())
}

/// A wildcard address is no place to connect to.
fn reachable(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}

/// Signals that end the gateway, and those that must not.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    // Taken so that they do not end the process: a reload has nothing to read
    // yet, and a file at its limit is an error of that write.
    _ignored: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _ignored: [
                signal(SignalKind::hangup())?,
                signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?,
            ],
        })
    }

    /// Waits for SIGTERM or SIGINT. Cancel-safe.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Begins to measure the process, until the gateway stops.
fn watch_memory(memory: &Arc<Memory>, control: &Arc<Control>, tasks: &Tasks) {
    let (memory, control) = (Arc::clone(memory), Arc::clone(control));
    let stop = tasks.clone();
    let watch = async move {
        let mut looks = tokio::time::interval(memory::LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.stopped() => return,
            }
            if let Some(over) = memory.measure() {
                control.tell_memory(over, memory.limit());
            }
        }
    };
    drop(tasks.spawn(watch));
}

/// Replicas, which may run as our user, must not read our memory (SEMANTICS §12).
fn keep_to_ourselves() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "models that run as the gateway's user could read its memory");
    }
}
