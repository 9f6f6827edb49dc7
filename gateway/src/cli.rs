//! The command line: what can be said, and every verb but `run`.
//!
//! A client of the admin API; it holds no rule of the gateway but the check of
//! files. A verb stands in the file of its name, or of the noun it is about.
//! `main` parses here and hands `run` to `app`. Problems go to standard error,
//! results to standard output (SEMANTICS §13).

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::resource::Problem;

mod age;
pub mod apply;
pub mod complete;
mod connect;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod events;
pub mod explain;
pub mod files;
pub mod get;
pub mod history;
mod hosts;
pub mod import;
pub mod keys;
pub mod kind;
pub mod logs;
mod paths;
pub mod plan;
pub mod plugin;
mod prune;
mod resources;
mod row;
mod sample;
pub mod schema;
pub mod set;
pub mod status;
mod table;
mod tone;
pub mod top;
pub mod traffic;
pub mod version;
pub mod wait;

pub use connect::To;
pub use files::{Files, Run};
pub use kind::Object;

/// A gateway in front of self-hosted machine-learning models, with WebAssembly policies.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 gateway not reached, 4 timed out."
)]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// A verb of the command line.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write resources out of the deployment files of Azure ML v1.
    Import(import::Import),
    /// Run a gateway with the resources of some files.
    Run(Run),
    /// Check files and tell every problem.
    Check(files::Check),
    /// Print the JSON Schema of resource files, for editors.
    Schema(schema::Schema),
    /// Explain a key of resource files, or a fault.
    Explain(explain::Explain),
    /// List endpoints, versions or plugins, or show one.
    Get(get::Get),
    /// Tell all about one endpoint, version or plugin.
    Describe(describe::Describe),
    /// Make or change endpoints as files say.
    Apply(apply::Apply),
    /// Show what an apply of files would change.
    Diff(diff::Diff),
    /// Take an endpoint and its versions away.
    Delete(delete::Delete),
    /// Wait until an endpoint is healthy, or gone.
    Wait(wait::Wait),
    /// Shift traffic between versions.
    #[command(subcommand)]
    Traffic(traffic::Traffic),
    /// Create, update and delete versions of an endpoint.
    #[command(subcommand)]
    Version(version::Version),
    /// Show the revisions of an endpoint.
    History(history::History),
    /// Make an endpoint what it was at a revision, or a plugin what it was before.
    Rollback(history::Rollback),
    /// Show the keys of an endpoint.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Push, swap, check and list plugins.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Show what an endpoint's replicas wrote.
    Logs(logs::Logs),
    /// Show what happened: deployed, scaled, swapped, restarted, refused.
    Events(events::Events),
    /// Show endpoints and versions at work: requests, queues, latencies.
    Top(top::Top),
    /// Show the gateway: listeners, endpoints, plugins, warnings.
    Status(status::Status),
    /// How many replicas a load needs.
    Plan(plan::Plan),
    /// Write what a shell needs to complete this command line.
    Completion(complete::Completion),
}

/// How a result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For people, with more columns.
    Wide,
    /// The API's own.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names alone, one a line.
    Name,
}

/// Why a verb did not do what was asked, by exit code.
#[derive(Debug)]
pub enum Failure {
    /// 1: refused or failed.
    Refused(String),
    /// 1: there is no such thing.
    NotFound(String),
    /// 1: a resource does not check, as the gateway says.
    Invalid(Vec<Told>),
    /// 2: wrong use.
    Usage(String),
    /// 3: not reached.
    NotReached(String),
    /// 4: waited long enough.
    TimedOut(String),
    /// 1, of `diff`: files and gateway differ; that was shown.
    Differs,
    /// 5, of `diff`: it could not be told.
    DiffRefused(String),
}

impl Failure {
    /// Says why, and gives the code.
    #[must_use]
    pub fn exit(self) -> ExitCode {
        let (code, why) = match self {
            Self::Refused(why) | Self::NotFound(why) => (1, why),
            Self::Invalid(problems) => (1, told(&problems)),
            Self::Usage(why) => (2, why),
            Self::NotReached(why) => (3, why),
            Self::TimedOut(why) => (4, why),
            Self::Differs => (1, String::new()),
            Self::DiffRefused(why) => (5, why),
        };
        if !why.is_empty() {
            complain(&why);
        }
        ExitCode::from(code)
    }
}

/// A problem of a resource, as the gateway tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// The key path from the resource's root.
    pub path: String,
    /// The value, the limit, what to do.
    pub message: String,
    /// What was probably meant.
    #[serde(default)]
    pub hint: Option<String>,
}

fn told(problems: &[Told]) -> String {
    let mut all = counted(problems.len());
    for Told {
        path,
        message,
        hint,
    } in problems
    {
        let path = if path.is_empty() {
            ""
        } else {
            &format!("{path}: ")
        };
        let hint = hint
            .as_ref()
            .map_or(String::new(), |hint| format!("; {hint}"));
        all.push_str(&format!("\n  {path}{message}{hint}"));
    }
    all
}

fn counted(problems: usize) -> String {
    format!("{problems} problem{}", if problems == 1 { "" } else { "s" })
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever reads has seen enough, as `head` does.
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self::Refused(if quiet {
            String::new()
        } else {
            error.to_string()
        })
    }
}

/// Writes one line to standard error; nothing in it drives a terminal.
pub fn complain(why: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "tidegate: {}", tone::plain_lines(why));
}

fn tell(problems: &[Problem]) -> Failure {
    let mut stderr = io::stderr().lock();
    for problem in problems {
        // As above.
        let _ = writeln!(stderr, "{problem}");
    }
    Failure::Refused(counted(problems.len()))
}

/// Does a verb other than `run`. `ExitCode` 2 for `run`, which is not for here.
#[must_use]
pub fn execute(verb: Verb) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(act(verb)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

async fn act(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Run(_) => Err(Failure::Usage("run is not a verb of the client".to_owned())),
        Verb::Check(check) => check.act(),
        Verb::Schema(schema) => schema.act(),
        Verb::Explain(explain) => explain.act(),
        Verb::Get(get) => get.act().await,
        Verb::Describe(describe) => describe.act().await,
        Verb::Apply(apply) => apply.act().await,
        Verb::Diff(diff) => diff.act().await,
        Verb::Delete(delete) => delete.act().await,
        Verb::Wait(wait) => wait.act().await,
        Verb::Traffic(traffic) => traffic.act().await,
        Verb::Version(version) => version.act().await,
        Verb::History(history) => history.act().await,
        Verb::Rollback(rollback) => rollback.act().await,
        Verb::Import(import) => import::import(&import),
        Verb::Keys(keys) => keys.act().await,
        Verb::Plugin(plugin) => plugin.act().await,
        Verb::Logs(logs) => logs.act().await,
        Verb::Events(events) => events.act().await,
        Verb::Top(top) => top.act().await,
        Verb::Completion(completion) => completion.act(),
        Verb::Status(status) => status.act().await,
        Verb::Plan(plan) => plan.act().await,
    }
}

/// Writes one line, or several, to standard output.
///
/// # Errors
///
/// Where standard output is gone.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests;
