//! What a row of the admin API is: its method and path, what it takes, what it
//! gives, what it refuses.
//!
//! Everything the OpenAPI document says of a row stands in it or follows from it
//! (`Route::statuses`). Knows no row; those are in `routes`.

use http::Method;
use schemars::{Schema, SchemaGenerator};

use super::routes::Action;
use super::schemas;

/// How a schema is made.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

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

impl Takes {
    /// The media type of the body; none where there is none.
    pub(super) const fn media_type(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Json => Some("application/json"),
            Self::MergePatch => Some("application/merge-patch+json"),
            Self::Wasm => Some("application/wasm"),
        }
    }
}

/// What a row answers where it did what was asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gives {
    /// 204.
    Nothing,
    /// 200 with text of this media type.
    Text(&'static str),
    /// 200 with text, or 503 with text where it is not so.
    Ready,
    /// 200 with JSON.
    Json(SchemaOf),
    /// 200 with a resource, whose revision is the `ETag`.
    Resource(SchemaOf),
    /// As `Resource`, or 201 where it made it.
    Put(SchemaOf),
    /// 201 with JSON where it made something, 200 where it was there.
    Made(SchemaOf),
    /// 200 with lines of text; server-sent events where `follow` is true.
    Lines,
    /// 200 with JSON; server-sent events where `follow` is true.
    Events(SchemaOf),
}

/// A name of a query.
#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) schema: SchemaOf,
    pub(super) text: &'static str,
}

/// One row.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// As `matchit` has it; every `{part}` is a name of a resource.
    pub(super) path: &'static str,
    pub(super) action: Action,
    /// Whether it is answered without the token. A closed list, see its test.
    pub(super) open: bool,
    pub(super) body: Takes,
    /// What the body is; none where there is none.
    pub(super) asks: Option<SchemaOf>,
    /// Names of its query.
    pub(super) query: &'static [Param],
    pub(super) gives: Gives,
    /// Refusals beyond those that follow from the rest.
    pub(super) refuses: &'static [u16],
    /// In a few words.
    pub(super) summary: &'static str,
}

/// The query of lists.
pub(super) const LIST: &[Param] = &[LIMIT, CONTINUE];

const LIMIT: Param = Param {
    name: "limit",
    schema: schemas::limit,
    text: "The most items of one answer. Default: 500.",
};

const CONTINUE: Param = Param {
    name: "continue",
    schema: schemas::text,
    text: "What the answer before gave as `continue`.",
};

/// The query of logs.
pub(super) const LOGS: &[Param] = &[
    Param {
        name: "version",
        schema: schemas::name,
        text: "Of this version only.",
    },
    Param {
        name: "replica",
        schema: schemas::text,
        text: "Of this replica only.",
    },
    Param {
        name: "since",
        schema: schemas::interval,
        text: "Not older than this.",
    },
    FOLLOW,
];

/// The query of changes.
pub(super) const CHANGE: &[Param] = &[Param {
    name: "dryRun",
    schema: schemas::flag,
    text: "Only checks, and answers the resource as it would be.",
}];

/// The query of events.
pub(super) const EVENTS: &[Param] = &[
    Param {
        name: "since",
        schema: schemas::number,
        text: "Those after this id.",
    },
    FOLLOW,
    EVENTS_LIMIT,
    CONTINUE,
];

const EVENTS_LIMIT: Param = Param {
    name: "limit",
    schema: schemas::limit,
    text: "The most items of one answer. Default: all that are kept.",
};

const FOLLOW: Param = Param {
    name: "follow",
    schema: schemas::flag,
    text: "Goes on with what comes, as server-sent events.",
};

/// A row of these, that needs the token and takes nothing.
pub(super) const fn row(
    method: Method,
    path: &'static str,
    action: Action,
    gives: Gives,
    summary: &'static str,
) -> Route {
    Route {
        method,
        path,
        action,
        open: false,
        body: Takes::Nothing,
        asks: None,
        query: &[],
        gives,
        refuses: &[],
        summary,
    }
}

/// A `GET`.
pub(super) const fn get(
    path: &'static str,
    action: Action,
    gives: Gives,
    summary: &'static str,
) -> Route {
    row(Method::GET, path, action, gives, summary)
}

/// A `POST`.
pub(super) const fn post(
    path: &'static str,
    action: Action,
    gives: Gives,
    summary: &'static str,
) -> Route {
    row(Method::POST, path, action, gives, summary)
}

impl Route {
    /// Answered without the token.
    pub(super) const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// With a query.
    pub(super) const fn query(mut self, query: &'static [Param]) -> Self {
        self.query = query;
        self
    }

    /// With a body.
    pub(super) const fn takes(mut self, body: Takes, asks: SchemaOf) -> Self {
        self.body = body;
        self.asks = Some(asks);
        self
    }

    /// With refusals that do not follow from the rest.
    pub(super) const fn refuses(mut self, refuses: &'static [u16]) -> Self {
        self.refuses = refuses;
        self
    }

    fn has_query(&self, name: &str) -> bool {
        self.query.iter().any(|param| param.name == name)
    }

    /// Whether it is a conditional change, that can be tried with `dryRun`.
    pub(super) fn changes(&self) -> bool {
        self.has_query("dryRun")
    }

    /// Whether it goes on where `follow` is true.
    pub(super) fn follows(&self) -> bool {
        self.has_query("follow")
    }

    /// The refusals it can answer, in order.
    pub(super) fn refusals(&self) -> Vec<u16> {
        // A query or a body that is not understood, a foreign `Host` or `Origin`,
        // a body that comes too slowly or is too large, a head that is too
        // large, our own fault.
        let mut found = vec![400, 403, 408, 413, 431, 500];
        if !self.open {
            found.push(401);
        }
        if self.path.contains('{') {
            found.push(404);
        }
        if self.body != Takes::Nothing {
            found.push(415);
            found.push(422);
        }
        if self.changes() {
            // A stale body, a stale `If-Match`, a store that cannot be written.
            found.extend([409, 412, 422, 503]);
        }
        if self.follows() {
            found.push(503);
        }
        found.extend(self.refuses);
        found.sort_unstable();
        found.dedup();
        found
    }
}
