//! The rows of the admin API, once: method, path, what it takes and does.
//!
//! The OpenAPI document is made from this table (`openapi`), so that a new row
//! needs only its row here and its arm in `handlers`. Knows nothing of how a row
//! is done.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Method, StatusCode};

use super::answer::Refusal;
use super::changes::To;
use super::handlers::{RollbackPlugin, Swap};
use super::row::{CHANGE, EVENTS, Gives, LIST, LOGS, Route, Takes, get, post, row};
use super::schemas;
use crate::identity::KeyPair;
use crate::reconcile::status::{EndpointLoad, GatewayStatus, Pushed, Swapped};

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The process answers.
    Health,
    /// Callers can be served.
    Ready,
    /// Prometheus' text.
    Metrics,
    /// What this API takes and gives.
    OpenApi,
    /// The gateway.
    Status,
    /// All endpoints.
    Endpoints,
    /// One endpoint.
    Endpoint,
    /// Makes or replaces an endpoint.
    PutEndpoint,
    /// Changes an endpoint by a merge patch.
    PatchEndpoint,
    /// Takes an endpoint away.
    DeleteEndpoint,
    /// One version of an endpoint.
    Version,
    /// Makes or replaces a version.
    PutVersion,
    /// Changes a version by a merge patch.
    PatchVersion,
    /// Takes a version away.
    DeleteVersion,
    /// The shares of an endpoint's versions.
    Traffic,
    /// Other shares.
    PutTraffic,
    /// The revisions of an endpoint.
    History,
    /// An endpoint as it was.
    RollbackEndpoint,
    /// An endpoint's keys.
    Keys,
    /// The last hour of an endpoint.
    Load,
    /// What an endpoint's replicas wrote.
    Logs,
    /// All plugins.
    Plugins,
    /// One plugin.
    Plugin,
    /// Makes or replaces a plugin's resource.
    PutPlugin,
    /// Takes a plugin's resource away.
    DeletePlugin,
    /// The revisions of a plugin.
    PluginHistory,
    /// A new content for a plugin.
    PushPlugin,
    /// Another content takes over.
    SwapPlugin,
    /// The content before takes over.
    RollbackPlugin,
    /// What happened.
    Events,
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All rows.
pub(super) static TABLE: [Route; 30] = [
    get(
        "/healthz",
        Action::Health,
        Gives::Text(TEXT),
        "The process answers",
    )
    .open(),
    get(
        "/readyz",
        Action::Ready,
        Gives::Ready,
        "Listeners are up and nothing drains",
    )
    .open(),
    get(
        "/metrics",
        Action::Metrics,
        Gives::Text(METRICS),
        "Prometheus' text",
    )
    .open(),
    get(
        "/openapi.json",
        Action::OpenApi,
        Gives::Json(schemas::object),
        "This document",
    ),
    get(
        "/v1/status",
        Action::Status,
        Gives::Json(schemas::of::<GatewayStatus>),
        "The gateway",
    ),
    get(
        "/v1/endpoints",
        Action::Endpoints,
        Gives::Json(schemas::endpoints),
        "All endpoints with their status",
    )
    .query(LIST),
    get(
        "/v1/endpoints/{name}",
        Action::Endpoint,
        Gives::Resource(schemas::endpoint),
        "One endpoint with its status",
    ),
    row(
        Method::PUT,
        "/v1/endpoints/{name}",
        Action::PutEndpoint,
        Gives::Put(schemas::changed_endpoint),
        "Makes or replaces an endpoint",
    )
    .takes(Takes::Json, schemas::sent_endpoint)
    .query(CHANGE),
    row(
        Method::PATCH,
        "/v1/endpoints/{name}",
        Action::PatchEndpoint,
        Gives::Resource(schemas::changed_endpoint),
        "Changes an endpoint by a merge patch",
    )
    .takes(Takes::MergePatch, schemas::patch)
    .query(CHANGE),
    row(
        Method::DELETE,
        "/v1/endpoints/{name}",
        Action::DeleteEndpoint,
        Gives::Nothing,
        "Takes an endpoint and its versions away",
    )
    .query(CHANGE),
    get(
        "/v1/endpoints/{name}/versions/{version}",
        Action::Version,
        Gives::Resource(schemas::version),
        "One version with its status",
    ),
    row(
        Method::PUT,
        "/v1/endpoints/{name}/versions/{version}",
        Action::PutVersion,
        Gives::Put(schemas::changed_version),
        "Makes or replaces a version",
    )
    .takes(Takes::Json, schemas::sent_version)
    .query(CHANGE),
    row(
        Method::PATCH,
        "/v1/endpoints/{name}/versions/{version}",
        Action::PatchVersion,
        Gives::Resource(schemas::changed_version),
        "Changes a version by a merge patch",
    )
    .takes(Takes::MergePatch, schemas::patch)
    .query(CHANGE),
    row(
        Method::DELETE,
        "/v1/endpoints/{name}/versions/{version}",
        Action::DeleteVersion,
        Gives::Nothing,
        "Takes a version away; not the default of several, nor the last",
    )
    .query(CHANGE),
    get(
        "/v1/endpoints/{name}/traffic",
        Action::Traffic,
        Gives::Json(schemas::shares),
        "The shares of an endpoint's versions, in percent",
    ),
    row(
        Method::PUT,
        "/v1/endpoints/{name}/traffic",
        Action::PutTraffic,
        Gives::Resource(schemas::changed_endpoint),
        "Other shares, as one change; a version left out gets 0",
    )
    .takes(Takes::Json, schemas::shares)
    .query(CHANGE),
    get(
        "/v1/endpoints/{name}/history",
        Action::History,
        Gives::Json(schemas::history),
        "The revisions of an endpoint, newest first",
    )
    .query(LIST)
    .refuses(&[503]),
    post(
        "/v1/endpoints/{name}/rollback",
        Action::RollbackEndpoint,
        Gives::Put(schemas::changed_endpoint),
        "An endpoint as it was at a revision; 201 where it was deleted",
    )
    .takes(Takes::Json, schemas::of::<To>)
    .query(CHANGE),
    get(
        "/v1/endpoints/{name}/keys",
        Action::Keys,
        Gives::Json(schemas::of::<KeyPair>),
        "The keys of an endpoint",
    )
    .refuses(&[409]),
    get(
        "/v1/endpoints/{name}/load",
        Action::Load,
        Gives::Json(schemas::of::<EndpointLoad>),
        "The last hour's load of an endpoint, by minute",
    ),
    get(
        "/v1/endpoints/{name}/logs",
        Action::Logs,
        Gives::Lines,
        "What replicas wrote; followed, an event `end` tells that it was deleted",
    )
    .query(LOGS),
    get(
        "/v1/plugins",
        Action::Plugins,
        Gives::Json(schemas::plugins),
        "All plugins with their status",
    )
    .query(LIST),
    get(
        "/v1/plugins/{name}",
        Action::Plugin,
        Gives::Resource(schemas::plugin),
        "One plugin with its status",
    ),
    row(
        Method::PUT,
        "/v1/plugins/{name}",
        Action::PutPlugin,
        Gives::Put(schemas::changed_plugin),
        "Makes or replaces a plugin's resource",
    )
    .takes(Takes::Json, schemas::sent_plugin)
    .query(CHANGE),
    row(
        Method::DELETE,
        "/v1/plugins/{name}",
        Action::DeletePlugin,
        Gives::Nothing,
        "Takes a plugin's resource away; a shipped one is as shipped then",
    )
    .query(CHANGE),
    get(
        "/v1/plugins/{name}/history",
        Action::PluginHistory,
        Gives::Json(schemas::history),
        "The revisions of a plugin, newest first",
    )
    .query(LIST)
    .refuses(&[503]),
    post(
        "/v1/plugins/{name}/versions",
        Action::PushPlugin,
        Gives::Made(schemas::of::<Pushed>),
        "Checks and stores a component",
    )
    .takes(Takes::Wasm, schemas::bytes)
    .refuses(&[503]),
    post(
        "/v1/plugins/{name}/swap",
        Action::SwapPlugin,
        Gives::Json(schemas::of::<Swapped>),
        "Another content takes over; without a digest the newest",
    )
    .takes(Takes::Json, schemas::of::<Swap>)
    .query(CHANGE),
    post(
        "/v1/plugins/{name}/rollback",
        Action::RollbackPlugin,
        Gives::Json(schemas::of::<Swapped>),
        "The content before takes over, or what a revision had",
    )
    .takes(Takes::Json, schemas::of::<RollbackPlugin>)
    .query(CHANGE),
    get(
        "/v1/events",
        Action::Events,
        Gives::Events(schemas::events),
        "What happened",
    )
    .query(EVENTS),
];

/// Whether a request is answered without the token: an open row's exact path
/// and method, compared before any routing.
pub(super) fn is_open(head: &Parts) -> bool {
    TABLE.iter().any(|route| {
        route.open
            && route.path == head.uri.path()
            && matches!(head.method, Method::GET | Method::HEAD)
    })
}

/// The table, for look-up.
pub(super) struct Routes(matchit::Router<BTreeMap<&'static str, &'static Route>>);

/// A row that was found, with the names in its path.
pub(super) struct Found {
    pub(super) route: &'static Route,
    pub(super) name: String,
    pub(super) version: String,
}

impl Routes {
    pub(super) fn new() -> Self {
        let mut paths: BTreeMap<&str, BTreeMap<&'static str, &'static Route>> = BTreeMap::new();
        for route in &TABLE {
            paths
                .entry(route.path)
                .or_default()
                .insert(route.method.as_str(), route);
        }
        let mut router = matchit::Router::new();
        for (path, methods) in paths {
            // Two rows that collide would be left out; the test of every row finds that.
            let _ = router.insert(path, methods);
        }
        Self(router)
    }

    /// The row of a request.
    pub(super) fn find(&self, head: &Parts) -> Result<Found, Refusal> {
        let path = head.uri.path();
        let matched = self
            .0
            .at(path)
            .map_err(|_| Refusal::not_found(format!("no row at {path}")))?;
        // HEAD is GET without the body, which hyper leaves out.
        let method = if head.method == Method::HEAD {
            "GET"
        } else {
            head.method.as_str()
        };
        let Some(route) = matched.value.get(method) else {
            let allow = matched.value.keys().copied().collect::<Vec<_>>().join(", ");
            let detail = format!("{method} is not done at {path}; {allow} is");
            return Err(
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
                    .with("allow", &allow),
            );
        };
        let named = |what| matched.params.get(what).unwrap_or_default().to_owned();
        Ok(Found {
            route,
            name: named("name"),
            version: named("version"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_rows_are_a_closed_list() {
        let open: Vec<&str> = TABLE
            .iter()
            .filter(|route| route.open)
            .map(|route| route.path)
            .collect();
        assert_eq!(open, ["/healthz", "/readyz", "/metrics"]);
    }
}
