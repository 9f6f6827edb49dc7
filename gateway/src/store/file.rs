//! The store in one SQLite file: `<state>/store.db`.
//!
//! One writer, WAL, `synchronous=FULL`: what was acknowledged survives a kill
//! and a power cut. Never shared between gateways (the state folder is locked).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde_json::Value;

use super::{Act, Change, Revision, Served, StoreError, Stored, Trouble, schema, served};
use crate::id::wall_clock;

/// How long a write waits for somebody who holds the file, as `sqlite3` may.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// The name of the file in the state folder.
pub(super) const FILE: &str = "store.db";

/// The store of one gateway.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// The file that was opened: another may come to stand in its place.
    file: (u64, u64),
    new: bool,
    revisions: u32,
    connection: Mutex<Connection>,
}

/// The last revision of a resource, as the history keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// Its number.
    pub revision: u64,
    /// What is kept for a way back; none where it was a deletion.
    pub kept: Option<Value>,
}

impl FileStore {
    /// Opens or makes `<state>/store.db` and brings it up to this build.
    /// `revisions` of each resource are kept. Reads the whole file once, to see
    /// that it is not torn.
    ///
    /// # Errors
    ///
    /// Where the file is not a store, is torn, is locked, or is of a later build.
    pub fn open(state: &Path, revisions: u32) -> Result<Self, StoreError> {
        let path = state.join(FILE);
        let failed = |cause: rusqlite::Error| file_error(&path, &cause);
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(failed)?;
        let version = schema::version(&connection).map_err(failed)?;
        if version > schema::VERSION {
            let cause = format!(
                "it is of version {version}; this build knows {}. Run the later build",
                schema::VERSION
            );
            return Err(told(&path, cause, Trouble::Later));
        }
        let found: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(failed)?;
        if found != "ok" {
            let cause = format!("it is torn: {}", found.replace('\n', " "));
            return Err(told(&path, cause, Trouble::Torn));
        }
        schema::migrate(&mut connection, version).map_err(failed)?;
        let file = identity(&path)
            .ok_or_else(|| told(&path, "it cannot be looked at".to_owned(), Trouble::Disk))?;
        Ok(Self {
            connection: Mutex::new(connection),
            file,
            new: version == 0,
            revisions,
            path,
        })
    }

    /// Whether there was none before, or an empty file.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// That what is written goes where the next start will read it.
    fn in_place(&self) -> Result<(), StoreError> {
        if identity(&self.path) == Some(self.file) {
            return Ok(());
        }
        let cause = "it was moved, deleted or replaced while the gateway runs: put it back, or restart the gateway";
        Err(told(&self.path, cause.to_owned(), Trouble::Disk))
    }

    /// All resources, by kind and name.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn list(&self) -> Result<Vec<Stored>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT kind, name, revision, document, from_file FROM resource
                     ORDER BY kind, name",
                )?
                .query_map([], stored)?
                .collect()
        })
    }

    /// The digests of the files' contents that were applied last, by kind and
    /// name; also of resources that were deleted since.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn applied(&self) -> Result<BTreeMap<(String, String), String>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT kind, name, source FROM applied")?
                .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
                .collect()
        })
    }

    /// The last revision of every resource of a kind, by name; also of those
    /// that are gone.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn latest(&self, kind: &str) -> Result<BTreeMap<String, Latest>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT name, max(revision), document FROM history WHERE kind = ?1
                     GROUP BY name",
                )?
                .query_map([kind], |row| {
                    let latest = Latest {
                        revision: number(row.get(1)?),
                        kept: row.get::<_, Option<String>>(2)?.and_then(parsed),
                    };
                    Ok((row.get(0)?, latest))
                })?
                .collect()
        })
    }

    /// Writes changes as one transaction; their revisions. They are on the disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] where a revision is not the expected one. Then
    /// nothing was written.
    pub fn write(&self, changes: &[Change]) -> Result<Vec<u64>, StoreError> {
        self.in_place()?;
        let mut connection = self.connection.lock();
        let failed = |cause: rusqlite::Error| self.failed(&cause);
        let step = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let mut written = Vec::with_capacity(changes.len());
        for change in changes {
            let current = current(&step, change).map_err(failed)?;
            if let Some(given) = change.expected
                && given != current.live
            {
                let current = current.live;
                return Err(StoreError::Stale { given, current });
            }
            let revision = current.last + 1;
            put(&step, change, revision, self.revisions).map_err(failed)?;
            written.push(revision);
        }
        step.commit().map_err(failed)?;
        Ok(written)
    }

    /// The settings that served, by endpoint and version.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn served(&self) -> Result<BTreeMap<(String, String), Value>, StoreError> {
        self.read(served::all)
    }

    /// Keeps settings that served, but of versions that are gone.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written; then none was kept.
    pub fn keep_served(&self, all: &[Served]) -> Result<(), StoreError> {
        let mut connection = self.connection.lock();
        let mut keep = || {
            let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            all.iter().try_for_each(|one| served::keep(&step, one))?;
            step.commit()
        };
        keep().map_err(|cause| self.failed(&cause))
    }

    /// Writes to the disk without changing anything, to see whether it can.
    ///
    /// # Errors
    ///
    /// Where it cannot.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.in_place()?;
        let mut connection = self.connection.lock();
        let mut write = || {
            let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let version = i64::try_from(schema::VERSION).unwrap_or(i64::MAX);
            step.pragma_update(None, "user_version", version)?;
            step.commit()
        };
        write().map_err(|cause| self.failed(&cause))
    }

    /// The history of a resource, newest first.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn history(&self, kind: &str, name: &str) -> Result<Vec<Revision>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT revision, time, by, change FROM history
                     WHERE kind = ?1 AND name = ?2 ORDER BY revision DESC",
                )?
                .query_map([kind, name], |row| {
                    Ok(Revision {
                        revision: number(row.get(0)?),
                        time: row.get(1)?,
                        by: row.get(2)?,
                        change: row.get(3)?,
                    })
                })?
                .collect()
        })
    }

    /// What was kept of the resource at a revision; none where that is not kept,
    /// or was a deletion.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn at(&self, kind: &str, name: &str, revision: u64) -> Result<Option<Value>, StoreError> {
        self.read(|connection| {
            let found: Option<Option<String>> = connection
                .prepare_cached(
                    "SELECT document FROM history WHERE kind = ?1 AND name = ?2 AND revision = ?3",
                )?
                .query_row(params![kind, name, signed(revision)], |row| row.get(0))
                .optional()?;
            Ok(found.flatten().and_then(parsed))
        })
    }

    /// What the history keeps of a resource, without its deletions.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or one of them is no JSON.
    pub fn kept(&self, kind: &str, name: &str) -> Result<Vec<Value>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT document FROM history
                     WHERE kind = ?1 AND name = ?2 AND document IS NOT NULL",
                )?
                .query_map([kind, name], |row| json(&row.get::<_, String>(0)?, 0))?
                .collect()
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.connection.lock()).map_err(|cause| self.failed(&cause))
    }

    fn failed(&self, cause: &rusqlite::Error) -> StoreError {
        file_error(&self.path, cause)
    }
}

/// Device and number of a file; none where it is not there.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// What SQLite said, with what it means.
pub(super) fn file_error(path: &Path, cause: &rusqlite::Error) -> StoreError {
    let trouble = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Locked,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Torn,
        Some(_) => Trouble::Disk,
        // What is in it is not what was written.
        None => Trouble::Torn,
    };
    told(path, cause.to_string(), trouble)
}

fn told(path: &Path, cause: String, trouble: Trouble) -> StoreError {
    StoreError::File {
        path: path.display().to_string(),
        cause,
        trouble,
    }
}

/// Where a resource stands.
struct Current {
    /// Its revision; 0 where it is not there.
    live: u64,
    /// The last it ever had.
    last: u64,
}

fn current(step: &Transaction<'_>, change: &Change) -> rusqlite::Result<Current> {
    let of = |sql: &str| -> rusqlite::Result<u64> {
        let found: Option<i64> = step
            .prepare_cached(sql)?
            .query_row([change.kind, change.name.as_str()], |row| row.get(0))
            .optional()?
            .flatten();
        Ok(found.map_or(0, number))
    };
    Ok(Current {
        live: of("SELECT revision FROM resource WHERE kind = ?1 AND name = ?2")?,
        last: of("SELECT max(revision) FROM history WHERE kind = ?1 AND name = ?2")?,
    })
}

fn put(
    step: &Transaction<'_>,
    change: &Change,
    revision: u64,
    revisions: u32,
) -> rusqlite::Result<()> {
    let (kind, name) = (change.kind, change.name.as_str());
    let put = match &change.act {
        Act::Put(document) => {
            let text = document.to_string();
            step.prepare_cached(
                "INSERT INTO resource (kind, name, revision, document, from_file)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (kind, name) DO UPDATE SET revision = ?3, document = ?4,
                 from_file = max(from_file, ?5)",
            )?
            .execute(params![
                kind,
                name,
                signed(revision),
                text,
                change.source.is_some()
            ])?;
            Some(text)
        }
        Act::Delete => {
            step.prepare_cached("DELETE FROM resource WHERE kind = ?1 AND name = ?2")?
                .execute([kind, name])?;
            if change.by == "file" {
                // Should the file come back, it is made again.
                step.prepare_cached("DELETE FROM applied WHERE kind = ?1 AND name = ?2")?
                    .execute([kind, name])?;
            }
            None
        }
        Act::Note => {
            step.prepare_cached("UPDATE resource SET revision = ?3 WHERE kind = ?1 AND name = ?2")?
                .execute(params![kind, name, signed(revision)])?;
            None
        }
    };
    if kind == "Endpoint" {
        served::forget(step, name, &change.act)?;
    }
    if let Some(source) = &change.source {
        step.prepare_cached(
            "INSERT INTO applied (kind, name, source) VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, name) DO UPDATE SET source = ?3",
        )?
        .execute([kind, name, source.as_str()])?;
    }
    let time = jiff::Timestamp::try_from(wall_clock()).unwrap_or_default();
    step.prepare_cached(
        "INSERT INTO history (kind, name, revision, time, by, change, document)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        kind,
        name,
        signed(revision),
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        change.by,
        change.change,
        change.kept.as_ref().map(Value::to_string).or(put)
    ])?;
    let oldest = revision.saturating_sub(u64::from(revisions));
    step.prepare_cached("DELETE FROM history WHERE kind = ?1 AND name = ?2 AND revision <= ?3")?
        .execute(params![kind, name, signed(oldest)])?;
    Ok(())
}

pub(super) fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    let document = json(&row.get::<_, String>(3)?, 3)?;
    Ok(Stored {
        kind: row.get(0)?,
        name: row.get(1)?,
        revision: number(row.get(2)?),
        document,
        from_file: row.get(4)?,
    })
}

/// The document in a column.
fn json(text: &str, column: usize) -> rusqlite::Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
    })
}

fn parsed(text: String) -> Option<Value> {
    serde_json::from_str(&text).ok()
}

/// SQLite's integers are signed; a revision never is.
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
