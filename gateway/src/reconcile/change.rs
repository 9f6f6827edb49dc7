//! Changes that administrators and files make to resources.
//!
//! Checked, then written to the store, then put to work: what was acknowledged
//! is on the disk, and what does not check changes nothing. Called by `admin`
//! and at start.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::status::Written;
use super::{Control, ControlError};
use crate::resource::{self, Checked, Endpoint, Plugin, Problem};
use crate::store::{Act, Change, Revision};

mod files;
mod plan;
mod plugin;
mod version;

pub use files::{Files, FilesError, Prune};

pub(super) const ENDPOINT: &str = "Endpoint";
pub(super) const PLUGIN: &str = "Plugin";
const CONFIG: &str = "GatewayConfig";

/// How a change is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// The revision it must have; none: any; 0: none may be there.
    pub expected: Option<u64>,
    /// Only checks and shows.
    pub dry_run: bool,
    /// Whoever asks may be on another machine: nothing may come back that names
    /// a command or a file of this one (SEMANTICS §13).
    pub from_elsewhere: bool,
}

impl Manner {
    /// Whether this may come back so.
    fn takes(self, document: &Value) -> Result<(), ControlError> {
        if self.from_elsewhere && resource::names_machine(document) {
            return Err(ControlError::OnlyLocal);
        }
        Ok(())
    }
}

impl Control {
    /// Makes or changes an endpoint.
    ///
    /// # Errors
    ///
    /// 422 with every problem, 412 where the revision is not the expected one,
    /// 409 where the body's own revision is stale, or where the default version
    /// would go, others stay and none is named (SEMANTICS §5), 503 where the
    /// store cannot be written. Then nothing was changed.
    pub async fn put_endpoint(
        self: &Arc<Self>,
        name: &str,
        document: Value,
        manner: Manner,
        what: &str,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        self.put(name, document, manner, what).await
    }

    /// Changes an endpoint by a merge patch (RFC 7396).
    ///
    /// # Errors
    ///
    /// As [`Control::put_endpoint`]; 404 where there is none.
    pub async fn patch_endpoint(
        self: &Arc<Self>,
        name: &str,
        patch: &Value,
        manner: Manner,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        let running = self.endpoint_running(name)?;
        let mut document = running.document.clone();
        merge(&mut document, patch);
        self.put(name, document, manner, "patched").await
    }

    /// Sets the shares of an endpoint's versions, in percent, as one change; a
    /// version left out gets 0.
    ///
    /// # Errors
    ///
    /// As [`Control::put_endpoint`]; 404 where there is no such endpoint, 422
    /// where there is no such version.
    pub async fn put_traffic(
        self: &Arc<Self>,
        name: &str,
        shares: &Map<String, Value>,
        manner: Manner,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        let running = self.endpoint_running(name)?;
        let mut document = running.document.clone();
        let mut left: Vec<&String> = shares.keys().collect();
        let versions = document
            .pointer_mut("/spec/versions")
            .and_then(Value::as_array_mut);
        for version in versions.into_iter().flatten() {
            let name = version
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            left.retain(|one| **one != name);
            if let Some(version) = version.as_object_mut() {
                version.insert(
                    "traffic".to_owned(),
                    shares.get(&name).cloned().unwrap_or_else(|| json!(0)),
                );
            }
        }
        if let Some(unknown) = left.first() {
            let known: Vec<&str> = running
                .spec
                .versions
                .iter()
                .map(|version| version.name.as_str())
                .collect();
            return Err(ControlError::Refused(format!(
                "endpoint {name} has no version {unknown}; it has {}",
                known.join(", ")
            )));
        }
        let words: Vec<String> = shares
            .iter()
            .map(|(name, share)| format!("{name}={share}"))
            .collect();
        self.put(
            name,
            document,
            manner,
            &format!("traffic {}", words.join(" ")),
        )
        .await
    }

    /// Takes an endpoint and its versions away.
    ///
    /// # Errors
    ///
    /// 404, 412, 503; then it is still there.
    pub async fn delete_endpoint(&self, name: &str, manner: Manner) -> Result<(), ControlError> {
        let _change = self.change.lock().await;
        let current = self.endpoint_running(name)?.revision;
        expect(current, manner)?;
        if manner.dry_run {
            return Ok(());
        }
        self.write(Change {
            kind: ENDPOINT,
            name: name.to_owned(),
            act: Act::Delete,
            kept: None,
            source: None,
            by: "admin",
            change: "deleted".to_owned(),
            expected: manner.expected,
        })?;
        self.remove_endpoint(name);
        self.events.tell(
            "Deleted",
            &format!("endpoint/{name}"),
            "with all its versions",
        );
        Ok(())
    }

    /// The revisions of an endpoint, newest first; also of one that is gone.
    ///
    /// # Errors
    ///
    /// 404, 503.
    pub fn endpoint_history(&self, name: &str) -> Result<Vec<Revision>, ControlError> {
        let history = self.custody.history(ENDPOINT, name)?;
        if history.is_empty() {
            return Err(ControlError::NotFound(format!("no endpoint {name}")));
        }
        Ok(history)
    }

    /// Makes an endpoint what it was at a revision; that is a new revision. The
    /// properties that its versions got since stay: they are append-only.
    ///
    /// # Errors
    ///
    /// 403 where it names a command or a file of the machine and the manner takes
    /// none, 404 where that revision is not kept, and as [`Control::put_endpoint`].
    pub async fn rollback_endpoint(
        self: &Arc<Self>,
        name: &str,
        to: u64,
        manner: Manner,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        let mut document = self.custody.at(ENDPOINT, name, to)?;
        manner.takes(&document)?;
        if let Ok(running) = self.endpoint_running(name) {
            version::keep_properties(&running.document, &mut document);
        }
        let what = format!("rolled back to revision {to}");
        // Its default is that revision's.
        self.put_where(name, document, manner, &what, |_, _| Ok(()))
            .await
    }

    /// Under the change lock.
    async fn put(
        self: &Arc<Self>,
        name: &str,
        document: Value,
        manner: Manner,
        what: &str,
    ) -> Result<Written, ControlError> {
        self.put_where(name, document, manner, what, version::keeps_default)
            .await
    }

    /// Under the change lock; `allowed` of what was there and what is to be.
    async fn put_where(
        self: &Arc<Self>,
        name: &str,
        mut document: Value,
        manner: Manner,
        what: &str,
        allowed: fn(&Value, &Value) -> Result<(), ControlError>,
    ) -> Result<Written, ControlError> {
        let before = self.endpoint_running(name).ok();
        let current = before.as_ref().map_or(0, |before| before.revision);
        if let Some(given) = strip(&mut document)?.filter(|given| *given != current) {
            return Err(ControlError::Conflict(format!(
                "metadata.revision of {given} is stale; it is at {current}: read it again"
            )));
        }
        expect(current, manner)?;
        let spec = self.check_endpoint(name, &document);
        let lost = before.as_ref().map_or_else(Vec::new, |before| {
            version::lost_properties(&before.document, &document)
        });
        let spec = with_problems(spec, lost)?;
        if let Some(before) = &before {
            allowed(&before.document, &document)?;
        }
        let unchanged = before
            .as_ref()
            .is_some_and(|before| before.document == document);
        if !unchanged {
            let refused = self.try_policies(&spec, &self.loaded()).await;
            if !refused.is_empty() {
                return Err(ControlError::Problems(refused));
            }
        }
        if manner.dry_run || unchanged {
            return Ok(Written {
                created: false,
                revision: current,
                document,
            });
        }
        // What can fail or wait comes before the revision.
        let prepared = self.prepare(&spec, before.as_deref()).await;
        let prepared = prepared.map_err(|error| ControlError::Store(error.to_string()))?;
        let revision = self.write(Change {
            kind: ENDPOINT,
            name: name.to_owned(),
            act: Act::Put(document.clone()),
            kept: None,
            source: None,
            by: "admin",
            change: what.to_owned(),
            expected: Some(current),
        })?;
        self.apply_endpoint(spec, document.clone(), revision, prepared);
        self.events
            .tell("Changed", &format!("endpoint/{name}"), what);
        Ok(Written {
            created: before.is_none(),
            revision,
            document,
        })
    }

    /// Checks one endpoint against itself, the plugins and the hosts of others.
    fn check_endpoint(&self, name: &str, document: &Value) -> Result<Endpoint, ControlError> {
        let plugins: Vec<Plugin> = self
            .plugins
            .read()
            .values()
            .map(|plugin| plugin.spec.clone())
            .collect();
        let checked = resource::check_one(document, plugins).map_err(ControlError::Problems)?;
        let Checked::Endpoint(spec) = checked else {
            return Err(only_problem("kind", "not an Endpoint".to_owned()));
        };
        let spec = *spec;
        if spec.name.as_str() != name {
            let message = format!("{} is not {name}, which the address names", spec.name);
            return Err(only_problem("metadata.name", message));
        }
        for host in &spec.hosts {
            if let Some(other) = self
                .table
                .host(host)
                .filter(|one| one.spec.name != spec.name)
            {
                let message = format!("{host} is claimed by endpoint {}", other.spec.name);
                return Err(only_problem("spec.hosts", message));
            }
        }
        Ok(spec)
    }

    fn write(&self, change: Change) -> Result<u64, ControlError> {
        let written = self.custody.write(&[change])?;
        Ok(written.first().copied().unwrap_or_default())
    }
}

/// Whether an endpoint is at the revision that was asked for.
fn expect(current: u64, manner: Manner) -> Result<(), ControlError> {
    match manner.expected.filter(|given| *given != current) {
        None => Ok(()),
        Some(0) => Err(ControlError::Stale(format!(
            "it is there already, at revision {current}"
        ))),
        Some(given) => Err(ControlError::Stale(format!(
            "revision {given} is not the current one, which is {current}"
        ))),
    }
}

/// One problem, at a key.
fn only_problem(path: &str, message: String) -> ControlError {
    ControlError::Problems(vec![Problem {
        path: path.to_owned(),
        ..Problem::of_file("", message)
    }])
}

/// A result that also has these problems.
fn with_problems<T>(
    result: Result<T, ControlError>,
    more: Vec<Problem>,
) -> Result<T, ControlError> {
    match result {
        Ok(_) if !more.is_empty() => Err(ControlError::Problems(more)),
        Err(ControlError::Problems(mut problems)) => {
            problems.extend(more);
            Err(ControlError::Problems(problems))
        }
        result => result,
    }
}

/// Takes off what the gateway adds when it shows a resource; its revision.
///
/// # Errors
///
/// Where that is no whole number: to ignore it would be to overwrite.
fn strip(document: &mut Value) -> Result<Option<u64>, ControlError> {
    let Some(document) = document.as_object_mut() else {
        return Ok(None);
    };
    document.remove("status");
    let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
    match metadata.and_then(|metadata| metadata.remove("revision")) {
        None | Some(Value::Null) => Ok(None),
        Some(given) => given.as_u64().map(Some).ok_or_else(|| {
            let message = format!("{given} is no revision: a whole number, or left out");
            only_problem("metadata.revision", message)
        }),
    }
}

/// A merge patch (RFC 7396): null takes away, arrays are replaced whole.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: Value, patch: &Value, expected: &Value) {
        let mut merged = target;
        merge(&mut merged, patch);
        assert_eq!(merged, *expected);
    }

    #[test]
    fn a_merge_patch_is_that_of_the_rfc() {
        check(
            json!({ "a": "b" }),
            &json!({ "a": "c" }),
            &json!({ "a": "c" }),
        );
        check(
            json!({ "a": "b" }),
            &json!({ "b": "c" }),
            &json!({ "a": "b", "b": "c" }),
        );
        check(json!({ "a": "b" }), &json!({ "a": null }), &json!({}));
        check(
            json!({ "a": ["b"] }),
            &json!({ "a": "c" }),
            &json!({ "a": "c" }),
        );
        check(
            json!({ "a": { "b": "c" } }),
            &json!({ "a": { "b": "d", "c": null } }),
            &json!({ "a": { "b": "d" } }),
        );
        check(
            json!({ "a": [1, 2] }),
            &json!({ "a": [3] }),
            &json!({ "a": [3] }),
        );
        check(
            json!(["a"]),
            &json!({ "a": { "b": null } }),
            &json!({ "a": {} }),
        );
    }

    #[test]
    fn what_the_gateway_adds_is_taken_off() {
        let mut shown = json!({ "metadata": { "name": "iris", "revision": 3 }, "status": {} });
        let revision = |shown: &mut Value| strip(shown).ok();
        assert_eq!(revision(&mut shown), Some(Some(3)));
        assert_eq!(shown, json!({ "metadata": { "name": "iris" } }));
        assert_eq!(revision(&mut shown), Some(None));
        for wrong in [json!("3"), json!(3.0), json!(-1), json!([3])] {
            let mut given = json!({ "metadata": { "revision": wrong } });
            assert_eq!(revision(&mut given), None, "{given}");
        }
    }
}
