//! What each row of the admin API does, by `reconcile::Control`.
//!
//! Never sees a request that `gate` has not let in. Called by `admin`.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{Refusal, json, whole};
use super::body::{Body, json_or_default};
use super::query::Query;
use super::routes::Action;
use super::{Api, changes, openapi, page, streams};
use crate::name::Name;
use crate::runtime::LogQuery;
use crate::units::Interval;

/// A request that was let in.
pub(super) struct Call {
    pub(super) head: Parts,
    /// The name in its path; empty where there is none.
    pub(super) name: String,
    /// The version in its path; empty where there is none.
    pub(super) version: String,
    pub(super) query: Query,
    pub(super) content: Bytes,
}

/// Does what a row does.
pub(super) async fn act(api: &Api, action: Action, call: Call) -> Result<Response<Body>, Refusal> {
    let control = &api.control;
    let name = call.name.as_str();
    match action {
        Action::Health => Ok(whole(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")),
        Action::Ready => Ok(ready(api)),
        Action::Metrics => {
            let text = control.metrics_text();
            Ok(whole(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                text,
            ))
        }
        Action::OpenApi => Ok(whole(StatusCode::OK, "application/json", openapi::text())),
        Action::Status => json(StatusCode::OK, &control.status()),
        Action::Endpoints => page::resources(control.endpoints(), &call.query),
        Action::Endpoint => json(StatusCode::OK, &control.endpoint(name)?),
        Action::PutEndpoint
        | Action::PatchEndpoint
        | Action::DeleteEndpoint
        | Action::PutVersion
        | Action::PatchVersion
        | Action::DeleteVersion
        | Action::PutTraffic
        | Action::RollbackEndpoint => changes::act(api, action, call).await,
        Action::Version => json(StatusCode::OK, &control.version(name, &call.version)?),
        Action::Traffic => {
            let (shares, revision) = control.traffic(name)?;
            let shown = json(StatusCode::OK, &shares)?;
            Ok(changes::tagged(shown, revision))
        }
        Action::History => page::history(&control.endpoint_history(name)?, &call.query),
        Action::Keys => json(StatusCode::OK, &control.endpoint_keys(name)?),
        Action::Load => json(StatusCode::OK, &control.load(name)?),
        Action::Logs => logs(api, &call).await,
        Action::Plugins => page::resources(control.plugins(), &call.query),
        Action::Plugin => json(StatusCode::OK, &control.plugin(name)?),
        Action::PutPlugin | Action::DeletePlugin => changes::act_on_plugin(api, action, call).await,
        Action::PluginHistory => page::history(&control.plugin_history(name)?, &call.query),
        Action::PushPlugin => push(api, name, call.content).await,
        Action::SwapPlugin => {
            let wanted: Swap = json_or_default(&call.content)?;
            let manner = changes::manner(api, &call)?;
            let done = control.swap(name, wanted.digest.as_deref(), manner).await?;
            json(StatusCode::OK, &done)
        }
        Action::RollbackPlugin => {
            let RollbackPlugin { to } = json_or_default(&call.content)?;
            let manner = changes::manner(api, &call)?;
            let done = match to {
                None => control.rollback(name, manner).await?,
                Some(to) => control.rollback_plugin(name, to, manner).await?,
            };
            json(StatusCode::OK, &done)
        }
        Action::Events => events(api, &call),
    }
}

/// What a swap takes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Swap {
    /// The content that is to decide, `sha256:` and 64 hex digits; the newest
    /// where it is left out.
    digest: Option<String>,
}

/// What a rollback of a plugin takes; nothing is an empty object.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackPlugin {
    /// A revision, as the history has it; none: the content before.
    #[serde(default)]
    to: Option<u64>,
}

fn ready(api: &Api) -> Response<Body> {
    let (status, text) = if api.control.ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: starting or draining\n",
        )
    };
    whole(status, "text/plain; charset=utf-8", text)
}

async fn push(api: &Api, name: &str, content: Bytes) -> Result<Response<Body>, Refusal> {
    if content.is_empty() {
        return Err(Refusal::malformed("the body is empty; it is the component"));
    }
    let pushed = api.control.push(name, content).await?;
    let status = if pushed.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    json(status, &pushed)
}

async fn logs(api: &Api, call: &Call) -> Result<Response<Body>, Refusal> {
    let endpoint = Name::parse(&call.name)
        .map_err(|_| Refusal::not_found(format!("no endpoint {}", call.name)))?;
    let version = call.query.name("version")?;
    let since = call.query.parsed("since", Interval::parse)?;
    let follow = call.query.flag("follow")?;
    let query = LogQuery {
        endpoint,
        version,
        replica: call.query.text("replica").map(str::to_owned),
        since: since.map(Interval::duration),
        follow,
    };
    let lines = api.control.logs(query.clone()).await?;
    if follow {
        streams::follow_lines(api, lines, query)
    } else {
        Ok(streams::lines(api, lines))
    }
}

fn events(api: &Api, call: &Call) -> Result<Response<Body>, Refusal> {
    let not_an_id = |text: &str| format!("{text:?} is not the id of an event");
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| digits);
        number.ok_or_else(|| not_an_id(text))
    };
    let last = call.head.headers.get("last-event-id");
    let last = last
        .map(|value| number(value.to_str().unwrap_or_default()))
        .transpose()
        .map_err(Refusal::malformed)?;
    // An address with `since` stays the same when its reader connects again.
    let since = call.query.parsed("since", number)?;
    let since = last.or(since).unwrap_or(0);
    if call.query.flag("follow")? {
        return streams::follow_events(api, since);
    }
    let items = api.control.events().since(since);
    page::events(&items, &call.query)
}

/// Between comments on a quiet stream, so that both sides learn when it broke.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
