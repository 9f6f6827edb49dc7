//! The verbs that change endpoints: apply, delete, traffic, rollback; and those
//! that go with them: history, wait.
//!
//! Files are read and made absolute here, where they are; whether a resource is
//! good is for the gateway to say. Called by `cli`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand};
use comfy_table::Table;
use http::Method;
use serde_json::{Map, Value, json};

use super::connect::Gateway;
use super::show::{self, Kind, segment, text};
use super::{Failure, Output, To, say};
use crate::resource;
use crate::units::Interval;

/// Between two looks of `wait`.
const LOOK: Duration = Duration::from_millis(300);

/// `tidegate apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A file, a folder of *.yaml, *.yml and *.json, or - for standard input.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Only check, on the gateway.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) to: To,
}

/// `tidegate traffic`.
#[derive(Debug, Subcommand)]
pub enum Traffic {
    /// Set the shares of an endpoint's versions, as one change.
    #[command(after_help = "Example: tidegate traffic set iris blue=90 green=10")]
    Set {
        /// The endpoint.
        endpoint: String,
        /// VERSION=PERCENT; a version left out gets 0.
        #[arg(required = true, value_parser = share)]
        shares: Vec<(String, f64)>,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
}

/// What a verb is about: `endpoint iris` or `endpoint/iris`.
#[derive(Debug, Args)]
pub struct Object {
    /// endpoint or plugin; or endpoint/iris.
    kind: String,
    /// The name.
    name: Option<String>,
    #[command(flatten)]
    pub(super) to: To,
}

/// `tidegate rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    pub(super) object: Object,
    /// The revision to go back to, as `history` shows it; of a plugin, the
    /// content before.
    #[arg(long = "to", value_name = "REVISION")]
    revision: Option<u64>,
}

/// `tidegate wait`.
#[derive(Debug, Args)]
pub struct Wait {
    #[command(flatten)]
    pub(super) object: Object,
    /// The state to wait for.
    #[arg(
        id = "for",
        long = "for",
        value_name = "STATE",
        default_value = "healthy"
    )]
    state: Wanted,
    /// Then exit code 4.
    #[arg(long, default_value = "60s", value_parser = Interval::parse)]
    timeout: Interval,
}

/// What `wait` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// Every version answers.
    Healthy,
    /// It is gone.
    Deleted,
}

fn share(given: &str) -> Result<(String, f64), String> {
    let wrong = || format!("{given:?} is not VERSION=PERCENT, as in blue=90");
    let (version, percent) = given.split_once('=').ok_or_else(wrong)?;
    let percent = percent.trim_end_matches('%').parse().map_err(|_| wrong())?;
    Ok((version.to_owned(), percent))
}

impl Object {
    fn endpoint(&self) -> Result<String, Failure> {
        match self.parts()? {
            (Kind::Endpoints, name) => Ok(name),
            (Kind::Plugins, _) => Err(Failure::Usage(
                "that is for endpoints; plugins have no such thing".to_owned(),
            )),
        }
    }

    fn parts(&self) -> Result<(Kind, String), Failure> {
        match show::wanted(&self.kind, self.name.as_deref())? {
            (kind, Some(name)) => Ok((kind, segment(&name)?.to_owned())),
            (_, None) => Err(Failure::Usage(format!("which {}? Name one", self.kind))),
        }
    }
}

pub(super) async fn apply(gateway: &Gateway, apply: &Apply) -> Result<(), Failure> {
    let set = resource::load(&apply.files).map_err(|problems| super::tell(&problems))?;
    let query = if apply.dry_run { "?dryRun=true" } else { "" };
    let suffix = if apply.dry_run { " (dry run)" } else { "" };
    for document in set.documents {
        if document.kind != "Endpoint" {
            super::complain(&format!(
                "{} {} is left as it is: it is read at start",
                document.kind, document.name
            ));
            continue;
        }
        let path = format!("/v1/endpoints/{}", segment(&document.name)?);
        let before = gateway.get(&path).await.ok();
        let content = Bytes::from(document.value.to_string());
        let sent = gateway
            .send(
                Method::PUT,
                &format!("{path}{query}"),
                "application/json",
                content,
            )
            .await?;
        let revision = |value: &Value| value.pointer("/metadata/revision").and_then(Value::as_u64);
        let word = match before {
            None => "created",
            Some(before) if revision(&before) == revision(&sent) => "unchanged",
            Some(_) => "changed",
        };
        say(&format!("endpoint/{} {word}{suffix}", document.name))?;
    }
    Ok(())
}

pub(super) async fn delete(gateway: &Gateway, object: &Object) -> Result<(), Failure> {
    let name = object.endpoint()?;
    let path = format!("/v1/endpoints/{name}");
    gateway
        .send(Method::DELETE, &path, "", Bytes::new())
        .await?;
    say(&format!("endpoint/{name} deleted"))
}

pub(super) async fn traffic(
    gateway: &Gateway,
    endpoint: &str,
    shares: &[(String, f64)],
) -> Result<(), Failure> {
    let body: Map<String, Value> = shares
        .iter()
        .map(|(version, percent)| (version.clone(), json!(percent)))
        .collect();
    let path = format!("/v1/endpoints/{}/traffic", segment(endpoint)?);
    let content = Bytes::from(Value::Object(body).to_string());
    let shown = gateway
        .send(Method::PUT, &path, "application/json", content)
        .await?;
    let versions = shown.pointer("/status/versions").and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        let traffic = version
            .get("traffic")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        say(&format!("{endpoint} {} {traffic}%", text(version, "/name")))?;
    }
    Ok(())
}

pub(super) async fn history(
    gateway: &Gateway,
    object: &Object,
    output: Output,
) -> Result<(), Failure> {
    let name = object.endpoint()?;
    let found = gateway
        .get(&format!("/v1/endpoints/{name}/history"))
        .await?;
    if matches!(output, Output::Json | Output::Yaml) {
        return show::structured(&found, output);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["REVISION", "TIME", "BY", "CHANGE"]);
    for one in found
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let revision = one.get("revision").and_then(Value::as_u64).unwrap_or(0);
        table.add_row([
            &revision.to_string(),
            text(one, "/time"),
            text(one, "/by"),
            text(one, "/change"),
        ]);
    }
    say(&table.to_string())
}

pub(super) async fn rollback(gateway: &Gateway, rollback: &Rollback) -> Result<(), Failure> {
    let (kind, name) = rollback.object.parts()?;
    match (kind, rollback.revision) {
        (Kind::Plugins, None) => super::plugin::rollback(gateway, &name).await,
        (Kind::Plugins, Some(_)) => Err(Failure::Usage(
            "a plugin goes back to the content before; name another with `plugin swap`".to_owned(),
        )),
        (Kind::Endpoints, None) => Err(Failure::Usage(
            "--to REVISION is missing; `tidegate history` shows them".to_owned(),
        )),
        (Kind::Endpoints, Some(to)) => {
            let path = format!("/v1/endpoints/{name}/rollback");
            let content = Bytes::from(json!({ "to": to }).to_string());
            gateway
                .send(Method::POST, &path, "application/json", content)
                .await?;
            say(&format!("endpoint/{name} is as it was at revision {to}"))
        }
    }
}

pub(super) async fn wait(gateway: &Gateway, wait: &Wait) -> Result<(), Failure> {
    let name = wait.object.endpoint()?;
    let path = format!("/v1/endpoints/{name}");
    let until = Instant::now() + wait.timeout.duration();
    let mut told = String::new();
    loop {
        let found = gateway.get(&path).await;
        match (&found, wait.state) {
            (Err(Failure::Refused(_)), Wanted::Deleted) => {
                return say(&format!("endpoint/{name} is gone"));
            }
            (Err(Failure::Refused(why)), Wanted::Healthy) => {
                return Err(Failure::Refused(why.clone()));
            }
            (Err(_), _) => return found.map(drop),
            (Ok(_), _) => {}
        }
        let Ok(endpoint) = found else { continue };
        let (state, reason) = (
            text(&endpoint, "/status/state"),
            text(&endpoint, "/status/reason"),
        );
        match (wait.state, state) {
            (Wanted::Healthy, "Healthy") => return say(&format!("endpoint/{name} is healthy")),
            (Wanted::Healthy, "Failed") => {
                return Err(Failure::Refused(format!(
                    "endpoint/{name} failed: {reason}"
                )));
            }
            _ => {}
        }
        let now = format!("{state}: {reason}");
        if now != told {
            super::complain(&format!("endpoint/{name} is {now}"));
            told = now;
        }
        if Instant::now() >= until {
            return Err(Failure::TimedOut(format!("endpoint/{name} is {told}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_version_and_its_percent() {
        assert_eq!(share("blue=90"), Ok(("blue".to_owned(), 90.0)));
        assert_eq!(share("blue=0.5%"), Ok(("blue".to_owned(), 0.5)));
        assert!(share("blue").is_err());
        assert!(share("blue=many").is_err());
    }
}
