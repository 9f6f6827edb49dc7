//! The resources as a file says them: every key in its place, nothing checked
//! but its type.
//!
//! All keys may be left out here, so that `check` can tell every missing one.
//! A key of a later issue is `Later`: `check` refuses it by name unless it
//! has its default. Documentation and JSON schema are generated from these
//! types, so a doc comment here is what users read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub mod endpoint;
pub mod gateway;
pub mod plugin;

/// The value of a key that comes with a later version.
pub type Later = Option<serde_json::Value>;

/// A resource: what it is, its name, what it should be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource<S> {
    /// Always `tidegate.dev/v1alpha1`.
    pub api_version: Option<String>,
    /// `GatewayConfig`, `Plugin` or `Endpoint`.
    pub kind: Option<String>,
    /// Its name and labels.
    pub metadata: Option<Metadata>,
    /// What it should be.
    pub spec: Option<S>,
    /// What it is; written by the gateway, ignored in a file.
    pub status: Later,
}

/// Name and labels of a resource.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metadata {
    /// 3 to 32 lower-case letters, digits and `-`, a letter first, no `-` last.
    pub name: Option<String>,
    /// For people.
    pub labels: Option<BTreeMap<String, String>>,
    /// Written by the gateway, ignored in a file.
    pub revision: Later,
}
