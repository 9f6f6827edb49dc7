//! The resources as a file says them: every key in its place, nothing checked
//! but its type.
//!
//! All keys may be left out here, so that `check` can tell every missing one.
//! A key of a later issue is `Later`: `check` refuses it by name unless it
//! has its default (`x-later`). Documentation and JSON schema are generated from
//! these types, so a doc comment here is what users read; defaults and limits stand
//! in the attributes, and a test compares them with what `check` does.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::name::Name;

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
    #[schemars(required)]
    pub api_version: Option<String>,
    /// `GatewayConfig`, `Plugin` or `Endpoint`.
    #[schemars(required)]
    pub kind: Option<String>,
    /// Its name and labels.
    pub metadata: Option<Metadata>,
    /// What it should be.
    pub spec: Option<S>,
    /// What it is; written by the gateway, ignored in a file.
    #[schemars(extend("readOnly" = true))]
    pub status: Later,
}

/// Name and labels of a resource.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Its name, unique among its kind: 3 to 32 lower-case letters, digits and `-`,
    /// from a letter to a letter or digit.
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    /// For people.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its revision in the history. Written by the gateway, ignored in a file; a body
    /// over the admin API with another than the current one is 409.
    #[schemars(extend("readOnly" = true))]
    pub revision: Later,
}
