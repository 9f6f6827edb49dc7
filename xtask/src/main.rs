//! The project's own commands: `cargo xtask demo | test | ci | bench | sim | docs | soak | setup`.
//!
//! Orchestrates cargo, pip, apt-get and the real `tidegate` binary; holds no
//! product logic and links nothing of the gateway. Called by people and by
//! `.ci/run`.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool: its output is for people"
)]

mod bench;
mod ci;
mod demo;
mod docs;
mod run;
mod setup;
mod sim;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds everything and leaves a gateway running in front of two real models
    Demo {
        /// Do all of it, check it, and exit
        #[arg(long)]
        check: bool,
    },
    /// Runs every test (the heavy rounds by a tenth)
    Test,
    /// Runs the end-to-end tests with their heavy rounds in full
    Soak {
        /// Only those of this file of tests/tests (as `scaling`), or else those whose
        /// name contains this
        filter: Option<String>,
    },
    /// What a change must pass: format, lints, docs, dependencies, tests, demo
    Ci,
    /// Compares the gateway with nginx and haproxy; writes bench/README.md
    Bench {
        /// Seconds of load per measurement
        #[arg(long, default_value_t = 4)]
        seconds: u32,
        /// Measure only proxies whose name contains this; writes no file
        #[arg(long)]
        only: Option<String>,
        /// Count instead the instructions of each step of a request, under
        /// callgrind; a run of 30 seconds or more says something
        #[arg(long, conflicts_with = "only")]
        steps: bool,
        /// Measure instead what many endpoints cost: start, memory, requests,
        /// changes
        #[arg(long, conflicts_with_all = ["only", "steps"])]
        endpoints: bool,
        /// How many endpoints are many
        #[arg(long, default_value_t = 10_000, requires = "endpoints")]
        count: usize,
    },
    /// Simulates scaling in virtual time; writes the figures of docs/scaling.md
    Sim,
    /// Writes the generated files of docs/ (schemas, CONFIG.md, METRICS.md)
    Docs,
    /// Installs what tests and demo need, and nothing else
    Setup,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo { check } => demo::demo(check),
        Command::Test => test::test(),
        Command::Soak { filter } => test::soak(filter.as_deref()),
        Command::Ci => ci::ci(),
        Command::Bench {
            seconds,
            steps: true,
            ..
        } => bench::account(seconds),
        Command::Bench {
            seconds,
            endpoints: true,
            count,
            ..
        } => bench::many(count, seconds),
        Command::Bench { seconds, only, .. } => bench::bench(seconds, only.as_deref()),
        Command::Sim => sim::sim(),
        Command::Docs => docs::docs(),
        Command::Setup => test::setup(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
