//! `tidegate apply`: makes the gateway what files say.
//!
//! All files are checked (`resources`), then each resource by the gateway without a
//! change; only where none is refused is the first one written. Called by `cli`.

use std::collections::BTreeSet;

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::Value;

use super::connect::Gateway;
use super::files::Files;
use super::kind::Named;
use super::resources::{self, Resources, object, path};
use super::wait::{Patience, Wanted};
use super::{Failure, To, prune, say, tell};
use crate::resource::{Document, Problem, Source, located};

/// `tidegate apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate apply -f iris.yaml --wait --timeout 5m
  tidegate apply -f endpoints/ --prune --dry-run
  sed s/blue/green/ iris.yaml | tidegate apply -f -")]
pub struct Apply {
    #[command(flatten)]
    files: Files,
    /// Then delete every endpoint that the files do not have, whoever made it, and
    /// every plugin that they neither have nor bind; a shipped plugin is as shipped
    /// then. `diff --prune` shows them.
    #[arg(long)]
    prune: bool,
    /// Only check, on the gateway, and say what would be done.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    to: To,
}

impl Apply {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let mut read = Resources::read(&self.files, &self.to).await?;
        if self.prune {
            prune::none_empty(&read)?;
        }
        read.some("apply")?;
        let gateway = Gateway::find(&self.to)?;
        let suffix = if self.dry_run { " (dry run)" } else { "" };
        // What endpoints bind comes before them: a new plugin is there when the
        // endpoints that name it are written.
        let count = read.plugins_first();
        let fresh = fresh_plugins(&gateway, &read).await?;
        let mut steps = plan(&gateway, &read, &fresh).await?;
        let mut later = steps.split_off(count);
        let endpoints = Resources {
            documents: read.documents.split_off(count),
            sources: read.sources.clone(),
            others: read.others,
        };
        self.write(&gateway, &read, &steps, suffix).await?;
        if !self.dry_run && !fresh.is_empty() {
            later = plan(&gateway, &endpoints, &BTreeSet::new()).await?;
        }
        self.write(&gateway, &endpoints, &later, suffix).await?;
        if self.prune {
            let all: Vec<_> = read.documents.iter().chain(&endpoints.documents).collect();
            for one in prune::gone(&gateway, &all).await? {
                if !self.dry_run {
                    one.delete(&gateway).await?;
                }
                say(&format!("{} deleted{suffix}", one.named))?;
            }
        }
        let named: Vec<Named> = endpoints.documents.iter().map(resources::named).collect();
        self.patience.until(&gateway, &named, Wanted::Healthy).await
    }

    async fn write(
        &self,
        gateway: &Gateway,
        read: &Resources,
        steps: &[Step],
        suffix: &str,
    ) -> Result<(), Failure> {
        for (document, step) in read.documents.iter().zip(steps) {
            let (object, word) = (object(document), step.word);
            if !self.dry_run && word != "unchanged" {
                let sent = write(gateway, document, "").await;
                sent.map_err(|failure| placed(failure, &read.sources, document))?;
            }
            say(&format!("{object} {word}{suffix}"))?;
        }
        Ok(())
    }
}

/// What an apply does to one document.
pub(super) struct Step {
    pub(super) word: &'static str,
    /// Before and after, without what the gateway adds; none before: it is new.
    pub(super) before: Option<Value>,
    pub(super) after: Value,
}

/// The plugins of the files that the gateway does not have yet.
pub(super) async fn fresh_plugins(
    gateway: &Gateway,
    read: &Resources,
) -> Result<BTreeSet<String>, Failure> {
    let mut fresh = BTreeSet::new();
    for document in read.documents.iter().filter(|one| one.kind == "Plugin") {
        if gateway.get_if_there(&path(document)).await?.is_none() {
            fresh.insert(document.name.clone());
        }
    }
    Ok(fresh)
}

/// Whether a problem is that a plugin is not there yet which stands in the files
/// beside the document. The files were checked with it.
fn is_about(told: &super::Told, document: &Document, fresh: &BTreeSet<String>) -> bool {
    let pointer = told.path.replace(['.', '['], "/").replace(']', "");
    let value = document.value.pointer(&format!("/{pointer}"));
    let names = value.and_then(Value::as_str);
    pointer.ends_with("/plugin") && names.is_some_and(|name| fresh.contains(name))
}

/// Lets the gateway check every document and changes nothing. Where one is
/// refused, all problems of all of them are told, but for those about plugins
/// that are `fresh`: they are there when the document is written.
pub(super) async fn plan(
    gateway: &Gateway,
    read: &Resources,
    fresh: &BTreeSet<String>,
) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    let mut problems = Vec::new();
    for document in &read.documents {
        let before = gateway.get_if_there(&path(document)).await?.map(written);
        let tried = match write(gateway, document, "?dryRun=true").await {
            Err(Failure::Invalid(mut told)) => {
                told.retain(|one| !is_about(one, document, fresh));
                if told.is_empty() {
                    Ok(document.value.clone())
                } else {
                    Err(Failure::Invalid(told))
                }
            }
            tried => tried,
        };
        match tried {
            Ok(after) => {
                let after = written(after);
                let word = match &before {
                    None => "created",
                    Some(before) if *before == after => "unchanged",
                    Some(_) => "changed",
                };
                steps.push(Step {
                    word,
                    before,
                    after,
                });
            }
            Err(Failure::Invalid(told)) => {
                problems.extend(at_their_place(told, &read.sources, document));
            }
            Err(Failure::Refused(why) | Failure::NotFound(why)) => {
                let told = vec![super::Told {
                    path: String::new(),
                    message: why,
                    hint: None,
                }];
                problems.extend(at_their_place(told, &read.sources, document));
            }
            Err(other) => return Err(other),
        }
    }
    if problems.is_empty() {
        Ok(steps)
    } else {
        Err(tell(&problems))
    }
}

async fn write(gateway: &Gateway, document: &Document, query: &str) -> Result<Value, Failure> {
    let content = Bytes::from(document.value.to_string());
    let path = format!("{}{query}", path(document));
    gateway
        .send(Method::PUT, &path, "application/json", content)
        .await
}

/// A resource as people write it: without status and revision.
pub(super) fn written(mut shown: Value) -> Value {
    if let Some(map) = shown.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("revision");
        }
    }
    shown
}

fn at_their_place(told: Vec<super::Told>, sources: &[Source], document: &Document) -> Vec<Problem> {
    let placed = |told: super::Told| {
        let problem = Problem {
            path: told.path,
            hint: told.hint,
            ..Problem::of_file("", told.message)
        };
        located(sources, &document.kind, &document.name, problem)
    };
    told.into_iter().map(placed).collect()
}

/// A refusal with FILE:LINE:COLUMN.
fn placed(failure: Failure, sources: &[Source], document: &Document) -> Failure {
    match failure {
        Failure::Invalid(told) => tell(&at_their_place(told, sources, document)),
        Failure::Refused(why) => Failure::Refused(format!("{}: {why}", object(document))),
        other => other,
    }
}
