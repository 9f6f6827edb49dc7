//! Where collected entries are kept: JSON Lines of CloudEvents in files by
//! endpoint, version, designation and hour (SEMANTICS §10).
//!
//! A file is written under a name that ends in `.part` and gets its own name
//! when it is rolled, so that what has its own name is complete. Never on the
//! request path: `collector` calls it on a thread of its own.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use crate::id::wall_clock;
use crate::name::Name;

mod event;
mod json;

/// How long a file is written before it is complete.
pub const ROLL_EVERY: Duration = Duration::from_secs(60);
/// How many bytes a file takes before it is complete.
pub const ROLL_BYTES: u64 = 64 << 20;
/// Files open at once; the oldest is rolled where one more is needed.
const OPEN_MAX: usize = 256;
/// Buffers that are kept for the next lines, and the largest that is: with the
/// usual two designations of one version nothing is asked of the allocator.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 4 << 20;

/// One collected entry with what the host knows of its exchange.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The endpoint.
    pub endpoint: &'a Name,
    /// The version that answered.
    pub version: &'a Name,
    /// `inputs`, `predictions`, …
    pub designation: &'static str,
    /// When the exchange began, in milliseconds since 1970.
    pub time_ms: u64,
    /// The request id.
    pub request_id: &'a str,
    /// The caller's subject; empty where there is none.
    pub caller: &'a str,
    /// The answer's status.
    pub status: u16,
    /// `answered`, `model-error`, `broken-off`, `fault`.
    pub outcome: &'static str,
    /// Media type of `data`.
    pub content_type: &'a str,
    /// What is kept.
    pub data: &'a [u8],
}

impl Record<'_> {
    /// Whether it goes to the same file.
    fn goes_with(&self, other: &Self) -> bool {
        self.designation == other.designation
            && self.version == other.version
            && self.endpoint == other.endpoint
    }
}

/// Files that are being written.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    gateway: String,
    number: u64,
    open: HashMap<PathBuf, Open>,
    /// Buffers of the last lines, for the next.
    spare: Vec<Vec<u8>>,
}

/// Lines of one file, and whose they are.
struct Lines<'a> {
    /// One of its records.
    like: &'a Record<'a>,
    text: Vec<u8>,
    places: Vec<usize>,
}

#[derive(Debug)]
struct Open {
    file: File,
    part: PathBuf,
    bytes: u64,
    since: Instant,
}

impl Journal {
    /// A journal below `root`; `gateway` tells the files of several gateways
    /// apart. Files that an earlier run left unfinished get their own names.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made.
    pub fn open(root: &Path, gateway: &str) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        finish_parts(root, 0)?;
        Ok(Self {
            root: root.to_owned(),
            gateway: gateway.to_owned(),
            number: 0,
            open: HashMap::new(),
            spare: Vec::new(),
        })
    }

    /// Writes records, each to the file of its endpoint, version, designation
    /// and hour; those of one file with one write. Tells of each whether the
    /// system has it.
    pub fn append(&mut self, records: &[Record<'_>], now: Instant) -> Vec<bool> {
        let mut taken = vec![false; records.len()];
        let mut files: Vec<Lines<'_>> = Vec::new();
        let mut ids = Ids::new();
        for (place, record) in records.iter().enumerate() {
            let known = files.iter().position(|one| one.like.goes_with(record));
            let at = known.unwrap_or_else(|| {
                files.push(Lines {
                    like: record,
                    text: self.spare.pop().unwrap_or_default(),
                    places: Vec::new(),
                });
                files.len() - 1
            });
            if let Some(file) = files.get_mut(at) {
                event::push(&mut file.text, record, ids.next());
                file.places.push(place);
            }
        }
        for mut file in files {
            let folder = self.folder(file.like);
            match self.write(&folder, &file.text, now) {
                Ok(()) => {
                    for place in file.places {
                        taken.get_mut(place).into_iter().for_each(|one| *one = true);
                    }
                }
                Err(error) => {
                    let folder = folder.display();
                    tracing::error!(%error, %folder, "collected entries could not be written");
                }
            }
            if self.spare.len() < SPARE_MAX && file.text.capacity() <= SPARE_BYTES_MAX {
                file.text.clear();
                self.spare.push(file.text);
            }
        }
        taken
    }

    /// Rolls what is old enough.
    ///
    /// # Errors
    ///
    /// The first that a file gave; the others are still tried.
    pub fn tick(&mut self, now: Instant) -> io::Result<()> {
        self.roll_all(|open| now.duration_since(open.since) >= ROLL_EVERY)
    }

    /// Rolls everything.
    ///
    /// # Errors
    ///
    /// The first that a file gave; the others are still tried.
    pub fn finish(&mut self) -> io::Result<()> {
        self.roll_all(|_| true)
    }

    fn roll_all(&mut self, which: impl Fn(&Open) -> bool) -> io::Result<()> {
        let folders: Vec<PathBuf> = self
            .open
            .iter()
            .filter(|(_, open)| which(open))
            .map(|(folder, _)| folder.clone())
            .collect();
        let mut result = Ok(());
        for folder in folders {
            result = result.and(self.roll(&folder));
        }
        result
    }

    fn folder(&self, record: &Record<'_>) -> PathBuf {
        let now = Timestamp::try_from(wall_clock()).unwrap_or_default();
        self.root
            .join(record.endpoint.as_str())
            .join(record.version.as_str())
            .join(record.designation)
            .join(now.strftime("%Y/%m/%d/%H").to_string())
    }

    fn write(&mut self, folder: &Path, lines: &[u8], now: Instant) -> io::Result<()> {
        if !self.open.contains_key(folder) {
            self.make_room(now)?;
            let open = self.begin(folder, now)?;
            self.open.insert(folder.to_owned(), open);
        }
        let Some(open) = self.open.get_mut(folder) else {
            return Ok(());
        };
        if let Err(error) = open.file.write_all(lines) {
            // A torn line ends this file; what is before it is good.
            self.roll(folder)?;
            return Err(error);
        }
        open.bytes += lines.len() as u64;
        if open.bytes >= ROLL_BYTES {
            self.roll(folder)?;
        }
        Ok(())
    }

    fn begin(&mut self, folder: &Path, now: Instant) -> io::Result<Open> {
        fs::create_dir_all(folder)?;
        self.number += 1;
        let time = crate::id::wall_ms();
        let part = folder.join(format!(
            "{}-{time}-{}.jsonl.part",
            self.gateway, self.number
        ));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&part)?;
        Ok(Open {
            file,
            part,
            bytes: 0,
            since: now,
        })
    }

    fn make_room(&mut self, now: Instant) -> io::Result<()> {
        if self.open.len() < OPEN_MAX {
            return Ok(());
        }
        let oldest = self
            .open
            .iter()
            .max_by_key(|(_, open)| now.duration_since(open.since))
            .map(|(folder, _)| folder.clone());
        oldest.map_or(Ok(()), |folder| self.roll(&folder))
    }

    fn roll(&mut self, folder: &Path) -> io::Result<()> {
        let Some(open) = self.open.remove(folder) else {
            return Ok(());
        };
        if open.bytes == 0 {
            // On a full disk each batch would leave an empty file.
            return fs::remove_file(&open.part);
        }
        open.file.sync_all()?;
        fs::rename(&open.part, open.part.with_extension(""))?;
        File::open(folder)?.sync_all()
    }
}

/// Ids of events: a random UUID of version 7 and those that follow it, which RFC
/// 9562 §6.2 allows (method 2); the system is asked for chance once.
struct Ids {
    first: u128,
    given: u64,
}

impl Ids {
    fn new() -> Self {
        Self {
            first: Uuid::now_v7().as_u128(),
            given: 0,
        }
    }

    fn next(&mut self) -> Uuid {
        /// Below version and variant: what is random.
        const RANDOM: u128 = (1 << 62) - 1;
        let random = (self.first + u128::from(self.given)) & RANDOM;
        self.given += 1;
        Uuid::from_u128((self.first & !RANDOM) | random)
    }
}

/// Gives files that a killed gateway left their own names: their whole lines
/// are good, and a torn last one is for the reader to skip.
fn finish_parts(folder: &Path, depth: usize) -> io::Result<()> {
    // endpoint/version/designation/yyyy/mm/dd/hh/file
    const DEPTH_MAX: usize = 8;
    if depth > DEPTH_MAX {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            finish_parts(&path, depth + 1)?;
        } else if path.extension().is_some_and(|ending| ending == "part") {
            fs::rename(&path, path.with_extension(""))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record of the tests borrows from.
    pub(super) struct Kept {
        endpoint: Name,
        version: Name,
        data: Vec<u8>,
    }

    pub(super) fn record(data: &[u8]) -> Kept {
        Kept {
            endpoint: Name::parse("iris").unwrap(),
            version: Name::parse("blue").unwrap(),
            data: data.to_vec(),
        }
    }

    impl Kept {
        pub(super) fn record(&self) -> Record<'_> {
            Record {
                endpoint: &self.endpoint,
                version: &self.version,
                designation: "inputs",
                time_ms: 1_700_000_000_000,
                request_id: "r1",
                caller: "primary",
                status: 200,
                outcome: "answered",
                content_type: "application/json",
                data: &self.data,
            }
        }
    }

    #[test]
    fn ids_are_of_version_7_and_differ() {
        let mut ids = Ids::new();
        let mut seen: Vec<Uuid> = (0..1000).map(|_| ids.next()).collect();
        assert!(seen.iter().all(|id| id.get_version_num() == 7));
        assert!(
            seen.iter()
                .all(|id| id.get_variant() == uuid::Variant::RFC4122)
        );
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        let mut last = Ids {
            first: (7 << 76) | (2 << 62) | ((1 << 62) - 1),
            given: 0,
        };
        assert_eq!(last.next().as_u128() & 3, 3);
        assert_eq!(last.next().as_u128(), (7 << 76) | (2 << 62));
    }

    fn files(root: &Path, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        found
    }

    #[test]
    fn a_file_has_its_own_name_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "gw").unwrap();
        let now = Instant::now();
        assert_eq!(journal.append(&[record(b"1").record()], now), [true]);
        assert_eq!(journal.append(&[record(b"2").record()], now), [true]);
        journal.tick(now).unwrap();
        assert_eq!(files(folder.path(), ".jsonl").len(), 0);
        journal.tick(now + ROLL_EVERY).unwrap();
        let complete = files(folder.path(), ".jsonl");
        assert_eq!(complete.len(), 1);
        assert_eq!(fs::read_to_string(&complete[0]).unwrap().lines().count(), 2);
        assert_eq!(files(folder.path(), ".part").len(), 0);
    }

    #[test]
    fn what_the_disk_does_not_take_is_told_and_the_rest_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "gw").unwrap();
        // A file where a folder should be.
        fs::create_dir(folder.path().join("iris")).unwrap();
        fs::write(folder.path().join("iris/blue"), "").unwrap();
        let mut green = record(b"1");
        green.version = Name::parse("green").unwrap();
        let (one, two) = (record(b"1"), record(b"2"));
        let records = [one.record(), green.record(), two.record()];
        let taken = journal.append(&records, Instant::now());
        assert_eq!(taken, [false, true, false]);
    }

    #[test]
    fn what_a_killed_gateway_left_is_finished_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut journal = Journal::open(folder.path(), "gw").unwrap();
        assert_eq!(journal.append(&[record(b"1").record()], now), [true]);
        journal.tick(now).unwrap();
        drop(journal);
        Journal::open(folder.path(), "gw").unwrap();
        assert_eq!(files(folder.path(), ".jsonl").len(), 1);
    }
}
