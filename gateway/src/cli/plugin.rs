//! `tidegate plugin`: push, swap, rollback, check.
//!
//! The gateway decides whether a component fits; `check` asks the same plugin
//! host without a gateway. Called by `cli`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::connect::Gateway;
use super::show::{self, text};
use super::{Failure, Output, say};
use crate::metrics::Metrics;
use crate::name::Name;
use crate::policy::{Host, HostOptions, component};
use crate::resource::{Plugin, PluginLimits, PluginSource};

fn read(file: &Path) -> Result<Bytes, Failure> {
    std::fs::read(file)
        .map(Bytes::from)
        .map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))
}

pub(super) async fn push(
    gateway: &Gateway,
    file: &Path,
    name: &str,
    output: Output,
) -> Result<(), Failure> {
    let content = read(file)?;
    let path = format!("/v1/plugins/{}/versions", show::segment(name)?);
    let pushed = gateway.post(&path, "application/wasm", content).await?;
    match output {
        Output::Json | Output::Yaml => show::structured(&pushed, output),
        Output::Name => say(text(&pushed, "/digest")),
        Output::Table | Output::Wide => {
            let imports = pushed
                .get("imports")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            let bytes = pushed.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            say(&format!(
                "{name}: stored {} ({}, {bytes} bytes, {imports} imports)",
                text(&pushed, "/digest"),
                text(&pushed, "/role"),
            ))
        }
    }
}

pub(super) async fn swap(
    gateway: &Gateway,
    name: &str,
    digest: Option<&str>,
) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{}/swap", show::segment(name)?);
    let body = json!({ "digest": digest }).to_string();
    swapped(
        name,
        &gateway.post(&path, "application/json", body.into()).await?,
    )
}

pub(super) async fn rollback(gateway: &Gateway, name: &str) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{}/rollback", show::segment(name)?);
    swapped(
        name,
        &gateway
            .post(&path, "application/json", Bytes::from_static(b"{}"))
            .await?,
    )
}

fn swapped(name: &str, answer: &Value) -> Result<(), Failure> {
    let active = text(answer, "/activeDigest");
    match text(answer, "/previousDigest") {
        "" => say(&format!("{name}: {active} decides now")),
        before if before == active => say(&format!("{name}: {active} decides, as before")),
        before => say(&format!(
            "{name}: {active} decides now, in place of {before}"
        )),
    }
}

/// Inspects, compiles and links a component here.
pub(super) async fn check(file: &Path) -> Result<(), Failure> {
    let refused = |why: String| Failure::Refused(format!("{}: {why}", file.display()));
    let content = component(read(file)?).map_err(|error| refused(error.to_string()))?;
    let cache = std::env::temp_dir().join(format!("tidegate-check-{}", std::process::id()));
    let result = load(&cache, content).await.map_err(refused);
    // What is left is a cache that nobody reads.
    let _ = std::fs::remove_dir_all(&cache);
    say(&format!("{}: {}", file.display(), result?))
}

async fn load(cache: &Path, content: Bytes) -> Result<String, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let options = HostOptions {
        cache_dir: cache.to_owned(),
        metrics: Arc::clone(&metrics),
    };
    let host = Host::new(options).map_err(|error| error.to_string())?;
    let found = host
        .inspect(&content)
        .map_err(|refusal| refusal.to_string())?;
    let name = Name::parse("checked").map_err(|error| error.to_string())?;
    let plugin = Plugin {
        source: PluginSource::Shipped(name.clone()),
        name,
        role: found.role,
        digest: None,
        headers: Vec::new(),
        metrics: Vec::new(),
        limits: PluginLimits::of(found.role),
    };
    host.load(&plugin, content)
        .await
        .map_err(|refusal| refusal.to_string())?;
    let imports = if found.imports.is_empty() {
        "nothing".to_owned()
    } else {
        found.imports.join(", ")
    };
    Ok(format!(
        "{} plugin {}, {} bytes, imports {imports}",
        found.role.as_str(),
        found.digest,
        found.bytes
    ))
}
