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
use super::body::Body;
use super::handlers::Call;
use super::routes::Action;
use crate::reconcile::Manner;
use crate::reconcile::status::Written;

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
    let control = &api.control;
    let (name, version) = (call.name.as_str(), call.version.as_str());
    let manner = Manner {
        expected: expected(&call.head.headers)?,
        dry_run: call.query.flag("dryRun")?,
    };
    let written = match action {
        Action::PutEndpoint => {
            let document = local(api, parsed(&call.content)?)?;
            control
                .put_endpoint(name, document, manner, "applied")
                .await?
        }
        Action::PatchEndpoint => {
            let patch = local(api, parsed(&call.content)?)?;
            control.patch_endpoint(name, &patch, manner).await?
        }
        Action::PutTraffic => {
            let shares: Map<String, Value> = parsed(&call.content)?;
            control.put_traffic(name, &shares, manner).await?
        }
        Action::RollbackEndpoint => {
            let To { to } = parsed(&call.content)?;
            control.rollback_endpoint(name, to, manner).await?
        }
        Action::PutVersion => {
            let body = local_version(api, parsed(&call.content)?)?;
            control.put_version(name, version, body, manner).await?
        }
        Action::PatchVersion => {
            let patch = local_version(api, parsed(&call.content)?)?;
            control.patch_version(name, version, &patch, manner).await?
        }
        Action::DeleteVersion => {
            control.delete_version(name, version, manner).await?;
            return Ok(whole(StatusCode::NO_CONTENT, "application/json", ""));
        }
        _ => {
            control.delete_endpoint(name, manner).await?;
            return Ok(whole(StatusCode::NO_CONTENT, "application/json", ""));
        }
    };
    shown(api, &call, &written, manner.dry_run)
}

/// Does what a row about a plugin's resource does.
pub(super) async fn act_on_plugin(
    api: &Api,
    action: Action,
    call: Call,
) -> Result<Response<Body>, Refusal> {
    let control = &api.control;
    let name = call.name.as_str();
    let manner = Manner {
        expected: expected(&call.head.headers)?,
        dry_run: call.query.flag("dryRun")?,
    };
    if action == Action::DeletePlugin {
        control.delete_plugin(name, manner).await?;
        return Ok(whole(StatusCode::NO_CONTENT, "application/json", ""));
    }
    let document: Value = parsed(&call.content)?;
    let file = document.pointer("/spec/source/file");
    only_local(api, file.is_some_and(|file| !file.is_null()))?;
    let written = control.put_plugin(name, document, manner).await?;
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

fn tagged(mut response: Response<Body>, revision: u64) -> Response<Body> {
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

fn parsed<T: for<'de> Deserialize<'de>>(content: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(content)
        .map_err(|error| Refusal::malformed(format!("the body: {error}")))
}

/// Refuses what names a command or a file of the machine, where the API can be
/// reached from elsewhere.
fn local(api: &Api, resource: Value) -> Result<Value, Refusal> {
    let versions = resource.pointer("/spec/versions").and_then(Value::as_array);
    let names = versions.into_iter().flatten().any(names_local);
    only_local(api, names)?;
    Ok(resource)
}

/// [`local`] of one version.
fn local_version(api: &Api, version: Value) -> Result<Value, Refusal> {
    only_local(api, names_local(&version))?;
    Ok(version)
}

fn names_local(version: &Value) -> bool {
    let given = |pointer| {
        version
            .pointer(pointer)
            .is_some_and(|one: &Value| !one.is_null())
    };
    given("/process") || given("/static/tls/caFile")
}

fn only_local(api: &Api, names: bool) -> Result<(), Refusal> {
    if names && !api.local {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "it names a command or a file of the machine; that is taken on loopback only, unless admin.allowLocal",
        ));
    }
    Ok(())
}

/// The revision that `If-Match` or `If-None-Match: *` asks for.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    match headers.get(IF_NONE_MATCH) {
        Some(value) if value == "*" => return Ok(Some(0)),
        Some(value) => {
            return Err(Refusal::malformed(format!(
                "If-None-Match: {value:?} is not *, which is all it can be here"
            )));
        }
        None => {}
    }
    let Some(given) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
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
}
