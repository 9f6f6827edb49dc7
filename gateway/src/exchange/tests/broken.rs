//! Answers that break off after their heads.

use super::*;

/// Of two replicas one breaks each answer off after its head; how many callers
/// see that until it is ejected.
#[track_caller]
fn broken_after_the_head(head: &'static str, silent: bool) {
    on_a_worker(async move {
        let bad = replica(move |mut conn| async move {
            if conn.request().await.is_none() {
                return;
            }
            conn.say(head).await;
            if silent {
                conn.closed().await;
            }
            sleep(Duration::from_millis(30)).await;
        })
        .await;
        let good = echo().await;
        let short = Duration::from_millis(60);
        let change = |setup: &mut Setup| setup.version().stream_idle_timeout = short;
        let rig = Rig::set_up(&[&bad, &good], change).await;
        let mut calls = 0;
        let mut after = 0;
        while after < 20 {
            let (status, text) = rig.score("whole").await;
            assert_eq!(status, 200, "{text}");
            calls += 1;
            assert!(calls < 500, "it is never ejected");
            if rig.fleet.counts().ejected == 0 {
                // It gets nothing for a moment after each break.
                sleep(Duration::from_millis(10)).await;
            } else {
                after += 1;
            }
        }
        assert_eq!(bad.connections.get(), 3, "three in a row eject it");
        rig.busy(0).await;
        let lines = rig.lines(calls).await;
        let broken = lines.iter().filter(|line| !line["fault"].is_null());
        assert_eq!(broken.count(), 3);
    });
}

#[test]
fn a_replica_that_breaks_every_answer_off_after_its_head_is_ejected() {
    broken_after_the_head("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", false);
    broken_after_the_head(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        false,
    );
    broken_after_the_head("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", true);
}

/// What callers get where the replica says this and closes at once.
fn closes_after(answer: &'static str) -> Vec<(u16, String)> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let answers = Rc::clone(&seen);
    on_a_worker(async move {
        let replica = replica(move |mut conn| async move {
            conn.request().await;
            conn.say(answer).await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        for n in 1..=8 {
            let text = rig.raw(request("POST", SCORE, "", "x")).await;
            let status = text.split(' ').nth(1).expect("never an empty reply");
            let status = status.parse().unwrap();
            rig.busy(0).await;
            // The record says what the caller saw.
            let line = rig.lines(n).await.pop().unwrap();
            assert_eq!(line["status"], status);
            assert_eq!(line["fault"], "replica-failed");
            answers.borrow_mut().push((status, text));
        }
    });
    seen.take()
}

#[test]
fn a_body_that_is_broken_before_the_head_is_passed_on_is_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        "HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ] {
        for (status, text) in closes_after(answer) {
            assert_eq!(status, 502, "{text}");
            assert!(text.contains("application/problem+json"), "{text}");
        }
    }
}

#[test]
fn what_came_before_a_break_reaches_the_caller() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let counted = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    for answer in [chunked, counted] {
        for (status, text) in closes_after(answer) {
            assert_eq!(status, 200, "{text}");
            assert!(text.trim_end().ends_with("half"), "{text}");
        }
    }
}

#[test]
fn a_get_whose_answer_is_broken_at_once_is_sent_once_more() {
    on_a_worker(async {
        let bad = replica(|mut conn| async move {
            conn.request().await;
            conn.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
                .await;
        })
        .await;
        let good = echo().await;
        let rig = Rig::with(&[&bad, &good]).await;
        while bad.connections.get() == 0 {
            assert_eq!(rig.call("GET", SCORE, "", "").await.0, 200);
        }
    });
}
