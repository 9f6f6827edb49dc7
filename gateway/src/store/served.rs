//! What served: of each version of an endpoint the settings that its replicas
//! were last healthy with.
//!
//! The history has every revision, but not whether its replicas ever came up;
//! and revisions go, while what serves may be older. Forgotten with the version.
//! Used by `file`.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};
use serde_json::Value;

use super::Act;

/// The settings of one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// The endpoint.
    pub endpoint: String,
    /// The version.
    pub version: String,
    /// What its replicas are started with.
    pub settings: Value,
}

/// All of them, by endpoint and version. What cannot be read is left out.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<BTreeMap<(String, String), Value>> {
    let mut rows = connection.prepare_cached("SELECT endpoint, version, settings FROM served")?;
    let rows = rows.query_map([], |row| {
        let text: String = row.get(2)?;
        Ok(((row.get(0)?, row.get(1)?), text))
    })?;
    let mut found = BTreeMap::new();
    for row in rows {
        let (key, text): (_, String) = row?;
        if let Ok(settings) = serde_json::from_str(&text) {
            found.insert(key, settings);
        }
    }
    Ok(found)
}

/// Keeps one, where its version is still there.
pub(super) fn keep(step: &Transaction<'_>, one: &Served) -> rusqlite::Result<()> {
    let text = one.settings.to_string();
    step.prepare_cached(
        "INSERT INTO served (endpoint, version, settings)
         SELECT ?1, ?2, ?3 FROM resource, json_each(document, '$.spec.versions') AS each
         WHERE kind = 'Endpoint' AND name = ?1 AND each.value ->> 'name' = ?2
         ON CONFLICT (endpoint, version) DO UPDATE SET settings = ?3",
    )?
    .execute(params![one.endpoint, one.version, text])?;
    Ok(())
}

/// Forgets versions that are not there any more.
pub(super) fn forget(step: &Transaction<'_>, endpoint: &str, act: &Act) -> rusqlite::Result<()> {
    let there = match act {
        Act::Note => return Ok(()),
        Act::Delete => "[]".to_owned(),
        Act::Put(document) => {
            let versions = document.pointer("/spec/versions");
            versions.map_or_else(|| "[]".to_owned(), Value::to_string)
        }
    };
    step.prepare_cached(
        "DELETE FROM served WHERE endpoint = ?1
         AND version NOT IN (SELECT value ->> 'name' FROM json_each(?2))",
    )?
    .execute([endpoint, there.as_str()])?;
    Ok(())
}
