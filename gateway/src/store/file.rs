//! The store in one SQLite file: `<state>/store.db`.
//!
//! One writer, WAL, `synchronous=FULL`: what was acknowledged survives a kill
//! and a power cut. Never shared between gateways (the state folder is locked).

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::Value;

use super::{Change, REVISIONS_KEPT, Revision, StoreError, Stored};
use crate::id::wall_clock;

/// How long a write waits for somebody who reads the file with `sqlite3`.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// What brings an older file up: one entry per `user_version`, from 0.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE resource (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        document TEXT NOT NULL, source TEXT, PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        time TEXT NOT NULL, by TEXT NOT NULL, change TEXT NOT NULL, document TEXT,
        PRIMARY KEY (kind, name, revision)
    ) STRICT, WITHOUT ROWID;
"];

/// The store of one gateway.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl FileStore {
    /// Opens or makes `<state>/store.db` and brings it up to this build.
    ///
    /// # Errors
    ///
    /// Where the file is not a store, is torn, is locked, or is of a later build.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let path = state.join("store.db");
        let failed = |cause: rusqlite::Error| file_error(&path, &cause);
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(failed)?;
        let version: usize = connection
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
            .map(|version| usize::try_from(version).unwrap_or(usize::MAX))
            .map_err(failed)?;
        if version > MIGRATIONS.len() {
            return Err(StoreError::File {
                path: path.display().to_string(),
                cause: format!(
                    "it is of version {version}; this build knows {}. Run the later build",
                    MIGRATIONS.len()
                ),
            });
        }
        for (from, migration) in MIGRATIONS.iter().enumerate().skip(version) {
            let step = connection.transaction().map_err(failed)?;
            step.execute_batch(migration).map_err(failed)?;
            let to = i64::try_from(from + 1).unwrap_or(i64::MAX);
            step.pragma_update(None, "user_version", to)
                .map_err(failed)?;
            step.commit().map_err(failed)?;
        }
        Ok(Self {
            connection: Mutex::new(connection),
            path,
        })
    }

    /// All resources of a kind, by name.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn list(&self, kind: &str) -> Result<Vec<Stored>, StoreError> {
        let connection = self.connection.lock();
        let read = || {
            let mut rows = connection.prepare_cached(
                "SELECT kind, name, revision, document, source FROM resource
                 WHERE kind = ?1 ORDER BY name",
            )?;
            rows.query_map([kind], stored)?
                .collect::<Result<Vec<_>, _>>()
        };
        read().map_err(|cause| self.failed(&cause))
    }

    /// One resource.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, StoreError> {
        let connection = self.connection.lock();
        connection
            .prepare_cached(
                "SELECT kind, name, revision, document, source FROM resource
                 WHERE kind = ?1 AND name = ?2",
            )
            .and_then(|mut row| row.query_row([kind, name], stored).optional())
            .map_err(|cause| self.failed(&cause))
    }

    /// Writes a change as one transaction; its revision. It is on the disk when
    /// this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] where the revision is not the expected one.
    pub fn write(&self, change: &Change) -> Result<u64, StoreError> {
        let mut connection = self.connection.lock();
        let step = connection
            .transaction()
            .map_err(|cause| self.failed(&cause))?;
        let current = current(&step, change).map_err(|cause| self.failed(&cause))?;
        if let Some(given) = change.expected
            && given != current.live
        {
            return Err(StoreError::Stale {
                given,
                current: current.live,
            });
        }
        let revision = current.last + 1;
        put(&step, change, revision)
            .and_then(|()| step.commit())
            .map_err(|cause| self.failed(&cause))?;
        Ok(revision)
    }

    /// The history of a resource, newest first.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn history(&self, kind: &str, name: &str) -> Result<Vec<Revision>, StoreError> {
        let connection = self.connection.lock();
        let read = || {
            let mut rows = connection.prepare_cached(
                "SELECT revision, time, by, change FROM history
                 WHERE kind = ?1 AND name = ?2 ORDER BY revision DESC",
            )?;
            rows.query_map([kind, name], |row| {
                Ok(Revision {
                    revision: number(row.get(0)?),
                    time: row.get(1)?,
                    by: row.get(2)?,
                    change: row.get(3)?,
                })
            })?
            .collect::<Result<Vec<_>, _>>()
        };
        read().map_err(|cause| self.failed(&cause))
    }

    /// The resource as it was at a revision; none where that is not kept, or
    /// was a deletion.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn at(&self, kind: &str, name: &str, revision: u64) -> Result<Option<Value>, StoreError> {
        let connection = self.connection.lock();
        let document: Option<Option<String>> = connection
            .prepare_cached(
                "SELECT document FROM history WHERE kind = ?1 AND name = ?2 AND revision = ?3",
            )
            .and_then(|mut row| {
                row.query_row(params![kind, name, signed(revision)], |row| row.get(0))
                    .optional()
            })
            .map_err(|cause| self.failed(&cause))?;
        Ok(document
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn failed(&self, cause: &rusqlite::Error) -> StoreError {
        file_error(&self.path, cause)
    }
}

fn file_error(path: &Path, cause: &rusqlite::Error) -> StoreError {
    StoreError::File {
        path: path.display().to_string(),
        cause: cause.to_string(),
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

fn put(step: &Transaction<'_>, change: &Change, revision: u64) -> rusqlite::Result<()> {
    let (kind, name) = (change.kind, change.name.as_str());
    let document = change.document.as_ref().map(Value::to_string);
    match &document {
        Some(document) => step
            .prepare_cached(
                "INSERT INTO resource (kind, name, revision, document, source)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (kind, name) DO UPDATE SET revision = ?3, document = ?4,
                 source = coalesce(?5, source)",
            )?
            .execute(params![
                kind,
                name,
                signed(revision),
                document,
                change.source
            ])?,
        None => step
            .prepare_cached("DELETE FROM resource WHERE kind = ?1 AND name = ?2")?
            .execute([kind, name])?,
    };
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
        document
    ])?;
    let oldest = revision.saturating_sub(u64::from(REVISIONS_KEPT));
    step.prepare_cached("DELETE FROM history WHERE kind = ?1 AND name = ?2 AND revision <= ?3")?
        .execute(params![kind, name, signed(oldest)])?;
    Ok(())
}

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    let text: String = row.get(3)?;
    let document = serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(Stored {
        kind: row.get(0)?,
        name: row.get(1)?,
        revision: number(row.get(2)?),
        document,
        source: row.get(4)?,
    })
}

/// SQLite's integers are signed; a revision never is.
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(document: Option<Value>, expected: Option<u64>) -> Change {
        Change {
            kind: "Endpoint",
            name: "iris".to_owned(),
            document,
            source: None,
            by: "test".to_owned(),
            change: "tested".to_owned(),
            expected,
        }
    }

    #[test]
    fn what_is_written_is_there_after_it_is_opened_again() {
        let state = tempfile::tempdir().unwrap();
        let store = FileStore::open(state.path()).unwrap();
        assert_eq!(
            store.write(&change(Some(json!({ "a": 1 })), None)).unwrap(),
            1
        );
        assert_eq!(
            store
                .write(&change(Some(json!({ "a": 2 })), Some(1)))
                .unwrap(),
            2
        );
        drop(store);
        let store = FileStore::open(state.path()).unwrap();
        let found = store.get("Endpoint", "iris").unwrap().unwrap();
        assert_eq!((found.revision, &found.document), (2, &json!({ "a": 2 })));
        assert_eq!(
            store.at("Endpoint", "iris", 1).unwrap(),
            Some(json!({ "a": 1 }))
        );
        assert_eq!(store.list("Endpoint").unwrap(), [found]);
        assert!(store.list("Plugin").unwrap().is_empty());
    }

    #[test]
    fn a_stale_change_is_refused_and_changes_nothing() {
        let state = tempfile::tempdir().unwrap();
        let store = FileStore::open(state.path()).unwrap();
        store.write(&change(Some(json!(1)), Some(0))).unwrap();
        let error = store.write(&change(Some(json!(2)), Some(7))).unwrap_err();
        assert_eq!(error.to_string(), "revision 7 is stale; it is at 1");
        assert_eq!(store.history("Endpoint", "iris").unwrap().len(), 1);
    }

    #[test]
    fn numbers_go_on_after_a_resource_was_deleted() {
        let state = tempfile::tempdir().unwrap();
        let store = FileStore::open(state.path()).unwrap();
        store.write(&change(Some(json!(1)), None)).unwrap();
        store.write(&change(None, Some(1))).unwrap();
        assert_eq!(store.get("Endpoint", "iris").unwrap(), None);
        assert_eq!(store.write(&change(Some(json!(2)), Some(0))).unwrap(), 3);
        assert_eq!(store.at("Endpoint", "iris", 2).unwrap(), None);
    }

    #[test]
    fn only_the_last_revisions_are_kept() {
        let state = tempfile::tempdir().unwrap();
        let store = FileStore::open(state.path()).unwrap();
        for n in 0..REVISIONS_KEPT + 5 {
            store.write(&change(Some(json!(n)), None)).unwrap();
        }
        let history = store.history("Endpoint", "iris").unwrap();
        assert_eq!(history.len(), REVISIONS_KEPT as usize);
        assert_eq!(history[0].revision, u64::from(REVISIONS_KEPT) + 5);
    }

    #[test]
    fn a_file_that_is_no_store_is_said_by_its_path() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(
            state.path().join("store.db"),
            "not a database, but long enough",
        )
        .unwrap();
        let error = FileStore::open(state.path()).unwrap_err().to_string();
        assert!(
            error.contains("store.db") && error.contains("not a database"),
            "{error}"
        );
    }
}
