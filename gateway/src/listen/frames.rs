//! Counts the frames of HTTP/2 beneath hyper, to stop floods that h2 answers
//! for ever: SETTINGS, PING and PRIORITY are cheap to send and cost us work
//! (facts: 5,000 to 25,000 of them were ignored).
//!
//! Also knows whether a frame that should be quick, or a header block, is
//! still open, so that its caller can be timed. Never looks into a payload.
//! Called by `guard` for every read of an HTTP/2 connection.

use std::time::Duration;

/// Frames of the counted kinds in one [`FLOOD_WINDOW`].
const FLOOD_FRAMES_MAX: u32 = 1000;
/// How long they are counted together.
const FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// Bytes of the preface that stands before the first frame.
const PREFACE_BYTES: u64 = 24;
const FRAME_HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where a connection is in its frames.
#[derive(Debug)]
pub(super) struct Frames {
    /// The head of a frame that a read cut.
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// Bytes of the payload (or the preface) to come.
    payload: u64,
    /// The frame in progress is DATA.
    data: bool,
    /// A header block has begun and not ended.
    in_block: bool,
    counted: u32,
    /// Since when, in time since the connection began.
    counted_since: Duration,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            head: [0; FRAME_HEAD_BYTES],
            head_bytes: 0,
            payload: PREFACE_BYTES,
            data: false,
            in_block: false,
            counted: 0,
            counted_since: Duration::ZERO,
        }
    }
}

impl Frames {
    /// Whether a frame head, a frame other than DATA or a header block has
    /// begun and not ended.
    pub(super) fn unfinished(&self) -> bool {
        self.head_bytes > 0 || self.in_block || (self.payload > 0 && !self.data)
    }

    /// Follows the next bytes of the connection; `now` is the time since it
    /// began, asked for only where a frame is counted.
    ///
    /// # Errors
    ///
    /// How many bytes of the read may still be passed on, up to the end of a
    /// frame, where more came than a caller has reason to send.
    pub(super) fn feed(&mut self, bytes: &[u8], now: impl Fn() -> Duration) -> Result<(), usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.payload > 0 {
                let used = usize::try_from(self.payload).map_or(rest.len(), |p| p.min(rest.len()));
                self.payload -= used as u64;
                at += used;
                continue;
            }
            let begun = at - self.head_bytes.min(at);
            let room = FRAME_HEAD_BYTES - self.head_bytes;
            let piece = rest.get(..room).unwrap_or(rest);
            for (to, from) in self.head.iter_mut().skip(self.head_bytes).zip(piece) {
                *to = *from;
            }
            self.head_bytes += piece.len();
            at += piece.len();
            if self.head_bytes == FRAME_HEAD_BYTES {
                self.head_bytes = 0;
                if !self.begin_frame(&now) {
                    return Err(begun);
                }
            }
        }
        Ok(())
    }

    /// Takes a frame head. Whether it is within the count.
    fn begin_frame(&mut self, now: &impl Fn() -> Duration) -> bool {
        let [a, b, c, kind, flags, ..] = self.head;
        self.payload = u64::from(a) << 16 | u64::from(b) << 8 | u64::from(c);
        self.data = kind == DATA;
        match kind {
            HEADERS | CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                true
            }
            PRIORITY | SETTINGS | PING => self.count(now()),
            kind if kind > CONTINUATION => self.count(now()),
            _ => true,
        }
    }

    fn count(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.counted_since) >= FLOOD_WINDOW {
            self.counted_since = now;
            self.counted = 0;
        }
        self.counted += 1;
        self.counted <= FLOOD_FRAMES_MAX
    }

    /// Bytes that make h2 say GOAWAY with ENHANCE_YOUR_CALM (11) where it
    /// stands between frames: a header block of more CONTINUATION frames than
    /// it takes. There is no way to ask hyper for it, and only h2 knows where
    /// its own frames end, so that a GOAWAY could not be written beneath it.
    pub(super) fn flood_answer(head_bytes: usize) -> Vec<u8> {
        // h2's own limit is a quarter over what the list needs, at least 5.
        let continuations = head_bytes / 16_384 * 5 / 4 + 8;
        let frame = |kind| [0, 0, 0, kind, 0, 0x7f, 0xff, 0xff, 0xff];
        let mut bytes = frame(HEADERS).to_vec();
        for _ in 0..continuations {
            bytes.extend_from_slice(&frame(CONTINUATION));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![
            0,
            0,
            u8::try_from(payload.len()).unwrap(),
            kind,
            flags,
            0,
            0,
            0,
            1,
        ];
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn what_is_open_is_known_at_every_byte() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, b""));
        bytes.extend(frame(HEADERS, 0, b"abc"));
        let mut frames = Frames::default();
        for byte in &bytes {
            frames.feed(&[*byte], || Duration::ZERO).unwrap();
        }
        assert!(frames.unfinished(), "the block has not ended");
        frames
            .feed(&frame(CONTINUATION, END_HEADERS, b"d"), || Duration::ZERO)
            .unwrap();
        assert!(!frames.unfinished());
        let data = frame(DATA, 0, b"hello");
        frames.feed(&data[..11], || Duration::ZERO).unwrap();
        assert!(!frames.unfinished(), "a body has its own timer");
        frames.feed(&data[11..], || Duration::ZERO).unwrap();
        frames.feed(&data[..4], || Duration::ZERO).unwrap();
        assert!(frames.unfinished());
    }

    #[test]
    fn a_flood_ends_at_a_frame_and_a_trickle_does_not() {
        for kind in [SETTINGS, PING, PRIORITY, 0x42] {
            let one = frame(kind, 0, b"12345678");
            let mut frames = Frames::default();
            frames.feed(PREFACE, || Duration::ZERO).unwrap();
            let flood = one.repeat(1001);
            assert_eq!(
                frames.feed(&flood, || Duration::ZERO),
                Err(1000 * one.len())
            );

            let mut frames = Frames::default();
            frames.feed(PREFACE, || Duration::ZERO).unwrap();
            for second in 0..100 {
                let now = Duration::from_secs(second);
                frames.feed(&one.repeat(99), || now).unwrap();
            }
        }
        let mut frames = Frames::default();
        frames.feed(PREFACE, || Duration::ZERO).unwrap();
        let data = frame(DATA, 0, b"x").repeat(5000);
        assert_eq!(frames.feed(&data, || Duration::ZERO), Ok(()));
    }
}
