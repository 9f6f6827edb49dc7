//! A request as the test replica reads it from the wire.
//!
//! Reads what RFC 9112 says and no more: enough to see what a gateway sent.
//! Used by `answer`.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

/// FNV-1a over a body, so that neither side needs to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Goes on with more bytes, eight at a time where there are eight.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The head of a request.
#[derive(Debug)]
pub struct Request {
    /// The head as it came, without the empty line.
    pub head: String,
    /// Method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    query: String,
}

impl Request {
    /// Reads a head; `None` where the connection ended before one.
    ///
    /// # Errors
    ///
    /// What the socket says, or a head that is none.
    pub fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Self>> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        Ok(Some(Self {
            method,
            path,
            query,
            head,
        }))
    }

    /// Puts more before the words of the query.
    pub fn also(&mut self, words: &str) {
        if !words.is_empty() {
            self.query = format!("{words}&{}", self.query);
        }
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether the query has the word.
    #[must_use]
    pub fn asks(&self, word: &str) -> bool {
        self.query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(word))
    }

    /// The number of `word=NUMBER` in the query.
    #[must_use]
    pub fn number(&self, word: &str) -> Option<u64> {
        self.query
            .split('&')
            .find_map(|pair| pair.strip_prefix(word)?.strip_prefix('=')?.parse().ok())
    }

    /// Reads the body piece by piece; answers its trailers.
    ///
    /// # Errors
    ///
    /// What the socket says, or an end before the body's.
    pub fn body(
        &self,
        reader: &mut BufReader<&TcpStream>,
        mut piece: impl FnMut(&[u8]),
    ) -> io::Result<Vec<String>> {
        if self.header("transfer-encoding").is_none() {
            let length = self
                .header("content-length")
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            pieces(reader, length, &mut piece)?;
            return Ok(Vec::new());
        }
        loop {
            let line = line(reader)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            pieces(reader, size, &mut piece)?;
            self::line(reader)?;
        }
        let mut trailers = Vec::new();
        loop {
            let line = line(reader)?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(line);
        }
    }
}

fn line(reader: &mut BufReader<&TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn pieces(
    reader: &mut BufReader<&TcpStream>,
    mut length: u64,
    piece: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    while length > 0 {
        let most = usize::try_from(length)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        let read = reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece(&buffer[..read]);
        length -= read as u64;
    }
    Ok(())
}
