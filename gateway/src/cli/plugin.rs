//! `tidegate plugin`: push, swap, rollback, check.
//!
//! The gateway decides whether a component fits; `check` asks the same plugin
//! host without a gateway. Called by `cli`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::connect::Gateway;
use super::get::{self, structured};
use super::kind::{Kind, segment};
use super::row::{list, text, whole};
use super::{Failure, Output, To, complete, say};
use crate::metrics::Metrics;
use crate::name::Name;
use crate::policy::{Host, HostOptions, component};
use crate::resource::{Plugin as Spec, PluginLimits, PluginSource};

/// `tidegate plugin`.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Check a component and store it for a plugin; nothing else changes.
    #[command(after_help = "Example:
  tidegate plugin push target/wasm32-unknown-unknown/release/tenant.wasm --name tenant-auth")]
    Push {
        /// The component, or a core module that the SDK made.
        file: PathBuf,
        /// The plugin.
        #[arg(long, add = ArgValueCompleter::new(complete::plugins))]
        name: String,
        /// How to show what was found.
        #[arg(short, long, default_value = "table")]
        output: Output,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
    /// Let another content take over, the newest that was pushed or the one named.
    #[command(after_help = "Examples:
  tidegate plugin swap tenant-auth
  tidegate plugin swap tenant-auth sha256:…")]
    Swap {
        /// The plugin.
        #[arg(add = ArgValueCompleter::new(complete::plugins))]
        name: String,
        /// `sha256:…`
        digest: Option<String>,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
    /// Back to the content before.
    #[command(after_help = "Example:
  tidegate plugin rollback tenant-auth")]
    Rollback {
        /// The plugin.
        #[arg(add = ArgValueCompleter::new(complete::plugins))]
        name: String,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
    /// List plugins with their active content.
    #[command(after_help = "Example:
  tidegate plugin list -o wide")]
    List {
        /// How to show them.
        #[arg(short, long, default_value = "table")]
        output: Output,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
    /// Check a component without a gateway.
    #[command(after_help = "Example:
  tidegate plugin check tenant.wasm")]
    Check {
        /// The component, or a core module that the SDK made.
        file: PathBuf,
    },
}

impl Plugin {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        match self {
            Self::Push {
                file,
                name,
                output,
                to,
            } => push(&Gateway::find(to)?, file, name, *output).await,
            Self::Swap { name, digest, to } => {
                swap(&Gateway::find(to)?, name, digest.as_deref()).await
            }
            Self::Rollback { name, to } => rollback(&Gateway::find(to)?, name).await,
            Self::List { output, to } => {
                get::list(&Gateway::find(to)?, Kind::Plugins, *output).await
            }
            Self::Check { file } => check(file).await,
        }
    }
}

fn read(file: &Path) -> Result<Bytes, Failure> {
    std::fs::read(file)
        .map(Bytes::from)
        .map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))
}

async fn push(gateway: &Gateway, file: &Path, name: &str, output: Output) -> Result<(), Failure> {
    let content = read(file)?;
    let path = format!("/v1/plugins/{}/versions", segment(name)?);
    let pushed = gateway.post(&path, "application/wasm", content).await?;
    match output {
        Output::Json | Output::Yaml => structured(&pushed, output),
        Output::Name => say(text(&pushed, "/digest")),
        Output::Table | Output::Wide => {
            let imports = list(&pushed, "/imports").len();
            let bytes = whole(&pushed, "/bytes");
            say(&format!(
                "{name}: stored {} ({}, {bytes} bytes, {imports} imports)",
                text(&pushed, "/digest"),
                text(&pushed, "/role"),
            ))
        }
    }
}

async fn swap(gateway: &Gateway, name: &str, digest: Option<&str>) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{}/swap", segment(name)?);
    let body = json!({ "digest": digest }).to_string();
    swapped(
        name,
        &gateway.post(&path, "application/json", body.into()).await?,
    )
}

pub(super) async fn rollback(gateway: &Gateway, name: &str) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{}/rollback", segment(name)?);
    swapped(
        name,
        &gateway
            .post(&path, "application/json", Bytes::from_static(b"{}"))
            .await?,
    )
}

fn swapped(name: &str, answer: &serde_json::Value) -> Result<(), Failure> {
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
async fn check(file: &Path) -> Result<(), Failure> {
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
    let plugin = Spec {
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
