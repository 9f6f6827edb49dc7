//! The command line: what can be said, and every verb but `run`.
//!
//! A client of the admin API; it holds no rule of the gateway but the check of
//! files. `main` parses here and hands `run` to `app`. Problems go to standard
//! error, results to standard output (SEMANTICS §13).

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::resource::{self, Problem, Set};
use crate::units::Interval;

pub mod change;
mod connect;
pub mod import;
mod logs;
pub mod plan;
mod plugin;
mod show;

use connect::Gateway;

/// A gateway in front of self-hosted machine-learning models, with WebAssembly policies.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, disable_help_subcommand = true)]
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
    Check(Files),
    /// Show the keys of an endpoint.
    #[command(subcommand)]
    Keys(Keys),
    /// Push, swap and list plugins.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Show what an endpoint's replicas wrote.
    Logs(Logs),
    /// List endpoints or plugins, or show one.
    Get(Get),
    /// How many replicas a load needs.
    Plan(plan::Plan),
    /// Make or change endpoints as files say.
    Apply(change::Apply),
    /// Take an endpoint and its versions away.
    Delete(change::Object),
    /// Shift traffic between versions.
    #[command(subcommand)]
    Traffic(change::Traffic),
    /// Show the revisions of an endpoint.
    History {
        /// Which.
        #[command(flatten)]
        object: change::Object,
        /// How to show them.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Make an endpoint what it was at a revision, or a plugin what it was before.
    Rollback(change::Rollback),
    /// Wait until an endpoint is healthy, or gone.
    Wait(change::Wait),
    /// Show the gateway: listeners, endpoints, plugins, warnings.
    Status {
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
        /// json or yaml.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// `tidegate run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    files: Files,
    /// In place of the listeners' addresses: that of the first, on ADDRESS:PORT.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// In place of `spec.admin.address`.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// Files with resources, and a state folder.
#[derive(Debug, Args)]
pub struct Files {
    /// A file, a folder of *.yaml, *.yml and *.json, or - for standard input.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    /// The state folder; $XDG_STATE_HOME/tidegate where it is left out.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Where the gateway is.
#[derive(Debug, Args)]
pub struct To {
    /// The admin API's address.
    #[arg(long, env = "TIDEGATE_ADMIN", value_name = "ADDRESS")]
    admin: Option<String>,
    /// A file with the admin token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The admin token.
    #[arg(skip = std::env::var("TIDEGATE_ADMIN_TOKEN").ok())]
    token: Option<String>,
    /// The gateway's state folder; $XDG_STATE_HOME/tidegate where it is left out.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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

/// `tidegate keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Show the keys of an endpoint; -o name: the primary one alone.
    Show {
        /// The endpoint.
        endpoint: String,
        /// One of the two, alone.
        which: Option<Which>,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
        /// How to show them.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// One of an endpoint's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

/// `tidegate plugin`.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Check a component and store it for a plugin; nothing else changes.
    Push {
        /// The component, or a core module that the SDK made.
        file: PathBuf,
        /// The plugin.
        #[arg(long)]
        name: String,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
        /// How to show what was found.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Let another content take over, the newest that was pushed or the one named.
    Swap {
        /// The plugin.
        name: String,
        /// `sha256:…`
        digest: Option<String>,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
    /// Back to the content before.
    Rollback {
        /// The plugin.
        name: String,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
    /// List plugins with their active content.
    List {
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
        /// How to show them.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Check a component without a gateway.
    Check {
        /// The component, or a core module that the SDK made.
        file: PathBuf,
    },
}

/// `tidegate logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The endpoint.
    endpoint: String,
    /// Only of this version.
    #[arg(long)]
    version: Option<String>,
    /// Only of this replica, as blue-1.
    #[arg(long)]
    replica: Option<String>,
    /// Not older than that, as 5m.
    #[arg(long, value_parser = Interval::parse)]
    since: Option<Interval>,
    /// Go on as lines come.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    to: To,
}

/// `tidegate get`.
#[derive(Debug, Args)]
pub struct Get {
    /// endpoints or plugins; or one, as endpoint/iris or `endpoint iris`.
    kind: String,
    /// The name of one.
    name: Option<String>,
    #[command(flatten)]
    to: To,
    /// How to show them.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

/// Why a verb did not do what was asked, by exit code.
#[derive(Debug)]
pub enum Failure {
    /// 1: refused or failed.
    Refused(String),
    /// 2: wrong use.
    Usage(String),
    /// 3: not reached.
    NotReached(String),
    /// 4: waited long enough.
    TimedOut(String),
}

impl Failure {
    /// Says why, and gives the code.
    #[must_use]
    pub fn exit(self) -> ExitCode {
        let (code, why) = match self {
            Self::Refused(why) => (1, why),
            Self::Usage(why) => (2, why),
            Self::NotReached(why) => (3, why),
            Self::TimedOut(why) => (4, why),
        };
        if !why.is_empty() {
            complain(&why);
        }
        ExitCode::from(code)
    }
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

/// Writes one line to standard error.
pub fn complain(why: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "tidegate: {why}");
}

impl Run {
    /// The checked resources, with the addresses of the command line.
    ///
    /// # Errors
    ///
    /// Every problem was told.
    pub fn set(&self) -> Result<Set, Failure> {
        let mut set = self.files.set()?;
        if let (Some(address), Some(first)) = (self.listen, set.config.listeners.first_mut()) {
            first.address = address;
        }
        if let Some(address) = self.admin {
            if set.config.admin.certificate.is_none() && !address.ip().is_loopback() {
                let why = format!(
                    "--admin {address} is not loopback; there the admin API needs a certificate"
                );
                return Err(Failure::Refused(why));
            }
            set.config.admin.address = address;
        }
        Ok(set)
    }

    /// The state folder that was named.
    #[must_use]
    pub fn state(&self) -> Option<&std::path::Path> {
        self.files.state.as_deref()
    }
}

impl Files {
    /// The checked resources.
    fn set(&self) -> Result<Set, Failure> {
        resource::load(&self.paths).map_err(|problems| tell(&problems))
    }
}

fn tell(problems: &[Problem]) -> Failure {
    let mut stderr = io::stderr().lock();
    for problem in problems {
        // As above.
        let _ = writeln!(stderr, "{problem}");
    }
    let count = problems.len();
    Failure::Refused(format!(
        "{count} problem{}",
        if count == 1 { "" } else { "s" }
    ))
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
        Verb::Check(files) => {
            let set = files.set()?;
            let (endpoints, plugins) = (set.endpoints.len(), set.plugins.len());
            say(&format!(
                "checked: {endpoints} endpoints, {plugins} plugins with the shipped ones"
            ))
        }
        Verb::Import(import) => import::import(&import),
        Verb::Keys(Keys::Show {
            endpoint,
            which,
            to,
            output,
        }) => show::keys(&Gateway::find(&to)?, &endpoint, which, output).await,
        Verb::Plugin(Plugin::Push {
            file,
            name,
            to,
            output,
        }) => plugin::push(&Gateway::find(&to)?, &file, &name, output).await,
        Verb::Plugin(Plugin::Swap { name, digest, to }) => {
            plugin::swap(&Gateway::find(&to)?, &name, digest.as_deref()).await
        }
        Verb::Plugin(Plugin::Rollback { name, to }) => {
            plugin::rollback(&Gateway::find(&to)?, &name).await
        }
        Verb::Plugin(Plugin::List { to, output }) => {
            show::list(&Gateway::find(&to)?, show::Kind::Plugins, output).await
        }
        Verb::Plugin(Plugin::Check { file }) => plugin::check(&file).await,
        Verb::Logs(logs) => logs::logs(&Gateway::find(&logs.to)?, &logs).await,
        Verb::Get(get) => {
            let (kind, name) = show::wanted(&get.kind, get.name.as_deref())?;
            let gateway = Gateway::find(&get.to)?;
            match name {
                None => show::list(&gateway, kind, get.output).await,
                Some(name) => show::one(&gateway, kind, &name, get.output).await,
            }
        }
        Verb::Plan(plan) => match &plan.endpoint {
            None => plan::given(&plan),
            Some(endpoint) => plan::running(&Gateway::find(&plan.to)?, endpoint).await,
        },
        Verb::Apply(apply) => change::apply(&Gateway::find(&apply.to)?, &apply).await,
        Verb::Delete(object) => change::delete(&Gateway::find(&object.to)?, &object).await,
        Verb::Traffic(change::Traffic::Set {
            endpoint,
            shares,
            to,
        }) => change::traffic(&Gateway::find(&to)?, &endpoint, &shares).await,
        Verb::History { object, output } => {
            change::history(&Gateway::find(&object.to)?, &object, output).await
        }
        Verb::Rollback(rollback) => {
            change::rollback(&Gateway::find(&rollback.object.to)?, &rollback).await
        }
        Verb::Wait(wait) => change::wait(&Gateway::find(&wait.object.to)?, &wait).await,
        Verb::Status { to, output } => show::status(&Gateway::find(&to)?, output).await,
    }
}

/// Writes one line, or several, to standard output.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests;
