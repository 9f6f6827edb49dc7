//! The binary `tidegate`: hands each verb to who knows it.
//!
//! A replica's guard comes first, before anything is set up: it needs none of
//! it, and its arguments are a model's command. `run` goes to `app`, every
//! other verb to `cli`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tidegate::app::{self, RunOptions, Watched};
use tidegate::cli::{self, Failure, Line, Run, Verb};
use tidegate::listen::Inherited;
use tidegate::log;
use tidegate::runtime::guard;
use tidegate::state::StateFolder;

/// Gives free memory back to the system by itself, which glibc's does not: past
/// `limits.memory` the gateway would never recover
/// (`docs/decisions/0001-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// For the last lines of the log.
const LOG_FLUSH: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == guard::VERB) {
        return guard::main(args);
    }
    // The one provider of all cryptography; a second install cannot happen here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::complete::answer();
    let line = Line::parse();
    match line.verb {
        Verb::Run(line) => match run(&line) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.exit(),
        },
        verb => cli::execute(verb),
    }
}

fn run(line: &Run) -> Result<(), Failure> {
    // Before there are threads.
    let inherited = Inherited::take();
    let refused = |error: anyhow::Error| Failure::Refused(format!("{error:#}"));
    let watch = line.watched()?.map(|paths| Watched {
        paths,
        addresses: line.addresses(),
        prune: line.prune(),
    });
    let rested = !line.prune() || app::wait_for_rest(line.paths());
    let (set, empty) = line.set()?;
    let state =
        StateFolder::locate(line.state()).map_err(|error| Failure::Usage(error.to_string()))?;
    let guard = std::env::current_exe()
        .map_err(|error| Failure::Refused(format!("our own binary: {error}")))?;
    let filter = std::env::var("TIDEGATE_LOG").unwrap_or_else(|_| log::FILTER_DEFAULT.to_owned());
    let format = match std::env::var("TIDEGATE_LOG_FORMAT").as_deref() {
        Ok("json") => log::Format::Json,
        _ => log::Format::Text,
    };
    let lines = log::init(&filter, format).map_err(|error| Failure::Usage(error.to_string()))?;
    if !rested {
        tracing::warn!("the files kept changing: nothing is deleted at this start");
    }
    let mut say = |text: &str| {
        // Whoever reads standard output may be gone; the gateway goes on.
        let _ = cli::say(text);
    };
    let result = app::run(
        RunOptions {
            set,
            prune: line.prune() && rested,
            empty,
            watch,
            state,
            guard,
            inherited,
        },
        &mut say,
    )
    .map_err(refused);
    lines.flush(LOG_FLUSH);
    result
}
