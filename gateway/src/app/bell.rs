//! Rings when files that are watched may have changed.
//!
//! Knows nothing of what is in them, and may ring for nothing; whoever hears it
//! looks. Where the system tells nothing (a network's file system, no watches
//! left), whoever listens has to look now and then. Used by `watch`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The watches of some files and folders.
#[derive(Debug)]
pub(super) struct Bell {
    ring: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Files that are watched whatever they are called.
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
    told: bool,
}

impl Bell {
    /// One that watches nothing yet.
    pub(super) fn new() -> Self {
        let ring = Arc::new(Notify::new());
        let files = Arc::new(Mutex::new(BTreeSet::new()));
        let (rings, ours) = (Arc::clone(&ring), Arc::clone(&files));
        let made = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is a reason to look, too: news may have been lost.
            if event.map_or(true, |event| concerns(&event, &ours.lock())) {
                rings.notify_one();
            }
        });
        let mut bell = Self {
            ring,
            watcher: None,
            folders: BTreeSet::new(),
            files,
            told: false,
        };
        match made {
            Ok(watcher) => bell.watcher = Some(watcher),
            Err(error) => bell.tell(&error),
        }
        bell
    }

    /// Ends when something may have changed since it was asked last. Cancel-safe.
    pub(super) async fn rung(&self) {
        self.ring.notified().await;
    }

    /// Watches these folders for YAML and JSON, and in them these files whatever
    /// they are called; nothing else from now on. A folder that was replaced is
    /// watched anew.
    pub(super) fn watch(&mut self, folders: BTreeSet<PathBuf>, files: BTreeSet<PathBuf>) {
        *self.files.lock() = files;
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.folders.difference(&folders) {
            // It may be gone itself.
            let _ = watcher.unwatch(gone);
        }
        let mut failed = None;
        // One that is not there now is watched when it is: its parent rings.
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                failed = Some(error);
            }
        }
        self.folders = folders;
        match failed {
            Some(error) => self.tell(&error),
            None => self.told = false,
        }
    }

    fn tell(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "the system does not tell of changed files; they are looked at now and then: {error}"
            );
        }
    }
}

/// Whether an event may be about a file that is watched. Logs and the like may
/// lie beside them.
fn concerns(event: &Event, files: &BTreeSet<PathBuf>) -> bool {
    let ours = |path: &PathBuf| {
        let resources = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        resources || files.contains(path)
    };
    let ours = event.paths.iter().any(ours);
    // A link that leads elsewhere, or a folder that came or went.
    let may_lead = || event.paths.iter().any(|path| !is_regular(path));
    event.need_rescan()
        || match event.kind {
            EventKind::Access(_) => false,
            EventKind::Modify(ModifyKind::Data(_)) => ours,
            _ => ours || may_lead(),
        }
}

fn is_regular(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RenameMode};

    use super::*;

    #[test]
    fn what_lies_beside_the_files_does_not_ring() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("access.log"), "x").unwrap();
        std::os::unix::fs::symlink("x", at("..data")).unwrap();
        let files = BTreeSet::from([at("iris.conf"), at("auth.wasm")]);
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let created = EventKind::Create(CreateKind::Any);
        let check = |kind: EventKind, name: &str, rings: bool| {
            let event = Event::new(kind).add_path(at(name));
            assert_eq!(concerns(&event, &files), rings, "{event:?}");
        };
        for name in ["iris.yaml", "iris.conf", "auth.wasm"] {
            check(written, name, true);
            check(renamed, name, true);
        }
        check(written, "access.log", false);
        check(created, "access.log", false);
        check(renamed, "..data", true);
    }
}
