//! HTTP/2 by hand-made frames: floods, windows, streams, the farewell.

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET path` on a stream, ended.
fn get(stream: u32, path: &str) -> Vec<u8> {
    // :method GET, :scheme http, :authority a, :path as a literal.
    let mut block = vec![0x82, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    frame(HEADERS, 0x5, stream, &block)
}

struct Caller(TcpStream);

struct Seen {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Caller {
    async fn connect(fixture: &Fixture, settings: &[u8]) -> Self {
        let mut socket = fixture.connect().await;
        socket.write_all(PREFACE).await.unwrap();
        let settings = frame(SETTINGS, 0, 0, settings);
        socket.write_all(&settings).await.unwrap();
        Self(socket)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame; none at the end.
    async fn next(&mut self) -> Option<Seen> {
        soon(async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Seen {
                kind: head[3],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            })
        })
        .await
    }

    /// Reads until a frame of this kind.
    async fn until(&mut self, kind: u8) -> Seen {
        loop {
            let seen = self.next().await.expect("a frame");
            if seen.kind == kind {
                return seen;
            }
        }
    }
}

fn code(seen: &Seen, at: usize) -> u32 {
    u32::from_be_bytes(seen.payload[at..at + 4].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_listener_knows_http2_by_its_preface() {
    let fixture = plain(&limits());
    let mut caller = Caller::connect(&fixture, b"").await;
    caller.send(&get(1, "/facts")).await;
    let seen = caller.until(DATA).await;
    assert_eq!(seen.payload, b"true None");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_with_goaway() {
    let fixture = plain(&limits());
    for kind in [SETTINGS, PING, 2] {
        let (stream, payload): (u32, &[u8]) = match kind {
            SETTINGS => (0, b""),
            PING => (0, b"12345678"),
            _ => (1, &[0, 0, 0, 0, 1]),
        };
        let mut caller = Caller::connect(&fixture, b"").await;
        let flood = frame(kind, 0, stream, payload).repeat(1100);
        caller.send(&flood).await;
        let goaway = caller.until(GOAWAY).await;
        assert_eq!(code(&goaway, 4), CALM, "kind {kind}");
        while caller.next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_nothing_is_reset_and_others_go_on() {
    let mut fixture = plain(&Limits {
        body_idle_timeout: Duration::from_secs(1),
        ..limits()
    });
    // INITIAL_WINDOW_SIZE (4) of 5: room for `slow`, then none.
    let mut caller = Caller::connect(&fixture, &[0, 4, 0, 0, 0, 5]).await;
    caller.send(&get(1, "/endless")).await;
    caller.send(&get(3, "/slow")).await;
    fixture.wait_for("begun /endless").await;
    let mut slow = Vec::new();
    let reset = loop {
        let seen = caller.next().await.expect("a frame");
        match (seen.kind, seen.stream) {
            (DATA, 3) => slow.extend(seen.payload),
            (RST_STREAM, 1) => break seen,
            (PING, _) => caller.send(&frame(PING, 1, 0, &seen.payload)).await,
            _ => {}
        }
    };
    assert_eq!(code(&reset, 0), 8, "CANCEL");
    fixture.wait_for("ended /endless").await;
    while slow.len() < 4 {
        let seen = caller.until(DATA).await;
        slow.extend(seen.payload);
    }
    assert_eq!(slow, b"slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_too_many_is_refused() {
    let mut fixture = plain(&limits());
    let mut caller = Caller::connect(&fixture, b"").await;
    for stream in [1, 3, 5, 7] {
        caller.send(&get(stream, "/hang")).await;
        fixture.wait_for("begun /hang").await;
    }
    caller.send(&get(9, "/hang")).await;
    let reset = caller.until(RST_STREAM).await;
    assert_eq!((reset.stream, code(&reset, 0)), (9, 7), "REFUSED_STREAM");
    drop(caller);
    for _ in 0..4 {
        fixture.wait_for("ended /hang").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_stays_open_is_closed() {
    let fixture = plain(&Limits {
        head_timeout: Duration::from_millis(200),
        ..limits()
    });
    let block = frame(HEADERS, 0x1, 1, &[0x82]);
    for part in [&get(1, "/")[..12], &block] {
        let mut caller = Caller::connect(&fixture, b"").await;
        caller.send(part).await;
        while caller.next().await.is_some() {}
    }
    let mut caller = fixture.connect().await;
    caller.write_all(&PREFACE[..10]).await.unwrap();
    assert_eq!(read_to_end(&mut caller).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_gets_a_farewell() {
    let fixture = plain(&Limits {
        idle_timeout: Duration::from_millis(200),
        ..limits()
    });
    let mut caller = Caller::connect(&fixture, b"").await;
    caller.send(&get(1, "/")).await;
    let goaway = caller.until(GOAWAY).await;
    assert_eq!(code(&goaway, 4), 0, "NO_ERROR");
    while caller.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_goaway_and_lets_streams_end() {
    let mut fixture = plain(&limits());
    let mut caller = Caller::connect(&fixture, b"").await;
    caller.send(&get(1, "/slow")).await;
    fixture.wait_for("begun /slow").await;
    let listening = Arc::clone(&fixture.listening);
    let reading = async {
        let mut kinds = Vec::new();
        let mut text = Vec::new();
        while let Some(seen) = caller.next().await {
            kinds.push(seen.kind);
            if seen.kind == PING {
                caller.send(&frame(PING, 1, 0, &seen.payload)).await;
            }
            if seen.kind == DATA {
                text.extend(seen.payload);
            }
        }
        (kinds, text)
    };
    let ((), (kinds, text)) = tokio::join!(soon(listening.drain()), reading);
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(text, b"slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_over_its_limit_is_431() {
    let fixture = plain(&limits());
    let mut caller = Caller::connect(&fixture, b"").await;
    // One literal of 100 bytes into the table, then 400 references to it.
    let mut block = vec![0x82, 0x86, 0x84, 0x01, 1, b'a', 0x40, 1, b'x', 100];
    block.extend([b'y'; 100]);
    block.extend([0xbe; 400]);
    caller.send(&frame(HEADERS, 0x5, 1, &block)).await;
    let answer = caller.until(HEADERS).await;
    // `:status`, then the Huffman code of "431".
    assert_eq!(answer.payload, [0x48, 0x83, 0x69, 0x90, 0xff]);
}
