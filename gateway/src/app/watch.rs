//! `run --watch`: files are applied again when they change.
//!
//! Reads all of them once they have come to rest, checks them whole, and hands
//! them on as at start. A file that does not check, or that is empty because it
//! is being written, changes nothing. Never changes the gateway's own settings:
//! it says that they wait for a restart. Used by `app`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::bell::Bell;
use crate::reconcile::{Control, Files};
use crate::resource::{self, Addresses, GatewayConfig, PluginSource, Problem, Set};
use crate::shutdown::Tasks;

/// For how long nothing changes before files count as written. Editors write in
/// several steps within some milliseconds.
const QUIET: Duration = Duration::from_millis(200);
/// Files that change for longer than this many [`QUIET`]s are read as they are.
const QUIETS_MAX: u32 = 50;
/// How often they are looked at where nobody told of a change.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Problems that an event tells; the log has all.
const TOLD_MAX: usize = 10;

/// What is watched, and how it is applied.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Files and folders, as they were named.
    pub paths: Vec<PathBuf>,
    /// Addresses of the command line.
    pub addresses: Addresses,
    /// Whether what came from a file that is gone is deleted.
    pub prune: bool,
}

/// Tells two contents of a file apart without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// Files that are watched, each with its stamp; none where it is not there.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// Every file that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Look {
    resources: Stamps,
    /// Contents of plugins.
    modules: Stamps,
}

/// The watch of a running gateway.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Watched,
    control: Arc<Control>,
    /// What the gateway came up with, and as it was written.
    config: GatewayConfig,
    settings: Map<String, Value>,
    /// What was applied last.
    applied: Set,
    /// Files that may be empty: they were when they were first seen.
    empty: BTreeSet<String>,
    /// The last look that was read.
    seen: Option<Look>,
    refused: bool,
}

impl Watch {
    /// Of a gateway that came up with `set`.
    pub(super) fn new(watched: Watched, set: Set, control: Arc<Control>) -> Self {
        Self {
            empty: blank(&resource::texts(&watched.paths).0),
            watched,
            control,
            config: set.config.clone(),
            settings: settings(&set),
            applied: set,
            seen: None,
            refused: false,
        }
    }

    /// Watches until `stop`. What changed while the gateway came up is found by
    /// the first look.
    pub(super) async fn run(mut self, stop: Tasks) {
        let mut bell = Bell::new();
        loop {
            block_in_place(|| self.ring_with(&mut bell));
            tokio::select! {
                rested = self.rested() => if let Some(look) = rested {
                    self.read(look).await;
                    continue;
                },
                () = stop.stopped() => return,
            }
            tokio::select! {
                () = bell.rung() => {}
                () = sleep(LOOK_EVERY) => {}
                () = stop.stopped() => return,
            }
        }
    }

    /// Watches the folders of all files, and those that links lead to.
    fn ring_with(&self, bell: &mut Bell) {
        let absolute = |path: &PathBuf| std::path::absolute(path).ok();
        let named: BTreeSet<PathBuf> = self.watched.paths.iter().filter_map(absolute).collect();
        let files = resource::files(&self.watched.paths);
        let files: BTreeSet<PathBuf> = files
            .iter()
            .chain(&modules(&self.applied))
            .filter_map(absolute)
            .collect();
        let links = files.iter().filter(|path| path.is_symlink());
        let led: BTreeSet<PathBuf> = links.filter_map(|path| path.canonicalize().ok()).collect();
        let all = named.iter().chain(&files).chain(&led);
        let parents = all.filter_map(|path| path.parent()).map(Path::to_owned);
        let folders = named.iter().filter(|path| path.is_dir()).cloned();
        bell.watch(folders.chain(parents).collect(), files);
    }

    /// Whether anything changed since it was read, and what there is when it has
    /// come to rest. Cancel-safe.
    async fn rested(&self) -> Option<Look> {
        let mut look = self.look().await;
        if self.seen.as_ref() == Some(&look) {
            return None;
        }
        for _ in 0..QUIETS_MAX {
            sleep(QUIET).await;
            let next = self.look().await;
            if look == next {
                break;
            }
            look = next;
        }
        Some(look)
    }

    async fn look(&self) -> Look {
        let (paths, modules) = (self.watched.paths.clone(), modules(&self.applied));
        let looking = self.control.tasks().blocking(move || Look {
            resources: stamps(resource::files(&paths)),
            modules: stamps(modules),
        });
        looking.await.unwrap_or_default()
    }

    /// Reads and checks the files, and applies them where they say something new.
    async fn read(&mut self, look: Look) {
        let (watched, mut empty) = (self.watched.clone(), self.empty.clone());
        let reading = self.control.tasks().blocking(move || {
            let set = read(&watched, &mut empty);
            (set, empty)
        });
        let Ok((read, empty)) = reading.await else {
            return;
        };
        self.empty = empty;
        let before = self.seen.replace(look);
        let set = match read {
            Ok(set) => set,
            Err(problems) => return self.refuse(&problems),
        };
        self.tell_settings(&set);
        let other_modules = before.map(|look| look.modules) != self.seen.as_ref().map(modules_of);
        let has_modules = !modules(&set).is_empty();
        if set != self.applied || self.refused || (has_modules && other_modules) {
            self.apply(set).await;
        }
    }

    /// Applies what is checked; tells what came of it.
    async fn apply(&mut self, set: Set) {
        let files = Files {
            set: set.clone(),
            prune: self.watched.prune,
        };
        let changes = match self.control.apply_files(files).await {
            Ok(changes) => changes,
            Err(error) => {
                self.refused = true;
                return self.control.tell_refused(&error.to_string());
            }
        };
        if std::mem::take(&mut self.refused) || changes > 0 {
            let what = format!("the files were read again; resources changed: {changes}");
            let events = self.control.events();
            events.tell("FilesApplied", "gateway", &what);
        }
        if !self.watched.prune {
            self.tell_gone(&set);
        }
        // Its stamps are those of the next look.
        if modules(&set) != modules(&self.applied)
            && let Some(seen) = &mut self.seen
        {
            seen.modules = block_in_place(|| stamps(modules(&set)));
        }
        self.applied = set;
    }

    fn refuse(&mut self, problems: &[Problem]) {
        self.refused = true;
        for problem in problems {
            tracing::error!("{problem}");
        }
        let told = problems.iter().take(TOLD_MAX).map(ToString::to_string);
        let mut text = told.collect::<Vec<_>>().join("; ");
        if let Some(more) = problems
            .len()
            .checked_sub(TOLD_MAX)
            .filter(|more| *more > 0)
        {
            text.push_str(&format!("; and {more} more"));
        }
        self.control.tell_refused(&text);
    }

    /// Says which of the gateway's own settings are not those it runs with.
    fn tell_settings(&self, set: &Set) {
        let what = (set.config != self.config).then(|| {
            let now = settings(set);
            let keys: BTreeSet<&String> = self.settings.keys().chain(now.keys()).collect();
            let changed: Vec<String> = keys
                .into_iter()
                .filter(|key| self.settings.get(*key) != now.get(*key))
                .map(|key| format!("spec.{key}"))
                .collect();
            let changed = changed.join(", ");
            format!(
                "GatewayConfig: {changed} changed; the gateway runs as it was started until it is restarted"
            )
        });
        self.control.tell_restart(what);
    }

    /// Says of what is in no file now that it stays.
    fn tell_gone(&self, set: &Set) {
        let there: BTreeSet<(&str, &str)> = set.documents.iter().map(named).collect();
        let before = self.applied.documents.iter().map(named);
        for (kind, name) in before.filter(|one| one.0 != "GatewayConfig" && !there.contains(one)) {
            let object = format!("{}/{name}", kind.to_lowercase());
            let what = format!(
                "it is in no file now; it stays until it is deleted: `tidegate delete {object}`, or `run --prune`"
            );
            self.control.events().tell("Files", &object, &what);
        }
    }
}

fn named(document: &resource::Document) -> (&str, &str) {
    (&document.kind, &document.name)
}

/// All files as they are now, checked.
fn read(watched: &Watched, empty: &mut BTreeSet<String>) -> Result<Set, Vec<Problem>> {
    let gone = |path: &&PathBuf| watched.prune && is_gone(path);
    let there: Vec<PathBuf> = watched.paths.iter().filter(|p| !gone(p)).cloned().collect();
    if there.is_empty() {
        let what = "none of the files is there";
        return Err(vec![Problem::of_file("", what)]);
    }
    let (sources, mut problems) = resource::texts(&there);
    let blank = blank(&sources);
    empty.retain(|name| blank.contains(name));
    problems.extend(blank.difference(empty).map(|name| {
        let what = "it is empty, as while it is being written; where its resources are to go, remove the file";
        Problem::of_file(name, what)
    }));
    let mut set = resource::checked(&sources, problems)?;
    let fitted = watched.addresses.fit(&mut set.config);
    fitted.map_err(|why| vec![Problem::of_file("", why)])?;
    Ok(set)
}

/// Whether a file is gone for certain: its folder is there and it is not.
fn is_gone(path: &Path) -> bool {
    let missing = path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let absolute = std::path::absolute(path).unwrap_or_default();
    missing && absolute.parent().is_some_and(Path::is_dir)
}

/// The names of the texts that say nothing at all.
fn blank(sources: &[resource::Source]) -> BTreeSet<String> {
    let blank = sources.iter().filter(|one| one.text.trim().is_empty());
    blank.map(|one| one.name.clone()).collect()
}

/// `spec` of the GatewayConfig, as it is written.
fn settings(set: &Set) -> Map<String, Value> {
    let document = set.documents.iter().find(|one| one.kind == "GatewayConfig");
    let spec = document.and_then(|one| one.value.get("spec"));
    spec.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The files that plugins are read from.
fn modules(set: &Set) -> Vec<PathBuf> {
    let files = set.plugins.iter().filter_map(|one| match &one.source {
        PluginSource::File(path) => Some(path.clone()),
        PluginSource::Shipped(_) => None,
    });
    files.collect()
}

fn modules_of(look: &Look) -> Stamps {
    look.modules.clone()
}

fn stamps(files: Vec<PathBuf>) -> Stamps {
    let stamped = |file: PathBuf| {
        let stamp = stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(stamped).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = path.metadata().ok()?;
    Some(Stamp {
        file: (found.dev(), found.ino()),
        bytes: found.size(),
        written: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}
