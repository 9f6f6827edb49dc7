//! Resources and their revisions.
//!
//! Every change is a revision that says who made it and when; a resource that
//! was deleted keeps its history, and its numbers go on. Knows nothing of what a
//! resource means, but that an endpoint has versions, which may have served. Written
//! by `reconcile` alone.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

mod file;
mod salvage;
mod schema;
mod served;

pub use file::{FileStore, Latest};
pub use salvage::salvage;
pub use served::Served;

/// A resource as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// `GatewayConfig`, `Plugin` or `Endpoint`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its revision, from 1.
    pub revision: u64,
    /// The resource, with absolute paths and without status.
    pub document: Value,
    /// Whether a file made it; else the API did.
    pub from_file: bool,
}

/// What becomes of a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// It is this now, without status.
    Put(Value),
    /// It is gone.
    Delete,
    /// The resource itself stays as it is; something about it changed.
    Note,
}

/// A change to be written.
#[derive(Debug, Clone)]
pub struct Change {
    /// `GatewayConfig`, `Plugin` or `Endpoint`.
    pub kind: &'static str,
    /// The resource's name.
    pub name: String,
    /// What becomes of it.
    pub act: Act,
    /// What the history keeps for a way back; none: what is put.
    pub kept: Option<Value>,
    /// The digest of the file's content, where it comes from one.
    pub source: Option<String>,
    /// Who changes it: `file`, `admin`.
    pub by: &'static str,
    /// What is changed, in words.
    pub change: String,
    /// The revision it must have, 0: none may be there; none: any.
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

/// What ails the file of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Somebody else holds it; that passes.
    Locked,
    /// The disk is full, read-only or failing; that may pass.
    Disk,
    /// What is in it is broken; somebody has to mend it.
    Torn,
    /// A later build wrote it.
    Later,
}

/// Why the store did not do it. What was there before is there.
#[derive(Debug, Clone, thiserror::Error)]
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
        /// What that means.
        trouble: Trouble,
    },
}
