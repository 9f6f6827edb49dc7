//! Where collected entries are kept: JSON Lines of CloudEvents in files by
//! endpoint, version, designation and hour (SEMANTICS §10).
//!
//! A file is written under a name that ends in `.part` and gets its own name
//! when it is rolled, so that what has its own name is complete. Never on the
//! request path: `collector` calls it on a thread of its own.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::id::wall_clock;
use crate::name::Name;

/// How long a file is written before it is complete.
pub const ROLL_EVERY: Duration = Duration::from_secs(60);
/// How many bytes a file takes before it is complete.
pub const ROLL_BYTES: u64 = 64 << 20;
/// Files open at once; the oldest is rolled where one more is needed.
const OPEN_MAX: usize = 256;

/// One collected entry with what the host knows of its exchange.
#[derive(Debug, Clone)]
pub struct Record {
    /// The endpoint.
    pub endpoint: Name,
    /// The version that answered.
    pub version: Name,
    /// `inputs`, `predictions`, …
    pub designation: &'static str,
    /// When the exchange began, in milliseconds since 1970.
    pub time_ms: u64,
    /// The request id.
    pub request_id: String,
    /// The caller's subject; empty where there is none.
    pub caller: String,
    /// The answer's status.
    pub status: u16,
    /// `answered`, `model-error`, `broken-off`, `fault`.
    pub outcome: &'static str,
    /// Media type of `data`.
    pub content_type: String,
    /// What is kept.
    pub data: Vec<u8>,
}

impl Record {
    /// The record as one CloudEvent in JSON, without a line feed. JSON stays
    /// as it came, to the digit; all else is base64, which loses nothing.
    #[must_use]
    pub fn cloud_event(&self) -> String {
        let time = i64::try_from(self.time_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or_default();
        let raw = serde_json::from_slice::<&RawValue>(&self.data)
            .ok()
            .and_then(|raw| RawValue::from_string(one_line(raw.get())).ok());
        let event = CloudEvent {
            specversion: "1.0",
            id: uuid::Uuid::now_v7().to_string(),
            source: format!("/endpoints/{}/versions/{}", self.endpoint, self.version),
            r#type: format!("azureml.inference.{}", self.designation),
            time: time.to_string(),
            datacontenttype: &self.content_type,
            correlationid: &self.request_id,
            xrequestid: &self.request_id,
            modelversion: self.version.as_str(),
            collectdatatype: self.designation,
            agent: concat!("tidegate/", env!("CARGO_PKG_VERSION")),
            endpoint: self.endpoint.as_str(),
            caller: &self.caller,
            statuscode: self.status,
            outcome: self.outcome,
            data_base64: raw.is_none().then(|| base64(&self.data)),
            data: raw,
        };
        // Plain records and checked JSON: there is nothing that could fail.
        serde_json::to_string(&event).unwrap_or_default()
    }
}

/// CloudEvents 1.0 with the extensions of SEMANTICS §10.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: String,
    source: String,
    r#type: String,
    time: String,
    datacontenttype: &'a str,
    correlationid: &'a str,
    xrequestid: &'a str,
    modelversion: &'a str,
    collectdatatype: &'a str,
    agent: &'a str,
    endpoint: &'a str,
    caller: &'a str,
    statuscode: u16,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// JSON has line ends as white space only; within a string they are escaped.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// Standard base64 with padding (RFC 4648 §4).
fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let mut bytes = [0_u8; 3];
        for (to, from) in bytes.iter_mut().zip(chunk) {
            *to = *from;
        }
        let word = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for place in 0..4 {
            let sextet = (word >> (18 - 6 * place)) & 63;
            let digit = ALPHABET.get(sextet as usize).copied().unwrap_or(b'A');
            text.push(if place <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// Files that are being written.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    gateway: String,
    number: u64,
    open: HashMap<PathBuf, Open>,
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
        })
    }

    /// Writes records, each to the file of its endpoint, version, designation
    /// and hour; those of one file with one write. Tells of each whether the
    /// system has it.
    pub fn append(&mut self, records: &[Record], now: Instant) -> Vec<bool> {
        let mut taken = vec![false; records.len()];
        let mut folders: BTreeMap<PathBuf, (Vec<u8>, Vec<usize>)> = BTreeMap::new();
        for (place, record) in records.iter().enumerate() {
            let (lines, places) = folders.entry(self.folder(record)).or_default();
            lines.extend_from_slice(record.cloud_event().as_bytes());
            lines.push(b'\n');
            places.push(place);
        }
        for (folder, (lines, places)) in folders {
            match self.write(&folder, &lines, now) {
                Ok(()) => {
                    for place in places {
                        taken.get_mut(place).into_iter().for_each(|one| *one = true);
                    }
                }
                Err(error) => {
                    let folder = folder.display();
                    tracing::error!(%error, %folder, "collected entries could not be written");
                }
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

    fn folder(&self, record: &Record) -> PathBuf {
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
    use serde_json::Value;

    use super::*;

    fn record(data: &[u8]) -> Record {
        Record {
            endpoint: Name::parse("iris").unwrap(),
            version: Name::parse("blue").unwrap(),
            designation: "inputs",
            time_ms: 1_700_000_000_000,
            request_id: "r1".to_owned(),
            caller: "primary".to_owned(),
            status: 200,
            outcome: "answered",
            content_type: "application/json".to_owned(),
            data: data.to_vec(),
        }
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
    fn json_stays_json_and_all_else_is_base64() {
        let event: Value = serde_json::from_str(&record(br#"{"a":[1,2]}"#).cloud_event()).unwrap();
        assert_eq!(event["data"]["a"][1], 2);
        assert_eq!(event["type"], "azureml.inference.inputs");
        assert_eq!(event["source"], "/endpoints/iris/versions/blue");
        let event: Value = serde_json::from_str(&record(b"\xff\x00").cloud_event()).unwrap();
        assert_eq!(event["data_base64"], "/wA=");
    }

    #[test]
    fn json_stays_as_it_came_to_the_digit_on_one_line() {
        let line =
            record(b"{\"b\": 123456789012345678901,\n \"a\":\r\n 1.10, \"a\": 2}").cloud_event();
        let kept = "{\"b\": 123456789012345678901,  \"a\":   1.10, \"a\": 2}";
        assert!(line.contains(kept), "{line}");
        assert!(!line.contains(['\n', '\r']), "{line}");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_file_has_its_own_name_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "gw").unwrap();
        let now = Instant::now();
        assert_eq!(journal.append(&[record(b"1")], now), [true]);
        assert_eq!(journal.append(&[record(b"2")], now), [true]);
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
        let records = [record(b"1"), green, record(b"2")];
        let taken = journal.append(&records, Instant::now());
        assert_eq!(taken, [false, true, false]);
    }

    #[test]
    fn what_a_killed_gateway_left_is_finished_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut journal = Journal::open(folder.path(), "gw").unwrap();
        assert_eq!(journal.append(&[record(b"1")], now), [true]);
        journal.tick(now).unwrap();
        drop(journal);
        Journal::open(folder.path(), "gw").unwrap();
        assert_eq!(files(folder.path(), ".jsonl").len(), 1);
    }
}
