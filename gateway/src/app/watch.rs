//! `run --watch`: files are applied again when they change.
//!
//! Reads all of them once they have come to rest, checks them whole, and hands
//! them on as at start. A file that does not check, or that is empty because it
//! is being written, changes nothing; what is in no file is gone when it stays so
//! (`look`). Never changes the gateway's own settings: it says that they wait for
//! a restart. Used by `app`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::bell::Bell;
use super::look::{Absence, GONE_AFTER, Look, Stamps, stamps};
use crate::reconcile::{Control, Files, Prune};
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
    /// What was applied and is in no file now.
    absence: Absence,
    missing: String,
    /// Whether what was applied last was all there is to be.
    pruned: bool,
    refused: bool,
}

/// What is read of files.
struct Texts {
    set: Set,
    /// Those that are empty, as they were at first.
    empty: BTreeSet<String>,
}

impl Watch {
    /// Of a gateway that came up with `set`, or without it where that was refused,
    /// when files of these names were empty; `pruned`: what is in none was deleted.
    pub(super) fn new(
        watched: Watched,
        set: Set,
        empty: BTreeSet<String>,
        pruned: bool,
        control: Arc<Control>,
    ) -> Self {
        let refused = control.files_refused();
        Self {
            pruned: pruned && empty.is_empty() && !refused,
            absence: Absence::default(),
            missing: String::new(),
            empty,
            watched,
            control,
            config: set.config.clone(),
            settings: settings(&set),
            applied: if refused { Set::default() } else { set },
            seen: None,
            refused,
        }
    }

    /// Watches until `stop`. What changed while the gateway came up is found by
    /// the first look.
    pub(super) async fn run(mut self, stop: Tasks) {
        let mut bell = Bell::new();
        loop {
            block_in_place(|| self.ring_with(&mut bell));
            let rested = tokio::select! {
                rested = self.rested() => rested,
                () = stop.stopped() => return,
            };
            let again = match rested {
                Some(look) => match self.read(look).await {
                    Some(again) => again,
                    None => continue,
                },
                None => {
                    self.absence.clear();
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = bell.rung() => self.absence.clear(),
                () = sleep(again) => {}
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
    /// Some: they are to be looked at again after that time.
    async fn read(&mut self, look: Look) -> Option<Duration> {
        let (watched, mut empty) = (self.watched.clone(), self.empty.clone());
        let reading = self.control.tasks().blocking(move || {
            let texts = read(&watched, &mut empty);
            (texts, empty)
        });
        let (read, empty) = reading.await.ok()?;
        self.empty = empty;
        let texts = match read {
            Ok(texts) => texts,
            Err(problems) => {
                self.seen = Some(look);
                self.absence.clear();
                self.refuse(&problems);
                return None;
            }
        };
        self.tell_settings(&texts.set);
        if let Some(again) = self.missing(&texts, &look).await {
            return Some(again);
        }
        let before = self.seen.replace(look);
        let other_modules = before.map(|look| look.modules) != self.seen.as_ref().map(modules_of);
        let has_modules = !modules(&texts.set).is_empty();
        if texts.set != self.applied
            || self.refused
            || (has_modules && other_modules)
            || self.pruned != self.prunes(&texts)
        {
            self.apply(texts).await;
        }
        None
    }

    /// Whether all that is in no file now is deleted.
    fn prunes(&self, texts: &Texts) -> bool {
        self.watched.prune && texts.empty.is_empty()
    }

    /// Whether something is in no file now that may come back, and when to look
    /// again.
    async fn missing(&mut self, texts: &Texts, look: &Look) -> Option<Duration> {
        let there = parts(&texts.set);
        let before = parts(&self.applied);
        let gone: Vec<&String> = before.difference(&there).collect();
        if gone.is_empty() && self.pruned == self.prunes(texts) {
            self.absence.clear();
            self.missing.clear();
            return None;
        }
        let gone: Vec<&str> = gone.iter().map(|one| one.as_str()).collect();
        let gone = gone.join(", ");
        if !gone.is_empty() && gone != self.missing {
            tracing::info!(
                "in no file now; counts as gone if that stays so for {GONE_AFTER:?}: {gone}"
            );
        }
        self.missing = gone;
        let after = self.look().await;
        self.absence.judge(look, &after, Instant::now())
    }

    /// Applies what is checked; tells what came of it.
    async fn apply(&mut self, texts: Texts) {
        let pruned = self.prunes(&texts);
        let Texts { set, empty } = texts;
        let files = Files {
            set: set.clone(),
            prune: Prune::of(self.watched.prune, &empty, &self.applied),
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
        self.pruned = pruned;
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

/// Everything that may go: resources, and versions of endpoints.
fn parts(set: &Set) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    for document in &set.documents {
        let object = format!("{}/{}", document.kind.to_lowercase(), document.name);
        let versions = document.value.pointer("/spec/versions");
        let versions = versions.and_then(Value::as_array).into_iter().flatten();
        for version in versions.filter_map(|one| one.get("name")?.as_str()) {
            parts.insert(format!("{object}/{version}"));
        }
        parts.insert(object);
    }
    parts
}

/// All files as they are now, checked.
fn read(watched: &Watched, empty: &mut BTreeSet<String>) -> Result<Texts, Vec<Problem>> {
    let gone = |path: &&PathBuf| watched.prune && is_gone(path);
    let there: Vec<PathBuf> = watched.paths.iter().filter(|p| !gone(p)).cloned().collect();
    if there.is_empty() {
        let what = "none of the files is there";
        return Err(vec![Problem::of_file("", what)]);
    }
    let (sources, mut problems) = resource::texts(&there);
    let blank = resource::blank(&sources);
    empty.retain(|name| blank.contains(name));
    problems.extend(blank.difference(empty).map(|name| {
        let what = "it is empty, as while it is being written; where its resources are to go, remove the file";
        Problem::of_file(name, what)
    }));
    let mut set = resource::checked(&sources, problems)?;
    let fitted = watched.addresses.fit(&mut set.config);
    fitted.map_err(|why| vec![Problem::of_file("", why)])?;
    Ok(Texts { set, empty: blank })
}

/// Whether a file is gone for certain: its folder is there and it is not.
fn is_gone(path: &Path) -> bool {
    let missing = path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let absolute = std::path::absolute(path).unwrap_or_default();
    missing && absolute.parent().is_some_and(Path::is_dir)
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
