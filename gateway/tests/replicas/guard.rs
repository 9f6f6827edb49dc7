//! The guard: nothing is left of a replica, however it or the gateway ends.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, GUARD, exited, kill, process, starting};

/// Leaves its group, its session and its parent in every way, and ignores SIGTERM.
const FORKS: &str = r#"
trap '' TERM
sleep 1000 &
setsid sleep 1000 &
(setsid sh -c 'sleep 1000 & echo forked; wait' &)
sleep 1000
"#;

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
    // Through a shell, because a guard that is this process's own child and of
    // no machine is what a lost guard's orphans look like to another test.
    let command = "\"$0\" replica-guard --grace-ms 500 -- /bin/sh -c \"$1\"; exit";
    let mut guard = Command::new("sh")
        .args(["-c", command, GUARD, FORKS])
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
async fn nothing_is_left_of_a_replica_whose_guard_is_killed() {
    let bench = Bench::new();
    let mark = mark();
    let mut process = process(bench.folder.path(), &["sh", "-c", FORKS]);
    process.env.insert("MARK".to_owned(), mark.clone());
    let (replicas, mut events) = bench.start(process, 1);
    starting(&mut events).await;
    bench.line("forked").await;
    let before = marked(&mark);
    assert!(before.len() >= 5, "{before:?}");
    // Its command is below it; its own arguments are those of nobody else here.
    let words = |pid: &str| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let shell = before
        .iter()
        .find(|pid| words(pid).starts_with(b"/bin/sh") || words(pid).starts_with(b"/usr/bin/sh"))
        .unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{shell}/stat")).unwrap();
    let guard = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
    kill(&guard.unwrap().parse::<u32>().unwrap().into());
    let reason = exited(&mut events).await;
    assert!(reason.starts_with("lost its guard to signal 9"), "{reason}");
    let left: Vec<String> = marked(&mark);
    assert!(before.iter().all(|pid| !left.contains(pid)), "{left:?}");
    replicas.stop_all().await;
    assert_eq!(marked(&mark), [""; 0]);
}
