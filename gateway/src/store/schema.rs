//! The tables of the store's file, and how those of an older build are brought
//! up: one step per `user_version`, each a transaction.
//!
//! A step that was released is never changed. Used by `file`.

use rusqlite::Connection;

/// What brings an older file up, from version 0.
const STEPS: [&str; 3] = [
    "
    CREATE TABLE resource (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        document TEXT NOT NULL, source TEXT, PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        time TEXT NOT NULL, by TEXT NOT NULL, change TEXT NOT NULL, document TEXT,
        PRIMARY KEY (kind, name, revision)
    ) STRICT, WITHOUT ROWID;
",
    // What a file was last applied with outlives the resource, so that one that
    // was deleted since is not made again by the same file.
    "
    CREATE TABLE applied (
        kind TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO applied SELECT kind, name, source FROM resource WHERE source IS NOT NULL;
    ALTER TABLE resource ADD COLUMN from_file INTEGER NOT NULL DEFAULT 0;
    UPDATE resource SET from_file = 1 WHERE source IS NOT NULL;
    ALTER TABLE resource DROP COLUMN source;
",
    "
    CREATE TABLE served (
        endpoint TEXT NOT NULL, version TEXT NOT NULL, settings TEXT NOT NULL,
        PRIMARY KEY (endpoint, version)
    ) STRICT, WITHOUT ROWID;
",
];

/// The version that this build writes.
pub(super) const VERSION: usize = STEPS.len();

/// The version of a file; 0 for a new one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))
}

/// Brings a file of an earlier version up.
pub(super) fn migrate(connection: &mut Connection, from: usize) -> rusqlite::Result<()> {
    for (at, step) in STEPS.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        let to = i64::try_from(at + 1).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn steps() -> &'static [&'static str] {
    &STEPS
}
