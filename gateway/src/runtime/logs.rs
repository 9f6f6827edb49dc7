//! Reads what replicas wrote: the log files below `<state>/logs`.
//!
//! Holds one line per file and one chunk of lines on their way, however much
//! there is. Never writes, and opens only files whose names it found in a
//! version's folder. Called by the admin API through `runtime`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::output::{LINE_BYTES_MAX, ROTATION};
use crate::id::wall_clock;
use crate::name::Name;
use crate::shutdown::Tasks;

/// Lines that may wait for the reader.
const CHANNEL_LINES: usize = 256;
/// Lines of one look at the files.
const CHUNK_LINES: usize = 256;
/// Between looks where it follows.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which lines to read.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Of this endpoint.
    pub endpoint: Name,
    /// Of this version; none: of all.
    pub version: Option<Name>,
    /// Of this replica, as `blue-1`; none: of all.
    pub replica: Option<String>,
    /// Not older than that; none: all there are.
    pub since: Option<Duration>,
    /// Whether to go on with lines as they come.
    pub follow: bool,
}

/// A line that a replica wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its version.
    pub version: String,
    /// The replica, as `blue-1`.
    pub replica: String,
    /// When, in RFC 3339.
    pub time: Timestamp,
    /// What, without its end.
    pub text: String,
}

/// Starts reading; ends with the last line, the receiver, or the gateway.
pub(super) fn read(logs: &Path, query: LogQuery, tasks: &Tasks) -> mpsc::Receiver<LogLine> {
    let (sender, receiver) = mpsc::channel(CHANNEL_LINES);
    let folder = logs.join(query.endpoint.as_str());
    let (follow, own) = (query.follow, tasks.clone());
    let mut reader = Reader::new(folder, query);
    tasks.spawn(async move {
        loop {
            let looked = own.blocking(move || {
                let lines = reader.look();
                (reader, lines)
            });
            let Ok((back, lines)) = looked.await else {
                return;
            };
            reader = back;
            let idle = lines.is_empty();
            if idle && !follow {
                return;
            }
            for line in lines {
                let sent = tokio::select! {
                    () = own.stopped() => return,
                    sent = sender.send(line) => sent,
                };
                if sent.is_err() {
                    return;
                }
            }
            if idle {
                tokio::select! {
                    () = own.stopped() => return,
                    () = sender.closed() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
    });
    receiver
}

/// Where the reading of all files stands.
struct Reader {
    folder: PathBuf,
    query: LogQuery,
    oldest: Timestamp,
    /// By version and replica.
    files: BTreeMap<(String, String), Replica>,
}

/// Where the reading of one replica's files stands.
struct Replica {
    /// Without `.1`, `.2`.
    path: PathBuf,
    /// The open file and which it is; none: nothing is open.
    open: Option<(u64, BufReader<File>)>,
    /// What was read of a line that is not whole yet.
    part: Vec<u8>,
    /// The next line, for the order among replicas.
    next: Option<LogLine>,
}

impl Reader {
    fn new(folder: PathBuf, query: LogQuery) -> Self {
        let now = Timestamp::try_from(wall_clock()).unwrap_or_default();
        let oldest = query
            .since
            .and_then(|since| now.checked_sub(since).ok())
            .unwrap_or(Timestamp::MIN);
        Self {
            folder,
            query,
            oldest,
            files: BTreeMap::new(),
        }
    }

    /// The next lines, oldest first over all replicas; empty where there is
    /// none now.
    fn look(&mut self) -> Vec<LogLine> {
        self.find();
        let mut lines = Vec::new();
        while lines.len() < CHUNK_LINES {
            for ((version, replica), file) in &mut self.files {
                while file.next.is_none() {
                    match file.line(version, replica) {
                        Some(line) if line.time < self.oldest => {}
                        Some(line) => file.next = Some(line),
                        None => break,
                    }
                }
            }
            let first = self
                .files
                .values_mut()
                .filter(|file| file.next.is_some())
                .min_by_key(|file| file.next.as_ref().map(|line| line.time));
            match first.and_then(|file| file.next.take()) {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        lines
    }

    /// Takes in files that were not there before.
    fn find(&mut self) {
        for version in names(&self.folder) {
            if self
                .query
                .version
                .as_ref()
                .is_some_and(|wanted| wanted.as_str() != version)
            {
                continue;
            }
            let folder = self.folder.join(&version);
            for file in names(&folder) {
                let Some(replica) = file.strip_suffix(".log") else {
                    continue;
                };
                if self
                    .query
                    .replica
                    .as_ref()
                    .is_some_and(|wanted| wanted != replica)
                {
                    continue;
                }
                let key = (version.clone(), replica.to_owned());
                let path = folder.join(&file);
                self.files.entry(key).or_insert_with(|| Replica {
                    path,
                    open: None,
                    part: Vec::new(),
                    next: None,
                });
            }
        }
    }
}

/// The replicas whose logs are kept, of those that a query is about.
pub(super) fn replicas(logs: &Path, query: &LogQuery) -> Vec<String> {
    let query = LogQuery {
        replica: None,
        ..query.clone()
    };
    let mut reader = Reader::new(logs.join(query.endpoint.as_str()), query);
    reader.find();
    reader
        .files
        .into_keys()
        .map(|(_, replica)| replica)
        .collect()
}

/// Names in a folder, in order; none where it is not there.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

impl Replica {
    /// The next whole line; none where there is none now.
    fn line(&mut self, version: &str, replica: &str) -> Option<LogLine> {
        loop {
            if self.open.is_none() {
                self.open = self.after(None);
            }
            let (inode, file) = self.open.as_mut()?;
            let inode = *inode;
            if read_line(file, &mut self.part) {
                let line = std::mem::take(&mut self.part);
                if let Some(line) = parse(&line, version, replica) {
                    return Some(line);
                }
                continue;
            }
            // At its end: done with it only where a newer one is there. It was
            // set aside before that was made, so one more look finds its last
            // lines; a half one there will never be whole.
            let newer = self.after(Some(inode))?;
            let (_, file) = self.open.as_mut()?;
            if read_line(file, &mut self.part) {
                let line = std::mem::take(&mut self.part);
                if let Some(line) = parse(&line, version, replica) {
                    return Some(line);
                }
                continue;
            }
            self.part.clear();
            self.open = Some(newer);
        }
    }

    /// The file that follows the one of that inode; the oldest where that one
    /// is gone or none is named; none where it is the newest.
    fn after(&self, inode: Option<u64>) -> Option<(u64, BufReader<File>)> {
        let mut files = Vec::new();
        for number in (0..=ROTATION.kept).rev() {
            let mut name = self.path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            if let Ok(file) = File::open(PathBuf::from(name))
                && let Ok(meta) = file.metadata()
            {
                files.push((meta.ino(), file));
            }
        }
        let place = files
            .iter()
            .position(|(found, _)| Some(*found) == inode)
            .map_or(0, |place| place + 1);
        let (inode, file) = files.into_iter().nth(place)?;
        Some((inode, BufReader::new(file)))
    }
}

/// Reads on to the end of a line; whether it is whole. A line longer than any
/// the gateway writes is cut.
fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> bool {
    loop {
        let Ok(chunk) = file.fill_buf() else {
            return false;
        };
        if chunk.is_empty() {
            return false;
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let piece = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let room = (2 * LINE_BYTES_MAX).saturating_sub(line.len());
        line.extend_from_slice(piece.get(..room).unwrap_or(piece));
        let used = piece.len() + usize::from(end.is_some());
        file.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

fn parse(line: &[u8], version: &str, replica: &str) -> Option<LogLine> {
    let text = String::from_utf8_lossy(line);
    let (time, text) = text.split_once(' ')?;
    Some(LogLine {
        version: version.to_owned(),
        replica: replica.to_owned(),
        time: time.parse().ok()?,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests;
