//! What callers do: send too much, too slowly, or go away.

use super::*;

/// A replica that answers `ok` after `delay`, and tells what it has under way,
/// how often it was left, and the most it had at once.
#[derive(Clone, Default)]
struct Slow {
    under_way: Rc<Cell<u32>>,
    most: Rc<Cell<u32>>,
    answered: Rc<Cell<u32>>,
    left: Rc<Cell<u32>>,
}

impl Slow {
    async fn start(&self, delay: Duration) -> Replica {
        let slow = self.clone();
        replica(move |mut conn| {
            let slow = slow.clone();
            async move {
                while conn.request().await.is_some() {
                    slow.under_way.set(slow.under_way.get() + 1);
                    slow.most.set(slow.most.get().max(slow.under_way.get()));
                    let left = timeout(delay, conn.closed()).await.is_ok();
                    slow.under_way.set(slow.under_way.get() - 1);
                    if left {
                        slow.left.set(slow.left.get() + 1);
                        return;
                    }
                    conn.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await;
                    slow.answered.set(slow.answered.get() + 1);
                }
            }
        })
        .await
    }
}

const DELAY: Duration = Duration::from_millis(150);

#[test]
fn a_request_whose_caller_left_keeps_its_slot_until_the_replica_has_answered() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(DELAY).await;
        let rig = Rig::with(&[&replica]).await;
        let caller = rig.send(request("POST", SCORE, "", "x")).await;
        rig.busy(1).await;
        while slow.under_way.get() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        drop(caller);
        let line = rig.line().await;
        assert_eq!(line["status"], 499);
        assert_eq!(line["fault"], "caller-gone");
        assert_eq!(rig.fleet.counts().busy, 1, "the replica still computes");
        assert_eq!(rig.score("y").await.0, 200);
        rig.busy(0).await;
        assert_eq!(
            (slow.most.get(), slow.left.get(), slow.answered.get()),
            (1, 0, 2)
        );
        assert_eq!(replica.connections.get(), 1, "the connection is used again");
    });
}

#[test]
fn a_request_whose_caller_left_is_cut_where_the_version_says_abort() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(Duration::from_secs(10)).await;
        let abort = |setup: &mut Setup| setup.version().caller_gone = CallerGone::Abort;
        let rig = Rig::set_up(&[&replica], abort).await;
        let caller = rig.send(request("POST", SCORE, "", "x")).await;
        while slow.under_way.get() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        drop(caller);
        rig.busy(0).await;
        while slow.left.get() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn an_answer_that_has_begun_is_cut_when_its_caller_leaves() {
    on_a_worker(async {
        let left = Rc::new(Cell::new(false));
        let told = Rc::clone(&left);
        let replica = replica(move |mut conn| {
            let told = Rc::clone(&told);
            async move {
                conn.request().await;
                conn.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                    .await;
                conn.closed().await;
                told.set(true);
            }
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let mut caller = rig.send(request("POST", SCORE, "", "x")).await;
        let (mut seen, mut part) = (Vec::new(), [0; 1000]);
        while !seen.ends_with(b"half") {
            let n = caller.read(&mut part).await.unwrap();
            seen.extend_from_slice(&part[..n]);
        }
        drop(caller);
        rig.busy(0).await;
        let line = rig.line().await;
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&200.into(), &"caller-gone".into())
        );
        while !left.get() {
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn what_the_gateway_cuts_did_not_leave() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(DELAY).await;
        let rig = Rig::with(&[&replica]).await;
        let caller = rig.send(request("POST", SCORE, "", "x")).await;
        rig.busy(1).await;
        rig.worker.shared.tasks.cut();
        drop(caller);
        let line = rig.line().await;
        assert_eq!(line["fault"], "draining");
        assert_eq!(line["status"], 503);
    });
}

#[test]
fn a_connection_with_an_odd_answer_that_nobody_waits_for_is_dropped() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.request().await;
            sleep(DELAY).await;
            conn.say("HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n")
                .await;
            conn.closed().await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let caller = rig.send(request("POST", SCORE, "", "x")).await;
        rig.busy(1).await;
        while replica.connections.get() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(DELAY / 4).await;
        drop(caller);
        assert_eq!(rig.line().await["status"], 499);
        rig.busy(0).await;
        assert_eq!(rig.worker.pool.unused(), 0);
    });
}

#[test]
fn a_caller_that_stops_sending_is_not_the_replicas_fault_once_the_answer_began() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.head().await;
            conn.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                .await;
            conn.closed().await;
        })
        .await;
        let rig = Rig::set_up(&[&replica], |setup| {
            setup.limits.body_idle_timeout = Duration::from_millis(150);
        })
        .await;
        let head = "host: gate\r\ncontent-length: 9\r\n\r\nx";
        let text = rig.raw(format!("POST {SCORE} HTTP/1.1\r\n{head}")).await;
        assert!(text.ends_with("half"), "{text}");
        let line = rig.line().await;
        assert_eq!(line["fault"], "caller-timeout");
        rig.busy(0).await;
    });
}

#[test]
fn a_caller_that_leaves_the_queue_takes_no_slot() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(DELAY).await;
        let rig = Rig::with(&[&replica]).await;
        let first = rig.score("x");
        let (answer, ()) = futures_util::join!(first, async {
            rig.busy(1).await;
            let waiting = rig.send(request("POST", SCORE, "", "y")).await;
            while rig.fleet.counts().queued == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            drop(waiting);
            while rig.fleet.counts().queued == 1 {
                sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(slow.answered.get(), 0);
        });
        assert_eq!(answer.0, 200);
        rig.busy(0).await;
        assert_eq!(slow.answered.get(), 1);
        let lines = rig.lines(2).await;
        let left = lines.iter().find(|line| line["status"] == 499).unwrap();
        assert!(left["queueMs"].as_f64().unwrap() > 0.0, "{left}");
    });
}

#[test]
fn a_caller_that_leaves_its_body_unfinished_frees_the_replica() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(DELAY).await;
        let rig = Rig::with(&[&replica]).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\ncontent-length: 9\r\n\r\nhalf");
        let caller = rig.send(head).await;
        rig.busy(1).await;
        drop(caller);
        rig.busy(0).await;
        assert_eq!(rig.line().await["fault"], "caller-gone");
        assert_eq!(slow.answered.get(), 0);
        assert_eq!(rig.worker.pool.unused(), 0);
    });
}

#[test]
fn one_who_waits_when_the_drain_is_over_is_sent_away() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(DELAY).await;
        let patient = |setup: &mut Setup| setup.version().max_queue_wait = SOON;
        let rig = Rig::set_up(&[&replica], patient).await;
        let _first = rig.send(request("POST", SCORE, "", "x")).await;
        rig.busy(1).await;
        let ((status, text), ()) = futures_util::join!(rig.score("y"), async {
            while rig.fleet.counts().queued == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            rig.worker.shared.tasks.stop();
            rig.worker.shared.tasks.send_away();
        });
        assert!(status == 503 && text.contains("draining"), "{text}");
        assert_eq!(rig.fleet.counts().queued, 0);
    });
}

#[test]
fn a_full_queue_and_a_long_wait_are_503() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(Duration::from_millis(300)).await;
        let change = |setup: &mut Setup| {
            setup.version().queue_capacity = 1;
            setup.version().max_queue_wait = Duration::from_millis(50);
        };
        let rig = Rig::set_up(&[&replica], change).await;
        let all = futures_util::future::join_all((0..3).map(|_| rig.score("x"))).await;
        let mut statuses: Vec<u16> = all.iter().map(|(status, _)| *status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 503, 503]);
        let refused = all.iter().find(|(status, _)| *status == 503).unwrap();
        assert!(
            refused
                .1
                .contains("Too many requests for service iris (overloaded)")
        );
        assert!(refused.1.contains("retry-after: "), "{}", refused.1);
    });
}

#[test]
fn a_body_over_its_limit_is_413_by_its_length() {
    on_a_worker(async {
        let replica = echo().await;
        let small = |setup: &mut Setup| setup.endpoint.max_request_bytes = 4;
        let rig = Rig::set_up(&[&replica], small).await;
        assert_eq!(rig.score("1234").await.0, 200);
        let (status, text) = rig.score("12345").await;
        assert_eq!(status, 413, "{text}");
        assert_eq!(replica.connections.get(), 1);
    });
}

#[test]
fn a_body_over_its_limit_is_413_while_it_streams() {
    on_a_worker(async {
        let whole = Rc::new(Cell::new(false));
        let told = Rc::clone(&whole);
        let replica = replica(move |mut conn| {
            let told = Rc::clone(&told);
            async move { told.set(conn.request().await.is_some()) }
        })
        .await;
        let small = |setup: &mut Setup| setup.endpoint.max_request_bytes = 4;
        let rig = Rig::set_up(&[&replica], small).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\ntransfer-encoding: chunked\r\n");
        let text = rig.raw(head + "\r\n4\r\n1234\r\n1\r\n5\r\n0\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
        assert!(text.contains("connection: close"), "{text}");
        rig.busy(0).await;
        assert!(!whole.get(), "the replica saw a whole request");
    });
}

#[test]
fn a_body_that_does_not_come_is_408() {
    on_a_worker(async {
        let replica = echo().await;
        let short = Duration::from_millis(80);
        let rig = Rig::set_up(&[&replica], |setup| setup.limits.body_idle_timeout = short).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\ncontent-length: 9\r\n\r\nhalf");
        let text = rig.raw(head).await;
        assert!(text.starts_with("HTTP/1.1 408"), "{text}");
        rig.busy(0).await;
    });
}

#[test]
fn a_broken_body_is_400() {
    on_a_worker(async {
        let replica = echo().await;
        let rig = Rig::with(&[&replica]).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\ntransfer-encoding: chunked\r\n");
        let text = rig.raw(head.clone() + "\r\n2\r\nhi\r\nzz\r\n").await;
        assert!(text.starts_with("HTTP/1.1 400"), "{text}");
        let fields = "trailer: host\r\n\r\n2\r\nhi\r\n0\r\nhost: x\r\n\r\n";
        let text = rig.raw(head + fields).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{text}");
        rig.busy(0).await;
    });
}

#[test]
fn an_early_answer_is_passed_and_the_upload_stops() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.head().await;
            conn.say("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
                .await;
            conn.closed().await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\ncontent-length: 900000\r\n\r\n");
        let text = rig.raw(head + "some").await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
        assert!(
            text.contains("connection: close") && text.ends_with("big"),
            "{text}"
        );
        rig.busy(0).await;
        assert_eq!(rig.worker.pool.unused(), 0);
        assert_eq!(rig.line().await["status"], 413);
    });
}

#[test]
fn a_body_is_asked_for_once_a_slot_is_held() {
    on_a_worker(async {
        let slow = Slow::default();
        let replica = slow.start(DELAY).await;
        let rig = Rig::with(&[&replica]).await;
        let first = rig.send(request("POST", SCORE, "", "x")).await;
        rig.busy(1).await;
        let fields = "expect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n";
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\n{fields}\r\n");
        let mut second = rig.send(head).await;
        let mut part = [0; 100];
        assert!(timeout(DELAY / 3, second.read(&mut part)).await.is_err());
        let n = timeout(SOON, second.read(&mut part))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&part[..n], b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(slow.answered.get(), 1);
        second.write_all(b"hi").await.unwrap();
        let mut rest = String::new();
        second.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200"), "{rest}");
        drop(first);
    });
}

#[test]
fn a_body_that_nobody_wants_is_read_off_or_the_connection_is_closed() {
    on_a_worker(async {
        let replica = echo().await;
        let rig = Rig::with(&[&replica]).await;
        let head = "POST /nowhere HTTP/1.1\r\nhost: gate\r\ncontent-length: 4\r\n\r\nbody";
        let last = request("POST", SCORE, "", "x");
        let text = rig.raw(format!("{head}{head}{last}")).await;
        assert_eq!(text.matches("HTTP/1.1 404").count(), 2, "{text}");
        assert!(text.contains("HTTP/1.1 200"), "{text}");
        let head = "POST /nowhere HTTP/1.1\r\nhost: gate\r\ncontent-length: 99999\r\n\r\nbody";
        let mut stream = rig.send(head).await;
        let mut part = [0; 2000];
        let n = stream.read(&mut part).await.unwrap();
        let text = std::str::from_utf8(&part[..n]).unwrap();
        assert!(text.contains("connection: close"), "{text}");
    });
}

#[test]
fn a_large_body_streams_in_both_directions() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            let (_, body) = conn.request().await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            conn.say(head).await;
            conn.say(body).await;
        })
        .await;
        let rig = Rig::set_up(&[&replica], |setup| {
            setup.endpoint.max_request_bytes = 8 << 20;
        })
        .await;
        let body = "0123456789abcdef".repeat(256 << 10);
        let (status, text) = rig.score(&body).await;
        assert_eq!(status, 200);
        assert!(text.ends_with(&body));
        let line = rig.line().await;
        assert_eq!(line["requestBytes"], body.len());
        assert_eq!(line["responseBytes"], body.len());
    });
}
