//! The schemas of what the admin API takes and gives, from the Rust types.
//!
//! A resource is put together here, because what is shown of one is what its
//! writer sent, with `status` and `metadata.revision` added. Called by `openapi`
//! through the rows.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::event::Event;
use crate::name::Name;
use crate::reconcile::status::{EndpointStatus, PluginStatus, VersionStatus};
use crate::resource::load::API_VERSION;
use crate::resource::raw::endpoint::{EndpointSpec, Version};
use crate::resource::raw::plugin::PluginSpec;
use crate::store::Revision;
use crate::units::{Interval, Percent};

/// Most items of one answer.
pub(super) const ITEMS_MAX: usize = 1_000;

/// The schema of a type, as a reference to it.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Any JSON object.
pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Any text.
pub(super) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

/// Bytes.
pub(super) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "contentMediaType": "application/wasm" })
}

/// A name of a resource.
pub(super) fn name(generator: &mut SchemaGenerator) -> Schema {
    of::<Name>(generator)
}

/// A duration.
pub(super) fn interval(generator: &mut SchemaGenerator) -> Schema {
    of::<Interval>(generator)
}

/// A number of a revision or an event.
pub(super) fn number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })
}

/// `true` or `false`.
pub(super) fn flag(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "boolean" })
}

/// How many items.
pub(super) fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": ITEMS_MAX })
}

/// An endpoint with its status.
pub(super) fn endpoint(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "Endpoint", |generator| {
        let (spec, status) = (
            of::<EndpointSpec>(generator),
            of::<EndpointStatus>(generator),
        );
        shown("Endpoint", &spec, &status, &["spec", "status"])
    })
}

/// An endpoint after a change; after a dry run without its status.
pub(super) fn changed_endpoint(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "ChangedEndpoint", |generator| {
        let (spec, status) = (
            of::<EndpointSpec>(generator),
            of::<EndpointStatus>(generator),
        );
        shown("Endpoint", &spec, &status, &["spec"])
    })
}

/// An endpoint as it is sent.
pub(super) fn sent_endpoint(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "EndpointResource", |generator| {
        let spec = of::<EndpointSpec>(generator);
        sent(
            "Endpoint",
            &spec,
            &json!({
                "apiVersion": API_VERSION,
                "kind": "Endpoint",
                "metadata": { "name": "iris" },
                "spec": {
                    "versions": [{ "name": "blue", "static": { "addresses": ["127.0.0.1:9001"] } }],
                },
            }),
        )
    })
}

/// One version with its status.
pub(super) fn version(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "ShownVersion", |generator| {
        version_with(generator, &["name", "metadata", "status"])
    })
}

/// One version after a change; after a dry run without its status.
pub(super) fn changed_version(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "ChangedVersion", |generator| {
        version_with(generator, &["name"])
    })
}

/// One version as it is sent; what is shown of one can be sent back.
pub(super) fn sent_version(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "VersionResource", |generator| {
        let mut schema = version_with(generator, &[]);
        let example = json!({ "static": { "addresses": ["127.0.0.1:9002"] }, "traffic": 0 });
        schema.insert("examples".to_owned(), json!([example]));
        schema
    })
}

/// The keys of a version, its endpoint's revision, its status.
fn version_with(generator: &mut SchemaGenerator, required: &[&str]) -> Schema {
    let status = of::<VersionStatus>(generator);
    let mut schema = Version::json_schema(generator);
    schema.insert("required".to_owned(), json!(required));
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    if let Some(properties) = properties {
        let metadata = json!({
            "description": "Of its endpoint; a body with another revision than the current one is 409.",
            "type": "object",
            "properties": { "revision": { "type": "integer", "minimum": 1 } },
        });
        properties.insert("metadata".to_owned(), metadata);
        let status = if required.is_empty() {
            json!({ "description": "Written by the gateway; ignored." })
        } else {
            status.to_value()
        };
        properties.insert("status".to_owned(), status);
    }
    schema
}

/// A merge patch.
pub(super) fn patch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
    "description": "What changes, as RFC 7396 has it: null takes a key away, a list is replaced whole.",
    "type": "object",
        })
}

/// A plugin with its status.
pub(super) fn plugin(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "Plugin", |generator| {
        let (spec, status) = (of::<PluginSpec>(generator), of::<PluginStatus>(generator));
        shown("Plugin", &spec, &status, &["spec", "status"])
    })
}

/// A plugin after a change; after a dry run without its status.
pub(super) fn changed_plugin(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "ChangedPlugin", |generator| {
        let (spec, status) = (of::<PluginSpec>(generator), of::<PluginStatus>(generator));
        shown("Plugin", &spec, &status, &["spec"])
    })
}

/// A plugin as it is sent.
pub(super) fn sent_plugin(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "PluginResource", |generator| {
        let spec = of::<PluginSpec>(generator);
        sent(
            "Plugin",
            &spec,
            &json!({
                "apiVersion": API_VERSION,
                "kind": "Plugin",
                "metadata": { "name": "key-auth" },
                "spec": {
                    "role": "auth",
                    "source": { "shipped": "key-auth" },
                    "headers": ["authorization"],
                },
            }),
        )
    })
}

/// Shares in percent by version.
pub(super) fn shares(generator: &mut SchemaGenerator) -> Schema {
    named(generator, "Shares", |generator| {
        json_schema!({
            "description": "The percentage of each version; what they leave over goes to the default version.",
            "type": "object",
            "propertyNames": of::<Name>(generator),
            "additionalProperties": of::<Percent>(generator),
            "examples": [{ "blue": 90, "green": 10 }],
        })
    })
}

/// All endpoints.
pub(super) fn endpoints(generator: &mut SchemaGenerator) -> Schema {
    let item = endpoint(generator);
    list(generator, "EndpointList", &item)
}

/// All plugins.
pub(super) fn plugins(generator: &mut SchemaGenerator) -> Schema {
    let item = plugin(generator);
    list(generator, "PluginList", &item)
}

/// Revisions.
pub(super) fn history(generator: &mut SchemaGenerator) -> Schema {
    let item = of::<Revision>(generator);
    list(generator, "History", &item)
}

/// Events.
pub(super) fn events(generator: &mut SchemaGenerator) -> Schema {
    let item = of::<Event>(generator);
    list(generator, "EventList", &item)
}

fn list(generator: &mut SchemaGenerator, title: &str, item: &Schema) -> Schema {
    named(generator, title, |_| {
        json_schema!({
            "type": "object",
            "required": ["items", "continue"],
            "properties": {
                "items": { "type": "array", "items": item },
                "continue": {
                    "description": "Where the next part begins; null where this is the end.",
                    "type": ["string", "null"],
                },
            },
        })
    })
}

/// A resource as it is shown.
fn shown(kind: &str, spec: &Schema, status: &Schema, also: &[&str]) -> Schema {
    let mut required = vec!["apiVersion", "kind", "metadata"];
    required.extend(also);
    let of_metadata: &[&str] = if also.contains(&"status") {
        &["name", "revision"]
    } else {
        &["name"]
    };
    json_schema!({
        "type": "object",
        "required": required,
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind },
            "metadata": metadata(of_metadata, true),
            "spec": spec,
            "status": status,
        },
    })
}

/// A resource as it is sent; what is shown of one can be sent back.
fn sent(kind: &str, spec: &Schema, example: &Value) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind },
            "metadata": metadata(&["name"], false),
            "spec": spec,
            "status": { "description": "Written by the gateway; ignored." },
        },
        "examples": [example],
    })
}

fn metadata(required: &[&str], more: bool) -> Value {
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": more,
        "properties": {
            "name": { "$ref": "#/components/schemas/Name" },
            "labels": {
                "description": "For people.",
                "type": ["object", "null"],
                "additionalProperties": { "type": "string" },
            },
            "revision": {
                "description": "Of its history; 0 for a plugin that is as shipped. A body with another than the current one is 409.",
                "type": "integer",
                "minimum": 0,
            },
        },
    })
}

/// A schema of our own under a name, as a reference to it.
fn named(
    generator: &mut SchemaGenerator,
    title: &str,
    make: impl FnOnce(&mut SchemaGenerator) -> Schema,
) -> Schema {
    if !generator.definitions().contains_key(title) {
        let made = make(generator);
        generator
            .definitions_mut()
            .insert(title.to_owned(), made.to_value());
    }
    json_schema!({ "$ref": format!("#/components/schemas/{title}") })
}
