//! `tidegate delete`: takes resources away, one by its name or those of files.
//!
//! Files are read for the names in them; what else they say does not matter,
//! but they must check. Called by `cli`.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use http::Method;

use super::connect::Gateway;
use super::files::Files;
use super::kind::{Named, wanted};
use super::resources::{Resources, named};
use super::row::text;
use super::wait::{Patience, Wanted};
use super::{Failure, To, complete, say};
use crate::resource::{bound_plugins, shipped};

/// `tidegate delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate delete endpoint iris
  tidegate delete version/iris/green
  tidegate delete endpoint/iris --wait --timeout 5m
  tidegate delete -f iris.yaml --ignore-not-found")]
pub struct Delete {
    /// endpoint or version; or KIND/NAME, as endpoint/iris and version/iris/blue.
    #[arg(required_unless_present = "files", conflicts_with = "files", add = ArgValueCompleter::new(complete::kinds))]
    kind: Option<String>,
    /// Its name; of a version ENDPOINT/VERSION.
    #[arg(add = ArgValueCompleter::new(complete::named))]
    name: Option<String>,
    /// In place of a name: files, whose resources are taken away.
    #[arg(id = "files", short = 'f', long = "file", value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    how: Deletion,
}

/// How whatever is named is taken away.
#[derive(Debug, Args)]
pub struct Deletion {
    /// What is not there is no failure.
    #[arg(long)]
    ignore_not_found: bool,
    /// Only say what would be done.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    to: To,
}

impl Delete {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let targets = match &self.kind {
            Some(kind) => {
                let (kind, name) = wanted(kind, self.name.as_deref())?;
                let Some(name) = name else {
                    let what = kind.singular();
                    return Err(Failure::Usage(format!(
                        "which {what}? name one, as in {what}/NAME"
                    )));
                };
                vec![Named::of(kind, &name)?]
            }
            None => {
                let files = Files::of(self.files.clone());
                let read = Resources::read(&files, &self.how.to).await?;
                read.some("delete")?;
                let mut documents: Vec<_> = read.documents.iter().collect();
                // What binds a plugin goes before it.
                documents.sort_by_key(|one| one.kind == "Plugin");
                documents.into_iter().map(named).collect()
            }
        };
        self.how.act(targets).await
    }
}

impl Deletion {
    /// Takes these away, until one is refused; then waits where that is wanted,
    /// for all at once, also for one that was not there: its replicas may be.
    pub(super) async fn act(&self, targets: Vec<Named>) -> Result<(), Failure> {
        let gateway = Gateway::find(&self.to)?;
        for named in &targets {
            self.one(&gateway, named, &targets).await?;
        }
        self.patience
            .until(&gateway, &targets, Wanted::Deleted)
            .await
    }

    async fn one(&self, gateway: &Gateway, named: &Named, all: &[Named]) -> Result<(), Failure> {
        let (query, suffix) = if self.dry_run {
            ("?dryRun=true", " (dry run)")
        } else {
            ("", "")
        };
        let path = format!("{}{query}", named.path());
        match gateway.send(Method::DELETE, &path, "", Bytes::new()).await {
            Ok(_) => say(&format!("{named} deleted{suffix}")),
            Err(Failure::NotFound(_)) if self.ignore_not_found => Ok(()),
            // What is tried sees what binds it still there.
            Err(Failure::Refused(_)) if self.dry_run && bound_by(gateway, named, all).await? => {
                say(&format!("{named} deleted{suffix}"))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Whether something binds a plugin, and all that does is among these.
async fn bound_by(gateway: &Gateway, named: &Named, all: &[Named]) -> Result<bool, Failure> {
    let Named::Plugin(plugin) = named else {
        return Ok(false);
    };
    // Where a resource of a shipped one is refused it is for another reason.
    if shipped().iter().any(|one| one.name.as_str() == plugin) {
        return Ok(false);
    }
    let endpoints = gateway.items("/v1/endpoints").await?;
    let mut binding = endpoints
        .iter()
        .filter(|one| bound_plugins(one).any(|bound| bound == plugin))
        .map(|one| Named::Endpoint(text(one, "/metadata/name").to_owned()))
        .peekable();
    Ok(binding.peek().is_some() && binding.all(|one| all.contains(&one)))
}
