//! What is to be where files and the store are brought together, and what of it
//! is to be written.
//!
//! Pure but for the check of resources: reads no file and writes nothing. Used
//! by `files`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::files::{Files, Prune};
use super::{CONFIG, ENDPOINT, PLUGIN};
use crate::id::Digest;
use crate::name::Name;
use crate::reconcile::RunningPlugin;
use crate::reconcile::candidate::Candidate;
use crate::resource::{self, Problem, Set};
use crate::store::{Act, Change, Latest, Stored};

/// Kind and name.
pub(super) type Key = (String, String);

/// What is stored.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) resources: BTreeMap<Key, Stored>,
    pub(super) applied: BTreeMap<Key, String>,
    pub(super) latest: BTreeMap<String, Latest>,
}

/// What is to be.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) whole: Set,
    pub(super) documents: BTreeMap<Key, Value>,
    pub(super) revisions: BTreeMap<Key, u64>,
    pub(super) changes: Vec<Change>,
    /// What an operator should know of it.
    pub(super) notes: Vec<(String, String)>,
}

impl Plan {
    /// Whether an endpoint is changed.
    pub(super) fn changes_endpoint(&self, name: &Name) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|one| one.kind == ENDPOINT && one.name == name.as_str())
    }

    /// The history says what decides.
    pub(super) fn note_plugin(
        &mut self,
        candidate: &Candidate,
        was: Option<&str>,
        before: Option<&RunningPlugin>,
    ) {
        let name = &candidate.wanted.spec.name;
        let written = self
            .changes
            .iter_mut()
            .find(|change| change.kind == PLUGIN && change.name == name.as_str());
        if let Some(change) = written {
            change.kept = Some(candidate.kept());
            return;
        }
        let digest = candidate.loaded.digest();
        // A first start says nothing that the resource does not.
        if was.is_none_or(|was| was == digest.as_str()) {
            return;
        }
        self.changes
            .extend(before.into_iter().flat_map(RunningPlugin::first_note));
        self.changes.push(Change {
            kind: PLUGIN,
            name: name.to_string(),
            act: Act::Note,
            kept: Some(candidate.kept()),
            source: None,
            by: "file",
            change: format!("its source is {digest} now"),
            expected: None,
        });
    }

    fn keep(&mut self, key: Key, document: Value, revision: u64) {
        self.revisions.insert(key.clone(), revision);
        self.documents.insert(key, document);
    }
}

pub(super) fn plan(files: &Files, shelf: &Shelf, hold: bool) -> Result<Plan, Vec<Problem>> {
    let mut plan = Plan::default();
    for (key, stored) in shelf.resources.iter().filter(|(key, _)| key.0 != CONFIG) {
        plan.keep(key.clone(), stored.document.clone(), stored.revision);
    }
    // A shipped plugin has revisions without a resource.
    for (name, latest) in &shelf.latest {
        let key = (PLUGIN.to_owned(), name.clone());
        plan.revisions.entry(key).or_insert(latest.revision);
    }
    let mut said = BTreeSet::new();
    for document in &files.set.documents {
        let kind = match document.kind.as_str() {
            ENDPOINT => ENDPOINT,
            PLUGIN => PLUGIN,
            _ => CONFIG,
        };
        // The one that needs no name.
        let name = if document.name.is_empty() {
            "default".to_owned()
        } else {
            document.name.clone()
        };
        let key = (kind.to_owned(), name.clone());
        said.insert(key.clone());
        let source = Digest::of(document.value.to_string().as_bytes()).to_string();
        let there = shelf.resources.contains_key(&key);
        if shelf.applied.get(&key) == Some(&source) {
            if !there && kind != CONFIG {
                let what = "it was deleted, and its file has not changed since: it is not made again; `tidegate apply` makes it";
                plan.notes
                    .push((format!("{}/{name}", kind.to_lowercase()), what.to_owned()));
            }
            continue;
        }
        if kind != CONFIG && !(hold && there) {
            let revision = plan.revisions.get(&key).copied().unwrap_or_default();
            plan.keep(key, document.value.clone(), revision);
        }
        plan.changes.push(Change {
            kind,
            name,
            act: Act::Put(document.value.clone()),
            kept: None,
            source: Some(source),
            by: "file",
            change: "applied from its file".to_owned(),
            expected: None,
        });
    }
    if !hold {
        let gone = gone(&files.prune, shelf, &said, &mut plan.notes);
        plan.prune(gone);
    }
    let unchanged = plan.documents.len() + usize::from(said.iter().any(|key| key.0 == CONFIG))
        == files.set.documents.len()
        && shelf.resources.is_empty();
    plan.whole = if unchanged {
        files.set.clone()
    } else {
        resource::check_values(plan.documents.values())?
    };
    // What the gateway itself is, the files and the command line say.
    plan.whole.config = files.set.config.clone();
    Ok(plan)
}

/// What is in no file now and is to go; notes tell of what stays because a file
/// is empty.
fn gone<'s>(
    prune: &Prune,
    shelf: &'s Shelf,
    said: &BTreeSet<Key>,
    notes: &mut Vec<(String, String)>,
) -> Vec<&'s Stored> {
    let missing = shelf
        .resources
        .iter()
        .filter(|(key, _)| !said.contains(*key));
    let mut gone = Vec::new();
    for (key, one) in missing {
        let goes = match prune {
            // The gateway itself is always what the files say.
            _ if one.kind == CONFIG => true,
            _ if !one.from_file => false,
            Prune::Nothing => false,
            Prune::All => true,
            Prune::Only { known, empty } => {
                let goes = known.contains(key);
                if !goes {
                    let empty: Vec<&str> = empty.iter().map(String::as_str).collect();
                    let what = format!(
                        "it is in no file now, but may have been in one that is empty: it stays until {} has content or is removed",
                        empty.join(", ")
                    );
                    notes.push((format!("{}/{}", key.0.to_lowercase(), key.1), what));
                }
                goes
            }
        };
        if goes {
            gone.push(one);
        }
    }
    gone
}

impl Plan {
    /// Takes away what is in no file now, endpoints before the plugins they bind.
    fn prune(&mut self, gone: Vec<&Stored>) {
        let mut gone = gone;
        gone.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        for one in gone {
            let kind = match one.kind.as_str() {
                ENDPOINT => ENDPOINT,
                PLUGIN => PLUGIN,
                _ => CONFIG,
            };
            let key = (one.kind.clone(), one.name.clone());
            let document = self.documents.remove(&key);
            let alone = kind == PLUGIN && self.binds(&one.name);
            if let (true, Some(document)) = (alone, document) {
                let what = "its file is gone, but an endpoint of no file binds it: it stays";
                self.notes
                    .push((format!("plugin/{}", one.name), what.to_owned()));
                self.documents.insert(key, document);
                continue;
            }
            self.revisions.remove(&key);
            self.changes.push(Change {
                kind,
                name: one.name.clone(),
                act: Act::Delete,
                kept: None,
                source: None,
                by: "file",
                change: "deleted: its file is gone".to_owned(),
                expected: None,
            });
        }
    }

    /// Whether an endpoint that stays binds a plugin that is not shipped.
    fn binds(&self, plugin: &str) -> bool {
        let shipped = resource::load::shipped();
        if shipped.iter().any(|one| one.name.as_str() == plugin) {
            return false;
        }
        self.documents.iter().any(|((kind, _), document)| {
            kind == ENDPOINT && resource::bound_plugins(document).any(|name| name == plugin)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Three endpoints are stored, rose and lily from files; iris and lily are in
    /// files now, or lily is not.
    #[track_caller]
    fn check(prune: &Prune, said: &[&str], expected: &[&str], told: &[&str]) {
        let key = |name: &str| (ENDPOINT.to_owned(), name.to_owned());
        let stored = |name: &str, from_file| {
            let stored = Stored {
                kind: ENDPOINT.to_owned(),
                name: name.to_owned(),
                revision: 1,
                document: json!({}),
                from_file,
            };
            (key(name), stored)
        };
        let shelf = Shelf {
            resources: BTreeMap::from([
                stored("made", false),
                stored("rose", true),
                stored("lily", true),
            ]),
            ..Shelf::default()
        };
        let said = said.iter().map(|name| key(name)).collect();
        let mut notes = Vec::new();
        let gone = gone(prune, &shelf, &said, &mut notes);
        let gone: Vec<&str> = gone.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(gone, expected);
        let notes: Vec<&str> = notes.iter().map(|(object, _)| object.as_str()).collect();
        assert_eq!(notes, told);
    }

    #[test]
    fn only_what_came_from_a_file_and_was_not_in_an_empty_one_is_gone() {
        check(&Prune::Nothing, &[], &[], &[]);
        check(&Prune::All, &[], &["lily", "rose"], &[]);
        check(&Prune::All, &["rose"], &["lily"], &[]);
        let only = |known: &[&str]| Prune::Only {
            known: known
                .iter()
                .map(|name| (ENDPOINT.to_owned(), (*name).to_owned()))
                .collect(),
            empty: BTreeSet::from(["rose.yaml".to_owned()]),
        };
        check(&only(&[]), &["lily"], &[], &["endpoint/rose"]);
        check(&only(&["lily"]), &[], &["lily"], &["endpoint/rose"]);
        check(&only(&["lily"]), &["lily", "rose"], &[], &[]);
    }
}
