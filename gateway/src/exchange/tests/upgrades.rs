//! Other protocols than HTTP between caller and replica.

use super::*;

const ASK: &str = "GET /api/v1/service/iris/score HTTP/1.1\r\nhost: gate\r\n\
    connection: keep-alive, Upgrade\r\nupgrade: echo\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: Echo\r\n\
    x-model: here\r\n\r\n";

/// A replica that says yes and then what it is told, with an end of its own
/// after the caller's.
async fn echo_bytes() -> Replica {
    replica(|mut conn| async move {
        let head = conn.head().await.unwrap();
        assert_eq!(field(&head, "connection"), Some("upgrade"), "{head}");
        assert_eq!(field(&head, "upgrade"), Some("echo"), "{head}");
        assert_eq!(field(&head, "te"), None, "{head}");
        conn.say([YES, "first "].concat()).await;
        loop {
            let bytes = std::mem::take(&mut conn.read);
            conn.say(bytes).await;
            if !conn.more().await {
                break;
            }
        }
        conn.say(" last").await;
    })
    .await
}

/// Reads until `text` is all that came.
async fn until(stream: &mut TcpStream, text: &str) {
    let mut seen = String::new();
    let mut part = [0; 1024];
    while seen != text {
        let read = timeout(SOON, stream.read(&mut part)).await.unwrap();
        let read = read.unwrap();
        assert!(read > 0 && text.starts_with(&seen), "{seen:?}");
        seen.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn bytes_pass_both_ways_after_101_and_the_slot_is_held_to_the_end() {
    on_a_worker(async {
        let replica = echo_bytes().await;
        let rig = Rig::with(&[&replica]).await;
        let mut caller = rig.send(ASK).await;
        let answer = head(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert_eq!(field(&answer, "connection"), Some("upgrade"));
        assert_eq!(field(&answer, "upgrade"), Some("echo"));
        assert_eq!(field(&answer, "x-model"), Some("here"));
        assert_eq!(field(&answer, "azureml-model-deployment"), Some("blue"));
        until(&mut caller, "first ").await;
        caller.write_all(b"GET \n\0 no HTTP").await.unwrap();
        until(&mut caller, "GET \n\0 no HTTP").await;
        rig.busy(1).await;
        // Half-closed: the other way goes on.
        caller.shutdown().await.unwrap();
        until(&mut caller, " last").await;
        assert_eq!(caller.read(&mut [0]).await.unwrap(), 0);
        rig.busy(0).await;
        let line = rig.line().await;
        assert_eq!(line["status"], 101, "{line}");
        assert_eq!(line["fault"], serde_json::Value::Null, "{line}");
        assert_eq!(line["requestBytes"], 14, "{line}");
        assert_eq!(line["responseBytes"], 6 + 14 + 5, "{line}");
    });
}

#[test]
fn nothing_for_the_idle_limit_closes_both_sides() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.head().await;
            conn.say(YES).await;
            conn.closed().await;
        })
        .await;
        let short = Duration::from_millis(100);
        let rig = Rig::set_up(&[&replica], |setup| {
            setup.version().stream_idle_timeout = short;
        })
        .await;
        let mut caller = rig.send(ASK).await;
        head(&mut caller).await;
        assert_eq!(
            timeout(SOON, caller.read(&mut [0])).await.unwrap().unwrap(),
            0
        );
        rig.busy(0).await;
        assert_eq!(rig.line().await["status"], 101);
    });
}

#[test]
fn an_answer_of_another_kind_passes_and_the_connection_goes_on() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            while conn.head().await.is_some() {
                conn.say("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno")
                    .await;
            }
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let mut caller = rig.send(ASK).await;
        for _ in 0..2 {
            let answer = head(&mut caller).await;
            assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
            until(&mut caller, "no").await;
            caller.write_all(ASK.as_bytes()).await.unwrap();
        }
        assert_eq!(replica.connections.get(), 1);
    });
}

#[test]
fn another_protocol_than_the_one_asked_for_is_502() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.head().await;
            conn.say("HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\n\r\n")
                .await;
            conn.closed().await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let mut caller = rig.send(ASK).await;
        let answer = head(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        rig.busy(0).await;
    });
}

#[test]
fn a_caller_that_leaves_before_101_gives_the_slot_back() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.head().await;
            sleep(Duration::from_millis(200)).await;
            conn.say(YES).await;
            conn.closed().await;
        })
        .await;
        let rig = Rig::with(&[&replica]).await;
        let caller = rig.send(ASK).await;
        rig.busy(1).await;
        drop(caller);
        rig.busy(0).await;
        assert_eq!(rig.line().await["fault"], "caller-gone");
    });
}
