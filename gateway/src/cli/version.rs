//! `tidegate version`: versions as such, without sending the whole endpoint.
//!
//! What a version is comes of a file, of `--set`, or of both; the gateway alone
//! judges it. Paths are made absolute here, where the files are. Called by `cli`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{ArgGroup, Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use http::Method;
use serde_json::{Value, json};

use super::connect::Gateway;
use super::delete::Deletion;
use super::get::structured;
use super::kind::{Kind, Named};
use super::set::Set;
use super::wait::{Patience, Wanted};
use super::{Failure, Output, To, Told, complete, say, tell};
use crate::resource::{
    Problem, Source, absolute_version, list, located, located_at_root, node, suggestion, texts,
};

/// `tidegate version`.
#[derive(Debug, Subcommand)]
pub enum Version {
    /// Create a version that is not there yet.
    #[command(after_help = "\
FILE holds the keys of one version, as an item of spec.versions has them, or an
Endpoint that has the version. --set is put on top; it has no traffic unless said.

Examples:
  tidegate version create iris green -f green.yaml --wait
  tidegate version create iris green --set 'static.addresses=[127.0.0.1:9002]'
  tidegate version create iris green -f green.yaml --set traffic=10 --dry-run")]
    Create(Change),
    /// Change a version; what is not named stays as it is.
    #[command(after_help = "\
What FILE and --set name is changed, a list as a whole; null takes a key away. New
replicas are ready before old ones drain.

Examples:
  tidegate version update iris green --set process.env.THRESHOLD='\"0.8\"' --wait
  tidegate version update iris green -f green.yaml
  tidegate version update iris green --set default=true
  tidegate version update iris green --set autoscale=null replicas=2")]
    Update(Change),
    /// Take a version away; not the default of several, nor the last.
    #[command(after_help = "Examples:
  tidegate version delete iris blue
  tidegate version delete iris blue --wait --timeout 5m
  tidegate version delete iris blue --ignore-not-found")]
    Delete(Delete),
}

/// `tidegate version create` and `update`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("given").args(["file", "set"]).required(true).multiple(true)))]
pub struct Change {
    /// The endpoint.
    #[arg(add = ArgValueCompleter::new(complete::endpoints))]
    endpoint: String,
    /// The version.
    #[arg(add = ArgValueCompleter::new(complete::versions))]
    name: String,
    /// A file of the version, or - for standard input.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A key and its value, as traffic=10 or process.env.SIZE=large.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = Set::parse)]
    set: Vec<Set>,
    /// Only check, on the gateway, and say what would be done.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    patience: Patience,
    /// How to show the version.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    to: To,
}

/// `tidegate version delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The endpoint.
    #[arg(add = ArgValueCompleter::new(complete::endpoints))]
    endpoint: String,
    /// The version.
    #[arg(add = ArgValueCompleter::new(complete::versions))]
    name: String,
    #[command(flatten)]
    how: Deletion,
}

impl Version {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        match self {
            Self::Create(change) => change.create().await,
            Self::Update(change) => change.update().await,
            Self::Delete(delete) => delete.act().await,
        }
    }
}

fn named(endpoint: &str, name: &str) -> Result<Named, Failure> {
    Named::of(Kind::Versions, &format!("{endpoint}/{name}"))
}

impl Change {
    async fn create(&self) -> Result<(), Failure> {
        let named = named(&self.endpoint, &self.name)?;
        let mut given = self.given()?;
        let base = given.base.clone();
        if let Some(process) = given.version.get_mut("process")
            && let Some(process) = process.as_object_mut()
        {
            // Left out, it is the file's folder, as in a file of the endpoint.
            process
                .entry("dir")
                .or_insert_with(|| json!(base.display().to_string()));
        }
        let gateway = Gateway::find(&self.to)?;
        let content = Bytes::from(given.version.to_string());
        let made = gateway.create(&self.path(&named), content).await;
        let made = made.map_err(|failure| given.placed(failure, &self.endpoint))?;
        self.done(&gateway, &named, "created", made).await
    }

    async fn update(&self) -> Result<(), Failure> {
        let named = named(&self.endpoint, &self.name)?;
        let given = self.given()?;
        let gateway = Gateway::find(&self.to)?;
        let before = gateway.get(&named.path()).await?;
        let content = Bytes::from(given.version.to_string());
        let path = self.path(&named);
        let kind = "application/merge-patch+json";
        let after = gateway.send(Method::PATCH, &path, kind, content).await;
        let after = after.map_err(|failure| given.placed(failure, &self.endpoint))?;
        let same = written(&before) == written(&after);
        let word = if same { "unchanged" } else { "updated" };
        self.done(&gateway, &named, word, after).await
    }

    fn path(&self, named: &Named) -> String {
        let query = if self.dry_run { "?dryRun=true" } else { "" };
        format!("{}{query}", named.path())
    }

    /// Waits where that is wanted, and shows what there is then.
    async fn done(
        &self,
        gateway: &Gateway,
        named: &Named,
        word: &str,
        mut shown: Value,
    ) -> Result<(), Failure> {
        let people = matches!(self.output, Output::Table | Output::Wide);
        if people {
            let suffix = if self.dry_run { " (dry run)" } else { "" };
            say(&format!("{named} {word}{suffix}"))?;
        }
        let one = std::slice::from_ref(named);
        if people {
            return self.patience.until(gateway, one, Wanted::Healthy).await;
        }
        if self.patience.waits() {
            self.patience.quietly(gateway, one, Wanted::Healthy).await?;
            shown = gateway.get(&named.path()).await?;
        }
        match self.output {
            Output::Json | Output::Yaml => structured(&shown, self.output),
            Output::Name => say(&named.to_string()),
            Output::Table | Output::Wide => Ok(()),
        }
    }

    /// What the file and `--set` say, with absolute paths.
    fn given(&self) -> Result<Given, Failure> {
        let here = std::env::current_dir()?;
        let mut given = match &self.file {
            None => Given {
                version: json!({}),
                source: None,
                base: here.clone(),
                index: None,
            },
            Some(file) => self.read(file)?,
        };
        absolute_version(&mut given.version, &given.base);
        for set in &self.set {
            let mut one = json!({});
            set.put(&mut one);
            absolute_version(&mut one, &here);
            put_all(&mut given.version, one);
        }
        Ok(given)
    }

    fn read(&self, file: &Path) -> Result<Given, Failure> {
        let (mut sources, problems) = texts(&[file.to_owned()]);
        if !problems.is_empty() {
            return Err(tell(&problems));
        }
        let (Some(source), true) = (sources.pop(), sources.is_empty()) else {
            return Err(Failure::Usage(format!(
                "{}: a folder; name the file of the version",
                file.display()
            )));
        };
        let refused = |message: String| tell(&[Problem::of_file(&source.name, message)]);
        let found = list::documents(&source.name, &source.text);
        let found = found.map_err(|problem| tell(&[problem]))?;
        let documents: Vec<Value> = found.iter().map(node::Node::json).collect();
        let base = source.base.clone().unwrap_or_default();
        if documents.iter().any(|one| one.get("kind").is_some()) {
            let (index, version) = self.out_of(&documents).map_err(refused)?;
            return Ok(Given {
                version,
                source: Some(source),
                base,
                index: Some(index),
            });
        }
        match <[Value; 1]>::try_from(documents) {
            Ok([version]) if version.is_object() => Ok(Given {
                version,
                source: Some(source),
                base,
                index: None,
            }),
            _ => Err(refused(
                "is not one version: a map with static or process, traffic and so on".to_owned(),
            )),
        }
    }

    /// The version in an Endpoint of a file, and which of its versions that is.
    fn out_of(&self, documents: &[Value]) -> Result<(usize, Value), String> {
        let text = super::row::text;
        let endpoint = documents
            .iter()
            .find(|one| {
                text(one, "/kind") == "Endpoint" && text(one, "/metadata/name") == self.endpoint
            })
            .ok_or_else(|| format!("has no endpoint {}", self.endpoint))?;
        let versions = super::row::list(endpoint, "/spec/versions");
        let at = versions
            .iter()
            .position(|one| text(one, "/name") == self.name);
        let found = at.and_then(|at| Some((at, versions.get(at)?.clone())));
        found.ok_or_else(|| {
            let names: Vec<&str> = versions.iter().map(|one| text(one, "/name")).collect();
            let hint = suggestion(&self.name, &names)
                .unwrap_or_else(|| format!("it has {}", names.join(", ")));
            format!(
                "endpoint {} has no version {}; {hint}",
                self.endpoint, self.name
            )
        })
    }
}

/// A version as it was given.
struct Given {
    version: Value,
    /// The file it came from.
    source: Option<Source>,
    /// Where its relative paths start.
    base: PathBuf,
    /// Which version of the file's endpoint it is; none: the file is the version.
    index: Option<usize>,
}

impl Given {
    /// A refusal with FILE:LINE:COLUMN, where there is a file.
    fn placed(&self, failure: Failure, endpoint: &str) -> Failure {
        match (failure, &self.source) {
            (Failure::Invalid(told), Some(source)) => {
                let problems: Vec<Problem> = told
                    .into_iter()
                    .map(|one| self.place(one, source, endpoint))
                    .collect();
                tell(&problems)
            }
            (failure, _) => failure,
        }
    }

    /// The gateway tells the place in the endpoint; in the file it is another.
    fn place(&self, told: Told, source: &Source, endpoint: &str) -> Problem {
        let inside = told
            .path
            .strip_prefix("spec.versions[")
            .and_then(|rest| rest.split_once(']'))
            .map(|(_, rest)| rest.trim_start_matches('.').to_owned());
        let at = |path: String| Problem {
            path,
            hint: told.hint.clone(),
            ..Problem::of_file("", told.message.clone())
        };
        let mut found = match (self.index, inside) {
            (None, inside) => located_at_root(source, at(inside.unwrap_or_default())),
            (Some(index), Some(inside)) => {
                let path = format!("spec.versions[{index}].{inside}");
                let sources = std::slice::from_ref(source);
                located(sources, "Endpoint", endpoint, at(path))
            }
            (Some(_), None) => {
                let sources = std::slice::from_ref(source);
                located(sources, "Endpoint", endpoint, at(told.path.clone()))
            }
        };
        found.object = format!("endpoint/{endpoint}").into();
        found.path = told.path;
        found
    }
}

/// Puts every key of `from` over those of `into`, map by map.
fn put_all(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                put_all(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A version as people write it.
fn written(shown: &Value) -> Value {
    let mut shown = shown.clone();
    if let Some(map) = shown.as_object_mut() {
        map.remove("status");
    }
    shown
}

impl Delete {
    async fn act(&self) -> Result<(), Failure> {
        let named = named(&self.endpoint, &self.name)?;
        self.how.act(vec![named]).await
    }
}
