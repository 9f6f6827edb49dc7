//! Follows the message framing of HTTP/1 on the bytes beneath hyper, just
//! enough to refuse what its parser lets pass and parsed headers cannot show.
//!
//! Two readings of one request are how requests are smuggled (DESIGN §7, rule
//! 1), so whatever could be read in two ways is a [`Violation`]. Never changes
//! a byte, never keeps one but the start of a line that a read cut in two, and
//! knows no clock. Called by `guard` for every read of an HTTP/1 connection;
//! a head costs one pass for its line ends, a body one comparison a read.

/// Empty lines before a request line. RFC 9112 §2.2 asks to take at least one;
/// hyper takes any number, on which a caller could sit for ever.
const EMPTY_LINES_MAX: u8 = 2;
/// Bytes of a method. The longest registered one has 17.
const METHOD_BYTES_MAX: usize = 32;
/// Bytes of a line that tells a length; longer ones only hide something.
const FRAMING_LINE_BYTES_MAX: usize = 256;
/// Digits of a chunk size: what 64 bits hold.
const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of all chunk extensions of one body (hyper's limit too).
const CHUNK_EXTENSION_BYTES_MAX: usize = 16 << 10;
/// Trailer fields of one body.
const TRAILER_FIELDS_MAX: usize = 64;
/// Bytes of all trailer fields of one body.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// Bytes that are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    /// How many bytes of the read may still be passed on; they end neither a
    /// head nor a body.
    pub(super) at: usize,
    /// Whether the bytes stood in or before a head (its request has not been
    /// seen by hyper), not in a body.
    pub(super) in_head: bool,
    /// What is wrong, for the log.
    pub(super) why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between messages; `cr` where a CR waits for its LF.
    Lead {
        empty_lines: u8,
        cr: bool,
    },
    /// In a head, in its first line or a later one.
    Head {
        first: bool,
    },
    /// In a body of known length.
    Fixed(u64),
    ChunkSize {
        size: u64,
        digits: u8,
    },
    ChunkExtension {
        size: u64,
    },
    ChunkSizeLf {
        size: u64,
    },
    ChunkData(u64),
    ChunkDataCr,
    ChunkDataLf,
    Trailers,
    /// After a head that asks for another protocol: what follows may be no HTTP.
    Held,
}

/// Where a connection is in its messages.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// The start of the line that the last read cut, at most
    /// [`FRAMING_LINE_BYTES_MAX`] bytes.
    line: Vec<u8>,
    /// Bytes of that line so far, and its last one.
    line_bytes: usize,
    line_last: u8,
    /// What the head said of the body's length.
    length: Option<u64>,
    chunked: bool,
    /// Whether the head asks for another protocol.
    upgrade: bool,
    extension_bytes: usize,
    trailer_fields: usize,
    trailer_bytes: usize,
}

type Step = Result<usize, (usize, &'static str)>;

impl Default for Framing {
    fn default() -> Self {
        Self {
            state: State::Lead {
                empty_lines: 0,
                cr: false,
            },
            line: Vec::new(),
            line_bytes: 0,
            line_last: 0,
            length: None,
            chunked: false,
            upgrade: false,
            extension_bytes: 0,
            trailer_fields: 0,
            trailer_bytes: 0,
        }
    }
}

impl Framing {
    /// Whether a head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        match self.state {
            State::Lead { empty_lines, cr } => empty_lines > 0 || cr,
            State::Head { .. } => true,
            _ => false,
        }
    }

    /// Whether the last message has ended and no byte of the next has come.
    pub(super) fn between_messages(&self) -> bool {
        matches!(self.state, State::Lead { .. }) && !self.in_head()
    }

    /// Whether what comes next is held: the last head asks for another
    /// protocol, and nobody has said yet whether there will be one.
    pub(super) fn held(&self) -> bool {
        self.state == State::Held
    }

    /// What comes next is HTTP all the same.
    pub(super) fn resume(&mut self) {
        if self.held() {
            self.state = Self::LEAD;
        }
    }

    /// Follows the next bytes of the connection, up to where they are held; says
    /// how many. How they were cut into reads makes no difference. After a
    /// violation it must not be called again.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.held() {
                break;
            }
            let in_head = matches!(self.state, State::Lead { .. } | State::Head { .. });
            match self.step(rest) {
                Ok(used) => at += used,
                Err((passed, why)) => {
                    return Err(Violation {
                        at: at + passed,
                        in_head,
                        why,
                    });
                }
            }
        }
        Ok(at)
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        let byte = rest.first().copied().unwrap_or_default();
        match self.state {
            State::Lead { empty_lines, cr } => self.lead(byte, empty_lines, cr),
            State::Head { first } => self.head(rest, first),
            State::Trailers => self.trailers(rest),
            State::Held => Ok(0),
            State::Fixed(left) => {
                let used = clamp(left, rest.len());
                self.state = match left - used as u64 {
                    0 => Self::LEAD,
                    left => State::Fixed(left),
                };
                Ok(used)
            }
            State::ChunkData(left) => {
                let used = clamp(left, rest.len());
                self.state = match left - used as u64 {
                    0 => State::ChunkDataCr,
                    left => State::ChunkData(left),
                };
                Ok(used)
            }
            State::ChunkSize { size, digits } => self.chunk_size(byte, size, digits),
            State::ChunkExtension { size } => self.chunk_extension(byte, size),
            State::ChunkSizeLf { size } => {
                self.state = match size {
                    0 => State::Trailers,
                    size => State::ChunkData(size),
                };
                expect(byte, b'\n', "a chunk size that does not end in CR LF")
            }
            State::ChunkDataCr => {
                self.state = State::ChunkDataLf;
                expect(byte, b'\r', "a chunk that does not end in CR LF")
            }
            State::ChunkDataLf => {
                self.state = Self::CHUNK;
                expect(byte, b'\n', "a chunk that does not end in CR LF")
            }
        }
    }

    const LEAD: State = State::Lead {
        empty_lines: 0,
        cr: false,
    };
    const CHUNK: State = State::ChunkSize { size: 0, digits: 0 };

    fn lead(&mut self, byte: u8, empty_lines: u8, cr: bool) -> Step {
        match (byte, cr) {
            (b'\r', false) if empty_lines >= EMPTY_LINES_MAX => {
                Err((0, "too many empty lines before a request"))
            }
            (b'\r', false) => {
                self.state = State::Lead {
                    empty_lines,
                    cr: true,
                };
                Ok(1)
            }
            (b'\n', true) => {
                self.state = State::Lead {
                    empty_lines: empty_lines + 1,
                    cr: false,
                };
                Ok(1)
            }
            (b'\n', false) => Err((0, "a bare LF before a request")),
            (_, true) => Err((0, "a bare CR before a request")),
            (_, false) => {
                self.state = State::Head { first: true };
                self.length = None;
                self.chunked = false;
                self.upgrade = false;
                Ok(0)
            }
        }
    }

    fn head(&mut self, rest: &[u8], first: bool) -> Step {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let piece = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        if first {
            self.check_method(piece)?;
        }
        let Some(end) = end else {
            self.keep(piece);
            return Ok(rest.len());
        };
        let empty = self
            .end_line(piece, Self::head_line)
            .map_err(|why| (end, why))?;
        self.state = if !empty {
            State::Head { first: false }
        } else if self.chunked {
            self.extension_bytes = 0;
            self.trailer_fields = 0;
            self.trailer_bytes = 0;
            Self::CHUNK
        } else {
            match self.length {
                None | Some(0) if self.upgrade => State::Held,
                None | Some(0) => Self::LEAD,
                Some(length) => State::Fixed(length),
            }
        };
        Ok(end + 1)
    }

    /// The method must end within its limit, however the line is cut.
    fn check_method(&self, piece: &[u8]) -> Result<(), (usize, &'static str)> {
        if self.line_bytes > METHOD_BYTES_MAX {
            return Ok(());
        }
        let room = METHOD_BYTES_MAX + 1 - self.line_bytes;
        let here = piece.get(..room).unwrap_or(piece);
        let ended = self.line.contains(&b' ') || here.contains(&b' ');
        if !ended && self.line_bytes + here.len() > METHOD_BYTES_MAX {
            return Err((0, "the method is too long"));
        }
        Ok(())
    }

    fn trailers(&mut self, rest: &[u8]) -> Step {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let piece = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.trailer_bytes += piece.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err((0, "the trailers are too large"));
        }
        let Some(end) = end else {
            self.keep(piece);
            return Ok(rest.len());
        };
        let empty = self
            .end_line(piece, Self::trailer_line)
            .map_err(|why| (end, why))?;
        if empty {
            self.state = Self::LEAD;
        }
        Ok(end + 1)
    }

    /// Keeps the start of a line whose end has not come.
    fn keep(&mut self, piece: &[u8]) {
        let room = FRAMING_LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.line_bytes += piece.len();
        if let Some(last) = piece.last() {
            self.line_last = *last;
        }
    }

    /// Ends a line with its last piece (without the LF). Whether it was empty.
    fn end_line(
        &mut self,
        piece: &[u8],
        judge: fn(&mut Self, line: &[u8], bytes: usize) -> Result<(), &'static str>,
    ) -> Result<bool, &'static str> {
        if self.line_bytes == 0 {
            let Some((b'\r', line)) = piece.split_last() else {
                return Err("a line that ends in a bare LF");
            };
            if line.is_empty() {
                return Ok(true);
            }
            return judge(self, line, line.len()).map(|()| false);
        }
        self.keep(piece);
        if self.line_last != b'\r' {
            return Err("a line that ends in a bare LF");
        }
        let mut line = std::mem::take(&mut self.line);
        let bytes = std::mem::take(&mut self.line_bytes) - 1;
        line.truncate(bytes);
        let judged = if bytes == 0 {
            Ok(true)
        } else {
            judge(self, &line, bytes).map(|()| false)
        };
        line.clear();
        self.line = line;
        judged
    }

    /// Judges one line of a head. `line` may be only the start of a line of
    /// `bytes` bytes, but not of one short enough to be looked at.
    fn head_line(&mut self, line: &[u8], bytes: usize) -> Result<(), &'static str> {
        if let Some(value) = value_of(line, "content-length") {
            if bytes > FRAMING_LINE_BYTES_MAX {
                return Err("a content-length that is too long");
            }
            if self.chunked {
                return Err("both content-length and transfer-encoding");
            }
            if self.length.is_some() {
                return Err("two content-length lines");
            }
            let length = decimal(value).ok_or("a content-length that is no number")?;
            self.length = Some(length);
        } else if let Some(value) = value_of(line, "transfer-encoding") {
            if bytes > FRAMING_LINE_BYTES_MAX {
                return Err("a transfer-encoding that is too long");
            }
            if self.length.is_some() {
                return Err("both content-length and transfer-encoding");
            }
            if self.chunked {
                return Err("two transfer-encoding lines");
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("a transfer-encoding other than chunked");
            }
            self.chunked = true;
        } else if let Some(value) = value_of(line, "upgrade") {
            if bytes > FRAMING_LINE_BYTES_MAX {
                return Err("an upgrade that is too long");
            }
            // That one is ignored by all (SEMANTICS §2).
            self.upgrade |= !value.eq_ignore_ascii_case(b"h2c");
        }
        Ok(())
    }

    fn trailer_line(&mut self, line: &[u8], _bytes: usize) -> Result<(), &'static str> {
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err("too many trailers");
        }
        if value_of(line, "content-length").is_some()
            || value_of(line, "transfer-encoding").is_some()
        {
            return Err("a length among the trailers");
        }
        Ok(())
    }

    fn chunk_size(&mut self, byte: u8, size: u64, digits: u8) -> Step {
        self.state = match byte {
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if digits < CHUNK_SIZE_DIGITS_MAX => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                State::ChunkSize {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            b'\r' if digits > 0 => State::ChunkSizeLf { size },
            b';' if digits > 0 => State::ChunkExtension { size },
            _ => return Err((0, "a chunk size that is no number")),
        };
        Ok(1)
    }

    fn chunk_extension(&mut self, byte: u8, size: u64) -> Step {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err((0, "the chunk extensions are too large"));
        }
        match byte {
            b'\r' => self.state = State::ChunkSizeLf { size },
            b'\t' | 0x20..=0x7e | 0x80..=0xff => {}
            _ => return Err((0, "a control character in a chunk extension")),
        }
        Ok(1)
    }
}

/// As much of a body as is here.
fn clamp(left: u64, here: usize) -> usize {
    usize::try_from(left).map_or(here, |left| left.min(here))
}

fn expect(byte: u8, expected: u8, why: &'static str) -> Step {
    if byte == expected {
        Ok(1)
    } else {
        Err((0, why))
    }
}

/// The value of `line`, without white space around it, where its name is `name`.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    // The colon first: one comparison rules out nearly every line.
    if line.get(name.len()) != Some(&b':') {
        return None;
    }
    let (found, value) = line.split_at_checked(name.len())?;
    if !found.eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    Some(value.get(1..)?.trim_ascii())
}

/// A number of 1 to 19 digits and nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
