//! What is known of each plugin: its contents in the state folder, and which of
//! them is active.
//!
//! Contents lie in `<state>/plugins/NAME/HEX.wasm`, what is active in
//! `<state>/plugins/NAME/active`; both are on the disk before anybody is told.
//! Never calls a plugin. Used by `reconcile`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::status::{LastSwap, PluginVersion};
use crate::durable;
use crate::id::{Digest, wall_clock};
use crate::name::Name;

/// Contents of a plugin that are kept besides the active one, for `rollback`.
const KEPT_MAX: usize = 10;

/// What a plugin's folder says about it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    /// What decides.
    pub(super) active: Option<String>,
    /// What decided before, newest first.
    pub(super) previous: Vec<String>,
    /// The content of the resource's `source` when it was last applied: where
    /// it changes, the source wins over what was swapped (SEMANTICS §12).
    pub(super) source: Option<String>,
    /// The last swap, done or refused.
    pub(super) last_swap: Option<LastSwap>,
}

/// The folder of one plugin.
#[derive(Debug, Clone)]
pub(super) struct PluginFolder {
    path: PathBuf,
}

/// The time now, RFC 3339 in UTC, to the second.
#[must_use]
pub(super) fn now_text() -> String {
    let now = Timestamp::try_from(wall_clock()).unwrap_or_default();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl PluginFolder {
    /// The folder of `name`, made where it is not there.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub(super) fn open(state: &Path, name: &Name) -> io::Result<Self> {
        let folder = Self::at(state, name);
        durable::private_folder(&folder.path)?;
        Ok(folder)
    }

    /// The folder of `name`, there or not, for what only reads.
    pub(super) fn at(state: &Path, name: &Name) -> Self {
        let path = state.join("plugins").join(name.as_str());
        Self { path }
    }

    /// What the folder says; the default where it says nothing.
    ///
    /// # Errors
    ///
    /// Where the file is there but is not a record.
    pub(super) fn record(&self) -> io::Result<Record> {
        match durable::read(&self.path.join("active"))? {
            Some(content) => serde_json::from_slice(&content)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            None => Ok(Record::default()),
        }
    }

    /// Keeps a record; it is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// Where the system refuses; then the old one stands.
    pub(super) fn keep(&self, record: &Record) -> io::Result<()> {
        let content = serde_json::to_vec_pretty(record)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        durable::write(&self.path.join("active"), &content)
    }

    /// Keeps a content. Tells whether it was not there before.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub(super) fn store(&self, digest: &Digest, content: &[u8]) -> io::Result<bool> {
        let path = self.file(digest);
        if self.content(digest)?.is_some() {
            // The newest is what was pushed last, also where it was there.
            fs::File::open(&path)?.set_modified(wall_clock())?;
            return Ok(false);
        }
        durable::write(&path, content)?;
        Ok(true)
    }

    /// A content; none where it is not here, or is not what it is named for.
    ///
    /// # Errors
    ///
    /// Where it is there but cannot be read.
    pub(super) fn content(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        let content = durable::read(&self.file(digest))?;
        Ok(content
            .filter(|content| Digest::of(content) == *digest)
            .map(Bytes::from))
    }

    /// All contents, newest first.
    #[must_use]
    pub(super) fn versions(&self, active: Option<&str>, live: &[String]) -> Vec<PluginVersion> {
        let mut found: Vec<(std::time::SystemTime, PluginVersion)> = Vec::new();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let Some(hex) = path.file_stem().and_then(|stem| stem.to_str()) else {
                continue;
            };
            let Ok(digest) = Digest::parse(&format!("sha256:{hex}")) else {
                continue;
            };
            let Ok(time) = entry.metadata().and_then(|meta| meta.modified()) else {
                continue;
            };
            let pushed = Timestamp::try_from(time).unwrap_or_default();
            let digest = digest.as_str().to_owned();
            found.push((
                time,
                PluginVersion {
                    state: if active == Some(digest.as_str()) {
                        "active"
                    } else {
                        "stored"
                    },
                    live: live.contains(&digest),
                    pushed: pushed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    digest,
                },
            ));
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.0));
        found.into_iter().map(|(_, version)| version).collect()
    }

    /// Removes contents, and what a kill left half written. Nobody may be writing
    /// here.
    ///
    /// # Errors
    ///
    /// The last time that the system refused; what it let go is gone.
    pub(super) fn remove(&self, digests: &[&str]) -> io::Result<()> {
        let contents = digests.iter().filter_map(|text| Digest::parse(text).ok());
        let contents = contents.map(|digest| self.file(&digest));
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let halves = entries.map(|entry| entry.path());
        let halves = halves.filter(|path| path.extension().is_some_and(|end| end == "tmp"));
        let mut result = Ok(());
        for path in contents.chain(halves) {
            result = fs::remove_file(&path).and(result);
        }
        result
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        self.path.join(format!("{}.wasm", digest.hex()))
    }
}

impl Record {
    /// Makes `digest` the active content and remembers the one before.
    pub(super) fn activate(&mut self, digest: &Digest) {
        let next = digest.as_str().to_owned();
        if self.active.as_ref() == Some(&next) {
            return;
        }
        self.previous.retain(|one| *one != next);
        if let Some(before) = self.active.replace(next) {
            self.previous.insert(0, before);
            self.previous.truncate(KEPT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_active_survives_and_the_one_before_is_remembered() {
        let state = tempfile::tempdir().unwrap();
        let name = Name::parse("key-auth").unwrap();
        let folder = PluginFolder::open(state.path(), &name).unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert!(folder.store(&one, b"one").unwrap());
        assert!(!folder.store(&one, b"one").unwrap());
        let mut record = folder.record().unwrap();
        record.activate(&one);
        record.activate(&two);
        record.activate(&two);
        folder.keep(&record).unwrap();
        let again = PluginFolder::open(state.path(), &name)
            .unwrap()
            .record()
            .unwrap();
        assert_eq!(again.active.as_deref(), Some(two.as_str()));
        assert_eq!(again.previous, [one.as_str().to_owned()]);
        assert_eq!(folder.content(&one).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(folder.content(&two).unwrap(), None);
    }

    #[test]
    fn a_content_that_was_changed_on_the_disk_is_not_there() {
        let state = tempfile::tempdir().unwrap();
        let folder = PluginFolder::open(state.path(), &Name::parse("key-auth").unwrap()).unwrap();
        let digest = Digest::of(b"one");
        folder.store(&digest, b"one").unwrap();
        fs::write(folder.file(&digest), b"two").unwrap();
        assert_eq!(folder.content(&digest).unwrap(), None);
        // A push mends it.
        assert!(folder.store(&digest, b"one").unwrap());
        assert_eq!(
            folder.content(&digest).unwrap().as_deref(),
            Some(&b"one"[..])
        );
    }

    #[test]
    fn what_was_pushed_last_is_the_newest() {
        let state = tempfile::tempdir().unwrap();
        let folder = PluginFolder::open(state.path(), &Name::parse("key-auth").unwrap()).unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        for (digest, content) in [(&one, b"one"), (&two, b"two"), (&one, b"one")] {
            folder.store(digest, content).unwrap();
            // File times may be coarse.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(folder.versions(None, &[])[0].digest, one.as_str());
    }
}
