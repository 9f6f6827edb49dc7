//! A gateway that is restarted with its state while it is asked: its socket is
//! handed over, as systemd does, and no request fails.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tidegate_tests::gateway::{Setup, binary};
use tidegate_tests::load::Load;
use tidegate_tests::replica::Replica;
use tidegate_tests::{rounds, until, yaml};

const SCORE: &str = "/api/v1/service/iris/score";

#[test]
fn a_gateway_restarted_with_its_state_under_load_fails_no_request() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let green = Replica::start("green");
    let keys = "maxConcurrentRequests: 16\nmaxQueueWait: 10s";
    // One whose process ends and starts with the gateway, and one that stays.
    let versions = [
        yaml::process("blue", &["--name", "blue", "--delay", "300"], keys),
        yaml::version("green", &[&green], &format!("{keys}\ntraffic: 30")),
    ];
    let mut gateway = Setup::new(&yaml::open("iris", &versions))
        .socket(socket)
        .start();
    assert_eq!(gateway.address("http"), address);
    gateway.healthy("iris");
    let shares = json!({ "blue": 40, "green": 60 }).to_string();
    let (status, _) = gateway.admin("PUT", "/v1/endpoints/iris/traffic", shares.as_bytes());
    assert_eq!(status, 200);
    let load = Load::start(address, 8, SCORE, &[]);
    let some_more = || {
        let seen = load.answered();
        until("requests between restarts", Duration::from_secs(60), || {
            (load.answered() > seen + 60).then_some(())
        });
    };
    for _ in 0..rounds(30) {
        some_more();
        gateway.terminate();
        // Nobody is there; who comes waits.
        let _waits = TcpStream::connect(address).unwrap();
        gateway.start_again();
        let (_, shares) = gateway.admin("GET", "/v1/endpoints/iris/traffic", b"");
        assert_eq!(shares, json!({ "blue": 40.0, "green": 60.0 }));
    }
    some_more();
    let seen = load.stop();
    let words: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(
        words,
        ["200 blue", "200 green"],
        "{seen:?}\n{}",
        gateway.log()
    );
}

#[test]
fn a_socket_that_no_listener_claims_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("iris.yaml");
    let blue = Replica::start("blue");
    std::fs::write(
        &file,
        yaml::open("iris", &[yaml::version("blue", &[&blue], "")]),
    )
    .unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(binary())
        .args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "-f",
        ])
        .arg(file)
        .arg("--state")
        .arg(folder.path().join("state"))
        .stdin(std::os::fd::OwnedFd::from(socket))
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let problem = format!("socket {address} of LISTEN_FDS (web): no listener has its address");
    assert!(said.contains(&problem), "{said}");
}

#[test]
fn whoever_started_it_is_told_how_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let told = UnixDatagram::bind(&path).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let next = || {
        let mut words = [0; 100];
        let length = told.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let go = folder.path().join("go");
    let words = ["--until", go.to_str().unwrap()];
    let endpoint = yaml::open("iris", &[yaml::process("blue", &words, "replicas: 1")]);
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let gateway = Setup::new(&endpoint).under(&["env", &socket]).start();
    until("its replica waits", Duration::from_secs(30), || {
        let logs = gateway.cli_text(&["logs", "iris"]);
        logs.contains("waits for").then_some(())
    });
    told.set_nonblocking(true).unwrap();
    assert!(told.recv(&mut [0]).is_err(), "no version can answer yet");
    told.set_nonblocking(false).unwrap();
    std::fs::write(&go, "").unwrap();
    assert_eq!(next(), "READY=1");
    gateway.healthy("iris");
    assert!(gateway.stop().success());
    assert_eq!(next(), "STOPPING=1");
}
