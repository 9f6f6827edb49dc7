//! The listeners against raw sockets: a bad byte, a slow caller, a full house.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::resource::{AccessLog, Admin, CertificateFiles};

mod http2;
mod limits;
mod secure;
mod upgrades;

/// Nothing in these tests takes this long unless it hangs.
const SOON: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers by the path.
#[derive(Clone)]
struct Script {
    /// `begun PATH` and `ended PATH` (also where the exchange is dropped).
    told: UnboundedSender<String>,
}

struct Told(UnboundedSender<String>, String);

impl Drop for Told {
    fn drop(&mut self) {
        drop(self.0.send(format!("ended {}", self.1)));
    }
}

/// A body without end.
struct Endless(Told);

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let _held = &self.0;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 65_536])))))
    }
}

impl Answer for Script {
    type Body = UnsyncBoxBody<Bytes, BoxError>;

    fn answer(
        &self,
        connection: Rc<Connection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static {
        let told = self.told.clone();
        async move {
            let path = request.uri().path().to_owned();
            drop(told.send(format!("begun {path}")));
            let told = Told(told, path.clone());
            let text = |text: String| Full::from(text).map_err(|never| match never {});
            match path.as_str() {
                "/parts" => Response::new(limits::parts(request.uri().query()).boxed_unsync()),
                "/endless" => Response::new(Endless(told).boxed_unsync()),
                "/hang" => std::future::pending().await,
                "/queue" => {
                    let _waiting = crate::exchange::Waiting::begin(&connection);
                    std::future::pending().await
                }
                "/early" => Response::builder()
                    .status(413)
                    .body(text("too large".to_owned()).boxed_unsync())
                    .unwrap(),
                "/slow" => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Response::new(text("slow".to_owned()).boxed_unsync())
                }
                "/switch" => upgrades::switch(request, told, text(String::new())).await,
                "/facts" => {
                    let tls = connection.tls.as_ref();
                    let facts = tls.map(|tls| (tls.version, &tls.shown, &tls.elsewhere));
                    let facts = format!("{} {facts:?}", connection.http2);
                    Response::new(text(facts).boxed_unsync())
                }
                _ => {
                    let version = format!("{:?}", request.version());
                    match request.into_body().collect().await {
                        Ok(body) => {
                            let body = body.to_bytes().len();
                            Response::new(text(format!("{version} {body}")).boxed_unsync())
                        }
                        Err(error) => {
                            let kind = std::error::Error::source(&error)
                                .and_then(|cause| cause.downcast_ref::<std::io::Error>())
                                .map(std::io::Error::kind);
                            Response::builder()
                                .status(400)
                                .body(text(format!("{kind:?}")).boxed_unsync())
                                .unwrap()
                        }
                    }
                }
            }
        }
    }
}

/// Listeners under test.
struct Fixture {
    listening: Arc<Listening>,
    told: UnboundedReceiver<String>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    events: Arc<Events>,
    state: TempDir,
}

fn limits() -> Limits {
    let long = Duration::from_secs(60);
    Limits {
        connections: 100,
        tls_handshake_timeout: long,
        head_timeout: long,
        head_bytes: 16 << 10,
        head_fields: 20,
        target_bytes: 8 << 10,
        body_idle_timeout: long,
        idle_timeout: long,
        streams_per_connection: 4,
        upstream_idle: long,
        memory: None,
        drain: long,
    }
}

fn config(tls: Vec<ListenerTls>, limits: &Limits) -> GatewayConfig {
    let listeners = tls.into_iter().enumerate().map(|(place, tls)| Listener {
        name: format!("l{place}"),
        address: "127.0.0.1:0".parse().unwrap(),
        tls,
    });
    GatewayConfig {
        threads: NonZeroUsize::new(1),
        listeners: listeners.collect(),
        admin: Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            certificate: None,
            allow_local: false,
        },
        limits: limits.clone(),
        trusted_proxies: Vec::new(),
        access_log: AccessLog::None,
        revisions: 100,
    }
}

fn try_start(config: &GatewayConfig, state: TempDir) -> Result<Fixture, ListenError> {
    let metrics = Metrics::new().unwrap();
    let events = Arc::<Events>::default();
    let memory = Arc::new(Memory::new(config.limits.memory));
    let joints = Joints {
        limits: Arc::new(config.limits.clone()),
        metrics: Arc::clone(&metrics),
        memory: Arc::clone(&memory),
        tasks: Tasks::new(),
        control: Tasks::new(),
        events: Arc::clone(&events),
    };
    let (sender, told) = unbounded_channel();
    let script = Script { told: sender };
    let listening = start_with(
        config,
        Inherited::default(),
        state.path(),
        joints,
        move || script.clone(),
    )?;
    Ok(Fixture {
        listening: Arc::new(listening),
        told,
        metrics,
        memory,
        events,
        state,
    })
}

fn start(tls: ListenerTls, limits: &Limits) -> Fixture {
    try_start(&config(vec![tls], limits), tempfile::tempdir().unwrap()).unwrap()
}

fn plain(limits: &Limits) -> Fixture {
    start(ListenerTls::None, limits)
}

impl Fixture {
    fn address(&self) -> SocketAddr {
        self.listening.addresses()[0].address
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    async fn wait_for(&mut self, line: &str) {
        soon(async { while self.told.recv().await.expect("the script lives") != line {} }).await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("in time")
}

/// Everything until the other side closes (or resets).
async fn read_to_end(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    drop(soon(from.read_to_end(&mut all)).await);
    String::from_utf8_lossy(&all).into_owned()
}

/// One whole answer with a `content-length` of a kept connection.
async fn read_answer(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = String::new();
    let mut byte = [0];
    soon(async {
        while !all.ends_with("\r\n\r\n") {
            from.read_exact(&mut byte).await.unwrap();
            all.push(char::from(byte[0]));
        }
        let length = all
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.unwrap();
        all.push_str(&String::from_utf8(body).unwrap());
    })
    .await;
    all
}

async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &str) {
    to.write_all(bytes.as_bytes()).await.unwrap();
    to.flush().await.unwrap();
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_request_after_request() {
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    for _ in 0..3 {
        send(&mut caller, GET).await;
        let answer = read_answer(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("HTTP/1.1 0"), "{answer}");
    }
    let chunked =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    send(&mut caller, &format!("{chunked}{GET}{chunked}")).await;
    for expected in ["HTTP/1.1 5", "HTTP/1.1 0", "HTTP/1.1 5"] {
        let answer = read_answer(&mut caller).await;
        assert!(answer.ends_with(expected), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_http2_is_ignored_and_the_connection_kept() {
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    for request in [upgrade, GET, upgrade] {
        send(&mut caller, request).await;
        let answer = read_answer(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// Sends `bytes` whole, then byte by byte on another connection: both get a
/// first line that begins with `expected`, and both are closed.
async fn refused(bytes: &str, expected: &str) {
    let mut fixture = plain(&limits());
    for piecewise in [false, true] {
        let mut caller = fixture.connect().await;
        caller.set_nodelay(true).unwrap();
        let step = if piecewise { 1 } else { bytes.len() };
        for piece in bytes.as_bytes().chunks(step) {
            if caller.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let answer = read_to_end(&mut caller).await;
        assert!(
            answer.starts_with(expected),
            "{bytes:?} piecewise {piecewise}: {answer:?}"
        );
    }
    fixture.told.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    const BAD: &str = "HTTP/1.1 400 Bad Request\r\n";
    let lines = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "A: b\n",
        "A: b\rc\r\n",
        "A: b\0c\r\n",
        "A: b\r\n c\r\n",
        "A : b\r\n",
    ];
    for lines in lines {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\nhello");
        refused(&bytes, BAD).await;
    }
    refused("GET / HTTP/1.1\nHost: a\r\n\r\n", BAD).await;
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", BAD).await;
    refused(&format!("{}{GET}", "\r\n".repeat(3)), BAD).await;
    refused(&format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(5000)), BAD).await;
    refused(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BAD,
    )
    .await;
    // A violation behind a good request spoils only what follows it.
    let good = "HTTP/1.1 200 OK\r\n";
    refused(&format!("{GET}\nGET /x HTTP/1.1\r\n\r\n"), good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_has_one_form() {
    let bodies = [
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;a=\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        "5\r\nhello\r\nx\r\n",
    ];
    for body in bodies {
        let bytes =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        refused(&bytes, "HTTP/1.1 400 Bad Request\r\n").await;
    }
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello";
    send(&mut caller, bytes).await;
    let answer = read_to_end(&mut caller).await;
    assert!(answer.ends_with("Some(InvalidData)"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_over_its_limits_is_431() {
    const LARGE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    refused(
        &format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(17_000)),
        LARGE,
    )
    .await;
    refused(
        &format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(21)),
        LARGE,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_closed_after_a_request_that_may_have_had_a_body() {
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    let bytes = "POST / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    send(&mut caller, bytes).await;
    let answer = read_to_end(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("HTTP/1.0 0"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_a_caller_that_is_still_sending() {
    let fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    send(
        &mut caller,
        "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n",
    )
    .await;
    let (mut reads, mut writes) = caller.split();
    let sending = async {
        let some = vec![b'x'; 300_000];
        drop(writes.write_all(&some).await);
    };
    let (answer, ()) = tokio::join!(read_to_end(&mut reads), sending);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.ends_with("too large"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_ends_its_exchange() {
    let mut fixture = plain(&limits());
    let mut caller = fixture.connect().await;
    send(&mut caller, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    fixture.wait_for("begun /hang").await;
    drop(caller);
    fixture.wait_for("ended /hang").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_an_unread_body_that_leaves_the_queue_is_gone_at_once() {
    let mut fixture = plain(&limits());
    // More than hyper reads ahead, and less than the socket holds: past that
    // the system keeps the caller's end to itself until somebody reads.
    for sent in [100, 10_000, 50_000] {
        let mut caller = fixture.connect().await;
        let head = "POST /queue HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
        send(&mut caller, &format!("{head}{}", "x".repeat(sent))).await;
        fixture.wait_for("begun /queue").await;
        drop(caller);
        fixture.wait_for("ended /queue").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_that_cannot_start_is_told_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let missing = ListenerTls::Certificates {
        certificates: vec![CertificateFiles {
            cert_file: "/nowhere/tls.crt".into(),
            key_file: "/nowhere/tls.key".into(),
        }],
        policy: TlsPolicy::Modern,
    };
    let mut config = config(vec![ListenerTls::None, missing], &limits());
    config.listeners[0].address = taken.local_addr().unwrap();
    let Err(error) = try_start(&config, tempfile::tempdir().unwrap()) else {
        panic!("it started");
    };
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(
        error.problems[0].starts_with("listener l0: 127.0.0.1:"),
        "{error}"
    );
    assert!(error.problems[1].contains("/nowhere/tls.crt"), "{error}");
}
