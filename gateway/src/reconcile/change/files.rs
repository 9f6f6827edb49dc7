//! What files say, brought together with what is stored and what runs.
//!
//! A file's resource whose content changed since it was last applied wins; else
//! what is stored goes on, also over a restart (SEMANTICS §12). A set is applied
//! whole or refused whole. Called by `app` at start and when files change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::plan::{Key, Plan, Shelf, plan};
use super::{CONFIG, ENDPOINT, PLUGIN};
use crate::name::Name;
use crate::reconcile::candidate::{Beside, Candidate, Content, Trial, Wanted, unkept};
use crate::reconcile::plugins::{PluginFolder, Record};
use crate::reconcile::{Control, ControlError, RunningEndpoint, RunningPlugin};
use crate::resource::{self, AuthMode, Plugin, Problem, Set};
use crate::store::{Latest, Stored};

/// What files say.
#[derive(Debug, Clone)]
pub struct Files {
    /// Their resources, checked.
    pub set: Set,
    /// What of what came from a file and is in none now is deleted.
    pub prune: Prune,
}

/// What is deleted where it came from a file and is in none now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prune {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// What was in files while these were empty already: the rest may have been
    /// in them.
    Only {
        /// Kind and name.
        known: BTreeSet<(String, String)>,
        /// Files that are empty.
        empty: BTreeSet<String>,
    },
}

impl Prune {
    /// What `--prune` means while some files are empty, after `before` was applied.
    #[must_use]
    pub fn of(prune: bool, empty: &BTreeSet<String>, before: &Set) -> Self {
        match (prune, empty.is_empty()) {
            (false, _) => Self::Nothing,
            (true, true) => Self::All,
            (true, false) => {
                let documents = before.documents.iter();
                let key = |one: &resource::Document| (one.kind.clone(), one.name.clone());
                Self::Only {
                    known: documents.map(key).collect(),
                    empty: empty.clone(),
                }
            }
        }
    }
}

/// Why what files say is not applied; what ran before runs.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It does not check beside what else there is.
    #[error("beside what is stored it does not check: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
    /// A plugin was tried and refused.
    #[error("plugin {plugin}: {reason}")]
    Refused {
        /// Which.
        plugin: Name,
        /// Why.
        reason: String,
    },
    /// The store cannot be read or written, or the state folder.
    #[error("{0}")]
    Store(String),
}

impl From<ControlError> for FilesError {
    fn from(error: ControlError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Control {
    /// Applies what files say to what runs. Ends when it is in the table; tells
    /// how many resources it changed.
    ///
    /// # Errors
    ///
    /// [`FilesError`]; then nothing was changed, and where it was for the store
    /// it is tried again when that takes changes.
    pub async fn apply_files(self: &Arc<Self>, files: Files) -> Result<usize, FilesError> {
        let _change = self.change.lock().await;
        *self.waiting.lock() = None;
        let result = self.settle(&files, false).await;
        match &result {
            Ok(_) => self.facts.write().files = None,
            Err(FilesError::Store(_)) => *self.waiting.lock() = Some(files),
            Err(_) => {}
        }
        result
    }

    /// Applies what files say at start. Where they do not fit beside what is
    /// stored, that is served, as a change of files that is refused leaves it.
    /// Where the store takes no changes, what is stored is served, and of the
    /// files what is new.
    pub(in crate::reconcile) async fn start_with(
        self: &Arc<Self>,
        files: Files,
    ) -> Result<(), FilesError> {
        let result = self.settle(&files, false).await;
        let reason = match result {
            Err(FilesError::Store(reason)) => reason,
            Err(refused @ FilesError::Problems(_)) => {
                return self.start_without(&files, refused).await;
            }
            result => return result.map(drop),
        };
        if self.custody.trouble().is_none() {
            return Err(FilesError::Store(reason));
        }
        let result = self.settle(&files, true).await;
        *self.waiting.lock() = Some(files);
        result.map(drop)
    }

    /// Serves what is stored, where there is something and it fits together.
    async fn start_without(
        self: &Arc<Self>,
        files: &Files,
        refused: FilesError,
    ) -> Result<(), FilesError> {
        let shelf = self.shelf(false)?;
        if shelf.resources.keys().all(|key| key.0 == CONFIG) {
            return Err(refused);
        }
        let of_gateway = files.set.documents.iter();
        let of_gateway = of_gateway.filter(|document| document.kind == CONFIG);
        let stored = Files {
            set: Set {
                config: files.set.config.clone(),
                documents: of_gateway.cloned().collect(),
                ..Set::default()
            },
            prune: Prune::Nothing,
        };
        // A build that takes less than the one before may refuse what is stored.
        if plan(&stored, &shelf, true).is_err() {
            return Err(refused);
        }
        // Of nothing that the files name, plugins' sources too, anything is taken.
        self.settle(&stored, true).await?;
        self.tell_refused(&refused.to_string());
        Ok(())
    }

    /// Tries the store again where that may help, and then applies what waits.
    pub(in crate::reconcile) async fn mend(self: Arc<Self>) {
        let mut looks = tokio::time::interval(MEND_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.tasks.stopped() => return,
            }
            if self.custody.may_recover() {
                tokio::task::block_in_place(|| self.custody.try_again());
            }
            if self.custody.trouble().is_some() {
                continue;
            }
            let waiting = self.waiting.lock().clone();
            if let Some(files) = waiting
                && let Err(error) = self.apply_files(files).await
            {
                self.tell_refused(&error.to_string());
            }
        }
    }

    /// Tells that what files say is not applied, and why: in the log, as an event,
    /// and in status until they are.
    pub fn tell_refused(&self, why: &str) {
        let what = format!("the files are not applied, and what runs goes on: {why}");
        self.events.warn("FilesRefused", "gateway", &what);
        self.facts.write().files = Some(what);
    }

    /// Whether the files, as they were last read, are not applied.
    pub fn files_refused(&self) -> bool {
        self.facts.read().files.is_some()
    }

    /// Tells what of the files waits for a restart; none: nothing does.
    pub fn tell_restart(&self, what: Option<String>) {
        let before = std::mem::replace(&mut self.facts.write().restart, what.clone());
        if let Some(what) = what.filter(|what| before.as_ref() != Some(what)) {
            self.events.warn("RestartNeeded", "gateway", &what);
        }
    }

    /// `hold`: nothing is written; what is stored goes before what files say.
    async fn settle(self: &Arc<Self>, files: &Files, hold: bool) -> Result<usize, FilesError> {
        let shelf = self.shelf(hold)?;
        let mut plan = match plan(files, &shelf, hold) {
            // What could be read of a torn store need not fit together.
            Err(_) if hold => plan(files, &Shelf::default(), hold).map_err(FilesError::Problems)?,
            planned => planned.map_err(FilesError::Problems)?,
        };
        let (candidates, broken) = self.try_plugins(&mut plan, &shelf, hold).await?;
        if !self.starting() {
            self.try_endpoints(&plan, &candidates).await?;
        }
        if !hold && !plan.changes.is_empty() {
            for (change, revision) in plan.changes.iter().zip(self.custody.write(&plan.changes)?) {
                let key = (change.kind.to_owned(), change.name.clone());
                plan.revisions.insert(key, revision);
            }
        }
        for (object, what) in &plan.notes {
            self.events.tell("Files", object, what);
        }
        let changes = plan.changes.len();
        self.put_to_work(plan, candidates, broken).await?;
        Ok(changes)
    }

    fn shelf(&self, hold: bool) -> Result<Shelf, FilesError> {
        let key = |one: Stored| ((one.kind.clone(), one.name.clone()), one);
        let store = match self.custody.store() {
            Ok(store) => store,
            Err(_) if hold => {
                return Ok(Shelf {
                    resources: self.custody.salvage().into_iter().map(key).collect(),
                    ..Shelf::default()
                });
            }
            Err(error) => return Err(error.into()),
        };
        let read = || {
            Ok(Shelf {
                resources: store.list()?.into_iter().map(key).collect(),
                applied: store.applied()?,
                latest: store.latest(PLUGIN)?,
            })
        };
        read().map_err(|error| self.custody.failed(error).into())
    }

    /// The plugins that are to change, tried; at start also those that cannot
    /// be loaded, which stop nothing else.
    async fn try_plugins(
        &self,
        plan: &mut Plan,
        shelf: &Shelf,
        hold: bool,
    ) -> Result<(Vec<Candidate>, Vec<(Wanted, PluginFolder, String)>), FilesError> {
        let (mut candidates, mut broken) = (Vec::new(), Vec::new());
        let mut beside = self.beside(plan);
        for spec in &plan.whole.plugins.clone() {
            let key = (PLUGIN.to_owned(), spec.name.to_string());
            let document = plan.documents.get(&key).cloned();
            let before = self.plugin_running(spec.name.as_str()).ok();
            let same = before
                .as_ref()
                .is_some_and(|one| one.spec == *spec && one.document == document);
            if same
                && before
                    .as_ref()
                    .is_some_and(|one| !self.source_changed(spec, &one.record))
            {
                continue;
            }
            let wanted = Wanted {
                spec: spec.clone(),
                document,
                content: if hold {
                    Content::Active
                } else {
                    Content::Source
                },
            };
            let mut trial = self.trial(spec, before.as_ref())?;
            if before.is_none() && !hold {
                catch_up(&mut trial, shelf.latest.get(spec.name.as_str()));
            }
            trial.beside = Some(&beside);
            let (was, folder) = (trial.record.active.clone(), trial.folder.clone());
            match self.try_plugin(wanted.clone(), trial).await {
                Ok(candidate) => {
                    plan.note_plugin(&candidate, was.as_deref(), before.as_deref());
                    for one in &candidate.endpoints {
                        let bindings = one.bindings.clone();
                        beside.bindings.insert(one.spec.name.clone(), bindings);
                    }
                    candidates.push(candidate);
                }
                Err(reason) if before.is_none() && self.starting() => {
                    broken.push((wanted, folder, reason));
                }
                Err(reason) => {
                    let plugin = spec.name.clone();
                    return Err(FilesError::Refused { plugin, reason });
                }
            }
        }
        Ok((candidates, broken))
    }

    /// What there is beside a plugin that changes: endpoints whose policies change as
    /// well are tried by what they will be, by [`Control::try_endpoints`].
    fn beside(&self, plan: &Plan) -> Beside {
        let whole = plan.whole.endpoints.iter();
        let will: BTreeMap<&Name, _> = whole.map(|one| (&one.name, one)).collect();
        let endpoints = self.endpoints.read();
        let changes = |running: &RunningEndpoint| match will.get(&running.spec.name) {
            Some(spec) => plan.changes_endpoint(&spec.name) && !running.same_policies(spec),
            None => true,
        };
        let apart = endpoints.values().filter(|running| changes(running));
        Beside {
            apart: apart.map(|running| running.spec.name.clone()).collect(),
            bindings: BTreeMap::new(),
        }
    }

    /// Whether the endpoints that change have policies that take what they say.
    async fn try_endpoints(&self, plan: &Plan, candidates: &[Candidate]) -> Result<(), FilesError> {
        let mut loaded = self.loaded();
        for candidate in candidates {
            let name = candidate.wanted.spec.name.clone();
            loaded.insert(name, Ok(Arc::clone(&candidate.loaded)));
        }
        let mut problems = Vec::new();
        let whole = plan.whole.endpoints.iter();
        for endpoint in whole.filter(|one| plan.changes_endpoint(&one.name)) {
            for problem in self.try_policies(endpoint, &loaded).await {
                let message = format!("endpoint/{}: {}", endpoint.name, problem.message);
                problems.push(Problem { message, ..problem });
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(FilesError::Problems(problems))
        }
    }

    fn trial<'a>(
        &self,
        spec: &Plugin,
        before: Option<&'a Arc<RunningPlugin>>,
    ) -> Result<Trial<'a>, FilesError> {
        if let Some(before) = before {
            return Ok(Trial::of(before));
        }
        let trial = PluginFolder::open(&self.state, &spec.name)
            .and_then(Trial::new)
            .map_err(|error| {
                let folder = self.state.join("plugins").join(spec.name.as_str());
                FilesError::Store(format!("{}: {error}", folder.display()))
            })?;
        // What one of that name decided before it was deleted is over.
        let record = if self.starting() {
            trial.record
        } else {
            Record::default()
        };
        Ok(Trial { record, ..trial })
    }

    /// Plugins, then endpoints, then what is gone. What cannot be put to work is
    /// told and stops nothing else.
    async fn put_to_work(
        self: &Arc<Self>,
        plan: Plan,
        candidates: Vec<Candidate>,
        broken: Vec<(Wanted, PluginFolder, String)>,
    ) -> Result<(), FilesError> {
        let revision = |kind: &str, name: &Name| {
            let key = (kind.to_owned(), name.to_string());
            plan.revisions.get(&key).copied().unwrap_or_default()
        };
        for candidate in candidates {
            let of = revision(PLUGIN, &candidate.wanted.spec.name);
            self.take_over(candidate, of);
        }
        for (wanted, folder, reason) in broken {
            let of = revision(PLUGIN, &wanted.spec.name);
            self.keep_broken(wanted, folder, of, reason);
        }
        let keyed = plan.whole.endpoints.iter();
        let keyed = keyed.filter(|one| !matches!(one.auth.mode, AuthMode::None));
        self.keys
            .lock()
            .make(keyed.map(|endpoint| &endpoint.name))
            .map_err(|error| FilesError::Store(error.to_string()))?;
        for endpoint in plan.whole.endpoints {
            let name = endpoint.name.clone();
            let key = (ENDPOINT.to_owned(), name.to_string());
            let of = revision(ENDPOINT, &name);
            let before = self.endpoint_running(name.as_str()).ok();
            let at = before.as_ref().map(|before| before.revision);
            if at.is_some_and(|at| at == of && of > 0) {
                continue;
            }
            let document = plan.documents.get(&key).cloned().unwrap_or_default();
            let prepared = self.prepare(&endpoint, before.as_deref()).await;
            let prepared = prepared.map_err(|error| FilesError::Store(error.to_string()))?;
            self.apply_endpoint(endpoint, document, of, prepared);
            let object = format!("endpoint/{name}");
            self.events
                .tell("Deployed", &object, "its resource was applied");
        }
        self.take_away(&plan.documents);
        Ok(())
    }

    /// Endpoints and plugins that run and are not to be.
    fn take_away(&self, documents: &BTreeMap<Key, Value>) {
        let is =
            |kind: &str, name: &Name| documents.contains_key(&(kind.to_owned(), name.to_string()));
        let gone: Vec<Name> = self.endpoints.read().keys().cloned().collect();
        for name in gone.iter().filter(|name| !is(ENDPOINT, name)) {
            self.remove_endpoint(name.as_str());
            self.events
                .tell("Deleted", &format!("endpoint/{name}"), "its file is gone");
        }
        let shipped = resource::shipped();
        let plugins: Vec<Name> = self.plugins.read().keys().cloned().collect();
        let ours = |name: &Name| shipped.iter().any(|one| one.name == *name);
        for name in plugins
            .iter()
            .filter(|name| !is(PLUGIN, name) && !ours(name))
        {
            self.plugins.write().remove(name);
            self.sweep(name);
            self.events
                .tell("Deleted", &format!("plugin/{name}"), "its file is gone");
        }
    }
}

/// How often a store that fails is tried again.
const MEND_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// The store is written before the folder: what a kill left out is made up.
fn catch_up(trial: &mut Trial<'_>, latest: Option<&Latest>) {
    let kept = latest.and_then(|latest| latest.kept.clone());
    if let Some(active) = kept.and_then(|kept| unkept(kept).1)
        && trial
            .folder
            .content(&active)
            .is_ok_and(|found| found.is_some())
    {
        trial.record.activate(&active);
    }
}
