//! The states of an endpoint and its versions, their conditions, and since when.
//!
//! A time changes only when what it is about does: it is noted whenever news of
//! a replica, other settings or a new entry come, and whenever it is shown.
//! Changes nothing. Used by `reconcile`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::plugins::now_text;
use super::status::{Condition, EndpointStatus, State, VersionStatus};
use super::{Control, RunningEndpoint, RunningVersion};
use crate::name::Name;
use crate::split;

/// What a word is about: a version's name, or empty for the endpoint, and a
/// condition's type.
type About = (String, &'static str);

/// The last word about each thing, with its time.
#[derive(Debug, Default)]
pub(super) struct Since(Mutex<BTreeMap<About, (&'static str, String)>>);

impl Since {
    /// Since when, in RFC 3339, the word about something is this one.
    pub(super) fn note(&self, version: &str, kind: &'static str, word: &'static str) -> String {
        let mut known = self.0.lock();
        let about = (version.to_owned(), kind);
        match known.get(&about) {
            Some((last, since)) if *last == word => since.clone(),
            _ => {
                let now = now_text();
                known.insert(about, (word, now.clone()));
                now
            }
        }
    }

    /// A condition with its time.
    pub(super) fn condition(
        &self,
        version: &str,
        kind: &'static str,
        status: bool,
        (reason, message): (&'static str, String),
    ) -> Condition {
        let word = if status { "true" } else { "false" };
        Condition {
            kind,
            status,
            reason,
            message,
            since: self.note(version, kind, word),
        }
    }

    /// Forgets the versions that are not there any more.
    pub(super) fn keep(&self, versions: &[&str]) {
        self.0
            .lock()
            .retain(|(version, _), _| version.is_empty() || versions.contains(&version.as_str()));
    }
}

impl Control {
    /// Notes the time of what has changed of an endpoint.
    pub(super) fn observe(&self, endpoint: &Name) {
        let running = self.endpoints.read().get(endpoint).cloned();
        if let Some(running) = running {
            drop(running.status());
        }
    }
}

impl RunningEndpoint {
    pub(super) fn status(&self) -> EndpointStatus {
        let shares: Vec<split::Share> = self
            .versions
            .iter()
            .map(|version| split::Share {
                weight: version.spec.traffic,
                is_default: version.spec.default,
                can_answer: version.fleet.takes_share(),
            })
            .collect();
        let versions: Vec<VersionStatus> = self
            .versions
            .iter()
            .zip(split::effective(&shares))
            .map(|(version, traffic)| self.version_status(version, traffic))
            .collect();
        let (state, reason) = self.state(&versions);
        EndpointStatus {
            state,
            reason,
            since: self.since.note("", "State", state.as_str()),
            observed_revision: self.revision,
            conditions: self.conditions(&versions),
            versions,
        }
    }

    /// `traffic` in hundredths of a percent.
    fn version_status(&self, version: &RunningVersion, traffic: u32) -> VersionStatus {
        let name = version.spec.name.as_str();
        let (serving, why) = version.state.lock().state();
        let ready = self.since.condition(
            name,
            "Ready",
            version.fleet.takes_share(),
            (serving.as_str(), why.clone()),
        );
        let update = self.update_of(&version.spec.name);
        let update = update.map(|update| update.state.lock().state());
        let word = match &update {
            None => ("UpToDate", String::new()),
            Some((State::Failed, reason)) => ("UpdateFailed", reason.clone()),
            Some((_, reason)) => ("ReplicasStarting", reason.clone()),
        };
        let updating = self
            .since
            .condition(name, "Updating", update.is_some(), word);
        let (state, reason) = match update {
            None => (serving, why),
            // It has not taken over.
            Some((State::Healthy, _)) => (
                State::Transitioning,
                "update: its new replicas take over".to_owned(),
            ),
            Some((state, reason)) => {
                let reason = format!("update: the replicas before it serve; {reason}");
                (state, reason)
            }
        };
        let replicas = version.counts();
        VersionStatus {
            name: version.spec.name.clone(),
            state,
            reason,
            since: self.since.note(name, "State", state.as_str()),
            traffic: f64::from(traffic) / 100.0,
            ejected: version.ejected(replicas),
            replicas,
            conditions: vec![ready, updating],
        }
    }

    fn state(&self, versions: &[VersionStatus]) -> (State, String) {
        let problem = self.bindings.problem();
        if let (Some(problem), false) = (&problem, self.bindings.open()) {
            return (State::Failed, problem.clone());
        }
        let worst = versions.iter().map(|version| version.state).max();
        let worst = versions.iter().find(|one| Some(one.state) == worst);
        match (worst, problem) {
            (Some(version), _) if version.state != State::Healthy => {
                let reason = format!("version {}: {}", version.name, version.reason);
                (version.state, reason)
            }
            (_, Some(problem)) => (State::Unhealthy, problem),
            (_, None) => (State::Healthy, String::new()),
        }
    }

    fn conditions(&self, versions: &[VersionStatus]) -> Vec<Condition> {
        let problem = self.bindings.problem();
        let of = |kind| {
            let all = versions.iter().flat_map(|one| {
                let name = &one.name;
                one.conditions
                    .iter()
                    .map(move |condition| (name, condition))
            });
            all.filter(move |(_, condition)| condition.kind == kind)
        };
        // Those that answer have the traffic of those that do not.
        let answers = of("Ready").any(|(_, ready)| ready.status);
        let ready = match (&problem, answers) {
            (Some(problem), _) if !self.bindings.open() => ("PolicyMissing", problem.clone()),
            (_, false) => (
                "NoReplicaReady",
                "no version has a ready replica".to_owned(),
            ),
            (_, true) => ("Answers", String::new()),
        };
        let updating: Vec<_> = of("Updating").filter(|(_, one)| one.status).collect();
        let worst = updating
            .iter()
            .find(|(_, one)| one.reason == "UpdateFailed")
            .or(updating.first());
        let update = worst.map_or(("UpToDate", String::new()), |(name, one)| {
            (one.reason, format!("version {name}: {}", one.message))
        });
        let since = &self.since;
        let loaded = match problem {
            None => ("Loaded", String::new()),
            Some(problem) => ("Refused", problem),
        };
        vec![
            since.condition("", "Ready", ready.0 == "Answers", ready),
            since.condition("", "PoliciesLoaded", loaded.0 == "Loaded", loaded),
            since.condition("", "Updating", worst.is_some(), update),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_changes_only_with_its_word() {
        let since = Since::default();
        let long_ago = "2026-01-01T00:00:00Z".to_owned();
        let about = ("blue".to_owned(), "Ready");
        since.0.lock().insert(about, ("true", long_ago.clone()));
        let ready = |status| since.condition("blue", "Ready", status, ("", String::new()));
        assert_eq!(ready(true).since, long_ago);
        assert_ne!(ready(false).since, long_ago);
        assert_ne!(ready(true).since, long_ago);
        since.keep(&["green"]);
        assert!(since.0.lock().is_empty());
    }
}
