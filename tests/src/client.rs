//! A client of HTTP/1.1 on a raw socket.
//!
//! Sends exactly the bytes it is given and reads answers as RFC 9112 says; it
//! never retries, never reconnects. For TLS and HTTP/2 see `tool`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a read waits; longer than every limit of the gateway in a test.
const READ: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

/// An answer, whole.
#[derive(Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// Body without its framing.
    pub body: Vec<u8>,
    /// Trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The fault's code, where the gateway answered; else empty.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()
            .get("code")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    ///
    /// Where nobody listens.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Connects where somebody listens.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ))?;
        stream.set_write_timeout(Some(READ))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// What the socket says: the other side may have closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends a request with a length and reads its answer.
    ///
    /// # Errors
    ///
    /// What the socket says, or an answer that ended too early.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.send(&request(method, target, headers, body))?;
        if method == "HEAD" {
            self.head()
        } else {
            self.answer()
        }
    }

    /// Reads a status line and headers, past no interim answer.
    ///
    /// # Errors
    ///
    /// What the socket says, or an end before the head's.
    pub fn head(&mut self) -> io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in `{line}`")))?;
        Ok(Answer {
            status,
            headers: self.fields()?,
            ..Answer::default()
        })
    }

    /// Reads a whole answer, interim ones passed over.
    ///
    /// # Errors
    ///
    /// What the socket says, or an answer that ended too early.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        while (100..200).contains(&answer.status) && answer.status != 101 {
            answer = self.head()?;
        }
        self.body(&mut answer)?;
        Ok(answer)
    }

    /// Reads the body that belongs to a head.
    ///
    /// # Errors
    ///
    /// What the socket says, or an end before the body's.
    pub fn body(&mut self, answer: &mut Answer) -> io::Result<()> {
        if matches!(answer.status, 204 | 304) {
            return Ok(());
        }
        if answer.header("transfer-encoding").is_some() {
            while let Some(piece) = self.chunk()? {
                answer.body.extend_from_slice(&piece);
            }
            answer.trailers = self.fields()?;
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            answer.body = vec![0; length];
            self.reader.read_exact(&mut answer.body)?;
        } else {
            self.reader.read_to_end(&mut answer.body)?;
        }
        Ok(())
    }

    /// Reads a chunk; `None` for the last one, whose trailers are still to come.
    ///
    /// # Errors
    ///
    /// What the socket says, or an end within the chunk.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        if size == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; size + 2];
        self.reader.read_exact(&mut piece)?;
        piece.truncate(size);
        Ok(Some(piece))
    }

    /// Reads to the end of the connection; how it ended does not matter.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.reader.read_to_end(&mut rest);
        rest
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A request's bytes, with a length and a host.
#[must_use]
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
