//! The rows that change an endpoint, one of its versions, or a plugin's resource.
//!
//! `If-Match` makes a change conditional, `?dryRun=true` only checks it. A
//! resource that names a command or a file of the machine is taken where the
//! administrator is on the machine (SEMANTICS §13). Called by `handlers`.

use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Api;
use super::answer::{Refusal, json, whole};
use super::body::{self, Body};
use super::handlers::Call;
use super::routes::Action;
use crate::reconcile::status::Written;
use crate::reconcile::{ControlError, Manner};
use crate::resource::{self, Problem};

/// What a rollback of an endpoint takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = &serde_json::json!({ "to": 1 }))]
pub(super) struct To {
    /// The revision to go back to.
    to: u64,
}

/// Does what a row does.
pub(super) async fn act(api: &Api, action: Action, call: Call) -> Result<Response<Body>, Refusal> {
    let manner = manner(api, &call)?;
    let written = write(api, action, &call, manner).await;
    match written.map_err(|refusal| placed(api, action, &call, refusal))? {
        Some(mut written) => {
            // A `POST` answers 200, also where it brings back what was deleted.
            written.created &= action != Action::RollbackEndpoint;
            shown(api, &call, &written, manner.dry_run)
        }
        None => Ok(whole(StatusCode::NO_CONTENT, "application/json", "")),
    }
}

/// What `If-Match`, `If-None-Match` and `dryRun` ask for, and from where.
pub(super) fn manner(api: &Api, call: &Call) -> Result<Manner, Refusal> {
    Ok(Manner {
        expected: expected(&call.head.headers)?,
        dry_run: call.query.flag("dryRun")?,
        from_elsewhere: !api.local,
    })
}

/// None where it was taken away.
async fn write(
    api: &Api,
    action: Action,
    call: &Call,
    manner: Manner,
) -> Result<Option<Written>, Refusal> {
    let control = &api.control;
    let (name, version) = (call.name.as_str(), call.version.as_str());
    let written = match action {
        Action::PutEndpoint => {
            let document = local(api, body::json(&call.content)?)?;
            control
                .put_endpoint(name, document, manner, "applied")
                .await?
        }
        Action::PatchEndpoint => {
            let patch = local(api, body::json(&call.content)?)?;
            control.patch_endpoint(name, &patch, manner).await?
        }
        Action::PutTraffic => {
            let shares: Map<String, Value> = body::json(&call.content)?;
            control.put_traffic(name, &shares, manner).await?
        }
        Action::RollbackEndpoint => {
            let To { to } = body::json(&call.content)?;
            control.rollback_endpoint(name, to, manner).await?
        }
        Action::PutVersion => {
            let body = local_version(api, body::json(&call.content)?)?;
            control.put_version(name, version, body, manner).await?
        }
        Action::PatchVersion => {
            let patch = local_version(api, body::json(&call.content)?)?;
            control.patch_version(name, version, &patch, manner).await?
        }
        Action::DeleteVersion => {
            control.delete_version(name, version, manner).await?;
            return Ok(None);
        }
        _ => {
            control.delete_endpoint(name, manner).await?;
            return Ok(None);
        }
    };
    Ok(Some(written))
}

/// A refusal whose problems stand where the caller's own body has them; those
/// that it does not have stand nowhere.
fn placed(api: &Api, action: Action, call: &Call, refusal: Refusal) -> Refusal {
    let of_versions = matches!(
        action,
        Action::PutVersion | Action::PatchVersion | Action::PutTraffic
    );
    let known = if of_versions {
        let shares = api.control.versions(&call.name);
        shares.unwrap_or_default()
    } else {
        Vec::new()
    };
    let content = &call.content;
    refusal.each(|problem| match action {
        _ if problem.line > 0 => problem,
        // Their bodies are no part of the resource.
        Action::RollbackEndpoint | Action::DeleteEndpoint | Action::DeleteVersion => problem,
        Action::PutVersion | Action::PatchVersion => {
            let found = known.iter().position(|one| *one == call.version);
            let root = format!("spec.versions[{}]", found.unwrap_or(known.len()));
            resource::json::placed(content, &root, problem)
        }
        Action::PutTraffic => {
            let share = known
                .iter()
                .enumerate()
                .find(|(index, _)| problem.path == format!("spec.versions[{index}].traffic"));
            let path = share.map_or("", |(_, name)| name.as_str());
            let inner = Problem {
                path: path.to_owned(),
                ..problem.clone()
            };
            let found = resource::json::placed(content, "", inner);
            Problem {
                path: problem.path,
                ..found
            }
        }
        _ => resource::json::placed(content, "", problem),
    })
}

/// Does what a row about a plugin's resource does.
pub(super) async fn act_on_plugin(
    api: &Api,
    action: Action,
    call: Call,
) -> Result<Response<Body>, Refusal> {
    let control = &api.control;
    let name = call.name.as_str();
    let manner = manner(api, &call)?;
    if action == Action::DeletePlugin {
        control.delete_plugin(name, manner).await?;
        return Ok(whole(StatusCode::NO_CONTENT, "application/json", ""));
    }
    let document = local(api, body::json(&call.content)?)?;
    let written = control.put_plugin(name, document, manner).await;
    let written = written.map_err(|error| placed(api, action, &call, error.into()))?;
    let status = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = if manner.dry_run {
        // As of an endpoint: nothing has happened that a status could tell.
        let mut document = written.document;
        document
            .as_object_mut()
            .and_then(|one| one.remove("status"));
        json(status, &document)?
    } else {
        json(status, &control.plugin(name)?)?
    };
    Ok(tagged(response, written.revision))
}

pub(super) fn tagged(mut response: Response<Body>, revision: u64) -> Response<Body> {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// What was changed as it is now; of a dry run, as it would be.
fn shown(
    api: &Api,
    call: &Call,
    written: &Written,
    dry_run: bool,
) -> Result<Response<Body>, Refusal> {
    let status = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = if dry_run {
        json(status, &written.document)?
    } else if call.version.is_empty() {
        json(status, &api.control.endpoint(&call.name)?)?
    } else {
        json(status, &api.control.version(&call.name, &call.version)?)?
    };
    Ok(tagged(response, written.revision))
}

/// Refuses what names a command or a file of the machine, where the API can be
/// reached from elsewhere.
fn local(api: &Api, resource: Value) -> Result<Value, Refusal> {
    only_local(api, resource::names_machine(&resource))?;
    Ok(resource)
}

/// [`local`] of one version.
fn local_version(api: &Api, version: Value) -> Result<Value, Refusal> {
    only_local(api, resource::version_names_machine(&version))?;
    Ok(version)
}

fn only_local(api: &Api, names: bool) -> Result<(), Refusal> {
    if names && !api.local {
        return Err(ControlError::OnlyLocal.into());
    }
    Ok(())
}

/// The revision that `If-Match` or `If-None-Match: *` asks for; both are read,
/// so that a malformed one is never hidden by the other.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let revision = headers.get(IF_MATCH).map(if_match).transpose()?.flatten();
    match headers.get(IF_NONE_MATCH) {
        Some(value) if value == "*" => Ok(Some(0)),
        Some(value) => Err(Refusal::malformed(format!(
            "If-None-Match: {value:?} is not *, which is all it can be here"
        ))),
        None => Ok(revision),
    }
}

/// The revision of an `If-Match`; none is any.
fn if_match(given: &HeaderValue) -> Result<Option<u64>, Refusal> {
    let text = given.to_str().unwrap_or_default().trim();
    let number = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match number.and_then(|number| number.parse().ok()) {
        Some(revision) => Ok(Some(revision)),
        None if text == "*" => Ok(None),
        None => Err(Refusal::malformed(format!(
            "If-Match: {text:?} is not a revision in quotes, as ETag has it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, value: &'static str, found: Result<Option<u64>, ()>) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(expected(&headers).map_err(drop), found, "{name}: {value}");
    }

    #[test]
    fn a_revision_is_asked_for_as_an_etag() {
        check("if-match", "\"3\"", Ok(Some(3)));
        check("if-match", "*", Ok(None));
        check("if-match", "3", Err(()));
        check("if-match", "\"x\"", Err(()));
        check("if-none-match", "*", Ok(Some(0)));
        check("if-none-match", "\"3\"", Err(()));
        check("x-other", "1", Ok(None));
    }

    #[test]
    fn a_malformed_condition_is_not_hidden_by_another() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        headers.insert(IF_MATCH, HeaderValue::from_static("r.5a"));
        assert!(expected(&headers).is_err());
    }
}
