//! The rows of the admin API, once: method, path, what it takes and does.
//!
//! The OpenAPI document is to be made from this table. Knows nothing of how a
//! row is done; that is `handlers`.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Method, StatusCode};

use super::answer::Refusal;

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The process answers.
    Health,
    /// Callers can be served.
    Ready,
    /// Prometheus' text.
    Metrics,
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
    /// A new content for a plugin.
    Push,
    /// Another content takes over.
    Swap,
    /// The content before takes over.
    Rollback,
    /// What happened.
    Events,
}

/// What a row takes as its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Nothing,
    /// A JSON object; nothing is an empty one.
    Json,
    /// A merge patch (RFC 7396).
    MergePatch,
    /// A component.
    Wasm,
}

/// One row.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// As `matchit` has it.
    pub(super) path: &'static str,
    pub(super) action: Action,
    /// Whether it is answered without the token. A closed list, see its test.
    pub(super) open: bool,
    pub(super) body: Takes,
    /// Names of its query.
    pub(super) query: &'static [&'static str],
    /// For the OpenAPI document.
    #[expect(
        dead_code,
        reason = "the OpenAPI document is made from it, in a later issue"
    )]
    pub(super) summary: &'static str,
}

const LIST: &[&str] = &["limit", "continue"];
const LOGS: &[&str] = &["version", "replica", "since", "follow"];
const CHANGE: &[&str] = &["dryRun"];
const EVENTS: &[&str] = &["since", "follow"];

const fn open(path: &'static str, action: Action, summary: &'static str) -> Route {
    Route {
        method: Method::GET,
        path,
        action,
        open: true,
        body: Takes::Nothing,
        query: &[],
        summary,
    }
}

const fn get(
    path: &'static str,
    action: Action,
    query: &'static [&'static str],
    summary: &'static str,
) -> Route {
    Route {
        method: Method::GET,
        path,
        action,
        open: false,
        body: Takes::Nothing,
        query,
        summary,
    }
}

const fn post(path: &'static str, action: Action, body: Takes, summary: &'static str) -> Route {
    Route {
        method: Method::POST,
        path,
        action,
        open: false,
        body,
        query: &[],
        summary,
    }
}

const fn change(
    method: Method,
    path: &'static str,
    action: Action,
    body: Takes,
    summary: &'static str,
) -> Route {
    Route {
        method,
        path,
        action,
        open: false,
        body,
        query: CHANGE,
        summary,
    }
}

/// All rows.
pub(super) static TABLE: [Route; 26] = [
    open("/healthz", Action::Health, "The process answers"),
    open(
        "/readyz",
        Action::Ready,
        "Listeners are up and nothing drains",
    ),
    open("/metrics", Action::Metrics, "Prometheus' text"),
    get("/v1/status", Action::Status, &[], "The gateway"),
    get(
        "/v1/endpoints",
        Action::Endpoints,
        LIST,
        "All endpoints with their status",
    ),
    get(
        "/v1/endpoints/{name}",
        Action::Endpoint,
        &[],
        "One endpoint with its status",
    ),
    change(
        Method::PUT,
        "/v1/endpoints/{name}",
        Action::PutEndpoint,
        Takes::Json,
        "Makes or replaces an endpoint",
    ),
    change(
        Method::PATCH,
        "/v1/endpoints/{name}",
        Action::PatchEndpoint,
        Takes::MergePatch,
        "Changes an endpoint by a merge patch",
    ),
    change(
        Method::DELETE,
        "/v1/endpoints/{name}",
        Action::DeleteEndpoint,
        Takes::Nothing,
        "Takes an endpoint and its versions away",
    ),
    get(
        "/v1/endpoints/{name}/versions/{version}",
        Action::Version,
        &[],
        "One version with its status",
    ),
    change(
        Method::PUT,
        "/v1/endpoints/{name}/versions/{version}",
        Action::PutVersion,
        Takes::Json,
        "Makes or replaces a version",
    ),
    change(
        Method::PATCH,
        "/v1/endpoints/{name}/versions/{version}",
        Action::PatchVersion,
        Takes::MergePatch,
        "Changes a version by a merge patch",
    ),
    change(
        Method::DELETE,
        "/v1/endpoints/{name}/versions/{version}",
        Action::DeleteVersion,
        Takes::Nothing,
        "Takes a version away; not the default of several, nor the last",
    ),
    get(
        "/v1/endpoints/{name}/traffic",
        Action::Traffic,
        &[],
        "The shares of an endpoint's versions, in percent",
    ),
    change(
        Method::PUT,
        "/v1/endpoints/{name}/traffic",
        Action::PutTraffic,
        Takes::Json,
        "Other shares, as one change; a version left out gets 0",
    ),
    get(
        "/v1/endpoints/{name}/history",
        Action::History,
        &[],
        "The revisions of an endpoint, newest first",
    ),
    change(
        Method::POST,
        "/v1/endpoints/{name}/rollback",
        Action::RollbackEndpoint,
        Takes::Json,
        "An endpoint as it was at a revision",
    ),
    get(
        "/v1/endpoints/{name}/keys",
        Action::Keys,
        &[],
        "The keys of an endpoint",
    ),
    get(
        "/v1/endpoints/{name}/load",
        Action::Load,
        &[],
        "The last hour's load of an endpoint, by minute",
    ),
    get(
        "/v1/endpoints/{name}/logs",
        Action::Logs,
        LOGS,
        "What replicas wrote",
    ),
    get(
        "/v1/plugins",
        Action::Plugins,
        LIST,
        "All plugins with their status",
    ),
    get(
        "/v1/plugins/{name}",
        Action::Plugin,
        &[],
        "One plugin with its status",
    ),
    post(
        "/v1/plugins/{name}/versions",
        Action::Push,
        Takes::Wasm,
        "Checks and stores a component",
    ),
    post(
        "/v1/plugins/{name}/swap",
        Action::Swap,
        Takes::Json,
        "Another content takes over",
    ),
    post(
        "/v1/plugins/{name}/rollback",
        Action::Rollback,
        Takes::Json,
        "The content before takes over",
    ),
    get("/v1/events", Action::Events, EVENTS, "What happened"),
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
