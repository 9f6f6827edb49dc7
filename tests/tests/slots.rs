//! Slots and queues: never more than `maxConcurrentRequests`, in arrival order.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidegate_tests::client::{Client, request};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::{rounds, tool, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(20);

fn one(replica: &Replica, keys: &str) -> Gateway {
    let version = yaml::version("blue", &[replica], &format!("traffic: 100\n{keys}"));
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    gateway
}

fn slots(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric("tidegate_slots", &[("endpoint", "iris"), ("state", state)])
}

fn queued(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_queue_depth", &[("endpoint", "iris")])
}

#[track_caller]
fn wait_queued(gateway: &Gateway, depth: u32) {
    until(&format!("{depth} wait"), LIMIT, || {
        (queued(gateway) == f64::from(depth)).then_some(())
    });
}

/// Sends a request and leaves its answer unread.
fn sent(gateway: &Gateway, query: &str) -> Client {
    let mut client = gateway.client();
    client
        .send(&request("POST", &format!("{TARGET}?{query}"), &[], b"{}"))
        .unwrap();
    client
}

#[test]
fn a_replica_never_sees_more_than_its_slots() {
    let replicas = [Replica::start("a"), Replica::start("b")];
    let version = yaml::version(
        "blue",
        &[&replicas[0], &replicas[1]],
        "traffic: 100\nmaxConcurrentRequests: 3\nmaxQueueWait: 60s\nqueueCapacity: 1000",
    );
    let gateway = Setup::new(&yaml::open("iris", &[version]))
        .threads(4)
        .start();
    gateway.healthy("iris");
    let requests = rounds(600);
    let callers: Vec<_> = (0..12)
        .map(|caller| {
            let address = gateway.address("http");
            std::thread::spawn(move || leaving_caller(address, caller, requests / 10))
        })
        .collect();
    let https = gateway.url("https");
    let second = std::thread::spawn(move || {
        tool::script("h2_leavers.py", &[&https, TARGET, &(requests).to_string()])
    });
    for caller in callers {
        caller.join().unwrap();
    }
    println!("{}", second.join().unwrap());
    until("every slot is free", Duration::from_secs(60), || {
        (slots(&gateway, "busy") == 0.0 && slots(&gateway, "free") == 6.0).then_some(())
    });
    assert_eq!(queued(&gateway), 0.0);
    for replica in &replicas {
        let (greatest, served) = (replica.greatest(), replica.served());
        println!("greatest {greatest}, served {served}");
        assert!(greatest <= 3, "{greatest} at once on a replica of 3 slots");
        assert!(greatest >= 2, "the load never came: {greatest} at once");
    }
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}

/// Requests on kept connections; every third is left after a moment.
fn leaving_caller(address: std::net::SocketAddr, caller: u32, requests: u32) {
    let mut client = Client::connect(address);
    for number in 0..requests.max(6) {
        let sleep = 5 + (caller * 7 + number * 13) % 40;
        let bytes = request("POST", &format!("{TARGET}?sleep={sleep}"), &[], b"{}");
        client.send(&bytes).unwrap();
        if (caller + number).is_multiple_of(3) {
            std::thread::sleep(Duration::from_millis(u64::from((caller * 3 + number) % 25)));
            client = Client::connect(address);
        } else {
            assert_eq!(client.answer().unwrap().status, 200);
        }
    }
}

#[test]
fn waiting_requests_are_served_in_arrival_order() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "maxQueueWait: 30s\nqueueCapacity: 100");
    let busy = sent(&gateway, "sleep=1500");
    until("the slot is taken", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    let (done, order) = mpsc::channel();
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let mut client = sent(&gateway, "sleep=10");
            wait_queued(&gateway, number + 1);
            let done = done.clone();
            std::thread::spawn(move || {
                assert_eq!(client.answer().unwrap().status, 200);
                done.send(number).unwrap();
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    drop((done, busy));
    assert_eq!(order.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(replica.greatest(), 1);
}

#[test]
fn no_slot_within_the_queue_wait_is_503() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "maxQueueWait: 200ms");
    let _busy = sent(&gateway, "sleep=3000");
    until("the slot is taken", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    let begun = Instant::now();
    let answer = gateway.score("iris", "", &[]);
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!(
        answer.json()["detail"],
        "Too many requests for service iris (overloaded)"
    );
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn a_full_queue_is_503_at_once() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "maxQueueWait: 30s\nqueueCapacity: 1");
    let _busy = sent(&gateway, "sleep=2000");
    until("the slot is taken", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    let _waits = sent(&gateway, "");
    wait_queued(&gateway, 1);
    let begun = Instant::now();
    let answer = gateway.score("iris", "", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_caller_who_goes_away_leaves_the_queue() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "maxQueueWait: 30s");
    let _busy = sent(&gateway, "sleep=3000");
    until("the slot is taken", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    let waits = sent(&gateway, "");
    wait_queued(&gateway, 1);
    drop(waits);
    wait_queued(&gateway, 0);
    assert_eq!(replica.busy(), 1, "it left while the slot was still taken");
}

#[test]
fn a_caller_with_a_large_body_leaves_the_queue_as_well() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "maxQueueWait: 30s");
    let _busy = sent(&gateway, "sleep=5000");
    until("the slot is taken", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    for listener in ["http", "https"] {
        let address = gateway.url(listener);
        let url = format!("{address}/api/v1/service/iris/score");
        let body = "x".repeat(50_000);
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--http1.1", "--max-time", "60", "--data-binary"]);
        let mut curl = curl.args([&body, &url]).spawn().unwrap();
        wait_queued(&gateway, 1);
        curl.kill().unwrap();
        curl.wait().unwrap();
        wait_queued(&gateway, 0);
        assert_eq!(replica.busy(), 1, "it left while the slot was still taken");
    }
}

#[test]
fn a_slot_is_kept_while_the_replica_computes_on() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "callerGone: finish\nmaxQueueWait: 30s");
    let gone = sent(&gateway, "sleep=700");
    until("it computes", LIMIT, || (replica.busy() == 1).then_some(()));
    drop(gone);
    assert_eq!(gateway.score("iris", "?sleep=1", &[]).status, 200);
    assert_eq!(
        replica.greatest(),
        1,
        "the second request came while the first computed"
    );
}

#[test]
fn with_abort_a_slot_is_free_at_once() {
    let replica = Replica::start("a");
    let gateway = one(&replica, "callerGone: abort\nmaxQueueWait: 30s");
    let gone = sent(&gateway, "sleep=5000");
    until("it computes", LIMIT, || (replica.busy() == 1).then_some(()));
    drop(gone);
    until("the slot is free", Duration::from_secs(3), || {
        (slots(&gateway, "busy") == 0.0).then_some(())
    });
    assert_eq!(replica.busy(), 1, "the replica still computes");
}

#[test]
fn weights_of_a_version_without_replicas_move() {
    let replica = Replica::start("a");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let dead = format!(
        "    - name: green\n      static: {{ addresses: [\"{nobody}\"] }}\n      traffic: 90\n"
    );
    let live = yaml::version("blue", &[&replica], "traffic: 10\ndefault: true");
    let gateway = Gateway::start(&yaml::open("iris", &[live, dead]));
    // Until its first probes failed it may be about to come.
    let labels = [("version", "green"), ("state", "starting")];
    until("green is known not to be there", LIMIT, || {
        (gateway.metric("tidegate_replicas", &labels) == 0.0).then_some(())
    });
    gateway.state_is("iris", "Transitioning");
    for _ in 0..20 {
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
    }
    let moved = |version| gateway.metric("tidegate_moved_shares_total", &[("version", version)]);
    assert_eq!((moved("green"), moved("blue")), (20.0, 0.0));
    let pinned = gateway.score("iris", "", &[("azureml-model-deployment", "green")]);
    assert_eq!((pinned.status, pinned.code().as_str()), (503, "no-replica"));
}
