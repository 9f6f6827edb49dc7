//! Exchanges of which another version gets a copy.

use super::*;
use crate::resource::Mirror;

fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

/// What a replica got, head and body, as text.
type Got = Rc<RefCell<Vec<String>>>;

/// A replica that keeps what it got and says `answer` to each request.
async fn says(answer: &'static str) -> (Replica, Got) {
    let got = Got::default();
    let kept = Rc::clone(&got);
    let replica = replica(move |mut conn| {
        let kept = Rc::clone(&kept);
        async move {
            while let Some((head, body)) = conn.request().await {
                let body = String::from_utf8(body).unwrap();
                kept.borrow_mut().push(head + &body);
                conn.say(answer).await;
            }
        }
    })
    .await;
    (replica, got)
}

const YES: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";

/// A rig whose `green`, with one slot and no share, gets a copy of all that
/// `blue` answers.
async fn mirrored(blue: &Replica, green: &Replica, compare_body: bool) -> (Rig, Arc<Fleet>) {
    let metrics = Metrics::new().unwrap();
    let wait = Duration::from_secs(2);
    let settings = FleetSettings::new(name("iris"), name("green"), NonZeroU32::MIN, 10, wait);
    let fleet = Fleet::new(settings, &metrics);
    let id = ReplicaId::new(&name("green"), 1);
    fleet.add(id.clone(), green.address);
    fleet.set_ready(&id, true);
    let rig = Rig::set_up(&[blue], |setup| {
        let mut spec = setup.version().clone();
        spec.name = name("green");
        spec.default = false;
        spec.traffic = Percent::ZERO;
        spec.scoring_timeout = Duration::from_millis(200);
        setup.endpoint.versions.push(spec);
        setup.endpoint.max_request_bytes = 4 << 20;
        setup.endpoint.mirror = Some(Mirror {
            version: name("green"),
            percent: Percent::ALL,
            compare_body,
        });
        setup.others = vec![Arc::clone(&fleet)];
    })
    .await;
    (rig, fleet)
}

/// Waits until that many copies had this result.
async fn counted(rig: &Rig, result: &str, count: u64) {
    let counter = rig
        .worker
        .shared
        .metrics
        .mirror
        .with(&["iris", "green", result]);
    for _ in 0..500 {
        if counter.value() == count {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} of {result}, not {count}", counter.value());
}

fn all_counted(rig: &Rig) -> u64 {
    rig.worker
        .shared
        .metrics
        .mirror
        .total(crate::metrics::Counter::value)
}

#[test]
fn a_copy_is_what_the_answering_replica_got() {
    on_a_worker(async {
        let (blue, first) = says(YES).await;
        let (green, second) = says(YES).await;
        let (rig, fleet) = mirrored(&blue, &green, true).await;
        let fields = "x-request-id: r-1\r\nx-forwarded-for: 9.9.9.9\r\nauthorization: Bearer s\r\n";
        let (status, text) = rig.call("POST", SCORE, fields, "body").await;
        assert!(status == 200 && text.contains("deployment: blue"), "{text}");
        counted(&rig, "same", 1).await;
        // With `auth.mode: none` the credential is for the model.
        let sorted = |got: &Got| {
            let text = got.borrow()[0].clone();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&first), sorted(&second));
        assert!(second.borrow()[0].ends_with("\r\n\r\nbody"));
        assert!(second.borrow()[0].contains("x-request-id: r-1"));
        // A body without a length, and none.
        let chunked = "transfer-encoding: chunked\r\n";
        rig.raw(format!("POST {SCORE} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{chunked}\r\n4\r\nbody\r\n0\r\n\r\n"))
            .await;
        counted(&rig, "same", 2).await;
        assert!(second.borrow()[1].ends_with("\r\n\r\nbody"));
        rig.call("GET", SCORE, "", "").await;
        counted(&rig, "same", 3).await;
        assert_eq!(rig.lines(3).await.len(), 3, "a copy has no line");
        assert_eq!((fleet.counts().busy, fleet.counts().arrived), (0, 0));
        assert_eq!(green.connections.get(), 1, "its connection is used again");
        assert_eq!(all_counted(&rig), 3);
    });
}

#[track_caller]
fn check(answer: &'static str, expected: &'static str) {
    on_a_worker(async move {
        let ((blue, _), (green, _)) = (says(YES).await, says(answer).await);
        let (rig, fleet) = mirrored(&blue, &green, true).await;
        let (status, text) = rig.score("x").await;
        assert!(status == 200 && text.ends_with("yes"), "{text}");
        counted(&rig, expected, 1).await;
        for _ in 0..500 {
            if fleet.counts().free == 1 {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("the slot is not free: {:?}", fleet.counts());
    });
}

#[test]
fn other_answers_are_told_apart() {
    check(
        "HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nyes",
        "status_differs",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        "size_differs",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnay",
        "body_differs",
    );
}

#[test]
fn a_copy_that_fails_is_counted_and_nothing_else() {
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nyes",
        "failed",
    );
    check("\x16\x03 no HTTP\r\n\r\n", "failed");
    check("", "failed");
}

#[test]
fn while_a_copy_hangs_its_version_is_not_asked_again() {
    on_a_worker(async {
        let ((blue, got), (green, copied)) = (says(YES).await, says("").await);
        let (rig, fleet) = mirrored(&blue, &green, false).await;
        for _ in 0..10 {
            assert_eq!(rig.score("x").await.0, 200);
        }
        assert_eq!(got.borrow().len(), 10);
        counted(&rig, "failed", 1).await;
        counted(&rig, "skipped_no_slot", 9).await;
        assert_eq!(copied.borrow().len(), 1);
        assert_eq!(
            fleet.counts().ejected,
            0,
            "a copy says nothing of its replica"
        );
        assert_eq!(rig.score("x").await.0, 200);
        while copied.borrow().len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn pins_faults_and_denials_are_not_copied() {
    on_a_worker(async {
        let ((blue, _), (green, copied)) = (says("").await, says(YES).await);
        let (rig, _) = mirrored(&blue, &green, false).await;
        let pin = "azureml-model-deployment: green\r\n";
        assert_eq!(rig.call("POST", SCORE, pin, "x").await.0, 200);
        let elsewhere = rig
            .call("POST", "/api/v1/service/iris/admin", "", "x")
            .await;
        assert_eq!(elsewhere.0, 404);
        // Its caller leaves before it is answered.
        let caller = rig.send(request("POST", SCORE, "", "x")).await;
        rig.busy(1).await;
        drop(caller);
        assert_eq!(rig.lines(3).await[2]["fault"], "caller-gone");
        assert_eq!(copied.borrow().len(), 1, "the pinned one itself");
        assert_eq!(all_counted(&rig), 0);
    });
}

#[test]
fn what_is_too_large_is_answered_and_not_copied() {
    on_a_worker(async {
        let ((blue, got), (green, copied)) = (says(YES).await, says(YES).await);
        let (rig, _) = mirrored(&blue, &green, false).await;
        let body = "x".repeat((1 << 20) + 1);
        assert_eq!(rig.score(&body).await.0, 200);
        counted(&rig, "skipped_body_size", 1).await;
        let head = format!("POST {SCORE} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n");
        let chunk = format!(
            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        rig.raw(head + &chunk).await;
        counted(&rig, "skipped_body_size", 2).await;
        assert_eq!((got.borrow().len(), copied.borrow().len()), (2, 0));
        assert_eq!(rig.score(&body[1..]).await.0, 200);
        counted(&rig, "same", 1).await;
        assert_eq!(copied.borrow().len(), 1);
    });
}

#[test]
fn a_copy_goes_on_when_the_caller_of_an_answer_that_began_leaves() {
    on_a_worker(async {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        let ((blue, _), (green, _)) = (says(half).await, says(YES).await);
        let (rig, _) = mirrored(&blue, &green, false).await;
        let mut caller = rig.send(request("POST", SCORE, "", "x")).await;
        let (mut seen, mut part) = (Vec::new(), [0; 1000]);
        while !seen.ends_with(b"half") {
            let n = caller.read(&mut part).await.unwrap();
            seen.extend_from_slice(&part[..n]);
        }
        drop(caller);
        counted(&rig, "uncompared", 1).await;
    });
}
