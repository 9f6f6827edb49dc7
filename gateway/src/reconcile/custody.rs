//! The store as a running gateway has it: open or not, and taking changes or
//! not.
//!
//! A store that fails changes nothing of what runs: what is asked of it is 503,
//! status and an event say why, and it is tried again where that may help. Used
//! by `reconcile`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::ControlError;
use crate::durable;
use crate::event::Events;
use crate::store::{self, Change, FileStore, Revision, StoreError, Stored, Trouble};

/// Says that the store is not the one of before, until somebody takes it away: a
/// second start would not know.
const MISSING: &str = "store.missing";

/// What a gateway that had endpoints or plugins leaves beside its store.
const BESIDE: [&str; 2] = ["keys.json", "plugins"];

/// The store of a running gateway.
#[derive(Debug)]
pub(super) struct Custody {
    state: PathBuf,
    revisions: u32,
    events: Arc<Events>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    store: Option<Arc<FileStore>>,
    /// What was found at the start and stays true until the next.
    found: Option<String>,
    /// Why it takes no changes now.
    trouble: Option<StoreError>,
}

impl Custody {
    /// Opens the store of a state folder, or tells why it cannot.
    pub(super) fn open(state: &Path, revisions: u32, events: Arc<Events>) -> Self {
        let custody = Self {
            state: state.to_owned(),
            revisions,
            events,
            held: Mutex::new(Held {
                store: None,
                found: None,
                trouble: None,
            }),
        };
        match FileStore::open(state, revisions) {
            Ok(store) => custody.take(store),
            Err(error) => custody.fail(error),
        }
        custody
    }

    /// The store is open.
    fn take(&self, store: FileStore) {
        let there = |name: &&str| self.state.join(name).exists();
        let marker = self.state.join(MISSING);
        if store.is_new() && BESIDE.iter().any(there) {
            if let Err(error) = durable::write(&marker, b"") {
                tracing::warn!(%error, "{} could not be written", marker.display());
            }
            self.tell_missing();
        } else if marker.exists() {
            self.tell_missing();
        }
        self.held.lock().store = Some(Arc::new(store));
    }

    fn tell_missing(&self) {
        let state = self.state.display();
        let what = format!(
            "there was no store.db in {state}, which was in use before: what was changed over the API is not known any more, and files are applied as if for the first time; where there is a copy of store.db, stop the gateway and put it back; contents of plugins are kept until you remove {MISSING} there"
        );
        self.events.warn("StoreMissing", "gateway", &what);
        self.held.lock().found = Some(what);
    }

    /// The store, where it is open; it may still take no changes.
    pub(super) fn store(&self) -> Result<Arc<FileStore>, ControlError> {
        let held = self.held.lock();
        held.store.clone().ok_or_else(|| {
            let reason = held.trouble.as_ref().map(words).unwrap_or_default();
            ControlError::Store(reason)
        })
    }

    /// What can be read of a store that is not open.
    pub(super) fn salvage(&self) -> Vec<Stored> {
        store::salvage(&self.state)
    }

    /// Writes changes as one transaction; their revisions.
    ///
    /// # Errors
    ///
    /// 412 where a revision is not the expected one, 503; then nothing was written.
    pub(super) fn write(&self, changes: &[Change]) -> Result<Vec<u64>, ControlError> {
        let store = self.store()?;
        if let Some(words) = self.locked() {
            return Err(ControlError::Store(words));
        }
        // A sync of the disk; other tasks of this thread go elsewhere meanwhile.
        match tokio::task::block_in_place(|| store.write(changes)) {
            Ok(written) => {
                self.recover();
                Ok(written)
            }
            Err(error @ StoreError::Stale { .. }) => Err(ControlError::Stale(error.to_string())),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The revisions of a resource, newest first.
    ///
    /// # Errors
    ///
    /// 503.
    pub(super) fn history(&self, kind: &str, name: &str) -> Result<Vec<Revision>, ControlError> {
        let found = self.store()?.history(kind, name);
        found.map_err(|error| self.failed(error))
    }

    /// A resource as it was at a revision.
    ///
    /// # Errors
    ///
    /// 404 where that revision is not kept, 503.
    pub(super) fn at(&self, kind: &str, name: &str, revision: u64) -> Result<Value, ControlError> {
        let found = self.store()?.at(kind, name, revision);
        found.map_err(|error| self.failed(error))?.ok_or_else(|| {
            let kind = kind.to_ascii_lowercase();
            ControlError::NotFound(format!(
                "{kind} {name} has no revision {revision} to go back to"
            ))
        })
    }

    /// A read that failed.
    pub(super) fn failed(&self, error: StoreError) -> ControlError {
        let words = words(&error);
        self.fail(error);
        ControlError::Store(words)
    }

    /// Why, where somebody is known to hold it: who waits for that too would
    /// let all changes after it wait. Looked at again by [`Custody::try_again`].
    fn locked(&self) -> Option<String> {
        let held = self.held.lock();
        let locked = |error: &&StoreError| matches!(error, StoreError::File { trouble, .. } if *trouble == Trouble::Locked);
        held.trouble.as_ref().filter(locked).map(words)
    }

    /// What an operator should know of it: why it takes no changes, else what is
    /// missing.
    pub(super) fn warning(&self) -> Option<String> {
        self.trouble().or_else(|| self.held.lock().found.clone())
    }

    /// Why it takes no changes.
    pub(super) fn trouble(&self) -> Option<String> {
        self.held.lock().trouble.as_ref().map(words)
    }

    /// Whether it fails in a way that may pass.
    pub(super) fn may_recover(&self) -> bool {
        matches!(
            self.held.lock().trouble,
            Some(StoreError::File {
                trouble: Trouble::Locked | Trouble::Disk,
                ..
            })
        )
    }

    /// Tries again to open it and to write; whether it takes changes now.
    pub(super) fn try_again(&self) -> bool {
        let open = self.held.lock().store.clone();
        let tried = match open {
            Some(store) => store.probe(),
            None => FileStore::open(&self.state, self.revisions).map(|store| self.take(store)),
        };
        match tried {
            Ok(()) => self.recover(),
            Err(error) => self.fail(error),
        }
        self.held.lock().trouble.is_none()
    }

    fn recover(&self) {
        if self.held.lock().trouble.take().is_some() {
            let what = "the store takes changes again";
            self.events.tell("StoreRecovered", "gateway", what);
        }
    }

    fn fail(&self, error: StoreError) {
        let words = words(&error);
        let before = self.held.lock().trouble.replace(error);
        // Told once, not at every change that is refused.
        if before.is_none() {
            self.events.warn("StoreFailed", "gateway", &words);
        }
    }
}

/// Why, what is done, and what to do.
fn words(error: &StoreError) -> String {
    let StoreError::File { trouble, .. } = error else {
        return error.to_string();
    };
    let rest = match trouble {
        Trouble::Locked => {
            "what runs goes on, and changes are refused until whoever holds it lets go"
        }
        Trouble::Disk => {
            "what runs goes on, and changes are refused until the disk takes them again"
        }
        Trouble::Torn => {
            "what can be read of it is served, and changes are refused; stop the gateway, then mend it with the `.recover` of sqlite3, or move it away to begin anew from the files"
        }
        Trouble::Later => "the files are served, and changes are refused",
    };
    format!("{error}; {rest}")
}
