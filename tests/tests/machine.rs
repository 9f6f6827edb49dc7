//! What the machine does to a gateway: signals, pipes that nobody reads, a disk
//! that is full, descriptors that run out.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_tests::client::{Client, request};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::{output, process, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(30);

fn setup(replica: &Replica, spec: &str) -> Setup {
    let keys = "traffic: 100\nmaxConcurrentRequests: 8";
    let version = yaml::version("blue", &[replica], keys);
    Setup::new(&yaml::endpoint("iris", spec, &[version]))
}

fn started(setup: Setup) -> Gateway {
    let gateway = setup.start();
    gateway.healthy("iris");
    gateway
}

fn hanging(gateway: &Gateway, replica: &Replica) -> Client {
    let mut client = gateway.client();
    let target = format!("{TARGET}?hang");
    client.send(&request("POST", &target, &[], b"{}")).unwrap();
    until("it is under way", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    client
}

#[test]
fn a_second_signal_ends_the_drain() {
    for second in [Signal::TERM, Signal::INT] {
        let replica = Replica::start("a");
        let setup = setup(&replica, "auth: { mode: none }");
        let gateway = started(setup.spec("limits: { drain: 10m }"));
        let mut client = hanging(&gateway, &replica);
        process::signal(gateway.pid(), Signal::TERM);
        until("it drains", LIMIT, || {
            gateway.log().contains("draining").then_some(())
        });
        until("nobody is accepted while it drains", LIMIT, || {
            std::net::TcpStream::connect(gateway.address("http")).err()
        });
        assert!(process::lives(gateway.pid()), "an exchange is under way");
        process::signal(gateway.pid(), second);
        let status = gateway.ends(Duration::from_secs(20));
        assert!(status.success(), "{status}");
        assert!(client.answer().is_err(), "the exchange was cut");
    }
}

#[test]
fn hangup_and_pipes_that_nobody_reads_do_not_end_it() {
    let replica = Replica::start("a");
    let setup = setup(&replica, "auth: { mode: none }");
    let gateway = started(setup.access_log("stdout").unheard());
    for signal in [Signal::HUP, Signal::PIPE, Signal::HUP, Signal::XFSZ] {
        process::signal(gateway.pid(), signal);
        for _ in 0..50 {
            assert_eq!(gateway.score("iris", "", &[]).status, 200);
        }
    }
    // Refusals are told in the log, which is as deaf.
    let mut bad = gateway.client();
    bad.send(b"\0\r\n\r\n").unwrap();
    assert_eq!(bad.head().unwrap().status, 400);
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    assert!(gateway.stop().success());
}

/// The largest file that this gateway may write: less than a plugin that is
/// compiled, and than its records and access lines here.
const FILE_BYTES: u32 = 128 << 10;

#[test]
fn a_disk_that_is_full_costs_records_and_no_request() {
    let replica = Replica::start("a");
    let collect = "auth: { mode: none }\ncollect: [{ plugin: model-data }]";
    let limit = format!("--fsize={FILE_BYTES}");
    let gateway = started(setup(&replica, collect).under(&["prlimit", &limit]));
    let collected = |result: &str| {
        let labels = [("endpoint", "iris"), ("result", result)];
        gateway.metric("tidegate_collect_entries_total", &labels)
    };
    let body = format!("[\"{}\"]", "x".repeat(16_000));
    let mut client = gateway.client();
    let begun = Instant::now();
    while collected("dropped_disk") == 0.0 {
        assert!(begun.elapsed() < LIMIT, "the disk took everything");
        for _ in 0..100 {
            let answer = client.request("POST", TARGET, &[], body.as_bytes());
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    assert!(collected("delivered") > 0.0, "what fits is delivered");
    assert_eq!(gateway.admin("GET", "/v1/status", b"").0, 200);
    assert!(gateway.stop().success());
}

/// Clock ticks of the CPU that a process has used; 100 a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    rest[12].parse::<u64>().unwrap() + rest[13].parse::<u64>().unwrap()
}

#[test]
fn descriptors_that_run_out_leave_the_admin_api_and_the_replicas() {
    let replica = Replica::start("a");
    let setup = setup(&replica, "auth: { mode: none }");
    let gateway = started(setup.under(&["prlimit", "--nofile=128:256"]));
    // Of 256, raised from 128: a reserve of 64, and half of what is left.
    let warned = "limits.connections of 10000 does not fit into 256 open files: 96 are accepted";
    let (_, status) = gateway.admin("GET", "/v1/status", b"");
    assert!(status.to_string().contains(warned), "{status}");
    let mut first = gateway.client();
    let mut score = move || first.request("POST", TARGET, &[], b"{}").unwrap().status;
    assert_eq!(score(), 200);
    let crowd: Vec<Client> = (0..300).map(|_| gateway.client()).collect();
    let accepted = || gateway.metric("tidegate_connections", &[]);
    // The other listener keeps a place for its next caller.
    until("the house is full", LIMIT, || {
        (accepted() >= 95.0).then_some(())
    });
    let (cpu, begun) = (cpu_ticks(gateway.pid()), Instant::now());
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(score(), 200);
        assert_eq!(gateway.admin("GET", "/v1/endpoints", b"").0, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    let cpu = cpu_ticks(gateway.pid()) - cpu;
    assert!(cpu < 100, "{cpu} of 200 ticks of the CPU for nothing");
    assert!(accepted() <= 96.0);
    drop(crowd);
    until("there is room again", LIMIT, || {
        (accepted() < 90.0).then_some(())
    });
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}

/// Sets how many files the gateway may have open from now on.
fn limit(gateway: &Gateway, files: usize) {
    let pid = gateway.pid().to_string();
    let mut prlimit = std::process::Command::new("prlimit");
    prlimit.args(["--pid", &pid, &format!("--nofile={files}:")]);
    assert!(prlimit.status().unwrap().success());
}

/// Descriptors for a replica's log and a part of its pipes, or for an administrator.
const TOO_FEW_FOR_A_REPLICA: usize = 4;

#[test]
fn a_version_without_room_for_its_replicas_says_so_and_takes_the_room_it_gets() {
    let version = yaml::process("blue", &[], "traffic: 100\nreplicas: 1");
    let gateway = started(Setup::new(&yaml::open("iris", &[version])));
    let open = format!("/proc/{}/fd", gateway.pid());
    let open = std::fs::read_dir(open).unwrap().count();
    limit(&gateway, open + TOO_FEW_FOR_A_REPLICA);
    let set = ["version", "update", "iris", "blue", "--set", "replicas=2"];
    drop(gateway.cli_text(&set));
    gateway.state_is("iris", "Unschedulable");
    let (_, iris) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let blue = &iris["status"]["versions"][0];
    assert_eq!(blue["state"], "Unschedulable", "{iris}");
    assert_eq!(blue["replicas"]["ready"], 1, "{iris}");
    let reason = blue["reason"].as_str().unwrap();
    assert!(
        reason.contains("the machine has no room for it: ")
            && reason.contains("Too many open files"),
        "{reason}"
    );
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    let waited = gateway.cli(&["wait", "endpoint/iris", "--timeout", "1s"]);
    output::check(&waited, 4, "", "it is Unschedulable");
    limit(&gateway, 1000);
    gateway.healthy("iris");
    let (_, iris) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let blue = &iris["status"]["versions"][0];
    assert_eq!(blue["replicas"]["ready"], 2, "{iris}");
}

#[test]
fn want_of_its_own_descriptors_is_the_gateways_fault() {
    let replicas = [Replica::start("a"), Replica::start("b")];
    // Each exchange needs a connection of its own.
    replicas.iter().for_each(|one| one.behave("close"));
    let [a, b] = &replicas;
    let version = yaml::version("blue", &[a, b], "traffic: 100");
    let gateway = started(Setup::new(&yaml::open("iris", &[version])));
    let mut client = gateway.client();
    let mut score = move || client.request("POST", TARGET, &[], b"{}").unwrap();
    assert_eq!(score().status, 200);
    limit(&gateway, 8);
    for _ in 0..20 {
        let answer = score();
        assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    }
    limit(&gateway, 1000);
    assert_eq!(score().status, 200);
}

#[test]
fn replicas_have_the_limit_of_open_files_that_the_gateway_was_given() {
    let script = format!("ulimit -Sn; ulimit -Hn; exec {}", yaml::program());
    let version = yaml::command("blue", &["sh", "-c", &script], "traffic: 100\nreplicas: 1");
    let setup = Setup::new(&yaml::open("iris", &[version]));
    let gateway = started(setup.under(&["prlimit", "--nofile=300:2000"]));
    let logs = gateway.cli_text(&["logs", "iris"]);
    let soft = logs.lines().position(|line| line.ends_with("300"));
    let hard = logs.lines().position(|line| line.ends_with("2000"));
    assert!(soft.is_some() && hard > soft, "{logs}");
}
