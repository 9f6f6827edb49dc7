//! Answers that begin with comments while their version is at zero.

use super::*;
use crate::resource::Autoscale;

const EVENTS: &str = "accept: text/event-stream\r\n";

/// A rig whose `blue` is at zero; requests wait for `wait`.
async fn at_zero(wait: Duration) -> Rig {
    let rig = Rig::set_up(&[], |setup| {
        setup.version().scale = Scale::Auto(Autoscale {
            min_replicas: 0,
            max_replicas: 1,
            target_utilization: Percent::ALL,
            refresh: SOON,
            scale_down_delay: SOON,
            scale_to_zero_after: SOON,
            cold_start_wait: wait,
            cold_start_comments: true,
        });
    })
    .await;
    let name = |name| Name::parse(name).unwrap();
    let mut settings = FleetSettings::new(
        name("iris"),
        name("blue"),
        NonZeroU32::MIN,
        10,
        Duration::from_millis(100),
    );
    settings.cold_start_wait = Some(wait);
    rig.fleet.update(settings);
    rig
}

/// A replica that says `answer` is ready.
async fn start(rig: &Rig, answer: &'static str) -> Replica {
    let replica = replica(move |mut conn| async move {
        while conn.request().await.is_some() {
            conn.say(answer).await;
        }
    })
    .await;
    let id = ReplicaId::new(&Name::parse("blue").unwrap(), 1);
    rig.fleet.add(id.clone(), replica.address);
    rig.fleet.set_ready(&id, true);
    replica
}

/// Reads until this is there; what came so far.
async fn read_to(caller: &mut TcpStream, text: &str) -> String {
    let (mut seen, mut part) = (String::new(), [0; 1000]);
    while !seen.contains(text) {
        let n = timeout(SOON, caller.read(&mut part))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(std::str::from_utf8(&part[..n]).unwrap());
    }
    seen
}

async fn rest(caller: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let _reset = timeout(SOON, caller.read_to_end(&mut rest)).await.unwrap();
    String::from_utf8(rest).unwrap()
}

const COMMENT: &str = ": waiting for a replica\n\n";

/// A caller that has its first comment.
async fn commented(rig: &Rig) -> TcpStream {
    let mut caller = rig.send(request("POST", SCORE, EVENTS, "x")).await;
    let head = read_to(&mut caller, COMMENT).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("azureml-model-deployment: blue"), "{head}");
    assert!(head.contains("x-request-id: "), "{head}");
    caller
}

#[test]
fn comments_come_until_the_models_events_do() {
    on_a_worker(async {
        let rig = at_zero(SOON).await;
        let mut caller = commented(&rig).await;
        read_to(&mut caller, COMMENT).await;
        let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata: 1\n\n";
        let _replica = start(&rig, events).await;
        let text = rest(&mut caller).await;
        assert!(text.ends_with("data: 1\n\n\r\n0\r\n\r\n"), "{text}");
        let line = rig.line().await;
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&200.into(), &serde_json::Value::Null)
        );
        assert_eq!(
            (&line["requestBytes"], &line["responseBytes"]),
            (&1.into(), &9.into())
        );
        assert!(line["queueMs"].as_f64().unwrap() >= 1_000.0, "{line}");
        assert_eq!((rig.fleet.counts().busy, rig.fleet.counts().queued), (0, 0));
    });
}

#[test]
fn a_fast_start_keeps_the_models_own_answer() {
    on_a_worker(async {
        let rig = at_zero(SOON).await;
        let answer = rig.call("POST", SCORE, EVENTS, "x");
        let ((status, text), _replica) = futures_util::join!(
            answer,
            start(
                &rig,
                "HTTP/1.1 404 No\r\nx-own: 1\r\ncontent-length: 2\r\n\r\nno"
            )
        );
        assert!(status == 404 && text.contains("x-own: 1"), "{text}");
        assert_eq!(rig.line().await["status"], 404);
    });
}

#[test]
fn what_is_no_event_stream_is_told_in_an_event() {
    on_a_worker(async {
        let rig = at_zero(SOON).await;
        let mut caller = commented(&rig).await;
        let no = "HTTP/1.1 422 No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let _replica = start(&rig, no).await;
        let text = rest(&mut caller).await;
        assert!(text.contains("event: error\ndata: {"), "{text}");
        assert!(text.contains("\"status\":422"), "{text}");
        assert!(!text.ends_with("0\r\n\r\n"), "ended cleanly: {text}");
        let line = rig.line().await;
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&422.into(), &serde_json::Value::Null)
        );
        rig.busy(0).await;
    });
}

#[test]
fn a_start_that_never_comes_is_told_in_an_event() {
    on_a_worker(async {
        let rig = at_zero(Duration::from_millis(1_300)).await;
        let mut caller = commented(&rig).await;
        let text = rest(&mut caller).await;
        assert!(text.contains("event: error\ndata: {"), "{text}");
        assert!(text.contains("\"code\":\"no-replica\""), "{text}");
        assert!(!text.ends_with("0\r\n\r\n"), "ended cleanly: {text}");
        let line = rig.line().await;
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&200.into(), &"no-replica".into())
        );
        // Others get their status.
        let (status, _) = rig.score("x").await;
        assert_eq!(status, 503);
    });
}

#[test]
fn a_caller_that_leaves_while_it_gets_comments_leaves_the_queue() {
    on_a_worker(async {
        let rig = at_zero(Duration::from_secs(60)).await;
        let caller = commented(&rig).await;
        assert_eq!(rig.fleet.counts().queued, 1);
        drop(caller);
        let line = rig.line().await;
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&200.into(), &"caller-gone".into())
        );
        assert_eq!(rig.fleet.counts().queued, 0);
    });
}
