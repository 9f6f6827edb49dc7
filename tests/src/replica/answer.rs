//! What the test replica answers, by the query of the request.
//!
//! Bad answers are made here on purpose; none of them is an accident of the
//! socket. Called by `replica` for each connection.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::request::{Digest, Request};
use super::{Busy, Shared};

/// How long `hang` and the draining after `early` last at most.
const HANG: Duration = Duration::from_secs(120);

/// Serves one connection to its end.
///
/// # Errors
///
/// What the socket says.
pub(super) fn connection(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = Request::read(&mut reader)? {
        if request.path == "/stats" {
            stats(stream, shared)?;
            continue;
        }
        request.also(&shared.manner.lock().unwrap());
        shared.served.fetch_add(1, Ordering::SeqCst);
        if !exchange(stream, &mut reader, &request, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn stats(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let body = format!(
        r#"{{"greatest":{},"served":{},"busy":{},"pid":{}}}"#,
        shared.greatest.load(Ordering::SeqCst),
        shared.served.load(Ordering::SeqCst),
        shared.busy.load(Ordering::SeqCst),
        std::process::id()
    );
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One request and its answer; whether the connection goes on.
fn exchange(
    mut stream: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    request: &Request,
    shared: &Shared,
) -> io::Result<bool> {
    if let Some(status) = request.number("early") {
        return early(stream, reader, status, shared);
    }
    if request.asks("vanish") {
        return Ok(false);
    }
    if request.asks("garbage") {
        stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")?;
        return Ok(false);
    }
    if request.asks("hang") {
        let _busy = Busy::enter(shared);
        hang(stream, shared);
        return Ok(false);
    }
    let mut got = Got::default();
    let keep = request.asks("echo");
    got.trailers = request.body(reader, |piece| {
        shared
            .body_bytes
            .fetch_add(piece.len() as u64, Ordering::SeqCst);
        got.bytes += piece.len() as u64;
        got.digest.update(piece);
        if keep {
            got.body.extend_from_slice(piece);
        }
    })?;
    let mut busy = Busy::enter(shared);
    if let Some(ms) = request.number("sleep") {
        // Computes on, whether the caller is there or not.
        std::thread::sleep(Duration::from_millis(ms));
    }
    let mut answer = Answer {
        stream,
        request,
        shared,
        busy: &mut busy,
    };
    answer.write(&got)?;
    if request.asks("close") || request.asks("short") || request.asks("cut") {
        stream.shutdown(Shutdown::Both)?;
        return Ok(false);
    }
    Ok(true)
}

/// Answers before the body came, then reads on for a while as a server does
/// that wants its answer to arrive.
fn early(
    mut stream: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    status: u64,
    shared: &Shared,
) -> io::Result<bool> {
    let body = r#"{"early":true}"#;
    write!(
        stream,
        "HTTP/1.1 {status} Early\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut rest = [0; 16 * 1024];
    while let Ok(read) = reader.read(&mut rest) {
        if read == 0 {
            break;
        }
        shared.body_bytes.fetch_add(read as u64, Ordering::SeqCst);
    }
    Ok(false)
}

/// Until the other side closes, the replica ends, or the limit.
fn hang(stream: &TcpStream, shared: &Shared) {
    let begun = Instant::now();
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let mut rest = [0; 1024];
    while begun.elapsed() < HANG && !shared.stopped.load(Ordering::SeqCst) {
        match (&mut &*stream).read(&mut rest) {
            Ok(0) => return,
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return;
            }
            _ => {}
        }
    }
}

/// What came as the body.
#[derive(Default)]
struct Got {
    bytes: u64,
    digest: Digest,
    body: Vec<u8>,
    trailers: Vec<String>,
}

struct Answer<'a, 'b> {
    stream: &'a TcpStream,
    request: &'a Request,
    shared: &'a Shared,
    busy: &'a mut Busy<'b>,
}

impl Answer<'_, '_> {
    fn write(&mut self, got: &Got) -> io::Result<()> {
        let request = self.request;
        if let Some(events) = request.number("sse") {
            return self.events(events);
        }
        if request.asks("echo") || request.asks("trailers") {
            return self.chunked(got);
        }
        if request.asks("short") {
            self.head("text/plain", Some(100))?;
            self.busy.leave();
            return self.stream.write_all(b"too short");
        }
        if request.asks("cut") {
            self.head("text/plain", None)?;
            self.busy.leave();
            return self.stream.write_all(b"64\r\ncut within a chunk");
        }
        if let Some(bytes) = request.number("bytes") {
            return self.bytes(bytes);
        }
        let body = if request.asks("head") {
            request.head.clone()
        } else {
            format!(
                r#"{{"replica":"{}","pid":{},"bytes":{},"digest":"{:016x}","trailers":{},"upMs":{}}}"#,
                self.shared.name,
                std::process::id(),
                got.bytes,
                got.digest.0,
                got.trailers.len(),
                self.shared
                    .begun
                    .map_or(0, |begun| begun.elapsed().as_millis())
            )
        };
        let kind = if request.asks("head") {
            "text/plain"
        } else {
            "application/json"
        };
        self.head(kind, Some(body.len() as u64))?;
        self.busy.leave();
        self.stream.write_all(body.as_bytes())
    }

    fn head(&mut self, content_type: &str, length: Option<u64>) -> io::Result<()> {
        let status = self.request.number("status").unwrap_or(200);
        let mut head = format!("HTTP/1.1 {status} Test\r\ncontent-type: {content_type}\r\n");
        head.push_str(&format!("x-replica: {}\r\n", self.shared.name));
        if let Some(seconds) = self.request.number("retry") {
            head.push_str(&format!("retry-after: {seconds}\r\n"));
        }
        match length {
            Some(length) => head.push_str(&format!("content-length: {length}\r\n")),
            None => head.push_str("transfer-encoding: chunked\r\n"),
        }
        if self.request.asks("trailers") {
            head.push_str("trailer: x-checksum\r\n");
        }
        if self.request.asks("close") {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        self.stream.write_all(head.as_bytes())
    }

    fn chunk(&mut self, data: &[u8]) -> io::Result<()> {
        let mut framed = format!("{:x}\r\n", data.len()).into_bytes();
        framed.extend_from_slice(data);
        framed.extend_from_slice(b"\r\n");
        self.stream.write_all(&framed)
    }

    fn end(&mut self, trailers: &[String]) -> io::Result<()> {
        self.busy.leave();
        let trailers: String = trailers.iter().map(|line| format!("{line}\r\n")).collect();
        self.stream
            .write_all(format!("0\r\n{trailers}\r\n").as_bytes())
    }

    fn chunked(&mut self, got: &Got) -> io::Result<()> {
        self.head("application/octet-stream", None)?;
        for piece in got.body.chunks(8 * 1024) {
            self.chunk(piece)?;
        }
        let mut trailers = got.trailers.clone();
        if self.request.asks("trailers") {
            trailers.push(format!("x-checksum: {:016x}", got.digest.0));
        }
        self.end(&trailers)
    }

    fn bytes(&mut self, mut bytes: u64) -> io::Result<()> {
        self.head("application/octet-stream", Some(bytes))?;
        let block = [b'x'; 16 * 1024];
        loop {
            let most = usize::try_from(bytes)
                .unwrap_or(block.len())
                .min(block.len());
            bytes -= most as u64;
            if bytes == 0 {
                self.busy.leave();
            }
            self.stream.write_all(&block[..most])?;
            if bytes == 0 {
                return Ok(());
            }
        }
    }

    fn events(&mut self, events: u64) -> io::Result<()> {
        let every = Duration::from_millis(self.request.number("every").unwrap_or(0));
        let filler = usize::try_from(self.request.number("fill").unwrap_or(0)).unwrap_or(0);
        let filler = "x".repeat(filler);
        self.head("text/event-stream", None)?;
        for event in 0..events {
            self.chunk(format!("data: {event} {filler}\n\n").as_bytes())?;
            std::thread::sleep(every);
        }
        self.end(&[])
    }
}
