//! What replicas do: answer, close, fail, answer nonsense.

use super::*;

#[test]
fn a_connection_to_a_replica_is_used_again() {
    on_a_worker(async {
        let replica = echo().await;
        let rig = Rig::with(&[&replica]).await;
        for n in 0..5 {
            let body = format!("body {n}");
            let (status, answer) = rig.score(&body).await;
            assert_eq!(status, 200, "{answer}");
            assert!(answer.ends_with(&body), "{answer}");
        }
        assert_eq!(replica.connections.get(), 1);
        assert_eq!(rig.worker.pool.unused(), 1);
        rig.busy(0).await;
    });
}

#[test]
fn an_unused_connection_is_closed_at_the_end_of_its_life() {
    on_a_worker(async {
        let replica = echo().await;
        let short = Duration::from_millis(100);
        let rig = Rig::set_up(&[&replica], |setup| setup.limits.upstream_idle = short).await;
        rig.score("a").await;
        assert_eq!(rig.worker.pool.unused(), 1);
        for _ in 0..100 {
            if rig.worker.pool.unused() == 0 {
                break;
            }
            sleep(short / 4).await;
        }
        assert_eq!(rig.worker.pool.unused(), 0);
        rig.score("b").await;
        assert_eq!(replica.connections.get(), 2);
    });
}

#[test]
fn unused_connections_do_not_hold_up_the_end() {
    on_a_worker(async {
        let replica = echo().await;
        let long = Duration::from_secs(60);
        let rig = Rig::set_up(&[&replica], |setup| setup.limits.upstream_idle = long).await;
        rig.score("a").await;
        assert_eq!(rig.worker.pool.unused(), 1);
        rig.worker.shared.tasks.stop();
        timeout(SOON, rig.worker.shared.tasks.finish())
            .await
            .unwrap();
        assert_eq!(rig.worker.pool.unused(), 0);
    });
}

#[test]
fn unused_connections_are_at_most_the_slots() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            while conn.request().await.is_some() {
                sleep(Duration::from_millis(30)).await;
                conn.say("HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        })
        .await;
        let rig = Rig::set_up(&[&replica], |setup| setup.slots = 3).await;
        let call = || rig.score("x");
        let all = futures_util::future::join_all((0..6).map(|_| call())).await;
        assert!(all.iter().all(|(status, _)| *status == 204), "{all:?}");
        assert_eq!(replica.connections.get(), 3);
        assert_eq!(rig.worker.pool.unused(), 3);
    });
}

#[track_caller]
fn closing(answer: &'static str) {
    on_a_worker(async move {
        let replica = replica(move |mut conn| async move {
            conn.request().await;
            conn.say(answer).await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        for _ in 0..5 {
            let (status, text) = rig.score("x").await;
            assert_eq!(status, 200, "{text}");
            assert!(text.contains("ok"), "{text}");
        }
        assert_eq!(replica.connections.get(), 5);
        rig.busy(0).await;
    });
}

#[test]
fn a_replica_that_says_it_closes_is_no_error() {
    closing("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
}

#[test]
fn a_replica_that_closes_without_a_word_is_no_error() {
    closing("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
}

#[test]
fn an_answer_to_the_end_of_the_connection_is_passed() {
    closing("HTTP/1.0 200 OK\r\n\r\nok");
}

#[test]
fn a_connection_with_bytes_after_the_answer_is_dropped() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            while conn.request().await.is_some() {
                let one = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
                let number = conn.number;
                conn.say(format!("{one}{number}{one}x")).await;
            }
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        for n in 1..4 {
            let (status, text) = rig.score("x").await;
            assert_eq!(status, 200);
            assert!(text.ends_with(&format!("\r\n\r\n{n}")), "{text}");
        }
    });
}

/// Each request gets `answer`, on two replicas; a POST is never repeated.
#[track_caller]
fn nonsense(answer: &[u8]) {
    let shown = String::from_utf8_lossy(answer)
        .chars()
        .take(60)
        .collect::<String>();
    let answer = Rc::new(answer.to_vec());
    on_a_worker(async move {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let script = move |mut conn: Conn| {
            let (answer, counted) = (Rc::clone(&answer), Rc::clone(&counted));
            async move {
                conn.request().await;
                counted.set(counted.get() + 1);
                conn.say(&*answer).await;
                conn.closed().await;
            }
        };
        let (a, b) = (replica(script.clone()).await, replica(script).await);
        let rig = Rig::with(&[&a, &b]).await;
        let (status, text) = rig.score("x").await;
        assert_eq!(status, 502, "{shown:?}: {text}");
        assert!(text.contains("Replica closed connection before replying"));
        assert!(text.contains("application/problem+json"));
        assert_eq!(count.get(), 1, "{shown:?}");
        rig.busy(0).await;
        let line = rig.line().await;
        assert_eq!(line["fault"], "replica-failed");
        assert!(line["reason"].is_string());
        assert_eq!(rig.worker.pool.unused(), 0);
    });
}

#[test]
fn an_answer_that_is_not_http_is_502() {
    nonsense(b"garbage\r\n\r\n");
    nonsense(b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n");
    nonsense(b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n");
    nonsense(b"HTTP/1.1 200 OK\ncontent-length: 0\n\n");
    nonsense(b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello");
    nonsense(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    nonsense(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n");
    nonsense(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    );
}

#[test]
fn an_endless_head_or_endless_interim_answers_are_502() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70 << 10));
    nonsense(long.as_bytes());
    nonsense("HTTP/1.1 103 Early\r\n\r\n".repeat(9).as_bytes());
}

#[test]
fn interim_answers_are_not_the_answer() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.request().await;
            conn.say("HTTP/1.1 103 Early\r\nlink: x\r\n\r\n").await;
            sleep(Duration::from_millis(20)).await;
            conn.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        assert_eq!(rig.score("x").await.0, 200);
    });
}

/// The first request on the first replica fails by a reset.
async fn failing_first(method: &str, body: &str) -> (u16, usize) {
    let resets = replica(|mut conn| async move {
        conn.head().await;
        conn.reset();
    })
    .await;
    let good = echo().await;
    let rig = Rig::with(&[&resets, &good]).await;
    let mut statuses = Vec::new();
    while resets.connections.get() == 0 {
        assert!(statuses.len() < 50, "the failing replica is never chosen");
        statuses.push(rig.call(method, SCORE, "", body).await.0);
    }
    rig.busy(0).await;
    (
        statuses.into_iter().max().unwrap(),
        resets.connections.get(),
    )
}

#[test]
fn a_get_that_was_reset_is_sent_once_more() {
    on_a_worker(async {
        let (worst, tried) = failing_first("GET", "").await;
        assert_eq!((worst, tried), (200, 1));
    });
}

#[test]
fn a_post_that_was_reset_is_not_sent_once_more() {
    on_a_worker(async {
        let (worst, tried) = failing_first("POST", "x").await;
        assert_eq!((worst, tried), (502, 1));
    });
}

#[test]
fn a_post_goes_elsewhere_where_the_connect_failed() {
    on_a_worker(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = Replica {
            address: listener.local_addr().unwrap(),
            connections: Rc::default(),
        };
        drop(listener);
        let good = echo().await;
        let rig = Rig::with(&[&gone, &good]).await;
        for _ in 0..4 {
            assert_eq!(rig.score("x").await.0, 200);
        }
        let rig = Rig::with(&[&gone]).await;
        let (status, text) = rig.score("x").await;
        assert_eq!(status, 502, "{text}");
    });
}

#[track_caller]
fn cut(head: &'static str, sent: &'static str) -> String {
    let text = Rc::new(RefCell::new(String::new()));
    let seen = Rc::clone(&text);
    on_a_worker(async move {
        let replica = replica(move |mut conn| async move {
            conn.request().await;
            conn.say(head).await;
            sleep(Duration::from_millis(30)).await;
            conn.say(sent).await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        *seen.borrow_mut() = rig.score("x").await.1;
        rig.busy(0).await;
        let line = rig.line().await;
        assert_eq!(line["status"], 200);
        assert_eq!(line["fault"], "replica-failed");
        assert_eq!(rig.worker.pool.unused(), 0);
    });
    text.take()
}

#[test]
fn a_short_body_never_ends_cleanly() {
    let text = cut("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "half");
    assert!(
        text.contains("content-length: 9") && text.ends_with("half"),
        "{text}"
    );
    let text = cut(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "4\r\nhalf\r\n",
    );
    assert!(text.contains("4\r\nhalf\r\n"), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn a_broken_event_stream_ends_in_an_event() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let text = cut(head, "9\r\ndata: {\"a\r\n");
    assert!(text.contains("\nevent: error\ndata: {\"type\""), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn trailers_pass_both_ways() {
    on_a_worker(async {
        let seen = Rc::new(RefCell::new(String::new()));
        let kept = Rc::clone(&seen);
        let replica = replica(move |mut conn| {
            let kept = Rc::clone(&kept);
            async move {
                let (head, body) = conn.request().await.unwrap();
                *kept.borrow_mut() = head + std::str::from_utf8(&body).unwrap();
                let answer = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
                conn.say(answer).await;
                conn.closed().await;
            }
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n");
        let rest = "te: trailers\r\ntrailer: x-in\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-in: 3\r\n\r\n";
        let text = rig.raw(head + rest).await;
        assert!(text.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{text}");
        let seen = seen.take();
        assert!(seen.contains("te: trailers"), "{seen}");
        assert!(seen.ends_with("2\r\nhi\r\n0\r\nx-in: 3\r\n\r\n"), "{seen}");
        assert_eq!(rig.lines(1).await[0]["fault"], serde_json::Value::Null);
    });
}

#[test]
fn a_model_that_hangs_is_504_and_its_connection_is_closed() {
    on_a_worker(async {
        let closed = Rc::new(Cell::new(false));
        let told = Rc::clone(&closed);
        let replica = replica(move |mut conn| {
            let told = Rc::clone(&told);
            async move {
                conn.request().await;
                conn.closed().await;
                told.set(true);
            }
        })
        .await;
        let short = Duration::from_millis(80);
        let change = |setup: &mut Setup| setup.version().scoring_timeout = short;
        let rig = Rig::set_up(&[&replica], change).await;
        let (status, text) = rig.score("x").await;
        assert_eq!(status, 504, "{text}");
        assert!(text.contains("scoring-timeout"), "{text}");
        rig.busy(0).await;
        sleep(Duration::from_millis(20)).await;
        assert!(closed.get());
    });
}

#[test]
fn a_stream_that_falls_silent_is_broken_off() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.request().await;
            conn.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                .await;
            conn.closed().await;
        })
        .await;
        let short = Duration::from_millis(80);
        let change = |setup: &mut Setup| setup.version().stream_idle_timeout = short;
        let rig = Rig::set_up(&[&replica], change).await;
        let (status, text) = rig.score("x").await;
        assert!(status == 200 && text.ends_with("half"), "{text}");
        assert_eq!(rig.line().await["fault"], "scoring-timeout");
        rig.busy(0).await;
    });
}

#[test]
fn answers_without_a_body_are_passed() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            while let Some((head, _)) = conn.request().await {
                let answer = match head.split(' ').next().unwrap_or_default() {
                    "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
                    "GET" => {
                        "HTTP/1.1 304 Not Modified\r\ncontent-length: 12\r\netag: \"x\"\r\n\r\n"
                    }
                    _ => "HTTP/1.1 204 No Content\r\n\r\n",
                };
                conn.say(answer).await;
            }
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let (status, text) = rig.call("HEAD", SCORE, "", "").await;
        assert!(
            status == 200 && text.contains("content-length: 1234"),
            "{text}"
        );
        assert_eq!(rig.call("GET", SCORE, "", "").await.0, 304);
        assert_eq!(rig.score("x").await.0, 204);
        assert_eq!(replica.connections.get(), 1);
    });
}
