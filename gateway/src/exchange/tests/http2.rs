//! Exchanges of HTTP/2 callers.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::SendRequest;
use tokio::sync::mpsc;

use super::*;

type Part = Result<Frame<Bytes>, std::convert::Infallible>;
type Parts = StreamBody<std::pin::Pin<Box<dyn Stream<Item = Part>>>>;
type Sender = SendRequest<Parts>;

async fn client(rig: &Rig) -> Sender {
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let handshake = hyper::client::conn::http2::Builder::new(OnWorker);
    let (sender, connection) = handshake.handshake(TokioIo::new(stream)).await.unwrap();
    Tasks::new().spawn_local(connection);
    sender
}

/// A request whose body is what is sent on the channel.
fn score() -> (mpsc::UnboundedSender<Part>, Request<Parts>) {
    let (parts, mut body) = mpsc::unbounded_channel();
    let body: std::pin::Pin<Box<dyn Stream<Item = Part>>> =
        Box::pin(stream::poll_fn(move |cx| body.poll_recv(cx)));
    let request = Request::post(format!("http://gate{SCORE}"))
        .header("trailer", "x-in")
        .body(StreamBody::new(body))
        .unwrap();
    (parts, request)
}

fn data(text: &'static str) -> Part {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn rig(replica: &Replica) -> Rig {
    Rig::set_up(&[replica], |setup| setup.http2 = true).await
}

#[test]
fn a_stream_is_an_exchange_with_trailers_both_ways() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            let (head, body) = conn.request().await.unwrap();
            assert_eq!(field(&head, "host"), Some("gate"));
            assert!(head.starts_with("POST /score HTTP/1.1\r\n"), "{head}");
            assert!(body.ends_with(b"2\r\nhi\r\n0\r\nx-in: 3\r\n\r\n"));
            conn.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
                .await;
            conn.say("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n").await;
            conn.closed().await;
        })
        .await;
        let rig = rig(&replica).await;
        let (parts, request) = score();
        parts.send(data("hi")).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-in", "3".parse().unwrap());
        parts.send(Ok(Frame::trailers(trailers))).unwrap();
        drop(parts);
        let response = client(&rig).await.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["azureml-model-deployment"], "blue");
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "7");
        assert_eq!(body.to_bytes(), "ok");
        assert_eq!(rig.line().await["fault"], serde_json::Value::Null);
        rig.busy(0).await;
    });
}

#[test]
fn a_stream_that_is_reset_is_a_caller_who_left() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.request().await;
            sleep(Duration::from_millis(100)).await;
            conn.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            conn.closed().await;
        })
        .await;
        let rig = rig(&replica).await;
        let mut sender = client(&rig).await;
        let (parts, request) = score();
        parts.send(data("hi")).unwrap();
        drop(parts);
        let answer = sender.send_request(request);
        assert!(timeout(Duration::from_millis(50), answer).await.is_err());
        let line = rig.line().await;
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&499.into(), &"caller-gone".into())
        );
        assert_eq!(rig.fleet.counts().busy, 1, "the replica still computes");
        rig.busy(0).await;
    });
}

#[test]
fn a_cut_answer_resets_its_stream() {
    on_a_worker(async {
        let replica = replica(|mut conn| async move {
            conn.request().await;
            conn.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                .await;
            sleep(Duration::from_millis(30)).await;
        })
        .await;
        let rig = rig(&replica).await;
        let (parts, request) = score();
        drop(parts);
        let response = client(&rig).await.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(rig.line().await["fault"], "replica-failed");
    });
}

#[test]
fn a_refusal_leaves_the_connection_open() {
    on_a_worker(async {
        let replica = echo().await;
        let rig = rig(&replica).await;
        let mut sender = client(&rig).await;
        for _ in 0..2 {
            let (_parts, mut request) = score();
            *request.uri_mut() = "http://gate/nowhere".parse().unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 404);
            assert!(!response.headers().contains_key("connection"));
        }
    });
}

#[test]
fn a_host_that_differs_from_the_authority_is_malformed() {
    on_a_worker(async {
        let rig = rig(&echo().await).await;
        let (parts, mut request) = score();
        drop(parts);
        request
            .headers_mut()
            .insert("host", "other".parse().unwrap());
        let response = client(&rig).await.send_request(request).await.unwrap();
        assert_eq!(response.status(), 400);
    });
}
