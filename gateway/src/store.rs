//! Resources and their revisions.
//!
//! Every change is a revision that says who made it and when; a resource that
//! was deleted keeps its history, and its numbers go on. Knows nothing of what a
//! resource means. Written by `reconcile` alone.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

mod file;

pub use file::FileStore;

/// Revisions of a resource that are kept for `history` and `rollback`.
pub const REVISIONS_KEPT: u32 = 100;

/// A resource as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// `Endpoint` or `Plugin`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its revision, from 1.
    pub revision: u64,
    /// The resource, with absolute paths and without status.
    pub document: Value,
    /// The digest of the file's content that it was last applied from.
    pub source: Option<String>,
}

/// A change to be written.
#[derive(Debug, Clone)]
pub struct Change {
    /// `Endpoint` or `Plugin`.
    pub kind: &'static str,
    /// The resource's name.
    pub name: String,
    /// The resource; none: it is deleted.
    pub document: Option<Value>,
    /// The digest of the file's content, where it comes from one; none keeps
    /// what is known.
    pub source: Option<String>,
    /// Who changes it: `file`, `admin`.
    pub by: String,
    /// What is changed, in words.
    pub change: String,
    /// The revision it must have; none: any.
    pub expected: Option<u64>,
}

/// One line of a resource's history (SEMANTICS §13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Revision {
    /// From 1.
    pub revision: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Who.
    pub by: String,
    /// What, in words.
    pub change: String,
}

/// Why the store did not do it. What was there before is there.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster.
    #[error("revision {given} is stale; it is at {current}")]
    Stale {
        /// What the change was made for.
        given: u64,
        /// What is there; 0 where there is none.
        current: u64,
    },
    /// The file cannot be read or written.
    #[error("the store {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What SQLite said.
        cause: String,
    },
}
