//! Changes of one version of an endpoint, so that a client never has to send the
//! whole endpoint (SEMANTICS §5, §13).
//!
//! Each is a change of the endpoint's document, checked and written as any other:
//! one revision, one table. Naming another default or control unmarks the one
//! before in the same change. Called by `admin`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Manner, merge};
use crate::reconcile::status::Written;
use crate::reconcile::{Control, ControlError};
use crate::resource::{Problem, suggestion};

impl Control {
    /// One version as its endpoint's resource has it, with its `status` and the
    /// endpoint's revision.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn version(&self, endpoint: &str, version: &str) -> Result<Value, ControlError> {
        let running = self.endpoint_running(endpoint)?;
        let index = position(&running.document, version).ok_or_else(|| none(endpoint, version))?;
        let mut shown = object(&running.document, index).unwrap_or_default();
        shown.insert(
            "metadata".to_owned(),
            json!({ "revision": running.revision }),
        );
        let status = running.status();
        let own = status
            .versions
            .iter()
            .find(|one| one.name.as_str() == version);
        shown.insert(
            "status".to_owned(),
            serde_json::to_value(own).unwrap_or_default(),
        );
        Ok(Value::Object(shown))
    }

    /// The names of an endpoint's versions, in their order.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn versions(&self, endpoint: &str) -> Result<Vec<String>, ControlError> {
        let running = self.endpoint_running(endpoint)?;
        let names = running.spec.versions.iter();
        Ok(names.map(|version| version.name.to_string()).collect())
    }

    /// Makes a version, after the ones there are, or replaces one. A key left out
    /// takes its default, but the default version stays it until another is named.
    ///
    /// # Errors
    ///
    /// As [`Control::put_endpoint`], with the key paths of the endpoint; 404 where
    /// there is no such endpoint.
    pub async fn put_version(
        self: &Arc<Self>,
        endpoint: &str,
        version: &str,
        body: Value,
        manner: Manner,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        let running = self.endpoint_running(endpoint)?;
        let known = position(&running.document, version).is_some();
        let manner = match (manner.expected, known) {
            (Some(0), true) => {
                let message = format!("version {version} of endpoint {endpoint} is there already");
                return Err(ControlError::Stale(message));
            }
            // It is the version that is not to be there.
            (Some(0), false) => Manner {
                expected: None,
                ..manner
            },
            _ => manner,
        };
        let what = if known { "replaced" } else { "created" };
        self.set_version(endpoint, version, body, manner, what)
            .await
    }

    /// Changes a version by a merge patch (RFC 7396).
    ///
    /// # Errors
    ///
    /// As [`Control::put_version`]; 404 where there is no such version.
    pub async fn patch_version(
        self: &Arc<Self>,
        endpoint: &str,
        version: &str,
        patch: &Value,
        manner: Manner,
    ) -> Result<Written, ControlError> {
        let _change = self.change.lock().await;
        let running = self.endpoint_running(endpoint)?;
        let index = position(&running.document, version).ok_or_else(|| none(endpoint, version))?;
        let mut body = Value::Object(object(&running.document, index).unwrap_or_default());
        merge(&mut body, patch);
        self.set_version(endpoint, version, body, manner, "patched")
            .await
    }

    /// Takes a version away. Its share goes to the default.
    ///
    /// # Errors
    ///
    /// 404; 409 where it is the only version, or the default of several; 412, 422
    /// where something still names it, 503. Then it is still there.
    pub async fn delete_version(
        self: &Arc<Self>,
        endpoint: &str,
        version: &str,
        manner: Manner,
    ) -> Result<(), ControlError> {
        let _change = self.change.lock().await;
        let running = self.endpoint_running(endpoint)?;
        let mut document = running.document.clone();
        let index = position(&document, version).ok_or_else(|| none(endpoint, version))?;
        if running.spec.versions.len() == 1 {
            return Err(ControlError::Conflict(format!(
                "{version} is the only version of endpoint {endpoint}; delete the endpoint, or create another version first"
            )));
        }
        if default_of(&document) == Some(index) {
            return Err(ControlError::Conflict(format!(
                "{version} is the default version of endpoint {endpoint}; name another default first, by default: true of that version"
            )));
        }
        if let Some(versions) = versions_of(&mut document) {
            versions.remove(index);
        }
        let what = format!("version {version} deleted");
        self.put(endpoint, document, manner, &what).await?;
        Ok(())
    }

    /// Under the change lock.
    async fn set_version(
        self: &Arc<Self>,
        endpoint: &str,
        version: &str,
        body: Value,
        manner: Manner,
        what: &str,
    ) -> Result<Written, ControlError> {
        let running = self.endpoint_running(endpoint)?;
        let mut document = running.document.clone();
        let known = position(&document, version);
        let index = known.unwrap_or(running.spec.versions.len());
        let revision = set(&mut document, version, body)?;
        if let (Some(given), Some(metadata)) = (revision, metadata_of(&mut document)) {
            metadata.insert("revision".to_owned(), given);
        }
        let what = format!("version {version} {what}");
        let written = self.put(endpoint, document, manner, &what).await?;
        Ok(Written {
            created: known.is_none() && !manner.dry_run,
            document: Value::Object(object(&written.document, index).unwrap_or_default()),
            ..written
        })
    }
}

fn none(endpoint: &str, version: &str) -> ControlError {
    ControlError::NotFound(format!("no version {version} of endpoint {endpoint}"))
}

/// Puts a version into its place in an endpoint, or after the last; the revision
/// that its body names.
fn set(document: &mut Value, name: &str, body: Value) -> Result<Option<Value>, ControlError> {
    let default = default_of(document);
    let found = position(document, name);
    let endpoint = document.pointer("/metadata/name").and_then(Value::as_str);
    let endpoint = endpoint.map(str::to_owned);
    let Some(versions) = versions_of(document) else {
        return Err(refuse("spec.versions", "not a list"));
    };
    let index = found.unwrap_or(versions.len());
    let at = format!("spec.versions[{index}]");
    let Value::Object(mut version) = body else {
        return Err(refuse(&at, "not an object; it is one of spec.versions"));
    };
    version.remove("status");
    let metadata = version.remove("metadata");
    let revision = revision_of(metadata, &format!("{at}.metadata"), endpoint.as_deref())?;
    match version.get("name") {
        None | Some(Value::Null) => {}
        Some(Value::String(given)) if given == name => {}
        Some(given) => {
            let message = format!("{given} is not {name}, which the address names");
            return Err(refuse(&format!("{at}.name"), &message));
        }
    }
    version.insert("name".to_owned(), name.into());
    let wants_default = version.get("default").and_then(Value::as_bool);
    if wants_default == Some(false) && default == Some(index) && versions.len() > 1 {
        let message =
            format!("{name} is the default; name another first, by default: true of that version");
        return Err(refuse(&format!("{at}.default"), &message));
    }
    let is_control = version.get("type").is_some_and(|kind| kind == "control");
    match versions.get_mut(index) {
        Some(place) => *place = Value::Object(version),
        None => versions.push(Value::Object(version)),
    }
    if is_control {
        unmark_control(versions, index);
    }
    let wanted = if wants_default == Some(true) {
        Some(index)
    } else {
        default
    };
    keep_default(document, wanted);
    Ok(revision)
}

/// The revision that the metadata of a version name. There is nothing else in
/// them but, in a list, the endpoint's name; a misspelt revision must not be taken
/// for none.
fn revision_of(
    metadata: Option<Value>,
    at: &str,
    endpoint: Option<&str>,
) -> Result<Option<Value>, ControlError> {
    let mut metadata = match metadata {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(refuse(at, "not an object")),
    };
    let revision = metadata.remove("revision");
    if endpoint.is_some() && metadata.get("endpoint").and_then(Value::as_str) == endpoint {
        metadata.remove("endpoint");
    }
    if metadata.is_empty() {
        return Ok(revision);
    }
    let unknown = metadata.keys().map(|key| Problem {
        hint: suggestion(key, &["revision"]),
        ..problem(&format!("{at}.{key}"), "no such key".to_owned())
    });
    Err(ControlError::Problems(unknown.collect()))
}

/// A control that is no longer it becomes a treatment, as the original had it.
fn unmark_control(versions: &mut [Value], control: usize) {
    for (i, version) in versions.iter_mut().enumerate() {
        let marked = version.get("type").is_some_and(|kind| kind == "control");
        if i != control
            && marked
            && let Some(version) = version.as_object_mut()
        {
            version.insert("type".to_owned(), "treatment".into());
        }
    }
}

/// Marks the version at `wanted` as the default, and no other, unless that is
/// what the document says already.
fn keep_default(document: &mut Value, wanted: Option<usize>) {
    let marked = |version: &Value| version.get("default") == Some(&Value::Bool(true));
    let count = versions_of(document).map_or(0, |all| all.iter().filter(|one| marked(one)).count());
    if wanted.is_none() || (count <= 1 && default_of(document) == wanted) {
        return;
    }
    let versions = versions_of(document).into_iter().flatten();
    for (i, version) in versions.enumerate() {
        let is_marked = marked(version);
        if let Some(version) = version.as_object_mut() {
            if wanted == Some(i) {
                version.insert("default".to_owned(), true.into());
            } else if is_marked {
                version.remove("default");
            }
        }
    }
}

/// The default of an endpoint as `check` has it: the one that says so, else the
/// first that does not say no.
fn default_of(document: &Value) -> Option<usize> {
    let versions = document.pointer("/spec/versions")?.as_array()?;
    let says = |version: &Value| version.get("default").and_then(Value::as_bool);
    let marked = versions.iter().position(|one| says(one) == Some(true));
    marked.or_else(|| versions.iter().position(|one| says(one) != Some(false)))
}

/// That a change of the whole endpoint does not take the default version away
/// while others stay and none is named: their shares would move unasked.
///
/// # Errors
///
/// 409.
pub(super) fn keeps_default(before: &Value, after: &Value) -> Result<(), ControlError> {
    let names = |document| {
        let versions: Option<&Vec<Value>> = Value::pointer(document, "/spec/versions")?.as_array();
        let name = |version: &Value| Some(version.get("name")?.as_str()?.to_owned());
        Some(versions?.iter().map(name).collect::<Vec<_>>())
    };
    let default = default_of(before).and_then(|index| names(before)?.into_iter().nth(index)?);
    let (Some(default), Some(versions)) = (default, after.pointer("/spec/versions")) else {
        return Ok(());
    };
    let after_names = names(after).unwrap_or_default();
    let stays = |name: &Option<String>| name.is_some() && after_names.contains(name);
    let named = versions
        .as_array()
        .into_iter()
        .flatten()
        .any(|version| version.get("default") == Some(&Value::Bool(true)));
    let others = names(before).is_some_and(|names| names.iter().any(stays));
    if named || !others || stays(&Some(default.clone())) {
        return Ok(());
    }
    let endpoint = before
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Err(ControlError::Conflict(format!(
        "{default} is the default version of endpoint {endpoint} and would go; name another default, by default: true of that version"
    )))
}

fn position(document: &Value, name: &str) -> Option<usize> {
    let versions = document.pointer("/spec/versions")?.as_array()?;
    versions
        .iter()
        .position(|version| version.get("name").is_some_and(|one| one == name))
}

fn object(document: &Value, index: usize) -> Option<Map<String, Value>> {
    let version = document.pointer(&format!("/spec/versions/{index}"))?;
    version.as_object().cloned()
}

fn versions_of(document: &mut Value) -> Option<&mut Vec<Value>> {
    document.pointer_mut("/spec/versions")?.as_array_mut()
}

fn metadata_of(document: &mut Value) -> Option<&mut Map<String, Value>> {
    document.get_mut("metadata")?.as_object_mut()
}

fn refuse(path: &str, message: &str) -> ControlError {
    ControlError::Problems(vec![problem(path, message.to_owned())])
}

fn problem(path: &str, message: String) -> Problem {
    Problem {
        path: path.to_owned(),
        ..Problem::of_file("", message)
    }
}

/// Properties of versions that a change would drop or change; they are
/// append-only (SEMANTICS §4).
pub(super) fn lost_properties(before: &Value, after: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    each_property(before, after, |index, key, old, new| {
        let path = format!("spec.versions[{index}].properties.{key}");
        let message = match new {
            None => format!("it is {old} and would go; properties can only be added, use tags"),
            Some(new) => {
                format!("it is {old} and would be {new}; properties can only be added, use tags")
            }
        };
        problems.push(problem(&path, message));
    });
    problems
}

/// Gives an older document of an endpoint the properties its versions got since.
pub(super) fn keep_properties(before: &Value, document: &mut Value) {
    let mut kept = Vec::new();
    each_property(before, document, |index, key, old, _| {
        kept.push((index, key.to_owned(), old.clone()));
    });
    for (index, key, old) in kept {
        let version = document.pointer_mut(&format!("/spec/versions/{index}"));
        let Some(version) = version.and_then(Value::as_object_mut) else {
            continue;
        };
        let properties = version.entry("properties").or_insert_with(|| json!({}));
        if properties.is_null() {
            *properties = json!({});
        }
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(key, old);
        }
    }
}

/// Each property that versions of `before` have and those of the same name in
/// `after` have not, or not so: the version's index there, the key, both values.
fn each_property<'v>(
    before: &'v Value,
    after: &'v Value,
    mut f: impl FnMut(usize, &'v str, &'v Value, Option<&'v Value>),
) {
    let versions = before.pointer("/spec/versions").and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        let name = version.get("name").and_then(Value::as_str);
        let Some(index) = name.and_then(|name| position(after, name)) else {
            continue;
        };
        let now = after.pointer(&format!("/spec/versions/{index}/properties"));
        let old = version.get("properties").and_then(Value::as_object);
        for (key, old) in old.into_iter().flatten() {
            let new = now.and_then(|now| now.get(key));
            if new != Some(old) {
                f(index, key, old, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(versions: &Value) -> Value {
        json!({ "metadata": { "name": "iris" }, "spec": { "versions": versions } })
    }

    /// What becomes of the versions, or `path: message`.
    #[track_caller]
    fn check(versions: &Value, name: &str, body: Value, expected: &Value) {
        let mut document = endpoint(versions);
        let found = match set(&mut document, name, body) {
            Ok(_) => document["spec"]["versions"].clone(),
            Err(ControlError::Problems(problems)) => json!(problems[0].to_string()),
            Err(error) => json!(error.to_string()),
        };
        assert_eq!(found, *expected);
    }

    #[test]
    fn a_new_version_stands_last_and_is_default_only_where_it_says_so() {
        let blue = json!([{ "name": "blue" }]);
        check(
            &blue,
            "green",
            json!({ "traffic": 5 }),
            &json!([{ "name": "blue" }, { "name": "green", "traffic": 5 }]),
        );
        check(
            &blue,
            "green",
            json!({ "name": "green", "default": true }),
            &json!([{ "name": "blue" }, { "name": "green", "default": true }]),
        );
        check(
            &json!([{ "name": "blue", "default": true }]),
            "green",
            json!({ "default": true }),
            &json!([{ "name": "blue" }, { "name": "green", "default": true }]),
        );
    }

    #[test]
    fn the_default_stays_until_another_is_named() {
        let versions = json!([{ "name": "blue" }, { "name": "green", "default": true }]);
        check(
            &versions,
            "green",
            json!({ "traffic": 1 }),
            &json!([{ "name": "blue" }, { "name": "green", "traffic": 1, "default": true }]),
        );
        // Without a mark, the first that does not say no would be another one.
        check(
            &json!([{ "name": "blue", "default": false }, { "name": "green" }]),
            "blue",
            json!({}),
            &json!([{ "name": "blue" }, { "name": "green", "default": true }]),
        );
        let no = "spec.versions[1].default: green is the default; name another first, by default: true of that version";
        check(&versions, "green", json!({ "default": false }), &json!(no));
    }

    #[test]
    fn a_control_that_is_no_longer_it_becomes_a_treatment() {
        check(
            &json!([{ "name": "blue", "type": "control" }, { "name": "gray" }, { "name": "green" }]),
            "green",
            json!({ "type": "control" }),
            &json!([
                { "name": "blue", "type": "treatment" },
                { "name": "gray" },
                { "name": "green", "type": "control" }
            ]),
        );
    }

    #[test]
    fn a_body_is_a_version_of_the_name_in_the_address() {
        let blue = json!([{ "name": "blue" }]);
        let wrong = "spec.versions[1].name: \"gray\" is not green, which the address names";
        check(&blue, "green", json!({ "name": "gray" }), &json!(wrong));
        let list = "spec.versions[0]: not an object; it is one of spec.versions";
        check(&blue, "blue", json!([]), &json!(list));
        // What is shown can be sent back.
        let mut document = endpoint(&blue);
        let shown = json!({ "name": "blue", "metadata": { "revision": 3 }, "status": {} });
        assert_eq!(set(&mut document, "blue", shown).unwrap(), Some(json!(3)));
        assert_eq!(document, endpoint(&blue));
    }

    #[test]
    fn metadata_of_a_version_have_a_revision_and_nothing_else() {
        let blue = json!([{ "name": "blue" }]);
        let typo = "spec.versions[0].metadata.revisoin: no such key; did you mean revision?";
        check(
            &blue,
            "blue",
            json!({ "metadata": { "revisoin": 1 } }),
            &json!(typo),
        );
        let other = "spec.versions[0].metadata.endpoint: no such key";
        check(
            &blue,
            "blue",
            json!({ "metadata": { "endpoint": "rose" } }),
            &json!(other),
        );
        check(
            &blue,
            "blue",
            json!({ "metadata": { "endpoint": "iris", "revision": 1 } }),
            &blue,
        );
        let number = "spec.versions[0].metadata: not an object";
        check(&blue, "blue", json!({ "metadata": 5 }), &json!(number));
    }

    /// The names of versions, `*` behind the one that is marked as the default.
    fn named(names: &[&str]) -> Value {
        let version = |name: &&str| match name.strip_suffix('*') {
            Some(name) => json!({ "name": name, "default": true }),
            None => json!({ "name": name }),
        };
        endpoint(&names.iter().map(version).collect())
    }

    #[test]
    fn a_default_goes_only_where_another_is_named_or_none_stays() {
        for (before, after, refused) in [
            (&["blue", "green*"][..], &["blue"][..], true),
            (&["blue", "green*", "gray"], &["gray", "red"], true),
            (&["blue", "green"], &["green"], true),
            (&["blue", "green*"], &["blue*"], false),
            (&["blue", "green*"], &["blue", "green"], false),
            (&["blue", "green"], &["red", "blue"], false),
            (&["blue"], &["green"], false),
            (&["blue", "green*"], &[], false),
        ] {
            let kept = keeps_default(&named(before), &named(after));
            assert_eq!(kept.is_err(), refused, "{before:?} {after:?}: {kept:?}");
        }
        let why = keeps_default(&named(&["blue", "green*"]), &named(&["blue"])).unwrap_err();
        assert_eq!(
            why.to_string(),
            "green is the default version of endpoint iris and would go; name another default, by default: true of that version"
        );
        assert!(keeps_default(&named(&["blue"]), &json!({ "spec": {} })).is_ok());
    }

    #[test]
    fn properties_are_only_added_also_by_a_rollback() {
        let before = endpoint(&json!([
            { "name": "gone", "properties": { "run": "1" } },
            { "name": "blue", "properties": { "run": "42", "data": "a" } }
        ]));
        let mut after = endpoint(&json!([
            { "name": "blue", "properties": { "run": "43", "more": "b" } }
        ]));
        let lost: Vec<String> = lost_properties(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lost,
            [
                "spec.versions[0].properties.data: it is \"a\" and would go; properties can only be added, use tags",
                "spec.versions[0].properties.run: it is \"42\" and would be \"43\"; properties can only be added, use tags"
            ]
        );
        keep_properties(&before, &mut after);
        assert_eq!(lost_properties(&before, &after), []);
        assert_eq!(after["spec"]["versions"][0]["properties"]["more"], "b");
        let mut none = endpoint(&json!([{ "name": "blue" }]));
        keep_properties(&before, &mut none);
        assert_eq!(lost_properties(&before, &none), []);
    }
}
