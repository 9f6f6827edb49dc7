//! Each limit of a caller has its timer or its count, and each its test.

use futures_util::StreamExt;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_closed() {
    let fixture = plain(&Limits {
        head_timeout: SHORT,
        ..limits()
    });
    // The first head, a later one, and empty lines before one.
    for (before, begun) in [("", "GET / HT"), (GET, "GET / HT"), (GET, "\r\n")] {
        let mut caller = fixture.connect().await;
        send(&mut caller, before).await;
        if !before.is_empty() {
            read_answer(&mut caller).await;
        }
        send(&mut caller, begun).await;
        assert_eq!(read_to_end(&mut caller).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_closed_all_the_same() {
    let fixture = plain(&Limits {
        head_timeout: SHORT,
        ..limits()
    });
    let mut caller = fixture.connect().await;
    caller.set_nodelay(true).unwrap();
    let (mut reads, mut writes) = caller.split();
    let dripping = async {
        while writes.write_all(b"G").await.is_ok() {
            tokio::time::sleep(SHORT / 4).await;
        }
    };
    tokio::select! {
        _ = read_to_end(&mut reads) => {}
        () = dripping => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let fixture = plain(&Limits {
        idle_timeout: SHORT,
        ..limits()
    });
    let mut silent = fixture.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");

    let mut caller = fixture.connect().await;
    // Takes longer than the limit.
    send(&mut caller, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(read_answer(&mut caller).await.ends_with("slow"));
    assert_eq!(read_to_end(&mut caller).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_takes_nothing_is_broken_off() {
    let mut fixture = plain(&Limits {
        body_idle_timeout: SHORT,
        ..limits()
    });
    let mut caller = fixture.connect().await;
    send(&mut caller, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    fixture.wait_for("ended /endless").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_of_connections_accepting_stops() {
    let fixture = plain(&Limits {
        connections: 1,
        ..limits()
    });
    let mut first = fixture.connect().await;
    send(&mut first, GET).await;
    read_answer(&mut first).await;
    // The kernel takes it, we do not.
    let mut second = fixture.connect().await;
    send(&mut second, GET).await;
    let mut byte = [0];
    let early = timeout(SHORT, second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "it was served past the limit");
    assert_eq!(fixture.metrics.connections.with(&["l0"]).value(), 1);
    drop(first);
    read_answer(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_idle_connections_and_waits_for_exchanges() {
    let mut fixture = plain(&limits());
    let mut idle = fixture.connect().await;
    send(&mut idle, GET).await;
    read_answer(&mut idle).await;
    let mut fresh = fixture.connect().await;
    let mut busy = fixture.connect().await;
    send(&mut busy, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    fixture.wait_for("begun /slow").await;
    let listening = Arc::clone(&fixture.listening);
    let draining = async move { soon(listening.drain()).await };
    let ((), last, ended, unused) = tokio::join!(
        draining,
        read_to_end(&mut busy),
        read_to_end(&mut idle),
        read_to_end(&mut fresh)
    );
    assert!(last.contains("connection: close\r\n"), "{last}");
    assert!(last.ends_with("slow"), "{last}");
    assert_eq!((ended.as_str(), unused.as_str()), ("", ""));
    assert!(TcpStream::connect(fixture.address()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_know_of_a_drain_is_served() {
    let fixture = plain(&limits());
    let mut kept = fixture.connect().await;
    send(&mut kept, GET).await;
    read_answer(&mut kept).await;
    // Some of these are not accepted when the drain begins.
    let mut callers = Vec::new();
    for _ in 0..40 {
        let mut caller = fixture.connect().await;
        send(&mut caller, GET).await;
        callers.push(caller);
    }
    let listening = Arc::clone(&fixture.listening);
    let draining = async move { soon(listening.drain()).await };
    let asking = async {
        send(&mut kept, GET).await;
        callers.push(kept);
        for caller in &mut callers {
            let answer = read_to_end(caller).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            // One that was answered before is kept, and then closed.
            assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        }
    };
    tokio::join!(draining, asking);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_cuts_what_does_not_end() {
    let mut fixture = plain(&Limits {
        drain: SHORT,
        ..limits()
    });
    let mut caller = fixture.connect().await;
    send(&mut caller, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    fixture.wait_for("begun /hang").await;
    soon(fixture.listening.drain()).await;
    fixture.wait_for("ended /hang").await;
    assert_eq!(read_to_end(&mut caller).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_drips_is_closed() {
    let fixture = start(
        ListenerTls::Development,
        &Limits {
            tls_handshake_timeout: SHORT,
            ..limits()
        },
    );
    let mut caller = fixture.connect().await;
    caller.write_all(&[0x16, 3, 1]).await.unwrap();
    assert_eq!(read_to_end(&mut caller).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_memory_limit_no_head_grows_and_one_that_is_whole_is_answered() {
    let fixture = plain(&Limits {
        memory: Some(1),
        ..limits()
    });
    let mut whole = fixture.connect().await;
    send(&mut whole, GET).await;
    read_answer(&mut whole).await;
    let begun = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(100));
    let mut early = fixture.connect().await;
    send(&mut early, GET).await;
    read_answer(&mut early).await;
    assert_eq!(fixture.memory.measure(), Some(true));
    // On a connection that is there, and on a new one.
    for caller in [&mut early, &mut fixture.connect().await] {
        send(caller, &begun).await;
        assert_eq!(read_to_end(caller).await, "");
    }
    send(&mut whole, GET).await;
    let answer = read_answer(&mut whole).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// A body without a length; the query says how it ends.
pub(super) fn parts(query: Option<&str>) -> impl Body<Data = Bytes, Error = BoxError> + use<> {
    let mut parts = vec![Ok(Frame::data(Bytes::from_static(b"part")))];
    if query == Some("broken") {
        parts.push(Err(BoxError::from("broken off")));
    }
    let slowly = |part| async move {
        // What came before it is sent meanwhile.
        tokio::time::sleep(Duration::from_millis(20)).await;
        part
    };
    http_body_util::StreamBody::new(futures_util::stream::iter(parts).then(slowly))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_http_1_0_that_breaks_off_is_reset() {
    let fixture = plain(&limits());
    for (query, whole) in [("whole", true), ("broken", false), ("whole", true)] {
        let mut caller = fixture.connect().await;
        send(&mut caller, &format!("GET /parts?{query} HTTP/1.0\r\n\r\n")).await;
        let mut answer = Vec::new();
        let end = soon(caller.read_to_end(&mut answer)).await;
        let text = String::from_utf8(answer).unwrap();
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\npart"), "{text}");
        match end {
            Ok(_) => assert!(whole, "{query} ended cleanly"),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                assert!(!whole, "{query}: {error}");
            }
        }
    }
}
