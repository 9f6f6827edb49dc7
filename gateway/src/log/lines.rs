//! A bounded writer of lines with a thread of its own.
//!
//! Whoever writes a line copies it into a buffer under a short lock and never
//! waits for a disk or a pipe; what finds no room is dropped and counted. One
//! thread may write for many sinks. Files are rotated by size. Used by the
//! log, the access log and the replicas' output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes of lines that may wait for the writer, per sink: a second of access
/// lines at 10,000 requests per second.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// What a buffer keeps after a burst.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// How long the writer gathers lines once it is awake, so that a busy gateway
/// wakes it 200 times a second and not once per request.
const LINGER: Duration = Duration::from_millis(5);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, made with its folders where it is not there (0600, 0700).
    File(PathBuf),
}

/// When a file is set aside as `NAME.1` (and `NAME.1` as `NAME.2`, …).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes at which it is.
    pub bytes_max: u64,
    /// How many are kept beside the one that is written.
    pub kept: u32,
}

impl Default for Rotation {
    /// 64 MiB and 4 kept: at most 320 MiB.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            kept: 4,
        }
    }
}

/// A place for lines. Cheap to clone; the last clone's drop writes what is left.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    sink: Arc<Sink>,
    writer: Writer,
}

/// The thread that writes; ends when the last clone and the last [`Lines`] of
/// it are dropped. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Ender>);

/// Tells the thread to end when it is dropped.
#[derive(Debug)]
struct Ender(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The thread waits on `wake`, so a write has to wake it.
    asleep: AtomicBool,
    gate: Mutex<Gate>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    ended: bool,
    new: Vec<(Arc<Sink>, Output)>,
}

#[derive(Debug, Default)]
struct Sink {
    waiting: Mutex<Waiting>,
    written: Condvar,
    closed: AtomicBool,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// The thread has taken bytes and not written them yet.
    in_hand: bool,
}

impl Lines {
    /// A place with a thread of its own.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened or the thread not started.
    pub fn open(target: Target, rotation: Rotation) -> io::Result<Self> {
        Writer::start()?.open(target, rotation)
    }

    /// Adds one line, given without its end. Whether there was room for it.
    ///
    /// Never waits: a short lock and a copy; once per 5 ms at most it also
    /// wakes the writer.
    pub fn write(&self, line: &[u8]) -> bool {
        let sink = &self.0.sink;
        {
            let mut waiting = sink.waiting.lock();
            if waiting.bytes.len() + line.len() >= BUFFER_BYTES_MAX {
                drop(waiting);
                sink.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            waiting.bytes.extend_from_slice(line);
            waiting.bytes.push(b'\n');
            waiting.lines += 1;
        }
        self.0.writer.0.0.rouse();
        true
    }

    /// Lines that found no room or could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.sink.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written, at most `timeout`; whether
    /// they are. Blocks: for the end of the process and for tests.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let sink = &self.0.sink;
        let mut waiting = sink.waiting.lock();
        while !waiting.bytes.is_empty() || waiting.in_hand {
            if sink.written.wait_until(&mut waiting, until).timed_out() {
                return waiting.bytes.is_empty() && !waiting.in_hand;
            }
        }
        true
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.sink.closed.store(true, Ordering::Release);
        self.writer.0.0.rouse();
    }
}

impl Drop for Ender {
    fn drop(&mut self) {
        self.0.gate.lock().ended = true;
        self.0.rouse();
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the machine refuses another thread.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || theirs.run())?;
        Ok(Self(Arc::new(Ender(shared))))
    }

    /// Another place for this thread to write to. A slow one delays the others.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened.
    pub fn open(&self, target: Target, rotation: Rotation) -> io::Result<Lines> {
        let output = match target {
            Target::Stdout => Output::Stdout(io::stdout()),
            Target::Stderr => Output::Stderr(io::stderr()),
            Target::File(path) => Output::File(Rotated::open(path, rotation)?),
        };
        let sink = Arc::new(Sink::default());
        self.0.0.gate.lock().new.push((Arc::clone(&sink), output));
        self.0.0.rouse();
        Ok(Lines(Arc::new(Handle {
            sink,
            writer: self.clone(),
        })))
    }
}

impl Shared {
    /// Wakes the thread if it sleeps.
    ///
    /// A write that the thread's last look missed comes after that look in the
    /// order of the sink's lock, hence sees `asleep`, which was set before it.
    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            let _gate = self.gate.lock();
            self.asleep.store(false, Ordering::SeqCst);
            self.wake.notify_one();
        }
    }

    /// The thread: writes, gathers, sleeps.
    fn run(&self) {
        let mut sinks: Vec<(Arc<Sink>, Output)> = Vec::new();
        let mut spare = Vec::new();
        loop {
            self.asleep.store(true, Ordering::SeqCst);
            let ended = {
                let mut gate = self.gate.lock();
                sinks.append(&mut gate.new);
                gate.ended
            };
            let mut busy = false;
            sinks.retain_mut(|(sink, output)| {
                // Asked before the look, so that what was written before the
                // close is seen.
                let closed = sink.closed.load(Ordering::Acquire);
                busy |= sink.write_out(output, &mut spare);
                !closed
            });
            if busy {
                self.asleep.store(false, Ordering::SeqCst);
                if !ended {
                    std::thread::sleep(LINGER);
                }
                continue;
            }
            let mut gate = self.gate.lock();
            if ended {
                // Said before this pass looked, so nothing can have come since.
                return;
            }
            while self.asleep.load(Ordering::SeqCst) && gate.new.is_empty() && !gate.ended {
                self.wake.wait(&mut gate);
            }
        }
    }
}

impl Sink {
    /// Writes what waits; whether there was anything.
    fn write_out(&self, output: &mut Output, spare: &mut Vec<u8>) -> bool {
        let lines = {
            let mut waiting = self.waiting.lock();
            if waiting.bytes.is_empty() {
                return false;
            }
            std::mem::swap(&mut waiting.bytes, spare);
            waiting.in_hand = true;
            std::mem::take(&mut waiting.lines)
        };
        if output.write(spare).is_err() {
            // Nothing to tell it to: this may be the log itself.
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
        spare.clear();
        spare.shrink_to(BUFFER_BYTES_KEPT);
        self.waiting.lock().in_hand = false;
        self.written.notify_all();
        true
    }
}

#[derive(Debug)]
enum Output {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    File(Rotated),
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(bytes).and_then(|()| out.flush()),
            Self::Stderr(out) => out.write_all(bytes),
            Self::File(file) => file.write(bytes),
        }
    }
}

/// A file that is set aside when it is full.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
}

impl Rotated {
    fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            bytes,
            rotation,
        })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.rotation.bytes_max.saturating_sub(self.bytes);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let fits = match whole_lines(bytes, room) {
                0 if self.bytes > 0 => {
                    self.rotate()?;
                    continue;
                }
                // A line longer than a file has one alone: none is split.
                0 => first_line(bytes),
                fits => fits,
            };
            let (now, later) = bytes.split_at(fits);
            self.file.write_all(now)?;
            self.bytes += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..=self.rotation.kept).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => aside(&self.path, number - 1),
            };
            match std::fs::rename(from, aside(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.rotation.kept == 0 {
            self.file.set_len(0)?;
        } else {
            self.file = append_to(&self.path)?;
        }
        self.bytes = 0;
        Ok(())
    }
}

/// `NAME.log.2` for `NAME.log` and 2.
fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// How many of `bytes` are whole lines within `room`.
fn whole_lines(bytes: &[u8], room: usize) -> usize {
    let Some(fits) = bytes.get(..room) else {
        return bytes.len();
    };
    fits.iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |end| end + 1)
}

fn first_line(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |end| end + 1)
}
