//! Changes of Plugin resources, while the plugins decide.
//!
//! A change is a candidate first (`candidate`), then a revision in the store,
//! then at work: one that is refused changes nothing. A shipped plugin is there
//! without a resource, and is again when its resource is deleted. Called by
//! `admin`.

use std::sync::Arc;

use serde_json::Value;

use super::{Manner, PLUGIN, only_problem, strip};
use crate::id::Digest;
use crate::name::Name;
use crate::reconcile::candidate::{Candidate, Content, Trial, Wanted, unkept};
use crate::reconcile::plugins::{PluginFolder, Record};
use crate::reconcile::status::{Swapped, Written};
use crate::reconcile::{Control, ControlError, RunningPlugin};
use crate::resource::{self, Checked, Plugin};
use crate::store::{Act, Change, Revision};

impl Control {
    /// Makes or changes a plugin's resource.
    ///
    /// # Errors
    ///
    /// 422 with every problem or with why the candidate is refused, 412 and 409
    /// as for an endpoint, 503 where the store cannot be written. Then nothing
    /// was changed.
    pub async fn put_plugin(
        &self,
        name: &str,
        mut document: Value,
        manner: Manner,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        let before = self.plugin_running(name).ok();
        let revision = before.as_ref().map_or(0, |before| before.revision);
        if let Some(given) = strip(&mut document)?.filter(|given| *given != revision) {
            return Err(ControlError::Conflict(format!(
                "metadata.revision of {given} is stale; it is at {revision}: read it again"
            )));
        }
        let wanted = Wanted {
            spec: self.check_plugin(name, &document)?,
            document: Some(document),
            content: Content::Source,
        };
        self.change_plugin(wanted, manner, "applied".to_owned())
            .await
    }

    /// Takes a plugin's resource away: a shipped one is as shipped then, another
    /// is gone.
    ///
    /// # Errors
    ///
    /// 404; 409 where endpoints bind it, or where it is shipped and has no
    /// resource; 412, 422, 503. Then it is still there.
    pub async fn delete_plugin(&self, name: &str, manner: Manner) -> Result<(), ControlError> {
        let _change = self.change.lock().await;
        let running = self.plugin_running(name)?;
        if running.document.is_none() {
            return Err(ControlError::Conflict(format!(
                "plugin {name} is shipped and has no resource that could be deleted"
            )));
        }
        let shipped = resource::shipped()
            .into_iter()
            .find(|one| one.name.as_str() == name);
        if let Some(spec) = shipped {
            let wanted = Wanted {
                spec,
                document: None,
                content: Content::Source,
            };
            let what = "deleted; it is as shipped".to_owned();
            return self.change_plugin(wanted, manner, what).await.map(drop);
        }
        running.expect(manner)?;
        self.bound_by_none(&running.spec.name)?;
        if manner.dry_run {
            return Ok(());
        }
        self.custody.write(&[Change {
            kind: PLUGIN,
            name: name.to_owned(),
            act: Act::Delete,
            kept: None,
            source: None,
            by: "admin",
            change: "deleted".to_owned(),
            expected: None,
        }])?;
        self.plugins.write().remove(&running.spec.name);
        self.sweep(&running.spec.name);
        self.events
            .tell("Deleted", &format!("plugin/{name}"), "nothing binds it");
        Ok(())
    }

    /// The revisions of a plugin, newest first: of its resource, and of what
    /// decides. Also of one that is gone.
    ///
    /// # Errors
    ///
    /// 404, 503.
    pub fn plugin_history(&self, name: &str) -> Result<Vec<Revision>, ControlError> {
        let history = self.custody.history(PLUGIN, name)?;
        if history.is_empty() {
            // A shipped one that was never touched has none.
            self.plugin_running(name)?;
        }
        Ok(history)
    }

    /// Makes a plugin what it was at a revision, its resource and what decided;
    /// that is a new revision.
    ///
    /// # Errors
    ///
    /// 403 where it names a file of the machine and the manner takes none, 404 where
    /// that revision or its content is not kept, 409 where the plugin is pinned and
    /// that revision pins nothing, and as [`Control::put_plugin`].
    pub async fn rollback_plugin(
        &self,
        name: &str,
        to: u64,
        manner: Manner,
    ) -> Result<Swapped, ControlError> {
        let _change = self.change.lock().await;
        let kept = self.custody.at(PLUGIN, name, to)?;
        manner.takes(&kept)?;
        let (document, digest) = unkept(kept);
        let spec = match &document {
            Some(document) => self.check_plugin(name, document)?,
            None => resource::shipped()
                .into_iter()
                .find(|one| one.name.as_str() == name)
                .ok_or_else(|| ControlError::NotFound(format!("{name} is not shipped")))?,
        };
        let before = self.plugin_running(name).ok();
        let pinned = before
            .as_ref()
            .and_then(|before| before.spec.digest.as_ref());
        if let Some(pinned) = pinned.filter(|_| spec.digest.is_none()) {
            return Err(ControlError::Conflict(format!(
                "spec.digest pins plugin {name} to {pinned}, and revision {to} pins nothing; change the resource to take the pin off"
            )));
        }
        let previous = before.and_then(|before| before.active_digest().map(Digest::to_string));
        let content = digest.map_or(Content::Source, Content::Digest);
        let wanted = Wanted {
            spec,
            document,
            content,
        };
        let what = format!("rolled back to revision {to}");
        let written = self.change_plugin(wanted, manner, what).await?;
        let after = self.plugin_running(name).ok();
        let active = after.and_then(|after| after.active_digest().map(Digest::to_string));
        let of_dry_run = || {
            let active = written.document.pointer("/status/activeDigest");
            active.and_then(Value::as_str).map(str::to_owned)
        };
        let active = if manner.dry_run { of_dry_run() } else { active };
        Ok(Swapped {
            active_digest: active.unwrap_or_default(),
            previous_digest: previous,
        })
    }

    /// Under the change lock: candidate, revision, takes over.
    async fn change_plugin(
        &self,
        wanted: Wanted,
        manner: Manner,
        what: String,
    ) -> Result<Written, ControlError> {
        let name = wanted.spec.name.clone();
        let before = self.plugin_running(name.as_str()).ok();
        match &before {
            Some(before) => before.expect(manner)?,
            None if manner.expected.is_some_and(|given| given != 0) => {
                return Err(ControlError::Stale(format!("there is no plugin {name}")));
            }
            None => {}
        }
        self.role_fits(&wanted.spec, before.as_deref())?;
        let trial = self.trial_of(&name, before.as_ref(), manner)?;
        let candidate = self
            .try_plugin(wanted, trial)
            .await
            .map_err(ControlError::Refused)?;
        let revision = before.as_ref().map_or(0, |before| before.revision);
        let had = before
            .as_ref()
            .is_some_and(|before| before.document.is_some());
        let created = !had && candidate.wanted.document.is_some();
        if manner.dry_run || before.as_ref().is_some_and(|one| one.is(&candidate)) {
            return Ok(Written {
                created: false,
                revision,
                document: candidate.kept(),
            });
        }
        let mut changes = before
            .as_ref()
            .map_or_else(Vec::new, |one| one.first_note());
        let act = match &candidate.wanted.document {
            Some(document) => Act::Put(document.clone()),
            None if had => Act::Delete,
            None => Act::Note,
        };
        changes.push(Change {
            kind: PLUGIN,
            name: name.to_string(),
            act,
            kept: Some(candidate.kept()),
            source: None,
            by: "admin",
            change: what.clone(),
            expected: None,
        });
        let revision = self.custody.write(&changes)?.last().copied();
        let revision = revision.unwrap_or_default();
        let document = candidate.kept();
        self.take_over(candidate, revision);
        self.events
            .tell("Changed", &format!("plugin/{name}"), &what);
        Ok(Written {
            created,
            revision,
            document,
        })
    }

    /// Of a dry run nothing is kept, not even a folder.
    fn trial_of<'a>(
        &self,
        name: &Name,
        before: Option<&'a Arc<RunningPlugin>>,
        manner: Manner,
    ) -> Result<Trial<'a>, ControlError> {
        let trial = match before {
            Some(before) => Ok(Trial::of(before)),
            None if manner.dry_run => Trial::new(PluginFolder::at(&self.state, name)),
            None => PluginFolder::open(&self.state, name).and_then(Trial::new),
        };
        let trial = trial.map_err(|error| ControlError::Store(error.to_string()))?;
        // What one of that name decided before it was deleted is over.
        let record = match before {
            Some(_) => trial.record,
            None => Record::default(),
        };
        Ok(Trial {
            record,
            keep: !manner.dry_run,
            ..trial
        })
    }

    fn check_plugin(&self, name: &str, document: &Value) -> Result<Plugin, ControlError> {
        let checked = resource::check_one(document, []).map_err(ControlError::Problems)?;
        let Checked::Plugin(spec) = checked else {
            return Err(only_problem("kind", "not a Plugin".to_owned()));
        };
        if spec.name.as_str() != name {
            let message = format!("{} is not {name}, which the address names", spec.name);
            return Err(only_problem("metadata.name", message));
        }
        Ok(*spec)
    }

    /// A binding is for a role; where it stands stays.
    fn role_fits(&self, spec: &Plugin, before: Option<&RunningPlugin>) -> Result<(), ControlError> {
        let Some(before) = before.filter(|before| before.spec.role != spec.role) else {
            return Ok(());
        };
        let Some(endpoint) = self.binders(&spec.name).into_iter().next() else {
            return Ok(());
        };
        let message = format!(
            "endpoint {endpoint} binds it for {}; take it out there, then change the role to {}",
            before.spec.role.as_str(),
            spec.role.as_str()
        );
        Err(only_problem("spec.role", message))
    }

    fn bound_by_none(&self, name: &Name) -> Result<(), ControlError> {
        let binders = self.binders(name);
        if binders.is_empty() {
            return Ok(());
        }
        Err(ControlError::Conflict(format!(
            "plugin {name} is bound by {}; take it out there first",
            listed("endpoint", &binders)
        )))
    }

    /// The endpoints that bind a plugin, by name.
    pub(super) fn binders(&self, plugin: &Name) -> Vec<Name> {
        let endpoints = self.endpoints.read();
        endpoints
            .values()
            .filter(|one| one.bindings.names(plugin))
            .map(|one| one.spec.name.clone())
            .collect()
    }
}

impl RunningPlugin {
    /// Whether it is at the revision that was asked for; 0 is no resource.
    pub(in crate::reconcile) fn expect(&self, manner: Manner) -> Result<(), ControlError> {
        let fits = match manner.expected {
            None => true,
            Some(0) => self.document.is_none(),
            Some(given) => given == self.revision,
        };
        if fits {
            return Ok(());
        }
        Err(ControlError::Stale(format!(
            "revision {} is not the current one, which is {}",
            manner.expected.unwrap_or_default(),
            self.revision
        )))
    }

    /// Whether a candidate would change nothing.
    fn is(&self, candidate: &Candidate) -> bool {
        self.document == candidate.wanted.document
            && self.runs(&candidate.wanted.spec, candidate.loaded.digest())
            && self.record.source == candidate.record.source
            && candidate.endpoints.is_empty()
    }
}

/// `endpoint iris` or `endpoints iris, rose and 7 more`.
fn listed(kind: &str, names: &[Name]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(Name::as_str).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let rest = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{kind}{plural} {}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_many_endpoints_are_named() {
        let names: Vec<Name> = (0..7)
            .map(|n| Name::parse(&format!("iris-{n}")).unwrap())
            .collect();
        assert_eq!(listed("endpoint", &names[..1]), "endpoint iris-0");
        assert_eq!(
            listed("endpoint", &names),
            "endpoints iris-0, iris-1, iris-2, iris-3, iris-4 and 2 more"
        );
    }
}
