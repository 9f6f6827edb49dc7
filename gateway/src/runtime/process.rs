//! One replica that is a process of this machine: started through the guard,
//! watched, started again when it dies, ended when it is to.
//!
//! Never outlives the gateway: the guard ends it when the pipe that this task
//! holds is closed, however that comes. One task per replica, spawned by
//! `runtime`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::command::{Launch, launch};
use super::guard;
use super::orphans::{self, Claim};
use super::output::{self, Output};
use super::watch::{ReadySince, dead, watch};
use super::{Place, Port, ReplicaEvent};
use crate::log::Target;
use crate::resource::Process;

/// How long the guard may take past `grace` to end everything, before it is
/// killed itself.
const GUARD_PATIENCE: Duration = Duration::from_secs(10);
/// How long the rest of the output may take after the end.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// How one life of the replica ended.
struct End {
    reason: String,
    ready_for: Duration,
    /// It could not be started, because the machine has no room for it.
    no_room: bool,
}

impl End {
    /// It could not be started.
    fn before_begin(what: &str, error: &io::Error) -> Self {
        let no_room = no_room(error);
        let room = if no_room {
            "the machine has no room for it: "
        } else {
            ""
        };
        Self {
            reason: format!("{room}{what}: {error}"),
            ready_for: Duration::ZERO,
            no_room,
        }
    }
}

/// Whether the machine has no process, memory, open file or port left; what else
/// goes wrong would go wrong on a larger one too.
fn no_room(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::AGAIN
                | Errno::NOMEM
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::ADDRINUSE
                | Errno::ADDRNOTAVAIL
        )
    )
}

/// Keeps the replica running until it is to end.
pub(super) async fn run(place: Arc<Place>, process: Process) {
    let mut backoff = Backoff::default();
    let mut output = None;
    loop {
        let end = match open(&place, &mut output) {
            Ok(output) => live(&place, &process, output).await,
            Err(end) => Some(end),
        };
        let Some(end) = end else { return };
        let wait = backoff.next(end.ready_for);
        if !place.back_off(end.reason, wait, end.no_room).await {
            return;
        }
    }
}

/// The replica's log, opened once.
fn open<'a>(place: &Place, output: &'a mut Option<Output>) -> Result<&'a Output, End> {
    if output.is_none() {
        let machine = &place.machine.0;
        let (endpoint, version) = (&place.spec.endpoint, &place.spec.version.name);
        let logs = machine.state.join("logs");
        let file = output::file(&logs, endpoint, version, place.id.as_str());
        let lines = machine
            .writer
            .open(Target::File(file), output::ROTATION)
            .map_err(|error| End::before_begin("its log cannot be written", &error))?;
        *output = Some(Output::new(lines));
    }
    let nothing = || End::before_begin("its log", &io::ErrorKind::NotFound.into());
    output.as_ref().ok_or_else(nothing)
}

/// One life, from start to end; none: it was to end, and has.
async fn live(place: &Place, process: &Process, output: &Output) -> Option<End> {
    output.begin();
    let begun = Life::begin(place, process, output).and_then(|life| {
        let guarded = life.start();
        let guarded =
            guarded.map_err(|error| End::before_begin("the guard could not be started", &error))?;
        Ok((life, guarded))
    });
    match begun {
        Ok((life, guarded)) => life.last(guarded).await,
        Err(end) => {
            output.note(&end.reason);
            Some(end)
        }
    }
}

/// What one life has.
struct Life<'a> {
    place: &'a Place,
    process: &'a Process,
    output: &'a Output,
    launch: Launch,
    port: Port,
}

impl<'a> Life<'a> {
    fn begin(place: &'a Place, process: &'a Process, output: &'a Output) -> Result<Self, End> {
        let port = place.machine.claim_port();
        let port = port.map_err(|error| End::before_begin("no port", &error))?;
        let launch = launch(process, port.port, |name| std::env::var_os(name));
        Ok(Self {
            place,
            process,
            output,
            launch: launch.map_err(|error| End {
                reason: error.to_string(),
                ready_for: Duration::ZERO,
                no_room: false,
            })?,
            port,
        })
    }

    /// From the start of its guard to its end.
    async fn last(self, mut guarded: Guarded) -> Option<End> {
        let (place, output) = (self.place, self.output);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.port));
        output.note(&format!("starting on port {}", self.port.port));
        let id = place.id.clone();
        tracing::info!(
            endpoint = %place.spec.endpoint, replica = %id, %address, "replica is starting"
        );
        place
            .tell(ReplicaEvent::Starting {
                id,
                address,
                tls: None,
            })
            .await;
        let mut since = ReadySince::default();
        let ended = tokio::select! {
            biased;
            () = place.ending.asked.cancelled() => Ended::Asked,
            status = guarded.run(&self.launch) => Ended::Itself(status),
            why = dead(place, address) => Ended::Dead(why),
            () = watch(place, address, None, &mut since) => Ended::Asked,
        };
        let ready_for = since.ready_for();
        let how = match ended {
            Ended::Asked => {
                output.note("stopping");
                output.note(&guarded.end(self.process.grace).await);
                return None;
            }
            Ended::Itself(status) => {
                guarded.ended(&status).await;
                describe(status, since.is_ready())
            }
            Ended::Dead(why) => {
                output.note(&why);
                let id = place.id.clone();
                let reason = why.clone();
                // Nothing new while it is being ended.
                place.tell(ReplicaEvent::NotReady { id, reason }).await;
                let how = guarded.end(self.process.grace).await;
                format!("{why}; it {how}")
            }
        };
        output.note(&how);
        let reason = match output.tail() {
            tail if tail.is_empty() => format!("{how}; it wrote nothing"),
            tail => format!("{how}; last lines of its output:\n{tail}"),
        };
        let (id, told) = (place.id.clone(), reason.clone());
        place.tell(ReplicaEvent::Exited { id, reason: told }).await;
        Some(End {
            reason,
            ready_for,
            no_room: false,
        })
    }

    fn start(&self) -> io::Result<Guarded> {
        let (reader, writer) = io::pipe()?;
        let machine = &self.place.machine.0;
        let mut command = Command::new(&machine.guard);
        command
            .args(guard::arguments(&self.launch, self.process.grace))
            .current_dir(&self.launch.dir)
            // The guard's own environment is empty, because it may run as root
            // where the model does not; it gets the model's by the pipe.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let (mut child, claim) = orphans::start(&mut command)?;
        // The writing ends of the output's pipe are in `command`.
        drop(command);
        let pipe = child.stdin.take();
        let taken = self.output.clone().take(reader);
        let id = self.place.id.clone();
        let output = machine.tasks.spawn(async move {
            if let Err(error) = taken.await {
                tracing::warn!(replica = %id, %error, "the replica's output was lost");
            }
        });
        Ok(Guarded {
            child,
            pipe,
            output,
            claim: Some(claim),
        })
    }
}

/// Why one life is over.
enum Ended {
    /// It is to end.
    Asked,
    /// It ended by itself.
    Itself(io::Result<ExitStatus>),
    /// Its liveness failed.
    Dead(String),
}

/// A replica's guard, the pipe that keeps it, and the task that takes its output.
struct Guarded {
    child: Child,
    /// Closed, the guard ends everything.
    pipe: Option<ChildStdin>,
    output: JoinHandle<()>,
    /// Says that this guard is there.
    claim: Option<Claim>,
}

impl Guarded {
    /// Hands the environment over and waits for the end. Cancel-safe but for
    /// the environment: dropped before that is sent, the guard ends.
    async fn run(&mut self, launch: &Launch) -> io::Result<ExitStatus> {
        if let Some(pipe) = &mut self.pipe {
            // An error means that the guard is gone, which its status tells.
            let _ = pipe.write_all(&guard::environment(&launch.env)).await;
        }
        self.child.wait().await
    }

    /// Ends the replica: all of it is gone when this returns.
    async fn end(mut self, grace: Duration) -> String {
        drop(self.pipe.take());
        let ended = tokio::time::timeout(grace + GUARD_PATIENCE, self.child.wait()).await;
        let how = match ended {
            Ok(status) => describe(status, true),
            Err(_) => {
                // Only where a process cannot be killed, as on a dead disk.
                tracing::error!("a replica's guard did not end; it is killed");
                let _ = self.child.kill().await;
                "could not be ended".to_owned()
            }
        };
        self.finish_output().await;
        how
    }

    /// After its own end: nothing of it is left when this returns.
    async fn ended(&mut self, status: &io::Result<ExitStatus>) {
        if status
            .as_ref()
            .is_ok_and(|status| status.signal().is_some())
        {
            // The guard was killed: by memory pressure, or by the model itself.
            drop(self.claim.take());
            orphans::end().await;
        }
        self.finish_output().await;
    }

    async fn finish_output(&mut self) {
        let rest = tokio::time::timeout(OUTPUT_PATIENCE, &mut self.output).await;
        if rest.is_err() {
            self.output.abort();
        }
    }
}

/// `exited with status 3`, as the guard passed it on.
fn describe(status: io::Result<ExitStatus>, ready: bool) -> String {
    let how = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => match guard::signal_of(code) {
                Some(name) => format!("was ended by {name}"),
                None => format!("exited with status {code}"),
            },
            (None, Some(signal)) => format!("lost its guard to signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("was lost: {error}"),
    };
    if ready {
        how
    } else {
        format!("{how} before it was ready")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: Errno, expected: bool) {
        let end = End::before_begin("no port", &io::Error::from(code));
        assert_eq!(end.no_room, expected, "{code}");
        let said = end
            .reason
            .starts_with("the machine has no room for it: no port: ");
        assert_eq!(said, expected, "{}", end.reason);
    }

    #[test]
    fn what_a_larger_machine_would_have_is_room() {
        for code in [
            Errno::AGAIN,
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
            Errno::ADDRINUSE,
        ] {
            check(code, true);
        }
        for code in [Errno::NOENT, Errno::ACCESS, Errno::ROFS] {
            check(code, false);
        }
    }
}
