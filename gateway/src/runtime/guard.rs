//! `tidegate replica-guard`: the process between the gateway and a replica's
//! command, which ends all of it when the gateway ends, however that comes.
//!
//! Its standard input is the read end of a pipe whose other end the gateway
//! holds. It starts the command in a process group of its own, and ends it when
//! the pipe closes or SIGTERM comes: SIGTERM to everything below it, after
//! `grace` SIGKILL. It is a child subreaper, so grandchildren that left the
//! group, the session or their parent are below it too. A parent-death signal
//! would fire when the spawning thread ends, and spares grandchildren. Never
//! opens a socket, reads a file of the gateway or links `main`'s set-up: `main`
//! calls [`main`] before anything else.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Pid, Signal, Uid, WaitOptions, WaitStatus, getpid, kill_process,
    kill_process_group, set_child_subreaper, set_dumpable_behavior, setsid, wait,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::command::Launch;
use super::tree;
use super::user::User;
use crate::descriptors;

/// The verb that `main` hands to [`main`].
pub const VERB: &str = "replica-guard";
/// Most of an environment: more than Linux gives a process.
const ENVIRONMENT_BYTES_MAX: u64 = 8 << 20;
/// Between looks while everything is killed.
const KILL_EVERY: Duration = Duration::from_millis(10);
/// Looks before what cannot be killed is left: 5 s.
const KILL_ROUNDS: u32 = 500;
/// The shell's status for a command that cannot be run.
const CANNOT_RUN: u8 = 126;
/// The shell's base for a command that a signal ended.
const SIGNALLED: u8 = 128;

/// The arguments of our binary that start `launch` under a guard.
pub(super) fn arguments(launch: &Launch, grace: Duration) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        VERB.into(),
        "--grace-ms".into(),
        grace.as_millis().to_string().into(),
    ];
    if let Some(files) = launch.files {
        words.push("--files".into());
        words.push(files.to_string().into());
    }
    if let Some(user) = &launch.user {
        let numbers: Vec<String> = [user.uid, user.gid]
            .iter()
            .chain(&user.groups)
            .map(u32::to_string)
            .collect();
        words.push("--user".into());
        words.push(numbers.join(",").into());
    }
    words.push("--".into());
    words.push(launch.program.clone().into());
    words.extend(launch.args.iter().cloned());
    words
}

/// What the pipe brings first: the command's whole environment, each entry and
/// then the whole ended by a NUL.
pub(super) fn environment(env: &BTreeMap<OsString, OsString>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in env {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

/// The signal that a guard's exit status tells of.
pub(super) fn signal_of(code: i32) -> Option<String> {
    let number = code.checked_sub(i32::from(SIGNALLED))?;
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        5..=64 => return Some(format!("signal {number}")),
        _ => return None,
    };
    Some(name.to_owned())
}

/// Why a guard could not do its work.
#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error("usage: {VERB} --grace-ms N [--files N] [--user UID,GID,GROUPS] -- PROGRAM ARGUMENTS…")]
    Usage,
    #[error("the environment of the command did not come: {0}")]
    Environment(io::Error),
    #[error("{} cannot be started: {error}", program.to_string_lossy())]
    Start { program: OsString, error: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The process `tidegate replica-guard`; `args` are those after the verb.
/// Its status is the command's, or 128 and the signal that ended it.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match Guard::parse(args).and_then(Guard::run) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The replica's log; where it is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "tidegate: {error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

#[derive(Debug)]
struct Guard {
    grace: Duration,
    /// The command's limit of open files.
    files: Option<u64>,
    user: Option<User>,
    program: OsString,
    args: Vec<OsString>,
}

impl Guard {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, GuardError> {
        let (mut grace, mut files, mut user) = (None, None, None);
        loop {
            let word = args.next().ok_or(GuardError::Usage)?;
            if word == "--" {
                break;
            }
            let value = args.next().ok_or(GuardError::Usage)?;
            let value = value.to_str().ok_or(GuardError::Usage)?;
            if word == "--grace-ms" {
                grace = Some(value.parse().map_err(|_| GuardError::Usage)?);
            } else if word == "--files" {
                files = Some(value.parse().map_err(|_| GuardError::Usage)?);
            } else if word == "--user" {
                user = Some(parse_user(value).ok_or(GuardError::Usage)?);
            } else {
                return Err(GuardError::Usage);
            }
        }
        Ok(Self {
            grace: Duration::from_millis(grace.ok_or(GuardError::Usage)?),
            files,
            user,
            program: args.next().ok_or(GuardError::Usage)?,
            args: args.collect(),
        })
    }

    fn run(self) -> Result<u8, GuardError> {
        // Away from the terminal of the gateway: its Ctrl-C is not for us. It
        // fails where we lead a group already, which is as good.
        let _ = setsid();
        if let Some(files) = self.files {
            descriptors::lower(files);
        }
        set_child_subreaper(Some(getpid())).map_err(io::Error::from)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)?;
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let mut stdin = File::from(stdin);
        let env = read_environment(&mut stdin).map_err(GuardError::Environment)?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(self.keep(env, stdin.into()))
    }

    /// Starts the command and keeps it until its end, or the gateway's.
    async fn keep(self, env: Vec<(OsString, OsString)>, pipe: OwnedFd) -> Result<u8, GuardError> {
        let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let mut children = Children {
            changed: signal(SignalKind::child())?,
            command: None,
            code: None,
        };
        let mut asked = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ];
        let [term, interrupt, hangup] = &mut asked;
        children.command = Some(self.start(env)?);
        let told = async {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
                () = closed(&mut pipe) => {}
            }
        };
        tokio::select! {
            () = told => {}
            () = children.command_ended() => {}
        }
        children.end(self.grace).await;
        Ok(children.code.unwrap_or(CANNOT_RUN))
    }

    /// Starts the command in a group of its own, as its user.
    fn start(&self, env: Vec<(OsString, OsString)>) -> Result<Pid, GuardError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .process_group(0);
        // On Linux a user belongs to a thread: a thread that ends becomes the
        // user and starts the command, and the guard stays who it is, out of
        // the command's reach.
        let started = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Some(user) = &self.user {
                    become_user(user)?;
                }
                command.spawn()
            });
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
        });
        started
            .and_then(|child| {
                i32::try_from(child.id())
                    .ok()
                    .and_then(Pid::from_raw)
                    .ok_or_else(|| io::Error::other("it has no number"))
            })
            .map_err(|error| GuardError::Start {
                program: self.program.clone(),
                error,
            })
    }
}

fn parse_user(text: &str) -> Option<User> {
    let mut numbers = text.split(',').map(str::parse);
    Some(User {
        uid: numbers.next()?.ok()?,
        gid: numbers.next()?.ok()?,
        groups: numbers.collect::<Result<_, _>>().ok()?,
    })
}

/// Makes this thread, and what it starts, run as `user`.
fn become_user(user: &User) -> io::Result<()> {
    let own = rustix::process::geteuid();
    if !own.is_root() && own.as_raw() == user.uid {
        return Ok(());
    }
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // In this order: without the user there is no right to change the groups.
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Reads up to the NUL that ends the environment. Blocks until it is there.
fn read_environment(pipe: &mut impl Read) -> io::Result<Vec<(OsString, OsString)>> {
    let mut env = Vec::new();
    let mut entry = Vec::new();
    // Byte by byte through a buffer: nothing stands behind the environment.
    let bytes = io::BufReader::new(pipe.take(ENVIRONMENT_BYTES_MAX)).bytes();
    for byte in bytes {
        let byte = byte?;
        if byte != 0 {
            entry.push(byte);
            continue;
        }
        if entry.is_empty() {
            return Ok(env);
        }
        let equals = entry.iter().position(|b| *b == b'=');
        let (name, value) = entry.split_at(equals.unwrap_or(entry.len()));
        let value = value.get(1..).unwrap_or_default();
        env.push((
            OsStr::from_bytes(name).to_owned(),
            OsString::from_vec(value.to_vec()),
        ));
        entry.clear();
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Ends when nobody holds the pipe's other end. Cancel-safe.
async fn closed(pipe: &mut pipe::Receiver) {
    let mut nothing = [0; 64];
    while matches!(pipe.read(&mut nothing).await, Ok(read) if read > 0) {}
}

/// All processes below this one.
struct Children {
    changed: Signals,
    /// The command's process, which leads its group.
    command: Option<Pid>,
    /// How the command ended, once it has.
    code: Option<u8>,
}

impl Children {
    /// Takes the ends of all that ended; whether none is left. As a subreaper
    /// has every orphan below it as its child, no child means nothing at all.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if Some(pid) == self.command {
                        self.code = Some(code_of(status));
                    }
                }
                Ok(None) => return false,
                Err(Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }

    /// Waits for the end of the command itself. Cancel-safe.
    async fn command_ended(&mut self) {
        while !self.reap() && self.code.is_none() {
            self.changed.recv().await;
        }
    }

    /// Ends everything: SIGTERM, after `grace` SIGKILL.
    async fn end(&mut self, grace: Duration) {
        if self.reap() {
            return;
        }
        self.terminate();
        let graced = async {
            while !self.reap() {
                self.changed.recv().await;
            }
        };
        if tokio::time::timeout(grace, graced).await.is_ok() {
            return;
        }
        for _ in 0..KILL_ROUNDS {
            for process in tree::below(getpid().as_raw_nonzero().get()) {
                if let Some(pid) = Pid::from_raw(process.pid) {
                    // It may be gone, which is what is wanted.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if self.reap() {
                return;
            }
            tokio::time::sleep(KILL_EVERY).await;
        }
    }

    /// SIGTERM, once to each: to the group as a whole, so that none is missed
    /// that is forked meanwhile, and one by one to those that left it.
    fn terminate(&self) {
        let group = self.command.map_or(0, |pid| pid.as_raw_nonzero().get());
        let all = tree::below(getpid().as_raw_nonzero().get());
        if let Some(leader) = self.command
            && all.iter().any(|process| process.group == group)
        {
            let _ = kill_process_group(leader, Signal::TERM);
        }
        for process in all.iter().filter(|process| process.group != group) {
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

fn code_of(status: WaitStatus) -> u8 {
    let signalled = |signal| i32::from(SIGNALLED) + signal;
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(signalled))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(CANNOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(words: &str) -> Result<Guard, GuardError> {
        Guard::parse(words.split(' ').map(OsString::from))
    }

    #[test]
    fn arguments_are_read_as_they_are_written() {
        let launch = Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "exit 3".into()],
            env: BTreeMap::new(),
            dir: "/".into(),
            user: Some(User {
                uid: 998,
                gid: 997,
                groups: vec![44],
            }),
            files: Some(1024),
        };
        let words = arguments(&launch, Duration::from_millis(1500));
        assert_eq!(words[0], VERB);
        let guard = Guard::parse(words.into_iter().skip(1)).unwrap();
        assert_eq!(guard.grace, Duration::from_millis(1500));
        assert_eq!(guard.user, launch.user);
        assert_eq!(guard.files, launch.files);
        assert_eq!(guard.program, "/bin/sh");
        assert_eq!(guard.args, launch.args);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for words in [
            "",
            "--grace-ms 1",
            "-- sh",
            "--grace-ms x -- sh",
            "--grace-ms 1 --",
            "--grace-ms 1 --user 1 -- sh",
            "--grace-ms 1 --files many -- sh",
            "--other 1 -- sh",
        ] {
            assert!(matches!(parse(words), Err(GuardError::Usage)), "{words:?}");
        }
    }

    #[test]
    fn an_environment_goes_through_the_pipe_unchanged() {
        let env: BTreeMap<OsString, OsString> = [("A", "1"), ("EMPTY", ""), ("EQ", "a=b\nc")]
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let read = read_environment(&mut environment(&env).as_slice()).unwrap();
        assert!(read.into_iter().eq(env));
        let cut = read_environment(&mut b"A=1\0B=".as_slice()).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_of(137).as_deref(), Some("SIGKILL"));
        assert_eq!(signal_of(128 + 10).as_deref(), Some("signal 10"));
        assert_eq!(signal_of(3), None);
        assert_eq!(signal_of(128), None);
        assert_eq!(signal_of(255), None);
    }
}
