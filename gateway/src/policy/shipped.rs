//! The plugins that are carried in the binary, and their default resources.
//!
//! Loaded through the same door as anybody's: nothing here is granted more.
//! Built by `build.rs`. Used by `host`.

use bytes::Bytes;
use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use crate::name::Name;
use crate::resource::{Plugin, PluginLimits, PluginSource, Role};

/// Their names.
pub(super) const NAMES: [&str; 3] = ["key-auth", "weighted-split", "model-data"];

static KEY_AUTH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/key-auth.wasm"));
static WEIGHTED_SPLIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/weighted-split.wasm"));
static MODEL_DATA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model-data.wasm"));

/// The resource and the component of one of them.
pub(super) fn shipped(name: &str) -> Option<(Plugin, Bytes)> {
    let (role, headers, component): (_, &[HeaderName], _) = match name {
        "key-auth" => (Role::Auth, &[AUTHORIZATION], KEY_AUTH),
        "weighted-split" => (Role::Split, &[], WEIGHTED_SPLIT),
        "model-data" => (Role::Collect, &[CONTENT_TYPE], MODEL_DATA),
        _ => return None,
    };
    let name = Name::parse(name).ok()?;
    let plugin = Plugin {
        name: name.clone(),
        role,
        source: PluginSource::Shipped(name),
        digest: None,
        headers: headers.to_vec(),
        metrics: Vec::new(),
        limits: PluginLimits::of(role),
    };
    Some((plugin, Bytes::from_static(component)))
}
