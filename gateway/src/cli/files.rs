//! `tidegate run` and `check`: what they are given, and the check of files.
//!
//! The one place where a file is judged by the command line alone, without a
//! gateway. Used by `main` and `cli`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, complain, paths, say, tell};
use crate::resource::{self, Addresses, Problem, Set, Source};

/// `tidegate run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate run -f gateway.yaml -f endpoints/
  tidegate run -f iris.yaml --state ./state --listen 127.0.0.1:8443
  tidegate run -f gateway.yaml -f endpoints/ --watch --prune")]
pub struct Run {
    #[command(flatten)]
    files: Files,
    /// The state folder; $XDG_STATE_HOME/tidegate where it is left out.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// In place of the listeners' addresses: that of the first, on ADDRESS:PORT.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// In place of `spec.admin.address`.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Delete endpoints and plugins that came from a file of `run` and are in none
    /// now. What was only ever made over the admin API stays, as by `apply`, and so
    /// does a plugin that an endpoint binds. Nothing is deleted before the files were left
    /// alone for 2 s, nor what may have been in a file that is empty.
    #[arg(long)]
    prune: bool,
    /// Apply the files again whenever they change: new, edited and renamed ones,
    /// and with --prune those that are gone. What does not check changes nothing.
    #[arg(long)]
    watch: bool,
}

/// `tidegate check`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the files name on this machine is looked for too. What `run` or `apply` would
refuse is a problem: certificates and their keys, components of plugins. What they
would take is a warning: programs and folders of replicas, roots of their TLS.

Examples:
  tidegate check -f iris.yaml
  tidegate check -f production/ --elsewhere
  generate-resources | tidegate check -f -")]
pub struct Check {
    #[command(flatten)]
    files: Files,
    /// The files are for another machine: what they name is not looked for here.
    #[arg(long)]
    elsewhere: bool,
    /// Not needed for a check; taken so that a line of `run` can be used again.
    #[arg(long, value_name = "DIR", hide = true)]
    state: Option<PathBuf>,
}

/// Files with resources.
#[derive(Debug, Args)]
pub struct Files {
    /// A file, a folder of *.yaml, *.yml and *.json, or - for standard input.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
}

impl Run {
    /// The checked resources, with the addresses of the command line, and the
    /// names of the files that are empty.
    ///
    /// # Errors
    ///
    /// Every problem was told.
    pub fn set(&self) -> Result<(Set, BTreeSet<String>), Failure> {
        let (sources, problems) = self.files.texts();
        let mut set = resource::checked(&sources, problems).map_err(|problems| tell(&problems))?;
        let fitted = self.addresses().fit(&mut set.config);
        fitted.map_err(Failure::Refused)?;
        Ok((set, resource::blank(&sources)))
    }

    /// What the resources are read from.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.files.paths
    }

    /// The addresses of the command line.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            listen: self.listen,
            admin: self.admin,
        }
    }

    /// The files to watch; none: they are read once.
    ///
    /// # Errors
    ///
    /// Standard input cannot be read a second time.
    pub fn watched(&self) -> Result<Option<Vec<PathBuf>>, Failure> {
        let paths = &self.files.paths;
        if self.watch && paths.iter().any(|path| path == Path::new("-")) {
            let why = "--watch: standard input cannot be read again; name files or folders";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(self.watch.then(|| paths.clone()))
    }

    /// Whether resources whose file is gone are deleted.
    #[must_use]
    pub fn prune(&self) -> bool {
        self.prune
    }

    /// The state folder that was named.
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }
}

impl Files {
    /// Of these paths.
    pub(super) fn of(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// The texts, and what could not be read.
    pub(super) fn texts(&self) -> (Vec<Source>, Vec<Problem>) {
        resource::texts(&self.paths)
    }
}

impl Check {
    pub(super) fn act(&self) -> Result<(), Failure> {
        let (sources, problems) = self.files.texts();
        let checked = resource::checked(&sources, problems);
        let set = checked.map_err(|problems| tell(&problems))?;
        if !self.elsewhere {
            let found = paths::look(&set, &sources);
            for warning in found.warnings {
                complain(&format!("warning: {warning}"));
            }
            if !found.problems.is_empty() {
                return Err(tell(&found.problems));
            }
        }
        let (endpoints, plugins) = (set.endpoints.len(), set.plugins.len());
        say(&format!(
            "checked: {endpoints} endpoints, {plugins} plugins with the shipped ones"
        ))
    }
}
