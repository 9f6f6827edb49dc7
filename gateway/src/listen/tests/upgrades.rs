//! Other protocols than HTTP: what is held, what is judged, what is counted.

use super::*;

const SWITCH: &str =
    "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const STAY: &str = "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
/// Nothing that HTTP would take.
const GARBAGE: &[u8] = b"\n\0\r garbage";

/// Answers 101 after a while, and echoes from then on.
pub(super) async fn switch<B>(
    mut request: Request<Incoming>,
    told: Told,
    body: B,
) -> Response<UnsyncBoxBody<Bytes, BoxError>>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    tokio::time::sleep(Duration::from_millis(200)).await;
    let upgraded = hyper::upgrade::on(&mut request);
    Tasks::new().spawn_local(async move {
        let _told = told;
        let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
        let mut part = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut part).await {
            stream.write_all(&part[..read]).await.unwrap();
        }
    });
    Response::builder()
        .status(101)
        .body(body.boxed_unsync())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_101_is_held_and_what_comes_after_is_not_judged() {
    let mut fixture = plain(&limits());
    for together in [true, false] {
        let mut caller = fixture.connect().await;
        if together {
            let all = [SWITCH.as_bytes(), GARBAGE].concat();
            caller.write_all(&all).await.unwrap();
        } else {
            caller.write_all(SWITCH.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            caller.write_all(GARBAGE).await.unwrap();
        }
        let mut seen = Vec::new();
        while !seen.ends_with(GARBAGE) {
            let byte = timeout(SOON, caller.read_u8()).await.unwrap().unwrap();
            seen.push(byte);
        }
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.starts_with("HTTP/1.1 101 "), "{seen}");
        caller.write_all(GARBAGE).await.unwrap();
        let mut again = [0; GARBAGE.len()];
        timeout(SOON, caller.read_exact(&mut again))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(again, GARBAGE);
        // It counts among the connections to its end.
        assert_eq!(connections(&fixture), 1);
        drop(caller);
        for expected in ["begun /switch", "ended /switch"] {
            assert_eq!(fixture.told.recv().await.unwrap(), expected);
        }
        for _ in 0..500 {
            if connections(&fixture) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(connections(&fixture), 0);
    }
}

fn connections(fixture: &Fixture) -> i64 {
    let text = fixture.metrics.text();
    let line = text
        .lines()
        .find(|line| line.starts_with("tidegate_connections{"));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_101_the_connection_goes_on_unless_bytes_were_held() {
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    for request in [STAY, GET, STAY] {
        send(&mut caller, request).await;
        let answer = read_answer(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // What follows is judged again.
    caller.write_all(b"\n").await.unwrap();
    let answer = read_to_end(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut caller = fixture.connect().await;
    send(&mut caller, &format!("{STAY}{GET}")).await;
    let answer = read_to_end(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("slow"), "only one answer: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_before_101_is_gone_at_once() {
    let mut fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    send(&mut caller, &STAY.replace("/slow", "/hang")).await;
    assert_eq!(fixture.told.recv().await.unwrap(), "begun /hang");
    drop(caller);
    let ended = timeout(SOON, fixture.told.recv()).await.unwrap();
    assert_eq!(ended.unwrap(), "ended /hang");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_an_upgrade_was_refused_is_closed_as_gently_as_others() {
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    send(&mut caller, STAY).await;
    read_answer(&mut caller).await;
    let early = "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
    // More than hyper reads ahead: what is unread at the close makes it a reset.
    send(&mut caller, &format!("{early}{}", "x".repeat(100_000))).await;
    let mut answer = Vec::new();
    let ended = timeout(SOON, caller.read_to_end(&mut answer)).await;
    ended.unwrap().expect("an end, not a reset");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
