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
  tidegate plugin swap tenant-auth 4f0e8b1c9d2a
  tidegate plugin swap tenant-auth sha256:…")]
    Swap {
        /// The plugin.
        #[arg(add = ArgValueCompleter::new(complete::plugins))]
        name: String,
        /// The content: its digest, or the first 8 hex digits of it or more, with
        /// `sha256:` or without.
        #[arg(value_parser = Wanted::parse)]
        digest: Option<Wanted>,
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
                swap(&Gateway::find(to)?, name, digest.as_ref()).await
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

/// A digest, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(String);

impl Wanted {
    /// Reads hex digits in either case, with `sha256:` or without.
    fn parse(given: &str) -> Result<Self, String> {
        let hex = given.strip_prefix("sha256:").unwrap_or(given);
        let fits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        match hex.len() {
            SHORT..=64 if fits => Ok(Self(format!("sha256:{}", hex.to_ascii_lowercase()))),
            _ => Err(format!(
                "{given:?} is no digest: {SHORT} to 64 hex digits, as `plugin list` and `describe` show"
            )),
        }
    }

    /// The one digest of those that are there which it begins, or is.
    fn among(&self, name: &str, there: &[&str]) -> Result<String, Failure> {
        let Self(begin) = self;
        let mut found = there.iter().filter(|digest| digest.starts_with(begin));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok((*one).to_owned()),
            (None, _) => Err(Failure::NotFound(format!(
                "plugin {name} has no content {begin}; it has {}",
                there.join(", ")
            ))),
            (Some(_), Some(_)) => {
                let all = there.iter().filter(|digest| digest.starts_with(begin));
                let all: Vec<&str> = all.copied().collect();
                Err(Failure::Refused(format!(
                    "{begin} begins more than one content of plugin {name}: {}; write more of it",
                    all.join(", ")
                )))
            }
        }
    }
}

/// Fewest hex digits that are taken for a digest, as they are few enough to type
/// and too many to hit another by chance.
const SHORT: usize = 8;

async fn swap(gateway: &Gateway, name: &str, wanted: Option<&Wanted>) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{}", segment(name)?);
    let digest = match wanted {
        None => None,
        Some(wanted) => {
            let shown = gateway.get(&path).await?;
            let versions = list(&shown, "/status/versions").iter();
            let there: Vec<&str> = versions.map(|one| text(one, "/digest")).collect();
            Some(wanted.among(name, &there)?)
        }
    };
    let path = format!("{path}/swap");
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

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: [&str; 3] = [
        "sha256:00aa00aa11",
        "sha256:00aa00aa22",
        "sha256:1234567890",
    ];

    #[track_caller]
    fn check(given: &str, expected: Result<&str, &str>) {
        let found = match Wanted::parse(given) {
            Err(why) => Err(why),
            Ok(wanted) => match wanted.among("tenant-auth", &THERE) {
                Ok(digest) => Ok(digest),
                Err(Failure::NotFound(why) | Failure::Refused(why)) => Err(why),
                Err(other) => panic!("{given}: {other:?}"),
            },
        };
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{given}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{given}: {why}"),
            _ => panic!("{given}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn the_beginning_of_a_digest_is_enough_where_it_is_the_only_one() {
        check("12345678", Ok(THERE[2]));
        check("sha256:1234567890", Ok(THERE[2]));
        check("00AA00AA2", Ok(THERE[1]));
        check(
            "00aa00aa",
            Err(
                "begins more than one content of plugin tenant-auth: sha256:00aa00aa11, sha256:00aa00aa22;",
            ),
        );
        check(
            "99999999",
            Err("has no content sha256:99999999; it has sha256:00aa00aa11, "),
        );
        check("1234567", Err("8 to 64 hex digits"));
        check("sha256:123456zz", Err("8 to 64 hex digits"));
        check("sha512:12345678", Err("8 to 64 hex digits"));
        check(&"a".repeat(65), Err("8 to 64 hex digits"));
    }
}
