//! What a replica writes to its standard output and error: into its log file,
//! each line with its time, and the last lines kept for the reason of its end.
//!
//! Never makes the replica wait for a disk: what finds no room is dropped and
//! counted in the file. Used by `process`; `logs` reads what stands there.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::id::wall_clock;
use crate::log::Lines;
use crate::log::Rotation;
use crate::name::Name;

/// A longer line is cut into several, so that a replica that never ends a line
/// holds no more memory than that.
pub(super) const LINE_BYTES_MAX: usize = 16 << 10;
/// Lines kept for the reason of an end.
const TAIL_LINES: usize = 20;
/// Characters of each.
const TAIL_CHARS: usize = 400;

/// At most 4 × 8 MiB of each replica.
pub(super) const ROTATION: Rotation = Rotation {
    bytes_max: 8 << 20,
    kept: 3,
};

/// The log file of a replica below `<state>/logs`.
pub(super) fn file(logs: &Path, endpoint: &Name, version: &Name, replica: &str) -> PathBuf {
    logs.join(endpoint.as_str())
        .join(version.as_str())
        .join(format!("{replica}.log"))
}

/// Where one replica's lines go. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Output(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Lines,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    tail: VecDeque<String>,
    dropped: u64,
}

impl Output {
    pub(super) fn new(lines: Lines) -> Self {
        Self(Arc::new(Inner {
            lines,
            kept: Mutex::default(),
        }))
    }

    /// Forgets the last lines: those of another life of the replica.
    pub(super) fn begin(&self) {
        self.0.kept.lock().tail.clear();
    }

    /// The last lines, for a reason; empty where there are none.
    pub(super) fn tail(&self) -> String {
        let kept = self.0.kept.lock();
        let lines: Vec<&str> = kept.tail.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// Writes a line of the gateway's own about the replica.
    pub(super) fn note(&self, text: &str) {
        self.write(format!("tidegate: {text}").as_bytes());
    }

    /// Takes all that comes out of `pipe`, to its end. Cancel-safe but for the
    /// line under way.
    pub(super) async fn take(self, pipe: PipeReader) -> io::Result<()> {
        let mut pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?;
        let mut line = Vec::new();
        let mut chunk = vec![0; 8 << 10];
        loop {
            let read = pipe.read(&mut chunk).await?;
            if read == 0 {
                if !line.is_empty() {
                    self.line(&line);
                }
                return Ok(());
            }
            for piece in chunk
                .get(..read)
                .unwrap_or_default()
                .split_inclusive(|b| *b == b'\n')
            {
                self.gather(&mut line, piece);
            }
        }
    }

    /// Adds `piece`, of which only the last byte may end a line.
    fn gather(&self, line: &mut Vec<u8>, mut piece: &[u8]) {
        let ends = piece.last() == Some(&b'\n');
        if ends {
            piece = piece.get(..piece.len() - 1).unwrap_or_default();
        }
        while line.len() + piece.len() > LINE_BYTES_MAX {
            let (now, later) = piece.split_at(LINE_BYTES_MAX - line.len());
            line.extend_from_slice(now);
            self.line(line);
            line.clear();
            piece = later;
        }
        line.extend_from_slice(piece);
        if ends {
            self.line(line);
            line.clear();
        }
    }

    fn line(&self, line: &[u8]) {
        let text: String = String::from_utf8_lossy(line)
            .chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .take(TAIL_CHARS)
            .collect();
        {
            let mut kept = self.0.kept.lock();
            if kept.tail.len() == TAIL_LINES {
                kept.tail.pop_front();
            }
            kept.tail.push_back(text);
        }
        self.write(line);
    }

    fn write(&self, line: &[u8]) {
        let dropped = std::mem::take(&mut self.0.kept.lock().dropped);
        let mut missing = 0;
        if dropped > 0 {
            let note = format!("tidegate: {dropped} lines were dropped here");
            if !self.0.lines.write(&stamped(note.as_bytes())) {
                missing = dropped;
            }
        }
        if missing > 0 || !self.0.lines.write(&stamped(line)) {
            self.0.kept.lock().dropped += missing + 1;
        }
    }
}

/// The line with its time before it, as `logs` reads it.
fn stamped(line: &[u8]) -> Vec<u8> {
    let time = jiff::Timestamp::try_from(wall_clock()).unwrap_or_default();
    let mut out = format!("{time:.3} ").into_bytes();
    out.extend_from_slice(line);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Target;
    use std::io::Write;
    use std::time::Duration;

    async fn written(text: &[u8]) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blue-1.log");
        let lines = Lines::open(Target::File(path.clone()), ROTATION).unwrap();
        let output = Output::new(lines.clone());
        let (reader, mut writer) = io::pipe().unwrap();
        let text = text.to_vec();
        let thread = std::thread::spawn(move || writer.write_all(&text).unwrap());
        output.clone().take(reader).await.unwrap();
        thread.join().unwrap();
        assert!(lines.flush(Duration::from_secs(20)));
        let file = std::fs::read(path).unwrap();
        (String::from_utf8_lossy(&file).into_owned(), output.tail())
    }

    #[tokio::test]
    async fn each_line_stands_in_the_file_with_its_time() {
        let (file, tail) = written(b"one\n\ntwo \xff\nrest").await;
        let texts: Vec<&str> = file
            .lines()
            .map(|line| {
                let (time, text) = line.split_once(' ').unwrap();
                assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
                assert_eq!(time.len(), "2026-11-01T00:00:00.000Z".len(), "{time}");
                text
            })
            .collect();
        assert_eq!(texts, ["one", "", "two \u{fffd}", "rest"]);
        assert_eq!(tail, "one\n\ntwo \u{fffd}\nrest");
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_the_tail_stays_small() {
        let (file, tail) = written(&vec![b'x'; 100 * LINE_BYTES_MAX + 1]).await;
        assert_eq!(file.lines().count(), 101);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.len() < TAIL_LINES * (TAIL_CHARS + 1));
    }
}
