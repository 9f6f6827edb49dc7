//! What can still be read of a store that cannot be opened.
//!
//! Works on a copy, so that the file stays as it was found for whoever mends
//! it, and so that a disk that takes no writes is no hindrance. Used by
//! `reconcile` at start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::Stored;
use super::file::{FILE, stored};
use crate::durable;

/// The resources of `<state>/store.db` that can be read, by kind and name; of a
/// torn file those whose pages are whole. Empty where nothing can.
#[must_use]
pub fn salvage(state: &Path) -> Vec<Stored> {
    let place = Place::new();
    for ending in ["", "-wal"] {
        let name = format!("{FILE}{ending}");
        let from = state.join(&name);
        // The log is not always there.
        if from.exists() && std::fs::copy(&from, place.0.join(&name)).is_err() {
            return Vec::new();
        }
    }
    let Ok(connection) = Connection::open(place.0.join(FILE)) else {
        return Vec::new();
    };
    let mut found = BTreeMap::new();
    // The history has every document a second time, on other pages. From both
    // ends, because a walk ends at the first page that is broken.
    for from in [
        "SELECT kind, name, max(revision), document, 0 FROM history GROUP BY kind, name",
        "SELECT kind, name, revision, document, 0 FROM resource",
    ] {
        for order in ["ASC", "DESC"] {
            let sql = format!("{from} ORDER BY kind {order}, name {order}");
            read(&connection, &sql, &mut found);
        }
    }
    drop(connection);
    found.into_values().collect()
}

fn read(connection: &Connection, sql: &str, found: &mut BTreeMap<(String, String), Stored>) {
    let Ok(mut rows) = connection.prepare(sql) else {
        return;
    };
    let Ok(rows) = rows.query_map([], stored) else {
        return;
    };
    // A row that is no resource, as that of a deletion, is skipped; SQLite's own
    // error ends the walk.
    for row in
        rows.take_while(|row| !matches!(row, Err(error) if error.sqlite_error_code().is_some()))
    {
        let Ok(mut row) = row else { continue };
        // What the history keeps of a plugin also says what decided; and that of
        // a shipped one may be no resource.
        if let Some(document) = row.document.as_object_mut() {
            document.remove("status");
        }
        if row.document.get("kind").is_none() {
            continue;
        }
        let key = (row.kind.clone(), row.name.clone());
        let newer = found
            .get(&key)
            .is_none_or(|known| known.revision <= row.revision);
        if newer {
            found.insert(key, row);
        }
    }
}

/// A folder of our own that goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("tidegate-salvage-{}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        // Where it cannot be made, the copy fails and says so.
        let _ = durable::private_folder(&path);
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left is a copy that only we can read.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
