//! The OpenAPI 3.1 document of the admin API, made from the rows.
//!
//! Knows no row and no type: a new row is in the document when it is in the
//! table. Its schemas are JSON Schema 2020-12, which is OpenAPI 3.1's own.
//! Called by `handlers` for `/openapi.json`.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answer::Document;
use super::routes::Action;
use super::routes::TABLE;
use super::row::{Gives, Route, SchemaOf};
use super::schemas;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const SSE: &str = "text/event-stream";
const LINES: &str = "text/plain; charset=utf-8";

/// The document, made once.
pub(super) fn text() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    Bytes::clone(&TEXT)
}

fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in &TABLE {
        let item = paths
            .entry(route.path.to_owned())
            .or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            let method = route.method.as_str().to_ascii_lowercase();
            item.insert(method, operation(route, &mut generator));
        }
    }
    let refusals = refusals(&mut generator);
    // Referred to by name only.
    schemas::name(&mut generator);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Endpoints, their versions and traffic, plugins, logs and events of one gateway.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "tags": [
            { "name": "gateway", "description": "The gateway itself." },
            { "name": "endpoints", "description": "What callers score against." },
            { "name": "plugins", "description": "WebAssembly components that decide." },
        ],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": refusals,
            "headers": headers(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What stands in the state folder's `admin.token`.",
                },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters(route, generator),
        "responses": responses(route, generator),
    });
    let Some(fields) = operation.as_object_mut() else {
        return operation;
    };
    if route.open {
        fields.insert("security".to_owned(), json!([]));
    }
    if let (Some(media_type), Some(asks)) = (route.body.media_type(), route.asks) {
        let required = !matches!(route.action, Action::SwapPlugin | Action::RollbackPlugin);
        let body = json!({
            "required": required,
            "content": { media_type: { "schema": asks(generator) } },
        });
        fields.insert("requestBody".to_owned(), body);
    }
    operation
}

/// `getEndpoint`, `putTraffic`: the action, with its method before it where it
/// is not a verb already.
fn operation_id(route: &Route) -> String {
    let action = format!("{:?}", route.action);
    if route.method == http::Method::GET {
        return format!("get{action}");
    }
    let mut letters = action.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

fn tag(path: &str) -> &'static str {
    match path.split('/').nth(2) {
        Some("endpoints") => "endpoints",
        Some("plugins") => "plugins",
        _ => "gateway",
    }
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let names = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut found: Vec<Value> = names
        .map(|name| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "schema": schemas::name(generator),
            })
        })
        .collect();
    found.extend(route.query.iter().map(|param| {
        json!({
            "name": param.name,
            "in": "query",
            "description": param.text,
            "schema": (param.schema)(generator),
        })
    }));
    let mut header = |name: &str, text: &str, pattern: &str| {
        found.push(json!({
            "name": name,
            "in": "header",
            "description": text,
            "schema": { "type": "string", "pattern": pattern },
        }));
    };
    if route.changes() {
        header(
            "If-Match",
            "Only where this is the resource's revision, as its `ETag` has it; else 412.",
            r#"^("[0-9]+"|\*)$"#,
        );
        header(
            "If-None-Match",
            "`*`: only where there is none yet; else 412.",
            r"^\*$",
        );
    }
    if matches!(route.gives, Gives::Events(_)) {
        header(
            "Last-Event-ID",
            "As `since`, where that is left out.",
            "^[0-9]+$",
        );
    }
    found
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut found = Map::new();
    let mut give = |status: u16, content: Value, tagged: bool| {
        let mut headers = json!({ "x-request-id": header("RequestId") });
        if let (true, Some(headers)) = (tagged, headers.as_object_mut()) {
            headers.insert("etag".to_owned(), header("Revision"));
        }
        let mut response = json!({ "description": title(status), "headers": headers });
        if let (false, Some(fields)) = (content.is_null(), response.as_object_mut()) {
            fields.insert("content".to_owned(), content);
        }
        found.insert(status.to_string(), response);
    };
    let mut of = |schema: SchemaOf| json!({ "schema": schema(generator) });
    let text = json!({ "schema": { "type": "string" } });
    match route.gives {
        Gives::Nothing => give(204, Value::Null, false),
        Gives::Text(media_type) => give(200, json!({ media_type: text }), false),
        Gives::Ready => {
            give(200, json!({ LINES: text }), false);
            give(503, json!({ LINES: text }), false);
        }
        Gives::Json(schema) => give(200, json!({ JSON: of(schema) }), false),
        Gives::Resource(schema) => give(200, json!({ JSON: of(schema) }), true),
        Gives::Put(schema) => {
            let content = json!({ JSON: of(schema) });
            give(200, content.clone(), true);
            give(201, content, true);
        }
        Gives::Made(schema) => {
            let content = json!({ JSON: of(schema) });
            give(200, content.clone(), false);
            give(201, content, false);
        }
        Gives::Lines => give(200, json!({ LINES: text, SSE: text }), false),
        Gives::Events(schema) => give(200, json!({ JSON: of(schema), SSE: text }), false),
    }
    for status in route.refusals() {
        found.entry(status.to_string()).or_insert_with(
            || json!({ "$ref": format!("#/components/responses/{}", response_name(status)) }),
        );
    }
    Value::Object(found)
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "Of this request, as the log has it.",
            "required": true,
            "schema": { "type": "string", "minLength": 1 },
        },
        "Revision": {
            "description": "The resource's revision, for `If-Match`.",
            "required": true,
            "schema": { "type": "string", "pattern": "^\"[0-9]+\"$" },
        },
        "RetryAfter": {
            "description": "Seconds after which it may be better.",
            "required": true,
            "schema": { "type": "string", "pattern": "^[0-9]+$" },
        },
        "Challenge": {
            "required": true,
            "schema": { "const": "Bearer" },
        },
    })
}

/// What the statuses of all rows' refusals mean.
const REFUSALS: [(u16, &str); 13] = [
    (
        400,
        "Not understood: the query, a header, or a body that is not JSON.",
    ),
    (401, "No token, or another one."),
    (
        403,
        "A foreign `Host` or `Origin`; or a resource that names a command or a file of the machine, which is taken on loopback only.",
    ),
    (404, "Nothing of that name."),
    (408, "The body came too slowly."),
    (
        409,
        "It cannot be so as things are; or `metadata.revision` of the body is stale.",
    ),
    (412, "The revision is not that of `If-Match`."),
    (413, "The body is larger than the row takes."),
    (415, "The body's `Content-Type` is not the row's."),
    (
        422,
        "The resource does not check; `problems` has everything that is wrong. Or a component is refused, with the reason.",
    ),
    (431, "The head is too large; an answer without a body."),
    (500, "The gateway's own fault."),
    (503, "The store cannot be written, or too much is followed."),
];

fn refusals(generator: &mut SchemaGenerator) -> Value {
    let schema = schemas::of::<Document>(generator);
    let mut found = Map::new();
    for (status, text) in REFUSALS {
        let mut response = json!({ "description": text });
        // The parser refuses a head before there is a request to answer.
        if let (true, Some(fields)) = (status != 431, response.as_object_mut()) {
            let mut headers = Map::new();
            headers.insert("x-request-id".to_owned(), header("RequestId"));
            if status == 401 {
                headers.insert("www-authenticate".to_owned(), header("Challenge"));
            }
            if status == 503 {
                headers.insert("retry-after".to_owned(), header("RetryAfter"));
            }
            fields.insert("headers".to_owned(), Value::Object(headers));
            fields.insert(
                "content".to_owned(),
                json!({ PROBLEM: { "schema": schema } }),
            );
        }
        found.insert(response_name(status), response);
    }
    Value::Object(found)
}

fn response_name(status: u16) -> String {
    title(status).replace(' ', "")
}

fn title(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Refused")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::row::Takes;
    use super::*;

    #[test]
    fn every_row_is_in_the_document_with_what_it_refuses() {
        let document = document();
        let mut ids = BTreeSet::new();
        let known = REFUSALS.map(|(status, _)| status);
        for route in &TABLE {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][method];
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "two rows are {id}");
            assert_eq!(route.asks.is_some(), route.body != Takes::Nothing, "{id}");
            assert_eq!(
                operation["security"] == json!([]),
                route.open,
                "{id} says whether it needs the token"
            );
            for status in route.refusals() {
                assert!(known.contains(&status), "{id}: {status} has no text");
                assert!(operation["responses"][status.to_string()].is_object());
            }
        }
        assert_eq!(ids.len(), TABLE.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            if let Some(to) = value.get("$ref").and_then(Value::as_str) {
                let pointer = to.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{to}");
            }
            match value {
                Value::Object(map) => map.values().for_each(|value| walk(value, document)),
                Value::Array(list) => list.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
