//! `tidegate apply`: makes the gateway what files say.
//!
//! All files are checked (`resources`), then each resource by the gateway without a
//! change; only where none is refused is the first one written. Called by `cli`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::Value;

use super::connect::Gateway;
use super::files::Files;
use super::hosts::{Claim, Turn, given_up, hosts, turns, with_hosts};
use super::kind::Named;
use super::prune::Gone;
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
        // What endpoints bind comes before them: a new plugin is there when the
        // endpoints that name it are written.
        let count = read.plugins_first();
        let (plugins, endpoints) = read.documents.split_at(count);
        let fresh = fresh_plugins(&gateway, &read).await?;
        let gone = if self.prune {
            prune::endpoints_gone(&gateway, &read.documents).await?
        } else {
            Vec::new()
        };
        let mut steps = plan(&gateway, &read, &read.documents, &fresh, &gone).await?;
        let mut later = steps.split_off(count);
        for (document, step) in plugins.iter().zip(&steps) {
            self.write(&gateway, &read, document, step).await?;
        }
        if !self.dry_run && !fresh.is_empty() {
            later = plan(&gateway, &read, endpoints, &BTreeSet::new(), &gone).await?;
        }
        self.write_endpoints(&gateway, &read, (endpoints, &later), &gone)
            .await?;
        if self.prune {
            for one in prune::plugins_gone(&gateway, &read.documents).await? {
                self.delete(&gateway, &one).await?;
            }
        }
        let named: Vec<Named> = endpoints.iter().map(resources::named).collect();
        self.patience.until(&gateway, &named, Wanted::Healthy).await
    }

    /// Writes endpoints, and deletes those that are gone, in an order in which
    /// hosts can move between them.
    async fn write_endpoints(
        &self,
        gateway: &Gateway,
        read: &Resources,
        (documents, steps): (&[Document], &[Step]),
        gone: &[Gone],
    ) -> Result<(), Failure> {
        let claims: Vec<Claim> = steps.iter().map(Step::claim).collect();
        let hosts: Vec<_> = gone.iter().map(|one| hosts(&one.shown)).collect();
        let mut left: Vec<Option<&Gone>> = gone.iter().map(Some).collect();
        // What a part of a document raised its revision to.
        let mut raised: BTreeMap<usize, Value> = BTreeMap::new();
        for turn in turns(&claims, &hosts) {
            match turn {
                Turn::Write(at) => {
                    if let (Some(document), Some(step)) = (documents.get(at), steps.get(at)) {
                        let mut document = document.clone();
                        if let Some(named) = document.value.pointer_mut("/metadata/revision")
                            && let Some(raised) = raised.remove(&at)
                        {
                            *named = raised;
                        }
                        self.write(gateway, read, &document, step).await?;
                    }
                }
                Turn::Part(at, keep) => {
                    if let Some(document) = documents.get(at).filter(|_| !self.dry_run) {
                        let part = with_hosts(&document.value, |host| keep.contains(host));
                        let sent = write(gateway, document, &part, "").await;
                        let shown =
                            sent.map_err(|failure| placed(failure, &read.sources, document))?;
                        let revision = shown.pointer("/metadata/revision").cloned();
                        raised.extend(revision.map(|revision| (at, revision)));
                    }
                }
                Turn::Delete(at) => {
                    if let Some(one) = left.get_mut(at).and_then(Option::take) {
                        self.delete(gateway, one).await?;
                    }
                }
            }
        }
        for one in left.into_iter().flatten() {
            self.delete(gateway, one).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        gateway: &Gateway,
        read: &Resources,
        document: &Document,
        step: &Step,
    ) -> Result<(), Failure> {
        let (object, word) = (object(document), step.word);
        if !self.dry_run && word != "unchanged" {
            let sent = write(gateway, document, &document.value, "").await;
            sent.map_err(|failure| placed(failure, &read.sources, document))?;
        }
        say(&format!("{object} {word}{}", self.suffix()))
    }

    async fn delete(&self, gateway: &Gateway, one: &Gone) -> Result<(), Failure> {
        if !self.dry_run {
            one.delete(gateway).await?;
        }
        say(&format!("{} deleted{}", one.named, self.suffix()))
    }

    const fn suffix(&self) -> &'static str {
        if self.dry_run { " (dry run)" } else { "" }
    }
}

/// What an apply does to one document.
pub(super) struct Step {
    pub(super) word: &'static str,
    /// Before and after, without what the gateway adds; none before: it is new.
    pub(super) before: Option<Value>,
    pub(super) after: Value,
}

impl Step {
    fn claim(&self) -> Claim {
        Claim {
            before: self.before.as_ref().map(hosts).unwrap_or_default(),
            after: hosts(&self.after),
        }
    }
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
/// that are `fresh`: they are there when the document is written. So is a host
/// that an endpoint before it gives up, or one that is `gone`.
pub(super) async fn plan(
    gateway: &Gateway,
    read: &Resources,
    documents: &[Document],
    fresh: &BTreeSet<String>,
    gone: &[Gone],
) -> Result<Vec<Step>, Failure> {
    let mut befores = Vec::new();
    for document in documents {
        befores.push(gateway.get_if_there(&path(document)).await?.map(written));
    }
    let claims = documents
        .iter()
        .zip(&befores)
        .map(|(document, before)| Claim {
            before: before.as_ref().map(hosts).unwrap_or_default(),
            after: hosts(&document.value),
        });
    let claims: Vec<Claim> = claims.collect();
    let gone: Vec<_> = gone.iter().map(|one| hosts(&one.shown)).collect();
    let given = given_up(&claims, &gone);
    let mut steps = Vec::new();
    let mut problems = Vec::new();
    for ((document, before), claim) in documents.iter().zip(befores).zip(&claims) {
        match tried(gateway, document, fresh, |host| {
            // Its own hosts are its own, whoever has them.
            claim.before.contains(host) || !given.contains(host)
        })
        .await
        {
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

/// What the gateway would make of a document that has the hosts that `keep` takes;
/// with all of them.
async fn tried(
    gateway: &Gateway,
    document: &Document,
    fresh: &BTreeSet<String>,
    keep: impl Fn(&str) -> bool,
) -> Result<Value, Failure> {
    let part = with_hosts(&document.value, keep);
    match write(gateway, document, &part, "?dryRun=true").await {
        Ok(mut after) => {
            let all = document.value.pointer("/spec/hosts");
            if let (Some(hosts), Some(all)) = (after.pointer_mut("/spec/hosts"), all) {
                hosts.clone_from(all);
            }
            Ok(after)
        }
        Err(Failure::Invalid(mut told)) => {
            told.retain(|one| !is_about(one, document, fresh));
            if told.is_empty() {
                Ok(document.value.clone())
            } else {
                Err(Failure::Invalid(told))
            }
        }
        refused => refused,
    }
}

async fn write(
    gateway: &Gateway,
    document: &Document,
    value: &Value,
    query: &str,
) -> Result<Value, Failure> {
    let content = Bytes::from(value.to_string());
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
