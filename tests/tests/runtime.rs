//! Replicas of the `process` runtime under the real gateway: what is left when
//! it ends, what comes back when they die, and what their state says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::{process, until};

/// `process.grace` of the replicas here.
const GRACE: Duration = Duration::from_millis(1000);
/// What the issue allows past `grace`.
const SLACK: Duration = Duration::from_secs(2);

/// An endpoint without keys whose one version runs this command.
fn endpoint(command: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1
kind: Endpoint
metadata: {{ name: iris }}
spec:
  auth: {{ mode: none }}
  versions:
    - name: blue
      replicas: 2
      process:
        command: {command}
        dir: .
        grace: {}ms
",
        GRACE.as_millis()
    )
}

/// The test replica, with its arguments.
fn replica(arguments: &str) -> String {
    format!("[{}{arguments}]", env!("CARGO_BIN_EXE_replica"))
}

/// The test replica behind a shell that leaves children in every way there is
/// to leave: by group, by session, by parent, and deaf to SIGTERM.
fn forking() -> String {
    let replica = env!("CARGO_BIN_EXE_replica");
    let script = format!(
        "trap '' TERM; sleep 600 & setsid sleep 600 & (setsid sh -c 'sleep 600 & sleep 600' &); \
         {replica} --fork"
    );
    serde_json::json!(["sh", "-c", script]).to_string()
}

/// Guards, replicas and all below them, once there are as many as `least`.
fn all_below(gateway: &Gateway, least: usize) -> Vec<u32> {
    until("the replicas have forked", Duration::from_secs(30), || {
        let found = process::descendants(gateway.pid());
        (found.len() >= least).then_some(found)
    })
}

#[track_caller]
fn none_lives(pids: &[u32], since: Instant) {
    let limit = (GRACE + SLACK).saturating_sub(since.elapsed());
    until("nothing of the replicas is left", limit, || {
        pids.iter().all(|pid| !process::lives(*pid)).then_some(())
    });
}

#[test]
fn a_gateway_that_is_killed_leaves_none_of_a_replica_that_forks() {
    let mut gateway = Gateway::start(&endpoint(&forking()));
    gateway.healthy("iris");
    // Of each: guard, shell, replica, its two children, and five sleeps and shells.
    let pids = all_below(&gateway, 20);
    gateway.kill();
    none_lives(&pids, Instant::now());
}

#[test]
fn a_gateway_that_is_told_to_end_leaves_none_of_a_replica_that_forks() {
    let gateway = Gateway::start(&endpoint(&forking()));
    gateway.healthy("iris");
    let pids = all_below(&gateway, 20);
    assert!(gateway.stop().success());
    assert!(pids.iter().all(|pid| !process::lives(*pid)));
}

#[test]
fn a_replica_that_is_killed_is_back_by_itself() {
    let gateway = Gateway::start(&endpoint(&replica("")));
    gateway.healthy("iris");
    let before = all_below(&gateway, 4);
    // A guard has the gateway as its parent, a replica its guard.
    let own = before
        .iter()
        .find(|pid| process::descendants(**pid).is_empty())
        .unwrap();
    process::signal(*own, Signal::KILL);
    until("another runs in its place", Duration::from_secs(30), || {
        let now = process::descendants(gateway.pid());
        (now.len() >= 4 && !now.contains(own)).then_some(())
    });
    gateway.healthy("iris");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    let logs = gateway.cli_text(&["logs", "iris"]);
    assert!(logs.contains("tidegate: was ended by SIGKILL"), "{logs}");
}

#[test]
fn a_version_that_cannot_run_is_failed_and_says_why() {
    let gateway = Gateway::start(&endpoint(&replica(", --fail, no module named sklearn")));
    gateway.state_is("iris", "Failed");
    let (_, resource) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let version = &resource["status"]["versions"][0];
    assert_eq!(version["state"], "Failed");
    let reason = version["reason"].as_str().unwrap();
    assert!(
        reason.contains("exited with status 3 before it was ready"),
        "{reason}"
    );
    assert!(reason.contains("no module named sklearn"), "{reason}");
    assert_eq!(gateway.score("iris", "", &[]).status, 503);
}

#[test]
fn a_program_that_is_not_there_fails_its_version() {
    let gateway = Gateway::start(&endpoint("[azmlinfsrv-missing]"));
    gateway.state_is("iris", "Failed");
    let (_, resource) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let reason = resource["status"]["versions"][0]["reason"]
        .as_str()
        .unwrap();
    assert!(
        reason.contains("\"azmlinfsrv-missing\" is in no folder of PATH"),
        "{reason}"
    );
}
