//! Completion of the command line in a shell, also of names that only the
//! running gateway knows.
//!
//! `tidegate completion SHELL` writes what the shell needs; at each TAB the shell
//! calls this binary with `TIDEGATE_COMPLETE` set. Without a gateway, or where it is
//! slow, there are no names and no complaint. Called by `cli` and `main`.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use serde_json::Value;

use super::connect::Gateway;
use super::row::{list, text};
use super::{Failure, Line, To, say};

/// Set by the shell where it asks for completions.
const VARIABLE: &str = "TIDEGATE_COMPLETE";

/// For all that a TAB asks of the gateway; a person waits for it.
const LIMIT: Duration = Duration::from_millis(500);

/// The flags that say where the gateway is.
const PLACES: [&str; 4] = ["--admin", "--token-file", "--ca-file", "--state"];

/// What the first word after `get` and its like can be.
const KINDS: [&str; 6] = [
    "endpoints",
    "versions",
    "plugins",
    "endpoint",
    "version",
    "plugin",
];

/// `tidegate completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
Names of endpoints, versions and plugins are asked of the running gateway, which is
found as every verb finds it.

Examples:
  source <(tidegate completion bash)
  tidegate completion zsh > ~/.zfunc/_tidegate
  tidegate completion fish > ~/.config/fish/completions/tidegate.fish")]
pub struct Completion {
    /// The shell.
    shell: Shell,
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU's.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly one.
    Fish,
}

impl Completion {
    pub(super) fn act(&self) -> Result<(), Failure> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "tidegate", "tidegate", &binary()?, &mut script)?;
        say(String::from_utf8_lossy(&script).trim())
    }
}

/// What the shell calls: this binary, by its path where it was called by one.
fn binary() -> Result<String, Failure> {
    let called = std::env::args().next().unwrap_or_default();
    if Path::new(&called).components().count() > 1 {
        return Ok(std::path::absolute(called)?.display().to_string());
    }
    Ok("tidegate".to_owned())
}

/// Answers a shell that asks for completions, and ends then. Anything else goes on.
pub fn answer() {
    CompleteEnv::with_factory(Line::command)
        .var(VARIABLE)
        .shells(Shells(&[&Bash, &Zsh, &Fish]))
        .complete();
}

/// The words that stand before the one that is completed.
fn words() -> Vec<String> {
    let all = std::env::args().skip_while(|word| word != "--").skip(1);
    let mut words: Vec<String> = all.collect();
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok();
    match index.and_then(|index| index.parse().ok()) {
        Some(index) => words.truncate(index),
        // fish ends with the word itself.
        None => drop(words.pop()),
    }
    words
}

/// Where the gateway of a line is; none where the line does not say it well.
fn place(words: &[String]) -> Option<To> {
    #[derive(Parser)]
    struct Place {
        #[command(flatten)]
        to: To,
    }
    let mut line = vec!["tidegate".to_owned()];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flag = word.split('=').next().unwrap_or_default();
        if PLACES.contains(&flag) {
            line.push(word.clone());
            if flag == word {
                line.extend(words.next().cloned());
            }
        }
    }
    Place::try_parse_from(line).ok().map(|place| place.to)
}

/// All items of a list of the gateway, or nothing.
fn ask(words: &[String], path: &str) -> Vec<Value> {
    let asked = || {
        let gateway = Gateway::find(&place(words)?).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        runtime.block_on(async {
            let items = tokio::time::timeout(LIMIT, gateway.items(path));
            items.await.ok()?.ok()
        })
    };
    asked().unwrap_or_default()
}

fn names(path: &str) -> Vec<String> {
    let items = ask(&words(), path);
    let name = |item: &Value| text(item, "/metadata/name").to_owned();
    items.iter().map(name).collect()
}

fn candidates(current: &OsStr, all: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_str().unwrap_or_default();
    let fit = all.into_iter().filter(|one| one.starts_with(current));
    fit.map(CompletionCandidate::new).collect()
}

/// Names of endpoints.
pub(super) fn endpoints(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, names("/v1/endpoints"))
}

/// Names of plugins.
pub(super) fn plugins(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, names("/v1/plugins"))
}

/// Versions of the endpoint that the line names.
pub(super) fn versions(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, of_the_line(&words()))
}

/// The same with `=`, for their shares.
pub(super) fn shares(current: &OsStr) -> Vec<CompletionCandidate> {
    let all = of_the_line(&words());
    candidates(current, all.iter().map(|one| format!("{one}=")).collect())
}

fn of_the_line(words: &[String]) -> Vec<String> {
    let endpoints = ask(words, "/v1/endpoints");
    // The first is the binary, the second the verb.
    let named = words.iter().skip(2).find_map(|word| {
        let found = |one: &&Value| text(one, "/metadata/name") == word;
        endpoints.iter().find(found)
    });
    let versions = named.map_or(&[][..], |endpoint| list(endpoint, "/spec/versions"));
    let name = |one: &Value| text(one, "/name").to_owned();
    versions.iter().map(name).collect()
}

/// A kind, or `KIND/NAME`.
pub(super) fn kinds(current: &OsStr) -> Vec<CompletionCandidate> {
    let shown = current.to_str().unwrap_or_default();
    let Some((kind, _)) = shown.split_once('/') else {
        return candidates(current, KINDS.map(str::to_owned).to_vec());
    };
    let all = of_kind(kind, &words());
    let whole = all.iter().map(|name| format!("{kind}/{name}"));
    candidates(current, whole.collect())
}

/// Names of the kind that the line names before.
pub(super) fn named(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = words();
    let kind = words.iter().find(|word| KINDS.contains(&word.as_str()));
    let all = kind.map_or_else(Vec::new, |kind| of_kind(kind, &words));
    candidates(current, all)
}

/// Names of a kind; of versions `ENDPOINT/VERSION`.
fn of_kind(kind: &str, words: &[String]) -> Vec<String> {
    let name = |item: &Value| text(item, "/metadata/name").to_owned();
    match kind {
        "endpoint" | "endpoints" => ask(words, "/v1/endpoints").iter().map(name).collect(),
        "plugin" | "plugins" => ask(words, "/v1/plugins").iter().map(name).collect(),
        "version" | "versions" => {
            let endpoints = ask(words, "/v1/endpoints");
            let of = |endpoint: &Value| -> Vec<String> {
                let versions = list(endpoint, "/spec/versions").iter();
                versions
                    .map(|one| format!("{}/{}", name(endpoint), text(one, "/name")))
                    .collect()
            };
            endpoints.iter().flat_map(of).collect()
        }
        _ => Vec::new(),
    }
}
